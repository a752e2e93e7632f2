//! What the outbox keeps: events with their state, and one record per lane.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::connector::{Confirmation, Failure};
use crate::event::{Event, Lane, Order};
use crate::id::{AccountId, ConnectorId, EventId};
use crate::intended::Intended;

/// Most events of one lane that wait. More are refused; a leaver is not, but takes the place of what it supersedes.
pub const LANE_OPEN_MAX: u32 = 2048;
/// Most unique values that one lane holds: those that its account has, may have, or is to get. What claims more is refused.
pub const LANE_UNIQUE_MAX: usize = 4096;
/// Most bytes, as JSON, of the events of one lane that wait and of what its events say together. Beyond, as with [`LANE_OPEN_MAX`].
pub const LANE_BYTES_MAX: u64 = 1 << 20;
/// Most leavers of one lane that are held. Of more, the last one remains and supersedes the others.
pub const LANE_HELD_MAX: u32 = 64;
/// Most lanes of a connector that are to have the same unique value, as far as intake sees those that come at the same time. An event
/// that would make one more have it is refused.
pub const HOLDERS_MAX: usize = 256;
/// Most attempts at one event that are kept singly; the last one is overwritten from then on, and the count goes on.
pub const ATTEMPTS_MAX: u32 = 10_000;

/// Where an event is. It ends in exactly one of the states for which [`EventState::is_closed`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum EventState {
    /// One of an unusual burst of leavers: waits for somebody's approval, outside of its lane.
    Held {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// Not tried yet.
    Pending,
    /// Being sent, or sent by a process that died: this was written before anything was sent.
    InFlight,
    /// Sent, and nothing tells what came of it. The next attempt looks first.
    Unknown {
        /// When it is tried again.
        retry_at: DateTime<Utc>,
    },
    /// Failed without effect.
    RetryAt {
        /// When it is tried again.
        retry_at: DateTime<Utc>,
    },
    /// A person has to look at it; the rest of its lane waits, a leaver excepted.
    Blocked {
        /// Since when.
        since: DateTime<Utc>,
        /// Leavers are tried again nevertheless.
        retry_at: Option<DateTime<Utc>>,
    },
    /// Somebody answers for it that this does not happen until then. Afterwards it is tried again.
    Excepted {
        /// Who answers for it.
        owner: String,
        /// Why.
        reason: String,
        /// Until when.
        expires_at: DateTime<Utc>,
        /// Since when.
        since: DateTime<Utc>,
    },
    /// A read showed it.
    Succeeded {
        /// When it was read.
        confirmed_at: DateTime<Utc>,
        /// What was read.
        confirmation: Confirmation,
    },
    /// Another event says more.
    Superseded {
        /// Since when.
        at: DateTime<Utc>,
        /// Which.
        by: EventId,
        /// Its place.
        order: Order,
    },
    /// Given up by a person.
    Dead {
        /// When.
        at: DateTime<Utc>,
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
    /// Held, and found to be wrong by a person.
    Rejected {
        /// When.
        at: DateTime<Utc>,
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
}

impl EventState {
    /// Whether this is how it ended.
    pub fn is_closed(&self) -> bool {
        matches!(
            self,
            Self::Succeeded { .. } | Self::Superseded { .. } | Self::Dead { .. } | Self::Rejected { .. }
        )
    }

    /// When it may be tried: never by itself where there is `None`, at once where the time is past. A clock that was wrong has set
    /// what lies after `latest`, exceptions excepted: these are looked at again then.
    pub(crate) fn due(&self, latest: DateTime<Utc>) -> Option<Option<DateTime<Utc>>> {
        let within = |at: &DateTime<Utc>| Some(*at).filter(|at| *at <= latest);
        match self {
            Self::Pending | Self::InFlight => Some(None),
            Self::Unknown { retry_at } | Self::RetryAt { retry_at } => Some(within(retry_at)),
            Self::Blocked { retry_at, .. } => retry_at.as_ref().map(within),
            Self::Excepted { expires_at, .. } => Some(Some(latest.min(*expires_at))),
            Self::Held { .. }
            | Self::Succeeded { .. }
            | Self::Superseded { .. }
            | Self::Dead { .. }
            | Self::Rejected { .. } => None,
        }
    }

    fn is_failing(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::RetryAt { .. } | Self::Blocked { .. })
    }

    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Held { .. } => "held",
            Self::Pending => "pending",
            Self::InFlight => "in_flight",
            Self::Unknown { .. } => "unknown",
            Self::RetryAt { .. } => "retry_at",
            Self::Blocked { .. } => "blocked",
            Self::Excepted { .. } => "excepted",
            Self::Succeeded { .. } => "succeeded",
            Self::Superseded { .. } => "superseded",
            Self::Dead { .. } => "dead",
            Self::Rejected { .. } => "rejected",
        }
    }
}

/// An accepted event and what became of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventRecord {
    /// The event.
    pub event: Event,
    /// Its place.
    pub order: Order,
    /// When it was accepted.
    pub accepted_at: DateTime<Utc>,
    /// Where it is.
    pub state: EventState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed first, or could not be sent since its connector failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_started_at: Option<DateTime<Utc>>,
    /// When it no longer failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_ended_at: Option<DateTime<Utc>>,
    /// When the attempt began that succeeded, where an earlier one had failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed_at: Option<DateTime<Utc>>,
    /// How it failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// Hash of the evidence that its lane gave before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_hash: Option<String>,
    /// Hash of its own evidence; there when it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

impl EventRecord {
    pub(crate) fn new(event: Event, seq: u64, state: EventState, now: DateTime<Utc>) -> Self {
        let order = Order { occurred_at: event.time(), seq };
        Self {
            event,
            order,
            accepted_at: now,
            state,
            attempts: 0,
            failure_started_at: None,
            failure_ended_at: None,
            replayed_at: None,
            last_failure: None,
            prev_hash: None,
            hash: None,
        }
    }

    pub(crate) fn is_deprovision(&self) -> bool {
        matches!(self.event.intent(), crate::event::Intent::Deprovision)
    }
}

/// One attempt at an event.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// Which, from 1.
    pub number: u32,
    /// What was asked of the application, in a word.
    pub operation: String,
    /// Attributes that were to be written: their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// When it began; written before anything was sent.
    pub started_at: DateTime<Utc>,
    /// When it ended; `None` while it runs, and where its process died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// How.
    pub result: AttemptResult,
}

/// How an attempt ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptResult {
    /// Not yet.
    Running,
    /// Its process died; nothing tells what came of it.
    Interrupted,
    /// A read showed the state.
    Confirmed(Confirmation),
    /// It failed.
    Failed(Failure),
}

/// What goes first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Somebody left.
    Leaver,
    /// A right is lost.
    Removal,
    /// The rest.
    Other,
}

/// Where a lane stands in the queue of its connector.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// What goes first.
    pub class: Class,
    /// Within a class, what happened first.
    pub order: Order,
    /// Not before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
}

/// What is being sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    /// Which event.
    pub order: Order,
    /// Which attempt at it.
    pub attempt: u32,
}

/// Whether other lanes wait for this one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiters {
    /// None does.
    #[default]
    None,
    /// Some do.
    Some,
    /// Some do, and something has changed: they are to look again.
    Wake,
}

/// What a lane holds: one record, read and written as a whole.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LaneRecord {
    /// Which.
    pub lane: Lane,
    /// Grows with each write; 0 before the first.
    pub version: u64,
    /// What all accepted events together say.
    pub intended: Intended,
    /// What those that were confirmed say.
    pub delivered: Intended,
    /// The account, as the application names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Until then, a create or return that was not answered may still be carried out: that nobody has access is no proof before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsettled_until: Option<DateTime<Utc>>,
    /// Events that wait.
    pub open: u32,
    /// Bytes of events that wait, as JSON.
    #[serde(default)]
    pub bytes: u64,
    /// Events that are held at intake.
    pub held: u32,
    /// The one of these that was held last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_held: Option<EventId>,
    /// Place in the queue; `None` where there is nothing to do until something happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The lane that this one waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Lane>,
    /// Whether others wait for this one.
    #[serde(default)]
    pub waiters: Waiters,
    /// What is being sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    /// What is counted of it.
    #[serde(default)]
    pub counts: QueueCounts,
    /// Unique values that the account has, may have, or is to get.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub holds: BTreeSet<(String, String)>,
    /// Hash of the last evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_hash: Option<String>,
}

impl LaneRecord {
    /// Of a lane that nothing is known of yet.
    pub fn new(lane: Lane) -> Self {
        Self {
            lane,
            version: 0,
            intended: Intended::default(),
            delivered: Intended::default(),
            account: None,
            unsettled_until: None,
            open: 0,
            bytes: 0,
            held: 0,
            last_held: None,
            place: None,
            waits_for: None,
            waiters: Waiters::None,
            in_flight: None,
            counts: QueueCounts::default(),
            holds: BTreeSet::new(),
            evidence_hash: None,
        }
    }

    /// Recounts from all events that wait.
    pub(crate) fn recount(&mut self, open: &[EventRecord]) {
        self.counts = QueueCounts::default();
        for record in open {
            self.counts.add(record);
        }
        self.count_standing();
        self.open = u32::try_from(open.len()).unwrap_or(u32::MAX);
        // A leaver supersedes renames that were not sent: the account has its old name until the leaver is confirmed.
        if !open.iter().any(EventRecord::is_deprovision) {
            self.holds.clear();
        }
        self.holds.extend(self.delivered.unique());
        self.bytes = open.iter().fold(0, |sum, record| sum.saturating_add(json_bytes(&record.event)));
        let claims = open.iter().flat_map(|record| record.event.intent().claims());
        self.holds.extend(claims.map(|(name, value)| (name.clone(), value.clone())));
    }
}

impl LaneRecord {
    pub(crate) fn count_standing(&mut self) {
        self.counts.held = self.held.into();
        self.counts.active =
            u64::from(matches!(self.intended.standing(), crate::intended::Standing::Active(_)));
    }
}

/// Length of a value as JSON.
pub(crate) fn json_bytes(value: &impl Serialize) -> u64 {
    struct Length(u64);
    impl std::io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len() as u64);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    // What cannot be written is not kept either.
    serde_json::to_writer(&mut length, value).map_or(u64::MAX, |()| length.0)
}

/// What waits at a connector, or in a lane.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct QueueCounts {
    /// Events that wait, not counting leavers and lost rights.
    pub provisioning_queued: u64,
    /// Of these, those whose last attempt failed.
    pub provisioning_failed: u64,
    /// Leavers and lost rights that wait.
    pub deprovisioning_queued: u64,
    /// Of these, those whose last attempt failed.
    pub deprovisioning_failed: u64,
    /// Leavers that are held at intake.
    pub held: u64,
    /// People and groups that should have access.
    pub active: u64,
    /// When the oldest leaver that waits left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_deprovision: Option<DateTime<Utc>>,
}

impl QueueCounts {
    pub(crate) fn add(&mut self, record: &EventRecord) {
        let failed = u64::from(record.state.is_failing());
        if matches!(
            record.event.intent(),
            crate::event::Intent::Deprovision | crate::event::Intent::Revoke(_)
        ) {
            self.deprovisioning_queued = self.deprovisioning_queued.saturating_add(1);
            self.deprovisioning_failed = self.deprovisioning_failed.saturating_add(failed);
        } else {
            self.provisioning_queued = self.provisioning_queued.saturating_add(1);
            self.provisioning_failed = self.provisioning_failed.saturating_add(failed);
        }
        if record.is_deprovision() {
            let at = record.event.time();
            self.oldest_deprovision = Some(self.oldest_deprovision.map_or(at, |oldest| oldest.min(at)));
        }
    }

    /// Events that wait.
    pub fn queued(&self) -> u64 {
        self.provisioning_queued.saturating_add(self.deprovisioning_queued)
    }
}

/// What is known of one connector beside its lanes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConnectorRecord {
    /// Which.
    pub connector: ConnectorId,
    /// Grows with each write; 0 before the first.
    pub version: u64,
    /// Leavers accepted, by when a tenth of the window began.
    pub leavers: Vec<(DateTime<Utc>, u64)>,
    /// The last time in which it failed as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
}

/// A time in which a connector failed as a whole, so that nothing was sent there.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outage {
    /// When this was seen first.
    pub started_at: DateTime<Utc>,
    /// When it answered again; `None` until then.
    pub ended_at: Option<DateTime<Utc>>,
    /// How it failed.
    pub failure: Failure,
}

impl ConnectorRecord {
    /// Of a connector that nothing is known of yet.
    pub fn new(connector: ConnectorId) -> Self {
        Self { connector, version: 0, leavers: Vec::new(), outage: None }
    }
}
