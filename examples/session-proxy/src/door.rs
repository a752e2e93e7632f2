//! The gatekeeper of this binary: the users file and the policy file together.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use session_filter::verdict::{Denial, Refusal};
use session_filter::{
    AbsolutePath, Decision, Directory, FileAccess, Gatekeeper, PolicyGate, Redacted, SessionRequest, Verdict,
};

use crate::users::UserFile;

const USER_REMOVED: &str = "the user is not on the list any more";

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

    fn still(&self, request: &SessionRequest) -> Result<SessionRequest, Refusal> {
        self.now(request).ok_or_else(|| Refusal::new("user_removed", USER_REMOVED))
    }
}

#[async_trait]
impl Gatekeeper for Door {
    async fn admit(&self, request: &SessionRequest, now: DateTime<Utc>) -> Decision {
        match self.now(request) {
            Some(request) => self.policy.admit(&request, now).await,
            None => Decision::Deny(Refusal::new("user_removed", USER_REMOVED)),
        }
    }

    async fn check(&self, request: &SessionRequest, line: &[u8], now: DateTime<Utc>) -> Verdict {
        match self.now(request) {
            Some(request) => self.policy.check(&request, line, now).await,
            None => Verdict::Deny(Denial::new(line, "user_removed", USER_REMOVED)),
        }
    }

    async fn permitted(&self, request: &SessionRequest, now: DateTime<Utc>) -> Vec<String> {
        match self.now(request) {
            Some(request) => self.policy.permitted(&request, now).await,
            None => Vec::new(),
        }
    }

    async fn check_in(
        &self,
        request: &SessionRequest,
        line: &[u8],
        directory: &Directory,
        now: DateTime<Utc>,
    ) -> Verdict {
        match self.now(request) {
            Some(request) => self.policy.check_in(&request, line, directory, now).await,
            None => Verdict::Deny(Denial::new(line, "user_removed", USER_REMOVED)),
        }
    }

    async fn enter(
        &self,
        request: &SessionRequest,
        directory: &AbsolutePath,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        self.policy.enter(&self.still(request)?, directory, now).await
    }

    async fn open(
        &self,
        request: &SessionRequest,
        door: &session_filter::Door,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        self.policy.open(&self.still(request)?, door, now).await
    }

    async fn file(
        &self,
        request: &SessionRequest,
        access: FileAccess,
        path: &AbsolutePath,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        self.policy.file(&self.still(request)?, access, path, now).await
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
