//! The tables of a copy: events of one stream that lies elsewhere, in one file of this machine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::OpenOptions;
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use redb::{
    Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition, WriteTransaction,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::event::{Event, Timestamp};
use crate::id::{ActorId, TenantId};
use crate::store::{Appended, Bounds, Entry, EventStore, Moment, Offset, Record, StoreError, Take};

mod replica;

pub(in crate::store) use replica::{Change, File, Position, Replica};

/// Streams by the names of their tenants.
const STREAMS: TableDefinition<'static, &str, StreamRow> = TableDefinition::new("streams");
/// Events by stream and offset: when they came, the mark of their actor, and their JSON.
const EVENTS: TableDefinition<'static, (u32, u64), (i64, u64, &[u8])> = TableDefinition::new("events");
/// Offsets by stream and id.
const IDS: TableDefinition<'static, (u32, u128), u64> = TableDefinition::new("ids");
/// Stream, time and offset of each event.
const MOMENTS: TableDefinition<'static, (u32, i64, u64), ()> = TableDefinition::new("moments");
/// Stream, mark of the actor and offset of each event up to the stream's `indexed`.
const ACTORS: TableDefinition<'static, (u32, u64, u64), ()> = TableDefinition::new("actors");

/// What a file has that is a copy of a stream elsewhere.
const REPLICA_TABLE: &str = "replica";

/// Number of a stream, its last offset, the last that was forgotten, and the last whose actor is in the table of actors.
type StreamRow = (u32, u64, u64, u64);

const CACHE_BYTES: usize = 128 << 20;

/// Events whose actors are kept in memory until they are written into their table together: one at a time, each would touch a page of
/// its own. A process that starts reads as many again.
const UNINDEXED_EVENTS_MAX: usize = 1 << 16;

/// Queries by actor or time that run at the same time, of all tenants: they take no thread from those who send and read on.
const QUERIES_MAX: usize = 4;

/// Rows that one transaction of [`RedbStore::forget`](EventStore::forget) takes away, so that senders do not wait for all of them.
const FORGOTTEN_TOGETHER: usize = 10_000;

/// A store in one file of a local disk, which one process opens at a time. Events lie in it in the clear; the file is made readable by
/// its owner alone.
///
/// Commits are durable on return, in two phases, and with what a quick repair needs: a file of a killed process opens at once, however
/// large it is. After an error of storage the store has stopped, for nothing is known of the disk any more; open it again.
#[derive(Clone, Debug)]
pub(in crate::store) struct RedbStore(Arc<Shared>);

struct Shared {
    database: Database,
    /// One commit at a time.
    writing: Mutex<()>,
    /// What is committed, as readers may see it.
    streams: Mutex<Streams>,
    queries: Semaphore,
    has_stopped: AtomicBool,
}

#[derive(Default)]
struct Streams {
    by_tenant: HashMap<TenantId, Stream>,
    next_number: u32,
    /// How many offsets all streams have gathered.
    unindexed: usize,
}

#[derive(Default)]
struct Stream {
    row: Row,
    /// Offsets after `indexed`, by the mark of their actor.
    gathered: BTreeMap<u64, Vec<u64>>,
}

/// What is written in a transaction, and not shown before it is committed.
struct Written {
    appended: Vec<Appended>,
    touched: HashMap<TenantId, Stream>,
    next_number: u32,
    /// How many are new.
    new: usize,
    /// Whether all that had gathered was written with them.
    indexes: bool,
}

/// What is written down of a stream.
#[derive(Clone, Copy, Default)]
struct Row {
    number: u32,
    last: u64,
    forgotten: u64,
    indexed: u64,
}

impl Row {
    fn as_stored(self) -> StreamRow {
        (self.number, self.last, self.forgotten, self.indexed)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Actors by eight bytes that stay the same in every process. Others may have the same: events say whose they are.
fn mark(actor: &ActorId) -> u64 {
    let digest = Sha256::digest(actor.as_str().as_bytes());
    digest.iter().take(8).fold(0, |mark, byte| (mark << 8) | u64::from(*byte))
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Failed(error.into())
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unreadable(error.into())
}

impl RedbStore {
    /// Opens a file, or creates it.
    fn open_any(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        drop(options.open(path.as_ref()).map_err(failed)?);
        let database =
            Builder::new().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => StoreError::Locked,
                other => failed(other),
            })?;
        let transaction = begin(&database)?;
        {
            transaction.open_table(STREAMS).map_err(failed)?;
            transaction.open_table(EVENTS).map_err(failed)?;
            transaction.open_table(IDS).map_err(failed)?;
            transaction.open_table(MOMENTS).map_err(failed)?;
            transaction.open_table(ACTORS).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        let streams = Mutex::new(streams(&database.begin_read().map_err(failed)?)?);
        let has_stopped = AtomicBool::new(false);
        Ok(Self(Arc::new(Shared {
            database,
            writing: Mutex::new(()),
            streams,
            queries: Semaphore::new(QUERIES_MAX),
            has_stopped,
        })))
    }

    /// Runs on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            if shared.has_stopped.load(Ordering::Acquire) {
                return Err(StoreError::Stopped);
            }
            let done = run(&shared);
            if matches!(done, Err(StoreError::Failed(_))) {
                shared.has_stopped.store(true, Ordering::Release);
            }
            done
        });
        done.await.unwrap_or_else(|error| Err(failed(error)))
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_durability(Durability::Immediate).map_err(failed)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// What a process finds that starts.
fn streams(transaction: &ReadTransaction) -> Result<Streams, StoreError> {
    let mut streams = Streams::default();
    let events = transaction.open_table(EVENTS).map_err(failed)?;
    for row in transaction.open_table(STREAMS).map_err(failed)?.iter().map_err(failed)? {
        let (tenant, row) = row.map_err(failed)?;
        let (number, last, forgotten, indexed) = row.value();
        let mut gathered: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for row in events.range(after_offset(number, indexed.max(forgotten))).map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            gathered.entry(value.value().1).or_default().push(key.value().1);
            streams.unindexed = streams.unindexed.saturating_add(1);
        }
        streams.next_number = streams.next_number.max(number.saturating_add(1));
        let tenant = TenantId::new(tenant.value()).map_err(unreadable)?;
        let row = Row { number, last, forgotten, indexed };
        streams.by_tenant.insert(tenant, Stream { row, gathered });
    }
    Ok(streams)
}

/// Keys of a stream after an offset.
fn after_offset(number: u32, after: u64) -> impl std::ops::RangeBounds<(u32, u64)> {
    (Bound::Excluded((number, after)), Bound::Included((number, u64::MAX)))
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, tenant: &TenantId) -> Option<Row> {
        self.streams().by_tenant.get(tenant).map(|stream| stream.row)
    }

    fn append(&self, entries: &[Entry]) -> Result<Vec<Appended>, StoreError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = begin(&self.database)?;
        let written = self.write(&transaction, entries.iter().map(|entry| (entry, None)))?;
        transaction.commit().map_err(failed)?;
        Ok(self.show(written))
    }

    /// Writes entries, each after the last, or where it stands already elsewhere; what is not after the last is here already then.
    fn write<'e>(
        &self,
        transaction: &WriteTransaction,
        entries: impl Iterator<Item = (&'e Entry, Option<u64>)>,
    ) -> Result<Written, StoreError> {
        let mut next_number = self.streams().next_number;
        let mut touched: HashMap<TenantId, Stream> = HashMap::new();
        let mut appended = Vec::with_capacity(entries.size_hint().0);
        {
            let mut events = transaction.open_table(EVENTS).map_err(failed)?;
            let mut ids = transaction.open_table(IDS).map_err(failed)?;
            let mut moments = transaction.open_table(MOMENTS).map_err(failed)?;
            for (entry, place) in entries {
                let stream = touched.entry(entry.tenant.clone()).or_insert_with(|| {
                    let row = self.row(&entry.tenant).unwrap_or_else(|| {
                        let number = next_number;
                        next_number = next_number.saturating_add(1);
                        Row { number, ..Row::default() }
                    });
                    Stream { row, gathered: BTreeMap::new() }
                });
                if let Some(place) = place.filter(|place| *place <= stream.row.last) {
                    appended.push(Appended::Known(Offset::new(place)));
                    continue;
                }
                let number = stream.row.number;
                let id = (number, entry.event.id().as_u128());
                if let Some(offset) = ids.get(id).map_err(failed)?.map(|offset| offset.value()) {
                    let row = events.get((number, offset)).map_err(failed)?;
                    let row = row.ok_or_else(|| unreadable("an id is of no event"))?;
                    let known = Event::from_json(row.value().2).map_err(unreadable)?;
                    let offset = Offset::new(offset);
                    appended.push(match known == entry.event {
                        true => Appended::Known(offset),
                        false => Appended::Conflict(offset),
                    });
                    continue;
                }
                stream.row.last = place.unwrap_or_else(|| stream.row.last.saturating_add(1));
                let (offset, mark) = (stream.row.last, mark(entry.event.actor()));
                let json = serde_json::to_vec(&entry.event).map_err(failed)?;
                let came = entry.ingested_at.as_datetime().timestamp_millis();
                let happened = entry.event.at().as_datetime().timestamp_millis();
                events.insert((number, offset), (came, mark, json.as_slice())).map_err(failed)?;
                ids.insert(id, offset).map_err(failed)?;
                moments.insert((number, happened, offset), ()).map_err(failed)?;
                stream.gathered.entry(mark).or_default().push(offset);
                appended.push(Appended::New(Offset::new(offset)));
            }
        }
        let new = appended.iter().filter(|appended| matches!(appended, Appended::New(_))).count();
        let indexes = self.streams().unindexed.saturating_add(new) >= UNINDEXED_EVENTS_MAX;
        if indexes {
            self.index(transaction, &mut touched)?;
        }
        let mut rows = transaction.open_table(STREAMS).map_err(failed)?;
        for (tenant, stream) in &touched {
            rows.insert(tenant.as_str(), stream.row.as_stored()).map_err(failed)?;
        }
        Ok(Written { appended, touched, next_number, new, indexes })
    }

    /// Shows readers what is committed.
    fn show(&self, written: Written) -> Vec<Appended> {
        let mut streams = self.streams();
        streams.next_number = written.next_number;
        streams.unindexed = if written.indexes { 0 } else { streams.unindexed.saturating_add(written.new) };
        for (tenant, stream) in written.touched {
            let known = streams.by_tenant.entry(tenant).or_default();
            known.row = stream.row;
            if written.indexes {
                known.gathered.clear();
            }
            for (mark, offsets) in stream.gathered {
                known.gathered.entry(mark).or_default().extend(offsets);
            }
        }
        written.appended
    }

    /// Writes all that has gathered into the table of actors, in the order of its rows. Every stream that had gathered any is in
    /// `touched` afterwards, and has gathered nothing.
    fn index(
        &self,
        transaction: &WriteTransaction,
        touched: &mut HashMap<TenantId, Stream>,
    ) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        let mut gather = |number: u32, gathered: &BTreeMap<u64, Vec<u64>>| {
            for (mark, offsets) in gathered {
                rows.extend(offsets.iter().map(|offset| (number, *mark, *offset)));
            }
        };
        for (tenant, stream) in &self.streams().by_tenant {
            if !stream.gathered.is_empty() {
                gather(stream.row.number, &stream.gathered);
                let unchanged = Stream { row: stream.row, gathered: BTreeMap::new() };
                touched.entry(tenant.clone()).or_insert(unchanged);
            }
        }
        for stream in touched.values_mut() {
            gather(stream.row.number, &stream.gathered);
            stream.gathered.clear();
            stream.row.indexed = stream.row.last;
        }
        rows.sort_unstable();
        let mut actors = transaction.open_table(ACTORS).map_err(failed)?;
        for row in rows {
            actors.insert(row, ()).map_err(failed)?;
        }
        Ok(())
    }

    fn read(&self, tenant: &TenantId, after: Offset, take: Take) -> Result<Vec<Record>, StoreError> {
        let Some(stream) = self.row(tenant) else { return Ok(Vec::new()) };
        let transaction = self.database.begin_read().map_err(failed)?;
        let events = transaction.open_table(EVENTS).map_err(failed)?;
        let mut records = Vec::new();
        for row in events.range(after_offset(stream.number, after.as_u64())).map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            let (came, _, json) = value.value();
            records.push(record(key.value().1, came, json)?);
            if records.len() >= take.events.max(1) {
                break;
            }
        }
        Ok(records)
    }

    fn of_actors(
        &self,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        let wanted = take.events.max(1);
        let asked: BTreeSet<&ActorId> = actors.iter().collect();
        // Memory is looked at before the file: what moves from one to the other in between is found in both, and not in neither.
        let (number, gathered) = {
            let streams = self.streams();
            let Some(stream) = streams.by_tenant.get(tenant) else { return Ok(Vec::new()) };
            let of = |actor: &&ActorId| stream.gathered.get(&mark(actor)).cloned().unwrap_or_default();
            (stream.row.number, asked.iter().map(of).collect::<Vec<_>>())
        };
        let transaction = self.database.begin_read().map_err(failed)?;
        let indexed = transaction.open_table(ACTORS).map_err(failed)?;
        let events = transaction.open_table(EVENTS).map_err(failed)?;
        let mut records = Vec::new();
        let mut from = after.as_u64();
        loop {
            // Those that stand first, of all actors together, and no more than are wanted: only these are read.
            let mut first = BTreeSet::new();
            for (actor, gathered) in asked.iter().zip(&gathered) {
                let mark = mark(actor);
                let range =
                    (Bound::Excluded((number, mark, from)), Bound::Included((number, mark, u64::MAX)));
                let in_file =
                    indexed.range(range).map_err(failed)?.map(|row| Ok(row.map_err(failed)?.0.value().2));
                let in_memory = gathered.iter().copied().filter(|offset| *offset > from).map(Ok);
                for offset in in_file.chain(in_memory) {
                    let offset: u64 = offset?;
                    let is_full = first.len() >= wanted;
                    if is_full && first.last().is_some_and(|last| *last <= offset) {
                        break;
                    }
                    first.insert(offset);
                    if first.len() > wanted {
                        first.pop_last();
                    }
                }
            }
            let is_full = first.len() >= wanted;
            for offset in first {
                from = offset;
                let Some(row) = events.get((number, offset)).map_err(failed)? else { continue };
                let (came, _, json) = row.value();
                let record = record(offset, came, json)?;
                // Others may have the same mark.
                if asked.contains(record.event.actor()) {
                    records.push(record);
                }
            }
            if !is_full || records.len() >= wanted {
                records.truncate(wanted);
                return Ok(records);
            }
        }
    }

    fn of_time(
        &self,
        tenant: &TenantId,
        span: &Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        let Some(stream) = self.row(tenant) else { return Ok(Vec::new()) };
        let (from, to) = (first_ms(span.start), first_ms(span.end));
        let start = match after {
            Some(after) if after.at.as_datetime() >= span.start => {
                let at = after.at.as_datetime().timestamp_millis();
                Bound::Excluded((stream.number, at, after.offset.as_u64()))
            }
            _ => Bound::Included((stream.number, from, 0)),
        };
        let (Bound::Excluded((_, begins, _)) | Bound::Included((_, begins, _))) = start else {
            return Ok(Vec::new());
        };
        if begins >= to {
            return Ok(Vec::new());
        }
        let transaction = self.database.begin_read().map_err(failed)?;
        let moments = transaction.open_table(MOMENTS).map_err(failed)?;
        let events = transaction.open_table(EVENTS).map_err(failed)?;
        let mut records = Vec::new();
        let range = (start, Bound::Excluded((stream.number, to, 0)));
        for row in moments.range(range).map_err(failed)?.take(take.events.max(1)) {
            let offset = row.map_err(failed)?.0.value().2;
            let Some(row) = events.get((stream.number, offset)).map_err(failed)? else { continue };
            let (came, _, json) = row.value();
            records.push(record(offset, came, json)?);
        }
        Ok(records)
    }

    /// Takes some away, and answers whether there are more.
    fn forget_some(&self, tenant: &TenantId, to: Offset) -> Result<bool, StoreError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = self.row(tenant) else { return Ok(false) };
        let number = known.number;
        let transaction = begin(&self.database)?;
        let mut forgotten = known.forgotten;
        let mut taken = Vec::new();
        {
            let mut events = transaction.open_table(EVENTS).map_err(failed)?;
            let mut ids = transaction.open_table(IDS).map_err(failed)?;
            let mut moments = transaction.open_table(MOMENTS).map_err(failed)?;
            let mut actors = transaction.open_table(ACTORS).map_err(failed)?;
            let range = (Bound::Included((number, 0)), Bound::Included((number, to.as_u64())));
            for row in events.range(range).map_err(failed)?.take(FORGOTTEN_TOGETHER) {
                let (key, value) = row.map_err(failed)?;
                let (_, mark, json) = value.value();
                let event = Event::from_json(json).map_err(unreadable)?;
                taken.push((key.value().1, mark, event.id().as_u128(), event.at()));
            }
            for (offset, mark, id, at) in &taken {
                events.remove((number, *offset)).map_err(failed)?;
                ids.remove((number, *id)).map_err(failed)?;
                moments.remove((number, at.as_datetime().timestamp_millis(), *offset)).map_err(failed)?;
                actors.remove((number, *mark, *offset)).map_err(failed)?;
                forgotten = forgotten.max(*offset);
            }
            if taken.len() < FORGOTTEN_TOGETHER {
                forgotten = forgotten.max(to.as_u64().min(known.last));
            }
            let mut rows = transaction.open_table(STREAMS).map_err(failed)?;
            rows.insert(tenant.as_str(), Row { forgotten, ..known }.as_stored()).map_err(failed)?;
        }
        // Told first: who reads meanwhile is sent away rather than over a gap.
        if let Some(stream) = self.streams().by_tenant.get_mut(tenant) {
            stream.row.forgotten = forgotten;
        }
        transaction.commit().map_err(failed)?;
        let mut streams = self.streams();
        if let Some(stream) = streams.by_tenant.get_mut(tenant) {
            let mut gone = 0_usize;
            for offsets in stream.gathered.values_mut() {
                let before = offsets.len();
                offsets.retain(|offset| *offset > forgotten);
                gone = gone.saturating_add(before.saturating_sub(offsets.len()));
            }
            stream.gathered.retain(|_, offsets| !offsets.is_empty());
            streams.unindexed = streams.unindexed.saturating_sub(gone);
        }
        Ok(taken.len() == FORGOTTEN_TOGETHER)
    }
}

/// The first whole millisecond that is not earlier.
fn first_ms(at: DateTime<Utc>) -> i64 {
    let is_between = !at.timestamp_subsec_nanos().is_multiple_of(1_000_000);
    at.timestamp_millis().saturating_add(i64::from(is_between))
}

fn record(offset: u64, came: i64, json: &[u8]) -> Result<Record, StoreError> {
    let event = Event::from_json(json).map_err(unreadable)?;
    let came = DateTime::from_timestamp_millis(came).ok_or_else(|| unreadable("a time that is none"))?;
    let ingested_at = Timestamp::new(came).map_err(unreadable)?;
    Ok(Record { offset: Offset::new(offset), ingested_at, event: Arc::new(event) })
}

impl EventStore for RedbStore {
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Appended>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.blocking(move |shared| shared.append(&entries)).await
    }

    async fn read(&self, tenant: &TenantId, after: Offset, take: Take) -> Result<Vec<Record>, StoreError> {
        let tenant = tenant.clone();
        self.blocking(move |shared| shared.read(&tenant, after, take)).await
    }

    async fn of_actors(
        &self,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        let (tenant, actors) = (tenant.clone(), actors.to_vec());
        let _turn = self.0.queries.acquire().await.map_err(|_| StoreError::Stopped)?;
        self.blocking(move |shared| shared.of_actors(&tenant, &actors, after, take)).await
    }

    async fn of_time(
        &self,
        tenant: &TenantId,
        span: Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        let tenant = tenant.clone();
        let _turn = self.0.queries.acquire().await.map_err(|_| StoreError::Stopped)?;
        self.blocking(move |shared| shared.of_time(&tenant, &span, after, take)).await
    }

    async fn bounds(&self, tenant: &TenantId) -> Result<Bounds, StoreError> {
        if self.0.has_stopped.load(Ordering::Acquire) {
            return Err(StoreError::Stopped);
        }
        let row = self.0.row(tenant).unwrap_or_default();
        Ok(Bounds { forgotten: Offset::new(row.forgotten), last: Offset::new(row.last) })
    }

    async fn forget(&self, tenant: &TenantId, to: Offset) -> Result<(), StoreError> {
        loop {
            let tenant = tenant.clone();
            if !self.blocking(move |shared| shared.forget_some(&tenant, to)).await? {
                return Ok(());
            }
        }
    }
}
