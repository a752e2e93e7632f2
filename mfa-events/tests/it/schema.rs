//! The published schema against what is read.

use std::sync::LazyLock;

use jsonschema::Validator;
use mfa_events::Event;
use mfa_events::event::{EventType, FailureReason, Method, Outcome, ReadError};
use mfa_events::schema;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(schema::EVENT).unwrap();
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
});

fn enumeration(pointer: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(schema::EVENT).unwrap();
    serde_json::from_value(schema.pointer(pointer).unwrap().clone()).unwrap()
}

#[test]
fn the_schema_is_one() {
    let schema = serde_json::from_str(schema::EVENT).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
}

#[test]
fn enumerations_are_those_of_the_schema() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let types: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
    let methods: Vec<_> = Method::ALL.iter().map(|method| method.as_str()).collect();
    let reasons: Vec<_> = FailureReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let outcomes: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
    assert_eq!(enumeration("/properties/event_type/enum"), words(&types));
    assert_eq!(enumeration("/$defs/mfa_method/enum"), words(&methods));
    assert_eq!(enumeration("/$defs/failure_reason/enum"), words(&reasons));
    assert_eq!(enumeration("/properties/outcome/enum"), words(&outcomes));
}

/// Values that some field takes, and some that none does.
fn values() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "mfa.failure",
        "account.locked",
        "account.unlocked",
        "recovery.attempted",
        "login.success",
        "login.failure",
        "success",
        "failure",
        "blocked",
        "TOTP",
        "push",
        "hardware_token",
        "FIDO2",
        "wrong_code",
        "expired_code",
        "method_unavailable",
        "push_denied",
        "push_timeout",
        "2026-01-31T09:15:27.042Z",
        "2026-01-31T09:15:27Z",
        "alice",
        "203.0.113.7",
        "2001:db8::1",
        "two words",
        "",
        "\u{7}",
        "DE",
        "de",
        "low",
        "critical",
        "019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60",
        "019aa2b05d3c7c1e9f002b1d5c3e4f60",
    ]);
    let leaf = prop_oneof![
        6 => words.prop_map(Value::from),
        2 => prop::sample::select(vec![-181, -91, -1, 0, 1, 90, 91, 100, 101, 180]).prop_map(Value::from),
        1 => Just(json!(4_294_967_296_u64)),
        1 => Just(json!(0.5)),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    let inner = prop::sample::select(vec![
        "country",
        "region",
        "city",
        "lat",
        "lon",
        "asn",
        "geo",
        "ip_reputation",
        "time_of_day",
        "device_familiarity",
        "score",
        "level",
        "evaluation",
        "weight",
        "other",
    ]);
    leaf.prop_recursive(2, 8, 3, move |value| {
        prop_oneof![
            prop::collection::vec((inner.clone(), value.clone()), 0..3).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
            prop::collection::vec(value, 0..2).prop_map(Value::from),
        ]
    })
}

/// Mostly right, so that single mistakes are met alone.
fn events() -> impl Strategy<Value = Value> {
    let right = (
        prop::sample::select(EventType::ALL.to_vec()),
        prop::sample::select(Outcome::ALL.to_vec()),
        any::<[bool; 8]>(),
    )
        .prop_map(|(kind, outcome, with)| {
            let mut event = Map::new();
            let mut field = |is_there: bool, name: &str, value: Value| {
                if is_there {
                    event.insert(name.to_owned(), value);
                }
            };
            field(true, "event_type", kind.as_str().into());
            field(true, "outcome", outcome.as_str().into());
            field(true, "timestamp", "2026-01-31T09:15:27.042Z".into());
            field(true, "actor_id", "alice".into());
            let is_failure = kind == EventType::MfaFailure;
            field(is_failure || with[0], "mfa_method", "push".into());
            field(is_failure || with[1] && with[2], "failure_reason", "push_denied".into());
            field(with[3], "source_ip", "203.0.113.7".into());
            field(with[4], "risk_context", json!({"geo": "usual", "score": 3}));
            field(with[5], "geo_location", json!({"country": "DE", "lat": 52.5}));
            field(with[6], "failed_attempt_count", 3.into());
            field(with[7], "ext", json!({"a": [1]}));
            event
        });
    let names = prop::sample::select(vec![
        "schema_version",
        "event_id",
        "event_type",
        "timestamp",
        "ingested_at",
        "offset",
        "tenant_id",
        "actor_id",
        "outcome",
        "source_ip",
        "geo_location",
        "risk_context",
        "target_id",
        "session_id",
        "correlation_id",
        "device_id",
        "reason",
        "message",
        "ext",
        "mfa_method",
        "failure_reason",
        "failed_attempt_count",
        "lock_until",
        "lock_reason",
        "unlock_method",
        "recovery_method",
        "other",
    ]);
    let changes = prop::collection::vec((names, prop::option::of(values())), 0..3);
    (right, changes).prop_map(|(mut event, changes)| {
        for (name, value) in changes {
            match value {
                Some(value) => event.insert(name.to_owned(), value),
                None => event.remove(name),
            };
        }
        Value::Object(event)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    /// None of these values differ in bytes, levels or days of a month, which a schema cannot count.
    #[test]
    fn what_is_read_is_valid_and_what_is_valid_is_read(event in events()) {
        let read = Event::from_json(event.to_string().as_bytes());
        prop_assert_eq!(read.is_ok(), VALIDATOR.is_valid(&event), "{:?} {:?}", read, VALIDATOR.validate(&event).err());
    }

    #[test]
    fn what_is_written_is_valid_and_reads_back(event in events()) {
        let Ok(event) = Event::from_json(event.to_string().as_bytes()) else { return Ok(()) };
        let text = serde_json::to_string(&event).unwrap();
        prop_assert!(VALIDATOR.is_valid(&serde_json::from_str(&text).unwrap()), "{}", text);
        prop_assert_eq!(Event::from_json(text.as_bytes()).unwrap(), event);
    }

    #[test]
    fn any_bytes_are_an_event_or_a_place(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(ReadError::Form { line, column, .. }) = Event::from_json(&bytes) {
            prop_assert!(line >= 1 && column >= 1);
            prop_assert!(line <= 1 + bytes.iter().filter(|byte| **byte == b'\n').count());
        }
    }
}

#[test]
fn the_property_meets_events_of_every_type() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut read = std::collections::BTreeSet::new();
    let mut refused = 0;
    for _ in 0..2_000 {
        let event = events().new_tree(&mut runner).unwrap().current();
        match Event::from_json(event.to_string().as_bytes()) {
            Ok(event) => _ = read.insert(event.event_type()),
            Err(_) => refused += 1,
        }
    }
    assert_eq!(read.len(), EventType::ALL.len());
    assert!((200..1_800).contains(&refused), "{refused}");
}
