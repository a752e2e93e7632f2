//! The outbox at size: 100,000 queued events over 50 connectors, replayed against an application that costs nothing, in a redb file and in
//! memory, with the memory that it takes beside that of a tenth; and the time to open a file of a million pending events whose
//! process was killed.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, reason = "a bench")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use connector_health::connector::ListedAccount;
use connector_health::event::{Attribute, Attributes};
use connector_health::outbox::MassLeaverGuard;
use connector_health::{
    Confirmation, Connector, ConnectorId, Connectors, Event, Failure, Found, MemoryStore, Operation, Options,
    Outbox, OutboxStore, PersonId, RedbStore,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

const CONNECTORS: u64 = 50;
const STORE: &str = "PROVISIONING_BENCH_STORE";

struct Free;

#[async_trait]
impl Connector for Free {
    async fn probe(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ensure(&self, _: &Operation) -> Result<Confirmation, Failure> {
        Ok(Confirmation::read(Found::Changed))
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        stream::empty().boxed()
    }
}

fn connector(number: u64) -> ConnectorId {
    ConnectorId::new(format!("connector-{number}")).expect("short")
}

fn at(second: u64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(i64::try_from(second).expect("small"))
}

/// One event for each person: every other one leaves.
fn event(number: u64) -> Event {
    let (connector, person) =
        (connector(number % CONNECTORS), PersonId::new(format!("P{number:08}")).expect("short"));
    if number.is_multiple_of(2) {
        return Event::deprovision(&connector, &person).occurred_at(at(number));
    }
    let name = Attribute::Unique(format!("person.{number}@example.com"));
    let account =
        Attributes::from([("userName".to_owned(), name), ("title".to_owned(), Attribute::from("Engineer"))]);
    Event::provision(&connector, &person, account).occurred_at(at(number))
}

fn options() -> Options {
    Options::default().guard(MassLeaverGuard::off()).concurrency(512, 32)
}

async fn fill<S: OutboxStore>(outbox: &Outbox<S>, events: u64) {
    let mut from = 0;
    while from < events {
        let to = (from + 20_000).min(events);
        for accepted in outbox.accept_all((from..to).map(event).collect(), at(events)).await {
            accepted.expect("accepted");
        }
        from = to;
    }
}

/// Most memory that this process had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}

async fn replay<S: OutboxStore>(what: &str, store: S, events: u64) {
    let outbox = Outbox::open_with(store, options()).await.expect("opens");
    let started = Instant::now();
    fill(&outbox, events).await;
    let accepted = started.elapsed();
    let mut connectors = Connectors::new();
    for number in 0..CONNECTORS {
        connectors.insert(connector(number), std::sync::Arc::new(Free));
    }
    let started = Instant::now();
    let worked = outbox.work(&connectors, at(events)).await.expect("works");
    let replayed = started.elapsed();
    assert_eq!((worked.delivered, worked.next_at), (events, None));
    let rate = |time: std::time::Duration| events as f64 / time.as_secs_f64();
    println!(
        "{what}: {events} events accepted at {:.0}/s, replayed at {:.0} lanes/s; peak memory {} MiB",
        rate(accepted),
        rate(replayed),
        peak_kib() / 1024
    );
}

async fn cold_open(directory: &Path, events: u64) {
    let store = directory.join("killed.redb");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .env(STORE, &store)
        .env("PROVISIONING_BENCH_EVENTS", events.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("the queue is filled");
    child.kill().expect("killed");
    child.wait().expect("gone");
    let started = Instant::now();
    let outbox = Outbox::open_with(RedbStore::open(&store).expect("opens"), options()).await.expect("opens");
    let opened = started.elapsed();
    let queued = outbox.counts(&connector(0)).await.expect("counts").queued();
    assert_eq!(queued, events / CONNECTORS);
    let mib = std::fs::metadata(&store).expect("is there").len() >> 20;
    println!(
        "cold open of {events} pending events after kill -9 ({mib} MiB): {opened:.2?}, peak memory {} MiB",
        peak_kib() / 1024
    );
}

#[tokio::main]
async fn main() {
    let count =
        |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    if let Ok(store) = std::env::var(STORE) {
        let outbox =
            Outbox::open_with(RedbStore::open(store).expect("opens"), options()).await.expect("opens");
        fill(&outbox, count("PROVISIONING_BENCH_EVENTS", 1_000_000)).await;
        println!("filled");
        std::future::pending::<()>().await;
    }
    let directory = tempfile::tempdir().expect("a directory");
    // `cargo test` runs a bench with this to see that it works at all.
    let is_check = std::env::args().any(|argument| argument == "--test");
    let (queue, pending) = if is_check { (1_000, 1_000) } else { (100_000, 1_000_000) };
    cold_open(directory.path(), pending).await;
    for events in [queue / 10, queue] {
        let file = directory.path().join(format!("{events}.redb"));
        replay("redb", RedbStore::open(file).expect("opens"), events).await;
    }
    replay("memory", MemoryStore::new(), queue).await;
}
