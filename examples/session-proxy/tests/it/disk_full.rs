//! A disk that fills up: the session ends, nothing runs unrecorded, and what was acknowledged is there.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::stage::{BINARY, Demo, mark, of_type, running_with, wait_for};

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

/// A demo whose data directory lies on a disk of its own.
struct Small {
    demo: Demo,
    control: PathBuf,
    _dir: tempfile::TempDir,
    _keeper: File,
}

impl Small {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (small, control) = (dir.path().join("small"), dir.path().join("control"));
        std::fs::create_dir(&small).unwrap();
        std::fs::create_dir(&control).unwrap();
        // Reading from it waits, which is how the script passes time.
        assert!(Command::new("mkfifo").arg(control.join("never")).status().unwrap().success());
        let keeper = File::options().read(true).write(true).open(control.join("never")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "bash", "-c", SCRIPT]);
        command.env("BINARY", BINARY).env("SMALL", &small).env("CONTROL", &control);
        Self { demo: Demo::from_command(command), control, _dir: dir, _keeper: keeper }
    }

    fn fill(&self) {
        std::fs::write(self.control.join("fill"), "").unwrap();
        wait_for("the disk is full", || self.control.join("filled").exists());
    }

    /// Stops the proxy, gives it room and returns what its log holds then: whole, as the other reader says, too.
    fn stop(self) -> Vec<serde_json::Value> {
        std::fs::write(self.control.join("done"), "").unwrap();
        self.demo.process.unwrap().wait(Duration::from_secs(30)).unwrap();
        let after = self.control.join("after");
        super::stage::agree_with_python(&after);
        super::stage::verify(&after).unwrap();
        super::stage::entries(&after)
    }
}

#[test]
#[ignore = "needs ssh, unshare, bash and python3-cryptography: cargo xtask test"]
fn a_full_disk_ends_the_session_and_keeps_what_was_acknowledged() {
    let small = Small::start();
    let master = small.demo.ssh().master().unwrap();
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
    small.fill();
    // What was set aside for the log is used up first; then the disk says no.
    let refused = (5..20_000).find_map(&mut run).expect("a full disk stops commands");
    assert_eq!(refused.code(), Some(255), "{}", refused.stderr_text());
    let late = small.demo.ssh().run("echo late").unwrap();
    assert_eq!((late.code(), late.stdout_text().as_str()), (Some(255), ""));
    drop(master);

    let entries = small.stop();
    let started = of_type(&entries, "command.started");
    for word in &acknowledged {
        assert!(
            started.iter().any(|entry| entry["command"].as_str().unwrap().ends_with(word.as_str())),
            "lost: {}",
            &word[..8]
        );
    }
    assert!(started.iter().all(|entry| entry["command"] != "echo late"));
}

#[test]
#[ignore = "needs ssh, unshare, bash and python3-cryptography: cargo xtask test"]
fn a_full_disk_ends_a_terminal_and_what_runs_on_it() {
    let small = Small::start();
    let mut shell = small.demo.ssh_as("ursula").arg("-tt").spawn_shell().unwrap();
    let mark = mark(71_717);
    shell.write(format!("sh -c 'while :; do echo {mark}; done'\r").as_bytes()).unwrap();
    assert!(shell.wait_for_stdout(&format!("{mark}\r\n"), Duration::from_secs(20)));
    small.fill();
    // What is shown is recorded; when it cannot be, nothing is shown any more and nothing goes on.
    let output = shell.wait(Duration::from_secs(20)).unwrap();
    wait_for("the loop is gone", || running_with(&mark) == 0);
    let said = output.stdout_text() + &output.stderr_text();
    assert!(said.contains("session ended"), "{}", said.chars().rev().take(300).collect::<String>());
    let entries = small.stop();
    assert_eq!(of_type(&entries, "terminal.started").len(), 1);
    assert!(!of_type(&entries, "terminal.output").is_empty());
}
