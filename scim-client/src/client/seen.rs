//! What the operations that are safe to repeat need of a client.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::client::Client;
use crate::dialect::Dialect;
use crate::ensure::Care;

/// Whether filters were seen to find what is there.
#[derive(Debug, Default)]
pub(crate) struct FilterTrust(AtomicU8);

impl FilterTrust {
    pub(crate) fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            known => Some(known == 2),
        }
    }

    pub(crate) fn set(&self, sound: bool) {
        self.0.store(if sound { 2 } else { 1 }, Ordering::Relaxed);
    }
}

impl Client {
    /// With this patience and care in the operations that are safe to repeat.
    #[must_use]
    pub fn care(mut self, care: Care) -> Self {
        std::sync::Arc::make_mut(&mut self.shared).care = care;
        self
    }

    pub(crate) fn care_taken(&self) -> &Care {
        &self.shared.care
    }

    pub(crate) fn spoken(&self) -> &Dialect {
        &self.shared.dialect
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now()
    }

    pub(crate) async fn pause(&self, duration: Duration) {
        self.shared.clock.sleep(duration).await;
    }

    pub(crate) fn filter_trust(&self) -> &FilterTrust {
        &self.shared.state.filters
    }
}
