//! When a review takes place, and by whose hands.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, Months, Utc};
use serde::{Deserialize, Serialize};

use crate::id::PersonId;

/// When campaigns begin and are due.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recurrence {
    /// When the first begins.
    pub first: DateTime<Utc>,
    /// How many months later each next does; 3 is each quarter. Zero counts as 1.
    pub every_months: u8,
    /// How many days reviewers have.
    pub days: u16,
}

/// Who reviews, tried in the order given until one is independent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReviewerRule {
    /// The person's manager.
    Manager,
    /// Who answers for the right or its application.
    Owner,
    /// This person.
    Named(PersonId),
}

/// What happens to whatever nobody decides on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Undecided {
    /// It waits, and the campaign stays open.
    Waits,
    /// It is revoked, so many days after the campaign was due; where somebody was asked only after that, so many days, and at least one,
    /// after they were. What nobody was asked about waits.
    Revoked {
        /// Days.
        after_days: u16,
    },
}

/// When revocations that nobody decided on are held: so many of them are likelier to come of a mistake in the campaign than to be meant.
/// They go on below both limits, or where there are no more than are always allowed; all of a campaign count together.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RevokeGuard {
    /// Most of them (100).
    pub revokes_max: u64,
    /// Most of them in percent of the campaign's items (10).
    pub percent_max: u8,
    /// So many go on whatever their share (10).
    pub always_allowed: u64,
}

impl Default for RevokeGuard {
    fn default() -> Self {
        Self { revokes_max: 100, percent_max: 10, always_allowed: 10 }
    }
}

impl RevokeGuard {
    /// Whether so many of a campaign's items may go though nobody decided on them.
    pub(super) fn admits(&self, revokes: u64, items: u64) -> bool {
        let share = items.saturating_mul(self.percent_max.into()) / 100;
        revokes <= self.revokes_max && (revokes <= self.always_allowed || revokes <= share)
    }
}

/// Who decides on what is overdue.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Escalation {
    /// Days after the campaign was due.
    pub after_days: u16,
    /// To whom.
    pub to: PersonId,
}

/// How a campaign runs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What people call it.
    pub name: String,
    /// Who runs it: assigns what has no reviewer, and may cancel it.
    pub owner: PersonId,
    /// When it is due.
    pub due_at: DateTime<Utc>,
    /// Who reviews.
    pub reviewers: Vec<ReviewerRule>,
    /// Days before it is due on which reviewers are reminded.
    #[serde(default)]
    pub remind_days: BTreeSet<u16>,
    /// What is overdue goes to these, one after the other.
    #[serde(default)]
    pub escalations: Vec<Escalation>,
    /// What nobody decides on.
    pub undecided: Undecided,
    /// When too much of that would be revoked.
    #[serde(default)]
    pub guard: RevokeGuard,
}

impl Recurrence {
    /// The campaign that is to begin by now: when it began and when it is due. None where it began already. After a long pause
    /// only the last begins.
    pub fn due(
        &self,
        last_begun: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let mut latest = None;
        for begins in self.begins().take_while(|begins| *begins <= now) {
            latest = Some(begins);
        }
        let begins = latest.filter(|begins| last_begun.is_none_or(|last| *begins > last))?;
        Some((begins, begins.checked_add_days(Days::new(u64::from(self.days)))?))
    }

    /// When the next begins after an instant.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.begins().find(|begins| *begins > instant)
    }

    /// Each counted from the first, so that the 31st does not become the 28th for good.
    fn begins(&self) -> impl Iterator<Item = DateTime<Utc>> + use<'_> {
        let step = u32::from(self.every_months.max(1));
        (0_u32..).map_while(move |n| self.first.checked_add_months(Months::new(n.checked_mul(step)?)))
    }
}
