//! What stands out against a person's own past: the trait, and a detector that learns what is usual.
//!
//! A detector is told what happens in sessions and answers with what stands out. It decides nothing about commands: whatever it raises
//! comes after the fact, and a patient person can teach it anything. It is an aid for whoever watches, and a brake on stolen
//! credentials. [`Baseline`] is the one that comes with the crate.

mod baseline;
mod past;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use baseline::{Baseline, BaselineSettings, Snapshot, USERS_MAX};

/// Something that happened in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation<'a> {
    /// Who.
    pub user: &'a str,
    /// On what.
    pub target: &'a str,
    /// In which session.
    pub session: &'a str,
    /// What.
    pub happening: Happening<'a>,
}

impl<'a> Observation<'a> {
    /// `happening` in this session.
    pub fn new(user: &'a str, target: &'a str, session: &'a str, happening: Happening<'a>) -> Self {
        Self { user, target, session, happening }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening<'a> {
    /// The session began.
    SessionStarted,
    /// A command is on record and about to be sent.
    CommandStarted {
        /// Its program; `None` where it is not known (raw terminals, redacted lines).
        program: Option<&'a str>,
    },
    /// A line was blocked, or something else that was asked for was refused: a door, a file.
    Blocked,
    /// The target wrote this much more.
    Output {
        /// Bytes since the last such observation.
        bytes: u64,
    },
    /// The session ended. Nothing that is raised now ends it.
    SessionEnded,
}

/// Told what happens; says what stands out.
///
/// Implementors promise: an answer without waiting for anything (it is asked in the course of a session, for every command and every
/// piece of output); each thing that stands out raised once and not for every further observation of it; memory that is bounded
/// however many users, sessions and commands there are. A wrong `Terminate` ends somebody's session.
///
/// Observations of one session come in their order; those of several come from several threads at once. `now` may go backwards when
/// the machine's clock is set.
pub trait AnomalyDetector: Send + Sync {
    /// Takes an observation and gives what stands out with it.
    fn observe(&self, observation: &Observation<'_>, now: DateTime<Utc>) -> Vec<Anomaly>;
}

impl<D: AnomalyDetector + ?Sized> AnomalyDetector for std::sync::Arc<D> {
    fn observe(&self, observation: &Observation<'_>, now: DateTime<Utc>) -> Vec<Anomaly> {
        (**self).observe(observation, now)
    }
}

/// Something that stands out.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Anomaly {
    /// In what way.
    pub kind: AnomalyKind,
    /// What was seen, in the kind's unit.
    pub observed: f64,
    /// What is usual, in the same unit, where something is.
    pub usual: Option<f64>,
    /// The same for people: a phrase in lower case without a full stop.
    pub message: String,
    /// What should be done.
    pub response: Response,
}

impl Anomaly {
    /// `observed` stands out; nothing is known to be usual yet, and the response is an alert.
    pub fn new(kind: AnomalyKind, observed: f64, message: impl Into<String>) -> Self {
        Self { kind, observed, usual: None, message: message.into(), response: Response::Alert }
    }

    /// This much is usual.
    #[must_use]
    pub fn usual(mut self, usual: f64) -> Self {
        self.usual = Some(usual);
        self
    }

    /// This should be done.
    #[must_use]
    pub fn response(mut self, response: Response) -> Self {
        self.response = response;
        self
    }
}

/// In what way something stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnomalyKind {
    /// A program that this person never ran before. Unit: programs known.
    FirstSeenCommand,
    /// A session that begins at an hour of the day at which this person's hardly ever do. Unit: share of sessions.
    UnusualHour,
    /// More commands in a session than this person's have. Unit: commands.
    UnusualCommands,
    /// More output in a session than this person's have. Unit: bytes.
    UnusualOutput,
    /// Many blocked lines and refused requests in a short time. Unit: these.
    BlockedBurst,
}

impl AnomalyKind {
    /// Machine-readable name: `first_seen_command`, `unusual_hour`, …
    pub fn code(self) -> &'static str {
        match self {
            Self::FirstSeenCommand => "first_seen_command",
            Self::UnusualHour => "unusual_hour",
            Self::UnusualCommands => "unusual_commands",
            Self::UnusualOutput => "unusual_output",
            Self::BlockedBurst => "blocked_burst",
        }
    }
}

/// What should be done about something that stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Put it on record.
    Alert,
    /// Put it on record and end the session.
    Terminate,
}
