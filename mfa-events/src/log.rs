//! The log: events go in durably and together, and readers are woken, then read from it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::event::{Event, EventError, Timestamp, TimestampError};
use crate::id::{ActorId, TenantId};
use crate::limits::BATCH_EVENTS_MAX;
use crate::store::{Appended, Bounds, Entry, EventStore, Moment, Offset, Record, StoreError, Take};

/// Most events that wait for the disk. Who comes then waits, too.
pub const QUEUE_EVENTS_MAX: usize = 4 * BATCH_EVENTS_MAX;

/// Most events that are committed together.
pub const COMMIT_EVENTS_MAX: usize = BATCH_EVENTS_MAX;

/// Most events of one answer.
pub const PAGE_EVENTS_MAX: usize = 1_000;

/// Most actors of one query.
pub const QUERY_ACTORS_MAX: usize = 1_000;

/// Streams of events, one for each tenant. Cheap to clone.
///
/// Events of senders who come at the same time are committed together: each waits for one commit, and all share its cost. What was
/// appended is durable when the call returns, and only then do readers see it.
pub struct EventLog<S> {
    inner: Arc<Inner<S>>,
}

impl<S> Clone for EventLog<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S> std::fmt::Debug for EventLog<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog").finish_non_exhaustive()
    }
}

struct Inner<S> {
    store: Arc<S>,
    queue: mpsc::UnboundedSender<Waiting>,
    /// One permit for each event that may wait.
    room: Arc<Semaphore>,
    watchers: Arc<Watchers>,
}

/// Events of one sender, and who is to be told.
struct Waiting {
    entries: Vec<Entry>,
    /// How many answers are theirs, once the entries have gone on.
    told: usize,
    done: oneshot::Sender<Result<Vec<Appended>, Arc<StoreError>>>,
    _room: tokio::sync::OwnedSemaphorePermit,
}

/// Tenants that somebody waits for.
#[derive(Default)]
struct Watchers {
    tenants: Mutex<HashMap<TenantId, watch::Sender<()>>>,
    /// Nothing could be appended the last time.
    is_failing: AtomicBool,
}

/// Why events were not appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// One of them is no event. None was appended.
    #[error("event {index}: {error}")]
    Event {
        /// Which, counted from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        error: EventError,
    },
    /// More than [`BATCH_EVENTS_MAX`]. None was appended.
    #[error("at most {BATCH_EVENTS_MAX} events are appended at once")]
    TooMany,
    /// The time of now is none that can be written.
    #[error(transparent)]
    Now(#[from] TimestampError),
    /// It is not known whether they were appended: append them again, under the same ids.
    #[error("it is not known whether the events are kept")]
    Unknown(#[source] Option<Arc<StoreError>>),
}

/// Why a log was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What comes after this offset is no longer retained in full.
    #[error("events up to {earliest} are no longer kept")]
    Gone {
        /// The first offset to read after.
        earliest: Offset,
    },
    /// The offset is of no event that was ever committed.
    #[error("nothing was ever committed at {0}")]
    Ahead(Offset),
    /// More than [`QUERY_ACTORS_MAX`].
    #[error("at most {QUERY_ACTORS_MAX} actors are asked for at once")]
    TooManyActors,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// In order, at most [`PAGE_EVENTS_MAX`].
    pub records: Vec<Record>,
    /// Where to read on.
    pub next: Offset,
    /// Whether nothing came after these when they were read.
    pub is_up_to_date: bool,
}

/// What happened within a span of time, as far as it has come.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TimePage {
    /// By the time when they happened, at most [`PAGE_EVENTS_MAX`]. There may be none though there is more.
    pub records: Vec<Record>,
    /// Where to read on, where there is more.
    pub next: Option<TimeCursor>,
    /// Events up to this offset were looked at, the same for each page: what came later, and happened earlier, is behind it in the stream.
    pub as_of: Offset,
    /// Nothing of the span was taken by retention. It is not known when what was forgotten happened, only when it came: a span that
    /// began before the earliest event came that is still kept may miss some.
    pub is_retained: bool,
}

/// Where to read on within a span of time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TimeCursor {
    /// After this one.
    pub after: Moment,
    /// What came after this offset is left out, as it was in the page before.
    pub as_of: Offset,
}

/// Which events to read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Which {
    /// All.
    #[default]
    All,
    /// Those of these actors, at most [`QUERY_ACTORS_MAX`].
    Actors(Vec<ActorId>),
}

impl<S: EventStore> EventLog<S> {
    /// Opens a log over a store. Needs a tokio runtime; the task that commits ends with the last clone.
    pub fn open(store: S) -> Self {
        let (store, watchers) = (Arc::new(store), Arc::new(Watchers::default()));
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn({
            let (store, watchers) = (Arc::clone(&store), Arc::clone(&watchers));
            async move {
                tokio::select! {
                    () = commit(&*store, waiting, &watchers) => {}
                    never = wake_of_arrivals(&*store, &watchers) => match never {},
                }
                // Nobody else has it, and a store in a file may block until it is closed.
                let _ = tokio::task::spawn_blocking(move || drop(store)).await;
            }
        });
        let room = Arc::new(Semaphore::new(QUEUE_EVENTS_MAX));
        Self { inner: Arc::new(Inner { store, queue, room, watchers }) }
    }

    /// Appends events in this order, durably, and tells what became of each.
    ///
    /// An event that is known already is not appended again, and where it stands is told: whoever is not sure sends again.
    ///
    /// # Errors
    /// Where one of them is none, or the store fails.
    ///
    /// # Cancellation
    /// When the future is dropped the events may or may not be appended.
    pub async fn append<E>(
        &self,
        tenant: &TenantId,
        events: impl IntoIterator<Item = E>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Appended>, AppendError>
    where
        Event: TryFrom<E>,
        <Event as TryFrom<E>>::Error: Into<EventError>,
    {
        let ingested_at = Timestamp::new(now)?;
        let mut entries = Vec::new();
        for (index, event) in events.into_iter().enumerate() {
            if index >= BATCH_EVENTS_MAX {
                return Err(AppendError::TooMany);
            }
            let event =
                Event::try_from(event).map_err(|error| AppendError::Event { index, error: error.into() })?;
            entries.push(Entry { tenant: tenant.clone(), event, ingested_at });
        }
        let count = u32::try_from(entries.len()).map_err(|_| AppendError::TooMany)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let room = Arc::clone(&self.inner.room).acquire_many_owned(count).await;
        let room = room.map_err(|_| AppendError::Unknown(None))?;
        let (done, answer) = oneshot::channel();
        let sent = self.inner.queue.send(Waiting { told: entries.len(), entries, done, _room: room });
        sent.map_err(|_| AppendError::Unknown(None))?;
        match answer.await {
            Ok(appended) => appended.map_err(|error| AppendError::Unknown(Some(error))),
            Err(_) => Err(AppendError::Unknown(None)),
        }
    }

    /// Reads on after an offset, at most `limit` events and [`PAGE_EVENTS_MAX`].
    ///
    /// # Errors
    /// Where events after that offset are not retained any more, the offset is none of this log, or the store fails.
    pub async fn read(
        &self,
        tenant: &TenantId,
        which: &Which,
        after: Offset,
        limit: usize,
    ) -> Result<Page, ReadError> {
        if matches!(which, Which::Actors(actors) if actors.len() > QUERY_ACTORS_MAX) {
            return Err(ReadError::TooManyActors);
        }
        // Bounds come first: what is appended meanwhile is read next time, and is not passed over.
        let bounds = self.bounds(tenant).await?;
        if after < bounds.forgotten {
            return Err(ReadError::Gone { earliest: bounds.forgotten });
        }
        if after > bounds.last {
            return Err(ReadError::Ahead(after));
        }
        let limit = limit.clamp(1, PAGE_EVENTS_MAX);
        // One more says whether there are more.
        let take = Take { events: limit.saturating_add(1) };
        let store = &self.inner.store;
        let mut records = match which {
            Which::All => store.read(tenant, after, take).await,
            Which::Actors(actors) => store.of_actors(tenant, actors, after, take).await,
        }
        .map_err(|error| match error {
            StoreError::Foreign(offset) => ReadError::Ahead(offset),
            other => ReadError::Store(other),
        })?;
        // What a store shows before it counts it is read next time: nobody is given a cursor that is taken for one of nowhere.
        records.retain(|record| record.offset <= bounds.last);
        // What was forgotten meanwhile may be missing here.
        let earliest = self.bounds(tenant).await?.forgotten;
        if after < earliest {
            return Err(ReadError::Gone { earliest });
        }
        let is_up_to_date = records.len() <= limit;
        records.truncate(limit);
        // Where only some events are asked for, what was passed over need not be looked at again.
        let last = records.last().map_or(after, |record| record.offset);
        let next = if is_up_to_date { last.max(bounds.last) } else { last };
        Ok(Page { records, next, is_up_to_date })
    }

    /// Reads what happened within a span of time, its end not included, from where a page before ended, at most `limit` events and
    /// [`PAGE_EVENTS_MAX`].
    ///
    /// Senders may be late: a span that is over gets further events for as long as somebody has them. Whoever must not miss any reads the
    /// stream from [`TimePage::as_of`] on.
    ///
    /// # Errors
    /// Where the store fails. What is no longer retained is passed over, and [`TimePage::is_retained`] says so.
    pub async fn read_time(
        &self,
        tenant: &TenantId,
        span: Range<DateTime<Utc>>,
        from: Option<TimeCursor>,
        limit: usize,
    ) -> Result<TimePage, StoreError> {
        let last = self.bounds(tenant).await?.last;
        let as_of = from.map_or(last, |from| from.as_of.min(last));
        let limit = limit.clamp(1, PAGE_EVENTS_MAX);
        let take = Take { events: limit.saturating_add(1) };
        let begin = span.start;
        let mut records = self.inner.store.of_time(tenant, span, from.map(|from| from.after), take).await?;
        let has_more = records.len() > limit;
        records.truncate(limit);
        let end = records.last().filter(|_| has_more).map(Record::moment);
        records.retain(|record| record.offset <= as_of);
        // Looked at afterwards: what was forgotten meanwhile may be missing here.
        let is_retained = self.is_retained(tenant, begin).await?;
        let next = end.map(|after| TimeCursor { after, as_of });
        Ok(TimePage { records, next, as_of, is_retained })
    }

    /// Whether nothing was forgotten that came since then.
    async fn is_retained(&self, tenant: &TenantId, since: DateTime<Utc>) -> Result<bool, StoreError> {
        let forgotten = self.bounds(tenant).await?.forgotten;
        if forgotten == Offset::START {
            return Ok(true);
        }
        let first = self.inner.store.read(tenant, forgotten, Take { events: 1 }).await?;
        // What was forgotten came no later than this one.
        Ok(first.first().is_some_and(|first| first.ingested_at.as_datetime() < since))
    }

    /// Waits until there is an event after this offset. It may return when there is none of those that somebody looks for.
    ///
    /// # Errors
    /// Where the store fails, also where it fails for others who append meanwhile: who waits learns of it.
    pub async fn wait(&self, tenant: &TenantId, after: Offset) -> Result<(), StoreError> {
        let mut woken = self.inner.watchers.watch(tenant);
        loop {
            // The watch is there before it is looked: whatever comes afterwards is told.
            woken.mark_unchanged();
            if self.bounds(tenant).await?.last > after {
                return Ok(());
            }
            let is_told = woken.changed().await.is_ok();
            if !is_told || self.inner.watchers.is_failing.load(Ordering::Acquire) {
                return Err(StoreError::Stopped);
            }
        }
    }

    /// Where a tenant's stream begins and ends.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn bounds(&self, tenant: &TenantId) -> Result<Bounds, StoreError> {
        self.inner.store.bounds(tenant).await
    }

    /// Forgets a tenant's events up to this offset, that one included.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn forget(&self, tenant: &TenantId, to: Offset) -> Result<(), StoreError> {
        self.inner.store.forget(tenant, to).await
    }
}

impl Watchers {
    fn watch(&self, tenant: &TenantId) -> watch::Receiver<()> {
        let mut watchers = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        // Tenants whom nobody waits for any more go here, where new ones come.
        if !watchers.contains_key(tenant) {
            watchers.retain(|_, sender| sender.receiver_count() > 0);
        }
        watchers.entry(tenant.clone()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    fn wake<'t>(&self, tenants: impl Iterator<Item = &'t TenantId>) {
        let watchers = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_failing.store(false, Ordering::Release);
        tenants.filter_map(|tenant| watchers.get(tenant)).for_each(|sender| _ = sender.send(()));
    }

    /// Whoever waits would wait for what cannot come.
    fn fail(&self) {
        let watchers = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_failing.store(true, Ordering::Release);
        watchers.values().for_each(|sender| _ = sender.send(()));
    }
}

/// Wakes those who wait for what somebody else appends.
async fn wake_of_arrivals<S: EventStore>(store: &S, watchers: &Watchers) -> Infallible {
    loop {
        match store.arrived().await {
            Ok(tenants) => watchers.wake(tenants.iter()),
            Err(_) => {
                watchers.fail();
                return std::future::pending().await;
            }
        }
    }
}

/// Commits what waits, together, until nobody is left who could append.
async fn commit<S: EventStore>(
    store: &S,
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
    watchers: &Watchers,
) {
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut events = first.entries.len();
        let mut senders = vec![first];
        while let Ok(next) = waiting.try_recv() {
            events = events.saturating_add(next.entries.len());
            if events > COMMIT_EVENTS_MAX {
                left = Some(next);
                break;
            }
            senders.push(next);
        }
        let mut entries = Vec::with_capacity(events);
        let mut tenants = Vec::new();
        for sender in &mut senders {
            if let Some(entry) = sender.entries.first()
                && !tenants.contains(&entry.tenant)
            {
                tenants.push(entry.tenant.clone());
            }
            entries.append(&mut sender.entries);
        }
        match store.append(entries).await {
            Ok(appended) if appended.len() != senders.iter().map(|sender| sender.told).sum::<usize>() => {
                // A store that answers for fewer or more is answering for somebody else's.
                watchers.fail();
                senders.clear();
            }
            Ok(appended) => {
                watchers.wake(tenants.iter());
                let mut appended = appended.into_iter();
                for sender in senders {
                    let own: Vec<_> = appended.by_ref().take(sender.told).collect();
                    // Who does not wait any more was not promised anything.
                    let _ = sender.done.send(Ok(own));
                }
            }
            Err(error) => {
                // A store that is away for now may be back before who waits gives up, and others may append to it.
                if !matches!(error, StoreError::Unavailable(_)) {
                    watchers.fail();
                }
                let error = Arc::new(error);
                for sender in senders {
                    let _ = sender.done.send(Err(Arc::clone(&error)));
                }
            }
        }
    }
}
