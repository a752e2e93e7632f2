//! Events: what happened when somebody logged in, or tried to.

mod code;
mod context;
mod ext;
mod kind;
mod strict;
mod timestamp;
mod wire;
mod write;

use std::net::IpAddr;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::id::{ActorId, Reference};
use crate::limits::{EVENT_BYTES_MAX, FAULTS_MAX};

pub use code::{Code, CodeError};
pub use context::{Country, CountryError, GeoLocation, RiskContext, RiskLevel, Signal};
pub use ext::Ext;
pub use kind::{EventType, FailureReason, Method, Outcome};
pub(crate) use strict::text;
pub use timestamp::{Timestamp, TimestampError};
pub(crate) use wire::form_error;
pub use write::{AccountLocked, AccountUnlocked, LoginFailure, LoginSuccess, MfaFailure, RecoveryAttempted};

/// One event, as it was checked. Its JSON is what the published [schema](crate::schema) describes.
///
/// Two events are equal where everything that they say is equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    id: Uuid,
    at: Timestamp,
    actor: ActorId,
    outcome: Outcome,
    detail: Detail,
    source_ip: Option<IpAddr>,
    surroundings: Option<Box<Surroundings>>,
}

/// What belongs to the type of an event.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Detail {
    /// `mfa.failure`: a second factor was not given, or was wrong.
    MfaFailure {
        /// Which factor.
        method: Method,
        /// What was wrong.
        reason: FailureReason,
        /// How many times it has failed, this time included.
        failed_attempt_count: Option<u32>,
    },
    /// `account.locked`: nobody can log in to the account.
    AccountLocked {
        /// Failures that led to it.
        failed_attempt_count: Option<u32>,
        /// When it opens by itself, where it does.
        lock_until: Option<Timestamp>,
        /// Why.
        lock_reason: Option<Code>,
    },
    /// `account.unlocked`: a locked account is open again.
    AccountUnlocked {
        /// How: `administrator`, `expiry`, `self_service`.
        unlock_method: Option<Code>,
    },
    /// `recovery.attempted`: somebody said that a password or a factor is lost.
    RecoveryAttempted {
        /// How: `email_link`, `backup_code`, `help_desk`.
        recovery_method: Option<Code>,
    },
    /// `login.success`: somebody is in.
    LoginSuccess {
        /// With which second factor.
        method: Option<Method>,
    },
    /// `login.failure`: somebody is not, before or instead of a second factor.
    LoginFailure {
        /// The second factor that was asked for.
        method: Option<Method>,
        /// How many times it has failed, this time included.
        failed_attempt_count: Option<u32>,
    },
}

/// What few events have, out of the way of those that have not.
#[derive(Clone, Debug, Default, PartialEq)]
struct Surroundings {
    geo: Option<GeoLocation>,
    risk: Option<RiskContext>,
    target: Option<Reference>,
    session: Option<Reference>,
    correlation: Option<Reference>,
    device: Option<Reference>,
    reason: Option<Code>,
    message: Option<String>,
    ext: Option<Ext>,
}

/// One thing that is wrong with an event.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct Fault {
    /// Where in the event: a JSON pointer (RFC 6901) such as `/geo_location/lat`, empty for the event as a whole.
    pub pointer: String,
    /// What is wrong: a phrase in lower case without a full stop. It repeats no value of the event.
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.message),
            pointer => write!(f, "{pointer}: {}", self.message),
        }
    }
}

/// Everything that is wrong with an event, at most [`FAULTS_MAX`] things.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct EventError {
    faults: Vec<Fault>,
}

impl EventError {
    pub(crate) fn new(mut faults: Vec<Fault>) -> Self {
        faults.truncate(FAULTS_MAX);
        Self { faults }
    }

    /// The faults, at least one.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

/// What is an event already has nothing wrong.
impl From<std::convert::Infallible> for EventError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// Why a JSON text is no event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No JSON, or a value that is not of the form of its field. Line and column are of the text.
    #[error("line {line}, column {column}: {}{message}", in_front(.pointer))]
    Form {
        /// Counted from 1.
        line: usize,
        /// In bytes, counted from 1.
        column: usize,
        /// Where in the event, as in [`Fault::pointer`]; empty where that cannot be told.
        pointer: String,
        /// What is wrong.
        message: String,
    },
    /// Each field is well formed, and they do not make an event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// More than [`EVENT_BYTES_MAX`].
    #[error("an event has at most {EVENT_BYTES_MAX} bytes")]
    TooLong,
}

fn in_front(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!("{pointer}: ") }
}

impl Event {
    /// Reads one event from JSON.
    ///
    /// An event without `event_id` gets one of version 7. `tenant_id`, `offset` and `ingested_at`, which a log adds, are passed over, so
    /// that what was read from a log can be given to another.
    ///
    /// # Errors
    /// Where it is no event; nothing of it is kept then.
    pub fn from_json(text: &[u8]) -> Result<Self, ReadError> {
        Ok(wire::read(text)?.check()?)
    }

    /// Its identity: the same event twice has the same.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// When it happened, by the clock of whoever saw it.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Whose account it is about.
    pub fn actor(&self) -> &ActorId {
        &self.actor
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What belongs to its type.
    pub fn detail(&self) -> &Detail {
        &self.detail
    }

    /// Its type.
    pub fn event_type(&self) -> EventType {
        match self.detail {
            Detail::MfaFailure { .. } => EventType::MfaFailure,
            Detail::AccountLocked { .. } => EventType::AccountLocked,
            Detail::AccountUnlocked { .. } => EventType::AccountUnlocked,
            Detail::RecoveryAttempted { .. } => EventType::RecoveryAttempted,
            Detail::LoginSuccess { .. } => EventType::LoginSuccess,
            Detail::LoginFailure { .. } => EventType::LoginFailure,
        }
    }

    /// From which address. An IPv4 address that was mapped into IPv6 is itself.
    pub fn source_ip(&self) -> Option<IpAddr> {
        self.source_ip
    }

    /// From which place.
    pub fn geo_location(&self) -> Option<&GeoLocation> {
        self.surroundings.as_ref()?.geo.as_ref()
    }

    /// How likely it is that it was somebody else.
    pub fn risk_context(&self) -> Option<&RiskContext> {
        self.surroundings.as_ref()?.risk.as_ref()
    }

    /// What it was about to reach.
    pub fn target(&self) -> Option<&Reference> {
        self.surroundings.as_ref()?.target.as_ref()
    }

    /// The session.
    pub fn session(&self) -> Option<&Reference> {
        self.surroundings.as_ref()?.session.as_ref()
    }

    /// What joins it with other events.
    pub fn correlation(&self) -> Option<&Reference> {
        self.surroundings.as_ref()?.correlation.as_ref()
    }

    /// The device.
    pub fn device(&self) -> Option<&Reference> {
        self.surroundings.as_ref()?.device.as_ref()
    }

    /// Why, for machines.
    pub fn reason(&self) -> Option<&Code> {
        self.surroundings.as_ref()?.reason.as_ref()
    }

    /// What happened, for people.
    pub fn message(&self) -> Option<&str> {
        self.surroundings.as_ref()?.message.as_deref()
    }

    /// What the sender added.
    pub fn ext(&self) -> Option<&Ext> {
        self.surroundings.as_ref()?.ext.as_ref()
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        wire::write(self, serializer)
    }
}
