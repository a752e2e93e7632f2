//! People on terminals: a prompt, a raw shell, an operator who looks over the shoulder, and the end of it.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use session_filter::screen::Screen;

use super::stage::{BINARY, Demo, wait_for};

/// A program on a terminal of its own, and what it showed there.
struct OnTerminal {
    child: Child,
    terminal: Arc<pty_process::blocking::Pty>,
    shown: Arc<Mutex<Vec<u8>>>,
    reading: Option<std::thread::JoinHandle<()>>,
}

impl OnTerminal {
    fn spawn(program: &str, args: &[&str], (cols, rows): (u16, u16)) -> Self {
        let (terminal, inside) = pty_process::blocking::open().unwrap();
        terminal.resize(pty_process::Size::new(rows, cols)).unwrap();
        let command = pty_process::blocking::Command::new(program).args(args).env("TERM", "xterm");
        let child = command.spawn(inside).unwrap();
        let (terminal, shown) = (Arc::new(terminal), Arc::new(Mutex::new(Vec::new())));
        let (from, to) = (Arc::clone(&terminal), Arc::clone(&shown));
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = (&*from).read(&mut buffer) {
                to.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self { child, terminal, shown, reading: Some(reading) }
    }

    fn bytes(&self) -> Vec<u8> {
        self.shown.lock().unwrap().clone()
    }

    /// What a person sees on it, at the size given.
    fn text(&self, cols: u32, rows: u32) -> String {
        let mut screen = Screen::new(cols, rows);
        screen.feed(&self.bytes());
        screen.picture().text()
    }

    fn press(&self, keys: &str) {
        (&*self.terminal).write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end; says how it ended and all that it showed.
    fn wait(mut self) -> (Option<i32>, Vec<u8>) {
        let mut status = None;
        wait_for("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.reading.take().unwrap().join().unwrap();
        (status.unwrap().code(), self.bytes())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
