//! Taking events in: durable before anybody is told, once however often they are sent, and no flood of leavers unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, stream};

use super::deliver::of_record;
use super::room::Joining;
use super::{AcceptError, CONFLICTS_MAX, Outbox, OutboxError};
use crate::event::{Event, Intent, Lane};
use crate::id::{ConnectorId, EventId};
use crate::intended::Standing;
use crate::lane::{ConnectorRecord, EventRecord, HOLDERS_MAX, LANE_HELD_MAX, LaneRecord, Place, json_bytes};
use crate::observe::Stuck;
use crate::replay;
use crate::store::{Batch, Committed, Loaded, OutboxStore, StoreError};

/// Lanes that are taken in at the same time.
const LANES_TOGETHER: usize = 256;

/// When an unusual number of leavers is held for approval. Counted per connector; leavers that were accepted are never held.
///
/// Leavers that come together in one call are judged together: all of them are held, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MassLeaverGuard {
    /// Time over which they are counted (an hour).
    pub window: TimeDelta,
    /// Most of them in that time (100).
    pub leavers_max: u64,
    /// Most of them in that time, in per cent of those who should have access (10).
    pub percent_max: u8,
    /// So many are never held for their share (10).
    pub always_allowed: u64,
}

impl Default for MassLeaverGuard {
    fn default() -> Self {
        Self { window: TimeDelta::hours(1), leavers_max: 100, percent_max: 10, always_allowed: 10 }
    }
}

impl MassLeaverGuard {
    /// Holds nothing, however many leave.
    pub fn off() -> Self {
        Self { leavers_max: u64::MAX, always_allowed: u64::MAX, ..Self::default() }
    }

    /// Whether so many leavers more may go on, `active` people having access.
    fn admits(&self, record: &ConnectorRecord, new: u64, active: u64, now: DateTime<Utc>) -> bool {
        let before = record.leavers.iter().filter(|(at, _)| self.counts(*at, now));
        let before = before.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let leavers = before.saturating_add(new);
        // Those who left within the window had access when it began.
        let had = active.saturating_add(before);
        let share = had.saturating_mul(self.percent_max.into()) / 100;
        leavers <= self.leavers_max && (leavers <= self.always_allowed || leavers <= share)
    }

    /// What a clock noted that was ahead by more than the window counts no longer than it would have.
    fn counts(&self, at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        now.signed_duration_since(at).abs() < self.window
    }

    fn note(&self, record: &mut ConnectorRecord, new: u64, now: DateTime<Utc>) {
        record.leavers.retain(|(at, _)| self.counts(*at, now));
        let tenth = self.window / 10;
        match record.leavers.last_mut() {
            Some((at, count)) if now.signed_duration_since(*at) < tenth => *count = count.saturating_add(new),
            Some(_) | None => record.leavers.push((now, new)),
        }
    }
}

/// What became of an event at intake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// It waits for its turn, durably; or it is a leaver of which another one that waits says more.
    Queued,
    /// It waits for somebody's approval, durably.
    Held,
    /// It had been accepted before.
    Already,
}

impl<S: OutboxStore> Outbox<S> {
    /// Takes an event in. It is durable on return, and an event of the same name and content is the same event.
    ///
    /// # Errors
    /// Where it cannot be accepted. After [`OutboxError::Store`] nothing is known: give it again.
    pub async fn accept(&self, event: Event, now: DateTime<Utc>) -> Result<Accepted, AcceptError> {
        match self.accept_all(vec![event], now).await.pop() {
            Some(accepted) => accepted,
            None => Err(AcceptError::Outbox(Arc::new(StoreError::Stopped.into()))),
        }
    }

    /// Takes events in, and answers for each in the order given. Those of one lane are durable together.
    pub async fn accept_all(
        &self,
        events: Vec<Event>,
        now: DateTime<Utc>,
    ) -> Vec<Result<Accepted, AcceptError>> {
        let count = events.len();
        let first = match self.store.reserve(count as u64).await {
            Ok(first) => first,
            Err(error) => {
                let error = Arc::new(OutboxError::from(error));
                return std::iter::repeat_with(|| Err(AcceptError::Outbox(Arc::clone(&error))))
                    .take(count)
                    .collect();
            }
        };
        let mut answers = BTreeMap::new();
        let mut lanes: BTreeMap<Lane, Vec<(u64, Event)>> = BTreeMap::new();
        for (seq, event) in (first..).zip(events) {
            match self.check(&event, now) {
                Ok(()) => lanes.entry(event.lane().clone()).or_default().push((seq, event)),
                Err(error) => drop(answers.insert(seq, Err(error))),
            }
        }
        let holds = match self.judge_leavers(&lanes, now).await {
            Ok(holds) => holds,
            Err(error) => {
                let error = Arc::new(OutboxError::from(error));
                for (seq, _) in lanes.into_values().flatten() {
                    answers.insert(seq, Err(AcceptError::Outbox(Arc::clone(&error))));
                }
                return answers.into_values().collect();
            }
        };
        let taken = lanes.into_iter().map(|(lane, events)| {
            let holds = holds.contains(&lane.connector);
            async move { self.join(&lane, &events, holds, now).await }
        });
        let mut taken = stream::iter(taken).buffer_unordered(LANES_TOGETHER);
        while let Some(lane) = taken.next().await {
            answers.extend(lane);
        }
        drop(taken);
        for connector in holds {
            // They are held, whether that can be told now or by the next pass.
            drop(self.tell_held(&connector).await);
        }
        answers.into_values().collect()
    }

    fn check(&self, event: &Event, now: DateTime<Utc>) -> Result<(), AcceptError> {
        event.check()?;
        if event.time().signed_duration_since(now) > self.options.clock_skew_max {
            return Err(AcceptError::InFuture(event.time()));
        }
        Ok(())
    }

    /// Connectors whose leavers of this call are held. Those that go on are counted first: after a crash in between, too many are held
    /// rather than too few.
    async fn judge_leavers(
        &self,
        lanes: &BTreeMap<Lane, Vec<(u64, Event)>>,
        now: DateTime<Utc>,
    ) -> Result<BTreeSet<ConnectorId>, StoreError> {
        let mut leavers: BTreeMap<&ConnectorId, u64> = BTreeMap::new();
        for (lane, events) in lanes {
            for (_, event) in events.iter().filter(|(_, event)| matches!(event.intent(), Intent::Deprovision))
            {
                // What cannot be read is judged as if it were new.
                if of_record(self.store.event(event.id()).await)?.is_none() {
                    let known = of_record(self.together.load(lane).await)?;
                    let has_left = |standing| matches!(standing, Standing::Deprovisioned(_));
                    if !known.is_some_and(|known| has_left(known.record.intended.standing())) {
                        let count = leavers.entry(&lane.connector).or_default();
                        *count = count.saturating_add(1);
                    }
                }
            }
        }
        let mut held = BTreeSet::new();
        for (connector, new) in leavers {
            if !self.admit(connector, new, now).await? {
                held.insert(connector.clone());
            }
        }
        Ok(held)
    }

    async fn admit(&self, connector: &ConnectorId, new: u64, now: DateTime<Utc>) -> Result<bool, StoreError> {
        for _ in 0..CONFLICTS_MAX {
            let stored = match self.store.connector(connector).await {
                // Who left before cannot be counted, and these are judged by themselves: nobody stays in for that.
                Err(error) if error.is_of_record() => {
                    let active = self.store.counts(connector).await?.active;
                    let record = ConnectorRecord::new(connector.clone());
                    let error = error.into();
                    self.options.observer.stuck(&Stuck { connector, lane: None, error: &error, at: now });
                    return Ok(self.options.guard.admits(&record, new, active, now));
                }
                stored => stored?,
            };
            let mut record = stored.unwrap_or_else(|| ConnectorRecord::new(connector.clone()));
            let active = self.store.counts(connector).await?.active;
            if !self.options.guard.admits(&record, new, active, now) {
                return Ok(false);
            }
            self.options.guard.note(&mut record, new, now);
            let batch = Batch { connectors: vec![record], ..Batch::default() };
            if self.together.commit(batch).await? == Committed::Done {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the events of one lane in.
    async fn join(
        &self,
        lane: &Lane,
        events: &[(u64, Event)],
        holds: bool,
        now: DateTime<Utc>,
    ) -> Vec<(u64, Result<Accepted, AcceptError>)> {
        match self.try_join(lane, events, holds, now).await {
            Ok(answers) => answers,
            Err(error) => {
                let is_of_lane = error.is_of_lane();
                let error = Arc::new(error);
                let refused = |_| {
                    let error = Arc::clone(&error);
                    if is_of_lane {
                        AcceptError::Stuck(lane.clone(), error)
                    } else {
                        AcceptError::Outbox(error)
                    }
                };
                events.iter().map(|(seq, _)| (*seq, Err(refused(seq)))).collect()
            }
        }
    }

    async fn try_join(
        &self,
        lane: &Lane,
        events: &[(u64, Event)],
        holds: bool,
        now: DateTime<Utc>,
    ) -> Result<Vec<(u64, Result<Accepted, AcceptError>)>, OutboxError> {
        for _ in 0..CONFLICTS_MAX {
            let loaded = self.together.load(lane).await?;
            let Loaded { record, open } =
                loaded.unwrap_or_else(|| Loaded { record: LaneRecord::new(lane.clone()), open: Vec::new() });
            let last_held = match &record.last_held {
                Some(id) if record.held >= LANE_HELD_MAX => self.store.event(id).await?,
                Some(_) | None => None,
            };
            let mut joining = Joining::new(record, open, last_held, now);
            let mut names: BTreeMap<EventId, Event> = BTreeMap::new();
            let mut answers = Vec::with_capacity(events.len());
            for (seq, event) in events {
                let known = match names.get(event.id()) {
                    Some(known) => Some(known.clone()),
                    None => self.store.event(event.id()).await?.map(|known| known.event),
                };
                let answer = match known {
                    Some(known) if known == *event => Ok(Accepted::Already),
                    Some(_) => Err(AcceptError::Different(event.id().clone())),
                    None => match self.crowded(&joining, event).await? {
                        Some(name) => Err(AcceptError::TooManyHolders(name)),
                        None => joining.take(event, *seq, holds),
                    },
                };
                if answer.is_ok() {
                    names.insert(event.id().clone(), event.clone());
                }
                answers.push((*seq, answer));
            }
            let batch = joining.batch();
            if batch.events.is_empty() {
                return Ok(answers);
            }
            let leaves = events.iter().any(|(_, event)| matches!(event.intent(), Intent::Deprovision));
            if self.together.commit(batch).await? == Committed::Done {
                if leaves {
                    self.leaver.notify_one();
                }
                return Ok(answers);
            }
        }
        Err(OutboxError::Contended(lane.clone()))
    }

    /// A unique value, by its name, that too many others are to have already.
    async fn crowded(&self, joining: &Joining, event: &Event) -> Result<Option<String>, OutboxError> {
        for (name, value) in event.intent().claims() {
            if !joining.has(name, value) {
                let connector = &event.lane().connector;
                let holders = self.store.holders(connector, name, value, None, HOLDERS_MAX).await?;
                if holders.len() >= HOLDERS_MAX {
                    return Ok(Some(name.clone()));
                }
            }
        }
        Ok(None)
    }
}

/// Counts an event in that joins its lane, and gives the lane its place.
pub(super) fn enqueue(record: &mut LaneRecord, event: &EventRecord) {
    record.open = record.open.saturating_add(1);
    record.bytes = record.bytes.saturating_add(json_bytes(&event.event));
    record.counts.add(event);
    let claims = event.event.intent().claims();
    record.holds.extend(claims.map(|(name, value)| (name.clone(), value.clone())));
    give_place(record, event);
}

/// Has a lane look at what has joined it.
pub(super) fn give_place(record: &mut LaneRecord, event: &EventRecord) {
    let class = replay::class(event.event.intent());
    let order = event.order;
    record.place = Some(match record.place {
        Some(place) if place.class == class => Place { order: place.order.min(order), ..place },
        Some(place) if place.class < class => place,
        // What goes before all else there does not wait for what failed.
        Some(_) | None => Place { class, order, due_at: None },
    });
}
