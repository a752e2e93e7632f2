//! What is reviewed, and its fingerprint.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::id::{AccountId, PersonId, Right};

/// A right of a person, as a reviewer sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Access {
    /// Whose.
    pub person: PersonId,
    /// Which right, on which connector. Roles of SAP are rights as others are.
    pub right: Right,
    /// By which account, where it is known: a person may have several at one application, and each is decided on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Why it was granted.
    pub justification: Option<String>,
    /// Who granted it.
    pub granted_by: Option<PersonId>,
    /// When.
    pub granted_at: Option<DateTime<Utc>>,
    /// When it ends by itself.
    pub valid_until: Option<DateTime<Utc>>,
    /// When it was last approved in a review.
    pub last_review: Option<DateTime<Utc>>,
    /// When it was last used, where the application tells.
    pub last_use: Option<DateTime<Utc>>,
    /// The person's manager. Finds a reviewer; not part of what is decided on.
    pub manager: Option<PersonId>,
    /// Who answers for the right or its application. Finds a reviewer; not part of what is decided on.
    pub owner: Option<PersonId>,
}

/// Tells one item of a campaign from all others.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ItemKey {
    /// Whose.
    pub person: PersonId,
    /// Which right.
    pub right: Right,
    /// By which account, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
}

/// SHA-256 over the canonical form of what a reviewer saw. In JSON, 64 hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SnapshotHash([u8; 32]);

/// One thing to decide on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Item {
    /// What is shown.
    pub access: Access,
    /// The hash of what is shown. A decision names it.
    pub snapshot: SnapshotHash,
    /// Who answers for the decision.
    pub reviewer: Option<PersonId>,
    /// Who may decide in the reviewer's place.
    pub delegate: Option<PersonId>,
    /// Everyone who was to decide, in order, since it was last presented.
    pub chain: Vec<PersonId>,
    /// How it stands.
    pub state: ItemState,
    /// How often it was presented: more than once where it changed meanwhile.
    pub presented: u32,
    /// Since when anybody is asked about what is shown; none where nobody is.
    #[serde(default)]
    pub asked_at: Option<DateTime<Utc>>,
    /// How many escalations it has passed.
    pub(super) escalated: u32,
}

/// How an item stands.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ItemState {
    /// No independent reviewer was found; the campaign's owner assigns one.
    Unassigned,
    /// To be decided.
    Open,
    /// It stays. Closed.
    Approved {
        /// Who decided.
        by: PersonId,
        /// When.
        at: DateTime<Utc>,
    },
    /// It goes, and that is not confirmed yet.
    Revoking {
        /// Who decided; None where nobody did in time.
        by: Option<PersonId>,
        /// When.
        at: DateTime<Utc>,
        /// Why.
        reason: String,
        /// Why the last attempt failed.
        failure: Option<String>,
    },
    /// It is gone, by a decision. Closed.
    Revoked {
        /// Who decided; None where nobody did in time.
        by: Option<PersonId>,
        /// When.
        at: DateTime<Utc>,
        /// When a read confirmed it.
        confirmed_at: DateTime<Utc>,
    },
    /// It was gone before anyone decided. Closed.
    Gone {
        /// When a read found it so.
        at: DateTime<Utc>,
    },
}

impl ItemState {
    /// Whether someone has still to decide.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::Unassigned | Self::Open)
    }

    /// Whether nothing is left to do.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Approved { .. } | Self::Revoked { .. } | Self::Gone { .. })
    }
}

impl Access {
    /// What tells it from all others.
    pub fn key(&self) -> ItemKey {
        ItemKey { person: self.person.clone(), right: self.right.clone(), account: self.account.clone() }
    }

    /// The hash of everything that a reviewer sees.
    ///
    /// SHA-256 over `connector-health review item 2` and then, in the order of the fields, each text after its length in
    /// eight bytes (big endian); a field that may be absent after one byte that says whether it is there; an instant as RFC
    /// 3339 in UTC with nine decimals. `manager` and `owner` are left out.
    pub fn snapshot(&self) -> SnapshotHash {
        let mut canonical = Canonical::new(b"connector-health review item 2");
        canonical.text(self.person.as_str());
        canonical.text(self.right.connector.as_str());
        canonical.text(self.right.entitlement.as_str());
        canonical.optional(self.account.as_ref().map(AccountId::as_str));
        canonical.optional(self.justification.as_deref());
        canonical.optional(self.granted_by.as_ref().map(PersonId::as_str));
        for instant in [self.granted_at, self.valid_until, self.last_review, self.last_use] {
            let instant = instant.map(|at| at.to_rfc3339_opts(SecondsFormat::Nanos, true));
            canonical.optional(instant.as_deref());
        }
        canonical.finish()
    }

    /// Whether a decision about one is a decision about the other. Use goes on while people decide.
    pub(super) fn is_same_grant(&self, other: &Self) -> bool {
        self.justification == other.justification
            && self.granted_by == other.granted_by
            && self.granted_at == other.granted_at
            && self.valid_until == other.valid_until
    }
}

/// No two different values have the same form.
pub(super) struct Canonical(Sha256);

impl Canonical {
    pub(super) fn new(what: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(what);
        Self(hash)
    }

    pub(super) fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text);
    }

    fn optional(&mut self, text: Option<&str>) {
        self.0.update([u8::from(text.is_some())]);
        if let Some(text) = text {
            self.text(text);
        }
    }

    pub(super) fn hash(&mut self, hash: &SnapshotHash) {
        self.0.update(hash.0);
    }

    pub(super) fn finish(self) -> SnapshotHash {
        SnapshotHash(self.0.finalize().into())
    }
}

/// A text that is no hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a snapshot hash has 64 lower-case hexadecimal digits")]
pub struct SnapshotHashError;

impl FromStr for SnapshotHash {
    type Err = SnapshotHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| SnapshotHashError)?;
        bytes.try_into().map(Self).map_err(|_| SnapshotHashError)
    }
}

impl fmt::Display for SnapshotHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SnapshotHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotHash({self})")
    }
}

impl Serialize for SnapshotHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SnapshotHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
