//! What an application has, against what it should have.
//!
//! ```text
//!  intents ──▶ Reconciliation::new ─┐
//!                                   ├─▶ finish(ListingEnd) ──▶ Report: findings, each with a proposed action
//!  Listing ──▶ account, account … ──┘
//! ```
//!
//! Nothing is executed here, and a listing that did not end well proposes nothing but to [`Ask`](Action::Ask). Intents are
//! held in memory and accounts pass through, in any order: time is linear in both. Measured with 1 million of each (two
//! attributes, five rights): about 1 kB for each pair, the findings not counted (`cargo xtask bench governance`).

mod finding;
mod index;
mod listing;
mod report;
mod run;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use finding::{AccountName, Action, AttributeDifference, Differences, Finding, Priority, Situation};
pub use listing::{CompleteListing, IncompleteListing, Listing, ListingEnd, Received};
pub use report::{Counts, Report};
pub use run::Reconciliation;

use crate::id::{EntitlementId, PersonId};

/// Most intents of one reconciliation.
pub const INTENTS_MAX: usize = 10_000_000;
/// Most accounts of one listing. One more, and the listing is incomplete.
pub const ACCOUNTS_MAX: u64 = 20_000_000;
/// Most bytes of all text of one account or intent.
pub const ACCOUNT_BYTES_MAX: usize = 1 << 20;
/// Most accounts that are named as candidates of one person, and persons as claimants of one account. More of them change
/// nothing: two are one too many.
pub const CANDIDATES_MAX: usize = 8;

/// The account that a person should have, or should no longer have.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Intended {
    /// Who.
    pub person: PersonId,
    /// How it should stand.
    pub standing: Standing,
    /// The application's identifier of the account, where it is on record.
    #[serde(default)]
    pub account_id: Option<String>,
    /// The identifier that we gave to the account.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Name to log in with.
    #[serde(default)]
    pub user_name: Option<String>,
    /// Addresses.
    #[serde(default)]
    pub emails: Vec<String>,
    /// Attributes that are written; no others are compared.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Rights.
    #[serde(default)]
    pub entitlements: BTreeSet<EntitlementId>,
}

/// How an account should stand.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    /// There and usable.
    Active,
    /// Disabled or absent.
    Revoked {
        /// When a read confirmed it; absent while that is still to come.
        confirmed_at: Option<DateTime<Utc>>,
    },
}

/// An account that an application listed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Account {
    /// The application's identifier.
    pub id: String,
    /// The identifier that a client gave it.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Name to log in with.
    #[serde(default)]
    pub user_name: Option<String>,
    /// Addresses.
    #[serde(default)]
    pub emails: Vec<String>,
    /// Whether it can be used.
    pub active: bool,
    /// Attributes by name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Rights.
    #[serde(default)]
    pub entitlements: BTreeSet<EntitlementId>,
}

/// By what an account and a person belong together. The first two are strong: nobody else ever has the same.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// The account's identifier is on record for the person.
    AccountId,
    /// The account carries the identifier that we give to the person's account.
    ExternalId,
    /// The account has the person's user name.
    UserName,
    /// The account has one of the person's addresses.
    Email,
}

impl Rule {
    /// Whether it holds for one person only, for ever. Names and addresses are given to others.
    pub fn is_strong(self) -> bool {
        matches!(self, Self::AccountId | Self::ExternalId)
    }
}

/// Whether case tells two texts apart.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseRule {
    /// `Kim` and `kim` are two.
    Exact,
    /// They are one, by Unicode's lower case.
    Insensitive,
}

/// What is proposed for an account that belongs to nobody.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrphanPolicy {
    /// A person decides.
    Ask,
    /// It is disabled.
    Disable,
}

/// How accounts are correlated and what is proposed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Case of user names. SCIM and directories ignore it (RFC 7643 §4.1.1).
    pub user_name_case: CaseRule,
    /// Case of addresses.
    pub email_case: CaseRule,
    /// Whether user names correlate at all.
    pub by_user_name: bool,
    /// Whether addresses correlate at all.
    pub by_email: bool,
    /// Attributes whose case says nothing.
    pub case_insensitive_attributes: BTreeSet<String>,
    /// Whether rights beyond the intended ones are a difference.
    pub extra_entitlements_differ: bool,
    /// For accounts of nobody.
    pub orphans: OrphanPolicy,
    /// Accounts, by identifier or exact user name, that are left alone: emergency access, the connector's own, `SAP*`.
    pub protected: BTreeSet<String>,
    /// When more than this share of intended accounts is missing, or of listed ones nobody's, every proposal about those
    /// becomes [`Action::Ask`]: it is likelier that the listing or the intents are wrong. In percent.
    pub unusual_percent: u8,
    /// So many are never unusual.
    pub unusual_min: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            user_name_case: CaseRule::Insensitive,
            email_case: CaseRule::Insensitive,
            by_user_name: true,
            by_email: true,
            case_insensitive_attributes: BTreeSet::new(),
            extra_entitlements_differ: true,
            orphans: OrphanPolicy::Ask,
            protected: BTreeSet::new(),
            unusual_percent: 20,
            unusual_min: 10,
        }
    }
}

/// Why a reconciliation did not begin or go on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// More than [`INTENTS_MAX`].
    #[error("a reconciliation takes at most {INTENTS_MAX} intents")]
    TooManyIntents,
    /// More than [`ACCOUNT_BYTES_MAX`].
    #[error("the intent for `{0}` has more than {ACCOUNT_BYTES_MAX} bytes")]
    IntentTooLong(PersonId),
    /// A person has one account per connector here; who has two is given as two reconciliations.
    #[error("`{0}` has two intents")]
    PersonTwice(PersonId),
}
