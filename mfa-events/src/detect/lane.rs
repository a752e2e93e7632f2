//! One rule of one tenant: its groups, as many as there is room for, and their alerts.

use std::collections::VecDeque;

use chrono::DateTime;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::alert::{self, Alert, AlertState, Finding, NAMED_MAX};
use super::explain::{EVICTED_KEPT, Evicted, Measure, RuleCounts};
use super::group::{Facts, Group, Prefix};
use super::rule::{Distinct, Grouping, Kind, Rule, Severity};
use super::select::{Mask, may_be_push};
use super::sketch::Sketch;
use super::state::{Met, Role, State};
use super::tally::Tally;
use crate::event::{EventType, Timestamp};
use crate::id::{ActorId, TenantId};
use crate::store::Offset;

/// Groups that are looked at when one has to go. All that are worth less than the least of so many are few.
const SAMPLE: usize = 16;

/// Failures after which a group is let in where there is not room for all.
const ADMITTED_AT: u8 = 2;

/// What all rules of a tenant share.
pub(super) struct Shared<'t> {
    pub(super) tenant: &'t TenantId,
    pub(super) groups_max: usize,
    pub(super) sketch_bytes: usize,
    pub(super) sketch: &'t mut Option<Sketch>,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) rule: Rule,
    mask: Mask,
    steps: Vec<Mask>,
    index: HashTable<usize>,
    kept: Kept,
}

/// What a checkpoint keeps of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Kept {
    /// Of the rule: a rule that was changed begins anew.
    digest: String,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    sweep: usize,
    /// Groups that were let in since the last sweep.
    admitted: usize,
    random: u64,
    counts: RuleCounts,
    evicted: VecDeque<Evicted>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Slot {
    group: Group,
    hash: u64,
    /// When an event of it came last.
    last: i64,
    late: u32,
    state: State,
    alert: Option<Box<Open>>,
}

/// An alert that is open.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Open {
    id: Uuid,
    severity: Severity,
    first: (i64, u64),
    opened: i64,
    met: i64,
    events: u64,
    late: u64,
    actors: Tally,
    sources: Tally,
    actor_ids: Vec<ActorId>,
    source_ips: Vec<Prefix>,
    finding: Option<Finding>,
    /// How much it was when it was told last.
    told: u64,
}

impl Lane {
    pub(super) fn new(rule: Rule) -> Self {
        let kept = Kept {
            digest: digest(&rule),
            slots: Vec::new(),
            free: Vec::new(),
            sweep: 0,
            admitted: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            counts: RuleCounts::default(),
            evicted: VecDeque::new(),
        };
        Self::of(rule, kept)
    }

    fn of(rule: Rule, kept: Kept) -> Self {
        let steps = match &rule.kind {
            Kind::Sequence { steps } => steps.iter().map(|step| Mask::new(&step.select)).collect(),
            _ => Vec::new(),
        };
        let mut index = HashTable::new();
        for (at, slot) in kept.slots.iter().enumerate() {
            if let Some(slot) = slot {
                index.insert_unique(slot.hash, at, |other| hash_at(&kept.slots, *other));
            }
        }
        Self { mask: Mask::new(&rule.select), rule, steps, index, kept }
    }

    /// As it was, unless the rule is another now.
    pub(super) fn restore(rule: Rule, kept: Kept) -> Self {
        match kept.digest == digest(&rule) {
            true => Self::of(rule, kept),
            false => Self::new(rule),
        }
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept.clone()
    }

    /// What events of a type may be to the rule.
    pub(super) fn roles(&self, of: EventType) -> Vec<Role> {
        let mut roles = Vec::new();
        let counts = match &self.rule.kind {
            Kind::Sequence { .. } => self.steps.iter().any(|step| step.may_take(of)),
            Kind::RepeatAfterUnlock { .. } => false,
            _ => self.mask.may_take(of),
        };
        if counts {
            roles.push(Role::Counts);
        }
        match &self.rule.kind {
            Kind::DistinctCount { success_clears: true, .. } | Kind::Cluster { success_clears: true, .. }
                if of == EventType::LoginSuccess =>
            {
                roles.push(Role::Clears);
            }
            Kind::Fatigue { approved_after: Some(_), .. } if of == EventType::LoginSuccess => {
                roles.push(Role::Approves);
            }
            Kind::RepeatAfterUnlock { .. }
                if matches!(of, EventType::AccountLocked | EventType::AccountUnlocked) =>
            {
                roles.push(Role::Locks);
            }
            _ => {}
        }
        roles
    }

    /// Whether an event is taken in that role, and whether a group begins with it.
    fn takes(&self, role: Role, facts: &Facts<'_>) -> Option<bool> {
        let takes = |mask: &Mask| mask.takes(facts.features, facts.event);
        match (role, &self.rule.kind) {
            (Role::Counts, Kind::Sequence { steps }) => {
                // Where a method must be new, those before count from the first time that they were used.
                let remembers = steps.iter().rposition(|step| step.new_method).unwrap_or(1).max(1);
                let begins = self.steps.iter().take(remembers).any(takes);
                (begins || self.steps.iter().any(takes)).then_some(begins)
            }
            (Role::Counts, Kind::ImpossibleTravel { .. }) => {
                let has_place =
                    facts.event.geo_location().is_some_and(|geo| geo.lat.is_some() && geo.lon.is_some());
                (takes(&self.mask) && has_place).then_some(true)
            }
            (Role::Counts, Kind::DistinctCount { of: Distinct::Source, .. }) => {
                (takes(&self.mask) && facts.source.is_some()).then_some(true)
            }
            (Role::Counts, _) => takes(&self.mask).then_some(true),
            (Role::Clears, _) => Some(false),
            (Role::Approves, _) => may_be_push(facts.features).then_some(false),
            (Role::Locks, _) => Some(facts.event.event_type() == EventType::AccountUnlocked),
        }
    }

    /// Takes an event in. What follows for alerts is added to `alerts`; an alert that was opened is to be closed then, or looked at again.
    pub(super) fn observe(
        &mut self,
        role: Role,
        facts: &Facts<'_>,
        shared: &mut Shared<'_>,
        alerts: &mut Vec<Alert>,
    ) -> Option<(i64, usize)> {
        let begins = self.takes(role, facts)?;
        let hash = facts.group_hash(self.rule.group_by)?;
        let slots = &self.kept.slots;
        let found = self.index.find(hash, |at| {
            slots.get(*at).and_then(Option::as_ref).is_some_and(|slot| facts.is_of(&slot.group))
        });
        let at = match found {
            Some(at) => *at,
            None if begins => self.admit(hash, facts, shared)?,
            None => return None,
        };
        let slot = self.kept.slots.get_mut(at)?.as_mut()?;
        slot.last = slot.last.max(facts.at);
        slot.late = slot.late.saturating_add(u32::from(facts.is_late));
        let met = slot.state.observe(&self.rule, &self.steps, role, facts);
        if role != Role::Clears
            && let Some(open) = &mut slot.alert
        {
            open.count(facts);
        }
        let Some(met) = met else {
            return slot.alert.as_mut().and_then(|open| {
                // It grows with what was selected, whether the threshold is reached just now or not.
                let grown = open.grown(&self.rule, None);
                if grown {
                    alerts.push(open.alert(
                        shared.tenant,
                        &self.rule,
                        &slot.group,
                        AlertState::Updated,
                        facts.at,
                    ));
                }
                None
            });
        };
        match &mut slot.alert {
            Some(open) => {
                open.met = facts.at;
                if open.grown(&self.rule, Some(&met)) {
                    alerts.push(open.alert(
                        shared.tenant,
                        &self.rule,
                        &slot.group,
                        AlertState::Updated,
                        facts.at,
                    ));
                }
                None
            }
            None => {
                let after = facts.at.saturating_sub(self.rule.window_ms());
                let open = Open::new(shared.tenant, &self.rule, slot, &met, facts, after);
                alerts.push(open.alert(shared.tenant, &self.rule, &slot.group, AlertState::Opened, facts.at));
                slot.alert = Some(Box::new(open));
                self.kept.counts.opened_total = self.kept.counts.opened_total.saturating_add(1);
                self.kept.counts.open = self.kept.counts.open.saturating_add(1);
                Some((facts.at.saturating_add(self.rule.quiet.num_milliseconds()), at))
            }
        }
    }

    /// Closes an alert that was not met for so long, or says when to look again.
    pub(super) fn close(
        &mut self,
        at: usize,
        clock: i64,
        tenant: &TenantId,
        alerts: &mut Vec<Alert>,
    ) -> Option<i64> {
        let slot = self.kept.slots.get_mut(at)?.as_mut()?;
        let open = slot.alert.as_ref()?;
        let due = open.met.saturating_add(self.rule.quiet.num_milliseconds());
        if due > clock {
            return Some(due);
        }
        alerts.push(open.alert(tenant, &self.rule, &slot.group, AlertState::Closed, due));
        slot.alert = None;
        self.kept.counts.open = self.kept.counts.open.saturating_sub(1);
        None
    }

    /// When each open alert is to be looked at.
    pub(super) fn due(&self) -> impl Iterator<Item = (i64, usize)> {
        let quiet = self.rule.quiet.num_milliseconds();
        self.kept.slots.iter().enumerate().filter_map(move |(at, slot)| {
            let open = slot.as_ref()?.alert.as_ref()?;
            Some((open.met.saturating_add(quiet), at))
        })
    }

    /// Makes room for a group and lets it in, or not.
    fn admit(&mut self, hash: u64, facts: &Facts<'_>, shared: &mut Shared<'_>) -> Option<usize> {
        let group = facts.group(self.rule.group_by)?;
        let state = State::new(&self.rule.kind);
        // The tenant's own group is always there, and is one.
        if self.rule.group_by != Grouping::Tenant {
            let mut seen = 1;
            if self.index.len() >= shared.groups_max / 2 && self.is_spoofable() {
                let sketch = shared.sketch.get_or_insert_with(|| Sketch::new(shared.sketch_bytes));
                seen = sketch.count(hash.wrapping_add(salt(&self.kept.digest)));
                if seen < ADMITTED_AT {
                    self.kept.counts.unadmitted_total = self.kept.counts.unadmitted_total.saturating_add(1);
                    return None;
                }
            }
            if self.index.len() >= shared.groups_max.max(1) && !self.evict(seen, facts) {
                self.kept.counts.refused_total = self.kept.counts.refused_total.saturating_add(1);
                return None;
            }
        }
        self.kept.admitted = self.kept.admitted.saturating_add(1);
        let slot = Slot { group, hash, last: facts.at, late: 0, state, alert: None };
        let at = match self.kept.free.pop() {
            Some(at) => {
                *self.kept.slots.get_mut(at)? = Some(slot);
                at
            }
            None => {
                self.kept.slots.push(Some(slot));
                self.kept.slots.len().saturating_sub(1)
            }
        };
        self.index.insert_unique(hash, at, |other| hash_at(&self.kept.slots, *other));
        Some(at)
    }

    /// Whether anybody can make as many groups as he likes. Where somebody was is said only of those who got in.
    fn is_spoofable(&self) -> bool {
        !matches!(self.rule.kind, Kind::ImpossibleTravel { .. })
    }

    /// Forgets the group that is furthest from an alert, of those looked at, unless the new one is further.
    fn evict(&mut self, seen: u8, facts: &Facts<'_>) -> bool {
        let after = facts.at.saturating_sub(self.rule.window_ms());
        let mut least: Option<(u64, usize)> = None;
        for _ in 0..SAMPLE {
            self.kept.random ^= self.kept.random << 13;
            self.kept.random ^= self.kept.random >> 7;
            self.kept.random ^= self.kept.random << 17;
            let slots = u64::try_from(self.kept.slots.len()).unwrap_or(u64::MAX).max(1);
            let at = usize::try_from(self.kept.random % slots).unwrap_or_default();
            let Some(Some(slot)) = self.kept.slots.get(at) else { continue };
            if slot.alert.is_some() {
                continue;
            }
            let progress = slot.state.progress(&self.rule.kind, after);
            if least.is_none_or(|(least, _)| progress < least) {
                least = Some((progress, at));
            }
        }
        let Some((progress, at)) = least else { return false };
        if progress > self.worth(seen) {
            return false;
        }
        if let Some(Some(slot)) = self.kept.slots.get(at)
            && progress > 0
        {
            let evicted = Evicted { group: slot.group.clone(), at: timestamp(facts.at), progress };
            if self.kept.evicted.len() >= EVICTED_KEPT {
                self.kept.evicted.pop_front();
            }
            self.kept.evicted.push_back(evicted);
            self.kept.counts.evicted_total = self.kept.counts.evicted_total.saturating_add(1);
        }
        self.remove(at);
        true
    }

    /// Progress of a group that was seen so many times.
    fn worth(&self, seen: u8) -> u64 {
        let needed = match &self.rule.kind {
            Kind::Count { threshold } | Kind::Fatigue { threshold, .. } => *threshold,
            Kind::DistinctCount { threshold, .. } | Kind::RepeatAfterUnlock { threshold, .. } => *threshold,
            Kind::Cluster { actors, .. } => *actors,
            Kind::Sequence { steps } => steps.iter().map(|step| step.at_least).sum(),
            Kind::ImpossibleTravel { .. } => 2,
            Kind::VolumeVsBaseline { .. } => 1,
        };
        u64::from(seen).saturating_mul(1_000) / u64::from(needed.max(1))
    }

    fn remove(&mut self, at: usize) {
        let Some(slot) = self.kept.slots.get_mut(at).and_then(Option::take) else { return };
        if let Ok(entry) = self.index.find_entry(slot.hash, |other| *other == at) {
            entry.remove();
        }
        self.kept.free.push(at);
    }

    /// Looks at a few groups, more than have come since, and forgets those of which nothing is within the window.
    pub(super) fn sweep(&mut self, clock: i64) {
        let until = clock.saturating_sub(self.rule.window_ms());
        if self.rule.group_by == Grouping::Tenant {
            return;
        }
        let groups = std::mem::take(&mut self.kept.admitted).saturating_mul(2).saturating_add(1);
        for _ in 0..groups.min(self.kept.slots.len()) {
            self.kept.sweep = self.kept.sweep.saturating_add(1);
            if self.kept.sweep >= self.kept.slots.len() {
                self.kept.sweep = 0;
            }
            let slot = self.kept.slots.get(self.kept.sweep).and_then(Option::as_ref);
            if slot.is_some_and(|slot| slot.last <= until && slot.alert.is_none()) {
                self.remove(self.kept.sweep);
            }
        }
        // What a flood has taken is given back.
        if self.index.is_empty() && self.kept.slots.len() > 64 {
            self.kept.slots = Vec::new();
            self.kept.free = Vec::new();
            self.index = HashTable::new();
        }
    }

    pub(super) fn counts(&self) -> RuleCounts {
        RuleCounts { groups: u64::try_from(self.index.len()).unwrap_or(u64::MAX), ..self.kept.counts }
    }

    pub(super) fn groups(&self) -> usize {
        self.index.len()
    }

    /// Values that are kept, over all groups.
    pub(super) fn entries(&self) -> usize {
        self.kept.slots.iter().flatten().map(|slot| slot.state.len()).sum()
    }

    /// What is known of a group: measures, late events, the open alert.
    pub(super) fn look(
        &self,
        hash: u64,
        group: &Group,
        clock: i64,
    ) -> Option<(Vec<Measure>, u32, Option<Uuid>)> {
        let slots = &self.kept.slots;
        let of = |at: &usize| slots.get(*at).and_then(Option::as_ref);
        let at = self.index.find(hash, |at| of(at).is_some_and(|slot| slot.group == *group))?;
        let slot = of(at)?;
        let after = clock.saturating_sub(self.rule.window_ms());
        let measures = slot.state.measures(&self.rule.kind, after);
        Some((measures, slot.late, slot.alert.as_ref().map(|open| open.id)))
    }

    /// What a group begins with.
    pub(super) fn nothing(&self, clock: i64) -> Vec<Measure> {
        let after = clock.saturating_sub(self.rule.window_ms());
        State::new(&self.rule.kind).measures(&self.rule.kind, after)
    }

    /// When the group was forgotten last.
    pub(super) fn evicted(&self, group: &Group) -> Option<&Evicted> {
        self.kept.evicted.iter().rev().find(|evicted| evicted.group == *group)
    }

    /// Whether an event would count.
    pub(super) fn would_count(&self, group: &Group, facts: &Facts<'_>) -> bool {
        facts.is_of(group) && self.takes(Role::Counts, facts).is_some()
    }

    pub(super) fn is_crowded(&self, groups_max: usize) -> bool {
        self.index.len() >= groups_max / 2 && self.is_spoofable() && self.rule.group_by != Grouping::Tenant
    }

    /// Alerts that are open, as they stand.
    pub(super) fn open<'l>(&'l self, tenant: &'l TenantId) -> impl Iterator<Item = Alert> + 'l {
        self.kept.slots.iter().flatten().filter_map(move |slot| {
            let open = slot.alert.as_ref()?;
            let state = if open.told_once() { AlertState::Opened } else { AlertState::Updated };
            Some(open.alert(tenant, &self.rule, &slot.group, state, open.met))
        })
    }
}

impl Open {
    fn new(tenant: &TenantId, rule: &Rule, slot: &Slot, met: &Met, facts: &Facts<'_>, after: i64) -> Self {
        let mut open = Self {
            id: alert::id(tenant, &rule.id, &slot.group, Offset::new(met.first.1)),
            severity: met.severity.unwrap_or(rule.severity),
            first: met.first,
            opened: facts.at,
            met: facts.at,
            events: u64::try_from(met.events).unwrap_or(u64::MAX).saturating_sub(1),
            late: 0,
            actors: Tally::default(),
            sources: Tally::default(),
            actor_ids: Vec::new(),
            source_ips: Vec::new(),
            finding: met.finding,
            told: 0,
        };
        slot.state.actors(after).into_iter().flatten().for_each(|(hash, actor)| open.actor(hash, actor));
        slot.state.sources(after).into_iter().flatten().for_each(|(hash, source)| open.source(hash, *source));
        open.count(facts);
        open.told = open.magnitude(rule);
        open
    }

    fn actor(&mut self, hash: u64, actor: &ActorId) {
        if self.actors.add(hash) && self.actor_ids.len() < NAMED_MAX {
            self.actor_ids.push(actor.clone());
        }
    }

    fn source(&mut self, hash: u64, source: Prefix) {
        if self.sources.add(hash) && self.source_ips.len() < NAMED_MAX {
            self.source_ips.push(source);
        }
    }

    fn count(&mut self, facts: &Facts<'_>) {
        self.events = self.events.saturating_add(1);
        self.late = self.late.saturating_add(u64::from(facts.is_late));
        self.actor(facts.actor_hash, facts.event.actor());
        if let Some((source, hash)) = facts.source {
            self.source(hash, source);
        }
    }

    fn magnitude(&self, rule: &Rule) -> u64 {
        match &rule.kind {
            Kind::DistinctCount { of: Distinct::Source, .. } => self.sources.count(),
            Kind::DistinctCount { .. } | Kind::Cluster { .. } => self.actors.count(),
            _ => self.events,
        }
    }

    fn told_once(&self) -> bool {
        self.opened == self.met
    }

    /// Whether it is worth telling again: twice as much, or worse.
    fn grown(&mut self, rule: &Rule, met: Option<&Met>) -> bool {
        let severity = met.and_then(|met| met.severity).filter(|severity| *severity > self.severity);
        if let Some(finding) = met.and_then(|met| met.finding) {
            self.finding = Some(finding);
        }
        if let Some(severity) = severity {
            self.severity = severity;
        }
        let magnitude = self.magnitude(rule);
        let grown = magnitude >= self.told.saturating_mul(2);
        if grown {
            self.told = magnitude;
        }
        grown || severity.is_some()
    }

    fn alert(&self, tenant: &TenantId, rule: &Rule, group: &Group, state: AlertState, at: i64) -> Alert {
        Alert {
            id: self.id,
            tenant_id: tenant.clone(),
            rule: rule.id.clone(),
            name: rule.name.clone(),
            severity: self.severity,
            state,
            group: group.clone(),
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
            actor_ids: self.actor_ids.clone(),
            source_ips: self.source_ips.clone(),
            finding: self.finding,
        }
    }
}

/// What is within the years that timestamps have, which every event is, is unchanged.
pub(super) fn timestamp(ms: i64) -> Timestamp {
    let first = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    Timestamp::new(first).unwrap_or(Timestamp::EPOCH)
}

fn hash_at(slots: &[Option<Slot>], at: usize) -> u64 {
    slots.get(at).and_then(Option::as_ref).map_or(0, |slot| slot.hash)
}

fn digest(rule: &Rule) -> String {
    let text = serde_json::to_vec(rule).unwrap_or_default();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// So that a group of one rule is another than that of the next.
fn salt(digest: &str) -> u64 {
    digest.bytes().take(16).fold(0, |salt: u64, byte| salt.rotate_left(7) ^ u64::from(byte))
}
