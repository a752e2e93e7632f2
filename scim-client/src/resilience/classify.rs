//! Whether a failed attempt is tried again: who says so, and what nobody can say.

use std::time::Duration;

use super::Effect;
use crate::error::{Error, ErrorKind};
use crate::trace::AttemptOutcome;

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// How: kind, status, method, path. Of this attempt alone.
    pub error: &'a Error,
    /// What the request does when it is sent twice.
    pub effect: Effect,
    /// Which attempt of the call it was; 1 is the first.
    pub attempt: u32,
    nothing_done: bool,
}

impl<'a> Failure<'a> {
    /// Of an attempt that ended so; `None` where none was made.
    pub(crate) fn new(
        error: &'a Error,
        effect: Effect,
        attempt: u32,
        outcome: Option<AttemptOutcome>,
    ) -> Self {
        // By what the transport and the status say, not by a class that may have been read out of a body.
        let nothing_done = match outcome {
            None => true,
            Some(AttemptOutcome::Answered { status: 429 }) => true,
            Some(AttemptOutcome::Answered { status: 503 }) => {
                matches!(error.kind(), ErrorKind::RateLimited { .. })
            }
            Some(outcome) => !outcome.was_sent(),
        };
        Self { error, effect, attempt, nothing_done }
    }

    /// Whether sending it again does nothing that was not asked for: it does nothing by being sent twice, or it is certain
    /// that the service did nothing with this attempt. Where this is `false`, [`Verdict::Retry`] counts as [`Verdict::Stop`].
    pub fn is_safe_to_repeat(&self) -> bool {
        self.nothing_done || self.effect != Effect::EachTime
    }
}

/// What follows from a failed attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is tried again, as far as attempts and budget last.
    Retry {
        /// After so long; where nothing is said, after a random time that grows with each attempt. More than
        /// [`Retry::wait_max`](super::Retry::wait_max) is not waited for.
        after: Option<Duration>,
    },
    /// The error comes back.
    Stop,
}

/// Says of failures whether they are tried again.
///
/// [`Client::classify`](crate::Client::classify) puts one in front of those that are there; the first that has an opinion decides, the
/// last is [`Standard`]. Where none has one, the error comes back. Closures are classifiers:
///
/// ```
/// # fn example(client: scim_client::Client) -> scim_client::Client {
/// use scim_client::resilience::{Failure, Verdict};
///
/// // SAP Analytics Cloud answers 403 for a while to what it later takes.
/// client.classify(|failure: &Failure<'_>| {
///     (failure.error.http_status() == Some(403)).then_some(Verdict::Retry { after: None })
/// })
/// # }
/// ```
///
/// A refused credential does not come here: whether that is tried again is for
/// [`Authenticate::refused`](crate::auth::Authenticate::refused) to say.
pub trait Classify: Send + Sync {
    /// What follows; `None` where it has no opinion. It is asked for each failed attempt and has to be quick.
    fn classify(&self, failure: &Failure<'_>) -> Option<Verdict>;
}

impl<F: Fn(&Failure<'_>) -> Option<Verdict> + Send + Sync> Classify for F {
    fn classify(&self, failure: &Failure<'_>) -> Option<Verdict> {
        self(failure)
    }
}

/// The last of the chain: what was not sent, not answered, answered with 5xx or with a wish for time is tried again, where that is
/// safe. It has no opinion of anything else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standard;

impl Classify for Standard {
    fn classify(&self, failure: &Failure<'_>) -> Option<Verdict> {
        match failure.error.kind() {
            _ if !failure.is_safe_to_repeat() => None,
            ErrorKind::RateLimited { retry_after } => Some(Verdict::Retry { after: *retry_after }),
            // A status beside it is a proxy's that wants a password of its own.
            ErrorKind::NotSent(_) if failure.error.http_status().is_none() => {
                Some(Verdict::Retry { after: None })
            }
            ErrorKind::UnknownOutcome(_) | ErrorKind::Server => Some(Verdict::Retry { after: None }),
            _ => None,
        }
    }
}
