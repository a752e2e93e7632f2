//! Times as people give them on a command line.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};

/// From when (inclusive) to when (exclusive); without an end where that is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
}

/// Reads `2026-01-31T09:15:27Z`, `2026-01-31T09:15` and `2026-01-31` (both UTC), or a span before `now`: `90s`,
/// `45m`, `2h`, `3d`, `1w`.
pub(crate) fn parse(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    if let Some(time) = absolute(text) {
        return Ok(time);
    }
    relative(text).and_then(|span| now.checked_sub_signed(span)).ok_or_else(|| {
        "not a time: give RFC 3339 such as `2026-01-31T09:15:27Z`, a date, or a span such as `2h` or `3d`"
            .into()
    })
}

fn absolute(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .into_iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let midnight = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    naive.or_else(midnight).map(|time| time.and_utc())
}

fn relative(text: &str) -> Option<TimeDelta> {
    let unit = text.chars().next_back()?;
    let count: i64 =
        text.strip_suffix(unit).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    match unit {
        's' => TimeDelta::try_seconds(count),
        'm' => TimeDelta::try_minutes(count),
        'h' => TimeDelta::try_hours(count),
        'd' => TimeDelta::try_days(count),
        'w' => TimeDelta::try_weeks(count),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn reads_absolute_times() {
        let now = at("2026-02-01T00:00:00Z");
        for (text, expected) in [
            ("2026-01-31T09:15:27.042Z", "2026-01-31T09:15:27.042Z"),
            ("2026-01-31T09:15:27+05:30", "2026-01-31T03:45:27Z"),
            ("2026-01-31T09:15", "2026-01-31T09:15:00Z"),
            ("2026-01-31 09:15:27", "2026-01-31T09:15:27Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
        ] {
            assert_eq!(parse(text, now), Ok(at(expected)), "{text}");
        }
    }

    #[test]
    fn reads_spans_before_now() {
        let now = at("2026-02-01T12:00:00Z");
        for (text, expected) in [
            ("90s", "2026-02-01T11:58:30Z"),
            ("45m", "2026-02-01T11:15:00Z"),
            ("2h", "2026-02-01T10:00:00Z"),
            ("3d", "2026-01-29T12:00:00Z"),
            ("1w", "2026-01-25T12:00:00Z"),
        ] {
            assert_eq!(parse(text, now), Ok(at(expected)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "h",
            "-2h",
            "+2h",
            "2",
            "2y",
            "yesterday",
            "99999999999999999999d",
            "9223372036854775807w",
            "2é",
        ] {
            assert!(parse(text, at("2026-02-01T12:00:00Z")).is_err(), "{text}");
        }
    }
}
