//! Whoever can write the store: rows swapped, cut, altered, put back.

use proptest::prelude::*;
use vault_core::store::{Batch, Row};
use vault_core::vault::{HandleError, SecretError};
use vault_core::{Store as _, VaultError, limits};

use crate::fixture::{Fixture, at, by, password, path};

fn is_altered(error: &SecretError) -> bool {
    matches!(error, SecretError::Vault(VaultError::Altered))
}

#[tokio::test]
async fn rows_that_changed_places_are_noticed() {
    let fixture = Fixture::new().await;
    let (vault, root) = (&fixture.vault, by("root"));
    for name in ["a", "b", "a/b"] {
        vault.write(&path(name), password(&format!("{name} 1")), &root, at(1)).await.unwrap();
        vault.write(&path(name), password(&format!("{name} 2")), &root, at(2)).await.unwrap();
    }
    vault.wrap(&password("w"), limits::HANDLE_LIFETIME_MAX, &root, at(2)).await.unwrap();
    vault.wrap(&password("v"), limits::HANDLE_LIFETIME_MAX, &root, at(2)).await.unwrap();
    let rows = fixture.store.scan(b"", None, 100).await.unwrap();
    let sealed: Vec<_> = rows.iter().filter(|(key, _)| !key.starts_with(b"due/") && key != b"seal").collect();
    assert_eq!(sealed.len(), 3 * 3 + 2);
    let paths = ["a", "b", "a/b"].map(path);
    for (to, _) in &sealed {
        for (from, Row { value, .. }) in &sealed {
            let copy = fixture.store.snapshot();
            copy.commit(Batch::new().put(to.clone(), value.clone())).await.unwrap();
            let vault = vault_core::Vault::open(copy, vault_core::MemoryAudit::new())
                .unseal(&crate::fixture::KEY, &root, at(3))
                .await
                .unwrap();
            for path in &paths {
                for version in 1..=2 {
                    match vault.read_version(path, version, &root, at(4)).await {
                        Ok(secret) => assert_eq!(secret, password(&format!("{path} {version}"))),
                        Err(error) => assert!(is_altered(&error) && to != from, "{error:?}"),
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn all_rows_of_a_secret_in_the_place_of_another_are_noticed() {
    let fixture = Fixture::new().await;
    let (vault, root) = (&fixture.vault, by("root"));
    vault.write(&path("a"), password("mine"), &root, at(1)).await.unwrap();
    vault.write(&path("b"), password("yours"), &root, at(1)).await.unwrap();
    let mut batch = Batch::new();
    for (key, row) in fixture.store.scan(b"", None, 100).await.unwrap() {
        if key.get(5) == Some(&b'b') && key[4] == b'/' {
            let mut place = key;
            place[5] = b'a';
            batch = batch.put(place, row.value);
        }
    }
    assert_eq!(batch.writes().count(), 2);
    fixture.store.commit(batch).await.unwrap();
    assert!(is_altered(&vault.read(&path("a"), &root, at(2)).await.unwrap_err()));
    assert!(is_altered(&vault.describe(&path("a"), &root, at(2)).await.unwrap_err()));

    let handles = [
        vault.wrap(&password("w"), limits::HANDLE_LIFETIME_MAX, &root, at(3)).await.unwrap(),
        vault.wrap(&password("v"), limits::HANDLE_LIFETIME_MAX, &root, at(3)).await.unwrap(),
    ];
    let rows = fixture.store.scan(b"handle/", None, 10).await.unwrap();
    let swapped = Batch::new()
        .put(rows[0].0.clone(), rows[1].1.value.clone())
        .put(rows[1].0.clone(), rows[0].1.value.clone());
    fixture.store.commit(swapped).await.unwrap();
    for handle in handles {
        let error = vault.unwrap_handle(&handle, &root, at(4)).await.unwrap_err();
        assert!(matches!(error, HandleError::Vault(VaultError::Altered)), "{error:?}");
    }
}

#[tokio::test]
async fn an_earlier_secret_of_the_same_path_and_version_does_not_come_back() {
    let fixture = Fixture::new().await;
    let (vault, root, path) = (&fixture.vault, by("root"), path("a"));
    vault.write(&path, password("old"), &root, at(1)).await.unwrap();
    let (key, row) = fixture.store.scan(b"data/", None, 1).await.unwrap().remove(0);
    vault.remove(&path, &root, at(2)).await.unwrap();
    vault.write(&path, password("new"), &root, at(3)).await.unwrap();
    fixture.store.commit(Batch::new().put(key, row.value)).await.unwrap();
    let error = vault.read(&path, &root, at(4)).await.unwrap_err();
    assert!(is_altered(&error), "{error:?}");
}

#[tokio::test]
async fn a_row_that_was_taken_away_is_missed() {
    let fixture = Fixture::new().await;
    let (vault, root, path) = (&fixture.vault, by("root"), path("a"));
    vault.write(&path, password("x"), &root, at(1)).await.unwrap();
    let (key, _) = fixture.store.scan(b"data/", None, 1).await.unwrap().remove(0);
    fixture.store.commit(Batch::new().delete(key)).await.unwrap();
    let records = fixture.records();
    assert!(is_altered(&vault.read(&path, &root, at(2)).await.unwrap_err()));
    use vault_core::audit::Outcome::{Failure, Success};
    assert_eq!(
        fixture.told(records),
        [("secret.read".to_owned(), Success, None), ("secret.read".to_owned(), Failure, Some("altered"))]
    );
}

#[tokio::test]
async fn every_altered_bit_and_every_length_of_a_row_is_noticed() {
    let fixture = Fixture::new().await;
    let (vault, root) = (&fixture.vault, by("root"));
    vault.write(&path("a"), password("x"), &root, at(1)).await.unwrap();
    let handle = vault.wrap(&password("w"), limits::HANDLE_LIFETIME_MAX, &root, at(2)).await.unwrap();
    for prefix in [b"data/".as_slice(), b"meta/", b"handle/"] {
        let (key, row) = fixture.store.scan(prefix, None, 1).await.unwrap().remove(0);
        let altered = (0..row.value.len() * 8).map(|bit| {
            let mut value = row.value.clone();
            value[bit / 8] ^= 1 << (bit % 8);
            value
        });
        let cut = (0..row.value.len()).map(|length| row.value[..length].to_vec());
        for value in altered.chain(cut) {
            fixture.store.commit(Batch::new().put(key.clone(), value)).await.unwrap();
            if prefix == b"handle/" {
                let error = vault.unwrap_handle(&handle, &root, at(3)).await.unwrap_err();
                assert!(matches!(
                    error,
                    HandleError::Vault(VaultError::Altered | VaultError::KeyMissing { .. })
                ));
            } else {
                let error = vault.read(&path("a"), &root, at(3)).await.unwrap_err();
                let SecretError::Vault(VaultError::Altered | VaultError::KeyMissing { .. }) = error else {
                    panic!("{error:?}")
                };
            }
        }
        fixture.store.commit(Batch::new().put(key, row.value)).await.unwrap();
    }
    vault.read(&path("a"), &root, at(4)).await.unwrap();
    vault.unwrap_handle(&handle, &root, at(4)).await.unwrap();
}

#[tokio::test]
async fn a_due_row_that_was_changed_ends_no_handle_early() {
    let fixture = Fixture::new().await;
    let (vault, root) = (&fixture.vault, by("root"));
    let handle = vault.wrap(&password("w"), limits::HANDLE_LIFETIME_MAX, &root, at(0)).await.unwrap();
    let (key, _) = fixture.store.scan(b"due/", None, 1).await.unwrap().remove(0);
    let mut early = key.clone();
    early[4..12].copy_from_slice(&(1u64 << 63).to_be_bytes());
    fixture.store.commit(Batch::new().delete(key).put(early, Vec::new())).await.unwrap();
    assert_eq!(vault.sweep_handles(10, &root, at(1)).await.unwrap(), 1);
    assert_eq!(vault.unwrap_handle(&handle, &root, at(2)).await.unwrap(), password("w"));
    for junk in [b"due/".to_vec(), b"due/short".to_vec(), [b"due/".as_slice(), &[0; 7]].concat()] {
        fixture.store.commit(Batch::new().put(junk.clone(), Vec::new())).await.unwrap();
        let swept = vault.sweep_handles(10, &root, at(3)).await;
        assert!(matches!(swept, Err(VaultError::Altered)) || swept.is_ok());
        fixture.store.commit(Batch::new().delete(junk)).await.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_it_panic(
        row in prop_oneof![Just("seal"), Just("meta/a"), Just("data/a\0\0\0\0\u{1}"), Just("restored"), Just("meta/\n")],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        keeps_head in any::<bool>(),
    ) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let fixture = Fixture::new().await;
            let root = by("root");
            fixture.vault.write(&path("a"), password("x"), &root, at(1)).await.unwrap();
            let known = fixture.store.read(row.as_bytes()).await.unwrap();
            let head = known.filter(|_| keeps_head).map(|row| row.value[..row.value.len().min(50)].to_vec());
            let value = [head.unwrap_or_default(), bytes].concat();
            fixture.store.commit(Batch::new().put(row, value)).await.unwrap();
            let _ = fixture.vault.read(&path("a"), &root, at(2)).await;
            let _ = fixture.vault.list("", None, 10, &root, at(2)).await;
            let _ = fixture.vault.retire_data_keys(&root, at(2)).await;
            let sealed = vault_core::Vault::open(fixture.store.clone(), fixture.audit.clone());
            let _ = sealed.unseal(&crate::fixture::KEY, &root, at(3)).await;
        });
    }
}
