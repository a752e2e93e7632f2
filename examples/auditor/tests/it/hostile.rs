//! Whatever stands in a log, or on the command line, cannot act on the terminal.

use crate::made::{Made, Said, auditor};
use serde_json::{Value, json};

/// Title, clipboard, clear, cursor, 8-bit CSI, bell, backspace, DEL, direction, line separator, invisible tag.
const HOSTILE: &str = "evil\x1b]0;title\x07\x1b]52;c;aGk=\x1b\\\x1b[2J\x1b[1A\u{9b}31m\x08\x7f\u{202e}\u{2066}\u{200f}\u{2028}\r\u{e0041}";

fn acts(character: char) -> bool {
    (character.is_control() && character != '\n')
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
}

fn assert_inert(said: &Said) {
    for text in [&said.out, &said.err] {
        let acting: Vec<char> = text.chars().filter(|character| acts(*character)).collect();
        assert!(acting.is_empty(), "{acting:?} in {text:?}");
    }
}

/// A session of which every field is hostile, `\n` in the middle included.
fn hostile() -> Made {
    let word = |name: &str| format!("{name}\n{HOSTILE}");
    let session =
        json!({"actor_id": word("actor"), "target_id": word("target"), "session_id": word("session")});
    let with = |detail: Value| {
        let mut event = session.as_object().unwrap().clone();
        event.extend(detail.as_object().unwrap().clone());
        Value::Object(event)
    };
    Made::of(&[
        with(
            json!({"event_type": "session.started", "mode": word("mode"), "client": word("client"), "outcome": "success"}),
        ),
        with(
            json!({"event_type": "target.connected", "address": word("address"), "account": word("account"),
                    "host_key": word("key"), "outcome": "success"}),
        ),
        with(
            json!({"event_type": "command.started", "command": word("command"), "rule": word("rule"), "rule_line": 1,
                    "correlation_id": "c", "outcome": "success"}),
        ),
        with(
            json!({"event_type": "command.executed", "command": word("command"), "exit_signal": word("signal"),
                    "stdout": {"bytes": 99, "head": {"text": word("output")}},
                    "stderr": {"bytes": 9, "head": {"base64": "/xtbMm0JmzMxbeKArg=="}},
                    "correlation_id": "c", "outcome": "unknown", "reason": word("reason"), "message": word("message")}),
        ),
        with(
            json!({"event_type": "command.blocked", "command_base64": "/xtbMm0JmzMxbeKArg==", "reason": word("reason"),
                    "message": word("message"), "sensitive": ["command", word("sensitive")], "outcome": "blocked"}),
        ),
        with(json!({"event_type": "request.refused", "request": word("request"), "asked": word("asked"),
                    "outcome": "blocked", word("name"): word("value")})),
        with(
            json!({"event_type": "session.ended", "reason": word("reason"), "ended_by": word("by"), "outcome": "success"}),
        ),
    ])
}

#[test]
fn no_field_acts_on_the_terminal() {
    let made = hostile();
    for command in [
        &["search", ""][..],
        &["search", "evil"],
        &["show", "session"],
        &["sessions"],
        &["verify"],
        &["checkpoint"],
    ] {
        let said = made.run(command);
        assert_eq!(said.status, 0, "{said:?}");
        assert_inert(&said);
        let hidden = made.run(&[&["--hide-sensitive"], command].concat());
        assert_inert(&hidden);
    }
    // One line per result, whatever stands in it: the log's own two entries and ours.
    assert_eq!(made.run(&["search", ""]).out.lines().count(), 9);
    let story = made.run(&["show", "session"]).out;
    assert!(story.contains("command\\nevil\\x1b]0;title\\x07"), "{story}");
    assert!(story.contains("\\xff\\x1b[2m"), "{story}");
}

#[test]
fn json_says_the_same_without_acting() {
    let made = hostile();
    for command in [&["search", "evil"][..], &["show", "session"], &["sessions"]] {
        let said = made.run(&[&["--json"], command].concat());
        assert_inert(&said);
        let first: Value = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
        assert_eq!(first["actor_id"], format!("actor\n{HOSTILE}"));
    }
}

#[test]
fn neither_do_errors() {
    let made = hostile();
    let name = &format!("x\n{HOSTILE}");
    let directory = made.path().to_str().unwrap();
    for arguments in [
        &["--data-dir", directory, "show", name][..],
        &["--data-dir", directory, "search", "x", "--since", name],
        &["--data-dir", directory, "search", "x", "--limit", name],
        &["--data-dir", directory, "verify", "--checkpoint", name],
        &["--data-dir", directory, "--keys", name, "verify"],
        &["--data-dir", name, "verify"],
        &["--data-dir", directory, name],
        &["--data-dir", directory, "verify", &format!("--{name}")],
    ] {
        for arguments in [arguments.to_vec(), [&["--json"], arguments].concat()] {
            let said = auditor(&arguments, "");
            assert_eq!(said.status, 2, "{said:?}");
            assert!(said.err.contains("evil") || said.out.contains("evil"), "{said:?}");
            assert_inert(&said);
        }
    }
    // Ambiguous: the ids are printed.
    made.append(&[json!({"event_type": "session.started", "session_id": format!("session2{HOSTILE}"), "outcome": "success"})]);
    let said = made.run(&["show", "session"]);
    assert_eq!(said.status, 2);
    assert_inert(&said);
}

#[test]
fn a_file_with_a_hostile_name_is_named_inertly() {
    let made = Made::usual();
    std::fs::write(made.file(&format!("x{HOSTILE}")), "x").unwrap();
    let said = made.run(&["verify"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("xevil"), "{said:?}");
    assert_inert(&said);
}
