//! The words: how bad, in which respect, and of what kind.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a connector, or one of its dimensions, is.
///
/// Ordered from best to worst, so that the worst of several is their maximum. A single failed event is no tier of its own: it is
/// noted as [`StepKind::Transient`](super::StepKind::Transient).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Confirmed to work.
    Healthy,
    /// Nothing was confirmed yet. Not healthy.
    Unknown,
    /// Does not work, or not as it should: somebody is told.
    Degraded,
    /// Has been degraded for too long.
    Failed,
}

impl Tier {
    /// Whether somebody has to do something: degraded or failed.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Degraded | Self::Failed)
    }

    /// `healthy`, `unknown`, `degraded`, `failed`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unknown => "unknown",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// In which respect.
///
/// Ordered by what is repaired first: where several are equally bad, the first is the connector's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Whether the application accepts who we are.
    Authentication,
    /// Whether the application can be reached.
    Connectivity,
    /// Whether what is due is done.
    Sync,
    /// Whether it is done in good time.
    Latency,
}

impl Dimension {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Authentication, Self::Connectivity, Self::Sync, Self::Latency];

    /// `authentication`, `connectivity`, `sync`, `latency`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Connectivity => "connectivity",
            Self::Sync => "sync",
            Self::Latency => "latency",
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Of what kind a failure is: the `failure_type` of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureClass {
    /// No name, no route, no connection. Nothing was sent.
    Unreachable,
    /// TLS could not be agreed on: a certificate, a version.
    Tls,
    /// Sent, and no answer: time ran out, the connection broke, 502 or 504.
    UnknownOutcome,
    /// 401, after the token was renewed once.
    CredentialRefused,
    /// 403 on everything.
    PermissionDenied,
    /// A login page in place of an answer.
    LoginPage,
    /// The credential is past its end.
    CredentialExpired,
    /// The credential is near its end. Warned of; not a failure.
    CredentialExpiring,
    /// 403 on one operation. A cycle in which everything met it counts as [`PermissionDenied`](Self::PermissionDenied).
    OperationRefused,
    /// 400: an attribute, value or path that the application does not take.
    SchemaMismatch,
    /// 500.
    ServerError,
    /// 409 that no account explains.
    Conflict,
    /// Accepted, and without the effect when read.
    Divergent,
    /// A cycle left due work undelivered, for no reason given.
    Undelivered,
    /// What is stored of some queued changes cannot be read.
    Unreadable,
    /// Too great a part of recent operations failed.
    FailureRatio,
    /// Failures use up the error budget fast.
    BurnRate,
    /// Failures use up the error budget slowly, for days.
    SlowBurn,
    /// Nothing was confirmed for too long.
    Stale,
    /// 429, or 503 with `Retry-After`, beyond a whole cycle.
    RateLimited,
    /// Much slower than usual.
    Slow,
    /// Slower than is ever good.
    OverCeiling,
    /// Unusually many leavers are held until somebody approves. To be decided; not a failure.
    LeaversHeld,
}

impl FailureClass {
    /// In which respect such a failure is one.
    pub fn dimension(self) -> Dimension {
        match self {
            Self::Unreachable | Self::Tls | Self::UnknownOutcome => Dimension::Connectivity,
            Self::CredentialRefused
            | Self::PermissionDenied
            | Self::LoginPage
            | Self::CredentialExpired
            | Self::CredentialExpiring => Dimension::Authentication,
            Self::OperationRefused
            | Self::SchemaMismatch
            | Self::ServerError
            | Self::Conflict
            | Self::Divergent
            | Self::Undelivered
            | Self::Unreadable
            | Self::FailureRatio
            | Self::BurnRate
            | Self::SlowBurn
            | Self::Stale
            | Self::LeaversHeld => Dimension::Sync,
            Self::RateLimited | Self::Slow | Self::OverCeiling => Dimension::Latency,
        }
    }

    /// Machine-readable name: `unreachable`, `credential_refused`, …
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::UnknownOutcome => "unknown_outcome",
            Self::CredentialRefused => "credential_refused",
            Self::PermissionDenied => "permission_denied",
            Self::LoginPage => "login_page",
            Self::CredentialExpired => "credential_expired",
            Self::CredentialExpiring => "credential_expiring",
            Self::OperationRefused => "operation_refused",
            Self::SchemaMismatch => "schema_mismatch",
            Self::ServerError => "server_error",
            Self::Conflict => "conflict",
            Self::Divergent => "divergent",
            Self::Undelivered => "undelivered",
            Self::Unreadable => "unreadable",
            Self::FailureRatio => "failure_ratio",
            Self::BurnRate => "burn_rate",
            Self::SlowBurn => "slow_burn",
            Self::Stale => "stale",
            Self::RateLimited => "rate_limited",
            Self::Slow => "slow",
            Self::OverCeiling => "over_ceiling",
            Self::LeaversHeld => "leavers_held",
        }
    }

    /// Whether the application itself must have answered for this to be seen. A login page may be anybody's.
    pub(super) fn shows_connection(self) -> bool {
        matches!(
            self,
            Self::CredentialRefused
                | Self::PermissionDenied
                | Self::OperationRefused
                | Self::SchemaMismatch
                | Self::ServerError
                | Self::Conflict
                | Self::Divergent
                | Self::RateLimited
        )
    }

    /// Whether it is found by counting, so that any further failure keeps it alive.
    pub(super) fn is_counted(self) -> bool {
        matches!(self, Self::FailureRatio | Self::BurnRate | Self::SlowBurn)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
