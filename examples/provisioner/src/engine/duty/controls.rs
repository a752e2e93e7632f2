//! Controls end: that is told ahead, and done by rule.

use audit_log::Entry;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::sod::{Mitigation, Remediation, Violation};
use connector_health::{PersonId, RiskId};
use serde::{Deserialize, Serialize};

use super::{Engine, EngineError, rfc3339};

/// Days before its end on which a control is told of.
const TOLD_DAYS: [i64; 3] = [1, 7, 14];

/// The end of a control that was told of.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct End {
    risk: RiskId,
    person: PersonId,
    expires: DateTime<Utc>,
    /// How many days ahead at the most; 0 when it had come.
    days: i64,
}

impl End {
    /// What is to be told by now.
    fn of(control: &Mitigation, now: DateTime<Utc>) -> Option<Self> {
        let left = control.expires.signed_duration_since(now);
        let days = match left <= TimeDelta::zero() {
            true => 0,
            false => TOLD_DAYS.into_iter().find(|days| left <= TimeDelta::days(*days))?,
        };
        let (risk, person, expires) = (control.risk.clone(), control.person.clone(), control.expires);
        Some(Self { risk, person, expires, days })
    }

    fn is_of(&self, other: &Self) -> bool {
        self.risk == other.risk && self.person == other.person
    }

    fn source(&self) -> String {
        format!("control of {} for {}", self.risk, self.person)
    }
}

impl Engine {
    /// Tells of controls that end soon, and has the rules do what they say about those that have ended.
    pub(super) async fn watch_controls(&self, now: DateTime<Utc>) -> Result<(), EngineError> {
        let ending: Vec<Mitigation> = {
            let Some(rules) = self.duty.rules() else { return Ok(()) };
            // INVARIANT: instants of chrono and a fortnight do not overflow before the year 262,000.
            let until = now + TimeDelta::days(14) + TimeDelta::milliseconds(1);
            rules.expiring(DateTime::<Utc>::MIN_UTC, until).into_iter().cloned().collect()
        };
        let mut ends = Vec::new();
        for control in ending {
            let Some(end) = End::of(&control, now) else { continue };
            let violation = {
                let known = self.duty.violations();
                let theirs = known.get(&control.person);
                theirs.and_then(|theirs| theirs.iter().find(|one| one.risk == control.risk).cloned())
            };
            match violation {
                Some(violation) => {
                    self.control_ends(&control, &end, &violation, now).await?;
                    ends.push(end);
                }
                None if end.days == 0 => self.forget_control(&control, now).await?,
                None => {}
            }
        }
        // Renewed, or there is nothing to be watched any more.
        let is_over = |told: &End| !ends.iter().any(|end| end.is_of(told));
        let over: Vec<End> = self.duty.kept().ends.iter().filter(|told| is_over(told)).cloned().collect();
        if over.is_empty() {
            return Ok(());
        }
        over.iter().for_each(|told| self.settled(&told.source()));
        self.duty.keep(|kept| kept.ends.retain(|told| !over.contains(told)))
    }

    fn is_told(&self, end: &End) -> bool {
        self.duty.kept().ends.contains(end)
    }

    async fn control_ends(
        &self,
        control: &Mitigation,
        end: &End,
        violation: &Violation,
        now: DateTime<Utc>,
    ) -> Result<(), EngineError> {
        let remediation = self.duty.rules().map(|rules| rules.remediation(violation));
        let source = end.source();
        let text = match (end.days, &remediation) {
            (0, Some(Remediation::Revoke { function, .. })) => {
                format!("it ended {}, and `{function}` is taken away", rfc3339(end.expires))
            }
            (0, _) => format!(
                "it ended {}: `provisioner sod mitigate` renews it, `provisioner sod revoke` ends what it watched",
                rfc3339(end.expires)
            ),
            (days, _) => {
                format!(
                    "it ends {}, within {days} days; {} answers for it",
                    rfc3339(end.expires),
                    control.owner
                )
            }
        };
        if self.is_told(end) {
            // Shown again after a restart.
            self.trouble(&source, text);
            return Ok(());
        }
        if end.days == 0 && !self.duty.is_time(&source, now) {
            return Ok(());
        }
        self.trouble(&source, text.clone());
        let (event_type, outcome) = match end.days {
            0 => ("sod.control_expired", "failure"),
            _ => ("sod.control_expiring", "success"),
        };
        let entry = Entry::new(event_type)
            .target(end.person.as_str())
            .outcome(outcome)
            .field("risk", &end.risk)
            .field("owner", &control.owner)
            .field("expires", rfc3339(end.expires));
        self.record(entry.field("message", &text)).await?;
        if end.days == 0
            && let Err(error) = self.remedy(violation).await
        {
            return match error {
                // The outbox did not take it: it is tried again.
                EngineError::Review(why) => {
                    self.trouble(&source, format!("{text}: not yet, {why}"));
                    Ok(())
                }
                error => Err(error),
            };
        }
        self.duty.keep(|kept| {
            kept.ends.retain(|known| !known.is_of(end));
            kept.ends.push(end.clone());
        })
    }

    /// A control that has ended and watches nothing any more.
    async fn forget_control(&self, control: &Mitigation, now: DateTime<Utc>) -> Result<(), EngineError> {
        // Of whom nothing can be read, nothing is known to be over.
        let holdings = match self.holdings(&control.person, now).await {
            Err(error) if error.is_of_record() => return Ok(()),
            holdings => holdings?,
        };
        let violations = self.duty.rules().map(|rules| rules.check(&control.person, &holdings, now));
        if violations.into_iter().flatten().any(|violation| violation.risk == control.risk) {
            return Ok(());
        }
        let is_of = |one: &Mitigation| one.risk == control.risk && one.person == control.person;
        if self.duty.kept().mitigations.iter().any(is_of) {
            let entry = Entry::new("sod.control_ended").target(control.person.as_str()).outcome("success");
            self.record(entry.field("risk", &control.risk).field("expires", rfc3339(control.expires)))
                .await?;
            self.duty.keep(|kept| kept.mitigations.retain(|one| !is_of(one)))?;
        }
        if let Some(rules) = &self.duty.rules {
            let mut rules = rules.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            rules.unmitigate(&control.risk, &control.person);
        }
        Ok(())
    }
}
