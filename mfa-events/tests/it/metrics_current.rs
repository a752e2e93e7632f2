//! Metrics that follow a log.

use chrono::{TimeDelta, Utc};
use mfa_events::event::{FailureReason, Method};
use mfa_events::metrics::{COUNTED_WITHIN, MetricsError};
use mfa_events::{
    CurrentMetrics, Event, EventLog, LoginFailure, LoginSuccess, MemoryStore, MfaFailure, Offset, TenantId,
};

use crate::hooked::Hooked;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn success(minutes_ago: i64) -> Event {
    LoginSuccess::new("alice").at(Utc::now() - TimeDelta::minutes(minutes_ago)).try_into().unwrap()
}

fn failure(minutes_ago: i64) -> Event {
    LoginFailure::new("alice").at(Utc::now() - TimeDelta::minutes(minutes_ago)).try_into().unwrap()
}

#[tokio::test]
async fn what_was_appended_is_counted_when_it_is_asked_for() {
    let log = EventLog::open(MemoryStore::new());
    let metrics = CurrentMetrics::new(log.clone());
    let acme = tenant("acme");
    log.append(&acme, [success(1), failure(2)], Utc::now()).await.unwrap();
    let first = metrics.report(&acme, Utc::now()).await.unwrap();
    assert_eq!((first.report.logins, first.offset), (2, Offset::new(2)));
    assert_eq!(first.report.success_rate, Some(0.5));
    for count in 1..=50 {
        log.append(&acme, [success(0)], Utc::now()).await.unwrap();
        let next = metrics.report(&acme, Utc::now()).await.unwrap();
        assert_eq!(next.report.logins, 2 + count);
    }
    assert_eq!(metrics.report(&tenant("other"), Utc::now()).await.unwrap().report.logins, 0);
}

#[tokio::test]
async fn counts_are_the_same_after_a_restart_and_late_events_correct_them() {
    let log = EventLog::open(MemoryStore::new());
    let acme = tenant("acme");
    let before = CurrentMetrics::new(log.clone());
    assert_eq!(before.report(&acme, Utc::now()).await.unwrap().report.logins, 0);
    let now = Utc::now();
    // More than one page, in no order, a day ago and too early among them.
    let events: Vec<Event> = (0..2_500)
        .map(|number: i64| {
            let ago = (number * 7_919) % (47 * 60);
            if number % 3 == 0 { failure(ago) } else { success(ago) }
        })
        .chain([success(-60), success(50 * 60)])
        .collect();
    log.append(&acme, events, now).await.unwrap();
    let live = before.report(&acme, now).await.unwrap().report;
    let restarted = CurrentMetrics::new(log.clone()).report(&acme, now).await.unwrap().report;
    assert!(live.logins > 1_000 && live.before.logins() > 1_000, "{live:?}");
    assert_eq!((live.too_late, live.from_the_future), (1, 1));
    assert_eq!(
        (&live.total, live.before, &live.hours),
        (&restarted.total, restarted.before, &restarted.hours)
    );
    assert_eq!(live.trend, restarted.trend);

    let late =
        MfaFailure::new("alice", Method::Push, FailureReason::PushDenied).at(now - TimeDelta::hours(5));
    log.append(&acme, [late], now).await.unwrap();
    let corrected = before.report(&acme, now).await.unwrap().report;
    assert_eq!(corrected.total.all.mfa_failures, 1);
    let hour = corrected.hours.iter().find(|hour| hour.counts.mfa_failures == 1).unwrap();
    assert!(hour.from <= now - TimeDelta::hours(5) && now - TimeDelta::hours(6) < hour.from);
}

#[tokio::test]
async fn a_trend_has_each_minute_and_sums_to_the_whole() {
    let log = EventLog::open(MemoryStore::new());
    let acme = tenant("acme");
    let now = Utc::now();
    log.append(&acme, (0..1_500).map(success), now).await.unwrap();
    let report = CurrentMetrics::new(log).report(&acme, now).await.unwrap().report;
    let trend = &report.trend;
    assert_eq!((trend.from, trend.step_s, trend.successes.len()), (report.from, 60, 1_440));
    assert!(trend.successes.iter().all(|count| *count == 1), "{trend:?}");
    assert_eq!(trend.successes.iter().sum::<u64>(), report.total.all.successes);
}

#[tokio::test]
async fn what_was_forgotten_meanwhile_does_not_stop_the_counting() {
    let log = EventLog::open(MemoryStore::new());
    let acme = tenant("acme");
    log.append(&acme, (0..10).map(success), Utc::now()).await.unwrap();
    let metrics = CurrentMetrics::new(log.clone());
    assert_eq!(metrics.report(&acme, Utc::now()).await.unwrap().report.logins, 10);
    log.append(&acme, (0..10).map(success), Utc::now()).await.unwrap();
    log.forget(&acme, Offset::new(15)).await.unwrap();
    let logins = metrics.report(&acme, Utc::now()).await.unwrap().report.logins;
    // Counted before it was forgotten, or not any more; the task may have been quick.
    assert!(logins == 20 || logins == 5, "{logins}");
    log.append(&acme, [success(0)], Utc::now()).await.unwrap();
    assert_eq!(metrics.report(&acme, Utc::now()).await.unwrap().report.logins, logins + 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_too_early_after_a_start_is_told_and_counting_goes_on() {
    let store = Hooked::new(0);
    let log = EventLog::open(store.clone());
    let acme = tenant("acme");
    log.append(&acme, (0..2_500).map(|number| success(number % 100)), Utc::now()).await.unwrap();
    let metrics = CurrentMetrics::new(log);
    let begun = tokio::time::Instant::now();
    assert!(matches!(metrics.report(&acme, Utc::now()).await, Err(MetricsError::Counting)));
    assert_eq!(begun.elapsed(), COUNTED_WITHIN);
    // One page is counted meanwhile, and not counted anew for the next who asks.
    store.queries.add_permits(1);
    assert!(matches!(metrics.report(&acme, Utc::now()).await, Err(MetricsError::Counting)));
    store.queries.add_permits(2);
    assert_eq!(metrics.report(&acme, Utc::now()).await.unwrap().report.logins, 2_500);
    assert_eq!(store.queries.available_permits(), 0);
}

#[tokio::test]
async fn a_clock_that_was_wrong_when_an_event_came_empties_nothing_live_or_after_a_restart() {
    let log = EventLog::open(MemoryStore::new());
    let acme = tenant("acme");
    let live = CurrentMetrics::new(log.clone());
    live.report(&acme, Utc::now()).await.unwrap();
    let now = Utc::now();
    log.append(&acme, (0..1_000).map(success), now).await.unwrap();
    for days in [400, -400] {
        let jumped = now + TimeDelta::days(days);
        log.append(&acme, [LoginSuccess::new("alice").at(jumped)], jumped).await.unwrap();
    }
    log.append(&acme, [success(0)], now).await.unwrap();
    assert_eq!(live.report(&acme, now).await.unwrap().report.logins, 1_001);
    assert_eq!(CurrentMetrics::new(log).report(&acme, now).await.unwrap().report.logins, 1_001);
}
