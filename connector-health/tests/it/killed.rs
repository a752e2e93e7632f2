//! A process is killed at any moment: what it acknowledged is there, and every event still ends once.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use connector_health::connector::MemoryConnector;
use connector_health::outbox::Outbox;
use connector_health::{Connectors, Event, EventId, RedbStore};

use crate::company::{at, crm, named, options, person, work_out};

const STORE: &str = "CONNECTOR_HEALTH_KILLED_STORE";
const FROM: &str = "CONNECTOR_HEALTH_KILLED_FROM";

fn rounds() -> usize {
    let rounds = std::env::var("SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse::<usize>().ok());
    rounds.unwrap_or(50) / 10
}

/// Three events about each person, the last of them a leaver for every other one.
pub(crate) fn event(number: usize) -> Event {
    let who = person(number / 3);
    let draft = match number % 3 {
        0 => Event::provision(&crm(), &who, named(&format!("name{}", number / 3))),
        1 => Event::grant(&crm(), &who, &crate::company::group(1)),
        _ if number.is_multiple_of(2) => Event::deprovision(&crm(), &who),
        _ => Event::revoke(&crm(), &who, &crate::company::group(1)),
    };
    draft.occurred_at(at(number as i64)).named(EventId::new(format!("e{number}")).unwrap())
}

/// Accepts and delivers; a line on `out` for each event that was acknowledged.
async fn serve(store: &Path, from: usize, to: usize, mut out: impl Write) {
    let outbox = Outbox::open_with(RedbStore::open(store).unwrap(), options()).await.unwrap();
    let connectors = Connectors::new().with(crm(), MemoryConnector::new());
    for number in from..to {
        outbox.accept(event(number), at(1_000_000)).await.unwrap();
        writeln!(out, "{number}").unwrap();
        out.flush().unwrap();
        if number % 4 == 3 {
            outbox.work(&connectors, at(1_000_000)).await.unwrap();
        }
    }
}

/// In a process of its own, which is killed, where the store is named; otherwise by itself and to its end.
#[tokio::test]
async fn a_process_of_its_own() {
    if let (Ok(store), Ok(from)) = (std::env::var(STORE), std::env::var(FROM)) {
        serve(Path::new(&store), from.parse().unwrap(), usize::MAX, std::io::stderr()).await;
    } else {
        let directory = tempfile::tempdir().unwrap();
        let mut lines = Vec::new();
        serve(&directory.path().join("outbox.redb"), 0, 9, &mut lines).await;
        assert_eq!(lines, b"0\n1\n2\n3\n4\n5\n6\n7\n8\n");
    }
}

#[tokio::test]
async fn soak_killed_at_any_moment_it_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("outbox.redb");
    let mut dice = fastrand::Rng::with_seed(rounds() as u64);
    let mut acknowledged = BTreeSet::new();
    let mut from = 0;
    for _ in 0..rounds() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::a_process_of_its_own", "--nocapture", "--test-threads=1"])
            .env(STORE, &store)
            .env(FROM, from.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for _ in 0..dice.usize(1..40) {
            // What the harness says is no number.
            if let Ok(number) = lines.next().expect("it lives until it is killed").unwrap().parse::<usize>() {
                acknowledged.insert(number);
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| line.parse::<usize>().ok()));
        from = acknowledged.last().map_or(0, |last| last + 1);
        let outbox = Outbox::open(RedbStore::open(&store).unwrap()).await.unwrap();
        for number in &acknowledged {
            let known = outbox.event(event(*number).id()).await.unwrap();
            assert_eq!(known.expect("it was acknowledged").event, event(*number));
        }
    }
    assert!(acknowledged.len() > rounds());
    let outbox = Outbox::open_with(RedbStore::open(&store).unwrap(), options()).await.unwrap();
    let connectors = Connectors::new().with(crm(), MemoryConnector::new());
    // The application died with its process: events that were confirmed by it are not repeated, and a right that is to be
    // granted finds nobody. Those wait for a person; everything else is closed.
    for number in 0..from.div_ceil(3) {
        let again = Event::provision(&crm(), &person(number), named(&format!("name{number}")));
        outbox.accept(again.occurred_at(at(0)), at(1_000_000)).await.unwrap();
    }
    work_out(&outbox, &connectors, at(1_000_100)).await.unwrap();
    for number in acknowledged {
        let record = outbox.event(event(number).id()).await.unwrap().unwrap();
        let closed = record.state.is_closed() || record.event.intent().action() == "grant";
        assert!(closed, "{number}: {:?}", record.state);
    }
}
