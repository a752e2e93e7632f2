//! Reading keys and values of a TOML table with their places.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Reader, excerpt};
use crate::limits::DURATION_MAX;
use crate::policy::condition::{Days, Hours, When};

/// A table whose keys are taken one by one; what remains is unknown.
pub(super) struct Fields<'a> {
    table: &'a DeTable<'a>,
    offset: usize,
    taken: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    /// `offset` is where the table begins.
    pub(super) fn new(table: &'a DeTable<'a>, offset: usize) -> Self {
        Self { table, offset, taken: BTreeSet::new() }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.taken.insert(key);
        self.table.get(key)
    }

    /// Looks at a value that will be taken later.
    pub(super) fn peek(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    pub(super) fn rest(&self) -> impl Iterator<Item = (&str, usize)> {
        let keys = self.table.iter().map(|(key, _)| (key.get_ref().as_ref(), key.span().start));
        keys.filter(|(key, _)| !self.taken.contains(key))
    }
}

impl Reader<'_> {
    /// The strings of an array with their places. What is not a string is a mistake and left out.
    pub(super) fn strings<'v>(
        &mut self,
        value: &'v Spanned<DeValue<'_>>,
        key: &str,
    ) -> Vec<(&'v str, usize)> {
        let Some(items) = value.get_ref().as_array() else {
            self.mistake(value.span().start, format!("`{key}` must be a list of strings"));
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_str() {
                Some(text) => strings.push((text, item.span().start)),
                None => self.mistake(item.span().start, format!("`{key}` must be a list of strings")),
            }
        }
        strings
    }

    /// One string, or a list of them.
    fn one_or_more<'v>(&mut self, value: &'v Spanned<DeValue<'_>>, key: &str) -> Vec<(&'v str, usize)> {
        match value.get_ref().as_str() {
            Some(text) => vec![(text, value.span().start)],
            None => self.strings(value, key),
        }
    }

    pub(super) fn flag(&mut self, fields: &mut Fields<'_>, key: &'static str) -> bool {
        let Some(value) = fields.take(key) else { return false };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.mistake(value.span().start, format!("`{key}` must be true or false"));
            false
        })
    }

    pub(super) fn duration(
        &mut self,
        fields: &mut Fields<'_>,
        key: &'static str,
    ) -> Option<(Duration, usize)> {
        let value = fields.take(key)?;
        let place = value.span().start;
        match value.get_ref().as_str().map(duration) {
            Some(Ok(duration)) => Some((duration, place)),
            Some(Err(message)) => {
                self.mistake(place, format!("`{key}`: {message}"));
                None
            }
            None => {
                self.mistake(place, format!("`{key}` must be a duration such as \"10m\""));
                None
            }
        }
    }

    /// A whole number from 0 to 100.
    fn percent(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<u8> {
        let value = fields.take(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.to_string().parse::<u8>().ok().filter(|number| *number <= 100),
            _ => None,
        };
        if number.is_none() {
            self.mistake(value.span().start, format!("`{key}` must be a whole number from 0 to 100"));
        }
        number
    }

    fn moment(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<(DateTime<Utc>, usize)> {
        let value = fields.take(key)?;
        let text = match value.get_ref() {
            DeValue::Datetime(moment) => moment.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        match DateTime::parse_from_rfc3339(&text) {
            Ok(moment) => Some((moment.with_timezone(&Utc), value.span().start)),
            Err(_) => {
                let message =
                    format!("`{key}` must be a moment with its offset, such as 2026-01-31T09:00:00+05:30");
                self.mistake(value.span().start, message);
                None
            }
        }
    }

    fn text<'v, T>(
        &mut self,
        fields: &mut Fields<'v>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = fields.take(key)?;
        let parsed = match value.get_ref().as_str() {
            Some(text) => parse(text),
            None => Err("must be a string".to_owned()),
        };
        parsed.map_err(|message| self.mistake(value.span().start, format!("`{key}`: {message}"))).ok()
    }

    /// A list in which each item is parsed; an empty list is a mistake, since it could never hold.
    fn list<T>(
        &mut self,
        fields: &mut Fields<'_>,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = fields.take(key) else { return Vec::new() };
        let before = self.mistakes.len();
        let items = self.one_or_more(value, key);
        if items.is_empty() && self.mistakes.len() == before {
            self.mistake(value.span().start, format!("`{key}` is empty: the rule would never hold"));
        }
        let mut parsed = Vec::with_capacity(items.len());
        for (item, offset) in items {
            match parse(item) {
                Ok(item) => parsed.push(item),
                Err(message) => self.mistake(offset, format!("`{key}`: {message}")),
            }
        }
        parsed
    }

    pub(super) fn when(&mut self, value: &Spanned<DeValue<'_>>) -> Option<When> {
        let place = value.span().start;
        let Some(table) = value.get_ref().as_table() else {
            self.mistake(place, "`when` must be a table such as { days = \"mon-fri\" }");
            return None;
        };
        if table.is_empty() {
            self.mistake(place, "`when` states no condition");
        }
        let mut fields = Fields::new(table, place);
        let days = self.text(&mut fields, "days", Days::parse);
        let hours = self.text(&mut fields, "hours", Hours::parse);
        if let Some(zone) = fields.take("zone")
            && table.get("days").or_else(|| table.get("hours")).is_none()
        {
            self.mistake(zone.span().start, "`zone` means nothing without `days` or `hours`");
        }
        let zone = self.text(&mut fields, "zone", |name| {
            name.parse::<Tz>().map_err(|_| format!("`{}` is not an IANA time zone", excerpt(name)))
        });
        let from = self.moment(&mut fields, "from");
        let until = self.moment(&mut fields, "until");
        if let (Some((from, _)), Some((until, place))) = (from, until)
            && until <= from
        {
            self.mistake(place, "`until` must be later than `from`");
        }
        let when = When {
            days,
            hours,
            zone: zone.unwrap_or(Tz::UTC),
            from: from.map(|(moment, _)| moment),
            until: until.map(|(moment, _)| moment),
            networks: self.list(&mut fields, "networks", network),
            countries: self.list(&mut fields, "countries", country),
            reputation_min: self.percent(&mut fields, "reputation_min"),
            devices: self.list(&mut fields, "device", |standing| match standing.trim().is_empty() {
                true => Err("the standing is empty".to_owned()),
                false => Ok(standing.to_owned()),
            }),
            mfa_within: self.duration(&mut fields, "mfa_within").map(|(within, _)| within),
            risk_max: self.percent(&mut fields, "risk_max"),
        };
        self.unknown(&fields, "`when`");
        Some(when)
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = match (text.parse::<IpNet>(), text.parse::<std::net::IpAddr>()) {
        (Ok(network), _) => network,
        (Err(_), Ok(address)) => IpNet::from(address),
        _ => return Err(format!("`{}` is not a network such as 10.0.0.0/8", excerpt(text))),
    };
    match network.trunc() == network {
        true => Ok(network),
        false => Err(format!("`{text}` has bits set beyond its prefix (`{}` is meant?)", network.trunc())),
    }
}

fn country(text: &str) -> Result<String, String> {
    match text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{}` is not a country code such as IN (ISO 3166-1 alpha-2, capitals)",
            excerpt(text)
        )),
    }
}

/// `90s`, `10m`, `1h30m`, `2d`; more than nothing and at most [`DURATION_MAX`].
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{}` is not a duration such as 90s, 10m, 1h30m, 2d", excerpt(text));
    let mut seconds = 0u64;
    let mut digits = String::new();
    let mut last_unit = u64::MAX;
    for character in text.chars() {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        let unit: u64 = match character {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return Err(wrong()),
        };
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        if unit >= last_unit {
            return Err(wrong());
        }
        last_unit = unit;
        seconds = count.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
        digits.clear();
    }
    let duration = Duration::from_secs(seconds);
    match (digits.is_empty() && !text.is_empty(), duration.is_zero(), duration <= DURATION_MAX) {
        (false, _, _) => Err(wrong()),
        (_, true, _) => Err("the duration is zero".to_owned()),
        (_, _, false) => Err(format!(
            "`{}` is longer than {} days",
            excerpt(text),
            DURATION_MAX.as_secs() / (24 * 60 * 60)
        )),
        _ => Ok(duration),
    }
}
