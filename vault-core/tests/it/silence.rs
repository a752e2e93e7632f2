//! Planted secrets are looked for in whatever can be shown.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use vault_core::seal::KeyEncryptionKey;
use vault_core::{
    KeyFile, MemoryAudit, MemoryStore, Passphrase, Secret, SecretString, Shamir, Store as _, Vault, Write,
};

use crate::fixture::{Fixture, at, by, password, path};

const PLANTED: &str = "hunter2hunter2";

#[test]
fn debug_shows_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (dealt, shares) = Shamir::deal(2, 2).unwrap();
    let share = shares[0].expose();
    let key = KeyEncryptionKey::new(&[0x41; 32]);
    let shown = [
        format!("{:?}", SecretString::from(PLANTED)),
        format!("{:?}", password(PLANTED)),
        format!("{:#?}", Secret::KeyValue(BTreeMap::from([(PLANTED.to_owned(), PLANTED.into())]))),
        format!("{:?}", Secret::SshKey { private_key: PLANTED.into(), public_key: Some(PLANTED.to_owned()) }),
        format!("{:?}", Secret::Certificate { chain: PLANTED.to_owned(), private_key: PLANTED.into() }),
        format!("{:?}", Write::of(password(PLANTED))),
        format!("{:?}", Passphrase::new(PLANTED)),
        format!("{:?}", KeyFile::create(dir.path().join("key")).unwrap()),
        format!("{dealt:?} {shares:?} {key:?}"),
    ];
    let file = std::fs::read_to_string(dir.path().join("key")).unwrap();
    for shown in shown {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains("65") && !shown.contains("AAAA"), "{shown}");
        assert!(!shown.contains(&share[20..30]) && !shown.contains(&file[20..30]), "{shown}");
    }
}

#[tokio::test]
async fn records_errors_and_rows_hold_no_secret() {
    let fixture = Fixture::new().await;
    let (vault, root, a) = (&fixture.vault, by("root"), path("a"));
    let mut said = Vec::new();
    vault.write(&a, password(PLANTED), &root, at(1)).await.unwrap();
    let handle = vault.wrap(&password(PLANTED), TimeDelta::minutes(1), &root, at(1)).await.unwrap();
    vault.unwrap_handle(&handle, &root, at(2)).await.unwrap();
    said.push(format!("{:?}", vault.unwrap_handle(&handle, &root, at(2)).await.unwrap_err()));
    let large = password(&PLANTED.repeat(100_000));
    said.push(format!("{:?}", vault.write(&a, large, &root, at(2)).await.unwrap_err()));
    said.push(format!("{vault:?} {handle:?}"));
    let sealed = Vault::open(MemoryStore::new(), MemoryAudit::new());
    let error = sealed.initialise(&Passphrase::new(PLANTED.repeat(1000)), &root, at(0)).await.unwrap_err();
    said.push(format!("{error:?} {error}"));
    for event in fixture.audit.events() {
        said.push(format!("{event:?} {}", serde_json::to_string(&event).unwrap()));
    }
    for (key, row) in fixture.store.scan(b"", None, 100).await.unwrap() {
        said.push(String::from_utf8_lossy(&key).into_owned());
        said.push(String::from_utf8_lossy(&row.value).into_owned());
    }
    for said in said {
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn keys_lie_in_locked_memory_where_the_system_allows_it() {
    let fixture = Fixture::new().await;
    // What the system says when it is asked for one page more.
    let page = [0u8; 64];
    let allows = region::lock(page.as_ptr(), page.len()).is_ok();
    assert_eq!(fixture.vault.keys_are_locked().await.unwrap(), allows);
}

#[cfg(target_os = "linux")]
#[test]
fn dumps_are_forbidden_when_asked() {
    vault_core::memory::forbid_dumps().unwrap();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    assert_eq!(limit.maximum, Some(0));
    let dumpable = rustix::process::dumpable_behavior().unwrap();
    assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
}

#[test]
fn secrets_are_compared_whole() {
    assert_eq!(SecretString::from("a"), SecretString::from("a".to_owned()));
    assert_ne!(SecretString::from("a"), SecretString::from("b"));
    assert_ne!(SecretString::from("a"), SecretString::from("aa"));
    assert_ne!(SecretString::from(""), SecretString::from("a"));
}
