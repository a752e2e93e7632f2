//! The Open Cybersecurity Schema Framework.

use serde_json::{Value, json};

use super::{PRODUCT, VENDOR, VERSION, known, own_fields};
use crate::detect::rule::Severity;
use crate::detect::{Alert, AlertState};
use crate::event::{Detail, Event, Method, Outcome, RiskLevel};
use crate::id::TenantId;
use crate::store::Record;

/// The version of the schema that events are written in. It has no number for unlocking yet: that is written as another activity.
pub const OCSF_VERSION: &str = "1.2.0";

/// An event as OCSF has it: `Authentication` (3002) for factors and logins, `Account Change` (3001) for locks and recoveries.
///
/// `time` and `metadata.logged_time` are milliseconds since 1970. A lock that was set is a success as an account change, whatever the
/// outcome for the person; the event's own outcome is `status_code`. `severity_id` is that of the type, raised to the risk's level where
/// that is known. What the schema has no name for is in `unmapped` under this crate's names.
pub fn ocsf(tenant: &TenantId, record: &Record) -> Value {
    let event = &*record.event;
    let (class, activity, activity_name) = activity(event);
    let class_name = if class == AUTHENTICATION { "Authentication" } else { "Account Change" };
    let (status, status_name) = match (event.detail(), event.outcome()) {
        (Detail::AccountLocked { .. }, _) | (_, Outcome::Success) => (1, "Success"),
        (_, Outcome::Failure | Outcome::Blocked) => (2, "Failure"),
    };
    let (severity, severity_name) = severity(event);
    let method = method(event.detail());
    let geo = event.geo_location();
    let is_authentication = class == AUTHENTICATION;
    known(json!({
        "activity_id": activity,
        "activity_name": activity_name,
        "category_name": "Identity & Access Management",
        "category_uid": 3,
        "class_name": class_name,
        "class_uid": class,
        "type_name": format!("{class_name}: {activity_name}"),
        "type_uid": class * 100 + activity,
        "time": event.at().as_datetime().timestamp_millis(),
        "severity": severity_name,
        "severity_id": severity,
        "status": status_name,
        "status_code": event.outcome(),
        "status_detail": detail(event),
        "status_id": status,
        "message": event.message(),
        "metadata": {
            "correlation_uid": event.correlation(),
            "event_code": event.event_type(),
            "logged_time": record.ingested_at.as_datetime().timestamp_millis(),
            "product": { "name": PRODUCT, "vendor_name": VENDOR, "version": VERSION },
            "sequence": record.offset.as_u64(),
            "tenant_uid": tenant,
            "uid": event.id(),
            "version": OCSF_VERSION,
        },
        "user": { "uid": event.actor() },
        "src_endpoint": {
            "autonomous_system": { "number": geo.and_then(|geo| geo.asn) },
            "ip": event.source_ip(),
            "location": {
                "city": geo.and_then(|geo| geo.city.as_deref()),
                "country": geo.and_then(|geo| geo.country),
                "lat": geo.and_then(|geo| geo.lat),
                "long": geo.and_then(|geo| geo.lon),
                "region": geo.and_then(|geo| geo.region.as_deref()),
            },
            "uid": event.device(),
        },
        // One of service and destination is required: what the person wanted to reach, or else whoever asked for the factor.
        "service": is_authentication.then(|| match event.target() {
            Some(target) => json!({ "uid": target }),
            None => json!({ "name": "authentication" }),
        }),
        "session": is_authentication.then(|| json!({ "uid": event.session() })),
        "is_mfa": (is_authentication && method.is_some()).then_some(true),
        "auth_factors": method.filter(|_| is_authentication).map(|method| [factor(method)]),
        "unmapped": own_fields(record),
    }))
}

/// An alert as OCSF has it: a `Detection Finding` (2004) that is created, updated and closed under one `finding_info.uid`.
///
/// Times are milliseconds since 1970. What the schema has no name for is in `unmapped` under this crate's names.
pub fn ocsf_alert(alert: &Alert) -> Value {
    let (activity, activity_name) = match alert.state {
        AlertState::Opened => (1, "Create"),
        AlertState::Updated => (2, "Update"),
        AlertState::Closed => (3, "Close"),
    };
    let (status, status_name) = if alert.state == AlertState::Closed { (4, "Resolved") } else { (1, "New") };
    let (severity, severity_name) = match alert.severity {
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    };
    let ms = |at: crate::event::Timestamp| at.as_datetime().timestamp_millis();
    let actors = alert.actor_ids.iter().map(|actor| json!({ "actor": { "user": { "uid": actor } } }));
    known(json!({
        "activity_id": activity,
        "activity_name": activity_name,
        "category_name": "Findings",
        "category_uid": 2,
        "class_name": "Detection Finding",
        "class_uid": DETECTION_FINDING,
        "type_name": format!("Detection Finding: {activity_name}"),
        "type_uid": DETECTION_FINDING * 100 + activity,
        "time": ms(alert.at),
        "start_time": ms(alert.first_event_at),
        "end_time": ms(alert.last_met_at),
        "count": alert.events,
        "severity": severity_name,
        "severity_id": severity,
        "status": status_name,
        "status_id": status,
        "message": alert.to_string(),
        "metadata": {
            "event_code": alert.rule,
            "product": { "name": PRODUCT, "vendor_name": VENDOR, "version": VERSION },
            "tenant_uid": alert.tenant_id,
            "uid": crate::respond::notice_id(alert),
            "version": OCSF_VERSION,
        },
        "finding_info": {
            "analytic": { "name": alert.name, "type": "Rule", "type_id": 1, "uid": alert.rule },
            "created_time": ms(alert.opened_at),
            "first_seen_time": ms(alert.first_event_at),
            "last_seen_time": ms(alert.last_met_at),
            "modified_time": ms(alert.at),
            "title": alert.name,
            "uid": alert.id,
        },
        "evidences": actors.collect::<Value>(),
        "unmapped": {
            "actors": alert.actors,
            "finding": alert.finding,
            "first_offset": alert.first_offset.to_string(),
            "group": alert.group,
            "is_exact": alert.is_exact,
            "late_events": alert.late_events,
            "source_ips": alert.source_ips,
            "sources": alert.sources,
        },
    }))
}

const DETECTION_FINDING: u64 = 2004;
const AUTHENTICATION: u64 = 3002;
const ACCOUNT_CHANGE: u64 = 3001;

fn activity(event: &Event) -> (u64, u64, &'static str) {
    match event.detail() {
        Detail::MfaFailure { .. } | Detail::LoginSuccess { .. } | Detail::LoginFailure { .. } => {
            (AUTHENTICATION, 1, "Logon")
        }
        Detail::AccountLocked { .. } => (ACCOUNT_CHANGE, 9, "Lock"),
        // 12 in later versions.
        Detail::AccountUnlocked { .. } => (ACCOUNT_CHANGE, 99, "Unlock"),
        Detail::RecoveryAttempted { recovery_method } => {
            match recovery_method.as_ref().map(|code| code.as_str()) {
                Some("email_link" | "password_reset") => (ACCOUNT_CHANGE, 4, "Password Reset"),
                Some("factor_enrollment") => (ACCOUNT_CHANGE, 10, "MFA Factor Enable"),
                Some("factor_reset") => (ACCOUNT_CHANGE, 11, "MFA Factor Disable"),
                _ => (ACCOUNT_CHANGE, 99, "Recovery"),
            }
        }
    }
}

/// From 1, informational, to 5, critical.
pub(super) fn severity(event: &Event) -> (u64, &'static str) {
    let of_type = match event.detail() {
        Detail::LoginSuccess { .. } | Detail::AccountUnlocked { .. } => 1,
        Detail::MfaFailure { .. } | Detail::LoginFailure { .. } | Detail::RecoveryAttempted { .. } => 2,
        Detail::AccountLocked { .. } => 3,
    };
    let of_risk = match event.risk_context().and_then(|risk| risk.level) {
        None | Some(RiskLevel::Low) => 1,
        Some(RiskLevel::Medium) => 3,
        Some(RiskLevel::High) => 4,
        Some(RiskLevel::Critical) => 5,
    };
    match of_type.max(of_risk) {
        1 => (1, "Informational"),
        2 => (2, "Low"),
        3 => (3, "Medium"),
        4 => (4, "High"),
        _ => (5, "Critical"),
    }
}

pub(super) fn method(detail: &Detail) -> Option<Method> {
    match detail {
        Detail::MfaFailure { method, .. } => Some(*method),
        Detail::LoginSuccess { method } | Detail::LoginFailure { method, .. } => *method,
        Detail::AccountLocked { .. } | Detail::AccountUnlocked { .. } | Detail::RecoveryAttempted { .. } => {
            None
        }
    }
}

/// Why, in the one word that an event of this type has for it.
pub(super) fn detail(event: &Event) -> Option<&str> {
    match event.detail() {
        Detail::MfaFailure { reason, .. } => Some(reason.as_str()),
        Detail::AccountLocked { lock_reason: Some(reason), .. } => Some(reason.as_str()),
        _ => event.reason().map(|code| code.as_str()),
    }
}

fn factor(method: Method) -> Value {
    match method {
        Method::Totp => json!({ "factor_type": "OTP", "factor_type_id": 7, "is_totp": true }),
        Method::Push => json!({ "factor_type": "Push Notification", "factor_type_id": 5 }),
        Method::HardwareToken => json!({ "factor_type": "Hardware Token", "factor_type_id": 6 }),
        Method::Fido2 => json!({ "factor_type": "WebAuthn", "factor_type_id": 10 }),
    }
}
