//! How far something is, on standard error, while a person waits.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::inert;

/// A line that says what is going on; only where standard error is a terminal. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// With a first text. Hidden where results are printed to the same terminal: they show by themselves how far it is.
    pub(crate) fn new(beside_results: bool) -> Self {
        let hidden = !io::stderr().is_terminal() || (beside_results && io::stdout().is_terminal());
        let target =
            if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        if !hidden {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self(bar)
    }

    /// With an end that is known.
    pub(crate) fn of(length: u64) -> Self {
        let progress = Self::new(false);
        progress.0.set_length(length);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg} {elapsed}") {
            progress.0.set_style(style);
        }
        progress
    }

    /// So many are done, and this is to be said of it.
    pub(crate) fn at(&self, done: u64, what: &str) {
        self.0.set_position(done);
        self.0.set_message(inert(what).into_owned());
    }

    /// One more is done, and this is next.
    pub(crate) fn step(&self, next: &str) {
        self.0.inc(1);
        self.0.set_message(inert(next).into_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
