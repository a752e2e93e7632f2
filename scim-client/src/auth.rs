//! Credentials: where they come from, how they get onto a request, and when they are renewed.
//!
//! Two traits. [`Credentials`] is where a secret comes from; it is asked for every request, so that a secret is changed
//! without a new client. [`Authenticate`] is how it is shown to the server: [`Bearer`], [`Basic`], [`SecretHeader`],
//! [`ClientCredentials`] (OAuth 2.0, RFC 6749 §4.4), or one of your own. A client certificate (mTLS) belongs to the transport:
//! `ReqwestBuilder::identity_pem`.
//!
//! What holds for all of them:
//! * a credential goes to the origin (scheme, host, port) of the client's base URL and to no other;
//! * a credential that was refused is not shown again until it changes, since some servers lock whoever repeats it; and one
//!   that has not worked yet is shown by one request at a time ([`resilience`](crate::resilience));
//! * secrets are overwritten when they are dropped, and stand in no `Debug`, error or event. Copies in the buffers of
//!   the HTTP library and the kernel are beyond reach.

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Clock;
use crate::error::{Authentication, Error, ErrorKind};
use crate::transport::Transport;

mod answer;
mod assertion;
mod header;
#[cfg(feature = "jwt")]
mod jwt;
mod oauth;
mod secret;
mod token;

pub use assertion::{Assertions, ReadyAssertion};
pub use header::{Basic, Bearer, SecretHeader};
#[cfg(feature = "jwt")]
pub use jwt::{JwtAlgorithm, JwtKey};
pub(crate) use oauth::is_loopback;
pub use oauth::{ClientAuthentication, ClientCredentials, TOKEN_ANSWER_BYTES_MAX, TOKEN_TIMEOUT};
pub use secret::{Credential, Credentials, Fingerprint, Rotating, Secret, SourceError};
pub use token::{LIFETIME_ASSUMED, LIFETIME_MAX, TOKEN_BYTES_MAX};

/// Puts a credential on each request.
///
/// An implementor promises:
/// * it is asked for every request, and answers from memory nearly always;
/// * what it holds stays out of `Debug`, errors and logs; header values are marked sensitive;
/// * dropping a future of it at any point leaves it usable, for others who wait for the same renewal, too.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// Adds the headers for a request that is sent now. May itself send requests (to a token endpoint) by `transport`.
    ///
    /// # Errors
    /// The SCIM request is not sent. [`ErrorKind::Authentication`] where there is no credential to be had or its issuer
    /// refuses; [`ErrorKind::NotSent`] and [`ErrorKind::RateLimited`] where the issuer cannot be reached or wants time.
    async fn authorize(
        &self,
        headers: &mut HeaderMap,
        transport: &dyn Transport,
        clock: &dyn Clock,
    ) -> Result<Authorized, Error>;

    /// The server answered 401, or with a page for people, to a request that `authorized` was put on. `true` if the next
    /// [`authorize`](Self::authorize) gives something else, so that one more try is worth it. Where it then gives the same
    /// [`shown`](Authorized::shown), that is not sent.
    async fn refused(&self, authorized: &Authorized) -> bool {
        let _ = authorized;
        false
    }

    /// Somebody says that what was refused may be tried again.
    fn forgive(&self) {}
}

/// What was put on a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Authorized {
    /// What a person changes when it is refused: password, client secret, key, long-lived token.
    pub credential: Fingerprint,
    /// What was shown: the credential itself, or a token got by it.
    pub shown: Fingerprint,
}

impl Authorized {
    /// By showing the credential itself.
    pub fn by(credential: Fingerprint) -> Self {
        Self { credential, shown: credential }
    }
}

#[async_trait]
impl<A: Authenticate + ?Sized> Authenticate for std::sync::Arc<A> {
    async fn authorize(
        &self,
        headers: &mut HeaderMap,
        transport: &dyn Transport,
        clock: &dyn Clock,
    ) -> Result<Authorized, Error> {
        (**self).authorize(headers, transport, clock).await
    }

    async fn refused(&self, authorized: &Authorized) -> bool {
        (**self).refused(authorized).await
    }

    fn forgive(&self) {
        (**self).forgive();
    }
}

/// Sets a header whose value is overwritten in memory once the request is gone.
fn insert_secret(headers: &mut HeaderMap, name: HeaderName, value: &Secret) -> Result<(), Error> {
    let value = HeaderValue::from_maybe_shared(value.to_bytes())
        .map_err(|_| unavailable("the credential holds characters that no header can carry"))?;
    insert_sensitive(headers, name, value);
    Ok(())
}

fn insert_sensitive(headers: &mut HeaderMap, name: HeaderName, mut value: HeaderValue) {
    value.set_sensitive(true);
    headers.insert(name, value);
}

/// There is no credential, so nothing is sent.
fn unavailable(why: &str) -> Error {
    Error::new(ErrorKind::Authentication(Authentication::Unavailable)).detail(why)
}
