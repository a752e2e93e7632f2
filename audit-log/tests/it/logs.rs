//! Logs to test with.

use audit_log::{AuditLog, Entry, MemoryKeys, MemoryStore, Options, Reader, VerifyOptions};
use chrono::{DateTime, TimeDelta, Utc};

/// A time that does not depend on when the test runs.
pub(crate) fn noon() -> DateTime<Utc> {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

/// Options whose clock stands at noon.
pub(crate) fn options() -> Options {
    AuditLog::options().clock(noon)
}

/// An entry unlike its neighbours: all shapes of subjects and fields come up.
pub(crate) fn entry(number: u64) -> Entry {
    let entry = Entry::new(["command.executed", "session.started", "command.blocked"][number as usize % 3])
        .timestamp(noon() + TimeDelta::milliseconds(number as i64));
    let entry = match number % 4 {
        0 => entry,
        1 => entry.actor("alice"),
        2 => entry.actor("bob").subject("carol").subject_field("dave", "home", "/home/dave"),
        _ => entry.subject("erin"),
    };
    entry
        .session(format!("s-{}", number / 5))
        .target("web-1")
        .field("command", format!("echo {number} \"quoted\" \\ äöü \u{1F512}"))
        .field("exit_status", number)
        .field("nested", serde_json::json!({"list": [1, 2.5, null, true, "x"], "number": number}))
}

/// A log of `entries` entries in frames of up to `per_frame`, as it is when its writer is killed.
pub(crate) fn killed(entries: u64, per_frame: usize) -> (MemoryStore, MemoryKeys) {
    let store = MemoryStore::new();
    let keys = MemoryKeys::generate().unwrap();
    let log = options().segment_bytes(12 << 10).open_blocking(store.clone(), keys.clone()).unwrap();
    append_all(&log, 0..entries, per_frame);
    (store.snapshot(), keys)
}

/// Appends entries, `per_frame` at a time.
pub(crate) fn append_all(log: &AuditLog, numbers: std::ops::Range<u64>, per_frame: usize) {
    let numbers: Vec<u64> = numbers.collect();
    for chunk in numbers.chunks(per_frame) {
        let appends: Vec<_> = chunk.iter().map(|number| log.append(entry(*number))).collect();
        for append in appends {
            append.wait().unwrap();
        }
    }
}

/// What verification says about a log.
pub(crate) fn verify(
    store: &MemoryStore,
    keys: &MemoryKeys,
) -> Result<audit_log::Report, audit_log::VerifyError> {
    Reader::open(store.clone(), keys.clone()).verify(&VerifyOptions::new(), |_| {})
}

/// Offsets and lengths of the frames of a segment, as FORMAT.md gives them.
pub(crate) fn frames(segment: &[u8]) -> Vec<(usize, usize)> {
    let mut frames = Vec::new();
    let mut offset = 2048;
    while segment.get(offset..offset + 8) == Some(b"ALOGFRAM") {
        let bytes = number(segment, offset + 8);
        frames.push((offset, bytes));
        offset += bytes;
    }
    frames
}

/// The signed note in a frame of a segment.
pub(crate) fn note(segment: &[u8], frame: usize) -> Vec<u8> {
    let (offset, _) = frames(segment)[frame];
    let from = offset + 64 + number(segment, offset + 32) + number(segment, offset + 36);
    segment[from..from + number(segment, offset + 40)].to_vec()
}

fn number(segment: &[u8], place: usize) -> usize {
    u32::from_be_bytes(segment[place..place + 4].try_into().unwrap()) as usize
}
