//! Four workers and more at one queue.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use connector_health::connector::{Leaving, MemoryConnector};
use connector_health::outbox::Outbox;
use connector_health::store::PostgresOptions;
use connector_health::{Connector, ConnectorId, Connectors, Event, EventId, Operation, PostgresStore};
use futures::StreamExt;
use testbed::Running;

use super::Database;
use crate::company::{
    at, crm, group, has_one_outcome_each, history, moods, named, options, person, story, waiting,
};
use crate::watched::{Remote, Watched};
use crate::workers::{late_worker_is_not_heard, work_together};

const WORKERS: usize = 4;

async fn workers(database: &Database) -> Vec<Arc<Outbox<PostgresStore>>> {
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(Arc::new(Outbox::open_with(database.open().await, options()).await.unwrap()));
    }
    workers
}

fn rounds() -> u64 {
    let rounds = std::env::var("SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse::<u64>().ok());
    (rounds.unwrap_or(50) / 10).max(1)
}

/// P1, P2 and P4, and no two at one lane at a time: whoever accepts what, in whatever order, and answers being lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn soak_four_workers_end_as_one_would() {
    for round in 0..rounds() {
        let mut dice = fastrand::Rng::with_seed(3_000_017 + round);
        let (leaving, has_groups) =
            (if dice.bool() { Leaving::Deletes } else { Leaving::Disables }, dice.bool());
        let (events, company) = history(&mut dice, 12, 150, leaving, has_groups);
        let application = MemoryConnector::new().leaving(leaving).recording();
        let application = if has_groups { application.with_groups() } else { application };
        let watched = Watched::new(application.clone());
        let connectors = Connectors::new().with(crm(), watched.clone());
        let database = Database::new();
        let workers = workers(&database).await;
        let mut shuffled = events.clone();
        dice.shuffle(&mut shuffled);
        let parts: Vec<_> = shuffled.chunks(events.len().div_ceil(WORKERS)).map(<[Event]>::to_vec).collect();
        let taking = workers.iter().zip(parts).map(|(outbox, part)| outbox.accept_all(part, at(1_000)));
        for accepted in futures::future::join_all(taking).await.into_iter().flatten() {
            accepted.unwrap();
        }
        application.next(moods(&mut dice, 40));
        work_together(&workers, &connectors, 1_000).await;
        let what = format!("round {round}, {leaving:?}:{}", story(&events));
        let left = waiting(&workers[1], &events).await;
        assert_eq!(company.differs(&application), None, "{what}\n{left}");
        for operation in application.requests() {
            if let Operation::Account { target, .. } = operation {
                let last = events.iter().rfind(|event| {
                    event.lane() == &connector_health::event::Lane::person(&crm(), &target.person)
                });
                assert_ne!(last.unwrap().intent().action(), "deprovision", "{} is activated", target.person);
            }
        }
        assert_eq!(watched.overlaps(), [""; 0], "{what}");
        has_one_outcome_each(&workers[2], &events).await;
    }
}

/// P3: no leaver waits for anything but what was being sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn leavers_go_before_all_else_whoever_sends_them() {
    const PEOPLE: usize = 400;
    let application = MemoryConnector::new().recording();
    let connectors = Connectors::new().with(crm(), application.clone());
    let database = Database::new();
    let workers = workers(&database).await;
    let events = (0..PEOPLE).flat_map(|number| {
        let who = person(number);
        let joins = Event::provision(&crm(), &who, named(who.as_str())).occurred_at(at(1));
        let leaves = Event::deprovision(&crm(), &who).occurred_at(at(2));
        [Some(joins), number.is_multiple_of(4).then_some(leaves)]
    });
    for accepted in workers[0].accept_all(events.flatten().collect(), at(10)).await {
        accepted.unwrap();
    }
    work_together(&workers, &connectors, 10).await;
    let is_leaver = |operation: &Operation| matches!(operation, Operation::Deprovision { .. });
    let requests = application.requests();
    assert_eq!(requests.len(), PEOPLE);
    let last = requests.iter().rposition(is_leaver).unwrap();
    // Each worker sends up to eight at a time, and begins with others only when it finds no leaver to claim.
    let at_once = WORKERS * 8;
    assert!(last < PEOPLE / 4 + at_once, "a leaver went as number {last}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_late_worker_is_not_heard() {
    let database = Database::new();
    late_worker_is_not_heard(database.open().await, database.open().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn ten_thousand_lanes_are_drained_by_four_workers() {
    const CONNECTORS: usize = 10;
    const PEOPLE: usize = 1_000;
    let connector = |number| ConnectorId::new(format!("c{number}")).unwrap();
    let database = Database::new();
    let watched: Vec<_> = (0..CONNECTORS).map(|_| Watched::new(MemoryConnector::new())).collect();
    let mut connectors = Connectors::new();
    for (number, watched) in watched.iter().enumerate() {
        connectors.insert(connector(number), Arc::new(watched.clone()));
    }
    let options = || options().concurrency(256, 32);
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(Arc::new(Outbox::open_with(database.open().await, options()).await.unwrap()));
    }
    let taking = workers.iter().enumerate().map(|(worker, outbox)| {
        let people = (worker..CONNECTORS * PEOPLE).step_by(WORKERS);
        let events = people.map(|number| {
            let (who, where_to) = (person(number % PEOPLE), connector(number / PEOPLE));
            let joins = Event::provision(&where_to, &who, named(who.as_str())).occurred_at(at(1));
            joins.named(EventId::new(format!("{number}")).unwrap())
        });
        outbox.accept_all(events.collect(), at(10))
    });
    for accepted in futures::future::join_all(taking).await.into_iter().flatten() {
        accepted.unwrap();
    }
    for number in 0..CONNECTORS {
        let counts = workers[3].counts(&connector(number)).await.unwrap();
        assert_eq!((counts.queued(), counts.active), (PEOPLE as u64, PEOPLE as u64));
    }
    work_together(&workers, &connectors, 10).await;
    for (number, watched) in watched.iter().enumerate() {
        assert_eq!(workers[0].counts(&connector(number)).await.unwrap().queued(), 0);
        assert_eq!(watched.overlaps(), [""; 0]);
        assert_eq!(watched.application.accounts().count().await, PEOPLE, "one account each");
    }
    for number in (0..CONNECTORS * PEOPLE).step_by(97) {
        let id = EventId::new(format!("{number}")).unwrap();
        let record = workers[0].event(&id).await.unwrap().unwrap();
        assert_eq!((record.state.name(), record.attempts), ("succeeded", 1));
    }
}

const URL: &str = "CONNECTOR_HEALTH_WORKER_URL";
const APPLICATION: &str = "CONNECTOR_HEALTH_WORKER_APPLICATION";
const SECOND: &str = "CONNECTOR_HEALTH_WORKER_SECOND";

/// Works until nothing is left that others have not leased and that did not fail.
async fn work_through(store: PostgresStore, connectors: &Connectors, second: i64) {
    let outbox = Outbox::open_with(store, options()).await.unwrap();
    while outbox.work(connectors, at(second)).await.unwrap().next_at.is_some_and(|next| next <= at(second)) {}
}

/// In a process of its own, which may be killed, where the queue is named; otherwise by itself.
#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_process_of_its_own() {
    if let (Ok(url), Ok(application)) = (std::env::var(URL), std::env::var(APPLICATION)) {
        let second = std::env::var(SECOND).unwrap().parse().unwrap();
        let store = PostgresStore::open(PostgresOptions::new(&url).unwrap().dangerously_lease_by_caller())
            .await
            .unwrap();
        work_through(store, &Connectors::new().with(crm(), Remote(application)), second).await;
    } else {
        let database = Database::new();
        let outbox = Outbox::open(database.open().await).await.unwrap();
        let joins = Event::provision(&crm(), &person(0), named("smith")).occurred_at(at(1));
        outbox.accept(joins.clone(), at(1)).await.unwrap();
        work_through(database.open().await, &Connectors::new().with(crm(), MemoryConnector::new()), 1).await;
        has_one_outcome_each(&outbox, &[joins]).await;
    }
}

fn worker(url: &str, application: &str, second: i64) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "postgres::workers::a_process_of_its_own", "--include-ignored", "--nocapture"]);
    command.env(URL, url).env(APPLICATION, application).env(SECOND, second.to_string());
    Running::spawn(command).unwrap()
}

/// Three processes share a queue; one of them is killed in the middle, and the others take its lanes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn soak_processes_share_a_queue_and_one_is_killed() {
    for round in 0..rounds().div_ceil(4) {
        let mut dice = fastrand::Rng::with_seed(5_000_011 + round);
        let leaving = Leaving::Disables;
        let (mut events, mut company) = history(&mut dice, 10, 120, leaving, false);
        let told = events.len();
        for number in 100..300 {
            let who = person(number);
            let joins = Event::provision(&crm(), &who, named(who.as_str())).occurred_at(at(900));
            let right = Event::grant(&crm(), &who, &group(1)).occurred_at(at(901));
            events.extend(
                [joins, right]
                    .into_iter()
                    .enumerate()
                    .map(|(at, event)| event.named(EventId::new(format!("{who}-{at}")).unwrap())),
            );
        }
        events.iter().skip(told).for_each(|event| company.happen(event));
        let application = MemoryConnector::new().leaving(leaving);
        let watched = Watched::new(application.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = {
            let watched = watched.clone();
            tokio::spawn(async move { watched.serve(listener).await })
        };
        let database = Database::new();
        let outbox = Outbox::open_with(database.open().await, options()).await.unwrap();
        for accepted in outbox.accept_all(events.clone(), at(1_000)).await {
            accepted.unwrap();
        }
        let mut second = 1_000;
        let mut running: Vec<_> = (0..3).map(|_| worker(&database.url, &address, second)).collect();
        let many = watched.has_seen(dice.usize(20..150));
        tokio::time::timeout(Duration::from_secs(120), many).await.expect("they work");
        drop(running.remove(0).kill().unwrap());
        application.next(moods(&mut dice, 40));
        loop {
            for process in running.drain(..) {
                let output = tokio::task::spawn_blocking(|| process.wait(Duration::from_secs(120)));
                let output = output.await.unwrap().unwrap();
                assert!(output.status.success(), "{}\n{}", output.stdout_text(), output.stderr_text());
            }
            if outbox.counts(&crm()).await.unwrap().queued() == 0 {
                break;
            }
            // Leases of the one that was killed have run out by then, and what failed is due again.
            second += TimeDelta::minutes(20).num_seconds();
            running.extend((0..2).map(|_| worker(&database.url, &address, second)));
        }
        serving.abort();
        assert_eq!(company.differs(&application), None, "{}", waiting(&outbox, &events).await);
        assert_eq!(watched.overlaps(), [""; 0]);
        has_one_outcome_each(&outbox, &events).await;
    }
}
