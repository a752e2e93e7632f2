//! Whose an account is.

use std::borrow::Cow;

use serde_json::Value;

use crate::ensure::{FoundBy, Identity};
use crate::error::{Error, ErrorKind};
use crate::resource::{Attributes, ResourceId, attribute};

/// An account that was read.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) id: ResourceId,
    pub(super) attributes: Attributes,
    pub(super) found_by: FoundBy,
}

/// What a look-up says.
#[derive(Debug)]
pub(super) enum Found {
    /// Nobody.
    Nobody,
    /// Exactly one, and nothing says that it is somebody else's.
    One(Account),
    /// One that is somebody else's: it bears another external identifier.
    Stranger(Account),
    /// More than one.
    Many(usize),
}

impl Account {
    /// From what was read. One without an identifier to speak of it by is an error: it is there, and not absent.
    pub(super) fn new(attributes: Attributes, found_by: FoundBy) -> Result<Self, Error> {
        let id = named(&attributes, "id").map(ResourceId::new).ok_or_else(nameless)?;
        Ok(Self { id, attributes, found_by })
    }

    fn external_id(&self) -> Option<Cow<'_, str>> {
        named(&self.attributes, "externalId")
    }

    /// Whether the account says of itself that it is another person's.
    ///
    /// An account without an external identifier says nothing: it may be the person's own from before provisioning.
    pub(super) fn is_strange_to(&self, identity: &Identity) -> bool {
        match (self.external_id(), &identity.external_id) {
            (Some(theirs), Some(ours)) => theirs != *ours,
            _ => false,
        }
    }

    /// Whether the account bears the identity's external identifier.
    pub(super) fn bears(&self, identity: &Identity) -> bool {
        self.external_id().is_some_and(|theirs| Some(&*theirs) == identity.external_id.as_deref())
    }

    /// Whether it can be used. Without the attribute it can (RFC 7643 §4.1.1 leaves that to the service).
    pub(super) fn is_active(&self) -> bool {
        !matches!(attribute(&self.attributes, "active"), Some(Value::Bool(false)))
            && !attribute(&self.attributes, "active")
                .and_then(Value::as_str)
                .is_some_and(|text| text.eq_ignore_ascii_case("false"))
    }

    /// Whether the server shows at all whether it can be used.
    pub(super) fn shows_active(&self) -> bool {
        attribute(&self.attributes, "active").is_some_and(|active| !active.is_null())
    }
}

/// The identifier of this name. There are services that write numbers.
pub(super) fn named<'a>(attributes: &'a Attributes, name: &str) -> Option<Cow<'a, str>> {
    attribute(attributes, name).and_then(identifier)
}

pub(super) fn identifier(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::from(text)).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(Cow::from(number.to_string())),
        _ => None,
    }
}

pub(super) fn nameless() -> Error {
    Error::new(ErrorKind::Protocol).detail("a resource without an identifier")
}

/// Judges what a look-up brought; `accounts` are those for which its filter holds.
pub(super) fn judge(identity: &Identity, mut accounts: Vec<Account>) -> Found {
    // A list may show the same one twice.
    accounts.sort_by(|a, b| a.id.cmp(&b.id));
    accounts.dedup_by(|a, b| a.id == b.id);
    // Several of one user name, of which one bears our identifier: that one is ours.
    if accounts.len() > 1 && accounts.iter().filter(|account| account.bears(identity)).count() == 1 {
        accounts.retain(|account| account.bears(identity));
    }
    let count = accounts.len();
    match accounts.pop() {
        None => Found::Nobody,
        Some(_) if count > 1 => Found::Many(count),
        Some(account) if account.is_strange_to(identity) => Found::Stranger(account),
        Some(account) => Found::One(account),
    }
}
