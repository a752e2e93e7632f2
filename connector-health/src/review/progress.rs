//! How far a campaign and each reviewer is, by the names that auditors know (SailPoint's certification).

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::access::{Item, ItemState};
use super::campaign::Campaign;
use super::step::Phase;
use crate::id::{CampaignId, PersonId};

/// How far a campaign is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// Which.
    pub campaign: CampaignId,
    /// What people call it.
    pub name: String,
    /// How far.
    pub phase: Phase,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it is due.
    pub due_at: DateTime<Utc>,
    /// Whether it is due and not complete.
    pub overdue: bool,
    /// When the last decision was made and confirmed.
    pub completed_at: Option<DateTime<Utc>>,
    /// Items that were decided, or had no need to be.
    pub decisions_made: u64,
    /// Items.
    pub decisions_total: u64,
    /// Persons of whom everything is closed.
    pub entities_completed: u64,
    /// Persons.
    pub entities_total: u64,
    /// Revocations that are decided and not confirmed.
    pub revokes_waiting: u64,
    /// Revocations that are confirmed.
    pub revokes_confirmed: u64,
    /// Revocations that nobody decided on and that wait for an approval; with those that went on before.
    #[serde(default)]
    pub revokes_held: u64,
    /// Items without an independent reviewer.
    pub unassigned: u64,
    /// Items that were passed on.
    pub reassigned: u64,
    /// Items that were presented again.
    pub presented_again: u64,
    /// Whether a person must see to something: an item without a reviewer, a revocation that failed, or revocations that are held.
    pub has_errors: bool,
    /// Each reviewer's part, by reviewer.
    pub certifications: Vec<Certification>,
}

/// One reviewer's part of a campaign.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Certification {
    /// Who answers for it.
    pub reviewer: PersonId,
    /// When it is due.
    pub due_at: DateTime<Utc>,
    /// When the reviewer signed it.
    pub signed_at: Option<DateTime<Utc>>,
    /// Whether everything is closed.
    pub completed: bool,
    /// How many came from another reviewer.
    pub reassigned: u64,
    /// Items that were decided.
    pub decisions_made: u64,
    /// Items.
    pub decisions_total: u64,
    /// Persons of whom everything is closed.
    pub entities_completed: u64,
    /// Persons.
    pub entities_total: u64,
    /// Whether a revocation failed.
    pub has_errors: bool,
}

#[derive(Default)]
struct Tally<'c> {
    made: u64,
    total: u64,
    waiting: u64,
    confirmed: u64,
    unassigned: u64,
    reassigned: u64,
    again: u64,
    errors: bool,
    persons: BTreeSet<&'c PersonId>,
    unfinished: BTreeSet<&'c PersonId>,
}

impl<'c> Tally<'c> {
    fn add(&mut self, item: &'c Item) {
        let count = |which: &mut u64, counts: bool| *which = which.saturating_add(u64::from(counts));
        count(&mut self.total, true);
        count(&mut self.made, !item.state.is_undecided());
        count(&mut self.waiting, matches!(item.state, ItemState::Revoking { .. }));
        count(&mut self.confirmed, matches!(item.state, ItemState::Revoked { .. }));
        count(&mut self.unassigned, item.state == ItemState::Unassigned);
        count(&mut self.reassigned, item.chain.len() > 1);
        count(&mut self.again, item.presented > 1);
        self.errors |=
            matches!(item.state, ItemState::Unassigned | ItemState::Revoking { failure: Some(_), .. });
        self.persons.insert(&item.access.person);
        if !item.state.is_closed() {
            self.unfinished.insert(&item.access.person);
        }
    }

    fn persons_completed(&self) -> u64 {
        (self.persons.len() as u64).saturating_sub(self.unfinished.len() as u64)
    }
}

impl Campaign {
    /// Counts everything.
    pub fn progress(&self, now: DateTime<Utc>) -> Progress {
        let mut whole = Tally::default();
        let mut by_reviewer: BTreeMap<&PersonId, Tally<'_>> = BTreeMap::new();
        for item in self.items.values() {
            whole.add(item);
            if let Some(reviewer) = &item.reviewer {
                by_reviewer.entry(reviewer).or_default().add(item);
            }
        }
        let due_at = self.settings.due_at;
        let certifications = by_reviewer.into_iter().map(|(reviewer, tally)| Certification {
            reviewer: reviewer.clone(),
            due_at,
            signed_at: self.signed.get(reviewer).copied(),
            completed: tally.unfinished.is_empty(),
            reassigned: tally.reassigned,
            decisions_made: tally.made,
            decisions_total: tally.total,
            entities_completed: tally.persons_completed(),
            entities_total: tally.persons.len() as u64,
            has_errors: tally.errors,
        });
        let phase = self.phase();
        Progress {
            campaign: self.id.clone(),
            name: self.settings.name.clone(),
            phase,
            started_at: self.started_at,
            due_at,
            overdue: now >= due_at && matches!(phase, Phase::Active | Phase::Remediation),
            completed_at: self.completed_at,
            decisions_made: whole.made,
            decisions_total: whole.total,
            entities_completed: whole.persons_completed(),
            entities_total: whole.persons.len() as u64,
            revokes_waiting: whole.waiting,
            revokes_confirmed: whole.confirmed,
            revokes_held: self.held.unwrap_or(0),
            unassigned: whole.unassigned,
            reassigned: whole.reassigned,
            presented_again: whole.again,
            has_errors: whole.errors || self.held.is_some(),
            certifications: certifications.collect(),
        }
    }
}
