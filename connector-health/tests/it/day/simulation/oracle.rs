//! What must hold of a day, judged by what happened in the company and in the applications, and by nothing that the outbox or a monitor
//! thinks of it.

mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use connector_health::account::Account;
use connector_health::alert::{Alert, AlertState, Occasion};
use connector_health::connector::Access;
use connector_health::lane::EventState;
use connector_health::monitor::{FailureClass, Tier};
use connector_health::offboarding::{State, Status};
use serde_json::Value;

use super::application::Turn;
use super::drive::{Day, number};
use super::fault::{Fault, Kind};
use super::feed::{Feed, Happened, Standing, What, connector, group, person};

/// A leaver has no access so long after this is known, where nothing is wrong: three minutes of the five that the IPSIE profile
/// allows, and longer than the longest pass, in which another application keeps the outbox waiting for 30 s and one more operation.
pub(crate) const HEALTHY_S: i64 = 180;
/// After an outage: the longest wait for a probe (300 s), then as where nothing is wrong.
pub(crate) const REPLAY_S: i64 = 300 + HEALTHY_S;
/// After single refusals, which a probe does not see: the longest backoff of a leaver (5 min), then as where nothing is wrong.
pub(crate) const REPLAY_AFTER_REFUSAL_S: i64 = 300 + HEALTHY_S;
/// A failing connector is not shown healthy so long after: two cycles, each a probe after a minute and a pass that may last
/// 30 s and one more operation.
pub(crate) const DETECTION_S: i64 = 2 * (60 + 30 + 60);
/// A leaver whose attempts fail is told at the latest so long after: what a leaver may wait, and a cycle.
pub(crate) const LEAVER_DETECTION_S: i64 = 300 + 150;
/// Anything else whose attempts fail.
pub(crate) const WORK_DETECTION_S: i64 = 300 + 2 * 150;

/// What was checked.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Check {
    /// A leaver is active for longer than until an outage's end and the replay.
    LeaverActive,
    /// A leaver is active for long, and no alert is open.
    GapWithoutAlert,
    /// A leaver is active for long, and the offboarding does not say why.
    GapWithoutEvidence,
    /// A connector is shown as healthy that has been failing for longer than it takes to find out.
    FalseHealthy,
    /// An application is not as it should be in the end.
    FinalState,
    /// An offboarding record is not complete or not true.
    Record,
    /// An alert too many or too few, or without its end.
    Alert,
    /// A burst of leavers went unheld.
    Unheld,
}

/// Something that does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) check: Check,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.check, self.what)
    }
}

/// What was looked at: a check of nothing is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) leavers: usize,
    pub(crate) gaps: usize,
    pub(crate) held: usize,
    pub(crate) faults: usize,
    pub(crate) alerts: usize,
    pub(crate) records: usize,
    pub(crate) accounts: usize,
}

/// What does not hold of a day.
pub(crate) async fn judge(day: &Day) -> (Vec<Violation>, Seen) {
    let mut judge = Judge::new(day);
    judge.applications();
    judge.leavers().await;
    judge.records().await;
    judge.events().await;
    judge.health();
    judge.alerts();
    judge.held();
    (judge.found, judge.seen)
}

pub(crate) struct Judge<'a> {
    day: &'a Day,
    /// By application and person: when they could log in.
    turns: BTreeMap<(usize, usize), Vec<Turn>>,
    faults: Vec<Vec<Fault>>,
    /// By connector: when any alert was open.
    told: Vec<Vec<(DateTime<Utc>, DateTime<Utc>)>>,
    found: Vec<Violation>,
    seen: Seen,
}

/// A time in which somebody must not be able to log in.
pub(crate) struct Duty<'a> {
    pub(crate) application: usize,
    pub(crate) left: &'a Happened,
    /// When this was known.
    pub(crate) from: DateTime<Utc>,
    /// When it was known that they came back.
    pub(crate) until: DateTime<Utc>,
}

fn seconds(seconds: i64) -> TimeDelta {
    TimeDelta::seconds(seconds)
}

impl<'a> Judge<'a> {
    pub(crate) fn new(day: &'a Day) -> Self {
        let mut turns: BTreeMap<(usize, usize), Vec<Turn>> = BTreeMap::new();
        for (number, application) in day.applications.iter().enumerate() {
            for turn in application.turns.clone() {
                let who: usize = turn.person.as_str().trim_start_matches('p').parse().unwrap();
                turns.entry((number, who)).or_default().push(turn);
            }
        }
        let faults = day.applications.iter().map(|application| application.faults.clone()).collect();
        let mut told = vec![Vec::new(); day.applications.len()];
        let mut open: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
        // What waits for somebody's word is not what is broken.
        for alert in day.alerts.iter().filter(|alert| alert.failure_type != FailureClass::LeaversHeld) {
            match alert.state {
                AlertState::Open => drop(open.entry(alert.alert_id.to_string()).or_insert(alert.at)),
                AlertState::Resolved => {
                    if let Some(since) = open.remove(alert.alert_id.as_str()) {
                        told[number(&alert.connector)].push((since, alert.at));
                    }
                }
            }
        }
        Self { day, turns, faults, told, found: Vec::new(), seen: Seen::default() }
    }

    fn note(&mut self, check: Check, what: impl Into<String>) {
        self.found.push(Violation { check, what: what.into() });
    }

    /// Time since midnight.
    fn clock(&self, at: DateTime<Utc>) -> String {
        let since = at.signed_duration_since(self.day.midnight);
        format!("{:02}:{:02}:{:02}", since.num_hours(), since.num_minutes() % 60, since.num_seconds() % 60)
    }

    fn fault_at(&self, application: usize, from: DateTime<Utc>, until: DateTime<Utc>) -> String {
        let near = self.faults[application].iter().filter(|fault| fault.begins < until && from < fault.ends);
        let near = near.map(|fault| {
            format!(
                "{} {}-{}",
                fault.kind.name(),
                self.clock(fault.begins),
                self.clock(fault.ends.min(self.day.ended_at))
            )
        });
        near.collect::<Vec<_>>().join(", ")
    }

    /// When somebody was active, within these times.
    fn active(
        &self,
        application: usize,
        who: usize,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        let mut active = Vec::new();
        let mut since = None;
        for turn in self.turns.get(&(application, who)).into_iter().flatten() {
            match turn.access {
                Access::Active => since = since.or(Some(turn.at)),
                Access::Disabled => active.extend(since.take().map(|since| (since, turn.at))),
            }
        }
        active.extend(since.map(|since| (since, DateTime::<Utc>::MAX_UTC)));
        active
            .into_iter()
            .map(|(one, other)| (one.max(from), other.min(until)))
            .filter(|(one, other)| one < other)
            .collect()
    }

    /// By when a leaver must have no access.
    pub(crate) fn deadline(&self, application: usize, from: DateTime<Utc>) -> DateTime<Utc> {
        let mut deadline = from + seconds(HEALTHY_S);
        for fault in &self.faults[application] {
            let replay = match fault.kind {
                Kind::Lies | Kind::Partial => REPLAY_AFTER_REFUSAL_S,
                _ => REPLAY_S,
            };
            let over = fault.ends.checked_add_signed(seconds(replay)).unwrap_or(fault.ends);
            if fault.begins < deadline && from < over {
                deadline = deadline.max(over);
            }
        }
        deadline
    }

    /// Every time in which somebody must not have access.
    pub(crate) fn duties(&self) -> Vec<Duty<'a>> {
        let day = self.day;
        let mut by_person: BTreeMap<usize, Vec<&Happened>> = BTreeMap::new();
        for happened in &day.feed.happened {
            by_person.entry(happened.person).or_default().push(happened);
        }
        let mut duties = Vec::new();
        for left in day.feed.happened.iter().filter(|happened| happened.what == What::Left) {
            for application in day.feed.applications_of(left.person) {
                let known = |happened: &Happened| day.known.get(&(happened.number, *application)).copied();
                let back = by_person[&left.person].iter().filter(|other| {
                    other.number > left.number && matches!(other.what, What::Returned { .. })
                });
                let until = back.filter_map(|back| known(back)).min().unwrap_or(DateTime::<Utc>::MAX_UTC);
                let from = known(left).unwrap_or(day.ended_at);
                duties.push(Duty { application: *application, left, from, until });
            }
        }
        duties
    }

    async fn leavers(&mut self) {
        for duty in self.duties() {
            self.seen.leavers += 1;
            let (application, who) = (duty.application, duty.left.person);
            let (deadline, until) =
                (self.deadline(application, duty.from), duty.until.min(self.day.ended_at));
            let whom = format!(
                "{} in {}, left {}, known {}",
                person(who),
                connector(application),
                self.clock(duty.left.at),
                self.clock(duty.from)
            );
            let late = self.active(application, who, duty.from + seconds(HEALTHY_S), until);
            let Some((_, ended)) = late.last().copied() else { continue };
            let fault = self.fault_at(application, duty.from - seconds(3_600), ended);
            if ended > deadline {
                let (ended, deadline) = (self.clock(ended), self.clock(deadline));
                self.note(
                    Check::LeaverActive,
                    format!("{whom}, active until {ended}, not {deadline} ({fault})"),
                );
            }
            self.seen.gaps += 1;
            let from = duty.from + seconds(LEAVER_DETECTION_S);
            if from < ended && !self.is_told(application, from, ended) {
                let ended = self.clock(ended);
                self.note(Check::GapWithoutAlert, format!("{whom}, active until {ended} ({fault})"));
            }
            let offboarding = self.day.outbox.offboarding(&person(who), self.day.ended_at).await.unwrap();
            let id = Feed::id(duty.left.number, application);
            let of_this = offboarding.systems.iter().find(|system| {
                system.connector == connector(application)
                    && system.evidence.as_ref().is_some_and(|evidence| evidence.event_id == id.as_str())
            });
            // Who left twice has the record of the last time; the evidence of the first is that of its event.
            let record = self.day.outbox.event(&id).await.unwrap().unwrap();
            let is_shown = match (of_this, &record.state) {
                (Some(system), _) => system.gap.is_some(),
                (None, EventState::Superseded { .. }) => true,
                (None, _) => record.failure_started_at.is_some(),
            };
            let covers = matches!(record.state, EventState::Superseded { .. })
                || (record.failure_started_at.is_some_and(|since| since <= duty.from + seconds(HEALTHY_S))
                    && record.failure_ended_at.is_some_and(|until| until >= ended - seconds(HEALTHY_S)));
            if !is_shown || !covers {
                let ended = self.clock(ended);
                let period = (record.failure_started_at, record.failure_ended_at);
                let period = (period.0.map(|at| self.clock(at)), period.1.map(|at| self.clock(at)));
                self.note(
                    Check::GapWithoutEvidence,
                    format!(
                        "{whom}, active until {ended}: {period:?} {:?} ({fault})",
                        of_this.map(|system| &system.gap)
                    ),
                );
            }
        }
    }

    /// Whether some alert is open all the time.
    pub(crate) fn is_told(&self, application: usize, from: DateTime<Utc>, until: DateTime<Utc>) -> bool {
        let mut open = self.told[application].clone();
        open.sort_unstable();
        let mut at = from;
        for (since, ended) in open {
            // Alerts that take over from each other are resolved and opened in one breath.
            if since <= at + seconds(1) {
                at = at.max(ended);
            }
        }
        at >= until
    }

    /// Every application as it should be, seen from the company.
    fn applications(&mut self) {
        let standings = self.day.feed.standings();
        for (number, application) in self.day.applications.iter().enumerate() {
            let mut accounts: BTreeMap<usize, Vec<Account>> = BTreeMap::new();
            for account in &application.accounts {
                let Some(who) = &account.person else { continue };
                let who = who.as_str().trim_start_matches('p').parse().unwrap();
                accounts.entry(who).or_default().push(account.clone());
            }
            if !application.strangers_are_untouched {
                self.note(
                    Check::FinalState,
                    format!("{}: strangers' accounts were touched", connector(number)),
                );
            }
            for (who, standing) in &standings {
                let mine = accounts.remove(who).unwrap_or_default();
                self.seen.accounts += mine.len();
                let wanted = self.day.feed.applications_of(*who).contains(&number).then_some(standing);
                if let Some(difference) = self.differs(number, *who, wanted, &mine, &standings) {
                    self.note(
                        Check::FinalState,
                        format!("{} in {}: {difference}", person(*who), connector(number)),
                    );
                }
            }
            if !accounts.is_empty() {
                self.note(Check::FinalState, format!("{}: accounts of nobody", connector(number)));
            }
        }
    }

    fn differs(
        &self,
        number: usize,
        who: usize,
        wanted: Option<&Standing>,
        mine: &[Account],
        standings: &BTreeMap<usize, Standing>,
    ) -> Option<String> {
        if mine.len() > 1 {
            return Some(format!("{} accounts", mine.len()));
        }
        let account = mine.first();
        let Some(wanted) = wanted else {
            return account.map(|_| "an account that nobody asked for".to_owned());
        };
        if !wanted.is_active {
            let account = account?;
            let ends = account.access == Access::Disabled && account.entitlements.is_empty();
            return (!ends).then(|| format!("left, and has access: {account:?}"));
        }
        let Some(account) = account.filter(|account| account.access == Access::Active) else {
            return Some("should be active".to_owned());
        };
        let name = self.day.feed.name_in(number, who, &wanted.name);
        let is =
            |attribute: &str| account.attributes.get(attribute).and_then(Value::as_str).map(str::to_owned);
        if is("userName").as_ref() != Some(&name) || is("title") != wanted.title {
            return Some(format!(
                "{:?} {:?} rather than {name:?} {:?}",
                is("userName"),
                is("title"),
                wanted.title
            ));
        }
        // Whether a reference to somebody who has left since is kept is up to the application.
        let boss = wanted.manager.filter(|boss| standings.get(boss).is_some_and(|boss| !boss.has_left));
        if let Some(boss) = boss {
            let boss = self.day.applications[number]
                .accounts
                .iter()
                .find(|account| account.person == Some(person(boss)));
            if is("manager") != boss.map(|boss| boss.id.to_string()) {
                return Some("another manager".to_owned());
            }
        }
        let rights: BTreeSet<_> = wanted.rights.iter().copied().map(group).collect();
        (account.entitlements != rights).then(|| format!("{:?} rather than {rights:?}", account.entitlements))
    }

    /// Every offboarding is complete, and says when what happened.
    async fn records(&mut self) {
        let standings = self.day.feed.standings();
        for (who, standing) in standings.iter().filter(|(_, standing)| standing.has_left) {
            self.seen.records += 1;
            let offboarding = self.day.outbox.offboarding(&person(*who), self.day.ended_at).await.unwrap();
            let left = self
                .day
                .feed
                .happened
                .iter()
                .rfind(|happened| happened.person == *who && happened.what == What::Left);
            let Some(left) = left else { continue };
            let is_complete = offboarding.state == State::Complete;
            if is_complete == standing.is_active || offboarding.effective_at != Some(left.at) {
                self.note(Check::Record, format!("left {}: {offboarding}", self.clock(left.at)));
                continue;
            }
            let systems: BTreeSet<_> =
                offboarding.systems.iter().map(|system| number(&system.connector)).collect();
            if systems != self.day.feed.applications_of(*who).iter().copied().collect() {
                self.note(Check::Record, format!("not every system: {offboarding}"));
            }
            for system in &offboarding.systems {
                let application = number(&system.connector);
                match &system.status {
                    Status::Returned { .. } if standing.is_active => {}
                    Status::Confirmed { at } if !standing.is_active => {
                        let after =
                            self.active(application, *who, *at + self.day.truth_lag, self.day.ended_at);
                        let took = at.signed_duration_since(left.at).num_milliseconds();
                        if !after.is_empty() || system.time_to_revoke_ms != Some(took) {
                            let after = after.first().map(|(from, to)| (self.clock(*from), self.clock(*to)));
                            self.note(
                                Check::Record,
                                format!("active after it was confirmed {after:?}: {offboarding}"),
                            );
                        }
                    }
                    _ => self.note(Check::Record, offboarding.to_string()),
                }
            }
        }
    }

    /// Every event has one outcome, and what was confirmed of leavers was so.
    async fn events(&mut self) {
        for happened in &self.day.feed.happened {
            for application in self.day.feed.applications_of(happened.person) {
                let id = Feed::id(happened.number, *application);
                let Some(record) = self.day.outbox.event(&id).await.unwrap() else {
                    self.note(Check::FinalState, format!("{id} was forgotten"));
                    continue;
                };
                let EventState::Succeeded { confirmed_at, .. } = &record.state else {
                    if !matches!(record.state, EventState::Superseded { .. }) {
                        self.note(Check::FinalState, format!("{id} is {} in the end", record.state.name()));
                    }
                    continue;
                };
                // Work that waits for long makes nothing healthy.
                let Some(known) = self.day.known.get(&(happened.number, *application)) else { continue };
                let from = *known + seconds(WORK_DETECTION_S);
                if from < *confirmed_at {
                    let shown = self.shown_healthy(*application, from, *confirmed_at);
                    if let Some(shown) = shown {
                        let fault = self.fault_at(*application, *known, *confirmed_at);
                        let (known, confirmed, shown) =
                            (self.clock(*known), self.clock(*confirmed_at), self.clock(shown));
                        self.note(
                            Check::FalseHealthy,
                            format!("{id} ({:?}) waits at {} from {known} until {confirmed}, healthy at {shown} ({fault})", happened.what, connector(*application)),
                        );
                    }
                }
            }
        }
    }
}

impl Judge<'_> {
    pub(crate) fn faults(&self) -> &[Vec<Fault>] {
        &self.faults
    }

    /// When somebody who left could no longer log in, where they could when this was known.
    pub(crate) fn access_ended(&self, duty: &Duty<'_>) -> Option<DateTime<Utc>> {
        let until = duty.until.min(self.day.ended_at);
        self.active(duty.application, duty.left.person, duty.from, until).last().map(|(_, ended)| *ended)
    }

    /// Whether nothing was wrong around this time.
    pub(crate) fn is_well(&self, application: usize, at: DateTime<Utc>) -> bool {
        self.deadline(application, at) == at + seconds(HEALTHY_S)
    }
}
