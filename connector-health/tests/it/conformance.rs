use std::sync::Arc;

use async_trait::async_trait;
use connector_health::conformance::{self, Loss, Renaming, Seen, Subject};
use connector_health::connector::{
    Confirmation, Leaving, ListedAccount, MemoryConnector, Mode, Operation, Target,
};
use connector_health::event::Attribute;
use connector_health::{Connector, EntitlementId, Failure, MemoryStore, PersonId, RedbStore};
use futures::stream::BoxStream;

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

struct InMemory(MemoryConnector, Arc<dyn Connector>, Renaming);

impl InMemory {
    fn new(leaving: Leaving) -> Self {
        let application = MemoryConnector::new().leaving(leaving);
        Self(application.clone(), Arc::new(application), Renaming::Possible)
    }

    fn flawed(flaw: Flaw, renaming: Renaming) -> Self {
        let application = MemoryConnector::new().leaving(Leaving::Disables);
        Self(application.clone(), Arc::new(Flawed(application, flaw)), renaming)
    }
}

impl Subject for InMemory {
    fn connector(&self) -> &dyn Connector {
        self.1.as_ref()
    }

    fn renaming(&self) -> Renaming {
        self.2
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
        conformance::connector(&InMemory::new(leaving)).await;
    }
}

/// What a connector may do wrong with the name of somebody who left.
#[derive(Clone, Copy)]
enum Flaw {
    KeepsName,
    TakesName,
    /// It renames nobody.
    Fixed {
        says_so: bool,
    },
}

struct Flawed(MemoryConnector, Flaw);

#[async_trait]
impl Connector for Flawed {
    async fn probe(&self) -> Result<(), Failure> {
        self.0.probe().await
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        let Self(application, flaw) = self;
        match (operation, flaw) {
            (Operation::Attributes { changes, .. }, Flaw::Fixed { .. })
                if changes.contains_key("userName") =>
            {
                Err(Failure::new(connector_health::connector::FailureKind::Unsupported, "nobody is renamed"))
            }
            (Operation::Deprovision { target }, flaw) => {
                let known = application.accounts_of(&target.person).pop();
                let has = known.and_then(|account| account.attributes.get("userName").cloned());
                let unnamed = Target { unique: [].into(), ..target.clone() };
                let mut left =
                    application.ensure(&Operation::Deprovision { target: unnamed.clone() }).await?;
                let own = target.unique["userName"].clone();
                let is_foreign = has.is_some_and(|has| has != Attribute::Unique(own.clone()));
                match flaw {
                    Flaw::TakesName if is_foreign => {
                        let changes = [("userName".to_owned(), Some(Attribute::Unique(own)))].into();
                        application.ensure(&Operation::Attributes { target: unnamed, changes }).await.ok();
                    }
                    Flaw::Fixed { says_so: true } if is_foreign => {
                        left.residuals.push("`userName` cannot be changed".to_owned());
                    }
                    _ => {}
                }
                Ok(left)
            }
            _ => application.ensure(operation).await,
        }
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        self.0.accounts()
    }
}

#[tokio::test]
#[should_panic(expected = "keeps a name that a rename would have freed")]
async fn a_connector_that_keeps_the_name_of_a_leaver_does_not_conform() {
    conformance::connector(&InMemory::flawed(Flaw::KeepsName, Renaming::Possible)).await;
}

#[tokio::test]
#[should_panic(expected = "takes a name that it has no use for")]
async fn a_connector_that_gives_a_leaver_a_name_that_others_want_does_not_conform() {
    conformance::connector(&InMemory::flawed(Flaw::TakesName, Renaming::Possible)).await;
}

#[tokio::test]
async fn a_connector_that_renames_nobody_and_says_so_conforms() {
    conformance::connector(&InMemory::flawed(Flaw::Fixed { says_so: true }, Renaming::Never)).await;
}

#[tokio::test]
#[should_panic(expected = "a name that cannot be given up is a residual")]
async fn a_connector_that_renames_nobody_and_is_silent_does_not_conform() {
    conformance::connector(&InMemory::flawed(Flaw::Fixed { says_so: false }, Renaming::Never)).await;
}
