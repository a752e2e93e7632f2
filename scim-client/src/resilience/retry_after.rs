//! `Retry-After` (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use super::RETRY_AFTER_MAX;

/// How long the server asks to wait: seconds or a date, at the most [`RETRY_AFTER_MAX`]. `None` where it says nothing that
/// can be read.
///
/// A date counts from the answer's own `Date` where there is one: the server's clock, which may be wrong, is then on both
/// sides. A date in the past is no wait.
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(wait) = seconds(text) {
        return Some(wait.min(RETRY_AFTER_MAX));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let from = headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| httpdate::parse_http_date(date.trim()).ok())
        .unwrap_or_else(|| SystemTime::from(now));
    Some(until.duration_since(from).unwrap_or_default().min(RETRY_AFTER_MAX))
}

/// Whole seconds as the RFC says, and fractions, which some servers write.
fn seconds(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    // So many digits are more than any limit.
    let seconds: f64 = text.parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_AFTER_MAX))
}
