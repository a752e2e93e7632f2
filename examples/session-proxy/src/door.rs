//! The gatekeeper of this binary: the users file and the policy file together.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use session_filter::verdict::{Denial, Refusal};
use session_filter::{Decision, Gatekeeper, PolicyGate, Redacted, SessionRequest, Verdict};

use crate::users::UserFile;

/// Asks the users file first, so that somebody who was removed is out, and roles are those of this moment.
pub(crate) struct Door {
    pub(crate) users: Arc<UserFile>,
    pub(crate) policy: PolicyGate,
}

impl Door {
    fn now(&self, request: &SessionRequest) -> Option<SessionRequest> {
        let user = self.users.find(request.user.id())?;
        Some(SessionRequest::new(user, request.target.clone(), request.source, request.session_id.clone()))
    }
}

#[async_trait]
impl Gatekeeper for Door {
    async fn admit(&self, request: &SessionRequest, now: DateTime<Utc>) -> Decision {
        match self.now(request) {
            Some(request) => self.policy.admit(&request, now).await,
            None => Decision::Deny(Refusal::new("user_removed", "the user is not on the list any more")),
        }
    }

    async fn check(&self, request: &SessionRequest, line: &[u8], now: DateTime<Utc>) -> Verdict {
        match self.now(request) {
            Some(request) => self.policy.check(&request, line, now).await,
            None => Verdict::Deny(Denial::new(line, "user_removed", "the user is not on the list any more")),
        }
    }

    async fn permitted(&self, request: &SessionRequest, now: DateTime<Utc>) -> Vec<String> {
        match self.now(request) {
            Some(request) => self.policy.permitted(&request, now).await,
            None => Vec::new(),
        }
    }

    fn redact(&self, text: &str) -> Redacted {
        self.policy.redact(text)
    }

    fn version(&self) -> u64 {
        // Both only grow, so the sum changes whenever one does.
        self.users.version().wrapping_add(self.policy.version())
    }

    async fn changed(&self, seen: u64) -> u64 {
        loop {
            let (users, policy) = (self.users.version(), self.policy.version());
            if users.wrapping_add(policy) != seen {
                return users.wrapping_add(policy);
            }
            tokio::select! {
                _ = self.users.changed(users) => {}
                _ = self.policy.changed(policy) => {}
            }
        }
    }
}
