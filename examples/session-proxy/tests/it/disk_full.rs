//! A disk that fills up: the session ends, nothing runs unrecorded, and what was acknowledged is there.

use std::process::Command;

use super::stage::{BINARY, Demo, wait_for};

/// Runs in a mount namespace of its own: a small file system for the data directory, filled on request.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs -o size=48m,mode=700 tmpfs "$SMALL"
"$BINARY" demo --json --data-dir "$SMALL/demo" &
proxy=$!
while [ ! -e "$CONTROL/fill" ]; do kill -0 $proxy; read -t 0.05 _ < "$CONTROL/never" || true; done
dd if=/dev/zero of="$SMALL/filler" bs=64k 2>/dev/null || true
touch "$CONTROL/filled"
while [ ! -e "$CONTROL/done" ]; do read -t 0.05 _ < "$CONTROL/never" || true; done
kill -TERM $proxy || true
wait $proxy || true
rm "$SMALL/filler"
cp -a "$SMALL/demo" "$CONTROL/after"
"#;

#[test]
#[ignore = "needs ssh, unshare, bash and python3-cryptography: cargo xtask test"]
fn a_full_disk_ends_the_session_and_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (small, control) = (dir.path().join("small"), dir.path().join("control"));
    std::fs::create_dir(&small).unwrap();
    std::fs::create_dir(&control).unwrap();
    // Reading from it waits, which is how the script passes time.
    assert!(Command::new("mkfifo").arg(control.join("never")).status().unwrap().success());
    let _keeper = std::fs::OpenOptions::new().read(true).write(true).open(control.join("never")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "bash", "-c", SCRIPT]);
    command.env("BINARY", BINARY).env("SMALL", &small).env("CONTROL", &control);
    let demo = Demo::from_command(command);

    let master = demo.ssh().master().unwrap();
    let mut acknowledged = Vec::new();
    let mut run = |n: usize| {
        let word = format!("n{n}-{}", "x".repeat(4_000));
        let output = master.run(format!("echo {word}")).unwrap();
        if output.stdout_text().contains(&word) {
            acknowledged.push(word);
            None
        } else {
            Some(output)
        }
    };
    for n in 0..5 {
        assert!(run(n).is_none());
    }
    std::fs::write(control.join("fill"), "").unwrap();
    wait_for("the disk is full", || control.join("filled").exists());
    // What was set aside for the log is used up first; then the disk says no.
    let refused = (5..20_000).find_map(&mut run).expect("a full disk stops commands");
    assert_eq!(refused.code(), Some(255), "{}", refused.stderr_text());
    let late = demo.ssh().run("echo late").unwrap();
    assert_eq!((late.code(), late.stdout_text().as_str()), (Some(255), ""));
    drop(master);

    std::fs::write(control.join("done"), "").unwrap();
    let after = control.join("after");
    demo.process.unwrap().wait(std::time::Duration::from_secs(30)).unwrap();
    super::stage::agree_with_python(&after);
    super::stage::verify(&after).unwrap();
    let entries = super::stage::entries(&after);
    let started = super::stage::of_type(&entries, "command.started");
    for word in &acknowledged {
        assert!(
            started.iter().any(|entry| entry["command"].as_str().unwrap().ends_with(word.as_str())),
            "lost: {}",
            &word[..8]
        );
    }
    assert!(started.iter().all(|entry| entry["command"] != "echo late"));
}
