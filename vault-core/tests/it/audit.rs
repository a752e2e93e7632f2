use std::collections::BTreeMap;

use chrono::TimeDelta;
use vault_core::audit::{EventType, Outcome};
use vault_core::vault::Walk;
use vault_core::{Store as _, Vault};

use crate::fixture::{Fixture, KEY, StaticKey, at, by, password, path};

#[tokio::test]
async fn without_a_record_nothing_is_done() {
    let fixture = Fixture::new().await;
    let (vault, root, a) = (&fixture.vault, by("root"), path("a"));
    vault.write(&a, password("1"), &root, at(1)).await.unwrap();
    let handle = vault.wrap(&password("w"), TimeDelta::minutes(1), &root, at(1)).await.unwrap();
    vault.rotate_data_key(&root, at(1)).await.unwrap();
    let rows = fixture.store.scan(b"", None, 100).await.unwrap();
    let generation = fixture.store.generation().await.unwrap();
    fixture.audit.break_down();
    let mut refused = Vec::new();
    macro_rules! refused {
        ($($done:expr),* $(,)?) => {$( refused.push($done.await.map(drop).unwrap_err().to_string()); )*};
    }
    let now = at(2);
    refused!(
        vault.write(&a, password("2"), &root, now),
        vault.read(&a, &root, now),
        vault.read(&path("absent"), &root, now),
        vault.describe(&a, &root, now),
        vault.list("", None, 10, &root, now),
        vault.label(&a, BTreeMap::new(), &root, now),
        vault.delete(&a, &[1], &root, now),
        vault.undelete(&a, &[1], &root, now),
        vault.destroy(&a, &[1], &root, now),
        vault.remove(&a, &root, now),
        vault.wrap(&password("x"), TimeDelta::minutes(1), &root, now),
        vault.unwrap_handle(&handle, &root, now),
        vault.sweep_handles(10, &root, at(100_000)),
        vault.rotate_data_key(&root, now),
        vault.reencrypt(&Walk::default(), 10, &root, now),
        vault.rotate_key_encryption_key(&KEY, &StaticKey([2; 32]), &root, now),
        Vault::open(fixture.store.clone(), fixture.audit.clone()).unseal(&KEY, &root, now),
        Vault::open(vault_core::MemoryStore::new(), fixture.audit.clone()).initialise(&KEY, &root, now),
    );
    for (number, error) in refused.iter().enumerate() {
        assert!(error.contains("no record of it can be written"), "{number}: {error}");
    }
    assert_eq!(fixture.store.scan(b"", None, 100).await.unwrap(), rows);
    assert_eq!(fixture.store.generation().await.unwrap(), generation);
    fixture.audit.mend();
    assert_eq!(vault.read(&a, &root, at(3)).await.unwrap(), password("1"));
    assert_eq!(vault.unwrap_handle(&handle, &root, at(3)).await.unwrap(), password("w"));
}

#[tokio::test]
async fn a_record_is_there_before_its_effect_and_another_says_how_it_went() {
    let fixture = Fixture::new().await;
    let records = fixture.records();
    fixture.vault.write(&path("db/orders"), password("x"), &by("alice"), at(7)).await.unwrap();
    let events = fixture.audit.events();
    let [before, after] = &events[records..] else { panic!("{events:?}") };
    assert_eq!((before.outcome, after.outcome), (Outcome::Unknown, Outcome::Success));
    assert_eq!(before.operation_id, after.operation_id);
    assert_ne!(before.event_id, after.event_id);
    assert_eq!((before.generation, after.generation), (1, 2));
    assert_eq!(before.event_type, EventType::SecretWritten);
}

#[tokio::test]
async fn records_have_the_words_of_the_house() {
    let fixture = Fixture::new().await;
    let caller = by("alice")
        .session(vault_core::id::SessionId::new("s-1").unwrap())
        .correlation(vault_core::id::CorrelationId::new("c-1").unwrap());
    fixture.vault.write(&path("db/orders"), password("x"), &caller, at(7)).await.unwrap();
    let events = fixture.audit.events();
    let json = serde_json::to_value(events.last().unwrap()).unwrap();
    assert_eq!(json["event_type"], "secret.written");
    assert_eq!(json["timestamp"], "2030-03-17T17:46:47.000Z");
    assert_eq!(json["actor_id"], "alice");
    assert_eq!(json["session_id"], "s-1");
    assert_eq!(json["correlation_id"], "c-1");
    assert_eq!(json["outcome"], "success");
    assert_eq!(json["secret_path"], "db/orders");
    assert_eq!(json["secret_version"], 1);
    assert_eq!(json["event_id"].as_str().unwrap().as_bytes()[14], b'7', "a UUID of version 7");
    assert!(json.as_object().unwrap().values().all(|value| !value.is_null()), "what is absent is left out");
    assert!(json.get("alarm").is_none());
}
