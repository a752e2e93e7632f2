//! The Elastic Common Schema.

use serde_json::{Value, json};

use super::{PRODUCT, known, ocsf, own_fields};
use crate::detect::rule::Severity;
use crate::detect::{Alert, AlertState};
use crate::event::{Detail, Outcome};
use crate::id::TenantId;
use crate::store::Record;

/// The version of the schema that events are written in.
pub const ECS_VERSION: &str = "8.11.0";

/// An event as the Elastic Common Schema has it.
///
/// Its outcomes are two: what was blocked is a failure there, and its own outcome stands in `mfa_events.outcome`. What the schema has no
/// name for is in `mfa_events` under this crate's names.
pub fn ecs(tenant: &TenantId, record: &Record) -> Value {
    let event = &*record.event;
    let (category, types) = match event.detail() {
        Detail::MfaFailure { .. } | Detail::LoginSuccess { .. } | Detail::LoginFailure { .. } => {
            ("authentication", &["start"][..])
        }
        Detail::AccountLocked { .. } | Detail::AccountUnlocked { .. } | Detail::RecoveryAttempted { .. } => {
            ("iam", &["user", "change"][..])
        }
    };
    let outcome = match event.outcome() {
        Outcome::Success => "success",
        Outcome::Failure | Outcome::Blocked => "failure",
    };
    let geo = event.geo_location();
    let location = geo.and_then(|geo| Some(json!({ "lat": geo.lat?, "lon": geo.lon? })));
    let mut own = own_fields(record);
    own.insert("outcome".to_owned(), event.outcome().as_str().into());
    own.insert("correlation_id".to_owned(), event.correlation().map(|id| id.as_str()).into());
    known(json!({
        "@timestamp": event.at(),
        "ecs": { "version": ECS_VERSION },
        "event": {
            "action": event.event_type().as_str().replace('.', "-"),
            "category": [category],
            "created": record.ingested_at,
            "dataset": "mfa_events.event",
            "id": event.id(),
            "kind": "event",
            "module": "mfa_events",
            "outcome": outcome,
            "provider": PRODUCT,
            "reason": ocsf::detail(event),
            "risk_score": event.risk_context().and_then(|risk| risk.score),
            "sequence": record.offset.as_u64(),
            "severity": ocsf::severity(event).0,
            "type": types,
        },
        "message": event.message(),
        "organization": { "id": tenant },
        "device": { "id": event.device() },
        "related": {
            "ip": event.source_ip().map(|ip| [ip]),
            "user": [event.actor()],
        },
        "source": {
            "as": { "number": geo.and_then(|geo| geo.asn) },
            "geo": {
                "city_name": geo.and_then(|geo| geo.city.as_deref()),
                "country_iso_code": geo.and_then(|geo| geo.country),
                "location": location,
                "region_name": geo.and_then(|geo| geo.region.as_deref()),
            },
            "ip": event.source_ip(),
        },
        "user": { "id": event.actor() },
        "mfa_events": own,
    }))
}

/// An alert as the Elastic Common Schema has it: `event.kind` is `alert`, and each of its turns is an event.
///
/// What the schema has no name for is in `mfa_events.alert`: the alert as this crate writes it.
pub fn ecs_alert(alert: &Alert) -> Value {
    let severity = match alert.severity {
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    };
    known(json!({
        "@timestamp": alert.at,
        "ecs": { "version": ECS_VERSION },
        "event": {
            "action": match alert.state {
                AlertState::Opened => "alert-opened",
                AlertState::Updated => "alert-updated",
                AlertState::Closed => "alert-closed",
            },
            "category": ["intrusion_detection"],
            "dataset": "mfa_events.alert",
            "end": alert.last_met_at,
            "id": crate::respond::notice_id(alert),
            "kind": "alert",
            "module": "mfa_events",
            "provider": PRODUCT,
            "severity": severity,
            "start": alert.first_event_at,
            "type": ["info"],
        },
        "message": alert.to_string(),
        "organization": { "id": alert.tenant_id },
        "related": { "user": alert.actor_ids },
        "rule": { "id": alert.rule, "name": alert.name },
        "mfa_events": { "alert": alert },
    }))
}
