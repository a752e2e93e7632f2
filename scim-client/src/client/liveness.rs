//! Whether the base URL is that of a SCIM service: what tells a resource that is gone from a service that is not there.

use std::sync::atomic::{AtomicI64, Ordering};

use http::Method;
use serde_json::Value;

use crate::client::Client;
use crate::client::receive::Received;
use crate::error::{Error, ErrorKind};
use crate::request;
use crate::resource::{Attributes, attribute};

/// How long an answer that only a SCIM service gives makes a 404 believed.
const BELIEVED_MS: i64 = 60_000;

/// When the service was last seen.
#[derive(Debug)]
pub(crate) struct Liveness(AtomicI64);

impl Default for Liveness {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Client {
    /// Makes sure that there is a SCIM service at the base URL: that `ServiceProviderConfig` or a list of one user comes.
    ///
    /// # Errors
    /// [`ErrorKind::BaseUrl`] where something else answers; whatever keeps the service from answering otherwise.
    pub async fn check_base(&self) -> Result<(), Error> {
        let mut address = self.shared.base.at(self.shared.dialect.config_path)?;
        let config = request::bare(Method::GET, &address, &self.shared.user_agent)?;
        // Some services show this to anyone, and some to no one: its absence and its refusal say nothing.
        if let Ok(received) = self.aside().call_once(config).await
            && self.is_service(&received)
        {
            return Ok(());
        }
        address = self.shared.base.at("Users")?;
        address.parameter("count", "1");
        let users = request::bare(Method::GET, &address, &self.shared.user_agent)?;
        let not_there =
            |error: Error| error.detail("neither ServiceProviderConfig nor Users answers as SCIM does");
        match self.call_once(users).await {
            Ok(received) if self.is_service(&received) => Ok(()),
            Ok(received) => Err(not_there(received.error(Error::new(ErrorKind::BaseUrl)))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {
                Err(not_there(Error::new(ErrorKind::BaseUrl).because(error)))
            }
            Err(error) => Err(error),
        }
    }

    /// What a 404 is about.
    pub(super) async fn judge_not_found(&self, error: Error) -> Error {
        let now = self.shared.clock.now().timestamp_millis();
        let seen = self.shared.state.liveness.0.load(Ordering::Relaxed);
        if (0..BELIEVED_MS).contains(&now.saturating_sub(seen)) {
            return error;
        }
        match Box::pin(self.check_base()).await {
            Ok(()) => error,
            // Nothing is known of the resource, whichever of the two went wrong.
            Err(unseen) => unseen.after(error.exchange().clone()),
        }
    }

    fn is_service(&self, received: &Received) -> bool {
        let Ok(attributes) = received.read::<Attributes>() else {
            return false;
        };
        let is = attribute(&attributes, "schemas").is_some_and(|schemas| !schemas.is_null())
            || attribute(&attributes, "totalResults")
                .is_some_and(|total| total.is_u64() || total.is_string())
            || attribute(&attributes, "Resources").is_some_and(Value::is_array);
        if is {
            self.saw_service();
        }
        is
    }

    /// An answer came that only a SCIM service gives.
    pub(crate) fn saw_service(&self) {
        self.shared.state.liveness.0.store(self.shared.clock.now().timestamp_millis(), Ordering::Relaxed);
    }
}
