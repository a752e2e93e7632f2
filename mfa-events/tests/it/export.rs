//! Events as others read them, and sinks that are kept up.

mod follow;
mod formats;
#[cfg(feature = "export-http")]
mod hec;
pub(crate) mod judges;
#[cfg(feature = "export-http")]
mod receivers;
#[cfg(feature = "export-http")]
mod sentinel;
#[cfg(feature = "export-syslog")]
mod stream;
mod text;

use std::sync::Arc;

use mfa_events::event::Timestamp;
use mfa_events::store::Record;
use mfa_events::{Event, Offset, TenantId};
use serde_json::{Value, json};

use crate::event::at;

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

pub(crate) fn record(offset: u64, event: Event) -> Record {
    Record { offset: Offset::new(offset), ingested_at: Timestamp::new(at()).unwrap(), event: Arc::new(event) }
}

pub(crate) fn read(value: &Value) -> Event {
    Event::from_json(value.to_string().as_bytes()).unwrap()
}

/// One event of each type, with whatever it can have, and one with as little.
pub(crate) fn samples() -> Vec<Record> {
    let id = |number: u8| format!("019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f{number:02x}");
    let whole = json!({
        "timestamp": "2026-01-31T09:15:27.042Z",
        "source_ip": "203.0.113.7",
        "geo_location": {
            "country": "DE", "region": "Land Berlin", "city": "Berlin", "lat": 52.52, "lon": 13.405, "asn": 64_500,
        },
        "risk_context": {
            "geo": { "evaluation": "new_country", "weight": 1.5 }, "ip_reputation": "bad", "score": 81.5, "level": "high",
        },
        "target_id": "wiki", "session_id": "s-1", "correlation_id": "c-1", "device_id": "phone-1",
        "reason": "policy-7",
        "message": "said | no = \"twice\" \\ [really]",
        "ext": { "app": "vpn", "tries": [1, 2] },
    });
    let with = |number: u8, more: Value| {
        let mut event = whole.clone();
        let object = event.as_object_mut().unwrap();
        object.insert("event_id".to_owned(), id(number).into());
        object.extend(more.as_object().unwrap().clone());
        read(&event)
    };
    let events = [
        with(
            1,
            json!({
                "event_type": "mfa.failure", "actor_id": "alice", "outcome": "failure", "mfa_method": "TOTP",
                "failure_reason": "wrong_code", "failed_attempt_count": 3,
            }),
        ),
        with(
            2,
            json!({
                "event_type": "mfa.failure", "actor_id": "bob@example.com", "outcome": "blocked", "mfa_method": "push",
                "failure_reason": "push_denied", "source_ip": "2001:db8::7",
            }),
        ),
        with(
            3,
            json!({
                "event_type": "account.locked", "actor_id": "alice", "outcome": "blocked", "failed_attempt_count": 5,
                "lock_until": "2026-01-31T09:30:00.000Z", "lock_reason": "too_many_failures",
            }),
        ),
        with(
            4,
            json!({
                "event_type": "account.unlocked", "actor_id": "alice", "outcome": "success", "unlock_method": "administrator",
            }),
        ),
        with(
            5,
            json!({
                "event_type": "recovery.attempted", "actor_id": "carol", "outcome": "failure", "recovery_method": "email_link",
            }),
        ),
        with(
            6,
            json!({
                "event_type": "login.success", "actor_id": "carol", "outcome": "success", "mfa_method": "FIDO2",
            }),
        ),
        with(
            7,
            json!({
                "event_type": "login.failure", "actor_id": "dave", "outcome": "failure", "mfa_method": "hardware_token",
                "failed_attempt_count": 1,
            }),
        ),
        read(&json!({
            "event_id": id(8), "event_type": "recovery.attempted", "timestamp": "2026-01-31T09:15:27.042Z",
            "actor_id": "erin", "outcome": "failure",
        })),
    ];
    events.into_iter().zip(1..).map(|(event, offset)| record(offset, event)).collect()
}

/// Compares with a file for people to read; with `BLESS=1` in the environment, writes it.
pub(crate) fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "tests/golden/{name} is not what came (BLESS=1 renews it):\n{text}");
}
