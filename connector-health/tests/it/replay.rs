//! After any outage, the application is as if nothing had been down, and nobody who left is active.

use chrono::TimeDelta;
use connector_health::connector::{Access, FailureKind, Leaving, MemoryConnector, Mode};
use connector_health::lane::AttemptResult;
use connector_health::outbox::Outbox;
use connector_health::store::{Cut, MemoryStore};
use connector_health::{Connectors, Event, Operation};

use crate::company::{
    Company, at, crm, has_one_outcome_each, history, moods, options, run, story, until_done, who, work_out,
};

fn rounds() -> u64 {
    let rounds = std::env::var("SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    rounds.unwrap_or(50)
}

fn seed() -> u64 {
    std::env::var("SOAK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

fn names(application: &MemoryConnector) -> Vec<String> {
    let requests = application.requests();
    let named = requests.iter().map(|operation| match operation {
        Operation::Deprovision { target }
        | Operation::Account { target, .. }
        | Operation::Attributes { target, .. }
        | Operation::Entitlement { target, .. }
        | Operation::Strip { target, .. } => format!("{} {}", operation.name(), target.person),
        Operation::Group { group, .. } => format!("{} {group}", operation.name()),
    });
    named.collect()
}

fn application(dice: &mut fastrand::Rng) -> (MemoryConnector, Leaving, bool) {
    let leaving = if dice.bool() { Leaving::Deletes } else { Leaving::Disables };
    let has_groups = dice.bool();
    let application = MemoryConnector::new().leaving(leaving).recording();
    (if has_groups { application.with_groups() } else { application }, leaving, has_groups)
}

/// P2: nobody is made active again whose last intent is to leave, once that is accepted.
fn no_leaver_was_activated(requests: &[Operation], events: &[Event], when: &str) {
    for operation in requests {
        if let Operation::Account { target, .. } = operation {
            let last = events.iter().rfind(|event| {
                event.lane().subject == connector_health::event::Subject::Person(target.person.clone())
            });
            let leaves = last.is_some_and(|last| last.intent().action() == "deprovision");
            assert!(!leaves, "{when}: {} is activated, who left", target.person);
        }
    }
}

/// In a lawful history every name is free by the time at which it is claimed.
async fn nobody_met_a_name_that_was_not_free_yet(outbox: &Outbox<MemoryStore>, events: &[Event], when: &str) {
    for event in events {
        let record = outbox.event(event.id()).await.unwrap().unwrap();
        for attempt in outbox.attempts(&record).await.unwrap() {
            if let AttemptResult::Failed(failure) = &attempt.result {
                assert_ne!(failure.kind(), FailureKind::Conflict, "{when}: {event:?}");
            }
        }
    }
}

#[test]
fn soak_replay_equals_what_would_have_happened_in_time() {
    for round in 0..rounds() * 4 {
        let mut dice = fastrand::Rng::with_seed(seed().wrapping_mul(1_000_003).wrapping_add(round));
        let (application, leaving, has_groups) = application(&mut dice);
        let length = dice.usize(1..14);
        let (events, company) = history(&mut dice, 3, length, leaving, has_groups);
        run(async {
            let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
            let connectors = Connectors::new().with(crm(), application.clone());
            // Some events are delivered as they happen, answers being lost now and then; the rest piles up.
            let live = dice.usize(..=events.len());
            let mut now = at(100);
            for event in &events[..live] {
                outbox.accept(event.clone(), now).await.unwrap();
                application.next(moods(&mut dice, 2));
                outbox.work(&connectors, now).await.unwrap();
                now += TimeDelta::seconds(1);
            }
            let before = application.requests().len();
            let mut late = events[live..].to_vec();
            if dice.bool() {
                // Feeds of different sources come in any order.
                dice.shuffle(&mut late);
            }
            for event in &late {
                outbox.accept(event.clone(), now).await.unwrap();
            }
            application.next(moods(&mut dice, 10));
            work_out(&outbox, &connectors, now).await.unwrap();
            let what =
                format!("round {round}, {leaving:?}:{}\nlive {live}, then{}", story(&events), story(&late));
            let waiting = crate::company::waiting(&outbox, &events).await;
            assert_eq!(company.differs(&application), None, "{what}\n{:?}\n{waiting}", names(&application));
            no_leaver_was_activated(&application.requests()[before..], &events, &what);
            nobody_met_a_name_that_was_not_free_yet(&outbox, &events, &what).await;
            has_one_outcome_each(&outbox, &events).await;
        });
    }
}

#[test]
fn soak_what_comes_late_ends_as_if_it_had_come_in_time() {
    for round in 0..rounds() * 4 {
        let mut dice = fastrand::Rng::with_seed(seed().wrapping_mul(3_000_017).wrapping_add(round));
        let leaving = if dice.bool() { Leaving::Deletes } else { Leaving::Disables };
        let application = MemoryConnector::new().leaving(leaving).recording();
        let length = dice.usize(2..10);
        let (events, company) = history(&mut dice, 3, length, leaving, false);
        // Who refers to somebody who is not known yet is refused, and a person has to look at it.
        if story(&events).contains("manager") {
            continue;
        }
        // Who joins has to be known before they change; and of two names that somebody had before anything was heard of it, the first may be
        // another's by now. So what comes late of each person is after their last name in time.
        let named = |event: &Event| serde_json::to_string(event.intent()).unwrap().contains("userName");
        let (late, in_time): (Vec<_>, Vec<_>) = events.iter().partition(|event| {
            let later = events.iter().filter(|other| other.time() > event.time() && who(other) == who(event));
            let joins = ["provision", "reactivate"].contains(&event.intent().action());
            !joins && later.filter(|other| named(other)).count() == 0 && dice.u8(..3) == 0
        });
        run(async {
            let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
            let connectors = Connectors::new().with(crm(), application.clone());
            let mut now = at(100);
            for event in in_time {
                outbox.accept(event.clone(), now).await.unwrap();
                outbox.work(&connectors, now).await.unwrap();
                now += TimeDelta::seconds(1);
            }
            for event in &late {
                outbox.accept((*event).clone(), now).await.unwrap();
            }
            work_out(&outbox, &connectors, now).await.unwrap();
            let late: Vec<_> = late.iter().map(|event| event.id()).collect();
            let what = format!("round {round}, {leaving:?}, late {late:?}:{}", story(&events));
            let waiting = crate::company::waiting(&outbox, &events).await;
            assert_eq!(waiting, "", "{what}\n{:?}", names(&application));
            assert_eq!(company.differs(&application), None, "{what}\n{:?}", names(&application));
            has_one_outcome_each(&outbox, &events).await;
        });
    }
}

#[test]
fn soak_crashes_at_random_writes_change_nothing_in_the_end() {
    for round in 0..rounds() * 2 {
        let mut dice = fastrand::Rng::with_seed(seed().wrapping_mul(2_000_003).wrapping_add(round));
        let (application, leaving, has_groups) = application(&mut dice);
        let length = dice.usize(1..10);
        let (events, company) = history(&mut dice, 2, length, leaving, has_groups);
        let count = dice.usize(1..6);
        let cuts: Vec<Cut> = (0..count)
            .map(|_| if dice.bool() { Cut::Before(dice.u64(..25)) } else { Cut::After(dice.u64(..25)) })
            .collect();
        application.next(moods(&mut dice, 12));
        run(async {
            let mut store = MemoryStore::new();
            let outbox = until_done(&mut store, &application, &events, &cuts, at(100)).await;
            let what = format!("round {round}, {leaving:?} {cuts:?}:{}", story(&events));
            let waiting = crate::company::waiting(&outbox, &events).await;
            assert_eq!(waiting, "", "{what}");
            assert_eq!(company.differs(&application), None, "{what}");
            has_one_outcome_each(&outbox, &events).await;
        });
    }
}

/// Every lawful history of so many events about two people with two names, a right and managers, in an application that deletes and in
/// one that disables; one event less in a short run.
const EXHAUSTIVE_LENGTH: usize = 5;

fn every_history(length: usize, leaving: Leaving, each: &mut impl FnMut(&[Event], &Company)) {
    fn go(
        company: &Company,
        events: &mut Vec<Event>,
        left: usize,
        leaving: Leaving,
        each: &mut impl FnMut(&[Event], &Company),
    ) {
        if left == 0 {
            each(events, company);
            return;
        }
        // Names and rights are alike: of each kind, two are enough. Titles tell nothing that names do not.
        let lawful = company.lawful(2, leaving).into_iter().filter(|event| {
            let text = serde_json::to_string(event).unwrap();
            !text.contains("miller") && !text.contains("g1") && !text.contains("title")
        });
        for event in lawful {
            let event = event.named(connector_health::EventId::new(format!("e{}", events.len())).unwrap());
            let mut next = company.clone();
            next.happen(&event);
            events.push(event);
            go(&next, events, left - 1, leaving, each);
            events.pop();
        }
    }
    go(&Company::default(), &mut Vec::new(), length, leaving, each);
}

/// Which of `count` answers are lost, by the bits of a number.
fn lossy(number: u32, count: u32) -> impl Iterator<Item = Mode> {
    (0..count).map(move |bit| if number >> bit & 1 == 1 { Mode::LostResponse } else { Mode::Ok })
}

#[test]
fn soak_every_short_history_ends_as_it_should() {
    let length = if rounds() >= 1000 { EXHAUSTIVE_LENGTH } else { EXHAUSTIVE_LENGTH - 1 };
    let mut histories = 0_u64;
    for leaving in [Leaving::Deletes, Leaving::Disables] {
        every_history(length, leaving, &mut |events, company| {
            histories += 1;
            // The first is delivered live, its answer lost or not; the others pile up, and the next answer is lost or not.
            let losses = if rounds() >= 1000 { 0..4 } else { 2..3 };
            for lost in losses {
                let application = MemoryConnector::new().leaving(leaving);
                run(async {
                    let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
                    let connectors = Connectors::new().with(crm(), application.clone());
                    application.next(lossy(lost, 2));
                    outbox.accept(events[0].clone(), at(100)).await.unwrap();
                    outbox.work(&connectors, at(100)).await.unwrap();
                    for event in &events[1..] {
                        outbox.accept(event.clone(), at(100)).await.unwrap();
                    }
                    work_out(&outbox, &connectors, at(101)).await.unwrap();
                    assert_eq!(company.differs(&application), None, "{leaving:?} {lost:b}{}", story(events));
                    has_one_outcome_each(&outbox, events).await;
                });
            }
        });
    }
    assert!(histories > 300, "{histories}");
}

#[test]
fn every_write_may_be_the_last_one_of_its_process() {
    let mut dice = fastrand::Rng::with_seed(7);
    for _ in 0..2 {
        let (events, company) = history(&mut dice, 2, 4, Leaving::Deletes, true);
        let writes = run(async {
            let application = MemoryConnector::new().with_groups();
            let mut store = MemoryStore::new();
            until_done(&mut store, &application, &events, &[], at(100)).await;
            store.commits()
        });
        for write in 0..writes {
            for cut in [Cut::Before(write), Cut::After(write)] {
                run(async {
                    let application = MemoryConnector::new().with_groups();
                    application.next([Mode::LostResponse, Mode::Ok, Mode::LostResponse]);
                    let mut store = MemoryStore::new();
                    let outbox = until_done(&mut store, &application, &events, &[cut], at(100)).await;
                    assert_eq!(company.differs(&application), None, "{cut:?}{}", story(&events));
                    has_one_outcome_each(&outbox, &events).await;
                });
            }
        }
    }
}

/// Strategies that look right, run over the same histories and judged in the same way: the harness must catch them.
#[derive(Clone, Copy, Debug)]
enum Naive {
    /// All deprovisions, then everything else, in the order of time.
    LeaversFirst,
    /// A create and a deprovision of one person cancel each other out.
    CancelPairs,
}

#[test]
fn naive_strategies_are_found_to_leave_people_active() {
    for naive in [Naive::LeaversFirst, Naive::CancelPairs] {
        let (mut left_active, mut differs) = (0, 0);
        every_history(4, Leaving::Deletes, &mut |events, company| {
            let application = MemoryConnector::new();
            run(async {
                let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
                let connectors = Connectors::new().with(crm(), application.clone());
                // The answer to the first create is lost.
                application.next([Mode::LostResponse]);
                outbox.accept(events[0].clone(), at(100)).await.unwrap();
                outbox.work(&connectors, at(100)).await.unwrap();
                // What the strategy would send, one by one, each by an outbox that knows nothing of the others.
                let mut queue: Vec<&Event> = events.iter().collect();
                match naive {
                    Naive::LeaversFirst => {
                        queue.sort_by_key(|event| event.intent().action() != "deprovision")
                    }
                    Naive::CancelPairs => {
                        while let Some(leaves) =
                            queue.iter().position(|event| event.intent().action() == "deprovision")
                        {
                            let gone = who(queue[leaves]);
                            let joins = queue[..leaves].iter().rposition(|event| {
                                who(event) == gone
                                    && ["provision", "reactivate"].contains(&event.intent().action())
                            });
                            let from = joins.unwrap_or(leaves);
                            let mut number = 0;
                            queue.retain(|event| {
                                number += 1;
                                !(number > from && number <= leaves + 1 && who(event) == gone)
                            });
                        }
                    }
                }
                for (number, event) in queue.into_iter().enumerate() {
                    let alone = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
                    let id = connector_health::EventId::new(format!("n{number}")).unwrap();
                    alone.accept(event.clone().named(id), at(200)).await.unwrap();
                    alone.work(&connectors, at(200)).await.unwrap();
                }
            });
            if let Some(wrong) = company.differs(&application) {
                differs += 1;
                left_active += usize::from(wrong.starts_with("LEFT ACTIVE"));
            }
        });
        assert!(left_active > 10 && differs > left_active, "{naive:?}: {left_active} of {differs}");
    }
}

#[test]
fn leavers_go_before_all_else_in_the_order_in_which_they_left() {
    let application = MemoryConnector::new().recording();
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options().concurrency(1, 1)).await.unwrap();
        let connectors = Connectors::new().with(crm(), application.clone());
        let mut events = Vec::new();
        for number in 0..20 {
            let name = format!("name{number}");
            let joins =
                Event::provision(&crm(), &crate::company::person(number), crate::company::named(&name));
            events.push(joins.occurred_at(at(number as i64)));
            if number % 3 == 0 {
                let leaves = Event::deprovision(&crm(), &crate::company::person(number));
                events.push(leaves.occurred_at(at(100 - number as i64)));
            }
        }
        fastrand::Rng::with_seed(3).shuffle(&mut events);
        for accepted in outbox.accept_all(events.clone(), at(200)).await {
            accepted.unwrap();
        }
        work_out(&outbox, &connectors, at(200)).await.unwrap();
        let requests = application.requests();
        let (leavers, others) = requests.split_at(7);
        let left: Vec<_> = leavers
            .iter()
            .map(|operation| match operation {
                Operation::Deprovision { target } => target.person.as_str(),
                other => panic!("{other:?} went before a leaver"),
            })
            .collect();
        assert_eq!(left, ["p18", "p15", "p12", "p9", "p6", "p3", "p0"]);
        assert!(others.iter().all(|operation| matches!(operation, Operation::Account { .. })));
        assert_eq!(others.len(), 13);
        has_one_outcome_each(&outbox, &events).await;
    });
}

#[test]
fn a_clock_that_goes_back_delays_and_does_not_spin() {
    use connector_health::lane::Class;
    use connector_health::store::{Claim, OutboxStore};
    let application = MemoryConnector::new();
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let connectors = Connectors::new().with(crm(), application.clone());
        let joins = Event::provision(&crm(), &crate::company::person(0), crate::company::named("smith"));
        outbox.accept(joins.occurred_at(at(1)), at(100)).await.unwrap();
        application.next([Mode::Lies]);
        assert_eq!(outbox.work(&connectors, at(100)).await.unwrap().next_at, Some(at(105)));
        // It became due, and was claimed by somebody who died.
        let later = at(106);
        let claim = Claim {
            connector: crm(),
            worker: 7,
            class: Class::Other,
            due: later,
            due_latest: later,
            now: later,
            until: later,
            limit: 1,
        };
        assert_eq!(outbox.store().claim(claim).await.unwrap().leases.len(), 1);
        outbox.store().release(7).await.unwrap();
        let worked = outbox.work(&connectors, at(90)).await.unwrap();
        assert_eq!((worked.delivered, worked.next_at), (0, Some(at(105))));
        assert_eq!(outbox.work(&connectors, at(105)).await.unwrap().delivered, 1);
    });
}

#[test]
fn a_live_leaver_takes_over_once_what_is_in_flight_is_resolved() {
    let application = MemoryConnector::new().recording();
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let connectors = Connectors::new().with(crm(), application.clone());
        let who = crate::company::person(0);
        let joins = Event::provision(&crm(), &who, crate::company::named("smith")).occurred_at(at(1));
        outbox.accept(joins.clone(), at(1)).await.unwrap();
        application.next([Mode::Hangs]);
        // Sent, and never answered: given up after a minute of virtual time. The leaver comes while it hangs.
        let leaves = Event::deprovision(&crm(), &who).occurred_at(at(2));
        let (worked, accepted) = tokio::join!(outbox.work(&connectors, at(1)), async {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            outbox.accept(leaves.clone(), at(3)).await
        });
        accepted.unwrap();
        assert_eq!(worked.unwrap().failed, 1);
        let names: Vec<_> = application.requests().iter().map(Operation::name).collect();
        assert_eq!(
            names,
            ["ensure_account", "ensure_deprovisioned"],
            "in the same pass, and nothing in between"
        );
        // What hangs may still be carried out: once more, later.
        work_out(&outbox, &connectors, at(70)).await.unwrap();
        assert!(application.accounts_of(&who).iter().all(|account| account.access == Access::Disabled));
        has_one_outcome_each(&outbox, &[joins, leaves]).await;
    });
}

#[test]
fn a_name_that_a_superseded_rename_left_behind_is_waited_for_until_the_leaver_is_confirmed() {
    // Whether the heir is named before the leaver has left or after.
    for heir_at in [3, 5] {
        a_superseded_rename(heir_at);
    }
}

fn a_superseded_rename(heir_at: i64) {
    let application = MemoryConnector::new().leaving(Leaving::Disables).recording();
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let connectors = Connectors::new().with(crm(), application.clone());
        let (first, heir) = (crate::company::person(0), crate::company::person(1));
        let joins = Event::provision(&crm(), &first, crate::company::named("smith")).occurred_at(at(1));
        outbox.accept(joins.clone(), at(1)).await.unwrap();
        work_out(&outbox, &connectors, at(1)).await.unwrap();
        let renamed = Event::rename(&crm(), &first, "userName", "jones").occurred_at(at(2));
        let leaves = Event::deprovision(&crm(), &first).occurred_at(at(4));
        let inherits =
            Event::provision(&crm(), &heir, crate::company::named("smith")).occurred_at(at(heir_at));
        let events = [renamed, leaves, inherits];
        for event in &events {
            outbox.accept(event.clone(), at(5)).await.unwrap();
        }
        application.next([Mode::Lies, Mode::LostResponse]);
        work_out(&outbox, &connectors, at(5)).await.unwrap();
        assert_eq!(
            names(&application),
            [
                "ensure_account p0",
                "ensure_deprovisioned p0",
                "ensure_deprovisioned p0",
                "ensure_deprovisioned p0",
                "ensure_account p1"
            ],
        );
        nobody_met_a_name_that_was_not_free_yet(&outbox, &events, "the heir waits").await;
        has_one_outcome_each(&outbox, &[joins].into_iter().chain(events).collect::<Vec<_>>()).await;
    });
}

#[test]
fn a_rename_that_comes_after_the_leaver_is_out_frees_the_name_and_lets_nobody_in() {
    let application = MemoryConnector::new().leaving(Leaving::Disables).recording();
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let connectors = Connectors::new().with(crm(), application.clone());
        let (first, heir) = (crate::company::person(0), crate::company::person(1));
        let joins = Event::provision(&crm(), &first, crate::company::named("smith")).occurred_at(at(1));
        let renamed = Event::rename(&crm(), &first, "userName", "jones").occurred_at(at(2));
        let leaves = Event::deprovision(&crm(), &first).occurred_at(at(3));
        let inherits = Event::provision(&crm(), &heir, crate::company::named("smith")).occurred_at(at(4));
        for event in [&joins, &leaves] {
            outbox.accept(event.clone(), at(5)).await.unwrap();
            work_out(&outbox, &connectors, at(5)).await.unwrap();
        }
        for event in [&inherits, &renamed] {
            outbox.accept(event.clone(), at(6)).await.unwrap();
        }
        work_out(&outbox, &connectors, at(6)).await.unwrap();
        let sent = names(&application);
        assert_eq!(sent[2..], ["ensure_deprovisioned p0", "ensure_account p1"], "{sent:?}");
        assert_eq!(application.accounts_of(&first)[0].access, Access::Disabled);
        assert_eq!(application.accounts_of(&heir)[0].attributes, crate::company::named("smith"));
        has_one_outcome_each(&outbox, &[joins, renamed, leaves, inherits]).await;
    });
}
