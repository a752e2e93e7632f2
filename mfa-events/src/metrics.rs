//! How many log in, how many fail, with what and from where: minute by minute, and the last 24 hours beside the 24 before.
//!
//! A minute is what its events say, whenever they come: late ones correct what was counted, and what comes too late or from the
//! future is counted apart, never silently left out. The core keeps no clock; `now` is given.

mod current;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Country, Detail, Event, Method, Outcome};

pub use current::{AsOf, COUNTED_WITHIN, CurrentMetrics, MetricsError};

/// Minutes that are kept: two days, so that each hour of the last has one to be compared with, and an hour for those that are under way.
pub const MINUTES_KEPT: i64 = 49 * 60;

/// How far a sender's clock may be ahead, in minutes. What is further ahead is counted as [`Report::from_the_future`].
pub const MINUTES_AHEAD_MAX: i64 = 5;

/// Most places of one minute. Further countries of that minute are counted as [`Place::Other`]: whoever sends chooses what is counted here.
pub const MINUTE_COUNTRIES_MAX: usize = 64;

/// Counts of a span of time.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// `login.success`.
    pub successes: u64,
    /// `login.failure`, blocked ones included.
    pub failures: u64,
    /// Those of the failures whose outcome is `blocked`.
    pub blocked: u64,
    /// `mfa.failure`: a login may have several, and succeed in the end.
    pub mfa_failures: u64,
    /// `account.locked`.
    pub lockouts: u64,
    /// `account.unlocked`.
    pub unlocks: u64,
    /// `recovery.attempted`.
    pub recoveries: u64,
}

impl Counts {
    /// Logins that were tried: successes and failures.
    pub fn logins(&self) -> u64 {
        self.successes.saturating_add(self.failures)
    }

    /// Share of logins that succeeded, from 0 to 1; nothing where there was none.
    pub fn success_rate(&self) -> Option<f64> {
        rate(self.successes, self.logins())
    }

    /// Share of logins that failed, from 0 to 1; nothing where there was none.
    pub fn failure_rate(&self) -> Option<f64> {
        rate(self.failures, self.logins())
    }

    fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.successes, other.successes),
            (&mut self.failures, other.failures),
            (&mut self.blocked, other.blocked),
            (&mut self.mfa_failures, other.mfa_failures),
            (&mut self.lockouts, other.lockouts),
            (&mut self.unlocks, other.unlocks),
            (&mut self.recoveries, other.recoveries),
        ];
        for (own, more) in pairs {
            *own = own.saturating_add(more);
        }
    }

    fn of(event: &Event) -> Self {
        let mut counts = Self::default();
        match event.detail() {
            Detail::LoginSuccess { .. } => counts.successes = 1,
            Detail::LoginFailure { .. } => {
                counts.failures = 1;
                counts.blocked = u64::from(event.outcome() == Outcome::Blocked);
            }
            Detail::MfaFailure { .. } => counts.mfa_failures = 1,
            Detail::AccountLocked { .. } => counts.lockouts = 1,
            Detail::AccountUnlocked { .. } => counts.unlocks = 1,
            Detail::RecoveryAttempted { .. } => counts.recoveries = 1,
        }
        counts
    }
}

fn rate(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Counts, with their parts.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Breakdown {
    /// All.
    pub all: Counts,
    /// Those that name a second factor.
    pub by_method: BTreeMap<Method, Counts>,
    /// Those that name a country.
    pub by_country: BTreeMap<Place, Counts>,
}

/// What is counted as a country; in JSON its two letters, or `other`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// A country.
    Country(Country),
    /// Letters that no country has, and countries beyond [`MINUTE_COUNTRIES_MAX`] of a minute.
    Other,
}

impl From<Country> for Place {
    fn from(country: Country) -> Self {
        if country.is_assigned() { Self::Country(country) } else { Self::Other }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Country(country) => country.serialize(serializer),
            Self::Other => serializer.serialize_str(OTHER),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == OTHER {
            return Ok(Self::Other);
        }
        Country::new(&text).map(Self::from).map_err(serde::de::Error::custom)
    }
}

const OTHER: &str = "other";

impl Breakdown {
    fn count(&mut self, event: &Event) {
        let counts = Counts::of(event);
        self.all.add(&counts);
        let method = match event.detail() {
            Detail::MfaFailure { method, .. } => Some(*method),
            Detail::LoginSuccess { method } | Detail::LoginFailure { method, .. } => *method,
            _ => None,
        };
        if let Some(method) = method {
            self.by_method.entry(method).or_default().add(&counts);
        }
        if let Some(country) = event.geo_location().and_then(|geo| geo.country) {
            let place = Place::from(country);
            let has_room =
                self.by_country.len() < MINUTE_COUNTRIES_MAX || self.by_country.contains_key(&place);
            self.by_country.entry(if has_room { place } else { Place::Other }).or_default().add(&counts);
        }
    }

    fn add(&mut self, other: &Self) {
        self.all.add(&other.all);
        for (method, counts) in &other.by_method {
            self.by_method.entry(*method).or_default().add(counts);
        }
        for (place, counts) in &other.by_country {
            self.by_country.entry(*place).or_default().add(counts);
        }
    }
}

/// Counts of one tenant. Memory is bounded by [`MINUTES_KEPT`] and [`MINUTE_COUNTRIES_MAX`], whatever is sent.
///
/// It is a value: what it was at an offset of a log is written down with that offset, and goes on from there. An event that is counted
/// twice counts twice; a log gives each of its events once.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LoginMetrics {
    /// By whole minutes since 1970.
    minutes: BTreeMap<i64, Breakdown>,
    too_late: u64,
    from_the_future: u64,
}

/// The last 24 hours in one answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Begin of the span: 24 hours before `to`.
    pub from: DateTime<Utc>,
    /// End of the span, not included: the end of the minute that is under way, whose events are counted as far as they have come.
    pub to: DateTime<Utc>,
    /// Logins that were tried.
    pub logins: u64,
    /// Share of them that succeeded; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// Share of them that failed; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<f64>,
    /// The span.
    pub total: Breakdown,
    /// The 24 hours before the span.
    pub before: Counts,
    /// 24 parts of an hour each, oldest first.
    pub hours: Vec<Hour>,
    /// Each minute of the span.
    pub trend: Trend,
    /// Events that came when their minute was not kept any more, since the counts began.
    pub too_late: u64,
    /// Events whose time was further ahead than a clock may be, since the counts began.
    pub from_the_future: u64,
}

/// An hour, and the same hour of the day before.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Hour {
    /// Its begin.
    pub from: DateTime<Utc>,
    /// What it counts.
    pub counts: Counts,
    /// What the hour 24 hours before counted.
    pub day_before: Counts,
}

/// The minutes of a span as columns, oldest first: what a chart draws.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Trend {
    /// Begin of the first minute.
    pub from: DateTime<Utc>,
    /// Seconds from one to the next: 60.
    pub step_s: u32,
    /// `login.success`, and so on as in [`Counts`].
    pub successes: Vec<u64>,
    /// `login.failure`.
    pub failures: Vec<u64>,
    /// `mfa.failure`.
    pub mfa_failures: Vec<u64>,
    /// `account.locked`.
    pub lockouts: Vec<u64>,
    /// `recovery.attempted`.
    pub recoveries: Vec<u64>,
}

/// One minute.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Minute {
    /// Its begin.
    pub from: DateTime<Utc>,
    /// What it counts.
    pub counts: Breakdown,
}

impl LoginMetrics {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts an event in the minute when it happened, however late it comes.
    pub fn count(&mut self, event: &Event, now: DateTime<Utc>) {
        let (minute, current) = (minute(event.at().as_datetime()), minute(now));
        if minute <= current.saturating_sub(MINUTES_KEPT) {
            self.too_late = self.too_late.saturating_add(1);
            return;
        }
        if minute > current.saturating_add(MINUTES_AHEAD_MAX) {
            self.from_the_future = self.from_the_future.saturating_add(1);
            return;
        }
        self.minutes.entry(minute).or_default().count(event);
        // By their number, not by the clock: one that was wrong for a moment takes one minute's place, and not all of them.
        while self.minutes.len() > MINUTES_COUNTED_MAX {
            self.minutes.pop_first();
        }
    }

    /// The last 24 hours beside the 24 before.
    pub fn report(&self, now: DateTime<Utc>) -> Report {
        let to = minute(now).saturating_add(1);
        let from = to.saturating_sub(DAY);
        let mut total = Breakdown::default();
        self.within(from, to).for_each(|(_, minute)| total.add(minute));
        let hours: Vec<_> = (0..24)
            .map(|hour| from.saturating_add(hour * HOUR))
            .map(|start| Hour {
                from: time(start),
                counts: self.sum(start, start.saturating_add(HOUR)),
                day_before: self
                    .sum(start.saturating_sub(DAY), start.saturating_sub(DAY).saturating_add(HOUR)),
            })
            .collect();
        Report {
            from: time(from),
            to: time(to),
            logins: total.all.logins(),
            success_rate: total.all.success_rate(),
            failure_rate: total.all.failure_rate(),
            total,
            before: self.sum(from.saturating_sub(DAY), from),
            hours,
            trend: self.trend(from, to),
            too_late: self.too_late,
            from_the_future: self.from_the_future,
        }
    }

    fn trend(&self, from: i64, to: i64) -> Trend {
        let column = |of: fn(&Counts) -> u64| {
            let counted = |minute| self.minutes.get(&minute).map_or(0, |minute| of(&minute.all));
            (from..to).map(counted).collect()
        };
        Trend {
            from: time(from),
            step_s: 60,
            successes: column(|counts| counts.successes),
            failures: column(|counts| counts.failures),
            mfa_failures: column(|counts| counts.mfa_failures),
            lockouts: column(|counts| counts.lockouts),
            recoveries: column(|counts| counts.recoveries),
        }
    }

    /// Minutes that count anything and begin within a span, oldest first.
    pub fn minutes(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> impl Iterator<Item = Minute> {
        // A minute that is under way at `from` began before.
        let (from, to) = (begun_after(from), begun_after(to));
        self.within(from, to).map(|(start, counts)| Minute { from: time(*start), counts: counts.clone() })
    }

    fn within(&self, from: i64, to: i64) -> impl Iterator<Item = (&i64, &Breakdown)> {
        // A range that ends before it begins panics.
        self.minutes.range(from..to.max(from))
    }

    fn sum(&self, from: i64, to: i64) -> Counts {
        let mut counts = Counts::default();
        self.within(from, to).for_each(|(_, minute)| counts.add(&minute.all));
        counts
    }
}

/// Minutes that count anything, at most.
const MINUTES_COUNTED_MAX: usize = (MINUTES_KEPT + MINUTES_AHEAD_MAX) as usize;

const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

fn minute(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(60)
}

/// The first minute that begins then or later.
fn begun_after(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
        .div_euclid(60_000)
        .saturating_add(i64::from(at.timestamp_millis().rem_euclid(60_000) > 0))
}

fn time(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(minute.saturating_mul(60), 0).unwrap_or_default()
}
