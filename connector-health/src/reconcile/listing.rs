//! The proof that a listing is whole.

use super::{ACCOUNT_BYTES_MAX, ACCOUNTS_MAX, Account};
use crate::id::ConnectorId;
use crate::mistake::shown;

/// Follows a listing from its first page to its end.
#[derive(Debug)]
pub struct Listing {
    connector: ConnectorId,
    accounts: u64,
    broken: Option<String>,
}

/// An account that a [`Listing`] has counted.
#[derive(Debug)]
pub struct Received {
    pub(super) account: Account,
}

/// Every account was listed. Only [`Listing::end`] makes it, and it is good for one reconciliation.
#[derive(Debug, Eq, PartialEq)]
pub struct CompleteListing {
    connector: ConnectorId,
    accounts: u64,
}

/// Some accounts may be missing from the listing, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the listing is incomplete: {reason}")]
pub struct IncompleteListing {
    reason: String,
}

/// How a listing ended.
pub type ListingEnd = Result<CompleteListing, IncompleteListing>;

impl Listing {
    /// The listing of this connector's accounts begins.
    pub fn new(connector: ConnectorId) -> Self {
        Self { connector, accounts: 0, broken: None }
    }

    /// Counts an account. One that has no identifier, is too long, or is one too many is not taken, and the listing is
    /// broken: what was not taken cannot be said to be absent.
    pub fn receive(&mut self, account: Account) -> Option<Received> {
        if account.id.is_empty() {
            self.fail("an account has no identifier");
            return None;
        }
        if text_bytes(&account) > ACCOUNT_BYTES_MAX {
            self.fail(format!("an account has more than {ACCOUNT_BYTES_MAX} bytes"));
            return None;
        }
        if self.accounts >= ACCOUNTS_MAX {
            self.fail(format!("there are more than {ACCOUNTS_MAX} accounts"));
            return None;
        }
        self.accounts = self.accounts.saturating_add(1);
        Some(Received { account })
    }

    /// A page could not be read, or was not what was asked for. The first reason stays.
    pub fn fail(&mut self, reason: impl AsRef<str>) {
        self.broken.get_or_insert_with(|| shown(reason.as_ref()));
    }

    /// The last page was read. `announced` is how many accounts the application said there are, where it did.
    ///
    /// # Errors
    /// Where the listing was broken, or fewer accounts came than were announced.
    pub fn end(self, announced: Option<u64>) -> ListingEnd {
        if let Some(reason) = self.broken {
            return Err(IncompleteListing { reason });
        }
        if let Some(announced) = announced.filter(|announced| *announced > self.accounts) {
            let reason = format!("{announced} accounts were announced and {} came", self.accounts);
            return Err(IncompleteListing { reason });
        }
        Ok(CompleteListing { connector: self.connector, accounts: self.accounts })
    }
}

impl CompleteListing {
    /// How many accounts were listed.
    pub fn accounts(&self) -> u64 {
        self.accounts
    }

    /// A proof about another listing proves nothing.
    pub(super) fn of(self, connector: &ConnectorId, accounts: u64) -> ListingEnd {
        if self.connector == *connector && self.accounts == accounts {
            return Ok(self);
        }
        Err(IncompleteListing { reason: "the proof of completeness is another listing's".to_owned() })
    }
}

impl IncompleteListing {
    /// Why.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

fn text_bytes(account: &Account) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let fixed = [account.id.len(), optional(&account.external_id), optional(&account.user_name)];
    let emails = account.emails.iter().map(String::len);
    let attributes = account.attributes.iter().map(|(name, value)| name.len().saturating_add(value.len()));
    let entitlements = account.entitlements.iter().map(|id| id.as_str().len());
    fixed.into_iter().chain(emails).chain(attributes).chain(entitlements).fold(0, usize::saturating_add)
}
