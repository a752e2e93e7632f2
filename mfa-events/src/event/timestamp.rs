//! Times as events carry them.

use std::fmt;

use chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::strict::text;

/// A time in UTC of whole milliseconds, from the year 0000 to 9999, as it stands in every event: `2026-01-31T09:15:27.042Z`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(DateTime<Utc>);

/// A zero stands for a digit.
const FORM: &[u8; 24] = b"0000-00-00T00:00:00.000Z";

/// Why there is no timestamp.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// Another form than the one that is published. Others would leave in doubt what a sender means.
    #[error("a timestamp is UTC with milliseconds, as in 2026-01-31T09:15:27.042Z")]
    Form,
    /// Of that form, but no date or time of day.
    #[error("there is no such date or time of day")]
    NoSuchTime,
    /// It cannot be written with four digits of a year.
    #[error("a timestamp is of the years 0000 to 9999")]
    Year,
}

impl Timestamp {
    /// The begin of 1970.
    pub(crate) const EPOCH: Self = Self(DateTime::UNIX_EPOCH);

    /// Of a time; what is smaller than a millisecond is left out.
    ///
    /// # Errors
    /// Where the year has no four digits.
    pub fn new(at: DateTime<Utc>) -> Result<Self, TimestampError> {
        use chrono::Datelike as _;
        match (0..=9999).contains(&at.year()) {
            true => Ok(Self(at.trunc_subsecs(3))),
            false => Err(TimestampError::Year),
        }
    }

    /// Reads the one form. A leap second (`23:59:60`) is no time here, as in most clocks.
    ///
    /// # Errors
    /// Where it is of another form, or there is no such time.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let Ok(bytes) = <&[u8; 24]>::try_from(text.as_bytes()) else { return Err(TimestampError::Form) };
        let is_of_form = bytes.iter().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        });
        if !is_of_form {
            return Err(TimestampError::Form);
        }
        // The form was checked: what is asked for is there, and are digits.
        let number = |from: usize, to: usize| {
            let digits = bytes.get(from..to).unwrap_or_default();
            digits.iter().fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'))
        };
        let year = i32::try_from(number(0, 4)).unwrap_or_default();
        NaiveDate::from_ymd_opt(year, number(5, 7), number(8, 10))
            .and_then(|date| {
                date.and_hms_milli_opt(number(11, 13), number(14, 16), number(17, 19), number(20, 23))
            })
            .map(|time| Self(time.and_utc()))
            .ok_or(TimestampError::NoSuchTime)
    }

    /// Its text, by way of one of the same form. Each event is written with two of these.
    fn text(self, form: &mut [u8; 24]) -> &str {
        use chrono::{Datelike as _, Timelike as _};
        let (date, time) = (self.0.date_naive(), self.0.time());
        let parts = [
            (0..4, date.year().unsigned_abs()),
            (5..7, date.month()),
            (8..10, date.day()),
            (11..13, time.hour()),
            (14..16, time.minute()),
            (17..19, time.second()),
            (20..23, self.0.timestamp_subsec_millis()),
        ];
        for (place, mut number) in parts {
            for digit in form.get_mut(place).unwrap_or_default().iter_mut().rev() {
                *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
        }
        // Digits, and what was there.
        std::str::from_utf8(form).unwrap_or_default()
    }

    /// As a time.
    pub fn as_datetime(self) -> DateTime<Utc> {
        self.0
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut FORM.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut FORM.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, Self::parse)
    }
}
