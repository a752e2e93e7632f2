//! Long queues.

use connector_health::connector::MemoryConnector;
use connector_health::outbox::Outbox;
use connector_health::{ConnectorId, Connectors, Event, MemoryStore, RedbStore};

use crate::company::{at, named, options, person, run};

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
        connectors.insert(connector(number), std::sync::Arc::new(application.clone()));
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
