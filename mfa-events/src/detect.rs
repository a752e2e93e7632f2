//! Attacks, seen while they run: rules as data over true sliding windows, in bounded memory.
//!
//! ```text
//!  EventLog ──▶ wait for earlier ones (5 s) ──▶ each rule ──▶ group ──▶ met? ──▶ Alert: opened, updated, closed
//!                     │ too late: counts now      │             │
//!                     ▼                           ▼             ▼
//!                 Counters              RuleCounts: evicted   explain: how far, and why not
//! ```
//!
//! **Windows** slide with each event: at `t`, what counts is in `(t - window, t]`, by the time when it happened. There is no calendar
//! grid that an attacker could straddle. What comes too late is still counted, with what comes at the same time, and flagged.
//!
//! **Alerts** open when a rule is met, are told again when they have doubled or become worse or there are others in it, and close when the rule
//! was not met for its `quiet` time, by the time of events or, where none come, by the clock of the log. What is told follows from the log
//! alone: to read it again gives the same alerts under the same ids.
//!
//! **Memory** is bounded for each tenant and rule: a group keeps no more than its threshold asks for, whatever is sent, and groups are at
//! most [`Options::groups_max`]. Where that is not enough for all, those go that are furthest from an alert, not the oldest: names
//! and addresses that somebody makes up do not push out an attack that is under way.
//!
//! **Risk** of an event ([`risk`](crate::risk)) weighs from a half to two. It lets an alert open earlier, with half of what a threshold
//! asks for at the least, and never later.

mod alert;
mod backtest;
mod baseline;
mod checkpoint;
mod detector;
mod directory;
mod explain;
mod group;
mod lane;
mod open;
mod options;
mod reorder;
pub mod rule;
mod select;
mod sketch;
mod state;
mod tally;
mod tenant;
mod window;

pub use alert::{Alert, AlertState, Closing, Finding, NAMED_MAX, UPDATE_MS};
pub use backtest::{REPORT_ALERTS_MAX, Report, backtest};
pub use baseline::{GAP_HOURS_MAX, VOLUME_MAX, WEEKS_ACCEPTED, WEEKS_KEPT};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use detector::{ADVANCED_EVENTS_MAX, Advanced, Detector};
pub use explain::{EVICTED_KEPT, Evicted, Explanation, Measure, RuleCounts};
pub use group::{Group, Prefix, PrefixError};
pub use lane::OPEN_MAX;
pub use options::{Counters, Options, Size};
pub use rule::{Rule, RuleId, Rules, RulesError, Severity};
pub use tally::EXACT_MAX;
pub use tenant::{CLOCK_SET_BACK_MS, TenantDetector};
