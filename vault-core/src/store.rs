//! Where sealed rows are kept: the storage trait, and an implementation in memory.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::limits::{BATCH_ROWS_MAX, ROW_KEY_BYTES_MAX, ROW_VALUE_BYTES_MAX};

mod memory;
#[cfg(feature = "redb")]
mod redb;

pub use memory::MemoryStore;
#[cfg(feature = "redb")]
pub use redb::RedbStore;

/// Rows by their keys, ordered by bytes, written in batches that happen whole or not at all.
///
/// An implementor promises:
/// * **Atomicity** – of a batch all rows are written or none, and only where every expectation held at that moment.
/// * **Durability** – what [`commit`](Self::commit) has answered survives a power cut. A wrong answer here loses a secret, or leaves an
///   account on a target that nobody knows of.
/// * **Generations** – each commit has a generation that is greater than every one before; rows written by it have it as their
///   [`revision`](Row::revision). A wrong answer here lets one writer overwrite what another has written, and hides that a backup was restored.
/// * **Honest errors** – [`StoreError::Failed`] and [`StoreError::Conflict`] mean that nothing was written and nothing will be. Whoever is
///   not sure answers [`StoreError::Unknown`].
/// * **Cancellation** – a commit whose future is dropped happens whole or not at all.
///
/// It is not trusted with secrets: values are encrypted and bound to their keys before they come here. Keys are not; they hold paths.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// A row.
    async fn read(&self, key: &[u8]) -> Result<Option<Row>, StoreError>;

    /// Rows whose keys begin so and come after `after`, in order, `rows_max` at the most.
    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<(Vec<u8>, Row)>, StoreError>;

    /// Generation of the last commit; 0 where there was none.
    async fn generation(&self) -> Result<u64, StoreError>;

    /// Does a batch, and answers with its generation: one more than the last, and at least what the batch says.
    async fn commit(&self, batch: Batch) -> Result<u64, StoreError>;

    /// Directory of a local disk where it lies, if it does: keys must not lie there.
    fn location(&self) -> Option<PathBuf> {
        None
    }
}

/// A row as it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// What was written.
    pub value: Vec<u8>,
    /// Generation of the commit that wrote it.
    pub revision: u64,
}

/// What is to be written together, and on what conditions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batch {
    expectations: BTreeMap<Vec<u8>, Option<u64>>,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    generation_min: u64,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only where this row has this revision, or where `None` is given, does not exist.
    pub fn expect(mut self, key: impl Into<Vec<u8>>, revision: Option<u64>) -> Self {
        self.expectations.insert(key.into(), revision);
        self
    }

    /// Writes a row over whatever there is.
    pub fn put(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.insert(key.into(), Some(value.into()));
        self
    }

    /// Takes a row away, if it exists.
    pub fn delete(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.writes.insert(key.into(), None);
        self
    }

    /// The commit's generation is this one at least.
    pub fn generation_min(mut self, generation: u64) -> Self {
        self.generation_min = generation;
        self
    }

    /// Rows and the revisions that they must have.
    pub fn expectations(&self) -> impl Iterator<Item = (&[u8], Option<u64>)> {
        self.expectations.iter().map(|(key, revision)| (key.as_slice(), *revision))
    }

    /// Rows and what is to stand there; `None` takes away.
    pub fn writes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// The generation of a commit of this batch after one of that generation; `None` where numbers end.
    pub fn next_generation(&self, last: u64) -> Option<u64> {
        Some(last.checked_add(1)?.max(self.generation_min))
    }

    /// Whether it keeps to the limits of rows and batches. Implementors ask before they write.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] with the limit's name.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.writes.len() > BATCH_ROWS_MAX {
            return Err(StoreError::TooLarge { limit: "BATCH_ROWS_MAX" });
        }
        for (key, value) in self.writes() {
            if key.len() > ROW_KEY_BYTES_MAX {
                return Err(StoreError::TooLarge { limit: "ROW_KEY_BYTES_MAX" });
            }
            if value.is_some_and(|value| value.len() > ROW_VALUE_BYTES_MAX) {
                return Err(StoreError::TooLarge { limit: "ROW_VALUE_BYTES_MAX" });
            }
        }
        Ok(())
    }
}

/// Whether something was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Nothing was, and nothing will be.
    None,
    /// It may have been.
    Unknown,
}

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A row is not as expected: somebody else wrote it. Nothing was written.
    #[error("somebody else has written in the meantime")]
    Conflict,
    /// The batch is larger than a limit. Nothing was written.
    #[error("the batch is larger than `{limit}`")]
    TooLarge {
        /// Name of the limit in [`limits`](crate::limits).
        limit: &'static str,
    },
    /// Another process has it open.
    #[error("the store is open in another process")]
    Locked,
    /// Storage failed, and nothing was written.
    #[error("the store failed, nothing was written")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// Storage failed while it wrote: the batch may have been done.
    #[error("the store failed while it wrote, what was written is not known")]
    Unknown(#[source] Box<dyn Error + Send + Sync>),
    /// Storage failed earlier: nothing is known of it any more. Open it again.
    #[error("the store has stopped")]
    Stopped,
}

impl StoreError {
    /// Whether something was written.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Unknown(_) => Effect::Unknown,
            _ => Effect::None,
        }
    }

    /// Whether the same may work when it is done again from the begin.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict)
    }
}
