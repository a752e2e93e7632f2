//! The log, over a store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;

use chrono::{DateTime, Utc};
use mfa_events::event::Timestamp;
use mfa_events::log::{AppendError, PAGE_EVENTS_MAX, QUERY_ACTORS_MAX, ReadError, TimePage, Which};
use mfa_events::store::{Bounds, Entry, Moment, Record, StoreError, Take};
use mfa_events::{
    ActorId, Appended, Event, EventLog, EventStore, LoginFailure, LoginSuccess, MemoryStore, Offset, TenantId,
};
use tokio::sync::{Semaphore, mpsc};

use crate::event::at;
use crate::hooked::Hooked;

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn failure(actor: &str) -> Event {
    LoginFailure::new(actor).at(at()).try_into().unwrap()
}

/// Commits that wait to be let through, and can fail or answer for too few.
#[derive(Clone)]
struct Gated {
    store: MemoryStore,
    gate: Arc<Semaphore>,
    commits: Arc<AtomicU64>,
    arrivals: Arc<Semaphore>,
    behaviour: Behaviour,
}

#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    Right,
    Fails,
    ForgetsAnswers,
    /// Shows the last event before it counts it.
    ShowsEarly,
    /// Does not answer for now, and learns what others append.
    IsAway,
}

impl Gated {
    fn new(behaviour: Behaviour) -> Self {
        let (gate, commits) = (Arc::new(Semaphore::new(0)), Arc::default());
        let arrivals = Arc::new(Semaphore::new(0));
        Self { store: MemoryStore::new(), gate, commits, arrivals, behaviour }
    }
}

impl EventStore for Gated {
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Appended>, StoreError> {
        self.gate.acquire().await.unwrap().forget();
        self.commits.fetch_add(1, Ordering::SeqCst);
        match self.behaviour {
            Behaviour::Fails => return Err(StoreError::Stopped),
            Behaviour::IsAway => return Err(StoreError::Unavailable("it is away".into())),
            Behaviour::Right | Behaviour::ForgetsAnswers | Behaviour::ShowsEarly => {}
        }
        let mut appended = self.store.append(entries).await?;
        if self.behaviour == Behaviour::ForgetsAnswers {
            appended.pop();
        }
        Ok(appended)
    }

    async fn read(&self, tenant: &TenantId, after: Offset, take: Take) -> Result<Vec<Record>, StoreError> {
        EventStore::read(&self.store, tenant, after, take).await
    }

    async fn of_actors(
        &self,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        self.store.of_actors(tenant, actors, after, take).await
    }

    async fn of_time(
        &self,
        tenant: &TenantId,
        span: std::ops::Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        self.store.of_time(tenant, span, after, take).await
    }

    async fn bounds(&self, tenant: &TenantId) -> Result<Bounds, StoreError> {
        let mut bounds = self.store.bounds(tenant).await?;
        if self.behaviour == Behaviour::ShowsEarly {
            let counted = self.store.read(tenant, Offset::START, Take { events: 1 }).await?;
            bounds.last = counted.first().map_or(bounds.last, |record| record.offset);
        }
        Ok(bounds)
    }

    async fn forget(&self, tenant: &TenantId, to: Offset) -> Result<(), StoreError> {
        self.store.forget(tenant, to).await
    }

    async fn arrived(&self) -> Result<Vec<TenantId>, StoreError> {
        self.arrivals.acquire().await.map_err(|_| StoreError::Stopped)?.forget();
        Ok(vec![acme()])
    }
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn the_store_in_memory_keeps_its_promises() {
    let store = MemoryStore::new();
    mfa_events::conformance::store(async || store.clone()).await;
}

#[tokio::test]
async fn reads_on_from_where_it_stopped_until_it_is_up_to_date() {
    let log = EventLog::open(MemoryStore::new());
    let events: Vec<_> = (0..2_500).map(|number| failure(&format!("p{number}"))).collect();
    log.append(&acme(), events.clone(), at()).await.unwrap();
    let (mut after, mut read) = (Offset::START, Vec::new());
    loop {
        let page = log.read(&acme(), &Which::All, after, usize::MAX).await.unwrap();
        assert!(page.records.len() <= PAGE_EVENTS_MAX);
        read.extend(page.records);
        after = page.next;
        if page.is_up_to_date {
            break;
        }
    }
    let read: Vec<_> = read.into_iter().map(|record| (*record.event).clone()).collect();
    assert_eq!(read, events);
}

#[tokio::test]
async fn whoever_asks_for_some_reads_on_behind_the_others() {
    let log = EventLog::open(MemoryStore::new());
    let appended =
        log.append(&acme(), [failure("alice"), failure("bob"), failure("bob")], at()).await.unwrap();
    let alice = Which::Actors(vec![ActorId::new("alice").unwrap()]);
    let page = log.read(&acme(), &alice, Offset::START, 10).await.unwrap();
    assert_eq!((page.records.len(), page.next, page.is_up_to_date), (1, appended[2].offset(), true));
    let bob = Which::Actors(vec![ActorId::new("bob").unwrap()]);
    let page = log.read(&acme(), &bob, Offset::START, 1).await.unwrap();
    assert_eq!((page.records.len(), page.next, page.is_up_to_date), (1, appended[1].offset(), false));
    let many = Which::Actors(vec![ActorId::new("bob").unwrap(); QUERY_ACTORS_MAX + 1]);
    assert!(matches!(log.read(&acme(), &many, Offset::START, 1).await, Err(ReadError::TooManyActors)));
}

#[tokio::test]
async fn what_happened_within_a_span_is_read_by_its_time_page_after_page() {
    let log = EventLog::open(MemoryStore::new());
    let happened = |second: i64| at() + chrono::TimeDelta::seconds(second);
    let event = |second| -> Event { LoginFailure::new("alice").at(happened(second)).try_into().unwrap() };
    let appended = log.append(&acme(), [5, 3, 9, 4, 1].map(event), at()).await.unwrap();
    let first = log.read_time(&acme(), happened(3)..happened(9), None, 2).await.unwrap();
    let seconds = |page: &TimePage| -> Vec<i64> {
        page.records.iter().map(|record| (record.event.at().as_datetime() - at()).num_seconds()).collect()
    };
    assert_eq!((seconds(&first), first.as_of), (vec![3, 4], appended[4].offset()));
    let second = log.read_time(&acme(), happened(3)..happened(9), first.next, 2).await.unwrap();
    assert_eq!((seconds(&second), second.next), (vec![5], None));
}

#[tokio::test]
async fn a_clock_that_jumps_changes_no_order_and_no_reader_misses_an_event() {
    let log = EventLog::open(MemoryStore::new());
    let days = [0, 3_000, -3_000, 1, 20_000, -10_000, 0];
    let mut follow = log.follow(acme(), Which::All, Offset::START);
    let (mut sent, mut seen) = (Vec::new(), Vec::new());
    for (round, days) in days.into_iter().enumerate() {
        let now = at() + chrono::TimeDelta::days(days);
        let event: Event = LoginFailure::new(&format!("p{round}")).at(now).try_into().unwrap();
        sent.push((round as u64 + 1, event.id(), now));
        log.append(&acme(), [event.clone()], now).await.unwrap();
        // Sent again when the clock says something else, it is known.
        let again = log.append(&acme(), [event], at()).await.unwrap();
        assert_eq!(again, [Appended::Known(Offset::new(round as u64 + 1))]);
        // One reader goes along, and stops now and then.
        if round % 2 == 0 {
            let page = follow.next(10).await.unwrap();
            let read = page
                .records
                .iter()
                .map(|record| (record.offset.as_u64(), record.event.id(), record.ingested_at.as_datetime()));
            seen.extend(read);
        }
    }
    assert_eq!(seen, sent);
    // By the time when they happened, each once.
    let span = at() - chrono::TimeDelta::days(30_000)..at() + chrono::TimeDelta::days(30_000);
    let page = log.read_time(&acme(), span, None, 100).await.unwrap();
    let order: Vec<u64> = page.records.iter().map(|record| record.offset.as_u64()).collect();
    assert_eq!(order, [6, 3, 1, 7, 4, 2, 5]);
}

#[tokio::test]
async fn an_offset_that_is_gone_or_never_was_is_told() {
    let log = EventLog::open(MemoryStore::new());
    let appended =
        log.append(&acme(), [failure("alice"), failure("bob"), failure("carol")], at()).await.unwrap();
    log.forget(&acme(), appended[1].offset()).await.unwrap();
    let gone = log.read(&acme(), &Which::All, Offset::START, 10).await.unwrap_err();
    let ReadError::Gone { earliest } = gone else { panic!("{gone}") };
    assert_eq!(log.read(&acme(), &Which::All, earliest, 10).await.unwrap().records.len(), 1);
    let ahead = log.read(&acme(), &Which::All, Offset::new(4), 10).await.unwrap_err();
    assert!(matches!(ahead, ReadError::Ahead(_)), "{ahead}");
}

#[tokio::test]
async fn senders_who_come_together_share_a_commit_and_each_is_told_their_own() {
    let store = Gated::new(Behaviour::Right);
    let log = EventLog::open(store.clone());
    let append = |actor: &str, times: usize| {
        let (log, events) = (log.clone(), vec![failure(actor); times]);
        tokio::spawn(async move { log.append(&acme(), events, at()).await.unwrap() })
    };
    let first = append("first", 1);
    // The first is being committed when the others come.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (1..=20).map(|number| append(&format!("p{number}"), number)).collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    store.gate.add_permits(1_000);
    first.await.unwrap();
    for (number, other) in (1..).zip(others) {
        let told = other.await.unwrap();
        assert_eq!(told.len(), number);
        // One event, sent several times: it is new once, and known there afterwards.
        assert!(matches!(told[0], Appended::New(_)));
        assert!(told[1..].iter().all(|again| *again == Appended::Known(told[0].offset())));
        let page = log.read(&acme(), &Which::All, Offset::START, 100).await.unwrap();
        let own = page.records.iter().find(|record| record.offset == told[0].offset()).unwrap();
        assert_eq!(own.event.actor().as_str(), format!("p{number}"));
    }
    assert_eq!(store.commits.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn nothing_is_read_before_it_is_durable_and_waiting_ends_when_it_is() {
    let store = Gated::new(Behaviour::Right);
    let log = EventLog::open(store.clone());
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.wait(&acme(), Offset::START).await }
    });
    let other = tokio::spawn({
        let log = log.clone();
        async move { log.wait(&TenantId::new("other").unwrap(), Offset::START).await }
    });
    let appending = tokio::spawn({
        let log = log.clone();
        async move { log.append(&acme(), [failure("alice")], at()).await }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished() && !appending.is_finished());
    assert!(log.read(&acme(), &Which::All, Offset::START, 1).await.unwrap().records.is_empty());
    store.gate.add_permits(1);
    appending.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
    assert!(!other.is_finished(), "another tenant's event wakes nobody");
    other.abort();
    log.wait(&acme(), Offset::START).await.unwrap();
}

#[tokio::test]
async fn whoever_waits_learns_that_nothing_can_be_appended() {
    for behaviour in [Behaviour::Fails, Behaviour::ForgetsAnswers] {
        let store = Gated::new(behaviour);
        let log = EventLog::open(store.clone());
        let waiting = tokio::spawn({
            let log = log.clone();
            async move { log.wait(&TenantId::new("other").unwrap(), Offset::START).await }
        });
        tokio::task::yield_now().await;
        store.gate.add_permits(1);
        log.append(&acme(), [failure("alice")], at()).await.unwrap_err();
        assert!(matches!(waiting.await.unwrap(), Err(StoreError::Stopped)));
    }
}

#[tokio::test]
async fn whoever_waits_goes_on_while_the_store_is_away_and_wakes_when_others_append() {
    let store = Gated::new(Behaviour::IsAway);
    store.gate.add_permits(10);
    let log = EventLog::open(store.clone());
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.wait(&acme(), Offset::START).await }
    });
    tokio::task::yield_now().await;
    let error = log.append(&acme(), [failure("alice")], at()).await.unwrap_err();
    let AppendError::Unknown(Some(error)) = error else { panic!("{error:?}") };
    assert!(matches!(*error, StoreError::Unavailable(_)), "{error:?}");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    let ingested_at = Timestamp::new(at()).unwrap();
    let entry = Entry { tenant: acme(), event: failure("bob"), ingested_at };
    store.store.append(vec![entry]).await.unwrap();
    store.arrivals.add_permits(1);
    waiting.await.unwrap().unwrap();
    // A store that can tell no more of others ends every wait.
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.wait(&TenantId::new("other").unwrap(), Offset::START).await }
    });
    tokio::task::yield_now().await;
    store.arrivals.close();
    assert!(matches!(waiting.await.unwrap(), Err(StoreError::Stopped)));
}

#[tokio::test]
async fn what_a_store_shows_before_it_counts_it_is_read_later() {
    let store = Gated::new(Behaviour::ShowsEarly);
    store.gate.add_permits(10);
    let log = EventLog::open(store);
    log.append(&acme(), ["alice", "bob"].map(failure), at()).await.unwrap();
    for which in
        [Which::All, Which::Actors(["alice", "bob"].map(|actor| ActorId::new(actor).unwrap()).to_vec())]
    {
        let page = log.read(&acme(), &which, Offset::START, 10).await.unwrap();
        assert_eq!(page.records.len(), 1);
        let next = log.read(&acme(), &which, page.next, 10).await.unwrap();
        assert_eq!((next.records.len(), next.next), (0, page.next));
    }
}

#[tokio::test]
async fn whoever_is_not_told_that_events_are_kept_is_told_that_it_is_unknown() {
    for behaviour in [Behaviour::Fails, Behaviour::ForgetsAnswers] {
        let store = Gated::new(behaviour);
        store.gate.add_permits(10);
        let log = EventLog::open(store);
        let error = log.append(&acme(), [failure("alice")], at()).await.unwrap_err();
        assert!(matches!(error, AppendError::Unknown(_)), "{error}");
    }
}

#[tokio::test]
async fn of_events_of_which_one_is_none_none_is_appended() {
    let log = EventLog::open(MemoryStore::new());
    let events = [LoginSuccess::new("alice").at(at()), LoginSuccess::new("bob")];
    let error = log.append(&acme(), events, at()).await.unwrap_err();
    assert!(matches!(error, AppendError::Event { index: 1, .. }), "{error}");
    assert_eq!(log.bounds(&acme()).await.unwrap().last, Offset::START);
}

#[test]
fn a_record_has_what_the_log_added_and_reads_back_as_its_event() {
    let event = failure("alice");
    let ingested_at = Timestamp::new(at()).unwrap();
    let record = Record { offset: Offset::new(255), ingested_at, event: Arc::new(event.clone()) };
    let json = record.to_json(&acme());
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(value["offset"], "00000000000000ff");
    assert_eq!(value["tenant_id"], "acme");
    assert_eq!(value["ingested_at"], "2026-01-31T09:15:27.042Z");
    assert_eq!(Event::from_json(&json).unwrap(), event);
}

/// Says on which thread it goes.
struct Closing(mpsc::UnboundedSender<ThreadId>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.send(std::thread::current().id()).unwrap();
    }
}

#[tokio::test]
async fn the_last_handle_closes_the_store_where_it_may_block() {
    let (closed, mut told) = mpsc::unbounded_channel();
    let store = Hooked { _held: Some(Arc::new(Closing(closed))), ..Hooked::new(0) };
    drop(EventLog::open(store));
    // Tasks have this thread alone.
    assert_ne!(told.recv().await.unwrap(), std::thread::current().id());
}
