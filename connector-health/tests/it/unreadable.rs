//! What is stored of a connector and cannot be read; and leavers at applications that lie.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use connector_health::connector::{Access, MemoryConnector, Mode};
use connector_health::observe::{Observer, Stuck};
use connector_health::offboarding::State;
use connector_health::outbox::{Accepted, MassLeaverGuard, Options, Outbox};
use connector_health::store::MemoryStore;
use connector_health::{Connectors, Event};

use crate::company::{at, crm, named, options, person, run, work_out};

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Observer for Heard {
    fn stuck(&self, stuck: &Stuck<'_>) {
        assert!(stuck.lane.is_none());
        self.0.lock().unwrap().push(format!("{}: {}", stuck.connector, stuck.error));
    }
}

impl Heard {
    fn take(&self) -> usize {
        std::mem::take(&mut *self.0.lock().unwrap()).len()
    }
}

#[test]
fn leavers_go_out_though_what_is_stored_of_their_connector_cannot_be_read() {
    run(async {
        let (store, application, heard) = (MemoryStore::new(), MemoryConnector::new(), Heard::default());
        let connectors = Connectors::new().with(crm(), application.clone());
        let guard = MassLeaverGuard { leavers_max: 2, always_allowed: 2, ..MassLeaverGuard::default() };
        let with = |options: Options| options.guard(guard).observer(heard.clone());
        let outbox = Outbox::open_with(store.clone(), with(options())).await.unwrap();
        for number in 0..6 {
            let joins = Event::provision(&crm(), &person(number), named(&format!("u{number}")));
            outbox.accept(joins.occurred_at(at(0)), at(0)).await.unwrap();
        }
        work_out(&outbox, &connectors, at(0)).await.unwrap();
        let leaves = |number| Event::deprovision(&crm(), &person(number)).occurred_at(at(10));
        // A process that had read it, and one that has not.
        for restarts in [false, true] {
            store.spoil_connector(&crm());
            let now = at(if restarts { 100 } else { 10 });
            let outbox = match restarts {
                true => Outbox::open_with(store.restart(), with(options())).await.unwrap(),
                false => Outbox::open_with(store.clone(), with(options())).await.unwrap(),
            };
            let number = usize::from(restarts);
            assert_eq!(outbox.accept(leaves(number), now).await.unwrap(), Accepted::Queued);
            assert!(heard.take() > 0);
            // It fails as a whole, which cannot be noted, and comes back.
            application.set(Mode::Down);
            outbox.work(&connectors, now).await.unwrap();
            application.set(Mode::Ok);
            let ended = work_out(&outbox, &connectors, now + TimeDelta::seconds(20)).await.unwrap();
            assert!(heard.take() > 0, "each pass says so");
            let offboarding = outbox.offboarding(&person(number), ended).await.unwrap();
            assert_eq!(offboarding.state, State::Complete);
        }
        // Unusually many at once are held all the same, and can be let go.
        let outbox = Outbox::open_with(store.restart(), with(options())).await.unwrap();
        let all = outbox.accept_all((2..6).map(leaves).collect(), at(200)).await;
        assert!(all.iter().all(|one| matches!(one, Ok(Accepted::Held))), "{all:?}");
        assert_eq!(outbox.approve(&crm()).await.unwrap(), 4);
        work_out(&outbox, &connectors, at(200)).await.unwrap();
        let active = |number| {
            let accounts = application.accounts_of(&person(number));
            accounts.iter().any(|account| account.access == Access::Active)
        };
        assert!(!(0..6).any(active));
    });
}

#[test]
fn a_leaver_waits_no_longer_than_five_minutes_for_an_application_that_lied() {
    for (capped, longest) in [(options(), 300), (options().leaver_backoff_max(TimeDelta::seconds(40)), 40)] {
        run(async {
            let application = MemoryConnector::new();
            let connectors = Connectors::new().with(crm(), application.clone());
            let outbox = Outbox::open_with(MemoryStore::new(), capped).await.unwrap();
            for number in 0..2 {
                let joins = Event::provision(&crm(), &person(number), named(&format!("u{number}")));
                outbox.accept(joins.occurred_at(at(0)), at(0)).await.unwrap();
            }
            work_out(&outbox, &connectors, at(0)).await.unwrap();
            application.set(Mode::Lies);
            let leaves = Event::deprovision(&crm(), &person(0)).occurred_at(at(10));
            outbox.accept(leaves.clone(), at(10)).await.unwrap();
            let (mut now, mut waited, mut tried) = (at(10), 0, 0);
            for _ in 0..30 {
                let worked = outbox.work(&connectors, now).await.unwrap();
                tried += worked.failed;
                let next = worked.next_at.unwrap();
                waited = waited.max(next.signed_duration_since(now).num_seconds());
                now = next;
            }
            assert!(tried >= 20, "{tried}");
            assert_eq!(waited, longest);
            application.set(Mode::Ok);
            outbox.work(&connectors, now).await.unwrap();
            let offboarding = outbox.offboarding(&person(0), now).await.unwrap();
            assert_eq!(offboarding.state, State::Complete);
        });
    }
}
