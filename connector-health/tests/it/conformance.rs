use connector_health::conformance::{self, Loss, Seen, Subject};
use connector_health::connector::{Leaving, MemoryConnector, Mode};
use connector_health::event::Attribute;
use connector_health::{Connector, EntitlementId, MemoryStore, PersonId, RedbStore};

#[tokio::test]
async fn memory_store_conforms() {
    let store = MemoryStore::new();
    conformance::store(async || store.clone()).await;
}

#[tokio::test]
async fn redb_store_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conformance::store(async || RedbStore::open(directory.path().join("outbox.redb")).unwrap()).await;
}

struct InMemory(MemoryConnector);

impl Subject for InMemory {
    fn connector(&self) -> &dyn Connector {
        &self.0
    }

    fn unique_name(&self) -> String {
        "userName".to_owned()
    }

    fn attribute_name(&self) -> String {
        "title".to_owned()
    }

    fn right(&self) -> EntitlementId {
        EntitlementId::new("group").unwrap()
    }

    async fn accounts_of(&self, person: &PersonId) -> Vec<Seen> {
        let seen = self.0.accounts_of(person).into_iter().map(|account| Seen {
            access: account.access,
            name: account.attributes.get("userName").map(|name| match name {
                Attribute::Unique(name) => name.clone(),
                other => panic!("{other:?}"),
            }),
            attribute: account.attributes.get("title").map(|title| match title {
                Attribute::Plain(title) => title.as_str().unwrap().to_owned(),
                other => panic!("{other:?}"),
            }),
            rights: account.rights,
        });
        seen.collect()
    }

    fn lose_next_answer(&self) -> Loss {
        self.0.next([Mode::LostResponse]);
        Loss::Armed
    }
}

#[tokio::test]
async fn memory_connector_conforms() {
    for leaving in [Leaving::Deletes, Leaving::Disables] {
        conformance::connector(&InMemory(MemoryConnector::new().leaving(leaving))).await;
    }
}
