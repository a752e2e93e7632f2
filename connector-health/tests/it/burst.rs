//! Half a company leaves at once while one application is down: held, approved, and followed to the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use connector_health::alert::{Alert, AlertRules, AlertState, Occasion, Priority};
use connector_health::connector::{MemoryConnector, Mode};
use connector_health::monitor::FailureClass;
use connector_health::offboarding::{State, Status};
use connector_health::outbox::{Accepted, MassLeaverGuard, Options, Outbox};
use connector_health::{ConnectorId, Connectors, Event, Fleet, MemoryStore, Thresholds, Tier};

use crate::company::{at, named, options, person, run};

const PEOPLE: usize = 1_000;
const LEAVERS: usize = 500;

struct Service {
    outbox: Outbox<MemoryStore>,
    connectors: Connectors,
    fleet: Arc<Fleet>,
    now: DateTime<Utc>,
    alerts: Vec<Alert>,
}

impl Service {
    async fn pass(&mut self) {
        let worked = self.outbox.work(&self.connectors, self.now).await.unwrap();
        self.alerts.extend(self.fleet.advance(self.now));
        let deadline = self.fleet.next_deadline(self.now);
        let next = worked.next_at.map_or(deadline, |next| next.min(deadline));
        self.now = next.max(self.now + TimeDelta::seconds(1));
    }

    async fn until(&mut self, then: DateTime<Utc>) {
        while self.now < then {
            self.pass().await;
        }
    }

    async fn counts(&self, connector: &ConnectorId) -> (u64, u64) {
        let counts = self.outbox.counts(connector).await.unwrap();
        (counts.deprovisioning_queued, counts.held)
    }
}

#[test]
fn five_hundred_leavers_are_held_approved_and_out_once_the_application_that_was_down_is_back() {
    run(async {
        let [crm, payroll, wiki] = ["crm", "payroll", "wiki"].map(|name| ConnectorId::new(name).unwrap());
        let all = [crm.clone(), payroll.clone(), wiki.clone()];
        let applications: BTreeMap<_, _> =
            all.iter().map(|id| (id.clone(), MemoryConnector::new())).collect();
        let mut connectors = Connectors::new();
        for (id, application) in &applications {
            connectors.insert(id.clone(), Arc::new(application.clone()));
        }
        let fleet = Arc::new(Fleet::new(all.clone(), Thresholds::default(), AlertRules::default()));
        let options: Options =
            options().guard(MassLeaverGuard::default()).gate(Arc::clone(&fleet)).observer(Arc::clone(&fleet));
        let outbox = Outbox::open_with(MemoryStore::new(), options).await.unwrap();
        let mut service = Service { outbox, connectors, fleet, now: at(0), alerts: Vec::new() };
        let joins = all.iter().flat_map(|id| {
            (0..PEOPLE)
                .map(|who| Event::provision(id, &person(who), named(&who.to_string())).occurred_at(at(0)))
        });
        for accepted in service.outbox.accept_all(joins.collect(), at(0)).await {
            assert_eq!(accepted.unwrap(), Accepted::Queued);
        }
        service.until(at(300)).await;
        assert!(service.alerts.is_empty(), "{:?}", service.alerts);

        let down_at = service.now;
        applications[&wiki].set(Mode::Down);
        service.until(down_at + TimeDelta::minutes(5)).await;
        assert_eq!(service.alerts.len(), 1, "{:?}", service.alerts);
        assert_eq!(service.alerts[0].failure_type, FailureClass::Unreachable);

        let left_at = service.now;
        let leaves = all.iter().flat_map(|id| {
            (0..LEAVERS).map(move |who| Event::deprovision(id, &person(who)).occurred_at(left_at))
        });
        for accepted in service.outbox.accept_all(leaves.collect(), left_at).await {
            assert_eq!(accepted.unwrap(), Accepted::Held);
        }
        service.until(left_at + TimeDelta::minutes(10)).await;
        for id in &all {
            assert_eq!(service.counts(id).await, (0, 500), "{id}");
            let held =
                |alert: &&Alert| alert.connector == *id && alert.failure_type == FailureClass::LeaversHeld;
            let held: Vec<_> = service.alerts.iter().filter(held).collect();
            assert_eq!((held.len(), held[0].priority, held[0].queue.held), (1, Priority::High, 500), "{id}");
        }
        let record = service.outbox.offboarding(&person(7), service.now).await.unwrap();
        assert!(record.systems.iter().all(|system| system.status == Status::Held), "{record}");

        let approved_at = service.now;
        for id in &all {
            assert_eq!(service.outbox.approve(id).await.unwrap().released, 500);
        }
        service.pass().await;
        // At once, as far as anybody answers.
        assert_eq!([service.counts(&crm).await, service.counts(&payroll).await], [(0, 0), (0, 0)]);
        assert_eq!(service.counts(&wiki).await, (500, 0));
        let record = service.outbox.offboarding(&person(7), service.now).await.unwrap();
        assert_eq!(record.state, State::Open);
        let waits = record.systems.iter().find(|system| system.connector == wiki).unwrap();
        assert!(waits.gap.as_ref().is_some_and(|gap| gap.contains("connection refused")), "{record}");
        let left: usize =
            (0..PEOPLE).filter(|who| applications[&crm].accounts_of(&person(*who)).is_empty()).count();
        assert_eq!(left, LEAVERS);

        service.until(approved_at + TimeDelta::minutes(40)).await;
        let of_wiki =
            |alert: &&Alert| alert.connector == wiki && alert.failure_type == FailureClass::Unreachable;
        let last = service.alerts.iter().rfind(of_wiki).unwrap();
        assert_eq!(
            (last.tier, last.priority, last.queue.deprovisioning_queued),
            (Tier::Failed, Priority::Urgent, 500)
        );

        let back_at = service.now;
        applications[&wiki].set(Mode::Ok);
        while service.counts(&wiki).await.0 > 0 {
            service.pass().await;
        }
        // The longest wait for a probe; all of them with the first good one.
        assert!(service.now - back_at <= TimeDelta::seconds(301), "{:?}", service.now - back_at);
        service.until(back_at + TimeDelta::hours(1)).await;

        let open: Vec<_> = service.fleet.open_alerts();
        assert!(open.is_empty(), "{open:?}");
        let resolved = service.alerts.iter().rfind(of_wiki).unwrap();
        let resolution = resolved.resolution.unwrap();
        assert_eq!((resolved.occasion, resolved.state), (Occasion::Resolved, AlertState::Resolved));
        assert_eq!((resolution.replay.delivered, resolution.replay.failed), (500, 0));
        let over = |alert: &&Alert| {
            alert.failure_type == FailureClass::LeaversHeld && alert.occasion == Occasion::Resolved
        };
        assert_eq!(service.alerts.iter().filter(over).count(), 3);

        for who in 0..LEAVERS {
            let record = service.outbox.offboarding(&person(who), service.now).await.unwrap();
            assert_eq!((record.state, record.effective_at), (State::Complete, Some(left_at)), "{record}");
            for system in &record.systems {
                let Status::Confirmed { at } = system.status else { panic!("{record}") };
                let evidence = system.evidence.as_ref().unwrap();
                assert_eq!(system.time_to_revoke_ms, Some((at - left_at).num_milliseconds()), "{record}");
                if system.connector == wiki {
                    assert!(at >= back_at && evidence.failure_ended_at == Some(at), "{record}");
                    assert!(
                        evidence.failure_started_at.is_some_and(|since| since <= approved_at),
                        "{record}"
                    );
                    assert!(system.gap.is_some(), "{record}");
                } else {
                    assert!(at < approved_at + TimeDelta::minutes(1) && system.gap.is_none(), "{record}");
                }
            }
        }
        for (id, application) in &applications {
            for who in 0..PEOPLE {
                assert_eq!(
                    application.accounts_of(&person(who)).len(),
                    usize::from(who >= LEAVERS),
                    "{who} in {id}"
                );
            }
        }
    });
}
