//! Assertions by which a client shows who it is to a token endpoint (RFC 7523 §2.2).

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Credentials, Fingerprint, Rotating, Secret, SourceError};

/// Makes assertions: signs them with a key ([`JwtKey`](super::JwtKey), or a key in hardware that you ask), or has them from
/// a platform that signs for its workloads ([`ReadyAssertion`]).
#[async_trait]
pub trait Assertions: Send + Sync {
    /// Tells the key (or what stands for it) from others, so that a refused one is not used again.
    ///
    /// # Errors
    /// Where there is none. Nothing is then sent.
    async fn fingerprint(&self) -> Result<Fingerprint, SourceError>;

    /// A JWT with `iss` and `sub` of the client, this `aud`, and a `jti` of its own, good for minutes from `now`.
    ///
    /// # Errors
    /// Where none can be made; the text holds no secret.
    async fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: DateTime<Utc>,
    ) -> Result<Secret, SourceError>;
}

/// Assertions that somebody else signs and a source holds: the projected token of a Kubernetes service account, the identity of a
/// machine in a cloud. The client's identifier and the audience are whatever they hold.
pub struct ReadyAssertion<C>(C);

impl<C: Credentials> ReadyAssertion<C> {
    /// The secret of the source's credential is the assertion.
    pub fn new(source: C) -> Self {
        Self(source)
    }
}

#[async_trait]
impl<C: Credentials> Assertions for ReadyAssertion<C> {
    async fn fingerprint(&self) -> Result<Fingerprint, SourceError> {
        Ok(self.0.current().await?.secret.fingerprint())
    }

    async fn assertion(&self, _: &str, _: &str, _: DateTime<Utc>) -> Result<Secret, SourceError> {
        Ok(self.0.current().await?.secret)
    }
}

#[async_trait]
impl<A: Assertions + ?Sized> Assertions for std::sync::Arc<A> {
    async fn fingerprint(&self) -> Result<Fingerprint, SourceError> {
        (**self).fingerprint().await
    }

    async fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: DateTime<Utc>,
    ) -> Result<Secret, SourceError> {
        (**self).assertion(client_id, audience, now).await
    }
}

#[async_trait]
impl<A: Assertions> Assertions for Rotating<A> {
    async fn fingerprint(&self) -> Result<Fingerprint, SourceError> {
        self.load().fingerprint().await
    }

    async fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: DateTime<Utc>,
    ) -> Result<Secret, SourceError> {
        self.load().assertion(client_id, audience, now).await
    }
}
