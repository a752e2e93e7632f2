use audit_log::{Checkpoint, Entry, MemoryKeys, MemoryStore, Proof, Query, Reader, VerifierKey};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::logs::{noon, options, verify};

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn event() -> impl Strategy<Value = Map<String, Value>> {
    let id = || prop::option::of("\\PC{1,20}");
    let fields = prop::collection::btree_map("f_\\PC{0,8}", json_value(), 0..6);
    (id(), id(), id(), prop::collection::btree_set("\\PC{1,12}", 0..4), fields, 0i64..1 << 40).prop_map(
        |(actor, target, session, subjects, fields, millis)| {
            let mut event: Map<String, Value> = fields.into_iter().collect();
            event.insert("event_type".into(), json!("property.checked"));
            let time = noon() + chrono::TimeDelta::milliseconds(millis);
            event
                .insert("timestamp".into(), json!(time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)));
            for (name, id) in [("actor_id", actor), ("target_id", target), ("session_id", session)] {
                if let Some(id) = id {
                    event.insert(name.into(), id.into());
                }
            }
            if !subjects.is_empty() {
                event.insert("subjects".into(), subjects.into_iter().collect::<Vec<_>>().into());
            }
            event
        },
    )
}

/// The search as one would write it without an index: every value of the event, looked at one by one.
fn naive_contains(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Number(number) => number.to_string().contains(text),
        Value::Array(values) => values.iter().any(|value| naive_contains(value, text)),
        Value::Object(members) => members.values().any(|value| naive_contains(value, text)),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_event_comes_back_as_it_was_and_is_found_by_its_text(
        events in prop::collection::vec(event(), 1..6), needle in "\\PC{1,2}|[\"\\\\/\u{1}\n]"
    ) {
        let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
        let log = options().open_blocking(store.clone(), keys.clone()).unwrap();
        let appends: Vec<_> =
            events.iter().map(|event| log.append(Entry::from_event(event.clone()).unwrap())).collect();
        for append in appends {
            append.wait().unwrap();
        }
        drop(log);
        verify(&store, &keys).unwrap();
        let reader = Reader::open(store, keys);
        let read: Vec<Value> = reader.read(1..).unwrap().map(|entry| entry.unwrap().to_json()).collect();
        let events: Vec<Value> = events.into_iter().map(Value::Object).collect();
        prop_assert_eq!(&read, &events);
        let without_time = |event: &Value| {
            let mut event = event.as_object().unwrap().clone();
            event.remove("timestamp");
            Value::Object(event)
        };
        let expected: Vec<&Value> =
            events.iter().filter(|event| naive_contains(&without_time(event), &needle)).collect();
        let found = reader.search(Query::text(&needle).event_type("property.checked")).unwrap();
        let found: Vec<Value> = found.map(|entry| entry.unwrap().to_json()).collect();
        prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn hostile_text_is_refused_without_a_panic(text in any::<String>(), cut in 0usize..300) {
        let _ = text.parse::<Checkpoint>();
        let _ = text.parse::<VerifierKey>();
        let _ = text.parse::<Proof>();
        let proof = "c2sp.org/tlog-proof@v1\nextra AAAA\nindex 7\n\nexample.com/log\n8\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n";
        let _ = format!("{}{text}", &proof[..cut.min(proof.len())]).parse::<Proof>();
    }
}

#[test]
fn nothing_secret_is_in_debug_output_or_errors() {
    let secret = "hunter2-in-a-field";
    let entry = Entry::new("x").actor(secret).subject(secret).field("password", secret);
    let keys = MemoryKeys::generate().unwrap();
    let epoch = audit_log::EpochKey::new(*b"0123456789abcdef0123456789abcdef");
    let subject =
        audit_log::SubjectKey::new(*b"01234567", *b"0123456789abcdef0123456789abcdef", secret.to_owned());
    let log = options().open_blocking(MemoryStore::new(), keys.clone()).unwrap();
    let refused = log.append(entry.clone().field("password", secret)).wait().unwrap_err();
    let shown = format!("{entry:?} {keys:?} {epoch:?} {subject:?} {log:?} {refused:?} {refused}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("0123456789abcdef") && !shown.contains("48, 49, 50")
    );
}
