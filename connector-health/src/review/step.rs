//! What goes into a campaign, and what comes out of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::access::{ItemKey, SnapshotHash};
use super::{CHAIN_MAX, ITEMS_MAX, REASON_BYTES_MAX};
use crate::id::{CampaignId, PersonId};

/// How far a campaign is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Something is to be decided.
    Active,
    /// All is decided; not every revocation is confirmed.
    Remediation,
    /// All is decided and confirmed. Nothing changes any more.
    Complete,
    /// It was called off. Revocations that were decided are still confirmed.
    Cancelled,
}

/// What a reviewer decides.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// It stays. A reason is needed where there is no justification on record.
    Approve {
        /// Why.
        reason: Option<String>,
    },
    /// It goes.
    Revoke {
        /// Why.
        reason: String,
    },
    /// Another is to answer for it.
    Reassign {
        /// Who.
        to: PersonId,
        /// Why.
        reason: String,
    },
    /// Another may decide, and the reviewer answers for it.
    Delegate {
        /// Who.
        to: PersonId,
        /// Why.
        reason: String,
    },
}

/// A right to revoke. The same, as often as it is given out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RevokeIntent {
    /// By which campaign.
    pub campaign: CampaignId,
    /// Which right of whom.
    pub item: ItemKey,
    /// Who decided; None where nobody did in time.
    pub decided_by: Option<PersonId>,
    /// When.
    pub decided_at: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// What was decided on.
    pub snapshot: SnapshotHash,
}

/// One step, for the audit trail.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// Which campaign.
    pub campaign: CampaignId,
    /// Which item.
    pub item: ItemKey,
    /// What was done: `approved`, `revoking`, `reassigned`, `delegated`, `assigned`, `revoked`, `revoke_failed`, `gone`,
    /// `presented_again`, `escalated`.
    pub step: String,
    /// Who did it; None where time or an observation did.
    pub by: Option<PersonId>,
    /// To whom, where that is the step.
    pub to: Option<PersonId>,
    /// Why, as far as someone said.
    pub reason: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
    /// What was shown.
    pub snapshot: SnapshotHash,
}

/// Why someone may not review an item.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotIndependent {
    /// It is their own.
    #[error("it is their own access")]
    Own,
    /// They granted it.
    #[error("they granted it")]
    Granted,
    /// They passed it on before.
    #[error("they were to decide on it before")]
    Before,
}

/// Why a step was refused. Nothing has changed then.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// Nothing is to be reviewed: whatever lists access is likelier to be broken.
    #[error("there is no access to review")]
    Empty,
    /// More than [`ITEMS_MAX`].
    #[error("a campaign has at most {ITEMS_MAX} items")]
    TooManyItems,
    /// One right of one person is there twice.
    #[error("`{}` of `{}` is there twice", .0.right, .0.person)]
    Twice(ItemKey),
    /// No such item.
    #[error("the campaign has no such item")]
    Unknown,
    /// The campaign is over.
    #[error("the campaign is over")]
    Over,
    /// Someone else is to decide.
    #[error("`{0}` is not to decide on this")]
    NotReviewer(PersonId),
    /// Only the campaign's owner may.
    #[error("`{0}` does not run the campaign")]
    NotOwner(PersonId),
    /// It changed since it was shown.
    #[error("the access has changed since it was shown")]
    Changed {
        /// What is shown now.
        snapshot: SnapshotHash,
    },
    /// It was decided.
    #[error("this was decided already")]
    Decided,
    /// No revocation is under way.
    #[error("no revocation of this is under way")]
    NotRevoking,
    /// That person may not review it.
    #[error("`{person}` may not review this: {why}")]
    NotIndependent {
        /// Who.
        person: PersonId,
        /// Why not.
        why: NotIndependent,
    },
    /// More than [`CHAIN_MAX`].
    #[error("this was passed on {CHAIN_MAX} times: someone must decide")]
    PassedOnTooOften,
    /// A reason is missing or longer than [`REASON_BYTES_MAX`].
    #[error("a reason of 1 to {REASON_BYTES_MAX} bytes is needed")]
    Reason,
    /// No revocations are held.
    #[error("no revocations are held")]
    NotHeld,
    /// Others are held than were approved.
    #[error("{0} revocations are held by now")]
    HeldOthers(u64),
    /// Something is still undecided.
    #[error("{0} items are still to be decided")]
    Undecided(u64),
}

/// What an observation meant.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Observed {
    /// Nothing of note.
    Same,
    /// It is another grant than was shown: it is presented again.
    PresentedAgain(Box<Record>),
    /// It changed, and is on its way out: that goes on.
    Revoking,
    /// It is not part of this campaign; the next one has it.
    NotReviewed,
}

/// Something to tell someone.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The campaign is due soon.
    Reminder {
        /// Whom to remind.
        reviewer: PersonId,
        /// How much is open.
        open: u64,
        /// When it is due.
        due_at: DateTime<Utc>,
    },
    /// Someone else is to decide now.
    Escalated(Record),
    /// It should have been escalated to someone who may not review it.
    NotEscalated {
        /// Which.
        item: ItemKey,
        /// To whom.
        to: PersonId,
        /// Why not.
        why: NotIndependent,
    },
    /// Nobody decided in time: it is revoked.
    Revoked(RevokeIntent),
    /// Nobody decided in time on so many that they are held until somebody approves: see [`RevokeGuard`](super::RevokeGuard).
    RevokesHeld {
        /// How many would have been revoked so by then, those that were revoked before included.
        revokes: u64,
        /// Of so many items.
        items: u64,
    },
}
