//! Operations that are safe to repeat, and say what they saw.
//!
//! Each looks first, changes only what is not as wanted, reads again after writing, and hands back an [`Outcome`] that
//! holds every request it took. A request whose outcome is unknown is resolved by reading, never by sending it again
//! blindly; an account is taken over only where the look-up's filter, evaluated again here, holds for exactly one, and
//! where nothing says that it is somebody else's.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::resource::ResourceId;
#[cfg(doc)]
use crate::trace::ATTEMPTS_KEPT_MAX;
use crate::trace::Attempt;

mod account;
mod confirm;
mod deprovision;
mod lookup;
mod membership;
mod reach;
mod user;

pub use confirm::Divergence;

/// Most accounts that fit a look-up and are looked at. More of them are [`Ambiguous`](crate::ErrorKind::Ambiguous) without a look
/// at whose they are.
pub const MATCHES_MAX: usize = 16;

/// Who an account belongs to, as this side knows it.
///
/// The more is known, the surer the look-up. They are asked for in this order, and the first that finds an account ends
/// the look-up: the server's identifier, the external identifier, the user name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Identity {
    /// The server's identifier, remembered from an earlier [`Outcome`].
    pub id: Option<ResourceId>,
    /// This side's identifier (`externalId`), which never changes and is never given to another person.
    pub external_id: Option<String>,
    /// The name to sign in with; may be given to another person once it is free.
    pub user_name: Option<String>,
    /// The address; only asked for where a create met a conflict that nothing else explains.
    pub email: Option<String>,
}

impl Identity {
    /// Known by `externalId`.
    pub fn external(external_id: impl Into<String>) -> Self {
        Self { external_id: Some(external_id.into()), ..Self::default() }
    }

    /// Known by `userName`.
    pub fn named(user_name: impl Into<String>) -> Self {
        Self { user_name: Some(user_name.into()), ..Self::default() }
    }

    /// Also known by the server's identifier.
    #[must_use]
    pub fn with_id(mut self, id: ResourceId) -> Self {
        self.id = Some(id);
        self
    }

    /// Also known by `userName`.
    #[must_use]
    pub fn with_user_name(mut self, user_name: impl Into<String>) -> Self {
        self.user_name = Some(user_name.into());
        self
    }

    /// Also known by an address.
    #[must_use]
    pub fn with_email(mut self, email: impl Into<String>) -> Self {
        self.email = Some(email.into());
        self
    }
}

/// How an account is taken away. Which of them can be undone differs from service to service: see
/// [`DeprovisionEffect`](crate::dialect::DeprovisionEffect).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Deprovision {
    /// `active: false`, and a reading that says so.
    Disable,
    /// `DELETE`, and a reading that finds nothing.
    Delete,
    /// Both, in this order: where the deletion fails, the account is at least disabled.
    DisableThenDelete,
}

/// Whether somebody is in a group.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Membership {
    /// In it.
    Member,
    /// Not in it.
    NotMember,
}

/// How patient and how careful the operations are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Care {
    /// How long after a request of unknown outcome a second look is taken before the first look's “not there” is
    /// believed: a server may still be at work on what it has received. Default 2 s.
    pub settle: Duration,
    /// How often one operation may write, in all. Default 3.
    pub writes_max: usize,
    /// How many resources a look-up reads at most where a server ignores the filter. Default 100,000.
    pub lookup_resources_max: usize,
    /// Whether a change of members checks that the others stayed. Default [`Others::Compare`].
    pub others: Others,
}

impl Default for Care {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            writes_max: 3,
            lookup_resources_max: 100_000,
            others: Others::Compare,
        }
    }
}

/// Whether a change of members looks at the other members too: there are servers that answer 200 and drop them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Others {
    /// The whole list is read before and after.
    Compare,
    /// Only the one member is looked at: for groups of very many.
    Trust,
}

/// How things are now, and how they came to be so.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// The account was made.
    Created,
    /// An account that was there already was taken over.
    Adopted,
    /// The account was changed.
    Updated,
    /// All was as wanted.
    Unchanged,
    /// The account cannot be used any more.
    Disabled,
    /// The account could not be used before, either.
    AlreadyDisabled,
    /// The account is gone.
    Deleted,
    /// There was no such account, and the service answers otherwise.
    AlreadyAbsent,
    /// The member was added.
    Joined,
    /// The member was removed.
    Left,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Adopted => "adopted",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Disabled => "disabled",
            Self::AlreadyDisabled => "already disabled",
            Self::Deleted => "deleted",
            Self::AlreadyAbsent => "already absent",
            Self::Joined => "joined",
            Self::Left => "left",
        })
    }
}

/// By what an account was found.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FoundBy {
    /// The server's identifier.
    Id,
    /// `externalId`.
    ExternalId,
    /// `userName`.
    UserName,
    /// An address.
    Email,
}

/// What an operation did and saw. There is one only where a reading confirmed the state.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// How things are, and how they came to be so.
    pub state: State,
    /// The server's identifier of the account or group; absent where there never was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// By what the account was found, where it was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_by: Option<FoundBy>,
    /// When the answer came that shows the state.
    pub confirmed_at: DateTime<Utc>,
    /// Attributes that were written and that the server shows otherwise. Empty, but for
    /// [`ensure_user`](crate::Client::ensure_user) with servers that drop or rewrite what they are given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub divergent: Vec<Divergence>,
    /// The requests, in order; the last reading is the one that confirms.
    pub attempts: Vec<Attempt>,
    /// How many requests before the last one are not among them, beyond [`ATTEMPTS_KEPT_MAX`]: those of long look-ups.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempts_left_out: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
