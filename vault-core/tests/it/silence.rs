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

/// A text that is nowhere else in memory, and what it is looked for by.
#[cfg(target_os = "linux")]
fn planted() -> (zeroize::Zeroizing<String>, Vec<u8>) {
    let mut random = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut random))
        .unwrap();
    let mut text = zeroize::Zeroizing::new(String::with_capacity(32));
    data_encoding::HEXLOWER.encode_append(&random, &mut text);
    let turned = text.bytes().map(|byte| !byte).collect();
    (text, turned)
}

/// The text itself, moved and not copied.
#[cfg(target_os = "linux")]
fn taken(mut text: zeroize::Zeroizing<String>) -> String {
    std::mem::take(&mut *text)
}

/// How often it is in this process's memory that can be written.
#[cfg(target_os = "linux")]
fn found(turned: &[u8]) -> usize {
    use std::os::unix::fs::FileExt as _;
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let [mut at, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
        while at < end {
            let bytes = buffer.len().min(usize::try_from(end - at).unwrap());
            // A page that is gone meanwhile holds nothing.
            let Ok(read) = memory.read_at(&mut buffer[..bytes], at) else { break };
            if read == 0 {
                break;
            }
            let fits = |part: &[u8]| part.iter().zip(turned).all(|(byte, turned)| *byte == !*turned);
            found += buffer[..read].windows(turned.len()).filter(|part| fits(part)).count();
            at += u64::try_from(read).unwrap();
        }
    }
    buffer.fill(0);
    found
}

/// In one test, since what forbids dumps forbids looking as well.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_stays_in_memory_that_was_let_go_and_dumps_are_forbidden_when_asked() {
    let (secret, secret_turned) = planted();
    let (phrase, phrase_turned) = planted();
    assert!(found(&secret_turned) >= 1, "what is there is found");
    {
        let (root, a) = (by("root"), path("a"));
        let sealed = Vault::open(MemoryStore::new(), MemoryAudit::new());
        let cost = vault_core::Argon2Cost::new(19 * 1024, 2, 1).unwrap();
        let phrase = Passphrase::new(SecretString::new(taken(phrase))).cost(cost);
        let vault = sealed.initialise(&phrase, &root, at(0)).await.unwrap();
        let text = SecretString::new(taken(secret));
        let fields = BTreeMap::from([("x".to_owned(), text.clone())]);
        vault.write(&a, Secret::KeyValue(fields), &root, at(1)).await.unwrap();
        let read = vault.read(&a, &root, at(2)).await.unwrap();
        let handle = vault.wrap(&read, TimeDelta::minutes(1), &root, at(3)).await.unwrap();
        vault.unwrap_handle(&handle, &root, at(4)).await.unwrap();
        vault.rotate_data_key(&root, at(5)).await.unwrap();
        vault.reencrypt(&vault_core::vault::Walk::default(), 100, &root, at(6)).await.unwrap();
        let issuer = vault_core::MemoryIssuer::new();
        let target = vault_core::id::TargetId::new("t").unwrap();
        let admin = vault_core::id::AccountName::new("admin").unwrap();
        issuer.plant(admin.clone(), text.clone());
        vault.rotate_account(&issuer, &target, &admin, &text, &root, at(7)).await.unwrap();
        let sealed = vault.reseal(&root, at(8)).await.unwrap();
        sealed.unseal(&phrase, &root, at(9)).await.unwrap();
    }
    assert_eq!(found(&secret_turned), 0, "the secret");
    assert_eq!(found(&phrase_turned), 0, "the passphrase");

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
