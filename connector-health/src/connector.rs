//! Delivery: what an application must be able to do, and what its answers mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::event::{Attributes, Changes};
use crate::id::{AccountId, ConnectorId, EntitlementId, PersonId};

mod memory;

pub use memory::{Leaving, MemoryAccount, MemoryConnector, Mode};

/// Most bytes of a failure's message; what is longer is cut.
pub const MESSAGE_BYTES_MAX: usize = 512;

/// One application.
///
/// An implementor promises:
/// * **Idempotency** – an operation names a state, not a step. It looks first, writes what differs, and may be repeated at any time,
///   after an answer that was lost as well. What is so already, or absent already, is success.
/// * **Truth** – success is said after a read has shown the state: an answer of 200 or 204 is none. Where the read shows something
///   else, the answer is [`FailureKind::Divergent`]. A wrong answer here leaves somebody active who has left, and calls it proof.
/// * **Identity** – an account is the person's when its identifier in the application is the one of an earlier confirmation, or when
///   it carries the [`PersonId`]. One found by a unique value alone is adopted only where it is the only match and carries no other
///   person's identifier: names are given anew. A wrong answer here disables a stranger, or hands an account to one.
/// * **Honest failure** – [`Failure::unknown`] wherever something may have been sent and no answer tells what came of it.
///   [`FailureKind::Authentication`] only after a token that can be refreshed was refreshed once.
/// * **No resurrection** – only [`Operation::Account`] makes an account active.
/// * **Cancellation** – dropping the future is like a lost answer: the outbox takes the outcome as unknown and repeats the operation.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Whether the application answers somebody who is logged in: the cheapest read that needs a valid credential.
    async fn probe(&self) -> Result<(), Failure>;

    /// Makes it so, and confirms it by reading.
    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure>;

    /// All accounts, in any order. An error ends the listing, which then must not be acted on.
    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>>;
}

/// Whose account it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The person.
    pub person: PersonId,
    /// The account, as the application named it in an earlier confirmation.
    pub account: Option<AccountId>,
    /// Unique values that the account has or is about to get: hints for looking it up, not proof.
    pub unique: BTreeMap<String, String>,
}

/// Whether a right is to be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// It is.
    Granted,
    /// It is not.
    Revoked,
}

/// A state to bring about.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// No access: every account of the person is disabled or absent and has no rights.
    ///
    /// Where the account stays, it gives up, once it is disabled, each unique value in place of which the target has another, for one
    /// that nobody will claim: a rename was superseded by this, and the old name may be somebody else's next. It does not take the
    /// target's either, which may be somebody else's before. Access is gone without that: where it fails, or where the application
    /// renames nobody, the operation is confirmed, and [`Confirmation::residuals`] says which name is kept.
    Deprovision {
        /// Whose.
        target: Target,
    },
    /// One account, active, with these attributes and no others of those that are managed.
    Account {
        /// Whose.
        target: Target,
        /// All of them.
        attributes: Attributes,
        /// Rights that it must have; whether it has others stays as it is.
        rights: BTreeSet<EntitlementId>,
    },
    /// An account that is there has these attributes. Whether it is active stays as it is.
    Attributes {
        /// Whose.
        target: Target,
        /// What is to be set, and removed where there is no value.
        changes: Changes,
    },
    /// A right is had, or not. Where there is no account, it is not had.
    Entitlement {
        /// Whose.
        target: Target,
        /// Which.
        entitlement: EntitlementId,
        /// Whether it is to be had.
        right: Right,
    },
    /// No rights but these.
    Strip {
        /// Whose.
        target: Target,
        /// Those that stay, where they are had.
        keep: BTreeSet<EntitlementId>,
    },
    /// A group that is there with these attributes. Who is in it stays as it is.
    Group {
        /// Which.
        group: EntitlementId,
        /// What is to be set, and removed where there is no value.
        changes: Changes,
    },
}

impl Operation {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Deprovision { .. } => "ensure_deprovisioned",
            Self::Account { .. } => "ensure_account",
            Self::Attributes { .. } => "ensure_attributes",
            Self::Entitlement { right: Right::Granted, .. } => "ensure_granted",
            Self::Entitlement { right: Right::Revoked, .. } => "ensure_revoked",
            Self::Strip { .. } => "ensure_stripped",
            Self::Group { .. } => "ensure_group",
        }
    }

    /// Names of the attributes that it writes.
    pub fn attribute_names(&self) -> Vec<String> {
        match self {
            Self::Account { attributes, .. } => attributes.keys().cloned().collect(),
            Self::Attributes { changes, .. } | Self::Group { changes, .. } => {
                changes.keys().cloned().collect()
            }
            Self::Deprovision { .. } | Self::Entitlement { .. } | Self::Strip { .. } => Vec::new(),
        }
    }
}

/// What the confirming read showed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// So now, after a write.
    Changed,
    /// So before anything was written.
    AlreadySo,
    /// There is no such account, which is as good.
    Absent,
}

/// That an operation's state was read.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Confirmation {
    /// What the read showed.
    pub found: Found,
    /// The account, as the application names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Status of the last answer, where there is such a thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Hash of what was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_hash: Option<String>,
    /// Hash of what was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_hash: Option<String>,
    /// What is left and has to be dealt with by hand: tokens, owned objects, names that somebody else may be waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residuals: Vec<String>,
}

impl Confirmation {
    /// A read showed this.
    pub fn read(found: Found) -> Self {
        Self {
            found,
            account: None,
            status: None,
            request_hash: None,
            response_hash: None,
            residuals: Vec::new(),
        }
    }

    /// Of this account.
    #[must_use]
    pub fn of(self, account: AccountId) -> Self {
        Self { account: Some(account), ..self }
    }
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// Name, connection or TLS; or no answer came.
    Connectivity,
    /// The credential is refused.
    Authentication,
    /// A login page came instead of an answer.
    LoginPage,
    /// The credential is good and does not suffice.
    Authorization,
    /// Asked to come back later.
    RateLimited,
    /// The application failed.
    Server,
    /// The application does not take what the mapping makes.
    SchemaMismatch,
    /// Somebody else has a unique value.
    Conflict,
    /// More than one account could be meant.
    Ambiguous,
    /// What should be there is not.
    Missing,
    /// Acknowledged, and a read shows something else.
    Divergent,
    /// The connector cannot do it.
    Unsupported,
}

/// Whether anything may have happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing did.
    None,
    /// Something may have.
    Unknown,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disposition {
    /// Try this again, later and later.
    Retry,
    /// Try this again at the earliest after so long, and nothing else there either.
    Wait(Option<Duration>),
    /// Stop everything there until a probe is good: others would fail alike.
    Stop,
    /// A person has to look at it.
    Block,
}

/// Why an operation did not succeed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind:?}: {message}")]
pub struct Failure {
    kind: FailureKind,
    effect: Effect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    message: String,
}

impl Failure {
    /// Nothing happened. The message is shown to people: no secrets, no values of attributes.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let mut printable: String = message.chars().filter(|char| !char.is_control()).collect();
        if printable.len() > MESSAGE_BYTES_MAX {
            let mut end = MESSAGE_BYTES_MAX;
            while !printable.is_char_boundary(end) {
                end = end.saturating_sub(1);
            }
            printable.truncate(end);
        }
        Self { kind, effect: Effect::None, retry_after_ms: None, message: printable }
    }

    /// Something was sent, and nothing tells what came of it.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { effect: Effect::Unknown, ..Self::new(FailureKind::Connectivity, message) }
    }

    /// Something may have happened nevertheless.
    #[must_use]
    pub fn perhaps_effective(self) -> Self {
        Self { effect: Effect::Unknown, ..self }
    }

    /// Not before so long.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        Self { retry_after_ms: u64::try_from(after.as_millis()).ok(), ..self }
    }

    /// Its kind.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Whether anything may have happened.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// What people are shown.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How long the application asked to wait.
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after_ms.map(Duration::from_millis)
    }

    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self.kind {
            FailureKind::Authentication | FailureKind::LoginPage => Disposition::Stop,
            FailureKind::RateLimited => Disposition::Wait(self.wait()),
            FailureKind::Connectivity
            | FailureKind::Server
            | FailureKind::Conflict
            | FailureKind::Missing
            | FailureKind::Divergent => Disposition::Retry,
            FailureKind::Authorization
            | FailureKind::SchemaMismatch
            | FailureKind::Ambiguous
            | FailureKind::Unsupported => Disposition::Block,
        }
    }
}

/// An account in a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedAccount {
    /// As the application names it.
    pub account: AccountId,
    /// Whose it is, where it carries that.
    pub person: Option<PersonId>,
    /// Whether its owner can log in.
    pub access: Access,
    /// Attributes.
    pub attributes: Attributes,
    /// Rights.
    pub entitlements: BTreeSet<EntitlementId>,
    /// When somebody last logged in with it, where the application tells.
    pub last_use: Option<DateTime<Utc>>,
}

/// Whether somebody can log in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Yes.
    Active,
    /// No.
    Disabled,
}

/// The connectors that there are, by name.
#[derive(Clone, Default)]
pub struct Connectors(BTreeMap<ConnectorId, Arc<dyn Connector>>);

impl Connectors {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// And this one, in place of any of that name.
    #[must_use]
    pub fn with(mut self, id: ConnectorId, connector: impl Connector + 'static) -> Self {
        self.0.insert(id, Arc::new(connector));
        self
    }

    /// Adds one, in place of any of that name.
    pub fn insert(&mut self, id: ConnectorId, connector: Arc<dyn Connector>) {
        self.0.insert(id, connector);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&ConnectorId, &Arc<dyn Connector>)> {
        self.0.iter()
    }
}

impl fmt::Debug for Connectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
