//! A pass over all that is due: leavers first, a few at a time everywhere, and no hammering at what is down.

use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::deliver::{Clock, Ended};
use super::{Outbox, OutboxError};
use crate::connector::{Connector, Connectors, Disposition, Failure, FailureKind};
use crate::event::Lane;
use crate::id::ConnectorId;
use crate::lane::Class;
use crate::observe::{Admission, Attempted, Cycle, Left, Stuck};
use crate::store::{Claim, Lease, OutboxStore, StoreError};

/// After so long a connector that failed as a whole is tried again.
const SUSPECT_RETRY: TimeDelta = TimeDelta::seconds(5);

/// What a pass did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Worked {
    /// Events that were confirmed.
    pub delivered: u64,
    /// Events that another one made needless.
    pub superseded: u64,
    /// Attempts that failed, probes included.
    pub failed: u64,
    /// Lanes that nothing could be done about: what is stored of them cannot be read, or others write there all the time.
    pub stuck: u64,
    /// When something is next due; not before the time at which the pass ended. `None` until something is accepted.
    pub next_at: Option<DateTime<Utc>>,
}

/// A connector during a pass.
struct Pass {
    connector: Arc<dyn Connector>,
    phase: Phase,
    claimed: VecDeque<Lease>,
    running: usize,
    leavers: usize,
    failures_in_row: u32,
    delivered: u64,
    superseded: u64,
    failed: u64,
    /// How it failed as a whole, where it did.
    suspect: Option<Failure>,
    was_suspect: bool,
    stuck: u64,
    was_due: bool,
    /// Leavers were accepted while it ran.
    has_live_leavers: bool,
    /// Time was up before all was done.
    is_cut: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Probing,
    /// There may be more to claim.
    Open,
    /// Nothing was to be claimed; a step that ends may bring more.
    Drained,
    /// Not in this pass any more.
    Stopped,
}

enum Done {
    Probe(Result<(), Failure>),
    Step(Slot, Lane, Result<Ended, OutboxError>),
}

#[derive(Clone, Copy)]
enum Slot {
    Any,
    Reserve,
}

type Running<'a> = FuturesUnordered<BoxFuture<'a, (ConnectorId, Done)>>;

impl<S: OutboxStore> Outbox<S> {
    /// Delivers what is due until nothing is, leavers first; what fails is left for a later pass, and so is what
    /// [`Options::pass_time`](super::Options::pass_time) leaves no time for. Passes of one outbox go one after the
    /// other. Memory does not grow with the queue.
    ///
    /// # Errors
    /// Where the store fails; nothing is lost by it.
    pub async fn work(&self, connectors: &Connectors, now: DateTime<Utc>) -> Result<Worked, OutboxError> {
        let _pass = self.pass.lock().await;
        // Of a pass that was dropped.
        self.store.release(self.worker).await?;
        let clock = Clock::new(now);
        let mut passes = BTreeMap::new();
        let mut running: Running<'_> = FuturesUnordered::new();
        for (id, connector) in connectors.iter() {
            let pass = self.begin(id, connector, clock, &mut running).await?;
            passes.extend(pass.map(|pass| (id.clone(), pass)));
        }
        for (id, pass) in &mut passes {
            self.fill(id, pass, clock, &mut running).await?;
        }
        while !running.is_empty() {
            let was_full = running.len() >= self.options.concurrency;
            let done = tokio::select! {
                done = running.next() => done,
                () = self.leaver.notified() => {
                    for (id, connector) in connectors.iter() {
                        // Theirs may be a connector that had nothing to do until now.
                        if !passes.contains_key(id) {
                            let pass = self.begin(id, connector, clock, &mut running).await?;
                            passes.extend(pass.map(|pass| (id.clone(), pass)));
                        }
                        let Some(pass) = passes.get_mut(id) else { continue };
                        pass.has_live_leavers = true;
                        self.fill_reserve(id, pass, clock, &mut running).await?;
                    }
                    continue;
                }
            };
            let Some((id, done)) = done else { break };
            let Some(pass) = passes.get_mut(&id) else { continue };
            match done {
                Done::Probe(answer) => {
                    if answer.is_ok() {
                        self.outages.answers(&id, clock.now());
                    }
                    pass.probed(answer);
                }
                Done::Step(slot, lane, ended) => {
                    pass.free(slot);
                    match ended {
                        Ok(ended) => pass.stepped(ended, self.options.failures_to_stop),
                        Err(error) => self.stuck(&id, Some(&lane), pass, error, clock)?,
                    }
                }
            }
            self.fill(&id, pass, clock, &mut running).await?;
            if pass.has_live_leavers {
                // One came while the reserve was taken, or while its lane had something in flight.
                self.fill_reserve(&id, pass, clock, &mut running).await?;
            }
            if was_full {
                for (id, pass) in &mut passes {
                    self.fill(id, pass, clock, &mut running).await?;
                }
            }
        }
        drop(running);
        self.store.release(self.worker).await?;
        self.end(passes, connectors, clock).await
    }

    /// Has a connector take part, where it may be used and there is something to do.
    async fn begin<'a>(
        &'a self,
        id: &ConnectorId,
        connector: &Arc<dyn Connector>,
        clock: Clock,
        running: &mut Running<'a>,
    ) -> Result<Option<Pass>, OutboxError> {
        let admission = self.options.gate.admission(id, clock.now());
        if admission == Admission::Stop {
            return Ok(None);
        }
        let (outage, unreadable) = match self.outage(id).await {
            Err(error) if error.is_of_record() => (None, Some(error)),
            outage => (outage?, None),
        };
        let is_suspect = outage.is_some_and(|outage| outage.ended_at.is_none());
        let was_due = self.is_due(id, clock).await?;
        let probes = admission == Admission::Probe || (was_due && is_suspect);
        if !probes && !was_due {
            return Ok(None);
        }
        let phase = if probes { Phase::Probing } else { Phase::Open };
        if probes {
            running.push(self.probe(id.clone(), Arc::clone(connector), clock).boxed());
        }
        let mut pass = Pass::new(Arc::clone(connector), phase, was_due, is_suspect);
        if let Some(error) = unreadable {
            // What is known of its lanes goes out all the same.
            self.stuck(id, None, &mut pass, error.into(), clock)?;
        }
        Ok(Some(pass))
    }

    /// Whether anything is due that was not tried in this pass.
    async fn is_due(&self, id: &ConnectorId, clock: Clock) -> Result<bool, StoreError> {
        let latest = self.options.due_latest(clock.now());
        Ok(self.store.next_due(id).await?.is_some_and(|due| due <= clock.start() || due > latest))
    }

    async fn probe(
        &self,
        id: ConnectorId,
        connector: Arc<dyn Connector>,
        clock: Clock,
    ) -> (ConnectorId, Done) {
        let started = Instant::now();
        let probe = AssertUnwindSafe(connector.probe()).catch_unwind();
        let answer = match tokio::time::timeout(self.options.operation_timeout, probe).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::new(FailureKind::Server, "the connector panicked")),
            Err(_) => Err(Failure::unknown("no answer in time")),
        };
        self.options.observer.attempted(&Attempted {
            connector: &id,
            operation: crate::observe::PROBE,
            at: clock.now(),
            duration: started.elapsed(),
            failure: answer.as_ref().err(),
        });
        (id, Done::Probe(answer))
    }

    /// Starts as many steps as there are slots.
    async fn fill<'a>(
        &'a self,
        id: &ConnectorId,
        pass: &mut Pass,
        clock: Clock,
        running: &mut Running<'a>,
    ) -> Result<(), OutboxError> {
        let options = &self.options;
        // One that is slow and has much to do must not keep the others from their next pass.
        let lasted = clock.now().signed_duration_since(clock.start()).to_std().unwrap_or_default();
        if lasted >= options.pass_time {
            pass.is_cut |= pass.phase == Phase::Open || !pass.claimed.is_empty();
            return Ok(());
        }
        while matches!(pass.phase, Phase::Open | Phase::Drained)
            && pass.running < options.connector_concurrency
            && running.len() < options.concurrency
        {
            if pass.claimed.is_empty() && pass.phase == Phase::Open {
                let limit = options.connector_concurrency;
                let leases = self.claim(id, Class::Other, limit, pass, clock).await?;
                if leases.len() < limit {
                    pass.phase = Phase::Drained;
                }
                pass.claimed.extend(leases);
            }
            let Some(lease) = pass.claimed.pop_front() else { break };
            pass.running = pass.running.saturating_add(1);
            running.push(self.start(id.clone(), lease, Slot::Any, pass, clock));
        }
        Ok(())
    }

    /// Starts leavers beyond what else a connector may do at a time, so that they do not wait for what hangs.
    async fn fill_reserve<'a>(
        &'a self,
        id: &ConnectorId,
        pass: &mut Pass,
        clock: Clock,
        running: &mut Running<'a>,
    ) -> Result<(), OutboxError> {
        let free = self.options.leaver_reserve.saturating_sub(pass.leavers);
        if matches!(pass.phase, Phase::Open | Phase::Drained) && free > 0 {
            for lease in self.claim(id, Class::Leaver, free, pass, clock).await? {
                pass.leavers = pass.leavers.saturating_add(1);
                running.push(self.start(id.clone(), lease, Slot::Reserve, pass, clock));
            }
        }
        Ok(())
    }

    async fn claim(
        &self,
        connector: &ConnectorId,
        class: Class,
        limit: usize,
        pass: &mut Pass,
        clock: Clock,
    ) -> Result<Vec<Lease>, OutboxError> {
        let now = clock.now();
        // Longer than the operation can last, with the wait for a slot and what is written around it.
        let lease = TimeDelta::from_std(self.options.operation_timeout.saturating_mul(4));
        let until = now.checked_add_signed(lease.unwrap_or(TimeDelta::MAX));
        let claim = Claim {
            connector: connector.clone(),
            worker: self.worker,
            class,
            due: clock.start(),
            due_latest: self.options.due_latest(now),
            now,
            until: until.unwrap_or(DateTime::<Utc>::MAX_UTC),
            limit,
        };
        match self.store.claim(claim).await {
            Ok(lanes) => Ok(lanes),
            Err(error) => {
                self.stuck(connector, None, pass, error.into(), clock)?;
                pass.phase = Phase::Stopped;
                Ok(Vec::new())
            }
        }
    }

    /// Leaves a lane alone for this pass, or the queue of its connector: the others go on. Its lease ends with the pass.
    fn stuck(
        &self,
        connector: &ConnectorId,
        lane: Option<&Lane>,
        pass: &mut Pass,
        error: OutboxError,
        clock: Clock,
    ) -> Result<(), OutboxError> {
        if !error.is_of_lane() {
            return Err(error);
        }
        pass.stuck = pass.stuck.saturating_add(1);
        self.options.observer.stuck(&Stuck { connector, lane, error: &error, at: clock.now() });
        Ok(())
    }

    fn start<'a>(
        &'a self,
        id: ConnectorId,
        lease: Lease,
        slot: Slot,
        pass: &Pass,
        clock: Clock,
    ) -> BoxFuture<'a, (ConnectorId, Done)> {
        let connector = Arc::clone(&pass.connector);
        async move {
            let ended = self.step(&lease, connector.as_ref(), clock).await;
            (id, Done::Step(slot, lease.lane, ended))
        }
        .boxed()
    }

    async fn end(
        &self,
        passes: BTreeMap<ConnectorId, Pass>,
        connectors: &Connectors,
        clock: Clock,
    ) -> Result<Worked, OutboxError> {
        let mut worked = Worked::default();
        let now = clock.now();
        for (id, pass) in &passes {
            let left = self.is_due(id, clock).await?;
            // What was accepted since the pass began is its own next one's; due before and not touched is another matter.
            let is_idle = pass.was_due && pass.delivered == 0 && pass.superseded == 0;
            let left_due = (left && is_idle && !pass.is_cut) || pass.failed > 0 || pass.stuck > 0;
            self.note_outage(id, pass.was_suspect, pass.suspect.as_ref(), now).await?;
            worked.delivered = worked.delivered.saturating_add(pass.delivered);
            worked.superseded = worked.superseded.saturating_add(pass.superseded);
            worked.failed = worked.failed.saturating_add(pass.failed);
            worked.stuck = worked.stuck.saturating_add(pass.stuck);
            self.options.observer.cycle(&Cycle {
                connector: id,
                started_at: clock.start(),
                ended_at: now,
                delivered: pass.delivered,
                superseded: pass.superseded,
                failed: pass.failed,
                left_due: if left_due { Left::Some } else { Left::Nothing },
                counts: self.store.counts(id).await?,
            });
        }
        for (id, _) in connectors.iter() {
            let Some(due) = self.store.next_due(id).await? else { continue };
            let is_stopped = self.outages.is_on(id) || passes.get(id).is_none_or(|pass| pass.stuck > 0);
            let soonest = if is_stopped { now.checked_add_signed(SUSPECT_RETRY).unwrap_or(now) } else { now };
            let next = due.min(self.options.due_latest(now)).max(soonest);
            worked.next_at = Some(worked.next_at.map_or(next, |known| known.min(next)));
        }
        Ok(worked)
    }
}

impl Pass {
    fn new(connector: Arc<dyn Connector>, phase: Phase, was_due: bool, was_suspect: bool) -> Self {
        Self {
            connector,
            phase,
            claimed: VecDeque::new(),
            running: 0,
            leavers: 0,
            failures_in_row: 0,
            delivered: 0,
            superseded: 0,
            failed: 0,
            stuck: 0,
            suspect: None,
            was_suspect,
            was_due,
            has_live_leavers: false,
            is_cut: false,
        }
    }

    fn probed(&mut self, answer: Result<(), Failure>) {
        match answer {
            Ok(()) if self.was_due => self.phase = Phase::Open,
            Ok(()) => self.phase = Phase::Drained,
            Err(failure) => {
                self.failed = self.failed.saturating_add(1);
                self.suspect = Some(failure);
                self.phase = Phase::Stopped;
            }
        }
    }

    fn free(&mut self, slot: Slot) {
        match slot {
            Slot::Reserve => self.leavers = self.leavers.saturating_sub(1),
            Slot::Any => self.running = self.running.saturating_sub(1),
        }
    }

    fn stepped(&mut self, ended: Ended, failures_to_stop: u32) {
        self.delivered = self.delivered.saturating_add(ended.delivered);
        self.superseded = self.superseded.saturating_add(ended.superseded);
        if self.phase == Phase::Drained {
            self.phase = Phase::Open;
        }
        let Some(failure) = ended.failure else {
            if ended.delivered > 0 {
                self.failures_in_row = 0;
            }
            return;
        };
        self.failed = self.failed.saturating_add(1);
        if failure.kind() == FailureKind::Connectivity {
            self.failures_in_row = self.failures_in_row.saturating_add(1);
        }
        let stops = matches!(failure.disposition(), Disposition::Stop | Disposition::Wait(_));
        if stops || self.failures_in_row >= failures_to_stop {
            self.suspect = Some(failure);
            self.phase = Phase::Stopped;
        }
    }
}
