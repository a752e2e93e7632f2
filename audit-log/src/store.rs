//! Where a log lies: the storage trait and an implementation in memory.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) mod file;

pub use file::FileStore;

/// A directory of files for one log. Calls block; the log makes them on a thread of its own.
///
/// An implementor promises:
/// * **Atomicity** – sectors of 512 bytes are written whole or not at all; [`publish`](Self::publish) and [`replace`](Self::replace)
///   happen whole or not at all, after a crash as well.
/// * **Durability** – what is said to be durable survives a power cut. A wrong answer here loses entries that were acknowledged.
/// * **Exclusion** – while a [`StoreLock`] lives, no other one is given out, in this process or another. A wrong answer here
///   makes two writers fork the log; verification then calls it tampered.
/// * **Cancellation** – none: a call that was begun is waited for.
///
/// Errors are final: the log never tries a failed write or sync again.
pub trait Store: Send + Sync {
    /// Takes the writer's lock. [`io::ErrorKind::WouldBlock`] when another writer has it.
    fn lock(&self) -> io::Result<Box<dyn StoreLock>>;

    /// Whether a writer holds the lock now.
    fn has_writer(&self) -> io::Result<bool>;

    /// Names of all files, in any order.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file; [`io::ErrorKind::NotFound`] when there is none.
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StoreFile>>;

    /// Creates an empty file of that name in place of any that is there. It need not be durable before [`publish`](Self::publish).
    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>>;

    /// Renames a synced file to a name that does not exist yet; durable on return.
    fn publish(&self, from: &str, to: &str) -> io::Result<()>;

    /// Replaces the content of a small file, or creates it; durable on return.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Directory on a local disk, where there is one: keys must not lie there.
    fn location(&self) -> Option<PathBuf> {
        None
    }
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// Proof that this handle alone writes the log, or has the keys for it; given back by dropping it.
pub trait StoreLock: Send {}

/// One file.
pub trait StoreFile: Send + Sync {
    /// Length in bytes.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads at `offset` until `buffer` is full or the file ends; returns the number of bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes at `offset`, the file growing where needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes content, and length where it changed, durable.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file to this length.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
}

/// A store in memory, for tests and examples. Clones share their content. Nothing survives the process.
#[derive(Clone, Default)]
pub struct MemoryStore {
    files: Arc<Mutex<BTreeMap<String, MemoryFile>>>,
    locked: Arc<AtomicBool>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of all files as they are now; what is written afterwards is not in it, nor is the lock.
    pub fn snapshot(&self) -> Self {
        let copy = Self::new();
        for (name, file) in self.files().iter() {
            let content = file.content().clone();
            copy.files().insert(name.clone(), MemoryFile(Arc::new(Mutex::new(content))));
        }
        copy
    }

    /// Content of a file.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.files().get(name).map(|file| file.content().clone())
    }

    /// Puts a file there, in place of any of that name.
    pub fn insert(&self, name: &str, content: Vec<u8>) {
        self.files().insert(name.to_owned(), MemoryFile(Arc::new(Mutex::new(content))));
    }

    /// Takes a file away.
    pub fn remove(&self, name: &str) -> Option<Vec<u8>> {
        self.files().remove(name).map(|file| file.content().clone())
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, MemoryFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.files().keys()).finish()
    }
}

impl Store for MemoryStore {
    fn lock(&self) -> io::Result<Box<dyn StoreLock>> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock(Arc::clone(&self.locked))))
    }

    fn has_writer(&self) -> io::Result<bool> {
        Ok(self.locked.load(Ordering::SeqCst))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn open(&self, name: &str, _: Access) -> io::Result<Box<dyn StoreFile>> {
        match self.files().get(name) {
            Some(file) => Ok(Box::new(file.clone())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>> {
        let file = MemoryFile::default();
        self.files().insert(name.to_owned(), file.clone());
        Ok(Box::new(file))
    }

    fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        if files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.insert(name, content.to_vec());
        Ok(())
    }
}

pub(crate) struct MemoryLock(pub(crate) Arc<AtomicBool>);

impl StoreLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[derive(Clone, Default)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryFile {
    fn content(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreFile for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.content().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = content.get(offset..).unwrap_or_default();
        let bytes = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.content();
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = offset.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if content.len() < end {
            content.resize(end, 0);
        }
        if let Some(place) = content.get_mut(offset..end) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.content().truncate(bytes);
        Ok(())
    }
}
