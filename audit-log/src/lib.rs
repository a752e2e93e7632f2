#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod append;
#[cfg(feature = "conformance")]
pub mod conformance;
mod content;
mod crypto;
mod cursor;
mod entry;
mod error;
mod frame;
mod json;
mod keys;
mod leaf;
pub mod limits;
mod log;
pub mod merkle;
mod note;
mod options;
mod proof;
mod publisher;
mod query;
mod reader;
mod record;
mod recorded;
mod recovery;
mod scan;
mod segment;
mod sink;
mod source;
mod store;
mod verify;
mod walk;
mod writer;

pub use append::{Append, Receipt};
pub use entry::Entry;
pub use error::{
    AppendError, CloseError, EntryError, ErrorKind, Fault, KeyError, NoteError, OpenError, ProofError,
    ProveError, ReadError, VerifierKeyError, VerifyError,
};
pub use keys::{EpochKey, FileKeys, KeyProvider, MemoryKeys, SubjectKey};
pub use log::{AuditLog, Hits};
pub use note::{Checkpoint, Origin, VerifierKey};
pub use options::Options;
pub use proof::Proof;
pub use query::Query;
pub use reader::{Reader, SessionSummary};
pub use recorded::{OptionalId, Recorded};
pub use scan::Entries;
pub use sink::{CheckpointSink, FileSink, SyslogSink};
pub use store::{Access, FileStore, MemoryStore, Store, StoreFile, StoreLock};
pub use verify::{Checked, End, Outcome, Progress, Report, Signatures, VerifyOptions};
