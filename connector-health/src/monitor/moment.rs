//! Time that only moves on.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// Milliseconds of time that passed while the clock moved on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Moment(i64);

impl Moment {
    pub(crate) fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; never negative.
    pub(crate) fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }

    /// The number of the bucket of this width that it falls into.
    pub(crate) fn bucket(self, width_ms: i64) -> i64 {
        self.0.div_euclid(width_ms.max(1))
    }
}

/// Adds up the time between calls. A clock that was set back adds nothing, and counting goes on from there: it costs at most the
/// time between two calls, and what is waited for is never over sooner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Elapsed {
    seen_at: Option<DateTime<Utc>>,
    lasted: Moment,
}

impl Elapsed {
    pub(crate) fn advance(&mut self, now: DateTime<Utc>) -> Moment {
        self.lasted = self.at(now);
        self.seen_at = Some(now);
        self.lasted
    }

    /// What [`advance`](Self::advance) would say.
    pub(crate) fn at(&self, now: DateTime<Utc>) -> Moment {
        let passed = self.seen_at.map_or(0, |seen| now.signed_duration_since(seen).num_milliseconds().max(0));
        self.lasted.plus(passed)
    }

    /// Where the clock will stand at `moment`, should nobody set it.
    pub(crate) fn wall(&self, moment: Moment) -> Option<DateTime<Utc>> {
        self.seen_at?.checked_add_signed(TimeDelta::try_milliseconds(moment.since(self.lasted))?)
    }
}
