//! A person at a real terminal: tmux, with the real `ssh` in it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use testbed::{Program, Ssh, SshProgram, run};

/// A terminal of its own, whose erase character is Ctrl-H, with `ssh -tt` to the proxy in it. Killed when dropped.
pub(crate) struct Tmux {
    socket: String,
    _program: SshProgram,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Tmux {
    pub(crate) fn new(ssh: &Ssh, (cols, rows): (u32, u32)) -> Self {
        let program = ssh.program().unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let socket = format!("session-filter-{}-{number}", std::process::id());
        let terminal = Self { socket, _program: program };
        let command = format!(
            "stty erase '^H'; {} -tt 127.0.0.1; echo [ssh ended: $?]; exec cat",
            terminal._program.path().display()
        );
        let (cols, rows) = (cols.to_string(), rows.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &cols, "-y", &rows, &command]);
        terminal.tmux(&["set-option", "-g", "status", "off"]);
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let all = ["-L", &self.socket, "-f", "/dev/null"].into_iter().chain(args.iter().copied());
        run("tmux", "tmux", all).unwrap().stdout_text()
    }

    /// Types text as it is.
    pub(crate) fn type_(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Types text and return.
    pub(crate) fn line(&self, text: &str) {
        self.type_(&format!("{text}\r"));
    }

    /// Presses keys by their tmux names, such as `C-c` or `Up`.
    pub(crate) fn press(&self, keys: &[&str]) {
        let mut args = vec!["send-keys", "--"];
        args.extend(keys);
        self.tmux(&args);
    }

    /// Pastes, in brackets if the program asked for them.
    pub(crate) fn paste(&self, text: &str) {
        self.tmux(&["set-buffer", "--", text]);
        self.tmux(&["paste-buffer", "-p", "-r"]);
    }

    pub(crate) fn resize(&self, cols: u32, rows: u32) {
        self.tmux(&["resize-window", "-x", &cols.to_string(), "-y", &rows.to_string()]);
    }

    /// What the person sees, without the empty rows at the end.
    pub(crate) fn screen(&self) -> String {
        let mut screen = self.tmux(&["capture-pane", "-p"]);
        screen.truncate(screen.trim_end_matches('\n').len());
        screen.push('\n');
        screen
    }

    /// Waits until the screen is as wanted; the deadline is for a broken proxy, not for a slow machine.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what}; the screen shows:\n{screen}");
        }
    }

    /// Waits until the last row of the screen is this.
    pub(crate) fn wait_row(&self, row: &str) -> String {
        self.wait(&format!("waiting for {row:?}"), |screen| screen.lines().last() == Some(row))
    }

    /// A variable of the terminal, such as `alternate_on` or `cursor_flag`.
    pub(crate) fn variable(&self, name: &str) -> String {
        self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]).trim_end().to_owned()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        if let Ok(tmux) = Program::find("tmux", "tmux") {
            let _ = tmux.command().args(["-L", &self.socket, "kill-server"]).output();
        }
    }
}

/// Compares with `tests/golden/<name>.txt`; with `BLESS=1` in the environment, writes it.
pub(crate) fn assert_golden(name: &str, seen: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, seen).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(seen, expected, "{} (BLESS=1 writes it anew)", path.display());
}
