//! The old scp protocol, spoken by OpenSSH's client and by one that cheats.

use std::os::unix::fs::{PermissionsExt, symlink};

use session_filter::Policy;
use testbed::Running;

use super::sftp::{LIMIT, Place, assert_done, hex, noise, policy};

fn open_door(place: &Place) {
    let text = format!("{}\n[permit.doors]\nlegacy-scp = true\n", policy(place.dir.path()));
    place.fixture.policy.set(Policy::from_toml(&text).unwrap());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_closed_door_says_what_to_use_instead() {
    let place = Place::new();
    let output = place.scp(&place.ssh(), &["-O", "@/local/file", "127.0.0.1:@/up/file"]);
    assert_ne!(output.code(), Some(0));
    assert!(output.stderr_text().contains("scp without -O"), "{}", output.stderr_text());
    assert_eq!(place.fixture.events_of("command.blocked").len(), 1);
    assert!(!place.path("up/file").exists());
    open_door(&place);
    assert_done(&place.scp(&place.ssh(), &["-O", "@/local/file", "127.0.0.1:@/up/file"]));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn copies_arrive_both_ways_and_are_on_record_like_those_by_sftp() {
    let place = Place::new();
    open_door(&place);
    let ssh = place.ssh();
    std::fs::create_dir_all(place.path("local/tree/deeper")).unwrap();
    std::fs::write(place.path("local/tree/leaf"), noise(3_000_000)).unwrap();
    std::fs::write(place.path("local/tree/deeper/empty"), "").unwrap();
    std::fs::set_permissions(place.path("local/tree/leaf"), PermissionsExt::from_mode(0o640)).unwrap();
    assert_done(&place.scp(&ssh, &["-O", "-r", "-p", "@/local/tree", "127.0.0.1:@/up/tree"]));
    assert_done(&place.scp(&ssh, &["-O", "-r", "@/local/tree", "127.0.0.1:@/up/plain"]));
    assert_done(&place.scp(&ssh, &["-O", "@/local/file", "@/local/tree/leaf", "127.0.0.1:@/up"]));
    assert_done(&place.scp(&ssh, &["-O", "-r", "-p", "127.0.0.1:@/up/tree", "@/local/copy"]));
    assert_done(&place.scp(&ssh, &["-O", "127.0.0.1:@/ro/notes", "@/local/notes"]));
    let (there, back) = (place.path("up/tree/leaf"), place.path("local/copy/leaf"));
    assert!(std::fs::read(&back).unwrap() == noise(3_000_000));
    let modified = |path: &std::path::Path| {
        std::fs::metadata(path)
            .unwrap()
            .modified()
            .unwrap()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    let original = place.path("local/tree/leaf");
    assert_eq!((modified(&there), modified(&back)), (modified(&original), modified(&original)));
    assert_eq!(std::fs::metadata(&there).unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(place.path("local/copy/deeper/empty").exists());
    let transferred = place.fixture.events_of("file.transferred");
    let whole = transferred.iter().filter(|event| event["sha256"] == hex(&noise(3_000_000))).count();
    assert_eq!(whole, 4, "{transferred:?}");
    assert!(transferred.iter().all(|event| event["sha256"].is_string()), "{transferred:?}");
    let doors = place.fixture.events_of("door.opened");
    assert!(doors.iter().all(|event| event["request"] == "scp"));
    assert!(doors[0]["message"].as_str().unwrap().contains(" -t "), "{}", doors[0]);
    // Nothing was run for it.
    assert!(place.fixture.events_of("command.started").is_empty());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn paths_are_checked_one_by_one() {
    let place = Place::new();
    open_door(&place);
    let ssh = place.ssh();
    symlink(place.path("out"), place.path("up/link")).unwrap();
    symlink(place.path("out/secret"), place.path("up/leak")).unwrap();
    std::fs::write(place.path("up/mine"), "mine").unwrap();
    std::fs::create_dir(place.path("local/link")).unwrap();
    std::fs::write(place.path("local/link/put"), "put").unwrap();
    for args in [
        ["-O", "@/local/file", "127.0.0.1:@/out/put"],
        ["-O", "@/local/file", "127.0.0.1:@/ro/put"],
        ["-O", "@/local/file", "127.0.0.1:@/up/link/put"],
        ["-O", "@/local/file", "127.0.0.1:@/up/leak"],
        ["-O", "@/local/file", "127.0.0.1:@/up/../out/put"],
        ["-rO", "@/local/link", "127.0.0.1:@/up"],
        ["-O", "127.0.0.1:@/out/secret", "@/local/got"],
        ["-O", "127.0.0.1:@/up/leak", "@/local/got"],
        ["-O", "127.0.0.1:@/up/link/secret", "@/local/got"],
    ] {
        let before = place.fixture.events_of("file.blocked").len();
        let output = place.scp(&ssh, &args);
        assert_ne!(output.code(), Some(0), "{args:?}");
        assert!(output.stderr_text().contains("no rule permits"), "{args:?}: {}", output.stderr_text());
        assert!(place.fixture.events_of("file.blocked").len() > before, "{args:?}");
    }
    assert!(
        !place.path("local/got").exists()
            && !place.path("out/put").exists()
            && !place.path("ro/put").exists()
    );
    assert_eq!(std::fs::read_to_string(place.path("out/secret")).unwrap(), "secret\n");
    // The rest of a tree arrives.
    let output = place.scp(&ssh, &["-rO", "127.0.0.1:@/up", "@/local/all"]);
    assert_ne!(output.code(), Some(0));
    assert_eq!(std::fs::read_to_string(place.path("local/all/mine")).unwrap(), "mine");
    assert!(!place.path("local/all/leak").exists() && !place.path("local/all/link").exists());
    // The same is done where nobody checks.
    assert_done(&place.scp(&place.fixture.direct(), &["-O", "127.0.0.1:@/up/leak", "@/local/got"]));
}

/// Sends these bytes as the near end of a copy, and gives what comes back.
fn cheat(place: &Place, line: &str, bytes: &[u8]) -> (Vec<u8>, Option<i32>) {
    let line = line.replace('@', place.dir.path().to_str().unwrap());
    let mut running: Running = place.ssh().spawn(&line).unwrap();
    running.write(bytes).unwrap();
    running.close_stdin();
    let output = running.wait(LIMIT).unwrap();
    (output.stdout.clone(), output.code())
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_client_that_cheats_gets_nothing_by_it() {
    let place = Place::new();
    open_door(&place);
    symlink(place.path("out"), place.path("up/link")).unwrap();
    // Names that are paths, ends of nothing, lines of no kind, lines without end.
    for line in [
        "C0644 1 ../out/x\n".to_owned(),
        format!("C0644 1 {}\n", place.shown("out/x")),
        "D0755 0 ..\nC0644 1 x\nx\0E\n".to_owned(),
        "E\n".to_owned(),
        "X\n".to_owned(),
        "C".repeat(100_000),
    ] {
        let (said, code) = cheat(&place, "scp -r -t @/up", line.as_bytes());
        assert_eq!(code, Some(1), "{}", String::from_utf8_lossy(&said));
        assert!(
            said.starts_with(b"\0\x02scp: protocol error") || said == b"\0",
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
    // Data of a refused file are lines, and decided about as such: not smuggled behind it.
    let (said, code) =
        cheat(&place, "scp -r -t @/up", b"D0755 0 link\nC0644 4 put\nabc\n\0C0644 1 fine\nx\0");
    assert_eq!(code, Some(1), "{}", String::from_utf8_lossy(&said));
    assert!(!place.path("out/put").exists());
    // Set-id bits take more than a line that claims them; a directory takes -r.
    let (_, code) = cheat(&place, "scp -t @/up/suid", b"C4755 1 suid\nx\0");
    assert_eq!(code, Some(0));
    assert_eq!(std::fs::metadata(place.path("up/suid")).unwrap().permissions().mode() & 0o7000, 0);
    let (said, _) = cheat(&place, "scp -t @/up", b"D0755 0 sub\n");
    assert!(said.starts_with(b"\0\x01scp: "), "{}", String::from_utf8_lossy(&said));
    assert!(!place.path("up/sub").exists());
    // A transfer that breaks off has no hash.
    let (_, code) = cheat(&place, "scp -t @/up/half", b"C0644 100 half\nabc");
    assert_ne!(code, Some(0));
    let last = place.fixture.events_of("file.transferred").pop().unwrap();
    assert_eq!((&last["sha256"], &last["reason"]), (&serde_json::Value::Null, &"interrupted".into()));
    // A reader that answers too much, or nonsense.
    for answers in [b"\0\0\0\0\0\0\0\0".as_slice(), b"x", b"\0x", b"", b"\0\x02stop\n"] {
        cheat(&place, "scp -f @/ro/notes", answers);
    }
    let (said, code) = cheat(&place, "scp -f @/ro/notes", b"\0\0\0");
    assert_eq!((said.as_slice(), code), (b"C0644 6 notes\nnotes\n\0".as_slice(), Some(0)));
    // Whatever is not the far end of a copy is a command like others.
    for line in [
        "scp -t @/up; touch @/out/x",
        "scp -S /bin/sh -t @/up",
        "scp @/out/secret @/up/x",
        "scp -f '@/out/*'",
    ] {
        let (_, code) = cheat(&place, line, b"\0\0\0");
        assert_ne!(code, Some(0), "{line}");
    }
    assert!(!place.path("out/x").exists() && !place.path("up/x").exists());
}
