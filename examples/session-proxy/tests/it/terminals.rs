//! People on terminals: a prompt, a raw shell, an operator who looks over the shoulder, and the end of it.

use std::process::Command;

use serde_json::Value;

use super::on_terminal::OnTerminal;
use super::stage::{BINARY, Demo, wait_for};

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
