//! The Common Event Format.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{PRODUCT, VENDOR, VERSION, ends_a_line, ocsf};
use crate::event::{Detail, EventType};
use crate::id::TenantId;
use crate::store::Record;

/// An event as a line of CEF (version 0), without the header of a transport: [`Syslog`](super::Syslog) gives it one.
///
/// The severity is from 2 to 10. IPv6 addresses are in `c6a2`, as `src` has no place for them. What a sender added in `ext` is left out:
/// CEF has no nested values.
pub fn cef(tenant: &TenantId, record: &Record) -> String {
    let event = &*record.event;
    let event_type = event.event_type();
    let mut line = String::from("CEF:0");
    let severity = ocsf::severity(event).0.saturating_mul(2).to_string();
    for field in [VENDOR, PRODUCT, VERSION, event_type.as_str(), name(event_type), &severity] {
        line.push('|');
        header(&mut line, field);
    }
    line.push('|');
    let mut extension = Extension { line, is_first: true };
    extension.add("rt", &event.at().as_datetime().timestamp_millis().to_string());
    extension.add("externalId", &event.id().to_string());
    extension.add("outcome", event.outcome().as_str());
    extension.add("duid", event.actor().as_str());
    match event.source_ip() {
        Some(IpAddr::V4(ip)) => extension.add("src", &ip.to_string()),
        Some(IpAddr::V6(ip)) => extension.custom("c6a2", "Source IPv6 Address", &ip.to_string()),
        None => {}
    }
    extension.some("reason", ocsf::detail(event));
    extension.some("msg", event.message());
    match event.detail() {
        Detail::AccountLocked { lock_until, .. } => {
            extension.add("act", "blocked");
            if let Some(until) = lock_until {
                let at = until.as_datetime().timestamp_millis().to_string();
                extension.custom("deviceCustomDate1", "lock_until", &at);
            }
        }
        Detail::AccountUnlocked { unlock_method } => {
            extension.add("act", "unlocked");
            extension.some_custom("cs1", "unlock_method", unlock_method.as_ref().map(|code| code.as_str()));
        }
        Detail::RecoveryAttempted { recovery_method } => {
            extension.some_custom(
                "cs1",
                "recovery_method",
                recovery_method.as_ref().map(|code| code.as_str()),
            );
        }
        Detail::MfaFailure { .. } | Detail::LoginSuccess { .. } | Detail::LoginFailure { .. } => {
            let method = ocsf::method(event.detail()).map(|method| method.as_str());
            extension.some_custom("cs1", "mfa_method", method);
        }
    }
    if let Detail::MfaFailure { failed_attempt_count: Some(count), .. }
    | Detail::AccountLocked { failed_attempt_count: Some(count), .. }
    | Detail::LoginFailure { failed_attempt_count: Some(count), .. } = event.detail()
    {
        extension.custom("cn1", "failed_attempt_count", &count.to_string());
    }
    if let Some(geo) = event.geo_location() {
        let parts = [
            geo.country.as_ref().map(|country| country.as_str()),
            geo.region.as_deref(),
            geo.city.as_deref(),
        ];
        let place = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        extension.some_custom("cs2", "geo_location", Some(place.as_str()).filter(|place| !place.is_empty()));
        if let (Some(lat), Some(lon)) = (geo.lat, geo.lon) {
            extension.custom("cfp1", "lat", &lat.to_string());
            extension.custom("cfp2", "lon", &lon.to_string());
        }
    }
    if let Some(score) = event.risk_context().and_then(|risk| risk.score) {
        extension.custom("cn2", "risk_score", &format!("{score:.0}"));
    }
    extension.some_custom("cs3", "target_id", event.target().map(|id| id.as_str()));
    extension.some_custom("cs4", "session_id", event.session().map(|id| id.as_str()));
    extension.some_custom("cs5", "correlation_id", event.correlation().map(|id| id.as_str()));
    extension.some_custom("cs6", "device_id", event.device().map(|id| id.as_str()));
    extension.custom("flexString1", "tenant_id", tenant.as_str());
    extension.line
}

fn name(event_type: EventType) -> &'static str {
    match event_type {
        EventType::MfaFailure => "Second factor failed",
        EventType::AccountLocked => "Account locked",
        EventType::AccountUnlocked => "Account unlocked",
        EventType::RecoveryAttempted => "Account recovery attempted",
        EventType::LoginSuccess => "Login succeeded",
        EventType::LoginFailure => "Login failed",
    }
}

/// A field of the header: backslashes and pipes are escaped, and whatever ends a line is a space.
fn header(line: &mut String, field: &str) {
    for character in field.chars() {
        match character {
            '\\' | '|' => line.extend(['\\', character]),
            other if ends_a_line(other) => line.push(' '),
            other => line.push(other),
        }
    }
}

struct Extension {
    line: String,
    is_first: bool,
}

impl Extension {
    /// Of a value, backslashes and equals signs are escaped, and line ends; other control characters are spaces.
    fn add(&mut self, key: &str, value: &str) {
        if !std::mem::take(&mut self.is_first) {
            self.line.push(' ');
        }
        // Writing into a text does not fail.
        let _ = write!(self.line, "{key}=");
        for character in value.chars() {
            match character {
                '\\' | '=' => self.line.extend(['\\', character]),
                '\n' => self.line.push_str("\\n"),
                '\r' => self.line.push_str("\\r"),
                other if ends_a_line(other) => self.line.push(' '),
                other => self.line.push(other),
            }
        }
    }

    fn some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }

    fn custom(&mut self, key: &str, label: &str, value: &str) {
        self.add(&format!("{key}Label"), label);
        self.add(key, value);
    }

    fn some_custom(&mut self, key: &str, label: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.custom(key, label, value);
        }
    }
}
