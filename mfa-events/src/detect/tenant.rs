//! All rules over the events of one tenant.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chrono::{DateTime, Utc};

use super::alert::{Alert, AlertState};
use super::checkpoint::{CHECKPOINT_VERSION, Checkpoint, CheckpointError};
use super::directory::{Directories, Members};
use super::explain::{Explanation, RuleCounts};
use super::group::{Facts, Group, HashKey};
use super::lane::{Clock, Due, Lane, Shared, timestamp};
use super::options::{Counters, Options, Size};
use super::reorder::{Arrivals, Reorder};
use super::rule::{Grouping, Rule, RuleId, Rules};
use super::select::{type_bit, type_of};
use super::sketch::Sketch;
use super::state::Role;
use crate::event::{EventType, Timestamp};
use crate::id::TenantId;
use crate::store::{Offset, Record};

/// So much, in milliseconds, the log's own clock is set back before everything begins anew. By less, events count late until it has caught up.
pub const CLOCK_SET_BACK_MS: i64 = 600_000;

const HOUR_MS: i64 = 3_600_000;

/// Events that are judged together.
const TOGETHER: usize = 64;

/// Detection for one tenant: a value without I/O and without a clock.
///
/// Events come in the order of their log; each counts when it happened, as long as it comes within [`Options::lateness`]. What is found
/// follows from the log alone: from events, and from when it took them in. The same events give the same alerts, however they are cut into
/// calls, and whether [`tick`](Self::tick) was called or not.
#[derive(Debug)]
pub struct TenantDetector {
    tenant: TenantId,
    options: Options,
    key: HashKey,
    lanes: Vec<Lane>,
    directories: Directories,
    /// For each type of event, in the order of their bits, which rules it is something to.
    routes: Vec<Route>,
    /// When open alerts are to be looked at, by the time of events and by that of the log.
    due: BinaryHeap<Reverse<Due>>,
    due_by_log: BinaryHeap<Reverse<Due>>,
    sketch: Option<Sketch>,
    waiting: Reorder,
    arrivals: Arrivals,
    offset: Offset,
    /// Time of what was judged last.
    clock: Option<i64>,
    /// What happened before then is late.
    watermark: i64,
    last_ingested: i64,
    ticked: i64,
    counters: Counters,
    serial: u64,
    sweep: usize,
    /// Alerts that a checkpoint left to be told.
    untold: Vec<Alert>,
    /// Events whose turn has come. INVARIANT: there are none between calls.
    ready: Vec<Facts>,
    /// When the log took in the first of them.
    ready_ingested: i64,
    members: Vec<Members>,
    quiet_min_ms: i64,
}

/// What an event of a type is something to.
#[derive(Debug, Default)]
struct Route {
    lanes: Vec<(usize, Role, Grouping)>,
    groupings: Vec<Grouping>,
}

impl TenantDetector {
    /// From the begin of a tenant's log.
    pub fn new(tenant: TenantId, rules: &Rules, options: Options) -> Self {
        let lanes = columns(rules).map(|(rule, column)| Lane::new(rule.clone(), column)).collect();
        let directories = Directories::of_rules(rules);
        let key = HashKey(options.hash_key);
        Self::of(tenant, lanes, directories, options, key)
    }

    fn of(
        tenant: TenantId,
        lanes: Vec<Lane>,
        directories: Directories,
        options: Options,
        key: HashKey,
    ) -> Self {
        let mut routes = Vec::new();
        routes.resize_with(EventType::ALL.len(), Route::default);
        for of in EventType::ALL {
            let Some(route) = routes.get_mut(type_of(type_bit(*of))) else { continue };
            for (at, lane) in lanes.iter().enumerate() {
                let grouping = lane.rule.group_by;
                let roles = lane.roles(*of);
                if !roles.is_empty() && !route.groupings.contains(&grouping) {
                    route.groupings.push(grouping);
                }
                route.lanes.extend(roles.into_iter().map(|role| (at, role, grouping)));
            }
        }
        let quiet = lanes.iter().map(|lane| lane.rule.quiet.num_milliseconds());
        let quiet_min_ms = quiet.min().unwrap_or(i64::MAX);
        let mut detector = Self {
            tenant,
            options,
            key,
            lanes,
            directories,
            routes,
            due: BinaryHeap::new(),
            due_by_log: BinaryHeap::new(),
            sketch: None,
            waiting: Reorder::default(),
            arrivals: Arrivals::default(),
            offset: Offset::START,
            clock: None,
            watermark: i64::MIN,
            last_ingested: i64::MIN,
            ticked: i64::MIN,
            counters: Counters::default(),
            serial: 0,
            sweep: 0,
            untold: Vec::new(),
            ready: Vec::new(),
            ready_ingested: i64::MAX,
            members: Vec::new(),
            quiet_min_ms,
        };
        detector.look_at_all();
        detector
    }

    /// Goes on from a checkpoint. A rule that means something else since begins anew, and what a flood had counted roughly is forgotten. Open
    /// alerts of rules that are gone or mean something else are told as closed, with the next call that tells alerts.
    ///
    /// # Errors
    /// Where another version of this crate wrote it.
    pub fn restore(checkpoint: Checkpoint, rules: &Rules, options: Options) -> Result<Self, CheckpointError> {
        if checkpoint.version != CHECKPOINT_VERSION {
            return Err(CheckpointError::Version);
        }
        let mut kept = checkpoint.rules;
        let mut directories = checkpoint.directories.with(rules);
        let lanes = columns(rules).map(|(rule, column)| {
            match kept.iter().position(|(id, kept)| *id == rule.id && kept.is_of(rule)) {
                Some(at) => {
                    let (_, kept) = kept.swap_remove(at);
                    Lane::restore(rule.clone(), column, kept, directories.of_mut(rule.group_by))
                }
                None => Lane::new(rule.clone(), column),
            }
        });
        let lanes: Vec<_> = lanes.collect();
        let mut untold = checkpoint.untold;
        kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (rule, kept) in &kept {
            untold.extend(kept.farewell(&checkpoint.tenant, rule, &directories));
        }
        directories.forget_unused();
        let detector = Self::of(checkpoint.tenant, lanes, directories, options, checkpoint.key);
        Ok(Self {
            waiting: checkpoint.waiting,
            arrivals: checkpoint.arrivals,
            offset: checkpoint.offset,
            clock: checkpoint.clock,
            watermark: checkpoint.watermark,
            last_ingested: checkpoint.last_ingested,
            ticked: checkpoint.ticked,
            counters: checkpoint.counters,
            serial: checkpoint.serial,
            sweep: checkpoint.sweep,
            untold,
            ..detector
        })
    }

    /// What it is now.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            version: CHECKPOINT_VERSION,
            tenant: self.tenant.clone(),
            offset: self.offset,
            clock: self.clock,
            watermark: self.watermark,
            last_ingested: self.last_ingested,
            ticked: self.ticked,
            counters: self.counters,
            key: self.key,
            serial: self.serial,
            sweep: self.sweep,
            waiting: self.waiting.clone(),
            arrivals: self.arrivals.clone(),
            untold: self.untold.clone(),
            directories: self.directories.clone(),
            rules: self.lanes.iter().map(|lane| (lane.rule.id.clone(), lane.kept())).collect(),
        }
    }

    /// Where to read on in the log.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Goes on after an offset, without what lies before it.
    pub(super) fn pass_over(&mut self, to: Offset) {
        self.offset = self.offset.max(to);
    }

    /// Takes an event in, and adds what follows for alerts. What was taken in before is passed over.
    pub fn observe(&mut self, record: &Record, alerts: &mut Vec<Alert>) {
        self.observe_all(std::slice::from_ref(record), alerts);
    }

    /// Takes events in, in the order of their log, as [`observe`](Self::observe) does one after the other, and in less time.
    pub fn observe_all(&mut self, records: &[Record], alerts: &mut Vec<Alert>) {
        self.tell_untold(alerts);
        records.iter().for_each(|record| self.take_in(record, alerts));
        self.judge_ready(alerts);
    }

    fn take_in(&mut self, record: &Record, alerts: &mut Vec<Alert>) {
        if record.offset <= self.offset {
            return;
        }
        self.offset = record.offset;
        self.counters.events_total = self.counters.events_total.saturating_add(1);
        let ingested = record.ingested_at.as_datetime().timestamp_millis();
        if ingested < self.ticked {
            self.counters.unproven_total = self.counters.unproven_total.saturating_add(1);
        }
        if ingested.saturating_add(CLOCK_SET_BACK_MS) < self.last_ingested {
            self.set_back(alerts);
        }
        self.last_ingested = self.last_ingested.max(ingested);
        self.pass(ingested, alerts);
        let happened = record.event.at().as_datetime().timestamp_millis();
        // Nobody was told of it before it happened: the sender's clock is wrong.
        let at = happened.min(ingested);
        if at < happened {
            self.counters.future_total = self.counters.future_total.saturating_add(1);
        }
        let mut facts = Facts::of(record, at, self.key);
        if at < self.watermark {
            self.counters.late_total = self.counters.late_total.saturating_add(1);
            facts.at = self.watermark;
            self.is_ready(facts, alerts);
            return;
        }
        self.waiting.push(facts);
        self.arrivals.push(ingested, at);
        if self.waiting.len() > self.options.waiting_max
            && let Some(first) = self.waiting.first_at()
        {
            self.counters.hurried_total = self.counters.hurried_total.saturating_add(1);
            self.release(first, alerts);
        }
        self.release(at.saturating_sub(self.lateness_ms()), alerts);
    }

    /// Says that it is now, and adds what follows for alerts: those that have waited for [`Options::lateness`] are judged, and alerts are
    /// closed whose time is up, without waiting for the next event to come.
    ///
    /// Nothing is told that the next event would not bring about by itself, as long as what comes later was taken in later, give or take
    /// [`Options::settling`]. So it does not matter when it is called, and a log that is read again without gives the same alerts. Where that
    /// does not hold, [`Counters::unproven_total`] says so.
    pub fn tick(&mut self, now: DateTime<Utc>, alerts: &mut Vec<Alert>) {
        self.tell_untold(alerts);
        let until = now.timestamp_millis().saturating_sub(self.options.settling.num_milliseconds());
        self.ticked = self.ticked.max(until);
        self.pass(until, alerts);
        self.judge_ready(alerts);
    }

    /// Judges all that wait, as at the end of a history.
    pub fn finish(&mut self, alerts: &mut Vec<Alert>) {
        self.tell_untold(alerts);
        self.arrivals.clear();
        while let Some(facts) = self.waiting.pop(i64::MAX) {
            self.watermark = self.watermark.max(facts.at);
            self.is_ready(facts, alerts);
        }
        self.judge_ready(alerts);
    }

    fn lateness_ms(&self) -> i64 {
        self.options.lateness.num_milliseconds()
    }

    fn tell_untold(&mut self, alerts: &mut Vec<Alert>) {
        if !self.untold.is_empty() {
            self.count(&self.untold.clone());
            alerts.append(&mut self.untold);
        }
    }

    /// It is then, by the clock of the log. What happens until then happens in its order, however long the step: so it makes no difference
    /// in how many it is gone.
    fn pass(&mut self, time: i64, alerts: &mut Vec<Alert>) {
        loop {
            // What is about to be judged may open alerts that are to be closed within this step, no earlier than so.
            if self.ready_ingested.saturating_add(self.quiet_min_ms) <= time {
                self.judge_ready(alerts);
            }
            let released = self.arrivals.first().map(|at| at.saturating_add(self.lateness_ms()));
            let closed = self.due_by_log.peek().map(|Reverse(due)| due.at);
            match (released, closed) {
                (Some(released), closed)
                    if released <= time && closed.is_none_or(|closed| released <= closed) =>
                {
                    if let Some(at) = self.arrivals.pop() {
                        self.release(at, alerts);
                    }
                }
                (_, Some(closed)) if closed <= time => {
                    self.judge_ready(alerts);
                    self.close(Clock::Log { lateness_ms: self.lateness_ms() }, closed, alerts);
                }
                _ => return,
            }
        }
    }

    fn release(&mut self, watermark: i64, alerts: &mut Vec<Alert>) {
        self.watermark = self.watermark.max(watermark);
        while let Some(facts) = self.waiting.pop(self.watermark) {
            self.is_ready(facts, alerts);
        }
    }

    /// Its turn has come. It is judged with some others, before this call returns.
    fn is_ready(&mut self, facts: Facts, alerts: &mut Vec<Alert>) {
        self.ready_ingested = self.ready_ingested.min(facts.ingested);
        self.ready.push(facts);
        if self.ready.len() >= TOGETHER {
            self.judge_ready(alerts);
        }
    }

    fn judge_ready(&mut self, alerts: &mut Vec<Alert>) {
        if self.ready.is_empty() {
            return;
        }
        self.ready_ingested = i64::MAX;
        let (mut ready, mut members) = (std::mem::take(&mut self.ready), std::mem::take(&mut self.members));
        if ready.len() > 1 {
            self.look_up(&ready, &mut members);
        }
        let changes = self.directories.changes();
        let mut looked_up = members.drain(..);
        for facts in &ready {
            // What was looked up holds as long as no group has come or gone.
            let members = looked_up.next().filter(|_| self.directories.changes() == changes);
            self.judge(facts, members, alerts);
        }
        drop(looked_up);
        ready.clear();
        (self.ready, self.members) = (ready, members);
    }

    /// Looks the groups of many events up, and touches what is kept of them: most of the time goes by waiting for memory, and what does not
    /// depend on each other is waited for together.
    fn look_up(&self, ready: &[Facts], members: &mut Vec<Members>) {
        let routes = || ready.iter().map(|facts| self.routes.get(type_of(facts.features)));
        members.extend(ready.iter().zip(routes()).map(|(facts, route)| self.members(route, facts)));
        let slots = || {
            let each = members.iter().zip(routes());
            each.flat_map(|(members, route)| {
                let lanes = route.into_iter().flat_map(|route| &route.lanes);
                lanes.filter_map(|(rule, _, grouping)| {
                    let lane = self.lanes.get(*rule)?;
                    Some((lane, lane.slot(members.of(*grouping), self.directories.of(*grouping))?))
                })
            })
        };
        std::hint::black_box(slots().map(|(lane, slot)| lane.touch(slot)).fold(0, i64::wrapping_add));
        std::hint::black_box(slots().map(|(lane, slot)| lane.touch_state(slot)).fold(0, i64::wrapping_add));
    }

    fn members(&self, route: Option<&Route>, facts: &Facts) -> Members {
        let mut members = Members::default();
        for grouping in route.into_iter().flat_map(|route| &route.groupings) {
            *members.of_mut(*grouping) = self.directories.find(*grouping, facts);
        }
        members
    }

    /// The log's clock was ahead: what it made late, and windows that end in a future that does not come, are given up.
    fn set_back(&mut self, alerts: &mut Vec<Alert>) {
        self.finish(alerts);
        self.counters.set_back_total = self.counters.set_back_total.saturating_add(1);
        let before = alerts.len();
        for lane in &mut self.lanes {
            lane.set_back(self.directories.of_mut(lane.rule.group_by), &self.tenant, alerts);
        }
        self.count(alerts.get(before..).unwrap_or_default());
        (self.watermark, self.last_ingested, self.clock) = (i64::MIN, i64::MIN, None);
        self.look_at_all();
    }

    fn look_at_all(&mut self) {
        let by_log = Clock::Log { lateness_ms: self.lateness_ms() };
        let of = |clock| {
            let dues = self.lanes.iter().enumerate().flat_map(move |(rule, lane)| lane.dues(rule, clock));
            dues.map(Reverse).collect()
        };
        (self.due, self.due_by_log) = (of(Clock::Events), of(by_log));
    }

    /// Closes alerts that were not met for long enough, by that clock.
    fn close(&mut self, clock: Clock, now: i64, alerts: &mut Vec<Alert>) {
        let before = alerts.len();
        let heap = match clock {
            Clock::Events => &mut self.due,
            Clock::Log { .. } => &mut self.due_by_log,
        };
        while let Some(Reverse(due)) = heap.peek().copied().filter(|Reverse(due)| due.at <= now) {
            heap.pop();
            let Some(lane) = self.lanes.get_mut(due.rule) else { continue };
            let directory = self.directories.of(lane.rule.group_by);
            heap.extend(lane.close(due, clock, &self.tenant, directory, alerts).map(Reverse));
        }
        if alerts.len() > before {
            self.count(alerts.get(before..).unwrap_or_default());
        }
    }

    fn judge(&mut self, facts: &Facts, members: Option<Members>, alerts: &mut Vec<Alert>) {
        let hour = |at: i64| at.div_euclid(HOUR_MS);
        if self.clock.is_none_or(|clock| hour(clock) < hour(facts.at)) {
            self.lanes.iter_mut().for_each(|lane| lane.hear(hour(facts.at)));
        }
        self.clock = Some(self.clock.map_or(facts.at, |clock| clock.max(facts.at)));
        self.close(Clock::Events, facts.at, alerts);
        let before = alerts.len();
        let by_log = Clock::Log { lateness_ms: self.options.lateness.num_milliseconds() };
        let route = self.routes.get(type_of(facts.features));
        let mut members = members.unwrap_or_else(|| self.members(route, facts));
        let mut shared = Shared {
            tenant: &self.tenant,
            groups_max: self.options.groups_max,
            sketch_bytes: self.options.sketch_bytes,
            sketch: &mut self.sketch,
            serial: &mut self.serial,
        };
        if let Some(route) = route {
            for (rule, role, grouping) in &route.lanes {
                let Some(lane) = self.lanes.get_mut(*rule) else { continue };
                let (member, directory) = (members.of_mut(*grouping), self.directories.of_mut(*grouping));
                if let Some(slot) = lane.observe(*role, facts, member, directory, &mut shared, alerts) {
                    self.due.extend(lane.due(*rule, slot, Clock::Events).map(Reverse));
                    self.due_by_log.extend(lane.due(*rule, slot, by_log).map(Reverse));
                }
            }
        }
        if alerts.len() > before {
            self.count(alerts.get(before..).unwrap_or_default());
            // Alerts that were given up leave their times behind.
            let open: usize = self.lanes.iter().map(Lane::open_count).sum();
            if self.due.len().max(self.due_by_log.len()) > open.saturating_mul(4).saturating_add(64) {
                self.look_at_all();
            }
        }
        self.tidy(facts.at);
    }

    fn tidy(&mut self, now: i64) {
        self.sweep = self.sweep.saturating_add(1);
        if self.sweep >= self.lanes.len() {
            self.sweep = 0;
        }
        if let Some(lane) = self.lanes.get_mut(self.sweep) {
            lane.sweep(now, self.directories.of_mut(lane.rule.group_by));
        }
        if self.sweep == 0
            && self.sketch.is_some()
            && self.lanes.iter().all(|lane| lane.groups() < self.options.groups_max / 4)
        {
            self.sketch = None;
        }
    }

    fn count(&mut self, told: &[Alert]) {
        for alert in told {
            let total = match alert.state {
                AlertState::Opened => &mut self.counters.opened_total,
                AlertState::Updated => &mut self.counters.updated_total,
                AlertState::Closed => &mut self.counters.closed_total,
            };
            *total = total.saturating_add(1);
        }
    }

    /// Why an alert of a rule and group has not opened, or what keeps it open; nothing where there is no such rule, or it has other groups.
    pub fn explain(&self, rule: &str, group: &Group) -> Option<Explanation> {
        let lane = self.lanes.iter().find(|lane| lane.rule.id.as_str() == rule)?;
        let grouping = lane.rule.group_by;
        if !grouping.is_of(group) {
            return None;
        }
        let clock = self.clock.unwrap_or(self.watermark);
        let directory = self.directories.of(grouping);
        let member = directory.find_group(self.key.group(group), group);
        let known = lane.look(member, directory, clock);
        let is_kept = known.is_some();
        let (measures, late_events, alert) = known.unwrap_or_else(|| (lane.nothing(clock), 0, None));
        let waiting = self.waiting.iter().filter(|waiting| lane.would_count(group, waiting));
        Some(Explanation {
            rule: lane.rule.id.clone(),
            group: group.clone(),
            clock: self.clock.map(timestamp),
            offset: self.offset,
            is_kept,
            alert,
            measures,
            waiting: waiting.count(),
            late_events,
            evicted: lane.evicted(group).cloned(),
            rule_counts: lane.counts(),
            is_crowded: lane.is_crowded(self.options.groups_max),
        })
    }

    /// Alerts that are open, as they stand.
    pub fn open(&self) -> Vec<Alert> {
        let of = |lane: &Lane| {
            lane.open(&self.tenant, self.directories.of(lane.rule.group_by)).collect::<Vec<_>>()
        };
        self.lanes.iter().flat_map(of).collect()
    }

    /// What became of events and alerts since the begin of the log.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What became of each rule's groups.
    pub fn rule_counts(&self) -> impl Iterator<Item = (&RuleId, RuleCounts)> {
        self.lanes.iter().map(|lane| (&lane.rule.id, lane.counts()))
    }

    /// Time of the events that were judged last.
    pub fn clock(&self) -> Option<Timestamp> {
        self.clock.map(timestamp)
    }

    /// How much it keeps. Counting takes as long as there is.
    pub fn size(&self) -> Size {
        Size {
            groups: self.lanes.iter().map(Lane::groups).sum(),
            entries: self.lanes.iter().map(Lane::entries).sum(),
            waiting: self.waiting.len(),
            sketch_bytes: self.sketch.as_ref().map_or(0, Sketch::bytes),
        }
    }
}

/// Each rule, and of those that group as it does the how manieth it is.
fn columns(rules: &Rules) -> impl Iterator<Item = (&Rule, usize)> {
    rules.iter().enumerate().map(|(at, rule)| {
        let before = rules.iter().take(at).filter(|other| other.group_by == rule.group_by);
        (rule, before.count())
    })
}
