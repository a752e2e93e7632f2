//! A torn tail is told from an altered log, and recovery states what it found.

use audit_log::{End, MemoryKeys, MemoryStore, Outcome, Reader, Store as _, VerifyError, VerifyOptions};

use crate::logs::{append_all, frames, note, options, verify};

const SEGMENT: &str = "segment-00000000.log";

/// A log of one segment whose copy of the checkpoint is older than its last frame, and where that frame lies.
fn log() -> (MemoryStore, MemoryKeys, usize, usize) {
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let log = options().segment_bytes(32 << 10).open_blocking(store.clone(), keys.clone()).unwrap();
    append_all(&log, 0..20, 10);
    let image = store.snapshot();
    let segment = image.content(SEGMENT).unwrap();
    image.insert("checkpoint", note(&segment, 0));
    let (offset, bytes) = frames(&segment).pop().unwrap();
    (image, keys, offset, bytes)
}

#[test]
fn every_way_to_lose_sectors_of_the_last_write_is_torn_and_not_tampered() {
    let (store, keys, offset, bytes) = log();
    let segment = store.content(SEGMENT).unwrap();
    let sectors = bytes / 512;
    assert!((4..=16).contains(&sectors), "{sectors}");
    for lost in 1u32..1 << sectors {
        let mut torn = segment.clone();
        for sector in (0..sectors).filter(|sector| lost & (1 << sector) != 0) {
            torn[offset + sector * 512..][..512].fill(0);
        }
        let copy = store.snapshot();
        copy.insert(SEGMENT, torn);
        let report = verify(&copy, &keys).unwrap_or_else(|error| panic!("{lost:b}: {error}"));
        let all = lost.count_ones() as usize == sectors;
        assert_eq!(report.outcome(), if all { Outcome::Whole } else { Outcome::TornTail }, "{lost:b}");
    }
}

#[test]
fn a_file_that_ends_within_the_last_frame_is_torn() {
    let (store, keys, offset, bytes) = log();
    let segment = store.content(SEGMENT).unwrap();
    for end in (offset + 1..offset + bytes).step_by(37) {
        let copy = store.snapshot();
        copy.insert(SEGMENT, segment[..end].to_vec());
        let report = verify(&copy, &keys).unwrap();
        assert_eq!(report.outcome(), Outcome::TornTail, "cut at {end}");
    }
}

#[test]
fn a_torn_frame_that_a_checkpoint_covers_is_tampering() {
    let (store, keys, offset, _) = log();
    let whole = verify(&store, &keys).unwrap().checkpoint.unwrap();
    let mut segment = store.content(SEGMENT).unwrap();
    segment[offset + 512..offset + 1024].fill(0);
    store.insert(SEGMENT, segment);
    assert_eq!(verify(&store, &keys).unwrap().outcome(), Outcome::TornTail);
    let found = Reader::open(store.clone(), keys.clone())
        .verify(&VerifyOptions::new().minimum(whole.clone()), |_| {});
    assert!(matches!(found, Err(VerifyError::Tampered(_))), "{found:?}");
    store.insert("checkpoint", whole.to_string().into_bytes());
    assert!(matches!(verify(&store, &keys), Err(VerifyError::Tampered(_))));
}

#[test]
fn recovery_states_the_remains_and_they_are_guarded_from_then_on() {
    let (store, keys, offset, bytes) = log();
    let mut segment = store.content(SEGMENT).unwrap();
    segment[offset + 512..offset + 1024].fill(0);
    store.insert(SEGMENT, segment.clone());
    options().open_blocking(store.clone(), keys.clone()).unwrap().close_blocking().unwrap();
    let entries: Vec<_> =
        Reader::open(store.clone(), keys.clone()).read(..).unwrap().map(Result::unwrap).collect();
    let opened = entries.iter().find(|entry| entry.event_type == "log.opened").unwrap();
    let remains = &opened.fields["remains"][0];
    assert_eq!((remains["segment"].as_u64(), remains["offset"].as_u64()), (Some(0), Some(offset as u64)));
    assert_eq!(remains["bytes"].as_u64(), Some(bytes as u64));
    let sealed = store.content(SEGMENT).unwrap();
    assert_eq!(sealed, segment[..offset + bytes], "recovery changes nothing but zeros at the end");
    for place in offset..offset + bytes {
        let mut altered = sealed.clone();
        altered[place] ^= 4;
        let copy = store.snapshot();
        copy.insert(SEGMENT, altered);
        assert!(matches!(verify(&copy, &keys), Err(VerifyError::Tampered(_))), "byte {place}");
    }
}

#[test]
fn an_unfinished_write_of_a_writer_that_lives_is_no_fault() {
    let (store, keys, offset, _) = log();
    let whole = verify(&store, &keys).unwrap().entries;
    let mut segment = store.content(SEGMENT).unwrap();
    segment[offset + 512..offset + 1024].fill(0);
    store.insert(SEGMENT, segment);
    let lock = store.lock().unwrap();
    let report = verify(&store, &keys).unwrap();
    assert_eq!((report.end.clone(), report.outcome()), (End::Live, Outcome::Whole));
    assert!(report.entries < whole);
    drop(lock);
    assert!(matches!(verify(&store, &keys).unwrap().end, End::Torn { .. }));
}

#[test]
fn a_few_bytes_at_the_end_are_torn_only_as_the_beginning_of_the_frame_that_was_due() {
    let (store, keys, offset, _) = log();
    let segment = store.content(SEGMENT).unwrap();
    for end in offset + 1..offset + 64 {
        let cut = segment[..end].to_vec();
        let copy = store.snapshot();
        copy.insert(SEGMENT, cut.clone());
        assert_eq!(verify(&copy, &keys).unwrap().outcome(), Outcome::TornTail, "cut at {end}");
        for place in [offset, offset + 12, offset + 19, offset + 24].into_iter().filter(|place| *place < end)
        {
            let mut altered = cut.clone();
            altered[place] ^= 1;
            copy.insert(SEGMENT, altered);
            assert!(
                matches!(verify(&copy, &keys), Err(VerifyError::Tampered(_))),
                "cut at {end}, byte {place}"
            );
        }
    }
}
