#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use libfuzzer_sys::fuzz_target;
use vault_core::id::{SessionId, TargetId};
use vault_core::seal::{KeyEncryptionKey, KeyError};
use vault_core::store::Batch;
use vault_core::vault::Walk;
use vault_core::{
    ActorId, Caller, Handle, Issuer, KeyProvider, MemoryAudit, MemoryIssuer, MemoryStore, Secret, SecretPath,
    Store as _, Vault,
};

struct StaticKey;

#[async_trait]
impl KeyProvider for StaticKey {
    fn method(&self) -> &'static str {
        "static"
    }

    async fn create(&self) -> Result<(KeyEncryptionKey, Vec<u8>), KeyError> {
        Ok((KeyEncryptionKey::new(&[7; 32]), Vec::new()))
    }

    async fn recover(&self, _: &[u8]) -> Result<KeyEncryptionKey, KeyError> {
        Ok(KeyEncryptionKey::new(&[7; 32]))
    }
}

struct Made {
    runtime: tokio::runtime::Runtime,
    store: MemoryStore,
    handle: Handle,
    credential: String,
    issuers: BTreeMap<TargetId, Arc<dyn Issuer>>,
    by: Caller,
    path: SecretPath,
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_000_000, 0).expect("a time")
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let by = Caller::new(ActorId::new("fuzz").expect("an id"));
    let path = SecretPath::new("a").expect("a path");
    let store = MemoryStore::new();
    let issuer = MemoryIssuer::new();
    let target = TargetId::new("t").expect("an id");
    let issuers = BTreeMap::from([(target.clone(), Arc::new(issuer.clone()) as Arc<dyn Issuer>)]);
    let (handle, credential) = runtime.block_on(async {
        let sealed = Vault::open(store.clone(), MemoryAudit::new());
        let vault = sealed.initialise(&StaticKey, &by, now()).await.expect("a vault");
        vault.write(&path, Secret::Password("x".into()), &by, now()).await.expect("written");
        let session = SessionId::new("s").expect("an id");
        let lifetime = TimeDelta::minutes(1);
        let issued = vault.issue(&issuer, &target, &session, lifetime, &by, now()).await.expect("issued");
        let handle = vault.wrap(&Secret::Password("y".into()), lifetime, &by, now()).await.expect("wrapped");
        (handle, issued.credential().id.clone())
    });
    Made { runtime, store, handle, credential, issuers, by, path }
});

// Whoever can write the store puts these bytes into one of its rows, or beside them. Nothing panics, and no secret is read that was not written.
fuzz_target!(|input: (u8, u8, &[u8])| {
    let (row, keep, bytes) = input;
    let Made { runtime, store, handle, credential, issuers, by, path } = &*MADE;
    runtime.block_on(async {
        let store = store.snapshot();
        let rows = store.scan(b"", None, 100).await.expect("rows");
        let (key, known) = &rows[usize::from(row) % rows.len()];
        let (key, value) = if row & 0x80 == 0 {
            let kept = &known.value[..usize::from(keep).min(known.value.len())];
            (key.clone(), [kept, bytes].concat())
        } else {
            (bytes.iter().copied().take(100).collect(), known.value.clone())
        };
        store.commit(Batch::new().put(key, value)).await.expect("written");
        let sealed = Vault::open(store, MemoryAudit::new());
        let Ok(vault) = sealed.unseal(&StaticKey, by, now()).await else { return };
        if let Ok(secret) = vault.read(path, by, now()).await {
            assert_eq!(secret, Secret::Password("x".into()));
        }
        let _ = vault.describe(path, by, now()).await;
        let _ = vault.list("", None, 10, by, now()).await;
        let _ = vault.sweep_handles(10, by, now()).await;
        if let Ok(secret) = vault.unwrap_handle(handle, by, now()).await {
            assert_eq!(secret, Secret::Password("y".into()));
        }
        let _ = vault.credential(credential).await;
        let _ = vault.recover_credentials(issuers, None, 10, by, now()).await;
        let _ = vault.reencrypt(&Walk::default(), 10, by, now()).await;
        let _ = vault.retire_data_keys(by, now()).await;
    });
});
