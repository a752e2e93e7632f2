use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use vault_core::audit::Outcome;
use vault_core::seal::{KeyEncryptionKey, KeyError};
use vault_core::{
    ActorId, AuditEvent, Caller, KeyProvider, MemoryAudit, MemoryStore, Secret, SecretPath, Vault,
};

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

pub(crate) fn by(actor: &str) -> Caller {
    Caller::new(ActorId::new(actor).unwrap())
}

pub(crate) fn path(path: &str) -> SecretPath {
    SecretPath::new(path).unwrap()
}

pub(crate) fn password(text: &str) -> Secret {
    Secret::Password(text.into())
}

/// Opens at once, which Argon2id does not.
pub(crate) struct StaticKey(pub(crate) [u8; 32]);

#[async_trait]
impl KeyProvider for StaticKey {
    fn method(&self) -> &'static str {
        "static"
    }

    async fn create(&self) -> Result<(KeyEncryptionKey, Vec<u8>), KeyError> {
        Ok((KeyEncryptionKey::new(&self.0), b"p".to_vec()))
    }

    async fn recover(&self, parameters: &[u8]) -> Result<KeyEncryptionKey, KeyError> {
        match parameters {
            b"p" => Ok(KeyEncryptionKey::new(&self.0)),
            _ => Err(KeyError::Parameters { what: "not mine" }),
        }
    }
}

pub(crate) const KEY: StaticKey = StaticKey([1; 32]);

pub(crate) struct Fixture {
    pub(crate) store: MemoryStore,
    pub(crate) audit: MemoryAudit,
    pub(crate) vault: Vault,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let (store, audit) = (MemoryStore::new(), MemoryAudit::new());
        let vault =
            Vault::open(store.clone(), audit.clone()).initialise(&KEY, &by("root"), at(0)).await.unwrap();
        Self { store, audit, vault }
    }

    /// A new process over the same store and the same records.
    pub(crate) async fn reopened(&self) -> Vault {
        Vault::open(self.store.clone(), self.audit.clone()).unseal(&KEY, &by("root"), at(1)).await.unwrap()
    }

    /// Type, outcome and reason of the records from this one on.
    pub(crate) fn told(&self, from: usize) -> Vec<(String, Outcome, Option<&'static str>)> {
        let events = self.audit.events();
        let told = |event: &AuditEvent| (event.event_type.as_str().to_owned(), event.outcome, event.reason);
        events[from..].iter().map(told).collect()
    }

    pub(crate) fn records(&self) -> usize {
        self.audit.events().len()
    }
}
