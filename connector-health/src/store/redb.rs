use std::fs::OpenOptions;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use chrono::{DateTime, Utc};
use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable,
    StorageError, Table, TableDefinition, WriteTransaction,
};
use tokio::sync::oneshot;

use super::rows::{self, Each, Go, Leases, Rows, RowsMut};
use super::{Batch, Claim, Claimed, Committed, HeldEvent, Lease, Loaded, OutboxStore, StoreError};
use crate::event::{Lane, Order};
use crate::id::{ConnectorId, EventId, PersonId};
use crate::lane::{Attempt, ConnectorRecord, EventRecord, LaneRecord, QueueCounts};

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("outbox");
/// Pages beyond it are in the cache of the operating system still.
const CACHE_BYTES: usize = 16 << 20;

/// A store in one file of a local disk, which one process opens at a time. Attributes lie in it in the clear; the file is made
/// readable by its owner alone.
///
/// Commits are durable on return, in two phases, and with what a quick repair needs: a file of a killed process opens at once, however
/// large it is. After an error of storage the store has stopped, for nothing is known of the disk any more; open it again.
#[derive(Clone, Debug)]
pub struct RedbStore(Arc<Shared>);

struct Shared {
    database: Database,
    next: Mutex<u64>,
    leases: Mutex<Leases>,
    reader: Thread,
    writer: Thread,
    has_stopped: AtomicBool,
}

type Job = Box<dyn FnOnce() + Send>;

/// Does one thing after the other, in the order in which it was told. It ends with the store, or with a job that panics.
///
/// Threads of the runtime would do as well, but each has memory of its own that it does not give back: with them a long replay takes
/// three times as much.
struct Thread(mpsc::Sender<Job>);

impl Thread {
    fn start(name: &str) -> Result<Self, StoreError> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let run = move || jobs.into_iter().for_each(|job| job());
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StoreError::failed)?;
        Ok(Self(sender))
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens a file, or creates it. Blocks for some milliseconds, whatever the file holds.
    ///
    /// # Errors
    /// Where another process has it, where it is of a newer format, or where storage fails.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        drop(options.open(path.as_ref()).map_err(StoreError::failed)?);
        let database =
            Builder::new().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => StoreError::Locked,
                other => StoreError::failed(other),
            })?;
        let transaction = begin(&database, Durability::Immediate)?;
        let next = rows::open(&mut Writing(transaction.open_table(ROWS).map_err(StoreError::failed)?))?;
        transaction.commit().map_err(StoreError::failed)?;
        Ok(Self(Arc::new(Shared {
            database,
            next: Mutex::new(next),
            leases: Mutex::default(),
            reader: Thread::start("outbox-reader")?,
            writer: Thread::start("outbox-writer")?,
            has_stopped: AtomicBool::new(false),
        })))
    }

    /// Runs on a thread that may block. What nobody waits for any more when its turn comes is left out.
    async fn on<T: Send + 'static>(
        &self,
        thread: &Thread,
        run: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.0);
        let (sender, answer) = oneshot::channel();
        let job = move || {
            if sender.is_closed() {
                return;
            }
            let done = if shared.has_stopped.load(Ordering::Acquire) {
                Err(StoreError::Stopped)
            } else {
                run(&shared)
            };
            if matches!(done, Err(StoreError::Failed(_))) {
                shared.has_stopped.store(true, Ordering::Release);
            }
            // The file is closed before whoever waits learns of it, where this was the last to have it open.
            drop(shared);
            drop(sender.send(done));
        };
        thread.0.send(Box::new(job)).map_err(|_| StoreError::Stopped)?;
        answer.await.unwrap_or(Err(StoreError::Stopped))
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.on(&self.0.reader, |shared| read(&reading(&shared.database)?)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.on(&self.0.writer, write).await
    }
}

fn begin(database: &Database, durability: Durability) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write().map_err(StoreError::failed)?;
    transaction.set_quick_repair(matches!(durability, Durability::Immediate));
    transaction.set_durability(durability).map_err(StoreError::failed)?;
    Ok(transaction)
}

fn reading(database: &Database) -> Result<Reading, StoreError> {
    let transaction = database.begin_read().map_err(StoreError::failed)?;
    transaction.open_table(ROWS).map(Reading).map_err(StoreError::failed)
}

struct Reading(ReadOnlyTable<&'static [u8], &'static [u8]>);

struct Writing<'t>(Table<'t, &'static [u8], &'static [u8]>);

fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
    after: Option<&[u8]>,
    each: Each<'_>,
) -> Result<(), StoreError> {
    let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
    for row in table.range::<&[u8]>((from, Bound::Unbounded)).map_err(StoreError::failed)? {
        let (key, value) = row.map_err(StoreError::failed)?;
        if !key.value().starts_with(prefix) || each(key.value(), value.value())? == Go::Stop {
            break;
        }
    }
    Ok(())
}

fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let found: Result<_, StorageError> = table.get(key);
    Ok(found.map_err(StoreError::failed)?.map(|value| value.value().to_vec()))
}

impl Rows for Reading {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(&self.0, key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, each: Each<'_>) -> Result<(), StoreError> {
        scan(&self.0, prefix, after, each)
    }
}

impl Rows for Writing<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(&self.0, key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, each: Each<'_>) -> Result<(), StoreError> {
        scan(&self.0, prefix, after, each)
    }
}

impl RowsMut for Writing<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0.insert(key, value).map(drop).map_err(StoreError::failed)
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.0.remove(key).map(drop).map_err(StoreError::failed)
    }
}

impl OutboxStore for RedbStore {
    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        let mut next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *next;
        *next = first.saturating_add(count);
        Ok(first)
    }

    async fn commit(&self, batches: Vec<Batch>) -> Result<Vec<Committed>, StoreError> {
        self.write(move |shared| {
            let transaction = begin(&shared.database, Durability::Immediate)?;
            let mut table = Writing(transaction.open_table(ROWS).map_err(StoreError::failed)?);
            // An error takes the whole transaction with it.
            let stands = |under: Option<&Lease>| {
                shared.leases.lock().unwrap_or_else(PoisonError::into_inner).stands(under)
            };
            let done = rows::commit(&mut table, &batches, &stands)?;
            drop(table);
            transaction.commit().map_err(StoreError::failed)?;
            let mut leases = shared.leases.lock().unwrap_or_else(PoisonError::into_inner);
            rows::released(&batches, &done).for_each(|lease| leases.release(lease));
            Ok(done)
        })
        .await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        let claim = Arc::new(claim);
        let asked = Arc::clone(&claim);
        if self.read(move |rows| rows::is_promotion_due(rows, &asked)).await? {
            let due = Arc::clone(&claim);
            self.write(move |shared| {
                let transaction = begin(&shared.database, Durability::None)?;
                let mut table = Writing(transaction.open_table(ROWS).map_err(StoreError::failed)?);
                rows::promote(&mut table, &due)?;
                drop(table);
                transaction.commit().map_err(StoreError::failed)
            })
            .await?;
        }
        // Beside the writer, which may be waiting for the disk.
        self.on(&self.0.reader, move |shared| {
            let mut leases = shared.leases.lock().unwrap_or_else(PoisonError::into_inner);
            rows::claim(&reading(&shared.database)?, &mut leases, &claim)
        })
        .await
    }

    async fn release(&self, worker: u128) -> Result<(), StoreError> {
        self.0.leases.lock().unwrap_or_else(PoisonError::into_inner).release_all(worker);
        Ok(())
    }

    async fn load(&self, lane: &Lane) -> Result<Option<Loaded>, StoreError> {
        let lane = lane.clone();
        self.read(move |rows| rows::load(rows, &lane)).await
    }

    async fn load_all(&self, lanes: Vec<Lane>) -> Vec<Result<Option<Loaded>, StoreError>> {
        let count = lanes.len();
        let load = |rows: &dyn Rows, lane: &Lane| match rows::load(rows, lane) {
            Err(error) if !error.is_of_record() => Err(error),
            of_record => Ok(of_record),
        };
        let loaded = self.read(move |rows| lanes.iter().map(|lane| load(rows, lane)).collect()).await;
        loaded.unwrap_or_else(|error| {
            let error = Arc::new(error);
            std::iter::repeat_with(|| Err(StoreError::Together(Arc::clone(&error)))).take(count).collect()
        })
    }

    async fn event(&self, id: &EventId) -> Result<Option<EventRecord>, StoreError> {
        let id = id.clone();
        self.read(move |rows| rows::event(rows, &id)).await
    }

    async fn history(
        &self,
        lane: &Lane,
        after: Option<Order>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let lane = lane.clone();
        self.read(move |rows| rows::history(rows, &lane, after, limit)).await
    }

    async fn attempts(&self, seq: u64, after: u32, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        self.read(move |rows| rows::attempts(rows, seq, after, limit)).await
    }

    async fn lanes_of(&self, person: &PersonId) -> Result<Vec<Lane>, StoreError> {
        let person = person.clone();
        self.read(move |rows| rows::lanes_of(rows, &person)).await
    }

    async fn lanes(
        &self,
        connector: &ConnectorId,
        after: Option<&Lane>,
        limit: usize,
    ) -> Result<Vec<LaneRecord>, StoreError> {
        let (connector, after) = (connector.clone(), after.cloned());
        self.read(move |rows| rows::lanes(rows, &connector, after.as_ref(), limit)).await
    }

    async fn holders(
        &self,
        connector: &ConnectorId,
        name: &str,
        value: &str,
        after: Option<&Lane>,
        limit: usize,
    ) -> Result<Vec<Lane>, StoreError> {
        let (connector, name, value) = (connector.clone(), name.to_owned(), value.to_owned());
        let after = after.cloned();
        self.read(move |rows| rows::holders(rows, &connector, &name, &value, after.as_ref(), limit)).await
    }

    async fn waiting(&self, on: &Lane, limit: usize) -> Result<Vec<Lane>, StoreError> {
        let on = on.clone();
        self.read(move |rows| rows::waiting(rows, &on, limit)).await
    }

    async fn leavers(&self, connector: &ConnectorId, limit: usize) -> Result<Vec<Lane>, StoreError> {
        let connector = connector.clone();
        self.read(move |rows| rows::leavers(rows, &connector, limit)).await
    }

    async fn counts(&self, connector: &ConnectorId) -> Result<QueueCounts, StoreError> {
        let connector = connector.clone();
        self.read(move |rows| rows::counts(rows, &connector)).await
    }

    async fn connector(&self, connector: &ConnectorId) -> Result<Option<ConnectorRecord>, StoreError> {
        let connector = connector.clone();
        self.read(move |rows| rows::connector(rows, &connector)).await
    }

    async fn held(
        &self,
        connector: &ConnectorId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HeldEvent>, StoreError> {
        let connector = connector.clone();
        self.read(move |rows| rows::held(rows, &connector, after, limit)).await
    }

    async fn offboardings(
        &self,
        after: Option<&PersonId>,
        limit: usize,
    ) -> Result<Vec<(PersonId, u64)>, StoreError> {
        let after = after.cloned();
        self.read(move |rows| rows::offboardings(rows, after.as_ref(), limit)).await
    }

    async fn end_offboarding(&self, person: &PersonId, seq: u64) -> Result<(), StoreError> {
        let person = person.clone();
        self.write(move |shared| {
            let transaction = begin(&shared.database, Durability::Immediate)?;
            let mut table = Writing(transaction.open_table(ROWS).map_err(StoreError::failed)?);
            rows::end_offboarding(&mut table, &person, seq)?;
            drop(table);
            transaction.commit().map_err(StoreError::failed)
        })
        .await
    }

    async fn next_due(
        &self,
        connector: &ConnectorId,
        _: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let connector = connector.clone();
        self.read(move |rows| rows::next_due(rows, &connector)).await
    }
}
