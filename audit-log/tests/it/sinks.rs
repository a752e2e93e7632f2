use std::{
    io,
    os::unix::net::UnixDatagram,
    sync::{Arc, Mutex},
};

use audit_log::{Checkpoint, CheckpointSink, Entry, FileSink, MemoryKeys, MemoryStore, SyslogSink};
use chrono::{DateTime, Utc};

use crate::logs::{noon, options};

#[test]
fn the_last_checkpoint_of_a_clean_close_is_in_the_file_and_in_the_system_log() {
    let directory = tempfile::tempdir().unwrap();
    let (notes, socket) = (directory.path().join("notes"), directory.path().join("log"));
    let syslog = UnixDatagram::bind(&socket).unwrap();
    let log = options()
        .sink(FileSink::open(&notes).unwrap())
        .sink(SyslogSink::new(&socket, "audit test").unwrap())
        .open_blocking(MemoryStore::new(), MemoryKeys::generate().unwrap())
        .unwrap();
    let key = log.public_key();
    log.append(Entry::new("x")).wait().unwrap();
    log.close_blocking().unwrap();

    let notes = std::fs::read_to_string(notes).unwrap();
    let last = notes_of(&notes).pop().unwrap();
    last.verify(&key).unwrap();
    assert_eq!(last.size(), 3);

    syslog.set_nonblocking(true).unwrap();
    let mut lines = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(bytes) = syslog.recv(&mut buffer) {
        lines.push(String::from_utf8(buffer[..bytes].to_vec()).unwrap());
    }
    let line = lines.pop().unwrap();
    assert!(line.starts_with("<85>1 2026-01-31T12:00:00.000Z - audittest "), "{line}");
    let (_, note) = line.split_once("audit-checkpoint - ").unwrap();
    assert_eq!(note.replace('|', "\n").parse::<Checkpoint>().unwrap(), last);
}

/// Notes that a [`FileSink`] wrote: each has an empty line within and one after it.
fn notes_of(text: &str) -> Vec<Checkpoint> {
    let parts: Vec<&str> = text.trim_end_matches('\n').split("\n\n").collect();
    parts.chunks(2).map(|pair| format!("{}\n\n{}\n", pair[0], pair[1]).parse().unwrap()).collect()
}

#[test]
fn a_sink_that_fails_is_said_and_stops_nothing() {
    struct Failing(Arc<Mutex<u32>>);
    impl CheckpointSink for Failing {
        fn take(&mut self, _: &Checkpoint, now: DateTime<Utc>) -> io::Result<()> {
            assert_eq!(now, noon());
            *self.0.lock().unwrap() += 1;
            Err(io::Error::other("the other machine is away"))
        }
    }
    let calls = Arc::new(Mutex::new(0));
    let log = options()
        .sink(Failing(Arc::clone(&calls)))
        .open_blocking(MemoryStore::new(), MemoryKeys::generate().unwrap())
        .unwrap();
    log.append(Entry::new("x")).wait().unwrap();
    let other = log.clone();
    log.close_blocking().unwrap();
    assert_eq!(other.sink_error().as_deref(), Some("the other machine is away"));
    assert!(*calls.lock().unwrap() >= 1);
}

#[test]
fn a_sink_that_panics_or_never_returns_stops_nothing() {
    struct Panicking;
    impl CheckpointSink for Panicking {
        fn take(&mut self, _: &Checkpoint, _: DateTime<Utc>) -> io::Result<()> {
            panic!("on purpose")
        }
    }
    struct Hanging(std::sync::mpsc::Receiver<()>);
    impl CheckpointSink for Hanging {
        fn take(&mut self, _: &Checkpoint, _: DateTime<Utc>) -> io::Result<()> {
            let _ = self.0.recv();
            Ok(())
        }
    }
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let log = options().sink(Panicking).open_blocking(store.clone(), keys.clone()).unwrap();
    log.append(Entry::new("x")).wait().unwrap();
    let other = log.clone();
    log.close_blocking().unwrap();
    assert!(other.sink_error().unwrap().contains("panicked"));
    drop(other);

    let (release, held) = std::sync::mpsc::channel();
    let log = options().sink(Hanging(held)).open_blocking(store.clone(), keys.clone()).unwrap();
    let receipt = log.append(Entry::new("x")).wait().unwrap();
    let other = log.clone();
    log.close_blocking().unwrap();
    assert_eq!(other.sink_error().as_deref(), Some("a sink has not returned"));
    let copy: Checkpoint = String::from_utf8(store.content("checkpoint").unwrap()).unwrap().parse().unwrap();
    assert_eq!(copy.size(), receipt.seq + 2, "the copy beside the log is not held up");
    drop(release);
}
