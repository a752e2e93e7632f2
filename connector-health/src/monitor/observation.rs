//! What was seen of a connector.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::tier::FailureClass;
use crate::alert::redact;

/// Something that was seen of a connector.
///
/// Work goes in **cycles**: a cycle is one pass over due work, or a probe where nothing is due. Whatever happens within it is observed
/// as it happens, and [`cycle_ended`](Self::cycle_ended) says what was left over. A probe is a cycle of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub(super) seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Confirmed { latency_ms: u32 },
    Answered { latency_ms: u32 },
    Failed { class: FailureClass, sample: String },
    CycleEnded { undelivered: u64, blame: Option<(FailureClass, String)> },
    ProbeConfirmed { latency_ms: u32 },
    ProbeFailed { class: FailureClass, sample: String },
    CredentialEnds(Option<DateTime<Utc>>),
    CredentialReplaced,
    PausedUntil(DateTime<Utc>),
}

impl Observation {
    /// An operation was done, and a read said so. This is what health is made of.
    pub fn confirmed(latency: Duration) -> Self {
        Seen::Confirmed { latency_ms: whole_ms(latency) }.into()
    }

    /// An operation was answered, and nothing confirmed it. Its latency counts; it does not count as health.
    pub fn answered(latency: Duration) -> Self {
        Seen::Answered { latency_ms: whole_ms(latency) }.into()
    }

    /// An operation failed. `sample` is what it said, for people: it is [redacted](crate::alert::redact) before it is kept.
    pub fn failed(class: FailureClass, sample: impl AsRef<str>) -> Self {
        Seen::Failed { class, sample: redact(sample.as_ref()) }.into()
    }

    /// The credential was refused, after it was renewed once where it can be.
    pub fn authentication_failed(sample: impl AsRef<str>) -> Self {
        Self::failed(FailureClass::CredentialRefused, sample)
    }

    /// The application could not be reached; nothing was sent.
    pub fn unreachable(sample: impl AsRef<str>) -> Self {
        Self::failed(FailureClass::Unreachable, sample)
    }

    /// The application asked to wait. In order within a cycle, where the work is done in the end.
    pub fn rate_limited(sample: impl AsRef<str>) -> Self {
        Self::failed(FailureClass::RateLimited, sample)
    }

    /// A pass over due work ended with this much of it undelivered: failed, given up, or still waiting.
    ///
    /// A pass with nothing undelivered and nothing confirmed says nothing: where nothing is due, probe.
    pub fn cycle_ended(undelivered: u64) -> Self {
        Seen::CycleEnded { undelivered, blame: None }.into()
    }

    /// The same where what is undelivered was not tried in this pass, and failed like this when it was: it is no other failure
    /// because it waits.
    pub fn cycle_still_failing(undelivered: u64, class: FailureClass, sample: impl AsRef<str>) -> Self {
        let blame = Some((class, redact(sample.as_ref())));
        Seen::CycleEnded { undelivered, blame }.into()
    }

    /// A probe was answered as it should be: an authenticated read with an answer that is one (`GET /Users?count=1`).
    pub fn probe_confirmed(latency: Duration) -> Self {
        Seen::ProbeConfirmed { latency_ms: whole_ms(latency) }.into()
    }

    /// A probe failed.
    pub fn probe_failed(class: FailureClass, sample: impl AsRef<str>) -> Self {
        Seen::ProbeFailed { class, sample: redact(sample.as_ref()) }.into()
    }

    /// When the credential in use ends; `None` where it does not, or nobody knows. To be said again whenever it changes.
    pub fn credential_ends(at: Option<DateTime<Utc>>) -> Self {
        Seen::CredentialEnds(at).into()
    }

    /// There is a new credential: the next probe need not wait. When it ends is to be said by
    /// [`credential_ends`](Self::credential_ends).
    pub fn credential_replaced() -> Self {
        Seen::CredentialReplaced.into()
    }

    /// Nothing is due until then (maintenance, a connector switched off): silence is no failure. At most
    /// [`PAUSE_MAX_S`](super::PAUSE_MAX_S) from now; whatever fails meanwhile counts all the same.
    pub fn paused_until(at: DateTime<Utc>) -> Self {
        Seen::PausedUntil(at).into()
    }
}

impl From<Seen> for Observation {
    fn from(seen: Seen) -> Self {
        Self { seen }
    }
}

fn whole_ms(latency: Duration) -> u32 {
    u32::try_from(latency.as_millis()).unwrap_or(u32::MAX)
}
