//! Long queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use connector_health::connector::{ListedAccount, MemoryConnector};
use connector_health::outbox::Outbox;
use connector_health::{
    Confirmation, Connector, ConnectorId, Connectors, Event, Failure, MemoryStore, Operation, RedbStore,
};
use futures::stream::BoxStream;

use crate::company::{at, crm, named, options, person, run};
use crate::mortal::Mortal;

/// Over this many connectors; `benches` has the full size.
const CONNECTORS: usize = 10;
const PEOPLE: usize = 200;

fn connector(number: usize) -> ConnectorId {
    ConnectorId::new(format!("c{number}")).unwrap()
}

async fn drains<S: connector_health::OutboxStore>(outbox: &Outbox<S>) {
    let applications: Vec<_> = (0..CONNECTORS).map(|_| MemoryConnector::new()).collect();
    let mut connectors = Connectors::new();
    for (number, application) in applications.iter().enumerate() {
        connectors.insert(connector(number), Arc::new(application.clone()));
    }
    let events = (0..CONNECTORS).flat_map(|number| {
        let id = connector(number);
        (0..PEOPLE).flat_map(move |who| {
            let joins =
                Event::provision(&id, &person(who), named(&who.to_string())).occurred_at(at(who as i64));
            let leaves = Event::deprovision(&id, &person(who)).occurred_at(at(1000 + who as i64));
            [Some(joins), (who % 4 == 0).then_some(leaves)]
        })
    });
    for accepted in outbox.accept_all(events.flatten().collect(), at(5000)).await {
        accepted.unwrap();
    }
    let worked = outbox.work(&connectors, at(5000)).await.unwrap();
    assert_eq!(
        (worked.delivered, worked.superseded),
        ((CONNECTORS * PEOPLE) as u64, (CONNECTORS * PEOPLE / 4) as u64)
    );
    assert_eq!(worked.next_at, None);
    for (number, application) in applications.iter().enumerate() {
        let accounts = (0..PEOPLE).filter(|who| !application.accounts_of(&person(*who)).is_empty()).count();
        assert_eq!(accounts, PEOPLE * 3 / 4);
        assert_eq!(outbox.counts(&connector(number)).await.unwrap().queued(), 0);
    }
}

#[test]
fn a_long_queue_drains_in_one_pass() {
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        drains(&outbox).await;
    });
}

#[tokio::test]
async fn a_long_queue_in_a_file_drains_in_one_pass() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(directory.path().join("outbox.redb")).unwrap();
    drains(&Outbox::open_with(store, options()).await.unwrap()).await;
}

/// Sees how many tasks the runtime has at most.
struct Counting(MemoryConnector, Arc<AtomicUsize>);

#[async_trait]
impl Connector for Counting {
    async fn probe(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        self.1.fetch_max(tasks, Ordering::Relaxed);
        self.0.ensure(operation).await
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        self.0.accounts()
    }
}

#[test]
fn tasks_do_not_grow_with_the_queue() {
    run(async {
        let mut store = Mortal::new(MemoryStore::new(), None);
        // So that many wait for the store at any time.
        store.commit_lasts = std::time::Duration::from_millis(1);
        let outbox = Outbox::open_with(store, options()).await.unwrap();
        let joins = |who| Event::provision(&crm(), &person(who), named(&who.to_string())).occurred_at(at(1));
        for accepted in outbox.accept_all((0..CONNECTORS * PEOPLE).map(joins).collect(), at(1)).await {
            accepted.unwrap();
        }
        let tasks = Arc::default();
        let connectors = Connectors::new().with(crm(), Counting(MemoryConnector::new(), Arc::clone(&tasks)));
        let worked = outbox.work(&connectors, at(5000)).await.unwrap();
        assert_eq!(worked.delivered, (CONNECTORS * PEOPLE) as u64);
        assert!(tasks.load(Ordering::Relaxed) <= 2, "{tasks:?}: one that writes and one that reads");
    });
}
