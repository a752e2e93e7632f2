//! Programs on terminals of their own, as people run them.

use std::io::{Read as _, Write as _};
use std::process::Child;
use std::sync::{Arc, Mutex};

use session_filter::screen::Screen;

use super::stage::wait_for;

/// A program on a terminal of its own, and what it showed there.
pub(crate) struct OnTerminal {
    child: Child,
    terminal: Arc<pty_process::blocking::Pty>,
    shown: Arc<Mutex<Vec<u8>>>,
    reading: Option<std::thread::JoinHandle<()>>,
}

impl OnTerminal {
    pub(crate) fn spawn(program: &str, args: &[&str], (cols, rows): (u16, u16)) -> Self {
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

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.shown.lock().unwrap().clone()
    }

    /// What a person sees on it, at the size given.
    pub(crate) fn text(&self, cols: u32, rows: u32) -> String {
        let mut screen = Screen::new(cols, rows);
        screen.feed(&self.bytes());
        screen.picture().text()
    }

    pub(crate) fn resize(&self, cols: u16, rows: u16) {
        self.terminal.resize(pty_process::Size::new(rows, cols)).unwrap();
    }

    pub(crate) fn press(&self, keys: &str) {
        (&*self.terminal).write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end; says how it ended and all that it showed.
    pub(crate) fn wait(mut self) -> (Option<i32>, Vec<u8>) {
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
