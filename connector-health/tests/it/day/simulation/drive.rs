//! The day itself, wired as somebody would who uses the crate: an outbox that is told what happens and works when something is due, a
//! fleet that watches it, a desk that brings alerts, and people who do what the alerts ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::alert::{Alert, AlertDesk, AlertRules, AlertSink, MemoryAlerts, Occasion, SinkError};
use connector_health::event::{Changes, Lane};
use connector_health::lane::{EventState, QueueCounts};
use connector_health::monitor::FailureClass;
use connector_health::observe::{Admission, Attempted, Cycle, Gate, Left, Observer};
use connector_health::outbox::Accepted;
use connector_health::{
    ConnectorId, Connectors, Event, Fleet, MemoryStore, Observation, Options, Outbox, OutboxStore as _,
    Thresholds, Tier,
};
use tokio::sync::Notify;

use super::application::{Application, Honesty, Truth};
use super::clock::Clock;
use super::fault::{self, Kind};
use super::feed::{Feed, GROUPS, connector, group};

/// How large a day is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) people: usize,
    pub(crate) applications: usize,
    pub(crate) hours: i64,
}

/// Something that is not as it should be, for the oracle to find.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Sabotage {
    #[default]
    None,
    /// One application's connector says that leavers have no access, and does nothing.
    FalseConfirmation,
    /// Nothing is ever sent to an application again that failed once.
    NothingAfterFailure,
    /// The monitors are told of what went well only.
    DeafMonitors,
    /// Alerts get lost.
    LostAlerts,
    /// Every alert is said twice.
    RepeatedAlerts,
    /// What HR says of leavers is taken for something that happened an hour later.
    WrongTimes,
}

/// What there is to judge by in the end.
pub(crate) struct Day {
    pub(crate) midnight: DateTime<Utc>,
    pub(crate) feed: Feed,
    pub(crate) applications: Vec<Truth>,
    pub(crate) outbox: Outbox<MemoryStore>,
    /// What happened and for which application, and when nothing kept it from going there any more: said, and approved where it was
    /// held.
    pub(crate) known: BTreeMap<(usize, usize), DateTime<Utc>>,
    /// What was held at first.
    pub(crate) held: BTreeSet<(usize, usize)>,
    /// What the receiver of alerts got, in order.
    pub(crate) alerts: Vec<Alert>,
    /// How connectors were shown, whenever that changed.
    pub(crate) shown: Vec<(DateTime<Utc>, usize, Tier)>,
    pub(crate) ended_at: DateTime<Utc>,
    pub(crate) is_quiet: bool,
    /// How often the outbox was asked to work.
    pub(crate) passes: usize,
    /// How long after it became so something of an application is known to be so.
    pub(crate) truth_lag: TimeDelta,
}

/// Somebody who reads alerts.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<Alert>>>, Arc<Notify>);

impl Inbox {
    fn after(&self, seen: usize) -> Vec<Alert> {
        let alerts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        alerts.iter().skip(seen).cloned().collect()
    }
}

#[async_trait]
impl AlertSink for Inbox {
    async fn deliver(&self, alert: &Alert, _: DateTime<Utc>) -> Result<(), SinkError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(alert.clone());
        self.1.notify_one();
        Ok(())
    }
}

/// Keeps failures from the monitors.
struct Deaf(Arc<Fleet>);

impl Observer for Deaf {
    fn attempted(&self, attempted: &Attempted<'_>) {
        self.0.attempted(&Attempted { failure: None, ..attempted.clone() });
    }

    fn cycle(&self, cycle: &Cycle<'_>) {
        let counts = QueueCounts::default();
        self.0.cycle(&Cycle { failed: 0, left_due: Left::Nothing, counts, ..cycle.clone() });
    }
}

/// Shuts for good.
#[derive(Default)]
struct Shutting(Mutex<BTreeSet<ConnectorId>>, Option<Arc<Fleet>>);

impl Gate for Shutting {
    fn admission(&self, connector: &ConnectorId, now: DateTime<Utc>) -> Admission {
        let mut shut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(fleet) = &self.1 else { return Admission::Stop };
        let admission = fleet.admission(connector, now);
        if admission == Admission::Stop {
            shut.insert(connector.clone());
        }
        if shut.contains(connector) { Admission::Stop } else { admission }
    }
}

struct Running<'a> {
    clock: Clock,
    feed: &'a Feed,
    applications: &'a [Application],
    outbox: &'a Outbox<MemoryStore>,
    connectors: &'a Connectors,
    fleet: &'a Fleet,
    desk: &'a AlertDesk<MemoryAlerts>,
    inbox: &'a Inbox,
    wake: Notify,
    known: Mutex<BTreeMap<(usize, usize), DateTime<Utc>>>,
    held: Mutex<BTreeSet<(usize, usize)>>,
    /// Of these, those that nobody has approved yet.
    waiting: Mutex<Vec<(usize, usize)>>,
    shown: Mutex<Vec<(DateTime<Utc>, usize, Tier)>>,
    passes: AtomicUsize,
    sabotage: Sabotage,
    /// When nothing happens any more.
    last: DateTime<Utc>,
}

/// Runs a day. The same seed is the same day.
pub(crate) async fn day(size: Size, seed: u64, sabotage: Sabotage) -> Day {
    let clock = Clock::start();
    let mut dice = fastrand::Rng::with_seed(seed);
    let application = |number: usize| {
        let lies = sabotage == Sabotage::FalseConfirmation && number == 0;
        Application::new(clock, number, seed, if lies { Honesty::SaysSo } else { Honesty::Reads })
    };
    let applications: Vec<_> = (0..size.applications).map(application).collect();
    let keeping = applications.iter().map(Application::keeps_leavers).collect();
    let feed = Feed::new(&mut dice, clock.midnight(), size.hours, size.people, keeping);
    let mut connectors = Connectors::new();
    for (number, application) in applications.iter().enumerate() {
        connectors.insert(connector(number), Arc::new(application.clone()));
    }
    let ids: Vec<_> = (0..size.applications).map(connector).collect();
    let fleet = Arc::new(Fleet::new(ids, Thresholds::default(), AlertRules::default()));
    let options = Options::default();
    let options = match sabotage {
        Sabotage::DeafMonitors => options.gate(Arc::clone(&fleet)).observer(Deaf(Arc::clone(&fleet))),
        Sabotage::NothingAfterFailure => {
            let gate = Shutting(Mutex::default(), Some(Arc::clone(&fleet)));
            options.gate(gate).observer(Arc::clone(&fleet))
        }
        _ => options.gate(Arc::clone(&fleet)).observer(Arc::clone(&fleet)),
    };
    let outbox = Outbox::open_with(MemoryStore::new(), options).await.unwrap();
    let inbox = Inbox::default();
    let sinks: Vec<(String, Arc<dyn AlertSink>)> = vec![("pager".to_owned(), Arc::new(inbox.clone()))];
    let desk = AlertDesk::open(MemoryAlerts::default(), sinks, clock.now()).await.unwrap();
    let running = Running {
        clock,
        feed: &feed,
        applications: &applications,
        outbox: &outbox,
        connectors: &connectors,
        fleet: &fleet,
        desk: &desk,
        inbox: &inbox,
        wake: Notify::new(),
        known: Mutex::default(),
        held: Mutex::default(),
        waiting: Mutex::default(),
        shown: Mutex::default(),
        passes: AtomicUsize::new(0),
        sabotage,
        last: clock.midnight() + TimeDelta::hours(size.hours),
    };
    running.found().await;
    for (number, application) in applications.iter().enumerate() {
        let mut dice = fastrand::Rng::with_seed(seed.wrapping_mul(31).wrapping_add(number as u64));
        let (faults, blips) = fault::plan(&mut dice, clock.midnight(), size.hours, &Kind::ALL);
        application.plan(faults, blips);
    }
    let is_quiet = tokio::select! {
        never = async { tokio::join!(running.work(), running.operate(), running.approve(), running.look()) } => match never.0 {},
        () = async { running.tell().await; running.until_quiet().await } => true,
        () = clock.until(running.last + TimeDelta::hours(if sabotage == Sabotage::None { 6 } else { 2 })) => false,
    };
    let passes = running.passes.into_inner();
    let (known, held, shown) = (running.known, running.held, running.shown);
    let (known, held) = (known.into_inner().unwrap(), held.into_inner().unwrap());
    let shown = shown.into_inner().unwrap();
    let mut alerts = inbox.after(0);
    match sabotage {
        Sabotage::LostAlerts => {
            let mut kept = 0;
            alerts.retain(|_| {
                kept += 1;
                kept % 3 != 0
            });
        }
        Sabotage::RepeatedAlerts => {
            alerts = alerts.into_iter().flat_map(|alert| [alert.clone(), alert]).collect();
        }
        _ => {}
    }
    let ended_at = clock.now();
    let applications = applications.iter().map(Application::truth).collect();
    let midnight = clock.midnight();
    Day {
        midnight,
        feed,
        applications,
        outbox,
        known,
        held,
        alerts,
        shown,
        ended_at,
        is_quiet,
        passes,
        truth_lag: TimeDelta::zero(),
    }
}

impl Running<'_> {
    /// Those who are there when the day begins, and the groups.
    async fn found(&self) {
        let now = self.clock.now();
        let then = now - TimeDelta::days(60);
        let mut events: Vec<Event> = (0..self.applications.len())
            .flat_map(|application| (0..GROUPS).map(move |number| (application, number)))
            .map(|(application, number)| {
                Event::group(&connector(application), &group(number), Changes::new()).occurred_at(then)
            })
            .collect();
        for happened in self.feed.happened.iter().take(self.feed.people) {
            events.extend(self.feed.events(happened));
            for application in self.feed.applications_of(happened.person) {
                self.known.lock().unwrap().insert((happened.number, *application), happened.said_at);
            }
        }
        for accepted in self.outbox.accept_all(events, now).await {
            accepted.unwrap();
        }
        loop {
            let now = self.clock.now();
            let worked = self.outbox.work(self.connectors, now).await.unwrap();
            self.fleet.advance(self.clock.now());
            let Some(next) = worked.next_at else { break };
            self.clock.until(next).await;
        }
    }

    /// What HR says, when it says it.
    async fn tell(&self) {
        let mut said: Vec<(DateTime<Utc>, usize)> = Vec::new();
        for happened in self.feed.happened.iter().skip(self.feed.people) {
            said.extend(
                [Some(happened.said_at), happened.again_at]
                    .into_iter()
                    .flatten()
                    .map(|at| (at, happened.number)),
            );
        }
        said.sort_unstable();
        let mut at = 0;
        while let Some((when, _)) = said.get(at) {
            let when = *when;
            self.clock.until(when).await;
            let together = said.iter().skip(at).take_while(|(other, _)| *other == when).count();
            let of: Vec<_> =
                said.iter().skip(at).take(together).map(|(_, number)| &self.feed.happened[*number]).collect();
            at += together;
            let mut events = Vec::new();
            let mut keys = Vec::new();
            for happened in of {
                keys.extend(
                    self.feed.applications_of(happened.person).iter().map(|app| (happened.number, *app)),
                );
                events.extend(self.feed.events(happened).into_iter().map(|event| self.falsify(event)));
            }
            let accepted = self.outbox.accept_all(events, self.clock.now()).await;
            let now = self.clock.now();
            for (key, accepted) in keys.into_iter().zip(accepted) {
                match accepted.unwrap() {
                    Accepted::Queued => drop(self.known.lock().unwrap().insert(key, now)),
                    Accepted::Held => {
                        self.held.lock().unwrap().insert(key);
                        self.waiting.lock().unwrap().push(key);
                    }
                    Accepted::Already => {}
                }
            }
            self.wake.notify_one();
        }
    }

    fn falsify(&self, event: Event) -> Event {
        let is_leaver = matches!(event.intent(), connector_health::Intent::Deprovision);
        if self.sabotage != Sabotage::WrongTimes || !is_leaver {
            return event;
        }
        let wrong = Event::person(&event.lane().connector, &subject(event.lane()), event.intent().clone());
        // As far ahead as clocks may differ, and told as late as that.
        wrong.occurred_at(event.time() + TimeDelta::minutes(4)).named(event.id().clone())
    }

    /// The service.
    async fn work(&self) -> std::convert::Infallible {
        loop {
            let worked = self.outbox.work(self.connectors, self.clock.now()).await.unwrap();
            let now = self.clock.now();
            let alerts = self.fleet.advance(now);
            self.desk.accept(&alerts, now).await.unwrap();
            self.desk.pass(now).await;
            self.passes.fetch_add(1, Ordering::Relaxed);
            let deadline = self.fleet.next_deadline(now);
            let due = worked.next_at.map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                () = self.clock.until(due.max(now + TimeDelta::seconds(1))) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// People who do what alerts ask of them, some time later.
    async fn operate(&self) -> std::convert::Infallible {
        let mut dice = fastrand::Rng::with_seed(7);
        let mut seen = 0;
        let mut due: BTreeMap<(DateTime<Utc>, usize), Kind> = BTreeMap::new();
        let mut round = self.clock.now() + TimeDelta::minutes(30);
        loop {
            let next = due.keys().next().map_or(round, |(at, _)| round.min(*at));
            tokio::select! {
                () = self.inbox.1.notified() => {}
                () = self.clock.until(next) => {}
            }
            let now = self.clock.now();
            for alert in self.inbox.after(seen) {
                seen += 1;
                let kind = match alert.failure_type {
                    FailureClass::CredentialRefused => Kind::Expired,
                    _ if alert.sample.as_ref().is_some_and(|sample| sample.contains("costCenter")) => {
                        Kind::Refuses
                    }
                    _ => continue,
                };
                if alert.occasion == Occasion::Opened {
                    let number = number(&alert.connector);
                    due.insert((now + TimeDelta::minutes(dice.i64(5..60)), number), kind);
                }
            }
            while let Some(((at, number), kind)) = due.first_key_value().map(|(key, kind)| (*key, *kind)) {
                if at > now {
                    break;
                }
                due.remove(&(at, number));
                self.applications[number].mend(kind);
                if kind == Kind::Expired {
                    self.fleet.observe(&connector(number), Observation::credential_replaced(), now);
                }
                self.retry_blocked(number).await;
                self.wake.notify_one();
            }
            if now >= round {
                // Whoever looks at what an alert is about, looks at what is blocked there.
                round = now + TimeDelta::minutes(30);
                let open: BTreeSet<_> =
                    self.fleet.open_alerts().iter().map(|alert| number(&alert.connector)).collect();
                for number in open {
                    self.retry_blocked(number).await;
                }
                self.wake.notify_one();
            }
        }
    }

    async fn retry_blocked(&self, number: usize) {
        let id = connector(number);
        let mut after: Option<Lane> = None;
        loop {
            let page = self.outbox.store().lanes(&id, after.as_ref(), 500).await.unwrap();
            let Some(last) = page.last() else { return };
            after = Some(last.lane.clone());
            for record in page.iter().filter(|record| record.open > 0) {
                let Some(loaded) = self.outbox.store().load(&record.lane).await.unwrap() else { continue };
                for event in loaded.open {
                    if matches!(event.state, EventState::Blocked { retry_at: None, .. }) {
                        self.outbox.retry(event.event.id(), self.clock.now()).await.unwrap();
                    }
                }
            }
        }
    }

    /// Somebody who lets held leavers go on, within the hour.
    async fn approve(&self) -> std::convert::Infallible {
        loop {
            self.clock.until(self.clock.now() + TimeDelta::minutes(20)).await;
            let held = std::mem::take(&mut *self.waiting.lock().unwrap());
            let of: BTreeSet<usize> = held.iter().map(|(_, application)| *application).collect();
            for number in of {
                self.outbox.approve(&connector(number)).await.unwrap();
            }
            let now = self.clock.now();
            for key in &held {
                self.known.lock().unwrap().insert(*key, now);
            }
            self.wake.notify_one();
        }
    }

    /// Somebody who looks at the status page now and then.
    async fn look(&self) -> std::convert::Infallible {
        loop {
            self.clock.until(self.clock.now() + TimeDelta::seconds(30)).await;
            self.show();
        }
    }

    fn show(&self) {
        let now = self.clock.now();
        let mut shown = self.shown.lock().unwrap();
        for health in self.fleet.health(now) {
            let number = number(&health.connector);
            let before = shown.iter().rev().find(|(_, other, _)| *other == number).map(|(_, _, tier)| *tier);
            if before != Some(health.tier) {
                shown.push((now, number, health.tier));
            }
        }
    }

    async fn until_quiet(&self) {
        self.clock.until(self.last).await;
        loop {
            let mut waits = !self.fleet.open_alerts().is_empty();
            for number in 0..self.applications.len() {
                let counts = self.outbox.counts(&connector(number)).await.unwrap();
                waits |= counts.queued() > 0 || counts.held > 0;
            }
            if !waits {
                return;
            }
            self.clock.until(self.clock.now() + TimeDelta::minutes(1)).await;
        }
    }
}

fn subject(lane: &Lane) -> connector_health::PersonId {
    match &lane.subject {
        connector_health::event::Subject::Person(person) => person.clone(),
        connector_health::event::Subject::Group(_) => unreachable!("people only"),
    }
}

/// The number of an application.
pub(crate) fn number(connector: &ConnectorId) -> usize {
    connector.as_str().trim_start_matches("app-").parse().unwrap()
}
