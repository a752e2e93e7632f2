//! Credentials: where they come from and when they are renewed.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::HeaderMap;

use crate::error::Error;
use crate::transport::Transport;

/// Puts a credential on each request.
///
/// Implementors keep what they hold out of `Debug`, errors and logs. They are asked for every request, so that a
/// credential can change without a new client.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// Adds the headers for a request made now. May itself send requests (a token endpoint) by `transport`.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`](crate::error::ErrorKind::Authentication) where there is no credential to be had;
    /// nothing is then sent.
    async fn authorize(
        &self,
        headers: &mut HeaderMap,
        transport: &dyn Transport,
        now: DateTime<Utc>,
    ) -> Result<(), Error>;

    /// The server said 401 to what [`authorize`](Self::authorize) added last. `true` if the next credential will be
    /// another one, so that one more try is worth it.
    async fn refused(&self) -> bool {
        false
    }
}

/// A bearer token that does not change.
pub struct Bearer {
    token: zeroize::Zeroizing<String>,
}

impl Bearer {
    /// The token.
    pub fn new(token: impl Into<String>) -> Self {
        Self { token: zeroize::Zeroizing::new(token.into()) }
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(…)")
    }
}

#[async_trait]
impl Authenticate for Bearer {
    async fn authorize(
        &self,
        headers: &mut HeaderMap,
        _transport: &dyn Transport,
        _now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let mut value =
            http::HeaderValue::from_str(&format!("Bearer {}", self.token.as_str())).map_err(|_| {
                Error::new(crate::error::ErrorKind::Authentication(crate::error::Authentication::Unavailable))
                    .detail("the token holds characters that no header can carry")
            })?;
        value.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, value);
        Ok(())
    }
}
