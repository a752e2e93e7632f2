//! Room in a lane: what joins it is bounded, and there is always room for somebody who leaves.

use chrono::{DateTime, Utc};

use super::AcceptError;
use super::deliver::wakes;
use super::intake::{Accepted, enqueue, give_place};
use crate::event::{Event, Intent};
use crate::evidence;
use crate::intended::Standing;
use crate::lane::{
    EventRecord, EventState, LANE_BYTES_MAX, LANE_HELD_MAX, LANE_OPEN_MAX, LANE_UNIQUE_MAX, LaneRecord,
    json_bytes,
};
use crate::store::Batch;

/// A lane that events join.
pub(super) struct Joining {
    record: LaneRecord,
    open: Vec<EventRecord>,
    /// The last leaver that is held; only where there are many.
    last_held: Option<EventRecord>,
    changed: Vec<EventRecord>,
    now: DateTime<Utc>,
}

impl Joining {
    pub(super) fn new(
        record: LaneRecord,
        open: Vec<EventRecord>,
        last_held: Option<EventRecord>,
        now: DateTime<Utc>,
    ) -> Self {
        let last_held = last_held.filter(|event| matches!(event.state, EventState::Held { .. }));
        Self { record, open, last_held, changed: Vec::new(), now }
    }

    /// What is to be written.
    pub(super) fn batch(mut self) -> Batch {
        self.record.count_standing();
        Batch { lanes: vec![self.record], events: self.changed, ..Batch::default() }
    }

    /// Whether the lane has a unique value, or is to get it.
    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        self.record.holds.iter().any(|(held, of)| held == name && of == value)
    }

    /// Takes an event in that is not known yet.
    pub(super) fn take(&mut self, event: &Event, seq: u64, holds: bool) -> Result<Accepted, AcceptError> {
        let record = EventRecord::new(event.clone(), seq, EventState::Pending, self.now);
        let mut intended = self.record.intended.clone();
        intended.apply(record.order, event.intent());
        let waiting = self.record.open.saturating_add(self.record.held);
        let bytes = self.record.bytes.saturating_add(json_bytes(event));
        let fits = waiting < LANE_OPEN_MAX && bytes.saturating_add(json_bytes(&intended)) <= LANE_BYTES_MAX;
        if !matches!(event.intent(), Intent::Deprovision) {
            let claims_more =
                event.intent().claims().next().is_some() && self.record.holds.len() >= LANE_UNIQUE_MAX;
            if !fits || claims_more || !intended.is_within_limits() {
                return Err(AcceptError::LaneFull(self.record.lane.clone()));
            }
        } else if holds && !matches!(self.record.intended.standing(), Standing::Deprovisioned(_)) {
            self.hold(record);
            return Ok(Accepted::Held);
        }
        self.record.intended = intended;
        if fits {
            self.enqueue(record);
        } else {
            self.make_room(record);
        }
        Ok(Accepted::Queued)
    }

    fn enqueue(&mut self, event: EventRecord) {
        enqueue(&mut self.record, &event);
        self.open.push(event.clone());
        self.put(event);
    }

    /// A leaver takes the place of all that happened before it, as it will in any case; or a later one takes its place.
    fn make_room(&mut self, leaver: EventRecord) {
        let in_flight = self.record.in_flight.map(|in_flight| in_flight.order);
        let is_over = |event: &EventRecord| event.order < leaver.order && Some(event.order) != in_flight;
        let (over, open) = std::mem::take(&mut self.open).into_iter().partition(is_over);
        self.open = open;
        let over: Vec<EventRecord> = over;
        for event in over {
            self.supersede(event, &leaver);
        }
        let later = self.open.iter().filter(|event| event.is_deprovision() && event.order > leaver.order);
        match later.max_by_key(|event| event.order).cloned() {
            Some(later) => self.supersede(leaver, &later),
            None => {
                give_place(&mut self.record, &leaver);
                self.open.push(leaver.clone());
                self.put(leaver);
            }
        }
        // With the leaver: until it is confirmed, the account has the names of what it supersedes.
        self.record.recount(&self.open);
        wakes(&mut self.record);
    }

    fn supersede(&mut self, mut event: EventRecord, by: &EventRecord) {
        if !matches!(event.state, EventState::Held { .. }) {
            // What the account should have been called is still what its repetition says.
            self.record.delivered.apply(event.order, event.event.intent());
        }
        let state = EventState::Superseded { at: self.now, by: by.event.id().clone(), order: by.order };
        evidence::close(&mut event, state, &mut self.record.evidence_hash);
        self.put(event);
    }

    fn hold(&mut self, mut leaver: EventRecord) {
        leaver.state = EventState::Held { since: self.now };
        if self.record.held >= LANE_HELD_MAX
            && let Some(last) = self.last_held.take()
        {
            if last.order > leaver.order {
                self.supersede(leaver, &last);
                self.last_held = Some(last);
                return;
            }
            self.supersede(last, &leaver);
        } else {
            self.record.held = self.record.held.saturating_add(1);
        }
        self.record.last_held = Some(leaver.event.id().clone());
        self.last_held = Some(leaver.clone());
        self.put(leaver);
    }

    fn put(&mut self, event: EventRecord) {
        self.changed.retain(|other| other.order != event.order);
        self.changed.push(event);
    }
}
