use chrono::TimeDelta;
use vault_core::audit::{EventType, Outcome};
use vault_core::vault::HandleError;
use vault_core::{Handle, Store as _, Vault, limits};

use crate::fixture::{Fixture, KEY, at, by, password};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

#[tokio::test]
async fn a_handle_opens_once_and_the_second_is_an_alarm() {
    let fixture = Fixture::new().await;
    let vault = &fixture.vault;
    let handle = vault.wrap(&password("hunter2"), MINUTE, &by("alice"), at(0)).await.unwrap();
    // As text, to somebody else, in another process.
    let received: Handle = handle.expose().parse().unwrap();
    let other = fixture.reopened().await;
    assert_eq!(other.unwrap_handle(&received, &by("bob"), at(1)).await.unwrap(), password("hunter2"));
    let records = fixture.records();
    for vault in [vault, &other] {
        let error = vault.unwrap_handle(&handle, &by("eve"), at(2)).await.unwrap_err();
        assert!(matches!(error, HandleError::Used { at: when } if when == at(1)), "{error:?}");
    }
    let events = fixture.audit.events();
    assert_eq!(events.len(), records + 2);
    for event in &events[records..] {
        assert_eq!((event.event_type, event.outcome), (EventType::HandleReused, Outcome::Blocked));
        assert!(event.alarm);
        assert_eq!(event.handle_id.as_deref(), Some(handle.id().as_str()));
        assert_eq!(event.actor_id.as_str(), "eve");
    }
    // The secret is gone from the row, not only marked.
    let rows = fixture.store.scan(b"handle/", None, 10).await.unwrap();
    assert!(rows[0].1.value.len() < 5 + 80 + 18, "{} bytes", rows[0].1.value.len());
}

#[tokio::test]
async fn of_many_who_come_at_once_one_gets_it() {
    let fixture = Fixture::new().await;
    let handle = fixture.vault.wrap(&password("x"), MINUTE, &by("alice"), at(0)).await.unwrap();
    let other = fixture.reopened().await;
    let tries = (0..20).map(|number| {
        let vault = if number % 2 == 0 { fixture.vault.clone() } else { other.clone() };
        let handle = handle.clone();
        tokio::spawn(async move { vault.unwrap_handle(&handle, &by("bob"), at(1)).await })
    });
    let mut got = 0;
    for tried in tries.collect::<Vec<_>>() {
        match tried.await.unwrap() {
            Ok(_) => got += 1,
            Err(HandleError::Used { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(got, 1);
}

#[tokio::test]
async fn two_processes_that_read_before_either_writes_are_told_apart() {
    use crate::credentials::Yielding;
    let fixture = Fixture::new().await;
    let open = async || {
        let sealed = Vault::open(Yielding(fixture.store.clone()), fixture.audit.clone());
        sealed.unseal(&KEY, &by("root"), at(0)).await.unwrap()
    };
    let (one, other) = (open().await, open().await);
    for _ in 0..20 {
        let handle = fixture.vault.wrap(&password("x"), MINUTE, &by("alice"), at(0)).await.unwrap();
        let (bob, eve) = (by("bob"), by("eve"));
        let (a, b) =
            tokio::join!(one.unwrap_handle(&handle, &bob, at(1)), other.unwrap_handle(&handle, &eve, at(1)));
        assert!(a.is_ok() != b.is_ok());
        assert!(matches!(a.and(b), Err(HandleError::Used { .. })));
    }
}

#[tokio::test]
async fn a_handle_runs_out() {
    let fixture = Fixture::new().await;
    let vault = &fixture.vault;
    let handle = vault.wrap(&password("x"), MINUTE, &by("alice"), at(0)).await.unwrap();
    let records = fixture.records();
    assert!(matches!(vault.unwrap_handle(&handle, &by("bob"), at(60)).await, Err(HandleError::Expired)));
    assert_eq!(fixture.told(records), [("handle.unwrapped".to_owned(), Outcome::Blocked, Some("expired"))]);
    for lifetime in [TimeDelta::zero(), -MINUTE, limits::HANDLE_LIFETIME_MAX + MINUTE, TimeDelta::MAX] {
        let error = vault.wrap(&password("x"), lifetime, &by("alice"), at(0)).await.unwrap_err();
        assert!(matches!(error, HandleError::Lifetime));
    }
    let large = password(&"x".repeat(10 << 20));
    let error = vault.wrap(&large, MINUTE, &by("alice"), at(0)).await.unwrap_err();
    assert!(error.to_string().contains("SECRET_BYTES_MAX"));
}

#[tokio::test]
async fn a_handle_that_nobody_made_opens_nothing() {
    let fixture = Fixture::new().await;
    let records = fixture.records();
    let made_up: Handle = format!("vault-handle-{}", "0".repeat(64)).parse().unwrap();
    let error = fixture.vault.unwrap_handle(&made_up, &by("eve"), at(0)).await.unwrap_err();
    assert!(matches!(error, HandleError::Absent));
    assert_eq!(fixture.told(records), [("handle.unwrapped".to_owned(), Outcome::Blocked, Some("absent"))]);
    for text in ["", "vault-handle-", "vault-handle-00", &format!("vault-handle-{}", "g".repeat(64)), "x"] {
        assert!(text.parse::<Handle>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn the_store_does_not_know_what_opens() {
    let fixture = Fixture::new().await;
    let handle = fixture.vault.wrap(&password("x"), MINUTE, &by("alice"), at(0)).await.unwrap();
    let text = handle.expose();
    let token = text.strip_prefix("vault-handle-").unwrap();
    let raw = data_encoding::HEXLOWER.decode(token.as_bytes()).unwrap();
    for (key, row) in fixture.store.scan(b"", None, 100).await.unwrap() {
        for bytes in [key, row.value] {
            assert!(!bytes.windows(8).any(|part| part == &raw[..8] || part == &token.as_bytes()[..8]));
        }
    }
    assert!(fixture.audit.events().iter().all(|event| !format!("{event:?}").contains(&token[..16])));
}

#[tokio::test]
async fn sweeping_takes_secrets_at_once_and_the_memory_of_handles_later() {
    let fixture = Fixture::new().await;
    let vault = &fixture.vault;
    let alice = by("alice");
    let unused = vault.wrap(&password("x"), MINUTE, &alice, at(0)).await.unwrap();
    let used = vault.wrap(&password("y"), MINUTE, &alice, at(0)).await.unwrap();
    let alive = vault.wrap(&password("z"), limits::HANDLE_LIFETIME_MAX, &alice, at(0)).await.unwrap();
    vault.unwrap_handle(&used, &alice, at(1)).await.unwrap();
    let records = fixture.records();
    assert_eq!(vault.sweep_handles(100, &alice, at(59)).await.unwrap(), 0);
    assert_eq!(fixture.records(), records, "what is nothing is not on record");
    assert_eq!(vault.sweep_handles(100, &alice, at(60)).await.unwrap(), 2);
    assert_eq!(vault.sweep_handles(100, &alice, at(60)).await.unwrap(), 0);
    assert!(
        matches!(vault.unwrap_handle(&unused, &alice, at(30)).await, Err(HandleError::Expired)),
        "a clock set back"
    );
    assert!(matches!(vault.unwrap_handle(&used, &alice, at(61)).await, Err(HandleError::Used { .. })));
    vault.unwrap_handle(&alive, &alice, at(61)).await.unwrap();
    let forgotten = at(60) + limits::HANDLE_MEMORY;
    // One by one is all as well.
    let mut swept = 0;
    loop {
        match vault.sweep_handles(1, &alice, forgotten).await.unwrap() {
            0 => break,
            some => swept += some,
        }
    }
    assert_eq!(swept, 3, "two for good, and the third that was used");
    assert!(matches!(vault.unwrap_handle(&used, &alice, forgotten).await, Err(HandleError::Absent)));
    let long_after = forgotten + limits::HANDLE_LIFETIME_MAX;
    vault.sweep_handles(100, &alice, long_after).await.unwrap();
    assert_eq!(fixture.store.scan(b"handle/", None, 100).await.unwrap().len(), 0);
    assert_eq!(fixture.store.scan(b"due/", None, 100).await.unwrap().len(), 0);
}
