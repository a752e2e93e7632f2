//! What people decide: approvals, exceptions, giving up.

use chrono::{DateTime, Utc};

use super::intake::enqueue;
use super::{CONFLICTS_MAX, Outbox, OutboxError};
use crate::event::Lane;
use crate::evidence;
use crate::id::{ConnectorId, EventId};
use crate::lane::{EventRecord, EventState, LaneRecord, Place, Waiters};
use crate::replay;
use crate::store::{Batch, Committed, HeldEvent, Loaded, OutboxStore};

/// Held events that are read at a time.
const HELD_PAGE: usize = 256;

/// That something may stay as it is for a while, and who answers for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exception {
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until when; the event is tried again then.
    pub expires_at: DateTime<Utc>,
}

/// What became of leavers that were held.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Approved {
    /// So many go on.
    pub released: u64,
    /// Numbers of those that are held still: they, or their lanes, cannot be read, or others write there all the time.
    pub stuck: Vec<u64>,
}

impl<S: OutboxStore> Outbox<S> {
    /// Leavers held at a connector with their numbers, oldest first, after this number. One that cannot be read is an error of its
    /// own.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn held(
        &self,
        connector: &ConnectorId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HeldEvent>, OutboxError> {
        Ok(self.store.held(connector, after, limit).await?)
    }

    /// Lets all leavers go on that are held at a connector. One of whom nothing can be read or written keeps no other back.
    ///
    /// # Errors
    /// Where the store fails; those that went on until then do.
    pub async fn approve(&self, connector: &ConnectorId) -> Result<Approved, OutboxError> {
        let (mut approved, mut after) = (Approved::default(), 0);
        loop {
            let page = self.store.held(connector, after, HELD_PAGE).await?;
            let Some(last) = page.last() else {
                self.tell_held(connector).await?;
                return Ok(approved);
            };
            after = last.0;
            for (seq, held) in page {
                let released = match held {
                    Ok(held) => self.judge(held.event.id(), release).await,
                    Err(error) => Err(error.into()),
                };
                match released {
                    Ok(_) => approved.released = approved.released.saturating_add(1),
                    // Somebody else has judged it meanwhile.
                    Err(OutboxError::NoSuchEvent(_)) => {}
                    Err(error) if error.is_of_lane() => approved.stuck.push(seq),
                    Err(error) => return Err(error),
                }
                // A pass that runs is to look at once.
                self.leaver.notify_one();
            }
        }
    }

    /// Says that a held leaver was wrong. Nothing happens to the account.
    ///
    /// # Errors
    /// Where it is not held, or where the store fails.
    pub async fn reject(
        &self,
        id: &EventId,
        by: &str,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), OutboxError> {
        let state = EventState::Rejected { at: now, by: by.to_owned(), reason: reason.to_owned() };
        let lane = self
            .judge(id, |record, event| evidence::close(event, state.clone(), &mut record.evidence_hash))
            .await?;
        self.options.observer.settled(&lane);
        self.tell_held(&lane.connector).await
    }

    /// Says how many leavers are held at a connector now.
    pub(super) async fn tell_held(&self, connector: &ConnectorId) -> Result<(), OutboxError> {
        let held = self.store.counts(connector).await?.held;
        self.options.observer.held(connector, held);
        Ok(())
    }

    /// Changes an event that is held, once: of two who judge it, one finds that it is not held any more.
    async fn judge(
        &self,
        id: &EventId,
        change: impl Fn(&mut LaneRecord, &mut EventRecord),
    ) -> Result<Lane, OutboxError> {
        let missing = || OutboxError::NoSuchEvent(id.clone());
        let lane = self.store.event(id).await?.ok_or_else(missing)?.event.lane().clone();
        for _ in 0..CONFLICTS_MAX {
            // The lane before the event: whoever changes the event meanwhile writes the lane, too.
            let mut record = self.together.load(&lane).await?.ok_or_else(missing)?.record;
            let held = self.store.event(id).await?;
            let held = held.filter(|held| matches!(held.state, EventState::Held { .. }));
            let mut event = held.ok_or_else(missing)?;
            record.held = record.held.saturating_sub(1);
            change(&mut record, &mut event);
            record.count_standing();
            let batch = Batch { lanes: vec![record], events: vec![event], ..Batch::default() };
            if self.together.commit(batch).await? == Committed::Done {
                return Ok(lane);
            }
        }
        Err(OutboxError::Contended(lane))
    }

    /// Tries an event again now, a blocked or excepted one too.
    ///
    /// # Errors
    /// Where no event of that name waits, or where the store fails.
    pub async fn retry(&self, id: &EventId, now: DateTime<Utc>) -> Result<(), OutboxError> {
        self.decide(id, |event, _| event.state = EventState::RetryAt { retry_at: now }).await
    }

    /// Has an event wait until the exception ends.
    ///
    /// # Errors
    /// Where the exception says too little, where no event of that name waits, or where the store fails.
    pub async fn except(
        &self,
        id: &EventId,
        exception: &Exception,
        now: DateTime<Utc>,
    ) -> Result<(), OutboxError> {
        if exception.owner.is_empty() || exception.reason.is_empty() || exception.expires_at <= now {
            return Err(OutboxError::Exception);
        }
        let Exception { owner, reason, expires_at } = exception.clone();
        let state = EventState::Excepted { owner, reason, expires_at, since: now };
        self.decide(id, |event, _| event.state = state.clone()).await
    }

    /// Gives an event up: it never happens, and what comes after it in its lane goes on.
    ///
    /// # Errors
    /// Where no event of that name waits, or where the store fails.
    pub async fn abandon(
        &self,
        id: &EventId,
        by: &str,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), OutboxError> {
        let state = EventState::Dead { at: now, by: by.to_owned(), reason: reason.to_owned() };
        self.decide(id, |event, record| evidence::close(event, state.clone(), &mut record.evidence_hash))
            .await
    }

    /// Changes an event that waits and is not being sent.
    async fn decide(
        &self,
        id: &EventId,
        change: impl Fn(&mut EventRecord, &mut LaneRecord),
    ) -> Result<(), OutboxError> {
        let missing = || OutboxError::NoSuchEvent(id.clone());
        let known = self.store.event(id).await?.ok_or_else(missing)?;
        let lane = known.event.lane();
        self.change(lane, None, |Loaded { mut record, mut open }| {
            let at = open.iter().position(|event| event.event.id() == id).ok_or_else(missing)?;
            let mut event = open.remove(at);
            if record.in_flight.is_some_and(|in_flight| in_flight.order == event.order) {
                return Err(missing());
            }
            change(&mut event, &mut record);
            if !event.state.is_closed() {
                open.insert(at, event.clone());
            } else if record.waiters == Waiters::Some {
                // Who waited for it waits no longer.
                record.waiters = Waiters::Wake;
            }
            record.recount(&open);
            // Its next claim finds out what there is to do.
            let class = replay::class(event.event.intent());
            let class = record.place.map_or(class, |place| place.class.min(class));
            record.place = Some(Place { class, order: event.order, due_at: None });
            Ok((Batch { lanes: vec![record], events: vec![event], ..Batch::default() }, ()))
        })
        .await?;
        self.options.observer.settled(lane);
        Ok(())
    }
}

fn release(record: &mut LaneRecord, event: &mut EventRecord) {
    event.state = EventState::Pending;
    record.intended.apply(event.order, event.event.intent());
    enqueue(record, event);
}
