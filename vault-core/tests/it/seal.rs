use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use vault_core::audit::Outcome;
use vault_core::seal::{Header, KeyError};
use vault_core::vault::SealError;
use vault_core::{
    Argon2Cost, KeyFile, MemoryAudit, MemoryStore, Passphrase, Shamir, Store as _, Vault, VaultError, limits,
};

use crate::fixture::{Fixture, KEY, StaticKey, at, by, password, path};

fn cheap(phrase: &str) -> Passphrase {
    let cost = Argon2Cost::new(limits::ARGON2_MEMORY_KIB_MIN, limits::ARGON2_PASSES_MIN, 1).unwrap();
    Passphrase::new(phrase).cost(cost)
}

#[tokio::test]
async fn a_passphrase_opens_what_it_sealed_and_another_says_wrong_key() {
    let (store, audit) = (MemoryStore::new(), MemoryAudit::new());
    let sealed = Vault::open(store.clone(), audit.clone());
    let vault = sealed.initialise(&cheap("correct horse"), &by("root"), at(0)).await.unwrap();
    vault.write(&path("a"), password("hunter2"), &by("root"), at(1)).await.unwrap();

    let sealed = Vault::open(store, audit);
    assert_eq!(sealed.header().await.unwrap().method(), "passphrase");
    for wrong in ["correct hors", "correct horse ", "x"] {
        let error = sealed.unseal(&Passphrase::new(wrong), &by("eve"), at(2)).await.unwrap_err();
        assert!(matches!(error, SealError::WrongKey), "{error:?}");
        assert_eq!(error.to_string(), "this does not open the vault");
    }
    // The cost is the header's, whatever is the default.
    let vault = sealed.unseal(&Passphrase::new("correct horse"), &by("root"), at(3)).await.unwrap();
    assert_eq!(vault.read(&path("a"), &by("root"), at(4)).await.unwrap(), password("hunter2"));
}

#[tokio::test]
async fn a_passphrase_has_a_length() {
    let sealed = Vault::open(MemoryStore::new(), MemoryAudit::new());
    for phrase in [String::new(), "x".repeat(limits::PASSPHRASE_BYTES_MAX + 1)] {
        let error = sealed.initialise(&cheap(&phrase), &by("root"), at(0)).await.unwrap_err();
        assert!(matches!(error, SealError::Key(KeyError::Passphrase)), "{error:?}");
    }
}

#[tokio::test]
async fn a_hostile_cost_is_not_paid() {
    let store = MemoryStore::new();
    let sealed = Vault::open(store.clone(), MemoryAudit::new());
    sealed.initialise(&cheap("p"), &by("root"), at(0)).await.unwrap();
    let header = sealed.header().await.unwrap();
    let at_in_header = 4 + 16 + 4 + 1 + header.method().len() + 2 + 1;
    // Memory, passes and lanes, each beyond and below its limit.
    for (number, value) in
        [(0, u32::MAX), (0, 1024 * 1024 + 1), (0, 8), (1, u32::MAX), (1, 1), (2, 0), (2, 17)]
    {
        let mut bytes = header.to_bytes();
        let start = at_in_header + 4 * number;
        bytes[start..start + 4].copy_from_slice(&value.to_be_bytes());
        let hostile = MemoryStore::new();
        hostile.commit(vault_core::store::Batch::new().put(*b"seal", bytes)).await.unwrap();
        let error = Vault::open(hostile, MemoryAudit::new())
            .unseal(&cheap("p"), &by("root"), at(1))
            .await
            .unwrap_err();
        assert!(matches!(error, SealError::Key(KeyError::Parameters { .. })), "{number} {value}: {error:?}");
    }
}

#[tokio::test]
async fn every_changed_byte_of_the_header_opens_nothing() {
    let fixture = Fixture::new().await;
    let header = Vault::from_store(&fixture).header().await.unwrap().to_bytes();
    for at_byte in 0..header.len() {
        let mut bytes = header.clone();
        bytes[at_byte] ^= 1;
        let hostile = MemoryStore::new();
        hostile.commit(vault_core::store::Batch::new().put(*b"seal", bytes)).await.unwrap();
        let opened = Vault::open(hostile, MemoryAudit::new()).unseal(&KEY, &by("root"), at(1)).await;
        assert!(opened.is_err(), "byte {at_byte}");
    }
    for length in 0..header.len() {
        let cut = Header::parse(&header[..length]);
        assert!(cut.is_err() || length >= header.len() - 36, "{length} bytes are no header");
        let hostile = MemoryStore::new();
        hostile.commit(vault_core::store::Batch::new().put(*b"seal", &header[..length])).await.unwrap();
        let opened = Vault::open(hostile, MemoryAudit::new()).unseal(&KEY, &by("root"), at(1)).await;
        assert!(opened.is_err(), "{length} bytes");
    }
}

trait FromStore {
    fn from_store(fixture: &Fixture) -> vault_core::SealedVault;
}

impl FromStore for Vault {
    fn from_store(fixture: &Fixture) -> vault_core::SealedVault {
        Vault::open(fixture.store.clone(), fixture.audit.clone())
    }
}

#[tokio::test]
async fn a_sealed_vault_does_nothing_and_opens_again() {
    let fixture = Fixture::new().await;
    let (vault, clone) = (fixture.vault.clone(), fixture.vault.clone());
    vault.write(&path("a"), password("hunter2"), &by("root"), at(1)).await.unwrap();
    let sealed = vault.reseal(&by("root"), at(2)).await.unwrap();
    let records = fixture.records();
    let read = clone.read(&path("a"), &by("root"), at(3)).await.unwrap_err();
    assert!(matches!(read, vault_core::vault::SecretError::Vault(VaultError::Sealed)), "{read:?}");
    assert!(matches!(clone.list("", None, 10, &by("root"), at(3)).await, Err(VaultError::Sealed)));
    assert!(clone.rotate_data_key(&by("root"), at(3)).await.is_err());
    assert!(clone.rotate_key_encryption_key(&KEY, &KEY, &by("root"), at(3)).await.is_err());
    assert_eq!(fixture.records(), records);
    sealed.unseal(&KEY, &by("root"), at(4)).await.unwrap();
    assert_eq!(clone.read(&path("a"), &by("root"), at(5)).await.unwrap(), password("hunter2"));
}

#[tokio::test]
async fn sealing_happens_where_no_record_can_be_written() {
    let fixture = Fixture::new().await;
    fixture.audit.break_down();
    fixture.vault.reseal(&by("root"), at(2)).await.unwrap_err();
    assert!(matches!(fixture.vault.id().await, Err(VaultError::Sealed)));
}

#[tokio::test]
async fn a_vault_is_initialised_once() {
    let fixture = Fixture::new().await;
    let again = Vault::from_store(&fixture).initialise(&KEY, &by("root"), at(1)).await.unwrap_err();
    assert!(matches!(again, SealError::Exists), "{again:?}");
    let empty = Vault::open(MemoryStore::new(), MemoryAudit::new());
    assert!(matches!(empty.unseal(&KEY, &by("root"), at(1)).await, Err(SealError::Absent)));
}

#[tokio::test]
async fn the_lock_is_changed_by_who_can_open_it() {
    let fixture = Fixture::new().await;
    let vault = &fixture.vault;
    vault.write(&path("a"), password("hunter2"), &by("root"), at(1)).await.unwrap();
    let records = fixture.records();
    let stranger = StaticKey([9; 32]);
    let refused = vault.rotate_key_encryption_key(&stranger, &stranger, &by("eve"), at(2)).await.unwrap_err();
    assert!(matches!(refused, SealError::WrongKey), "{refused:?}");
    assert_eq!(
        fixture.told(records),
        [("vault.key_encryption_key_rotated".to_owned(), Outcome::Blocked, Some("wrong_key"))]
    );
    let next = cheap("next");
    vault.rotate_key_encryption_key(&KEY, &next, &by("root"), at(3)).await.unwrap();
    // In use all the while, and with the new lock from then on.
    assert_eq!(vault.read(&path("a"), &by("root"), at(4)).await.unwrap(), password("hunter2"));
    vault.write(&path("b"), password("b"), &by("root"), at(4)).await.unwrap();
    let sealed = Vault::from_store(&fixture);
    assert_eq!(sealed.header().await.unwrap().seal(), 2);
    let old = sealed.unseal(&KEY, &by("root"), at(5)).await.unwrap_err();
    assert!(matches!(old, SealError::WrongMethod { .. }), "{old:?}");
    let opened = sealed.unseal(&cheap("next"), &by("root"), at(6)).await.unwrap();
    assert_eq!(opened.read(&path("b"), &by("root"), at(7)).await.unwrap(), password("b"));
}

#[tokio::test]
async fn shares_replace_a_passphrase() {
    let fixture = Fixture::new().await;
    let (dealt, shares) = Shamir::deal(2, 3).unwrap();
    fixture.vault.rotate_key_encryption_key(&KEY, &dealt, &by("root"), at(1)).await.unwrap();
    let opens = Shamir::collect(shares.into_iter().skip(1));
    let sealed = Vault::from_store(&fixture);
    sealed.unseal(&opens, &by("root"), at(2)).await.unwrap();
    // What opens a seal makes no new one.
    let error =
        Vault::open(MemoryStore::new(), MemoryAudit::new()).initialise(&opens, &by("root"), at(3)).await;
    assert!(matches!(error, Err(SealError::Key(KeyError::NotNew))));
}

#[tokio::test]
async fn a_wrong_key_is_on_record_and_nothing_is_said_of_it() {
    let fixture = Fixture::new().await;
    let records = fixture.records();
    let sealed = Vault::from_store(&fixture);
    sealed.unseal(&StaticKey([2; 32]), &by("eve"), at(1)).await.unwrap_err();
    assert_eq!(fixture.told(records), [("vault.unsealed".to_owned(), Outcome::Blocked, Some("wrong_key"))]);
    fixture.audit.break_down();
    let unrecorded = sealed.unseal(&KEY, &by("root"), at(2)).await.unwrap_err();
    assert!(matches!(unrecorded, SealError::Vault(VaultError::Unrecorded(_))), "{unrecorded:?}");
}

#[test]
fn a_key_file_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    KeyFile::create(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    KeyFile::open(&file).unwrap();
    assert!(KeyFile::create(&file).is_err(), "one that is there is not written over");

    let link = dir.path().join("link");
    symlink(&file, &link).unwrap();
    assert!(KeyFile::open(&link).unwrap_err().to_string().contains("it is a link"));
    let mode =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for exposed in [0o640, 0o604, 0o620, 0o602, 0o610] {
        mode(&file, exposed);
        assert!(KeyFile::open(&file).unwrap_err().to_string().contains("others"), "{exposed:o}");
    }
    mode(&file, 0o400);
    KeyFile::open(&file).unwrap();
    let other = dir.path().join("other");
    fs::hard_link(&file, &other).unwrap();
    assert!(KeyFile::open(&file).unwrap_err().to_string().contains("another name"));
    fs::remove_file(&other).unwrap();
    mode(dir.path(), 0o770);
    assert!(KeyFile::open(&file).unwrap_err().to_string().contains("write the directory"));
    assert!(KeyFile::create(dir.path().join("new")).is_err());
    mode(dir.path(), 0o700);
    assert!(KeyFile::open(dir.path()).is_err(), "a directory is no key");
}

#[test]
fn a_key_file_holds_a_key_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    KeyFile::create(&file).unwrap();
    let good = fs::read(&file).unwrap();
    let mut upper = good.to_ascii_uppercase();
    upper[..18].copy_from_slice(&good[..18]);
    let bad: [&[u8]; 6] =
        [b"", &good[..good.len() - 1], &good[..40], &[&good[..], b"x"].concat(), &upper, &[b'x'; 100_000]];
    for bytes in bad {
        fs::write(&file, bytes).unwrap();
        assert!(KeyFile::open(&file).unwrap_err().to_string().contains("does not hold a key"));
    }
}

#[test]
fn a_pipe_in_the_place_of_a_key_file_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("key");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(KeyFile::open(&pipe).unwrap_err().to_string().contains("no ordinary file"));
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn a_key_does_not_lie_beside_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let sealed =
        Vault::open(vault_core::RedbStore::open(dir.path().join("vault.redb")).unwrap(), MemoryAudit::new());
    let beside = KeyFile::create(dir.path().join("key")).unwrap();
    let error = sealed.initialise(&beside, &by("root"), at(0)).await.unwrap_err();
    assert!(matches!(error, SealError::KeyBesideStore), "{error:?}");
    let elsewhere = tempfile::tempdir().unwrap();
    let key = KeyFile::create(elsewhere.path().join("key")).unwrap();
    let vault = sealed.initialise(&key, &by("root"), at(0)).await.unwrap();
    let sealed = vault.reseal(&by("root"), at(1)).await.unwrap();
    sealed.unseal(&KeyFile::open(elsewhere.path().join("key")).unwrap(), &by("root"), at(2)).await.unwrap();
}
