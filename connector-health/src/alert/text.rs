//! An alert as JSON and as a sentence.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Alert, AlertId, AlertState, Backlog, Occasion, Priority, Remedy, ReplayTotals, Resolution};
use crate::ConnectorId;
use crate::monitor::explain::span;
use crate::monitor::{Dimension, FailureClass, Tier};

impl Alert {
    /// Names this message: the same whenever and wherever it is sent. A UUIDv7 made of the time and the hash of alert and sequence.
    pub fn event_id(&self) -> Uuid {
        let digest = Sha256::new()
            .chain_update(self.alert_id.as_str())
            .chain_update([0])
            .chain_update(self.sequence.to_be_bytes())
            .finalize();
        let mut random = [0; 10];
        random.iter_mut().zip(digest).for_each(|(byte, digest)| *byte = digest);
        let ms = u64::try_from(self.at.timestamp_millis()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
    }

    /// `connector.degraded`, `connector.failed`, `connector.recovered`, `credential.expiring`, `leavers.held`.
    pub fn event_type(&self) -> &'static str {
        match (self.state, self.failure_type, self.tier) {
            (AlertState::Resolved, FailureClass::CredentialExpiring, _) => "credential.replaced",
            (AlertState::Resolved, FailureClass::LeaversHeld, _) => "leavers.released",
            (AlertState::Resolved, ..) => "connector.recovered",
            (AlertState::Open, FailureClass::CredentialExpiring, _) => "credential.expiring",
            (AlertState::Open, FailureClass::LeaversHeld, _) => "leavers.held",
            (AlertState::Open, _, Tier::Failed) => "connector.failed",
            (AlertState::Open, ..) => "connector.degraded",
        }
    }
}

/// One line for people.
impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connector, dimension, failure_type, tier, .. } = self;
        if let Some(resolution) = &self.resolution {
            let ReplayTotals { delivered, superseded, failed } = resolution.replay;
            let lasted = span(i64::try_from(resolution.duration_s.saturating_mul(1_000)).unwrap_or(i64::MAX));
            return match resolution.superseded_by {
                Some(class) => {
                    write!(f, "{connector}: {dimension} {failure_type} is {class} now, after {lasted}")
                }
                None => write!(
                    f,
                    "{connector}: {dimension} {failure_type} is over after {lasted}; replayed {delivered}, superseded {superseded}, given up {failed}"
                ),
            };
        }
        if *failure_type == FailureClass::LeaversHeld {
            return write!(f, "{connector}: {} leavers are held; {}", self.queue.held, self.remedy);
        }
        match self.credential_ends_at.filter(|_| *failure_type == FailureClass::CredentialExpiring) {
            Some(ends) => {
                let left = ends.signed_duration_since(self.at).num_milliseconds();
                write!(f, "{connector}: the credential ends in {}; {}", span(left.max(0)), self.remedy)?;
            }
            None => {
                let lasted = self.at.signed_duration_since(self.first_failure_at).num_milliseconds();
                write!(
                    f,
                    "{connector} is {tier}: {dimension} {failure_type} for {}; {}",
                    span(lasted.max(0)),
                    self.remedy
                )?;
            }
        }
        if let Some(age) = self.oldest_deprovision_age() {
            let waiting = self.queue.deprovisioning_queued;
            write!(f, "; {waiting} deprovisionings wait, the oldest for {}", span(age.num_milliseconds()))?;
        }
        Ok(())
    }
}

impl Remedy {
    pub(super) fn of(class: FailureClass) -> Self {
        match class {
            FailureClass::Unreachable => Self::OpenFirewall,
            FailureClass::Tls => Self::RepairTls,
            FailureClass::UnknownOutcome
            | FailureClass::ServerError
            | FailureClass::FailureRatio
            | FailureClass::BurnRate
            | FailureClass::SlowBurn
            | FailureClass::Divergent
            | FailureClass::Undelivered
            | FailureClass::Slow
            | FailureClass::OverCeiling => Self::AskOwner,
            FailureClass::CredentialRefused
            | FailureClass::LoginPage
            | FailureClass::CredentialExpired
            | FailureClass::CredentialExpiring => Self::RotateCredential,
            FailureClass::PermissionDenied | FailureClass::OperationRefused => Self::GrantPermission,
            FailureClass::SchemaMismatch => Self::FixMapping,
            FailureClass::Conflict => Self::ResolveConflict,
            FailureClass::Stale => Self::CheckWorker,
            FailureClass::RateLimited => Self::RaiseLimit,
            FailureClass::LeaversHeld => Self::ApproveLeavers,
            FailureClass::Unreadable => Self::RestoreStore,
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenFirewall => "check name, route and firewall",
            Self::RepairTls => "check certificates and TLS versions",
            Self::AskOwner => "ask the application's owner whether it works",
            Self::RotateCredential => "put a new credential in",
            Self::GrantPermission => "give the technical user its rights",
            Self::FixMapping => "fix the attribute mapping",
            Self::ResolveConflict => "resolve the conflicting accounts",
            Self::CheckWorker => "check that workers and probes run",
            Self::RaiseLimit => "slow down, or ask for a higher rate limit",
            Self::ApproveLeavers => "say whether so many people have left",
            Self::RestoreStore => "restore what is stored, or take the events in anew",
        })
    }
}

/// The JSON object.
#[derive(Serialize, Deserialize)]
pub(super) struct Wire {
    #[serde(skip_deserializing)]
    event_id: Uuid,
    #[serde(skip_deserializing)]
    event_type: &'static str,
    #[serde(with = "rfc3339_ms")]
    timestamp: DateTime<Utc>,
    #[serde(skip_deserializing)]
    target_id: Option<ConnectorId>,
    #[serde(skip_deserializing)]
    outcome: &'static str,
    #[serde(skip_deserializing)]
    reason: &'static str,
    #[serde(skip_deserializing)]
    message: String,
    alert_id: AlertId,
    sequence: u64,
    occasion: Occasion,
    connector: ConnectorId,
    dimension: Dimension,
    failure_type: FailureClass,
    tier: Tier,
    state: AlertState,
    priority: Priority,
    remedy: Remedy,
    #[serde(with = "rfc3339_ms")]
    first_failure_at: DateTime<Utc>,
    #[serde(default, with = "rfc3339_ms_option", skip_serializing_if = "Option::is_none")]
    last_success_at: Option<DateTime<Utc>>,
    provisioning_queued: u64,
    provisioning_failed: u64,
    deprovisioning_queued: u64,
    deprovisioning_failed: u64,
    #[serde(default)]
    held: u64,
    /// Seconds.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    oldest_deprovision_age_s: Option<i64>,
    #[serde(default, with = "rfc3339_ms_option", skip_serializing_if = "Option::is_none")]
    oldest_deprovision_at: Option<DateTime<Utc>>,
    #[serde(default)]
    replayed: ReplayTotals,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sample: Option<String>,
    #[serde(default, with = "rfc3339_ms_option", skip_serializing_if = "Option::is_none")]
    credential_ends_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resolution: Option<Resolution>,
}

impl Serialize for Alert {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire {
            event_id: self.event_id(),
            event_type: self.event_type(),
            timestamp: self.at,
            target_id: Some(self.connector.clone()),
            outcome: match (self.state, self.failure_type) {
                (AlertState::Resolved, _) => "success",
                (AlertState::Open, FailureClass::LeaversHeld) => "blocked",
                (AlertState::Open, _) => "failure",
            },
            reason: self.failure_type.code(),
            message: self.to_string(),
            alert_id: self.alert_id.clone(),
            sequence: self.sequence,
            occasion: self.occasion,
            connector: self.connector.clone(),
            dimension: self.dimension,
            failure_type: self.failure_type,
            tier: self.tier,
            state: self.state,
            priority: self.priority,
            remedy: self.remedy,
            first_failure_at: self.first_failure_at,
            last_success_at: self.last_success_at,
            provisioning_queued: self.queue.provisioning_queued,
            provisioning_failed: self.queue.provisioning_failed,
            deprovisioning_queued: self.queue.deprovisioning_queued,
            deprovisioning_failed: self.queue.deprovisioning_failed,
            held: self.queue.held,
            oldest_deprovision_age_s: self.oldest_deprovision_age().map(|age| age.num_seconds()),
            oldest_deprovision_at: self.queue.oldest_deprovision_at,
            replayed: self.queue.replayed,
            sample: self.sample.clone(),
            credential_ends_at: self.credential_ends_at,
            resolution: self.resolution,
        }
        .serialize(serializer)
    }
}

impl From<Wire> for Alert {
    fn from(wire: Wire) -> Self {
        Self {
            alert_id: wire.alert_id,
            sequence: wire.sequence,
            at: wire.timestamp,
            occasion: wire.occasion,
            connector: wire.connector,
            dimension: wire.dimension,
            failure_type: wire.failure_type,
            tier: wire.tier,
            state: wire.state,
            priority: wire.priority,
            remedy: wire.remedy,
            first_failure_at: wire.first_failure_at,
            last_success_at: wire.last_success_at,
            queue: Backlog {
                provisioning_queued: wire.provisioning_queued,
                provisioning_failed: wire.provisioning_failed,
                deprovisioning_queued: wire.deprovisioning_queued,
                deprovisioning_failed: wire.deprovisioning_failed,
                held: wire.held,
                oldest_deprovision_at: wire.oldest_deprovision_at,
                replayed: wire.replayed,
            },
            sample: wire.sample,
            credential_ends_at: wire.credential_ends_at,
            resolution: wire.resolution,
        }
    }
}

/// RFC 3339 in UTC with milliseconds.
mod rfc3339_ms {
    use super::*;

    pub(super) fn serialize<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<DateTime<Utc>, D::Error> {
        DateTime::deserialize(deserializer)
    }
}

mod rfc3339_ms_option {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        at: &Option<DateTime<Utc>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => rfc3339_ms::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        Option::deserialize(deserializer)
    }
}
