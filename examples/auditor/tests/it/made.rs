//! Logs in temporary directories, and the binary run on them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use audit_log::{AuditLog, Entry, FileKeys, FileStore};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A data directory with `audit/` and `keys/`.
pub struct Made {
    pub directory: TempDir,
}

/// What the binary said.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Made {
    /// A log of these events, cleanly closed.
    pub fn of(events: &[Value]) -> Self {
        let made = Self { directory: tempfile::tempdir().unwrap() };
        made.append(events);
        made
    }

    /// A log of two sessions, the usual example.
    pub fn usual() -> Self {
        Self::of(&usual())
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join("audit").join(name)
    }

    /// Opens the log, appends, closes: a new segment.
    pub fn append(&self, events: &[Value]) {
        block_on(async {
            let log = self.open().await;
            for event in events {
                log.append(Entry::from_event(event.as_object().unwrap().clone()).unwrap()).await.unwrap();
            }
            log.close().await.unwrap();
        });
    }

    pub async fn open(&self) -> AuditLog {
        let store = FileStore::open(self.path().join("audit")).unwrap();
        AuditLog::open(store, FileKeys::open(self.path().join("keys")).unwrap()).await.unwrap()
    }

    /// Changes a file of the log in place.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.file(name)).unwrap();
        edit(&mut bytes);
        std::fs::write(self.file(name), bytes).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        self.run_with_input(arguments, "")
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Said {
        auditor(&[&["--data-dir", self.path().to_str().unwrap()], arguments].concat(), input)
    }

    /// Runs with `--json` and parses every line of standard output.
    pub fn json(&self, arguments: &[&str]) -> (i32, Vec<Value>) {
        let said = self.run(&[&["--json"], arguments].concat());
        (said.status, said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

pub fn auditor(arguments: &[&str], input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_auditor"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The binary need not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    said(child.wait_with_output().unwrap())
}

fn said(output: Output) -> Said {
    Said {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub const ALICE: &str = "01980000-0000-7000-8000-00000000a11c";
pub const BOB: &str = "01980000-0000-7000-8000-0000000000b0";

/// Alice runs `uptime`, is refused `rm` and a PTY; Bob's session goes on.
pub fn usual() -> Vec<Value> {
    let alice =
        json!({"actor_id": "alice", "target_id": "web-1", "session_id": ALICE, "source_ip": "203.0.113.7"});
    let bob = json!({"actor_id": "bob", "target_id": "db-1", "session_id": BOB});
    vec![
        event(
            &alice,
            "2026-01-31T09:15:27.042Z",
            json!({
            "event_type": "session.started", "mode": "exec-only", "outcome": "success"}),
        ),
        event(
            &alice,
            "2026-01-31T09:15:28.000Z",
            json!({
            "event_type": "command.started", "command": "uptime -p", "argv": [["uptime", "-p"]], "rule": "uptime *",
            "rule_line": 12, "correlation_id": "c1", "outcome": "success"}),
        ),
        event(
            &alice,
            "2026-01-31T09:15:28.100Z",
            json!({
            "event_type": "command.executed", "command": "uptime -p", "exit_status": 0, "duration_ms": 100, "stdin_bytes": 0,
            "stdout": {"bytes": 10, "sha256": "00", "head": {"text": "up 3 days\n"}}, "correlation_id": "c1",
            "outcome": "success"}),
        ),
        event(
            &alice,
            "2026-01-31T09:15:30.000Z",
            json!({
            "event_type": "command.blocked", "command": "rm -rf /hunter2", "reason": "no_rule",
            "message": "no rule permits `rm`", "sensitive": ["command", "command_base64", "message"], "outcome": "blocked",
            "correlation_id": "c2"}),
        ),
        event(
            &alice,
            "2026-01-31T09:15:31.000Z",
            json!({
            "event_type": "request.refused", "request": "pty-req", "reason": "not_opened", "outcome": "blocked"}),
        ),
        event(
            &bob,
            "2026-01-31T10:00:00.000Z",
            json!({
            "event_type": "session.started", "mode": "exec-only", "outcome": "success"}),
        ),
        event(
            &alice,
            "2026-01-31T10:15:00.000Z",
            json!({
            "event_type": "session.ended", "reason": "client_closed", "commands": 1, "commands_blocked": 1,
            "requests_refused": 1, "duration_ms": 3_572_958, "outcome": "success"}),
        ),
        event(
            &bob,
            "2026-02-01T00:00:00.000Z",
            json!({
            "event_type": "command.started", "command": "df -h", "rule": "df -h", "rule_line": 3, "correlation_id": "c3",
            "outcome": "success"}),
        ),
    ]
}

/// An event with the words of `session` and an id of its own.
pub fn event(session: &Value, timestamp: &str, detail: Value) -> Value {
    let mut event = session.as_object().unwrap().clone();
    event.insert("timestamp".into(), timestamp.into());
    event.extend(detail.as_object().unwrap().clone());
    Value::Object(event)
}

/// The signed note in the first frame of a segment, as FORMAT.md gives its place.
pub fn first_note(segment: &[u8]) -> Vec<u8> {
    let number = |place: usize| u32::from_be_bytes(segment[place..place + 4].try_into().unwrap()) as usize;
    let from = 2048 + 64 + number(2048 + 32) + number(2048 + 36);
    segment[from..from + number(2048 + 40)].to_vec()
}
