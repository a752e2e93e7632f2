//! Why an alert has not opened.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::group::Group;
use super::rule::RuleId;
use crate::event::Timestamp;
use crate::store::Offset;

/// What a rule knows of a group now, and how far it is from an alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// Of which rule.
    pub rule: RuleId,
    /// Of what.
    pub group: Group,
    /// Time of the events that were judged last. What happened later waits.
    pub clock: Option<Timestamp>,
    /// Events up to this offset were taken in.
    pub offset: Offset,
    /// Whether anything of the group is kept.
    pub is_kept: bool,
    /// The alert that is open.
    pub alert: Option<Uuid>,
    /// Each of them must be reached.
    pub measures: Vec<Measure>,
    /// Events of the group that the rule selects and that wait for earlier ones.
    pub waiting: usize,
    /// Events of the group that came too late, and counted when they came.
    pub late_events: u32,
    /// When the group was forgotten for lack of room, among the last [`EVICTED_KEPT`] that were.
    pub evicted: Option<Evicted>,
    /// The rule's groups of this tenant.
    pub rule_counts: RuleCounts,
    /// Whether new groups are let in only with their second event, as there is not room for all.
    pub is_crowded: bool,
}

/// One thing that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// What: `actors`, `sources`, `events`, `steps`, `places`, `unlocks`, `locks_after_unlock`.
    pub what: &'static str,
    /// How much of it is within the window, at most as much as is kept.
    pub now: f64,
    /// How much is needed.
    pub needed: f64,
}

impl Measure {
    /// How much is missing.
    pub fn missing(&self) -> f64 {
        (self.needed - self.now).max(0.0)
    }
}

/// Most forgotten groups that are remembered as such, of each rule.
pub const EVICTED_KEPT: usize = 64;

/// A group that was forgotten for lack of room.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Evicted {
    /// Of what.
    pub group: Group,
    /// By the time of events.
    pub at: Timestamp,
    /// How far it was from an alert: 0 to 1,000.
    pub progress: u64,
}

/// What became of a rule's groups.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RuleCounts {
    /// Groups that are kept.
    pub groups: u64,
    /// Alerts that are open.
    pub open: u64,
    /// Alerts that were opened.
    pub opened_total: u64,
    /// Alerts that were closed for lack of room for another.
    pub given_up_total: u64,
    /// Groups that were forgotten for lack of room (`state_evicted_total`).
    pub evicted_total: u64,
    /// Events of groups for which there was no room: everything that is kept was further.
    pub refused_total: u64,
    /// Events that were only counted roughly, as their group had not shown itself twice.
    pub unadmitted_total: u64,
}
