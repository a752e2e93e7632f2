use vault_core::audit::{EventType, Outcome};
use vault_core::vault::SealError;
use vault_core::{MemoryAudit, MemoryStore, Standing, Store as _, Vault};

use crate::fixture::{Fixture, KEY, at, by, password, path};

#[tokio::test]
async fn a_backup_that_was_put_back_is_noticed_and_accepted_knowingly() {
    let fixture = Fixture::new().await;
    let root = by("root");
    fixture.vault.write(&path("a"), password("1"), &root, at(1)).await.unwrap();
    let backup = fixture.store.snapshot();
    fixture.vault.write(&path("a"), password("2"), &root, at(2)).await.unwrap();

    let sealed = Vault::open(backup.clone(), fixture.audit.clone());
    let records = fixture.records();
    let error = sealed.unseal(&KEY, &root, at(3)).await.unwrap_err();
    assert!(matches!(error, SealError::Restored { found: 2, recorded: 3 }), "{error:?}");
    assert_eq!(fixture.told(records), [("vault.unsealed".to_owned(), Outcome::Blocked, Some("restored"))]);

    let vault = sealed.unseal_restored(&KEY, &root, at(4)).await.unwrap();
    assert_eq!(vault.standing().await.unwrap(), Standing::Restored);
    assert_eq!(vault.read(&path("a"), &root, at(5)).await.unwrap(), password("1"));
    assert!(backup.generation().await.unwrap() > 3, "records are not ahead any more");
    // It stays so until somebody says otherwise, also after a restart.
    let again = Vault::open(backup.clone(), fixture.audit.clone()).unseal(&KEY, &root, at(6)).await.unwrap();
    assert_eq!(again.standing().await.unwrap(), Standing::Restored);
    again.confirm_restore(&root, at(7)).await.unwrap();
    assert_eq!(again.standing().await.unwrap(), Standing::Confirmed);
    let types: Vec<_> = fixture.audit.events().iter().map(|event| event.event_type).collect();
    assert!(types.contains(&EventType::RestoreAccepted) && types.contains(&EventType::RestoreConfirmed));
    let last = Vault::open(backup, fixture.audit.clone()).unseal(&KEY, &root, at(8)).await.unwrap();
    assert_eq!(last.standing().await.unwrap(), Standing::Confirmed);
}

#[tokio::test]
async fn every_older_store_is_noticed() {
    let fixture = Fixture::new().await;
    let root = by("root");
    let mut backups = vec![fixture.store.snapshot()];
    for number in 0..5 {
        fixture.vault.write(&path("a"), password(&number.to_string()), &root, at(number)).await.unwrap();
        backups.push(fixture.store.snapshot());
    }
    let newest = backups.pop().unwrap();
    for backup in backups {
        let error = Vault::open(backup, fixture.audit.clone()).unseal(&KEY, &root, at(9)).await.unwrap_err();
        assert!(matches!(error, SealError::Restored { .. }), "{error:?}");
    }
    Vault::open(newest, fixture.audit.clone()).unseal(&KEY, &root, at(9)).await.unwrap();
}

#[tokio::test]
async fn an_emptied_store_is_not_begun_anew() {
    let fixture = Fixture::new().await;
    let sealed = Vault::open(MemoryStore::new(), fixture.audit.clone());
    let error = sealed.initialise(&KEY, &by("root"), at(1)).await.unwrap_err();
    assert!(matches!(error, SealError::Emptied { recorded: 1 }), "{error:?}");
}

#[tokio::test]
async fn another_vault_in_the_place_of_this_one_is_noticed() {
    let (fixture, other) = (Fixture::new().await, Fixture::new().await);
    let error = Vault::open(other.store.clone(), fixture.audit.clone())
        .unseal(&KEY, &by("root"), at(1))
        .await
        .unwrap_err();
    assert!(matches!(error, SealError::OtherVault { .. }), "{error:?}");
}

#[tokio::test]
async fn a_beginning_that_came_to_nothing_can_be_made_again() {
    let audit = MemoryAudit::new();
    let store = crate::faults::Failing::new(MemoryStore::new());
    store.fail_at(0, crate::faults::Failure::Before);
    Vault::open(store, audit.clone()).initialise(&KEY, &by("root"), at(0)).await.unwrap_err();
    Vault::open(MemoryStore::new(), audit).initialise(&KEY, &by("root"), at(1)).await.unwrap();
}

#[tokio::test]
async fn a_restored_store_repeats_no_salt() {
    // The same vault twice from one backup, doing the same: what it writes differs.
    let fixture = Fixture::new().await;
    let root = by("root");
    let mut salts = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let copy = fixture.store.snapshot();
        let vault = Vault::open(copy.clone(), MemoryAudit::new()).unseal(&KEY, &root, at(1)).await.unwrap();
        vault.write(&path("a"), password("same"), &root, at(2)).await.unwrap();
        for (_, row) in copy.scan(b"", None, 10).await.unwrap().into_iter().filter(|(key, _)| key != b"seal")
        {
            assert!(salts.insert(row.value[5..37].to_vec()), "a salt came twice");
        }
    }
}
