//! What batches change, decided from what is stored before anything is written.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::event::{Lane, Subject};
use crate::id::{ConnectorId, EventId, PersonId};
use crate::lane::{Attempt, ConnectorRecord, EventRecord, LaneRecord};
use crate::store::rows::order_key;
use crate::store::{Batch, Committed, Lease};

/// What is stored of all that batches touch.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) lanes: HashMap<Lane, LaneRecord>,
    /// Tokens of leases.
    pub(super) leases: HashMap<Lane, u64>,
    pub(super) connectors: HashMap<ConnectorId, ConnectorRecord>,
    /// Lanes of events, and their places as [`order_key`] has them.
    pub(super) places: HashMap<EventId, (Lane, Vec<u8>)>,
    pub(super) unreadable: Unreadable,
}

/// What is stored and cannot be read.
#[derive(Default)]
pub(super) struct Unreadable {
    pub(super) lanes: HashSet<Lane>,
    pub(super) connectors: HashSet<ConnectorId>,
    pub(super) events: HashSet<EventId>,
}

/// A record as it was and as it is to be.
pub(super) struct Change<T> {
    pub(super) before: Option<T>,
    pub(super) after: T,
}

/// What is to be written, in an order that all writers share.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) done: Vec<Committed>,
    pub(super) lanes: BTreeMap<Lane, Change<LaneRecord>>,
    pub(super) events: BTreeMap<EventId, EventRecord>,
    pub(super) attempts: BTreeMap<(u64, u32), Attempt>,
    pub(super) connectors: BTreeMap<ConnectorId, Change<ConnectorRecord>>,
    pub(super) released: Vec<Lease>,
    /// People who are newly said to leave, and the number of the event that says so.
    pub(super) left: BTreeMap<PersonId, u64>,
}

/// Takes batches one after the other, each whole or not at all.
pub(super) fn plan(stored: &mut Stored, batches: &[Batch]) -> Plan {
    let mut plan = Plan::default();
    for batch in batches {
        let done = judge(stored, batch);
        if done == Committed::Done {
            take(stored, batch, &mut plan);
        }
        plan.done.push(done);
    }
    plan
}

fn judge(stored: &Stored, batch: &Batch) -> Committed {
    if batch.under.as_ref().is_some_and(|lease| stored.leases.get(&lease.lane) != Some(&lease.token)) {
        return Committed::LeaseLost;
    }
    let unreadable = &stored.unreadable;
    if batch.lanes.iter().any(|lane| unreadable.lanes.contains(&lane.lane))
        || batch.connectors.iter().any(|connector| unreadable.connectors.contains(&connector.connector))
        || batch.events.iter().any(|event| unreadable.events.contains(event.event.id()))
    {
        return Committed::Unreadable;
    }
    let lanes = batch
        .lanes
        .iter()
        .all(|lane| stored.lanes.get(&lane.lane).map_or(0, |stored| stored.version) == lane.version);
    let connectors = batch.connectors.iter().all(|connector| {
        stored.connectors.get(&connector.connector).map_or(0, |stored| stored.version) == connector.version
    });
    let events = batch.events.iter().all(|event| {
        let place = stored.places.get(event.event.id());
        place.is_none_or(|(lane, order)| lane == event.event.lane() && *order == order_key(event.order))
    });
    if lanes && connectors && events { Committed::Done } else { Committed::Conflict }
}

fn take(stored: &mut Stored, batch: &Batch, plan: &mut Plan) {
    for event in &batch.events {
        let place = (event.event.lane().clone(), order_key(event.order));
        let is_new = stored.places.insert(event.event.id().clone(), place).is_none();
        if let Subject::Person(person) = &event.event.lane().subject
            && is_new
            && event.is_deprovision()
            && !event.state.is_closed()
        {
            let last = plan.left.entry(person.clone()).or_default();
            *last = event.order.seq.max(*last);
        }
        plan.events.insert(event.event.id().clone(), event.clone());
    }
    for lane in &batch.lanes {
        let after = LaneRecord { version: lane.version.saturating_add(1), ..lane.clone() };
        let before = stored.lanes.insert(lane.lane.clone(), after.clone());
        match plan.lanes.get_mut(&lane.lane) {
            Some(change) => change.after = after,
            None => drop(plan.lanes.insert(lane.lane.clone(), Change { before, after })),
        }
    }
    for (seq, attempt) in &batch.attempts {
        plan.attempts.insert((*seq, attempt.number), attempt.clone());
    }
    for connector in &batch.connectors {
        let version = connector.version.saturating_add(1);
        let after = ConnectorRecord { version, ..connector.clone() };
        let before = stored.connectors.insert(connector.connector.clone(), after.clone());
        match plan.connectors.get_mut(&connector.connector) {
            Some(change) => change.after = after,
            None => drop(plan.connectors.insert(connector.connector.clone(), Change { before, after })),
        }
    }
    for lease in &batch.released {
        if stored.leases.get(&lease.lane) == Some(&lease.token) {
            stored.leases.remove(&lease.lane);
            plan.released.push(lease.clone());
        }
    }
}
