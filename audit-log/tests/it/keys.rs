//! Keys belong to one log, are used by one writer, and say when their log is gone.

use audit_log::{
    AppendError, AuditLog, Checked, Entry, ErrorKind, FileKeys, FileStore, KeyError, KeyProvider as _,
    MemoryKeys, MemoryStore, OpenError, Reader, VerifyError, VerifyOptions,
};
use std::path::Path;

use crate::logs::{append_all, entry, killed, options, verify};

fn open(log: &Path, keys: &Path) -> Result<AuditLog, OpenError> {
    options().open_blocking(FileStore::open(log).unwrap(), FileKeys::open(keys).unwrap())
}

fn check(log: &Path, keys: &Path) -> Result<audit_log::Report, VerifyError> {
    Reader::open(FileStore::read_only(log).unwrap(), FileKeys::read_only(keys).unwrap())
        .verify(&VerifyOptions::new(), |_| {})
}

#[test]
fn two_logs_do_not_share_keys() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("audit"), directory.path().join("audit2"));
    let keys = directory.path().join("keys");
    let log = open(&first, &keys).unwrap();
    append_all(&log, 0..3, 1);
    // While the first is open, and after it was closed; of the second log nothing is made.
    let refused = open(&second, &keys).unwrap_err();
    assert!(matches!(refused, OpenError::Keys(KeyError::Locked)), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Locked);
    append_all(&log, 3..6, 1);
    log.close_blocking().unwrap();
    assert!(matches!(open(&second, &keys), Err(OpenError::Emptied { .. })));
    assert!(check(&first, &keys).is_ok());
    // Nor can a log be put in the place of another under one name and one key.
    let others = directory.path().join("others");
    open(&second, &others).unwrap().close_blocking().unwrap();
    std::fs::copy(second.join("checkpoint"), directory.path().join("kept")).unwrap();
    std::fs::write(keys.join("log.id"), std::fs::read(others.join("log.id")).unwrap()).unwrap();
    assert!(matches!(open(&first, &keys), Err(OpenError::Keys(KeyError::SameName { .. }))));
    assert!(matches!(check(&first, &keys), Err(VerifyError::Tampered(_))));
}

#[test]
fn a_log_that_was_emptied_is_neither_whole_nor_begun_again_unasked() {
    let (_, keys) = killed(5, 1);
    let gone = MemoryStore::new();
    let found = verify(&gone, &keys);
    assert!(matches!(found, Err(VerifyError::Tampered(_))), "{found:?}");
    let refused = options().open_blocking(gone.clone(), keys.clone()).unwrap_err();
    assert!(matches!(refused, OpenError::Emptied { .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Tampered);
    assert!(gone.snapshot().content("segment-00000000.log").is_none());
    let public = keys.public_key().unwrap();
    let bound = audit_log::VerifierKey::new(keys.origin().unwrap().unwrap(), public).unwrap();
    let found =
        Reader::keyless(gone.clone()).verify(&VerifyOptions::new().verifier_key(bound.clone()), |_| {});
    assert!(matches!(found, Err(VerifyError::Tampered(_))), "{found:?}");
    let report = Reader::keyless(gone.clone()).verify(&VerifyOptions::new(), |_| {}).unwrap();
    assert_eq!((report.entries, report.content, report.signature), (0, Checked::NoKey, Checked::NoKey));

    let same_name = options().begin_anew().origin(bound.origin().clone());
    assert!(matches!(same_name.open_blocking(gone.clone(), keys.clone()), Err(OpenError::Option(_))));
    let log = options().begin_anew().open_blocking(gone.clone(), keys.clone()).unwrap();
    assert_ne!(log.public_key().origin(), bound.origin(), "no two logs are signed under one name");
    log.append(entry(1)).wait().unwrap();
    log.close_blocking().unwrap();
    verify(&gone, &keys).unwrap();
    // An option that is forgotten in the configuration empties nothing.
    options().begin_anew().open_blocking(gone.clone(), keys.clone()).unwrap();
    assert!(verify(&gone, &keys).unwrap().entries > 3);
}

#[test]
fn keys_that_lost_the_name_of_their_log_find_it_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let (log, keys) = (directory.path().join("audit"), directory.path().join("keys"));
    open(&log, &keys).unwrap().close_blocking().unwrap();
    let name = std::fs::read(keys.join("log.vkey")).unwrap();
    for lost in [&["log.id"][..], &["log.vkey", "log.id"]] {
        for file in lost {
            std::fs::remove_file(keys.join(file)).unwrap();
        }
        open(&log, &keys).unwrap().close_blocking().unwrap();
        assert_eq!(std::fs::read(keys.join("log.vkey")).unwrap(), name);
        assert!(keys.join("log.id").is_file());
    }
    assert!(check(&log, &keys).is_ok());
}

#[test]
fn reading_needs_no_signing_key() {
    let directory = tempfile::tempdir().unwrap();
    let (log, keys) = (directory.path().join("audit"), directory.path().join("keys"));
    let writer = open(&log, &keys).unwrap();
    append_all(&writer, 0..8, 3);
    writer.close_blocking().unwrap();
    std::fs::remove_file(keys.join("signing.key")).unwrap();
    let report = check(&log, &keys).unwrap();
    assert_eq!((report.content, report.signature), (Checked::Yes, Checked::Yes));
    assert!(matches!(FileKeys::read_only(&keys).unwrap().sign(b"x"), Err(KeyError::Missing { .. })));
    assert!(matches!(FileKeys::open(&keys), Err(KeyError::Missing { .. })));
}

#[test]
fn any_sectors_lost_of_the_last_batch_of_subject_keys_are_made_good() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("keys");
    let path = directory.join("subjects");
    let keys = FileKeys::open(&directory).unwrap();
    let subject =
        |number: u8| audit_log::SubjectKey::new([number; 8], [number; 32], format!("{number}").repeat(100));
    // The first batch, with the file not yet there, and a later one; each longer than a sector.
    let mut known = 0;
    for round in 0..2u8 {
        let before = std::fs::read(&path).unwrap_or_default();
        let new: Vec<_> = (0..6).map(|number| subject(round * 6 + number)).collect();
        keys.store_subjects(&new).unwrap();
        let after = std::fs::read(&path).unwrap();
        assert!(after.len().is_multiple_of(512));
        let from = before.len().max(512);
        let sectors = (after.len() - from) / 512;
        assert!(sectors > 1);
        for lost in 1u32..1 << sectors {
            let mut torn = after.clone();
            for sector in (0..sectors).filter(|sector| lost & (1 << sector) != 0) {
                torn[from + sector * 512..][..512].fill(0);
            }
            std::fs::write(&path, &torn).unwrap();
            let again = FileKeys::open(&directory).unwrap();
            drop(again.lock().unwrap());
            assert_eq!(again.subjects().unwrap().len(), known, "round {round}, lost {lost:b}");
            assert_eq!(std::fs::read(&path).unwrap().len(), from, "what is left is cut off");
            again.store_subjects(&[subject(100)]).unwrap();
            assert_eq!(FileKeys::open(&directory).unwrap().subjects().unwrap().len(), known + 1);
        }
        std::fs::write(&path, &after).unwrap();
        known += 6;
    }
    // What a crash cannot do: a batch lost before a later one, and a byte changed.
    let whole = std::fs::read(&path).unwrap();
    let mut lost = whole.clone();
    lost[512..1024].fill(0);
    let mut altered = whole.clone();
    altered[700] ^= 1;
    for content in [lost, altered] {
        std::fs::write(&path, content).unwrap();
        let refused = FileKeys::open(&directory).unwrap().subjects();
        assert!(matches!(refused, Err(KeyError::Malformed { .. })), "{refused:?}");
    }
}

#[test]
fn nothing_is_written_through_a_link_that_somebody_left() {
    let directory = tempfile::tempdir().unwrap();
    let (log, keys) = (directory.path().join("audit"), directory.path().join("keys"));
    open(&log, &keys).unwrap().close_blocking().unwrap();
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    for name in ["checkpoint.new", "segment-00000001.log.new"] {
        std::os::unix::fs::symlink(&victim, log.join(name)).unwrap();
    }
    std::os::unix::fs::symlink(&victim, keys.join("subjects.new")).unwrap();
    let writer = open(&log, &keys).unwrap();
    writer.append(Entry::new("x").actor("alice")).wait().unwrap();
    writer.close_blocking().unwrap();
    assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
    assert!(!keys.join("subjects").is_symlink() && !log.join("checkpoint").is_symlink());
    check(&log, &keys).unwrap();
}

#[test]
fn keys_that_others_can_use_are_refused() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    FileKeys::open(&keys).unwrap();
    for (path, open, closed) in [(keys.clone(), 0o755, 0o700), (keys.join("signing.key"), 0o644, 0o600)] {
        std::fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
        let refused = FileKeys::open(&keys).unwrap_err();
        assert!(matches!(refused, KeyError::Exposed { .. }), "{refused}");
        std::fs::set_permissions(&path, Permissions::from_mode(closed)).unwrap();
        FileKeys::open(&keys).unwrap();
    }
}

#[test]
fn a_key_that_is_missing_hides_no_alteration_that_comes_later() {
    let (store, _) = killed(40, 1);
    let others = MemoryKeys::generate().unwrap();
    assert!(matches!(verify(&store, &others), Err(VerifyError::Keys(_))));
    let name = "segment-00000001.log";
    let mut altered = store.content(name).unwrap();
    altered[3000] ^= 1;
    store.insert(name, altered);
    match verify(&store, &others) {
        Err(VerifyError::Tampered(fault)) => assert_eq!(fault.file, name),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_writer_that_holds_its_keys_goes_on_after_another_was_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (log, keys) = (directory.path().join("audit"), directory.path().join("keys"));
    let writer = open(&log, &keys).unwrap();
    assert!(matches!(open(&log, &keys), Err(OpenError::Locked)));
    let receipt: Result<_, AppendError> = writer.append(entry(2)).wait();
    receipt.unwrap();
}

#[test]
fn files_whose_names_are_no_text_are_told_apart_and_pipes_are_not_waited_for() {
    use std::os::unix::ffi::OsStrExt as _;
    let directory = tempfile::tempdir().unwrap();
    let (log, keys) = (directory.path().join("audit"), directory.path().join("keys"));
    open(&log, &keys).unwrap().close_blocking().unwrap();
    for name in [b"bad\xff", b"bad\xfe"] {
        std::fs::write(log.join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
    }
    let names = check(&log, &keys).unwrap().unknown_files;
    assert!(names.len() == 2 && names[0] != names[1], "{names:?}");
    std::fs::remove_file(log.join("checkpoint")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(log.join("checkpoint")).status().unwrap();
    assert!(made.success());
    assert!(matches!(check(&log, &keys), Err(VerifyError::Io { .. })));
}

#[test]
fn directories_are_made_to_the_last_level() {
    let directory = tempfile::tempdir().unwrap();
    let (log, keys) = (directory.path().join("a/b/audit"), directory.path().join("c/d/keys"));
    open(&log, &keys).unwrap().close_blocking().unwrap();
    check(&log, &keys).unwrap();
}
