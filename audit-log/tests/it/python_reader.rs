//! An independent reader, written in Python from FORMAT.md alone, must agree with ours on every kind of log that these tests make.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use audit_log::{Entry, FileKeys, FileStore, Reader};

use crate::logs::{append_all, frames, note, options};

const PYTHON: &str = "/usr/bin/python3";

fn python(verb: &str, directory: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reader/audit_log_reader.py");
    let arguments = [script.as_os_str(), verb.as_ref(), "--log".as_ref()];
    Command::new(PYTHON)
        .args(arguments)
        .arg(directory.join("audit"))
        .arg("--keys")
        .arg(directory.join("keys"))
        .output()
        .expect("python3 runs")
}

/// What the Python reader says: 0 whole, 1 tampered, 3 torn.
#[track_caller]
fn expect(directory: &Path, status: i32) {
    let output = python("verify", directory);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
}

/// Both readers yield the same entries.
#[track_caller]
fn same_entries(directory: &Path) {
    let output = python("dump", directory);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let store = FileStore::read_only(directory.join("audit")).unwrap();
    let keys = FileKeys::read_only(directory.join("keys")).unwrap();
    let ours: Vec<_> =
        Reader::open(store, keys).read(..).unwrap().map(|entry| entry.unwrap().to_dump()).collect();
    assert!(ours.len() > 1);
    assert_eq!(ours, theirs);
}

fn open(directory: &Path) -> audit_log::AuditLog {
    let store = FileStore::open(directory.join("audit")).unwrap();
    let keys = FileKeys::open(directory.join("keys")).unwrap();
    options().segment_bytes(16 << 10).open_blocking(store, keys).unwrap()
}

/// A copy of a directory, taken as if the machine had stopped at that moment.
fn copy(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for part in ["audit", "keys"] {
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .create(copy.path().join(part))
            .unwrap();
        for file in std::fs::read_dir(directory.join(part)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(part).join(file.file_name())).unwrap();
        }
    }
    copy
}

fn last_segment(directory: &Path) -> PathBuf {
    let mut names: Vec<_> = std::fs::read_dir(directory.join("audit"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    names.sort();
    names.pop().unwrap()
}

#[test]
#[ignore = "needs python3-cryptography: cargo xtask test"]
fn python_agrees_on_whole_logs() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    append_all(&log, 0..100, 7);
    let killed = copy(directory.path());
    expect(killed.path(), 0);
    same_entries(killed.path());
    log.close_blocking().unwrap();
    expect(directory.path(), 0);
    same_entries(directory.path());

    let log = open(killed.path());
    append_all(&log, 100..140, 1);
    log.append(Entry::new("x").field("big", "y".repeat(60_000))).wait().unwrap();
    drop(log);
    expect(killed.path(), 0);
    same_entries(killed.path());
}

#[test]
#[ignore = "needs python3-cryptography: cargo xtask test"]
fn python_agrees_on_torn_logs_and_on_what_recovery_makes_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    append_all(&log, 0..30, 10);
    let torn = copy(directory.path());
    drop(log);
    let path = last_segment(torn.path());
    let segment = std::fs::read(&path).unwrap();
    // The copy of the checkpoint is of before the frame that is torn here.
    let first = std::fs::read(torn.path().join("audit/segment-00000000.log")).unwrap();
    std::fs::write(torn.path().join("audit/checkpoint"), note(&first, 0)).unwrap();
    let (offset, bytes) = frames(&segment).pop().unwrap();
    for lost in [offset, offset + 512, offset + bytes - 512] {
        let mut cut = segment.clone();
        cut[lost..lost + 512].fill(0);
        std::fs::write(&path, &cut).unwrap();
        expect(torn.path(), 3);
    }
    drop(open(torn.path()));
    expect(torn.path(), 0);
    same_entries(torn.path());
}

#[test]
#[ignore = "needs python3-cryptography: cargo xtask test"]
fn python_finds_bytes_that_were_changed_in_every_segment() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    append_all(&log, 0..60, 5);
    let whole = copy(directory.path());
    drop(log);
    for file in std::fs::read_dir(whole.path().join("audit")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let segment = std::fs::read(&path).unwrap();
        for place in [0, 9, 700, 2047, 2048, 2100, 3000, segment.len() / 2, segment.len() - 1] {
            let mut altered = segment.clone();
            altered[place] ^= 0x10;
            std::fs::write(&path, &altered).unwrap();
            expect(whole.path(), 1);
        }
        std::fs::write(&path, &segment).unwrap();
    }
    expect(whole.path(), 0);
}

#[test]
#[ignore = "needs python3-cryptography: cargo xtask test"]
fn python_agrees_on_sectors_lost_before_later_frames_and_on_copies_that_are_missing_or_too_old() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    append_all(&log, 0..4, 1);
    let killed = copy(directory.path());
    log.close_blocking().unwrap();
    let path = last_segment(killed.path());
    let segment = std::fs::read(&path).unwrap();
    std::fs::write(killed.path().join("audit/checkpoint"), note(&segment, 0)).unwrap();
    expect(killed.path(), 0);
    let (offset, bytes) = frames(&segment)[1];
    for lost in (offset..offset + bytes).step_by(512) {
        let mut altered = segment.clone();
        altered[lost..lost + 512].fill(0);
        std::fs::write(&path, &altered).unwrap();
        expect(killed.path(), 1);
    }
    std::fs::write(&path, &segment).unwrap();
    std::fs::remove_file(killed.path().join("audit/checkpoint")).unwrap();
    expect(killed.path(), 1);

    let path = last_segment(directory.path());
    let segment = std::fs::read(&path).unwrap();
    for more in [b"hello".to_vec(), b"ALOGFRAM".to_vec(), [vec![0; 512], vec![7; 1000]].concat()] {
        std::fs::write(&path, [&segment[..], &more].concat()).unwrap();
        expect(directory.path(), 1);
    }
    std::fs::write(&path, &segment).unwrap();
    open(directory.path()).close_blocking().unwrap();
    expect(directory.path(), 0);
    std::fs::write(directory.path().join("audit/checkpoint"), note(&segment, 0)).unwrap();
    expect(directory.path(), 1);
}

#[test]
#[ignore = "needs python3-cryptography: cargo xtask test"]
fn python_agrees_on_logs_that_are_gone_or_replaced_and_on_subject_keys() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let many = (0..15).fold(Entry::new("x"), |entry, number| entry.subject(format!("{number}").repeat(40)));
    log.append(many).wait().unwrap();
    log.append(Entry::new("x").actor("alice")).wait().unwrap();
    log.close_blocking().unwrap();
    same_entries(directory.path());
    let path = directory.path().join("keys/subjects");
    let subjects = std::fs::read(&path).unwrap();
    // A torn batch that nothing uses, then one lost before the last.
    std::fs::write(&path, [&subjects[..], &[0; 512], &[9; 300]].concat()).unwrap();
    expect(directory.path(), 0);
    let mut lost = subjects.clone();
    lost[1024..1536].fill(0);
    std::fs::write(&path, &lost).unwrap();
    expect(directory.path(), 2);
    std::fs::write(&path, &subjects).unwrap();

    let id = directory.path().join("keys/log.id");
    let bound = std::fs::read(&id).unwrap();
    std::fs::write(&id, format!("{}\n", "0".repeat(32))).unwrap();
    expect(directory.path(), 1);
    std::fs::write(&id, bound).unwrap();
    for file in std::fs::read_dir(directory.path().join("audit")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    expect(directory.path(), 1);
    std::fs::remove_file(directory.path().join("keys/log.vkey")).unwrap();
    expect(directory.path(), 0);
}
