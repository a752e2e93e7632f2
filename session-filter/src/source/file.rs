//! A policy file that is watched.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;

use super::{PolicySource, SharedPolicy};
use crate::limits::POLICY_BYTES_MAX;
use crate::policy::{Policy, PolicyError};

/// How often the file is read. A change must read the same twice, so it is in force after at most two periods.
const PERIOD: Duration = Duration::from_millis(200);

/// Why a policy file could not be put in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file is not there.
    #[error("`{}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Not an ordinary file.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// What is there instead.
        path: PathBuf,
    },
    /// Longer than [`POLICY_BYTES_MAX`].
    #[error("`{}` is longer than {POLICY_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Not UTF-8.
    #[error("`{}` is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// The text holds mistakes.
    #[error("`{}` holds mistakes:\n{source}", path.display())]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// The mistakes.
        source: PolicyError,
    },
}

/// What happened to a watched file.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileEvent {
    /// A new policy is in force.
    Replaced(Arc<Policy>),
    /// The file cannot be put in force; the policy before it stays. Said once per content.
    Rejected(Arc<FileError>),
}

type Listener = Box<dyn Fn(&FileEvent) + Send + Sync>;

/// A policy file, read again every 200 ms by a thread of its own.
///
/// A change is taken over once two readings agree, so a half-written file is not; then it applies to the next command
/// of every session. A file with mistakes, or one that is gone, changes nothing: the last good policy stays in force,
/// and the trouble is reported once and kept in [`last_error`](Self::last_error). An *empty* file is a policy that
/// denies everyone.
///
/// Content is compared, not times, so replacing, rewriting and renaming work alike, on any file system.
pub struct FilePolicy {
    inner: Arc<Inner>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    path: PathBuf,
    shared: SharedPolicy,
    watch: Mutex<Watch>,
    last_error: Mutex<Option<Arc<FileError>>>,
    listener: Listener,
}

impl FilePolicy {
    /// Reads the file and watches it from then on.
    ///
    /// # Errors
    ///
    /// When the file cannot be put in force now.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FileError> {
        Self::open_with(path, |_| {})
    }

    /// Reads the file, watches it, and calls `listener` (on the watching thread) for whatever happens to it later.
    ///
    /// # Errors
    ///
    /// When the file cannot be put in force now.
    pub fn open_with(
        path: impl Into<PathBuf>,
        listener: impl Fn(&FileEvent) + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let path = path.into();
        let text = read(&path)?;
        let policy =
            Policy::from_toml(&text).map_err(|source| FileError::Mistakes { path: path.clone(), source })?;
        let inner = Arc::new(Inner {
            path: path.clone(),
            shared: SharedPolicy::new(policy),
            watch: Mutex::new(Watch::new(Sighting::Text(text))),
            last_error: Mutex::new(None),
            listener: Box::new(listener),
        });
        let (stop, stopped) = channel::<()>();
        let watching = Arc::clone(&inner);
        let thread = std::thread::Builder::new()
            .name("policy-file".to_owned())
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PERIOD) {
                    watching.look();
                }
            })
            .map_err(|source| FileError::Unreadable { path, source })?;
        Ok(Self { inner, stop: Some(stop), thread: Some(thread) })
    }

    /// Why the file as it is now is not in force; `None` when it is.
    pub fn last_error(&self) -> Option<Arc<FileError>> {
        self.inner.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FilePolicy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            // The listener may own this value, in which case this is the thread itself.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for FilePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilePolicy").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl PolicySource for FilePolicy {
    fn policy(&self) -> Arc<Policy> {
        self.inner.shared.policy()
    }

    fn version(&self) -> u64 {
        self.inner.shared.version()
    }

    async fn changed(&self, seen: u64) -> u64 {
        self.inner.shared.changed(seen).await
    }
}

impl Inner {
    fn look(&self) {
        let (sighting, error) = match read(&self.path) {
            Ok(text) => (Sighting::Text(text), None),
            Err(error) => (Sighting::Trouble(error.to_string()), Some(error)),
        };
        let settled = self.watch.lock().unwrap_or_else(PoisonError::into_inner).observe(sighting);
        let Some(settled) = settled else { return };
        let outcome = match (settled, error) {
            (Sighting::Text(text), _) => Policy::from_toml(&text)
                .map_err(|source| FileError::Mistakes { path: self.path.clone(), source }),
            (Sighting::Trouble(_), Some(error)) => Err(error),
            (Sighting::Trouble(_), None) => return,
        };
        let event = match outcome {
            Ok(policy) => {
                self.shared.set(policy);
                FileEvent::Replaced(self.shared.policy())
            }
            Err(error) => FileEvent::Rejected(Arc::new(error)),
        };
        let error = match &event {
            FileEvent::Replaced(_) => None,
            FileEvent::Rejected(error) => Some(Arc::clone(error)),
        };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
        (self.listener)(&event);
    }
}

fn read(path: &Path) -> Result<String, FileError> {
    let at = || path.to_owned();
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing { path: at() },
        _ => FileError::Unreadable { path: at(), source },
    };
    // Asked before opening: opening a named pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileError::NotAFile { path: at() });
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(POLICY_BYTES_MAX).unwrap_or(u64::MAX);
    File::open(path)
        .map_err(unreadable)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > POLICY_BYTES_MAX {
        return Err(FileError::TooLong { path: at() });
    }
    String::from_utf8(bytes).map_err(|_| FileError::NotUtf8 { path: at() })
}

/// What one reading of the file found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sighting {
    Text(String),
    Trouble(String),
}

/// Takes a change for real once it has been seen twice in a row.
#[derive(Debug)]
struct Watch {
    settled: Sighting,
    pending: Option<Sighting>,
}

impl Watch {
    fn new(settled: Sighting) -> Self {
        Self { settled, pending: None }
    }

    /// Answers a sighting that is new and was seen twice.
    fn observe(&mut self, seen: Sighting) -> Option<Sighting> {
        if seen == self.settled {
            self.pending = None;
            return None;
        }
        if self.pending.as_ref() != Some(&seen) {
            self.pending = Some(seen);
            return None;
        }
        self.pending = None;
        self.settled = seen.clone();
        Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str) -> Sighting {
        Sighting::Text(content.to_owned())
    }

    #[test]
    fn takes_a_change_once_it_was_seen_twice() {
        let mut watch = Watch::new(text("a"));
        assert_eq!(watch.observe(text("a")), None);
        assert_eq!(watch.observe(text("b")), None);
        assert_eq!(watch.observe(text("b")), Some(text("b")));
        assert_eq!(watch.observe(text("b")), None);
    }

    #[test]
    fn passes_over_a_file_that_is_still_being_written() {
        let mut watch = Watch::new(text("a"));
        for half_written in ["", "b", "bb", "bbb"] {
            assert_eq!(watch.observe(text(half_written)), None);
        }
        assert_eq!(watch.observe(text("bbb")), Some(text("bbb")));
    }

    #[test]
    fn reports_trouble_once_and_notices_the_old_content_coming_back() {
        let gone = Sighting::Trouble("gone".to_owned());
        let mut watch = Watch::new(text("a"));
        assert_eq!(watch.observe(gone.clone()), None);
        assert_eq!(watch.observe(gone.clone()), Some(gone.clone()));
        assert_eq!(watch.observe(gone), None);
        assert_eq!(watch.observe(text("a")), None);
        assert_eq!(watch.observe(text("a")), Some(text("a")));
    }
}
