//! Nothing that was acknowledged is lost, and no log becomes unverifiable, wherever the machine stops or storage fails.

use std::io;

use audit_log::{AppendError, Entry, MemoryKeys, MemoryStore, Reader};

use crate::{
    logs::{append_all, entry, options, verify},
    simulated::{Dice, FailingStore, Fate, RecordingKeys, RecordingStore, Step},
};

/// How many ways of tearing are tried at each point; `cargo xtask soak` sets more.
fn rounds() -> u64 {
    std::env::var("SOAK_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .map_or(4, |rounds: u64| rounds / 10)
}

fn seed() -> u64 {
    std::env::var("SOAK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Appends in frames of different sizes, over several segments, and notes what was acknowledged.
fn write(
    store: &RecordingStore,
    keys: &MemoryKeys,
    numbers: std::ops::Range<u64>,
    closes: bool,
) -> RecordingKeys {
    let keys = RecordingKeys::new(keys, store);
    let log = options().segment_bytes(8 << 10).open_blocking(store.clone(), keys.clone()).unwrap();
    let mut dice = Dice::new(numbers.start);
    store.note(Step::Acknowledged { entries: log.checkpoint().size() });
    let mut number = numbers.start;
    while number < numbers.end {
        let many = (1 + dice.roll(6)).min(numbers.end - number);
        append_all(&log, number..number + many, 10);
        number += many;
        store.note(Step::Acknowledged { entries: log.checkpoint().size() });
    }
    if closes {
        log.close_blocking().unwrap();
    }
    keys
}

/// Checks an image of a disk: verifiable, nothing acknowledged missing, and still so after recovery and another entry.
fn survives(image: &MemoryStore, keys: &MemoryKeys, acknowledged: u64, what: &str) -> MemoryStore {
    let report = verify(image, keys).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.entries >= acknowledged, "{what}: {} of {acknowledged} entries", report.entries);
    let recovered = image.snapshot();
    let log = options().segment_bytes(8 << 10).open_blocking(recovered.clone(), keys.clone());
    let log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
    log.append(Entry::new("after.crash")).wait().unwrap();
    log.close_blocking().unwrap();
    let whole = verify(&recovered, keys).unwrap_or_else(|error| panic!("{what}, recovered: {error}"));
    assert_eq!(whole.outcome(), audit_log::Outcome::Whole, "{what}");
    assert_eq!(whole.entries, report.entries + 3, "{what}");
    recovered
}

/// The entries that the test appended, by number, without gap.
fn numbers(store: &MemoryStore, keys: &MemoryKeys) -> Vec<u64> {
    let entries = Reader::open(store.clone(), keys.clone()).read(..).unwrap();
    entries.filter_map(|entry| entry.unwrap().fields.get("exit_status")?.as_u64()).collect()
}

#[test]
fn a_crash_at_any_point_loses_nothing_that_was_acknowledged() {
    let keys = MemoryKeys::generate().unwrap();
    let store = RecordingStore::new(MemoryStore::new());
    let keys = write(&store, &keys, 0..40, true);
    let steps = store.steps().len();
    assert!(steps > 60);
    for at in 0..=steps {
        let torn = (0..rounds()).map(|round| Fate::Torn(seed() + round));
        for fate in [Fate::Kept, Fate::Lost].into_iter().chain(torn) {
            let (image, acknowledged) = store.crash(at, fate);
            let keys = keys.crash(at);
            let what = format!("step {at} of {steps}, {fate:?}");
            let recovered = survives(&image, &keys, acknowledged, &what);
            let found = numbers(&recovered, &keys);
            assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>(), "{what}");
        }
    }
}

#[test]
fn a_second_crash_during_recovery_loses_nothing_either() {
    let keys = MemoryKeys::generate().unwrap();
    let store = RecordingStore::new(MemoryStore::new());
    let keys = write(&store, &keys, 0..20, false);
    let steps = store.steps().len();
    for at in (0..=steps).step_by(5) {
        let (image, acknowledged) = store.crash(at, Fate::Torn(seed() + at as u64));
        let again = RecordingStore::new(image);
        again.note(Step::Acknowledged { entries: acknowledged });
        let keys = write(&again, &keys.crash(at), 20..26, false);
        let steps = again.steps().len();
        for second in 1..=steps {
            for fate in [Fate::Kept, Fate::Lost, Fate::Torn(seed() + second as u64)] {
                let (image, acknowledged) = again.crash(second, fate);
                survives(
                    &image,
                    &keys.crash(second),
                    acknowledged,
                    &format!("step {at}, then {second} of {steps}, {fate:?}"),
                );
            }
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_memory_is_made_durable_before_it_is_built_upon() {
    for syncs in 1..12 {
        let keys = MemoryKeys::generate().unwrap();
        let store = RecordingStore::new(MemoryStore::new());
        let log = options().segment_bytes(8 << 10).open_blocking(store.clone(), keys.clone()).unwrap();
        store.fail_sync_after(syncs);
        let mut number = 0;
        while log.append(entry(number)).wait().is_ok() {
            number += 1;
            store.note(Step::Acknowledged { entries: log.checkpoint().size() });
        }
        drop(log);
        let failed = store.steps().len();
        drop(write(&store, &keys, number + 1..number + 6, false));
        for at in failed..=store.steps().len() {
            for fate in [Fate::Kept, Fate::Lost, Fate::Torn(seed() + at as u64)] {
                let (image, acknowledged) = store.crash(at, fate);
                survives(&image, &keys, acknowledged, &format!("sync {syncs} failed, step {at}, {fate:?}"));
            }
        }
    }
}

/// Fails each call in turn, until a run needs no more calls.
fn fails_at_each_call(kind: io::ErrorKind) {
    for fail_call in 0.. {
        let (disk, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
        let store = FailingStore::new(disk.clone(), fail_call, kind);
        let mut acknowledged = 0;
        if let Ok(log) = options().segment_bytes(8 << 10).open_blocking(store.clone(), keys.clone()) {
            acknowledged = log.checkpoint().size();
            let mut has_failed = false;
            for number in 0..25 {
                match log.append(entry(number)).wait() {
                    Ok(receipt) => {
                        assert!(!has_failed, "call {fail_call}: an append succeeded after one failed");
                        acknowledged = receipt.seq + 1;
                    }
                    Err(AppendError::Poisoned { .. }) => has_failed = true,
                    Err(other) => panic!("call {fail_call}: {other}"),
                }
            }
            assert_eq!(log.close_blocking().is_err(), has_failed || store.has_failed(), "call {fail_call}");
        }
        survives(&disk, &keys, acknowledged, &format!("{kind:?} at call {fail_call}"));
        if !store.has_failed() {
            assert!(fail_call > 50);
            return;
        }
    }
}

#[test]
fn an_error_at_any_call_poisons_the_log_and_loses_nothing() {
    fails_at_each_call(io::ErrorKind::Other);
}

#[test]
fn a_disk_that_is_full_at_any_call_poisons_the_log_and_loses_nothing() {
    fails_at_each_call(io::ErrorKind::StorageFull);
}

#[test]
fn subject_keys_in_a_file_that_was_cut_off_anywhere_are_made_good() {
    use audit_log::{FileKeys, FileStore, VerifyOptions};
    let directory = tempfile::tempdir().unwrap();
    let (log_path, keys_path) = (directory.path().join("audit"), directory.path().join("keys"));
    let open = || {
        let store = FileStore::open(&log_path).unwrap();
        options().open_blocking(store, FileKeys::open(&keys_path).unwrap()).unwrap()
    };
    let log = open();
    log.append(Entry::new("x").actor("alice")).wait().unwrap();
    let before = std::fs::read(keys_path.join("subjects")).unwrap();
    drop(log);
    let checkpoint = std::fs::read(log_path.join("checkpoint")).unwrap();
    // A batch for one more subject, of which no leaf is written, as when the crash comes before the frame.
    let log = open();
    log.append(Entry::new("x").actor("bob")).wait().unwrap();
    let both = std::fs::read(keys_path.join("subjects")).unwrap();
    drop(log);
    let put_back = || {
        for file in std::fs::read_dir(&log_path).unwrap() {
            let path = file.unwrap().path();
            if !path.ends_with("segment-00000000.log") && !path.ends_with("lock") {
                std::fs::remove_file(path).unwrap();
            }
        }
        std::fs::write(log_path.join("checkpoint"), &checkpoint).unwrap();
    };
    put_back();
    let mut torn = both.clone();
    torn[before.len()..].fill(0);
    let cuts = (before.len()..both.len()).step_by(7).map(|cut| both[..cut].to_vec());
    for content in cuts.chain([torn, [before.clone(), vec![0; 90]].concat()]) {
        std::fs::write(keys_path.join("subjects"), &content).unwrap();
        let log = open();
        for actor in ["alice", "carol"] {
            log.append(Entry::new("x").actor(actor)).wait().unwrap();
        }
        drop(log);
        let store = FileStore::read_only(&log_path).unwrap();
        let reader = Reader::open(store, FileKeys::read_only(&keys_path).unwrap());
        reader.verify(&VerifyOptions::new(), |_| {}).unwrap();
        put_back();
    }
}
