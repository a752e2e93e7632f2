//! All rules over the events of one tenant.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::alert::{Alert, AlertState};
use super::explain::{Explanation, RuleCounts};
use super::group::{Facts, Group, HashKey, Prefix};
use super::lane::{Kept, Lane, Shared, timestamp};
use super::reorder::{Reorder, Waiting};
use super::rule::{RuleId, Rules};
use super::select::features;
use super::sketch::Sketch;
use super::state::Role;
use super::window::NEUTRAL;
use crate::event::{Event, EventType, Timestamp};
use crate::id::TenantId;
use crate::risk::weight_of;
use crate::store::{Offset, Record};

/// How detection is bounded, and what it waits for. `Debug` does not show the key.
#[derive(Clone)]
pub struct Options {
    /// How long an event waits for those that happened before it: at most so much later than the latest. 5 seconds by default.
    pub lateness: TimeDelta,
    /// Most events of a tenant that wait. Beyond it, the earliest no longer does. 65,536 by default.
    pub waiting_max: usize,
    /// Most groups of a tenant and rule. Above half of it a group is let in with its second event; beyond it, whichever is furthest from an
    /// alert goes. 65,536 by default.
    pub groups_max: usize,
    /// Bytes in which groups are counted that were not let in, of a tenant, taken when they are needed. 4 MiB by default.
    pub sketch_bytes: usize,
    /// Key of hashes: random by default. Who knows it can choose names that collide.
    pub hash_key: [u64; 2],
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("lateness", &self.lateness)
            .field("waiting_max", &self.waiting_max)
            .field("groups_max", &self.groups_max)
            .field("sketch_bytes", &self.sketch_bytes)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        Self {
            lateness: TimeDelta::seconds(5),
            waiting_max: 65_536,
            groups_max: 65_536,
            sketch_bytes: 4 * 1024 * 1024,
            hash_key: [random(), random()],
        }
    }
}

/// What became of events and alerts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Events that were taken in.
    pub events_total: u64,
    /// Those that came too late, and counted when they came.
    pub late_total: u64,
    /// Those that claimed to be from the future, and count as of when they came.
    pub future_total: u64,
    /// Those that did not wait as long as they should have, as too many waited.
    pub hurried_total: u64,
    /// Alerts that were opened.
    pub opened_total: u64,
    /// Alerts that were told again.
    pub updated_total: u64,
    /// Alerts that were closed.
    pub closed_total: u64,
}

/// How much a tenant's detection keeps.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Size {
    /// Groups, over all rules.
    pub groups: usize,
    /// Values that groups keep: events, actors, sources.
    pub entries: usize,
    /// Events that wait.
    pub waiting: usize,
    /// Bytes of the sketch.
    pub sketch_bytes: usize,
}

/// Detection for one tenant: a value without I/O and without a clock.
///
/// Events come in the order of their log; each counts when it happened, as long as it comes within [`Options::lateness`]. The same events
/// give the same alerts, however they are cut into calls.
#[derive(Debug)]
pub struct TenantDetector {
    tenant: TenantId,
    options: Options,
    key: HashKey,
    lanes: Vec<Lane>,
    /// For each type of event, in order of [`EventType::ALL`], which rules it is something to.
    routes: Vec<Vec<(usize, Role)>>,
    /// When open alerts are to be looked at.
    due: BinaryHeap<Reverse<(i64, usize, usize)>>,
    sketch: Option<Sketch>,
    waiting: Reorder,
    offset: Offset,
    /// Time of what was judged last.
    clock: Option<i64>,
    /// What happened before then is late.
    watermark: i64,
    last_ingested: i64,
    counters: Counters,
    sweep: usize,
}

/// What a detector was at an offset, to go on from there.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Checkpoint {
    version: u32,
    tenant: TenantId,
    offset: Offset,
    clock: Option<i64>,
    watermark: i64,
    last_ingested: i64,
    counters: Counters,
    key: HashKey,
    sweep: usize,
    waiting: Reorder,
    rules: Vec<(RuleId, Kept)>,
}

const CHECKPOINT_VERSION: u32 = 1;

/// Why a checkpoint cannot be gone on from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Another version of this crate wrote it: read the log again instead.
    #[error("the checkpoint is of another version")]
    Version,
}

impl Checkpoint {
    /// Whose.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Where to read on.
    pub fn offset(&self) -> Offset {
        self.offset
    }
}

impl TenantDetector {
    /// From the begin of a tenant's log.
    pub fn new(tenant: TenantId, rules: &Rules, options: Options) -> Self {
        let lanes = rules.iter().cloned().map(Lane::new).collect();
        let key = HashKey(options.hash_key);
        Self::of(tenant, lanes, options, key)
    }

    fn of(tenant: TenantId, lanes: Vec<Lane>, options: Options, key: HashKey) -> Self {
        let route = |of: EventType| {
            let roles = lanes.iter().enumerate().map(|(at, lane)| (at, lane.roles(of)));
            roles.flat_map(|(at, roles)| roles.into_iter().map(move |role| (at, role))).collect()
        };
        let routes = EventType::ALL.iter().map(|of| route(*of)).collect();
        let due = lanes.iter().enumerate();
        let due =
            due.flat_map(|(rule, lane)| lane.due().map(move |(due, at)| Reverse((due, rule, at)))).collect();
        Self {
            tenant,
            options,
            key,
            lanes,
            routes,
            due,
            sketch: None,
            waiting: Reorder::default(),
            offset: Offset::START,
            clock: None,
            watermark: i64::MIN,
            last_ingested: i64::MIN,
            counters: Counters::default(),
            sweep: 0,
        }
    }

    /// Goes on from a checkpoint. A rule that has been changed since begins anew, and what a flood had counted roughly is forgotten.
    ///
    /// # Errors
    /// Where another version of this crate wrote it.
    pub fn restore(checkpoint: Checkpoint, rules: &Rules, options: Options) -> Result<Self, CheckpointError> {
        if checkpoint.version != CHECKPOINT_VERSION {
            return Err(CheckpointError::Version);
        }
        let mut kept = checkpoint.rules;
        let lanes = rules.iter().cloned().map(|rule| match kept.iter().position(|(id, _)| *id == rule.id) {
            Some(at) => Lane::restore(rule, kept.swap_remove(at).1),
            None => Lane::new(rule),
        });
        let lanes = lanes.collect();
        let detector = Self::of(checkpoint.tenant, lanes, options, checkpoint.key);
        Ok(Self {
            waiting: checkpoint.waiting,
            offset: checkpoint.offset,
            clock: checkpoint.clock,
            watermark: checkpoint.watermark,
            last_ingested: checkpoint.last_ingested,
            counters: checkpoint.counters,
            sweep: checkpoint.sweep,
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
            counters: self.counters,
            key: self.key,
            sweep: self.sweep,
            waiting: self.waiting.clone(),
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
        if record.offset <= self.offset {
            return;
        }
        self.offset = record.offset;
        self.counters.events_total = self.counters.events_total.saturating_add(1);
        let ingested_at = record.ingested_at.as_datetime().timestamp_millis();
        let happened = record.event.at().as_datetime().timestamp_millis();
        // Nobody was told of it before it happened: the sender's clock is wrong.
        let at = happened.min(ingested_at);
        if at < happened {
            self.counters.future_total = self.counters.future_total.saturating_add(1);
        }
        self.last_ingested = self.last_ingested.max(ingested_at);
        let offset = record.offset.as_u64();
        if at < self.watermark {
            self.counters.late_total = self.counters.late_total.saturating_add(1);
            self.judge(self.watermark, at, offset, &record.event, alerts);
            return;
        }
        self.waiting.push(Waiting { at, offset, ingested_at, event: Arc::clone(&record.event) });
        if self.waiting.len() > self.options.waiting_max
            && let Some(first) = self.waiting.first_at()
        {
            self.counters.hurried_total = self.counters.hurried_total.saturating_add(1);
            self.release(first, alerts);
        }
        self.release(at.saturating_sub(self.options.lateness.num_milliseconds()), alerts);
    }

    /// Says that it is now, and adds what follows for alerts.
    ///
    /// While events come, their times are the clock. When none has come for [`Options::lateness`], those that wait are judged, and alerts
    /// are closed whose time is up.
    pub fn tick(&mut self, now: DateTime<Utc>, alerts: &mut Vec<Alert>) {
        let until = now.timestamp_millis().saturating_sub(self.options.lateness.num_milliseconds());
        if self.last_ingested <= until {
            self.release(until, alerts);
            self.close(until, alerts);
        }
    }

    /// Judges all that wait, as at the end of a history.
    pub fn finish(&mut self, alerts: &mut Vec<Alert>) {
        while let Some(waiting) = self.waiting.pop(i64::MAX) {
            self.watermark = self.watermark.max(waiting.at);
            self.judge(waiting.at, waiting.at, waiting.offset, &waiting.event, alerts);
        }
    }

    fn release(&mut self, watermark: i64, alerts: &mut Vec<Alert>) {
        self.watermark = self.watermark.max(watermark);
        while let Some(waiting) = self.waiting.pop(self.watermark) {
            self.judge(waiting.at, waiting.at, waiting.offset, &waiting.event, alerts);
        }
    }

    fn close(&mut self, clock: i64, alerts: &mut Vec<Alert>) {
        while let Some(Reverse((due, rule, at))) = self.due.peek().copied() {
            if due > clock {
                return;
            }
            self.due.pop();
            let Some(lane) = self.lanes.get_mut(rule) else { continue };
            let before = alerts.len();
            if let Some(due) = lane.close(at, clock, &self.tenant, alerts) {
                self.due.push(Reverse((due, rule, at)));
            }
            let closed = u64::try_from(alerts.len().saturating_sub(before)).unwrap_or_default();
            self.counters.closed_total = self.counters.closed_total.saturating_add(closed);
        }
    }

    fn judge(&mut self, at: i64, happened: i64, offset: u64, event: &Event, alerts: &mut Vec<Alert>) {
        self.clock = Some(self.clock.map_or(at, |clock| clock.max(at)));
        self.close(at, alerts);
        let facts = self.facts(at, happened, offset, event);
        let before = alerts.len();
        let mut shared = Shared {
            tenant: &self.tenant,
            groups_max: self.options.groups_max,
            sketch_bytes: self.options.sketch_bytes,
            sketch: &mut self.sketch,
        };
        let route = EventType::ALL.iter().position(|of| *of == event.event_type());
        for (rule, role) in route.and_then(|route| self.routes.get(route)).into_iter().flatten() {
            if let Some(lane) = self.lanes.get_mut(*rule)
                && let Some((due, at)) = lane.observe(*role, &facts, &mut shared, alerts)
            {
                self.due.push(Reverse((due, *rule, at)));
            }
        }
        for alert in alerts.get(before..).unwrap_or_default() {
            let total = match alert.state {
                AlertState::Opened => &mut self.counters.opened_total,
                AlertState::Updated => &mut self.counters.updated_total,
                AlertState::Closed => &mut self.counters.closed_total,
            };
            *total = total.saturating_add(1);
        }
        self.sweep = self.sweep.saturating_add(1);
        if self.sweep >= self.lanes.len() {
            self.sweep = 0;
        }
        if let Some(lane) = self.lanes.get_mut(self.sweep) {
            lane.sweep(at);
        }
        if self.sweep == 0
            && self.sketch.is_some()
            && self.lanes.iter().all(|lane| lane.groups() < self.options.groups_max / 4)
        {
            self.sketch = None;
        }
    }

    fn facts<'e>(&self, at: i64, happened: i64, offset: u64, event: &'e Event) -> Facts<'e> {
        let hashed = |prefix: Prefix| (prefix, self.key.prefix(&prefix));
        Facts {
            event,
            at,
            happened,
            offset,
            is_late: happened < at,
            features: features(event),
            weight: event.risk_context().map_or(NEUTRAL, |risk| hundredths(weight_of(risk))),
            actor_hash: self.key.actor(event.actor()),
            source: event.source_ip().map(|ip| hashed(Prefix::source(ip))),
            network: event.source_ip().map(|ip| hashed(Prefix::network(ip))),
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
        let known = lane.look(self.key.group(group), group, clock);
        let is_kept = known.is_some();
        let (measures, late_events, alert) = known.unwrap_or_else(|| (lane.nothing(clock), 0, None));
        let waiting = self.waiting.iter().filter(|waiting| {
            lane.would_count(group, &self.facts(waiting.at, waiting.at, waiting.offset, &waiting.event))
        });
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
        self.lanes.iter().flat_map(|lane| lane.open(&self.tenant)).collect()
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

fn hundredths(weight: f64) -> u16 {
    // Between a half and two.
    (weight.clamp(0.5, 2.0) * 100.0).round() as u16
}
