//! Benches, by what they measure.

use clap::ValueEnum;

use crate::console::Console;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::workspace::Workspace;

/// What can be measured; each is a file in `benches/benches`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Subject {
    /// What the proxy costs beside sshd: time added to a command (`-- turns`, `-- blocks`), processor time for bulk (`-- bulk`),
    /// throughput over a slow network (`-- delay`), keystrokes (`-- keystroke`), memory (`-- idle`), sessions a second (`-- opens`).
    Ssh,
    /// Durable appends beside write+fdatasync and SQLite; verification beside openssl's SHA-256.
    Audit,
    /// Decisions about commands against a thousand rules.
    Policy,
    /// SCIM in memory: filters read, written and evaluated.
    Scim,
}

impl Subject {
    fn file(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Audit => "audit",
            Self::Policy => "command_check",
            Self::Scim => "scim",
        }
    }
}

pub(crate) fn run(
    workspace: &Workspace,
    console: &Console,
    subject: Subject,
    rest: &[String],
) -> Result<(), Failure> {
    console.start_status("bench");
    let mut invocation =
        Invocation::cargo(workspace).args(["bench", "--package", "benches", "--bench", subject.file()]);
    if !rest.is_empty() {
        invocation = invocation.arg("--").args(rest);
    }
    invocation.run(console)
}
