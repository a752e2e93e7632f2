//! Findings as JSON, CSV and a table.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{AccountName, Differences, Finding, Situation};
use crate::cell::{defused, visible};
use crate::id::ConnectorId;

/// What a reconciliation found, the urgent first.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// Whose accounts.
    pub connector: ConnectorId,
    /// When it was concluded.
    pub at: DateTime<Utc>,
    /// Why the listing was incomplete, where it was. Then nothing is said to be missing, and everything is asked.
    pub incomplete: Option<String>,
    /// How many of what.
    pub counts: Counts,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Persons that have an intent.
    pub intents: u64,
    /// Accounts that were listed, repeated ones included.
    pub accounts: u64,
    /// Accounts that were listed again.
    pub repeated: u64,
    /// Accounts that are left alone.
    pub protected: u64,
    /// Persons whose account is as intended.
    pub linked: u64,
    /// Persons who should have no access and have none.
    pub revoked: u64,
    /// Findings, by their situation.
    pub false_completions: u64,
    /// Accounts that fit several persons.
    pub colliding: u64,
    /// Persons whom several accounts fit.
    pub disputed: u64,
    /// Accounts of nobody.
    pub orphans: u64,
    /// Persons without an account.
    pub missing: u64,
    /// Accounts that are not as intended.
    pub drifted: u64,
    /// Accounts that are not on record yet.
    pub unlinked: u64,
}

/// The columns of a CSV.
const COLUMNS: [&str; 12] = [
    "priority",
    "situation",
    "action",
    "connector",
    "persons",
    "accounts",
    "user_names",
    "active",
    "rule",
    "differences",
    "reason",
    "listing",
];

/// Most characters of one cell of a table.
const TABLE_CELL_CHARS_MAX: usize = 36;

impl Counts {
    pub(super) fn sound(&mut self, active: bool) {
        let which = if active { &mut self.linked } else { &mut self.revoked };
        *which = which.saturating_add(1);
    }

    pub(super) fn count(&mut self, situation: Situation) {
        let which = match situation {
            Situation::FalseCompletion => &mut self.false_completions,
            Situation::Colliding => &mut self.colliding,
            Situation::Disputed => &mut self.disputed,
            Situation::Orphan => &mut self.orphans,
            Situation::Missing => &mut self.missing,
            Situation::Drifted => &mut self.drifted,
            Situation::Unlinked => &mut self.unlinked,
            Situation::Linked => &mut self.linked,
        };
        *which = which.saturating_add(1);
    }
}

impl Report {
    /// As CSV with a header, for spreadsheets: no cell begins with what they take for a formula.
    ///
    /// # Errors
    /// Where writing fails.
    pub fn write_csv(&self, to: impl std::io::Write) -> std::io::Result<()> {
        let mut writer = csv::Writer::from_writer(to);
        writer.write_record(COLUMNS)?;
        let listing = match self.incomplete {
            Some(_) => "incomplete",
            None => "complete",
        };
        for finding in &self.findings {
            let persons: Vec<&str> = finding.persons.iter().map(|person| person.as_str()).collect();
            let accounts: Vec<&str> = finding.accounts.iter().map(|account| account.id.as_str()).collect();
            let user_names: Vec<&str> =
                finding.accounts.iter().filter_map(|account| account.user_name.as_deref()).collect();
            let active =
                finding.accounts.iter().map(|account| account.active.to_string()).collect::<Vec<_>>();
            let rule = finding.rule.map(rule_word).unwrap_or_default();
            let cells = [
                finding.priority.code(),
                finding.situation.code(),
                finding.action.code(),
                self.connector.as_str(),
                &persons.join("; "),
                &accounts.join("; "),
                &user_names.join("; "),
                &active.join("; "),
                rule,
                &finding.differences.to_string(),
                &finding.reason,
                listing,
            ];
            writer.write_record(cells.map(defused).iter().map(|cell| cell.as_bytes()))?;
        }
        writer.flush()
    }

    /// As a short table for a terminal, at most `rows_max` findings; it says how many more there are.
    pub fn table(&self, rows_max: usize) -> String {
        let mut table = String::new();
        let counts = &self.counts;
        // Writing to a String does not fail.
        let _ = writeln!(
            table,
            "{}: {} accounts, {} intents; {} linked, {} revoked, {} findings",
            visible(self.connector.as_str(), TABLE_CELL_CHARS_MAX),
            counts.accounts,
            counts.intents,
            counts.linked,
            counts.revoked,
            self.findings.len()
        );
        if let Some(reason) = &self.incomplete {
            let _ =
                writeln!(table, "the listing is incomplete ({}): nothing is proposed", visible(reason, 200));
        }
        for finding in self.findings.iter().take(rows_max) {
            let who = finding.persons.iter().map(|person| person.as_str()).collect::<Vec<_>>().join(", ");
            let what = finding.accounts.iter().map(AccountName::shown).collect::<Vec<_>>().join(", ");
            let _ = writeln!(
                table,
                "{:<8}  {:<16}  {:<8}  {:<20}  {:<TABLE_CELL_CHARS_MAX$}  {}",
                finding.priority.code(),
                finding.situation.code(),
                finding.action.code(),
                visible(if who.is_empty() { "-" } else { &who }, 20),
                visible(if what.is_empty() { "-" } else { &what }, TABLE_CELL_CHARS_MAX),
                visible(&finding.reason, 120),
            );
        }
        let more = self.findings.len().saturating_sub(rows_max);
        if more > 0 {
            let _ = writeln!(table, "and {more} more");
        }
        table
    }
}

impl AccountName {
    fn shown(&self) -> String {
        match &self.user_name {
            Some(name) => format!("{name} ({})", self.id),
            None => self.id.clone(),
        }
    }
}

fn rule_word(rule: super::Rule) -> &'static str {
    match rule {
        super::Rule::AccountId => "account_id",
        super::Rule::ExternalId => "external_id",
        super::Rule::UserName => "user_name",
        super::Rule::Email => "email",
    }
}

impl std::fmt::Display for Differences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if let Some(active) = self.active {
            parts.push(format!("active: should be {active}"));
        }
        for attribute in &self.attributes {
            let or_absent =
                |value: &Option<String>| value.as_deref().map_or("absent".to_owned(), |v| format!("`{v}`"));
            parts.push(format!(
                "{}: {} instead of {}",
                attribute.name,
                or_absent(&attribute.actual),
                or_absent(&attribute.intended)
            ));
        }
        parts.extend(self.entitlements_missing.iter().map(|right| format!("lacks {right}")));
        parts.extend(self.entitlements_extra.iter().map(|right| format!("has {right} besides")));
        f.write_str(&parts.join("; "))
    }
}
