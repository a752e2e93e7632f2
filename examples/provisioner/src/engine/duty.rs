//! Rights that nobody may have together: looked at before a grant is taken in, and afterwards, with what applications list.

mod controls;
mod held;
mod remedy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use audit_log::Entry;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::event::{Lane, Subject};
use connector_health::lane::EventState;
use connector_health::sod::{Holding, HoldingState, Mitigation, SodRules, Verdict, Violation, export};
use connector_health::store::OutboxStore as _;
use connector_health::{ConnectorId, EntitlementId, Event, Intent, PersonId, Right, RiskId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reviews::{Form, Refused};
use super::{Engine, EngineError, rfc3339};
use crate::files;
use crate::people::Happening;
use held::HeldGrant;

/// Lanes, and events of one, that are read at a time.
const PAGE: usize = 1_000;
/// Most grants that wait for a decision. One more is refused.
const HELD_MAX: usize = 10_000;

/// How long after it did not work something is tried again.
const AGAIN_AFTER: TimeDelta = TimeDelta::seconds(60);

/// Where what applications listed is kept, beside the rest.
const LISTED: &str = "duty-listed.json";
/// Most characters of what a violation says of itself in the audit trail.
const MESSAGE_CHARS_MAX: usize = 4_000;

/// What is known of it.
pub(super) struct Duty {
    rules: Option<RwLock<SodRules>>,
    /// Rights that any rule speaks of.
    relevant: BTreeSet<Right>,
    file: PathBuf,
    kept: Mutex<Kept>,
    /// Rights that applications listed, of those that rules speak of: by the last reconciliation. They outlive a restart, too.
    listed: Mutex<BTreeMap<ConnectorId, Listing>>,
    violations: Mutex<BTreeMap<PersonId, Vec<Violation>>>,
    /// When what did not work was last tried.
    tried: Mutex<BTreeMap<String, DateTime<Utc>>>,
}

#[derive(Deserialize, Serialize)]
struct Listing {
    at: DateTime<Utc>,
    rights: BTreeMap<PersonId, BTreeSet<EntitlementId>>,
}

/// What outlives a restart.
#[derive(Clone, Default, Deserialize, Serialize)]
struct Kept {
    /// Besides those of the rules.
    mitigations: Vec<Mitigation>,
    held: BTreeMap<String, HeldGrant>,
    /// Violations that are on record in the audit trail, and not yet as over.
    violated: BTreeMap<PersonId, BTreeSet<RiskId>>,
    /// Ends of controls that were told of.
    #[serde(default)]
    ends: Vec<controls::End>,
}

/// What duty leaves of a line.
#[derive(Default)]
pub(super) struct Left {
    pub(super) events: Vec<Event>,
    /// Why grants are not made.
    pub(super) denied: Vec<String>,
    /// What grants wait for.
    pub(super) waiting: Vec<String>,
    held: Vec<HeldGrant>,
    /// Grants that waited and are not wanted any more.
    withdrawn: Vec<String>,
}

impl Left {
    fn without_grants(events: Vec<Event>, why: &EngineError) -> Self {
        let is_grant = |event: &Event| matches!(event.intent(), Intent::Grant(_));
        let (grants, events): (Vec<Event>, Vec<Event>) = events.into_iter().partition(is_grant);
        let denied = grants.iter().filter_map(|event| match event.intent() {
            Intent::Grant(right) => {
                Some(format!("{right} on {} is not granted: {why}", event.lane().connector))
            }
            _ => None,
        });
        Self { denied: denied.collect(), events, ..Self::default() }
    }
}

impl Duty {
    pub(super) fn open(file: PathBuf) -> Result<Self, EngineError> {
        let kept = files::kept(&file)?.unwrap_or_default();
        Ok(Self {
            rules: None,
            relevant: BTreeSet::new(),
            listed: Mutex::new(files::kept(&file.with_file_name(LISTED))?.unwrap_or_default()),
            file,
            kept: Mutex::new(kept),
            violations: Mutex::default(),
            tried: Mutex::default(),
        })
    }

    /// With these rules, and the controls that people put in place besides those in them.
    pub(super) fn with(mut self, rules: Option<SodRules>) -> Self {
        let Some(mut rules) = rules else { return self };
        for mitigation in self.kept().mitigations.clone() {
            if let Err(error) = rules.mitigate(mitigation) {
                crate::say(&format!("a control of separation of duty is not used: {error}"));
            }
        }
        let all = rules.functions().iter().flat_map(|function| function.all.union(&function.any));
        self.relevant = all.cloned().collect();
        self.rules = Some(RwLock::new(rules));
        self
    }

    fn rules(&self) -> Option<RwLockReadGuard<'_, SodRules>> {
        Some(self.rules.as_ref()?.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listed(&self) -> MutexGuard<'_, BTreeMap<ConnectorId, Listing>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violations(&self) -> MutexGuard<'_, BTreeMap<PersonId, Vec<Violation>>> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is kept. Durable on return; nothing has changed after an error.
    fn keep(&self, change: impl FnOnce(&mut Kept)) -> Result<(), EngineError> {
        let mut kept = self.kept();
        let mut next = kept.clone();
        change(&mut next);
        files::keep(&self.file, &next)?;
        *kept = next;
        Ok(())
    }

    /// Whether what did not work is to be tried again: not all the time.
    fn is_time(&self, what: &str, now: DateTime<Utc>) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.retain(|_, at| now.signed_duration_since(*at) < AGAIN_AFTER);
        if tried.contains_key(what) {
            return false;
        }
        tried.insert(what.to_owned(), now);
        true
    }

    /// What is kept of a reconciliation's accounts.
    pub(super) fn concerns(&self, connector: &ConnectorId) -> bool {
        self.relevant.iter().any(|right| right.connector == *connector)
    }
}

impl Engine {
    /// The events without those grants that would make a violation.
    pub(super) async fn within_duty(
        &self,
        happening: &Happening,
        events: Vec<Event>,
        now: DateTime<Utc>,
    ) -> Result<Left, EngineError> {
        let person = &happening.person.id;
        if self.duty.rules.is_none() {
            return Ok(Left { events, ..Left::default() });
        }
        let of = |event: &Event, entitlement: &EntitlementId| Right {
            connector: event.lane().connector.clone(),
            entitlement: entitlement.clone(),
        };
        let revoked: BTreeSet<Right> = events
            .iter()
            .filter_map(|event| match event.intent() {
                Intent::Revoke(entitlement) => Some(of(event, entitlement)),
                _ => None,
            })
            .collect();
        // Who is given nothing is taken out, whatever can be read of them.
        let mut intended = BTreeSet::new();
        let mut holdings = Vec::new();
        // On their way out, and there until that is confirmed.
        let mut leaving = revoked.clone();
        if events.iter().any(|event| matches!(event.intent(), Intent::Grant(_))) {
            holdings = match self.holdings(person, now).await {
                // What cannot be seen is not judged to be allowed.
                Err(error) if error.is_of_record() => return Ok(Left::without_grants(events, &error)),
                holdings => holdings?,
            };
            for record in self.outbox.lanes_of(person).await?.readable {
                let of = |entitlement| Right { connector: record.lane.connector.clone(), entitlement };
                leaving.extend(record.delivered.entitlements().into_iter().map(of));
                intended.extend(record.intended.entitlements().into_iter().map(of));
            }
            leaving.retain(|right| revoked.contains(right) || !intended.contains(right));
        }
        // One lock after the other: never both.
        let waits = self.duty.kept().held.clone();
        let Some(rules) = self.duty.rules() else { return Ok(Left { events, ..Left::default() }) };
        let mut left = Left { withdrawn: held::withdrawn(&waits, happening, &revoked), ..Left::default() };
        for event in events {
            let Intent::Grant(entitlement) = event.intent() else {
                left.events.push(event);
                continue;
            };
            let right = of(&event, entitlement);
            // What is only still there is granted anew, and looked at like anything else.
            if intended.contains(&right) {
                left.events.push(event);
                continue;
            }
            let verdict = rules.would(person, &holdings, &right, now);
            if let Verdict::Allow(_) = verdict {
                holdings.push(Holding { right, state: HoldingState::Pending, since: now });
                left.events.push(event);
                continue;
            }
            let risks: BTreeSet<RiskId> =
                verdict.violations().iter().map(|violation| violation.risk.clone()).collect();
            let named = risks.iter().map(RiskId::as_str).collect::<Vec<_>>().join(", ");
            let staying: Vec<Holding> =
                holdings.iter().filter(|holding| !leaving.contains(&holding.right)).cloned().collect();
            let verdict = rules.would(person, &staying, &right, now);
            if let Some(before) = waits.get(event.id().as_str())
                && let Some(rejected) = &before.rejected
            {
                left.denied.push(format!("{right} is not granted ({named}): {} rejected it", rejected.by));
                continue;
            }
            let needs = match &verdict {
                Verdict::Ask(_) => held::Needs::Decision,
                Verdict::MitigateFirst(_) => held::Needs::Control,
                Verdict::Allow(_) => held::Needs::Revocation,
                Verdict::Deny(_) => {
                    left.denied.push(format!("{right} is not granted ({named}): nobody may have both"));
                    continue;
                }
            };
            if waits.len().saturating_add(left.held.len()) >= HELD_MAX {
                left.denied.push(format!("{right} is not granted ({named}): {HELD_MAX} others wait"));
                continue;
            }
            left.waiting.push(format!("{right} waits ({named}): {}", needs.told()));
            // The same right is asked about once, whichever line said it last.
            let is_new = !waits
                .values()
                .any(|before| before.rejected.is_none() && before.person == *person && before.right == right);
            if is_new {
                left.held.push(HeldGrant::new(event, person.clone(), right, risks, needs, now));
            }
        }
        Ok(left)
    }

    /// What waits because of lines that were recorded. Durable on return.
    pub(super) fn hold(&self, lines: &mut [Left]) -> Result<(), EngineError> {
        if lines.iter().all(|left| left.held.is_empty() && left.withdrawn.is_empty()) {
            return Ok(());
        }
        self.duty.keep(|kept| {
            for left in lines {
                left.withdrawn.iter().for_each(|id| drop(kept.held.remove(id)));
                let held = left.held.drain(..);
                kept.held.extend(held.map(|held| (held.event.id().as_str().to_owned(), held)));
            }
        })
    }

    /// What somebody has and is about to have, of what rules speak of.
    async fn holdings(&self, person: &PersonId, now: DateTime<Utc>) -> Result<Vec<Holding>, EngineError> {
        let mut holdings: Vec<Holding> = Vec::new();
        let mut known = BTreeMap::new();
        let lanes = self.outbox.lanes_of(person).await?;
        // What cannot be seen is not judged to be allowed.
        if let Some(lane) = lanes.unreadable.first() {
            return Err(EngineError::Unreadable(lane.clone()));
        }
        for record in lanes.readable {
            let (intended, delivered) = (record.intended.entitlements(), record.delivered.entitlements());
            // One whose revocation is not confirmed is still there.
            let rights: Vec<Right> = intended
                .union(&delivered)
                .map(|entitlement| Right {
                    connector: record.lane.connector.clone(),
                    entitlement: entitlement.clone(),
                })
                .filter(|right| self.duty.relevant.contains(right))
                .collect();
            if !rights.is_empty() {
                let granted = self.granted(&record.lane).await?;
                holdings.extend(rights.into_iter().map(|right| Holding {
                    state: match delivered.contains(&right.entitlement) {
                        true => HoldingState::Current,
                        false => HoldingState::Pending,
                    },
                    since: granted.get(&right.entitlement).map_or(now, |how| how.at),
                    right,
                }));
            }
            known.insert(record.lane.connector.clone(), record.lane);
        }
        let listed: Vec<(Right, DateTime<Utc>)> = {
            let listed = self.duty.listed();
            let theirs =
                listed.iter().filter_map(|(id, listing)| Some((id, listing.at, listing.rights.get(person)?)));
            let rights = theirs.flat_map(|(id, at, rights)| {
                rights.iter().map(move |entitlement| {
                    (Right { connector: id.clone(), entitlement: entitlement.clone() }, at)
                })
            });
            rights.collect()
        };
        for (right, at) in listed {
            if holdings.iter().any(|holding| holding.right == right) {
                continue;
            }
            let is_gone = match known.get(&right.connector) {
                Some(lane) => self.taken_away(lane, &right.entitlement, at).await?,
                None => false,
            };
            if !is_gone {
                holdings.push(Holding { right, state: HoldingState::Current, since: at });
            }
        }
        Ok(holdings)
    }

    /// Whether a right was confirmed to be gone after an instant.
    async fn taken_away(
        &self,
        lane: &Lane,
        right: &EntitlementId,
        after: DateTime<Utc>,
    ) -> Result<bool, EngineError> {
        let mut last = None;
        loop {
            let events = self.outbox.store().history(lane, last, PAGE).await?;
            let Some(end) = events.last() else { return Ok(false) };
            last = Some(end.order);
            let is_gone = events.iter().any(|record| {
                let takes = match record.event.intent() {
                    Intent::Revoke(of) => of == right,
                    Intent::Deprovision => true,
                    _ => false,
                };
                takes && matches!(record.state, EventState::Succeeded { confirmed_at, .. } if confirmed_at >= after)
            });
            if is_gone {
                return Ok(true);
            }
        }
    }

    /// What an application listed: complete, of those that rules speak of.
    pub(super) async fn listed_for_duty(
        &self,
        connector: &ConnectorId,
        mut rights: BTreeMap<PersonId, BTreeSet<EntitlementId>>,
        at: DateTime<Utc>,
    ) -> Result<(), EngineError> {
        let of = |entitlement: &EntitlementId| Right {
            connector: connector.clone(),
            entitlement: entitlement.clone(),
        };
        for theirs in rights.values_mut() {
            theirs.retain(|entitlement| self.duty.relevant.contains(&of(entitlement)));
        }
        rights.retain(|_, theirs| !theirs.is_empty());
        let mut people: BTreeSet<PersonId> = rights.keys().cloned().collect();
        let before = {
            let mut listed = self.duty.listed();
            let before = listed.insert(connector.clone(), Listing { at, rights });
            files::keep(&self.duty.file.with_file_name(LISTED), &*listed)?;
            before
        };
        people.extend(before.into_iter().flat_map(|before| before.rights.into_keys()));
        self.check_people(&people).await
    }

    /// Everybody who has any right that rules speak of.
    pub(super) async fn survey_duty(&self) -> Result<(), EngineError> {
        let connectors: BTreeSet<&ConnectorId> =
            self.duty.relevant.iter().map(|right| &right.connector).collect();
        let mut people: BTreeSet<PersonId> = self.duty.kept().violated.keys().cloned().collect();
        for id in connectors {
            let (mut after, mut page) = (None, PAGE);
            loop {
                let lanes = match self.outbox.store().lanes(id, after.as_ref(), page).await {
                    // Those before it are known one by one; those after it when something is said of them.
                    Err(error) if error.is_of_record() && page > 1 => {
                        page = 1;
                        continue;
                    }
                    Err(error) if error.is_of_record() => {
                        self.unreadable(id, &error.into()).await?;
                        break;
                    }
                    lanes => lanes?,
                };
                let Some(last) = lanes.last() else { break };
                after = Some(last.lane.clone());
                for record in lanes {
                    let rights = [record.intended.entitlements(), record.delivered.entitlements()];
                    let concerns = rights.iter().flatten().any(|entitlement| {
                        let right = Right { connector: id.clone(), entitlement: entitlement.clone() };
                        self.duty.relevant.contains(&right)
                    });
                    if let (Subject::Person(person), true) = (record.lane.subject, concerns) {
                        people.insert(person);
                    }
                }
            }
        }
        self.check_people(&people).await
    }

    /// Looks again at who violates something, and at what waits: controls expire, and rights go.
    pub(super) async fn look_at_duty(&self, now: DateTime<Utc>) -> Result<(), EngineError> {
        if self.duty.rules.is_none() {
            return Ok(());
        }
        let people: BTreeSet<PersonId> = self.duty.violations().keys().cloned().collect();
        self.check_people_at(&people, now).await?;
        self.watch_controls(now).await?;
        self.release_held(now).await
    }

    /// Says who violates what. What is new, and what is over, is recorded once.
    pub(super) async fn check_people(&self, people: &BTreeSet<PersonId>) -> Result<(), EngineError> {
        self.check_people_at(people, Utc::now()).await
    }

    async fn check_people_at(
        &self,
        people: &BTreeSet<PersonId>,
        now: DateTime<Utc>,
    ) -> Result<(), EngineError> {
        if self.duty.rules.is_none() {
            return Ok(());
        }
        for person in people {
            let holdings = match self.holdings(person, now).await {
                // What was known of their violations stays.
                Err(error) if error.is_of_record() => {
                    self.unreadable(person, &error).await?;
                    continue;
                }
                holdings => holdings?,
            };
            self.readable(person);
            let Some(violations) = self.duty.rules().map(|rules| rules.check(person, &holdings, now)) else {
                return Ok(());
            };
            let before = self.duty.kept().violated.get(person).cloned().unwrap_or_default();
            let risks: BTreeSet<RiskId> = violations.iter().map(|violation| violation.risk.clone()).collect();
            for violation in violations.iter().filter(|violation| !before.contains(&violation.risk)) {
                let entry = Entry::new("sod.violated").target(person.as_str()).outcome("failure");
                let entry = entry.field("risk", &violation.risk).field("level", violation.level);
                self.record(entry.field(
                    "message",
                    violation.to_string().chars().take(MESSAGE_CHARS_MAX).collect::<String>(),
                ))
                .await?;
            }
            for risk in before.difference(&risks) {
                let entry = Entry::new("sod.resolved").target(person.as_str()).outcome("success");
                self.record(entry.field("risk", risk)).await?;
            }
            if before != risks {
                self.duty.keep(|kept| {
                    match risks.is_empty() {
                        true => kept.violated.remove(person),
                        false => kept.violated.insert(person.clone(), risks),
                    };
                })?;
            }
            let mut known = self.duty.violations();
            match violations.is_empty() {
                true => known.remove(person),
                false => known.insert(person.clone(), violations),
            };
        }
        Ok(())
    }

    /// Who violates what, and what waits for a decision.
    pub(crate) fn duty(&self) -> Value {
        let kept = self.duty.kept().clone();
        let held: Vec<Value> = kept.held.values().map(HeldGrant::shown).collect();
        let mitigations = &kept.mitigations;
        let rules = self.duty.rules();
        let shown = |violation: &Violation| {
            let remediation = rules.as_ref().map(|rules| rules.remediation(violation));
            json!({"violation": violation, "message": violation.to_string(), "remediation": remediation})
        };
        let violations: Vec<Value> = self.duty.violations().values().flatten().map(shown).collect();
        json!({"held": held, "violations": violations, "mitigations": mitigations})
    }

    /// In a few words, for the status.
    pub(super) fn duty_in_short(&self) -> Value {
        let waits = |held: &&HeldGrant| held.rejected.is_none();
        let held: Vec<Value> = self.duty.kept().held.values().filter(waits).map(HeldGrant::shown).collect();
        let is_open = |violation: &&Violation| {
            !matches!(violation.standing, connector_health::sod::Standing::Mitigated(_))
        };
        let known = self.duty.violations();
        let open: Vec<Value> = known
            .values()
            .flatten()
            .filter(is_open)
            .map(|violation| {
                json!({
                    "person": violation.person,
                    "risk": violation.risk,
                    "level": violation.level,
                    "message": violation.to_string(),
                })
            })
            .collect();
        json!({"held": held, "violations": open})
    }

    /// Violations of an application's rights, after its accounts were listed.
    pub(super) fn violations_at(&self, connector: &ConnectorId) -> Vec<Violation> {
        let known = self.duty.violations();
        let at = |violation: &&Violation| {
            violation.functions.iter().any(|hit| hit.by.keys().any(|right| right.connector == *connector))
        };
        known.values().flatten().filter(at).cloned().collect()
    }

    /// Violations for an auditor.
    pub(crate) fn duty_report(&self, form: Form) -> String {
        let known = self.duty.violations();
        let all = known.values().flatten();
        match form {
            Form::Json => {
                drop(known);
                self.duty().to_string()
            }
            Form::Csv => export::csv(all),
            Form::Html => export::html(all, Utc::now()),
        }
    }
}
