//! Where events go.

use std::time::Duration;

use async_trait::async_trait;

use crate::id::TenantId;
use crate::store::Record;

/// Takes events somewhere.
///
/// An implementor promises:
/// * **Acknowledgement** – events that it answers for are where they belong, as far as that place can tell. A wrong answer here loses
///   them: they are not sent again.
/// * **Repetition** – events may come again, and in other batches; each has its id. What receives them keeps each once, or says that it
///   does not.
/// * **Cancellation** – a call whose future is dropped may or may not have sent.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Sends a tenant's events, at least one, in order. Answers how many of the first were taken: at least one, and fewer than all where
    /// they do not fit into one message.
    async fn send(&self, tenant: &TenantId, records: &[Record]) -> Result<usize, SinkError>;
}

/// Why a sink has not taken events. No text of it holds an address, a credential or anything of an event.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// It may take them another time.
    #[error("{why}")]
    Unavailable {
        /// What happened.
        why: String,
        /// Not before this has passed, where the sink said so.
        after: Option<Duration>,
    },
    /// It does not know us, or does not let us. That heals when somebody does something.
    #[error("it refuses our credential: {why}")]
    Denied {
        /// What it answered.
        why: String,
    },
    /// It knows us, and not what we ask for: an index, a rule, a stream. That heals when somebody does something.
    #[error("it is not set up for this: {why}")]
    Misconfigured {
        /// What it answered.
        why: String,
    },
    /// It refuses whatever it is sent: each event for itself, one after the other, and takes none. A follower says so, not a sink.
    #[error("it refused {count} running and took none: {why}")]
    RefusesAll {
        /// How many running.
        count: usize,
        /// What it answered to the last.
        why: String,
    },
    /// One event will never be taken. Those before it were. Where there are none before it, another event is tried before this is believed.
    #[error("it refuses an event: {why}")]
    Refused {
        /// Which, counted from 0.
        index: usize,
        /// What it answered.
        why: String,
    },
}

impl SinkError {
    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into(), after: None }
    }

    /// Whether only a person can mend it.
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Misconfigured { .. })
    }

    /// The same news, told once.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::RefusesAll { .. }, Self::RefusesAll { .. }) => true,
            _ => self == other,
        }
    }
}
