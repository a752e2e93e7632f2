//! Why a task ends without success.

use std::io;
use std::process::ExitStatus;

/// The first thing that went wrong, told so that a person knows what to do next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("`{command}` ended with {status}")]
    Command { command: String, status: ExitStatus },
    #[error("cannot run `{command}`: {source}")]
    Spawn { command: String, source: io::Error },
    #[error("cannot {action} `{path}`: {source}")]
    Io { action: &'static str, path: String, source: io::Error },
    #[error("cannot read the workspace: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    #[error("not installed: {names}; on Debian and Ubuntu: apt-get install {packages}")]
    Missing { names: String, packages: String },
    #[error("cannot make {name}, which tests against real servers need: {source}")]
    Environment { name: &'static str, source: Box<Failure> },
    #[error(transparent)]
    Testbed(#[from] testbed::Error),
    #[error("`{command}` ran no test: {why}")]
    NothingRan { command: String, why: &'static str },
    #[error("no fuzz target is called `{0}`; there are: {1}")]
    NoSuchTarget(String, String),
    #[error("{failed} of {run} steps failed: {names}")]
    Steps { failed: usize, run: usize, names: String },
    #[error("step `{step}`: {source}")]
    Step { step: &'static str, source: Box<Failure> },
}

impl Failure {
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { action, path, source }
    }
}
