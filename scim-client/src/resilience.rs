//! Other people's servers: when to try again, how fast, how long, and when to stop.
//!
//! Every request of a [`Client`](crate::Client) goes through the same gate:
//!
//! ```text
//!  call ─▶ place (concurrency) ─▶ turn (pace) ─▶ credential (latch) ─▶ attempt ─▶ answer
//!            ▲                                                           │
//!            └──── wait (backoff, Retry-After) ◀── budget ◀── classify ◀─┘ failure
//! ```
//!
//! | what | where nothing is said | changed by |
//! |---|---|---|
//! | attempts of one call, the first included | 4 | [`Retry::attempts_max`] |
//! | wait before the n-th retry | at random up to 0.5 s · 2ⁿ⁻¹, at the most 20 s | [`Retry::backoff_first`], [`Retry::backoff_max`] |
//! | longest wait that the client makes by itself because a server asks for it | 60 s; where it asks for more, the error comes back with its advice | [`Retry::wait_max`] |
//! | budget for retries, shared by all calls | 100: a retry costs [`RETRY_COST`], after no answer [`RETRY_COST_UNANSWERED`], a call that was answered gives [`BUDGET_EARNED`] | [`Retry::budget`] |
//! | requests at a time | [`CONCURRENCY`] | [`Client::concurrency`](crate::Client::concurrency) |
//! | requests a minute | what the dialect says, after the first [`BURST`]; no limit where it says nothing | [`Dialect::requests_per_minute`](crate::Dialect::requests_per_minute) |
//! | pace after 429 or 503 | [`SLOWDOWN`] of what it was, at least [`RATE_MIN`] a second; recovers within minutes | – |
//! | time for an attempt | 30 s, and as long again for each wait for a piece of the body | [`Client::timeout`](crate::Client::timeout) |
//! | time for a whole call | no limit but those above | [`Client::deadline`](crate::Client::deadline) |
//!
//! What holds whatever is set:
//! * A request that may do something each time ([`Effect::EachTime`]: POST, PATCH) and that may have reached the server is
//!   not sent again, whatever a classifier says. Only where nothing was sent, or where the server said that it did nothing
//!   (429, 503 with `Retry-After`, 401 with another credential at hand), it is.
//! * An answer that breaks off halfway is a failed attempt, like one that never came.
//! * `Retry-After` is for all requests of the client, not only for the one that was told.
//! * A credential that was refused (401, or a page for people in place of an answer) is shown once more at the most, and
//!   only where [`Authenticate::refused`](crate::auth::Authenticate::refused) says that there is another. Then every call
//!   fails at once without a request, until the credential changes or [`Client::forgive`](crate::Client::forgive) is
//!   called. Until it has worked once, a credential is shown by one request at a time.
//! * Dropping a call at any point gives back its place and its turn.
//!
//! Waits are by the client's [`Clock`](crate::clock::Clock).

use std::time::Duration;

mod budget;
mod classify;
mod effect;
mod latch;
mod pace;
mod retry_after;

pub(crate) use budget::Budget;
pub use budget::{BUDGET_EARNED, RETRY_COST, RETRY_COST_UNANSWERED};
pub use classify::{Classify, Failure, Standard, Verdict};
pub use effect::Effect;
pub(crate) use latch::{Latch, Standing};
pub use pace::{BURST, RATE_MIN, SLOWDOWN};
pub(crate) use pace::{Grant, Pace, Turn};
pub use retry_after::retry_after;

/// Longest wait that a `Retry-After` can ask for; a longer one counts as this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// Requests of one client that are under way at a time, where nothing else is said.
pub const CONCURRENCY: usize = 8;

/// How often and how patiently a call is tried again.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Retry {
    /// Attempts of one call in all. Default 4; 1 is no retry. The one more try after a credential was renewed does not
    /// count.
    pub attempts_max: u32,
    /// Longest wait before the first retry; twice as long before each further one. Default 0.5 s.
    pub backoff_first: Duration,
    /// Longest wait before any retry, where the server does not say how long. Default 20 s.
    pub backoff_max: Duration,
    /// Longest wait because the server asks for it (`Retry-After`). Where it asks for more, nothing is waited for: the
    /// error comes back, and so do those of other calls in the meantime. Default 60 s.
    pub wait_max: Duration,
    /// What the budget holds at the most, and at first. Default 100.
    pub budget: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts_max: 4,
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(20),
            wait_max: Duration::from_secs(60),
            budget: 100,
        }
    }
}

impl Retry {
    /// No retries: a failure comes back at once. The pace, and what `Retry-After` asks of it, stay.
    pub fn never() -> Self {
        Self { attempts_max: 1, ..Self::default() }
    }

    /// With some of it changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// How long to wait before the retry of this number, 1 for the first: full jitter, with `random` in `0.0..1.0`.
    pub(crate) fn backoff(&self, retry: u32, random: f64) -> Duration {
        let longest = 1_u32
            .checked_shl(retry.saturating_sub(1))
            .map_or(self.backoff_max, |times| self.backoff_first.saturating_mul(times))
            .min(self.backoff_max);
        longest.mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_are_spread_over_all_of_it() {
        let retry = Retry::default();
        let longest: Vec<_> = (1..=8).map(|number| retry.backoff(number, 1.0).as_millis()).collect();
        assert_eq!(longest, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
        assert_eq!(retry.backoff(u32::MAX, 1.0), retry.backoff_max);
        assert_eq!(retry.backoff(3, 0.0), Duration::ZERO);
        assert_eq!(retry.backoff(3, 0.25).as_millis(), 500);
    }
}
