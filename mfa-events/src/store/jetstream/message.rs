//! What stands in the stream: a message for each event, under a subject of its own, and one for what was forgotten.
//!
//! The subject of an event is `PREFIX.TENANT.ID`: the tenant as the first 16 bytes of its name's SHA-256 and the event's id, each as 32
//! hexadecimal digits. The payload is JSON: `tenant_id`, `ingested_at` and `event`. Whoever reads the stream with another client finds
//! each event there once, with gaps between sequences.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::event::{Event, Timestamp};
use crate::id::TenantId;
use crate::limits::EVENT_BYTES_MAX;
use crate::store::Entry;

/// Most bytes of a message: an event, and what is written around it. A server must take as many.
pub const MESSAGE_BYTES_MAX: usize = 2 * EVENT_BYTES_MAX;

/// Stands where an event's id would.
const FORGET: &str = "forget";

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// This is kept.
    Event(Entry),
    /// What the tenant has up to this sequence is not kept any more.
    Forget {
        /// Whose.
        tenant: TenantId,
        /// The last that is forgotten.
        to: u64,
    },
}

/// Why a message was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Its subject is none under which anything is kept. Nobody's events are missing.
    #[error("the subject is none of an event")]
    Subject,
    /// Its subject is, and its payload is not what the subject says.
    #[error("the message is no event")]
    Damaged {
        /// The tenant, as it stands in the subject.
        key: u128,
    },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EventPayload<'p> {
    tenant_id: TenantId,
    ingested_at: Timestamp,
    #[serde(borrow)]
    event: &'p RawValue,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ForgetPayload {
    tenant_id: TenantId,
    to: u64,
}

/// A tenant as it stands in subjects.
pub fn tenant_key(tenant: &TenantId) -> u128 {
    let digest = Sha256::digest(tenant.as_str().as_bytes());
    digest.iter().take(16).fold(0, |key, byte| (key << 8) | u128::from(*byte))
}

/// The subjects of all of a tenant's messages.
pub(super) fn tenant_subjects(prefix: &str, key: u128) -> String {
    format!("{prefix}.{key:032x}.*")
}

/// Subject of a tenant's event.
pub fn event_subject(prefix: &str, tenant: &TenantId, id: Uuid) -> String {
    let mut subject = format!("{prefix}.{:032x}.", tenant_key(tenant));
    // A string takes whatever is written to it.
    let _ = write!(subject, "{:x}", id.simple());
    subject
}

/// Subject of what says how far a tenant's events are forgotten.
pub(super) fn forget_subject(prefix: &str, tenant: &TenantId) -> String {
    format!("{prefix}.{:032x}.{FORGET}", tenant_key(tenant))
}

/// The payload of an entry; `None` where it would be one that nobody reads.
pub fn event_payload(entry: &Entry) -> Option<Vec<u8>> {
    let event = serde_json::value::to_raw_value(&entry.event).ok()?;
    if event.get().len() > EVENT_BYTES_MAX {
        return None;
    }
    let payload =
        EventPayload { tenant_id: entry.tenant.clone(), ingested_at: entry.ingested_at, event: &event };
    serde_json::to_vec(&payload).ok().filter(|payload| payload.len() <= MESSAGE_BYTES_MAX)
}

pub(super) fn forget_payload(tenant: &TenantId, to: u64) -> Vec<u8> {
    serde_json::to_vec(&ForgetPayload { tenant_id: tenant.clone(), to }).unwrap_or_default()
}

impl Message {
    /// Reads a message that anybody may have published.
    ///
    /// # Errors
    /// Where it is none of ours, or not what it should be.
    pub fn read(prefix: &str, subject: &str, payload: &[u8]) -> Result<Self, MessageError> {
        let tokens = subject.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
        let (key, kind) = tokens.and_then(|tokens| tokens.split_once('.')).ok_or(MessageError::Subject)?;
        let key = digits(key).ok_or(MessageError::Subject)?;
        let id = digits(kind);
        if id.is_none() && kind != FORGET {
            return Err(MessageError::Subject);
        }
        let damaged = MessageError::Damaged { key };
        if payload.len() > MESSAGE_BYTES_MAX {
            return Err(damaged);
        }
        let Some(id) = id else {
            let said: ForgetPayload = serde_json::from_slice(payload).map_err(|_| damaged)?;
            let is_own = tenant_key(&said.tenant_id) == key;
            return match is_own {
                true => Ok(Self::Forget { tenant: said.tenant_id, to: said.to }),
                false => Err(damaged),
            };
        };
        let said: EventPayload<'_> = serde_json::from_slice(payload).map_err(|_| damaged)?;
        let event = Event::from_json(said.event.get().as_bytes()).map_err(|_| damaged)?;
        if tenant_key(&said.tenant_id) != key || event.id().as_u128() != id {
            return Err(damaged);
        }
        Ok(Self::Event(Entry { tenant: said.tenant_id, event, ingested_at: said.ingested_at }))
    }
}

/// 32 lowercase hexadecimal digits.
fn digits(token: &str) -> Option<u128> {
    let is_form = token.len() == 32 && token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_form.then(|| u128::from_str_radix(token, 16).ok()).flatten()
}
