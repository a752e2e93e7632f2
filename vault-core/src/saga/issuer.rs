use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use super::{Finding, Purpose};
use crate::id::AccountName;
use crate::secret::SecretString;

/// Makes credentials on a kind of target, and takes them away.
///
/// An implementor promises:
/// * **Idempotence** – the same asked twice is the same as once. [`remove`](Self::remove) of what is not there is a success.
/// * **Honesty** – [`probe`](Self::probe) answers [`Finding::Absent`] where the target said so, and [`Finding::NeitherWorks`] where it refused the secrets; whatever
///   else it sees is [`Finding::Unknown`]. A wrong answer here leaves an account behind, or gives up a secret that is in use.
/// * **An end** – every call ends in bounded time, and nothing that was asked of the target happens later than [`settle`](Self::settle) after it was asked.
/// * **Names as they are** – an account's name is data: it is quoted, never put into a statement as text.
/// * **Silence** – no secret is in an error.
#[async_trait]
pub trait Issuer: Send + Sync + 'static {
    /// Has the account let in with the new secret. For [`Purpose::Session`] it is made, if it is not there, and ends by itself on the target at
    /// [`Order::expires_at`], where the target can do that. For [`Purpose::Rotation`] one that is not there is refused.
    async fn apply(&self, order: &Order<'_>) -> Result<(), IssuerError>;

    /// Looks whether the account is there, and logs in with its secrets.
    async fn probe(&self, order: &Order<'_>) -> Finding;

    /// Has the account refuse the old secret, on targets that let in with two.
    async fn let_old_go(&self, order: &Order<'_>) -> Result<(), IssuerError>;

    /// Takes the account away and ends its connections.
    async fn remove(&self, account: &AccountName) -> Result<(), IssuerError>;

    /// Accounts whose names begin so.
    async fn accounts(&self, prefix: &str) -> Result<Vec<AccountName>, IssuerError>;

    /// How long after it was asked something may still happen on the target.
    fn settle(&self) -> TimeDelta;
}

/// What an account is to become.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Order<'o> {
    /// What for.
    pub purpose: Purpose,
    /// Which account.
    pub account: &'o AccountName,
    /// The secret that it is to let in with.
    pub new: &'o SecretString,
    /// The one that it let in with so far.
    pub old: Option<&'o SecretString>,
    /// When it ends at the latest.
    pub expires_at: Option<DateTime<Utc>>,
}

impl<'o> Order<'o> {
    /// An account of its own for one session.
    pub fn session(account: &'o AccountName, new: &'o SecretString) -> Self {
        Self { purpose: Purpose::Session, account, new, old: None, expires_at: None }
    }

    /// A new secret for an account that stays.
    pub fn rotation(account: &'o AccountName, new: &'o SecretString, old: &'o SecretString) -> Self {
        Self { purpose: Purpose::Rotation, account, new, old: Some(old), expires_at: None }
    }
}

/// Why a target did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// It said that it does not, and it has not.
    #[error("the target refuses")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It has not said that it did, and may have.
    #[error("the target has not answered")]
    Unanswered(#[source] Box<dyn std::error::Error + Send + Sync>),
}
