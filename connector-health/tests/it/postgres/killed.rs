//! Servers and workers are killed, and answers are lost: what was acknowledged is there, and everything ends once.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connector_health::connector::{Leaving, MemoryConnector, Mode};
use connector_health::outbox::Outbox;
use connector_health::store::{Cut, PostgresOptions};
use connector_health::{Connectors, Event, PostgresStore};
use testbed::{Loss, Postgres, Running, TcpRelay};

use super::Database;
use crate::company::{at, crm, has_one_outcome_each, history, named, options, person, story, work_out};
use crate::killed::event;
use crate::mortal::Mortal;

fn rounds() -> usize {
    let rounds = std::env::var("SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse::<usize>().ok());
    (rounds.unwrap_or(50) / 10).max(2)
}

/// Over the same database, once more where the store died; the number of commits of the last process.
async fn until_done(
    database: &Database,
    application: &MemoryConnector,
    events: &[Event],
    cut: Option<Cut>,
) -> (Outbox<Mortal<PostgresStore>>, u64) {
    let connectors = Connectors::new().with(crm(), application.clone());
    // Whoever comes after one that died waits for its leases to end.
    let mut now = at(100);
    for cut in [cut, None] {
        let store = Mortal::new(database.open().await, cut);
        let outbox = Outbox::open_with(store.clone(), options()).await.unwrap();
        let mut is_dead = false;
        for event in events {
            is_dead |= outbox.accept(event.clone(), now).await.is_err();
        }
        if !is_dead && work_out(&outbox, &connectors, now).await.is_ok() {
            return (outbox, store.commits());
        }
        assert!(cut.is_some(), "only a cut fails");
        now = at(1_000_000);
    }
    panic!("never done");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn every_write_may_be_the_last_one_of_its_process() {
    let mut dice = fastrand::Rng::with_seed(7);
    let (events, company) = history(&mut dice, 2, 4, Leaving::Deletes, true);
    let application = MemoryConnector::new().with_groups();
    let (_, writes) = until_done(&Database::new(), &application, &events, None).await;
    assert!(writes > 8, "{writes}");
    for write in 0..writes {
        for cut in [Cut::Before(write), Cut::After(write)] {
            let application = MemoryConnector::new().with_groups();
            application.next([Mode::LostResponse, Mode::Ok, Mode::LostResponse]);
            let database = Database::new();
            let (outbox, _) = until_done(&database, &application, &events, Some(cut)).await;
            assert_eq!(company.differs(&application), None, "{cut:?}{}", story(&events));
            has_one_outcome_each(&outbox, &events).await;
        }
    }
}

/// The server answers the commit of this number and nobody hears it, or it is asked for a transaction and the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Commit(usize),
    Statement(usize),
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_lost_answer_is_neither_an_error_nor_a_second_time() {
    let server = Postgres::start(testbed::PostgresOptions::new()).unwrap();
    for kind in [Lost::Commit, Lost::Statement] {
        for number in 0.. {
            let lost = kind(number);
            let relay = TcpRelay::start(server.addr()).unwrap();
            let database = server.create_database().unwrap();
            let url = format!("postgres://{}@{}/{database}", Postgres::USER, relay.addr());
            let settings = PostgresOptions::new(&url)
                .unwrap()
                .dangerously_lease_by_caller()
                .password(Postgres::PASSWORD);
            let store = PostgresStore::open(settings).await.unwrap();
            let application = MemoryConnector::new().recording();
            let connectors = Connectors::new().with(crm(), application.clone());
            let outbox = Outbox::open_with(store, options()).await.unwrap();
            let seen = AtomicUsize::new(0);
            relay.choose(move |piece| {
                let holds = |needle: &[u8]| piece.windows(needle.len()).any(|window| window == needle);
                let is_one = match lost {
                    Lost::Commit(_) => holds(b"COMMIT"),
                    // The first statement of each transaction.
                    Lost::Statement(_) => holds(b"START TRANSACTION"),
                };
                let (Lost::Commit(at) | Lost::Statement(at)) = lost;
                match is_one && seen.fetch_add(1, Ordering::SeqCst) == at {
                    true => Loss::Reset,
                    false => Loss::None,
                }
            });
            let mut events = Vec::new();
            for who in [person(0), person(1)] {
                events.push(Event::provision(&crm(), &who, named(who.as_str())).occurred_at(at(1)));
                events.push(Event::deprovision(&crm(), &who).occurred_at(at(3)));
            }
            for (event, number) in events.iter().zip(0..) {
                let accepted = outbox.accept(event.clone(), at(10 + number)).await.unwrap();
                assert_eq!(accepted, connector_health::outbox::Accepted::Queued, "{lost:?}");
                outbox.work(&connectors, at(10 + number)).await.unwrap();
            }
            // Whatever was lost, it was sent once.
            assert_eq!(application.requests().len(), events.len(), "{lost:?}");
            for event in &events {
                let record = outbox.event(event.id()).await.unwrap().unwrap();
                assert_eq!((record.state.name(), record.attempts), ("succeeded", 1), "{lost:?}");
                assert_eq!(record.failure_started_at, None, "{lost:?}");
            }
            has_one_outcome_each(&outbox, &events).await;
            if relay.lost() == 0 {
                assert!(number >= 12, "only {number} transactions");
                break;
            }
        }
    }
}

/// Accepts until the server is gone, gives again what was not acknowledged, and goes on when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn soak_a_killed_server_has_lost_nothing_that_it_acknowledged() {
    let mut server = Postgres::start(testbed::PostgresOptions::new().durable()).unwrap();
    let url = server.url(&server.create_database().unwrap());
    let application = MemoryConnector::new();
    let connectors = Connectors::new().with(crm(), application.clone());
    let mut dice = fastrand::Rng::with_seed(rounds() as u64);
    let store =
        PostgresStore::open(PostgresOptions::new(&url).unwrap().dangerously_lease_by_caller()).await.unwrap();
    let outbox = Arc::new(Outbox::open_with(store, options()).await.unwrap());
    let mut acknowledged = 0;
    for _ in 0..rounds() {
        let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let accepting = {
            let (outbox, connectors) = (Arc::clone(&outbox), connectors.clone());
            tokio::spawn(async move {
                for number in acknowledged.. {
                    if let Err(error) = outbox.accept(event(number), at(1_000_000)).await {
                        return error.to_string();
                    }
                    sender.send(number).unwrap();
                    if number % 4 == 3
                        && let Err(error) = outbox.work(&connectors, at(1_000_000)).await
                    {
                        return error.to_string();
                    }
                }
                unreachable!("it ends with the server")
            })
        };
        for _ in 0..dice.usize(1..60) {
            acknowledged = heard.recv().await.unwrap() + 1;
        }
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server
        })
        .await
        .unwrap();
        let error = accepting.await.unwrap();
        assert!(error.contains("cannot be reached"), "{error}");
        while let Some(number) = heard.recv().await {
            acknowledged = number + 1;
        }
        server.restart().unwrap();
        for number in 0..acknowledged {
            let known = outbox.event(event(number).id()).await.unwrap();
            assert_eq!(known.expect("it was acknowledged").event, event(number));
        }
    }
    let events: Vec<_> = (0..acknowledged).map(event).collect();
    work_out(&outbox, &connectors, at(1_000_100)).await.unwrap();
    for event in events {
        let record = outbox.event(event.id()).await.unwrap().unwrap();
        assert!(record.state.is_closed(), "{:?}", record.state);
    }
    assert_eq!(outbox.counts(&crm()).await.unwrap().queued(), 0, "sums are those of what is there");
}

const URL: &str = "CONNECTOR_HEALTH_KILLED_URL";
const FROM: &str = "CONNECTOR_HEALTH_KILLED_FROM";

/// Accepts and delivers; a line on `out` for each event that was acknowledged.
async fn serve(store: PostgresStore, from: usize, to: usize, mut out: impl Write) {
    let outbox = Outbox::open_with(store, options()).await.unwrap();
    let connectors = Connectors::new().with(crm(), MemoryConnector::new());
    for number in from..to {
        outbox.accept(event(number), at(1_000_000)).await.unwrap();
        writeln!(out, "<{number}>").unwrap();
        out.flush().unwrap();
        if number % 4 == 3 {
            outbox.work(&connectors, at(1_000_000)).await.unwrap();
        }
    }
}

/// In a process of its own, which is killed, where the queue is named; otherwise by itself and to its end.
#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_process_of_its_own() {
    if let (Ok(url), Ok(from)) = (std::env::var(URL), std::env::var(FROM)) {
        let store = PostgresStore::open(PostgresOptions::new(&url).unwrap().dangerously_lease_by_caller())
            .await
            .unwrap();
        serve(store, from.parse().unwrap(), usize::MAX, std::io::stderr()).await;
    } else {
        let mut lines = Vec::new();
        serve(Database::new().open().await, 0, 3, &mut lines).await;
        assert_eq!(lines, b"<0>\n<1>\n<2>\n");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn soak_a_killed_worker_has_lost_nothing_that_it_acknowledged() {
    let database = Database::new();
    let mut dice = fastrand::Rng::with_seed(rounds() as u64);
    let mut acknowledged = BTreeSet::new();
    let outbox = Outbox::open_with(database.open().await, options()).await.unwrap();
    let mut from = 0;
    for _ in 0..rounds() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "postgres::killed::a_process_of_its_own",
            "--include-ignored",
            "--nocapture",
        ]);
        command.env(URL, &database.url).env(FROM, from.to_string());
        let process = Running::spawn(command).unwrap();
        let last = format!("<{}>", from + dice.usize(1..40));
        assert!(process.wait_for_stderr(&last, Duration::from_secs(120)), "it lives until it is killed");
        let output = process.kill().unwrap().stderr_text();
        let numbers = output
            .lines()
            .filter_map(|line| line.strip_prefix('<')?.strip_suffix('>')?.parse::<usize>().ok());
        acknowledged.extend(numbers);
        from = acknowledged.last().map_or(0, |last| last + 1);
        for number in &acknowledged {
            let known = outbox.event(event(*number).id()).await.unwrap();
            assert_eq!(known.expect("it was acknowledged").event, event(*number));
        }
    }
    assert!(acknowledged.len() > rounds());
    let connectors = Connectors::new().with(crm(), MemoryConnector::new());
    // The application died with its process: a right that is to be granted finds nobody. Leavers and lost rights end.
    work_out(&outbox, &connectors, at(2_000_000)).await.unwrap();
    for number in acknowledged {
        let record = outbox.event(event(number).id()).await.unwrap().unwrap();
        let may_wait = record.event.intent().action() == "grant";
        assert!(record.state.is_closed() || may_wait, "{number}: {:?}", record.state);
    }
}
