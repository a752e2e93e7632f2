//! Where an outbox is kept: the storage trait, and an implementation in memory.

use std::error::Error;
use std::future::Future;

use chrono::{DateTime, Utc};

use crate::event::{Lane, Order};
use crate::id::{ConnectorId, EventId, PersonId};
use crate::lane::{Attempt, Class, ConnectorRecord, EventRecord, LaneRecord, QueueCounts};

mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redb")]
mod redb;
mod rows;

pub use memory::{Cut, MemoryStore};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresSettingsError, PostgresStore};
#[cfg(feature = "redb")]
pub use redb::RedbStore;

/// Records of lanes, their events and attempts.
///
/// An implementor promises:
/// * **Atomicity** – a [`Batch`] is written whole or not at all, after a crash as well.
/// * **Durability** – what [`commit`](Self::commit) has answered survives a power cut. A wrong answer here forgets leavers that were
///   accepted, and what was sent already.
/// * **Isolation** – a batch is refused with [`Committed::Conflict`] where a record in it is not of the version that is stored, or
///   where an event's name belongs to another place already. A wrong answer here overwrites what another worker wrote. A batch with
///   a record whose stored form cannot be read is refused with [`Committed::Unreadable`], and the others are written.
/// * **Leases** – [`claim`](Self::claim) gives a lane to one worker at a time, until its lease is released or runs out. A batch that is
///   written under a lease is refused with [`Committed::LeaseLost`] once another lease took its place. In a table that is
///   `SELECT … FOR UPDATE SKIP LOCKED`; where only one process opens the store, leases may lie in memory. A wrong answer here sends
///   an operation twice, which is harmless, and sends operations of one lane side by side, which is not.
/// * **Cost** – opening reads nothing that grows with the number of events, and no call reads more than it answers (sums included).
/// * **Cancellation** – a commit whose future is dropped may or may not happen, and happens whole if it does.
///
/// After an error of `commit` nothing is known of its batches; the outbox reads again before it goes on.
pub trait OutboxStore: Send + Sync + 'static {
    /// First of `count` numbers that grow and that nobody else gets. There may be gaps.
    fn reserve(&self, count: u64) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Writes batches, each by itself whole or not at all, in this order. All are durable on return; writing them together costs one
    /// wait for the disk.
    fn commit(&self, batches: Vec<Batch>) -> impl Future<Output = Result<Vec<Committed>, StoreError>> + Send;

    /// Lanes that are due and not leased, ordered by [`Place`](crate::lane::Place): class, then time. Does not read the lanes
    /// themselves: one that cannot be read must not keep the others from their turn. Waits about a second at most for what others
    /// are writing.
    fn claim(&self, claim: Claim) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Gives back all leases of a worker, which no longer works on any.
    fn release(&self, worker: u128) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A lane and all of its events that wait, in order.
    fn load(&self, lane: &Lane) -> impl Future<Output = Result<Option<Loaded>, StoreError>> + Send;

    /// Lanes, each as [`load`](Self::load) has it, in the order given; for a store to which one question costs less than many.
    fn load_all(
        &self,
        lanes: Vec<Lane>,
    ) -> impl Future<Output = Vec<Result<Option<Loaded>, StoreError>>> + Send {
        async move {
            let mut loaded = Vec::with_capacity(lanes.len());
            for lane in &lanes {
                loaded.push(self.load(lane).await);
            }
            loaded
        }
    }

    /// An event by its name.
    fn event(&self, id: &EventId) -> impl Future<Output = Result<Option<EventRecord>, StoreError>> + Send;

    /// Events of a lane, closed and held ones too, in order, after this one.
    fn history(
        &self,
        lane: &Lane,
        after: Option<Order>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<EventRecord>, StoreError>> + Send;

    /// Attempts at an event, in order, after this one.
    fn attempts(
        &self,
        seq: u64,
        after: u32,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Attempt>, StoreError>> + Send;

    /// Every lane that this person ever had. Does not read the lanes themselves, as [`claim`](Self::claim) does not.
    fn lanes_of(&self, person: &PersonId) -> impl Future<Output = Result<Vec<Lane>, StoreError>> + Send;

    /// Lanes of a connector, in a fixed order, after this one.
    fn lanes(
        &self,
        connector: &ConnectorId,
        after: Option<&Lane>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<LaneRecord>, StoreError>> + Send;

    /// Lanes that have this unique value in [`LaneRecord::holds`], in a fixed order, after this one.
    fn holders(
        &self,
        connector: &ConnectorId,
        name: &str,
        value: &str,
        after: Option<&Lane>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Lane>, StoreError>> + Send;

    /// Lanes that wait for this one.
    fn waiting(&self, on: &Lane, limit: usize) -> impl Future<Output = Result<Vec<Lane>, StoreError>> + Send;

    /// Lanes with leavers that wait, those that wait longest first.
    fn leavers(
        &self,
        connector: &ConnectorId,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Lane>, StoreError>> + Send;

    /// Sum over the lanes of a connector.
    fn counts(&self, connector: &ConnectorId)
    -> impl Future<Output = Result<QueueCounts, StoreError>> + Send;

    /// What intake knows of a connector.
    fn connector(
        &self,
        connector: &ConnectorId,
    ) -> impl Future<Output = Result<Option<ConnectorRecord>, StoreError>> + Send;

    /// Events held at intake with their numbers, oldest first, after this number. One that cannot be read does not keep the others
    /// from being known.
    fn held(
        &self,
        connector: &ConnectorId,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<HeldEvent>, StoreError>> + Send;

    /// When a lane of this connector is next due, by the clock that says `now`: a time that may be past, or `None` where nothing is
    /// queued. Where another process may have leased a lane, that is not before its lease ends.
    fn next_due(
        &self,
        connector: &ConnectorId,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<Option<DateTime<Utc>>, StoreError>> + Send;

    /// People who were said to leave and whose offboarding nobody has ended, in a fixed order, after this one; each with the number of
    /// the event that said so last. A leaver event that is new and not closed opens one, in the batch that it is written in.
    fn offboardings(
        &self,
        after: Option<&PersonId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(PersonId, u64)>, StoreError>> + Send;

    /// Ends an offboarding, unless an event of another number says by now that they left. Durable on return; once is enough.
    fn end_offboarding(
        &self,
        person: &PersonId,
        seq: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether other processes may write in it at the same time: what they accept is looked for while a pass runs.
    fn is_shared(&self) -> bool {
        false
    }
}

/// Number of an event that is held, and the event where it can be read.
pub type HeldEvent = (u64, Result<EventRecord, StoreError>);

/// What is written together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Lanes, each as read with its changes made: the version is the one that was read, and one higher afterwards.
    pub lanes: Vec<LaneRecord>,
    /// Events, in place of what is stored of them.
    pub events: Vec<EventRecord>,
    /// Attempts by the number of their event, in place of the one of that number.
    pub attempts: Vec<(u64, Attempt)>,
    /// What intake knows, as read with its changes made.
    pub connectors: Vec<ConnectorRecord>,
    /// The lease under which the worker writes: where its place was taken since, nothing is written.
    pub under: Option<Lease>,
    /// Leases to give back, as far as they are there still, unless the batch is refused.
    pub released: Vec<Lease>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Committed {
    /// It is durable.
    Done,
    /// Nothing of it was written: somebody else wrote first.
    Conflict,
    /// Nothing of it was written: what is stored of it cannot be read.
    Unreadable,
    /// Nothing of it was written: the worker came too late, and the lane is no longer its own.
    LeaseLost,
}

/// What was claimed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claimed {
    /// In the order in which they are to be worked on.
    pub leases: Vec<Lease>,
    /// Others are writing what may be due as well: that there are fewer than asked for does not mean that nothing more is due.
    pub is_contended: bool,
}

/// A lane that one worker has for a while.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// Which.
    pub lane: Lane,
    /// No other lease of this lane has or had it.
    pub token: u64,
    /// Nobody else gets the lane before, unless it is given back: by the clock that said [`Claim::now`], as asked for.
    pub until: DateTime<Utc>,
}

/// Asks for lanes to work on.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose.
    pub connector: ConnectorId,
    /// Who asks: a name that no other worker has.
    pub worker: u128,
    /// Places up to this class.
    pub class: Class,
    /// Due at this time.
    pub due: DateTime<Utc>,
    /// Due after this time, too: nothing is ever made to wait for longer, unless by a clock that was wrong.
    pub due_latest: DateTime<Utc>,
    /// Before this was asked, by the worker's clock. Where several processes work, that is no clock for leases: a store takes from
    /// it, and from `until`, how long a lease lasts, which runs from when it is given or later.
    pub now: DateTime<Utc>,
    /// When the lease ends, by the same clock.
    pub until: DateTime<Utc>,
    /// Most lanes.
    pub limit: usize,
}

/// A lane and its events that wait.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The lane.
    pub record: LaneRecord,
    /// In order.
    pub open: Vec<EventRecord>,
}

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error("the outbox is open in another process")]
    Locked,
    /// What is stored cannot be read.
    #[error("a record of the outbox cannot be read")]
    Unreadable(#[source] Box<dyn Error + Send + Sync>),
    /// It was written by a newer version, which may have happened while this one worked.
    #[error("the outbox has format version {0}, which is newer than this program")]
    NewerFormat(u64),
    /// The way to it is broken, or it does not answer. It may answer again.
    #[error("the database of the outbox cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// Storage failed.
    #[error("the outbox cannot be stored")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// Storage failed for several who wrote together.
    #[error(transparent)]
    Together(std::sync::Arc<StoreError>),
    /// Storage failed earlier, or the process is to seem dead.
    #[error("the store has stopped")]
    Stopped,
}

impl StoreError {
    /// Whether this is about single records: others can be read and written still.
    pub fn is_of_record(&self) -> bool {
        match self {
            Self::Unreadable(_) => true,
            Self::Together(error) => error.is_of_record(),
            Self::Locked | Self::NewerFormat(_) | Self::Unreachable(_) | Self::Failed(_) | Self::Stopped => {
                false
            }
        }
    }

    pub(crate) fn unreadable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unreadable(error.into())
    }

    /// Whether the same may go well later, without anybody doing something.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Together(error) => error.is_retryable(),
            Self::Locked | Self::Unreadable(_) | Self::NewerFormat(_) | Self::Failed(_) | Self::Stopped => {
                false
            }
        }
    }

    #[cfg(any(feature = "postgres", feature = "redb"))]
    pub(crate) fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}
