//! Suites that implementors of [`Store`] and [`KeyProvider`] run over what they made. Each panics with what is wrong.
//!
//! What a suite cannot see is whether something is durable; cut the power for that.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a suite says by panicking what does not conform"
)]

use std::io;

use crate::{
    Access, AuditLog, Entry, KeyError, KeyProvider, Outcome, Reader, Store, SubjectKey, VerifierKey,
    VerifyOptions,
};

/// Runs every check of a store. `empty` makes handles on one and the same store, which is empty at first.
pub fn store<S: Store + 'static>(empty: impl Fn() -> S) {
    let store = empty();
    assert!(store.names().unwrap().is_empty(), "the store is not empty at first");
    locks(&store, &empty());
    files(&store, &empty());
    names(&store, &empty());
    // Nothing is ever deleted through the trait; what was made so far must not disturb a log.
    holds_a_log(&empty);
}

fn locks(store: &dyn Store, other: &dyn Store) {
    assert!(!store.has_writer().unwrap(), "a writer is said to live before there is any");
    let lock = store.lock().expect("the first lock is given");
    let refused = other.lock().err().expect("a second lock is refused");
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock, "a refused lock is WouldBlock");
    assert!(other.has_writer().unwrap(), "a writer that lives is seen");
    drop(lock);
    assert!(!other.has_writer().unwrap(), "a writer that went is not seen");
    drop(other.lock().expect("the lock is given again after it was given back"));
}

fn files(store: &dyn Store, other: &dyn Store) {
    let missing =
        store.open("conformance-missing", Access::Read).err().expect("a missing file is not opened");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound, "a missing file is NotFound");
    let file = store.create("conformance-file").unwrap();
    assert_eq!(file.bytes().unwrap(), 0, "a created file is empty");
    file.write_at(b"world", 6).unwrap();
    file.write_at(b"hello", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(file.bytes().unwrap(), 11, "writing beyond the end makes a file longer");
    let read = other.open("conformance-file", Access::Read).unwrap();
    let mut buffer = [9; 20];
    assert_eq!(read.read_at(&mut buffer, 0).unwrap(), 11, "reading stops at the end");
    assert_eq!(&buffer[..11], b"hello\0world", "what was written is read, and a gap reads as zero");
    assert_eq!(read.read_at(&mut buffer, 11).unwrap(), 0, "there is nothing after the end");
    assert_eq!(read.read_at(&mut buffer, 1000).unwrap(), 0, "there is nothing far after the end");
    let write = other.open("conformance-file", Access::Write).unwrap();
    write.truncate(5).unwrap();
    write.sync().unwrap();
    assert_eq!(read.bytes().unwrap(), 5, "a cut is seen through other handles");
    let again = store.create("conformance-file").unwrap();
    assert_eq!(again.bytes().unwrap(), 0, "creating a file anew empties it");
}

fn names(store: &dyn Store, other: &dyn Store) {
    let file = store.create("conformance-a.new").unwrap();
    file.write_at(b"a", 0).unwrap();
    file.sync().unwrap();
    store.publish("conformance-a.new", "conformance-a").unwrap();
    let names = other.names().unwrap();
    assert!(names.iter().any(|name| name == "conformance-a"), "a published file has its name");
    assert!(!names.iter().any(|name| name == "conformance-a.new"), "and no longer its old one");
    store.create("conformance-b.new").unwrap().sync().unwrap();
    assert!(
        store.publish("conformance-b.new", "conformance-a").is_err(),
        "a name that is taken is not taken over"
    );
    for content in [b"first".as_slice(), b"2nd"] {
        store.replace("conformance-c", content).unwrap();
        let file = other.open("conformance-c", Access::Read).unwrap();
        assert_eq!(file.bytes().unwrap(), content.len() as u64, "a replaced file has its new length");
        let mut read = vec![0; content.len()];
        assert_eq!(file.read_at(&mut read, 0).unwrap(), content.len(), "and its new content");
        assert_eq!(read, content);
    }
}

fn holds_a_log<S: Store + 'static>(handle: &impl Fn() -> S) {
    let keys = crate::MemoryKeys::generate().unwrap();
    for run in 0..3 {
        let log = AuditLog::options().segment_bytes(8 << 10).open_blocking(handle(), keys.clone()).unwrap();
        for number in 0..20 {
            let entry =
                Entry::new("conformance.checked").actor("tester").field("run", run).field("number", number);
            log.append(entry).wait().unwrap();
        }
        if run != 1 {
            log.close_blocking().unwrap();
        }
    }
    let reader = Reader::open(handle(), keys);
    let report = reader.verify(&VerifyOptions::new(), |_| {}).unwrap();
    assert_eq!(report.outcome(), Outcome::Whole);
    let found = reader.search(crate::Query::all().event_type("conformance.checked")).unwrap();
    assert_eq!(found.map(Result::unwrap).count(), 60, "all entries are found again");
}

/// Runs every check of a key provider. `fresh` makes handles on one and the same provider, which is bound to no log at first.
pub fn keys<K: KeyProvider + 'static>(fresh: impl Fn() -> K) {
    let keys = fresh();
    assert_eq!(keys.origin().unwrap(), None, "fresh keys are bound to no log");
    let public_key = keys.public_key().unwrap();
    assert_eq!(fresh().public_key().unwrap(), public_key, "the public key stays");
    let key =
        VerifierKey::new("example.com/conformance".parse().unwrap(), public_key).expect("an Ed25519 key");
    let body = crate::Checkpoint::body(key.origin(), 1, &[7; 32]);
    let signature = keys.sign(body.as_bytes()).unwrap();
    let signed = crate::Checkpoint::signed(&key, 1, [7; 32], body, signature);
    signed.verify(&key).expect("the signature is by the public key");

    let lock = keys.lock().expect("the first lock is given");
    let refused = fresh().lock().err().expect("a second lock is refused");
    assert!(matches!(refused, KeyError::Locked), "a refused lock is Locked");
    drop(lock);
    drop(fresh().lock().expect("the lock is given again after it was given back"));

    let log = [7; 16];
    keys.bind(&key, &log).unwrap();
    keys.bind(&key, &log).expect("binding to the same log again does nothing");
    assert_eq!(fresh().log_id().unwrap(), Some(log), "the id of the log is seen through other handles");
    let refused = keys.bind(&key, &[8; 16]).expect_err("keys are bound to one log of a name");
    assert!(matches!(refused, KeyError::SameName { .. }), "binding to another log of the name is SameName");
    assert_eq!(
        fresh().origin().unwrap().as_ref(),
        Some(key.origin()),
        "the binding is seen through other handles"
    );
    let other = VerifierKey::new("example.com/other".parse().unwrap(), public_key).unwrap();
    let refused = keys.bind(&other, &log).expect_err("keys are bound once");
    assert!(matches!(refused, KeyError::OtherLog { .. }), "binding to another log is OtherLog");

    let epoch = keys.newest_epoch().unwrap();
    assert!(epoch >= 1, "epochs are numbered from 1");
    let epoch_key = keys.epoch_key(epoch).unwrap();
    assert!(fresh().epoch_key(epoch).unwrap().0 == epoch_key.0, "the key of an epoch stays");
    let missing = keys.epoch_key(epoch + 1000).expect_err("there is no key of an epoch that was not begun");
    assert!(matches!(missing, KeyError::Missing { .. }), "a missing epoch key is Missing");

    assert!(keys.subjects().unwrap().is_empty(), "fresh keys know no subject");
    for batch in 0..3u8 {
        let new: Vec<_> = (0..batch + 1)
            .map(|number| {
                SubjectKey::new([batch, number, 0, 0, 0, 0, 0, 0], [batch; 32], format!("s-{batch}-{number}"))
            })
            .collect();
        keys.store_subjects(&new).unwrap();
    }
    let known = fresh().subjects().unwrap();
    assert_eq!(known.len(), 6, "subject keys are seen through other handles");
    for key in known {
        let [batch, number, ..] = key.id();
        assert_eq!(key.subject(), format!("s-{batch}-{number}"), "a subject key keeps its subject");
        assert_eq!(key.expose(), &[batch; 32], "a subject key stays");
    }

    keys.release().unwrap();
    assert_eq!(fresh().origin().unwrap(), None, "keys that were released are bound to no log");
    assert_eq!(fresh().public_key().unwrap(), public_key, "releasing keys takes none away");
    keys.bind(&other, &[8; 16]).expect("keys that were released can be bound again");
}
