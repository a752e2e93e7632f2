//! What is kept, and what is forgotten.

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::log::{ReadError, Which};
use mfa_events::retention::{Retained, Retainer, Retention};
use mfa_events::{Event, EventLog, LoginFailure, MemoryStore, Offset, TenantId};
use proptest::prelude::*;

use crate::event::at;
use crate::export::acme;

fn hours(hours: i64) -> DateTime<Utc> {
    at() + TimeDelta::hours(hours)
}

fn event(text: usize) -> Event {
    LoginFailure::new("alice").at(at()).message(&"x".repeat(text)).try_into().unwrap()
}

/// Events that came after so many hours each, of which each happened at the same time.
async fn log(came: &[i64]) -> EventLog<MemoryStore> {
    let log = EventLog::open(MemoryStore::new());
    for came in came {
        log.append(&acme(), [event(10)], hours(*came)).await.unwrap();
    }
    log
}

async fn kept(log: &EventLog<MemoryStore>) -> Vec<u64> {
    let from = log.bounds(&acme()).await.unwrap().forgotten;
    let page = log.read(&acme(), &Which::All, from, 1_000).await.unwrap();
    page.records.iter().map(|record| record.offset.as_u64()).collect()
}

async fn retained(log: &EventLog<MemoryStore>, retention: Retention, now: DateTime<Utc>) -> (u64, u64) {
    let Retained { earliest, forgotten, .. } =
        Retainer::new(log.clone(), acme(), retention).retain(now).await.unwrap();
    assert_eq!(log.bounds(&acme()).await.unwrap().forgotten, earliest);
    (earliest.as_u64(), forgotten)
}

#[tokio::test]
async fn what_came_too_long_ago_goes_and_readers_from_before_are_told() {
    let log = log(&[0, 1, 2, 3, 4]).await;
    log.append(&TenantId::new("other").unwrap(), [event(10)], hours(0)).await.unwrap();
    let retention = Retention::everything().age(TimeDelta::hours(3));
    assert_eq!(retained(&log, retention, hours(2)).await, (0, 0));
    assert_eq!(retained(&log, retention, hours(5)).await, (3, 3));
    let gone = log.read(&acme(), &Which::All, Offset::START, 10).await.unwrap_err();
    assert!(matches!(gone, ReadError::Gone { earliest } if earliest == Offset::new(3)));
    assert_eq!(kept(&log).await, [4, 5]);
    // All of it, in the end; an offset is not given twice.
    assert_eq!(retained(&log, retention, hours(500)).await, (5, 2));
    assert_eq!(retained(&log, retention, hours(500)).await, (5, 0));
    log.append(&acme(), [event(10)], hours(500)).await.unwrap();
    assert_eq!(kept(&log).await, [6]);
    assert_eq!(log.bounds(&TenantId::new("other").unwrap()).await.unwrap().forgotten, Offset::START);
    assert_eq!(retained(&log, Retention::everything(), hours(5_000)).await, (5, 0));
}

#[tokio::test]
async fn no_more_events_and_bytes_are_kept_than_was_said() {
    let log = log(&[0; 10]).await;
    assert_eq!(retained(&log, Retention::everything().events(10), hours(0)).await, (0, 0));
    assert_eq!(retained(&log, Retention::everything().events(7), hours(0)).await, (3, 3));
    let each = serde_json::to_vec(&event(10)).unwrap().len() as u64;
    let retention = Retention::everything().bytes(4 * each + each / 2);
    assert_eq!(retained(&log, retention, hours(0)).await, (6, 3));
    // Whichever goes furthest.
    let both = Retention::everything().bytes(3 * each).events(2).age(TimeDelta::hours(9));
    assert_eq!(retained(&log, both, hours(0)).await, (8, 2));
    assert_eq!(retained(&log, both, hours(9)).await, (10, 2));
}

#[tokio::test]
async fn goes_on_counting_where_it_was_also_when_somebody_else_forgets() {
    let log = log(&[0; 5]).await;
    let mut retainer = Retainer::new(log.clone(), acme(), Retention::everything().events(3));
    assert_eq!(retainer.retain(at()).await.unwrap().forgotten, 2);
    log.append(&acme(), [event(1), event(2)], at()).await.unwrap();
    assert_eq!(retainer.retain(at()).await.unwrap().earliest, Offset::new(4));
    log.forget(&acme(), Offset::new(6)).await.unwrap();
    assert_eq!(retainer.retain(at()).await.unwrap().forgotten, 0);
    log.append(&acme(), (1..=3).map(event), at()).await.unwrap();
    assert_eq!(retainer.retain(at()).await.unwrap().earliest, Offset::new(7));
    assert_eq!(kept(&log).await, [8, 9, 10]);
}

#[tokio::test]
async fn many_go_in_one_call() {
    let log = EventLog::open(MemoryStore::new());
    for _ in 0..3 {
        log.append(&acme(), (0..9_000).map(|_| event(1)), hours(0)).await.unwrap();
    }
    assert_eq!(retained(&log, Retention::everything().events(500), hours(0)).await, (26_500, 26_500));
    assert_eq!(retained(&log, Retention::everything().age(TimeDelta::hours(1)), hours(1)).await.1, 500);
}

proptest! {
    /// A clock that is wrong when events come loses none that is to be kept.
    #[test]
    fn nothing_goes_that_is_to_be_kept(came in proptest::collection::vec(-100_i64..100, 0..40), most in 0_u64..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let log = log(&came).await;
            let retention = Retention::everything().age(TimeDelta::hours(50)).events(most);
            retained(&log, retention, hours(60)).await;
            let too_many = came.len().saturating_sub(usize::try_from(most).unwrap());
            let first = (0..came.len()).find(|index| came[*index] > 10 && *index >= too_many);
            let expected: Vec<u64> =
                (first.unwrap_or(came.len())..came.len()).map(|index| index as u64 + 1).collect();
            assert_eq!(kept(&log).await, expected);
        });
    }
}
