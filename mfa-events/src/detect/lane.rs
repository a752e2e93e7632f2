//! One rule of one tenant: its groups, as many as there is room for, and their alerts.

use std::collections::VecDeque;

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::alert::{self, Alert, AlertState, Closing};
use super::directory::{Directories, Directory, Member};
use super::explain::{EVICTED_KEPT, Evicted, Measure, RuleCounts};
use super::group::{Facts, Group};
use super::open::{Open, Owner};
use super::rule::{Distinct, Grouping, Kind, Rule, RuleId};
use super::select::{Mask, may_be_push, type_bit};
use super::sketch::Sketch;
use super::state::{Role, State};
use crate::event::{EventType, Timestamp};
use crate::id::TenantId;
use crate::store::Offset;

/// Most alerts of a rule and tenant that are open. For one more, one is given up: of a few the mildest, and of those the one that was not met
/// for longest. It is told as closed, and opens again where it is met.
pub const OPEN_MAX: usize = 1_024;

/// Groups that are looked at when one has to go. All that are worth less than the least of so many are few.
const SAMPLE: usize = 16;

/// Failures after which a group is let in where there is not room for all.
const ADMITTED_AT: u8 = 2;

/// Events that make a new group worth something. Nobody needs more than a few to be let in.
const WORTH_EVENTS_MAX: u8 = 8;

/// What all rules of a tenant share.
pub(super) struct Shared<'t> {
    pub(super) tenant: &'t TenantId,
    pub(super) groups_max: usize,
    pub(super) sketch_bytes: usize,
    pub(super) sketch: &'t mut Option<Sketch>,
    /// Alerts that were ever opened.
    pub(super) serial: &'t mut u64,
}

/// When an alert that was opened is to be looked at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Due {
    pub(super) at: i64,
    pub(super) rule: usize,
    pub(super) slot: usize,
    pub(super) serial: u64,
}

/// By which time an alert is not met for long enough.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Clock {
    /// By that of events.
    Events,
    /// By that of the log, as where no events come. It takes this much longer, in milliseconds, as events wait.
    Log { lateness_ms: i64 },
}

impl Clock {
    fn due(self, open: &Open, rule: &Rule) -> i64 {
        let quiet = rule.quiet.num_milliseconds();
        match self {
            Self::Events => open.met.saturating_add(quiet),
            Self::Log { lateness_ms } => open.met_ingested.saturating_add(quiet).saturating_add(lateness_ms),
        }
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) rule: Rule,
    /// Of its rules of this grouping the how manieth it is.
    column: usize,
    mask: Mask,
    steps: Vec<Mask>,
    /// Places of those that have an alert.
    open: Vec<usize>,
    groups: usize,
    salt: u64,
    kept: Kept,
}

/// What a checkpoint keeps of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Kept {
    /// Of what the rule means: a rule that means something else begins anew.
    digest: String,
    name: String,
    group_by: Grouping,
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
    member: Member,
    late: u32,
    /// When an event of it came last.
    last: i64,
    /// Offset that the id of its last alert was made from; 0 where there was none.
    named: u64,
    alert: Option<Box<Open>>,
    state: State,
}

impl Lane {
    pub(super) fn new(rule: Rule, column: usize) -> Self {
        let kept = Kept {
            digest: digest(&rule),
            name: rule.name.clone(),
            group_by: rule.group_by,
            slots: Vec::new(),
            free: Vec::new(),
            sweep: 0,
            admitted: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            counts: RuleCounts::default(),
            evicted: VecDeque::new(),
        };
        Self::of(rule, column, kept, &mut Directory::default())
    }

    fn of(rule: Rule, column: usize, kept: Kept, directory: &mut Directory) -> Self {
        let steps = match &rule.kind {
            Kind::Sequence { steps } => steps.iter().map(|step| Mask::new(&step.select)).collect(),
            _ => Vec::new(),
        };
        let (mut open, mut groups) = (Vec::new(), 0_usize);
        for (at, slot) in kept.slots.iter().enumerate() {
            let Some(slot) = slot else { continue };
            directory.join(slot.member, column, at);
            groups = groups.saturating_add(1);
            if slot.alert.is_some() {
                open.push(at);
            }
        }
        let (mask, salt) = (Mask::new(&rule.select), salt(&kept.digest));
        Self { mask, rule, column, steps, open, groups, salt, kept }
    }

    /// As it was.
    pub(super) fn restore(rule: Rule, column: usize, kept: Kept, directory: &mut Directory) -> Self {
        Self::of(rule, column, kept, directory)
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept.clone()
    }

    fn owner<'o>(&'o self, tenant: &'o TenantId, directory: &'o Directory, slot: &Slot) -> Owner<'o> {
        let group = directory.group(slot.member).unwrap_or(&Group::Tenant);
        Owner { tenant, rule: &self.rule.id, name: &self.rule.name, group }
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
    fn takes(&self, role: Role, facts: &Facts) -> Option<bool> {
        let takes = |mask: &Mask| mask.takes(facts);
        match (role, &self.rule.kind) {
            (Role::Counts, Kind::Sequence { steps }) => {
                // Where a method must be new, those before count from the first time that they were used.
                let remembers = steps.iter().rposition(|step| step.new_method).unwrap_or(1).max(1);
                let begins = self.steps.iter().take(remembers).any(takes);
                (begins || self.steps.iter().any(takes)).then_some(begins)
            }
            (Role::Counts, Kind::ImpossibleTravel { .. }) => {
                (takes(&self.mask) && facts.place.is_some()).then_some(true)
            }
            (Role::Counts, Kind::DistinctCount { of: Distinct::Source, .. }) => {
                (takes(&self.mask) && facts.source.is_some()).then_some(true)
            }
            (Role::Counts, _) => takes(&self.mask).then_some(true),
            (Role::Clears, _) => Some(false),
            (Role::Approves, _) => may_be_push(facts.features).then_some(false),
            (Role::Locks, _) => Some(facts.features & type_bit(EventType::AccountUnlocked) != 0),
        }
    }

    /// Takes an event in. What follows for alerts is added to `alerts`; an alert that was opened is to be closed then, or looked at again.
    pub(super) fn observe(
        &mut self,
        role: Role,
        facts: &Facts,
        member: &mut Option<Member>,
        directory: &mut Directory,
        shared: &mut Shared<'_>,
        alerts: &mut Vec<Alert>,
    ) -> Option<usize> {
        let begins = self.takes(role, facts)?;
        let at = match self.slot(*member, directory) {
            Some(at) => at,
            None if begins => {
                let hash = facts.group_hash(self.rule.group_by)?;
                self.admit(role, hash, facts, member, directory, shared)?
            }
            None => return None,
        };
        let slot = self.kept.slots.get_mut(at)?.as_mut()?;
        slot.last = slot.last.max(facts.at);
        slot.late = slot.late.saturating_add(u32::from(facts.is_late()));
        let met = slot.state.observe(&self.rule, &self.steps, role, facts);
        let group = directory.group(slot.member).unwrap_or(&Group::Tenant);
        let owner = Owner { tenant: shared.tenant, rule: &self.rule.id, name: &self.rule.name, group };
        if let Some(open) = &mut slot.alert {
            if role == Role::Clears {
                return None;
            }
            open.count(facts);
            if met.is_some() {
                open.met = facts.at;
                open.met_ingested = open.met_ingested.max(facts.ingested);
            }
            // It grows with what was selected, whether the threshold is reached just now or not.
            if open.has_grown(&self.rule, met.as_ref(), facts.at) {
                alerts.push(open.told(owner, AlertState::Updated, facts.at));
            }
            return None;
        }
        let met = met?;
        // Where it was closed, and is met again with the same events, it is another alert nevertheless.
        let first = met.first.1;
        slot.named = if slot.named == first { facts.offset } else { first };
        let id = alert::id(owner.tenant, owner.rule, owner.group, Offset::new(slot.named));
        let open = Open::new(id, *shared.serial, &self.rule, &slot.state, &met, facts);
        *shared.serial = shared.serial.saturating_add(1);
        let opened = open.told(owner, AlertState::Opened, facts.at);
        slot.alert = Some(Box::new(open));
        self.give_up(facts.at, directory, shared.tenant, alerts);
        alerts.push(opened);
        self.open.push(at);
        self.kept.counts.opened_total = self.kept.counts.opened_total.saturating_add(1);
        Some(at)
    }

    /// Where it keeps that group.
    pub(super) fn slot(&self, member: Option<Member>, directory: &Directory) -> Option<usize> {
        match self.rule.group_by {
            Grouping::Tenant => (self.groups > 0).then_some(0),
            _ => directory.slot(member?, self.column),
        }
    }

    /// Has what is kept there come out of memory.
    pub(super) fn touch(&self, slot: usize) -> i64 {
        self.kept.slots.get(slot).and_then(Option::as_ref).map_or(0, |slot| slot.last)
    }

    /// The same of what lies further behind it.
    pub(super) fn touch_state(&self, slot: usize) -> i64 {
        let slot = self.kept.slots.get(slot).and_then(Option::as_ref);
        let alert = slot.and_then(|slot| slot.alert.as_ref()).map_or(0, |open| open.touch());
        alert.wrapping_add(slot.map_or(0, |slot| slot.state.touch()))
    }

    /// Makes room for one more alert.
    fn give_up(&mut self, now: i64, directory: &Directory, tenant: &TenantId, alerts: &mut Vec<Alert>) {
        if self.open.len() < OPEN_MAX {
            return;
        }
        let looked_at = (0..SAMPLE).filter_map(|_| {
            let number = self.kept.random_below(self.open.len());
            let at = *self.open.get(number)?;
            let open = self.kept.slots.get(at)?.as_ref()?.alert.as_ref()?;
            Some((open.severity, open.met, at))
        });
        let Some((.., at)) = looked_at.min() else { return };
        self.kept.counts.given_up_total = self.kept.counts.given_up_total.saturating_add(1);
        alerts.extend(self.end(at, Closing::GivenUp, now, tenant, directory));
    }

    /// Ends the alert that is open there.
    fn end(
        &mut self,
        at: usize,
        closing: Closing,
        now: i64,
        tenant: &TenantId,
        directory: &Directory,
    ) -> Option<Alert> {
        let open = self.kept.slots.get_mut(at)?.as_mut()?.alert.take()?;
        if let Some(number) = self.open.iter().position(|other| *other == at) {
            self.open.swap_remove(number);
        }
        let slot = self.kept.slots.get(at)?.as_ref()?;
        Some(open.closed(self.owner(tenant, directory, slot), closing, now))
    }

    /// Closes an alert that was not met for so long, or says when to look again.
    pub(super) fn close(
        &mut self,
        due: Due,
        clock: Clock,
        tenant: &TenantId,
        directory: &Directory,
        alerts: &mut Vec<Alert>,
    ) -> Option<Due> {
        let open = self.kept.slots.get(due.slot)?.as_ref()?.alert.as_ref()?;
        if open.serial != due.serial {
            return None;
        }
        // Whatever was met since is put back, so that alerts close in the order of their times.
        let at = clock.due(open, &self.rule);
        if at > due.at {
            return Some(Due { at, ..due });
        }
        let closed_at = Clock::Events.due(open, &self.rule);
        alerts.extend(self.end(due.slot, Closing::Quiet, closed_at, tenant, directory));
        None
    }

    /// When that alert is to be looked at.
    pub(super) fn due(&self, rule: usize, slot: usize, clock: Clock) -> Option<Due> {
        let open = self.kept.slots.get(slot)?.as_ref()?.alert.as_ref()?;
        Some(Due { at: clock.due(open, &self.rule), rule, slot, serial: open.serial })
    }

    /// When each open alert is to be looked at.
    pub(super) fn dues(&self, rule: usize, clock: Clock) -> impl Iterator<Item = Due> {
        self.open.iter().filter_map(move |slot| self.due(rule, *slot, clock))
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The clock of the log was ahead: begins anew, all but what is usual.
    pub(super) fn set_back(&mut self, directory: &mut Directory, tenant: &TenantId, alerts: &mut Vec<Alert>) {
        for at in std::mem::take(&mut self.open) {
            let met = self.kept.slots.get(at).and_then(Option::as_ref).and_then(|slot| slot.alert.as_ref());
            let met = met.map_or(0, |open| open.met);
            alerts.extend(self.end(at, Closing::ClockSetBack, met, tenant, directory));
        }
        for at in 0..self.kept.slots.len() {
            match self.kept.slots.get_mut(at).and_then(Option::as_mut).map(|slot| &mut slot.state) {
                Some(State::Volume(baseline)) => baseline.set_back(),
                Some(_) => self.remove(at, directory),
                None => {}
            }
        }
    }

    /// An event of the tenant came in that hour since 1970.
    pub(super) fn hear(&mut self, hour: i64) {
        if !matches!(self.rule.kind, Kind::VolumeVsBaseline { .. }) {
            return;
        }
        for slot in self.kept.slots.iter_mut().flatten() {
            if let State::Volume(baseline) = &mut slot.state {
                baseline.hear(hour);
            }
        }
    }

    /// Makes room for a group and lets it in, or not.
    fn admit(
        &mut self,
        role: Role,
        hash: u64,
        facts: &Facts,
        member: &mut Option<Member>,
        directory: &mut Directory,
        shared: &mut Shared<'_>,
    ) -> Option<usize> {
        // The tenant's own group is always there, and is one.
        let is_tenant = self.rule.group_by == Grouping::Tenant;
        if !is_tenant {
            let mut seen = 1;
            if self.groups >= shared.groups_max / 2 && self.is_spoofable() {
                let sketch = shared.sketch.get_or_insert_with(|| Sketch::new(shared.sketch_bytes));
                seen = sketch.count(hash.wrapping_add(self.salt));
                if seen < ADMITTED_AT {
                    self.kept.counts.unadmitted_total = self.kept.counts.unadmitted_total.saturating_add(1);
                    return None;
                }
            }
            if self.groups >= shared.groups_max.max(1) && !self.evict(role, seen, facts, directory) {
                self.kept.counts.refused_total = self.kept.counts.refused_total.saturating_add(1);
                return None;
            }
        }
        let own = match (is_tenant, *member) {
            (true, _) => Member::MAX,
            (false, Some(member)) => member,
            (false, None) => directory.enter(hash, facts.actor_check, facts.group(self.rule.group_by)?)?,
        };
        self.kept.admitted = self.kept.admitted.saturating_add(1);
        let state = State::new(&self.rule.kind);
        let slot = Some(Slot { member: own, late: 0, last: facts.at, named: 0, alert: None, state });
        let at = match self.kept.free.pop() {
            Some(at) => {
                *self.kept.slots.get_mut(at)? = slot;
                at
            }
            None => {
                self.kept.slots.push(slot);
                self.kept.slots.len().saturating_sub(1)
            }
        };
        self.groups = self.groups.saturating_add(1);
        if !is_tenant {
            directory.join(own, self.column, at);
            *member = Some(own);
        }
        Some(at)
    }

    /// Whether anybody can make as many groups as he likes. Where somebody was is said only of those who got in.
    fn is_spoofable(&self) -> bool {
        !matches!(self.rule.kind, Kind::ImpossibleTravel { .. })
    }

    /// Forgets the group that is furthest from an alert, of those looked at, unless the new one is further.
    fn evict(&mut self, role: Role, seen: u8, facts: &Facts, directory: &mut Directory) -> bool {
        let after = facts.at.saturating_sub(self.rule.window_ms());
        let mut least: Option<(u64, usize)> = None;
        for _ in 0..SAMPLE {
            let at = self.kept.random_below(self.kept.slots.len());
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
        if progress > self.worth(role, seen, facts) {
            return false;
        }
        if let Some(Some(slot)) = self.kept.slots.get(at)
            && progress > 0
            && let Some(group) = directory.group(slot.member)
        {
            let evicted = Evicted { group: group.clone(), at: timestamp(facts.at), progress };
            if self.kept.evicted.len() >= EVICTED_KEPT {
                self.kept.evicted.pop_front();
            }
            self.kept.evicted.push_back(evicted);
            self.kept.counts.evicted_total = self.kept.counts.evicted_total.saturating_add(1);
        }
        self.remove(at, directory);
        true
    }

    /// Progress of a group in which this event came so many times, by the measure of those that are kept.
    fn worth(&self, role: Role, seen: u8, facts: &Facts) -> u64 {
        let mut state = State::new(&self.rule.kind);
        for _ in 0..seen.min(WORTH_EVENTS_MAX) {
            state.observe(&self.rule, &self.steps, role, facts);
        }
        state.progress(&self.rule.kind, facts.at.saturating_sub(self.rule.window_ms()))
    }

    fn remove(&mut self, at: usize, directory: &mut Directory) {
        let Some(slot) = self.kept.slots.get_mut(at).and_then(Option::take) else { return };
        directory.leave(slot.member, self.column);
        self.groups = self.groups.saturating_sub(1);
        self.kept.free.push(at);
    }

    /// Looks at a few groups, more than have come since, and forgets those of which nothing is within the window.
    pub(super) fn sweep(&mut self, clock: i64, directory: &mut Directory) {
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
                self.remove(self.kept.sweep, directory);
            }
        }
        // What a flood has taken is given back.
        if self.groups == 0 && self.kept.slots.len() > 64 {
            self.kept.slots = Vec::new();
            self.kept.free = Vec::new();
        }
    }

    pub(super) fn counts(&self) -> RuleCounts {
        let count = |of: usize| u64::try_from(of).unwrap_or(u64::MAX);
        RuleCounts { groups: count(self.groups), open: count(self.open.len()), ..self.kept.counts }
    }

    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    /// Values that are kept, over all groups.
    pub(super) fn entries(&self) -> usize {
        self.kept.slots.iter().flatten().map(|slot| slot.state.len()).sum()
    }

    /// What is known of a group: measures, late events, the open alert.
    pub(super) fn look(
        &self,
        member: Option<Member>,
        directory: &Directory,
        clock: i64,
    ) -> Option<(Vec<Measure>, u32, Option<Uuid>)> {
        let slot = self.kept.slots.get(self.slot(member, directory)?)?.as_ref()?;
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
    pub(super) fn would_count(&self, group: &Group, facts: &Facts) -> bool {
        facts.is_of(group) && self.takes(Role::Counts, facts).is_some()
    }

    pub(super) fn is_crowded(&self, groups_max: usize) -> bool {
        self.groups >= groups_max / 2 && self.is_spoofable() && self.rule.group_by != Grouping::Tenant
    }

    /// Alerts that are open, as they stand.
    pub(super) fn open<'l>(
        &'l self,
        tenant: &'l TenantId,
        directory: &'l Directory,
    ) -> impl Iterator<Item = Alert> + 'l {
        self.kept.slots.iter().flatten().filter_map(move |slot| {
            let open = slot.alert.as_ref()?;
            let state = if open.is_told_once() { AlertState::Opened } else { AlertState::Updated };
            Some(open.told(self.owner(tenant, directory, slot), state, open.met))
        })
    }
}

impl Kept {
    /// Whether it is of a rule that means the same.
    pub(super) fn is_of(&self, rule: &Rule) -> bool {
        self.digest == digest(rule)
    }

    /// What is to be told of the alerts of a rule that there is no longer.
    pub(super) fn farewell(&self, tenant: &TenantId, rule: &RuleId, all: &Directories) -> Vec<Alert> {
        let directory = all.of(self.group_by);
        let open = self.slots.iter().flatten().filter_map(|slot| {
            let open = slot.alert.as_ref()?;
            let group = directory.group(slot.member).unwrap_or(&Group::Tenant);
            let owner = Owner { tenant, rule, name: &self.name, group };
            Some(open.closed(owner, Closing::RuleChanged, open.met))
        });
        open.collect()
    }

    /// A number below this one, by Marsaglia's xorshift.
    fn random_below(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let below = u64::try_from(below).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.random % below).unwrap_or_default()
    }
}

/// What is within the years that timestamps have, which every event is, is unchanged.
pub(super) fn timestamp(ms: i64) -> Timestamp {
    let first = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    Timestamp::new(first).unwrap_or(Timestamp::EPOCH)
}

/// Of what a rule means: what it is called and how bad it is may change.
fn digest(rule: &Rule) -> String {
    let window = (rule.window_ms(), rule.quiet.num_milliseconds());
    let meaning = (&rule.id, rule.group_by, window, &rule.select, rule.weighed_by_risk, &rule.kind);
    let text = serde_json::to_vec(&meaning).unwrap_or_default();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// So that a group of one rule is another than that of the next.
fn salt(digest: &str) -> u64 {
    digest.bytes().take(16).fold(0, |salt: u64, byte| salt.rotate_left(7) ^ u64::from(byte))
}
