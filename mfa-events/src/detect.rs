//! Attacks, seen while they run: rules as data over true sliding windows, in bounded memory.

pub mod rule;

pub use rule::{Rule, RuleId, Rules, RulesError, Severity};
