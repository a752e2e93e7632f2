//! What rules would have found.

use std::collections::BTreeMap;

use serde::Serialize;

use super::alert::{Alert, AlertState};
use super::explain::RuleCounts;
use super::options::{Counters, Options};
use super::rule::{RuleId, Rules};
use super::tenant::TenantDetector;
use crate::id::TenantId;
use crate::store::Record;

/// Most alerts that a report holds. Others are counted.
pub const REPORT_ALERTS_MAX: usize = 10_000;

/// What rules found in a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Events, and what became of them.
    pub counters: Counters,
    /// Of each rule.
    pub rules: BTreeMap<RuleId, RuleCounts>,
    /// Every turn of every alert, in the order in which they came, at most [`REPORT_ALERTS_MAX`].
    pub alerts: Vec<Alert>,
    /// Turns beyond those.
    pub alerts_left_out: u64,
}

impl Report {
    /// Alerts as they opened.
    pub fn opened(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.state == AlertState::Opened)
    }
}

/// Goes through a tenant's stored events, in the order of their log, and tells what the rules find. All that wait at the end are
/// judged; what is open then stays so.
pub fn backtest(
    rules: &Rules,
    tenant: &TenantId,
    records: impl IntoIterator<Item = Record>,
    options: Options,
) -> Report {
    let mut detector = TenantDetector::new(tenant.clone(), rules, options);
    let (mut alerts, mut alerts_left_out) = (Vec::new(), 0_u64);
    let mut bound = |alerts: &mut Vec<Alert>| {
        let more = alerts.len().saturating_sub(REPORT_ALERTS_MAX);
        alerts_left_out = alerts_left_out.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        alerts.truncate(REPORT_ALERTS_MAX);
    };
    let mut records = records.into_iter();
    loop {
        let some: Vec<_> = records.by_ref().take(1_024).collect();
        if some.is_empty() {
            break;
        }
        detector.observe_all(&some, &mut alerts);
        bound(&mut alerts);
    }
    detector.finish(&mut alerts);
    bound(&mut alerts);
    let rules = detector.rule_counts().map(|(rule, counts)| (rule.clone(), counts)).collect();
    Report { counters: detector.counters(), rules, alerts, alerts_left_out }
}
