//! Rules: what counts, over how long, and how much of it is an attack.
//!
//! Rules are data. [`Rules::from_toml`] reads and checks them; [`Rules::published`] are those that come with this crate
//! ([`PUBLISHED`] is their text, a file to begin one's own with).
//!
//! A rule looks at events that its [`Selector`] selects, apart for each [`Grouping`], over a window that ends with each event and
//! slides with it: an event at `t` is judged with those in `(t - window, t]`, to the millisecond.

mod parse;

use std::fmt;

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::group::Group;
use crate::event::{Code, CodeError, Detail, Event, EventType, FailureReason, Method, Outcome};

/// Text of the rules that come with this crate.
pub const PUBLISHED: &str = include_str!("../../rules/default.toml");

/// Most bytes of a file of rules.
pub const RULES_BYTES_MAX: usize = 256 * 1024;

/// Most rules of a file.
pub const RULES_MAX: usize = 64;

/// Longest window.
pub const WINDOW_DAYS_MAX: i64 = 31;

/// Largest threshold: what a group keeps grows with it.
pub const THRESHOLD_MAX: u32 = 1_000;

/// Radius that is assumed around a place of which only the country is known, in kilometres.
pub const COUNTRY_ACCURACY_KM: f64 = 500.0;

/// Most steps of a sequence.
pub const STEPS_MAX: usize = 8;

/// Most values of one condition.
pub const VALUES_MAX: usize = 64;

/// Most mistakes that are told of one file.
pub const MISTAKES_MAX: usize = 50;

/// Name of a rule, a [`Code`] such as `credential-stuffing`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct RuleId(Code);

impl RuleId {
    /// Of this text.
    ///
    /// # Errors
    /// Where it is no code.
    pub fn new(text: impl AsRef<str>) -> Result<Self, CodeError> {
        Code::new(text).map(Self)
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing to do.
    Low,
    /// Look at it this week.
    Medium,
    /// Look at it today.
    High,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// As it stands in rules and alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is counted apart. A rule of a tenant never counts events of another.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// Nothing: all events of the tenant together.
    Tenant,
    /// Each `source_ip`; IPv6 by its /64, which one host has to itself. Events without an address are in no group.
    Source,
    /// Each network: IPv4 by its /24, IPv6 by its /48, which one customer has to itself. Events without an address are in no group.
    Network,
    /// Each `actor_id`.
    Actor,
}

impl Grouping {
    pub(super) const ALL: [Self; 4] = [Self::Tenant, Self::Source, Self::Network, Self::Actor];

    /// Whether a group is one of these.
    pub(super) fn is_of(self, group: &Group) -> bool {
        match group {
            Group::Tenant => self == Self::Tenant,
            Group::Source(_) => self == Self::Source,
            Group::Network(_) => self == Self::Network,
            Group::Actor(_) => self == Self::Actor,
        }
    }
}

/// What is counted once each.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distinct {
    /// `actor_id`.
    Actor,
    /// `source_ip`, IPv6 by its /64. Events without an address count as none.
    Source,
}

/// Which events count: those that meet every condition. A condition that is empty is met by all; any other is met where the event has the
/// field, with one of these values.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// `event_type`.
    #[serde(default, deserialize_with = "parse::one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub event_type: Vec<EventType>,
    /// `outcome`.
    #[serde(default, deserialize_with = "parse::one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub outcome: Vec<Outcome>,
    /// `mfa_method`.
    #[serde(default, deserialize_with = "parse::one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub mfa_method: Vec<Method>,
    /// `failure_reason`.
    #[serde(default, deserialize_with = "parse::one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub failure_reason: Vec<FailureReason>,
    /// `recovery_method`.
    #[serde(default, deserialize_with = "parse::one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub recovery_method: Vec<Code>,
    /// `lock_reason`.
    #[serde(default, deserialize_with = "parse::one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub lock_reason: Vec<Code>,
    /// `unlock_method`.
    #[serde(default, deserialize_with = "parse::one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub unlock_method: Vec<Code>,
}

impl Selector {
    /// Whether an event meets every condition.
    pub fn selects(&self, event: &Event) -> bool {
        fn met<T: PartialEq>(values: &[T], value: Option<&T>) -> bool {
            values.is_empty() || value.is_some_and(|value| values.contains(value))
        }
        let (mut method, mut reason, mut recovery, mut lock, mut unlock) = (None, None, None, None, None);
        match event.detail() {
            Detail::MfaFailure { method: with, reason: why, .. } => {
                (method, reason) = (Some(with), Some(why))
            }
            Detail::AccountLocked { lock_reason, .. } => lock = lock_reason.as_ref(),
            Detail::AccountUnlocked { unlock_method } => unlock = unlock_method.as_ref(),
            Detail::RecoveryAttempted { recovery_method } => recovery = recovery_method.as_ref(),
            Detail::LoginSuccess { method: with } | Detail::LoginFailure { method: with, .. } => {
                method = with.as_ref();
            }
        }
        met(&self.event_type, Some(&event.event_type()))
            && met(&self.outcome, Some(&event.outcome()))
            && met(&self.mfa_method, method)
            && met(&self.failure_reason, reason)
            && met(&self.recovery_method, recovery)
            && met(&self.lock_reason, lock)
            && met(&self.unlock_method, unlock)
    }
}

/// One rule, checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rule {
    /// Its name for machines, of which there is one in a file.
    pub id: RuleId,
    /// Its name for people, one line.
    pub name: String,
    /// What it finds, and what to think of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What is counted apart.
    pub group_by: Grouping,
    /// How far back an event is judged with others: half-open, `(t - window, t]`. In JSON in milliseconds.
    #[serde(rename = "window_ms", serialize_with = "milliseconds")]
    pub window: TimeDelta,
    /// An alert closes when it was not met for so long, and is not opened again before; at least the window, which it is where a file
    /// says nothing. In JSON in milliseconds.
    #[serde(rename = "quiet_ms", serialize_with = "milliseconds")]
    pub quiet: TimeDelta,
    /// Which events count. Empty for kinds that say themselves what they look at ([`Kind::RepeatAfterUnlock`], [`Kind::Sequence`]).
    pub select: Selector,
    /// Whether the risk of each event weighs: at most by half or twice, and it never keeps from an alert what the threshold asks for.
    pub weighed_by_risk: bool,
    /// What is counted, and how much of it is an attack.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What is counted, and how much of it is an attack.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[non_exhaustive]
pub enum Kind {
    /// At least `threshold` events.
    Count {
        /// How many.
        threshold: u32,
    },
    /// At least `threshold` different values.
    DistinctCount {
        /// Of what.
        of: Distinct,
        /// How many.
        threshold: u32,
        /// Whether an actor who then logs in (`login.success`) from where he failed is taken out again: people mistype, and
        /// whoever tries lists of passwords does not get in with most. Only with `of = "actor"`.
        success_clears: bool,
    },
    /// All three at once: so many different actors, different sources, and events.
    Cluster {
        /// Different actors, at least.
        actors: u32,
        /// Different sources, at least; 0 where they do not matter.
        sources: u32,
        /// Events, at least.
        events: u32,
        /// As in [`Kind::DistinctCount`]; events and sources are not taken out.
        success_clears: bool,
    },
    /// An account is locked again that a person unlocked, at least `threshold` times: `account.locked` within the window after
    /// an `account.unlocked` of the same actor, with no other lock or unlock between. The window is also that in which such locks count.
    RepeatAfterUnlock {
        /// How many locks after unlocks.
        threshold: u32,
        /// `unlock_method`s behind which is no person, such as `expiry`. An unlock that does not say how counts as by a person.
        automatic: Vec<Code>,
    },
    /// Somebody is asked until he says yes: at least `threshold` selected events of an actor.
    Fatigue {
        /// How many.
        threshold: u32,
        /// After so many, a `login.success` with push or an unsaid factor makes it an alert of severity `critical`, or makes
        /// the open one such.
        approved_after: Option<u32>,
    },
    /// More selected events than usual for this hour of the week: at least `count_min`, and above the median of the same hours of earlier
    /// weeks by more than `deviations` robust standard deviations (1.4826 times the median absolute deviation, at least the square root
    /// of the median, at least 1). Once enough weeks are known, hours in which it was met do not become part of what is usual.
    VolumeVsBaseline {
        /// How many at least, however quiet the hour usually is.
        count_min: u32,
        /// How many robust standard deviations.
        deviations: f64,
        /// How many it takes as long as fewer than [`WEEKS_MIN`] weeks are known.
        cold_start: u32,
    },
    /// Two selected events of an actor from places that nobody gets between in that time.
    ImpossibleTravel {
        /// Faster than this, in kilometres an hour.
        speed_km_h: f64,
        /// Radius around each place in which it may really be, in kilometres: taken off the distance for either place. Events do not
        /// say how well a place is known; of one that names a country and neither region nor city at least
        /// [`COUNTRY_ACCURACY_KM`] is assumed.
        accuracy_km: f64,
        /// What is left of the distance is at least this, in kilometres: whoever is near a border seems to jump.
        distance_km_min: f64,
    },
    /// Steps one after the other, all within the window. No event serves two steps.
    Sequence {
        /// 2 to [`STEPS_MAX`].
        steps: Vec<Step>,
    },
}

/// Weeks of which an hour must be known before it is compared with.
pub const WEEKS_MIN: usize = 3;

/// One step of a sequence.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Step {
    /// Which events.
    pub select: Selector,
    /// How many of them, at least 1. The next step comes after the last.
    #[serde(default = "one")]
    pub at_least: u32,
    /// Only with a `mfa_method` that somebody had not got in with within the window, by events of the group that an earlier step selects. To
    /// have failed with it does not count: whoever is about to add a factor of his own could try it first.
    #[serde(default)]
    pub new_method: bool,
}

fn one() -> u32 {
    1
}

impl Kind {
    /// As it stands in rules.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Count { .. } => "count",
            Self::DistinctCount { .. } => "distinct-count",
            Self::Cluster { .. } => "cluster",
            Self::RepeatAfterUnlock { .. } => "repeat-after-unlock",
            Self::Fatigue { .. } => "fatigue",
            Self::VolumeVsBaseline { .. } => "volume-vs-baseline",
            Self::ImpossibleTravel { .. } => "impossible-travel",
            Self::Sequence { .. } => "sequence",
        }
    }
}

impl Rule {
    /// Window in milliseconds.
    pub fn window_ms(&self) -> i64 {
        self.window.num_milliseconds()
    }
}

/// Rules, each with a name of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Those that come with this crate.
    pub fn published() -> Self {
        // A test holds that they are rules.
        Self::from_toml(PUBLISHED).unwrap_or_default()
    }

    /// Reads and checks rules.
    ///
    /// # Errors
    /// Where there is a mistake; as many are told as can be found at once, with their places.
    pub fn from_toml(text: &str) -> Result<Self, RulesError> {
        parse::rules(text)
    }

    /// All, in the order of their file.
    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.0.iter()
    }

    /// The rule of that name.
    pub fn find(&self, id: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.id.as_str() == id)
    }

    /// Those of which this says yes, in their order.
    #[must_use]
    pub fn only(mut self, keep: impl FnMut(&Rule) -> bool) -> Self {
        self.0.retain(keep);
        self
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'r> IntoIterator for &'r Rules {
    type Item = &'r Rule;
    type IntoIter = std::slice::Iter<'r, Rule>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One thing that is wrong with a file of rules. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct RuleMistake {
    /// Line of the file.
    pub line: usize,
    /// Character in that line.
    pub column: usize,
    /// What is wrong: a phrase in lower case without a full stop.
    pub message: String,
}

impl fmt::Display for RuleMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// What is wrong with a file of rules, in its order; at least one thing and at most [`MISTAKES_MAX`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct RulesError(Vec<RuleMistake>);

impl RulesError {
    /// The mistakes.
    pub fn mistakes(&self) -> &[RuleMistake] {
        &self.0
    }
}

/// A span of time as rules say it: a whole number and `ms`, `s`, `m`, `h` or `d`, as in `10m`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Span(TimeDelta);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.trim_end_matches(|character: char| character.is_ascii_lowercase());
        let unit = match text.strip_prefix(digits) {
            Some("ms") => Some(1),
            Some("s") => Some(1_000),
            Some("m") => Some(60_000),
            Some("h") => Some(3_600_000),
            Some("d") => Some(86_400_000),
            _ => None,
        };
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok());
        let span = number.flatten().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
        let span = span.and_then(TimeDelta::try_milliseconds).map(Self);
        span.ok_or_else(|| {
            serde::de::Error::custom("a span of time is as in `500ms`, `30s`, `10m`, `1h`, `7d`")
        })
    }
}

fn milliseconds<S: Serializer>(span: &TimeDelta, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(span.num_milliseconds())
}
