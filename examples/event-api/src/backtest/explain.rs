//! How near a rule came to an alert.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mfa_events::detect::rule::{Grouping, Kind};
use mfa_events::detect::{Explanation, Group, Prefix, Rules, TenantDetector};
use mfa_events::{ActorId, Event, Rule, TenantId};

use crate::failure::Failure;
use crate::rules::grouping;

/// A rule, and of whom.
pub(super) struct Question {
    pub(super) rule: Rule,
    pub(super) group: Group,
}

impl Question {
    /// Reads `RULE`, or `RULE:GROUP`.
    pub(super) fn parse(text: &str, rules: &Rules) -> Result<Self, Failure> {
        // Names of rules have no colon; addresses of IPv6 do.
        let (name, group) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let wrong = |why: String| Failure::usage(format!("--explain {text}: {why}"));
        let rule = rules.find(name).ok_or_else(|| wrong(format!("there is no rule `{name}`")))?.clone();
        let group = match (rule.group_by, group) {
            (Grouping::Tenant, None) => Ok(Group::Tenant),
            (Grouping::Tenant, Some(_)) => Err("this rule counts all of a tenant together".to_owned()),
            (_, None) => {
                Err(format!("this rule counts by {}: as in `{name}:{}`", grouping(&rule), such(&rule)))
            }
            (Grouping::Actor, Some(actor)) => {
                ActorId::new(actor).map(Group::Actor).map_err(|error| error.to_string())
            }
            (by, Some(address)) => {
                let address = address.split('/').next().unwrap_or_default();
                let address: Result<IpAddr, _> = address.parse();
                address
                    .map(|address| match by {
                        Grouping::Network => Group::Network(Prefix::network(address)),
                        _ => Group::Source(Prefix::source(address)),
                    })
                    .map_err(|_| "behind the rule stands an address".to_owned())
            }
        };
        group.map(|group| Self { rule, group }).map_err(wrong)
    }

    fn is_about(&self, event: &Event) -> bool {
        let ip = event.source_ip();
        match &self.group {
            Group::Actor(actor) => event.actor() == actor,
            Group::Source(source) => ip.is_some_and(|ip| Prefix::source(ip) == *source),
            Group::Network(network) => ip.is_some_and(|ip| Prefix::network(ip) == *network),
            _ => true,
        }
    }

    fn selects(&self, event: &Event) -> bool {
        match &self.rule.kind {
            Kind::Sequence { steps } => steps.iter().any(|step| step.select.selects(event)),
            Kind::RepeatAfterUnlock { .. } => {
                use mfa_events::EventType::{AccountLocked, AccountUnlocked};
                matches!(event.event_type(), AccountLocked | AccountUnlocked)
            }
            _ => self.rule.select.selects(event),
        }
    }
}

fn such(rule: &Rule) -> &'static str {
    if rule.group_by == Grouping::Actor { "alice" } else { "203.0.113.7" }
}

/// A question, and what is known about it after what was read.
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) tenants: BTreeMap<TenantId, Known>,
}

/// Of one tenant.
#[derive(Default)]
pub(super) struct Known {
    /// Events of whom was asked about.
    pub(super) events: u64,
    /// Those that the rule looks at.
    pub(super) selected: u64,
    /// When it was nearest to an alert.
    pub(super) nearest: Option<Explanation>,
    /// How it is at the end.
    pub(super) end: Option<Explanation>,
}

impl Asked {
    pub(super) fn new(question: Question) -> Self {
        Self { question, tenants: BTreeMap::new() }
    }

    /// Behind an event that was taken in.
    pub(super) fn look(&mut self, tenant: &TenantId, event: &Event, detector: &TenantDetector) {
        let Question { rule, group } = &self.question;
        if !self.question.is_about(event) {
            return;
        }
        let known = self.tenants.entry(tenant.clone()).or_default();
        known.events = known.events.saturating_add(1);
        if self.question.selects(event) {
            known.selected = known.selected.saturating_add(1);
            if let Some(now) = detector.explain(rule.id.as_str(), group) {
                known.take(now);
            }
        }
    }

    /// When everything was judged.
    pub(super) fn end(&mut self, tenant: &TenantId, detector: &TenantDetector) {
        let Question { rule, group } = &self.question;
        let known = self.tenants.entry(tenant.clone()).or_default();
        let Some(end) = detector.explain(rule.id.as_str(), group) else { return };
        known.take(end.clone());
        known.end = Some(end);
    }
}

impl Known {
    fn take(&mut self, now: Explanation) {
        if self.nearest.as_ref().is_none_or(|nearest| nearness(&now) > nearness(nearest)) {
            self.nearest = Some(now);
        }
    }
}

/// How much there is of what there is least of, from 0 to 1; all of it counts where two are the same.
fn nearness(explanation: &Explanation) -> (f64, f64) {
    let shares = explanation.measures.iter().map(|measure| (measure.now / measure.needed.max(1.0)).min(1.0));
    shares.fold((1.0, 0.0), |(least, sum), share| (share.min(least), sum + share))
}
