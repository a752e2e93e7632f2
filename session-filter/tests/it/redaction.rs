//! What a rule hides stays hidden, however it was spelled.

use session_filter::event::{Line, Piece};
use session_filter::{Policy, Redacted};

fn line(expression: &str, bytes: &[u8]) -> serde_json::Value {
    let policy = Policy::from_toml(&format!("redact = ['{expression}']")).unwrap();
    serde_json::to_value(Line::new(bytes, |text| policy.redact(text))).unwrap()
}

fn holds(value: &serde_json::Value, secret: &str) -> bool {
    value.to_string().contains(secret)
}

#[test]
fn a_secret_is_hidden_as_typed_as_words_and_in_what_is_not_text() {
    for bytes in [
        &b"mysql password=hunter"[..],
        b"echo pass\"wo\"rd=hunter",
        b"echo pass\\word='hunter'",
        b"echo 'pass'word=hunter | wc -l",
        b"nope password=hunter \xff",
    ] {
        let line = line(r"password=\S+", bytes);
        assert!(!holds(&line, "hunter"), "{line}");
        assert_eq!(line["redacted"], true);
        assert!(line.get("command_base64").is_none());
    }
    let untouched = line(r"password=\S+", b"echo hello");
    assert_eq!(untouched["command"], "echo hello");
}

#[test]
fn a_secret_across_words_is_hidden() {
    let line = line(r"--token \S+", br#"curl --to"ken" 'hunter'"#);
    assert!(!holds(&line, "hunter"), "{line}");
}

#[test]
fn debug_shows_neither_lines_nor_output() {
    let line = Line::new(b"mysql -phunter2", |text| Redacted::unchanged(text));
    assert_eq!(serde_json::to_value(&line).unwrap()["command"], "mysql -phunter2");
    let event = session_filter::event::Event::new(
        session_filter::event::Subject::default(),
        session_filter::event::Outcome::Failure,
        session_filter::event::Detail::Login(session_filter::event::Login::failed(
            "password",
            Some("hunter2".into()),
        )),
        chrono::DateTime::UNIX_EPOCH,
    );
    assert!(serde_json::to_string(&event).unwrap().contains("hunter2"));
    assert!(!format!("{event:?}").contains("hunter2"));
}

#[test]
fn control_characters_do_not_grow_a_record() {
    for bytes in [vec![0; 4096], vec![0x1b; 4096], b"\x1b[0m".repeat(1000)] {
        let written = serde_json::to_string(&Piece::new(&bytes)).unwrap();
        assert!(written.len() < bytes.len() * 3 / 2 + 64, "{} became {}", bytes.len(), written.len());
    }
    assert_eq!(serde_json::to_string(&Piece::new(b"plain\n")).unwrap(), r#"{"text":"plain\n"}"#);
}
