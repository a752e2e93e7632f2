//! What is done about an alert: hooks for those who can act.
//!
//! A [`Notice`] is what they are told, a [`Responder`] is told it, and [`deliver`] sees to it that each has heard. With the feature
//! `webhook`, a `Webhook` posts notices to a SOAR system, signed; with `webhook-verify`, a `Verifier` is what checks them there.

mod deliver;
#[cfg(feature = "webhook-verify")]
mod sign;
#[cfg(feature = "webhook-verify")]
mod verify;
#[cfg(feature = "webhook")]
mod webhook;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::detect::Alert;

pub use deliver::{Delivered, Patience, deliver};
#[cfg(feature = "webhook-verify")]
pub use sign::{WEBHOOK_SECRET_BYTES_MIN, signature};
#[cfg(feature = "webhook-verify")]
pub use verify::{REPLAY_IDS_MAX, SIGNATURES_MAX, Verified, Verifier, VerifyError, WEBHOOK_WINDOW_S};
#[cfg(feature = "webhook")]
pub use webhook::Webhook;

/// Most bytes of a notice's id.
pub const NOTICE_ID_BYTES_MAX: usize = 128;

/// Something to act on.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    id: String,
    body: Value,
}

/// Why there is no notice.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoticeError {
    /// Its id goes into a header, and is signed with dots around it.
    #[error("the id of a notice is 1 to {NOTICE_ID_BYTES_MAX} of ASCII letters, digits, `_`, `-` and `:`")]
    Id,
    /// What it says is no JSON.
    #[error("a notice is JSON")]
    Body,
}

impl Notice {
    /// Of this identity: a receiver acts once on each. An alert that has changed is another notice, so its id has more in it than the
    /// alert's: how often it changed.
    ///
    /// # Errors
    /// Where the id is none, or what it says cannot be written.
    pub fn new(id: impl Into<String>, says: &impl Serialize) -> Result<Self, NoticeError> {
        let id = id.into();
        let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':');
        if id.is_empty() || id.len() > NOTICE_ID_BYTES_MAX || !id.bytes().all(is_of_id) {
            return Err(NoticeError::Id);
        }
        let body = serde_json::to_value(says).map_err(|_| NoticeError::Body)?;
        Ok(Self { id, body })
    }

    /// Of a turn in the life of an alert, its body the alert's JSON. Whoever reads the log again gets the same id.
    ///
    /// # Errors
    /// Where the alert cannot be written.
    pub fn of(alert: &Alert) -> Result<Self, NoticeError> {
        Self::new(notice_id(alert), alert)
    }

    /// Its identity.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it says.
    pub fn body(&self) -> &Value {
        &self.body
    }
}

/// Names one turn in the life of an alert: it is told again when it is worse or more.
pub(crate) fn notice_id(alert: &Alert) -> String {
    let state = match alert.state {
        crate::detect::AlertState::Opened => "opened",
        crate::detect::AlertState::Updated => "updated",
        crate::detect::AlertState::Closed => "closed",
    };
    format!("{}:{state}:{}:{}", alert.id, alert.severity, alert.events)
}

/// Does something about a notice: locks an account, asks a person, starts a playbook.
///
/// An implementor promises:
/// * **Acknowledgement** – `Ok` means that it is done, or kept so that it will be.
/// * **Repetition** – a notice may come again, with the same id; it is acted on once.
/// * **Cancellation** – a call whose future is dropped may or may not have acted.
#[async_trait]
pub trait Responder: Send + Sync {
    /// Acts on a notice.
    async fn respond(&self, notice: &Notice, now: DateTime<Utc>) -> Result<(), RespondError>;
}

/// Why a responder did not act. No text of it holds an address, a credential or anything of a notice.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// It may another time.
    #[error("{why}")]
    Unavailable {
        /// What happened.
        why: String,
        /// Not before this has passed, where it said so.
        after: Option<std::time::Duration>,
    },
    /// It will not act on this one.
    #[error("it was refused: {why}")]
    Refused {
        /// What it answered.
        why: String,
    },
}
