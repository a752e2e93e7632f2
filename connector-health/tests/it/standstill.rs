//! What could keep a leaver active, or a failure unseen, while all seems well.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use connector_health::alert::{AlertRules, redact};
use connector_health::connector::{
    Confirmation, Connector, Failure, FailureKind, Found, ListedAccount, MemoryConnector, Mode, Operation,
};
use connector_health::event::{Attribute, Attributes, EVENT_DEPTH_MAX, EventError};
use connector_health::lane::{EventState, QueueCounts};
use connector_health::observe::{Admission, Attempted, Cycle, Gate, Left, Observer, PROBE};
use connector_health::outbox::{AcceptError, MassLeaverGuard, Options, Outbox, OutboxError};
use connector_health::store::MemoryStore;
use connector_health::{ConnectorId, Connectors, Event, EventId, Fleet, Thresholds};
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::Value;

use crate::company::{at, crm, named, options, person, run, work_out};

fn id(name: &str) -> EventId {
    EventId::new(name).unwrap()
}

fn leaver(connector: &ConnectorId, number: usize) -> Event {
    let name = format!("leaver of {number} at {connector}");
    Event::deprovision(connector, &person(number)).occurred_at(at(1)).named(id(&name))
}

async fn is_confirmed(outbox: &Outbox<MemoryStore>, event: &Event) -> bool {
    let record = outbox.event(event.id()).await.unwrap().unwrap();
    matches!(record.state, EventState::Succeeded { .. })
}

/// Answers probes, and everything else like this.
struct Answers(Duration, Option<Failure>);

#[async_trait]
impl Connector for Answers {
    async fn probe(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ensure(&self, _: &Operation) -> Result<Confirmation, Failure> {
        tokio::time::sleep(self.0).await;
        self.1.clone().map_or_else(|| Ok(Confirmation::read(Found::Changed)), Err)
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        stream::empty().boxed()
    }
}

struct Panics;

#[async_trait]
impl Connector for Panics {
    async fn probe(&self) -> Result<(), Failure> {
        panic!("a connector's own mistake")
    }

    async fn ensure(&self, _: &Operation) -> Result<Confirmation, Failure> {
        Err(Failure::new(FailureKind::Connectivity, "connection refused"))
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        stream::empty().boxed()
    }
}

#[test]
fn what_is_nested_too_deep_to_be_read_back_is_refused_and_stops_nobody() {
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let connectors = Connectors::new().with(crm(), MemoryConnector::new());
        let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let joins = |depth| {
            let attributes = Attributes::from([("x".to_owned(), Attribute::Plain(nested(depth)))]);
            Event::provision(&crm(), &person(1), attributes).occurred_at(at(1))
        };
        // Each of them is one that a parser of JSON takes.
        for depth in [EVENT_DEPTH_MAX + 1, 122, 123, 124, 125, 126, 127] {
            let refused = outbox.accept(joins(depth), at(1)).await;
            assert!(matches!(refused, Err(AcceptError::Event(EventError::TooDeep))), "{depth}: {refused:?}");
        }
        outbox.accept(joins(EVENT_DEPTH_MAX), at(1)).await.unwrap();
        let leaves = leaver(&crm(), 2);
        outbox.accept(leaves.clone(), at(1)).await.unwrap();
        work_out(&outbox, &connectors, at(2)).await.unwrap();
        assert!(is_confirmed(&outbox, &leaves).await);
    });
}

#[test]
fn who_waits_for_an_event_that_is_given_up_goes_on() {
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options().concurrency(1, 1)).await.unwrap();
        let application = MemoryConnector::new();
        let connectors = Connectors::new().with(crm(), application.clone());
        let joins = |number, name: &str| {
            let event = Event::provision(&crm(), &person(number), named("smith"));
            event.occurred_at(at(i64::try_from(number).unwrap())).named(id(name))
        };
        application.next([Mode::Refuses]);
        outbox.accept(joins(1, "first"), at(5)).await.unwrap();
        outbox.accept(joins(2, "second"), at(5)).await.unwrap();
        let worked = outbox.work(&connectors, at(5)).await.unwrap();
        assert_eq!((worked.failed, worked.delivered, worked.next_at), (1, 0, None));
        outbox.abandon(&id("first"), "it", "never came", at(6)).await.unwrap();
        work_out(&outbox, &connectors, at(6)).await.unwrap();
        assert_eq!(application.accounts_of(&person(2)).len(), 1);
    });
}

#[test]
fn of_two_who_judge_a_held_leaver_one_finds_it_judged() {
    run(async {
        let guard = MassLeaverGuard { leavers_max: 0, ..MassLeaverGuard::default() };
        let outbox = Outbox::open_with(MemoryStore::new(), Options::default().guard(guard)).await.unwrap();
        let connectors = Connectors::new().with(crm(), MemoryConnector::new());
        let leaves = leaver(&crm(), 1);
        outbox.accept(leaves.clone(), at(2)).await.unwrap();
        let crm = crm();
        let (approved, rejected) =
            tokio::join!(outbox.approve(&crm), outbox.reject(leaves.id(), "hr", "wrong", at(3)));
        let is_rejected = match (approved.unwrap().released, rejected) {
            (1, Err(OutboxError::NoSuchEvent(_))) => false,
            (0, Ok(())) => true,
            other => panic!("both were taken: {other:?}"),
        };
        work_out(&outbox, &connectors, at(4)).await.unwrap();
        assert_eq!(is_confirmed(&outbox, &leaves).await, !is_rejected);
        let counts = outbox.counts(&crm).await.unwrap();
        assert_eq!((counts.queued(), counts.held), (0, 0));
    });
}

#[test]
fn live_leavers_wait_for_no_operation_that_hangs_at_their_connector_or_at_another() {
    run(async {
        let wiki = ConnectorId::new("wiki").unwrap();
        let options = options().concurrency(1, 1).leaver_reserve(1);
        let outbox = Outbox::open_with(MemoryStore::new(), options).await.unwrap();
        let application = MemoryConnector::new();
        // Nothing is to do at the second one when the pass begins.
        let connectors =
            Connectors::new().with(crm(), application.clone()).with(wiki.clone(), MemoryConnector::new());
        application.next([Mode::Hangs]);
        let joins = Event::provision(&crm(), &person(0), named("smith")).occurred_at(at(1));
        outbox.accept(joins, at(1)).await.unwrap();
        let leavers = [leaver(&crm(), 1), leaver(&crm(), 2), leaver(&crm(), 3), leaver(&wiki, 1)];
        let (worked, ()) = tokio::join!(outbox.work(&connectors, at(1)), async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            for accepted in outbox.accept_all(leavers.to_vec(), at(3)).await {
                accepted.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            for leaves in &leavers {
                assert!(is_confirmed(&outbox, leaves).await, "{leaves:?}");
            }
        });
        assert_eq!(worked.unwrap().failed, 1);
    });
}

#[test]
fn a_slow_application_with_much_to_do_keeps_no_pass_going_and_is_not_called_failing() {
    run(async {
        let fleet = Arc::new(Fleet::new([crm()], Thresholds::default(), AlertRules::default()));
        let options = options()
            .concurrency(4, 4)
            .pass_time(Duration::from_secs(30))
            .gate(Arc::clone(&fleet))
            .observer(Arc::clone(&fleet));
        let outbox = Outbox::open_with(MemoryStore::new(), options).await.unwrap();
        let connectors = Connectors::new().with(crm(), Answers(Duration::from_secs(9), None));
        for number in 0..100 {
            let joins = Event::provision(&crm(), &person(number), named(&number.to_string()));
            outbox.accept(joins.occurred_at(at(1)), at(1)).await.unwrap();
        }
        let (mut now, mut delivered, mut passes) = (at(2), 0, 0);
        loop {
            let work = outbox.work(&connectors, now);
            let worked = tokio::time::timeout(Duration::from_secs(60), work).await.expect("a pass ends");
            let worked = worked.unwrap();
            delivered += worked.delivered;
            passes += 1;
            assert!(fleet.advance(now).is_empty(), "{:?}", fleet.health(now));
            let Some(next) = worked.next_at else { break };
            now = next.max(now + TimeDelta::milliseconds(1));
        }
        assert_eq!(delivered, 100);
        assert!(passes > 5);
    });
}

/// An hour in which the application answers probes, and refuses a leaver like this.
fn tier_after_an_hour(failure: Failure) -> (bool, usize) {
    run(async {
        let fleet = Arc::new(Fleet::new([crm()], Thresholds::default(), AlertRules::default()));
        let options = options().gate(Arc::clone(&fleet)).observer(Arc::clone(&fleet));
        let outbox = Outbox::open_with(MemoryStore::new(), options).await.unwrap();
        let connectors = Connectors::new().with(crm(), Answers(Duration::ZERO, Some(failure)));
        outbox.work(&connectors, at(0)).await.unwrap();
        outbox.accept(leaver(&crm(), 1), at(2)).await.unwrap();
        let (mut now, mut healthy) = (at(2), 0);
        while now < at(3600) {
            let worked = outbox.work(&connectors, now).await.unwrap();
            fleet.advance(now);
            // Ten minutes are twice what a leaver may wait.
            healthy += usize::from(now > at(600) && fleet.open_alerts().is_empty());
            let next = fleet.next_deadline(now);
            now = worked.next_at.map_or(next, |due| due.min(next)).max(now + TimeDelta::seconds(1));
        }
        (fleet.health(now)[0].tier.is_bad(), healthy)
    })
}

#[test]
fn good_probes_do_not_hide_that_a_leaver_is_never_delivered() {
    for failure in [
        Failure::new(FailureKind::RateLimited, "429").retry_after(Duration::from_secs(600)),
        Failure::new(FailureKind::SchemaMismatch, "400"),
        Failure::new(FailureKind::Divergent, "200, and nothing changed"),
        Failure::new(FailureKind::Authorization, "403"),
        Failure::unknown("the answer was lost"),
    ] {
        assert_eq!(tier_after_an_hour(failure.clone()), (true, 0), "{failure}");
    }
}

#[test]
fn one_failed_attempt_at_a_leaver_is_still_no_alert() {
    let fleet = Fleet::new([crm()], Thresholds::default(), AlertRules::default());
    let attempt = |operation, failure, second| {
        let (connector, at, duration) = (&crm(), at(second), Duration::from_millis(5));
        fleet.attempted(&Attempted { connector, operation, at, duration, failure });
    };
    let cycle = |failed, left_due, counts, second| {
        let (connector, started_at, ended_at) = (&crm(), at(second), at(second));
        fleet.cycle(&Cycle {
            connector,
            started_at,
            ended_at,
            delivered: 0,
            superseded: 0,
            failed,
            left_due,
            counts,
        });
    };
    let counts = QueueCounts {
        deprovisioning_queued: 1,
        deprovisioning_failed: 1,
        oldest_deprovision: Some(at(0)),
        ..QueueCounts::default()
    };
    let failed = Failure::new(FailureKind::Server, "500");
    attempt(PROBE, None, 0);
    cycle(0, Left::Nothing, QueueCounts::default(), 0);
    attempt("ensure_deprovisioned", Some(&failed), 1);
    cycle(1, Left::Some, counts, 1);
    for second in 2..5 {
        attempt(PROBE, None, second);
        cycle(0, Left::Nothing, counts, second);
    }
    attempt("ensure_deprovisioned", None, 6);
    cycle(0, Left::Nothing, QueueCounts::default(), 6);
    assert_eq!(fleet.advance(at(7)), []);
}

#[test]
fn a_probe_that_panics_is_a_failed_probe_and_the_others_go_on() {
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let wiki = ConnectorId::new("wiki").unwrap();
        let connectors = Connectors::new().with(crm(), Panics).with(wiki.clone(), MemoryConnector::new());
        for number in 0..8 {
            outbox.accept(leaver(&crm(), number), at(1)).await.unwrap();
        }
        // Fails as a whole, so that a probe goes first.
        outbox.work(&connectors, at(1)).await.unwrap();
        let leaves = leaver(&wiki, 1);
        outbox.accept(leaves.clone(), at(2)).await.unwrap();
        assert_eq!(outbox.work(&connectors, at(30)).await.unwrap().failed, 1);
        assert!(is_confirmed(&outbox, &leaves).await);
    });
}

#[test]
fn a_clock_that_is_set_back_by_a_day_costs_no_day_of_probes() {
    let fleet = Fleet::new([crm()], Thresholds::default(), AlertRules::default());
    let (connector, at_noon, duration) = (&crm(), at(86_400), Duration::from_millis(5));
    fleet.attempted(&Attempted { connector, operation: PROBE, at: at_noon, duration, failure: None });
    assert_eq!(fleet.admission(&crm(), at(86_401)), Admission::Open);
    assert_eq!(fleet.admission(&crm(), at(0)), Admission::Probe);
}

#[test]
fn a_secret_that_is_not_first_in_its_word_is_hidden() {
    for text in
        [r#"{"user":"ann","password":"hunter2"}"#, "a=1&password=hunter2", "x:1;client_secret=hunter2,y:2"]
    {
        assert!(!redact(text).contains("hunter2"), "{}", redact(text));
    }
}
