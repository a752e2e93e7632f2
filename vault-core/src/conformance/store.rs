use crate::limits::{BATCH_ROWS_MAX, ROW_KEY_BYTES_MAX, ROW_VALUE_BYTES_MAX};
use crate::store::{Batch, Store, StoreError};

/// Runs every check of a store, which is empty at first.
pub async fn store(store: &dyn Store) {
    assert_eq!(store.generation().await.unwrap(), 0, "no commit, no generation");
    assert!(store.scan(b"", None, 10).await.unwrap().is_empty(), "the store is not empty at first");
    rows(store).await;
    expectations(store).await;
    scans(store).await;
    limits(store).await;
    generations(store).await;
    races(store).await;
}

async fn value(store: &dyn Store, key: &[u8]) -> Option<Vec<u8>> {
    store.read(key).await.unwrap().map(|row| row.value)
}

async fn rows(store: &dyn Store) {
    assert!(store.read(b"a").await.unwrap().is_none(), "a row that was not written is not there");
    let first = store.commit(Batch::new().put(*b"a", *b"1").put(*b"b", Vec::new())).await.unwrap();
    let row = store.read(b"a").await.unwrap().expect("a row that was written is there");
    assert_eq!((row.value.as_slice(), row.revision), (b"1".as_slice(), first), "with its value and revision");
    assert_eq!(value(store, b"b").await, Some(Vec::new()), "an empty value is a value");
    let second = store.commit(Batch::new().put(*b"a", *b"2").delete(*b"b").delete(*b"c")).await.unwrap();
    assert_eq!(
        store.read(b"a").await.unwrap().unwrap().revision,
        second,
        "writing over gives a new revision"
    );
    assert!(value(store, b"b").await.is_none(), "a row that was taken away is not there");
    assert_eq!(store.generation().await.unwrap(), second, "the generation is the last commit's");
    let key = [0u8, 255, 1, 0];
    store.commit(Batch::new().put(key, *b"binary")).await.unwrap();
    assert_eq!(value(store, &key).await.as_deref(), Some(b"binary".as_slice()), "keys are bytes");
}

async fn expectations(store: &dyn Store) {
    let revision = store.commit(Batch::new().put(*b"e", *b"1")).await.unwrap();
    let refused = [
        Batch::new().expect(*b"e", None).put(*b"f", *b"x"),
        Batch::new().expect(*b"e", Some(revision + 1)).put(*b"f", *b"x"),
        Batch::new().expect(*b"g", Some(revision)).put(*b"f", *b"x"),
        Batch::new().expect(*b"e", Some(revision)).expect(*b"g", Some(1)).put(*b"f", *b"x"),
    ];
    for batch in refused {
        let error =
            store.commit(batch.clone()).await.expect_err("an expectation that does not hold is refused");
        assert!(matches!(error, StoreError::Conflict), "with a conflict: {batch:?}");
        assert!(value(store, b"f").await.is_none(), "and nothing is written: {batch:?}");
        assert_eq!(store.generation().await.unwrap(), revision, "and the generation stays: {batch:?}");
    }
    let batch = Batch::new().expect(*b"e", Some(revision)).expect(*b"g", None).put(*b"e", *b"2");
    let next = store.commit(batch).await.expect("expectations that hold are met");
    assert!(next > revision, "generations grow");
}

async fn scans(store: &dyn Store) {
    let batch = (0..20u8).fold(Batch::new().put(*b"q", *b""), |batch, n| batch.put([b'p', n], [n]));
    store.commit(batch.put(*b"pz", *b"z").put([b'p', 255, 255], *b"end")).await.unwrap();
    let all = store.scan(b"p", None, 100).await.unwrap();
    assert_eq!(all.len(), 22, "a scan has what begins so and nothing else");
    assert!(all.is_sorted_by(|(a, _), (b, _)| a < b), "in the order of bytes");
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(|(key, _): &(Vec<u8>, _)| key.clone());
        let page = store.scan(b"p", after.as_deref(), 5).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 5, "no more than was asked for");
        paged.extend(page);
    }
    assert_eq!(paged, all, "pages after one another are the whole");
    assert!(store.scan(b"p", Some(b"q"), 10).await.unwrap().is_empty(), "nothing is after the last");
    assert_eq!(store.scan(b"p", Some(b"a"), 100).await.unwrap(), all, "everything is after what is before");
    assert!(store.scan(b"p", None, 0).await.unwrap().is_empty(), "none are none");
}

async fn limits(store: &dyn Store) {
    let generation = store.generation().await.unwrap();
    let many = (0..=BATCH_ROWS_MAX).fold(Batch::new(), |batch, n| batch.put(n.to_be_bytes(), *b""));
    let large = [
        (many, "BATCH_ROWS_MAX"),
        (Batch::new().put(vec![b'k'; ROW_KEY_BYTES_MAX + 1], *b""), "ROW_KEY_BYTES_MAX"),
        (Batch::new().put(*b"k", vec![0; ROW_VALUE_BYTES_MAX + 1]), "ROW_VALUE_BYTES_MAX"),
    ];
    for (batch, name) in large {
        match store.commit(batch).await {
            Err(StoreError::TooLarge { limit }) => assert_eq!(limit, name),
            other => panic!("{name} is not held: {other:?}"),
        }
    }
    assert_eq!(store.generation().await.unwrap(), generation, "what is too large writes nothing");
    let most = Batch::new().put(vec![b'k'; ROW_KEY_BYTES_MAX], vec![7; ROW_VALUE_BYTES_MAX]);
    store.commit(most).await.expect("what is as large as it may be is kept");
    assert_eq!(
        value(store, &[b'k'; ROW_KEY_BYTES_MAX]).await.map(|value| value.len()),
        Some(ROW_VALUE_BYTES_MAX)
    );
}

async fn generations(store: &dyn Store) {
    let before = store.generation().await.unwrap();
    let raised = store.commit(Batch::new().generation_min(before + 100)).await.unwrap();
    assert_eq!(raised, before + 100, "a generation can be raised, also without rows");
    let lower = store.commit(Batch::new().generation_min(1)).await.unwrap();
    assert_eq!(lower, raised + 1, "and never goes back");
}

async fn races(store: &dyn Store) {
    let revision = store.commit(Batch::new().put(*b"r", *b"0")).await.unwrap();
    let one = |name: u8| store.commit(Batch::new().expect(*b"r", Some(revision)).put(*b"r", [name]));
    let (a, b) = tokio::join!(one(b'a'), one(b'b'));
    assert!(a.is_ok() != b.is_ok(), "of two that expect the same, one is first");
    let winner = if a.is_ok() { b'a' } else { b'b' };
    assert_eq!(value(store, b"r").await, Some(vec![winner]), "and what it wrote stands");
}
