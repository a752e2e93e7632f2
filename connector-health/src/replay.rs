//! What a lane does next: leavers before all else, the rest in the order in which it happened.
//!
//! Sending "all deprovisionings first" as they stand leaves people active who have left: a create that was lost, a rehire, a
//! rename in between. So before anything is sent, a lane is *compacted*:
//!
//! * Everything before the last leaver event is superseded by it, and what remains is not nothing but `ensure_deprovisioned`: a
//!   create whose answer was lost may have been carried out.
//! * Of several grants and revocations of one right, the last one remains; a revocation goes before what happened earlier.
//! * What is left goes strictly one after the other. An event that arrives late, after later ones were delivered, only writes what no
//!   later one has written; a leaver who came back already is not disabled again, but loses the rights of the time before. One who is
//!   out already and, as it turns out, was to be called otherwise gives up the name from before.

use std::collections::{BTreeMap, BTreeSet};

use crate::connector::{Operation, Right, Target};
use crate::event::{Attribute, Intent, Lane, Order, Subject};
use crate::id::{AccountId, EntitlementId, PersonId};
use crate::intended::{Intended, Standing};
use crate::lane::Class;

/// An event that waits.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// Its place.
    pub order: Order,
    /// What is to be so.
    pub intent: &'a Intent,
}

/// What a lane does next.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Events that need not be sent any more, each with the one that says more.
    pub superseded: Vec<(Order, Order)>,
    /// What is to be sent, if anything.
    pub step: Option<Step>,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// For which event.
    pub order: Order,
    /// What goes first.
    pub class: Class,
    /// What is to be brought about.
    pub operation: Operation,
    /// What must have happened elsewhere before.
    pub needs: Vec<Need>,
}

/// What a step needs from another lane of the same connector, as far as that lane's earlier events go, and its leavers. As a need always
/// points to earlier events or to a leaver, and a leaver needs nothing, lanes cannot wait for each other in a circle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Need {
    /// Whoever had this unique value has let go of it.
    Unique(String, String),
    /// This person has an account. Where theirs is blocked or gone, the step goes on without.
    Person(PersonId),
    /// This group is there. Where it is blocked, the step goes on.
    Group(EntitlementId),
}

/// Plans the next step of a lane. `open` is in order; `delivered` is what was confirmed.
pub fn plan(lane: &Lane, account: Option<&AccountId>, delivered: &Intended, open: &[Open<'_>]) -> Plan {
    let mut planner = Planner { lane, account, delivered: delivered.clone(), superseded: Vec::new() };
    let step = planner.next(open);
    Plan { superseded: planner.superseded, step }
}

/// What the step will be, judged by one event that joins a lane.
pub(crate) fn class(intent: &Intent) -> Class {
    match intent {
        Intent::Deprovision => Class::Leaver,
        Intent::Revoke(_) => Class::Removal,
        Intent::Provision(_)
        | Intent::Reactivate(_)
        | Intent::Update(_)
        | Intent::Grant(_)
        | Intent::Group(_) => Class::Other,
    }
}

struct Planner<'a> {
    lane: &'a Lane,
    account: Option<&'a AccountId>,
    /// What was confirmed, and what was superseded because nobody was there to have it.
    delivered: Intended,
    superseded: Vec<(Order, Order)>,
}

impl Planner<'_> {
    fn next(&mut self, open: &[Open<'_>]) -> Option<Step> {
        let leaver = open.iter().rev().find(|event| matches!(event.intent, Intent::Deprovision));
        if let Some(leaver) = leaver {
            let before = open.iter().filter(|event| event.order < leaver.order);
            let mut known = self.delivered.clone();
            for event in before {
                self.superseded.push((event.order, leaver.order));
                known.apply(event.order, event.intent);
            }
            return self.target(&known).map(|target| self.leave(leaver.order, target));
        }
        let mut last = BTreeMap::new();
        for event in open {
            if let Intent::Grant(right) | Intent::Revoke(right) = event.intent {
                last.insert(right, event.order);
            }
        }
        let mut rest = Vec::with_capacity(open.len());
        for event in open {
            let by = match event.intent {
                Intent::Grant(right) | Intent::Revoke(right) => {
                    last.get(right).filter(|by| **by > event.order)
                }
                _ => None,
            };
            match by {
                Some(by) => self.superseded.push((event.order, *by)),
                None => rest.push(event),
            }
        }
        let (removals, others): (Vec<&Open<'_>>, Vec<_>) =
            rest.into_iter().partition(|event| matches!(event.intent, Intent::Revoke(_)));
        removals.into_iter().chain(others).find_map(|event| match self.judge(event) {
            Ok(step) => Some(step),
            Err(by) => {
                self.superseded.push((event.order, by));
                // They have left, and it stands once they are back.
                if by < event.order {
                    self.delivered.apply(event.order, event.intent);
                }
                None
            }
        })
    }

    fn leave(&self, order: Order, target: Target) -> Step {
        let is_back = self.delivered.last_activation().is_some_and(|back| back > order);
        let operation = if is_back {
            let mut state = self.delivered.clone();
            state.apply(order, &Intent::Deprovision);
            Operation::Strip { target, keep: state.entitlements() }
        } else {
            Operation::Deprovision { target }
        };
        Step { order, class: Class::Leaver, operation, needs: Vec::new() }
    }

    /// The step for an event, or what supersedes it.
    fn judge(&self, event: &Open<'_>) -> Result<Step, Order> {
        let order = event.order;
        let mut state = self.delivered.clone();
        state.apply(order, event.intent);
        let step = |class, operation, needs| Ok(Step { order, class, operation, needs });
        if let Intent::Group(changes) = event.intent {
            let Subject::Group(group) = &self.lane.subject else { return Err(order) };
            let left = state.written_by(order);
            return match state.overwriter(changes) {
                Some(by) if by > order && left.is_empty() => Err(by),
                Some(_) | None => {
                    step(Class::Other, Operation::Group { group: group.clone(), changes: left }, Vec::new())
                }
            };
        }
        // A group's lane has no other intents; `Event::check` refuses them.
        let Some(target) = self.target(&state) else { return Err(order) };
        match (event.intent, state.standing()) {
            (Intent::Group(_), _) => Err(order),
            (Intent::Deprovision, _) => Ok(self.leave(order, target)),
            (Intent::Provision(_) | Intent::Reactivate(_), Standing::Active(by)) if by == order => {
                let attributes = state.attributes();
                let rights = match self.delivered.standing() {
                    Standing::Active(_) => BTreeSet::new(),
                    Standing::Unknown | Standing::Deprovisioned(_) => state.entitlements(),
                };
                let mut needs = needs(attributes.iter());
                needs.extend(rights.iter().cloned().map(Need::Group));
                step(Class::Other, Operation::Account { target, attributes, rights }, needs)
            }
            (
                Intent::Provision(_) | Intent::Reactivate(_) | Intent::Update(_),
                Standing::Deprovisioned(by),
            ) => {
                // Who is out by now was called otherwise in the end: the name from before is free.
                let is_late = by > order && self.account.is_some();
                match is_late && state.unique() != self.delivered.unique() {
                    true => step(Class::Other, Operation::Deprovision { target }, Vec::new()),
                    false => Err(by),
                }
            }
            (Intent::Provision(_) | Intent::Reactivate(_), standing) => {
                Err(standing.since().unwrap_or(order))
            }
            (Intent::Update(changes), _) => {
                let left = state.written_by(order);
                match state.overwriter(changes) {
                    Some(by) if by > order && left.is_empty() => Err(by),
                    Some(_) | None => {
                        let set = left.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
                        let needs = needs(set);
                        step(Class::Other, Operation::Attributes { target, changes: left }, needs)
                    }
                }
            }
            (Intent::Grant(right) | Intent::Revoke(right), standing) => {
                let written = state.right_order(right).max(state.last_deprovision());
                if let Some(by) = written.filter(|by| *by > order) {
                    return Err(by);
                }
                let entitlement = right.clone();
                match (event.intent, standing) {
                    (Intent::Grant(_), Standing::Deprovisioned(by)) => Err(by),
                    (Intent::Grant(_), _) => {
                        let needs = vec![Need::Group(entitlement.clone())];
                        let right = Right::Granted;
                        step(Class::Other, Operation::Entitlement { target, entitlement, right }, needs)
                    }
                    _ => {
                        let right = Right::Revoked;
                        step(
                            Class::Removal,
                            Operation::Entitlement { target, entitlement, right },
                            Vec::new(),
                        )
                    }
                }
            }
        }
    }

    fn target(&self, state: &Intended) -> Option<Target> {
        match &self.lane.subject {
            Subject::Person(person) => Some(Target {
                person: person.clone(),
                account: self.account.cloned(),
                unique: state.unique(),
            }),
            Subject::Group(_) => None,
        }
    }
}

fn needs<'a>(attributes: impl Iterator<Item = (&'a String, &'a Attribute)>) -> Vec<Need> {
    attributes
        .filter_map(|(name, value)| match value {
            Attribute::Unique(value) => Some(Need::Unique(name.clone(), value.clone())),
            Attribute::Person(person) => Some(Need::Person(person.clone())),
            Attribute::Plain(_) => None,
        })
        .collect()
}
