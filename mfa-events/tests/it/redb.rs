//! The log in a file.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use mfa_events::log::Which;
use mfa_events::store::StoreError;
use mfa_events::{ActorId, Event, EventLog, LoginFailure, Offset, RedbStore, TenantId};

use crate::event::at;

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn failure(actor: &str) -> Event {
    LoginFailure::new(actor).at(at()).try_into().unwrap()
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn the_store_in_a_file_keeps_its_promises() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.redb");
    mfa_events::conformance::store(async || RedbStore::open(&path).unwrap()).await;
}

#[tokio::test]
async fn a_file_has_one_process_and_one_reader_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.redb");
    let first = RedbStore::open(&path).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Locked)));
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    drop(first);
    RedbStore::open(&path).unwrap();
}

/// More than what is gathered in memory, so that some actors are in the file and some are not.
#[tokio::test]
async fn finds_actors_in_memory_and_in_the_file_and_after_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.redb");
    let other = TenantId::new("other").unwrap();
    let log = EventLog::open(RedbStore::open(&path).unwrap());
    log.append(&other, [failure("p7")], at()).await.unwrap();
    let expected = {
        let mut expected = Vec::new();
        for batch in 0..8_u64 {
            let events = (0..10_000_u64).map(|number| failure(&format!("p{}", number % 1_000)));
            let appended = log.append(&acme(), events, at()).await.unwrap();
            let of_p7 = (0..10_000_usize).filter(|number| number % 1_000 == 7);
            expected.extend(of_p7.map(|number| appended[number].offset()));
            assert_eq!(appended[0].offset().as_u64(), batch * 10_000 + 1);
        }
        expected
    };
    let p7 = Which::Actors(vec![ActorId::new("p7").unwrap()]);
    let found = async |log: &EventLog<RedbStore>, tenant: &TenantId| {
        let mut after = Offset::START;
        let mut found = Vec::new();
        loop {
            let page = log.read(tenant, &p7, after, 40).await.unwrap();
            found.extend(page.records.iter().map(|record| record.offset));
            after = page.next;
            if page.is_up_to_date {
                return found;
            }
        }
    };
    assert_eq!(found(&log, &acme()).await, expected);
    assert_eq!(found(&log, &other).await.len(), 1);
    // The file is free once the task that commits has seen that nobody is left.
    drop(log);
    let store = loop {
        match RedbStore::open(&path) {
            Ok(store) => break store,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let log = EventLog::open(store);
    assert_eq!(found(&log, &acme()).await, expected);
    assert_eq!(found(&log, &other).await.len(), 1);
}

const KILLED: &str = "MFA_EVENTS_KILLED";

/// What the child process does.
#[allow(clippy::print_stderr, reason = "that is how it tells")]
async fn append_until_killed(path: &str) {
    let log = EventLog::open(RedbStore::open(path).unwrap());
    for batch in 0_u32.. {
        let senders = (0..4).map(|sender| {
            let log = log.clone();
            let event = failure(&format!("p{batch}-{sender}"));
            tokio::spawn(async move {
                let appended = log.append(&acme(), [event.clone()], at()).await.unwrap();
                (event.id(), appended[0].offset().as_u64())
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            let (id, offset) = sender.await.unwrap();
            eprintln!("kept {id} {offset}");
        }
    }
}

#[tokio::test]
async fn what_was_told_survives_a_kill() {
    if let Ok(path) = std::env::var(KILLED) {
        return append_until_killed(&path).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.redb");
    let mut told = BTreeSet::new();
    for round in 1..=4_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "redb::what_was_told_survives_a_kill", "--nocapture"])
            .env(KILLED, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
        let mut kept = 0;
        while kept < 20 * round {
            let line = lines.next().expect("the child goes on until it is killed").unwrap();
            if let Some(pair) = line.strip_prefix("kept ") {
                told.insert(pair.to_owned());
                kept += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            told.extend(line.strip_prefix("kept ").map(str::to_owned));
        }
        let log = EventLog::open(RedbStore::open(&path).unwrap());
        let (mut after, mut found) = (Offset::START, BTreeSet::new());
        loop {
            let page = log.read(&acme(), &Which::All, after, 1_000).await.unwrap();
            for record in &page.records {
                assert!(record.offset > after, "offsets grow");
                after = record.offset;
                found.insert(format!("{} {}", record.event.id(), record.offset.as_u64()));
            }
            if page.is_up_to_date {
                break;
            }
        }
        assert!(told.is_subset(&found), "{:?} of {} are gone", told.difference(&found).count(), told.len());
        let ids: BTreeSet<_> = found.iter().map(|pair| pair.split_once(' ').unwrap().0).collect();
        assert_eq!(ids.len(), found.len(), "nothing is there twice");
        drop(log);
        while RedbStore::open(&path).is_err() {
            tokio::task::yield_now().await;
        }
    }
}
