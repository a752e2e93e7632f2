//! Credentials that are shown as they are: bearer tokens, passwords, headers of a vendor's own.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use zeroize::Zeroizing;

use super::{
    Authenticate, Authorized, Credential, Credentials, Fingerprint, Secret, insert_secret, unavailable,
};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::transport::Transport;

/// A bearer token that somebody handed out (RFC 6750). `Debug` does not show it.
pub struct Bearer(Source);

impl Bearer {
    /// A token that does not change.
    pub fn new(token: impl Into<String>) -> Self {
        Self::from_source(Credential::secret(token.into()))
    }

    /// The secret of the source's credential.
    pub fn from_source(source: impl Credentials + 'static) -> Self {
        Self(Source(Arc::new(source)))
    }
}

/// User name and password (RFC 7617).
pub struct Basic(Source);

impl Basic {
    /// A pair that does not change.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::from_source(Credential::pair(user, password.into()))
    }

    /// Name and secret of the source's credential.
    pub fn from_source(source: impl Credentials + 'static) -> Self {
        Self(Source(Arc::new(source)))
    }
}

/// A header of the vendor's own: `X-API-Key: …`, `Authorization: SSWS …`.
pub struct SecretHeader {
    source: Source,
    name: HeaderName,
    prefix: String,
}

impl SecretHeader {
    /// The secret of the source's credential, in the header of this name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no header name, and for headers that rule how the message travels (`Host`,
    /// `Content-Length`, `Connection`, …).
    pub fn new(name: &str, source: impl Credentials + 'static) -> Result<Self, Error> {
        const TRAVEL: [&str; 10] = [
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "expect",
            "host",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        let name = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .filter(|name| !TRAVEL.contains(&name.as_str()))
            .ok_or_else(|| {
                Error::new(ErrorKind::Invalid).detail(format!("`{name}` cannot carry a credential"))
            })?;
        Ok(Self { source: Source(Arc::new(source)), name, prefix: String::new() })
    }

    /// With text in front of the secret, such as `SSWS `.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }
}

#[async_trait]
impl Authenticate for Bearer {
    async fn authorize(
        &self,
        headers: &mut HeaderMap,
        _transport: &dyn Transport,
        _clock: &dyn Clock,
    ) -> Result<Authorized, Error> {
        let credential = self.0.current().await?;
        insert_secret(headers, AUTHORIZATION, &joined(&["Bearer ", credential.secret.expose()]))?;
        Ok(Authorized::by(credential.fingerprint()))
    }

    async fn refused(&self, authorized: &Authorized) -> bool {
        self.0.changed(authorized.credential).await
    }
}

#[async_trait]
impl Authenticate for Basic {
    async fn authorize(
        &self,
        headers: &mut HeaderMap,
        _transport: &dyn Transport,
        _clock: &dyn Clock,
    ) -> Result<Authorized, Error> {
        let credential = self.0.current().await?;
        let user = credential.required_id()?;
        if user.contains(':') {
            // RFC 7617 §2: the first colon ends the name, so the rest would count as password.
            return Err(unavailable("a user name with a colon cannot be sent by basic authentication"));
        }
        insert_secret(headers, AUTHORIZATION, &basic(user, credential.secret.expose()))?;
        Ok(Authorized::by(credential.fingerprint()))
    }

    async fn refused(&self, authorized: &Authorized) -> bool {
        self.0.changed(authorized.credential).await
    }
}

#[async_trait]
impl Authenticate for SecretHeader {
    async fn authorize(
        &self,
        headers: &mut HeaderMap,
        _transport: &dyn Transport,
        _clock: &dyn Clock,
    ) -> Result<Authorized, Error> {
        let credential = self.source.current().await?;
        insert_secret(headers, self.name.clone(), &joined(&[&self.prefix, credential.secret.expose()]))?;
        Ok(Authorized::by(credential.fingerprint()))
    }

    async fn refused(&self, authorized: &Authorized) -> bool {
        self.source.changed(authorized.credential).await
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Basic(…)")
    }
}

impl fmt::Debug for SecretHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretHeader").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A source whose errors are ours.
pub(super) struct Source(pub(super) Arc<dyn Credentials>);

impl Source {
    pub(super) async fn current(&self) -> Result<Credential, Error> {
        self.0
            .current()
            .await
            .map_err(|error| unavailable("the source of the credential has none").because(error))
    }

    /// Whether the source now has another credential than the one that was refused.
    pub(super) async fn changed(&self, refused: Fingerprint) -> bool {
        self.0.refused().await;
        self.0.current().await.is_ok_and(|credential| credential.fingerprint() != refused)
    }
}

/// `Basic` with name and password as they are (RFC 7617).
pub(super) fn basic(user: &str, password: &str) -> Secret {
    let pair = joined(&[user, ":", password]);
    // Base64 takes four bytes for three; with room for all of it, no copy is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(8 + pair.expose().len() / 3 * 4 + 4));
    text.push_str("Basic ");
    STANDARD.encode_string(pair.expose(), &mut text);
    Secret::new(std::mem::take(&mut *text))
}

/// The parts as one secret, in memory that is taken once.
pub(super) fn joined(parts: &[&str]) -> Secret {
    let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.push_str(part));
    Secret::new(text)
}
