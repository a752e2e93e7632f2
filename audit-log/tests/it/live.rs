//! Reading beside a writer: what is whole is never called tampered or torn.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use audit_log::{
    Access, AppendError, AuditLog, CloseError, Entry, EpochKey, KeyError, KeyProvider, MemoryKeys,
    MemoryStore, Origin, Outcome, Reader, Store, StoreFile, StoreLock, SubjectKey, VerifierKey,
    VerifyOptions,
};

use crate::logs::{append_all, entry, options, verify};

/// The states of a store over time: every call of a reader may see a later one than the call before.
#[derive(Clone)]
struct Moving {
    states: Arc<Vec<MemoryStore>>,
    /// How many calls see one state, and how many calls were made.
    pace: u64,
    calls: Arc<AtomicU64>,
}

impl Moving {
    fn now(&self) -> &MemoryStore {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let place = usize::try_from(call / self.pace).unwrap().min(self.states.len() - 1);
        &self.states[place]
    }

    fn is_over(&self) -> bool {
        self.calls.load(Ordering::SeqCst) / self.pace >= self.states.len() as u64 - 1
    }
}

impl Store for Moving {
    fn lock(&self) -> io::Result<Box<dyn StoreLock>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn has_writer(&self) -> io::Result<bool> {
        self.now();
        Ok(!self.is_over())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        // As a listing in two pieces: a name that came between them is missing, one that came later is there.
        let mut names = self.now().names()?;
        for _ in 0..14 * self.pace {
            self.now();
        }
        let later = self.now().names()?;
        let newest = later.iter().filter(|name| name.ends_with(".log")).max().cloned();
        names.extend(newest.filter(|newest| !names.contains(newest)));
        Ok(names)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StoreFile>> {
        drop(self.now().open(name, access)?);
        Ok(Box::new(MovingFile { store: self.clone(), name: name.to_owned() }))
    }

    fn create(&self, _: &str) -> io::Result<Box<dyn StoreFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn publish(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn replace(&self, _: &str, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct MovingFile {
    store: Moving,
    name: String,
}

impl StoreFile for MovingFile {
    fn bytes(&self) -> io::Result<u64> {
        self.store.now().open(&self.name, Access::Read)?.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.store.now().open(&self.name, Access::Read)?.read_at(buffer, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[test]
fn a_log_that_is_written_closed_and_opened_again_while_it_is_read_is_whole() {
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let mut states = Vec::new();
    for run in 0..2 {
        let log = options().segment_bytes(8 << 10).open_blocking(store.clone(), keys.clone()).unwrap();
        states.push(store.snapshot());
        for number in 0..8 {
            let before = store.snapshot();
            append_all(&log, run * 8 + number..run * 8 + number + 1, 1);
            // In between, a frame of which half of the sectors is seen.
            states.push(half(&before, &store));
            states.push(store.snapshot());
        }
        log.close_blocking().unwrap();
        states.push(store.snapshot());
    }
    let states = Arc::new(states);
    let mut runs = 0;
    for pace in [1, 2, 3, 5, 7] {
        for start in 0..60 {
            let moving =
                Moving { states: Arc::clone(&states), pace, calls: Arc::new(AtomicU64::new(start * pace)) };
            let reader = Reader::open(moving.clone(), keys.clone());
            let report = reader.verify(&VerifyOptions::new(), |_| {});
            let report = report.unwrap_or_else(|error| panic!("pace {pace}, from {start}: {error}"));
            assert_eq!(report.outcome(), Outcome::Whole, "pace {pace}, from {start}");
            moving.calls.store(start * pace, Ordering::SeqCst);
            for found in reader.read(..).unwrap() {
                found.unwrap_or_else(|error| panic!("pace {pace}, from {start}: {error}"));
            }
            runs += 1;
        }
    }
    assert_eq!(runs, 300);
    assert_eq!(verify(&store, &keys).unwrap().outcome(), Outcome::Whole);
}

/// The files as they were before a write, with every second sector that it changed.
fn half(before: &MemoryStore, after: &MemoryStore) -> MemoryStore {
    let seen = before.snapshot();
    for name in before.names().unwrap().iter().filter(|name| name.ends_with(".log")) {
        let (mut old, new) = (before.content(name).unwrap(), after.content(name).unwrap());
        if old.len() == new.len() {
            for (place, sector) in new.chunks(512).enumerate().filter(|(place, _)| place % 2 == 1) {
                old[place * 512..place * 512 + sector.len()].copy_from_slice(sector);
            }
            seen.insert(name, old);
        }
    }
    seen
}

/// Keys that panic when they are asked to sign, from a given time on.
struct Fragile {
    keys: MemoryKeys,
    signs_left: AtomicU64,
}

impl KeyProvider for Fragile {
    fn lock(&self) -> Result<Box<dyn StoreLock>, KeyError> {
        self.keys.lock()
    }

    fn public_key(&self) -> Result<[u8; 32], KeyError> {
        self.keys.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let left = self.signs_left.fetch_sub(1, Ordering::SeqCst);
        assert!(left > 0, "on purpose");
        self.keys.sign(message)
    }

    fn origin(&self) -> Result<Option<Origin>, KeyError> {
        self.keys.origin()
    }

    fn log_id(&self) -> Result<Option<[u8; 16]>, KeyError> {
        self.keys.log_id()
    }

    fn bind(&self, key: &VerifierKey, log: &[u8; 16]) -> Result<(), KeyError> {
        self.keys.bind(key, log)
    }

    fn release(&self) -> Result<(), KeyError> {
        self.keys.release()
    }

    fn newest_epoch(&self) -> Result<u32, KeyError> {
        self.keys.newest_epoch()
    }

    fn epoch_key(&self, epoch: u32) -> Result<EpochKey, KeyError> {
        self.keys.epoch_key(epoch)
    }

    fn subjects(&self) -> Result<Vec<SubjectKey>, KeyError> {
        self.keys.subjects()
    }

    fn store_subjects(&self, new: &[SubjectKey]) -> Result<(), KeyError> {
        self.keys.store_subjects(new)
    }
}

#[test]
fn keys_that_panic_poison_the_log_and_leave_nobody_waiting() {
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let fragile = Fragile { keys: keys.clone(), signs_left: AtomicU64::new(3) };
    let log: AuditLog = options().open_blocking(store.clone(), fragile).unwrap();
    for number in 0..2 {
        log.append(entry(number)).wait().unwrap();
    }
    // In the writing thread, then in this one.
    let failed = futures::executor::block_on(log.append(Entry::new("x")));
    assert!(matches!(failed, Err(AppendError::Poisoned { .. })), "{failed:?}");
    assert!(matches!(log.append(Entry::new("x")).wait(), Err(AppendError::Poisoned { .. })));
    assert!(store.has_writer().unwrap(), "the lock is held until the log is closed");
    assert!(matches!(log.close_blocking(), Err(CloseError::Poisoned { .. })));
    assert!(!store.has_writer().unwrap());
    assert_eq!(verify(&store, &keys).unwrap().entries, 3);
}
