//! The outbox at size: 100,000 queued events over 50 connectors, replayed against an application that costs nothing, in a redb file and in
//! memory, with the memory that it takes on the way beside that of a tenth; and the time to open a file of a million pending events
//! whose process was killed.
//!
//! Each figure comes from a process of its own. A replay from a file begins with a file that another process has filled, so that
//! its memory is the replay's alone; a replay from memory holds its queue, too.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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
/// What a process does that this bench starts, with which file, and for how many events.
const PART: &str = "PROVISIONING_BENCH_PART";
const FILE: &str = "PROVISIONING_BENCH_FILE";
const EVENTS: &str = "PROVISIONING_BENCH_EVENTS";

/// An application that costs nothing. Looks at this process's memory at each tenth of the way.
#[derive(Default)]
struct Free {
    confirmed: AtomicU64,
    each: u64,
    resident: Mutex<Vec<u64>>,
}

#[async_trait]
impl Connector for Free {
    async fn probe(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn ensure(&self, _: &Operation) -> Result<Confirmation, Failure> {
        let confirmed = self.confirmed.fetch_add(1, Ordering::Relaxed) + 1;
        if confirmed.is_multiple_of(self.each) {
            self.resident.lock().expect("not poisoned").push(memory_mib("VmRSS:"));
        }
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

/// Memory of this process, as the kernel names it.
fn memory_mib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib: Option<u64> = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    kib.unwrap_or_default() / 1024
}

fn per_second(events: u64, since: Instant) -> f64 {
    events as f64 / since.elapsed().as_secs_f64()
}

async fn open(file: &str) -> Outbox<RedbStore> {
    Outbox::open_with(RedbStore::open(file).expect("opens"), options()).await.expect("opens")
}

async fn replay<S: OutboxStore>(what: &str, outbox: Outbox<S>, events: u64) {
    let opened = memory_mib("VmRSS:");
    let free = Arc::new(Free { each: (events / 10).max(1), ..Free::default() });
    let mut connectors = Connectors::new();
    for number in 0..CONNECTORS {
        connectors.insert(connector(number), Arc::clone(&free) as Arc<dyn Connector>);
    }
    let started = Instant::now();
    let mut delivered = 0;
    loop {
        let worked = outbox.work(&connectors, at(events)).await.expect("works");
        delivered += worked.delivered;
        // A pass begins nothing more once its time is up.
        if worked.next_at.is_none() {
            break;
        }
    }
    assert_eq!(delivered, events);
    let rate = per_second(events, started);
    let resident: Vec<_> =
        free.resident.lock().expect("not poisoned").iter().map(ToString::to_string).collect();
    println!(
        "{what}: {events} events replayed at {rate:.0} lanes/s; MiB resident: {opened} before, {} at each tenth, {} at most",
        resident.join(" "),
        memory_mib("VmHWM:")
    );
}

/// One part, in a process of its own.
async fn play(part: &str, file: &str, events: u64) {
    match part {
        "fill" => {
            let started = Instant::now();
            fill(&open(file).await, events).await;
            println!("redb: {events} events accepted at {:.0}/s", per_second(events, started));
        }
        "fill and be killed" => {
            let outbox = open(file).await;
            fill(&outbox, events).await;
            println!("filled");
            std::future::pending::<()>().await;
        }
        "open" => {
            let started = Instant::now();
            let outbox = open(file).await;
            let opened = started.elapsed();
            let queued = outbox.counts(&connector(0)).await.expect("counts").queued();
            assert_eq!(queued, events / CONNECTORS);
            let mib = std::fs::metadata(file).expect("is there").len() >> 20;
            let peak = memory_mib("VmHWM:");
            println!(
                "cold open of {events} pending events after kill -9 ({mib} MiB): {opened:.2?}, {peak} MiB resident at most"
            );
        }
        "replay" => replay("redb", open(file).await, events).await,
        "replay from memory" => {
            let outbox = Outbox::open_with(MemoryStore::new(), options()).await.expect("opens");
            fill(&outbox, events).await;
            replay("memory", outbox, events).await;
        }
        other => panic!("no part `{other}`"),
    }
}

fn start(part: &str, file: &Path, events: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(PART, part).env(FILE, file).env(EVENTS, events.to_string());
    command
}

fn run(part: &str, file: &Path, events: u64) {
    assert!(start(part, file, events).status().expect("starts").success(), "{part} fails");
}

fn cold_open(file: &Path, events: u64) {
    let mut child: Child =
        start("fill and be killed", file, events).stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("the queue is filled");
    child.kill().expect("killed");
    child.wait().expect("gone");
    run("open", file, events);
}

#[tokio::main]
async fn main() {
    let variable = |name: &str| std::env::var(name).ok();
    if let (Some(part), Some(file), Some(events)) = (variable(PART), variable(FILE), variable(EVENTS)) {
        return play(&part, &file, events.parse().expect("a number")).await;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: String| directory.path().join(name);
    // `cargo test` runs a bench with this to see that it works at all.
    let is_check = std::env::args().any(|argument| argument == "--test");
    let (queue, pending) = if is_check { (1_000, 1_000) } else { (100_000, 1_000_000) };
    for events in [queue / 10, queue] {
        run("fill", &file(format!("{events}.redb")), events);
        run("replay", &file(format!("{events}.redb")), events);
    }
    run("replay from memory", &file("none".to_owned()), queue);
    cold_open(&file("killed.redb".to_owned()), pending);
}
