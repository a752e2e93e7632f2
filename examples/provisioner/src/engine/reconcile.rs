//! What an application has against what it should have, from a listing of all its accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audit_log::Entry;
use chrono::{DateTime, Utc};
use connector_health::connector::{Access, ListedAccount};
use connector_health::event::{Attributes, Order, Subject};
use connector_health::lane::{EventState, LaneRecord};
use connector_health::reconcile::{
    Account, Action, Intended, Listing, Reconciliation, Report, Settings, Situation, Standing,
};
use connector_health::store::OutboxStore as _;
use connector_health::{Attribute, ConnectorId, Event, PersonId, intended};
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reviews::Seen;
use super::{Engine, EngineError, capped};
use crate::connector::USER_NAME;
use crate::people::PLAIN;

/// Lanes that are read at a time.
const LANES_AT_ONCE: usize = 1_000;
/// Findings that are shown.
const FINDINGS_SHOWN_MAX: usize = 10_000;

/// What is done about what is found; nothing unless it is asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Apply {
    /// Whoever left and is active is deprovisioned again.
    DisableLeavers,
    /// Rights that nobody may have together are revoked where the rule says so.
    RevokeViolations,
}

/// The last reconciliation of each connector.
#[derive(Default)]
pub(super) struct Running(Mutex<BTreeMap<ConnectorId, Arc<Job>>>);

#[derive(Default)]
struct Job {
    intents: AtomicU64,
    accounts: AtomicU64,
    outcome: Mutex<Option<Result<Done, String>>>,
}

struct Done {
    report: Report,
    requeued: u64,
    violations: Vec<String>,
    rights_revoked: u64,
}

impl Job {
    fn outcome(&self) -> MutexGuard<'_, Option<Result<Done, String>>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<ConnectorId, Arc<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Begins to list a connector's accounts; whether nobody else was at it.
    pub(crate) async fn reconcile(
        self: &Arc<Self>,
        connector: &ConnectorId,
        apply: Option<Apply>,
    ) -> Result<bool, EngineError> {
        let job = Arc::new(Job::default());
        {
            let mut jobs = self.reconciliations.jobs();
            if jobs.get(connector).is_some_and(|job| job.outcome().is_none()) {
                return Ok(false);
            }
            jobs.insert(connector.clone(), Arc::clone(&job));
        }
        let (engine, connector) = (Arc::clone(self), connector.clone());
        tokio::spawn(async move {
            let done = engine.reconciled(&connector, apply, &job).await;
            *job.outcome() = Some(done.map_err(|error| error.to_string()));
        });
        Ok(true)
    }

    /// How far the last one is, or what it found.
    pub(crate) fn reconciliation(&self, connector: &ConnectorId) -> Option<Value> {
        let job = self.reconciliations.jobs().get(connector).map(Arc::clone)?;
        let (intents, accounts) = (job.intents.load(Ordering::Relaxed), job.accounts.load(Ordering::Relaxed));
        Some(match &*job.outcome() {
            None => json!({"state": "running", "intents": intents, "accounts": accounts}),
            Some(Err(why)) => {
                json!({"state": "failed", "intents": intents, "accounts": accounts, "message": why})
            }
            Some(Ok(Done { report, requeued, violations, rights_revoked })) => {
                let mut short = report.clone();
                short.findings.truncate(FINDINGS_SHOWN_MAX);
                json!({
                    "state": "done",
                    "intents": intents,
                    "accounts": accounts,
                    "requeued": requeued,
                    "violations": violations,
                    "rights_revoked": rights_revoked,
                    "findings_left_out": report.findings.len().saturating_sub(FINDINGS_SHOWN_MAX),
                    "report": short,
                })
            }
        })
    }

    async fn reconciled(
        self: &Arc<Self>,
        id: &ConnectorId,
        apply: Option<Apply>,
        job: &Job,
    ) -> Result<Done, EngineError> {
        let begun = Entry::new("reconciliation.started").target(id.as_str()).outcome("success");
        self.record(begun).await?;
        let intents = self.intents(id).await?;
        job.intents.store(intents.len() as u64, Ordering::Relaxed);
        let broken = |error: &dyn std::fmt::Display| EngineError::Reconcile(error.to_string());
        let mut reconciliation =
            Reconciliation::new(id.clone(), settings(), intents).map_err(|error| broken(&error))?;
        let connector = self
            .connectors
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, connector)| Arc::clone(connector));
        let Some(connector) = connector else { return Err(broken(&"there is no such connector")) };
        let mut listing = Listing::new(id.clone());
        let (concerns_duty, listed_at) = (self.duty.concerns(id), Utc::now());
        let is_reviewed = self.is_reviewed(id).await;
        let concerns = concerns_duty || is_reviewed;
        let known = if concerns { self.known_accounts(id).await? } else { BTreeMap::new() };
        let mut seen = Seen::new();
        let mut rights: BTreeMap<PersonId, BTreeSet<_>> = BTreeMap::new();
        let mut accounts = connector.accounts();
        while let Some(listed) = accounts.next().await {
            match listed {
                Ok(listed) => {
                    let person = listed.person.as_ref().or_else(|| known.get(&listed.account));
                    if let Some(person) = person.filter(|_| !listed.entitlements.is_empty()) {
                        if concerns_duty {
                            let theirs = rights.entry(person.clone()).or_default();
                            theirs.extend(listed.entitlements.iter().cloned());
                        }
                        if is_reviewed {
                            let account = (person.clone(), listed.account.clone());
                            seen.insert(account, listed.entitlements.clone());
                        }
                    }
                    let account = account(listed, self.compared.get(id));
                    if let Some(received) = listing.receive(account) {
                        reconciliation.account(received);
                    }
                    job.accounts.fetch_add(1, Ordering::Relaxed);
                }
                Err(failure) => {
                    listing.fail(failure.to_string());
                    break;
                }
            }
        }
        let report = reconciliation.finish(listing.end(None), Utc::now());
        let left = leavers(&report);
        let ended = Entry::new("reconciliation.finished")
            .target(id.as_str())
            .outcome(if report.incomplete.is_none() { "success" } else { "failure" })
            .field("counts", report.counts)
            .field("incomplete", &report.incomplete)
            .field("leavers_active", capped(&left));
        self.record(ended).await?;
        if concerns_duty && report.incomplete.is_none() {
            self.listed_for_duty(id, rights, listed_at).await?;
        }
        if is_reviewed && report.incomplete.is_none() {
            self.observe_reviews(id, &seen, listed_at).await?;
        }
        let violations = self.violations_at(id);
        let (mut requeued, mut rights_revoked) = (0_u64, 0_u64);
        if apply == Some(Apply::RevokeViolations) && report.incomplete.is_none() {
            for violation in &violations {
                rights_revoked = rights_revoked.saturating_add(self.remedy(violation).await?);
            }
        }
        let violations = violations.iter().map(ToString::to_string).collect();
        if apply == Some(Apply::DisableLeavers) && report.incomplete.is_none() {
            for person in left {
                let again =
                    Entry::new("reconciliation.deprovision").target(person.as_str()).outcome("success");
                self.record(again.field("connector", id)).await?;
                self.leavers.add(std::slice::from_ref(&person))?;
                let now = Utc::now();
                let event = Event::deprovision(id, &person).occurred_at(now).triggered_by("reconciliation");
                self.outbox.accept(event, now).await.map_err(|error| broken(&error))?;
                requeued = requeued.saturating_add(1);
            }
            self.wake.notify_one();
        }
        Ok(Done { report, requeued, violations, rights_revoked })
    }

    /// What every person of a connector should have there.
    async fn intents(&self, id: &ConnectorId) -> Result<Vec<Intended>, EngineError> {
        let store = self.outbox.store();
        let (mut intents, mut after) = (Vec::new(), None);
        loop {
            let lanes = store.lanes(id, after.as_ref(), LANES_AT_ONCE).await?;
            let Some(last) = lanes.last() else { return Ok(intents) };
            after = Some(last.lane.clone());
            for lane in lanes {
                let Subject::Person(person) = lane.lane.subject.clone() else { continue };
                let standing = match lane.intended.standing() {
                    intended::Standing::Unknown => continue,
                    intended::Standing::Active(_) => Standing::Active,
                    intended::Standing::Deprovisioned(order) => {
                        Standing::Revoked { confirmed_at: self.confirmed_at(&lane, order).await? }
                    }
                };
                intents.push(intent(person, standing, &lane, self.compared.get(id)));
            }
        }
    }

    async fn confirmed_at(
        &self,
        lane: &LaneRecord,
        order: Order,
    ) -> Result<Option<DateTime<Utc>>, EngineError> {
        let before = Order { seq: order.seq.saturating_sub(1), ..order };
        let found = self.outbox.store().history(&lane.lane, Some(before), 1).await?;
        Ok(found.into_iter().find(|event| event.order == order).and_then(|event| match event.state {
            EventState::Succeeded { confirmed_at, .. } => Some(confirmed_at),
            _ => None,
        }))
    }
}

/// Persons who left and whose account, of which there is no doubt, is active.
fn leavers(report: &Report) -> Vec<PersonId> {
    let certain = report.findings.iter().filter(|finding| {
        finding.action == Action::Disable
            && matches!(finding.situation, Situation::FalseCompletion | Situation::Drifted)
    });
    certain.filter_map(|finding| finding.persons.first().cloned()).collect()
}

/// Names are written in capitals, or not, as the application likes it.
fn settings() -> Settings {
    Settings { case_insensitive_attributes: [USER_NAME.to_owned()].into(), ..Settings::default() }
}

/// Attributes that accounts show by these names. Others say nothing about those of the person.
type Compared<'c> = Option<&'c BTreeSet<String>>;

fn intent(person: PersonId, standing: Standing, lane: &LaneRecord, compared: Compared<'_>) -> Intended {
    let (user_name, emails, attributes) = told(lane.intended.attributes(), compared);
    Intended {
        external_id: Some(person.as_str().to_owned()),
        account_id: lane.account.as_ref().map(|account| account.as_str().to_owned()),
        entitlements: lane.intended.entitlements(),
        person,
        standing,
        user_name,
        emails,
        attributes,
    }
}

fn account(listed: ListedAccount, compared: Compared<'_>) -> Account {
    let (user_name, emails, attributes) = told(listed.attributes, compared);
    Account {
        id: listed.account.as_str().to_owned(),
        external_id: listed.person.map(|person| person.as_str().to_owned()),
        user_name,
        emails,
        active: listed.access == Access::Active,
        attributes,
        entitlements: listed.entitlements,
    }
}

type Told = (Option<String>, Vec<String>, BTreeMap<String, String>);

/// User name, addresses, and all as text.
fn told(attributes: Attributes, compared: Compared<'_>) -> Told {
    let shows = |name: &str| match compared {
        Some(compared) => compared.contains(name),
        None => PLAIN.contains(&name),
    };
    let text = |value: Attribute| match value {
        Attribute::Unique(text) | Attribute::Plain(Value::String(text)) => Some(text),
        Attribute::Person(person) => Some(person.as_str().to_owned()),
        Attribute::Plain(_) => None,
    };
    let attributes: BTreeMap<String, String> = attributes
        .into_iter()
        .filter(|(name, _)| shows(name))
        .filter_map(|(name, value)| Some((name, text(value)?)))
        .collect();
    let user_name = attributes.get(USER_NAME).cloned();
    let emails = attributes.get("email").cloned().into_iter().collect();
    (user_name, emails, attributes)
}
