//! What is an event, and what is said of what is none.

use chrono::{DateTime, Utc};
use mfa_events::event::{Code, Country, FailureReason, GeoLocation, Method, ReadError, RiskContext, Signal};
use mfa_events::limits::{EVENT_BYTES_MAX, EXT_BYTES_MAX, TEXT_BYTES_MAX};
use mfa_events::{
    AccountLocked, AccountUnlocked, Detail, Event, LoginFailure, LoginSuccess, MfaFailure, Outcome,
    RecoveryAttempted,
};
use serde_json::{Map, Value, json};

pub(crate) fn at() -> DateTime<Utc> {
    "2026-01-31T09:15:27.042Z".parse().unwrap()
}

/// An event that holds, to be changed.
pub(crate) fn failure() -> Map<String, Value> {
    let value = json!({
        "event_type": "mfa.failure", "timestamp": "2026-01-31T09:15:27.042Z", "actor_id": "alice", "outcome": "failure",
        "mfa_method": "TOTP", "failure_reason": "wrong_code",
    });
    value.as_object().unwrap().clone()
}

pub(crate) fn with(name: &str, value: Value) -> String {
    let mut event = failure();
    event.insert(name.to_owned(), value);
    Value::from(event).to_string()
}

fn read(text: &str) -> Result<Event, ReadError> {
    Event::from_json(text.as_bytes())
}

/// What is wrong with it, one line each.
pub(crate) fn faults(text: &str) -> Vec<String> {
    match read(text).unwrap_err() {
        ReadError::Event(error) => error.faults().iter().map(ToString::to_string).collect(),
        other => vec![other.to_string()],
    }
}

#[test]
fn takes_what_is_required_and_gives_an_id_of_version_7() {
    let event = read(&Value::from(failure()).to_string()).unwrap();
    assert_eq!(event.id().get_version_num(), 7);
    assert_eq!(event.at().as_datetime(), at());
    assert_eq!(event.actor().as_str(), "alice");
    assert_eq!(event.outcome(), Outcome::Failure);
    let detail = Detail::MfaFailure {
        method: Method::Totp,
        reason: FailureReason::WrongCode,
        failed_attempt_count: None,
    };
    assert_eq!(*event.detail(), detail);
}

#[test]
fn keeps_an_id_of_any_version() {
    for id in ["00000000-0000-0000-0000-000000000000", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"] {
        let event = read(&with("event_id", id.into())).unwrap();
        assert_eq!(event.id().to_string(), id.to_lowercase());
    }
    for id in [
        "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
        "6ba7b8109dad11d180b400c04fd430c8",
        "urn:uuid:6ba7b810",
        "",
    ] {
        let said = faults(&with("event_id", id.into()));
        assert!(said[0].contains("/event_id: an event_id is a UUID"), "{said:?}");
    }
}

#[test]
fn what_code_makes_reads_back_the_same() {
    let geo = GeoLocation {
        country: Some(Country::new("DE").unwrap()),
        lat: Some(52.5),
        lon: Some(13.4),
        ..GeoLocation::default()
    };
    let risk = RiskContext {
        geo: Some(Signal::new(Code::new("usual").unwrap())),
        time_of_day: Some(Signal { weight: Some(1.5), ..Signal::new(Code::new("night").unwrap()) }),
        score: Some(71.0),
        ..RiskContext::default()
    };
    let ext = json!({"ticket": 7, "tags": ["a", null]}).as_object().unwrap().clone();
    let events: [Event; 6] = [
        MfaFailure::new("alice", Method::Fido2, FailureReason::MethodUnavailable)
            .at(at())
            .attempts(3)
            .from("::ffff:203.0.113.7".parse().unwrap())
            .geo_location(geo)
            .risk_context(risk)
            .session("s1")
            .device("d1")
            .target("t1")
            .correlation("c1")
            .reason("policy")
            .message("a key was expected")
            .ext(ext)
            .try_into()
            .unwrap(),
        AccountLocked::new("alice")
            .at(at())
            .attempts(5)
            .until(at())
            .because("too_many_failures")
            .try_into()
            .unwrap(),
        AccountUnlocked::new("alice").at(at()).by("administrator").try_into().unwrap(),
        RecoveryAttempted::new("alice").at(at()).by("email_link").blocked().try_into().unwrap(),
        LoginSuccess::new("alice").at(at()).with(Method::Push).try_into().unwrap(),
        LoginFailure::new("alice").at(at()).with(Method::HardwareToken).attempts(1).try_into().unwrap(),
    ];
    for event in events {
        let text = serde_json::to_string(&event).unwrap();
        let back = read(&text).unwrap();
        assert_eq!(back, event, "{text}");
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        assert!(!text.contains("null") || text.contains("ext"), "{text}");
    }
}

#[test]
fn an_address_that_was_mapped_into_ipv6_is_itself() {
    let event = read(&with("source_ip", "::ffff:203.0.113.7".into())).unwrap();
    assert_eq!(event.source_ip().unwrap().to_string(), "203.0.113.7");
}

#[test]
fn tells_every_missing_field_at_once() {
    let said = faults(r#"{"event_type": "mfa.failure"}"#);
    let missing = ["/timestamp", "/actor_id", "/outcome", "/mfa_method", "/failure_reason"];
    assert_eq!(said, missing.map(|pointer| format!("{pointer}: it is missing")));
    assert_eq!(faults("{}").len(), 4);
}

#[test]
fn code_that_makes_no_event_is_told_all_mistakes() {
    let error = Event::try_from(AccountLocked::new("").because("two words").session("\u{7}")).unwrap_err();
    let pointers: Vec<_> = error.faults().iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/actor_id", "/lock_reason", "/session_id"]);
    let error = Event::try_from(LoginSuccess::new("alice")).unwrap_err();
    assert_eq!(error.to_string(), "/timestamp: it is missing");
    let error = Event::try_from(LoginSuccess::new("alice").at(at()).blocked()).unwrap_err();
    assert_eq!(error.to_string(), "/outcome: an event of type `login.success` ends with `success`");
}

#[test]
fn refuses_a_field_of_another_type_of_event() {
    let said = faults(&with("lock_until", "2026-01-31T09:15:27.042Z".into()));
    assert_eq!(said, ["/lock_until: an event of type `mfa.failure` has no such field"]);
}

#[test]
fn refuses_what_is_not_in_the_schema() {
    for (name, value, expected) in [
        ("mfa_metod", json!("TOTP"), "unknown field `mfa_metod`"),
        (
            "mfa_method",
            json!("totp"),
            "/mfa_method: unknown word, expected one of `TOTP`, `push`, `hardware_token`, `FIDO2`",
        ),
        ("mfa_method", json!("SMS"), "/mfa_method: unknown word"),
        ("failure_reason", json!("wrong code"), "/failure_reason: unknown word"),
        (
            "outcome",
            json!("success"),
            "/outcome: an event of type `mfa.failure` ends with `failure` or `blocked`",
        ),
        ("outcome", json!("unknown"), "/outcome: unknown word"),
        ("timestamp", json!("2026-01-31T09:15:27Z"), "/timestamp: a timestamp is UTC with milliseconds"),
        (
            "timestamp",
            json!("2026-01-31T09:15:27.042+00:00"),
            "/timestamp: a timestamp is UTC with milliseconds",
        ),
        ("timestamp", json!("2026-02-30T09:15:27.042Z"), "/timestamp: there is no such date"),
        ("timestamp", json!("2026-01-31T23:59:60.000Z"), "/timestamp: there is no such date"),
        ("timestamp", json!(1_769_850_927), "/timestamp: invalid type"),
        ("actor_id", json!(""), "/actor_id: an identifier must not be empty"),
        ("actor_id", json!("a\u{1b}[2J"), "/actor_id: an identifier must not hold control characters"),
        ("actor_id", json!("a".repeat(257)), "/actor_id: an identifier has at most 256 bytes"),
        ("actor_id", json!(null), "/actor_id: invalid type: null"),
        ("failed_attempt_count", json!(-1), "/failed_attempt_count: invalid value"),
        ("failed_attempt_count", json!("3"), "/failed_attempt_count: invalid type: a text"),
        ("source_ip", json!("203.0.113.300"), "/source_ip: invalid"),
        ("schema_version", json!(2), "/schema_version: only version 1 is known"),
        (
            "geo_location",
            json!({"country": "Germany"}),
            "/geo_location/country: a country is two capital letters",
        ),
        ("geo_location", json!({"lat": 91}), "/geo_location/lat: it is from -90 to 90"),
        ("geo_location", json!({"city": ""}), "/geo_location/city: it is 1 to 512 bytes"),
        ("geo_location", json!({"town": "x"}), "unknown field `town`"),
        ("risk_context", json!({"score": 101}), "/risk_context/score: it is from 0 to 100"),
        ("risk_context", json!({"geo": {"weight": 1}}), "missing field `evaluation`"),
        ("risk_context", json!({"geo": 5}), "a code, or an object with `evaluation`"),
        ("message", json!("m".repeat(TEXT_BYTES_MAX + 1)), "/message: it is 1 to 512 bytes"),
        ("reason", json!("a reason"), "/reason: a code is 1 to 64"),
        ("ext", json!([]), "`ext` is an object"),
        ("ext", json!({"a": "x".repeat(EXT_BYTES_MAX)}), "`ext` is too long"),
        ("ext", json!({"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": {}}}}}}}}}), "`ext` is too deep"),
    ] {
        let said = faults(&with(name, value)).join("\n");
        assert!(said.contains(expected), "{name}: {said}");
    }
}

#[test]
fn takes_as_many_levels_of_ext_as_it_says() {
    read(&with("ext", json!({"2": {"3": {"4": {"5": {"6": {"7": {"8": 1}}}}}}}))).unwrap();
}

#[test]
fn a_name_that_stands_twice_is_refused_at_any_level() {
    for text in [
        r#"{"actor_id": "alice", "actor_id": "bob"}"#,
        r#"{"geo_location": {"lat": 1, "lat": 2}}"#,
        r#"{"offset": 1, "offset": 2}"#,
        r#"{"ext": {"a": {"b": 1, "b": 2}}}"#,
    ] {
        let said = faults(text).join("\n");
        assert!(said.contains("duplicate field") || said.contains("stands twice"), "{said}");
    }
}

#[test]
fn an_array_is_no_event_however_its_values_are_ordered() {
    let said = faults("[1, \"019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60\", \"mfa.failure\"]");
    assert!(said[0].contains("expected an object"), "{said:?}");
    assert!(faults(&with("geo_location", json!(["DE"])))[0].contains("expected an object"));
    assert!(faults(&with("geo_location", json!({"country": null})))[0].contains("/geo_location/country"));
}

#[test]
fn passes_over_what_another_log_added() {
    let mut event = failure();
    for (name, value) in
        [("tenant_id", json!("evil")), ("offset", json!("0001")), ("ingested_at", json!(null))]
    {
        event.insert(name.to_owned(), value);
    }
    let event = read(&Value::from(event).to_string()).unwrap();
    let text = serde_json::to_string(&event).unwrap();
    assert!(!text.contains("evil") && !text.contains("offset") && !text.contains("ingested_at"), "{text}");
}

#[test]
fn errors_repeat_no_text_that_was_sent() {
    for name in failure().keys().map(String::as_str).chain([
        "failed_attempt_count",
        "source_ip",
        "ext",
        "geo_location",
    ]) {
        for secret in ["hunter2\", expected`, expected", "hunter2`", "hunter2"] {
            let text = with(name, secret.into());
            let Err(error) = read(&text) else { continue };
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{name}: {error} {error:?}");
        }
    }
}

#[test]
fn tells_line_column_and_pointer() {
    let said = faults("{\n  \"geo_location\": {\"lat\": true}\n}");
    assert_eq!(said, ["line 2, column 30: /geo_location/lat: invalid type: boolean `true`, expected f64"]);
    let not_utf_8 = Event::from_json(b"{\"actor_id\": \"a\xff\"}").unwrap_err();
    assert!(not_utf_8.to_string().starts_with("line 1"), "{not_utf_8}");
    assert!(faults("").join("").contains("line 1"));
}

#[test]
fn refuses_what_is_too_long_or_too_deep_before_it_costs_anything() {
    let long = with("message", "m".repeat(EVENT_BYTES_MAX).into());
    assert!(matches!(read(&long), Err(ReadError::TooLong)));
    let deep = "[".repeat(EVENT_BYTES_MAX);
    assert!(matches!(read(&deep), Err(ReadError::Form { .. })));
    let deep = format!("{{\"offset\": {}", "[".repeat(EVENT_BYTES_MAX - 100));
    assert!(matches!(read(&deep), Err(ReadError::Form { .. })));
}
