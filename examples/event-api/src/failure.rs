//! Why something was not done, and which exit status says so.

use std::io::{self, Write as _};

use serde_json::json;

use crate::json;
use crate::terminal::inert;

/// Exit status: wrong usage, mistakes in a settings file.
pub(crate) const USAGE: u8 = 2;

/// Why a verb ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller is at fault.
    Usage(String),
    /// Something that the service needs for itself.
    Stopped(String),
    /// Standard output failed.
    Output(io::Error),
}

impl Failure {
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage(what.into())
    }

    pub(crate) fn stopped(why: impl std::fmt::Display) -> Self {
        Self::Stopped(why.to_string())
    }

    /// Tells it on standard error, in JSON where that was asked for, and returns the exit status.
    pub(crate) fn report(&self, as_json: bool) -> u8 {
        let (status, cause, message) = match self {
            // A reader that went away (`| head`) is no failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
            Self::Usage(what) => (USAGE, "usage", what.clone()),
            Self::Stopped(why) => (1, "stopped", why.clone()),
            Self::Output(error) => (1, "output", format!("cannot write to standard output: {error}")),
        };
        let mut err = io::stderr().lock();
        // Where standard error is gone, too, nobody is left to tell.
        let _ = match as_json {
            true => {
                let said =
                    json!({"result": "error", "exit_status": status, "cause": cause, "message": message});
                json::write_line(&mut err, &said)
            }
            false => message.lines().try_for_each(|line| writeln!(err, "event-api: {}", inert(line))),
        };
        status
    }
}
