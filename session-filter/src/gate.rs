//! Who may enter, and what each session may do: asked at the door, for every command, and again while it lives.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::clock::SessionLimits;
use crate::directory::{AbsolutePath, Directory};
use crate::door::{Door, FileAccess};
use crate::facts::{FactSource, Facts, NoFacts};
use crate::identity::{Target, User};
use crate::policy::{FactNeeds, Grant, Mode, Policy, Redacted};
use crate::source::PolicySource;
use crate::verdict::{Denial, OutputRecord, Refusal, Verdict};

/// Someone, authenticated, who wants a session on a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionRequest {
    /// Who.
    pub user: User,
    /// To what.
    pub target: Target,
    /// From where.
    pub source: IpAddr,
    /// The id that the session has (or would have) in records.
    pub session_id: String,
}

impl SessionRequest {
    /// `user` wants a session on `target`, connecting from `source`.
    pub fn new(user: User, target: Target, source: IpAddr, session_id: impl Into<String>) -> Self {
        Self { user, target, source, session_id: session_id.into() }
    }
}

/// Whether a session may begin, or go on.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Yes, like this and no longer than that.
    Allow(Admission),
    /// No.
    Deny(Refusal),
    /// Not until someone approves; the refusal says who or how.
    NeedsApproval(Refusal),
}

/// Proof that a session was admitted, and on what terms.
///
/// Only a policy makes one: a gatekeeper of your own decides first and then asks the [`Policy`] (or [`PolicyGate`])
/// that it wraps.
#[derive(Debug)]
pub struct Admission {
    grant: Grant,
}

impl Admission {
    /// How the session may be used.
    pub fn mode(&self) -> Mode {
        self.grant.mode
    }

    /// How long it may rest and last.
    pub fn limits(&self) -> SessionLimits {
        self.grant.limits
    }

    /// When the window in which it is permitted closes, if it does.
    pub fn valid_until(&self) -> Option<DateTime<Utc>> {
        self.grant.valid_until
    }

    /// How much of its output is kept at least.
    pub fn record(&self) -> OutputRecord {
        self.grant.record
    }
}

/// Decides about sessions and commands.
///
/// Implementors promise: an error of their own is a denial, never an allowance; no side effects that matter, since
/// futures may be dropped at any moment; `admit` may be asked about a running session at any time, and a denial ends
/// it. A wrong `Allow` runs a command that policy meant to refuse.
#[async_trait]
pub trait Gatekeeper: Send + Sync {
    /// Whether the session may begin; asked again while it lives (on every change, and at intervals, since facts and
    /// the time change too).
    async fn admit(&self, request: &SessionRequest, now: DateTime<Utc>) -> Decision;

    /// Whether this line may run, by the policy of this moment.
    async fn check(&self, request: &SessionRequest, line: &[u8], now: DateTime<Utc>) -> Verdict;

    /// What may be run, as the policy writes it.
    async fn permitted(&self, request: &SessionRequest, now: DateTime<Utc>) -> Vec<String>;

    /// Like [`check`](Self::check), for a line that is to run in `directory`. Away from home nothing may run by default.
    async fn check_in(
        &self,
        request: &SessionRequest,
        line: &[u8],
        directory: &Directory,
        now: DateTime<Utc>,
    ) -> Verdict {
        match directory {
            Directory::Home => self.check(request, line, now).await,
            Directory::At(_) => Verdict::Deny(Denial::new(
                line,
                "directory_not_permitted",
                "no rule permits it outside the home directory",
            )),
        }
    }

    /// Whether a user of a managed session may go to this directory. No by default.
    ///
    /// # Errors
    /// Why not.
    async fn enter(
        &self,
        request: &SessionRequest,
        directory: &AbsolutePath,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let _ = (request, now);
        Err(Refusal::new("directory_not_permitted", format!("no rule permits going to `{directory}`")))
    }

    /// Whether a door besides commands is open. No by default.
    ///
    /// # Errors
    /// Why not.
    async fn open(&self, request: &SessionRequest, door: &Door, now: DateTime<Utc>) -> Result<(), Refusal> {
        let _ = (request, now);
        Err(Refusal::new("door_closed", format!("`{}` is not open in this session", door.request())))
    }

    /// Whether a file may be accessed like this. No by default.
    ///
    /// # Errors
    /// Why not.
    async fn file(
        &self,
        request: &SessionRequest,
        access: FileAccess,
        path: &AbsolutePath,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let _ = (request, now);
        Err(Refusal::new("path_not_permitted", format!("no rule permits to {access} `{path}`")))
    }

    /// Hides what policy says is a secret in a text that is about to be kept or shown. Hides nothing by default.
    fn redact(&self, text: &str) -> Redacted {
        Redacted::unchanged(text)
    }

    /// Counts the changes that may alter answers. Never changes by default.
    fn version(&self) -> u64 {
        0
    }

    /// Resolves with the version once it differs from `seen`; at once if it already does. Never by default.
    ///
    /// Cancellation safe. The passing of time, and facts that change, need not resolve it.
    async fn changed(&self, seen: u64) -> u64 {
        if seen != 0 {
            return 0;
        }
        std::future::pending().await
    }
}

/// Refuses everyone and everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenyAll;

#[async_trait]
impl Gatekeeper for DenyAll {
    async fn admit(&self, _: &SessionRequest, _: DateTime<Utc>) -> Decision {
        Decision::Deny(Refusal::new("closed", "nobody is admitted"))
    }

    async fn check(&self, _: &SessionRequest, line: &[u8], _: DateTime<Utc>) -> Verdict {
        Verdict::Deny(Denial::new(line, "closed", "nothing is permitted"))
    }

    async fn permitted(&self, _: &SessionRequest, _: DateTime<Utc>) -> Vec<String> {
        Vec::new()
    }
}

/// A policy that never changes, with no facts but the time and the source address.
#[async_trait]
impl Gatekeeper for Policy {
    async fn admit(&self, request: &SessionRequest, now: DateTime<Utc>) -> Decision {
        decide(self, request, &Facts::at(now).source_ip(request.source))
    }

    async fn check(&self, request: &SessionRequest, line: &[u8], now: DateTime<Utc>) -> Verdict {
        let facts = Facts::at(now).source_ip(request.source);
        self.check_with(&request.user, &request.target, line, &facts)
    }

    async fn permitted(&self, request: &SessionRequest, now: DateTime<Utc>) -> Vec<String> {
        let facts = Facts::at(now).source_ip(request.source);
        Policy::permitted(self, &request.user, &request.target, &facts)
    }

    async fn check_in(
        &self,
        request: &SessionRequest,
        line: &[u8],
        directory: &Directory,
        now: DateTime<Utc>,
    ) -> Verdict {
        let facts = Facts::at(now).source_ip(request.source);
        Policy::check_in(self, &request.user, &request.target, line, directory, &facts)
    }

    async fn enter(
        &self,
        request: &SessionRequest,
        directory: &AbsolutePath,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let facts = Facts::at(now).source_ip(request.source);
        Policy::enter(self, &request.user, &request.target, directory, &facts)
    }

    async fn open(&self, request: &SessionRequest, door: &Door, now: DateTime<Utc>) -> Result<(), Refusal> {
        let facts = Facts::at(now).source_ip(request.source);
        Policy::open(self, &request.user, &request.target, door, &facts)
    }

    async fn file(
        &self,
        request: &SessionRequest,
        access: FileAccess,
        path: &AbsolutePath,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let facts = Facts::at(now).source_ip(request.source);
        Policy::file(self, &request.user, &request.target, access, path, &facts)
    }

    fn redact(&self, text: &str) -> Redacted {
        Policy::redact(self, text)
    }
}

/// A watched policy, with facts from wherever they are known.
#[derive(Clone)]
pub struct PolicyGate {
    source: Arc<dyn PolicySource>,
    facts: Arc<dyn FactSource>,
}

impl PolicyGate {
    /// Decides by whatever policy `source` has in force. Until [`facts`](Self::facts) are added, rules that need more
    /// than the time and the source address do not hold.
    pub fn new(source: Arc<dyn PolicySource>) -> Self {
        Self { source, facts: Arc::new(NoFacts) }
    }

    /// Takes facts from `facts`.
    #[must_use]
    pub fn facts(mut self, facts: Arc<dyn FactSource>) -> Self {
        self.facts = facts;
        self
    }

    async fn gather(&self, needs: FactNeeds, request: &SessionRequest, now: DateTime<Utc>) -> Facts {
        let mut facts = Facts::at(now).source_ip(request.source);
        if needs.country {
            facts.country = self.facts.country(request.source).await;
        }
        if needs.reputation {
            facts.reputation = self.facts.reputation(request.source).await;
        }
        if needs.device {
            facts.device = self.facts.device(request).await;
        }
        if needs.mfa {
            facts.mfa_at = self.facts.mfa_at(request).await;
        }
        if needs.risk {
            facts.risk = self.facts.risk(request).await;
        }
        facts
    }

    /// The policy in force and the facts it needs. Gathering takes time, in which the policy may change: the answer
    /// is for the policy that is in force when the facts are there.
    async fn prepare(&self, request: &SessionRequest, now: DateTime<Utc>) -> (Arc<Policy>, Facts) {
        let mut needs = self.source.policy().needs();
        let mut facts = self.gather(needs, request, now).await;
        loop {
            let policy = self.source.policy();
            if policy.needs().within(needs) {
                return (policy, facts);
            }
            needs = needs.union(policy.needs());
            facts = self.gather(needs, request, now).await;
        }
    }
}

#[async_trait]
impl Gatekeeper for PolicyGate {
    async fn admit(&self, request: &SessionRequest, now: DateTime<Utc>) -> Decision {
        let (policy, facts) = self.prepare(request, now).await;
        decide(&policy, request, &facts)
    }

    async fn check(&self, request: &SessionRequest, line: &[u8], now: DateTime<Utc>) -> Verdict {
        let (policy, facts) = self.prepare(request, now).await;
        policy.check_with(&request.user, &request.target, line, &facts)
    }

    async fn permitted(&self, request: &SessionRequest, now: DateTime<Utc>) -> Vec<String> {
        let (policy, facts) = self.prepare(request, now).await;
        Policy::permitted(&policy, &request.user, &request.target, &facts)
    }

    async fn check_in(
        &self,
        request: &SessionRequest,
        line: &[u8],
        directory: &Directory,
        now: DateTime<Utc>,
    ) -> Verdict {
        let (policy, facts) = self.prepare(request, now).await;
        Policy::check_in(&policy, &request.user, &request.target, line, directory, &facts)
    }

    async fn enter(
        &self,
        request: &SessionRequest,
        directory: &AbsolutePath,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let (policy, facts) = self.prepare(request, now).await;
        Policy::enter(&policy, &request.user, &request.target, directory, &facts)
    }

    async fn open(&self, request: &SessionRequest, door: &Door, now: DateTime<Utc>) -> Result<(), Refusal> {
        let (policy, facts) = self.prepare(request, now).await;
        Policy::open(&policy, &request.user, &request.target, door, &facts)
    }

    async fn file(
        &self,
        request: &SessionRequest,
        access: FileAccess,
        path: &AbsolutePath,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let (policy, facts) = self.prepare(request, now).await;
        Policy::file(&policy, &request.user, &request.target, access, path, &facts)
    }

    fn redact(&self, text: &str) -> Redacted {
        self.source.policy().redact(text)
    }

    fn version(&self) -> u64 {
        self.source.version()
    }

    async fn changed(&self, seen: u64) -> u64 {
        self.source.changed(seen).await
    }
}

#[async_trait]
impl<G: Gatekeeper + ?Sized> Gatekeeper for Arc<G> {
    async fn admit(&self, request: &SessionRequest, now: DateTime<Utc>) -> Decision {
        (**self).admit(request, now).await
    }

    async fn check(&self, request: &SessionRequest, line: &[u8], now: DateTime<Utc>) -> Verdict {
        (**self).check(request, line, now).await
    }

    async fn permitted(&self, request: &SessionRequest, now: DateTime<Utc>) -> Vec<String> {
        (**self).permitted(request, now).await
    }

    async fn check_in(
        &self,
        request: &SessionRequest,
        line: &[u8],
        directory: &Directory,
        now: DateTime<Utc>,
    ) -> Verdict {
        (**self).check_in(request, line, directory, now).await
    }

    async fn enter(
        &self,
        request: &SessionRequest,
        directory: &AbsolutePath,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        (**self).enter(request, directory, now).await
    }

    async fn open(&self, request: &SessionRequest, door: &Door, now: DateTime<Utc>) -> Result<(), Refusal> {
        (**self).open(request, door, now).await
    }

    async fn file(
        &self,
        request: &SessionRequest,
        access: FileAccess,
        path: &AbsolutePath,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        (**self).file(request, access, path, now).await
    }

    fn redact(&self, text: &str) -> Redacted {
        (**self).redact(text)
    }

    fn version(&self) -> u64 {
        (**self).version()
    }

    async fn changed(&self, seen: u64) -> u64 {
        (**self).changed(seen).await
    }
}

fn decide(policy: &Policy, request: &SessionRequest, facts: &Facts) -> Decision {
    match policy.try_grant(&request.user, &request.target, facts) {
        Ok(grant) => Decision::Allow(Admission { grant }),
        Err(refusal) => Decision::Deny(refusal),
    }
}
