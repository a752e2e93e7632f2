//! What is bounded, and what stops nobody else.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::alert::{
    Alert, AlertDesk, AlertRules, AlertSink, AlertState, MemoryAlerts, Priority, SinkError,
};
use connector_health::connector::{MemoryConnector, Mode};
use connector_health::event::{Attribute, Changes, Lane};
use connector_health::lane::{EventState, HOLDERS_MAX, LANE_BYTES_MAX, LANE_HELD_MAX, LANE_OPEN_MAX};
use connector_health::monitor::FailureClass;
use connector_health::offboarding::State;
use connector_health::outbox::{AcceptError, Accepted, MassLeaverGuard, Options, Outbox};
use connector_health::store::{MemoryStore, OutboxStore};
use connector_health::{ConnectorId, Connectors, Event, EventId, Fleet, Thresholds, Tier};

use crate::company::{at, crm, has_one_outcome_each, named, options, person, run, work_out};

fn id(name: &str) -> EventId {
    EventId::new(name).unwrap()
}

fn joins(number: usize, second: i64) -> Event {
    let event = Event::provision(&crm(), &person(number), named(&format!("name{number}")));
    event.occurred_at(at(second)).named(id(&format!("joins{number}")))
}

fn leaves(number: usize, second: i64) -> Event {
    Event::deprovision(&crm(), &person(number))
        .occurred_at(at(second))
        .named(id(&format!("leaves{number} at {second}")))
}

fn titled(number: usize, second: i64, title: String) -> Event {
    let changes = Changes::from([("title".to_owned(), Some(Attribute::from(title)))]);
    Event::update(&crm(), &person(number), changes).occurred_at(at(second))
}

fn watched(options: Options) -> (Arc<Fleet>, Options) {
    let fleet = Arc::new(Fleet::new([crm()], Thresholds::default(), AlertRules::default()));
    let options = options.gate(Arc::clone(&fleet)).observer(Arc::clone(&fleet));
    (fleet, options)
}

/// Passes until then, and what was said meanwhile.
async fn watch<S: OutboxStore>(
    outbox: &Outbox<S>,
    connectors: &Connectors,
    fleet: &Fleet,
    mut now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<Alert> {
    let mut said = Vec::new();
    while now < until {
        let worked = outbox.work(connectors, now).await.unwrap();
        said.extend(fleet.advance(now));
        let next = fleet.next_deadline(now);
        now = worked.next_at.map_or(next, |due| due.min(next)).max(now + TimeDelta::seconds(1));
    }
    said
}

async fn is_confirmed<S: OutboxStore>(outbox: &Outbox<S>, event: &Event) -> bool {
    let record = outbox.event(event.id()).await.unwrap().unwrap();
    matches!(record.state, EventState::Succeeded { .. })
}

/// One lane of `crm` is spoiled: the others go on, there and elsewhere, and somebody is told.
async fn one_spoiled_lane_stops_no_other<S: OutboxStore>(store: S, spoil: impl AsyncFnOnce(S) -> S) {
    let wiki = ConnectorId::new("wiki").unwrap();
    let outbox = Outbox::open_with(store, options()).await.unwrap();
    for number in 0..40 {
        outbox.accept(leaves(number, 1), at(1)).await.unwrap();
    }
    let elsewhere = Event::deprovision(&wiki, &person(7)).occurred_at(at(1));
    outbox.accept(elsewhere.clone(), at(1)).await.unwrap();
    let store = spoil(into_store(outbox)).await;
    let fleet = Arc::new(Fleet::new([crm(), wiki.clone()], Thresholds::default(), AlertRules::default()));
    let options = options().gate(Arc::clone(&fleet)).observer(Arc::clone(&fleet));
    let outbox = Outbox::open_with(store, options).await.unwrap();
    let connectors =
        Connectors::new().with(crm(), MemoryConnector::new()).with(wiki.clone(), MemoryConnector::new());
    let worked = outbox.work(&connectors, at(2)).await.unwrap();
    assert_eq!((worked.delivered, worked.failed, worked.stuck), (40, 0, 1));
    assert_eq!(worked.next_at.map(|next| next > at(2)), Some(true), "it is tried again, and not at once");
    assert!(is_confirmed(&outbox, &leaves(6, 1)).await && is_confirmed(&outbox, &elsewhere).await);
    assert_eq!(outbox.counts(&crm()).await.unwrap().deprovisioning_queued, 1, "and counted until then");
    // What comes for it is refused, and what comes with it is not.
    let together = vec![titled(7, 2, "x".to_owned()), leaves(7, 3), leaves(50, 3)];
    let mut answers = outbox.accept_all(together, at(3)).await.into_iter();
    for _ in 0..2 {
        let refused = answers.next().unwrap();
        assert!(matches!(refused, Err(AcceptError::Stuck(..))), "{refused:?}");
    }
    assert_eq!(answers.next().unwrap().unwrap(), Accepted::Queued);
    // Their other lanes are known, and nobody is told that they are out.
    let lanes = outbox.lanes_of(&person(7)).await.unwrap();
    let readable: Vec<_> = lanes.readable.iter().map(|record| &record.lane).collect();
    assert_eq!(readable, [&Lane::person(&wiki, &person(7))]);
    assert_eq!(lanes.unreadable, [Lane::person(&crm(), &person(7))]);
    assert!(outbox.offboarding(&person(7), at(3)).await.unwrap_err().is_of_lane());
    let said = watch(&outbox, &connectors, &fleet, at(3), at(60)).await;
    assert!(is_confirmed(&outbox, &leaves(50, 3)).await);
    let said: Vec<_> = said.iter().map(|alert| (alert.connector.clone(), alert.failure_type)).collect();
    assert_eq!(said, [(crm(), FailureClass::Unreadable)]);
}

fn into_store<S: OutboxStore>(outbox: Outbox<S>) -> S {
    outbox.into_store().expect("nobody else has it")
}

#[test]
fn a_lane_in_memory_that_cannot_be_read_stops_no_other() {
    run(one_spoiled_lane_stops_no_other(MemoryStore::new(), async |store: MemoryStore| {
        store.spoil(&Lane::person(&crm(), &person(7)));
        store
    }));
}

#[cfg(feature = "redb")]
#[test]
fn a_lane_in_a_file_that_cannot_be_read_stops_no_other() {
    use connector_health::RedbStore;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(one_spoiled_lane_stops_no_other(
        RedbStore::open(&path).unwrap(),
        async |store: RedbStore| {
            drop(store);
            // Where the record of the lane lies.
            spoil_row(&path, b"\x01crm\0pp7\0");
            RedbStore::open(&path).unwrap()
        },
    ));
}

#[cfg(feature = "redb")]
fn spoil_row(path: &std::path::Path, key: &[u8]) {
    let database = redb::Database::create(path).unwrap();
    let write = database.begin_write().unwrap();
    {
        let rows = redb::TableDefinition::<&[u8], &[u8]>::new("outbox");
        let mut rows = write.open_table(rows).unwrap();
        assert!(rows.insert(key, b"spoiled".as_slice()).unwrap().is_some());
    }
    write.commit().unwrap();
}

#[cfg(feature = "redb")]
#[test]
fn a_sum_that_cannot_be_read_is_made_anew_and_nobody_waits_for_it() {
    use connector_health::RedbStore;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let outbox = Outbox::open_with(RedbStore::open(&path).unwrap(), options()).await.unwrap();
        for number in 0..3 {
            outbox.accept(leaves(number, 1), at(1)).await.unwrap();
        }
        let before = outbox.counts(&crm()).await.unwrap();
        drop(into_store(outbox));
        spoil_row(&path, b"\x0bcrm\0");
        let outbox = Outbox::open_with(RedbStore::open(&path).unwrap(), options()).await.unwrap();
        assert_eq!(outbox.counts(&crm()).await.unwrap(), before);
        outbox.accept(leaves(3, 2), at(2)).await.unwrap();
        assert_eq!(outbox.counts(&crm()).await.unwrap().deprovisioning_queued, 4);
        let connectors = Connectors::new().with(crm(), MemoryConnector::new());
        let worked = outbox.work(&connectors, at(3)).await.unwrap();
        assert_eq!((worked.delivered, worked.stuck), (4, 0));
        assert_eq!(outbox.counts(&crm()).await.unwrap().queued(), 0);
    });
}

#[test]
fn a_lane_is_bounded_in_events_and_bytes_and_whoever_leaves_is_never_refused() {
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let application = MemoryConnector::new();
        let connectors = Connectors::new().with(crm(), application.clone());
        let few = i64::from(LANE_OPEN_MAX);
        let mut events = vec![joins(1, 0), joins(2, 0)];
        events.extend((1..few).map(|second| titled(1, second, "short".to_owned())));
        let long = 40 * 1024;
        let fit = LANE_BYTES_MAX as usize / long - 1;
        events.extend((1..=fit as i64).map(|second| titled(2, second, "x".repeat(long))));
        for accepted in outbox.accept_all(events.clone(), at(few)).await {
            accepted.unwrap();
        }
        for number in [1, 2] {
            let refused = outbox.accept(titled(number, few, "x".repeat(long)), at(few)).await;
            assert!(matches!(refused, Err(AcceptError::LaneFull(_))), "{number}: {refused:?}");
        }
        // One that left long ago, those who leave again and again, and one of which a later one says more.
        let mut second = few;
        for number in [1, 2] {
            for _ in 0..3 {
                second += 1;
                events.push(leaves(number, second));
            }
            events.push(leaves(number, second - 1).named(id(&format!("late {number}"))));
        }
        for leaver in &events[events.len() - 8..] {
            assert_eq!(outbox.accept(leaver.clone(), at(second)).await.unwrap(), Accepted::Queued);
        }
        for number in [1, 2] {
            let lane = Lane::person(&crm(), &person(number));
            let open = outbox.store().load(&lane).await.unwrap().unwrap().record.open;
            assert!(open <= LANE_OPEN_MAX, "{open}");
        }
        work_out(&outbox, &connectors, at(second + 1)).await.unwrap();
        assert!(application.accounts_of(&person(1)).is_empty());
        has_one_outcome_each(&outbox, &events).await;
        // And there is room again.
        let back = Event::reactivate(&crm(), &person(1), named("name1")).occurred_at(at(second + 2));
        outbox.accept(back, at(second + 2)).await.unwrap();
    });
}

#[test]
fn a_full_lane_whose_leaver_comes_late_keeps_what_happened_after() {
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let application = MemoryConnector::new();
        let connectors = Connectors::new().with(crm(), application.clone());
        let half = i64::from(LANE_OPEN_MAX) / 2;
        let mut events: Vec<Event> = vec![joins(1, 0)];
        events.extend((1..half).map(|second| titled(1, second, "before".to_owned())));
        let back = Event::reactivate(&crm(), &person(1), named("back")).occurred_at(at(half + 1));
        events.push(back);
        events.extend((half + 2..2 * half + 1).map(|second| titled(1, second, "after".to_owned())));
        for accepted in outbox.accept_all(events.clone(), at(3 * half)).await {
            accepted.unwrap();
        }
        events.push(leaves(1, half));
        outbox.accept(leaves(1, half), at(3 * half)).await.unwrap();
        work_out(&outbox, &connectors, at(3 * half)).await.unwrap();
        let accounts = application.accounts_of(&person(1));
        assert_eq!(accounts.len(), 1);
        assert_eq!(accounts[0].attributes.get("title"), Some(&Attribute::from("after")));
        has_one_outcome_each(&outbox, &events).await;
    });
}

#[test]
fn so_many_may_be_meant_to_have_one_name_and_no_more() {
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let same = |number| Event::provision(&crm(), &person(number), named("smith")).occurred_at(at(1));
        for number in 0..HOLDERS_MAX {
            outbox.accept(same(number), at(1)).await.unwrap();
        }
        let refused = outbox.accept(same(HOLDERS_MAX), at(1)).await;
        assert!(matches!(&refused, Err(AcceptError::TooManyHolders(name)) if name == "userName"));
        // Whoever has it may say so again, and leave.
        outbox.accept(same(3).named(id("again")), at(2)).await.unwrap();
        outbox.accept(leaves(3, 3), at(3)).await.unwrap();
        outbox.accept(leaves(HOLDERS_MAX, 3), at(3)).await.unwrap();
    });
}

#[test]
fn leavers_of_one_person_that_are_held_are_bounded_and_the_last_one_remains() {
    run(async {
        let guard = MassLeaverGuard { leavers_max: 0, ..MassLeaverGuard::default() };
        let outbox = Outbox::open_with(MemoryStore::new(), options().guard(guard)).await.unwrap();
        let application = MemoryConnector::new();
        let connectors = Connectors::new().with(crm(), application.clone());
        outbox.accept(joins(1, 0), at(1)).await.unwrap();
        work_out(&outbox, &connectors, at(1)).await.unwrap();
        let many = i64::from(LANE_HELD_MAX) + 10;
        let mut events: Vec<Event> = (1..=many).map(|second| leaves(1, second)).collect();
        // The last of them comes too late.
        events.push(leaves(1, 0));
        for leaver in &events {
            assert_eq!(outbox.accept(leaver.clone(), at(many)).await.unwrap(), Accepted::Held);
        }
        assert_eq!(outbox.counts(&crm()).await.unwrap().held, u64::from(LANE_HELD_MAX));
        assert_eq!(outbox.held(&crm(), 0, 1000).await.unwrap().len(), LANE_HELD_MAX as usize);
        let last = outbox.event(leaves(1, many).id()).await.unwrap().unwrap();
        assert!(matches!(last.state, EventState::Held { .. }), "{:?}", last.state);
        assert_eq!(application.accounts_of(&person(1)).len(), 1);
        assert_eq!(outbox.approve(&crm()).await.unwrap().released, u64::from(LANE_HELD_MAX));
        work_out(&outbox, &connectors, at(many)).await.unwrap();
        assert!(application.accounts_of(&person(1)).is_empty());
        events.push(joins(1, 0));
        has_one_outcome_each(&outbox, &events).await;
    });
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Alert>>>);

#[async_trait]
impl AlertSink for Kept {
    async fn deliver(&self, alert: &Alert, _: DateTime<Utc>) -> Result<(), SinkError> {
        self.0.lock().unwrap().push(alert.clone());
        Ok(())
    }
}

#[test]
fn held_leavers_are_told_of_until_each_is_approved_or_rejected() {
    run(async {
        let guard = MassLeaverGuard { leavers_max: 2, ..MassLeaverGuard::default() };
        let (fleet, options) = watched(options().guard(guard));
        let outbox = Outbox::open_with(MemoryStore::new(), options).await.unwrap();
        let sink = Kept::default();
        let sinks: Vec<(String, Arc<dyn AlertSink>)> = vec![("kept".to_owned(), Arc::new(sink.clone()))];
        let desk = AlertDesk::open(MemoryAlerts::default(), sinks, at(0)).await.unwrap();
        let tell = async |now| {
            desk.accept(&fleet.advance(now), now).await.unwrap();
            desk.pass(now).await;
            std::mem::take(&mut *sink.0.lock().unwrap())
        };
        for accepted in outbox.accept_all((0..3).map(|number| leaves(number, 1)).collect(), at(1)).await {
            assert_eq!(accepted.unwrap(), Accepted::Held);
        }
        let told = tell(at(1)).await;
        assert_eq!(told.len(), 1, "{told:?}");
        let alert = &told[0];
        assert_eq!(
            (alert.failure_type, alert.state, alert.queue.held, alert.priority),
            (FailureClass::LeaversHeld, AlertState::Open, 3, Priority::High)
        );
        assert_eq!((alert.event_type(), alert.first_failure_at), ("leavers.held", at(1)));
        assert!(alert.to_string().contains("3 leavers are held"), "{alert}");
        // More of them are held, one at a time: what is known is how many there are, not how many came last.
        for accepted in outbox.accept_all((3..6).map(|number| leaves(number, 2)).collect(), at(2)).await {
            assert_eq!(accepted.unwrap(), Accepted::Held);
        }
        assert_eq!(fleet.health(at(2))[0].backlog.held, 6);
        assert_eq!(tell(at(2)).await, [], "it is the same alert");
        outbox.reject(leaves(0, 1).id(), "hr", "wrong file", at(3)).await.unwrap();
        assert_eq!((fleet.health(at(3))[0].backlog.held, tell(at(3)).await), (5, vec![]));
        assert_eq!(outbox.approve(&crm()).await.unwrap().released, 5);
        let told = tell(at(4)).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].state, told[0].event_type()), (AlertState::Resolved, "leavers.released"));
        assert_eq!(told[0].resolution.unwrap().superseded_by, None);
    });
}

#[test]
fn what_a_clock_that_was_ahead_has_noted_is_tried_once_it_is_set_back() {
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let application = MemoryConnector::new();
        let connectors = Connectors::new().with(crm(), application.clone());
        outbox.accept(joins(1, 0), at(1)).await.unwrap();
        work_out(&outbox, &connectors, at(1)).await.unwrap();
        outbox.accept(leaves(1, 1), at(1)).await.unwrap();
        outbox.accept(joins(2, 1), at(1)).await.unwrap();
        application.next([Mode::Lies, Mode::Lies]);
        let ahead = at(1) + TimeDelta::days(3650);
        let worked = outbox.work(&connectors, ahead).await.unwrap();
        assert_eq!((worked.failed, worked.next_at > Some(ahead)), (2, true));
        // Another process, and the right time.
        let outbox = Outbox::open_with(outbox.store().restart(), options()).await.unwrap();
        assert_eq!(outbox.work(&connectors, at(10)).await.unwrap().delivered, 2);
        // A create that was not answered is waited for from then on, and no longer.
        outbox.accept(joins(3, 1), at(10)).await.unwrap();
        application.next([Mode::Hangs]);
        outbox.work(&connectors, ahead).await.unwrap();
        outbox.accept(leaves(3, 11), at(11)).await.unwrap();
        let done = work_out(&outbox, &connectors, at(11)).await.unwrap();
        assert!(is_confirmed(&outbox, &leaves(3, 11)).await && done < at(200), "{done}");
    });
}

#[test]
fn a_change_that_keeps_failing_for_one_person_is_told_though_all_others_go_well() {
    run(async {
        for mode in [Mode::Lies, Mode::Refuses] {
            let (fleet, options) = watched(options());
            let outbox = Outbox::open_with(MemoryStore::new(), options.concurrency(1, 1)).await.unwrap();
            let application = MemoryConnector::new();
            let connectors = Connectors::new().with(crm(), application.clone());
            let said = watch(&outbox, &connectors, &fleet, at(0), at(120)).await;
            assert_eq!(said, [], "well at first");
            outbox.accept(joins(0, 120), at(120)).await.unwrap();
            // Every attempt at the first one fails; between them, many others succeed.
            let (mut now, mut said) = (at(120), Vec::new());
            for number in 1..400 {
                let due = outbox.event(joins(0, 120).id()).await.unwrap().unwrap().state;
                let is_due = match due {
                    EventState::Pending => true,
                    EventState::RetryAt { retry_at } | EventState::Unknown { retry_at } => retry_at <= now,
                    _ => false,
                };
                let second = (now - at(0)).num_seconds();
                outbox.accept(joins(number, second), now).await.unwrap();
                application.next(is_due.then_some(mode));
                outbox.work(&connectors, now).await.unwrap();
                said.extend(fleet.advance(now));
                now += TimeDelta::seconds(2);
            }
            let told: Vec<_> = said.iter().filter(|alert| alert.state == AlertState::Open).collect();
            assert_eq!(told.len(), 1, "{mode:?}: {said:?}");
            assert!(told[0].at < at(120 + 360), "{mode:?}: soon, not after twenty attempts");
            assert!(fleet.health(now)[0].tier.is_bad(), "{mode:?}: and it is not called healthy");
            // Given up by a person, it is over.
            outbox.abandon(joins(0, 120).id(), "it", "no such person", now).await.unwrap();
            let until = now + TimeDelta::minutes(20);
            let over = watch(&outbox, &connectors, &fleet, now, until).await;
            assert_eq!(over.iter().map(|alert| alert.state).collect::<Vec<_>>(), [AlertState::Resolved]);
            assert_eq!(fleet.health(until)[0].tier, Tier::Healthy);
        }
    });
}

/// Of three people who are held, what is stored of one cannot be read.
pub(crate) async fn of_held_only_the_unreadable_stays<S: OutboxStore>(outbox: &Outbox<S>) {
    let held = outbox.held(&crm(), 0, 10).await.unwrap();
    let readable: Vec<bool> = held.iter().map(|(_, event)| event.is_ok()).collect();
    assert_eq!(readable, [true, false, true]);
    let after = outbox.held(&crm(), held[1].0, 10).await.unwrap();
    assert_eq!(after.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [held[2].0]);
    // Of whom something is missing, no record says that all is well; the others' do.
    for number in [0, 2] {
        let offboarding = outbox.offboarding(&person(number), at(60)).await.unwrap();
        assert_eq!(offboarding.state, State::Open);
        assert!(offboarding.systems[0].evidence.is_some());
    }
    assert!(outbox.offboarding(&person(1), at(60)).await.unwrap_err().is_of_lane());
    let approved = outbox.approve(&crm()).await.unwrap();
    assert_eq!((approved.released, approved.stuck), (2, vec![held[1].0]));
    assert_eq!(outbox.counts(&crm()).await.unwrap().held, 1, "it is told of still");
    let application = MemoryConnector::new();
    let connectors = Connectors::new().with(crm(), application.clone());
    work_out(outbox, &connectors, at(100)).await.unwrap();
    for number in [0, 2] {
        assert_eq!(outbox.offboarding(&person(number), at(200)).await.unwrap().state, State::Complete);
    }
}

#[test]
fn a_held_leaver_that_cannot_be_read_keeps_no_other_held() {
    run(async {
        let guard = MassLeaverGuard { leavers_max: 0, always_allowed: 0, ..MassLeaverGuard::default() };
        let store = MemoryStore::new();
        let outbox = Outbox::open_with(store.clone(), Options::default().guard(guard)).await.unwrap();
        for number in 0..3 {
            outbox.accept(joins(number, 1), at(1)).await.unwrap();
            assert_eq!(outbox.accept(leaves(number, 50), at(50)).await.unwrap(), Accepted::Held);
        }
        store.spoil_held(outbox.held(&crm(), 0, 10).await.unwrap()[1].1.as_ref().unwrap());
        of_held_only_the_unreadable_stays(&outbox).await;
    });
}
