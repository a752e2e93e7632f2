//! Dates in one form made into another.

use std::fmt::Write as _;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};

/// Longest format, in bytes.
const FORMAT_BYTES_MAX: usize = 100;

/// A form of dates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DateForm {
    /// `2024-02-01T00:00:00Z`
    Rfc3339,
    /// As `strftime` says, checked.
    Format(String),
}

impl DateForm {
    /// The form, if a date can be read or written in it.
    pub(crate) fn parse(format: &str) -> Result<Self, &'static str> {
        if format.len() > FORMAT_BYTES_MAX {
            return Err("the format is longer than 100 bytes");
        }
        match StrftimeItems::new(format).all(|item| !matches!(item, Item::Error)) {
            true if format.contains('%') => Ok(Self::Format(format.to_owned())),
            true => Err("the format names no part of a date, such as `%Y-%m-%d`"),
            false => Err("not a format of `strftime`"),
        }
    }

    /// As it is written in a mapping.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Rfc3339 => "RFC 3339",
            Self::Format(format) => format,
        }
    }

    /// The moment; without a zone in UTC, without a time the day's first.
    pub(crate) fn read(&self, text: &str) -> Option<DateTime<Utc>> {
        let Self::Format(format) = self else {
            return DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
        };
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Some(time.to_utc());
        }
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc());
        }
        NaiveDate::parse_from_str(text, format).ok().map(|day| day.and_time(NaiveTime::MIN).and_utc())
    }

    /// The text; `None` where the moment cannot be written so.
    pub(crate) fn write(&self, time: DateTime<Utc>) -> Option<String> {
        match self {
            Self::Rfc3339 => Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            Self::Format(format) => {
                let mut text = String::new();
                write!(text, "{}", time.format(format)).ok()?;
                Some(text)
            }
        }
    }
}
