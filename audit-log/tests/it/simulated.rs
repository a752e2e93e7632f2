//! Stores that break on purpose: a disk whose power is cut, and one that fails a chosen call.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use audit_log::{
    Access, EpochKey, KeyError, KeyProvider, MemoryKeys, MemoryStore, Origin, Store, StoreFile, StoreLock,
    SubjectKey, VerifierKey,
};

const SECTOR: usize = 512;

/// A small generator of numbers that look random, the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// What was done to the disk, in order.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create {
        file: usize,
        name: String,
    },
    Write {
        file: usize,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: usize,
        bytes: usize,
    },
    Sync {
        file: usize,
    },
    /// A sync that failed: the system holds what was written and believes that it is on the disk, where it never was.
    SyncFailed {
        file: usize,
    },
    Publish {
        from: String,
        to: String,
    },
    Replace {
        name: String,
        content: Vec<u8>,
    },
    /// The keys were bound to the log.
    Bound,
    /// The test was told that the log has this many entries.
    Acknowledged {
        entries: u64,
    },
}

/// A disk that remembers everything that was done to it, so that any crash can be played later.
#[derive(Clone)]
pub(crate) struct RecordingStore {
    inner: MemoryStore,
    start: MemoryStore,
    steps: Arc<Mutex<Vec<Step>>>,
    files: Arc<Mutex<BTreeMap<String, usize>>>,
    next_file: Arc<AtomicI64>,
    syncs_until_failure: Arc<AtomicI64>,
}

impl RecordingStore {
    pub(crate) fn new(start: MemoryStore) -> Self {
        let names = start.names().unwrap();
        let files: BTreeMap<String, usize> =
            names.iter().enumerate().map(|(number, name)| (name.clone(), number)).collect();
        Self {
            inner: start.snapshot(),
            start,
            next_file: Arc::new(AtomicI64::new(files.len() as i64)),
            files: Arc::new(Mutex::new(files)),
            steps: Arc::default(),
            syncs_until_failure: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }

    /// Lets one sync fail, after this many that do not.
    pub(crate) fn fail_sync_after(&self, syncs: i64) {
        self.syncs_until_failure.store(syncs, Ordering::SeqCst);
    }

    pub(crate) fn note(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }

    /// What is on the disk after a crash in the middle of step `at`, and how many entries had been acknowledged.
    pub(crate) fn crash(&self, at: usize, fate: Fate) -> (MemoryStore, u64) {
        Disk::play(&self.start, &self.steps(), at, fate)
    }
}

/// What becomes of writes that were not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// All are there: the process was killed.
    Kept,
    /// None is there.
    Lost,
    /// Each sector by the dice, in any order.
    Torn(u64),
}

#[derive(Clone, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// What the system shows as long as it has power.
    shown: Vec<u8>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Content {
    fn of(durable: Vec<u8>) -> Self {
        Self { shown: durable.clone(), durable, pending: Vec::new() }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.shown, &change);
        self.pending.push(change);
    }

    fn settle(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
    }

    fn after_crash(&self, fate: Fate, dice: &mut Dice) -> Vec<u8> {
        match fate {
            Fate::Kept => self.shown.clone(),
            Fate::Lost => self.durable.clone(),
            Fate::Torn(_) => {
                let mut image = self.durable.clone();
                let lengths: Vec<usize> = std::iter::once(image.len())
                    .chain(self.pending.iter().scan(image.len(), |bytes, change| {
                        *bytes = match change {
                            Change::Write(offset, written) => (*bytes).max(offset + written.len()),
                            Change::Truncate(cut) => (*bytes).min(*cut),
                        };
                        Some(*bytes)
                    }))
                    .collect();
                let bytes = lengths[dice.roll(lengths.len() as u64) as usize];
                image.resize(lengths.iter().copied().max().unwrap(), 0);
                for change in &self.pending {
                    let Change::Write(offset, written) = change else { continue };
                    assert_eq!(offset % SECTOR, 0, "a write that begins within a sector");
                    for (number, sector) in written.chunks(SECTOR).enumerate() {
                        if dice.roll(2) == 0 {
                            let place = offset + number * SECTOR;
                            image[place..place + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
                image.truncate(bytes);
                image
            }
        }
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, bytes) => {
            if content.len() < offset + bytes.len() {
                content.resize(offset + bytes.len(), 0);
            }
            content[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Change::Truncate(bytes) => content.truncate(*bytes),
    }
}

struct Disk {
    contents: BTreeMap<usize, Content>,
    names: BTreeMap<String, usize>,
    /// Names that were made and may or may not be there after a crash.
    unsure: Vec<String>,
}

impl Disk {
    fn play(start: &MemoryStore, steps: &[Step], at: usize, fate: Fate) -> (MemoryStore, u64) {
        let mut disk = Self { contents: BTreeMap::new(), names: BTreeMap::new(), unsure: Vec::new() };
        for (number, name) in start.names().unwrap().into_iter().enumerate() {
            let durable = start.content(&name).unwrap();
            disk.contents.insert(number, Content::of(durable));
            disk.names.insert(name, number);
        }
        let seed = if let Fate::Torn(seed) = fate { seed } else { 0 };
        let mut dice = Dice::new(seed ^ (at as u64) << 20);
        let mut acknowledged = 0;
        for step in &steps[..at] {
            if let Step::Acknowledged { entries } = step {
                acknowledged = *entries;
            }
            disk.done(step, 1_000_000);
        }
        // The step in whose middle the crash comes: what is atomic happens or not, what is not is left to fate.
        if let Some(step) = steps.get(at) {
            let happens = match fate {
                Fate::Kept => true,
                Fate::Lost => false,
                Fate::Torn(_) => dice.roll(2) == 0,
            };
            match step {
                Step::Sync { .. } | Step::SyncFailed { .. } | Step::Acknowledged { .. } | Step::Bound => {}
                Step::Write { .. } | Step::Truncate { .. } | Step::Create { .. } => {
                    disk.done(step, 1_000_000)
                }
                Step::Publish { .. } | Step::Replace { .. } if happens => disk.done(step, 1_000_000),
                Step::Publish { .. } | Step::Replace { .. } => {}
            }
        }
        let image = MemoryStore::new();
        for (name, file) in &disk.names {
            let is_lost = disk.unsure.contains(name)
                && match fate {
                    Fate::Kept => false,
                    Fate::Lost => true,
                    Fate::Torn(_) => dice.roll(2) == 0,
                };
            if !is_lost {
                image.insert(name, disk.contents[file].after_crash(fate, &mut dice));
            }
        }
        (image, acknowledged)
    }

    fn done(&mut self, step: &Step, replaced: usize) {
        match step {
            Step::Create { file, name } => {
                self.contents.insert(*file, Content::default());
                self.names.insert(name.clone(), *file);
                self.unsure.push(name.clone());
            }
            Step::Write { file, offset, bytes } => {
                self.contents.get_mut(file).unwrap().change(Change::Write(*offset, bytes.clone()));
            }
            Step::Truncate { file, bytes } => {
                self.contents.get_mut(file).unwrap().change(Change::Truncate(*bytes));
            }
            Step::SyncFailed { file } => self.contents.get_mut(file).unwrap().pending.clear(),
            Step::Sync { file } => self.contents.get_mut(file).unwrap().settle(),
            Step::Publish { from, to } => {
                let file = self.names.remove(from).unwrap();
                self.unsure.retain(|name| name != from);
                self.names.insert(to.clone(), file);
            }
            Step::Replace { name, content } => {
                let file = replaced + self.names.len() + self.contents.len();
                self.contents.insert(file, Content::of(content.clone()));
                self.names.insert(name.clone(), file);
            }
            Step::Acknowledged { .. } | Step::Bound => {}
        }
    }
}

/// Keys that note when they are bound, so that a crash can come before it.
#[derive(Clone)]
pub(crate) struct RecordingKeys {
    inner: MemoryKeys,
    was_bound: bool,
    store: RecordingStore,
}

impl RecordingKeys {
    pub(crate) fn new(keys: &MemoryKeys, store: &RecordingStore) -> Self {
        let was_bound = keys.origin().unwrap().is_some();
        Self { inner: keys.clone(), was_bound, store: store.clone() }
    }

    /// The keys after a crash in the middle of step `at`. Subject keys may be more than had been stored by then.
    pub(crate) fn crash(&self, at: usize) -> MemoryKeys {
        let keys = self.inner.snapshot();
        let is_bound = self.store.steps()[..at].iter().any(|step| matches!(step, Step::Bound));
        if !self.was_bound && !is_bound {
            keys.release().unwrap();
        }
        keys
    }
}

impl KeyProvider for RecordingKeys {
    fn lock(&self) -> Result<Box<dyn StoreLock>, KeyError> {
        self.inner.lock()
    }

    fn public_key(&self) -> Result<[u8; 32], KeyError> {
        self.inner.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        self.inner.sign(message)
    }

    fn origin(&self) -> Result<Option<Origin>, KeyError> {
        self.inner.origin()
    }

    fn log_id(&self) -> Result<Option<[u8; 16]>, KeyError> {
        self.inner.log_id()
    }

    fn bind(&self, key: &VerifierKey, log: &[u8; 16]) -> Result<(), KeyError> {
        self.inner.bind(key, log)?;
        self.store.note(Step::Bound);
        Ok(())
    }

    fn release(&self) -> Result<(), KeyError> {
        self.inner.release()
    }

    fn newest_epoch(&self) -> Result<u32, KeyError> {
        self.inner.newest_epoch()
    }

    fn epoch_key(&self, epoch: u32) -> Result<EpochKey, KeyError> {
        self.inner.epoch_key(epoch)
    }

    fn subjects(&self) -> Result<Vec<SubjectKey>, KeyError> {
        self.inner.subjects()
    }

    fn store_subjects(&self, new: &[SubjectKey]) -> Result<(), KeyError> {
        self.inner.store_subjects(new)
    }
}

impl Store for RecordingStore {
    fn lock(&self) -> io::Result<Box<dyn StoreLock>> {
        self.inner.lock()
    }

    fn has_writer(&self) -> io::Result<bool> {
        self.inner.has_writer()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.inner.names()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StoreFile>> {
        let inner = self.inner.open(name, access)?;
        let file = self.files.lock().unwrap().get(name).copied().unwrap_or(usize::MAX);
        Ok(Box::new(RecordingFile { inner, file, store: self.clone() }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>> {
        let inner = self.inner.create(name)?;
        let file = self.next_file.fetch_add(1, Ordering::SeqCst) as usize;
        self.files.lock().unwrap().insert(name.to_owned(), file);
        self.note(Step::Create { file, name: name.to_owned() });
        Ok(Box::new(RecordingFile { inner, file, store: self.clone() }))
    }

    fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.publish(from, to)?;
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).unwrap();
        files.insert(to.to_owned(), file);
        self.note(Step::Publish { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.inner.replace(name, content)?;
        self.note(Step::Replace { name: name.to_owned(), content: content.to_vec() });
        Ok(())
    }
}

struct RecordingFile {
    inner: Box<dyn StoreFile>,
    file: usize,
    store: RecordingStore,
}

impl StoreFile for RecordingFile {
    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)?;
        self.store.note(Step::Write { file: self.file, offset: offset as usize, bytes: bytes.to_vec() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let file = self.file;
        if self.store.syncs_until_failure.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.store.note(Step::SyncFailed { file });
            return Err(io::ErrorKind::Other.into());
        }
        self.store.note(Step::Sync { file });
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.inner.truncate(bytes)?;
        self.store.note(Step::Truncate { file: self.file, bytes: bytes as usize });
        Ok(())
    }
}

/// A store that fails one call, chosen by number, and every write after it where the disk is full.
#[derive(Clone)]
pub(crate) struct FailingStore {
    inner: MemoryStore,
    calls_left: Arc<AtomicI64>,
    kind: io::ErrorKind,
}

impl FailingStore {
    pub(crate) fn new(inner: MemoryStore, fail_call: i64, kind: io::ErrorKind) -> Self {
        Self { inner, calls_left: Arc::new(AtomicI64::new(fail_call)), kind }
    }

    /// Whether the chosen call was reached.
    pub(crate) fn has_failed(&self) -> bool {
        self.calls_left.load(Ordering::SeqCst) < 0
    }

    fn call(&self) -> io::Result<()> {
        let left = self.calls_left.fetch_sub(1, Ordering::SeqCst);
        let is_full = self.kind == io::ErrorKind::StorageFull && left < 0;
        if left == 0 || is_full { Err(self.kind.into()) } else { Ok(()) }
    }
}

impl Store for FailingStore {
    fn lock(&self) -> io::Result<Box<dyn StoreLock>> {
        self.inner.lock()
    }

    fn has_writer(&self) -> io::Result<bool> {
        self.inner.has_writer()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.call()?;
        self.inner.names()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StoreFile>> {
        self.call()?;
        Ok(Box::new(FailingFile { inner: self.inner.open(name, access)?, store: self.clone() }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>> {
        self.call()?;
        Ok(Box::new(FailingFile { inner: self.inner.create(name)?, store: self.clone() }))
    }

    fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        self.call()?;
        self.inner.publish(from, to)
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.call()?;
        self.inner.replace(name, content)
    }
}

struct FailingFile {
    inner: Box<dyn StoreFile>,
    store: FailingStore,
}

impl StoreFile for FailingFile {
    fn bytes(&self) -> io::Result<u64> {
        self.store.call()?;
        self.inner.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.store.call()?;
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.store.call() {
            // A full disk takes what still fits.
            let part = bytes.len() / 2 / SECTOR * SECTOR;
            self.inner.write_at(&bytes[..part], offset)?;
            return Err(error);
        }
        self.inner.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.store.call()?;
        self.inner.sync()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.store.call()?;
        self.inner.truncate(bytes)
    }
}
