use crate::made::{Made, Said, block_on, first_note, usual};
use audit_log::Entry;

const SEGMENT: &str = "segment-00000000.log";

#[test]
fn a_whole_log_is_whole() {
    let made = Made::usual();
    let said = made.run(&["verify"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.starts_with("whole\n"), "{said:?}");
    // Two more than was appended: the log's own first and last entry.
    assert!(said.out.contains("10 in 1 segment,"), "{said:?}");
    assert!(said.out.contains("decrypted and compared"), "{said:?}");
    assert!(said.out.contains("cut back to an earlier checkpoint"), "says what it cannot know: {said:?}");

    let (status, objects) = made.json(&["verify"]);
    assert_eq!((status, objects.len()), (0, 1));
    let found = &objects[0];
    assert_eq!(
        (&found["result"], &found["entries"], &found["segments"], &found["contents"], &found["signature"]),
        (&"whole".into(), &10.into(), &1.into(), &"checked".into(), &"checked".into())
    );
    assert_eq!(found["checkpoint"]["size"], 10);
    assert!(found["first_recorded_at"].as_str() <= found["last_recorded_at"].as_str());
}

#[test]
fn one_flipped_byte_is_found_and_its_place_named() {
    let made = Made::usual();
    let length = std::fs::read(made.file(SEGMENT)).unwrap().len();
    // The header, the first frame, and the end of the last one.
    for (place, frame) in [(40, None), (2048 + 70, Some(0)), (length - 40, Some(9))] {
        made.edit(SEGMENT, |bytes| bytes[place] ^= 1);
        let said = made.run(&["verify"]);
        assert_eq!(said.status, 1, "byte {place}: {said:?}");
        assert!(said.err.contains("tampered") && said.err.contains(SEGMENT), "{said:?}");
        assert_eq!(said.out, "");

        let (status, objects) = made.json(&["verify"]);
        assert_eq!((status, objects.len()), (1, 1), "byte {place}");
        assert_eq!(objects[0]["result"], "tampered");
        let named = &objects[0]["place"];
        assert_eq!(named["file"], SEGMENT);
        assert!(named["offset"].as_u64().unwrap() <= place as u64, "{named}");
        assert_eq!(named["frame"].as_u64(), frame, "{named}");
        made.edit(SEGMENT, |bytes| bytes[place] ^= 1);
    }
    assert_eq!(made.run(&["verify"]).status, 0);
}

#[test]
fn without_keys_bytes_are_checked_and_contents_are_not() {
    let made = Made::usual();
    std::fs::rename(made.path().join("keys"), made.path().join("elsewhere")).unwrap();
    let said = made.run(&["verify"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(
        said.out.contains("contents    not checked") && said.out.contains("signature   not checked"),
        "{said:?}"
    );

    made.edit(SEGMENT, |bytes| bytes[3000] ^= 1);
    assert_eq!(made.run(&["verify"]).status, 1);
}

#[test]
fn a_directory_with_only_the_verifier_key_checks_signatures() {
    let made = Made::usual();
    let outside = tempfile::tempdir().unwrap();
    let vkey = outside.path().join("log.vkey");
    std::fs::copy(made.path().join("keys/log.vkey"), &vkey).unwrap();
    let said = made.run(&["--keys", outside.path().to_str().unwrap(), "verify"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("signed by") && said.out.contains("contents    not checked"), "{said:?}");

    let said = made.run(&["verify", "--verifier-key", vkey.to_str().unwrap()]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("signed by") && said.out.contains("decrypted"), "{said:?}");
    let other = Made::usual();
    let said = other.run(&["verify", "--verifier-key", vkey.to_str().unwrap()]);
    assert_eq!(said.status, 2, "{said:?}");
}

#[test]
fn keys_of_another_log_are_no_tampering() {
    let (made, other) = (Made::usual(), Made::usual());
    let keys = other.path().join("keys");
    let said = made.run(&["--keys", keys.to_str().unwrap(), "verify"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.err.contains("wrong") || said.err.contains("not signed by this key"), "{said:?}");
    let (status, objects) = made.json(&["--keys", keys.to_str().unwrap(), "verify"]);
    assert_eq!((status, &objects[0]["result"]), (2, &"error".into()));
}

#[test]
fn a_log_that_was_cut_back_is_caught_by_a_kept_checkpoint() {
    let made = Made::usual();
    let earlier = made.run(&["checkpoint"]).out;
    let segment = std::fs::read(made.file(SEGMENT)).unwrap();
    let checkpoint = std::fs::read(made.file("checkpoint")).unwrap();
    made.append(&usual());
    let later = made.run(&["checkpoint"]).out;
    assert!(earlier != later);

    for note in [&earlier, &later] {
        let said = made.run_with_input(&["verify", "--checkpoint", "-"], note);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(said.out.contains("contains the given checkpoint"), "{said:?}");
        assert!(!said.out.contains("cut back"), "{said:?}");
    }

    // An attacker restores yesterday's log.
    std::fs::remove_file(made.file("segment-00000001.log")).unwrap();
    std::fs::write(made.file(SEGMENT), segment).unwrap();
    std::fs::write(made.file("checkpoint"), checkpoint).unwrap();
    assert_eq!(made.run(&["verify"]).status, 0, "nobody could see that without an anchor");
    let kept = made.path().join("kept");
    std::fs::write(&kept, later).unwrap();
    let said = made.run(&["verify", "--checkpoint", kept.to_str().unwrap()]);
    assert_eq!(said.status, 1, "{said:?}");
}

#[test]
fn a_checkpoint_of_another_log_or_none_at_all_is_refused() {
    let (made, other) = (Made::usual(), Made::usual());
    let foreign = other.run(&["checkpoint"]).out;
    let said = made.run_with_input(&["verify", "--checkpoint", "-"], &foreign);
    assert!(matches!(said.status, 1 | 2), "{said:?}");
    for note in ["", "not a note\n", &foreign[..foreign.len() - 5]] {
        let said = made.run_with_input(&["verify", "--checkpoint", "-"], note);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.err.contains("checkpoint"), "{said:?}");
    }
    assert_eq!(made.run(&["verify", "--checkpoint", "/nowhere/at/all"]).status, 2);
}

#[test]
fn a_checkpoint_file_that_is_ahead_of_the_log_is_tampering() {
    let made = Made::usual();
    let segment = std::fs::read(made.file(SEGMENT)).unwrap();
    made.append(&usual());
    std::fs::remove_file(made.file("segment-00000001.log")).unwrap();
    std::fs::write(made.file(SEGMENT), segment).unwrap();
    let said = made.run(&["verify"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.err.contains("checkpoint"), "{said:?}");
}

#[test]
fn a_write_that_was_cut_off_is_a_torn_tail() {
    let made = Made::usual();
    // The end of the last frame is lost; the copy of the checkpoint is the one made at the beginning, as after a crash.
    made.edit(SEGMENT, |bytes| {
        std::fs::write(made.file("checkpoint"), first_note(bytes)).unwrap();
        let length = bytes.len();
        bytes.truncate(length - 100);
    });
    let said = made.run(&["verify"]);
    assert_eq!(said.status, 3, "{said:?}");
    assert!(said.out.contains("torn tail") && said.out.contains(SEGMENT), "{said:?}");
    let (status, objects) = made.json(&["verify"]);
    assert_eq!((status, &objects[0]["result"], &objects[0]["entries"]), (3, &"torn".into(), &9.into()));
    assert_eq!(objects[0]["place"]["file"], SEGMENT);

    // The entries before it can be read, and the next run of the writer goes on.
    assert_eq!(made.json(&["search", "uptime"]).1.len(), 2);
    made.append(&usual());
    let said = made.run(&["verify"]);
    assert_eq!(said.status, 0, "{said:?}");
}

#[test]
fn a_missing_segment_is_tampering() {
    let made = Made::usual();
    made.append(&usual());
    std::fs::remove_file(made.file(SEGMENT)).unwrap();
    let Said { status, err, .. } = made.run(&["verify"]);
    assert_eq!(status, 1, "{err}");
    assert!(err.contains(SEGMENT), "{err}");
}

#[test]
fn a_log_is_verified_and_searched_while_it_is_written() {
    let made = Made::usual();
    block_on(async {
        let log = made.open().await;
        for round in 0..20 {
            log.append(
                Entry::new("command.executed").actor("carol").field("command", format!("round {round}")),
            )
            .await
            .unwrap();
            // Not awaited: being written while the auditor reads.
            let appends: Vec<_> =
                (0..200).map(|n| log.append(Entry::new("noise").actor("dave").field("n", n))).collect();
            let said = made.run(&["verify"]);
            assert_eq!(said.status, 0, "{said:?}");
            assert!(said.out.contains("being written now"), "{said:?}");
            let (status, hits) = made.json(&["search", "round", "--actor", "carol"]);
            assert_eq!((status, hits.len()), (0, round + 1), "whatever was acknowledged is found");
            for append in appends {
                append.await.unwrap();
            }
        }
        log.close().await.unwrap();
    });
    assert_eq!(made.run(&["verify"]).status, 0);
}

#[test]
fn files_that_do_not_belong_are_named() {
    let made = Made::usual();
    std::fs::write(made.file("notes.txt"), "x").unwrap();
    let said = made.run(&["verify"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("notes.txt"), "{said:?}");
}

#[test]
fn a_verdict_that_nobody_reads_holds_all_the_same() {
    use std::process::{Command, Stdio};
    let made = Made::usual();
    made.edit(SEGMENT, |bytes| {
        std::fs::write(made.file("checkpoint"), first_note(bytes)).unwrap();
        let length = bytes.len();
        bytes.truncate(length - 100);
    });
    // More output than a pipe or a buffer holds.
    for number in 0..600 {
        std::fs::write(made.file(&format!("{}-{number}", "x".repeat(200))), "").unwrap();
    }
    for json in [&[][..], &["--json"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_auditor"))
            .args(json)
            .args(["--data-dir", made.path().to_str().unwrap(), "verify"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(3), "{json:?}");
    }
}

#[test]
fn a_log_that_was_emptied_is_tampering() {
    let made = Made::usual();
    std::fs::remove_dir_all(made.path().join("audit")).unwrap();
    std::fs::create_dir(made.path().join("audit")).unwrap();
    let (status, objects) = made.json(&["verify"]);
    assert_eq!((status, &objects[0]["result"]), (1, &"tampered".into()));
}

#[test]
fn a_missing_copy_of_the_checkpoint_is_tampering_unless_one_was_kept() {
    let made = Made::usual();
    let kept = made.run(&["checkpoint"]).out;
    std::fs::remove_file(made.file("checkpoint")).unwrap();
    assert_eq!(made.run(&["verify"]).status, 1);
    assert_eq!(made.run_with_input(&["verify", "--checkpoint", "-"], &kept).status, 0);
}
