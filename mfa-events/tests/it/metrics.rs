//! Counts against counting by hand.

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::event::{Country, FailureReason, GeoLocation, Method};
use mfa_events::metrics::{Breakdown, Counts, MINUTE_COUNTRIES_MAX, MINUTES_AHEAD_MAX, MINUTES_KEPT, Place};
use mfa_events::{
    AccountLocked, AccountUnlocked, Event, LoginFailure, LoginMetrics, LoginSuccess, MfaFailure,
    RecoveryAttempted,
};
use proptest::prelude::*;

use crate::event::at;

fn from(country: &str) -> GeoLocation {
    GeoLocation { country: Some(Country::new(country).unwrap()), ..GeoLocation::default() }
}

fn success(at: DateTime<Utc>) -> Event {
    LoginSuccess::new("alice").with(Method::Push).geo_location(from("DE")).at(at).try_into().unwrap()
}

fn failure(at: DateTime<Utc>) -> Event {
    LoginFailure::new("alice").at(at).try_into().unwrap()
}

fn minutes(minutes: i64) -> TimeDelta {
    TimeDelta::minutes(minutes)
}

#[test]
fn tells_rates_parts_and_the_day_before_in_one_answer() {
    let mut metrics = LoginMetrics::new();
    let blocked: Event = LoginFailure::new("bob").blocked().at(at()).try_into().unwrap();
    let mfa: Event = MfaFailure::new("bob", Method::Totp, FailureReason::WrongCode)
        .geo_location(from("FR"))
        .at(at())
        .try_into()
        .unwrap();
    let events = [
        success(at()),
        success(at() - minutes(90)),
        success(at() - minutes(23 * 60)),
        failure(at()),
        blocked,
        mfa,
        AccountLocked::new("bob").at(at()).try_into().unwrap(),
        AccountUnlocked::new("bob").at(at()).try_into().unwrap(),
        RecoveryAttempted::new("bob").at(at()).try_into().unwrap(),
        success(at() - minutes(24 * 60)),
        failure(at() - minutes(47 * 60)),
    ];
    events.iter().for_each(|event| metrics.count(event, at()));
    let report = metrics.report(at());
    assert_eq!((report.logins, report.success_rate, report.failure_rate), (5, Some(0.6), Some(0.4)));
    let all = report.total.all;
    assert_eq!((all.successes, all.failures, all.blocked, all.mfa_failures), (3, 2, 1, 1));
    assert_eq!((all.lockouts, all.unlocks, all.recoveries), (1, 1, 1));
    assert_eq!(report.total.by_method[&Method::Push].successes, 3);
    assert_eq!(report.total.by_method[&Method::Totp].mfa_failures, 1);
    assert_eq!(report.total.by_country[&place("DE")].successes, 3);
    assert_eq!((report.before.successes, report.before.failures), (1, 1));
    assert_eq!(report.hours.len(), 24);
    let last = report.hours.last().unwrap();
    assert_eq!((last.counts.successes, last.counts.failures, last.day_before.successes), (1, 2, 1));
    assert_eq!(report.hours[22].counts.successes, 1);
    assert_eq!(report.hours[0].day_before.failures + report.hours[1].day_before.failures, 1);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["total"]["by_method"]["push"]["successes"], 3);
    assert_eq!(json["total"]["by_country"]["DE"]["successes"], 3);
}

#[test]
fn there_is_no_rate_of_nothing() {
    let report = LoginMetrics::new().report(at());
    assert_eq!((report.logins, report.success_rate, report.failure_rate), (0, None, None));
}

#[test]
fn late_events_correct_the_minute_when_they_happened() {
    let mut metrics = LoginMetrics::new();
    metrics.count(&success(at()), at());
    let late = at() - minutes(125);
    let before = metrics.report(at()).hours[21].counts.failures;
    metrics.count(&failure(late), at());
    assert_eq!((before, metrics.report(at()).hours[21].counts.failures), (0, 1));
}

#[test]
fn what_comes_too_late_or_from_the_future_is_counted_apart() {
    let mut metrics = LoginMetrics::new();
    metrics.count(&success(at() - minutes(MINUTES_KEPT)), at());
    metrics.count(&success(at() + minutes(MINUTES_AHEAD_MAX + 1)), at());
    metrics.count(&success(at() - minutes(MINUTES_KEPT - 1)), at());
    metrics.count(&success(at() + minutes(MINUTES_AHEAD_MAX)), at());
    let report = metrics.report(at());
    assert_eq!((report.too_late, report.from_the_future, report.logins), (1, 1, 0));
    assert_eq!(metrics.report(at() + minutes(MINUTES_AHEAD_MAX)).logins, 1);
}

fn place(country: &str) -> Place {
    Place::Country(Country::new(country).unwrap())
}

#[test]
fn keeps_no_more_minutes_than_it_says() {
    let mut metrics = LoginMetrics::new();
    for minute in 0..MINUTES_KEPT + 500 {
        metrics.count(&failure(at() + minutes(minute)), at() + minutes(minute));
    }
    let all = metrics.minutes(at() - minutes(10), at() + minutes(1_000_000)).count();
    assert_eq!(i64::try_from(all).unwrap(), MINUTES_KEPT + MINUTES_AHEAD_MAX);
}

#[test]
fn counts_countries_and_not_whatever_letters_somebody_sends() {
    let letters = b'A'..=b'Z';
    let all = letters.clone().flat_map(|first| letters.clone().map(move |second| [first, second]));
    let all: Vec<String> = all.map(|letters| String::from_utf8(letters.to_vec()).unwrap()).collect();
    let assigned = all.iter().filter(|country| Country::new(country).unwrap().is_assigned()).count();
    // 249, and 42 that are left to users.
    assert_eq!(assigned, 249 + 42);
    for (country, is_assigned) in [("DE", true), ("XK", true), ("ZZ", true), ("UK", false), ("EU", false)] {
        assert_eq!(Country::new(country).unwrap().is_assigned(), is_assigned, "{country}");
    }
    let mut metrics = LoginMetrics::new();
    let count = |metrics: &mut LoginMetrics, country: &str| {
        let event = LoginFailure::new("alice").geo_location(from(country)).at(at());
        metrics.count(&event.try_into().unwrap(), at());
    };
    for country in &all {
        count(&mut metrics, country);
    }
    count(&mut metrics, "AD");
    let total = metrics.report(at()).total;
    assert_eq!((total.by_country.len(), total.all.failures), (MINUTE_COUNTRIES_MAX, 26 * 26 + 1));
    assert_eq!(total.by_country[&place("AD")].failures, 2);
    let counted: u64 = total.by_country.values().map(|counts| counts.failures).sum();
    assert_eq!(counted, 26 * 26 + 1, "none is left out");
    let json = serde_json::to_value(&total).unwrap();
    assert_eq!(json["by_country"]["other"]["failures"], 26 * 26 - (MINUTE_COUNTRIES_MAX - 1));
    assert_eq!(serde_json::from_value::<Breakdown>(json).unwrap(), total);
}

#[test]
fn a_clock_that_jumps_for_a_moment_costs_its_moment_and_not_the_days_before() {
    let mut metrics = LoginMetrics::new();
    for minute in 0..MINUTES_KEPT {
        metrics.count(&failure(at() + minutes(minute)), at() + minutes(minute));
    }
    let now = at() + minutes(MINUTES_KEPT - 1);
    let before = metrics.report(now);
    for days in [3, -3, 30_000] {
        let jumped = now + TimeDelta::days(days);
        metrics.count(&failure(jumped), jumped);
        metrics.count(&failure(now), now);
    }
    let after = metrics.report(now);
    assert_eq!(after.logins, before.logins + 3);
    assert_eq!((after.before, &after.hours[..23]), (before.before, &before.hours[..23]));
}

#[test]
fn goes_on_from_what_was_written_down() {
    let mut metrics = LoginMetrics::new();
    metrics.count(&success(at()), at());
    let kept: LoginMetrics = serde_json::from_str(&serde_json::to_string(&metrics).unwrap()).unwrap();
    assert_eq!(kept, metrics);
}

proptest! {
    #[test]
    fn an_hour_is_what_its_events_say_whatever_their_order(
        events in prop::collection::vec((0..2 * 24 * 60_i64, any::<bool>()), 0..300),
        ms in 0..60_000_i64,
    ) {
        let now = at() + TimeDelta::milliseconds(ms);
        let mut metrics = LoginMetrics::new();
        let happened = |ago: i64| now - minutes(ago);
        for (ago, is_success) in &events {
            let event = if *is_success { success(happened(*ago)) } else { failure(happened(*ago)) };
            metrics.count(&event, now);
        }
        let report = metrics.report(now);
        let by_hand = |from: DateTime<Utc>, to: DateTime<Utc>| {
            let within = events.iter().filter(|(ago, _)| (from..to).contains(&happened(*ago)));
            within.fold((0, 0), |(successes, failures), (_, is_success)| match is_success {
                true => (successes + 1, failures),
                false => (successes, failures + 1),
            })
        };
        let pair = |counts: &Counts| (counts.successes, counts.failures);
        let day = TimeDelta::days(1);
        for hour in &report.hours {
            let to = hour.from + TimeDelta::hours(1);
            prop_assert_eq!(pair(&hour.counts), by_hand(hour.from, to));
            prop_assert_eq!(pair(&hour.day_before), by_hand(hour.from - day, to - day));
        }
        prop_assert_eq!(pair(&report.total.all), by_hand(report.from, report.to));
        prop_assert_eq!(pair(&report.before), by_hand(report.from - day, report.from));
        let minutes: u64 = metrics.minutes(report.from, report.to).map(|minute| minute.counts.all.logins()).sum();
        prop_assert_eq!(minutes, report.logins);
    }
}
