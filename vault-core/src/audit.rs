//! Records of what the vault does, written before it does it.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use uuid::{NoContext, Timestamp, Uuid};

use crate::id::{AccountName, ActorId, Caller, CorrelationId, SecretPath, SessionId, TargetId, VaultId};

/// Keeps records of one vault. It is asked before every effect; when it fails, nothing is done.
///
/// An implementor promises:
/// * **Durability** – what [`record`](Self::record) has answered survives a power cut. A wrong answer here lets somebody read a secret
///   of which nothing tells.
/// * **Memory** – [`newest`](Self::newest) answers from what was recorded, not from what the vault says. It is how a store that was put back to an
///   older state is noticed; a sink that cannot answer it says `None`, and then nobody notices.
/// * **No waiting** – [`outcome`](Self::outcome) returns at once.
#[async_trait]
pub trait AuditSink: Send + Sync + 'static {
    /// Writes a record down, durable on return.
    async fn record(&self, event: &AuditEvent) -> Result<(), AuditError>;

    /// Takes a record of what came of something that was recorded before. Nothing waits for it; it may be lost.
    fn outcome(&self, event: AuditEvent);

    /// Of all records, outcomes included, the one with the greatest generation: whose, and which. `None` where there is none, or this sink cannot tell.
    async fn newest(&self) -> Result<Option<Mark>, AuditError>;
}

/// How far a vault has come, by its records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// Which vault.
    pub vault: VaultId,
    /// Generation of its store.
    pub generation: u64,
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
#[error("no record can be written")]
pub struct AuditError(#[source] pub Box<dyn Error + Send + Sync>);

impl AuditError {
    /// For this reason, which holds no secret.
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// What a record is of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum EventType {
    /// `vault.initialised`
    VaultInitialised,
    /// `vault.unsealed`
    VaultUnsealed,
    /// `vault.sealed`
    VaultSealed,
    /// `vault.restore_accepted`: the store is older than the records, and somebody said that this is so on purpose.
    RestoreAccepted,
    /// `vault.restore_confirmed`: the accounts on targets are again as this store says.
    RestoreConfirmed,
    /// `vault.key_encryption_key_rotated`
    KeyEncryptionKeyRotated,
    /// `vault.data_key_rotated`
    DataKeyRotated,
    /// `vault.reencrypted`
    Reencrypted,
    /// `vault.data_keys_retired`
    DataKeysRetired,
    /// `secret.written`
    SecretWritten,
    /// `secret.read`
    SecretRead,
    /// `secret.described`: what is known of it, without what is in it.
    SecretDescribed,
    /// `secret.labelled`
    SecretLabelled,
    /// `secret.listed`
    SecretListed,
    /// `secret.deleted`
    SecretDeleted,
    /// `secret.undeleted`
    SecretUndeleted,
    /// `secret.destroyed`
    SecretDestroyed,
    /// `secret.removed`
    SecretRemoved,
    /// `handle.wrapped`
    HandleWrapped,
    /// `handle.unwrapped`
    HandleUnwrapped,
    /// `handle.reused`: an alarm. Somebody came with a handle that was used already, so one of two has what was meant for one.
    HandleReused,
    /// `handle.swept`
    HandlesSwept,
    /// `credential.issued`
    CredentialIssued,
    /// `credential.rotated`
    CredentialRotated,
    /// `credential.revoked`
    CredentialRevoked,
    /// `credential.quarantined`: somebody has to look at it.
    CredentialQuarantined,
    /// `credential.recovered`: found half done after a crash, and taken further.
    CredentialRecovered,
}

impl EventType {
    /// As it stands in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VaultInitialised => "vault.initialised",
            Self::VaultUnsealed => "vault.unsealed",
            Self::VaultSealed => "vault.sealed",
            Self::RestoreAccepted => "vault.restore_accepted",
            Self::RestoreConfirmed => "vault.restore_confirmed",
            Self::KeyEncryptionKeyRotated => "vault.key_encryption_key_rotated",
            Self::DataKeyRotated => "vault.data_key_rotated",
            Self::Reencrypted => "vault.reencrypted",
            Self::DataKeysRetired => "vault.data_keys_retired",
            Self::SecretWritten => "secret.written",
            Self::SecretRead => "secret.read",
            Self::SecretDescribed => "secret.described",
            Self::SecretLabelled => "secret.labelled",
            Self::SecretListed => "secret.listed",
            Self::SecretDeleted => "secret.deleted",
            Self::SecretUndeleted => "secret.undeleted",
            Self::SecretDestroyed => "secret.destroyed",
            Self::SecretRemoved => "secret.removed",
            Self::HandleWrapped => "handle.wrapped",
            Self::HandleUnwrapped => "handle.unwrapped",
            Self::HandleReused => "handle.reused",
            Self::HandlesSwept => "handle.swept",
            Self::CredentialIssued => "credential.issued",
            Self::CredentialRotated => "credential.rotated",
            Self::CredentialRevoked => "credential.revoked",
            Self::CredentialQuarantined => "credential.quarantined",
            Self::CredentialRecovered => "credential.recovered",
        }
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was tried and not done.
    Failure,
    /// It was refused.
    Blocked,
    /// It is about to be done; another record with the same `operation_id` says how it went. Where there is none, it may or may not have been.
    Unknown,
}

/// A record. As JSON it has the field names that all crates of this family use.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AuditEvent {
    /// UUID of version 7.
    pub event_id: Uuid,
    /// What it is of.
    pub event_type: EventType,
    /// When, in milliseconds.
    #[serde(serialize_with = "milliseconds")]
    pub timestamp: DateTime<Utc>,
    /// Who.
    pub actor_id: ActorId,
    /// For which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// What ties it to other records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<CorrelationId>,
    /// On which target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_id: Option<TargetId>,
    /// How it went.
    pub outcome: Outcome,
    /// Why, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The same in the record before an effect and in that of its outcome.
    pub operation_id: Uuid,
    /// Which vault.
    pub vault_id: VaultId,
    /// Generation of the vault's store: in a record before an effect the last one, in an outcome the one that the effect made.
    pub generation: u64,
    /// Of which secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_path: Option<SecretPath>,
    /// Which version of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_version: Option<u32>,
    /// Which handle: no part of what opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle_id: Option<String>,
    /// Which account on the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<AccountName>,
    /// Whether somebody should be woken.
    #[serde(skip_serializing_if = "is_false")]
    pub alarm: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn milliseconds<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

impl AuditEvent {
    pub(crate) fn new(event_type: EventType, by: &Caller, mark: Mark, now: DateTime<Utc>) -> Self {
        let id = event_id(now);
        Self {
            event_id: id,
            event_type,
            timestamp: now,
            actor_id: by.actor.clone(),
            session_id: by.session.clone(),
            correlation_id: by.correlation.clone(),
            target_id: None,
            outcome: Outcome::Unknown,
            reason: None,
            operation_id: id,
            vault_id: mark.vault,
            generation: mark.generation,
            secret_path: None,
            secret_version: None,
            handle_id: None,
            account_name: None,
            alarm: matches!(event_type, EventType::HandleReused | EventType::CredentialQuarantined),
        }
    }

    pub(crate) fn secret(mut self, path: &SecretPath, version: Option<u32>) -> Self {
        self.secret_path = Some(path.clone());
        self.secret_version = version;
        self
    }

    pub(crate) fn ended(mut self, outcome: Outcome, reason: Option<&'static str>) -> Self {
        self.outcome = outcome;
        self.reason = reason;
        self
    }

    /// The record of what came of this, which made that generation.
    pub(crate) fn result(self, outcome: Outcome, reason: Option<&'static str>, generation: u64) -> Self {
        Self { event_id: event_id(self.timestamp), generation, ..self.ended(outcome, reason) }
    }
}

fn event_id(now: DateTime<Utc>) -> Uuid {
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos()))
}

/// Records in memory, for tests and examples. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryAudit(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    events: Vec<AuditEvent>,
    is_broken: bool,
}

impl MemoryAudit {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// All records, in order.
    pub fn events(&self) -> Vec<AuditEvent> {
        self.records().events.clone()
    }

    /// From now on no record can be written.
    pub fn break_down(&self) {
        self.records().is_broken = true;
    }

    /// From now on records can be written again.
    pub fn mend(&self) {
        self.records().is_broken = false;
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl AuditSink for MemoryAudit {
    async fn record(&self, event: &AuditEvent) -> Result<(), AuditError> {
        let mut records = self.records();
        if records.is_broken {
            return Err(AuditError::new("broken down"));
        }
        records.events.push(event.clone());
        Ok(())
    }

    fn outcome(&self, event: AuditEvent) {
        let mut records = self.records();
        if !records.is_broken {
            records.events.push(event);
        }
    }

    async fn newest(&self) -> Result<Option<Mark>, AuditError> {
        let records = self.records();
        if records.is_broken {
            return Err(AuditError::new("broken down"));
        }
        let newest = records.events.iter().max_by_key(|event| event.generation);
        Ok(newest.map(|event| Mark { vault: event.vault_id, generation: event.generation }))
    }
}
