//! One step of one lane: written down, sent, confirmed, written down.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use tokio::time::Instant;

use super::{CONFLICTS_MAX, Outbox, OutboxError};
use crate::connector::{
    Confirmation, Connector, Disposition, Effect, Failure, FailureKind, Found, Operation,
};
use crate::event::{Attribute, Lane, Order};
use crate::evidence;
use crate::intended::Standing;
use crate::lane::{
    ATTEMPTS_MAX, Attempt, AttemptResult, Class, EventRecord, EventState, InFlight, LaneRecord, Outage,
    Place, Waiters,
};
use crate::observe::Attempted;
use crate::replay::{self, Need, Open, Plan, Step};
use crate::store::{Batch, Committed, Lease, Loaded, OutboxStore, StoreError};

const UNSETTLED: &str =
    "nobody has access, and a create or return that was not answered may still be carried out";

/// Lanes that are woken at a time.
const WAKE_PAGE: usize = 256;
/// Lanes with a unique value that are read at a time.
const HOLDERS_PAGE: usize = 64;

/// Time that goes on while a pass runs.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    started_at: DateTime<Utc>,
    started: Instant,
}

impl Clock {
    pub(super) fn new(now: DateTime<Utc>) -> Self {
        Self { started_at: now, started: Instant::now() }
    }

    pub(super) fn start(&self) -> DateTime<Utc> {
        self.started_at
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        let gone = TimeDelta::from_std(self.started.elapsed()).unwrap_or(TimeDelta::MAX);
        self.started_at.checked_add_signed(gone).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// How a step ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) delivered: u64,
    pub(super) superseded: u64,
    pub(super) failure: Option<Failure>,
}

struct Prepared {
    step: Step,
    attempt: Attempt,
    /// The lane, as it was written.
    written: Loaded,
}

impl<S: OutboxStore> Outbox<S> {
    /// Has a claimed lane do what is next, if anything is due.
    pub(super) async fn step(
        &self,
        lease: &Lease,
        connector: &dyn Connector,
        clock: Clock,
    ) -> Result<Ended, OutboxError> {
        let mut ended = Ended::default();
        let lane = &lease.lane;
        let Some(prepared) = self.prepare(lease, clock, &mut ended).await? else { return Ok(ended) };
        let timeout = TimeDelta::from_std(self.options.operation_timeout).unwrap_or(TimeDelta::MAX);
        if clock.now().checked_add_signed(timeout).unwrap_or(DateTime::<Utc>::MAX_UTC) > lease.until {
            // This worker was paused. Another may have the lane before the operation ends; whoever has it next finds it interrupted.
            return Ok(ended);
        }
        let started = Instant::now();
        let answer = self.send(connector, &prepared.step.operation).await;
        self.options.observer.attempted(&Attempted {
            connector: &lane.connector,
            operation: prepared.step.operation.name(),
            at: clock.now(),
            duration: started.elapsed(),
            failure: answer.as_ref().err(),
        });
        if self.finish(lease, prepared, &answer, clock.now()).await? {
            ended.delivered = 1;
            self.options.observer.settled(lane);
        }
        ended.failure = answer.err();
        Ok(ended)
    }

    async fn send(&self, connector: &dyn Connector, operation: &Operation) -> Result<Confirmation, Failure> {
        let ensured = AssertUnwindSafe(connector.ensure(operation)).catch_unwind();
        match tokio::time::timeout(self.options.operation_timeout, ensured).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(Failure::new(FailureKind::Server, "the connector panicked").perhaps_effective())
            }
            Err(_) => Err(Failure::unknown("no answer in time")),
        }
    }

    /// Decides what is next and writes it down before it is sent.
    async fn prepare(
        &self,
        lease: &Lease,
        clock: Clock,
        ended: &mut Ended,
    ) -> Result<Option<Prepared>, OutboxError> {
        let lane = &lease.lane;
        for _ in 0..CONFLICTS_MAX {
            let Some(Loaded { mut record, mut open }) = self.together.load(lane).await? else {
                return Ok(None);
            };
            let now = clock.now();
            let mut batch = Batch { under: Some(lease.clone()), ..Batch::default() };
            record.waits_for = None;
            self.recover(&mut record, &mut open, &mut batch, now).await?;
            self.wake(&mut record, &mut batch).await?;
            let Plan { superseded, step } = planned(&record, &open);
            let count = superseded.len() as u64;
            let leaver = step.as_ref().filter(|step| step.class == Class::Leaver).map(|step| step.order);
            self.supersede(&mut record, &mut open, &mut batch, superseded, leaver, now).await?;
            let mut begun = None;
            if let Some(step) = step {
                match self.ready(&mut record, &open, &mut batch, step, clock).await? {
                    Some(step) => {
                        let outage = self.outages.last(&lane.connector);
                        begun = Some(begin(&mut record, &mut open, &mut batch, step, outage.as_ref(), now));
                    }
                    None => record.in_flight = None,
                }
            }
            record.recount(&open);
            if begun.is_none() {
                if record.waits_for.is_none() {
                    record.place = self.next_place(&record, &open, now);
                }
                batch.released.push(lease.clone());
            }
            batch.lanes.push(record.clone());
            match self.together.commit(batch).await? {
                Committed::Done => {
                    ended.superseded = ended.superseded.saturating_add(count);
                    if count > 0 {
                        self.options.observer.settled(lane);
                    }
                    record.version = record.version.saturating_add(1);
                    let written = Loaded { record, open };
                    return Ok(begun.map(|(step, attempt)| Prepared { step, attempt, written }));
                }
                Committed::LeaseLost => return Ok(None),
                Committed::Conflict | Committed::Unreadable => {}
            }
        }
        Err(OutboxError::Contended(lane.clone()))
    }

    /// What a process that died was sending has an unknown outcome.
    async fn recover(
        &self,
        record: &mut LaneRecord,
        open: &mut [EventRecord],
        batch: &mut Batch,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let Some(in_flight) = record.in_flight.take() else { return Ok(()) };
        let Some(event) = open.iter_mut().find(|event| event.order == in_flight.order) else { return Ok(()) };
        event.state = EventState::Unknown { retry_at: now };
        event.failure_started_at.get_or_insert(now);
        if event.event.intent().makes_account() {
            record.unsettled_until = Some(self.settled_at(now));
        }
        batch.events.push(event.clone());
        let before = in_flight.attempt.saturating_sub(1);
        // Where it cannot be read, the event says enough.
        for mut attempt in of_record(self.store.attempts(in_flight.order.seq, before, 1).await)? {
            attempt.result = AttemptResult::Interrupted;
            batch.attempts.push((in_flight.order.seq, attempt));
        }
        Ok(())
    }

    /// Has lanes look again that wait for this one.
    async fn wake(&self, record: &mut LaneRecord, batch: &mut Batch) -> Result<(), StoreError> {
        if record.waiters != Waiters::Wake {
            return Ok(());
        }
        let waiting = self.store.waiting(&record.lane, WAKE_PAGE).await?;
        if waiting.len() < WAKE_PAGE {
            record.waiters = Waiters::None;
        }
        for lane in waiting {
            // One that cannot be read keeps nobody waiting.
            let Some(Loaded { record: mut waiter, open }) = of_record(self.together.load(&lane).await)?
            else {
                continue;
            };
            waiter.waits_for = None;
            if let Some(first) = open.first() {
                waiter.place.get_or_insert(Place { class: Class::Other, order: first.order, due_at: None });
            }
            batch.lanes.push(waiter);
        }
        Ok(())
    }

    async fn supersede(
        &self,
        record: &mut LaneRecord,
        open: &mut Vec<EventRecord>,
        batch: &mut Batch,
        superseded: Vec<(Order, Order)>,
        leaver: Option<Order>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        for (order, by) in superseded {
            let superseder = match open.iter().find(|event| event.order == by) {
                Some(event) => Some(event.event.id().clone()),
                None => match batch.events.iter().find(|event| event.order == by) {
                    Some(event) => Some(event.event.id().clone()),
                    None => self.at(&record.lane, by).await?.map(|event| event.event.id().clone()),
                },
            };
            let Some(at) = open.iter().position(|event| event.order == order) else { continue };
            let mut event = open.remove(at);
            let id = superseder.unwrap_or_else(|| event.event.id().clone());
            // What a leaver supersedes is still what the account should have been called: its repetition says so again. What comes late
            // is overruled, where anything was written later, by what was delivered.
            if by < order || leaver == Some(by) || open.iter().all(|event| event.order != by) {
                record.delivered.apply(order, event.event.intent());
            }
            let state = EventState::Superseded { at: now, by: id, order: by };
            evidence::close(&mut event, state, &mut record.evidence_hash);
            put(batch, event);
            wakes(record);
        }
        Ok(())
    }

    /// The step, where it is due and what it needs has happened.
    async fn ready(
        &self,
        record: &mut LaneRecord,
        open: &[EventRecord],
        batch: &mut Batch,
        mut step: Step,
        clock: Clock,
    ) -> Result<Option<Step>, OutboxError> {
        let latest = self.options.due_latest(clock.now());
        let event = open.iter().find(|event| event.order == step.order);
        let due = event.and_then(|event| event.state.due(latest));
        // What failed in this pass waits for the next one.
        if due.is_none_or(|due| due.is_some_and(|at| at > clock.start())) {
            return Ok(None);
        }
        for need in step.needs.clone() {
            if let Some(mut on) = self.unmet(&record.lane, &need, &mut step).await? {
                record.waits_for = Some(on.lane.clone());
                record.place = None;
                // Written although nothing may change: what was read of it must still be so.
                if let Some(known) = batch.lanes.iter_mut().find(|lane| lane.lane == on.lane) {
                    notify(known);
                } else {
                    notify(&mut on);
                    batch.lanes.push(on);
                }
                return Ok(None);
            }
        }
        Ok(Some(step))
    }

    /// The lane that has to do something first.
    async fn unmet(
        &self,
        lane: &Lane,
        need: &Need,
        step: &mut Step,
    ) -> Result<Option<LaneRecord>, OutboxError> {
        match need {
            Need::Unique(name, value) => {
                let mut after: Option<Lane> = None;
                loop {
                    let connector = &lane.connector;
                    let page =
                        self.store.holders(connector, name, value, after.as_ref(), HOLDERS_PAGE).await?;
                    for other in page.iter().filter(|other| *other != lane) {
                        if let Some(on) = self.unmet_by(other, need, step).await? {
                            return Ok(Some(on));
                        }
                    }
                    match page.last() {
                        Some(last) if page.len() == HOLDERS_PAGE => after = Some(last.clone()),
                        Some(_) | None => return Ok(None),
                    }
                }
            }
            Need::Person(person) => {
                let other = Lane::person(&lane.connector, person);
                if other == *lane { Ok(None) } else { self.unmet_by(&other, need, step).await }
            }
            Need::Group(group) => {
                let other = Lane::group(&lane.connector, group);
                self.unmet_by(&other, need, step).await
            }
        }
    }

    /// Whether this lane has to do something first.
    async fn unmet_by(
        &self,
        other: &Lane,
        need: &Need,
        step: &mut Step,
    ) -> Result<Option<LaneRecord>, OutboxError> {
        let Some(Loaded { record, open }) = self.together.load(other).await? else { return Ok(None) };
        if let Need::Person(person) = need
            && (matches!(record.intended.standing(), Standing::Deprovisioned(_))
                || record.intended.last_deprovision().is_some_and(|left| left > step.order))
        {
            leave_out(&mut step.operation, &Attribute::Person(person.clone()));
            return Ok(None);
        }
        let mut earlier = open.iter().filter(|event| event.order < step.order);
        let waits = if matches!(need, Need::Unique(..)) {
            // A leaver who left later may have superseded what was to let go of it.
            earlier.any(|event| event.event.intent().touches_unique())
                || open.iter().any(EventRecord::is_deprovision)
        } else {
            let is_blocked = open.iter().any(|event| matches!(event.state, EventState::Blocked { .. }));
            earlier.next().is_some() && !is_blocked
        };
        if waits {
            return Ok(Some(record));
        }
        if let Need::Person(person) = need
            && matches!(record.delivered.standing(), Standing::Deprovisioned(_))
        {
            leave_out(&mut step.operation, &Attribute::Person(person.clone()));
        }
        Ok(None)
    }

    /// Writes down how it ended, and answers whether the event is confirmed. Not so where another worker has taken the lane over.
    async fn finish(
        &self,
        lease: &Lease,
        Prepared { step, attempt, written }: Prepared,
        answer: &Result<Confirmation, Failure>,
        now: DateTime<Utc>,
    ) -> Result<bool, OutboxError> {
        let order = step.order;
        let mine = InFlight { order, attempt: attempt.number };
        let finished = self.change(&lease.lane, Some(written), |Loaded { mut record, mut open }| {
            let mut batch =
                Batch { under: Some(lease.clone()), released: vec![lease.clone()], ..Batch::default() };
            let at = open.iter().position(|event| event.order == order);
            let (Some(at), true) = (at, record.in_flight == Some(mine)) else {
                // The lease is another's, too.
                return Ok((Batch::default(), false));
            };
            record.in_flight = None;
            // It is never further away, unless by a clock that was wrong. No answer says what becomes of an earlier request.
            let unsettled = record.unsettled_until.filter(|until| *until > now);
            record.unsettled_until = unsettled.map(|until| until.min(self.settled_at(now)));
            let mut attempt = Attempt { ended_at: Some(now), ..attempt.clone() };
            let mut event = open.remove(at);
            match answer {
                Ok(_) if is_unsettled(&record, &step) => {
                    let failure = Failure::new(FailureKind::Missing, UNSETTLED).perhaps_effective();
                    attempt.result = AttemptResult::Failed(failure.clone());
                    event.failure_started_at.get_or_insert(now);
                    event.last_failure = Some(failure);
                    event.state = EventState::Unknown { retry_at: record.unsettled_until.unwrap_or(now) };
                    open.insert(at, event.clone());
                }
                Ok(confirmation) => {
                    attempt.result = AttemptResult::Confirmed(confirmation.clone());
                    if event.failure_started_at.is_some() {
                        event.failure_ended_at = Some(now);
                        event.replayed_at = Some(attempt.started_at);
                    }
                    let state =
                        EventState::Succeeded { confirmed_at: now, confirmation: confirmation.clone() };
                    evidence::close(&mut event, state, &mut record.evidence_hash);
                    record.delivered.apply(order, event.event.intent());
                    if let Some(account) = &confirmation.account {
                        record.account = Some(account.clone());
                    } else if confirmation.found == Found::Absent
                        && matches!(step.operation, Operation::Deprovision { .. })
                    {
                        record.account = None;
                    }
                    wakes(&mut record);
                }
                Err(failure) => {
                    attempt.result = AttemptResult::Failed(failure.clone());
                    event.failure_started_at.get_or_insert(now);
                    event.last_failure = Some(failure.clone());
                    if failure.effect() == Effect::Unknown && event.event.intent().makes_account() {
                        record.unsettled_until = Some(self.settled_at(now));
                    }
                    event.state = self.failed(&event, step.class, failure, now);
                    if matches!(event.state, EventState::Blocked { .. }) {
                        wakes(&mut record);
                    }
                    open.insert(at, event.clone());
                }
            }
            record.recount(&open);
            record.place = self.next_place(&record, &open, now);
            let is_confirmed = event.state.is_closed();
            batch.events.push(event);
            batch.attempts.push((order.seq, attempt));
            batch.lanes.push(record);
            Ok((batch, is_confirmed))
        });
        match finished.await {
            Err(OutboxError::LeaseLost(_)) => Ok(false),
            finished => finished,
        }
    }

    /// When a create that is not answered by now is taken to have been carried out, or not.
    fn settled_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let longest = TimeDelta::from_std(self.options.operation_timeout).unwrap_or(TimeDelta::MAX);
        now.checked_add_signed(longest).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    fn failed(&self, event: &EventRecord, class: Class, failure: &Failure, now: DateTime<Utc>) -> EventState {
        let is_leaver = class == Class::Leaver;
        let (first, longest) = self.options.backoff;
        let longest = if is_leaver { longest.min(self.options.leaver_backoff_max) } else { longest };
        let doubled = 1_i32.checked_shl(event.attempts.saturating_sub(1).min(20)).unwrap_or(i32::MAX);
        let backoff = first.checked_mul(doubled).unwrap_or(longest).min(longest);
        let after = |wait: TimeDelta| now.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let of_connector = matches!(
            failure.kind(),
            FailureKind::Connectivity
                | FailureKind::Authentication
                | FailureKind::LoginPage
                | FailureKind::RateLimited
        );
        let tried = !of_connector && event.attempts >= self.options.attempts_max;
        if failure.disposition() == Disposition::Block || (tried && !is_leaver) {
            // A leaver is never left to a person alone.
            return EventState::Blocked { since: now, retry_at: is_leaver.then(|| after(longest)) };
        }
        let retry_at = match failure.disposition() {
            // The connector is what waits.
            Disposition::Wait(asked) => {
                let (_, longest) = self.options.backoff;
                let asked = asked.unwrap_or(Duration::ZERO);
                after(TimeDelta::from_std(asked).unwrap_or(longest).clamp(first, longest.max(first)))
            }
            _ if of_connector && is_leaver => after(self.options.leaver_retry),
            _ => after(backoff),
        };
        match failure.effect() {
            Effect::Unknown => EventState::Unknown { retry_at },
            Effect::None => EventState::RetryAt { retry_at },
        }
    }

    /// Where a lane stands now.
    fn next_place(&self, record: &LaneRecord, open: &[EventRecord], now: DateTime<Utc>) -> Option<Place> {
        let first = open.first().map_or(Order { occurred_at: now, seq: 0 }, |event| event.order);
        let chore = Some(Place { class: Class::Other, order: first, due_at: None });
        if record.waiters == Waiters::Wake {
            return chore;
        }
        let plan = planned(record, open);
        let Some(step) = plan.step else {
            return if plan.superseded.is_empty() { None } else { chore };
        };
        let event = open.iter().find(|event| event.order == step.order)?;
        let due_at = event.state.due(self.options.due_latest(now))?;
        // The leaver who waits longest counts, where several events say that they left.
        let oldest = open.iter().find(|event| event.is_deprovision()).map(|event| event.order);
        let order = if step.class == Class::Leaver { oldest.unwrap_or(step.order) } else { step.order };
        Some(Place { class: step.class, order, due_at })
    }
}

/// Whether somebody is out who may still get in by a request that was given up.
fn is_unsettled(record: &LaneRecord, step: &Step) -> bool {
    matches!(step.operation, Operation::Deprovision { .. }) && record.unsettled_until.is_some()
}

fn planned(record: &LaneRecord, open: &[EventRecord]) -> Plan {
    let events: Vec<_> =
        open.iter().map(|event| Open { order: event.order, intent: event.event.intent() }).collect();
    replay::plan(&record.lane, record.account.as_ref(), &record.delivered, &events)
}

/// The step is being sent from when this is durable.
fn begin(
    record: &mut LaneRecord,
    open: &mut [EventRecord],
    batch: &mut Batch,
    step: Step,
    outage: Option<&Outage>,
    now: DateTime<Utc>,
) -> (Step, Attempt) {
    let mut number = 1;
    if let Some(event) = open.iter_mut().find(|event| event.order == step.order) {
        if let Some(outage) = outage {
            outage.explain(event);
        }
        event.attempts = event.attempts.saturating_add(1);
        event.state = EventState::InFlight;
        number = event.attempts.min(ATTEMPTS_MAX);
        put(batch, event.clone());
    }
    record.in_flight = Some(InFlight { order: step.order, attempt: number });
    // INVARIANT: what is being sent has a place in the queue, so that it is resolved after a crash.
    record.place.get_or_insert(Place { class: step.class, order: step.order, due_at: None });
    let attempt = Attempt {
        number,
        operation: step.operation.name().to_owned(),
        attributes: step.operation.attribute_names(),
        started_at: now,
        ended_at: None,
        result: AttemptResult::Running,
    };
    batch.attempts.push((step.order.seq, attempt.clone()));
    (step, attempt)
}

/// Nothing, where a record cannot be read that may be missing.
pub(super) fn of_record<T: Default>(read: Result<T, StoreError>) -> Result<T, StoreError> {
    match read {
        Err(error) if error.is_of_record() => Ok(T::default()),
        read => read,
    }
}

pub(super) fn wakes(record: &mut LaneRecord) {
    if record.waiters == Waiters::Some {
        record.waiters = Waiters::Wake;
    }
}

/// Tells a lane that another waits for it.
fn notify(record: &mut LaneRecord) {
    if record.waiters == Waiters::None {
        record.waiters = Waiters::Some;
    }
}

fn put(batch: &mut Batch, event: EventRecord) {
    batch.events.retain(|other| other.order != event.order);
    batch.events.push(event);
}

/// A reference to somebody who has left is left out; also where they come back later.
fn leave_out(operation: &mut Operation, reference: &Attribute) {
    match operation {
        Operation::Account { attributes, .. } => attributes.retain(|_, value| value != reference),
        Operation::Attributes { changes, .. } => {
            for value in changes.values_mut().filter(|value| value.as_ref() == Some(reference)) {
                *value = None;
            }
        }
        Operation::Deprovision { .. }
        | Operation::Entitlement { .. }
        | Operation::Strip { .. }
        | Operation::Group { .. } => {}
    }
}
