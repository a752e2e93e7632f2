//! What is done about violations that are there, through the outbox.

use audit_log::Entry;
use chrono::Utc;
use connector_health::outbox::AcceptError;
use connector_health::sod::{Remediation, Remedy, Standing, Violation};
use connector_health::{Event, FunctionId, PersonId, Right, RiskId};

use super::{Engine, EngineError, Refused};

/// Who asks for a revocation.
pub(crate) enum By<'p> {
    Person(&'p PersonId),
    /// The risk says so.
    Rule,
}

impl Engine {
    /// Takes a function away from somebody who violates a risk: the one that is named, or the one that the rule takes. Durable on return; how
    /// many rights go.
    pub(crate) async fn revoke_violation(
        &self,
        person: &PersonId,
        risk: &RiskId,
        function: Option<FunctionId>,
        by: &PersonId,
    ) -> Result<u64, Refused> {
        let known = self.duty.violations().get(person).cloned().unwrap_or_default();
        let Some(mut violation) = known.into_iter().find(|violation| violation.risk == *risk) else {
            return Err(Refused::NoSuchViolation);
        };
        if let Some(function) = function {
            if !violation.functions.iter().any(|hit| hit.function == function) {
                return Err(Refused::Plan(format!("function `{function}` is no part of risk `{risk}`")));
            }
            violation.remedy = Remedy::Revoke { function: Some(function) };
        }
        // A person's word counts, mitigated or not.
        violation.standing = Standing::Open;
        match self.duty.rules().map(|rules| rules.remediation(&violation)) {
            Some(Remediation::Revoke { rights, .. }) => {
                Ok(self.take_away(&violation, rights, By::Person(by)).await?)
            }
            _ => Err(Refused::Plan("the rule says not which function goes: name one".to_owned())),
        }
    }

    /// Does what the rules say about a violation, where that is to revoke; how many rights go.
    pub(in crate::engine) async fn remedy(&self, violation: &Violation) -> Result<u64, EngineError> {
        match self.duty.rules().map(|rules| rules.remediation(violation)) {
            Some(Remediation::Revoke { rights, .. }) => self.take_away(violation, rights, By::Rule).await,
            _ => Ok(0),
        }
    }

    async fn take_away(
        &self,
        violation: &Violation,
        rights: Vec<Right>,
        by: By<'_>,
    ) -> Result<u64, EngineError> {
        let mut taken = 0_u64;
        for Right { connector, entitlement } in rights {
            let now = Utc::now();
            let entry = Entry::new("sod.revoking")
                .target(violation.person.as_str())
                .outcome("success")
                .field("risk", &violation.risk)
                .field("connector", &connector)
                .field("entitlement", &entitlement);
            let event = Event::revoke(&connector, &violation.person, &entitlement)
                .occurred_at(now)
                .triggered_by("separation of duty");
            let (entry, event) = match by {
                By::Person(by) => (entry.actor(by.as_str()), event.approved_by(by.as_str())),
                By::Rule => (entry, event),
            };
            self.record(entry).await?;
            match self.outbox.accept(event, now).await {
                Ok(_) => taken = taken.saturating_add(1),
                Err(AcceptError::Outbox(error)) => return Err(self.not_accepted(error)),
                Err(error) => return Err(EngineError::Review(error.to_string())),
            }
        }
        self.wake.notify_one();
        Ok(taken)
    }
}
