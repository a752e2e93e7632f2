use vault_core::store::{Batch, Row};
use vault_core::vault::{DataKeyError, Walk};
use vault_core::{Store as _, Vault, VaultError, limits};

use crate::fixture::{Fixture, KEY, at, by, password, path};

async fn reencrypted(vault: &Vault, rows: usize) -> (usize, usize) {
    let (mut walk, mut moved, mut steps) = (Walk::default(), 0, 0);
    loop {
        let walked = vault.reencrypt(&walk, rows, &by("root"), at(5)).await.unwrap();
        (moved, steps) = (moved + walked.moved, steps + 1);
        match walked.next {
            // It can be written down in between.
            Some(next) => walk = serde_json::from_str(&serde_json::to_string(&next).unwrap()).unwrap(),
            None => return (moved, steps),
        }
    }
}

#[tokio::test]
async fn old_versions_stay_readable_and_move_when_asked() {
    let fixture = Fixture::new().await;
    let (vault, root) = (&fixture.vault, by("root"));
    let handle = vault.wrap(&password("wrapped"), limits::HANDLE_LIFETIME_MAX, &root, at(0)).await.unwrap();
    for number in 0..25 {
        vault
            .write(&path(&format!("s/{number}")), password(&number.to_string()), &root, at(1))
            .await
            .unwrap();
    }
    assert_eq!(vault.rotate_data_key(&root, at(2)).await.unwrap(), 2);
    assert_eq!(vault.read(&path("s/3"), &root, at(3)).await.unwrap(), password("3"));
    vault.write(&path("s/3"), password("new"), &root, at(3)).await.unwrap();
    assert!(vault.retire_data_keys(&root, at(4)).await.unwrap().is_empty(), "the first key is in use");
    let (moved, steps) = reencrypted(vault, 7).await;
    // 25 descriptions but one, 25 versions, one handle.
    assert_eq!(moved, 24 + 25 + 1);
    assert!(steps > 8, "{steps}");
    assert_eq!(reencrypted(vault, 1000).await.0, 0, "the second time nothing is left");
    assert_eq!(vault.retire_data_keys(&root, at(6)).await.unwrap(), [1]);
    for vault in [vault.clone(), fixture.reopened().await] {
        assert_eq!(vault.data_keys().await.unwrap(), [2]);
        assert_eq!(vault.read(&path("s/3"), &root, at(7)).await.unwrap(), password("new"));
        assert_eq!(vault.read_version(&path("s/3"), 1, &root, at(7)).await.unwrap(), password("3"));
        assert_eq!(vault.read(&path("s/24"), &root, at(7)).await.unwrap(), password("24"));
    }
    assert_eq!(vault.unwrap_handle(&handle, &root, at(8)).await.unwrap(), password("wrapped"));
}

#[tokio::test]
async fn what_is_written_meanwhile_is_not_written_over() {
    let fixture = Fixture::new().await;
    let (vault, root) = (&fixture.vault, by("root"));
    for number in 0..50 {
        vault.write(&path(&number.to_string()), password("old"), &root, at(1)).await.unwrap();
    }
    vault.rotate_data_key(&root, at(2)).await.unwrap();
    let writer = {
        let (vault, root) = (vault.clone(), root.clone());
        tokio::spawn(async move {
            for number in 0..50 {
                vault.write(&path(&number.to_string()), password("new"), &root, at(3)).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    reencrypted(vault, 3).await;
    writer.await.unwrap();
    reencrypted(vault, 100).await;
    assert_eq!(vault.retire_data_keys(&root, at(6)).await.unwrap(), [1]);
    for number in 0..50 {
        let path = path(&number.to_string());
        assert_eq!(vault.read(&path, &root, at(7)).await.unwrap(), password("new"));
        assert_eq!(vault.read_version(&path, 1, &root, at(7)).await.unwrap(), password("old"));
    }
}

#[tokio::test]
async fn keys_are_bounded() {
    let fixture = Fixture::new().await;
    let root = by("root");
    for _ in 1..limits::DATA_KEYS_MAX {
        fixture.vault.rotate_data_key(&root, at(1)).await.unwrap();
    }
    assert!(matches!(fixture.vault.rotate_data_key(&root, at(1)).await, Err(DataKeyError::TooMany)));
    assert_eq!(fixture.reopened().await.data_keys().await.unwrap().len(), limits::DATA_KEYS_MAX);
    assert_eq!(fixture.vault.retire_data_keys(&root, at(2)).await.unwrap().len(), limits::DATA_KEYS_MAX - 1);
    assert_eq!(fixture.vault.rotate_data_key(&root, at(3)).await.unwrap(), 65, "numbers are not used again");
}

#[tokio::test]
async fn another_process_learns_of_a_rotation() {
    let fixture = Fixture::new().await;
    let root = by("root");
    let other = fixture.reopened().await;
    fixture.vault.rotate_data_key(&root, at(1)).await.unwrap();
    fixture.vault.write(&path("a"), password("x"), &root, at(2)).await.unwrap();
    let missing = other.read(&path("a"), &root, at(3)).await.unwrap_err();
    assert!(missing.is_retryable(), "{missing:?}");
    assert_eq!(other.read(&path("a"), &root, at(4)).await.unwrap(), password("x"));

    // Nobody writes with a key that was retired meanwhile.
    fixture.vault.rotate_data_key(&root, at(5)).await.unwrap();
    let stale = other.write(&path("b"), password("y"), &root, at(6)).await.unwrap_err();
    assert!(stale.is_retryable(), "{stale:?}");
    other.write(&path("b"), password("y"), &root, at(7)).await.unwrap();
    let Row { value, .. } = fixture.store.read(b"meta/b").await.unwrap().unwrap();
    assert_eq!(value[..5], [0, 0, 0, 0, 3]);
}

#[tokio::test]
async fn another_process_is_sealed_when_the_lock_was_changed() {
    let fixture = Fixture::new().await;
    let root = by("root");
    let other = fixture.reopened().await;
    let next = crate::fixture::StaticKey([2; 32]);
    fixture.vault.rotate_key_encryption_key(&KEY, &next, &root, at(1)).await.unwrap();
    other.write(&path("a"), password("x"), &root, at(2)).await.unwrap_err();
    let sealed = other.write(&path("a"), password("x"), &root, at(3)).await.unwrap_err();
    assert!(matches!(sealed, vault_core::vault::SecretError::Vault(VaultError::Sealed)), "{sealed:?}");
    fixture.vault.write(&path("a"), password("x"), &root, at(4)).await.unwrap();
}

#[tokio::test]
async fn the_walk_stops_at_what_is_not_the_vaults() {
    let fixture = Fixture::new().await;
    let root = by("root");
    fixture.vault.write(&path("a"), password("x"), &root, at(1)).await.unwrap();
    fixture.vault.rotate_data_key(&root, at(2)).await.unwrap();
    let (key, row) = fixture.store.scan(b"data/", None, 1).await.unwrap().remove(0);
    let mut value = row.value;
    *value.last_mut().unwrap() ^= 1;
    fixture.store.commit(Batch::new().put(key, value)).await.unwrap();
    let walked = fixture.vault.reencrypt(&Walk::default(), 10, &root, at(3)).await;
    assert!(matches!(walked, Err(VaultError::Altered)), "{walked:?}");
    assert!(fixture.vault.retire_data_keys(&root, at(4)).await.unwrap().is_empty());
}
