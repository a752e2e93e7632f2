//! Events as Security Event Tokens (RFC 8417), for receivers that poll for them (RFC 8936) or have them pushed (RFC 8935).
//!
//! A token is a JWT whose `jti` is the event's `event_id`. Its `events` has the event as it is kept under
//! `urn:identity-blocks:mfa-events:` and its type, and for `recovery.attempted` also RISC's `recovery-activated`. Receivers get each at least
//! once, and know it by its `jti`.

mod poll;
mod push;
#[cfg(feature = "export-http")]
mod transmit;

use std::error::Error;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::event::EventType;
use crate::id::TenantId;
use crate::store::Record;

pub use poll::{Positions, PositionsError, Receiver, WINDOW_EVENTS_MAX};
pub use push::{Answer, CONTENT_TYPE, PUSH_ANSWER_BYTES_MAX};
#[cfg(feature = "export-http")]
pub use transmit::{PUSHED_AT_ONCE_MAX, PUSHED_IN_PARALLEL_MAX, PushBuilder, PushSink};

/// What the names of our types of events begin with.
pub const EVENT_URN: &str = "urn:identity-blocks:mfa-events:";

/// RISC's type for a recovery that somebody began (OpenID RISC Profile 1.0 §2.8).
pub const RISC_RECOVERY_ACTIVATED: &str =
    "https://schemas.openid.net/secevent/risc/event-type/recovery-activated";

/// Signs tokens.
///
/// An implementor promises that whoever has the public key that `key_id` names can verify what it signs with `algorithm`.
pub trait Signer: Send + Sync + 'static {
    /// The `alg` of RFC 7515, such as `EdDSA`.
    fn algorithm(&self) -> &str;

    /// The `kid`, where there is one.
    fn key_id(&self) -> Option<&str>;

    /// The signature of these bytes.
    ///
    /// # Errors
    /// Where the key cannot be used.
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>>;
}

/// Tokens without a signature (`alg` is `none`): what is in them is only as good as the connection that they come over.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned;

impl Signer for Unsigned {
    fn algorithm(&self) -> &str {
        "none"
    }

    fn key_id(&self) -> Option<&str> {
        None
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(Vec::new())
    }
}

/// Tokens signed with Ed25519 (RFC 8037).
pub struct Ed25519 {
    key: SigningKey,
    key_id: String,
}

impl std::fmt::Debug for Ed25519 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ed25519").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Ed25519 {
    /// Of a secret key, and the name that its public key is known by.
    pub fn new(secret: &[u8; 32], key_id: impl Into<String>) -> Self {
        Self { key: SigningKey::from_bytes(secret), key_id: key_id.into() }
    }

    /// The public key as receivers are given it: a JWK (RFC 8037 §2).
    pub fn public_jwk(&self) -> Value {
        let x = BASE64URL_NOPAD.encode(self.key.verifying_key().as_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.key_id, "x": x})
    }
}

impl Signer for Ed25519 {
    fn algorithm(&self) -> &str {
        "EdDSA"
    }

    fn key_id(&self) -> Option<&str> {
        Some(&self.key_id)
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(self.key.sign(bytes).to_bytes().to_vec())
    }
}

/// Makes tokens.
pub struct Issuer {
    issuer: String,
    audience: Option<String>,
    signer: Box<dyn Signer>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// An event as a token.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Token {
    /// Its `jti`, the event's `event_id`.
    pub jti: Uuid,
    /// The token in compact form (RFC 7515 §3.1).
    pub jwt: String,
}

/// A token could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("a token cannot be signed")]
pub struct SignError(#[source] Box<dyn Error + Send + Sync>);

impl Issuer {
    /// In this name, an `https` address as receivers know it.
    pub fn new(issuer: impl Into<String>, signer: impl Signer) -> Self {
        Self { issuer: issuer.into(), audience: None, signer: Box::new(signer) }
    }

    /// For this receiver.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// An event as a token. It is the same each time: `iat` is when the event came to the log, `toe` when it happened.
    ///
    /// # Errors
    /// Where it cannot be signed.
    pub fn token(&self, record: &Record, tenant: &TenantId) -> Result<Token, SignError> {
        let event = &record.event;
        let mut header = json!({"typ": "secevent+jwt", "alg": self.signer.algorithm()});
        let subject = json!({"format": "opaque", "id": event.actor()});
        // What was written as JSON is read as JSON.
        let whole: Value = serde_json::from_slice(&record.to_json(tenant)).unwrap_or_default();
        let mut events = json!({ format!("{EVENT_URN}{}", event.event_type()): whole });
        if event.event_type() == EventType::RecoveryAttempted {
            insert(&mut events, RISC_RECOVERY_ACTIVATED, json!({ "subject": subject }));
        }
        let mut claims = json!({
            "iss": self.issuer,
            "iat": record.ingested_at.as_datetime().timestamp(),
            "jti": event.id(),
            "toe": event.at().as_datetime().timestamp(),
            "sub_id": subject,
            "events": events,
        });
        if let Some(key_id) = self.signer.key_id() {
            insert(&mut header, "kid", key_id.into());
        }
        if let Some(audience) = &self.audience {
            insert(&mut claims, "aud", audience.as_str().into());
        }
        if let Some(correlation) = event.correlation() {
            insert(&mut claims, "txn", correlation.as_str().into());
        }
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.signer.sign(signed.as_bytes()).map_err(SignError)?;
        Ok(Token { jti: event.id(), jwt: format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)) })
    }
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}
