//! An alert that is open.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::alert::{Alert, AlertState, Closing, Finding, NAMED_MAX, UPDATE_MS};
use super::group::{Facts, Group, Prefix};
use super::lane::timestamp;
use super::rule::{Distinct, Kind, Rule, RuleId, Severity};
use super::state::{Met, State};
use super::tally::Tally;
use super::window::{NEUTRAL, Recency};
use crate::id::{ActorId, TenantId};
use crate::store::Offset;

/// Whose alert it is.
#[derive(Clone, Copy)]
pub(super) struct Owner<'o> {
    pub(super) tenant: &'o TenantId,
    pub(super) rule: &'o RuleId,
    pub(super) name: &'o str,
    pub(super) group: &'o Group,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Open {
    pub(super) id: Uuid,
    /// So that what was to be done with an alert is not done with the next of its group.
    pub(super) serial: u64,
    pub(super) severity: Severity,
    first: (i64, u64),
    opened: i64,
    /// When it was met last, and when the log took in the last of the events that met it.
    pub(super) met: i64,
    pub(super) met_ingested: i64,
    events: u64,
    late: u64,
    actors: Tally,
    sources: Tally,
    actor_names: Names<ActorId>,
    source_names: Names<Prefix>,
    finding: Option<Finding>,
    /// How much it was when it had doubled last.
    told: u64,
    told_at: i64,
    /// A name was added since.
    is_news: bool,
}

/// Names, the first and the latest: made-up ones in front or behind push out only their own kind.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(bound(deserialize = "K: Clone + Eq + Deserialize<'de>", serialize = "K: Clone + Eq + Serialize"))]
struct Names<K> {
    first_hashes: Vec<u64>,
    first: Vec<K>,
    latest: Recency<K>,
}

impl<K> Default for Names<K> {
    fn default() -> Self {
        Self { first_hashes: Vec::new(), first: Vec::new(), latest: Recency::default() }
    }
}

impl<K: Clone + Eq> Names<K> {
    /// Whether it was not there.
    fn see(&mut self, hash: u64, key: &K) -> bool {
        if self.first_hashes.contains(&hash) {
            return false;
        }
        if self.first.len() < NAMED_MAX {
            self.first_hashes.push(hash);
            self.first.push(key.clone());
            return true;
        }
        self.latest.see(hash, key, (0, 0), 0, NEUTRAL, NAMED_MAX)
    }

    /// Whether so many are all among the first.
    fn is_of_first(&self, count: u64) -> bool {
        u64::try_from(self.first.len()).is_ok_and(|first| count == first)
    }

    fn latest(&self) -> Vec<K> {
        self.latest.seen_within(i64::MIN).map(|seen| seen.key.clone()).collect()
    }
}

impl Open {
    pub(super) fn new(id: Uuid, serial: u64, rule: &Rule, state: &State, met: &Met, facts: &Facts) -> Self {
        let after = facts.at.saturating_sub(rule.window_ms());
        let mut open = Self {
            id,
            serial,
            severity: met.severity.unwrap_or(rule.severity),
            first: met.first,
            opened: facts.at,
            met: facts.at,
            met_ingested: facts.ingested,
            events: u64::try_from(met.events).unwrap_or(u64::MAX).saturating_sub(1),
            late: 0,
            actors: Tally::default(),
            sources: Tally::default(),
            actor_names: Names::default(),
            source_names: Names::default(),
            finding: met.finding,
            told: 0,
            told_at: facts.at,
            is_news: false,
        };
        state.actors(after).into_iter().flatten().for_each(|(hash, actor)| open.actor(hash, actor));
        state.sources(after).into_iter().flatten().for_each(|(hash, source)| open.source(hash, source));
        open.count(facts);
        open.told = open.magnitude(rule);
        open.is_news = false;
        open
    }

    fn actor(&mut self, hash: u64, actor: &ActorId) {
        // While all that were counted are named, whoever was counted was named.
        if self.actors.add(hash) || !self.actor_names.is_of_first(self.actors.count()) {
            self.is_news |= self.actor_names.see(hash, actor);
        }
    }

    fn source(&mut self, hash: u64, source: &Prefix) {
        if self.sources.add(hash) || !self.source_names.is_of_first(self.sources.count()) {
            self.is_news |= self.source_names.see(hash, source);
        }
    }

    /// Reads something of what lies elsewhere in memory.
    pub(super) fn touch(&self) -> i64 {
        let hashes = [self.actors.touch(), self.sources.touch()];
        hashes.into_iter().fold(self.met, |all, hash| all.wrapping_add(i64::from(hash)))
    }

    pub(super) fn count(&mut self, facts: &Facts) {
        self.events = self.events.saturating_add(1);
        self.late = self.late.saturating_add(u64::from(facts.is_late()));
        self.actor(facts.actor_hash, &facts.actor);
        if let Some((source, hash)) = &facts.source {
            self.source(*hash, source);
        }
    }

    fn magnitude(&self, rule: &Rule) -> u64 {
        match &rule.kind {
            Kind::DistinctCount { of: Distinct::Source, .. } => self.sources.count(),
            Kind::DistinctCount { .. } | Kind::Cluster { .. } => self.actors.count(),
            _ => self.events,
        }
    }

    pub(super) fn is_told_once(&self) -> bool {
        self.opened == self.told_at
    }

    /// Whether it is worth telling again: twice as much, or worse, or others than it named, and those not more than once in [`UPDATE_MS`].
    pub(super) fn has_grown(&mut self, rule: &Rule, met: Option<&Met>, at: i64) -> bool {
        let severity = met.and_then(|met| met.severity).filter(|severity| *severity > self.severity);
        if let Some(finding) = met.and_then(|met| met.finding) {
            self.finding = Some(finding);
        }
        if let Some(severity) = severity {
            self.severity = severity;
        }
        let magnitude = self.magnitude(rule);
        let has_doubled = magnitude >= self.told.saturating_mul(2);
        if has_doubled {
            self.told = magnitude;
        }
        let is_due = self.is_news && at.saturating_sub(self.told_at) >= UPDATE_MS;
        let tells = has_doubled || severity.is_some() || is_due;
        if tells {
            (self.told_at, self.is_news) = (at, false);
        }
        tells
    }

    pub(super) fn told(&self, owner: Owner<'_>, state: AlertState, at: i64) -> Alert {
        Alert {
            id: self.id,
            tenant_id: owner.tenant.clone(),
            rule: owner.rule.clone(),
            name: owner.name.to_owned(),
            severity: self.severity,
            state,
            closing: None,
            group: owner.group.clone(),
            at: timestamp(at),
            first_event_at: timestamp(self.first.0),
            first_offset: Offset::new(self.first.1),
            opened_at: timestamp(self.opened),
            last_met_at: timestamp(self.met),
            events: self.events,
            late_events: self.late,
            actors: self.actors.count(),
            is_exact: self.actors.is_exact(),
            sources: self.sources.count(),
            actor_ids: self.actor_names.first.clone(),
            latest_actor_ids: self.actor_names.latest(),
            source_ips: self.source_names.first.clone(),
            latest_source_ips: self.source_names.latest(),
            finding: self.finding,
        }
    }

    pub(super) fn closed(&self, owner: Owner<'_>, closing: Closing, at: i64) -> Alert {
        Alert { closing: Some(closing), ..self.told(owner, AlertState::Closed, at) }
    }
}
