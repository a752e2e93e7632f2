//! What the person at the terminal, or the reader of a log, gets to see.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Which of a child's streams a line came from, and goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Lines, and on a terminal a status line with a spinner below them. In a log there are only lines.
#[derive(Debug)]
pub(crate) struct Console {
    on_terminal: bool,
    status: RefCell<Option<ProgressBar>>,
}

impl Console {
    pub(crate) fn new() -> Self {
        let on_terminal = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        Self { on_terminal, status: RefCell::new(None) }
    }

    pub(crate) fn on_terminal(&self) -> bool {
        self.on_terminal
    }

    /// Starts the status line of one piece of work, with the time it has taken so far.
    pub(crate) fn start_status(&self, text: &str) {
        self.end_status();
        if !self.on_terminal {
            return;
        }
        let bar = ProgressBar::new_spinner().with_prefix(text.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} · {elapsed} · {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        self.status.replace(Some(bar));
    }

    pub(crate) fn end_status(&self) {
        if let Some(bar) = self.status.take() {
            bar.finish_and_clear();
        }
    }

    /// Prints one line.
    pub(crate) fn line(&self, stream: Stream, text: &str) {
        let print = || match stream {
            Stream::Out => println!("{text}"),
            Stream::Err => eprintln!("{text}"),
        };
        match self.status.borrow().as_ref() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub(crate) fn say(&self, text: &str) {
        self.line(Stream::Out, text);
    }

    /// A line of a running command. On a terminal, mere signs of progress only replace the last words of the status
    /// line; in a log they are kept, because there they are the only sign of life.
    pub(crate) fn command_line(&self, stream: Stream, text: &str) {
        match self.status.borrow().as_ref() {
            Some(bar) if is_progress(text) => bar.set_message(plain(text).trim().to_owned()),
            _ => self.line(stream, text),
        }
    }
}

/// `1 min 5 s`, `12.3 s`.
pub(crate) fn duration(since: Instant) -> String {
    spelled(since.elapsed())
}

pub(crate) fn spelled(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 60 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

fn is_progress(text: &str) -> bool {
    let text = plain(text);
    let is_verb = |word: &&str| PROGRESS_VERBS.contains(word);
    text.starts_with("  ") && text.split_whitespace().next().as_ref().is_some_and(is_verb)
}

/// The text without the escape sequences that colour it.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // A control sequence (ECMA-48 §5.4) ends with a letter, for all those that cargo prints.
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}

/// How cargo begins a line that says no more than what it is doing.
const PROGRESS_VERBS: [&str; 9] = [
    "Blocking",
    "Checking",
    "Compiling",
    "Documenting",
    "Downloaded",
    "Downloading",
    "Installing",
    "Locking",
    "Updating",
];
const TICK: Duration = Duration::from_millis(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_signs_of_progress_from_results() {
        assert!(is_progress("   Compiling serde v1.0.0"));
        assert!(is_progress("\u{1b}[1m\u{1b}[32m   Compiling\u{1b}[0m serde v1.0.0"));
        assert!(!is_progress("test result: ok. 1 passed; 0 failed"));
        assert!(!is_progress("Compiling was what a test printed"));
        assert!(!is_progress("    Finished `dev` profile"));
    }

    #[test]
    fn spells_short_and_long_times() {
        assert_eq!(spelled(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(spelled(Duration::from_secs(65)), "1 min 5 s");
    }
}
