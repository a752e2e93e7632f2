//! Who asks, and for whom.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::limits::{KeyUsage, LiveReader, MessageRoom, TenantUsage};
use super::{Limits, Problem, Shared};
use crate::id::TenantId;
use crate::store::EventStore;

/// Fewest bytes of a key: fewer could be guessed, and it is kept as a hash that is quick to compute.
pub const KEY_BYTES_MIN: usize = 24;

/// Most bytes of a key that are looked at.
pub const KEY_BYTES_MAX: usize = 512;

/// What a key allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// To send events.
    Ingest,
    /// To read them.
    Read,
}

/// What a key is good for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Scope {
    /// Whose events.
    pub tenant: TenantId,
    /// What may be done with them.
    pub rights: Vec<Right>,
    /// How much of it.
    pub limits: Limits,
    /// As which receiver of Security Event Tokens it polls: see [`receiver`](Self::receiver).
    pub receiver: Option<String>,
}

impl Scope {
    /// What is stated, within the limits that there are where none are.
    pub fn new(tenant: TenantId, rights: impl Into<Vec<Right>>) -> Self {
        Self { tenant, rights: rights.into(), limits: Limits::default(), receiver: None }
    }

    /// As this receiver of Security Event Tokens, a name of the tenant's own: keys with one name are one receiver, so that a new key goes on where the old one was. A key without a name is a receiver for itself. A receiver that is new
    /// under its name goes on from where the key was for itself.
    #[must_use]
    pub fn receiver(mut self, name: impl Into<String>) -> Self {
        self.receiver = Some(name.into());
        self
    }

    /// Within these limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// Knows keys.
///
/// An implementor promises that a key that it does not know has no scope, and that the time it takes says nothing about keys that it
/// knows. A wrong answer here gives one tenant's events to another.
pub trait Keys: Send + Sync + 'static {
    /// What this key is good for.
    fn scope(&self, key: &str) -> Option<Scope>;
}

/// Keys by the hashes of long random texts, in memory.
#[derive(Clone, Debug, Default)]
pub struct HashedKeys(HashMap<[u8; 32], Scope>);

impl HashedKeys {
    /// No keys: nobody gets in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key. It is not kept, only its SHA-256.
    ///
    /// # Errors
    /// Where it has fewer than [`KEY_BYTES_MIN`] or more than [`KEY_BYTES_MAX`] bytes.
    pub fn with(mut self, key: &str, scope: Scope) -> Result<Self, KeyError> {
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(KeyError);
        }
        self.0.insert(Sha256::digest(key.as_bytes()).into(), scope);
        Ok(self)
    }

    /// Adds the SHA-256 of a key.
    #[must_use]
    pub fn with_hash(mut self, hash: [u8; 32], scope: Scope) -> Self {
        self.0.insert(hash, scope);
        self
    }
}

/// A key is too short or too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes")]
pub struct KeyError;

impl Keys for HashedKeys {
    fn scope(&self, key: &str) -> Option<Scope> {
        // What the time of a look-up says is about a hash that whoever asks cannot choose.
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        self.0.get(&hash).cloned()
    }
}

/// Who asks. Whoever may not is refused before anything else of the request is looked at.
pub(super) struct Caller {
    pub(super) tenant: TenantId,
    pub(super) limits: Limits,
    #[cfg(feature = "set")]
    hash: [u8; 32],
    #[cfg(feature = "set")]
    receiver: Option<String>,
    key: Arc<KeyUsage>,
    pub(super) tenant_usage: Arc<TenantUsage>,
}

/// Somebody who may send.
pub(super) struct Sender(pub(super) Caller);

/// Somebody who may read.
pub(super) struct Reader(pub(super) Caller);

impl<S: EventStore> FromRequestParts<Shared<S>> for Sender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared<S>) -> Result<Self, Problem> {
        Caller::of(&parts.headers, shared, Right::Ingest).map(Self)
    }
}

impl<S: EventStore> FromRequestParts<Shared<S>> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared<S>) -> Result<Self, Problem> {
        Caller::of(&parts.headers, shared, Right::Read).map(Self)
    }
}

impl Caller {
    fn of<S: EventStore>(headers: &HeaderMap, shared: &Shared<S>, right: Right) -> Result<Self, Problem> {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = shown.and_then(|shown| {
            let (scheme, key) = shown.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        // What can be guessed is not a key, whatever hash somebody wrote down.
        let key = key.filter(|key| (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()));
        let scope = key.and_then(|key| Some((key, shared.keys.scope(key)?)));
        let Some((key, scope)) = scope else {
            let detail = "a key is needed, as in `Authorization: Bearer …`, and this is not one";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
        };
        let Scope { tenant, rights, limits, .. } = scope;
        let now = Instant::now();
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let usage = shared.usage.of_key(&hash, now);
        usage.request(&limits, now)?;
        if !rights.contains(&right) {
            let detail = match right {
                Right::Ingest => "this key may not send events",
                Right::Read => "this key may not read events",
            };
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
        }
        let tenant_usage = shared.usage.of_tenant(&tenant);
        Ok(Self {
            tenant,
            limits,
            #[cfg(feature = "set")]
            hash,
            #[cfg(feature = "set")]
            receiver: scope.receiver,
            key: usage,
            tenant_usage,
        })
    }

    /// What tells keys of a tenant apart, and does not show them.
    #[cfg(feature = "set")]
    pub(super) fn name(&self) -> String {
        self.hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// As which receiver of tokens it is known, whatever its key.
    #[cfg(feature = "set")]
    pub(super) fn receiver(&self) -> Option<&str> {
        self.receiver.as_deref()
    }

    /// So many events are sent.
    pub(super) fn sends(&self, events: usize) -> Result<(), Problem> {
        self.key.events(events, &self.limits, Instant::now(), chrono::Utc::now())
    }

    /// Room for a message.
    pub(super) fn room(&self) -> MessageRoom {
        MessageRoom::new(&self.key, &self.tenant_usage)
    }

    /// Waits for events from now on.
    pub(super) fn waits(&self) -> Result<LiveReader, Problem> {
        self.key.live_reader(&self.limits)
    }
}
