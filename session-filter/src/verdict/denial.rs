//! Why something may not be done, for machines and for people.

use std::fmt;

use crate::grammar::{Fault, Operator, escape_into};
use crate::limits::DENIAL_LINE_BYTES_MAX;
use crate::policy::Unmet;

/// Why a line was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DenialReason {
    /// The line is not in the grammar.
    Grammar(Fault),
    /// No rule lets this user onto this target at all.
    NoEntry,
    /// The user and target have rules, but none permits this command.
    NoRule,
    /// A rule permits the command, but not in this directory.
    DirectoryNotPermitted,
    /// A rule permits the command but not now, not from there, or not on this device.
    ConditionUnmet(Unmet),
    /// Each command may run, but not joined like this.
    OperatorNotPermitted(Operator),
    /// Refused by something other than a policy; the code says by what.
    Other(&'static str),
}

impl DenialReason {
    /// Machine-readable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Grammar(fault) => fault.reason().code(),
            Self::NoEntry => "no_entry",
            Self::NoRule => "no_rule",
            Self::DirectoryNotPermitted => "directory_not_permitted",
            Self::ConditionUnmet(unmet) => unmet.code(),
            Self::OperatorNotPermitted(Operator::Pipe) => "pipeline_not_permitted",
            Self::OperatorNotPermitted(_) => "list_not_permitted",
            Self::Other(code) => code,
        }
    }
}

/// A denied line.
///
/// `Display` gives one line of text for the user in which nothing can act on a terminal:
/// `` `systemctl restart nginx`: no rule permits `restart`; permitted: status ``. It repeats what the user typed,
/// which may hold a password: pass it through [`Policy::redact`](crate::Policy::redact) before it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Denial(Box<Particulars>);

#[derive(Clone, PartialEq, Eq)]
struct Particulars {
    line: String,
    reason: DenialReason,
    position: Option<usize>,
    explanation: String,
    permitted: Vec<String>,
}

impl Denial {
    /// Denies a line for a reason of the caller's own. `code` is for machines, `explanation` for people: a phrase
    /// in lower case without a full stop.
    pub fn new(line: &[u8], code: &'static str, explanation: impl Into<String>) -> Self {
        Self::from_parts(line, DenialReason::Other(code), None, explanation.into(), Vec::new())
    }

    pub(crate) fn from_parts(
        line: &[u8],
        reason: DenialReason,
        position: Option<usize>,
        explanation: String,
        permitted: Vec<String>,
    ) -> Self {
        // One character more than is shown, so that the cut is visible.
        let shown = line.get(..DENIAL_LINE_BYTES_MAX.saturating_add(4)).unwrap_or(line);
        let line = String::from_utf8_lossy(shown).into_owned();
        Self(Box::new(Particulars { line, reason, position, explanation, permitted }))
    }

    /// Machine-readable reason: `no_rule`, `no_entry`, `expansion`, `redirect`, `list_not_permitted`,
    /// `outside_time_window`, …
    pub fn code(&self) -> &'static str {
        self.0.reason.code()
    }

    /// The reason with its particulars.
    pub fn reason(&self) -> &DenialReason {
        &self.0.reason
    }

    /// Byte offset in the line at which the trouble starts, where there is such a place.
    pub fn position(&self) -> Option<usize> {
        self.0.position
    }

    /// What would have been permitted in the place of the word that was not (the start of a list, at most
    /// [`DENIAL_HINTS_MAX`](crate::limits::DENIAL_HINTS_MAX)).
    pub fn permitted(&self) -> &[String] {
        &self.0.permitted
    }

    /// The explanation without the line and without suggestions. It may still cite a word of the line.
    pub fn explanation(&self) -> &str {
        &self.0.explanation
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::from("`");
        escape_into(&self.0.line, DENIAL_LINE_BYTES_MAX, &mut out);
        out.push_str("`: ");
        escape_into(&self.0.explanation, usize::MAX, &mut out);
        // Where a word is at fault, the explanation cites it, and a place would say nothing more.
        if let Some(position) = self.0.position.filter(|_| self.0.reason != DenialReason::NoRule) {
            out.push_str(&format!(" (byte {position})"));
        }
        for (at, hint) in self.0.permitted.iter().enumerate() {
            out.push_str(if at == 0 { "; permitted: " } else { ", " });
            escape_into(hint, DENIAL_LINE_BYTES_MAX, &mut out);
        }
        f.write_str(&out)
    }
}

/// The line may hold a password: only reason and place are shown.
impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denial")
            .field("code", &self.code())
            .field("position", &self.0.position)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Denial {}

/// Why a session is not admitted (or, while it lives, not any more).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: &'static str,
    message: String,
}

impl Refusal {
    /// `code` is for machines, `message` for people: a phrase in lower case without a full stop.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Machine-readable reason: `no_entry`, `outside_time_window`, `source_network`, …
    pub fn code(&self) -> &'static str {
        self.code
    }
}

/// Nothing in the text can act on a terminal.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        escape_into(&self.message, usize::MAX, &mut out);
        f.write_str(&out)
    }
}

impl std::error::Error for Refusal {}
