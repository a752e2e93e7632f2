//! Alerts: what is told to people.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::group::{Group, Prefix};
use super::rule::{RuleId, Severity};
use crate::event::Timestamp;
use crate::id::{ActorId, TenantId};
use crate::store::Offset;

/// Most actors that an alert names of the first, and most of the latest; as many sources. It counts all.
pub const NAMED_MAX: usize = 100;

/// An open alert in which there are others than it named is told again, at most once in so many milliseconds of the time of events.
pub const UPDATE_MS: i64 = 60_000;

/// One turn in the life of an alert. Those of one alert have one `id`.
///
/// The id follows from tenant, rule, group and the offset of the first event, or of the event that it opened with where one was closed that
/// began with the same: whoever reads a log again gets the same alerts under the same ids.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Alert {
    /// Of the alert, a UUID of version 8.
    pub id: Uuid,
    /// Whose events.
    pub tenant_id: TenantId,
    /// Of which rule.
    pub rule: RuleId,
    /// The rule's name for people.
    pub name: String,
    /// How bad it is. It may grow while an alert is open.
    pub severity: Severity,
    /// What has become of it.
    pub state: AlertState,
    /// Why it is closed, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<Closing>,
    /// Of what.
    pub group: Group,
    /// When, by the time of events.
    pub at: Timestamp,
    /// When the first of the events that opened it happened.
    pub first_event_at: Timestamp,
    /// Where that stands in the log.
    pub first_offset: Offset,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When the rule was met last.
    pub last_met_at: Timestamp,
    /// Events since, those that opened it included as far as they were kept: of each actor one.
    pub events: u64,
    /// Events that came too late to count when they happened, and counted when they came.
    pub late_events: u64,
    /// Different actors: exact up to [`EXACT_MAX`](super::EXACT_MAX), an estimate above it. Of those before it opened it knows as many as
    /// the threshold asks for, or twice that.
    pub actors: u64,
    /// Whether `actors` is exact.
    pub is_exact: bool,
    /// Different sources, in the same way.
    pub sources: u64,
    /// The first actors, at most [`NAMED_MAX`], in no order.
    pub actor_ids: Vec<ActorId>,
    /// Others that were seen last, at most [`NAMED_MAX`], the last of them at the end. Between those and the first there may be more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latest_actor_ids: Vec<ActorId>,
    /// The first sources, at most [`NAMED_MAX`], in no order.
    pub source_ips: Vec<Prefix>,
    /// Other sources that were seen last, as of the actors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latest_source_ips: Vec<Prefix>,
    /// What the rule found besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
}

/// What has become of an alert.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// The rule is met.
    Opened,
    /// It is twice what was told last, or worse, or there are others in it than it named.
    Updated,
    /// It is over; [`Alert::closing`] says why.
    Closed,
}

/// Why an alert is closed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Closing {
    /// It was not met for as long as the rule says.
    Quiet,
    /// Too many alerts of the rule are open ([`OPEN_MAX`](super::OPEN_MAX)): it was given up for a new one. Where it is met, it opens again.
    GivenUp,
    /// The rule is another now, or there is none.
    RuleChanged,
    /// The clock of the log was ahead and has been set back: what was counted is in no order any more.
    ClockSetBack,
}

/// What only some rules find.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// Somebody said yes in the end.
    Approved,
    /// More than usual.
    Volume {
        /// Of the window.
        count: u64,
        /// Median of earlier weeks; absent as long as too few are known.
        usual: Option<f64>,
        /// It took more than this.
        above: f64,
    },
    /// From one place to another.
    Travel {
        /// At least so far.
        distance_km: f64,
        /// In so long, in milliseconds.
        in_ms: i64,
    },
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            AlertState::Opened => "",
            AlertState::Updated => " (more)",
            AlertState::Closed => " (over)",
        };
        write!(f, "[{}] {}{state}: {}", self.severity, self.name, self.group)?;
        match self.finding {
            Some(Finding::Travel { distance_km, in_ms }) => {
                return write!(f, ", {distance_km:.0} km in {}", Lasting(in_ms));
            }
            Some(Finding::Volume { count, above, .. }) => {
                return write!(f, ", {count} where up to {above:.0} are usual");
            }
            Some(Finding::Approved) => f.write_str(", approved in the end")?,
            None => {}
        }
        let about = if self.is_exact { "" } else { "about " };
        let people = if self.actors == 1 { "person" } else { "people" };
        let span = self.last_met_at.as_datetime() - self.first_event_at.as_datetime();
        let (actors, events) = (self.actors, self.events);
        let lasting = Lasting(span.num_milliseconds());
        match &self.group {
            Group::Actor(_) => write!(f, ", {events} events in {lasting}"),
            _ => write!(f, ", {about}{actors} {people}, {events} events in {lasting}"),
        }
    }
}

/// A span of time in one unit.
struct Lasting(i64);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms < 120_000 => write!(f, "{} s", ms / 1_000),
            ms if ms < 7_200_000 => write!(f, "{} min", ms / 60_000),
            ms => write!(f, "{} h", ms / 3_600_000),
        }
    }
}

/// The id of an alert.
pub(super) fn id(tenant: &TenantId, rule: &RuleId, group: &Group, first: Offset) -> Uuid {
    let kind = match group {
        Group::Tenant => 0_u8,
        Group::Source(_) => 1,
        Group::Network(_) => 2,
        Group::Actor(_) => 3,
    };
    let mut hash = Sha256::new();
    for text in [tenant.as_str(), rule.as_str(), &group.to_string()] {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text);
    }
    hash.update([kind]);
    hash.update(first.as_u64().to_be_bytes());
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(byte, of)| *byte = of);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
