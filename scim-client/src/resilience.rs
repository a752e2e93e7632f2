//! Other people's servers: when to try again, how fast, how long, and when to stop.

use std::time::Duration;

mod effect;
mod retry_after;

pub use effect::Effect;
pub use retry_after::retry_after;

/// Longest wait that a `Retry-After` can ask for; a longer one counts as this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
