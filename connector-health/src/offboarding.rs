//! One record of a person's leaving: every system they ever had, and whether it is shown that they have it no more.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::evidence::{Evidence, rfc3339};
use crate::id::{ConnectorId, PersonId};
use crate::intended::Standing;
use crate::lane::{Attempt, AttemptResult, EventRecord, EventState, LaneRecord};

/// A leaver event and the attempts at it.
pub(crate) type Leaver = (EventRecord, Vec<Attempt>);

/// How far a system is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
#[non_exhaustive]
pub enum Status {
    /// A read showed that there is no access.
    Confirmed {
        /// When.
        at: DateTime<Utc>,
    },
    /// Somebody answers for it until then.
    Excepted {
        /// Who.
        owner: String,
        /// Why.
        reason: String,
        /// Until when.
        expires_at: DateTime<Utc>,
    },
    /// The last attempt failed; it is tried again.
    Failing {
        /// How.
        failure: String,
    },
    /// Not yet its turn, or being sent.
    Waiting,
    /// Held with an unusual number of others until somebody approves.
    Held,
    /// Given up by a person, or found to be wrong by one: there may be access.
    Given {
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
    /// Nobody has said that access there ends.
    NotAsked,
    /// They came back afterwards.
    Returned {
        /// When.
        at: DateTime<Utc>,
    },
}

/// One system in an offboarding.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct System {
    /// Which.
    pub connector: ConnectorId,
    /// How far it is.
    #[serde(flatten)]
    pub status: Status,
    /// From the end of employment to the confirming read, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_revoke_ms: Option<i64>,
    /// Why it took so long, where anything failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
    /// What is left to do by hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub residuals: Vec<String>,
    /// The whole story.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// Whether an offboarding is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Every system is confirmed or excepted.
    Complete,
    /// Some system is not.
    Open,
    /// No leaver event is known in any system.
    NotLeaving,
}

/// A person's leaving.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Offboarding {
    /// Who.
    pub person: PersonId,
    /// Whether it is done.
    pub state: State,
    /// When employment ended: the earliest of the leaver events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_at: Option<DateTime<Utc>>,
    /// When this was first known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notified_at: Option<DateTime<Utc>>,
    /// When the last system was confirmed, where it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<DateTime<Utc>>,
    /// All of them, by name.
    pub systems: Vec<System>,
}

impl Offboarding {
    pub(crate) fn new(
        person: PersonId,
        lanes: Vec<(LaneRecord, Option<Leaver>)>,
        now: DateTime<Utc>,
    ) -> Self {
        let leavers: Vec<_> =
            lanes.iter().filter_map(|(_, leaver)| leaver.as_ref()).map(|(event, _)| event).collect();
        let effective_at = leavers.iter().map(|event| event.event.time()).min();
        let notified_at = leavers.iter().map(|event| event.accepted_at).min();
        let systems: Vec<_> =
            lanes.into_iter().map(|(lane, leaver)| System::new(&lane, leaver, now)).collect();
        let is_done = systems.iter().all(System::is_done);
        let state = match (effective_at, is_done) {
            (None, _) => State::NotLeaving,
            (Some(_), true) => State::Complete,
            (Some(_), false) => State::Open,
        };
        let confirmed = systems.iter().filter_map(|system| match system.status {
            Status::Confirmed { at } => Some(at),
            _ => None,
        });
        let completed_at = confirmed.max().filter(|_| state == State::Complete);
        Self { person, state, effective_at, notified_at, completed_at, systems }
    }
}

impl System {
    fn new(lane: &LaneRecord, leaver: Option<Leaver>, now: DateTime<Utc>) -> Self {
        let connector = lane.lane.connector.clone();
        let Some((event, attempts)) = leaver else {
            return Self {
                connector,
                status: Status::NotAsked,
                time_to_revoke_ms: None,
                gap: None,
                residuals: Vec::new(),
                evidence: None,
            };
        };
        let mut residuals = Vec::new();
        let mut time_to_revoke_ms = None;
        let status = match (&event.state, lane.intended.standing()) {
            (EventState::Held { .. }, _) => Status::Held,
            (_, Standing::Active(since)) => Status::Returned { at: since.occurred_at },
            (EventState::Succeeded { confirmed_at, confirmation }, _) => {
                residuals.clone_from(&confirmation.residuals);
                let time = confirmed_at.signed_duration_since(event.event.time());
                time_to_revoke_ms = Some(time.num_milliseconds());
                Status::Confirmed { at: *confirmed_at }
            }
            // Nobody answers for it any more, whether it was tried again by now or not.
            (EventState::Excepted { expires_at, .. }, _) if *expires_at <= now => {
                Status::Failing { failure: "its exception has ended".to_owned() }
            }
            (EventState::Excepted { owner, reason, expires_at, .. }, _) => {
                Status::Excepted { owner: owner.clone(), reason: reason.clone(), expires_at: *expires_at }
            }
            (EventState::Dead { by, reason, .. } | EventState::Rejected { by, reason, .. }, _) => {
                Status::Given { by: by.clone(), reason: reason.clone() }
            }
            (EventState::Unknown { .. } | EventState::RetryAt { .. } | EventState::Blocked { .. }, _) => {
                let failure = event.last_failure.as_ref();
                Status::Failing { failure: failure.map_or("interrupted".to_owned(), ToString::to_string) }
            }
            (EventState::Pending | EventState::InFlight | EventState::Superseded { .. }, _) => {
                Status::Waiting
            }
        };
        let gap = gap(&event, &attempts);
        Self {
            connector,
            status,
            time_to_revoke_ms,
            gap,
            residuals,
            evidence: Some(Evidence::new(&event, attempts)),
        }
    }

    /// Whether this does not keep the record open.
    pub fn is_done(&self) -> bool {
        matches!(self.status, Status::Confirmed { .. } | Status::Excepted { .. })
    }
}

/// What happened between the first failure and now, in a sentence.
fn gap(event: &EventRecord, attempts: &[Attempt]) -> Option<String> {
    let since = event.failure_started_at?;
    let failures = attempts
        .iter()
        .filter(|attempt| matches!(attempt.result, AttemptResult::Failed(_) | AttemptResult::Interrupted));
    let count = failures.clone().count();
    let first = failures.clone().find_map(|attempt| match &attempt.result {
        AttemptResult::Failed(failure) => Some(failure.to_string()),
        AttemptResult::Interrupted => Some("interrupted".to_owned()),
        AttemptResult::Running | AttemptResult::Confirmed(_) => None,
    });
    // Never tried, or not before it was over: its connector failed as a whole.
    let of_connector = || event.last_failure.as_ref().map(ToString::to_string);
    let first = first.or_else(of_connector).unwrap_or_else(|| "interrupted".to_owned());
    let since = rfc3339(since);
    let what = match count {
        0 => "nothing could be sent".to_owned(),
        1 => "1 failed attempt".to_owned(),
        count => format!("{count} failed attempts"),
    };
    Some(match event.failure_ended_at {
        Some(until) => format!("{what} from {since} until {} ({first})", rfc3339(until)),
        None => format!("{what} since {since} ({first})"),
    })
}

/// A length of time as people say it.
pub(crate) fn spelled(milliseconds: i64) -> String {
    let time = TimeDelta::milliseconds(milliseconds);
    match (time.num_days(), time.num_hours(), time.num_minutes(), time.num_seconds()) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes, _) => format!("{hours} h {} min", minutes % 60),
        (days, hours, ..) => format!("{days} d {} h", hours % 24),
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confirmed { at } => write!(f, "confirmed {}", rfc3339(*at)),
            Self::Excepted { owner, reason, expires_at } => {
                write!(f, "excepted until {} by {owner}: {reason}", rfc3339(*expires_at))
            }
            Self::Failing { failure } => write!(f, "NOT CONFIRMED, failing: {failure}"),
            Self::Waiting => f.write_str("NOT CONFIRMED, waits"),
            Self::Held => f.write_str("NOT CONFIRMED, held for approval"),
            Self::Given { by, reason } => write!(f, "NOT CONFIRMED, given up by {by}: {reason}"),
            Self::NotAsked => f.write_str("NOT CONFIRMED, no leaver event"),
            Self::Returned { at } => write!(f, "came back {}", rfc3339(*at)),
        }
    }
}

impl fmt::Display for Offboarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Complete => "complete",
            State::Open => "OPEN",
            State::NotLeaving => "not leaving",
        };
        write!(f, "offboarding of {}: {state}", self.person)?;
        if let Some(at) = self.effective_at {
            write!(f, ", left {}", rfc3339(at))?;
        }
        for system in &self.systems {
            write!(f, "\n  {}: {}", system.connector, system.status)?;
            if let Some(time) = system.time_to_revoke_ms {
                write!(f, ", after {}", spelled(time))?;
            }
            if let Some(gap) = &system.gap {
                write!(f, "; {gap}")?;
            }
        }
        Ok(())
    }
}
