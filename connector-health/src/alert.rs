//! What somebody has to be told, and that it arrives.
//!
//! An [`AlertBook`] compares a [`Monitor`](crate::Monitor) with what was told already and gives the difference as [`Alert`]s; an
//! [`AlertDesk`] keeps each until every [`AlertSink`] has taken it.

mod book;
mod delivery;
mod desk;
#[cfg(feature = "webhook")]
mod inside;
mod log;
mod redact;
#[cfg(feature = "smtp")]
mod smtp;
mod text;
#[cfg(feature = "webhook")]
mod webhook;

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::ConnectorId;
use crate::monitor::{Dimension, FailureClass, Tier};

pub use book::{AlertBook, AlertRules, BookState};
pub use delivery::{Delivery, PENDING_MAX, RETRY_FIRST_S, RETRY_LONGEST_S};
pub use desk::{AlertDesk, AlertStore, AlertStoreError, MemoryAlerts, Pass};
#[cfg(feature = "webhook")]
pub use inside::is_inside;
pub use log::LogSink;
#[cfg(feature = "tracing")]
pub use log::TracingSink;
pub use redact::{SAMPLE_BYTES_MAX, redact};
#[cfg(feature = "smtp")]
pub use smtp::{RECIPIENTS_MAX, SmtpBuilder, SmtpError, SmtpSink};
#[cfg(feature = "webhook")]
pub use webhook::{
    NameLookup, SystemNames, WEBHOOK_SECRET_BYTES_MIN, WebhookBuilder, WebhookError, WebhookSink, signature,
};

/// Names an alert: its connector, dimension and failure class.
///
/// The same failure of the same connector has the same name when it comes again later, so that a receiver that missed how one ended
/// takes the next for what it is: the newest state of that alert.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertId(String);

impl AlertId {
    /// As text: `connector/dimension/failure class`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What waits for a connector, as whoever owns the queue counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backlog {
    /// Changes that wait, other than deprovisionings.
    pub provisioning_queued: u64,
    /// Of these, those that were tried and failed.
    pub provisioning_failed: u64,
    /// Deprovisionings that wait: people who have left and may still have an account.
    pub deprovisioning_queued: u64,
    /// Of these, those that were tried and failed.
    pub deprovisioning_failed: u64,
    /// When the oldest of these was asked for.
    pub oldest_deprovision_at: Option<DateTime<Utc>>,
    /// Leavers that are held until somebody approves; in none of these counts.
    pub held: u64,
    /// What replay has done so far: totals that only grow.
    pub replayed: ReplayTotals,
}

/// What replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplayTotals {
    /// Delivered and confirmed.
    pub delivered: u64,
    /// Taken over by a later event, and kept as evidence.
    pub superseded: u64,
    /// Given up.
    pub failed: u64,
}

impl ReplayTotals {
    fn since(self, earlier: Self) -> Self {
        Self {
            delivered: self.delivered.saturating_sub(earlier.delivered),
            superseded: self.superseded.saturating_sub(earlier.superseded),
            failed: self.failed.saturating_sub(earlier.failed),
        }
    }
}

/// How urgent an alert is. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// To be planned: a credential ends soon.
    Notice,
    /// Degraded.
    Normal,
    /// Failed, or an offboarding waits.
    High,
    /// An offboarding waits for longer than its objective allows, or waits for a connector that has failed.
    Urgent,
}

/// Whether the cause of an alert is there still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It is.
    Open,
    /// It is not.
    Resolved,
}

/// Why somebody is told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Occasion {
    /// It is new.
    Opened,
    /// The tier changed.
    TierChanged,
    /// The priority rose.
    PriorityRaised,
    /// Nothing changed, and it was last told a while ago.
    Reminder,
    /// It is over.
    Resolved,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remedy {
    /// Look at name, route and firewall.
    OpenFirewall,
    /// Look at the certificates and versions of TLS.
    RepairTls,
    /// Ask the application's owner whether it is up.
    AskOwner,
    /// Put a new token or password in.
    RotateCredential,
    /// Give the technical user its rights.
    GrantPermission,
    /// Look at the attribute mapping.
    FixMapping,
    /// Look at the accounts that stand in each other's way.
    ResolveConflict,
    /// See that probes and workers run.
    CheckWorker,
    /// Slow down, or ask for a higher limit.
    RaiseLimit,
    /// Say whether so many people have left.
    ApproveLeavers,
    /// Restore what is stored, or take the person's events in anew.
    RestoreStore,
}

/// How an alert ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// When.
    pub resolved_at: DateTime<Utc>,
    /// Seconds from the first failure.
    pub duration_s: u64,
    /// What replay did from the opening on.
    pub replay: ReplayTotals,
    /// The alert that goes on in its place, where the same dimension fails for another reason now.
    pub superseded_by: Option<FailureClass>,
}

/// One message about an alert. Whole by itself: the newest says all.
///
/// Serialises to a flat JSON object. Beside the fields here it has what audit-worthy facts of this product have in common: `event_id`,
/// `event_type` (`connector.degraded`, `connector.failed`, `connector.recovered`, `credential.expiring`, `leavers.held`), `timestamp`, `target_id`,
/// `outcome`, `reason` and `message`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "text::Wire")]
#[non_exhaustive]
pub struct Alert {
    /// Which alert.
    pub alert_id: AlertId,
    /// Which message of it: each has a greater number than those before it, with gaps.
    pub sequence: u64,
    /// When it was said.
    pub at: DateTime<Utc>,
    /// Why it was said.
    pub occasion: Occasion,
    /// The connector.
    pub connector: ConnectorId,
    /// In which respect it fails.
    pub dimension: Dimension,
    /// Of what kind the failure is.
    pub failure_type: FailureClass,
    /// How bad.
    pub tier: Tier,
    /// Whether it is there still.
    pub state: AlertState,
    /// How urgent.
    pub priority: Priority,
    /// What to do.
    pub remedy: Remedy,
    /// First failure of the run.
    pub first_failure_at: DateTime<Utc>,
    /// Last time that anything was confirmed.
    pub last_success_at: Option<DateTime<Utc>>,
    /// What waits.
    pub queue: Backlog,
    /// What the last failure said, redacted.
    pub sample: Option<String>,
    /// When the credential ends, where that is what it is about.
    pub credential_ends_at: Option<DateTime<Utc>>,
    /// How it ended.
    pub resolution: Option<Resolution>,
}

impl Alert {
    /// The age of the oldest deprovisioning that waits.
    pub fn oldest_deprovision_age(&self) -> Option<TimeDelta> {
        let since = self.queue.oldest_deprovision_at?;
        Some(self.at.signed_duration_since(since).max(TimeDelta::zero()))
    }
}

/// Takes alerts to people: a webhook, a mailbox, a log.
///
/// **What an implementor promises.** `Ok` means that it has arrived and need not be kept. The same message may come several times
/// (after a crash, after a lost answer): it is told by its `alert_id` and `sequence`, and by its `event_id`, and a second time has no
/// further effect. Messages of one alert come in order, one at a time, some of them left out; each says all, so the newest replaces
/// those before. It answers within a limit of its own: for as long as it does not, nothing else is sent to it. Errors hold neither
/// secrets nor addresses that are secrets. Dropping the future may leave the message sent or not.
///
/// A wrong `Ok` loses an alert.
#[async_trait]
pub trait AlertSink: Send + Sync {
    /// Takes a message at `now`.
    async fn deliver(&self, alert: &Alert, now: DateTime<Utc>) -> Result<(), SinkError>;
}

#[async_trait]
impl<S: AlertSink + ?Sized> AlertSink for std::sync::Arc<S> {
    async fn deliver(&self, alert: &Alert, now: DateTime<Utc>) -> Result<(), SinkError> {
        (**self).deliver(alert, now).await
    }
}

/// Why a sink did not take a message. It is tried again, whatever the reason: what is wrong may be set right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// It could not be reached, or did not answer in time.
    #[error("alert sink does not answer: {0}")]
    Unavailable(&'static str),
    /// It answered, and not as it should: an HTTP or SMTP status.
    #[error("alert sink answered {0}")]
    Answered(u16),
    /// It points to where alerts must not be sent.
    #[error("alert sink refused: {0}")]
    Forbidden(&'static str),
    /// The message could not be written.
    #[error("alert could not be written: {0}")]
    Unwritable(&'static str),
}
