//! What a reconciliation finds.

use serde::{Deserialize, Serialize};

use super::Rule;
use crate::id::{EntitlementId, PersonId};

/// How a person and an account stand to each other.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Situation {
    /// The record says revoked and confirmed; the application says active.
    FalseCompletion,
    /// One account fits several persons, or its identifiers name different ones.
    Colliding,
    /// Several accounts fit one person, or the only one contradicts what is on record.
    Disputed,
    /// The account is nobody's.
    Orphan,
    /// The person has no account and should.
    Missing,
    /// It is the person's, and not as it should be.
    Drifted,
    /// It is the person's, and its identifier is not on record yet.
    Unlinked,
    /// All is as it should be. Counted, not listed.
    Linked,
}

/// What is proposed. Nothing is done before someone or something else decides so.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Put the account's identifier on record: the account carries the one that we gave it.
    Link,
    /// Put it on record and take the account over: it was there before.
    Adopt,
    /// Disable the account.
    Disable,
    /// Create the account again.
    Recreate,
    /// Write what differs.
    Correct,
    /// A person decides.
    Ask,
}

/// How soon a person should look.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Someone has access who was said to have none.
    Critical,
    /// Someone who is to lose access may still have it.
    High,
    /// Access that nobody answers for, or that is lacking.
    Medium,
    /// Tidiness.
    Low,
}

/// One thing that was found.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Finding {
    /// How soon to look.
    pub priority: Priority,
    /// What it is.
    pub situation: Situation,
    /// What is proposed.
    pub action: Action,
    /// The person, or the persons that one account fits; at most [`CANDIDATES_MAX`](super::CANDIDATES_MAX). For an orphan:
    /// whose name or address it has.
    pub persons: Vec<PersonId>,
    /// The account, or the accounts that fit one person; at most [`CANDIDATES_MAX`](super::CANDIDATES_MAX).
    pub accounts: Vec<AccountName>,
    /// By what they belong together, where they do.
    pub rule: Option<Rule>,
    /// What is not as it should be.
    pub differences: Differences,
    /// Why this is proposed: a phrase for people.
    pub reason: String,
}

/// An account, by the names that people know.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccountName {
    /// The application's identifier.
    pub id: String,
    /// Name to log in with.
    pub user_name: Option<String>,
    /// Whether it can be used.
    pub active: bool,
}

/// In what an account is not as intended.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Differences {
    /// Whether it should be usable, where it is not so.
    pub active: Option<bool>,
    /// Attributes.
    pub attributes: Vec<AttributeDifference>,
    /// Rights that it should have.
    pub entitlements_missing: Vec<EntitlementId>,
    /// Rights that it should not have.
    pub entitlements_extra: Vec<EntitlementId>,
}

/// One attribute that differs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AttributeDifference {
    /// Which.
    pub name: String,
    /// What was meant.
    pub intended: Option<String>,
    /// What is there.
    pub actual: Option<String>,
}

impl Differences {
    /// Whether all is as intended.
    pub fn is_empty(&self) -> bool {
        self.active.is_none()
            && self.attributes.is_empty()
            && self.entitlements_missing.is_empty()
            && self.entitlements_extra.is_empty()
    }
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal,)* }) => {
        impl $type {
            /// As one word for programs, the same in every release.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

words! { Situation {
    FalseCompletion = "false_completion",
    Colliding = "colliding",
    Disputed = "disputed",
    Orphan = "orphan",
    Missing = "missing",
    Drifted = "drifted",
    Unlinked = "unlinked",
    Linked = "linked",
} }

words! { Action {
    Link = "link",
    Adopt = "adopt",
    Disable = "disable",
    Recreate = "recreate",
    Correct = "correct",
    Ask = "ask",
} }

words! { Priority {
    Critical = "critical",
    High = "high",
    Medium = "medium",
    Low = "low",
} }
