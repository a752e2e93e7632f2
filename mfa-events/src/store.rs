//! Where events are kept: the storage trait, and an implementation in memory.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event::{Event, Timestamp};
use crate::id::{ActorId, TenantId};

#[cfg(feature = "jetstream")]
pub mod jetstream;
mod memory;
#[cfg(feature = "redb")]
mod redb;

#[cfg(feature = "jetstream")]
pub use jetstream::JetStreamStore;
pub use memory::MemoryStore;
#[cfg(feature = "redb")]
pub use redb::RedbStore;

/// Where an event stands in its tenant's stream: assigned when it is committed, and growing. There may be gaps.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Offset(u64);

impl Offset {
    /// Before every event.
    pub const START: Self = Self(0);

    /// Of this number.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// As a number.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// 16 hexadecimal digits, so that texts sort as offsets do.
impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Streams of events, one for each tenant.
///
/// An implementor promises:
/// * **Durability** – what [`append`](Self::append) has answered survives a power cut. A wrong answer here loses what a sender was told
///   is kept, and the sender does not send it again.
/// * **Order** – offsets of a tenant grow with the order of commits, and no event appears below an offset that was ever read. A wrong
///   answer here lets a reader pass over an event, and an attack with it.
/// * **Identity** – of two events of a tenant with one id, the first is kept, however long ago it came, as long as it is retained. A wrong
///   answer here counts one failure twice.
/// * **Isolation** – nothing of one tenant is ever answered for another.
/// * **Cost** – opening reads nothing that grows with all events; no call reads much more than it answers.
/// * **Cancellation** – an append whose future is dropped may or may not happen.
pub trait EventStore: Send + Sync + 'static {
    /// Keeps events in this order. All are durable on return, those that were known already as well; answers are in the order of events.
    fn append(&self, entries: Vec<Entry>) -> impl Future<Output = Result<Vec<Appended>, StoreError>> + Send;

    /// Events of a tenant after an offset, in order, at least one where there is one. What is no longer retained is passed over; see
    /// [`bounds`](Self::bounds).
    fn read(
        &self,
        tenant: &TenantId,
        after: Offset,
        take: Take,
    ) -> impl Future<Output = Result<Vec<Record>, StoreError>> + Send;

    /// As [`read`](Self::read), of these actors only.
    fn of_actors(
        &self,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> impl Future<Output = Result<Vec<Record>, StoreError>> + Send;

    /// Events that happened within a span of time, its end not included, by the time when they happened and then by offset, after this
    /// one; at least one where there is one.
    fn of_time(
        &self,
        tenant: &TenantId,
        span: Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> impl Future<Output = Result<Vec<Record>, StoreError>> + Send;

    /// Where a tenant's stream begins and ends. A tenant that nobody has written for has an empty one.
    fn bounds(&self, tenant: &TenantId) -> impl Future<Output = Result<Bounds, StoreError>> + Send;

    /// Forgets events of a tenant up to this offset, that one included. Their ids are free again.
    fn forget(&self, tenant: &TenantId, to: Offset) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Waits for events that somebody else may have appended, and answers whose they are: a log wakes its readers then. They may be read
    /// here some time after who appended them was told, each tenant's in their order. One log asks at a time. A store that one process writes at a time has nothing to say, which is the default.
    ///
    /// # Cancellation
    /// Whoever drops the future and asks again learns the same.
    fn arrived(&self) -> impl Future<Output = Result<Vec<TenantId>, StoreError>> + Send {
        std::future::pending()
    }
}

/// An event to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Whose.
    pub tenant: TenantId,
    /// The event.
    pub event: Event,
    /// When it came.
    pub ingested_at: Timestamp,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Appended {
    /// It stands there.
    New(Offset),
    /// The same event stands there already.
    Known(Offset),
    /// Another event with its id stands there already. It was not kept.
    Conflict(Offset),
}

impl Appended {
    /// Where the event with that id stands.
    pub fn offset(self) -> Offset {
        match self {
            Self::New(offset) | Self::Known(offset) | Self::Conflict(offset) => offset,
        }
    }
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where it stands.
    pub offset: Offset,
    /// When it came.
    pub ingested_at: Timestamp,
    /// The event.
    pub event: Arc<Event>,
}

impl Record {
    /// Its place among others by the time when they happened.
    pub fn moment(&self) -> Moment {
        Moment { at: self.event.at(), offset: self.offset }
    }

    /// Its JSON, with what the log added.
    pub fn to_json(&self, tenant: &TenantId) -> Vec<u8> {
        let mut json = Vec::with_capacity(512);
        self.write_json(tenant, &mut json);
        json
    }

    /// Writes its JSON, with what the log added, behind what is there.
    pub(crate) fn write_json(&self, tenant: &TenantId, to: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Added<'r> {
            tenant_id: &'r TenantId,
            ingested_at: Timestamp,
            offset: String,
        }
        // Every field of an event is written from a value that JSON has, and an event has fields: two objects become one.
        let _ = serde_json::to_writer(&mut *to, &*self.event);
        if to.pop_if(|byte| *byte == b'}').is_some() {
            let at = to.len();
            let added =
                Added { tenant_id: tenant, ingested_at: self.ingested_at, offset: self.offset.to_string() };
            let _ = serde_json::to_writer(&mut *to, &added);
            if let Some(brace) = to.get_mut(at) {
                *brace = b',';
            }
        }
    }
}

/// An event's place among others by the time when they happened.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Moment {
    /// When it happened.
    pub at: Timestamp,
    /// Where it stands.
    pub offset: Offset,
}

/// How much to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Take {
    /// Most events.
    pub events: usize,
}

/// Where a stream begins and ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// The last offset that is no longer retained; [`Offset::START`] where everything is.
    pub forgotten: Offset,
    /// The last event's, or `forgotten` where there is none.
    pub last: Offset,
}

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error("the log is open in another process")]
    Locked,
    /// It was written in another format: its events are to be read with the version that wrote it, and sent to a new log.
    #[error("the log has format {found}, which this version does not read")]
    Format {
        /// Its format.
        found: u32,
    },
    /// What is stored cannot be read.
    #[error("an event of the log cannot be read")]
    Unreadable(#[source] Box<dyn Error + Send + Sync>),
    /// Storage failed.
    #[error("events cannot be stored")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// Storage does not answer for now. Whether events are kept is unknown; append them again under the same ids.
    #[error("the store does not answer")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The offset was given by another stream than the one that is here now.
    #[error("the offset {0} is of another stream")]
    Foreign(Offset),
    /// Storage failed earlier: nothing is known of it any more.
    #[error("the store has stopped")]
    Stopped,
}
