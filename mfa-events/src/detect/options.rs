//! How detection is bounded, and what is counted of it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// How detection is bounded, and what it waits for. `Debug` does not show the key.
#[derive(Clone)]
pub struct Options {
    /// How long an event waits for those that happened before it: until one has come that happened so much later, or for so long by the
    /// clock of the log. 5 seconds by default.
    pub lateness: TimeDelta,
    /// How long after `ingested_at` an event may become readable: [`TenantDetector::tick`](super::TenantDetector::tick) takes for granted that nothing more comes that is
    /// older. 1 second by default.
    pub settling: TimeDelta,
    /// Most events of a tenant that wait. Beyond it, the earliest no longer does. 65,536 by default.
    pub waiting_max: usize,
    /// Most groups of a tenant and rule. Above half of it a group is let in with its second event; beyond it, whichever is furthest from an
    /// alert goes. 65,536 by default.
    pub groups_max: usize,
    /// Bytes in which groups are counted that were not let in, of a tenant, taken when they are needed. 4 MiB by default.
    pub sketch_bytes: usize,
    /// Key of hashes: random by default. Who knows it can choose names that collide.
    pub hash_key: [u64; 2],
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("lateness", &self.lateness)
            .field("settling", &self.settling)
            .field("waiting_max", &self.waiting_max)
            .field("groups_max", &self.groups_max)
            .field("sketch_bytes", &self.sketch_bytes)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        Self {
            lateness: TimeDelta::seconds(5),
            settling: TimeDelta::seconds(1),
            waiting_max: 65_536,
            groups_max: 65_536,
            sketch_bytes: 4 * 1024 * 1024,
            hash_key: [random(), random()],
        }
    }
}

/// What became of events and alerts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Events that were taken in.
    pub events_total: u64,
    /// Those that came too late, and counted when they came.
    pub late_total: u64,
    /// Those that claimed to be from the future, and count as of when they came.
    pub future_total: u64,
    /// Those that did not wait as long as they should have, as too many waited.
    pub hurried_total: u64,
    /// Events that came in before a time that [`TenantDetector::tick`](super::TenantDetector::tick) was told of: a clock was ahead, or a commit took longer than
    /// [`Options::settling`]. To read the log again may then give other alerts.
    pub unproven_total: u64,
    /// Times that the log's clock was set back, by [`CLOCK_SET_BACK_MS`](super::CLOCK_SET_BACK_MS) or more, and everything began anew.
    pub set_back_total: u64,
    /// Alerts that were opened.
    pub opened_total: u64,
    /// Alerts that were told again.
    pub updated_total: u64,
    /// Alerts that were closed.
    pub closed_total: u64,
}

/// How much a tenant's detection keeps.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Size {
    /// Groups, over all rules.
    pub groups: usize,
    /// Values that groups keep: events, actors, sources.
    pub entries: usize,
    /// Events that wait.
    pub waiting: usize,
    /// Bytes of the sketch.
    pub sketch_bytes: usize,
}
