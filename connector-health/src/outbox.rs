//! The outbox: takes events in durably, delivers them in a safe order, and keeps what became of each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::event::{EventError, Lane, Order};
use crate::id::{ConnectorId, EventId, PersonId};
use crate::lane::{Attempt, EventRecord, EventState, LaneRecord, QueueCounts};
use crate::observe::{Always, Gate, Observer, Silent};
use crate::offboarding::{Leaver, Offboarding};
use crate::store::{Batch, Committed, Loaded, OutboxStore, StoreError};

mod decide;
mod deliver;
mod intake;
mod outage;
mod room;
mod together;
mod work;

pub use decide::Exception;
pub use intake::{Accepted, MassLeaverGuard};
use outage::Outages;
use together::Together;
pub use work::Worked;

/// How often a write is tried again after somebody else wrote first.
const CONFLICTS_MAX: usize = 256;

/// How an outbox works.
#[derive(Clone)]
pub struct Options {
    pub(crate) concurrency: usize,
    pub(crate) connector_concurrency: usize,
    pub(crate) leaver_reserve: usize,
    pub(crate) operation_timeout: Duration,
    pub(crate) pass_time: Duration,
    pub(crate) backoff: (TimeDelta, TimeDelta),
    pub(crate) leaver_backoff_max: TimeDelta,
    pub(crate) leaver_retry: TimeDelta,
    pub(crate) attempts_max: u32,
    pub(crate) failures_to_stop: u32,
    pub(crate) clock_skew_max: TimeDelta,
    pub(crate) guard: MassLeaverGuard,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) observer: Arc<dyn Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 256,
            connector_concurrency: 8,
            leaver_reserve: 2,
            operation_timeout: Duration::from_secs(60),
            pass_time: Duration::from_secs(30),
            backoff: (TimeDelta::seconds(5), TimeDelta::minutes(15)),
            leaver_backoff_max: TimeDelta::minutes(5),
            leaver_retry: TimeDelta::seconds(5),
            attempts_max: 20,
            failures_to_stop: 3,
            clock_skew_max: TimeDelta::minutes(5),
            guard: MassLeaverGuard::default(),
            gate: Arc::new(Always),
            observer: Arc::new(Silent),
        }
    }
}

impl Options {
    /// The latest time for which anything waits that was tried at `now`. What waits for longer does so by a clock that was wrong.
    pub(crate) fn due_latest(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let (first, longest) = self.backoff;
        let given_up = TimeDelta::from_std(self.operation_timeout).unwrap_or(TimeDelta::MAX);
        let wait = longest.max(first).max(self.leaver_retry).max(given_up);
        let wait = wait.checked_add(&self.clock_skew_max).unwrap_or(TimeDelta::MAX);
        now.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Options {
    /// Most operations at a time: over all connectors (256), and at each of them (8).
    #[must_use]
    pub fn concurrency(self, all: usize, each: usize) -> Self {
        Self { concurrency: all.max(1), connector_concurrency: each.max(1), ..self }
    }

    /// Operations that a connector may have beyond that for leavers alone, so that these do not wait for what hangs (2).
    #[must_use]
    pub fn leaver_reserve(self, operations: usize) -> Self {
        Self { leaver_reserve: operations, ..self }
    }

    /// Time after which an operation is given up, its outcome unknown (60 s). For as long after that, a create or return may
    /// still be carried out: a leaver is looked for again before it is confirmed that they are out.
    #[must_use]
    pub fn operation_timeout(self, timeout: Duration) -> Self {
        Self { operation_timeout: timeout, ..self }
    }

    /// Time after which a pass begins nothing more, live leavers excepted (30 s): one application that is slow and has much to do
    /// must not keep the others, and whoever reads what the pass says, waiting.
    #[must_use]
    pub fn pass_time(self, time: Duration) -> Self {
        Self { pass_time: time, ..self }
    }

    /// First and longest time after which a failed event is tried again; doubled each time (5 s, 15 min).
    #[must_use]
    pub fn backoff(self, first: TimeDelta, longest: TimeDelta) -> Self {
        Self { backoff: (first, longest), ..self }
    }

    /// Longest time after which a failed leaver is tried again, where that is shorter than for other events (5 min): an application that
    /// lies or does half of it lets go of them soon after it has come to its senses.
    #[must_use]
    pub fn leaver_backoff_max(self, longest: TimeDelta) -> Self {
        Self { leaver_backoff_max: longest, ..self }
    }

    /// Attempts after which a person has to look (20). Does not hold for leavers, nor where the whole connector fails.
    #[must_use]
    pub fn attempts_max(self, attempts: u32) -> Self {
        Self { attempts_max: attempts.max(1), ..self }
    }

    /// How far in the future an event may lie (5 min). One from further ahead is refused: it would outweigh a leaver to come.
    #[must_use]
    pub fn clock_skew_max(self, skew: TimeDelta) -> Self {
        Self { clock_skew_max: skew, ..self }
    }

    /// When an unusual number of leavers is held.
    #[must_use]
    pub fn guard(self, guard: MassLeaverGuard) -> Self {
        Self { guard, ..self }
    }

    /// Who says which connectors may be used.
    #[must_use]
    pub fn gate(self, gate: impl Gate + 'static) -> Self {
        Self { gate: Arc::new(gate), ..self }
    }

    /// Who is told what happens.
    #[must_use]
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        Self { observer: Arc::new(observer), ..self }
    }
}

/// Why the outbox did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// Storage failed. Whatever was asked for may have been written, or not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many wrote at the same time.
    #[error("`{0}` is being written by others all the time")]
    Contended(Lane),
    /// Another worker has taken the lane over.
    #[error("`{0}` is another worker's by now")]
    LeaseLost(Lane),
    /// No event has that name, or it is not in a state for this.
    #[error("no event `{0}` is in a state for this")]
    NoSuchEvent(EventId),
    /// An exception needs an owner, a reason, and an end in the future.
    #[error("an exception needs an owner, a reason, and an end in the future")]
    Exception,
}

impl OutboxError {
    /// Whether the same may go well later, without anybody doing something: the store cannot be reached now.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_retryable())
    }
}

/// Why an event was not accepted. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// It is not within the limits.
    #[error(transparent)]
    Event(#[from] EventError),
    /// Another event has its name.
    #[error("`{0}` names another event already")]
    Different(EventId),
    /// It lies further in the future than clocks differ.
    #[error("the event lies in the future: {0}")]
    InFuture(DateTime<Utc>),
    /// Too much waits or is known in its lane: see [`LANE_OPEN_MAX`](crate::lane::LANE_OPEN_MAX) and its neighbours. Never said of a
    /// leaver.
    #[error("the lane of {0} is full")]
    LaneFull(Lane),
    /// [`HOLDERS_MAX`](crate::lane::HOLDERS_MAX) others are to have the same value of this attribute, which must be unique.
    #[error("too many accounts are to have the same `{0}`")]
    TooManyHolders(String),
    /// Nothing can be written in its lane, whether what is stored there cannot be read or others write there all the time. Other
    /// lanes go on.
    #[error("nothing can be written for {0}: {1}")]
    Stuck(Lane, Arc<OutboxError>),
    /// The outbox failed.
    #[error(transparent)]
    Outbox(Arc<OutboxError>),
}

/// A durable queue in front of applications. Several may share a store that several processes can open.
///
/// Cancellation: any future may be dropped. What was being sent then counts as sent, with an unknown outcome.
pub struct Outbox<S> {
    store: Arc<S>,
    together: Arc<Together<S>>,
    options: Options,
    worker: u128,
    pass: tokio::sync::Mutex<()>,
    /// A leaver was accepted, and a pass that runs is to look at once.
    leaver: tokio::sync::Notify,
    /// Connectors that failed as a whole when last used: a probe goes first.
    outages: Outages,
}

/// Lanes of one person.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Lanes {
    /// Those that can be read.
    pub readable: Vec<LaneRecord>,
    /// Those that cannot.
    pub unreadable: Vec<Lane>,
}

impl<S> fmt::Debug for Outbox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("options", &self.options).finish_non_exhaustive()
    }
}

impl OutboxError {
    /// Whether this is about one lane: others can be worked on still.
    pub fn is_of_lane(&self) -> bool {
        match self {
            Self::Store(error) => error.is_of_record(),
            Self::Contended(_) | Self::LeaseLost(_) => true,
            Self::NoSuchEvent(_) | Self::Exception => false,
        }
    }
}

impl<S: OutboxStore> Outbox<S> {
    /// Over this store. What an earlier process was sending is resolved when its lane's turn comes.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn open(store: S) -> Result<Self, OutboxError> {
        Self::open_with(store, Options::default()).await
    }

    /// With options.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn open_with(store: S, options: Options) -> Result<Self, OutboxError> {
        // Fails now rather than at the first leaver where the store is unusable.
        store.reserve(0).await?;
        let store = Arc::new(store);
        Ok(Self {
            together: Together::new(Arc::clone(&store)),
            store,
            options,
            worker: Uuid::now_v7().as_u128(),
            pass: tokio::sync::Mutex::new(()),
            leaver: tokio::sync::Notify::new(),
            outages: Outages::default(),
        })
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store, for whoever opens it anew; `None` while something is being written still.
    pub fn into_store(self) -> Option<S> {
        drop(self.together);
        Arc::into_inner(self.store)
    }

    /// What waits at a connector; reads one sum.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn counts(&self, connector: &ConnectorId) -> Result<QueueCounts, OutboxError> {
        Ok(self.store.counts(connector).await?)
    }

    /// An event and what became of it.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn event(&self, id: &EventId) -> Result<Option<EventRecord>, OutboxError> {
        Ok(self.store.event(id).await?)
    }

    /// Attempts at an event, in order; the first 10,000.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn attempts(&self, record: &EventRecord) -> Result<Vec<Attempt>, OutboxError> {
        Ok(self.store.attempts(record.order.seq, 0, crate::lane::ATTEMPTS_MAX as usize).await?)
    }

    /// Every lane that somebody ever had. One that cannot be read does not keep the others from being known.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn lanes_of(&self, person: &PersonId) -> Result<Lanes, OutboxError> {
        let names = self.store.lanes_of(person).await?;
        let loaded = self.store.load_all(names.clone()).await;
        let mut lanes = Lanes::default();
        for (name, loaded) in names.into_iter().zip(loaded) {
            match loaded {
                Ok(loaded) => lanes.readable.extend(loaded.map(|loaded| loaded.record)),
                Err(error) if error.is_of_record() => lanes.unreadable.push(name),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(lanes)
    }

    /// What became of somebody's access everywhere they ever had any, as it is at `now`: an exception that has ended by
    /// then is none.
    ///
    /// # Errors
    /// Where the store fails, or where one of their lanes cannot be read: see [`is_of_lane`](OutboxError::is_of_lane).
    pub async fn offboarding(
        &self,
        person: &PersonId,
        now: DateTime<Utc>,
    ) -> Result<Offboarding, OutboxError> {
        let lanes = self.lanes_of(person).await?;
        // What is missing from a record of access must not look as if it were not there.
        if let Some(lane) = lanes.unreadable.first() {
            return Err(StoreError::unreadable(lane.to_string()).into());
        }
        let mut systems = Vec::new();
        for record in lanes.readable {
            systems.push(self.last_leaver(record).await?);
        }
        Ok(Offboarding::new(person.clone(), systems, now))
    }

    /// A lane, its last leaver event that was accepted or is held, and the attempts at it.
    async fn last_leaver(&self, record: LaneRecord) -> Result<(LaneRecord, Option<Leaver>), OutboxError> {
        let held = if record.held > 0 {
            let mut found = None;
            let mut after = 0;
            loop {
                let page = self.store.held(&record.lane.connector, after, 256).await?;
                let Some(last) = page.last() else { break };
                after = last.order.seq;
                found = page.into_iter().rfind(|event| *event.event.lane() == record.lane).or(found);
            }
            found
        } else {
            None
        };
        let leaver = match (held, record.intended.last_deprovision()) {
            (Some(held), _) => Some(held),
            (None, Some(order)) => self.at(&record.lane, order).await?,
            (None, None) => None,
        };
        let Some(mut leaver) = leaver else { return Ok((record, None)) };
        if matches!(leaver.state, EventState::Pending)
            && let Some(outage) = deliver::of_record(self.outage(&record.lane.connector).await)?
        {
            outage.explain(&mut leaver);
        }
        let attempts = self.attempts(&leaver).await?;
        Ok((record, Some((leaver, attempts))))
    }

    /// The event at a place.
    async fn at(&self, lane: &Lane, order: Order) -> Result<Option<EventRecord>, StoreError> {
        let before = Order { seq: order.seq.saturating_sub(1), ..order };
        let found = self.store.history(lane, Some(before), 1).await?;
        Ok(found.into_iter().find(|event| event.order == order))
    }

    /// Changes a lane as it was read and writes it; where somebody else wrote first, or it was not read yet, reads it.
    async fn change<T>(
        &self,
        lane: &Lane,
        mut read: Option<Loaded>,
        mut make: impl FnMut(Loaded) -> Result<(Batch, T), OutboxError>,
    ) -> Result<T, OutboxError> {
        for _ in 0..CONFLICTS_MAX {
            let loaded = match read.take() {
                Some(loaded) => Some(loaded),
                None => self.together.load(lane).await?,
            };
            let loaded =
                loaded.unwrap_or_else(|| Loaded { record: LaneRecord::new(lane.clone()), open: Vec::new() });
            let (batch, made) = make(loaded)?;
            match self.together.commit(batch).await? {
                Committed::Done => return Ok(made),
                Committed::LeaseLost => return Err(OutboxError::LeaseLost(lane.clone())),
                // The rest is tried again; what cannot be read is an error already.
                Committed::Conflict | Committed::Unreadable => {}
            }
        }
        Err(OutboxError::Contended(lane.clone()))
    }
}
