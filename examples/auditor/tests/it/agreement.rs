//! The auditor and the Python reader, which was written from FORMAT.md alone, say the same of the same log.

use std::process::Command;

use crate::made::{Made, Said, first_note, usual};
use serde_json::Value;

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../audit-log/tests/reader/audit_log_reader.py");

fn python(made: &Made, command: &str, keys: bool) -> Said {
    let mut reader = Command::new("/usr/bin/python3");
    reader.arg(READER).arg(command).arg("--log").arg(made.path().join("audit"));
    if keys {
        reader.arg("--keys").arg(made.path().join("keys"));
    }
    let output = reader.output().unwrap();
    Said {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
#[ignore = "needs python3-cryptography: cargo xtask test"]
fn both_read_the_same_events() {
    let made = Made::usual();
    made.append(&usual());
    let said = python(&made, "dump", true);
    assert_eq!(said.status, 0, "{said:?}");
    let dumped: Vec<Value> = said
        .out
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let mut event = line["event"].clone();
            event["seq"] = line["seq"].clone();
            event
        })
        .collect();
    assert_eq!(dumped, made.json(&["search", ""]).1);
}

#[test]
#[ignore = "needs python3-cryptography: cargo xtask test"]
fn both_judge_alterations_alike() {
    let made = Made::of(&usual()[..3]);
    made.append(&usual()[3..4]);
    for name in ["segment-00000000.log", "segment-00000001.log", "checkpoint"] {
        let whole = std::fs::read(made.file(name)).unwrap();
        // A prime step, so that every kind of field is hit.
        for place in (0..whole.len()).step_by(if name == "checkpoint" { 13 } else { 499 }) {
            made.edit(name, |bytes| bytes[place] ^= 1 << (place % 8));
            assert_agreement(&made, &format!("{name}, byte {place} flipped"));
            std::fs::write(made.file(name), &whole[..place]).unwrap();
            assert_agreement(&made, &format!("{name} cut at {place}"));
            std::fs::write(made.file(name), &whole).unwrap();
        }
        std::fs::remove_file(made.file(name)).unwrap();
        assert_agreement(&made, &format!("{name} removed"));
        std::fs::write(made.file(name), &whole).unwrap();
    }
}

#[test]
#[ignore = "needs python3-cryptography: cargo xtask test"]
fn both_judge_the_end_of_a_killed_log_alike() {
    // The last segment without its close: the last frame, with each choice of its sectors lost.
    let made = Made::usual();
    let name = "segment-00000000.log";
    let whole = std::fs::read(made.file(name)).unwrap();
    std::fs::write(made.file("checkpoint"), first_note(&whole)).unwrap();
    let starts: Vec<usize> =
        (2048..whole.len()).step_by(512).filter(|at| whole[*at..].starts_with(b"ALOGFRAM")).collect();
    // A frame in the middle, as the last that was begun.
    let (at, end) = (starts[3], starts[4]);
    let sectors = (end - at) / 512;
    for lost in 0_usize..1 << sectors {
        let mut bytes = whole[..end].to_vec();
        for sector in (0..sectors).filter(|sector| lost >> sector & 1 == 1) {
            bytes[at + sector * 512..at + (sector + 1) * 512].fill(0);
        }
        bytes.resize(end + 4096, 0);
        std::fs::write(made.file(name), &bytes).unwrap();
        let status = assert_agreement(&made, &format!("sectors {lost:b} of {sectors} lost"));
        let all = (1 << sectors) - 1;
        assert_eq!(
            status,
            if lost == 0 || lost == all { 0 } else { 3 },
            "sectors {lost:b} of {sectors} lost"
        );
        // The same with a byte where nothing was ever written.
        bytes[end + 2048] = 1;
        std::fs::write(made.file(name), &bytes).unwrap();
        assert_eq!(assert_agreement(&made, &format!("sectors {lost:b} lost, a stray byte")), 1);
    }
}

/// Both with keys and without; the status with keys.
fn assert_agreement(made: &Made, what: &str) -> i32 {
    let (keys, elsewhere) = (made.path().join("keys"), made.path().join("elsewhere"));
    std::fs::rename(&keys, &elsewhere).unwrap();
    let ours = made.run(&["verify"]);
    let theirs = python(made, "verify", false);
    std::fs::rename(&elsewhere, &keys).unwrap();
    assert_eq!(ours.status, theirs.status, "{what}, without keys:\n{ours:?}\n{theirs:?}");
    let ours = made.run(&["verify"]);
    let theirs = python(made, "verify", true);
    assert_eq!(ours.status, theirs.status, "{what}:\n{ours:?}\n{theirs:?}");
    ours.status
}
