use vault_core::store::Batch;
use vault_core::{MemoryAudit, RedbStore, Store as _, StoreError, Vault};

use crate::fixture::{KEY, at, by, password, path};

#[tokio::test]
async fn a_vault_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vault.redb");
    let (audit, root) = (MemoryAudit::new(), by("root"));
    {
        let vault = Vault::open(RedbStore::open(&file).unwrap(), audit.clone())
            .initialise(&KEY, &root, at(0))
            .await
            .unwrap();
        vault.write(&path("a"), password("x"), &root, at(1)).await.unwrap();
        assert!(matches!(RedbStore::open(&file), Err(StoreError::Locked)));
    }
    let vault = Vault::open(RedbStore::open(&file).unwrap(), audit).unseal(&KEY, &root, at(2)).await.unwrap();
    assert_eq!(vault.read(&path("a"), &root, at(3)).await.unwrap(), password("x"));
}

#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vault.redb");
    drop(RedbStore::open(&file).unwrap());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_truncated_file_is_an_error_and_not_a_smaller_vault() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vault.redb");
    {
        let store = RedbStore::open(&file).unwrap();
        for number in 0..50u8 {
            store.commit(Batch::new().put([number], vec![number; 10_000])).await.unwrap();
        }
    }
    let whole = std::fs::read(&file).unwrap();
    for part in 1..8 {
        std::fs::write(&file, &whole[..whole.len() * part / 8]).unwrap();
        let Ok(store) = RedbStore::open(&file) else { continue };
        // Where it opens, what is missing is an error, not an absence.
        for number in 0..50u8 {
            if let Ok(row) = store.read(&[number]).await {
                assert_eq!(row.expect("a row that was committed").value, vec![number; 10_000]);
            }
        }
    }
}
