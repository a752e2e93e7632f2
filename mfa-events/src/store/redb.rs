use std::collections::{BTreeSet, HashMap};
use std::fs::OpenOptions;
use std::hash::Hasher as _;
use std::iter::Peekable;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc,
};
use std::thread::JoinHandle;

use chrono::{DateTime, Utc};
use redb::{Builder, Database, DatabaseError};
use siphasher::sip::SipHasher13;
use tokio::sync::Semaphore;

use super::{Appended, Bounds, Entry, EventStore, Moment, Offset, Record, StoreError, Take};
use crate::event::Event;
use crate::id::{ActorId, TenantId};

mod journal;
mod recent;
mod tables;

use journal::{Journal, Key, ReplayError};
use recent::{FrameWriter, Gathered, Part, Recent};
use tables::{Row, StreamNumber, View, failed, unreadable};

const CACHE_BYTES: usize = 128 << 20;

/// Bytes that are written at once; more go in several frames.
const FRAME_BYTES_MAX: usize = 4 << 20;

/// Queries by actor or time that run at the same time, of all tenants: they take no thread from those who send and read on.
const QUERIES_MAX: usize = 4;

/// A store in one file of a local disk and two journals beside it (`….journal-0`, `….journal-1`), which one process opens at a time. Events
/// lie in them in the clear; all are made readable by their owner alone. They belong together: a copy has all three, made while no process
/// has them open.
///
/// What is appended is durable when it is in a journal, which takes one `fdatasync`; some ten thousand events at a time go from there into
/// the database, sorted. Until then they are in memory as well, at most 131,072 of them and 64 MiB of their JSON. A file of a killed process
/// opens within a second or two, however large it is. After an error of storage while something was appended or forgotten the store has
/// stopped, for nothing is known of the disk any more; open it again. To drop the last clone blocks until what has gathered is in the file.
#[derive(Clone, Debug)]
pub struct RedbStore(Arc<Handle>);

/// What ends with the last clone: the thread that puts events into the database.
struct Handle {
    shared: Arc<Shared>,
    work: Option<mpsc::Sender<()>>,
    worker: Option<JoinHandle<()>>,
}

struct Shared {
    database: Database,
    /// One append at a time.
    writer: Mutex<Writer>,
    recent: RwLock<Recent>,
    /// What is durable, as readers may see it.
    streams: Mutex<HashMap<TenantId, Row>>,
    /// Whether something is on its way into the database.
    is_leaving: Mutex<bool>,
    has_left: Condvar,
    /// Of the marks of actors.
    marks: Key,
    queries: Arc<Semaphore>,
    has_stopped: AtomicBool,
}

struct Writer {
    journal: Journal,
    next_number: StreamNumber,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A version that comes next need not understand the journal of this one.
        if !self.shared.has_stopped() {
            let shared = Arc::clone(&self.shared);
            let _ = self.let_leave(&mut lock(&shared.writer));
        }
        drop(self.work.take());
        // The file is free when this returns.
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

impl RedbStore {
    /// Opens a file, or creates it. Blocks: for some milliseconds, and for as long as it takes to read what was in the journals, a hundred
    /// thousand events or two at most.
    ///
    /// # Errors
    /// Where another process has it, it is the copy of a stream that lies elsewhere, it was written by a version with another format, it is damaged, its journals are missing or of another
    /// log or another time, there are journals beside a file that is not there, or storage fails.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        drop(options.open(path).map_err(failed)?);
        let database =
            Builder::new().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => StoreError::Locked,
                other => failed(other),
            })?;
        let opened = tables::open(&database)?;
        let (mut journal, frames) = Journal::open(path, opened.is_new, opened.journal, opened.applied)
            .map_err(|error| match error {
                ReplayError::Io(error) => failed(error),
                damaged => unreadable(damaged),
            })?;
        let mut streams: HashMap<_, _> = opened.streams.into_iter().collect();
        let gathered = replay(frames, opened.applied, opened.marks, &mut streams)?;
        if !gathered.is_empty() {
            let greatest = tables::apply(&database, &gathered)?;
            raise(&mut streams, &greatest);
        }
        // From here on no frame of before counts; each is in the database.
        let key = tables::random_key();
        journal.begin(key).map_err(failed)?;
        tables::begin_journal(&database, key)?;
        let numbers = streams.values().map(|row| row.number.saturating_add(1));
        let next_number = numbers.max().unwrap_or_default();
        let shared = Arc::new(Shared {
            database,
            writer: Mutex::new(Writer { journal, next_number }),
            recent: RwLock::default(),
            streams: Mutex::new(streams),
            is_leaving: Mutex::new(false),
            has_left: Condvar::new(),
            marks: opened.marks,
            queries: Arc::new(Semaphore::new(QUERIES_MAX)),
            has_stopped: AtomicBool::new(false),
        });
        let (work, told) = mpsc::channel();
        let worker = {
            let shared = Arc::clone(&shared);
            let work = move || told.into_iter().for_each(|()| shared.leave());
            std::thread::Builder::new().name("mfa-events-store".to_owned()).spawn(work).map_err(failed)?
        };
        Ok(Self(Arc::new(Handle { shared, work: Some(work), worker: Some(worker) })))
    }

    /// Runs on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Handle) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let handle = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            if handle.shared.has_stopped() {
                return Err(StoreError::Stopped);
            }
            run(&handle)
        });
        done.await.unwrap_or_else(|error| Err(failed(error)))
    }

    /// Runs a query in its turn, which lasts until it has run, also where nobody waits for it any more.
    async fn query(
        &self,
        run: impl FnOnce(&Shared) -> Result<Vec<Record>, StoreError> + Send + 'static,
    ) -> Result<Vec<Record>, StoreError> {
        let turn = Arc::clone(&self.0.shared.queries).acquire_owned().await;
        let turn = turn.map_err(|_| StoreError::Stopped)?;
        self.blocking(move |handle| {
            let _turn = turn;
            run(&handle.shared)
        })
        .await
    }
}

/// Gathers what the journal holds.
fn replay(
    frames: Vec<Vec<u8>>,
    applied: u64,
    marks: Key,
    streams: &mut HashMap<TenantId, Row>,
) -> Result<Gathered, StoreError> {
    let mut gathered = Gathered::default();
    let mut tenants: HashMap<StreamNumber, TenantId> =
        streams.iter().map(|(tenant, row)| (row.number, tenant.clone())).collect();
    for (frame_number, frame) in (applied.saturating_add(1)..).zip(frames) {
        let mut entries = Vec::new();
        for part in recent::parts(&frame)? {
            match part {
                Part::Tenant { number, tenant } => {
                    if streams.contains_key(&tenant) || tenants.contains_key(&number) {
                        return Err(unreadable("a stream that begins a second time"));
                    }
                    streams.insert(tenant.clone(), Row { number, ..Row::default() });
                    tenants.insert(number, tenant);
                }
                Part::Event { number, offset, came, event, json } => {
                    let tenant = tenants.get(&number).ok_or_else(|| unreadable("an event of no stream"))?;
                    let row = streams.get_mut(tenant).ok_or_else(|| unreadable("an event of no stream"))?;
                    if offset != row.last.saturating_add(1) {
                        return Err(unreadable("an event that stands at no place of its stream"));
                    }
                    row.last = offset;
                    let (mark, event) = (mark(marks, event.actor()), Arc::new(event));
                    let tenant = tenant.clone();
                    entries.push(recent::Entry { number, tenant, offset, mark, event, came, json });
                }
            }
        }
        gathered.take(frame_number, frame, entries);
    }
    Ok(gathered)
}

/// Actors by eight bytes. Others may have the same: events say whose they are.
fn mark(key: Key, actor: &ActorId) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&key.0.to_le_bytes());
    hasher.write(actor.as_str().as_bytes());
    hasher.finish()
}

fn raise(streams: &mut HashMap<TenantId, Row>, greatest: &[(StreamNumber, Option<u128>)]) {
    for row in streams.values_mut() {
        if let Ok(place) = greatest.binary_search_by_key(&row.number, |(number, _)| *number)
            && let Some((_, id)) = greatest.get(place)
        {
            row.greatest_id = row.greatest_id.max(*id);
        }
    }
}

impl Handle {
    fn append(&self, entries: Vec<Entry>) -> Result<Vec<Appended>, StoreError> {
        let mut writer = lock(&self.shared.writer);
        self.shared.change(|| {
            let mut appended = Vec::with_capacity(entries.len());
            let mut entries = entries.into_iter().peekable();
            while entries.peek().is_some() {
                if self.shared.recent().gathering.is_full() {
                    self.let_leave(&mut writer)?;
                }
                self.shared.frame(&mut writer, &mut entries, &mut appended)?;
            }
            Ok(appended)
        })
    }

    /// Sends what has gathered into the database, after what is on its way there already.
    fn let_leave(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let mut is_leaving = self.shared.left()?;
        {
            let mut recent = self.shared.recent_mut();
            if recent.gathering.is_empty() {
                return Ok(());
            }
            recent.leaving = Some(Arc::new(std::mem::take(&mut recent.gathering)));
        }
        *is_leaving = true;
        writer.journal.turn();
        let told = self.work.as_ref().is_some_and(|work| work.send(()).is_ok());
        if told { Ok(()) } else { Err(StoreError::Stopped) }
    }

    /// Sees to it that what a tenant has up to an offset is in the database. Senders do not wait for what is on its way there.
    fn settle(&self, tenant: &TenantId, to: Offset) -> Result<(), StoreError> {
        let shared = &self.shared;
        let Some(Row { number, .. }) = shared.row(tenant) else { return Ok(()) };
        drop(shared.left()?);
        {
            let mut writer = lock(&shared.writer);
            if shared.recent().first(number).is_some_and(|first| first <= to.as_u64()) {
                self.let_leave(&mut writer)?;
            }
        }
        shared.left().map(drop)
    }

    /// Takes some of what is in the database away, and answers whether there are more.
    fn forget_some(&self, tenant: &TenantId, to: Offset) -> Result<bool, StoreError> {
        let shared = &self.shared;
        drop(shared.left()?);
        let _writer = lock(&shared.writer);
        shared.change(|| {
            let Some(row) = shared.row(tenant) else { return Ok(false) };
            tables::forget(&shared.database, tenant, row, to.as_u64(), |reached| {
                if let Some(row) = lock(&shared.streams).get_mut(tenant) {
                    row.forgotten = reached;
                }
            })
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn has_stopped(&self) -> bool {
        self.has_stopped.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.has_stopped.store(true, Ordering::Release);
    }

    /// Runs what changes what is stored, with `writer` held. Where storage fails or it panics the store has stopped before anybody else has
    /// `writer`: what could not be made durable once is not written over.
    fn change<T>(&self, run: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        struct Unless<'s>(&'s Shared, bool);
        impl Drop for Unless<'_> {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.stop();
                }
            }
        }
        if self.has_stopped() {
            return Err(StoreError::Stopped);
        }
        let mut unless = Unless(self, false);
        let done = run();
        unless.1 = !matches!(done, Err(StoreError::Failed(_)));
        done
    }

    fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, tenant: &TenantId) -> Option<Row> {
        lock(&self.streams).get(tenant).copied()
    }

    /// Waits until nothing is on its way into the database.
    fn left(&self) -> Result<MutexGuard<'_, bool>, StoreError> {
        let is_leaving = lock(&self.is_leaving);
        let is_leaving = self.has_left.wait_while(is_leaving, |is_leaving| *is_leaving);
        let is_leaving = is_leaving.unwrap_or_else(PoisonError::into_inner);
        if self.has_stopped() { Err(StoreError::Stopped) } else { Ok(is_leaving) }
    }

    /// Puts what was sent on its way into the database. Whatever becomes of it, nobody waits for it any more.
    fn leave(&self) {
        struct Told<'s>(&'s Shared, bool);
        impl Drop for Told<'_> {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.stop();
                }
                *lock(&self.0.is_leaving) = false;
                self.0.has_left.notify_all();
            }
        }
        let mut told = Told(self, false);
        let leaving = self.recent().leaving.clone();
        let Some(leaving) = leaving else { return };
        if self.has_stopped() {
            return;
        }
        if let Ok(greatest) = tables::apply(&self.database, &leaving) {
            // Before it goes from memory: whoever does not find an id there looks here, whether it can be in the database.
            raise(&mut lock(&self.streams), &greatest);
            self.recent_mut().leaving = None;
            told.1 = true;
        }
    }

    /// Writes one frame of as many entries as go into it.
    fn frame(
        &self,
        writer: &mut Writer,
        entries: &mut Peekable<impl Iterator<Item = Entry>>,
        appended: &mut Vec<Appended>,
    ) -> Result<(), StoreError> {
        let mut frame = FrameWriter::new(entries.size_hint().0);
        let mut kept: Vec<recent::Entry> = Vec::new();
        let mut here: HashMap<(StreamNumber, u128), usize> = HashMap::new();
        let mut touched: Vec<(TenantId, Row)> = Vec::new();
        // All that is neither here nor gathering is in the database from now on, whenever it is looked into.
        let mut known =
            Known { database: &self.database, leaving: self.recent().leaving.clone(), view: None };
        while frame.bytes.len() < FRAME_BYTES_MAX
            && let Some(Entry { tenant, event, ingested_at }) = entries.next()
        {
            let place = match touched.iter().rposition(|(known, _)| *known == tenant) {
                Some(place) => place,
                None => {
                    let row = self.row(&tenant).unwrap_or_else(|| {
                        let number = writer.next_number;
                        writer.next_number = number.saturating_add(1);
                        frame.tenant(number, &tenant);
                        Row { number, ..Row::default() }
                    });
                    touched.push((tenant.clone(), row));
                    touched.len().saturating_sub(1)
                }
            };
            let Some((_, row)) = touched.get_mut(place) else { continue };
            let (number, id) = (row.number, event.id().as_u128());
            let of_frame = here.get(&(number, id)).and_then(|place| kept.get(*place));
            let found = match of_frame {
                Some(kept) => Some((kept.offset, *kept.event == event)),
                None => known.find(&self.recent().gathering, row, &event)?,
            };
            if let Some((offset, is_same)) = found {
                let offset = Offset::new(offset);
                appended.push(if is_same { Appended::Known(offset) } else { Appended::Conflict(offset) });
                continue;
            }
            row.last = row.last.saturating_add(1);
            let offset = row.last;
            let json = frame.event(number, offset, ingested_at, &event)?;
            let (mark, event) = (mark(self.marks, event.actor()), Arc::new(event));
            here.insert((number, id), kept.len());
            kept.push(recent::Entry { number, tenant, offset, mark, event, came: ingested_at, json });
            appended.push(Appended::New(Offset::new(offset)));
        }
        if kept.is_empty() {
            return Ok(());
        }
        let number = writer.journal.append(&mut frame.bytes).map_err(failed)?;
        self.recent_mut().gathering.take(number, frame.bytes, kept);
        let mut streams = lock(&self.streams);
        for (tenant, touched) in touched {
            // What else is known of a stream may have changed meanwhile.
            streams.entry(tenant).or_insert(touched).last = touched.last;
        }
        Ok(())
    }

    fn read(&self, tenant: &TenantId, after: Offset, take: Take) -> Result<Vec<Record>, StoreError> {
        let Some(Row { number, forgotten, .. }) = self.row(tenant) else { return Ok(Vec::new()) };
        let (after, most) = (after.as_u64().max(forgotten), take.events.max(1));
        // Memory is looked at before the file: what moves from one to the other in between is found in both, and not in neither.
        let (before, here) = {
            let recent = self.recent();
            let before = recent.first(number).unwrap_or(u64::MAX);
            let in_file = before.saturating_sub(1).saturating_sub(after);
            let left = most.saturating_sub(usize::try_from(in_file).unwrap_or(usize::MAX));
            (before, recent.read(number, after, left))
        };
        let mut records = match after.saturating_add(1) < before {
            true => View::of(&self.database)?.read(number, after, before, most)?,
            false => Vec::new(),
        };
        records.extend(here);
        records.truncate(most);
        Ok(records)
    }

    fn of_actors(
        &self,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        let Some(Row { number, forgotten, .. }) = self.row(tenant) else { return Ok(Vec::new()) };
        let (after, most) = (after.as_u64().max(forgotten), take.events.max(1));
        let asked: BTreeSet<&ActorId> = actors.iter().collect();
        let mut marks: Vec<_> = asked.iter().map(|actor| mark(self.marks, actor)).collect();
        marks.sort_unstable();
        marks.dedup();
        let (before, here) = {
            let recent = self.recent();
            let is_asked = |event: &Event| asked.contains(event.actor());
            let here = recent.of_actors(number, &marks, after, most, is_asked);
            (recent.first(number).unwrap_or(u64::MAX), here)
        };
        let mut records = View::of(&self.database)?.of_actors(number, &asked, &marks, after, before, most)?;
        records.extend(here);
        records.truncate(most);
        Ok(records)
    }

    fn of_time(
        &self,
        tenant: &TenantId,
        span: &Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        let Some(Row { number, forgotten, .. }) = self.row(tenant) else { return Ok(Vec::new()) };
        let most = take.events.max(1);
        let span = first_ms(span.start)..first_ms(span.end);
        let after = after.map(|after| (after.at.as_datetime().timestamp_millis(), after.offset.as_u64()));
        let after = after.filter(|(at, _)| *at >= span.start);
        if after.map_or(span.start, |(at, _)| at) >= span.end {
            return Ok(Vec::new());
        }
        let (before, here) = {
            let recent = self.recent();
            let is_within = |at: i64, offset: u64| {
                span.contains(&at) && offset > forgotten && after.is_none_or(|after| (at, offset) > after)
            };
            (recent.first(number).unwrap_or(u64::MAX), recent.of_time(number, is_within, most))
        };
        let mut records = View::of(&self.database)?.of_time(number, span, after, before, most)?;
        records.extend(here);
        records.sort_by_key(Record::moment);
        records.truncate(most);
        Ok(records)
    }
}

/// Ids that are known while a frame is written.
struct Known<'s> {
    database: &'s Database,
    leaving: Option<Arc<Gathered>>,
    view: Option<View>,
}

impl Known<'_> {
    /// Where an event of this id stands, and whether it is the same.
    fn find(
        &mut self,
        gathering: &Gathered,
        row: &Row,
        event: &Event,
    ) -> Result<Option<(u64, bool)>, StoreError> {
        let (number, id) = (row.number, event.id().as_u128());
        let leaving = self.leaving.as_deref().and_then(|leaving| leaving.known(number, id));
        if let Some((offset, known)) = gathering.known(number, id).or(leaving) {
            return Ok(Some((offset, known == event)));
        }
        // Most ids grow with time: those need not be looked for.
        if row.greatest_id.is_none_or(|greatest| id > greatest) {
            return Ok(None);
        }
        let view = match self.view.take() {
            Some(view) => view,
            None => View::of(self.database)?,
        };
        let known = self.view.insert(view).known(number, id)?;
        Ok(known.map(|known| (known.offset.as_u64(), *known.event == *event)))
    }
}

/// The first whole millisecond that is not earlier.
fn first_ms(at: DateTime<Utc>) -> i64 {
    let is_between = !at.timestamp_subsec_nanos().is_multiple_of(1_000_000);
    at.timestamp_millis().saturating_add(i64::from(is_between))
}

impl EventStore for RedbStore {
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Appended>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.blocking(move |handle| handle.append(entries)).await
    }

    async fn read(&self, tenant: &TenantId, after: Offset, take: Take) -> Result<Vec<Record>, StoreError> {
        let tenant = tenant.clone();
        self.blocking(move |handle| handle.shared.read(&tenant, after, take)).await
    }

    async fn of_actors(
        &self,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        let (tenant, actors) = (tenant.clone(), actors.to_vec());
        self.query(move |shared| shared.of_actors(&tenant, &actors, after, take)).await
    }

    async fn of_time(
        &self,
        tenant: &TenantId,
        span: Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        let tenant = tenant.clone();
        self.query(move |shared| shared.of_time(&tenant, &span, after, take)).await
    }

    async fn bounds(&self, tenant: &TenantId) -> Result<Bounds, StoreError> {
        if self.0.shared.has_stopped() {
            return Err(StoreError::Stopped);
        }
        let row = self.0.shared.row(tenant).unwrap_or_default();
        Ok(Bounds { forgotten: Offset::new(row.forgotten), last: Offset::new(row.last) })
    }

    async fn forget(&self, tenant: &TenantId, to: Offset) -> Result<(), StoreError> {
        let whose = tenant.clone();
        self.blocking(move |handle| handle.settle(&whose, to)).await?;
        loop {
            let tenant = tenant.clone();
            if !self.blocking(move |handle| handle.forget_some(&tenant, to)).await? {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
