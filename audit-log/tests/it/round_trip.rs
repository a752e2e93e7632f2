use audit_log::{
    AppendError, AuditLog, Checked, End, Entry, EntryError, FileKeys, FileStore, KeyError, MemoryKeys,
    MemoryStore, OpenError, Outcome, Query, Reader, VerifyError, VerifyOptions,
};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::logs::{append_all, entry, killed, noon, options, verify};

#[test]
fn what_was_appended_is_read_back_in_order() {
    let (store, keys) = killed(300, 7);
    let report = verify(&store, &keys).unwrap();
    assert_eq!(
        (report.entries, report.outcome(), &report.end),
        (report.entries, Outcome::Whole, &End::Stopped)
    );
    assert!(report.segments > 3, "the log should have been spread over segments");
    let reader = Reader::open(store, keys);
    let entries: Vec<_> = reader.read(..).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(entries.len() as u64, report.entries);
    for (seq, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, seq as u64);
    }
    let ours: Vec<_> = entries.iter().filter(|entry| !entry.event_type.starts_with("log.")).collect();
    assert_eq!(ours.len(), 300);
    for (number, entry) in ours.iter().enumerate() {
        let json = entry.to_json();
        assert_eq!(json["exit_status"], number);
        assert_eq!(json["command"], format!("echo {number} \"quoted\" \\ äöü \u{1F512}"));
        assert_eq!(json["nested"]["number"], number);
        assert_eq!(entry.session_id, format!("s-{}", number / 5).as_str());
        match number % 4 {
            0 => assert_eq!((entry.actor_id.as_deref(), entry.subjects.len()), (None, 0)),
            1 => assert_eq!(entry.actor_id, "alice"),
            2 => {
                assert_eq!(entry.subjects, ["carol", "dave"]);
                assert_eq!(json["home"], "/home/dave");
            }
            _ => assert_eq!(entry.subjects, ["erin"]),
        }
    }
    let some: Vec<_> = reader.read(100..103).unwrap().map(|entry| entry.unwrap().seq).collect();
    assert_eq!(some, [100, 101, 102]);
    assert_eq!(reader.read(5000..).unwrap().count(), 0);
    assert_eq!(reader.read(299..5000).unwrap().count(), 2);
}

#[tokio::test]
async fn a_log_in_files_is_reopened_searched_proved_and_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (log_path, keys_path) = (directory.path().join("audit"), directory.path().join("keys"));
    let open = || (FileStore::open(&log_path).unwrap(), FileKeys::open(&keys_path).unwrap());
    let (store, keys) = open();
    let log = AuditLog::open(store, keys).await.unwrap();
    let receipt = log.append(entry(1)).await.unwrap();
    let locked = open();
    assert!(matches!(AuditLog::open(locked.0, locked.1).await, Err(OpenError::Locked)));
    let proof = log.prove(&receipt).await.unwrap();
    proof.verify(&log.public_key()).unwrap();
    log.close().await.unwrap();

    let (store, keys) = open();
    let log = AuditLog::options().minimum(receipt.checkpoint().clone()).open(store, keys).await.unwrap();
    let mut tail = log.tail(0);
    for number in 2..600 {
        let append = log.append(entry(number));
        if number % 50 == 0 {
            append.await.unwrap();
        }
    }
    let receipt = log.append(entry(600)).await.unwrap();
    for seq in [0, 1, 2, 255, 256, 300, receipt.seq] {
        let proof = log.prove_seq(seq).await.unwrap();
        assert_eq!(proof.seq(), seq);
        let again: audit_log::Proof = proof.to_string().parse().unwrap();
        again.verify(&log.public_key()).unwrap();
    }
    assert!(log.prove_seq(receipt.seq + 1).await.is_err());
    for seq in 0..=receipt.seq {
        assert_eq!(tail.next().await.unwrap().unwrap().seq, seq);
    }
    let hits: Vec<_> = log.search(Query::text("echo 42 \"quoted\" \\ ä")).try_collect().await.unwrap();
    assert_eq!(hits.len(), 1);
    let hits: Vec<_> =
        log.search(Query::all().actor("alice").session("s-3").target("web-1")).try_collect().await.unwrap();
    assert_eq!(hits.iter().map(|hit| hit.fields["exit_status"].as_u64().unwrap()).collect::<Vec<_>>(), [17]);
    let key = log.public_key();
    let reader =
        Reader::open(FileStore::read_only(&log_path).unwrap(), FileKeys::read_only(&keys_path).unwrap());
    let live = reader.verify(&VerifyOptions::new(), |_| {}).unwrap();
    assert_eq!((live.end.clone(), live.entries), (End::Live, receipt.seq + 1));
    log.close().await.unwrap();
    let closing = tail.next().await.unwrap().unwrap();
    assert_eq!(closing.event_type, "log.closed");
    assert!(tail.next().await.is_none());

    let report = reader.verify(&VerifyOptions::new(), |_| {}).unwrap();
    assert_eq!((report.end.clone(), report.content), (End::Closed, Checked::Yes));
    assert_eq!(reader.sessions().unwrap().len(), 121);
    let keyless = Reader::keyless(FileStore::read_only(&log_path).unwrap());
    let report = keyless.verify(&VerifyOptions::new().verifier_key(key), |_| {}).unwrap();
    assert_eq!((report.content, report.signature), (Checked::NoKey, Checked::Yes));
    let published = std::fs::read_to_string(keys_path.join("log.vkey")).unwrap();
    assert_eq!(published.trim().parse::<audit_log::VerifierKey>().unwrap(), keyless_key(&keys_path));
    for (path, mode) in [(&log_path, 0o700), (&keys_path, 0o700)] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        for file in std::fs::read_dir(path).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

fn keyless_key(keys: &std::path::Path) -> audit_log::VerifierKey {
    FileKeys::read_only(keys).unwrap().verifier_key().unwrap()
}

#[test]
fn wrong_keys_are_said_to_be_wrong_and_not_called_tampering() {
    let (store, keys) = killed(20, 3);
    let others = MemoryKeys::generate().unwrap();
    assert!(matches!(verify(&store, &others), Err(VerifyError::Keys(KeyError::Wrong { .. }))));
    let reader = Reader::open(store.clone(), others.clone());
    assert!(reader.read(..).unwrap().next().unwrap().is_err());
    assert!(matches!(options().open_blocking(store.clone(), others), Err(OpenError::Keys(_))));
    verify(&store, &keys).unwrap();
}

#[test]
fn refuses_keys_that_lie_with_the_log() {
    let directory = tempfile::tempdir().unwrap();
    for (log, keys) in [("a", "a"), ("b", "b/keys"), ("c/log", "c")] {
        let keys = FileKeys::open(directory.path().join(keys)).unwrap();
        let store = FileStore::open(directory.path().join(log)).unwrap();
        assert!(matches!(options().open_blocking(store, keys), Err(OpenError::KeysBesideLog)));
    }
}

#[test]
fn refuses_a_log_older_than_the_minimum_checkpoint() {
    let store = MemoryStore::new();
    let keys = MemoryKeys::generate().unwrap();
    let log = options().segment_bytes(8 << 10).open_blocking(store.clone(), keys.clone()).unwrap();
    append_all(&log, 0..10, 1);
    let old = store.snapshot();
    let early = log.checkpoint();
    append_all(&log, 10..40, 1);
    let late = log.checkpoint();
    drop(log);
    // The copy beside the log may be as old as the log that was put back.
    old.insert("checkpoint", early.to_string().into_bytes());
    let refused = options().minimum(late.clone()).open_blocking(old.snapshot(), keys.clone());
    assert!(matches!(refused, Err(OpenError::RolledBack { .. })), "{refused:?}");
    let reader = Reader::open(old.clone(), keys.clone());
    let found = reader.verify(&VerifyOptions::new().minimum(late.clone()), |_| {});
    assert!(matches!(found, Err(VerifyError::Tampered(_))), "{found:?}");
    let empty = options().minimum(early.clone()).open_blocking(MemoryStore::new(), keys.clone());
    assert!(matches!(empty, Err(OpenError::RolledBack { .. })));
    for minimum in [early, late] {
        options().minimum(minimum).open_blocking(store.snapshot(), keys.clone()).unwrap();
    }
}

#[test]
fn a_new_log_commits_to_its_predecessor() {
    let (old_store, old_keys) = killed(3, 1);
    let last = verify(&old_store, &old_keys).unwrap().checkpoint.unwrap();
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let log = options().predecessor(last.clone()).open_blocking(store.clone(), keys.clone()).unwrap();
    log.close_blocking().unwrap();
    let first = Reader::open(store.clone(), keys.clone()).read(0..1).unwrap().next().unwrap().unwrap();
    assert_eq!(first.fields["predecessor"], last.to_string());
    options().predecessor(last).open_blocking(store.snapshot(), keys.clone()).unwrap();
    let other = verify(&store, &keys).unwrap().checkpoint.unwrap();
    assert!(options().predecessor(other).open_blocking(store, keys).is_err());
}

#[test]
fn a_clock_that_is_set_back_does_not_reorder_the_log() {
    use std::sync::atomic::{AtomicI64, Ordering};
    static OFFSET: AtomicI64 = AtomicI64::new(0);
    let clock = || noon() + chrono::TimeDelta::seconds(OFFSET.load(Ordering::SeqCst));
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let log = AuditLog::options().clock(clock).open_blocking(store.clone(), keys.clone()).unwrap();
    for seconds in [10, -3600, 20] {
        OFFSET.store(seconds, Ordering::SeqCst);
        log.append(Entry::new("clock.jumped")).wait().unwrap();
    }
    drop(log);
    verify(&store, &keys).unwrap();
    let entries: Vec<_> = Reader::open(store, keys).read(1..).unwrap().map(Result::unwrap).collect();
    let recorded: Vec<_> = entries.iter().map(|entry| (entry.recorded_at - noon()).num_seconds()).collect();
    let said: Vec<_> = entries.iter().map(|entry| (entry.timestamp - noon()).num_seconds()).collect();
    assert_eq!((recorded, said), (vec![10, 10, 20], vec![10, -3600, 20]));
}

#[test]
fn entries_that_cannot_be_taken_are_refused_and_leave_no_gap() {
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let log = options().open_blocking(store.clone(), keys.clone()).unwrap();
    let refused = [
        Entry::new("Not A Type"),
        Entry::new(""),
        Entry::new("log.closed"),
        Entry::new("x").actor(""),
        Entry::new("x").field("a", 1).field("a", 2),
        Entry::new("x").field("timestamp", 1),
        Entry::new("x").field("target_id", 7),
        Entry::new("x").field("big", "x".repeat(70_000)),
        Entry::new("x").subject_field("bob", "target_id", "web"),
        (0..17).fold(Entry::new("x"), |entry, number| entry.subject(number.to_string())),
    ];
    for entry in refused {
        assert!(matches!(log.append(entry).wait(), Err(AppendError::Entry(_))));
    }
    let first = log.append(Entry::new("x").field("big", "x".repeat(60_000))).wait().unwrap();
    assert_eq!(first.seq, 1);
    let tiny = AuditLog::options()
        .queue_bytes_max(1000)
        .open_blocking(MemoryStore::new(), MemoryKeys::generate().unwrap());
    let tiny = tiny.unwrap();
    let large = tiny.append(Entry::new("x").field("big", "x".repeat(2000))).wait();
    assert!(matches!(large, Err(AppendError::Overloaded { .. })));
    log.clone().close_blocking().unwrap();
    assert!(matches!(log.append(Entry::new("x")).wait(), Err(AppendError::Closed)));
}

#[test]
fn an_event_as_json_comes_back_as_it_was() {
    let event = serde_json::json!({
        "event_id": "0194-x", "event_type": "mfa.failure", "timestamp": "2026-01-31T09:15:27.042Z",
        "tenant_id": "t", "actor_id": "alice", "target_id": "vpn", "session_id": "s", "correlation_id": "c",
        "outcome": "failure", "reason": "wrong_code", "source_ip": "203.0.113.7", "subjects": ["bob"],
        "geo_location": {"country": "IN"}, "message": "second\nline \u{0}"
    });
    let map = |value: &serde_json::Value| value.as_object().unwrap().clone();
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let log = options().open_blocking(store.clone(), keys.clone()).unwrap();
    let seq = log.append(Entry::from_event(map(&event)).unwrap()).wait().unwrap().seq;
    let read = Reader::open(store, keys).read(seq..=seq).unwrap().next().unwrap().unwrap();
    assert_eq!(read.to_json(), event);
    for broken in [
        serde_json::json!({"actor_id": "alice"}),
        serde_json::json!({"event_type": 7}),
        serde_json::json!({"event_type": "x", "timestamp": "yesterday"}),
        serde_json::json!({"event_type": "x", "actor_id": ""}),
        serde_json::json!({"event_type": "x", "subjects": "bob"}),
    ] {
        let result: Result<Entry, EntryError> = Entry::from_event(map(&broken));
        assert!(result.is_err(), "{broken}");
    }
}

#[test]
fn concurrent_appends_all_get_a_place_of_their_own() {
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let log = options().open_blocking(store.clone(), keys.clone()).unwrap();
    let mut seqs: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let log = log.clone();
                scope.spawn(move || {
                    (0..50).map(|n| log.append(entry(n)).wait().unwrap().seq).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=400).collect::<Vec<_>>());
    drop(log);
    assert_eq!(verify(&store, &keys).unwrap().entries, 401);
}

#[test]
fn dropping_an_append_or_the_log_loses_nothing_that_was_taken() {
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let log = options().open_blocking(store.clone(), keys.clone()).unwrap();
    for number in 0..100 {
        drop(log.append(entry(number)));
    }
    drop(log);
    let report = verify(&store, &keys).unwrap();
    assert_eq!((report.entries, report.end), (101, End::Stopped));
}

#[test]
fn what_is_acknowledged_is_under_the_newest_checkpoint_at_once() {
    let log = options().open_blocking(MemoryStore::new(), MemoryKeys::generate().unwrap()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..200 {
                    // Through the writing thread and in this one.
                    let append = log.append(entry(number));
                    let receipt = if number % 2 == 0 {
                        append.wait().unwrap()
                    } else {
                        futures::executor::block_on(append).unwrap()
                    };
                    assert!(log.checkpoint().size() > receipt.seq);
                }
            });
        }
    });
}

#[test]
fn a_lock_file_that_is_removed_lets_no_second_writer_in() {
    let directory = tempfile::tempdir().unwrap();
    let (log_path, keys_path) = (directory.path().join("audit"), directory.path().join("keys"));
    let open = |keys: &std::path::Path| {
        options().open_blocking(FileStore::open(&log_path).unwrap(), FileKeys::open(keys).unwrap())
    };
    let log = open(&keys_path).unwrap();
    log.append(entry(1)).wait().unwrap();
    std::fs::remove_file(log_path.join("lock")).unwrap();
    assert!(matches!(open(&keys_path), Err(OpenError::Locked)));
    let reader =
        Reader::open(FileStore::read_only(&log_path).unwrap(), FileKeys::read_only(&keys_path).unwrap());
    assert_eq!(reader.verify(&VerifyOptions::new(), |_| {}).unwrap().end, End::Live);
    drop(log);
    open(&keys_path).unwrap();
}

#[test]
fn values_that_could_not_be_read_back_are_refused_and_hide_nothing() {
    let nested = |levels: usize| {
        let text = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let log = options().open_blocking(store.clone(), keys.clone()).unwrap();
    let refused = |entry: Entry| match log.append(entry).wait() {
        Err(AppendError::Entry(error)) => error,
        other => panic!("{other:?}"),
    };
    for levels in [65, 100, 126] {
        assert!(matches!(refused(Entry::new("x").field("deep", nested(levels))), EntryError::TooDeep(_)));
        let event = serde_json::json!({"event_type": "x", "actor_id": "a", "deep": nested(levels)});
        let event = Entry::from_event(event.as_object().unwrap().clone());
        assert!(matches!(event, Err(EntryError::TooDeep(_))));
    }
    for number in [u128::from(u64::MAX) + 1, u128::MAX] {
        assert!(matches!(refused(Entry::new("x").field("n", number)), EntryError::Number(_)));
    }
    assert!(matches!(
        refused(Entry::new("x").field("n", vec![i128::from(i64::MIN) - 1])),
        EntryError::Number(_)
    ));
    for at in ["-0001-12-31T00:00:00Z", "+10000-01-01T00:00:00Z"] {
        let at = at.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        assert!(matches!(refused(Entry::new("x").timestamp(at)), EntryError::Form { .. }));
    }
    assert!(matches!(refused(Entry::new("x").field("subject_id", "s")), EntryError::Form { .. }));
    log.append(Entry::new("x").field("deep", nested(64)).field("n", u128::from(u64::MAX))).wait().unwrap();
    log.append(Entry::new("last")).wait().unwrap();
    drop(log);
    let entries: Vec<_> = Reader::open(store, keys).read(1..).unwrap().map(Result::unwrap).collect();
    assert_eq!((entries[0].fields["n"].as_u64(), &entries[0].fields["deep"]), (Some(u64::MAX), &nested(64)));
    assert_eq!(entries[1].event_type, "last");
}

#[test]
fn a_given_checkpoint_that_does_not_hold_says_nothing_about_the_log() {
    let (store, keys) = killed(10, 1);
    let whole = verify(&store, &keys).unwrap().checkpoint.unwrap();
    // Of other logs, shorter and longer than this one; and of this one, with another root under the same signature.
    let (short, long) = (killed(2, 1), killed(30, 1));
    let mut given: Vec<audit_log::Checkpoint> =
        [short, long].iter().map(|(store, keys)| verify(store, keys).unwrap().checkpoint.unwrap()).collect();
    let text = whole.to_string();
    let root = text.lines().nth(2).unwrap();
    let forged = text.replace(root, given[0].to_string().lines().nth(2).unwrap());
    given.push(forged.parse().unwrap());
    for (number, checkpoint) in given.into_iter().enumerate() {
        let options_with = || VerifyOptions::new().minimum(checkpoint.clone());
        let found = Reader::open(store.clone(), keys.clone()).verify(&options_with(), |_| {});
        assert!(matches!(found, Err(VerifyError::Checkpoint(_))), "{number}: {found:?}");
        let opened = options().minimum(checkpoint.clone()).open_blocking(store.snapshot(), keys.clone());
        assert!(matches!(opened, Err(OpenError::Checkpoint(_))), "{number}: {opened:?}");
        if number < 2 {
            let found = Reader::keyless(store.clone()).verify(&options_with(), |_| {});
            assert!(matches!(found, Err(VerifyError::Checkpoint(_))), "{number}, without keys: {found:?}");
        }
    }
}
