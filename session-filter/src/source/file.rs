//! A policy file that is watched.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;

use super::{PolicySource, SharedPolicy};
use crate::limits::POLICY_BYTES_MAX;
use crate::policy::{Policy, PolicyError};

/// How often the file is read. A change must read the same twice, so it is in force after at most two periods.
const PERIOD: Duration = Duration::from_millis(200);
/// How long one reading may take before it is reported.
const OVERDUE: Duration = Duration::from_secs(5);

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
    /// A reading has not come back for five seconds: the file system stalls. It is waited for.
    #[error("`{}` cannot be read: the file system does not answer", path.display())]
    Overdue {
        /// The file.
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
/// A change is taken over once two readings agree, which a file that is being written rarely does; then it applies to the
/// next command of every session. A writer that pauses for longer than 200 ms may still be overtaken, with a rule in force
/// whose `when` is not written yet: write a new file beside it and rename that. A file with mistakes, or one that is gone, changes nothing: the last good policy stays in force,
/// and the trouble is reported once and kept in [`last_error`](Self::last_error). An *empty* file is a policy that
/// denies everyone.
///
/// Content is compared, not times, so replacing, rewriting and renaming work alike, on any file system. A named pipe or
/// device in place of the file is refused and never waited for. Where the file system itself stalls, that is reported
/// after five seconds as [`FileError::Overdue`], the last good policy stays in force, and dropping this value does not wait.
pub struct FilePolicy {
    inner: Arc<Inner>,
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

/// What the watching thread waits for.
enum Wake {
    Stop,
    Read(Result<String, FileError>),
}

/// How the file is read; tests read otherwise.
type Reading = Box<dyn Fn(&Path) -> Result<String, FileError> + Send>;

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
        Self::start(path.into(), Box::new(listener), Box::new(read), OVERDUE)
    }

    fn start(
        path: PathBuf,
        listener: Listener,
        reading: Reading,
        overdue: Duration,
    ) -> Result<Self, FileError> {
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
            started.map_err(|source| FileError::Unreadable { path: path.clone(), source })
        };
        let (wake, woken) = channel();
        let (ask, asked) = channel::<()>();
        // Nobody waits for this thread's end: a reading that stalls cannot be interrupted.
        let (answer, of) = (wake.clone(), path.clone());
        spawn(
            "policy-read",
            Box::new(move || {
                while let Ok(()) = asked.recv() {
                    if answer.send(Wake::Read(reading(&of))).is_err() {
                        break;
                    }
                }
            }),
        )?;
        // Neither end can be gone here.
        let _ = ask.send(());
        let text = match woken.recv_timeout(overdue) {
            Ok(Wake::Read(outcome)) => outcome?,
            _ => return Err(FileError::Overdue { path }),
        };
        let policy =
            Policy::from_toml(&text).map_err(|source| FileError::Mistakes { path: path.clone(), source })?;
        let inner = Arc::new(Inner {
            path: path.clone(),
            shared: SharedPolicy::new(policy),
            watch: Mutex::new(Watch::new(Sighting::Text(text))),
            last_error: Mutex::new(None),
            listener,
        });
        let watching = Arc::clone(&inner);
        let thread = spawn("policy-file", Box::new(move || watching.watch(&woken, &ask, overdue)))?;
        Ok(Self { inner, wake, thread: Some(thread) })
    }

    /// Why the file as it is now is not in force; `None` when it is.
    pub fn last_error(&self) -> Option<Arc<FileError>> {
        self.inner.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FilePolicy {
    fn drop(&mut self) {
        let _ = self.wake.send(Wake::Stop);
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
    /// Asks for a reading each period until told to stop.
    fn watch(&self, woken: &Receiver<Wake>, ask: &Sender<()>, overdue: Duration) {
        while let Err(RecvTimeoutError::Timeout) = woken.recv_timeout(PERIOD) {
            if ask.send(()).is_err() {
                return;
            }
            let outcome = match woken.recv_timeout(overdue) {
                Err(RecvTimeoutError::Timeout) => {
                    self.report_overdue();
                    woken.recv().map_err(RecvTimeoutError::from)
                }
                outcome => outcome,
            };
            match outcome {
                Ok(Wake::Read(outcome)) => self.look(outcome),
                Ok(Wake::Stop) | Err(_) => return,
            }
        }
    }

    /// Once the file is read again and twice the same, it is put in force anew, so that the trouble ends as it began: told.
    fn report_overdue(&self) {
        let error = FileError::Overdue { path: self.path.clone() };
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        *watch = Watch::new(Sighting::Trouble(error.to_string()));
        drop(watch);
        self.tell(FileEvent::Rejected(Arc::new(error)));
    }

    fn look(&self, outcome: Result<String, FileError>) {
        let (sighting, error) = match outcome {
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
        self.tell(event);
    }

    fn tell(&self, event: FileEvent) {
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
    // Asked before opening, too: opening a device may do something.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileError::NotAFile { path: at() });
    }
    let file = open_at_once(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(FileError::NotAFile { path: at() });
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(POLICY_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > POLICY_BYTES_MAX {
        return Err(FileError::TooLong { path: at() });
    }
    String::from_utf8(bytes).map_err(|_| FileError::NotUtf8 { path: at() })
}

/// Opens for reading without waiting for anybody: what was an ordinary file a moment ago may be a named pipe now, and
/// opening that would otherwise wait for a writer.
fn open_at_once(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;

        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    options.open(path)
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(content: &str) -> Sighting {
        Sighting::Text(content.to_owned())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn opening_a_named_pipe_does_not_wait_for_a_writer() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(!open_at_once(&path).unwrap().metadata().unwrap().is_file());
        assert!(matches!(FilePolicy::open(&path), Err(FileError::NotAFile { .. })));
    }

    /// A reading that comes back only when the test says so.
    fn stalling() -> (Sender<&'static str>, Reading) {
        let (give, given) = channel();
        let reading = move |path: &Path| {
            given.recv().map(str::to_owned).map_err(|_| FileError::Missing { path: path.to_owned() })
        };
        (give, Box::new(reading))
    }

    #[test]
    fn a_reading_that_stalls_is_reported_and_changes_nothing() {
        let (give, reading) = stalling();
        let (tell, told) = channel();
        let listener: Listener = Box::new(move |event| {
            let _ = tell.send(match event {
                FileEvent::Replaced(_) => "replaced".to_owned(),
                FileEvent::Rejected(error) => error.to_string(),
            });
        });
        give.send("").unwrap();
        let source = FilePolicy::start("p".into(), listener, reading, Duration::from_millis(50)).unwrap();
        let version = source.version();
        assert_eq!(told.recv().unwrap(), "`p` cannot be read: the file system does not answer");
        assert!(matches!(source.last_error().as_deref(), Some(FileError::Overdue { .. })));
        assert_eq!(source.version(), version, "the old policy stays in force");
        for _ in 0..3 {
            give.send("").unwrap();
        }
        assert_eq!(told.recv().unwrap(), "replaced");
    }

    #[test]
    fn neither_start_nor_drop_waits_for_a_reading_that_stalls() {
        let (_give, reading) = stalling();
        let outcome = FilePolicy::start("p".into(), Box::new(|_| {}), reading, Duration::from_millis(1));
        assert!(matches!(outcome, Err(FileError::Overdue { .. })));

        let (give, reading) = stalling();
        let (tell, told) = channel();
        give.send("").unwrap();
        let listener: Listener = Box::new(move |_| tell.send(()).unwrap());
        let source = FilePolicy::start("p".into(), listener, reading, Duration::from_millis(50)).unwrap();
        told.recv().unwrap();
        drop(source);
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
