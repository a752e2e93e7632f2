//! Grants that wait for a person's word, or for a control.

use std::collections::{BTreeMap, BTreeSet};

use audit_log::Entry;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::outbox::AcceptError;
use connector_health::sod::{Mitigation, MitigationError, Standing, Verdict};
use connector_health::store::OutboxStore as _;
use connector_health::{Event, EventId, PersonId, Right, RiskId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Engine, EngineError, Refused, rfc3339};
use crate::people::{Happening, Kind};

/// How long an approval holds unless it says so.
const APPROVED_FOR: TimeDelta = TimeDelta::days(90);
/// How long an approval or a control holds at most: then somebody looks again.
const EXPIRES_WITHIN: TimeDelta = TimeDelta::days(366);
/// Most bytes of a reason or a control.
const REASON_BYTES_MAX: usize = 2_048;

/// A grant that would make a violation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct HeldGrant {
    pub(super) event: Event,
    pub(super) person: PersonId,
    pub(super) right: Right,
    pub(super) risks: BTreeSet<RiskId>,
    pub(super) needs: Needs,
    pub(super) since: DateTime<Utc>,
    pub(super) rejected: Option<Rejected>,
}

/// What a grant waits for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Needs {
    Decision,
    Control,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Rejected {
    pub(super) by: PersonId,
    reason: String,
    at: DateTime<Utc>,
}

impl Needs {
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Decision => "a person must decide",
            Self::Control => "a control must watch it first",
        }
    }
}

impl HeldGrant {
    pub(super) fn shown(&self) -> Value {
        json!({
            "id": self.event.id(),
            "person": self.person,
            "connector": self.right.connector,
            "entitlement": self.right.entitlement,
            "risks": self.risks,
            "needs": self.needs,
            "since": rfc3339(self.since),
            "message": self.needs.told(),
            "rejected": self.rejected,
        })
    }

    fn entry(&self, event_type: &str) -> Entry {
        Entry::new(event_type)
            .target(self.person.as_str())
            .outcome("success")
            .field("connector", &self.right.connector)
            .field("entitlement", &self.right.entitlement)
            .field("risks", &self.risks)
            .field("grant", self.event.id())
    }
}

/// Grants that a line says nothing of any more: somebody left, or was given other groups.
pub(super) fn withdrawn(
    held: &BTreeMap<String, HeldGrant>,
    happening: &Happening,
    revoked: &BTreeSet<Right>,
) -> Vec<String> {
    let is_gone = |held: &HeldGrant| match (happening.kind, &happening.person.groups) {
        (Kind::Leaver, _) => true,
        (Kind::Mover, Some(groups)) => {
            !groups.contains(&held.right.entitlement) || revoked.contains(&held.right)
        }
        _ => false,
    };
    let theirs = held.iter().filter(|(_, held)| held.person == happening.person.id && is_gone(held));
    theirs.map(|(id, _)| id.clone()).collect()
}

fn reasonable(reason: &str) -> Result<(), Refused> {
    match reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control)
    {
        true => Err(Refused::Plan(format!(
            "a reason of 1 to {REASON_BYTES_MAX} bytes, without line breaks, is needed"
        ))),
        false => Ok(()),
    }
}

impl Engine {
    fn held_grant(&self, id: &str) -> Result<HeldGrant, Refused> {
        let held = self.duty.kept().held.get(id).filter(|held| held.rejected.is_none()).cloned();
        held.ok_or(Refused::NoSuchGrant)
    }

    async fn judged(&self, held: &HeldGrant, now: DateTime<Utc>) -> Result<Verdict, Refused> {
        let holdings = self.holdings(&held.person, now).await?;
        match self.duty.rules() {
            Some(rules) => Ok(rules.would(&held.person, &holdings, &held.right, now)),
            None => Ok(Verdict::Allow(Vec::new())),
        }
    }

    /// A person says that a grant may be: what it violates is accepted until then. Durable on return.
    pub(crate) async fn approve_grant(
        &self,
        id: &str,
        by: &PersonId,
        reason: &str,
        until: Option<DateTime<Utc>>,
    ) -> Result<(), Refused> {
        reasonable(reason)?;
        let held = self.held_grant(id)?;
        let now = Utc::now();
        let expires = until.unwrap_or(now + APPROVED_FOR);
        if expires <= now {
            return Err(Refused::Plan("`until` is past".to_owned()));
        }
        if expires > now + EXPIRES_WITHIN {
            return Err(Refused::Plan(format!(
                "`until` is more than {} days away",
                EXPIRES_WITHIN.num_days()
            )));
        }
        let violations = match self.judged(&held, now).await? {
            Verdict::Allow(_) => Vec::new(),
            Verdict::Ask(violations) => violations,
            Verdict::MitigateFirst(_) => return Err(Refused::Plan(Needs::Control.told().to_owned())),
            Verdict::Deny(_) => return Err(Refused::Plan("nobody may have both".to_owned())),
        };
        if *by == held.person {
            return Err(Refused::Plan(MitigationError::OwnViolation(by.clone()).to_string()));
        }
        let accepted: Vec<Mitigation> = violations
            .into_iter()
            .filter(|violation| !matches!(violation.standing, Standing::Mitigated(_)))
            .map(|violation| Mitigation {
                risk: violation.risk,
                person: held.person.clone(),
                control: format!("approved: {reason}"),
                owner: by.clone(),
                expires,
            })
            .collect();
        let entry = held.entry("sod.approved").actor(by.as_str()).field("expires", rfc3339(expires));
        self.record(entry.field("message", reason)).await?;
        self.mitigated(accepted)?;
        self.release(&held, Some(by), now).await?;
        self.check_people(&[held.person].into()).await?;
        Ok(())
    }

    /// A person says that a grant must not be. Durable on return.
    pub(crate) async fn reject_grant(&self, id: &str, by: &PersonId, reason: &str) -> Result<(), Refused> {
        reasonable(reason)?;
        let held = self.held_grant(id)?;
        self.record(held.entry("sod.rejected").actor(by.as_str()).field("message", reason)).await?;
        let rejected = Rejected { by: by.clone(), reason: reason.to_owned(), at: Utc::now() };
        self.duty.keep(|kept| {
            if let Some(held) = kept.held.get_mut(id) {
                held.rejected = Some(rejected);
            }
        })?;
        Ok(())
    }

    /// Puts a control in place for a person's violation; grants that waited for it go on. Durable on return.
    pub(crate) async fn mitigate(&self, mitigation: Mitigation, by: &PersonId) -> Result<(), Refused> {
        reasonable(&mitigation.control)?;
        let now = Utc::now();
        if mitigation.expires <= now {
            return Err(Refused::Plan("`expires` is past".to_owned()));
        }
        if mitigation.expires > now + EXPIRES_WITHIN {
            return Err(Refused::Plan(format!(
                "`expires` is more than {} days away",
                EXPIRES_WITHIN.num_days()
            )));
        }
        if *by == mitigation.person {
            return Err(Refused::Plan(MitigationError::OwnViolation(by.clone()).to_string()));
        }
        let owner = &mitigation.owner;
        let lanes = self.outbox.store().lanes_of(owner).await.map_err(EngineError::from)?;
        if owner != by && lanes.is_empty() {
            return Err(Refused::Plan(format!("`{owner}` is nobody who is known here")));
        }
        // Tried on a copy: what is refused is not recorded as done.
        let tried = self.duty.rules().map(|rules| rules.clone().mitigate(mitigation.clone()));
        match tried {
            None => return Err(Refused::Plan("no rules of separation of duty are configured".to_owned())),
            Some(Err(error)) => return Err(Refused::Plan(error.to_string())),
            Some(Ok(())) => {}
        }
        let entry = Entry::new("sod.mitigated")
            .actor(by.as_str())
            .target(mitigation.person.as_str())
            .outcome("success")
            .field("risk", &mitigation.risk)
            .field("owner", &mitigation.owner)
            .field("expires", rfc3339(mitigation.expires))
            .field("message", &mitigation.control);
        self.record(entry).await?;
        let person = mitigation.person.clone();
        self.mitigated(vec![mitigation])?;
        self.release_held(now).await?;
        self.check_people(&[person].into()).await?;
        Ok(())
    }

    fn mitigated(&self, mitigations: Vec<Mitigation>) -> Result<(), EngineError> {
        self.duty.keep(|kept| {
            for new in &mitigations {
                kept.mitigations.retain(|old| old.risk != new.risk || old.person != new.person);
                kept.mitigations.push(new.clone());
            }
        })?;
        let Some(rules) = &self.duty.rules else { return Ok(()) };
        let mut rules = rules.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for mitigation in mitigations {
            rules.mitigate(mitigation).map_err(|error| EngineError::Review(error.to_string()))?;
        }
        Ok(())
    }

    /// Lets those grants go on that make no violation any more.
    pub(super) async fn release_held(&self, now: DateTime<Utc>) -> Result<(), EngineError> {
        let held: Vec<HeldGrant> = self.duty.kept().held.values().cloned().collect();
        for held in held.iter().filter(|held| held.rejected.is_none()) {
            let verdict = match self.judged(held, now).await {
                Ok(verdict) => verdict,
                Err(Refused::Engine(error)) => return Err(error),
                Err(_) => continue,
            };
            if let Verdict::Allow(_) = verdict {
                self.record(held.entry("sod.released")).await?;
                self.release(held, None, now).await?;
            }
        }
        Ok(())
    }

    /// Gives a grant to the outbox, which knows it where a crash has it given again.
    async fn release(
        &self,
        held: &HeldGrant,
        by: Option<&PersonId>,
        now: DateTime<Utc>,
    ) -> Result<(), EngineError> {
        // Under a name of its own: the line that asked for it may come again, and says nothing of an approval.
        let name = EventId::new(format!("{}:released", held.event.id()))
            .map_err(|error| EngineError::Review(error.to_string()))?;
        let event = held.event.clone().named(name);
        let event = match by {
            Some(by) => event.approved_by(by.as_str()),
            None => event,
        };
        match self.outbox.accept(event, now).await {
            // Another word of the same name: it was released before.
            Ok(_) | Err(AcceptError::Different(_)) => {}
            Err(AcceptError::Outbox(error)) => return Err(self.not_accepted(error)),
            Err(error) => {
                self.trouble(&format!("grant {}", held.event.id()), format!("it is not made: {error}"));
                return Ok(());
            }
        }
        self.duty.keep(|kept| drop(kept.held.remove(held.event.id().as_str())))?;
        self.wake.notify_one();
        Ok(())
    }
}
