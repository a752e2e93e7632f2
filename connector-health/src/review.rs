//! Access review: who has what, and should they still.
//!
//! ```text
//!  access of all connectors ──▶ Campaign::start ──▶ assigned to an independent reviewer, bound to a snapshot hash
//!        decide(approve, revoke, reassign, delegate) ──▶ RevokeIntent ──▶ outbox ──▶ revoke_confirmed ──▶ closed
//!        observe(access as it is now) ──▶ what changed meanwhile is presented again
//!        tick(now) ──▶ reminders, escalations, what stayed undecided though somebody was asked
//!                      (too much of it is held until approve_revokes)
//! ```
//!
//! A campaign is complete only when each item is approved, or its revocation is *confirmed*. A campaign is a plain value that
//! serialises whole; keep it in one transaction with the intents and notices that it gives out, and put the
//! [`Record`] of each step in the audit trail before.

mod access;
mod campaign;
pub mod export;
mod plan;
mod progress;
mod step;
mod time;

pub use access::{Access, Item, ItemKey, ItemState, SnapshotHash};
pub use campaign::Campaign;
pub use plan::{Escalation, Recurrence, ReviewerRule, RevokeGuard, Settings, Undecided};
pub use progress::{Certification, Progress};
pub use step::{Decision, NotIndependent, Notice, Observed, Phase, Record, ReviewError, RevokeIntent};

/// Most items of one campaign.
pub const ITEMS_MAX: usize = 500_000;
/// Most bytes of a reason or a justification.
pub const REASON_BYTES_MAX: usize = 4096;
/// Most persons that one item passes through by reassignment, delegation and escalation. Then someone must decide.
pub const CHAIN_MAX: usize = 8;
