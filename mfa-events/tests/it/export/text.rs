//! Whatever an event says, it says it in its own field.

use std::collections::BTreeMap;

use mfa_events::export::{Format, Syslog, cef};
use mfa_events::store::Record;
use mfa_events::{Event, TenantId};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{acme, read, record};

/// Characters that mean something to one of the formats, or end lines for somebody, and a few that do not.
fn hostile(bytes_max: usize) -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => prop::sample::select(vec![
            '|', '=', '\\', '"', ']', '[', ' ', '{', '}', ',', ':', '<', '>', '\'', '`', '$', '%', ';', '\u{2028}', '\u{2029}',
            '\u{a0}', '\u{feff}', 'é', '😀', 'n', 'r', 's', 'c',
        ]),
        1 => any::<char>().prop_filter("an event has no control characters", |character| !character.is_control()),
    ];
    prop::collection::vec(character, 1..40).prop_map(move |characters| {
        let mut text = String::new();
        for character in characters {
            if text.len() + character.len_utf8() <= bytes_max {
                text.push(character);
            }
        }
        text
    })
}

/// Texts that imitate what follows.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => hostile(256),
        1 => Just("x src=198.51.100.9 act=none".to_owned()),
        1 => Just("x\\ outcome=success".to_owned()),
        1 => Just("\"] {\"event_type\":\"login.success\"}".to_owned()),
        1 => Just("\\\"] [other@1 a=\"b".to_owned()),
        1 => Just("CEF:0|a|b|c|d|e|1|".to_owned()),
    ]
}

fn any_record() -> impl Strategy<Value = (TenantId, Record)> {
    let control =
        any::<char>().prop_map(|character| json!({ "any": character.to_string(), "\u{2028}": "\u{85}\n" }));
    (text(), text(), text(), text(), text(), control).prop_map(|(tenant, actor, message, target, city, ext)| {
        let event = json!({
            "event_type": "account.locked", "timestamp": "2026-01-31T09:15:27.042Z", "outcome": "blocked",
            "event_id": "019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60", "source_ip": "203.0.113.7", "lock_reason": "too.many-failures_1",
            "actor_id": actor, "message": message, "target_id": target, "session_id": target, "correlation_id": actor,
            "device_id": actor, "geo_location": { "country": "DE", "city": city }, "ext": ext, "failed_attempt_count": 5,
        });
        (TenantId::new(tenant).unwrap(), record(7, read(&event)))
    })
}

/// A reader of CEF that knows escapes and nothing else: its headers, and its extension in order.
fn read_cef(line: &str) -> (Vec<String>, Vec<(String, String)>) {
    let mut rest = line;
    let mut headers = Vec::new();
    while headers.len() < 7 {
        let mut field = String::new();
        let mut characters = rest.char_indices();
        let mut end = None;
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => field.push(characters.next().unwrap().1),
                '|' => {
                    end = Some(at + 1);
                    break;
                }
                other => field.push(other),
            }
        }
        headers.push(field);
        rest = rest.get(end.unwrap()..).unwrap();
    }
    // A key is what is before an equals sign that is not escaped, back to the last space.
    let characters: Vec<char> = rest.chars().collect();
    let mut equals = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        match characters[at] {
            '\\' => at += 2,
            '=' => {
                equals.push(at);
                at += 1;
            }
            _ => at += 1,
        }
    }
    let starts: Vec<usize> = equals
        .iter()
        .map(|equal| {
            characters[..*equal].iter().rposition(|character| *character == ' ').map_or(0, |space| space + 1)
        })
        .collect();
    let mut pairs = Vec::new();
    for (index, equal) in equals.iter().enumerate() {
        let end = starts.get(index + 1).map_or(characters.len(), |start| start - 1);
        let mut value = String::new();
        let mut escaped = false;
        for character in &characters[equal + 1..end] {
            match (escaped, character) {
                (false, '\\') => escaped = true,
                (true, 'n') => (value.push('\n'), escaped = false).1,
                (true, other) => (value.push(*other), escaped = false).1,
                (false, other) => value.push(*other),
            }
        }
        pairs.push((characters[starts[index]..*equal].iter().collect(), value));
    }
    (headers, pairs)
}

/// A reader of RFC 5424: header fields, the parameters of its one element, and the message.
fn read_syslog(message: &str) -> (Vec<String>, BTreeMap<String, String>, String) {
    let mut parts = message.splitn(7, ' ');
    let header: Vec<String> = parts.by_ref().take(6).map(str::to_owned).collect();
    let rest = parts.next().unwrap();
    let mut characters = rest.char_indices();
    assert_eq!(characters.next().unwrap().1, '[');
    let element: String =
        characters.by_ref().map(|(_, character)| character).take_while(|c| *c != ' ').collect();
    assert_eq!(element, "mfa@32473");
    let mut parameters = BTreeMap::new();
    let (mut name, mut value, mut within) = (String::new(), String::new(), false);
    let mut end = 0;
    while let Some((at, character)) = characters.next() {
        match (within, character) {
            (true, '\\') => value.push(characters.next().unwrap().1),
            (true, '"') => {
                parameters.insert(std::mem::take(&mut name), std::mem::take(&mut value));
                within = false;
            }
            (true, other) => value.push(other),
            (false, ']') => {
                end = at + 1;
                break;
            }
            (false, '"') => within = true,
            (false, '=' | ' ') => {}
            (false, other) => name.push(other),
        }
    }
    let body = rest.get(end..).unwrap().strip_prefix(' ').expect("one element, then the message");
    (header, parameters, body.to_owned())
}

/// As a line has it: what ends lines for somebody is a space.
fn flat(text: &str) -> String {
    text.replace(['\u{2028}', '\u{2029}'], " ")
}

fn is_one_line(text: &str) -> bool {
    !text.chars().any(|character| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}'))
}

proptest! {
    #[test]
    fn cef_keeps_each_text_in_its_field((tenant, record) in any_record()) {
        let line = cef(&tenant, &record);
        prop_assert!(is_one_line(&line), "{line:?}");
        let (headers, pairs) = read_cef(&line);
        prop_assert_eq!(&headers[4], "account.locked");
        let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        prop_assert_eq!(keys, [
            "rt", "externalId", "outcome", "duid", "src", "reason", "msg", "act", "cn1Label", "cn1", "cs2Label", "cs2", "cs3Label",
            "cs3", "cs4Label", "cs4", "cs5Label", "cs5", "cs6Label", "cs6", "flexString1Label", "flexString1",
        ]);
        let event = &record.event;
        for (key, value) in pairs {
            let expected = match key.as_str() {
                "duid" => event.actor().as_str(),
                "msg" => event.message().unwrap(),
                "cs3" => event.target().unwrap().as_str(),
                "flexString1" => tenant.as_str(),
                "outcome" => "blocked",
                "src" => "203.0.113.7",
                _ => continue,
            };
            prop_assert_eq!(value, flat(expected), "{}", key);
        }
    }

    #[test]
    fn syslog_keeps_each_text_in_its_field((tenant, record) in any_record()) {
        for format in [Format::Native, Format::Ocsf, Format::Ecs, Format::Cef] {
            let message = Syslog::default().format(format).bytes_max(usize::MAX).message(&tenant, &record).unwrap();
            prop_assert!(is_one_line(&message), "{message:?}");
            let (header, parameters, body) = read_syslog(&message);
            prop_assert_eq!(&header[..], ["<84>1", "2026-01-31T09:15:27.042Z", "-", "mfa-events", "-", "account.locked"]);
            let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
            prop_assert_eq!(names, ["actor_id", "event_id", "outcome", "source_ip", "tenant_id"]);
            prop_assert_eq!(&parameters["actor_id"], &flat(record.event.actor().as_str()));
            prop_assert_eq!(&parameters["tenant_id"], &flat(tenant.as_str()));
            prop_assert_eq!(body, format.line(&tenant, &record));
        }
    }

    #[test]
    fn json_lines_read_back_as_they_were((tenant, record) in any_record()) {
        let line = Format::Native.line(&tenant, &record);
        prop_assert!(is_one_line(&line), "{line:?}");
        prop_assert_eq!(&Event::from_json(line.as_bytes()).unwrap(), &*record.event);
        for format in [Format::Ocsf, Format::Ecs] {
            let line = format.line(&tenant, &record);
            prop_assert!(is_one_line(&line), "{line:?}");
            let value: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["message"].as_str(), record.event.message());
        }
    }
}

#[test]
fn the_readers_of_these_tests_know_a_field_that_breaks_out() {
    let (_, pairs) = read_cef("CEF:0|a|b|c|d|e|1|duid=x src=198.51.100.9");
    assert_eq!(pairs.len(), 2);
    let (_, pairs) = read_cef("CEF:0|a|b|c|d|e|1|duid=x src\\=198.51.100.9");
    assert_eq!(pairs, [("duid".to_owned(), "x src=198.51.100.9".to_owned())]);
    let (_, parameters, body) = read_syslog("<86>1 t - a - m [mfa@32473 actor_id=\"x\" forged=\"y\"] z");
    assert_eq!((parameters.len(), body.as_str()), (2, "z"));
    let _ = acme();
}
