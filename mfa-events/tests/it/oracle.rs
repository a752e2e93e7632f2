//! Detection against what counts everything anew: an oracle that keeps every event and forgets nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::detect::rule::{Distinct, Grouping, Kind, Rule, Rules, Severity, Step};
use mfa_events::detect::{
    Alert, AlertState, GAP_HOURS_MAX, Group, Options, Prefix, TenantDetector, UPDATE_MS, WEEKS_ACCEPTED,
};
use mfa_events::event::{Code, Detail, FailureReason, GeoLocation, Method, RiskContext, Signal, Timestamp};
use mfa_events::risk::weight_of;
use mfa_events::store::Record;
use mfa_events::{
    AccountLocked, AccountUnlocked, Event, EventType, LoginFailure, LoginSuccess, MfaFailure, Offset,
    Outcome, RecoveryAttempted, TenantId,
};
use proptest::prelude::*;

/// An event as it was judged.
#[derive(Clone)]
struct Judged {
    at: i64,
    happened: i64,
    ingested: i64,
    offset: u64,
    event: Arc<Event>,
}

impl Judged {
    fn group(&self, by: Grouping) -> Option<Group> {
        Some(match by {
            Grouping::Tenant => Group::Tenant,
            Grouping::Source => Group::Source(Prefix::source(self.event.source_ip()?)),
            Grouping::Network => Group::Network(Prefix::network(self.event.source_ip()?)),
            Grouping::Actor => Group::Actor(self.event.actor().clone()),
        })
    }

    fn source(&self) -> Option<Prefix> {
        self.event.source_ip().map(Prefix::source)
    }

    fn actor(&self) -> String {
        self.event.actor().to_string()
    }

    fn weight(&self) -> u64 {
        self.event.risk_context().map_or(100, |risk| (weight_of(risk) * 100.0).round() as u64)
    }

    fn method(&self) -> Option<Method> {
        match self.event.detail() {
            Detail::MfaFailure { method, .. } => Some(*method),
            Detail::LoginSuccess { method } | Detail::LoginFailure { method, .. } => *method,
            _ => None,
        }
    }
}

/// What happens, in its order.
enum Happening {
    Judged(Judged),
    /// It is then by the clock of the log, and alerts are closed by it.
    Passed(i64),
}

/// The order in which events are judged: sorted anew each time.
fn judged(records: &[Record], lateness: i64) -> Vec<Happening> {
    let mut out: Vec<Happening> = Vec::new();
    let (mut waiting, mut watermark): (Vec<Judged>, i64) = (vec![], i64::MIN / 2);
    for record in records {
        let ingested = record.ingested_at.as_datetime().timestamp_millis();
        // Whatever has waited for so long by the clock of the log goes, and all that happened before it, one time after the other.
        let mut over: Vec<_> = waiting.iter().map(|waits| waits.ingested + lateness).collect();
        over.retain(|over| *over <= ingested);
        over.sort();
        for over in over {
            out.push(Happening::Passed(over - 1));
            let gone = waiting.iter().filter(|waits| waits.ingested + lateness <= over);
            watermark = gone.map(|waits| waits.at).max().unwrap_or(watermark).max(watermark);
            out.extend(waiting.extract_if(.., |waits| waits.at <= watermark).map(Happening::Judged));
        }
        out.push(Happening::Passed(ingested));
        let happened = record.event.at().as_datetime().timestamp_millis().min(ingested);
        let (offset, event) = (record.offset.as_u64(), Arc::clone(&record.event));
        if happened < watermark {
            out.push(Happening::Judged(Judged { at: watermark, happened, ingested, offset, event }));
            continue;
        }
        watermark = watermark.max(happened - lateness);
        waiting.push(Judged { at: happened, happened, ingested, offset, event });
        waiting.sort_by_key(|waits| (waits.at, waits.offset));
        out.extend(waiting.extract_if(.., |waits| waits.at <= watermark).map(Happening::Judged));
    }
    out.extend(waiting.into_iter().map(Happening::Judged));
    out
}

/// What is told of an alert.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Told {
    rule: String,
    group: Group,
    at: i64,
    state: AlertState,
    severity: Severity,
    first: u64,
}

struct Met {
    first: u64,
    events: u64,
    severity: Option<Severity>,
    freezes: bool,
}

struct Open {
    first: u64,
    met: i64,
    met_ingested: i64,
    severity: Severity,
    events: u64,
    values: BTreeSet<String>,
    names: BTreeSet<String>,
    told: u64,
    told_at: i64,
    is_news: bool,
}

/// All turns of all alerts of a rule.
fn told(rule: &Rule, history: &[Happening]) -> Vec<Told> {
    let groups: BTreeSet<_> = events(history).filter_map(|judged| judged.group(rule.group_by)).collect();
    groups.into_iter().flat_map(|group| told_of(rule, &group, history)).collect()
}

fn events(history: &[Happening]) -> impl Iterator<Item = &Judged> {
    history.iter().filter_map(|happening| match happening {
        Happening::Judged(judged) => Some(judged),
        Happening::Passed(_) => None,
    })
}

fn told_of(rule: &Rule, group: &Group, history: &[Happening]) -> Vec<Told> {
    let own: Vec<_> = events(history)
        .filter(|judged| judged.group(rule.group_by).as_ref() == Some(group))
        .cloned()
        .collect();
    let quiet = rule.quiet.num_milliseconds();
    let (mut out, mut open): (Vec<Told>, Option<Open>) = (Vec::new(), None);
    let tell = |open: &Open, state, at| Told {
        rule: rule.id.to_string(),
        group: group.clone(),
        at,
        state,
        severity: open.severity,
        first: open.first,
    };
    let mut met_at = Vec::new();
    // Events of other groups move the clock, too.
    for happening in history {
        let judged = match happening {
            Happening::Passed(time) => {
                if let Some(alert) = open.take_if(|open| open.met_ingested + quiet + LATENESS_MS <= *time) {
                    out.push(tell(&alert, AlertState::Closed, alert.met + quiet));
                }
                continue;
            }
            Happening::Judged(judged) => judged,
        };
        if let Some(alert) = open.take_if(|open| open.met + quiet <= judged.at) {
            out.push(tell(&alert, AlertState::Closed, alert.met + quiet));
        }
        let Some(index) = own.iter().position(|own| own.offset == judged.offset) else { continue };
        let so_far = &own[..=index];
        let met = met(rule, so_far, &met_at);
        let counts = counts_for_growth(rule, judged);
        if let Some(alert) = &mut open
            && counts
        {
            alert.events += 1;
            alert.values.extend(value(rule, judged));
            for name in names(judged) {
                alert.is_news |= alert.names.insert(name);
            }
        }
        match (&mut open, met) {
            (None, None) => {}
            (None, Some(met)) => {
                met_at.extend(met.freezes.then_some(judged.at));
                let mut values: BTreeSet<_> =
                    in_window(rule, so_far).iter().filter_map(|seen| value(rule, seen)).collect();
                values.extend(value(rule, judged));
                let mut known: BTreeSet<_> = kept_names(rule, so_far);
                known.extend(names(judged));
                let mut alert = Open {
                    first: met.first,
                    met: judged.at,
                    met_ingested: judged.ingested,
                    names: known,
                    told_at: judged.at,
                    is_news: false,
                    severity: met.severity.unwrap_or(rule.severity),
                    events: met.events,
                    values,
                    told: 0,
                };
                alert.told = magnitude(rule, &alert);
                out.push(tell(&alert, AlertState::Opened, judged.at));
                open = Some(alert);
            }
            (Some(_), _) if !counts => {}
            (Some(alert), met) => {
                let mut worse = false;
                if let Some(met) = met {
                    met_at.extend(met.freezes.then_some(judged.at));
                    alert.met = judged.at;
                    alert.met_ingested = alert.met_ingested.max(judged.ingested);
                    if let Some(severity) = met.severity.filter(|severity| *severity > alert.severity) {
                        alert.severity = severity;
                        worse = true;
                    }
                }
                let now = magnitude(rule, alert);
                let is_due = alert.is_news && judged.at - alert.told_at >= UPDATE_MS;
                if now >= 2 * alert.told || worse || is_due {
                    if now >= 2 * alert.told {
                        alert.told = now;
                    }
                    (alert.told_at, alert.is_news) = (judged.at, false);
                    out.push(tell(alert, AlertState::Updated, judged.at));
                }
            }
        }
    }
    out
}

fn magnitude(rule: &Rule, open: &Open) -> u64 {
    match rule.kind {
        Kind::DistinctCount { .. } | Kind::Cluster { .. } => open.values.len() as u64,
        _ => open.events,
    }
}

fn value(rule: &Rule, judged: &Judged) -> Option<String> {
    match rule.kind {
        Kind::DistinctCount { of: Distinct::Source, .. } => judged.source().map(|source| source.to_string()),
        _ => Some(judged.actor()),
    }
}

/// Whom and what an event names.
fn names(judged: &Judged) -> Vec<String> {
    let source = judged.source().map(|source| source.to_string());
    [Some(judged.actor()), source].into_iter().flatten().collect()
}

/// What a rule with lists of its own knows by name when it is met.
fn kept_names(rule: &Rule, so_far: &[Judged]) -> BTreeSet<String> {
    let mut names: BTreeSet<_> =
        in_window(rule, so_far).iter().filter_map(|judged| value(rule, judged)).collect();
    if let Kind::Cluster { sources, .. } = rule.kind {
        let source = |judged: &Judged| judged.source().map(|source| source.to_string());
        let kept = newest(latest(rule, so_far, source, false), sources);
        names.extend(kept.into_iter().filter_map(source));
    }
    names
}

/// Whether an event adds to an alert that is open.
fn counts_for_growth(rule: &Rule, judged: &Judged) -> bool {
    match &rule.kind {
        Kind::Sequence { steps } => steps.iter().any(|step| step.select.selects(&judged.event)),
        Kind::RepeatAfterUnlock { .. } => {
            matches!(judged.event.event_type(), EventType::AccountLocked | EventType::AccountUnlocked)
        }
        Kind::Fatigue { approved_after, .. } => {
            rule.select.selects(&judged.event) || (approved_after.is_some() && is_approval(judged))
        }
        Kind::DistinctCount { of: Distinct::Source, .. } => {
            rule.select.selects(&judged.event) && judged.source().is_some()
        }
        Kind::ImpossibleTravel { .. } => rule.select.selects(&judged.event) && place(judged).is_some(),
        _ => rule.select.selects(&judged.event),
    }
}

fn is_approval(judged: &Judged) -> bool {
    judged.event.event_type() == EventType::LoginSuccess
        && matches!(judged.method(), None | Some(Method::Push))
}

/// The latest selected event of each value that is within the window, without those that were taken out.
fn latest<'h>(
    rule: &Rule,
    so_far: &'h [Judged],
    key: impl Fn(&Judged) -> Option<String>,
    clears: bool,
) -> Vec<&'h Judged> {
    let after = so_far.last().unwrap().at - rule.window_ms();
    let mut values: BTreeMap<String, &Judged> = BTreeMap::new();
    for judged in so_far {
        if rule.select.selects(&judged.event) {
            key(judged).map(|value| values.insert(value, judged));
        } else if clears && judged.event.event_type() == EventType::LoginSuccess {
            let failed = key(judged).and_then(|value| values.get(&value).copied());
            if failed.is_some_and(|failed| failed.source() == judged.source()) {
                values.remove(&key(judged).unwrap());
            }
        }
    }
    values.into_values().filter(|judged| judged.at > after).collect()
}

/// Events that name the values that an alert begins with.
fn in_window<'h>(rule: &Rule, so_far: &'h [Judged]) -> Vec<&'h Judged> {
    let actor = |judged: &Judged| Some(judged.actor());
    match &rule.kind {
        Kind::DistinctCount { of: Distinct::Source, threshold, .. } => {
            newest(latest(rule, so_far, |judged| judged.source().map(|s| s.to_string()), false), *threshold)
        }
        Kind::DistinctCount { threshold, success_clears, .. } => {
            newest(latest(rule, so_far, actor, *success_clears), threshold * (1 + u32::from(*success_clears)))
        }
        Kind::Cluster { actors, success_clears, .. } => {
            newest(latest(rule, so_far, actor, *success_clears), actors * (1 + u32::from(*success_clears)))
        }
        _ => Vec::new(),
    }
}

/// As many as are kept.
fn newest(mut of: Vec<&Judged>, most: u32) -> Vec<&Judged> {
    of.sort_by_key(|judged| std::cmp::Reverse((judged.at, judged.offset)));
    of.truncate(most as usize);
    of
}

fn reaches(count: usize, weight: u64, threshold: u32, rule: &Rule) -> bool {
    count as u32 >= threshold || (rule.weighed_by_risk && weight >= 100 * u64::from(threshold))
}

fn met(rule: &Rule, so_far: &[Judged], met_at: &[i64]) -> Option<Met> {
    let last = so_far.last().unwrap();
    let after = last.at - rule.window_ms();
    let selected: Vec<_> =
        so_far.iter().filter(|judged| rule.select.selects(&judged.event) && judged.at > after).collect();
    let is_selected = rule.select.selects(&last.event);
    let first = |of: &[&Judged]| of.iter().map(|judged| (judged.at, judged.offset)).min().unwrap().1;
    let weight = |of: &[&Judged]| of.iter().map(|judged| judged.weight()).sum();
    let plain = |of: &[&Judged]| {
        Some(Met { first: first(of), events: of.len() as u64, severity: None, freezes: false })
    };
    match &rule.kind {
        Kind::Count { threshold } | Kind::Fatigue { threshold, .. } if is_selected => {
            let kept: Vec<_> = newest(selected, *threshold);
            reaches(kept.len(), weight(&kept), *threshold, rule).then(|| plain(&kept)).flatten()
        }
        Kind::Fatigue { threshold, approved_after: Some(least) } if is_approval(last) => {
            let kept = newest(selected, *threshold);
            (kept.len() as u32 >= *least).then(|| Met {
                first: first(&kept),
                events: kept.len() as u64,
                severity: Some(Severity::Critical),
                freezes: false,
            })
        }
        Kind::DistinctCount { of: Distinct::Source, threshold, .. } if is_selected => {
            last.source()?;
            let all = latest(rule, so_far, |judged| judged.source().map(|s| s.to_string()), false);
            let kept = newest(all.clone(), *threshold);
            reaches(all.len(), weight(&all), *threshold, rule).then(|| plain(&kept)).flatten()
        }
        Kind::DistinctCount { threshold, success_clears, .. } if is_selected => {
            let all = latest(rule, so_far, |judged| Some(judged.actor()), *success_clears);
            let kept = newest(all.clone(), threshold * (1 + u32::from(*success_clears)));
            reaches(all.len(), weight(&all), *threshold, rule).then(|| plain(&kept)).flatten()
        }
        Kind::Cluster { actors, sources, events, success_clears } if is_selected => {
            let all = latest(rule, so_far, |judged| Some(judged.actor()), *success_clears);
            let from: BTreeSet<_> = selected.iter().filter_map(|judged| judged.source()).collect();
            let kept = newest(all.clone(), actors * (1 + u32::from(*success_clears)));
            let is_met = reaches(all.len(), weight(&all), *actors, rule)
                && from.len() as u32 >= *sources
                && selected.len() as u32 >= *events;
            is_met.then(|| plain(&kept)).flatten()
        }
        Kind::RepeatAfterUnlock { threshold, automatic } => {
            if last.event.event_type() != EventType::AccountLocked {
                return None;
            }
            let is_relock = |at: usize| {
                let unlock = so_far[..at].iter().rev().find(|judged| {
                    matches!(judged.event.event_type(), EventType::AccountLocked | EventType::AccountUnlocked)
                });
                unlock.is_some_and(|before| match before.event.detail() {
                    Detail::AccountUnlocked { unlock_method } => {
                        let by_itself =
                            unlock_method.as_ref().is_some_and(|method| automatic.contains(method));
                        !by_itself && before.at > so_far[at].at - rule.window_ms()
                    }
                    _ => false,
                })
            };
            let locks =
                (0..so_far.len()).filter(|at| so_far[*at].event.event_type() == EventType::AccountLocked);
            let relocks: Vec<_> = locks.filter(|at| is_relock(*at)).map(|at| &so_far[at]).collect();
            if relocks.last().is_none_or(|relock| relock.offset != last.offset) {
                return None;
            }
            let kept = newest(relocks.into_iter().filter(|relock| relock.at > after).collect(), *threshold);
            (kept.len() as u32 >= *threshold).then(|| plain(&kept)).flatten()
        }
        Kind::VolumeVsBaseline { count_min, deviations, cold_start } if is_selected => {
            let (above, is_known) = above(rule, so_far, met_at, *deviations, *cold_start);
            let is_met = selected.len() as u32 >= *count_min && selected.len() as f64 > above;
            is_met.then(|| plain(&selected)).flatten().map(|met| Met { freezes: is_known, ..met })
        }
        Kind::ImpossibleTravel { speed_km_h, accuracy_km, distance_km_min } if is_selected => {
            let here = place(last)?;
            let places: Vec<_> = so_far[..so_far.len() - 1]
                .iter()
                .filter(|judged| rule.select.selects(&judged.event) && place(judged).is_some())
                .collect();
            // The one that happened last; of those at one time, the one that came last.
            let before = places.into_iter().max_by_key(|judged| judged.happened)?;
            if before.happened <= after {
                return None;
            }
            let km = degrees_km(place(before)?, here) - 2.0 * accuracy_km;
            let hours = (last.happened - before.happened).abs() as f64 / 3_600_000.0;
            (km >= *distance_km_min && km > speed_km_h * hours).then_some(Met {
                first: before.offset,
                events: 2,
                severity: None,
                freezes: false,
            })
        }
        Kind::Sequence { steps } => {
            let start = sequence(steps, so_far, after)?;
            Some(Met { first: start, events: steps.len() as u64, severity: None, freezes: false })
        }
        _ => None,
    }
}

/// The latest begin of all ways to complete the steps with the last event as the last, by trying all begins.
fn sequence(steps: &[Step], so_far: &[Judged], after: i64) -> Option<u64> {
    (0..so_far.len())
        .rev()
        .find(|begin| {
            let mut at = *begin;
            if so_far[at].at <= after {
                return false;
            }
            // Each step takes the first events that it can: no way from this begin completes earlier.
            for (number, step) in steps.iter().enumerate() {
                let mut left = step.at_least;
                let is_last = number + 1 == steps.len();
                while left > 0 {
                    if at == so_far.len() {
                        return false;
                    }
                    let is_end = at + 1 == so_far.len();
                    let taken = fits(step, number, steps, so_far, at);
                    if number == 0 && left == step.at_least && !taken {
                        return false;
                    }
                    // The last event is that of the last step, and no other.
                    let closes = is_last && left == 1;
                    if taken && (!closes || is_end) && (closes || !is_end) {
                        left -= 1;
                    }
                    at += 1;
                }
            }
            at == so_far.len()
        })
        .map(|begin| so_far[begin].offset)
}

fn fits(step: &Step, number: usize, steps: &[Step], so_far: &[Judged], at: usize) -> bool {
    let judged = &so_far[at];
    if !step.select.selects(&judged.event) {
        return false;
    }
    if !step.new_method {
        return true;
    }
    let Some(method) = judged.method() else { return false };
    let after = judged.at - WINDOW_OF_SEQUENCES_MS;
    !so_far[..at].iter().any(|earlier| {
        earlier.at > after
            && earlier.method() == Some(method)
            && earlier.event.outcome() == Outcome::Success
            && steps[..number].iter().any(|step| step.select.selects(&earlier.event))
    })
}

const WINDOW_OF_SEQUENCES_MS: i64 = 60_000;

const LATENESS_MS: i64 = 5_000;

fn place(judged: &Judged) -> Option<(f64, f64)> {
    let geo = judged.event.geo_location()?;
    geo.lat.zip(geo.lon)
}

/// By the law of cosines, which the detector does not use.
fn degrees_km((lat1, lon1): (f64, f64), (lat2, lon2): (f64, f64)) -> f64 {
    let (a, b, d) = (lat1.to_radians(), lat2.to_radians(), (lon2 - lon1).to_radians());
    6_371.0 * (a.sin() * b.sin() + a.cos() * b.cos() * d.cos()).clamp(-1.0, 1.0).acos()
}

const HOUR: i64 = 3_600_000;

fn above(rule: &Rule, so_far: &[Judged], met_at: &[i64], deviations: f64, cold_start: u32) -> (f64, bool) {
    let selected: Vec<_> = so_far.iter().filter(|judged| rule.select.selects(&judged.event)).collect();
    let (begin, now) = (selected[0].at, so_far.last().unwrap().at);
    let quiet = rule.quiet.num_milliseconds();
    // Of three days in which nothing was heard of the tenant nothing is learnt: here, in which no recovery was.
    let heard: BTreeSet<_> = so_far.iter().map(|judged| judged.at.div_euclid(HOUR)).collect();
    let is_known = |hour: i64| {
        let (before, after) = (heard.range(..=hour).next_back(), heard.range(hour..).next());
        before.zip(after).is_some_and(|(before, after)| after - before <= GAP_HOURS_MAX)
    };
    let usual = |hour: i64| {
        let mut samples: Vec<(f64, bool)> = Vec::new();
        for week in (1..=200).rev() {
            let end = (hour - 168 * week + 1) * HOUR;
            let start = end - rule.window_ms();
            let is_attack = met_at.iter().any(|met| *met < end && met + quiet > start);
            let is_heard = (start / HOUR..end / HOUR).all(is_known);
            if start < begin || !is_heard {
                continue;
            }
            let count = selected.iter().filter(|judged| judged.at > start && judged.at < end).count();
            samples.push((count as f64, is_attack));
            // An attack that is there week after week is what is usual.
            if samples.iter().rev().take_while(|(_, is_attack)| *is_attack).count() >= WEEKS_ACCEPTED {
                samples.retain(|(_, is_attack)| *is_attack);
                samples.iter_mut().for_each(|(_, is_attack)| *is_attack = false);
            }
        }
        samples.retain(|(_, is_attack)| !is_attack);
        let samples: Vec<f64> = samples.into_iter().map(|(count, _)| count).collect();
        let samples: Vec<_> = samples.iter().rev().take(8).copied().collect();
        if samples.len() < 3 {
            return None;
        }
        let centre = median(samples.clone());
        let spread = 1.4826 * median(samples.iter().map(|sample| (sample - centre).abs()).collect());
        Some(centre + deviations * spread.max(centre.sqrt()).max(1.0))
    };
    let hour = now.div_euclid(HOUR);
    match (usual(hour), usual(hour - 1)) {
        (Some(one), Some(other)) => (one.max(other), true),
        (one, other) => (one.or(other).unwrap_or(0.0).max(f64::from(cold_start) - 1.0), false),
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    (of[(of.len() - 1) / 2] + of[of.len() / 2]) / 2.0
}

pub(crate) const RULES: &str = r#"
version = 1
[[rule]]
id = "count"
name = "n"
severity = "low"
kind = "count"
threshold = 3
window = "20s"
quiet = "31s"
group_by = "network"
select = { event_type = ["login.failure", "mfa.failure"] }

[[rule]]
id = "actors"
name = "n"
severity = "low"
kind = "distinct-count"
of = "actor"
threshold = 3
window = "20s"
group_by = "source"
select = { event_type = ["login.failure", "mfa.failure"] }

[[rule]]
id = "actors-cleared"
name = "n"
severity = "low"
kind = "distinct-count"
of = "actor"
threshold = 4
window = "1m"
group_by = "tenant"
success_clears = true
weighed_by_risk = false
select = { event_type = ["login.failure", "mfa.failure"] }

[[rule]]
id = "sources"
name = "n"
severity = "low"
kind = "distinct-count"
of = "source"
threshold = 3
window = "15s"
group_by = "tenant"
select = { event_type = "mfa.failure" }

[[rule]]
id = "cluster"
name = "n"
severity = "low"
kind = "cluster"
actors = 3
sources = 2
events = 5
window = "30s"
group_by = "network"
success_clears = true
select = { event_type = ["login.failure", "mfa.failure"] }

[[rule]]
id = "relock"
name = "n"
severity = "low"
kind = "repeat-after-unlock"
threshold = 2
automatic = ["expiry"]
window = "2m"
group_by = "actor"

[[rule]]
id = "fatigue"
name = "n"
severity = "low"
kind = "fatigue"
threshold = 3
approved_after = 2
window = "40s"
group_by = "actor"
select = { event_type = "mfa.failure", failure_reason = ["push_denied"] }

[[rule]]
id = "travel"
name = "n"
severity = "low"
kind = "impossible-travel"
speed_km_h = 900.0
accuracy_km = 50.0
distance_km_min = 100.0
window = "1m"
group_by = "actor"
select = { event_type = "login.success" }

[[rule]]
id = "sequence"
name = "n"
severity = "low"
kind = "sequence"
window = "60s"
group_by = "actor"
steps = [
    { select = { event_type = ["login.failure", "mfa.failure"] }, at_least = 2 },
    { select = { event_type = "login.success" } },
    { select = { event_type = "login.success" }, new_method = true },
]

[[rule]]
id = "sequence-of-many"
name = "n"
severity = "low"
kind = "sequence"
window = "60s"
group_by = "source"
steps = [
    { select = { event_type = "login.failure" }, at_least = 2 },
    { select = { event_type = ["login.failure", "login.success"] }, at_least = 2 },
    { select = { event_type = "mfa.failure" } },
]
"#;

/// Thresholds above which values are looked for by an index.
const MANY: &str = r#"
version = 1
[[rule]]
id = "many"
name = "n"
severity = "low"
kind = "distinct-count"
of = "actor"
threshold = 30
window = "20s"
group_by = "tenant"
success_clears = true
select = { event_type = ["login.failure", "mfa.failure"] }

[[rule]]
id = "many-and-sources"
name = "n"
severity = "low"
kind = "cluster"
actors = 27
sources = 4
events = 40
window = "15s"
group_by = "network"
success_clears = true
select = { event_type = ["login.failure", "mfa.failure"] }
"#;

const VOLUME: &str = r#"
version = 1
[[rule]]
id = "volume"
name = "n"
severity = "low"
kind = "volume-vs-baseline"
count_min = 3
deviations = 2.0
cold_start = 6
window = "2h"
quiet = "5h"
group_by = "tenant"
select = { event_type = "recovery.attempted" }
"#;

pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn event(what: u8, actor: u8, source: u8, method: u8, risk: u8, at: DateTime<Utc>) -> Event {
    let actor = format!("actor-{actor}");
    let methods = [Method::Totp, Method::Push, Method::HardwareToken, Method::Fido2];
    let method = methods[usize::from(method % 4)];
    let ips = [
        "203.0.113.1",
        "203.0.113.2",
        "198.51.100.1",
        "2001:db8:0:1::1",
        "2001:db8:0:1::2",
        "2001:db8:0:2::1",
    ];
    let ip: IpAddr = ips[usize::from(source) % ips.len()].parse().unwrap();
    let places = [(52.5, 13.4), (48.9, 2.4), (40.7, -74.0)];
    let (lat, lon) = places[usize::from(source) % places.len()];
    let geo = GeoLocation { lat: Some(lat), lon: Some(lon), ..GeoLocation::default() };
    let weight = [None, Some(-3.0), Some(0.7), Some(5.0)][usize::from(risk % 4)];
    let risk = RiskContext {
        geo: weight.map(|weight| Signal { evaluation: Code::new("x").unwrap(), weight: Some(weight) }),
        ..RiskContext::default()
    };
    macro_rules! made {
        ($draft:expr) => {{
            let draft = $draft.at(at).geo_location(geo).risk_context(risk);
            if source == 9 { draft.try_into().unwrap() } else { draft.from(ip).try_into().unwrap() }
        }};
    }
    match what {
        0..4 => made!(LoginFailure::new(&actor)),
        4..6 => made!(MfaFailure::new(&actor, method, FailureReason::PushDenied)),
        6 => made!(MfaFailure::new(&actor, method, FailureReason::WrongCode)),
        7 => made!(LoginSuccess::new(&actor)),
        8..10 => made!(LoginSuccess::new(&actor).with(method)),
        10..12 => made!(AccountLocked::new(&actor)),
        12 => made!(AccountUnlocked::new(&actor).by("expiry")),
        13 => made!(AccountUnlocked::new(&actor)),
        _ => made!(RecoveryAttempted::new(&actor)),
    }
}

pub(crate) fn record(offset: u64, event: Event, ingested_at: DateTime<Utc>) -> Record {
    let ingested_at = Timestamp::new(ingested_at).unwrap();
    Record { offset: Offset::new(offset), ingested_at, event: Arc::new(event) }
}

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn of_alerts(alerts: &[Alert]) -> Vec<Told> {
    let told = alerts.iter().map(|alert| Told {
        rule: alert.rule.to_string(),
        group: alert.group.clone(),
        at: alert.at.as_datetime().timestamp_millis(),
        state: alert.state,
        severity: alert.severity,
        first: alert.first_offset.as_u64(),
    });
    sorted(told.collect())
}

fn sorted(mut told: Vec<Told>) -> Vec<Told> {
    told.sort_by_key(|told| (told.rule.clone(), told.group.clone(), told.at, told.state));
    told
}

#[test]
fn a_method_that_was_used_before_the_failures_is_not_new() {
    let drawn = [
        (8, 4, 0, 0, 0, 0, 9),
        (0, 4, 0, 0, 0, 3_000, 0),
        (0, 4, 0, 0, 0, 2_117, 3),
        (0, 0, 0, 0, 0, 3_883, 0),
        (7, 4, 0, 0, 0, 0, 5),
        (8, 4, 0, 0, 0, 0, 0),
    ];
    check(&Rules::from_toml(RULES).unwrap(), &history(&drawn, 1), 0).unwrap();
}

#[test]
fn such_histories_meet_every_rule() {
    let rules = Rules::from_toml(RULES).unwrap();
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    let mut state = 1_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..100 {
        let drawn: Vec<Drawn> = (0..100)
            .map(|_| {
                let mut byte = |below| draw(below) as u8;
                let (what, actor, source, method, risk) = (byte(14), byte(6), byte(10), byte(4), byte(4));
                (what, actor, source, method, risk, draw(6_000) as i64, draw(16) as i64 - 2)
            })
            .collect();
        let history = judged(&history(&drawn, 1), LATENESS_MS);
        for told in rules.iter().flat_map(|rule| told(rule, &history)) {
            *met.entry(told.rule).or_default() += 1;
        }
    }
    for rule in &rules {
        assert!(met.get(rule.id.as_str()).is_some_and(|count| *count >= 10), "{} {met:?}", rule.id);
    }
}

pub(crate) type Drawn = (u8, u8, u8, u8, u8, i64, i64);

/// Events that come in this order: gaps between them, and how much earlier than it came each happened.
pub(crate) fn history(drawn: &[Drawn], scale: i64) -> Vec<Record> {
    let mut now = start();
    let records =
        drawn.iter().enumerate().map(|(number, (what, actor, source, method, risk, gap, delay))| {
            now += TimeDelta::milliseconds(gap * scale);
            // A few are from the future.
            let at = now - TimeDelta::milliseconds(delay * 1_000);
            record(number as u64 + 1, event(*what, *actor, *source, *method, *risk, at), now)
        });
    records.collect()
}

fn check(rules: &Rules, records: &[Record], cut: usize) -> Result<(), TestCaseError> {
    let lateness = TimeDelta::milliseconds(LATENESS_MS);
    let options = Options { lateness, ..Options::default() };
    let mut detector = TenantDetector::new(acme(), rules, options.clone());
    let mut alerts = Vec::new();
    for (number, record) in records.iter().enumerate() {
        if number == cut {
            // A process that is killed here goes on from what it wrote down, and is given some events again.
            let written = serde_json::to_string(&detector.checkpoint()).unwrap();
            let options = Options { hash_key: [7, 7], ..options.clone() };
            detector =
                TenantDetector::restore(serde_json::from_str(&written).unwrap(), rules, options).unwrap();
            records[..cut].iter().for_each(|record| detector.observe(record, &mut alerts));
        }
        detector.observe(record, &mut alerts);
    }
    detector.finish(&mut alerts);
    let history = judged(records, lateness.num_milliseconds());
    let expected = sorted(rules.iter().flat_map(|rule| told(rule, &history)).collect());
    let found = of_alerts(&alerts);
    let missed: Vec<_> = expected.iter().filter(|told| !found.contains(told)).collect();
    let made_up: Vec<_> = found.iter().filter(|told| !expected.contains(told)).collect();
    prop_assert!(found == expected, "missed {missed:#?}, made up {made_up:#?}");
    let opened: BTreeSet<_> = alerts.iter().map(|alert| alert.id).collect();
    prop_assert_eq!(opened.len() as u64, detector.counters().opened_total);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("ORACLE_CASES").map_or(300, |cases| cases.parse().unwrap()), ..ProptestConfig::default() })]

    #[test]
    fn detection_finds_what_an_oracle_finds_that_forgets_nothing(
        drawn in prop::collection::vec((0..14_u8, 0..6_u8, 0..10_u8, 0..4_u8, 0..4_u8, 0..6_000_i64, -2..14_i64), 1..120),
        cut in 0..120_usize,
    ) {
        check(&Rules::from_toml(RULES).unwrap(), &history(&drawn, 1), cut)?;
    }

    #[test]
    fn many_values_are_counted_as_an_oracle_counts_them(
        drawn in prop::collection::vec((0..9_u8, 0..90_u8, 0..10_u8, 0..4_u8, 0..4_u8, 0..400_i64, -1..7_i64), 100..300),
        cut in 0..300_usize,
    ) {
        check(&Rules::from_toml(MANY).unwrap(), &history(&drawn, 1), cut)?;
    }

    #[test]
    fn what_is_usual_is_what_an_oracle_finds_usual(
        drawn in prop::collection::vec((14..15_u8, 0..6_u8, 0..10_u8, 0..4_u8, 0..4_u8, 0..100_i64, 0..4_i64), 1..260),
        cut in 0..260_usize,
    ) {
        // Most come close together, some after many hours, and a few after days.
        let drawn: Vec<Drawn> = drawn
            .into_iter()
            .map(|(what, actor, source, method, risk, gap, delay)| {
                let gap = match gap {
                    0..60 => gap * 20,
                    60..97 => gap * 900,
                    _ => gap * 4_000,
                };
                (what, actor, source, method, risk, gap, delay)
            })
            .collect();
        check(&Rules::from_toml(VOLUME).unwrap(), &history(&drawn, 1_000), cut)?;
    }
}
