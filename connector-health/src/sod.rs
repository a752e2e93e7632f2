//! Separation of duty: rights that one person must not have together, across applications.
//!
//! ```text
//!  rules (TOML) ──▶ SodRules ──┬─▶ would(person, holdings, wanted)   before: allow, ask, mitigate first, deny
//!                              └─▶ check(person, holdings)           after: violations, explained, each with its remedy
//! ```
//!
//! A *risk* is a set of two or more *functions*; a function is what some rights let a person do. Whoever has all functions of
//! a risk violates it, whichever connectors the rights are on, and whether the rights are there or still on their way
//! (SAP GRC's model). A *mitigation* is a control that someone answers for until it expires; then the violation is open again.

mod check;
pub mod export;
mod lint;
mod parse;
mod rules;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use check::{FunctionHit, Remediation, Standing, Verdict, Violation};
pub use lint::Warning;
pub use rules::{Function, Mitigation, MitigationError, Remedy, Risk, SodRules};

use crate::id::Right;

/// Most bytes of the text of rules.
pub const RULES_BYTES_MAX: usize = 32 << 20;
/// Most risks.
pub const RISKS_MAX: usize = 20_000;
/// Most functions.
pub const FUNCTIONS_MAX: usize = 20_000;
/// Most functions of one risk.
pub const RISK_FUNCTIONS_MAX: usize = 16;
/// Most rights of one function.
pub const FUNCTION_RIGHTS_MAX: usize = 10_000;
/// Most mitigations.
pub const MITIGATIONS_MAX: usize = 200_000;

/// A right that a person has, or is about to have.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Holding {
    /// Which.
    pub right: Right,
    /// Whether it is there yet.
    pub state: HoldingState,
    /// Since when, or when it was asked for.
    pub since: DateTime<Utc>,
}

/// Whether a right is there. One whose revocation is not confirmed is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldingState {
    /// It is there.
    Current,
    /// It was granted and is not there yet.
    Pending,
}

/// How bad a violation is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Of note.
    Low,
    /// To be looked at.
    Medium,
    /// To be ended or mitigated.
    High,
    /// To be ended.
    Critical,
}

impl Level {
    /// As one word for programs, the same in every release.
    pub fn code(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}
