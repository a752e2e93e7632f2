use vault_core::conformance;
use vault_core::{
    Argon2Cost, KeyFile, KeyProvider, MemoryAudit, MemoryIssuer, MemoryStore, Passphrase, Shamir, limits,
};

use crate::fixture::{StaticKey, at};

#[tokio::test]
async fn memory_store() {
    conformance::store(&MemoryStore::new()).await;
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn redb_store() {
    let dir = tempfile::tempdir().unwrap();
    conformance::store(&vault_core::RedbStore::open(dir.path().join("vault.redb")).unwrap()).await;
}

#[tokio::test]
async fn memory_audit() {
    conformance::audit(&MemoryAudit::new(), at(0)).await;
}

#[tokio::test]
async fn memory_issuer() {
    conformance::issuer(&MemoryIssuer::new(), "v").await;
    for issuer in [MemoryIssuer::new(), MemoryIssuer::taking_two()] {
        let account = vault_core::id::AccountName::new("admin").unwrap();
        issuer.plant(account.clone(), "old");
        let next = conformance::rotating(&issuer, &account, &"old".into()).await;
        assert!(issuer.lets_in(&account, &next) && !issuer.lets_in(&account, &"old".into()));
    }
}

#[tokio::test]
async fn passphrase() {
    let cost = Argon2Cost::new(limits::ARGON2_MEMORY_KIB_MIN, limits::ARGON2_PASSES_MIN, 1).unwrap();
    let makes = Passphrase::new("correct horse").cost(cost);
    let opens = async || Box::new(Passphrase::new("correct horse")) as Box<dyn KeyProvider>;
    conformance::keys(&makes, opens, &Passphrase::new("battery staple")).await;
}

#[tokio::test]
async fn shares() {
    let (makes, shares) = Shamir::deal(3, 5).unwrap();
    let opens = async || Box::new(Shamir::collect(shares.iter().take(3).cloned())) as Box<dyn KeyProvider>;
    let strange = Shamir::deal(3, 5).unwrap().1;
    conformance::keys(&makes, opens, &Shamir::collect(strange)).await;
}

#[tokio::test]
async fn key_file() {
    let dir = tempfile::tempdir().unwrap();
    let makes = KeyFile::create(dir.path().join("key")).unwrap();
    let opens = async || Box::new(KeyFile::open(dir.path().join("key")).unwrap()) as Box<dyn KeyProvider>;
    let strange = KeyFile::create(dir.path().join("strange")).unwrap();
    conformance::keys(&makes, opens, &strange).await;
}

#[tokio::test]
async fn a_providers_own() {
    let opens = async || Box::new(StaticKey([0x33; 32])) as Box<dyn KeyProvider>;
    conformance::keys(&StaticKey([0x33; 32]), opens, &StaticKey([0x34; 32])).await;
}
