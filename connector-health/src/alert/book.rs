//! Which alerts of one connector are open, and what is to be said about them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Alert, AlertId, AlertState, Backlog, Occasion, Priority, Remedy, ReplayTotals, Resolution};
use crate::ConnectorId;
use crate::monitor::moment::{Elapsed, Moment};
use crate::monitor::{Dimension, FailureClass, Monitor, Tier};

/// When an alert is said again, and when it is urgent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertRules {
    /// Seconds after which an open alert is said again though nothing changed. 14,400: four hours.
    pub remind_after_s: u64,
    /// Seconds for which a deprovisioning may wait. 300, as the IPSIE profile for account lifecycle has it.
    pub deprovision_within_s: u64,
    /// Whether a priority that rises is said at once; it rises when an offboarding begins to wait. Yes.
    pub tell_raised_priority: bool,
}

impl Default for AlertRules {
    fn default() -> Self {
        Self { remind_after_s: 4 * 3_600, deprovision_within_s: 300, tell_raised_priority: true }
    }
}

/// The alerts of one connector.
///
/// It is told nothing but how the [`Monitor`] is, so nothing is lost between the two by a crash: what is to be said is the difference
/// between what is and what was said. Holds at most one open alert per dimension, and one for a credential near its end.
#[derive(Clone, Debug)]
pub struct AlertBook {
    connector: ConnectorId,
    rules: AlertRules,
    state: BookState,
}

/// What was said. To be kept (it serialises), so that a restart says nothing twice and resolves what it opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookState {
    elapsed: Elapsed,
    sequence: u64,
    open: BTreeMap<FailureClass, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    last: Alert,
    said: Moment,
    replayed: ReplayTotals,
    warned_days: Option<u32>,
}

/// What is wrong now.
struct Wrong<'a> {
    dimension: Dimension,
    class: FailureClass,
    tier: Tier,
    first_failure_at: DateTime<Utc>,
    sample: Option<&'a str>,
    credential_ends_at: Option<DateTime<Utc>>,
    warned_days: Option<u32>,
}

impl Wrong<'_> {
    /// Whether an alert of this class is over because this took its place.
    fn takes_over(&self, last: &Alert) -> bool {
        self.dimension == last.dimension
            && self.class != FailureClass::CredentialExpiring
            && ![self.class, last.failure_type].contains(&FailureClass::LeaversHeld)
            && (last.failure_type != FailureClass::CredentialExpiring
                || self.class == FailureClass::CredentialExpired)
    }
}

impl BookState {
    /// Greater than any before, also of a state that was lost, as long as the clock is about right.
    fn next_sequence(&mut self, now: DateTime<Utc>) -> u64 {
        let ms = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        self.sequence = self.sequence.saturating_add(1).max(ms);
        self.sequence
    }
}

impl AlertBook {
    /// Of a connector about which nothing was said yet.
    pub fn new(connector: ConnectorId, rules: AlertRules) -> Self {
        Self { connector, rules, state: BookState::default() }
    }

    /// Goes on where [`state`](Self::state) was taken.
    pub fn restore(connector: ConnectorId, rules: AlertRules, state: BookState) -> Self {
        Self { connector, rules, state }
    }

    /// What was said, to be kept. What [`update`](Self::update) gave should be kept first: said twice is better than never.
    pub fn state(&self) -> &BookState {
        &self.state
    }

    /// The open alerts, as they were last said.
    pub fn open(&self) -> impl Iterator<Item = &Alert> {
        self.state.open.values().map(|entry| &entry.last)
    }

    /// What is to be said now. To be called after each change of the monitor, and every minute or so for reminders and priorities.
    pub fn update(&mut self, monitor: &Monitor, queue: &Backlog, now: DateTime<Utc>) -> Vec<Alert> {
        let t = self.state.elapsed.advance(now);
        let wrong = wrong(monitor, queue, now);
        let mut alerts = self.resolve(&wrong, monitor, queue, now);
        for wrong in &wrong {
            let priority = self.priority(wrong, queue, now);
            let Some(entry) = self.state.open.get(&wrong.class).cloned() else {
                alerts.push(self.open_alert(wrong, priority, monitor, queue, now, t));
                continue;
            };
            let reminded =
                i64::try_from(self.rules.remind_after_s.max(1).saturating_mul(1_000)).unwrap_or(i64::MAX);
            let occasion = if entry.last.tier != wrong.tier {
                Occasion::TierChanged
            } else if priority > entry.last.priority && self.rules.tell_raised_priority {
                Occasion::PriorityRaised
            } else if wrong.class == FailureClass::CredentialExpiring {
                // Said again as the end comes nearer, and not every few hours for a month.
                if wrong.warned_days == entry.warned_days {
                    continue;
                }
                Occasion::Reminder
            } else if t.since(entry.said) >= reminded {
                Occasion::Reminder
            } else {
                continue;
            };
            let alert = Alert {
                sequence: self.state.next_sequence(now),
                at: now,
                occasion,
                tier: wrong.tier,
                priority,
                last_success_at: monitor.last_success_at(),
                queue: *queue,
                sample: wrong.sample.map(str::to_owned),
                credential_ends_at: wrong.credential_ends_at,
                ..entry.last
            };
            let replayed = entry.replayed;
            let entry = Entry { last: alert.clone(), said: t, replayed, warned_days: wrong.warned_days };
            self.state.open.insert(wrong.class, entry);
            alerts.push(alert);
        }
        alerts
    }

    fn resolve(
        &mut self,
        wrong: &[Wrong<'_>],
        monitor: &Monitor,
        queue: &Backlog,
        now: DateTime<Utc>,
    ) -> Vec<Alert> {
        let open = std::mem::take(&mut self.state.open);
        let (still, over) =
            open.into_iter().partition(|(class, _)| wrong.iter().any(|wrong| wrong.class == *class));
        self.state.open = still;
        let state = &mut self.state;
        BTreeMap::into_values(over)
            .map(|Entry { last, replayed, .. }| {
                let lasted = now.signed_duration_since(last.first_failure_at).num_seconds();
                let superseded_by = wrong.iter().find(|wrong| wrong.takes_over(&last));
                Alert {
                    sequence: state.next_sequence(now),
                    at: now,
                    occasion: Occasion::Resolved,
                    state: AlertState::Resolved,
                    last_success_at: monitor.last_success_at(),
                    queue: *queue,
                    resolution: Some(Resolution {
                        resolved_at: now,
                        duration_s: u64::try_from(lasted).unwrap_or_default(),
                        replay: queue.replayed.since(replayed),
                        superseded_by: superseded_by.map(|wrong| wrong.class),
                    }),
                    ..last
                }
            })
            .collect()
    }

    fn open_alert(
        &mut self,
        wrong: &Wrong<'_>,
        priority: Priority,
        monitor: &Monitor,
        queue: &Backlog,
        now: DateTime<Utc>,
        t: Moment,
    ) -> Alert {
        let (dimension, class) = (wrong.dimension, wrong.class);
        let alert = Alert {
            alert_id: AlertId(format!("{}/{dimension}/{class}", self.connector)),
            sequence: self.state.next_sequence(now),
            at: now,
            occasion: Occasion::Opened,
            connector: self.connector.clone(),
            dimension,
            failure_type: class,
            tier: wrong.tier,
            state: AlertState::Open,
            priority,
            remedy: Remedy::of(class),
            first_failure_at: wrong.first_failure_at,
            last_success_at: monitor.last_success_at(),
            queue: *queue,
            sample: wrong.sample.map(str::to_owned),
            credential_ends_at: wrong.credential_ends_at,
            resolution: None,
        };
        let entry =
            Entry { last: alert.clone(), said: t, replayed: queue.replayed, warned_days: wrong.warned_days };
        self.state.open.insert(class, entry);
        alert
    }

    fn priority(&self, wrong: &Wrong<'_>, queue: &Backlog, now: DateTime<Utc>) -> Priority {
        if wrong.class == FailureClass::CredentialExpiring {
            return Priority::Notice;
        }
        if wrong.class == FailureClass::LeaversHeld {
            return Priority::High;
        }
        let leavers = queue.deprovisioning_queued > 0 || queue.deprovisioning_failed > 0;
        let late = queue.oldest_deprovision_at.is_some_and(|since| {
            u64::try_from(now.signed_duration_since(since).num_seconds())
                .is_ok_and(|age| age > self.rules.deprovision_within_s)
        });
        match (leavers, wrong.tier) {
            (true, Tier::Failed) => Priority::Urgent,
            (true, _) if late => Priority::Urgent,
            (true, _) | (false, Tier::Failed) => Priority::High,
            (false, _) => Priority::Normal,
        }
    }
}

fn wrong<'a>(monitor: &'a Monitor, queue: &Backlog, now: DateTime<Utc>) -> Vec<Wrong<'a>> {
    let mut all: Vec<Wrong<'a>> = monitor
        .dimensions()
        .filter(|status| status.tier.is_bad())
        .filter_map(|status| {
            Some(Wrong {
                dimension: status.dimension,
                class: status.class?,
                tier: status.tier,
                first_failure_at: status.first_failure_at.unwrap_or(now),
                sample: status.sample,
                credential_ends_at: monitor
                    .expiring()
                    .filter(|_| status.dimension == Dimension::Authentication),
                warned_days: None,
            })
        })
        .collect();
    let ended = all.iter().any(|wrong| wrong.class == FailureClass::CredentialExpired);
    if let Some(ends) = monitor.expiring().filter(|_| !ended) {
        all.push(Wrong {
            dimension: Dimension::Authentication,
            class: FailureClass::CredentialExpiring,
            tier: Tier::Healthy,
            first_failure_at: now,
            sample: None,
            credential_ends_at: Some(ends),
            warned_days: monitor.warned_days(),
        });
    }
    if queue.held > 0 {
        all.push(Wrong {
            dimension: FailureClass::LeaversHeld.dimension(),
            class: FailureClass::LeaversHeld,
            tier: Tier::Healthy,
            first_failure_at: now,
            sample: None,
            credential_ends_at: None,
            warned_days: None,
        });
    }
    all
}
