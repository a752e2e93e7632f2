//! Files in a directory of a local disk.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{Access, Store, StoreFile, StoreLock};
use crate::segment::{LOCK_NAME, NEW_SUFFIX};

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// A log in a directory of a local disk (not of a network file system: it relies on `flock` and on `fdatasync` being true).
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
}

impl FileStore {
    /// Opens a directory and makes it (mode 0700) where it is missing.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        make_directory(&directory)?;
        Ok(Self { directory: fs::canonicalize(directory)? })
    }

    /// Opens a directory that must exist and changes nothing in it, for a [`Reader`](crate::Reader).
    pub fn read_only(directory: impl AsRef<Path>) -> io::Result<Self> {
        let directory = fs::canonicalize(directory)?;
        if !directory.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { directory })
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        // Names come from this crate and from directory listings; neither has a way out of the directory.
        if name.is_empty() || name == "." || name == ".." || name.contains('/') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.directory.join(name))
    }
}

/// Makes a directory (mode 0700) and those above it where they are missing, durably; so as well where one was made by a process that was
/// stopped before it synced it.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    let parent_of = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_owned),
    };
    let missing: Vec<&Path> =
        directory.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.is_dir()).collect();
    for path in missing.iter().rev() {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for path in missing.iter().copied().chain([directory]) {
        let Some(parent) = parent_of(path) else { continue };
        match sync_directory(&parent) {
            // A directory above that was there before and may not be read is not ours to sync.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && missing.is_empty() => {}
            synced => synced?,
        }
    }
    Ok(())
}

pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Locks a directory against other writers; [`io::ErrorKind::WouldBlock`] when one has it.
pub(crate) fn lock_directory(directory: &Path) -> io::Result<File> {
    let directory = File::open(directory)?;
    hold(&directory)?;
    Ok(directory)
}

fn hold(file: &File) -> io::Result<()> {
    // A reader that looks whether a writer lives holds a shared lock for an instant; that is no reason to give up.
    for _ in 0..50 {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(2)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Creates a file in place of any that is there: never through a link, never with the permissions of what somebody left there.
fn create_file(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// Writes a file under another name, makes it durable, and gives it its own.
pub(crate) fn replace_file(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}{NEW_SUFFIX}"));
    let file = create_file(&new)?;
    file.write_all_at(content, 0)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    sync_directory(directory)
}

impl Store for FileStore {
    fn lock(&self) -> io::Result<Box<dyn StoreLock>> {
        let path = self.path(LOCK_NAME)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)?;
        let directory = lock_directory(&self.directory)?;
        hold(&file)?;
        Ok(Box::new(FileLock { _directory: directory, _file: file }))
    }

    fn has_writer(&self) -> io::Result<bool> {
        match File::open(&self.directory)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.directory)?
            // A name that is no text is none of the log's; written out, two of them do not look the same.
            .map(|entry| Ok(entry?.file_name().into_string().unwrap_or_else(|name| format!("{name:?}"))))
            .collect()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StoreFile>> {
        let (path, write) = (self.path(name)?, access == Access::Write);
        // Opening a pipe would wait for whoever writes to it.
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        Ok(Box::new(LocalFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>> {
        Ok(Box::new(LocalFile(create_file(&self.path(name)?)?)))
    }

    fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        let target = self.path(to)?;
        // The writer's lock is held, so nobody else creates the name in between.
        if target.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(self.path(from)?, target)?;
        sync_directory(&self.directory)
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.path(name)?;
        replace_file(&self.directory, name, content)
    }

    fn location(&self) -> Option<PathBuf> {
        Some(self.directory.clone())
    }
}

/// The locks live as long as the files are open. That on the directory counts: a file `lock` can be removed under a writer that lives.
struct FileLock {
    _directory: File,
    _file: File,
}

impl StoreLock for FileLock {}

struct LocalFile(File);

impl StoreFile for LocalFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}
