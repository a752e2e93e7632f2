//! Errors, one type per operation.

use std::{fmt, io, sync::Arc};

use crate::note::Origin;

/// Where a log was altered, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// File in the log directory.
    pub file: String,
    /// Offset in that file, in bytes, of the header or frame that is wrong.
    pub offset: u64,
    /// Number of the frame in its segment, where there is one.
    pub frame: Option<u32>,
    /// Sequence number of the entry that is wrong, or of the first that is missing.
    pub seq: Option<u64>,
    /// What is wrong, as a sentence without full stop.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`, byte {}", self.file, self.offset)?;
        if let Some(frame) = self.frame {
            write!(f, ", frame {frame}")?;
        }
        if let Some(seq) = self.seq {
            write!(f, ", entry {seq}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What a caller may want to tell apart, over all errors of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The log was altered, cut or rolled back.
    Tampered,
    /// Keys are missing, wrong or unreadable.
    Keys,
    /// Storage failed.
    Io,
    /// Another process writes this log.
    Locked,
    /// The log was written in a newer format.
    NewerFormat,
    /// The caller's request cannot be met as it stands.
    Misuse,
    /// Too much is waiting; try again later.
    Overloaded,
    /// The log was closed.
    Closed,
}

/// Why keys could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Storage of the keys failed.
    #[error("cannot access key file `{file}`")]
    Io {
        /// The file.
        file: String,
        /// The cause.
        source: io::Error,
    },
    /// A key file has not the form that it should have.
    #[error("key file `{file}` is malformed: {what}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A key that the log needs is not there.
    #[error("{what} is missing from the keys")]
    Missing {
        /// Which key.
        what: String,
    },
    /// These keys belong to another log.
    #[error("these keys belong to log `{bound}`, not to `{asked}`")]
    OtherLog {
        /// Name that the keys are bound to.
        bound: Origin,
        /// Name of the log that they were given for.
        asked: Origin,
    },
    /// These keys belong to another log that has the same name.
    #[error("these keys belong to another log than this one, though both are called `{bound}`")]
    SameName {
        /// Name of both.
        bound: Origin,
    },
    /// A log that is open for writing has these keys.
    #[error("the keys are in use by a log that is being written")]
    Locked,
    /// Others can read or change the keys.
    #[error("`{file}` can be used by others than its owner (mode {mode:03o}): take their permissions away")]
    Exposed {
        /// The file or directory.
        file: String,
        /// Its permissions.
        mode: u32,
    },
    /// The keys are not the ones that this log was written with.
    #[error("wrong keys: {what}")]
    Wrong {
        /// What did not fit.
        what: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    Random,
    /// A key could not be derived or used.
    #[error("key derivation failed")]
    Derivation,
    /// A key provider of the user failed.
    #[error("key provider failed")]
    Provider(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why text is no verifier key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierKeyError {
    /// Not `<origin>+<key id>+<base64>`.
    #[error("not of the form `<origin>+<key id>+<base64>`")]
    Form,
    /// The name is empty, too long or has characters that a name may not have.
    #[error("an origin is 1 to 255 printable ASCII characters without space and `+`")]
    Origin,
    /// Not an Ed25519 key.
    #[error("not an Ed25519 key")]
    Algorithm,
    /// No usable point of the curve.
    #[error("not a usable Ed25519 public key")]
    Key,
    /// The key id does not belong to the key.
    #[error("the key id does not belong to this key")]
    Id,
}

/// Why a checkpoint does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Not a signed checkpoint.
    #[error("not a signed checkpoint")]
    Form,
    /// Longer than [`NOTE_BYTES_MAX`](crate::limits::NOTE_BYTES_MAX).
    #[error("longer than a checkpoint may be")]
    TooLong,
    /// It is about another log.
    #[error("the checkpoint is about log `{found}`, not `{expected}`")]
    OtherLog {
        /// The log that it names.
        found: Origin,
        /// The log that was asked about.
        expected: Origin,
    },
    /// No signature by this key is on it.
    #[error("the checkpoint is not signed by this key")]
    OtherKey,
    /// The signature is not valid.
    #[error("the signature on the checkpoint is not valid")]
    Signature,
}

/// Why an entry cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The event type is empty, too long or has other characters than `a-z 0-9 . _ -`.
    #[error("`{0}` is no event type: 1 to 128 characters of `a-z`, `0-9`, `.`, `_`, `-`")]
    EventType(String),
    /// The event has no type.
    #[error("the event has no `event_type`")]
    NoEventType,
    /// Types that begin with `log.` are the log's own.
    #[error("event type `{0}` is reserved for the log itself")]
    ReservedType(String),
    /// An id is empty or longer than [`ID_BYTES_MAX`](crate::limits::ID_BYTES_MAX).
    #[error("`{0}` must have between 1 and 1024 bytes")]
    Id(String),
    /// A shared word has a value of another form than it should.
    #[error("`{field}` must be {form}")]
    Form {
        /// The field.
        field: String,
        /// The form that it must have.
        form: &'static str,
    },
    /// A field was given twice.
    #[error("field `{0}` was given twice")]
    Duplicate(String),
    /// A field's value cannot be written as JSON.
    #[error("the value of field `{0}` cannot be written as JSON")]
    Value(String),
    /// Arrays and objects nested deeper than [`FIELD_DEPTH_MAX`](crate::limits::FIELD_DEPTH_MAX).
    #[error("the value of field `{0}` is nested more than 64 levels deep")]
    TooDeep(String),
    /// A number that would not be read back as it is: an integer outside `i64` and `u64`, or a float that is not finite.
    #[error("the value of field `{0}` holds a number that cannot be kept exactly")]
    Number(String),
    /// More than [`ENTRY_BYTES_MAX`](crate::limits::ENTRY_BYTES_MAX).
    #[error("the entry has {0} bytes, more than 65536")]
    TooLong(usize),
    /// More than [`ENTRY_SUBJECTS_MAX`](crate::limits::ENTRY_SUBJECTS_MAX).
    #[error("the entry has {0} subjects, more than 16")]
    TooManySubjects(usize),
    /// The log knows [`SUBJECTS_MAX`](crate::limits::SUBJECTS_MAX) subjects and this entry names another one.
    #[error("the log holds keys for as many subjects as it may; an entry for a new one is refused")]
    SubjectsFull,
}

/// Why an entry was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The entry cannot be taken as it is. Nothing was written.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// As much is waiting as may wait. Nothing was written; try again later.
    #[error("the log has {queued_bytes} bytes waiting to be written, the most it may have")]
    Overloaded {
        /// Bytes in the queue.
        queued_bytes: usize,
    },
    /// Writing failed, now or earlier; the log takes nothing more until it is opened again. This entry may or may not be found then.
    #[error("the log cannot be written until it is opened again: {cause}")]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
    /// The log was closed before this entry was given to it. Nothing was written.
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// What to tell apart.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Entry(_) => ErrorKind::Misuse,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::Poisoned { .. } => ErrorKind::Io,
            Self::Closed => ErrorKind::Closed,
        }
    }

    /// Whether the same call may succeed later on this handle.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Overloaded { .. })
    }
}

/// Why a log cannot be opened for writing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another handle of this one, writes the log.
    #[error("the log is being written by another process")]
    Locked,
    /// The log was altered.
    #[error("the log was altered: {0}")]
    Tampered(Fault),
    /// The log ends before a checkpoint that is trusted, or does not contain it.
    #[error("the log does not reach the trusted checkpoint of {trusted} entries: {what}")]
    RolledBack {
        /// Size of the trusted checkpoint.
        trusted: u64,
        /// What was found.
        what: String,
    },
    /// The keys belong to a log, and none is here.
    #[error(
        "the keys belong to log `{origin}`, of which nothing is here: it was emptied, moved, or not mounted; \
         a new one is begun only on purpose"
    )]
    Emptied {
        /// Name of the log.
        origin: Origin,
    },
    /// The log was written in a newer format.
    #[error("`{file}` has format version {version}; this program knows version 0 only, use a newer one")]
    NewerFormat {
        /// The file.
        file: String,
        /// Its version.
        version: u16,
    },
    /// A checkpoint that was given is not acceptable.
    #[error("the given checkpoint does not hold")]
    Checkpoint(#[source] NoteError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Keys and log lie in one directory.
    #[error("keys and log must lie in different directories, neither within the other")]
    KeysBesideLog,
    /// An option has a value that cannot work.
    #[error("{0}")]
    Option(&'static str),
    /// Storage failed.
    #[error("cannot access `{file}`")]
    Io {
        /// The file.
        file: String,
        /// The cause.
        source: io::Error,
    },
    /// The first entry could not be written.
    #[error("the log could not be begun")]
    Append(#[source] AppendError),
}

impl OpenError {
    /// What to tell apart.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Locked | Self::Keys(KeyError::Locked) => ErrorKind::Locked,
            Self::Tampered(_) | Self::RolledBack { .. } | Self::Emptied { .. } => ErrorKind::Tampered,
            Self::NewerFormat { .. } => ErrorKind::NewerFormat,
            Self::Keys(_) => ErrorKind::Keys,
            Self::Checkpoint(_) | Self::KeysBesideLog | Self::Option(_) => ErrorKind::Misuse,
            Self::Io { .. } => ErrorKind::Io,
            Self::Append(error) => error.kind(),
        }
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Tampered(fault) => Self::Tampered(fault),
            ReadError::NewerFormat { file, version } => Self::NewerFormat { file, version },
            ReadError::Keys(error) => Self::Keys(error),
            ReadError::Io { file, source } => Self::Io { file, source },
        }
    }
}

/// Why entries cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What was read had been altered.
    #[error("the log was altered: {0}")]
    Tampered(Fault),
    /// The log was written in a newer format.
    #[error("`{file}` has format version {version}; this program knows version 0 only, use a newer one")]
    NewerFormat {
        /// The file.
        file: String,
        /// Its version.
        version: u16,
    },
    /// The keys cannot be used, or none were given.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Storage failed.
    #[error("cannot access `{file}`")]
    Io {
        /// The file.
        file: String,
        /// The cause.
        source: io::Error,
    },
}

impl ReadError {
    /// What to tell apart.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Tampered(_) => ErrorKind::Tampered,
            Self::NewerFormat { .. } => ErrorKind::NewerFormat,
            Self::Keys(_) => ErrorKind::Keys,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    pub(crate) fn io(file: &str, source: io::Error) -> Self {
        Self::Io { file: file.to_owned(), source }
    }
}

/// Why a log is not whole, or could not be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The log was altered, here.
    #[error("tampered: {0}")]
    Tampered(Fault),
    /// The log was written in a newer format; nothing is said about it.
    #[error("`{file}` has format version {version}; this program knows version 0 only, use a newer one")]
    NewerFormat {
        /// The file.
        file: String,
        /// Its version.
        version: u16,
    },
    /// The keys are not those of this log, or cannot be used; nothing is said about the log.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The minimum checkpoint that was given is not one of this log's.
    #[error("the given checkpoint does not hold")]
    Checkpoint(#[source] NoteError),
    /// Storage failed; nothing is said about the log.
    #[error("cannot access `{file}`")]
    Io {
        /// The file.
        file: String,
        /// The cause.
        source: io::Error,
    },
}

impl VerifyError {
    /// What to tell apart.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Tampered(_) => ErrorKind::Tampered,
            Self::NewerFormat { .. } => ErrorKind::NewerFormat,
            Self::Keys(_) => ErrorKind::Keys,
            Self::Checkpoint(_) => ErrorKind::Misuse,
            Self::Io { .. } => ErrorKind::Io,
        }
    }
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Tampered(fault) => Self::Tampered(fault),
            ReadError::NewerFormat { file, version } => Self::NewerFormat { file, version },
            ReadError::Keys(error) => Self::Keys(error),
            ReadError::Io { file, source } => Self::Io { file, source },
        }
    }
}

/// Why there is no proof for an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// No entry of that sequence number is in the log.
    #[error("there is no entry {seq}; the log has {size}")]
    NoSuchEntry {
        /// The number asked for.
        seq: u64,
        /// Entries in the log.
        size: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Its checkpoint does not hold.
    #[error(transparent)]
    Checkpoint(#[from] NoteError),
    /// The path does not lead from the leaf to the root.
    #[error("the path does not lead from the leaf to the signed root")]
    Path,
    /// Not a proof.
    #[error("not a proof: {0}")]
    Form(&'static str),
}

/// Why a log could not be closed cleanly. Whatever was acknowledged stays.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Writing failed, now or earlier.
    #[error("the log was not closed cleanly: {cause}")]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
}
