//! All connectors of one outbox: a monitor and an alert book for each, told by the outbox what it sees.
//!
//! ```text
//!  Outbox ── attempts, cycles (Observer) ──▶ Fleet ── advance ──▶ alerts for an AlertDesk
//!    ▲                                         │
//!    └────────── what may be sent (Gate) ──────┘
//! ```
//!
//! One value is both: give the same `Arc<Fleet>` to [`Options::gate`](crate::outbox::Options::gate) and
//! [`Options::observer`](crate::outbox::Options::observer).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, AlertBook, AlertRules, Backlog, BookState};
use crate::connector::{Effect, Failure, FailureKind};
use crate::id::ConnectorId;
use crate::lane::QueueCounts;
use crate::monitor::{self, FailureClass, Monitor, Observation, Thresholds, Tier};
use crate::observe::{Admission, Attempted, Cycle, Gate, Left, Observer, Stuck};
use crate::outbox::OutboxError;

/// How often a connector without due work is probed, where nothing else is said.
pub const PROBE_EVERY: TimeDelta = TimeDelta::minutes(1);

/// The health of all connectors.
pub struct Fleet {
    thresholds: Thresholds,
    rules: AlertRules,
    probe_every: TimeDelta,
    members: Mutex<BTreeMap<ConnectorId, Member>>,
}

struct Member {
    monitor: Monitor,
    book: AlertBook,
    backlog: Backlog,
    /// When something was last sent there.
    used_at: Option<DateTime<Utc>>,
    /// Answers of the pass that runs, failed probes not counted.
    answers: u64,
    /// Since when something waits whose last attempt failed, without a moment in which nothing did.
    failing_since: Option<DateTime<Utc>>,
    /// How what was due failed last.
    last_failure: Option<(FailureClass, String)>,
}

/// What a fleet knows of its connectors, to be kept over a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FleetState(BTreeMap<ConnectorId, MemberState>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MemberState {
    monitor: monitor::State,
    book: BookState,
    backlog: Backlog,
    #[serde(default)]
    failing_since: Option<DateTime<Utc>>,
}

/// How one connector is, for people and pages.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Which.
    pub connector: ConnectorId,
    /// How it is.
    pub tier: Tier,
    /// Why, and what is missing for it to be healthy, in one sentence.
    pub explanation: String,
    /// Last time that anything was confirmed.
    pub last_success_at: Option<DateTime<Utc>>,
    /// What waits there.
    pub backlog: Backlog,
    /// Leavers that are held for somebody's approval.
    pub held: u64,
}

impl Fleet {
    /// Of these connectors, of which nothing is known yet.
    pub fn new(
        connectors: impl IntoIterator<Item = ConnectorId>,
        thresholds: Thresholds,
        rules: AlertRules,
    ) -> Self {
        Self::restore(connectors, thresholds, rules, FleetState::default())
    }

    /// Of these connectors, of which this was known. What was known of others is forgotten.
    pub fn restore(
        connectors: impl IntoIterator<Item = ConnectorId>,
        thresholds: Thresholds,
        rules: AlertRules,
        mut state: FleetState,
    ) -> Self {
        let members = connectors.into_iter().map(|connector| {
            let member = match state.0.remove(&connector) {
                Some(known) => Member {
                    monitor: Monitor::restore(thresholds.clone(), known.monitor),
                    book: AlertBook::restore(connector.clone(), rules.clone(), known.book),
                    backlog: known.backlog,
                    used_at: None,
                    answers: 0,
                    failing_since: known.failing_since,
                    last_failure: None,
                },
                None => Member {
                    monitor: Monitor::new(thresholds.clone()),
                    book: AlertBook::new(connector.clone(), rules.clone()),
                    backlog: Backlog::default(),
                    used_at: None,
                    answers: 0,
                    failing_since: None,
                    last_failure: None,
                },
            };
            (connector, member)
        });
        let members = Mutex::new(members.collect());
        Self { thresholds, rules, probe_every: PROBE_EVERY, members }
    }

    /// Probes a connector without due work so often instead of every [`PROBE_EVERY`].
    #[must_use]
    pub fn probe_every(self, every: TimeDelta) -> Self {
        Self { probe_every: every.max(TimeDelta::milliseconds(1)), ..self }
    }

    /// What it knows, to be kept.
    pub fn state(&self) -> FleetState {
        let state = |member: &Member| MemberState {
            monitor: member.monitor.state().clone(),
            book: member.book.state().clone(),
            backlog: member.backlog,
            failing_since: member.failing_since,
        };
        FleetState(self.members().iter().map(|(id, member)| (id.clone(), state(member))).collect())
    }

    /// Lets time pass, and gives what has to be told: to be called after each pass and at [`next_deadline`](Self::next_deadline).
    pub fn advance(&self, now: DateTime<Utc>) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for member in self.members().values_mut() {
            member.monitor.tick(now);
            alerts.extend(member.book.update(&member.monitor, &member.backlog, now));
        }
        alerts
    }

    /// Says something of a connector that the outbox cannot see, such as when its credential ends.
    pub fn observe(&self, connector: &ConnectorId, observation: Observation, now: DateTime<Utc>) {
        if let Some(member) = self.members().get_mut(connector) {
            member.monitor.observe(observation, now);
        }
    }

    /// When the next probe is due or something changes by time alone; not before `now`.
    pub fn next_deadline(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let far = now.checked_add_signed(self.probe_every).unwrap_or(now);
        let due = |member: &Member| {
            let probe = member.probe_due(now, self.probe_every);
            member.monitor.next_deadline().map_or(probe, |deadline| deadline.min(probe))
        };
        self.members().values().map(due).fold(far, DateTime::min).max(now)
    }

    /// How each connector is.
    pub fn health(&self, now: DateTime<Utc>) -> Vec<Health> {
        let health = |(id, member): (&ConnectorId, &Member)| Health {
            connector: id.clone(),
            tier: member.monitor.tier(),
            explanation: member.monitor.explain(now),
            last_success_at: member.monitor.last_success_at(),
            backlog: member.backlog,
            held: member.backlog.held,
        };
        self.members().iter().map(health).collect()
    }

    /// Alerts whose cause is there still.
    pub fn open_alerts(&self) -> Vec<Alert> {
        self.members().values().flat_map(|member| member.book.open().cloned().collect::<Vec<_>>()).collect()
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<ConnectorId, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("thresholds", &self.thresholds)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Member {
    fn probe_due(&self, now: DateTime<Utc>, every: TimeDelta) -> DateTime<Utc> {
        match self.monitor.gate(now) {
            monitor::Gate::Wait { until } => until,
            monitor::Gate::Probe => now,
            monitor::Gate::Work => {
                // A clock that was set back since then says nothing of when.
                let used = self.used_at.filter(|used| *used <= now);
                used.and_then(|used| used.checked_add_signed(every)).unwrap_or(now)
            }
        }
    }
}

impl Gate for Fleet {
    fn admission(&self, connector: &ConnectorId, now: DateTime<Utc>) -> Admission {
        let members = self.members();
        // Nobody looks after a connector that is not known here, so nothing of it would be seen.
        let Some(member) = members.get(connector) else { return Admission::Stop };
        match member.monitor.gate(now) {
            monitor::Gate::Wait { .. } => Admission::Stop,
            monitor::Gate::Probe => Admission::Probe,
            monitor::Gate::Work if member.probe_due(now, self.probe_every) <= now => Admission::Probe,
            monitor::Gate::Work => Admission::Open,
        }
    }
}

impl Observer for Fleet {
    fn attempted(&self, attempted: &Attempted<'_>) {
        let mut members = self.members();
        let Some(member) = members.get_mut(attempted.connector) else { return };
        member.used_at = Some(attempted.at);
        let is_probe = attempted.operation == crate::observe::PROBE;
        let observation = match (is_probe, attempted.failure) {
            // A good probe says that there is an answer. Whether the cycle was good, what was due says.
            (_, None) => Observation::confirmed(attempted.duration),
            (true, Some(failure)) => Observation::probe_failed(class(failure), failure.message()),
            (false, Some(failure)) => Observation::failed(class(failure), failure.message()),
        };
        if let Some(failure) = attempted.failure.filter(|_| !is_probe) {
            member.last_failure = Some((class(failure), failure.message().to_owned()));
        }
        let is_cycle = is_probe && attempted.failure.is_some();
        member.answers = member.answers.saturating_add(u64::from(!is_cycle));
        member.monitor.observe(observation, attempted.at);
    }

    fn cycle(&self, cycle: &Cycle<'_>) {
        let mut members = self.members();
        let Some(member) = members.get_mut(cycle.connector) else { return };
        let replayed = &mut member.backlog.replayed;
        replayed.delivered = replayed.delivered.saturating_add(cycle.delivered);
        replayed.superseded = replayed.superseded.saturating_add(cycle.superseded);
        let replayed = *replayed;
        member.backlog = Backlog { replayed, ..Backlog::from(&cycle.counts) };
        let failed = cycle.counts.provisioning_failed.saturating_add(cycle.counts.deprovisioning_failed);
        member.failing_since = member.failing_since.or(Some(cycle.ended_at)).filter(|_| failed > 0);
        if failed == 0 && cycle.failed == 0 {
            member.last_failure = None;
        }
        // A probe that failed is a cycle of its own, and was observed as one.
        if std::mem::take(&mut member.answers) > 0 {
            let within = i64::try_from(self.rules.deprovision_within_s).unwrap_or(i64::MAX);
            let is_late = |since: Option<DateTime<Utc>>| {
                since.is_some_and(|since| cycle.ended_at.signed_duration_since(since).num_seconds() > within)
            };
            let undelivered = match cycle.left_due {
                Left::Some => cycle.failed.max(1),
                // Between its attempts what fails for long is not due, and not delivered either; nor is what a person has to look at.
                Left::Nothing if is_late(member.failing_since) => failed,
                Left::Nothing if is_late(cycle.counts.oldest_deprovision) => {
                    cycle.counts.deprovisioning_failed
                }
                Left::Nothing => 0,
            };
            let ended = match &member.last_failure {
                Some((class, sample)) if undelivered > 0 => {
                    Observation::cycle_still_failing(undelivered, *class, sample)
                }
                Some(_) | None => Observation::cycle_ended(undelivered),
            };
            member.monitor.observe(ended, cycle.ended_at);
        }
    }

    fn stuck(&self, stuck: &Stuck<'_>) {
        let mut members = self.members();
        let Some(member) = members.get_mut(stuck.connector) else { return };
        let observation = match stuck.error {
            OutboxError::Contended(_) => {
                Observation::failed(FailureClass::Undelivered, "a lane is written by others all the time")
            }
            error => Observation::failed(FailureClass::Unreadable, error.to_string()),
        };
        // So that the end of the cycle is one of a cycle in which something happened.
        member.answers = member.answers.saturating_add(1);
        member.monitor.observe(observation, stuck.at);
    }

    fn held(&self, connector: &ConnectorId, leavers: u64) {
        if let Some(member) = self.members().get_mut(connector) {
            member.backlog.held = leavers;
        }
    }
}

/// Of what kind a failed delivery is, to a monitor.
fn class(failure: &Failure) -> FailureClass {
    match (failure.kind(), failure.effect()) {
        (FailureKind::Connectivity, Effect::None) => FailureClass::Unreachable,
        (FailureKind::Connectivity, Effect::Unknown) => FailureClass::UnknownOutcome,
        (FailureKind::Authentication, _) => FailureClass::CredentialRefused,
        (FailureKind::LoginPage, _) => FailureClass::LoginPage,
        (FailureKind::Authorization, _) => FailureClass::OperationRefused,
        (FailureKind::RateLimited, _) => FailureClass::RateLimited,
        (FailureKind::Server, _) => FailureClass::ServerError,
        (FailureKind::SchemaMismatch | FailureKind::Unsupported, _) => FailureClass::SchemaMismatch,
        (FailureKind::Conflict | FailureKind::Ambiguous, _) => FailureClass::Conflict,
        (FailureKind::Divergent | FailureKind::Missing, _) => FailureClass::Divergent,
    }
}

impl From<&QueueCounts> for Backlog {
    fn from(counts: &QueueCounts) -> Self {
        Self {
            provisioning_queued: counts.provisioning_queued,
            provisioning_failed: counts.provisioning_failed,
            deprovisioning_queued: counts.deprovisioning_queued,
            deprovisioning_failed: counts.deprovisioning_failed,
            held: counts.held,
            oldest_deprovision_at: counts.oldest_deprovision,
            ..Self::default()
        }
    }
}
