//! Creates that are carried out after their answer was given up, somebody leaving meanwhile.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;
use connector_health::connector::{
    Access, Confirmation, Connector, FailureKind, Found, Leaving, ListedAccount, MemoryConnector, Operation,
};
use connector_health::event::Subject;
use connector_health::lane::{AttemptResult, EventState};
use connector_health::offboarding::{State, Status};
use connector_health::outbox::Outbox;
use connector_health::reconcile::{
    Account, Action, Intended, Listing, Priority, Reconciliation, Settings, Situation, Standing,
};
use connector_health::store::{Cut, MemoryStore, OutboxStore};
use connector_health::{Connectors, Event, Failure};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use crate::company::{at, crm, has_one_outcome_each, named, options, person, run, work_out};

/// An application that takes a create, does not answer, and carries it out when it pleases.
#[derive(Clone, Default)]
struct Slow(MemoryConnector, Arc<Mutex<Vec<Operation>>>);

impl Slow {
    async fn carry_out(&self) {
        let taken = std::mem::take(&mut *self.1.lock().unwrap());
        for operation in taken {
            self.0.ensure(&operation).await.unwrap();
        }
    }
}

#[async_trait]
impl Connector for Slow {
    async fn probe(&self) -> Result<(), Failure> {
        self.0.probe().await
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        if matches!(operation, Operation::Account { .. }) {
            self.1.lock().unwrap().push(operation.clone());
            return Err(Failure::unknown("the answer was lost"));
        }
        self.0.ensure(operation).await
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        self.0.accounts()
    }
}

/// Somebody joins, nothing is heard of it, and they leave: the store, what was accepted, and the application.
async fn left(store: MemoryStore) -> (Outbox<MemoryStore>, [Event; 2], Slow, Connectors) {
    let slow = Slow(MemoryConnector::new().leaving(Leaving::Disables).recording(), Arc::default());
    let connectors = Connectors::new().with(crm(), slow.clone());
    let outbox = Outbox::open_with(store, options()).await.unwrap();
    let joins = Event::provision(&crm(), &person(0), named("smith")).occurred_at(at(1));
    let leaves = Event::deprovision(&crm(), &person(0)).occurred_at(at(2));
    outbox.accept(joins.clone(), at(1)).await.unwrap();
    outbox.work(&connectors, at(1)).await.unwrap();
    outbox.accept(leaves.clone(), at(2)).await.unwrap();
    let worked = outbox.work(&connectors, at(2)).await.unwrap();
    assert_eq!((worked.delivered, worked.failed), (0, 0), "the application is not to blame");
    (outbox, [joins, leaves], slow, connectors)
}

#[test]
fn that_nobody_is_there_is_no_proof_while_a_create_may_still_be_carried_out() {
    run(async {
        let (outbox, events, slow, connectors) = left(MemoryStore::new()).await;
        let open = outbox.offboarding(&person(0), at(2)).await.unwrap();
        assert_eq!(open.state, State::Open);
        assert!(open.to_string().contains("may still be carried out"), "{open}");
        slow.carry_out().await;
        assert_eq!(slow.0.accounts_of(&person(0))[0].access, Access::Active);
        work_out(&outbox, &connectors, at(3)).await.unwrap();
        assert_eq!(slow.0.accounts_of(&person(0))[0].access, Access::Disabled);
        let done = outbox.offboarding(&person(0), at(100)).await.unwrap();
        assert_eq!(done.state, State::Complete);
        assert!(done.systems[0].gap.as_ref().unwrap().contains("may still be carried out"), "{done}");
        has_one_outcome_each(&outbox, &events).await;
    });
}

#[test]
fn a_create_that_comes_to_nothing_costs_one_more_look_after_a_minute() {
    run(async {
        let (outbox, events, slow, connectors) = left(MemoryStore::new()).await;
        assert_eq!(outbox.work(&connectors, at(30)).await.unwrap().next_at, Some(at(61)), "not before");
        assert_eq!(work_out(&outbox, &connectors, at(61)).await.unwrap(), at(61));
        assert_eq!(slow.0.requests().len(), 2, "looked twice");
        let record = outbox.event(events[1].id()).await.unwrap().unwrap();
        assert!(matches!(&record.state, EventState::Succeeded { confirmed_at, confirmation }
            if *confirmed_at == at(61) && confirmation.found == Found::Absent));
        let attempts = outbox.attempts(&record).await.unwrap();
        assert!(matches!(&attempts[0].result, AttemptResult::Failed(failure)
            if failure.kind() == FailureKind::Missing));
        has_one_outcome_each(&outbox, &events).await;
    });
}

#[test]
fn who_never_had_a_create_on_its_way_is_confirmed_at_once() {
    run(async {
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let connectors = Connectors::new().with(crm(), MemoryConnector::new());
        let leaves = Event::deprovision(&crm(), &person(0)).occurred_at(at(1));
        outbox.accept(leaves.clone(), at(1)).await.unwrap();
        assert_eq!(outbox.work(&connectors, at(1)).await.unwrap().delivered, 1);
        has_one_outcome_each(&outbox, &[leaves]).await;
    });
}

#[test]
fn a_create_that_a_process_died_over_is_looked_for_twice_too() {
    run(async {
        let store = MemoryStore::new();
        let slow = Slow::default();
        let connectors = Connectors::new().with(crm(), slow.clone());
        let joins = Event::provision(&crm(), &person(0), named("smith")).occurred_at(at(1));
        let outbox = Outbox::open_with(store.clone(), options()).await.unwrap();
        outbox.accept(joins.clone(), at(1)).await.unwrap();
        // The write after the answer is the one that fails: what was sent counts as in flight.
        store.cut(Cut::Before(store.commits() + 1));
        outbox.work(&connectors, at(1)).await.unwrap_err();
        assert_eq!(slow.1.lock().unwrap().len(), 1);
        let outbox = Outbox::open_with(store.restart(), options()).await.unwrap();
        let leaves = Event::deprovision(&crm(), &person(0)).occurred_at(at(2));
        outbox.accept(leaves.clone(), at(2)).await.unwrap();
        outbox.work(&connectors, at(2)).await.unwrap();
        assert_eq!(outbox.offboarding(&person(0), at(3)).await.unwrap().state, State::Open);
        slow.carry_out().await;
        work_out(&outbox, &connectors, at(3)).await.unwrap();
        assert!(slow.0.accounts_of(&person(0)).is_empty());
        has_one_outcome_each(&outbox, &[joins, leaves]).await;
    });
}

#[test]
fn what_is_carried_out_later_still_is_found_by_reconciliation_which_proposes_to_disable_it() {
    run(async {
        let (outbox, _, slow, connectors) = left(MemoryStore::new()).await;
        work_out(&outbox, &connectors, at(61)).await.unwrap();
        let done = outbox.offboarding(&person(0), at(100)).await.unwrap();
        let Status::Confirmed { at: confirmed_at } = done.systems[0].status else { panic!("{done}") };
        slow.carry_out().await;

        let lanes = outbox.store().lanes(&crm(), None, 10).await.unwrap();
        let intents = lanes.iter().map(|lane| {
            let Subject::Person(person) = &lane.lane.subject else { panic!("{lane:?}") };
            Intended {
                person: person.clone(),
                standing: Standing::Revoked { confirmed_at: Some(confirmed_at) },
                account_id: lane.account.as_ref().map(ToString::to_string),
                external_id: Some(person.to_string()),
                user_name: lane.intended.unique().remove("userName"),
                emails: Vec::new(),
                attributes: [].into(),
                entitlements: [].into(),
            }
        });
        let mut reconciliation =
            Reconciliation::new(crm(), Settings::default(), intents.collect::<Vec<_>>()).unwrap();
        let mut listing = Listing::new(crm());
        let mut accounts = slow.accounts();
        while let Some(listed) = accounts.next().await {
            let listed = listed.unwrap();
            let account = Account {
                id: listed.account.to_string(),
                external_id: listed.person.map(|person| person.to_string()),
                active: listed.access == Access::Active,
                ..Account::default()
            };
            reconciliation.account(listing.receive(account).unwrap());
        }
        let report = reconciliation.finish(listing.end(None), at(100) + TimeDelta::hours(1));
        let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
        assert_eq!(finding.situation, Situation::FalseCompletion);
        assert_eq!((finding.priority, finding.action), (Priority::Critical, Action::Disable));
        assert_eq!(finding.persons, [person(0)]);
    });
}

#[test]
fn that_an_account_is_disabled_is_no_proof_while_a_return_may_still_be_carried_out() {
    run(async {
        let slow = Slow(MemoryConnector::new().leaving(Leaving::Disables), Arc::default());
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let direct = Connectors::new().with(crm(), slow.0.clone());
        let joins = Event::provision(&crm(), &person(0), named("smith")).occurred_at(at(1));
        let leaves = Event::deprovision(&crm(), &person(0)).occurred_at(at(2));
        let returns = Event::reactivate(&crm(), &person(0), named("smith")).occurred_at(at(3));
        let leaves_again = Event::deprovision(&crm(), &person(0)).occurred_at(at(4));
        for event in [&joins, &leaves] {
            outbox.accept(event.clone(), at(2)).await.unwrap();
            work_out(&outbox, &direct, at(2)).await.unwrap();
        }
        let connectors = Connectors::new().with(crm(), slow.clone());
        outbox.accept(returns.clone(), at(3)).await.unwrap();
        outbox.work(&connectors, at(3)).await.unwrap();
        outbox.accept(leaves_again.clone(), at(4)).await.unwrap();
        outbox.work(&connectors, at(4)).await.unwrap();
        assert_eq!(outbox.offboarding(&person(0), at(4)).await.unwrap().state, State::Open);
        slow.carry_out().await;
        assert_eq!(slow.0.accounts_of(&person(0))[0].access, Access::Active);
        assert_eq!(work_out(&outbox, &connectors, at(5)).await.unwrap(), at(63));
        assert_eq!(slow.0.accounts_of(&person(0))[0].access, Access::Disabled);
        assert_eq!(outbox.offboarding(&person(0), at(100)).await.unwrap().state, State::Complete);
        has_one_outcome_each(&outbox, &[joins, leaves, returns, leaves_again]).await;
    });
}

#[test]
fn a_create_that_was_sent_again_and_answered_proves_nothing_of_the_first_one() {
    run(async {
        let slow = Slow(MemoryConnector::new().leaving(Leaving::Deletes), Arc::default());
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let connectors = Connectors::new().with(crm(), slow.clone());
        let direct = Connectors::new().with(crm(), slow.0.clone());
        let joins = Event::provision(&crm(), &person(0), named("smith")).occurred_at(at(1));
        let leaves = Event::deprovision(&crm(), &person(0)).occurred_at(at(20));
        outbox.accept(joins.clone(), at(1)).await.unwrap();
        outbox.work(&connectors, at(1)).await.unwrap();
        // The second one is answered.
        assert_eq!(outbox.work(&direct, at(10)).await.unwrap().delivered, 1);
        outbox.accept(leaves.clone(), at(20)).await.unwrap();
        outbox.work(&connectors, at(20)).await.unwrap();
        assert!(slow.0.accounts_of(&person(0)).is_empty(), "nobody waits for being taken out");
        assert_eq!(outbox.offboarding(&person(0), at(20)).await.unwrap().state, State::Open);
        slow.carry_out().await;
        assert_eq!(slow.0.accounts_of(&person(0)).len(), 1);
        assert_eq!(work_out(&outbox, &connectors, at(21)).await.unwrap(), at(61));
        assert!(slow.0.accounts_of(&person(0)).is_empty());
        has_one_outcome_each(&outbox, &[joins, leaves]).await;
    });
}

#[test]
fn who_leaves_when_nothing_can_be_carried_out_any_more_is_confirmed_at_once() {
    run(async {
        let slow = Slow::default();
        let outbox = Outbox::open_with(MemoryStore::new(), options()).await.unwrap();
        let connectors = Connectors::new().with(crm(), slow.clone());
        let joins = Event::provision(&crm(), &person(0), named("smith")).occurred_at(at(1));
        outbox.accept(joins, at(1)).await.unwrap();
        outbox.work(&connectors, at(1)).await.unwrap();
        slow.carry_out().await;
        outbox.accept(Event::deprovision(&crm(), &person(0)).occurred_at(at(62)), at(62)).await.unwrap();
        assert_eq!(outbox.work(&connectors, at(62)).await.unwrap().delivered, 1);
    });
}
