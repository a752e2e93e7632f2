use super::*;
use crate::record::Sensitive;
use crate::terminal::acts;
use serde_json::json;

fn told(events: &[Value]) -> String {
    let start: DateTime<Utc> = "2026-01-31T09:15:27.042Z".parse().unwrap();
    let records: Vec<Record> = (0u32..)
        .zip(events)
        .map(|(seq, event)| {
            let event = event.as_object().unwrap().clone();
            Record::new(seq.into(), start + chrono::TimeDelta::seconds(seq.into()), event, Sensitive::Mark)
        })
        .collect();
    let mut out = Vec::new();
    tell(&mut out, "0198-session", &records, Palette::plain()).unwrap();
    String::from_utf8(out).unwrap()
}

fn session() -> Vec<Value> {
    vec![
        json!({"event_type": "session.started", "actor_id": "alice", "target_id": "web-1", "source_ip": "203.0.113.7",
               "mode": "exec-only", "client": "SSH-2.0-OpenSSH_9.2", "outcome": "success"}),
        json!({"event_type": "target.connected", "address": "10.0.0.5:22", "account": "app", "host_key": "SHA256:abc",
               "outcome": "success"}),
        json!({"event_type": "command.started", "command": "uptime", "rule": "uptime", "rule_line": 12,
               "correlation_id": "c1", "outcome": "success"}),
        json!({"event_type": "command.blocked", "command": "rm -rf /", "reason": "no_rule", "message": "no rule permits `rm`",
               "sensitive": ["command", "command_base64", "message"], "outcome": "blocked", "correlation_id": "c2"}),
        json!({"event_type": "command.executed", "command": "uptime", "exit_status": 0, "duration_ms": 14, "stdin_bytes": 0,
               "stdout": {"bytes": 20_000, "sha256": "00", "head": {"text": "up 3 days\nload 0.1\n"}},
               "correlation_id": "c1", "outcome": "success"}),
        json!({"event_type": "request.refused", "request": "pty-req", "asked": "xterm", "sensitive": ["asked"],
               "reason": "not_opened", "outcome": "blocked"}),
        json!({"event_type": "session.ended", "reason": "client_closed", "commands": 1, "commands_blocked": 1,
               "requests_refused": 1, "duration_ms": 94_100, "outcome": "success"}),
    ]
}

#[test]
fn tells_who_what_and_how_it_ended() {
    assert_eq!(
        told(&session()),
        "\
session 0198-session
  who      alice from 203.0.113.7, with SSH-2.0-OpenSSH_9.2
  target   web-1 at 10.0.0.5:22 as app, host key SHA256:abc
  mode     exec-only
  start    2026-01-31T09:15:27.042Z
  end      2026-01-31T09:15:33.042Z, after 1 min 34 s: client_closed
  did      1 command, 1 blocked, 1 other request refused

2026-01-31
09:15:28.042Z  · target.connected 10.0.0.5:22: success
09:15:29.042Z  $ uptime
    permitted by `uptime` (policy line 12)
    exit 0, 14 ms, stdin 0 B, stdout 19 KiB, stderr 0 B
    | up 3 days
    | load 0.1
    … 19 KiB more of stdout followed
09:15:30.042Z  ✗ rm -rf / (may hold a secret)
    blocked, never sent: no_rule, no rule permits `rm`
09:15:32.042Z  ✗ request.refused pty-req xterm (may hold a secret): blocked: not_opened
"
    );
}

#[test]
fn a_command_without_an_end_says_so_and_shows_what_it_wrote() {
    let mut events = session();
    events.truncate(3);
    for text in ["one\ntw", "o\n"] {
        events.push(
            json!({"event_type": "command.output", "stream": "stdout", "text": text, "correlation_id": "c1"}),
        );
    }
    let story = told(&events);
    assert!(story.contains("no end recorded"), "{story}");
    assert!(story.contains("    | one\n    | two\n"), "{story}");
    assert!(story.contains("end      not recorded"), "{story}");
}

#[test]
fn an_end_without_a_beginning_is_told_too() {
    let story = told(&session()[4..5]);
    assert!(story.contains("$ uptime") && story.contains("exit 0"), "{story}");
}

#[test]
fn unknown_events_are_named() {
    let story = told(&[json!({"event_type": "credential.issued", "outcome": "success", "reason": "lease"})]);
    assert!(story.contains("credential.issued: success: lease"), "{story}");
}

#[test]
fn long_output_is_cut_and_says_so() {
    let text = "x".repeat(1000) + "\n" + &"line\n".repeat(100);
    let story = told(&[json!({"event_type": "command.executed", "command": "c", "exit_status": 1,
        "stderr": {"bytes": text.len(), "head": {"text": text}}})]);
    assert!(story.contains(&format!("! {} …\n", "x".repeat(HEAD_COLUMNS_MAX))), "{story}");
    assert!(story.contains("… 81 more lines recorded"), "{story}");
}

#[test]
fn nothing_in_a_story_acts_on_the_terminal() {
    // Every string of every event, member names aside, is hostile.
    fn poison(value: &mut Value, poison_with: &str) {
        match value {
            Value::String(text) => text.push_str(poison_with),
            Value::Array(values) => values.iter_mut().for_each(|value| poison(value, poison_with)),
            Value::Object(members) => members
                .iter_mut()
                .filter(|(name, _)| !matches!(name.as_str(), "event_type" | "sensitive"))
                .for_each(|(_, value)| poison(value, poison_with)),
            _ => {}
        }
    }
    let hostile = "\x1b]52;c;aGk=\x07\x1b[2J\u{9b}1A\u{202e}\u{2066}\x7f\r\u{85}";
    let mut events = session();
    events.push(json!({"event_type": format!("made.up{hostile}"), "outcome": "failure"}));
    events.iter_mut().for_each(|event| poison(event, hostile));
    let story = told(&events);
    let acting: Vec<char> =
        story.chars().filter(|character| *character != '\n' && acts(*character)).collect();
    assert!(acting.is_empty(), "{acting:?} in {story}");
    // Newlines are ours alone: a hostile one is told in its own line, never begins one.
    assert!(story.contains("\\x1b]52;c;aGk=\\x07"), "{story}");
}

#[test]
fn sizes_and_durations_read_well() {
    assert_eq!(
        [size(0), size(9_999), size(10_240), size(50 << 30)],
        ["0 B", "9999 B", "10 KiB", "50 GiB"].map(String::from)
    );
    assert_eq!(
        [duration(999), duration(1_250), duration(61_000), duration(7_380_000)],
        ["999 ms", "1.2 s", "1 min 1 s", "2 h 3 min"].map(String::from)
    );
}
