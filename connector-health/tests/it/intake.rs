//! What is taken in, and what is held.

use chrono::TimeDelta;
use connector_health::connector::MemoryConnector;
use connector_health::lane::EventState;
use connector_health::offboarding::{State, Status};
use connector_health::outbox::{AcceptError, Accepted, Exception, MassLeaverGuard, Options, Outbox};
use connector_health::store::MemoryStore;
use connector_health::{ConnectorId, Connectors, Event, EventId};

use crate::company::{at, crm, has_one_outcome_each, named, options, person, run, work_out};

fn leaver(number: usize) -> Event {
    let id = EventId::new(format!("leaver{number}")).unwrap();
    Event::deprovision(&crm(), &person(number)).occurred_at(at(10)).named(id)
}

#[test]
fn the_same_event_twice_is_one_and_another_of_its_name_is_refused() {
    run(async {
        let outbox = Outbox::open(MemoryStore::new()).await.unwrap();
        assert_eq!(outbox.accept(leaver(1), at(20)).await.unwrap(), Accepted::Queued);
        assert_eq!(outbox.accept(leaver(1), at(21)).await.unwrap(), Accepted::Already);
        let other = leaver(2).named(EventId::new("leaver1").unwrap());
        assert!(matches!(outbox.accept(other, at(22)).await, Err(AcceptError::Different(_))));
        let twice = outbox.accept_all(vec![leaver(3), leaver(3)], at(23)).await;
        let twice: Vec<_> = twice.into_iter().map(Result::unwrap).collect();
        assert_eq!(twice, [Accepted::Queued, Accepted::Already]);
        assert_eq!(outbox.counts(&crm()).await.unwrap().deprovisioning_queued, 2);
    });
}

#[test]
fn what_lies_in_the_future_is_refused_as_it_would_outweigh_a_leaver_to_come() {
    run(async {
        let outbox = Outbox::open(MemoryStore::new()).await.unwrap();
        let joins = Event::provision(&crm(), &person(1), named("smith")).occurred_at(at(1000));
        assert!(matches!(outbox.accept(joins.clone(), at(1)).await, Err(AcceptError::InFuture(_))));
        outbox.accept(joins, at(800)).await.unwrap();
    });
}

#[test]
fn an_unusual_burst_of_leavers_is_held_until_approved_and_those_accepted_never_are() {
    run(async {
        let guard = MassLeaverGuard { leavers_max: 5, always_allowed: 5, ..MassLeaverGuard::default() };
        let outbox = Outbox::open_with(MemoryStore::new(), Options::default().guard(guard)).await.unwrap();
        let application = MemoryConnector::new();
        let connectors = Connectors::new().with(crm(), application.clone());
        let joins =
            |number| Event::provision(&crm(), &person(number), named(&number.to_string())).occurred_at(at(1));
        for accepted in outbox.accept_all((0..20).map(joins).collect(), at(1)).await {
            accepted.unwrap();
        }
        work_out(&outbox, &connectors, at(2)).await.unwrap();
        for number in 0..4 {
            assert_eq!(outbox.accept(leaver(number), at(10)).await.unwrap(), Accepted::Queued);
        }
        // Together these are too many: none of them goes, although one alone could.
        let held = outbox.accept_all((4..14).map(leaver).collect(), at(11)).await;
        assert!(held.into_iter().all(|accepted| accepted.unwrap() == Accepted::Held));
        work_out(&outbox, &connectors, at(12)).await.unwrap();
        let active = |numbers: std::ops::Range<usize>| {
            numbers.filter(|number| !application.accounts_of(&person(*number)).is_empty()).count()
        };
        assert_eq!((active(0..4), active(4..14)), (0, 10));
        assert_eq!(outbox.counts(&crm()).await.unwrap().held, 10);
        let record = outbox.offboarding(&person(4), at(12)).await.unwrap();
        assert_eq!((record.state, &record.systems[0].status), (State::Open, &Status::Held));
        // The window goes on; held ones stay held.
        let later = at(11) + TimeDelta::hours(2);
        assert_eq!(outbox.accept(leaver(14), later).await.unwrap(), Accepted::Queued);
        outbox.reject(leaver(13).id(), "hr", "wrong file", later).await.unwrap();
        assert_eq!(outbox.approve(&crm()).await.unwrap(), 9);
        work_out(&outbox, &connectors, later).await.unwrap();
        assert_eq!((active(4..13), active(13..14), active(14..20)), (0, 1, 5));
        assert_eq!(outbox.counts(&crm()).await.unwrap().held, 0);
        assert_eq!(outbox.offboarding(&person(4), later).await.unwrap().state, State::Complete);
    });
}

#[test]
fn an_outage_is_explained_in_the_record_of_who_left_meanwhile() {
    run(async {
        use connector_health::connector::Mode;
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let (crm_application, erp_application) = (MemoryConnector::new(), MemoryConnector::new());
        let erp = ConnectorId::new("erp").unwrap();
        let connectors =
            Connectors::new().with(crm(), crm_application.clone()).with(erp.clone(), erp_application.clone());
        for connector in [&crm(), &erp] {
            let joins = Event::provision(connector, &person(1), named("smith")).occurred_at(at(1));
            outbox.accept(joins, at(1)).await.unwrap();
        }
        outbox.work(&connectors, at(1)).await.unwrap();
        erp_application.set(Mode::Down);
        for connector in [&crm(), &erp] {
            let leaves = Event::deprovision(connector, &person(1)).occurred_at(at(10));
            outbox.accept(leaves, at(10)).await.unwrap();
        }
        outbox.work(&connectors, at(10)).await.unwrap();
        let record = outbox.offboarding(&person(1), at(10)).await.unwrap();
        assert_eq!(record.state, State::Open);
        assert!(matches!(record.systems[1].status, Status::Failing { .. }), "{record}");
        let counts = outbox.counts(&erp).await.unwrap();
        assert_eq!((counts.deprovisioning_queued, counts.deprovisioning_failed), (1, 1));
        assert_eq!(counts.oldest_deprovision, Some(at(10)));
        // The connector comes back: the first good probe suffices.
        erp_application.set(Mode::Ok);
        outbox.work(&connectors, at(3610)).await.unwrap();
        let record = outbox.offboarding(&person(1), at(3610)).await.unwrap();
        assert_eq!(record.state, State::Complete, "{record}");
        let text = record.to_string();
        assert!(text.contains("crm: confirmed") && text.contains("after 0 s"), "{text}");
        assert!(text.contains("after 1 h 0 min; 1 failed attempt from"), "{text}");
        assert_eq!(record.systems[1].time_to_revoke_ms, Some(3_600_000));
    });
}

#[test]
fn an_exception_has_an_owner_and_an_end_after_which_the_leaver_is_due_again() {
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let connectors = Connectors::new().with(crm(), MemoryConnector::new());
        outbox.accept(leaver(1), at(20)).await.unwrap();
        let exception = |owner: &str, expires_at| Exception {
            owner: owner.to_owned(),
            reason: "handover".to_owned(),
            expires_at,
        };
        outbox.except(leaver(1).id(), &exception("", at(500)), at(20)).await.unwrap_err();
        outbox.except(leaver(1).id(), &exception("cio", at(20)), at(20)).await.unwrap_err();
        outbox.except(leaver(1).id(), &exception("cio", at(500)), at(20)).await.unwrap();
        let worked = outbox.work(&connectors, at(30)).await.unwrap();
        assert_eq!((worked.delivered, worked.next_at), (0, Some(at(500))));
        let record = outbox.offboarding(&person(1), at(30)).await.unwrap();
        assert!(matches!(record.systems[0].status, Status::Excepted { .. }));
        assert_eq!(record.state, State::Complete);
        // Nobody answers for it any more, although nothing was tried yet.
        let record = outbox.offboarding(&person(1), at(500)).await.unwrap();
        assert_eq!(record.state, State::Open, "{record}");
        assert_eq!(outbox.work(&connectors, at(501)).await.unwrap().delivered, 1);
        let state = outbox.event(leaver(1).id()).await.unwrap().unwrap().state;
        assert!(matches!(state, EventState::Succeeded { .. }));
    });
}

#[test]
fn a_failure_blocks_its_own_lane_until_a_person_decides_and_a_leaver_is_tried_again_nevertheless() {
    run(async {
        use connector_health::connector::Mode;
        let outbox = Outbox::open_with(MemoryStore::new(), options().concurrency(1, 1)).await.unwrap();
        let application = MemoryConnector::new();
        let connectors = Connectors::new().with(crm(), application.clone());
        let joins = |number: usize, second| {
            let id = EventId::new(format!("joins{number}")).unwrap();
            Event::provision(&crm(), &person(number), named(&number.to_string()))
                .occurred_at(at(second))
                .named(id)
        };
        application.next([Mode::Refuses, Mode::Ok]);
        outbox.accept(joins(1, 1), at(5)).await.unwrap();
        let grant = Event::grant(&crm(), &person(1), &crate::company::group(1)).occurred_at(at(2));
        outbox.accept(grant.clone(), at(5)).await.unwrap();
        outbox.accept(joins(2, 3), at(5)).await.unwrap();
        let worked = outbox.work(&connectors, at(5)).await.unwrap();
        assert_eq!((worked.delivered, worked.failed, worked.next_at), (1, 1, None));
        assert_eq!(application.accounts_of(&person(2)).len(), 1);
        assert_eq!(outbox.counts(&crm()).await.unwrap().provisioning_failed, 1);
        outbox.retry(joins(1, 1).id(), at(6)).await.unwrap();
        work_out(&outbox, &connectors, at(6)).await.unwrap();
        assert_eq!(application.accounts_of(&person(1))[0].rights.len(), 1);
        application.next([Mode::Refuses]);
        outbox.accept(leaver(1), at(20)).await.unwrap();
        let worked = outbox.work(&connectors, at(20)).await.unwrap();
        assert_eq!((worked.failed, worked.next_at), (1, Some(at(20) + TimeDelta::minutes(5))));
        work_out(&outbox, &connectors, at(20)).await.unwrap();
        has_one_outcome_each(&outbox, &[joins(1, 1), grant, leaver(1)]).await;
    });
}
