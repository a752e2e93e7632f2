//! The log in a file.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use mfa_events::log::Which;
use mfa_events::store::StoreError;
use mfa_events::{ActorId, Appended, Event, EventLog, LoginFailure, Offset, RedbStore, TenantId};

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
    drop(log);
    let store = reopened(&path).await;
    let log = EventLog::open(store);
    assert_eq!(found(&log, &acme()).await, expected);
    assert_eq!(found(&log, &other).await.len(), 1);
}

#[tokio::test]
async fn an_event_is_kept_once_wherever_the_first_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.redb");
    let log = EventLog::open(RedbStore::open(&path).unwrap());
    // Ids of no order, and more events than gather in memory at once.
    let numbered = |number: u64| -> Event {
        let id = uuid::Uuid::from_u128(u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | 1);
        LoginFailure::new("alice").id(id).at(at()).try_into().unwrap()
    };
    let mut offsets = Vec::new();
    for batch in 0..16 {
        let events = (0..10_000).map(|number| numbered(batch * 10_000 + number));
        let appended = log.append(&acme(), events, at()).await.unwrap();
        offsets.extend(appended.iter().map(|appended| appended.offset()));
    }
    let again: Vec<u64> = (0..160_000).step_by(997).collect();
    let expected: Vec<_> = again.iter().map(|number| Appended::Known(offsets[*number as usize])).collect();
    assert_eq!(log.append(&acme(), again.iter().copied().map(numbered), at()).await.unwrap(), expected);
    let other: Event = LoginFailure::new("bob").id(numbered(3).id()).at(at()).try_into().unwrap();
    let conflict = Appended::Conflict(offsets[3]);
    assert_eq!(log.append(&acme(), [other.clone()], at()).await.unwrap(), [conflict]);
    drop(log);
    let log = EventLog::open(reopened(&path).await);
    assert_eq!(log.append(&acme(), again.into_iter().map(numbered), at()).await.unwrap(), expected);
    assert_eq!(log.append(&acme(), [other], at()).await.unwrap(), [conflict]);
}

#[tokio::test]
async fn what_is_forgotten_is_gone_from_the_database_and_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.redb");
    let mut log = EventLog::open(RedbStore::open(&path).unwrap());
    for batch in 0..8 {
        let events = (0..10_000).map(|number| failure(&format!("p{batch}-{number}")));
        log.append(&acme(), events, at()).await.unwrap();
    }
    // In the middle of a block of the database; of what is in the journal alone; again, after opening.
    for to in [12_345_u64, 79_000, 79_500] {
        log.forget(&acme(), Offset::new(to)).await.unwrap();
        for _ in 0..2 {
            let bounds = log.bounds(&acme()).await.unwrap();
            assert_eq!((bounds.forgotten.as_u64(), bounds.last.as_u64()), (to, 80_000));
            let page = log.read(&acme(), &Which::All, Offset::new(to), 2).await.unwrap();
            let read: Vec<_> = page.records.iter().map(|record| record.offset.as_u64()).collect();
            assert_eq!(read, [to + 1, to + 2]);
            assert!(log.read(&acme(), &Which::All, Offset::new(to - 1), 2).await.is_err());
            let (batch, number) = (to / 10_000, to % 10_000);
            for (actor, found) in [(number - 1, 0), (number, 1)] {
                let which = Which::Actors(vec![ActorId::new(format!("p{batch}-{actor}")).unwrap()]);
                let page = log.read(&acme(), &which, Offset::new(to), 10).await.unwrap();
                assert_eq!(page.records.len(), found);
            }
            drop(log);
            log = EventLog::open(reopened(&path).await);
        }
    }
    log.append(&acme(), [failure("next")], at()).await.unwrap();
    assert_eq!(log.bounds(&acme()).await.unwrap().last.as_u64(), 80_001);
}

#[tokio::test]
async fn a_file_of_another_format_or_without_its_journal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("first");
    let first: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("streams");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(first).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Format { found: 1 })));
    let path = directory.path().join("moved");
    let log = EventLog::open(RedbStore::open(&path).unwrap());
    log.append(&acme(), [failure("alice")], at()).await.unwrap();
    drop(log);
    drop(reopened(&path).await);
    std::fs::remove_file(directory.path().join("moved.journal-0")).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Unreadable(_))));
}

/// The file is free once the task that commits has seen that nobody is left.
async fn reopened(path: &Path) -> RedbStore {
    loop {
        match RedbStore::open(path) {
            Ok(store) => return store,
            Err(StoreError::Locked) => tokio::task::yield_now().await,
            Err(other) => panic!("{other:?}"),
        }
    }
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
        reopened(&path).await;
    }
}
