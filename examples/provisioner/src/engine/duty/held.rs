//! Grants that wait for a person's word, or for a control.

use std::collections::{BTreeMap, BTreeSet};

use audit_log::Entry;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::outbox::AcceptError;
use connector_health::sod::{Mitigation, MitigationError, Standing, Verdict};
use connector_health::store::OutboxStore as _;
use connector_health::{Event, EventId, PersonId, Right, RiskId};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Engine, EngineError, Refused, rfc3339};
use crate::people::{Happening, Kind};

/// How long an approval holds unless it says so.
const APPROVED_FOR: TimeDelta = TimeDelta::days(90);
/// How long an approval or a control holds at most: then somebody looks again.
const EXPIRES_WITHIN: TimeDelta = TimeDelta::days(366);
/// Most versions of what a grant would violate that are known beside the last.
const EARLIER_MAX: usize = 16;
/// Most bytes of a reason or a control.
const REASON_BYTES_MAX: usize = 2_048;

/// In the audit trail: the outbox did not take a grant that nothing keeps any more.
const NOT_RELEASED: &str = "sod.not_released";

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
    /// What it would have violated when it was shown earlier, the newest last.
    #[serde(default)]
    earlier: Vec<BTreeSet<RiskId>>,
    /// It is on record that nothing keeps it any more.
    #[serde(default)]
    is_released: bool,
    /// Why the outbox did not take it when it was released.
    #[serde(default)]
    refused: Option<String>,
}

/// What a grant waits for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Needs {
    Decision,
    Control,
    Revocation,
}

/// What became of a grant that nothing keeps any more.
enum Released {
    Taken,
    NotTaken(String),
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
            Self::Revocation => "what it replaces must be confirmed to be gone first",
        }
    }
}

impl HeldGrant {
    pub(super) fn new(
        event: Event,
        person: PersonId,
        right: Right,
        risks: BTreeSet<RiskId>,
        needs: Needs,
        since: DateTime<Utc>,
    ) -> Self {
        let (earlier, is_released, refused, rejected) = (Vec::new(), false, None, None);
        Self { event, person, right, risks, needs, since, rejected, earlier, is_released, refused }
    }

    /// The hash of what it would violate: SHA-256 over a JSON array of `provisioner sod grant 1`, the grant, whose it is, the right and the
    /// risks. An approval names it.
    fn snapshot(&self, risks: &BTreeSet<RiskId>) -> String {
        let said = json!(["provisioner sod grant 1", self.event.id(), self.person, self.right, risks]);
        HEXLOWER.encode(&Sha256::digest(said.to_string().as_bytes()))
    }

    /// What was shown under this hash.
    fn shown_as(&self, snapshot: &str) -> Option<&BTreeSet<RiskId>> {
        let all = std::iter::once(&self.risks).chain(self.earlier.iter().rev());
        all.into_iter().find(|risks| self.snapshot(risks) == snapshot)
    }

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
            "snapshot": self.snapshot(&self.risks),
            "earlier": self.earlier.iter().map(|risks| self.snapshot(risks)).collect::<Vec<_>>(),
            "refused": self.refused,
            "rejected": self.rejected,
        })
    }

    fn entry(&self, event_type: &str) -> Entry {
        let outcome = if event_type == NOT_RELEASED { "failure" } else { "success" };
        Entry::new(event_type)
            .target(self.person.as_str())
            .outcome(outcome)
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

    /// A person says that a grant may be: what it violates, as it was shown under that hash, is accepted until then. Durable on return.
    pub(crate) async fn approve_grant(
        &self,
        id: &str,
        by: &PersonId,
        snapshot: &str,
        reason: &str,
        until: Option<DateTime<Utc>>,
    ) -> Result<(), Refused> {
        reasonable(reason)?;
        let person = self.held_grant(id)?.person;
        let _turn = self.turns.of([&person]).await;
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
        let Some(shown) = held.shown_as(snapshot) else {
            return Err(Refused::Plan("`snapshot` is not of this grant: look at it again".to_owned()));
        };
        let verdict = self.judged(&held, now).await?;
        let risks = unwatched(&verdict);
        let new: Vec<&str> = risks.difference(shown).map(RiskId::as_str).collect();
        if !new.is_empty() {
            self.show_again(&held, &verdict)?;
            let new = new.join(", ");
            return Err(Refused::Plan(format!(
                "since that was shown, it would violate {new}, too: look at it again"
            )));
        }
        let violations = match verdict {
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
        self.record(entry.field("snapshot", snapshot).field("message", reason)).await?;
        self.mitigated(accepted)?;
        let released = self.release(&held, Some(by), now).await?;
        self.check_people(&[held.person].into()).await?;
        match released {
            Released::Taken => Ok(()),
            Released::NotTaken(why) => Err(Refused::NotTaken(why)),
        }
    }

    /// What a grant would violate, and what it waits for, has changed: whoever decides is shown that.
    fn show_again(&self, held: &HeldGrant, verdict: &Verdict) -> Result<(), EngineError> {
        let (risks, needs) = (unwatched(verdict), needs(verdict, held.needs));
        if risks == held.risks && needs == held.needs {
            return Ok(());
        }
        self.duty.keep(|kept| {
            let Some(held) = kept.held.get_mut(held.event.id().as_str()) else { return };
            held.needs = needs;
            if held.risks != risks {
                held.earlier.push(std::mem::replace(&mut held.risks, risks));
                let too_many = held.earlier.len().saturating_sub(EARLIER_MAX);
                held.earlier.drain(..too_many);
            }
        })
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
        let waits: Vec<(String, PersonId)> = {
            let kept = self.duty.kept();
            let waits = kept.held.iter().filter(|(_, held)| held.rejected.is_none());
            waits.map(|(id, held)| (id.clone(), held.person.clone())).collect()
        };
        for (id, person) in waits {
            let _turn = self.turns.of([&person]).await;
            // Somebody may have decided on it meanwhile.
            let Ok(held) = self.held_grant(&id) else { continue };
            match self.judged(&held, now).await {
                Ok(Verdict::Allow(_)) => drop(self.release(&held, None, now).await?),
                Ok(verdict) => self.show_again(&held, &verdict)?,
                Err(Refused::Engine(error)) if error.is_of_record() => {
                    self.unreadable(&person, &error).await?
                }
                Err(Refused::Engine(error)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Gives a grant to the outbox, which knows it where a crash has it given again. One that it does not take waits on, and is given again
    /// now and then, or when somebody says so.
    async fn release(
        &self,
        held: &HeldGrant,
        by: Option<&PersonId>,
        now: DateTime<Utc>,
    ) -> Result<Released, EngineError> {
        let id = held.event.id().as_str();
        let source = format!("grant {id}");
        if let Some(why) = held.refused.as_ref().filter(|_| by.is_none() && !self.duty.is_time(&source, now))
        {
            return Ok(Released::NotTaken(why.clone()));
        }
        if by.is_none() && !held.is_released {
            self.record(held.entry("sod.released")).await?;
            self.change_held(id, |held| held.is_released = true)?;
        }
        // Under a name of its own: the line that asked for it may come again, and says nothing of an approval.
        let name =
            EventId::new(format!("{id}:released")).map_err(|error| EngineError::Review(error.to_string()))?;
        let event = held.event.clone().named(name);
        let event = match by {
            Some(by) => event.approved_by(by.as_str()),
            None => event,
        };
        match self.outbox.accept(event, now).await {
            // Another word of the same name: it was released before.
            Ok(_) | Err(AcceptError::Different(_)) => {}
            Err(AcceptError::Outbox(error)) => {
                let why = format!("the outbox: {error}");
                self.broke(&why);
                return Err(EngineError::Broken(why));
            }
            Err(error) => {
                let why = error.to_string();
                if held.refused.as_ref() != Some(&why) {
                    let entry = held.entry(NOT_RELEASED);
                    self.record(entry.field("message", &why)).await?;
                    self.change_held(id, |held| held.refused = Some(why.clone()))?;
                }
                self.trouble(&source, format!("it is not made: {why}"));
                return Ok(Released::NotTaken(why));
            }
        }
        if held.refused.is_some() {
            // That it did not go through is on record, and that it does now is, too.
            self.record(held.entry("sod.released")).await?;
        }
        self.settled(&source);
        self.duty.keep(|kept| drop(kept.held.remove(id)))?;
        self.wake.notify_one();
        Ok(Released::Taken)
    }

    fn change_held(&self, id: &str, change: impl FnOnce(&mut HeldGrant)) -> Result<(), EngineError> {
        self.duty.keep(|kept| {
            if let Some(held) = kept.held.get_mut(id) {
                change(held);
            }
        })
    }
}

/// Risks that nothing watches.
fn unwatched(verdict: &Verdict) -> BTreeSet<RiskId> {
    let open = verdict.violations().iter();
    let open = open.filter(|violation| !matches!(violation.standing, Standing::Mitigated(_)));
    open.map(|violation| violation.risk.clone()).collect()
}

/// What a grant waits for by now. One that waits for what it replaces to be gone is denied only as long.
fn needs(verdict: &Verdict, before: Needs) -> Needs {
    match verdict {
        _ if before == Needs::Revocation => before,
        Verdict::Ask(_) => Needs::Decision,
        Verdict::MitigateFirst(_) => Needs::Control,
        Verdict::Allow(_) | Verdict::Deny(_) => before,
    }
}
