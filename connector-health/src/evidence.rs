//! What became of each event, as a record that others read.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::event::{Lane, Subject};
use crate::lane::{Attempt, EventRecord, EventState};

/// Closes an event: this is how it ended. Its evidence is bound to what its lane gave before.
pub(crate) fn close(record: &mut EventRecord, state: EventState, chain: &mut Option<String>) {
    record.state = state;
    record.prev_hash = chain.take();
    record.hash = None;
    record.hash = digest(record);
    chain.clone_from(&record.hash);
}

/// Hash of a closed event, as the event itself should state it.
pub fn digest(record: &EventRecord) -> Option<String> {
    let json = serde_json::to_vec(&EventRecord { hash: None, ..record.clone() }).ok()?;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(json) {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

pub(crate) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn time<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

fn optional_time<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(rfc3339).serialize(serializer)
}

/// One event with all that happened about it. Names of attributes are in it, their values are not.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Evidence {
    /// Name of the event.
    pub event_id: String,
    /// `account.provisioned` and the like.
    pub event_type: &'static str,
    /// When this became so.
    #[serde(serialize_with = "time")]
    pub timestamp: DateTime<Utc>,
    /// Whose account, or which group.
    pub target_id: String,
    /// Which application.
    pub connector: String,
    /// What was to happen, in a word.
    pub action: &'static str,
    /// `success`, `failure`, `blocked` or `unknown`.
    pub outcome: &'static str,
    /// Where the event is.
    pub reason: &'static str,
    /// What it belongs together with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// What set it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// Who approved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// Number of the intent.
    pub intent_seq: u64,
    /// When it happened at its source.
    #[serde(serialize_with = "time")]
    pub occurred_at: DateTime<Utc>,
    /// When it was accepted.
    #[serde(serialize_with = "time")]
    pub accepted_at: DateTime<Utc>,
    /// When it failed first, or could not be sent since its connector failed.
    #[serde(serialize_with = "optional_time", skip_serializing_if = "Option::is_none")]
    pub failure_started_at: Option<DateTime<Utc>>,
    /// When it no longer failed.
    #[serde(serialize_with = "optional_time", skip_serializing_if = "Option::is_none")]
    pub failure_ended_at: Option<DateTime<Utc>>,
    /// When the attempt began that succeeded after others had failed.
    #[serde(serialize_with = "optional_time", skip_serializing_if = "Option::is_none")]
    pub replayed_at: Option<DateTime<Utc>>,
    /// When it was read to be so.
    #[serde(serialize_with = "optional_time", skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Which event says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// How often it was tried.
    pub attempt_count: u32,
    /// Each time.
    pub attempts: Vec<Attempt>,
    /// Hash of the evidence before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev_hash: Option<String>,
    /// Hash of this one, as it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

impl Evidence {
    /// Of an event and the attempts at it.
    pub fn new(record: &EventRecord, attempts: Vec<Attempt>) -> Self {
        let event = &record.event;
        let (outcome, timestamp) = match &record.state {
            EventState::Succeeded { confirmed_at, .. } => ("success", *confirmed_at),
            EventState::Superseded { at, .. } => ("success", *at),
            EventState::Dead { at, .. } => ("failure", *at),
            EventState::Rejected { at, .. } => ("blocked", *at),
            EventState::Held { since } | EventState::Excepted { since, .. } => ("blocked", *since),
            EventState::Blocked { since, .. } => ("blocked", *since),
            EventState::RetryAt { .. } => {
                ("failure", record.failure_started_at.unwrap_or(record.accepted_at))
            }
            EventState::Pending | EventState::InFlight | EventState::Unknown { .. } => {
                ("unknown", record.accepted_at)
            }
        };
        let (confirmed_at, superseded_by) = match &record.state {
            EventState::Succeeded { confirmed_at, .. } => (Some(*confirmed_at), None),
            EventState::Superseded { by, .. } => (None, Some(by.to_string())),
            _ => (None, None),
        };
        Self {
            event_id: event.id().to_string(),
            event_type: event_type(event.intent().action()),
            timestamp,
            target_id: target(event.lane()).to_owned(),
            connector: event.lane().connector.to_string(),
            action: event.intent().action(),
            outcome,
            reason: record.state.name(),
            correlation_id: event.correlation_id().map(str::to_owned),
            trigger: event.trigger().map(str::to_owned),
            approver: event.approver().map(str::to_owned),
            intent_seq: record.order.seq,
            occurred_at: event.time(),
            accepted_at: record.accepted_at,
            failure_started_at: record.failure_started_at,
            failure_ended_at: record.failure_ended_at,
            replayed_at: record.replayed_at,
            confirmed_at,
            superseded_by,
            attempt_count: record.attempts,
            attempts,
            prev_hash: record.prev_hash.clone(),
            hash: record.hash.clone(),
        }
    }
}

fn event_type(action: &str) -> &'static str {
    match action {
        "provision" => "account.provisioned",
        "reactivate" => "account.reactivated",
        "grant" => "entitlement.granted",
        "revoke" => "entitlement.revoked",
        "deprovision" => "account.deprovisioned",
        "group" => "group.updated",
        _ => "account.updated",
    }
}

pub(crate) fn target(lane: &Lane) -> &str {
    match &lane.subject {
        Subject::Person(person) => person.as_str(),
        Subject::Group(group) => group.as_str(),
    }
}
