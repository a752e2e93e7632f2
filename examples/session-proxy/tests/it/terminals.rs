//! People on terminals: a prompt, a raw shell, an operator who looks over the shoulder, and the end of it.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testbed::{Running, Ssh};

use super::on_terminal::OnTerminal;
use super::stage::{BINARY, Demo, entries, of_type, verify, wait_for};

fn sessions(demo: &Demo, args: &[&str]) -> std::process::Output {
    Command::new(BINARY).args(["sessions", "--socket", demo.socket()]).args(args).output().unwrap()
}

/// The id of the only session, once there is one.
fn session_id(demo: &Demo) -> String {
    let mut id = None;
    wait_for("a session", || {
        let listed = sessions(demo, &["list", "--json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        id = listed["sessions"][0]["session_id"].as_str().map(str::to_owned);
        id.is_some()
    });
    id.unwrap()
}

fn watch(demo: &Demo, id: &str, size: (u16, u16)) -> OnTerminal {
    OnTerminal::spawn(BINARY, &["sessions", "--socket", demo.socket(), "watch", id], size)
}

/// Waits until a program has shown `text` on its terminal.
fn shows(running: &Running, text: &str) {
    let came = running.wait_for_stdout(text, Duration::from_secs(20));
    assert!(came, "no `{text}` in: {}", String::from_utf8_lossy(&running.stdout()).escape_debug());
}

fn on_terminal(ssh: Ssh) -> Running {
    ssh.arg("-tt").env("TERM", "xterm").spawn_shell().unwrap()
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn a_managed_user_has_a_prompt_a_directory_and_nothing_that_is_not_permitted() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let room = dir.path().join("room");
    std::fs::create_dir(&room).unwrap();
    std::fs::write(room.join("seen-from-here"), "").unwrap();
    let mark = dir.path().join("mark");

    let mut prompt = on_terminal(demo.ssh_as("maria"));
    // What is typed while a command runs belongs to the command, so each line waits for its prompt.
    let prompted = |prompt: &Running, times: usize| {
        let count = || String::from_utf8_lossy(&prompt.stdout()).matches("$ ").count();
        wait_for("a prompt", || count() == times);
    };
    prompted(&prompt, 1);
    shows(&prompt, "maria@demo-target:~$ ");
    prompt.write(b"echo one   two\r").unwrap();
    shows(&prompt, "one two\r\n");
    prompted(&prompt, 2);
    prompt.write(format!("cd {}\r", room.display()).as_bytes()).unwrap();
    shows(&prompt, "/room$ ");
    prompt.write(b"ls\r").unwrap();
    shows(&prompt, "seen-from-here");
    prompted(&prompt, 4);
    prompt.write(format!("touch {}\r", mark.display()).as_bytes()).unwrap();
    shows(&prompt, "blocked: ");
    prompted(&prompt, 5);
    prompt.write(b"exit\r").unwrap();
    assert_eq!(prompt.wait(Duration::from_secs(20)).unwrap().code(), Some(0));
    assert!(!mark.exists());

    let data_dir = demo.data_dir.clone();
    demo.terminate();
    verify(&data_dir).unwrap();
    let entries = entries(&data_dir);
    let commands: Vec<_> =
        of_type(&entries, "command.started").iter().map(|e| e["command"].clone()).collect();
    assert_eq!(commands, ["echo one   two", "ls"]);
    assert_eq!(of_type(&entries, "command.blocked").len(), 1);
    assert_eq!(of_type(&entries, "terminal.started").len(), 1);
    assert_eq!(of_type(&entries, "terminal.ended").len(), 1);
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn a_session_without_a_terminal_is_watched_as_its_commands_and_their_output() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let master = demo.ssh_as("alice").master().unwrap();
    let id = session_id(&demo);
    let watcher = watch(&demo, &id, (90, 30));
    wait_for("it begins", || watcher.text(90, 30).contains("watching alice on demo-target"));
    assert_eq!(master.run("echo printed").unwrap().code(), Some(0));
    wait_for("both are seen", || {
        let text = watcher.text(90, 30);
        text.contains("echo printed") && text.lines().any(|line| line == "printed")
    });
    // A key that means nothing does nothing; the end of the session ends the watching.
    watcher.press("x");
    assert!(sessions(&demo, &["terminate", &id, "--reason", "lunch"]).status.success());
    let (status, bytes) = watcher.wait();
    assert_eq!(status, Some(0));
    assert!(String::from_utf8_lossy(&bytes).ends_with("lunch\r\n"), "{}", String::from_utf8_lossy(&bytes));
    drop(master);
    demo.terminate();
}
