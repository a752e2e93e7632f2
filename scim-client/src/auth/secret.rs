//! Secrets and where they come from.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use zeroize::Zeroizing;

use super::unavailable;
use crate::error::Error;

/// Text that nobody sees: not shown by `Debug`, overwritten when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// From text, which is taken over, not copied.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Tells it from others without keeping it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&[self.0.as_bytes()])
    }

    /// A copy that is overwritten when the last reference to it goes.
    pub(crate) fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(Zeroizing::new(self.0.as_bytes().to_vec()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// A secret, and whose it is where that is shown, too.
#[derive(Clone)]
pub struct Credential {
    /// User name or client identifier.
    pub id: Option<String>,
    /// Password, token, client secret.
    pub secret: Secret,
}

impl Credential {
    /// A secret that stands alone, such as a bearer token.
    pub fn secret(secret: impl Into<Secret>) -> Self {
        Self { id: None, secret: secret.into() }
    }

    /// A name and its secret.
    pub fn pair(id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        Self { id: Some(id.into()), secret: secret.into() }
    }

    /// Tells it from others without keeping it.
    pub fn fingerprint(&self) -> Fingerprint {
        let id = self.id.as_deref().unwrap_or_default();
        Fingerprint::of(&[id.as_bytes(), self.secret.0.as_bytes()])
    }

    /// The name, where one is needed.
    pub(super) fn required_id(&self) -> Result<&str, Error> {
        self.id
            .as_deref()
            .ok_or_else(|| unavailable("the credential has no name (user or client identifier)"))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("id", &self.id).field("secret", &self.secret).finish()
    }
}

/// Why a source has no credential. Holds no part of one: it becomes the cause of an [`Error`], which people read.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Where a credential comes from: a vault, a file that an operator replaces, memory.
///
/// An implementor promises to be quick, since it is asked for every request: what is far away is kept, and read anew after
/// [`refused`](Self::refused) or when it runs out. A [`Credential`] is the source that never changes, [`Rotating`] one that is
/// changed by hand.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The credential to use now.
    ///
    /// # Errors
    /// Where there is none. Nothing is then sent.
    async fn current(&self) -> Result<Credential, SourceError>;

    /// A server refused what [`current`](Self::current) gave: where that was kept from before, this is the time to look
    /// whether there is a new one.
    async fn refused(&self) {}
}

#[async_trait]
impl Credentials for Credential {
    async fn current(&self) -> Result<Credential, SourceError> {
        Ok(self.clone())
    }
}

#[async_trait]
impl<C: Credentials + ?Sized> Credentials for Arc<C> {
    async fn current(&self) -> Result<Credential, SourceError> {
        (**self).current().await
    }

    async fn refused(&self) {
        (**self).refused().await;
    }
}

/// Something that is changed while it is in use: a [`Credential`], a key. Clones are the same one.
pub struct Rotating<T>(Arc<RwLock<Arc<T>>>);

impl<T> Rotating<T> {
    /// With this to begin with.
    pub fn new(first: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(first))))
    }

    /// From the next request on, this one. Requests that are being sent keep the old one.
    pub fn replace(&self, next: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    pub(super) fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for Rotating<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Rotating<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rotating(…)")
    }
}

#[async_trait]
impl<C: Credentials> Credentials for Rotating<C> {
    async fn current(&self) -> Result<Credential, SourceError> {
        self.load().current().await
    }

    async fn refused(&self) {
        self.load().refused().await;
    }
}

/// Tells credentials apart without keeping them: a keyed hash whose key is random in each process.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of these parts in this order.
    pub fn of(parts: &[&[u8]]) -> Self {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        let mut hasher = KEY.get_or_init(RandomState::new).build_hasher();
        for part in parts {
            // With its length, so that parts cannot run into each other.
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        Self(hasher.finish())
    }

    /// Of this and something more.
    #[must_use]
    pub fn with(self, part: &[u8]) -> Self {
        Self::of(&[&self.0.to_ne_bytes(), part])
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}
