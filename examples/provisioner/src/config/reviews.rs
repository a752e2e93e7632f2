//! `[[review]]`: reviews of access that begin again and again.

use std::collections::BTreeSet;

use connector_health::connector::Connectors;
use connector_health::review::{Escalation, Recurrence, ReviewerRule, RevokeGuard, Undecided};
use connector_health::{ConnectorId, PersonId};
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::connectors::end_of;
use super::{Named, Reader};
use crate::engine::{Plan, Recurring, waits};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReviewToml {
    name: Spanned<String>,
    owner: Spanned<PersonId>,
    first: Spanned<toml::Value>,
    every_months: Spanned<u8>,
    days: Spanned<u16>,
    /// All of them where nothing is said.
    connectors: Option<BTreeSet<ConnectorId>>,
    reviewers: Spanned<Vec<ReviewerRule>>,
    #[serde(default)]
    remind_days: BTreeSet<u16>,
    #[serde(default)]
    escalations: Vec<Spanned<Escalation>>,
    #[serde(default = "waits")]
    undecided: Undecided,
    #[serde(default)]
    guard: RevokeGuard,
}

impl Reader<'_> {
    /// Each with where its table begins.
    pub(super) fn reviews(&mut self, value: Spanned<DeValue<'_>>) -> Vec<(usize, Recurring)> {
        let mut reviews = Vec::new();
        let mut known = BTreeSet::new();
        for (at, table) in self.each::<ReviewToml>(value, "review") {
            if !known.insert(table.name.get_ref().clone()) {
                let why = format!("review `{}` is there twice", table.name.get_ref());
                self.mistake(table.name.span().start, why);
            }
            for (place, is_wrong, why) in [
                (table.name.span(), table.name.get_ref().trim().is_empty(), "`name` is empty"),
                (
                    table.every_months.span(),
                    *table.every_months.get_ref() == 0,
                    "`every_months` is 1 or more",
                ),
                (
                    table.days.span(),
                    *table.days.get_ref() == 0,
                    "`days` is 1 or more: nobody decides in no time",
                ),
                (
                    table.reviewers.span(),
                    table.reviewers.get_ref().is_empty(),
                    "`reviewers` says who decides: \"manager\", \"owner\", { named = \"emp-7\" }",
                ),
            ] {
                if is_wrong {
                    self.mistake(place.start, why);
                }
            }
            let by_name = table.reviewers.get_ref().iter().filter_map(|rule| match rule {
                ReviewerRule::Named(person) => Some(person.clone()),
                _ => None,
            });
            let by_name = by_name.map(|person| (table.reviewers.span().start, person));
            let later = table.escalations.iter().map(|step| (step.span().start, step.get_ref().to.clone()));
            for (place, person) in by_name.chain(later) {
                self.named.push(Named { place, person, runs: false });
            }
            let (place, person) = (table.owner.span().start, table.owner.get_ref().clone());
            self.named.push(Named { place, person, runs: true });
            let Some(first) = end_of(&table.first.get_ref().to_string()) else {
                let why = "this is no date such as 2026-12-31, nor a time with its zone";
                self.mistake(table.first.span().start, why);
                continue;
            };
            let when = Recurrence {
                first,
                every_months: table.every_months.into_inner(),
                days: table.days.into_inner(),
            };
            let plan = Plan {
                name: table.name.into_inner(),
                due_at: first,
                connectors: table.connectors,
                reviewers: table.reviewers.into_inner(),
                remind_days: table.remind_days,
                escalations: table.escalations.into_iter().map(Spanned::into_inner).collect(),
                undecided: table.undecided,
                guard: table.guard,
            };
            reviews.push((at, Recurring { owner: table.owner.into_inner(), when, plan }));
        }
        reviews
    }

    /// Those whose connectors are there.
    pub(super) fn known_reviews(
        &mut self,
        reviews: Vec<(usize, Recurring)>,
        connectors: &Connectors,
    ) -> Vec<Recurring> {
        let known: BTreeSet<&ConnectorId> = connectors.iter().map(|(id, _)| id).collect();
        for (at, review) in &reviews {
            for unknown in review.plan.connectors.iter().flatten().filter(|id| !known.contains(id)) {
                self.mistake(
                    *at,
                    format!("review `{}`: there is no connector `{unknown}`", review.plan.name),
                );
            }
        }
        reviews.into_iter().map(|(_, review)| review).collect()
    }
}
