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
    /// The SCIM client beside scim2-client, scim2-models and a bare client on Node: bringing 10,000 users to a real server
    /// (`-- sync`), listing a million (`-- listing`); filters and changes in memory.
    Scim,
    /// A million accounts against a million intents, and 100,000 persons against a thousand risks of separation of duty.
    Governance,
    /// The outbox: 100,000 queued events over 50 connectors, and opening a million of a killed process. Days of a company of 10,000
    /// people in virtual time: from fault to alert, and from its end to the last leaver without access.
    Provisioning,
    /// Events in and out beside the `durable-streams` server and bare redb: single appends over HTTP (`-- single`), batches (`-- batches`),
    /// readers of server-sent events (`-- readers`), queries of a large log (`-- queries`).
    Events,
    /// Detection over events of logins: all rules on one core and under a flood, and what the rules find of a simulated company's attacks.
    Detection,
}

impl Subject {
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Ssh => &["ssh"],
            Self::Audit => &["audit"],
            Self::Policy => &["command_check"],
            Self::Governance => &["governance"],
            Self::Provisioning => &["provisioning", "company_day"],
            Self::Events => &["events_ingest"],
            Self::Detection => &["events_detection", "detection_quality"],
            Self::Scim => &["scim_peers", "scim"],
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
    for file in subject.files() {
        let mut invocation =
            Invocation::cargo(workspace).args(["bench", "--package", "benches", "--bench", file]);
        if !rest.is_empty() {
            invocation = invocation.arg("--").args(rest);
        }
        invocation.run(console)?;
    }
    Ok(())
}
