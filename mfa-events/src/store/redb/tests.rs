#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::PathBuf;

use super::recent::Gathered;
use super::*;
use crate::event::{LoginFailure, Timestamp};

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

fn entries(numbers: Range<u128>) -> Vec<Entry> {
    let entry = |number| {
        let id = uuid::Uuid::from_u128(number);
        let event = LoginFailure::new(&format!("p{number}")).id(id).at(at()).try_into().unwrap();
        Entry { tenant: acme(), event, ingested_at: Timestamp::new(at()).unwrap() }
    };
    numbers.map(entry).collect()
}

fn offsets(store: &RedbStore) -> Vec<u64> {
    let records = store.0.shared.read(&acme(), Offset::START, Take { events: 1_000 }).unwrap();
    records.iter().map(|record| record.offset.as_u64()).collect()
}

/// The three files as a process that was killed now would leave them.
fn killed(path: &Path, name: &str) -> PathBuf {
    let copy = path.with_file_name(name);
    for end in ["", ".journal-0", ".journal-1"] {
        let of = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        std::fs::copy(of(path), of(&copy)).unwrap();
    }
    copy
}

/// Waits until nothing is on its way into the database.
fn settled(store: &RedbStore) {
    drop(store.0.shared.left().unwrap());
}

fn applied(path: &Path) -> (u64, u64) {
    let opened = tables::open(&Builder::new().create(path).unwrap()).unwrap();
    (opened.applied, opened.streams.first().map_or(0, |(_, row)| row.last))
}

#[tokio::test]
async fn nothing_is_sent_into_the_database_where_nothing_gathered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let store = RedbStore::open(&path).unwrap();
    store.append(entries(0..10)).await.unwrap();
    {
        // The second finds all on its way, and nothing behind it.
        let mut writer = lock(&store.0.shared.writer);
        store.0.let_leave(&mut writer).unwrap();
        store.0.let_leave(&mut writer).unwrap();
    }
    settled(&store);
    store.forget(&acme(), Offset::new(4)).await.unwrap();
    let copy = killed(&path, "copy");
    assert_eq!(applied(&copy), (1, 10));
    let again = RedbStore::open(&copy).unwrap();
    assert_eq!(offsets(&again), [5, 6, 7, 8, 9, 10]);
    again.append(entries(10..11)).await.unwrap();
    assert_eq!(offsets(&again).last(), Some(&11));
}

#[tokio::test]
async fn a_frame_goes_into_the_database_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let store = RedbStore::open(&path).unwrap();
    store.append(entries(0..2)).await.unwrap();
    drop(store);
    let database = Builder::new().create(&path).unwrap();
    let frame = |number| {
        let mut gathered = Gathered::default();
        gathered.take(number, Vec::new(), Vec::new());
        tables::apply(&database, &gathered)
    };
    for number in [0, 1] {
        assert!(matches!(frame(number), Err(StoreError::Unreadable(_))));
    }
    frame(2).unwrap();
}

#[test]
fn a_copy_of_a_stream_elsewhere_is_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy");
    let database = Builder::new().create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let replica: redb::TableDefinition<'_, (), u64> = redb::TableDefinition::new("replica");
    transaction.open_table(replica).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Failed(_))));
}

#[test]
fn a_stream_begins_once() {
    let key = tables::random_key();
    let frame = |number, tenant: &str| {
        let mut frame = FrameWriter::new(1);
        frame.tenant(number, &TenantId::new(tenant).unwrap());
        frame.bytes
    };
    let read = |frames| replay(frames, 0, key, &mut HashMap::new()).map(drop);
    assert!(read(vec![frame(0, "acme"), frame(1, "other")]).is_ok());
    for again in [frame(1, "acme"), frame(0, "other")] {
        assert!(matches!(read(vec![frame(0, "acme"), again]), Err(StoreError::Unreadable(_))));
    }
}

#[tokio::test]
async fn nothing_is_written_over_a_frame_that_was_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let store = RedbStore::open(&path).unwrap();
    store.append(entries(0..3)).await.unwrap();
    let before = lock(&store.0.shared.writer).journal.refuse_writes(&path);
    // Both have asked whether the store has stopped by now, and wait for the writer.
    assert!(matches!(store.0.append(entries(3..4)), Err(StoreError::Failed(_))));
    lock(&store.0.shared.writer).journal.take_writes(before);
    assert!(matches!(store.0.append(entries(4..5)), Err(StoreError::Stopped)));
    assert!(matches!(store.append(entries(5..6)).await, Err(StoreError::Stopped)));
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(offsets(&store), [1, 2, 3]);
    assert_eq!(store.append(entries(4..5)).await.unwrap(), [Appended::New(Offset::new(4))]);
}

#[tokio::test]
async fn a_panic_while_something_is_written_stops_the_store_and_one_of_a_reader_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(directory.path().join("log")).unwrap();
    let failing: Result<(), _> = store.blocking(|_| Err(failed("a reader's"))).await;
    assert!(matches!(failing, Err(StoreError::Failed(_))));
    let panicking: Result<(), _> = store.blocking(|_| panic!("a reader's")).await;
    assert!(matches!(panicking, Err(StoreError::Failed(_))));
    store.append(entries(0..1)).await.unwrap();
    let panicking: Result<(), _> =
        store.blocking(|handle| handle.shared.change(|| panic!("a sender's"))).await;
    assert!(matches!(panicking, Err(StoreError::Failed(_))));
    assert!(matches!(store.append(entries(1..2)).await, Err(StoreError::Stopped)));
}

#[tokio::test]
async fn what_gathered_is_in_the_database_when_the_store_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let store = RedbStore::open(&path).unwrap();
    store.append(entries(0..3)).await.unwrap();
    let copy = killed(&path, "copy");
    assert_eq!(applied(&copy), (0, 0), "it is in the journal alone");
    assert_eq!(offsets(&RedbStore::open(&copy).unwrap()), [1, 2, 3]);
    drop(store);
    assert_eq!(applied(&path), (1, 3));
}

#[tokio::test]
async fn a_query_whose_reader_went_away_has_its_turn_until_it_has_run() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(directory.path().join("log")).unwrap();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let reader = tokio::spawn({
        let store = store.clone();
        async move {
            let query = store.query(move |_| {
                begun.send(()).unwrap();
                let _ = may_go_on.recv();
                Ok(Vec::new())
            });
            query.await
        }
    });
    has_begun.await.unwrap();
    reader.abort();
    assert!(reader.await.unwrap_err().is_cancelled());
    assert_eq!(store.0.shared.queries.available_permits(), QUERIES_MAX - 1);
    drop(go_on);
    let all = u32::try_from(QUERIES_MAX).unwrap();
    drop(store.0.shared.queries.acquire_many(all).await.unwrap());
}

#[tokio::test]
async fn a_journal_whose_log_is_gone_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let store = RedbStore::open(&path).unwrap();
    store.append(entries(0..3)).await.unwrap();
    let copy = killed(&path, "copy");
    let aside = copy.with_extension("aside");
    std::fs::rename(&copy, &aside).unwrap();
    for _ in 0..2 {
        assert!(matches!(RedbStore::open(&copy), Err(StoreError::Unreadable(_))));
    }
    std::fs::rename(&aside, &copy).unwrap();
    assert_eq!(offsets(&RedbStore::open(&copy).unwrap()), [1, 2, 3]);
}

#[tokio::test]
async fn a_log_and_a_journal_of_different_times_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let store = RedbStore::open(&path).unwrap();
    store.append(entries(0..3)).await.unwrap();
    drop(store);
    let old = killed(&path, "old");
    let store = RedbStore::open(&path).unwrap();
    store.append(entries(3..6)).await.unwrap();
    let new = killed(&path, "new");
    drop(store);
    let of = |path: &Path, end: &str| PathBuf::from(format!("{}{end}", path.display()));
    for (database, journal) in [(&old, &new), (&new, &old)] {
        let mixed = path.with_file_name("mixed");
        std::fs::copy(database, &mixed).unwrap();
        for end in [".journal-0", ".journal-1"] {
            std::fs::copy(of(journal, end), of(&mixed, end)).unwrap();
        }
        let Err(StoreError::Unreadable(error)) = RedbStore::open(&mixed) else { panic!("it opened") };
        assert!(error.to_string().contains("another log"), "{error}");
    }
    assert_eq!(offsets(&RedbStore::open(&new).unwrap()), [1, 2, 3, 4, 5, 6]);
}
