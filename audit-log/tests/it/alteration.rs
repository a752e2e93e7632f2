use audit_log::{MemoryKeys, MemoryStore, Reader, VerifyError, VerifyOptions};

use crate::logs::{append_all, frames, killed, note, options, verify};

/// A log of two segments with a reopen and subjects, closed.
fn closed() -> (MemoryStore, MemoryKeys) {
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    for from in [0, 3] {
        let log = options().segment_bytes(32 << 10).open_blocking(store.clone(), keys.clone()).unwrap();
        append_all(&log, from..from + 3, 2);
        log.close_blocking().unwrap();
    }
    (store.snapshot(), keys)
}

fn segments(store: &MemoryStore) -> Vec<String> {
    use audit_log::Store as _;
    let mut names = store.names().unwrap();
    names.retain(|name| name.starts_with("segment-"));
    names.sort();
    names
}

/// Flips every byte of every segment, one at a time, and expects each to be reported in the file that it is in.
fn each_flipped_byte_is_found(store: &MemoryStore, keys: &MemoryKeys) {
    verify(store, keys).unwrap();
    for name in segments(store) {
        let content = store.content(&name).unwrap();
        for place in 0..content.len() {
            let mut altered = content.clone();
            altered[place] ^= 1 << (place % 8);
            let copy = store.snapshot();
            copy.insert(&name, altered);
            match verify(&copy, keys) {
                Err(VerifyError::Tampered(fault)) => {
                    assert_eq!(fault.file, name, "byte {place}: {fault}");
                    assert!(fault.offset <= place as u64, "byte {place}: {fault}");
                }
                other => panic!("`{name}` byte {place} of {}: {other:?}", content.len()),
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_a_closed_log_is_found() {
    let (store, keys) = closed();
    each_flipped_byte_is_found(&store, &keys);
}

#[test]
fn every_flipped_byte_of_a_killed_log_is_found_zeros_included() {
    let (store, keys) = killed(4, 2);
    each_flipped_byte_is_found(&store, &keys);
}

#[test]
fn every_byte_set_to_zero_is_found_in_a_killed_log() {
    let (store, keys) = killed(4, 2);
    for name in segments(&store) {
        let content = store.content(&name).unwrap();
        for place in (0..content.len()).filter(|place| content[*place] != 0) {
            let mut altered = content.clone();
            altered[place] = 0;
            let copy = store.snapshot();
            copy.insert(&name, altered);
            assert!(matches!(verify(&copy, &keys), Err(VerifyError::Tampered(_))), "`{name}` byte {place}");
        }
    }
}

#[test]
fn segments_that_are_missing_swapped_doubled_or_replayed_are_found() {
    let (store, keys) = killed(300, 7);
    let names = segments(&store);
    assert!(names.len() >= 4);
    let tampered = |change: &dyn Fn(&MemoryStore)| {
        let copy = store.snapshot();
        change(&copy);
        match verify(&copy, &keys) {
            Err(VerifyError::Tampered(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    for (number, name) in names.iter().enumerate() {
        // The last one alone is a truncation, which only a newer checkpoint shows: see below.
        if number + 1 < names.len() {
            tampered(&|store| drop(store.remove(name)));
        }
        tampered(&|store| store.insert(name, Vec::new()));
    }
    let content = |number: usize| store.content(&names[number]).unwrap();
    tampered(&|store| {
        store.insert(&names[1], content(2));
        store.insert(&names[2], content(1));
    });
    tampered(&|store| store.insert(&names[2], content(1)));
    tampered(&|store| store.insert(&format!("segment-{:08}.log", names.len()), content(1)));
    let (other, _) = killed(300, 7);
    tampered(&|store| store.insert(&names[1], other.content(&names[1]).unwrap()));
}

#[test]
fn frames_that_are_missing_swapped_doubled_or_replayed_are_found() {
    let (store, keys) = killed(40, 1);
    let name = segments(&store).remove(0);
    let segment = store.content(&name).unwrap();
    let frames = frames(&segment);
    assert!(frames.len() > 5);
    let tampered = |what: &str, segment: Vec<u8>| {
        let copy = store.snapshot();
        copy.insert(&name, segment);
        assert!(matches!(verify(&copy, &keys), Err(VerifyError::Tampered(_))), "{what}");
    };
    let frame = |number: usize| segment[frames[number].0..frames[number].0 + frames[number].1].to_vec();
    let put_together = |numbers: &[usize]| {
        let mut out = segment[..2048].to_vec();
        for number in numbers {
            out.extend(frame(*number));
        }
        out
    };
    let all: Vec<usize> = (0..frames.len()).collect();
    let without: Vec<usize> = all.iter().copied().filter(|number| *number != 2).collect();
    tampered("missing", put_together(&without));
    let mut swapped = all.clone();
    swapped.swap(2, 3);
    tampered("swapped", put_together(&swapped));
    let mut doubled = all.clone();
    doubled.insert(3, 2);
    tampered("doubled", put_together(&doubled));
    tampered("appended", put_together(&[&all[..], &[2]].concat()));
    tampered("cut short", put_together(&all[..all.len() - 1]));
}

#[test]
fn a_log_cut_at_a_frame_is_found_by_the_checkpoint_beside_it_or_kept_elsewhere() {
    let (store, keys) = closed();
    let name = segments(&store).pop().unwrap();
    let segment = store.content(&name).unwrap();
    let frames = frames(&segment);
    let last = frames.last().unwrap().0;
    let whole = verify(&store, &keys).unwrap().checkpoint.unwrap();
    let cut = store.snapshot();
    cut.insert(&name, segment[..last].to_vec());
    let found = verify(&cut, &keys);
    assert!(
        matches!(&found, Err(VerifyError::Tampered(fault)) if fault.what.contains("cut short")),
        "{found:?}"
    );
    // With an older copy it takes a checkpoint from elsewhere, as the documentation says.
    cut.insert("checkpoint", note(&segment, 0));
    verify(&cut, &keys).unwrap();
    let found = Reader::open(cut, keys).verify(&VerifyOptions::new().minimum(whole), |_| {});
    assert!(matches!(found, Err(VerifyError::Tampered(_))));
}

#[test]
fn an_altered_checkpoint_file_is_found() {
    let (store, keys) = closed();
    let note = store.content("checkpoint").unwrap();
    for place in 0..note.len() {
        let mut altered = note.clone();
        altered[place] ^= 0x01;
        let copy = store.snapshot();
        copy.insert("checkpoint", altered);
        assert!(matches!(verify(&copy, &keys), Err(VerifyError::Tampered(_))), "byte {place}");
    }
}

#[test]
fn files_that_do_not_belong_are_named() {
    let (store, keys) = closed();
    store.insert("notes.txt", b"hello".to_vec());
    store.insert("segment-00000009.log.new", vec![1; 100]);
    assert_eq!(verify(&store, &keys).unwrap().unknown_files, ["notes.txt"]);
}

#[test]
fn a_newer_format_is_refused_with_a_sentence_and_not_called_tampering() {
    use sha2::Digest as _;
    let (store, keys) = closed();
    let name = segments(&store).pop().unwrap();
    let mut segment = store.content(&name).unwrap();
    segment[9] = 1;
    let hash = sha2::Sha256::digest(&segment[..2016]);
    segment[2016..2048].copy_from_slice(&hash);
    store.insert(&name, segment);
    let refused = verify(&store, &keys).unwrap_err();
    assert!(matches!(refused, VerifyError::NewerFormat { version: 1, .. }), "{refused}");
    assert!(options().open_blocking(store, keys).unwrap_err().to_string().contains("format version 1"));
}

/// A log in one segment, as it is when its writer is killed.
fn one_segment() -> (MemoryStore, MemoryKeys) {
    let (store, keys) = (MemoryStore::new(), MemoryKeys::generate().unwrap());
    let log = options().segment_bytes(64 << 10).open_blocking(store.clone(), keys.clone()).unwrap();
    append_all(&log, 0..8, 1);
    (store.snapshot(), keys)
}

#[test]
fn a_sector_that_is_zeroed_before_later_frames_is_found_and_not_called_torn() {
    let (store, keys) = one_segment();
    let name = segments(&store).pop().unwrap();
    let segment = store.content(&name).unwrap();
    let frames = frames(&segment);
    assert!(frames.len() > 4);
    // The copy beside the log is the oldest that a crash can leave.
    store.insert("checkpoint", note(&segment, 0));
    for (offset, bytes) in &frames[1..frames.len() - 1] {
        for sector in (*offset..offset + bytes).step_by(512) {
            let mut altered = segment.clone();
            altered[sector..sector + 512].fill(0);
            let copy = store.snapshot();
            copy.insert(&name, altered);
            match verify(&copy, &keys) {
                Err(VerifyError::Tampered(fault)) => {
                    assert!((*offset..=offset + bytes).contains(&(fault.offset as usize)), "{fault}");
                }
                other => panic!("sector at {sector}: {other:?}"),
            }
            let opened = options().open_blocking(copy.clone(), keys.clone());
            assert!(matches!(opened, Err(audit_log::OpenError::Tampered(_))), "sector at {sector}");
            // A writer that lives, or whoever pretends to be one, makes no difference.
            let lock = audit_log::Store::lock(&copy).unwrap();
            assert!(
                matches!(verify(&copy, &keys), Err(VerifyError::Tampered(_))),
                "sector at {sector}, live"
            );
            drop(lock);
        }
    }
}

#[test]
fn a_header_made_longer_to_cover_later_frames_is_found() {
    use sha2::Digest as _;
    let (store, keys) = one_segment();
    let name = segments(&store).pop().unwrap();
    let mut segment = store.content(&name).unwrap();
    store.insert("checkpoint", note(&segment, 0));
    let frames = frames(&segment);
    let (offset, _) = frames[1];
    let last = frames.last().unwrap();
    let bytes = (last.0 + last.1 - offset) as u32;
    let ciphertext = bytes - 64 - 32 - 100 - 100;
    for (place, number) in [(8, bytes), (32, 100), (36, ciphertext), (40, 100)] {
        segment[offset + place..][..4].copy_from_slice(&number.to_be_bytes());
    }
    let check = sha2::Sha256::digest(&segment[offset..offset + 48]);
    segment[offset + 48..offset + 64].copy_from_slice(&check[..16]);
    segment[offset + 512..offset + 1024].fill(0);
    store.insert(&name, segment);
    assert!(matches!(verify(&store, &keys), Err(VerifyError::Tampered(_))));
}

#[test]
fn anything_after_the_end_of_a_closed_log_is_tampering() {
    let (store, keys) = closed();
    let name = segments(&store).pop().unwrap();
    let segment = store.content(&name).unwrap();
    let after_a_lost_sector = [vec![0; 512], vec![7; 1000]].concat();
    for more in [b"hello".to_vec(), b"ALOGFRAM".to_vec(), after_a_lost_sector] {
        let copy = store.snapshot();
        copy.insert(&name, [&segment[..], &more].concat());
        assert!(matches!(verify(&copy, &keys), Err(VerifyError::Tampered(_))), "{} bytes", more.len());
        let opened = options().open_blocking(copy, keys.clone());
        assert!(matches!(opened, Err(audit_log::OpenError::Tampered(_))), "{} bytes", more.len());
    }
    let copy = store.snapshot();
    copy.insert(&name, [&segment[..], &[0; 5000]].concat());
    verify(&copy, &keys).unwrap();
}

#[test]
fn a_checkpoint_file_that_is_missing_or_older_than_any_crash_leaves_it_is_found() {
    let (store, keys) = closed();
    let kept = verify(&store, &keys).unwrap().checkpoint.unwrap();
    let names = segments(&store);
    let (first, last) = (store.content(&names[0]).unwrap(), store.content(&names[1]).unwrap());
    let missing = store.snapshot();
    missing.remove("checkpoint");
    let older = store.snapshot();
    older.insert("checkpoint", note(&first, 0));
    for (copy, what) in [(missing, "missing"), (older, "older")] {
        match verify(&copy, &keys) {
            Err(VerifyError::Tampered(fault)) => assert_eq!(fault.file, "checkpoint", "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        let opened = options().open_blocking(copy.snapshot(), keys.clone());
        assert!(matches!(opened, Err(audit_log::OpenError::Tampered(_))), "{what}");
        // A checkpoint from elsewhere says more than the copy, and the next run makes the copy anew.
        Reader::open(copy.clone(), keys.clone())
            .verify(&VerifyOptions::new().minimum(kept.clone()), |_| {})
            .unwrap();
        options().minimum(kept.clone()).open_blocking(copy.clone(), keys.clone()).unwrap();
        verify(&copy, &keys).unwrap();
    }
    store.insert("checkpoint", note(&last, 0));
    verify(&store, &keys).unwrap();
}

#[test]
fn an_altered_checkpoint_file_is_found_without_keys() {
    let (store, _) = closed();
    let content = store.content("checkpoint").unwrap();
    for place in 0..content.len() {
        let mut altered = content.clone();
        altered[place] ^= 0x01;
        let copy = store.snapshot();
        copy.insert("checkpoint", altered);
        let found = Reader::keyless(copy).verify(&VerifyOptions::new(), |_| {});
        assert!(matches!(found, Err(VerifyError::Tampered(_))), "byte {place}: {found:?}");
    }
}
