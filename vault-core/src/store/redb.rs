use std::fmt;
use std::fs::OpenOptions;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

use super::{Batch, Row, Store, StoreError};

#[cfg(test)]
mod faults;

/// Rows by key: their revision and their value.
const ROWS: TableDefinition<'static, &[u8], (u64, &[u8])> = TableDefinition::new("rows");
/// One row: the generation of the last commit.
const GENERATION: TableDefinition<'static, (), u64> = TableDefinition::new("generation");

const CACHE_BYTES: usize = 64 << 20;

/// A store in one file of a local disk, which one process opens at a time. The file is made readable by its owner alone; values in it are
/// encrypted, keys are not.
///
/// Commits are durable on return, in two phases, and with what a quick repair needs: a file of a killed process opens at once, however
/// large it is. After an error of storage the store has stopped, for nothing is known of the disk any more; open it again.
///
/// What was deleted or written over stays in unused pages of the file, encrypted, until they are used again. Retire its data key to make
/// it unreadable.
#[derive(Clone)]
pub struct RedbStore(Arc<Shared>);

struct Shared {
    database: Database,
    has_stopped: AtomicBool,
    location: Option<PathBuf>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedbStore").field(&self.0.location).finish()
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Failed(error.into())
}

impl RedbStore {
    /// Opens a file, or creates it. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Where another process has it, or storage fails.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        drop(options.open(path).map_err(failed)?);
        let location =
            path.canonicalize().ok().and_then(|path| path.parent().map(std::borrow::ToOwned::to_owned));
        let database = Builder::new().set_cache_size(CACHE_BYTES).create(path);
        Self::of(database, location)
    }

    fn of(database: Result<Database, DatabaseError>, location: Option<PathBuf>) -> Result<Self, StoreError> {
        let database = database.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Locked,
            other => failed(other),
        })?;
        let transaction = begin(&database)?;
        transaction.open_table(ROWS).map_err(failed)?;
        transaction.open_table(GENERATION).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Self(Arc::new(Shared { database, has_stopped: AtomicBool::new(false), location })))
    }

    /// Runs on a thread that may block. What it began is done even where nobody waits for it any more.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            if shared.has_stopped.load(Ordering::Acquire) {
                return Err(StoreError::Stopped);
            }
            let done = run(&shared.database);
            if matches!(done, Err(StoreError::Failed(_) | StoreError::Unknown(_))) {
                shared.has_stopped.store(true, Ordering::Release);
            }
            done
        });
        // A thread that panicked may have written.
        done.await.unwrap_or_else(|error| Err(StoreError::Unknown(error.into())))
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_durability(Durability::Immediate).map_err(failed)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn generation(table: &impl ReadableTable<(), u64>) -> Result<u64, StoreError> {
    Ok(table.get(()).map_err(failed)?.map_or(0, |row| row.value()))
}

fn write(database: &Database, batch: &Batch) -> Result<u64, StoreError> {
    let transaction = begin(database)?;
    let next = {
        let mut rows = transaction.open_table(ROWS).map_err(failed)?;
        for (key, expected) in batch.expectations() {
            let found = rows.get(key).map_err(failed)?.map(|row| row.value().0);
            if found != expected {
                return Err(StoreError::Conflict);
            }
        }
        let mut generations = transaction.open_table(GENERATION).map_err(failed)?;
        let next = batch.next_generation(generation(&generations)?).ok_or(StoreError::Stopped)?;
        generations.insert((), next).map_err(failed)?;
        for (key, value) in batch.writes() {
            match value {
                Some(value) => drop(rows.insert(key, (next, value)).map_err(failed)?),
                None => drop(rows.remove(key).map_err(failed)?),
            }
        }
        next
    };
    // From here on the disk may have it, whatever it says.
    transaction.commit().map_err(|error| StoreError::Unknown(error.into()))?;
    Ok(next)
}

#[async_trait]
impl Store for RedbStore {
    async fn read(&self, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let key = key.to_vec();
        self.blocking(move |database| {
            let transaction = database.begin_read().map_err(failed)?;
            let rows = transaction.open_table(ROWS).map_err(failed)?;
            let row = rows.get(key.as_slice()).map_err(failed)?;
            Ok(row.map(|row| {
                let (revision, value) = row.value();
                Row { value: value.to_vec(), revision }
            }))
        })
        .await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<(Vec<u8>, Row)>, StoreError> {
        let prefix = prefix.to_vec();
        let after = after.map(<[u8]>::to_vec);
        self.blocking(move |database| {
            let transaction = database.begin_read().map_err(failed)?;
            let rows = transaction.open_table(ROWS).map_err(failed)?;
            let start = match &after {
                Some(after) if *after >= prefix => Bound::Excluded(after.as_slice()),
                _ => Bound::Included(prefix.as_slice()),
            };
            let mut found = Vec::new();
            for entry in rows.range::<&[u8]>((start, Bound::Unbounded)).map_err(failed)? {
                let (key, row) = entry.map_err(failed)?;
                if found.len() >= rows_max || !key.value().starts_with(&prefix) {
                    break;
                }
                let (revision, value) = row.value();
                found.push((key.value().to_vec(), Row { value: value.to_vec(), revision }));
            }
            Ok(found)
        })
        .await
    }

    async fn generation(&self) -> Result<u64, StoreError> {
        self.blocking(|database| {
            let transaction = database.begin_read().map_err(failed)?;
            generation(&transaction.open_table(GENERATION).map_err(failed)?)
        })
        .await
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        batch.check()?;
        self.blocking(move |database| write(database, &batch)).await
    }

    fn location(&self) -> Option<PathBuf> {
        self.0.location.clone()
    }
}
