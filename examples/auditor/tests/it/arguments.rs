use std::process::{Command, Stdio};

use crate::made::{Made, auditor, first_note};
use serde_json::Value;

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    for arguments in [
        &[][..],
        &["verify"],
        &["frobnicate"],
        &["--data-dir", "/nowhere", "verify"],
        &["--data-dir", "/", "verify"],
    ] {
        let said = auditor(arguments, "");
        assert_eq!(said.status, 2, "{arguments:?}: {said:?}");
        assert!(!said.err.is_empty(), "{arguments:?}");
    }
    let help = auditor(&["--help"], "");
    assert_eq!(help.status, 0);
    for word in
        ["verify", "search", "show", "sessions", "checkpoint", "play", "export", "Examples:", "Exit status:"]
    {
        assert!(help.out.contains(word), "{word}");
    }
    assert_eq!(auditor(&["search", "--help"], "").status, 0);
    assert_eq!(auditor(&["--version"], "").status, 0);
}

#[test]
fn errors_are_json_where_that_was_asked_for() {
    for arguments in [&["--json", "--data-dir", "/nowhere", "search", "x"][..], &["--json", "frobnicate"]] {
        let said = auditor(arguments, "");
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{said:?}");
        assert_eq!(serde_json::from_str::<Value>(&said.err).unwrap()["result"], "error");
    }
    // `verify` answers with one object on standard output, whatever the answer.
    let said = auditor(&["--json", "--data-dir", "/nowhere", "verify"], "");
    assert_eq!(said.status, 2);
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()["result"], "error");
}

#[test]
fn unreadable_keys_are_named() {
    let made = Made::usual();
    std::fs::write(made.path().join("keys/epoch-00000001.key"), "short").unwrap();
    let said = made.run(&["verify"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.err.contains("epoch-00000001.key"), "{said:?}");
}

#[test]
fn a_log_without_segments_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("audit")).unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let said = auditor(&["--data-dir", data_dir, "--json", "verify"], "");
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()["entries"], 0);
    assert_eq!(auditor(&["--data-dir", data_dir, "checkpoint"], "").status, 2);
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_changes_no_verdict() {
    let made = Made::usual();
    let unread = |command: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_auditor"))
            .args(["--data-dir", made.path().to_str().unwrap()])
            .args(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(command[0] == "verify" || output.stderr.is_empty(), "{output:?}");
        output.status.code().unwrap()
    };
    assert_eq!([unread(&["search", ""]), unread(&["sessions"]), unread(&["verify"])], [0, 0, 0]);
    made.edit("segment-00000000.log", |bytes| {
        std::fs::write(made.file("checkpoint"), first_note(bytes)).unwrap();
        bytes.truncate(bytes.len() - 100);
    });
    assert_eq!([unread(&["verify"]), unread(&["verify", "--json"])], [3, 3]);
    made.edit("segment-00000000.log", |bytes| bytes[3000] ^= 1);
    assert_eq!([unread(&["verify"]), unread(&["verify", "--json"])], [1, 1]);
}

#[test]
fn the_auditor_changes_nothing() {
    let made = Made::usual();
    std::fs::remove_file(made.file("lock")).unwrap();
    let snapshot = || {
        let mut files: Vec<_> = ["audit", "keys"]
            .iter()
            .flat_map(|directory| std::fs::read_dir(made.path().join(directory)).unwrap())
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (path.clone(), std::fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let before = snapshot();
    for command in [
        &["verify"][..],
        &["search", ""],
        &["sessions"],
        &["show", "0198"],
        &["play", "0198"],
        &["checkpoint"],
    ] {
        made.run(command);
    }
    assert_eq!(before, snapshot());
}
