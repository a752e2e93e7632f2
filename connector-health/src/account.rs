//! What the connectors of this crate have in common: from the few things that an application can do with accounts to the states
//! that [`Connector`](crate::connector::Connector) promises.
//!
//! [`ensure`](ensure()) looks first, decides whose account is meant, writes what differs, and says success only after it has read the state.
//! Whoever has an application with a protocol of its own implements [`Accounts`] and gets the rest from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::connector::{Access, Failure, FailureKind, ListedAccount, Right};
use crate::event::Attribute;
use crate::id::{AccountId, EntitlementId, PersonId};

mod ensure;
#[cfg(any(feature = "http", feature = "ldap", feature = "sap"))]
mod latch;
mod names;

pub use ensure::ensure;
#[cfg(any(feature = "http", feature = "ldap", feature = "sap"))]
pub(crate) use latch::Latch;
pub use names::given_up;

/// Most accounts that one look-up may find. More are taken for a look-up that found everybody.
pub const MATCHES_MAX: usize = 16;

/// Attributes of an account by the names that events use.
pub type Values = BTreeMap<String, Value>;
/// Attributes to set, and to remove where there is no value.
pub type ValueChanges = BTreeMap<String, Option<Value>>;

/// An account as it was read. `Debug` shows no attributes: some are personal.
#[derive(Clone, Eq, PartialEq, Serialize)]
pub struct Account {
    /// As the application names it, by what does not change.
    pub id: AccountId,
    /// Whose it is, where it carries that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// Whether its owner can log in.
    pub access: Access,
    /// Those attributes that are managed and have a value.
    pub attributes: Values,
    /// Rights.
    pub entitlements: BTreeSet<EntitlementId>,
    /// When somebody last logged in with it, where the application tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_use: Option<DateTime<Utc>>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("person", &self.person)
            .field("access", &self.access)
            .field("entitlements", &self.entitlements)
            .finish_non_exhaustive()
    }
}

impl From<Account> for ListedAccount {
    fn from(account: Account) -> Self {
        let Account { id, person, access, attributes, entitlements, last_use } = account;
        let attributes =
            attributes.into_iter().map(|(name, value)| (name, Attribute::Plain(value))).collect();
        Self { account: id, person, access, attributes, entitlements, last_use }
    }
}

/// What becomes of the account of somebody who left.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaver {
    /// It is disabled and stays.
    #[default]
    Disable,
    /// It is deleted. In many applications nothing brings it back.
    Delete,
    /// It is disabled, which is confirmed, and then deleted.
    DisableThenDelete,
}

/// What an application can do with accounts.
///
/// An implementor promises:
/// * each write sends what it says once, and never repeats it by itself; [`Failure::unknown`] where no answer tells what came of it;
/// * each look-up checks that what came back is what was asked for: an application that ignores the question and answers
///   with somebody else's account is a [`FailureKind::Divergent`], not a match;
/// * what was read is complete: every right, every managed attribute that has a value, or a failure;
/// * no write makes an account active but `create` and `set_access`.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// What becomes of leavers' accounts.
    fn leaver(&self) -> Leaver;

    /// Whether it has an attribute of that name. What it has not fails an operation, rather than being confirmed unwritten.
    fn manages(&self, attribute: &str) -> Managed;

    /// The account of that name, where there is one.
    async fn by_account(&self, account: &AccountId) -> Result<Option<Account>, Failure>;

    /// All accounts that carry this person's identifier; more than [`MATCHES_MAX`] need not be returned.
    async fn by_person(&self, person: &PersonId) -> Result<Vec<Account>, Failure>;

    /// All accounts that have this unique value; more than [`MATCHES_MAX`] need not be returned.
    async fn by_unique(&self, attribute: &str, value: &str) -> Result<Vec<Account>, Failure>;

    /// A new account, which carries the person's identifier from its first moment on. It may be active or not. Returns its name where the answer says it.
    async fn create(&self, person: &PersonId, attributes: &Values) -> Result<Option<AccountId>, Failure>;

    /// Makes an account that carries nobody's identifier this person's.
    async fn link(&self, account: &Account, person: &PersonId) -> Result<(), Failure>;

    /// Changes attributes.
    async fn change(&self, account: &Account, changes: &ValueChanges) -> Result<(), Failure>;

    /// Lets its owner in, or not.
    async fn set_access(&self, account: &Account, access: Access) -> Result<(), Failure>;

    /// Gives a right, or takes it.
    async fn set_right(
        &self,
        account: &Account,
        entitlement: &EntitlementId,
        right: Right,
    ) -> Result<(), Failure>;

    /// Removes the account.
    async fn delete(&self, account: &Account) -> Result<(), Failure>;

    /// What stands for this account in an attribute of another one, a manager say.
    fn reference(&self, account: &Account) -> Value {
        account.id.as_str().into()
    }

    /// What takes the place of a unique value that the account of somebody who left has to give up, so that others may have it: a value
    /// that nobody will claim, the same for the same account. `None` where the application changes it for nobody: that it is kept is
    /// then a residual of the confirmation.
    fn given_up(&self, attribute: &str, value: &Value, account: &Account) -> Option<Value> {
        let _ = attribute;
        Some(given_up(&account.id, value.as_str().unwrap_or_default()).into())
    }

    /// Whether a value that was read is what was wanted, however the application writes it. What does not agree is written.
    fn agrees(&self, attribute: &str, wanted: &Value, found: &Value) -> bool {
        let _ = attribute;
        wanted == found
    }

    /// A group that is there with these attributes; `true` where something had to be written. Confirmed by
    /// reading; a name that it has no attribute for is a [`FailureKind::SchemaMismatch`].
    async fn ensure_group(&self, group: &EntitlementId, changes: &ValueChanges) -> Result<bool, Failure> {
        let _ = (group, changes);
        Err(Failure::new(FailureKind::Unsupported, "groups are not made here"))
    }
}

/// What is done about an attribute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Managed {
    /// It is written and confirmed.
    Yes,
    /// The configuration says to pass it by.
    PassedBy,
    /// Nothing is known of it.
    No,
}

/// Nothing, as applications write it: no value, an empty text, an empty list.
pub fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
