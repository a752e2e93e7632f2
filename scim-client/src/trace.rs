//! What was tried: one record for each request that left, for evidence.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use http::Method;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::error::connectivity_code;
use crate::transport::{Connectivity, Stage};

/// Most attempts that one [`Exchange`] or [`Trace`] keeps: the first, and the very last, which is the one that shows how
/// things ended. Those in between are counted in [`Exchange::left_out`].
pub const ATTEMPTS_KEPT_MAX: usize = 256;

/// One request that was sent, or could not be.
///
/// Holds no query, header or body. Identifiers in the path are kept: they say what the attempt was about.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Attempt {
    /// When it began.
    pub at: DateTime<Utc>,
    /// To whom.
    pub to: Party,
    /// The method.
    pub method: Method,
    /// The path without query; for a token endpoint with scheme and host.
    pub path: String,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// How long it took, by the client's clock.
    pub duration: Duration,
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Party {
    /// The SCIM service.
    Service,
    /// An OAuth 2.0 token endpoint.
    TokenEndpoint,
}

/// How one request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// With an answer of this status.
    Answered {
        /// The status.
        status: u16,
    },
    /// With an answer of this status that broke off (of a page of a list: within its first 4 MiB).
    Interrupted {
        /// The status.
        status: u16,
        /// How it broke off.
        kind: Connectivity,
    },
    /// Without an answer.
    Failed {
        /// How far it came.
        stage: Stage,
        /// What failed.
        kind: Connectivity,
    },
    /// The caller gave up on it; what the server did is unknown.
    Abandoned,
}

impl AttemptOutcome {
    /// Whether some of the request may have reached its server.
    pub fn was_sent(self) -> bool {
        !matches!(self, Self::Failed { stage: Stage::NotSent, .. })
    }

    /// The status, where an answer began.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Answered { status } | Self::Interrupted { status, .. } => Some(status),
            Self::Failed { .. } | Self::Abandoned => None,
        }
    }
}

impl Attempt {
    fn reached_service(&self) -> bool {
        self.to == Party::Service && self.outcome.was_sent()
    }
}

impl Serialize for Attempt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("at", &self.at.to_rfc3339_opts(SecondsFormat::Millis, true))?;
        if self.to == Party::TokenEndpoint {
            map.serialize_entry("to", "token_endpoint")?;
        }
        map.serialize_entry("method", self.method.as_str())?;
        map.serialize_entry("path", &self.path)?;
        if let Some(status) = self.outcome.status() {
            map.serialize_entry("status", &status)?;
        }
        match self.outcome {
            AttemptOutcome::Answered { .. } => {}
            AttemptOutcome::Interrupted { kind, .. } | AttemptOutcome::Failed { kind, .. } => {
                map.serialize_entry("connectivity", connectivity_code(kind))?;
            }
            AttemptOutcome::Abandoned => map.serialize_entry("abandoned", &true)?,
        }
        map.serialize_entry("was_sent", &self.outcome.was_sent())?;
        map.serialize_entry("duration_ms", &u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX))?;
        map.end()
    }
}

/// The attempts behind one answer or error, oldest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exchange {
    attempts: Vec<Attempt>,
    left_out: usize,
    /// Whether one of those that are left out may have arrived.
    lost_was_sent: bool,
}

impl Exchange {
    /// The attempts, oldest first.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// How many are not kept, beyond [`ATTEMPTS_KEPT_MAX`]: they were made before the last one that is.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether the service may have got one of the requests.
    pub fn was_sent(&self) -> bool {
        self.lost_was_sent || self.attempts.iter().any(Attempt::reached_service)
    }

    pub(crate) fn push(&mut self, attempt: Attempt) {
        if self.attempts.len() >= ATTEMPTS_KEPT_MAX
            && let Some(lost) = self.attempts.pop()
        {
            self.left_out = self.left_out.saturating_add(1);
            self.lost_was_sent |= lost.reached_service();
        }
        self.attempts.push(attempt);
    }

    pub(crate) fn append(&mut self, later: Self) {
        self.left_out = self.left_out.saturating_add(later.left_out);
        self.lost_was_sent |= later.lost_was_sent;
        later.attempts.into_iter().for_each(|attempt| self.push(attempt));
    }
}

impl Serialize for Exchange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.attempts.serialize(serializer)
    }
}

/// Collects the attempts of several operations, whether these succeed, fail or are dropped: give it to
/// [`Client::traced`](crate::Client::traced) and take from it afterwards. Clones collect into the same list.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Exchange>>);

impl Trace {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes out what was collected.
    pub fn take(&self) -> Exchange {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was collected so far.
    pub fn exchange(&self) -> Exchange {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn push(&self, attempt: Attempt) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    }
}
