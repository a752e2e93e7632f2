//! The instant at which something ends.

use chrono::{DateTime, Days, Duration, LocalResult, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// When something ends.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// At this instant.
    At(DateTime<Utc>),
    /// With the end of this day, the last on which access is had, where the person works.
    EndOf {
        /// The last day.
        day: NaiveDate,
        /// Where, by its name in the time zone database: `Asia/Kolkata`.
        zone: Tz,
    },
}

/// A day that no calendar reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the date is out of range")]
pub struct EndError;

impl End {
    /// The instant.
    ///
    /// A day ends when the next begins: at the first instant of the zone's next day, which is not midnight where clocks are
    /// put forward at midnight.
    ///
    /// # Errors
    /// At the end of the calendar, 262,000 years from now.
    pub fn instant(&self) -> Result<DateTime<Utc>, EndError> {
        self.days_before(0)
    }

    /// So many days earlier: calendar days of the zone, or 24 hours each.
    pub(super) fn days_before(&self, days: u16) -> Result<DateTime<Utc>, EndError> {
        match self {
            Self::At(instant) => instant.checked_sub_signed(Duration::days(i64::from(days))).ok_or(EndError),
            Self::EndOf { day, zone } => {
                let next = day.succ_opt().and_then(|day| day.checked_sub_days(Days::new(u64::from(days))));
                first_instant(next.ok_or(EndError)?, *zone)
            }
        }
    }
}

/// Zones have skipped an hour at midnight, and (Samoa, 2011) a whole day.
fn first_instant(day: NaiveDate, zone: Tz) -> Result<DateTime<Utc>, EndError> {
    const QUARTER_MINUTES: i64 = 15;
    const TRIES_MAX: i64 = 2 * 24 * 4;
    let midnight = day.and_time(NaiveTime::MIN);
    for quarter in 0..=TRIES_MAX {
        let local = midnight
            .checked_add_signed(Duration::minutes(quarter.saturating_mul(QUARTER_MINUTES)))
            .ok_or(EndError)?;
        match zone.from_local_datetime(&local) {
            LocalResult::Single(instant) => return Ok(instant.with_timezone(&Utc)),
            // The day begins with the first of the two.
            LocalResult::Ambiguous(first, _) => return Ok(first.with_timezone(&Utc)),
            LocalResult::None => {}
        }
    }
    Err(EndError)
}
