//! One clock for all: that of tokio, which stands still while anybody has something to do.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// Time of the simulated day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    midnight: DateTime<Utc>,
    began: Instant,
}

impl Clock {
    /// Begins now, at a midnight.
    pub(crate) fn start() -> Self {
        Self { midnight: DateTime::UNIX_EPOCH + TimeDelta::days(20_000), began: Instant::now() }
    }

    pub(crate) fn midnight(&self) -> DateTime<Utc> {
        self.midnight
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.midnight + TimeDelta::from_std(self.began.elapsed()).unwrap()
    }

    /// Waits until then.
    pub(crate) async fn until(&self, at: DateTime<Utc>) {
        let wait = at.signed_duration_since(self.midnight).to_std().unwrap_or_default();
        tokio::time::sleep_until(self.began + wait).await;
    }
}
