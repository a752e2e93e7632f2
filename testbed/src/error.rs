//! What can go wrong while a server or a client program is started.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A program that is not installed, and the Debian package that brings it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{program}` is not installed: apt-get install {package}")]
pub struct Needs {
    /// The name of the program as looked for.
    pub program: String,
    /// The Debian package that holds it.
    pub package: String,
}

/// Why a server did not start or a client did not come to an end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is missing from this machine.
    #[error(transparent)]
    Needs(#[from] Needs),
    /// A file, pipe or process could not be handled.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or program it was attempted on.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A server ended, or did not get ready in time.
    #[error("`{program}` did not start: {reason}\n{log}")]
    NotStarted {
        /// The server.
        program: String,
        /// What was seen instead of readiness.
        reason: String,
        /// All that it logged so far.
        log: String,
    },
    /// An environment that `cargo xtask` makes is not there, or was made from an older lock file.
    #[error("{what} is missing or out of date: cargo xtask test --only tools")]
    NotPrepared {
        /// What is missing.
        what: &'static str,
    },
    /// A program ended with a failure where success was needed to go on.
    #[error("`{program}` failed: {stderr}")]
    Failed {
        /// The program.
        program: String,
        /// What it said on standard error.
        stderr: String,
    },
    /// A program was still running at its deadline and was killed.
    #[error("`{program}` was killed after {limit:?}; stderr: {}", String::from_utf8_lossy(&output.stderr))]
    TimedOut {
        /// The program.
        program: String,
        /// The limit that it exceeded.
        limit: Duration,
        /// What it had printed by then.
        output: Box<crate::Output>,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
