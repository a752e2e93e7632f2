//! What a receiver of webhooks checks.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::NOTICE_ID_BYTES_MAX;
use super::sign::{WEBHOOK_SECRET_BYTES_MIN, mac};

/// How far the time of a message may be from now, in seconds, to either side.
pub const WEBHOOK_WINDOW_S: i64 = 300;

/// Most ids that are remembered.
pub const REPLAY_IDS_MAX: usize = 100_000;

/// Most signatures of a message that are looked at: a sender that changes its secret sends one for each.
pub const SIGNATURES_MAX: usize = 8;

/// Checks signed webhooks, and knows those that it has seen.
///
/// A message holds where one of its signatures is right, its time is within [`WEBHOOK_WINDOW_S`] of now, and its id was not seen before.
/// Ids are remembered for as long as a message with that time could be accepted, so that whoever listened on the way and sends it again
/// is known; after that the time is refused. Where [`REPLAY_IDS_MAX`] are remembered, messages are refused rather than forgotten.
///
/// Ids are remembered in memory: a receiver that acts on what comes keeps them with what it did, across restarts.
pub struct Verifier {
    keys: Vec<Zeroizing<Vec<u8>>>,
    until: HashMap<String, i64>,
    order: BTreeSet<(i64, String)>,
}

/// A message that holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verified {
    /// It is to be acted on. Where that fails, [`forget`](Verifier::forget) lets the sender try again.
    New,
    /// It was taken before: answer as then, with 2xx, and do nothing.
    Known,
}

/// Why a message does not hold. A sender need not be told which.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Id, time or signature are missing or of no such form.
    #[error("headers of the webhook are missing or malformed")]
    Malformed,
    /// No signature is right.
    #[error("no signature of the webhook is right")]
    Signature,
    /// It is too old, or of the future.
    #[error("the webhook is not of now")]
    Time,
    /// Too many ids are remembered. It may be sent again later.
    #[error("too many webhooks within the window")]
    Full,
    /// The secret is too short.
    #[error("the secret of a webhook has at least {WEBHOOK_SECRET_BYTES_MIN} bytes")]
    Secret,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("remembered", &self.until.len()).finish_non_exhaustive()
    }
}

impl Verifier {
    /// With the secret that messages are signed with; more than one while it changes.
    ///
    /// # Errors
    /// Where one of them is too short, or there is none.
    pub fn new(secrets: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Result<Self, VerifyError> {
        let keys: Vec<_> = secrets.into_iter().map(|secret| Zeroizing::new(secret.into())).collect();
        if keys.is_empty() || keys.iter().any(|key| key.len() < WEBHOOK_SECRET_BYTES_MIN) {
            return Err(VerifyError::Secret);
        }
        Ok(Self { keys, until: HashMap::new(), order: BTreeSet::new() })
    }

    /// Checks a message by the values of its headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, and its body as it came.
    ///
    /// # Errors
    /// Where it does not hold. Nothing of it is remembered then.
    pub fn verify(
        &mut self,
        id: &str,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Verified, VerifyError> {
        let is_of_id = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
        if id.is_empty() || id.len() > NOTICE_ID_BYTES_MAX || !id.bytes().all(is_of_id) {
            return Err(VerifyError::Malformed);
        }
        // A sign or a leading zero would be another text of the same number, which was not signed.
        let at: i64 = timestamp.parse().map_err(|_| VerifyError::Malformed)?;
        if at.to_string() != timestamp {
            return Err(VerifyError::Malformed);
        }
        self.check(id, at, signatures, body)?;
        let now = now.timestamp();
        if at.abs_diff(now) > WEBHOOK_WINDOW_S.unsigned_abs() {
            return Err(VerifyError::Time);
        }
        self.remember(id, at, now)
    }

    /// A message that was taken could not be acted on: it is new when it comes again.
    pub fn forget(&mut self, id: &str) {
        if let Some(until) = self.until.remove(id) {
            self.order.remove(&(until, id.to_owned()));
        }
    }

    fn check(&self, id: &str, at: i64, signatures: &str, body: &[u8]) -> Result<(), VerifyError> {
        let mut given = Vec::new();
        for signature in signatures.split(' ').filter(|signature| !signature.is_empty()).take(SIGNATURES_MAX)
        {
            // Versions that are not known are passed over.
            let Some(("v1", encoded)) = signature.split_once(',') else { continue };
            if let Ok(bytes) = BASE64_STANDARD.decode(encoded) {
                given.push(bytes);
            }
        }
        if given.is_empty() {
            return Err(VerifyError::Malformed);
        }
        let is_right = self.keys.iter().any(|key| {
            let right = mac(key, id, at, body);
            !right.is_empty() && given.iter().any(|given| bool::from(given.ct_eq(&right)))
        });
        if is_right { Ok(()) } else { Err(VerifyError::Signature) }
    }

    fn remember(&mut self, id: &str, at: i64, now: i64) -> Result<Verified, VerifyError> {
        while let Some((until, _)) = self.order.first()
            && *until < now
            && let Some((_, id)) = self.order.pop_first()
        {
            self.until.remove(&id);
        }
        let until = at.saturating_add(WEBHOOK_WINDOW_S);
        if let Some(before) = self.until.get(id).copied() {
            // A retry has a later time, with which somebody could send it again.
            if until > before {
                self.order.remove(&(before, id.to_owned()));
                self.order.insert((until, id.to_owned()));
                self.until.insert(id.to_owned(), until);
            }
            return Ok(Verified::Known);
        }
        if self.until.len() >= REPLAY_IDS_MAX {
            return Err(VerifyError::Full);
        }
        self.order.insert((until, id.to_owned()));
        self.until.insert(id.to_owned(), until);
        Ok(Verified::New)
    }
}
