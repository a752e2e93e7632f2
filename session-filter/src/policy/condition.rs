//! Conditions under which a rule is in force.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc, Weekday};
use chrono_tz::Tz;
use ipnet::IpNet;
use serde::Serialize;

use crate::facts::Facts;
use crate::limits::MFA_SKEW_MAX;
use crate::policy::mistake::excerpt;

/// The condition that keeps a rule from being in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unmet {
    /// The rule has conditions, and nothing is known to judge them by.
    FactsUnknown,
    /// The moment is outside the permitted days and hours, or outside `from` and `until`.
    OutsideTimeWindow,
    /// The source address is not in a permitted network, or not known.
    SourceNetwork,
    /// The source address is not in a permitted country, or its country is not known.
    Country,
    /// The source address is not trusted enough, or its reputation is not known.
    Reputation,
    /// The device does not have the needed standing, or its standing is not known.
    Device,
    /// The second factor was passed too long ago, or it is not known when.
    MfaAge,
    /// The risk is too high, or not known.
    Risk,
}

impl Unmet {
    /// Machine-readable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::FactsUnknown => "facts_unknown",
            Self::OutsideTimeWindow => "outside_time_window",
            Self::SourceNetwork => "source_network",
            Self::Country => "country",
            Self::Reputation => "reputation",
            Self::Device => "device",
            Self::MfaAge => "mfa_age",
            Self::Risk => "risk",
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FactsUnknown => "its conditions cannot be judged, since neither time nor source is known",
            Self::OutsideTimeWindow => "not at this time",
            Self::SourceNetwork => "not from this network",
            Self::Country => "not from this country, or the country is not known",
            Self::Reputation => "the source address is not trusted enough, or its reputation is not known",
            Self::Device => "not on this device, or its standing is not known",
            Self::MfaAge => "not without a recent second factor",
            Self::Risk => "the risk is too high, or not known",
        })
    }
}

/// Which facts some rule of a policy asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FactNeeds {
    pub(crate) country: bool,
    pub(crate) reputation: bool,
    pub(crate) device: bool,
    pub(crate) mfa: bool,
    pub(crate) risk: bool,
}

impl FactNeeds {
    pub(crate) fn union(self, other: Self) -> Self {
        Self {
            country: self.country | other.country,
            reputation: self.reputation | other.reputation,
            device: self.device | other.device,
            mfa: self.mfa | other.mfa,
            risk: self.risk | other.risk,
        }
    }

    pub(crate) fn within(self, other: Self) -> bool {
        self.union(other) == other
    }
}

/// The `when` of a rule. Absent conditions hold.
#[derive(Clone, Debug)]
pub(crate) struct When {
    pub(crate) days: Option<Days>,
    pub(crate) hours: Option<Hours>,
    pub(crate) zone: Tz,
    pub(crate) from: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
    pub(crate) networks: Vec<IpNet>,
    pub(crate) countries: Vec<String>,
    pub(crate) reputation_min: Option<u8>,
    pub(crate) devices: Vec<String>,
    pub(crate) mfa_within: Option<Duration>,
    pub(crate) risk_max: Option<u8>,
}

impl Default for When {
    fn default() -> Self {
        Self {
            days: None,
            hours: None,
            zone: Tz::UTC,
            from: None,
            until: None,
            networks: Vec::new(),
            countries: Vec::new(),
            reputation_min: None,
            devices: Vec::new(),
            mfa_within: None,
            risk_max: None,
        }
    }
}

impl When {
    pub(crate) fn holds(&self, facts: &Facts) -> Result<(), Unmet> {
        if !self.holds_at(facts.now) {
            return Err(Unmet::OutsideTimeWindow);
        }
        if !self.networks.is_empty() && !facts.source_ip.is_some_and(|address| self.is_from(address)) {
            return Err(Unmet::SourceNetwork);
        }
        if !self.countries.is_empty()
            && !facts.country.as_ref().is_some_and(|code| self.countries.contains(code))
        {
            return Err(Unmet::Country);
        }
        if self.reputation_min.is_some_and(|least| facts.reputation.is_none_or(|standing| standing < least)) {
            return Err(Unmet::Reputation);
        }
        if !self.devices.is_empty()
            && !facts.device.as_ref().is_some_and(|standing| self.devices.contains(standing))
        {
            return Err(Unmet::Device);
        }
        if self.mfa_within.is_some_and(|within| !is_recent(facts, within)) {
            return Err(Unmet::MfaAge);
        }
        if self.risk_max.is_some_and(|most| facts.risk.is_none_or(|risk| risk > most)) {
            return Err(Unmet::Risk);
        }
        Ok(())
    }

    pub(crate) fn needs(&self) -> FactNeeds {
        FactNeeds {
            country: !self.countries.is_empty(),
            reputation: self.reputation_min.is_some(),
            device: !self.devices.is_empty(),
            mfa: self.mfa_within.is_some(),
            risk: self.risk_max.is_some(),
        }
    }

    /// When time alone will make the conditions, which hold now, not hold; `None` if it will not within a week.
    pub(crate) fn valid_until(&self, facts: &Facts) -> Option<DateTime<Utc>> {
        let factor = self.mfa_within.zip(facts.mfa_at).and_then(|(within, passed)| {
            // At exactly this age the factor still counts.
            let within = TimeDelta::from_std(within).ok()?.checked_add(&TimeDelta::milliseconds(1))?;
            passed.checked_add_signed(within)
        });
        [self.window_end(facts.now), self.until, factor].into_iter().flatten().min()
    }

    fn holds_at(&self, now: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| now >= from)
            && self.until.is_none_or(|until| now < until)
            && self.is_in_window(now)
    }

    fn is_in_window(&self, now: DateTime<Utc>) -> bool {
        if self.days.is_none() && self.hours.is_none() {
            return true;
        }
        let local = now.with_timezone(&self.zone);
        let days = self.days.unwrap_or(Days::ALL);
        let Some(hours) = self.hours else { return days.contains(local.weekday()) };
        let minute = local.hour().saturating_mul(60).saturating_add(local.minute());
        if hours.start < hours.end {
            return days.contains(local.weekday()) && (hours.start..hours.end).contains(&minute);
        }
        // Past midnight the window belongs to the day it began on.
        (minute >= hours.start && days.contains(local.weekday()))
            || (minute < hours.end && days.contains(local.weekday().pred()))
    }

    /// The first moment after `now` at which days and hours do not hold.
    ///
    /// Zones shift their clocks at will, so the window is walked rather than computed: by minutes where hours are
    /// stated; by quarters of an hour otherwise, of which every zone's offset is a multiple, so that local midnight
    /// is met exactly. A week is 10,080 steps at most, and most windows end within a day.
    fn window_end(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let step = match (self.days, self.hours) {
            (None, None) => return None,
            (Some(_), None) => 15,
            _ => 1,
        };
        let stride = TimeDelta::minutes(step);
        let past = now.timestamp().rem_euclid(step.saturating_mul(60));
        let mut moment = now.with_nanosecond(0)?.checked_sub_signed(TimeDelta::seconds(past))?;
        let horizon = now.checked_add_signed(TimeDelta::days(7))?;
        while moment <= horizon {
            moment = moment.checked_add_signed(stride)?;
            if !self.is_in_window(moment) {
                return Some(moment);
            }
        }
        None
    }

    fn is_from(&self, address: IpAddr) -> bool {
        // A dual-stack listener reports IPv4 clients as ::ffff:a.b.c.d.
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

fn is_recent(facts: &Facts, within: Duration) -> bool {
    let Some(passed) = facts.mfa_at else { return false };
    let age = facts.now.signed_duration_since(passed);
    match age.to_std() {
        Ok(age) => age <= within,
        // In the future: clocks differ a little between machines, but a far future is a mistake or a lie.
        Err(_) => passed.signed_duration_since(facts.now).to_std().is_ok_and(|ahead| ahead <= MFA_SKEW_MAX),
    }
}

/// A set of week days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Days(u8);

impl Days {
    pub(crate) const ALL: Self = Self(0x7f);

    fn contains(self, day: Weekday) -> bool {
        self.0 & Self::bit(day) != 0
    }

    fn bit(day: Weekday) -> u8 {
        1u8.checked_shl(day.num_days_from_monday()).unwrap_or(0)
    }

    /// `mon-fri`, `sat,sun`, `fri-mon,wed`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut days = Self(0);
        for item in text.split(',') {
            let item = item.trim();
            let (first, last) = match item.split_once('-') {
                Some((first, last)) => (day(first)?, day(last)?),
                None => (day(item)?, day(item)?),
            };
            let mut at = first;
            loop {
                days.0 |= Self::bit(at);
                if at == last {
                    break;
                }
                at = at.succ();
            }
        }
        Ok(days)
    }
}

fn day(name: &str) -> Result<Weekday, String> {
    match name.trim() {
        "mon" => Ok(Weekday::Mon),
        "tue" => Ok(Weekday::Tue),
        "wed" => Ok(Weekday::Wed),
        "thu" => Ok(Weekday::Thu),
        "fri" => Ok(Weekday::Fri),
        "sat" => Ok(Weekday::Sat),
        "sun" => Ok(Weekday::Sun),
        other => Err(format!("`{}` is not a day (mon, tue, wed, thu, fri, sat, sun)", excerpt(other))),
    }
}

/// A daily window in minutes since midnight, the end not included; it passes midnight when the end is not after the
/// start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hours {
    start: u32,
    end: u32,
}

impl Hours {
    /// `08:00-18:00`, `22:00-06:00`, `00:00-24:00`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (start, end) = text
            .split_once('-')
            .ok_or_else(|| format!("`{}` is not a window such as 08:00-18:00", excerpt(text)))?;
        let (start, end) = (minute(start)?, minute(end)?);
        if start == 24 * 60 {
            return Err("a window cannot start at 24:00".to_owned());
        }
        if start == end {
            return Err("the window is empty (00:00-24:00 is the whole day)".to_owned());
        }
        Ok(Self { start, end })
    }
}

fn minute(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{}` is not a time such as 08:00", excerpt(text));
    let (hour, minute) = text.trim().split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str| match digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<u32>().ok(),
        false => None,
    };
    match (number(hour), number(minute)) {
        (Some(24), Some(0)) => Ok(24 * 60),
        (Some(hour @ 0..24), Some(minute @ 0..60)) => Ok(hour.saturating_mul(60).saturating_add(minute)),
        _ => Err(wrong()),
    }
}
