//! What a rule keeps of one group, and when it is met.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::alert::Finding;
use super::baseline::Baseline;
use super::explain::Measure;
use super::group::{Facts, Prefix, Spot};
use super::rule::{COUNTRY_ACCURACY_KM, Distinct, Kind, Rule, Severity, Step};
use super::select::{Mask, is_success, method_of, type_bit};
use super::window::{Place, Recency, Recent};
use crate::event::EventType;
use crate::id::ActorId;

/// What an event is to a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// It counts.
    Counts,
    /// It may take its actor out again.
    Clears,
    /// A push was answered with yes.
    Approves,
    /// A lock or an unlock.
    Locks,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum State {
    Count(Recent),
    Actors(Box<Recency<ActorId>>),
    Sources(Box<Recency<Prefix>>),
    Cluster(Box<Cluster>),
    Relock(Box<Relock>),
    Volume(Box<Baseline>),
    Travel(Option<Visit>),
    Sequence(Sequence),
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Cluster {
    actors: Recency<ActorId>,
    sources: Recency<Prefix>,
    events: Recent,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Relock {
    unlocked_at: Option<Place>,
    relocks: Recent,
}

/// Where somebody was.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Visit {
    at: i64,
    offset: u64,
    spot: Spot,
}

/// How far the steps have come. Most groups have come nowhere, and have only methods.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Sequence {
    /// Of the first step that asks for a new method, when somebody was last in with each, by events that earlier steps select.
    methods: [i64; 4],
    /// One for each step, once the first was begun.
    stages: Option<Box<[Stage]>>,
}

/// INVARIANT: `reached` is the first event of the latest way to complete the steps up to this one: no other way begins later.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Stage {
    /// Of the last events of the step, where the way to each began. Nothing of a step that takes one event.
    starts: VecDeque<Place>,
    reached: Option<Place>,
    /// As of the sequence, for further steps that ask for a new method.
    methods: [i64; 4],
}

/// A rule is met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Met {
    pub(super) first: Place,
    /// Events known of.
    pub(super) events: usize,
    pub(super) severity: Option<Severity>,
    pub(super) finding: Option<Finding>,
}

/// How many of a distinct count are kept, where successes take some out: enough for as many to go.
fn kept(threshold: u32, success_clears: bool) -> usize {
    let most = usize::try_from(threshold).unwrap_or(usize::MAX);
    if success_clears { most.saturating_mul(2) } else { most }
}

fn reaches(count: usize, weight: impl FnOnce() -> u64, threshold: u32, is_weighed: bool) -> bool {
    // Risk lowers a threshold, at most by half as nothing weighs more than two; what the threshold asks for is always enough.
    count >= threshold as usize || (is_weighed && weight() >= u64::from(threshold).saturating_mul(100))
}

impl State {
    pub(super) fn new(kind: &Kind) -> Self {
        match kind {
            Kind::Count { .. } | Kind::Fatigue { .. } => Self::Count(Recent::default()),
            Kind::DistinctCount { of: Distinct::Actor, .. } => Self::Actors(Box::default()),
            Kind::DistinctCount { of: Distinct::Source, .. } => Self::Sources(Box::default()),
            Kind::Cluster { .. } => Self::Cluster(Box::default()),
            Kind::RepeatAfterUnlock { .. } => Self::Relock(Box::default()),
            Kind::VolumeVsBaseline { .. } => Self::Volume(Box::default()),
            Kind::ImpossibleTravel { .. } => Self::Travel(None),
            Kind::Sequence { .. } => Self::Sequence(Sequence { methods: [i64::MIN; 4], stages: None }),
        }
    }

    /// Takes an event in, and says whether the rule is met with it.
    pub(super) fn observe(&mut self, rule: &Rule, steps: &[Mask], role: Role, facts: &Facts) -> Option<Met> {
        let place = (facts.at, facts.offset);
        let after = facts.at.saturating_sub(rule.window_ms());
        let weight = if rule.weighed_by_risk { facts.weight } else { super::window::NEUTRAL };
        let met = |first: Option<Place>, events: usize| {
            Some(Met { first: first.unwrap_or(place), events, severity: None, finding: None })
        };
        match (self, &rule.kind, role) {
            (
                Self::Count(events),
                Kind::Count { threshold } | Kind::Fatigue { threshold, .. },
                Role::Counts,
            ) => {
                events.expire(after);
                events.push(place, weight, *threshold as usize);
                let (count, weighs) = (events.len(), || events.weight_within(after));
                if !reaches(count, weighs, *threshold, rule.weighed_by_risk) {
                    return None;
                }
                met(events.first_within(after), count)
            }
            (Self::Count(events), Kind::Fatigue { approved_after: Some(least), .. }, Role::Approves) => {
                let count = events.within(after);
                if count < *least as usize {
                    return None;
                }
                Some(Met {
                    first: events.first_within(after)?,
                    events: count,
                    severity: Some(Severity::Critical),
                    finding: Some(Finding::Approved),
                })
            }
            (Self::Actors(actors), Kind::DistinctCount { threshold, success_clears, .. }, role) => {
                let (hash, actor) = (facts.actor_hash, &facts.actor);
                if role == Role::Clears {
                    actors.take_out(hash, actor, facts.origin());
                    return None;
                }
                let most = kept(*threshold, *success_clears);
                actors.expire(after);
                actors.see(hash, actor, place, facts.origin(), weight, most);
                let count = actors.within(after);
                if !reaches(count, || actors.weight_within(after), *threshold, rule.weighed_by_risk) {
                    return None;
                }
                met(actors.first_within(after), count)
            }
            (Self::Sources(sources), Kind::DistinctCount { threshold, .. }, Role::Counts) => {
                let (source, hash) = facts.source?;
                sources.expire(after);
                sources.see(hash, &source, place, 0, weight, *threshold as usize);
                let count = sources.within(after);
                if !reaches(count, || sources.weight_within(after), *threshold, rule.weighed_by_risk) {
                    return None;
                }
                met(sources.first_within(after), count)
            }
            (Self::Cluster(cluster), Kind::Cluster { actors, sources, events, success_clears }, role) => {
                let (hash, actor) = (facts.actor_hash, &facts.actor);
                if role == Role::Clears {
                    cluster.actors.take_out(hash, actor, facts.origin());
                    return None;
                }
                let most = kept(*actors, *success_clears);
                cluster.actors.expire(after);
                cluster.sources.expire(after);
                cluster.events.expire(after);
                cluster.actors.see(hash, actor, place, facts.origin(), weight, most);
                cluster.events.push(place, weight, *events as usize);
                if let Some((source, hash)) = facts.source
                    && *sources > 0
                {
                    cluster.sources.see(hash, &source, place, 0, weight, *sources as usize);
                }
                let count = cluster.actors.within(after);
                let weighs = || cluster.actors.weight_within(after);
                if !reaches(count, weighs, *actors, rule.weighed_by_risk)
                    || cluster.sources.within(after) < *sources as usize
                    || cluster.events.within(after) < *events as usize
                {
                    return None;
                }
                met(cluster.actors.first_within(after), count)
            }
            (Self::Relock(relock), Kind::RepeatAfterUnlock { threshold, automatic }, _) => {
                if facts.features & type_bit(EventType::AccountUnlocked) != 0 {
                    let is_automatic = facts.code.as_ref().is_some_and(|method| automatic.contains(method));
                    relock.unlocked_at = (!is_automatic).then_some(place);
                    return None;
                }
                relock.unlocked_at.take().filter(|(at, _)| *at > after)?;
                relock.relocks.push(place, weight, *threshold as usize);
                let count = relock.relocks.within(after);
                if count < *threshold as usize {
                    return None;
                }
                met(relock.relocks.first_within(after), count)
            }
            (Self::Volume(baseline), Kind::VolumeVsBaseline { count_min, deviations, cold_start }, _) => {
                baseline.count(place, rule.window_ms());
                let level = baseline.level(facts.at, rule.window_ms(), *deviations, *cold_start);
                if level.count < *count_min as usize || level.count as f64 <= level.above {
                    return None;
                }
                // As long as nothing is known, much may be usual: it would never become so.
                if level.is_known {
                    baseline.freeze(facts.at.saturating_add(rule.quiet.num_milliseconds()));
                }
                let count = u64::try_from(level.count).unwrap_or(u64::MAX);
                let finding = Finding::Volume { count, usual: level.usual, above: level.above };
                let first = level.first.unwrap_or(place);
                Some(Met { first, events: level.count, severity: None, finding: Some(finding) })
            }
            (Self::Travel(last), Kind::ImpossibleTravel { speed_km_h, accuracy_km, distance_km_min }, _) => {
                let visit = Visit::of(facts)?;
                let before = *last;
                // What comes late is compared with where it happened, and does not become the last.
                if before.is_none_or(|before| before.at <= visit.at) {
                    *last = Some(visit);
                }
                let before = before.filter(|before| before.at > after)?;
                let radius_km = |visit: &Visit| match visit.spot.is_country {
                    true => accuracy_km.max(COUNTRY_ACCURACY_KM),
                    false => *accuracy_km,
                };
                let distance_km =
                    distance_km(&before.spot, &visit.spot) - radius_km(&before) - radius_km(&visit);
                let in_ms = visit.at.saturating_sub(before.at).saturating_abs();
                let possible_km = speed_km_h * (in_ms as f64 / 3_600_000.0);
                if distance_km < *distance_km_min || distance_km <= possible_km {
                    return None;
                }
                let finding = Finding::Travel { distance_km, in_ms };
                let first = (before.at, before.offset);
                Some(Met { first, events: 2, severity: None, finding: Some(finding) })
            }
            (Self::Sequence(sequence), Kind::Sequence { steps: said }, Role::Counts) => {
                let first = sequence.observe(said, steps, facts, after)?;
                met(Some(first), said.len())
            }
            _ => None,
        }
    }

    /// Reads something of what lies elsewhere in memory.
    pub(super) fn touch(&self) -> i64 {
        match self {
            Self::Count(events) => events.last_at(),
            Self::Actors(actors) => actors.last_at(),
            Self::Sources(sources) => sources.last_at(),
            Self::Cluster(cluster) => cluster.actors.last_at(),
            Self::Sequence(sequence) => {
                let stages = sequence.stages.iter().flatten();
                stages.map(|stage| stage.reached.map_or(0, |(at, _)| at)).fold(0, i64::wrapping_add)
            }
            Self::Relock(_) | Self::Volume(_) | Self::Travel(_) => 0,
        }
    }

    /// How far it is from being met, in thousandths; what is within the window counts, however old the group is.
    pub(super) fn progress(&self, kind: &Kind, after: i64) -> u64 {
        let share = |now: usize, needed: u32| {
            let now = u64::try_from(now).unwrap_or(u64::MAX).min(u64::from(needed));
            now.saturating_mul(1_000) / u64::from(needed.max(1))
        };
        // A flood asks this of many groups for each event: those of which there may be many are counted without a list.
        match (self, kind) {
            (Self::Count(events), Kind::Count { threshold } | Kind::Fatigue { threshold, .. }) => {
                share(events.within(after), *threshold)
            }
            (Self::Actors(actors), Kind::DistinctCount { threshold, .. }) => {
                share(actors.within(after), *threshold)
            }
            (Self::Cluster(cluster), Kind::Cluster { actors, .. }) => {
                share(cluster.actors.within(after), *actors)
            }
            (Self::Sequence(sequence), Kind::Sequence { steps }) => {
                let (now, needed) = sequence.progress(steps, after);
                (1_000.0 * now / needed.max(1.0)) as u64
            }
            _ => {
                let measures = self.measures(kind, after);
                let share = measures.iter().map(|measure| (measure.now / measure.needed.max(1.0)).min(1.0));
                let (sum, count) = share.fold((0.0, 0.0), |(sum, count), share| (sum + share, count + 1.0));
                (1_000.0 * sum / f64::max(count, 1.0)) as u64
            }
        }
    }

    /// What is counted, and how much of it is needed.
    pub(super) fn measures(&self, kind: &Kind, after: i64) -> Vec<Measure> {
        let measure =
            |what, now: usize, needed: u32| Measure { what, now: now as f64, needed: f64::from(needed) };
        match (self, kind) {
            (Self::Count(events), Kind::Count { threshold } | Kind::Fatigue { threshold, .. }) => {
                vec![measure("events", events.within(after), *threshold)]
            }
            (Self::Actors(actors), Kind::DistinctCount { threshold, .. }) => {
                vec![measure("actors", actors.within(after), *threshold)]
            }
            (Self::Sources(sources), Kind::DistinctCount { threshold, .. }) => {
                vec![measure("sources", sources.within(after), *threshold)]
            }
            (Self::Cluster(cluster), Kind::Cluster { actors, sources, events, .. }) => {
                let mut measures = vec![measure("actors", cluster.actors.within(after), *actors)];
                if *sources > 0 {
                    measures.push(measure("sources", cluster.sources.within(after), *sources));
                }
                if *events > 1 {
                    measures.push(measure("events", cluster.events.within(after), *events));
                }
                measures
            }
            (Self::Relock(relock), Kind::RepeatAfterUnlock { threshold, .. }) => {
                let unlocked = relock.unlocked_at.is_some_and(|(at, _)| at > after);
                vec![
                    measure("unlocks", usize::from(unlocked), 1),
                    measure("locks_after_unlock", relock.relocks.within(after), *threshold),
                ]
            }
            (Self::Volume(baseline), Kind::VolumeVsBaseline { count_min, deviations, cold_start }) => {
                let at = baseline.last_at().unwrap_or(after);
                let level = baseline.level(at, at.saturating_sub(after).max(0), *deviations, *cold_start);
                let needed = f64::from(*count_min).max(level.above.floor() + 1.0);
                vec![Measure { what: "events", now: level.count as f64, needed }]
            }
            (Self::Travel(last), Kind::ImpossibleTravel { .. }) => {
                vec![measure("places", usize::from(last.is_some_and(|visit| visit.at > after)), 2)]
            }
            (Self::Sequence(sequence), Kind::Sequence { steps }) => {
                let (now, needed) = sequence.progress(steps, after);
                vec![Measure { what: "steps", now, needed }]
            }
            _ => Vec::new(),
        }
    }

    /// How many values it keeps.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Count(events) => events.len(),
            Self::Actors(actors) => actors.len(),
            Self::Sources(sources) => sources.len(),
            Self::Cluster(cluster) => cluster
                .actors
                .len()
                .saturating_add(cluster.sources.len())
                .saturating_add(cluster.events.len()),
            Self::Relock(relock) => relock.relocks.len().saturating_add(1),
            Self::Volume(baseline) => baseline.len(),
            Self::Travel(_) => 1,
            Self::Sequence(sequence) => {
                let stages = sequence.stages.iter().flatten();
                stages.map(|stage| stage.starts.len().max(usize::from(stage.reached.is_some()))).sum()
            }
        }
    }

    /// Actors that it names, with their hashes.
    pub(super) fn actors(&self, after: i64) -> Option<impl Iterator<Item = (u64, &ActorId)>> {
        let actors = match self {
            Self::Actors(actors) => &**actors,
            Self::Cluster(cluster) => &cluster.actors,
            _ => return None,
        };
        Some(actors.seen_within(after).map(|seen| (seen.hash, &seen.key)))
    }

    /// Sources that it names, with their hashes.
    pub(super) fn sources(&self, after: i64) -> Option<impl Iterator<Item = (u64, &Prefix)>> {
        let sources = match self {
            Self::Sources(sources) => &**sources,
            Self::Cluster(cluster) => &cluster.sources,
            _ => return None,
        };
        Some(sources.seen_within(after).map(|seen| (seen.hash, &seen.key)))
    }
}

impl Sequence {
    fn observe(&mut self, steps: &[Step], masks: &[Mask], facts: &Facts, after: i64) -> Option<Place> {
        let method = method_of(facts.features);
        let first_new = steps.iter().position(|step| step.new_method);
        let mut met = None;
        // From the last to the first, so that no event serves two steps.
        for (at, (step, mask)) in steps.iter().zip(masks).enumerate().rev() {
            if !mask.takes(facts) {
                continue;
            }
            if step.new_method {
                let methods = match &self.stages {
                    _ if first_new == Some(at) => Some(&self.methods),
                    stages => stages.as_ref().and_then(|stages| stages.get(at)).map(|stage| &stage.methods),
                };
                let last = method.and_then(|method| methods?.get(method).copied());
                if last.is_none_or(|last| last > after) {
                    continue;
                }
            }
            let start = match at.checked_sub(1) {
                None => Some((facts.at, facts.offset)),
                Some(before) => self.stages.as_ref().and_then(|stages| stages.get(before)?.reached),
            };
            let Some(start) = start else { continue };
            let Some(stage) = self.stages(steps).get_mut(at) else { continue };
            if step.at_least <= 1 {
                stage.reached = Some(start);
            } else {
                while stage.starts.len() >= step.at_least as usize {
                    stage.starts.pop_front();
                }
                stage.starts.push_back(start);
                if stage.starts.len() < step.at_least as usize {
                    continue;
                }
                stage.reached = stage.starts.front().copied();
            }
            if at.saturating_add(1) == steps.len() {
                met = stage.reached.filter(|(at, _)| *at > after);
            }
        }
        // Whoever fails with a method does not have it: only who got in with it makes it one that was used.
        let Some(method) = method.filter(|_| is_success(facts.features)) else { return met };
        let mut is_selected = false;
        for (at, (step, mask)) in steps.iter().zip(masks).enumerate() {
            if is_selected && step.new_method {
                let methods = match first_new == Some(at) {
                    true => Some(&mut self.methods),
                    false => self.stages(steps).get_mut(at).map(|stage| &mut stage.methods),
                };
                if let Some(last) = methods.and_then(|methods| methods.get_mut(method)) {
                    *last = facts.at;
                }
            }
            is_selected |= mask.takes(facts);
        }
        met
    }

    fn stages(&mut self, steps: &[Step]) -> &mut [Stage] {
        let new = || Stage { starts: VecDeque::new(), reached: None, methods: [i64::MIN; 4] };
        self.stages.get_or_insert_with(|| steps.iter().map(|_| new()).collect())
    }

    /// Steps that are done, the part of the next included, and how many there are.
    fn progress(&self, steps: &[Step], after: i64) -> (f64, f64) {
        let stages = self.stages.as_deref().unwrap_or_default();
        let done = stages.iter().rposition(|stage| stage.reached.is_some_and(|(at, _)| at > after));
        let done = done.map_or(0, |at| at.saturating_add(1));
        let under_way =
            stages.get(done).map_or(0, |stage| stage.starts.iter().filter(|(at, _)| *at > after).count());
        let needed = steps.get(done).map_or(1, |step| step.at_least);
        let share = under_way as f64 / f64::from(needed.max(1));
        ((done as f64 + share).min(steps.len() as f64), steps.len() as f64)
    }
}

impl Visit {
    fn of(facts: &Facts) -> Option<Self> {
        Some(Self { at: facts.happened, offset: facts.offset, spot: facts.place? })
    }
}

/// On a sphere, by the haversine formula: at most half a per cent off.
fn distance_km(from: &Spot, to: &Spot) -> f64 {
    const RADIUS_KM: f64 = 6_371.0;
    let (lat1, lat2) = (from.lat.to_radians(), to.lat.to_radians());
    let (dlat, dlon) = (lat2 - lat1, (to.lon - from.lon).to_radians());
    let h = (dlat / 2.0).sin().powi(2) + lat1.cos() * lat2.cos() * (dlon / 2.0).sin().powi(2);
    2.0 * RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin()
}
