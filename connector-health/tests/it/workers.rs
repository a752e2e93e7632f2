//! Several workers at one queue: one lane is worked by one of them at a time, and who comes too late is not heard.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use connector_health::connector::{ListedAccount, MemoryConnector};
use connector_health::lane::{AttemptResult, EventState};
use connector_health::outbox::Outbox;
use connector_health::store::OutboxStore;
use connector_health::{
    Confirmation, Connector, Connectors, Event, Failure, FailureKind, MemoryStore, Operation,
};
use futures::future::try_join_all;
use futures::stream::BoxStream;
use tokio::sync::Semaphore;

use crate::company::{at, crm, has_one_outcome_each, named, options, person, run, work_out};
use crate::mortal::Mortal;

/// Passes of all workers at the same time until nothing is queued, time going on between them.
pub(crate) async fn work_together<S: OutboxStore>(
    workers: &[Arc<Outbox<S>>],
    connectors: &Connectors,
    second: i64,
) {
    let mut now = at(second);
    for _ in 0..10_000 {
        let passes = workers.iter().map(|outbox| {
            let (outbox, connectors) = (Arc::clone(outbox), connectors.clone());
            tokio::spawn(async move { outbox.work(&connectors, now).await.unwrap().next_at })
        });
        try_join_all(passes).await.unwrap();
        // Now that all have ended, what was leased is not any more.
        match workers[0].work(connectors, now).await.unwrap().next_at {
            Some(next) => now = next.max(now + TimeDelta::milliseconds(1)),
            None => return,
        }
    }
    panic!("the queue does not drain");
}

/// Answers when it is told to.
struct Paused {
    asked: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    answer: Result<(), FailureKind>,
    application: MemoryConnector,
}

#[async_trait]
impl Connector for Paused {
    async fn probe(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        self.asked.add_permits(1);
        self.answers.acquire().await.unwrap().forget();
        match self.answer {
            Ok(()) => self.application.ensure(operation).await,
            Err(kind) => Err(Failure::new(kind, "late")),
        }
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        self.application.accounts()
    }
}

/// One worker is paused in the middle of an operation, for longer than its lease lasts; the other takes over meanwhile.
pub(crate) async fn late_worker_is_not_heard<S: OutboxStore + Clone>(late: S, other: S) {
    for answer in [Ok(()), Err(FailureKind::SchemaMismatch)] {
        let who = person(usize::from(answer.is_ok()));
        let application = MemoryConnector::new();
        let (asked, answers) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let paused = Paused {
            asked: Arc::clone(&asked),
            answers: Arc::clone(&answers),
            answer,
            application: application.clone(),
        };
        let to_paused = Connectors::new().with(crm(), paused);
        let to_other = Connectors::new().with(crm(), application.clone());
        let late = Outbox::open_with(late.clone(), options()).await.unwrap();
        let other = Outbox::open_with(other.clone(), options()).await.unwrap();
        let joins = Event::provision(&crm(), &who, named(who.as_str())).occurred_at(at(1));
        late.accept(joins.clone(), at(1)).await.unwrap();
        let (worked, ()) = tokio::join!(late.work(&to_paused, at(10)), async {
            asked.acquire().await.unwrap().forget();
            let nothing = other.work(&to_other, at(11)).await.unwrap();
            assert_eq!(nothing.delivered, 0, "the lane is another's");
            work_out(&other, &to_other, at(1_000)).await.unwrap();
            answers.add_permits(1);
        });
        let worked = worked.unwrap();
        assert_eq!(worked.delivered, 0, "what came too late is not counted");
        let record = other.event(joins.id()).await.unwrap().unwrap();
        assert!(matches!(record.state, EventState::Succeeded { .. }), "{:?}", record.state);
        let attempts = other.attempts(&record).await.unwrap();
        let results: Vec<_> = attempts.iter().map(|attempt| &attempt.result).collect();
        assert!(
            matches!(results[..], [AttemptResult::Interrupted, AttemptResult::Confirmed(_)]),
            "{results:?}"
        );
        has_one_outcome_each(&other, &[joins]).await;
    }
}

#[test]
fn a_late_worker_is_not_heard() {
    let store = MemoryStore::new();
    run(late_worker_is_not_heard(store.clone(), store));
}

#[test]
fn a_worker_that_was_paused_before_it_sends_sends_nothing() {
    run(async {
        let application = MemoryConnector::new().recording();
        let connectors = Connectors::new().with(crm(), application.clone());
        let mut store = Mortal::new(MemoryStore::new(), None);
        let prompt = Outbox::open_with(store.clone(), options()).await.unwrap();
        let joins = Event::provision(&crm(), &person(0), named("smith")).occurred_at(at(1));
        prompt.accept(joins.clone(), at(1)).await.unwrap();
        // It wakes up when the lease would end before the operation may.
        store.commit_lasts = std::time::Duration::from_secs(190);
        let slow = Outbox::open_with(store, options()).await.unwrap();
        assert_eq!(slow.work(&connectors, at(10)).await.unwrap().delivered, 0);
        assert!(application.requests().is_empty());
        assert_eq!(prompt.work(&connectors, at(1_000)).await.unwrap().delivered, 1);
        let record = prompt.event(joins.id()).await.unwrap().unwrap();
        assert_eq!(record.attempts, 2, "the first one is on record as interrupted");
        has_one_outcome_each(&prompt, &[joins]).await;
    });
}
