//! What the crate reports: one [`Event`] per audit-worthy fact.
//!
//! Events serialise to flat JSON with the field names that the sibling crates use too, so one parser
//! and one search reads all: `event_id`, `event_type`, `timestamp`, `actor_id`, `target_id`,
//! `session_id`, `correlation_id`, `outcome`, `source_ip`, `reason`, `message`. Absent means unknown; no
//! field is ever empty. What belongs to one type of event stands beside these and is listed at its
//! [`Detail`].

mod command;
mod door;
mod shell;
mod terminal;
mod watch;

use std::fmt;
use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use uuid::Uuid;

pub use self::command::{
    CommandBlocked, CommandExecuted, CommandOutput, CommandStarted, Line, Piece, RECORDED_LINE_BYTES_MAX,
    Stream, StreamRecord,
};
pub use self::door::{DoorClosed, DoorOpened, FileOperation, FileTransferred, PATH_BYTES_MAX};
pub use self::shell::{BuiltinExecuted, CommandObserved, Observation};
pub use self::terminal::{RecordingPosition, TerminalBytes, TerminalEnded, TerminalResized, TerminalStarted};
pub use self::watch::{Act, AnomalyDetected, OperatorActed};
use crate::door::FileAccess;
use crate::policy::Mode;

/// Longest sentence for people, in bytes, that an event carries.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// It happened as asked.
    Success,
    /// It was tried and did not work.
    Failure,
    /// It was refused before it had any effect.
    Blocked,
    /// It may have happened: the answer never came.
    Unknown,
}

/// Who, where and in which session: the part that all events of a session share.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Subject {
    /// The person or service acting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// What is acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_id: Option<String>,
    /// The session, a UUIDv7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Where the client connected from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<IpAddr>,
}

/// One audit-worthy fact. `Debug` shows what it is about, not what was typed or printed: that may be a secret.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// UUIDv7, unique per event.
    pub event_id: Uuid,
    /// Dotted name, such as `command.blocked`; follows from [`Event::detail`].
    pub event_type: &'static str,
    /// When it happened, by the clock of this machine.
    #[serde(serialize_with = "rfc3339_ms")]
    pub timestamp: DateTime<Utc>,
    /// Who, where, in which session.
    #[serde(flatten)]
    pub subject: Subject,
    /// Ties the events of one command together, a UUIDv7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// How it went.
    pub outcome: Outcome,
    /// Machine-readable code, such as `no_rule`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Names of fields that may hold a secret, such as the text of a blocked line: a password typed at
    /// the wrong moment lands there. Viewers mark them, and can leave them out.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub sensitive: &'static [&'static str],
    /// What belongs to this type of event.
    #[serde(flatten)]
    pub detail: Detail,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("event_id", &self.event_id)
            .field("event_type", &self.event_type)
            .field("timestamp", &self.timestamp)
            .field("subject", &self.subject)
            .field("outcome", &self.outcome)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl Event {
    /// A new event; `event_id` is drawn, `event_type` and `sensitive` follow from `detail`.
    pub fn new(subject: Subject, outcome: Outcome, detail: Detail, now: DateTime<Utc>) -> Self {
        Self {
            event_id: Uuid::now_v7(),
            event_type: detail.event_type(),
            timestamp: now,
            subject,
            correlation_id: None,
            outcome,
            reason: None,
            message: None,
            sensitive: detail.sensitive(),
            detail,
        }
    }

    /// Ties this event to others of the same command.
    #[must_use]
    pub fn correlated(mut self, correlation_id: impl Into<String>) -> Self {
        self.correlation_id = Some(correlation_id.into());
        self
    }

    /// Gives the machine-readable code and the sentence for people, cut at [`MESSAGE_BYTES_MAX`].
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>, message: impl Into<String>) -> Self {
        let (reason, message) = (reason.into(), message.into());
        self.reason = Some(cut_at_char(&reason, 128).to_owned()).filter(|text| !text.is_empty());
        self.message =
            Some(cut_at_char(&message, MESSAGE_BYTES_MAX).to_owned()).filter(|text| !text.is_empty());
        self
    }
}

/// What belongs to one type of event. The dotted name stands at each variant.
#[derive(Clone, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Detail {
    /// `login.failed`, `login.succeeded`.
    Login(Login),
    /// `session.started`: admitted, nothing has run yet.
    SessionStarted(SessionStarted),
    /// `session.refused`: logged in, not admitted.
    SessionRefused {},
    /// `session.warned`: told that the end is near.
    SessionWarned {},
    /// `session.ended`: `reason` says why.
    SessionEnded(SessionEnded),
    /// `target.connecting`: about to dial and log in to the target.
    TargetConnecting(TargetAddress),
    /// `target.connected`: logged in, and the quoting self-test came back byte for byte.
    TargetConnected(TargetAddress),
    /// `target.failed`: could not be reached, proved another identity, refused the login or failed the self-test.
    TargetFailed(TargetAddress),
    /// `command.started`: permitted and about to be sent. Durable before the first byte is.
    CommandStarted(CommandStarted),
    /// `command.blocked`: refused; the target never saw it.
    CommandBlocked(CommandBlocked),
    /// `command.output`: a piece of output, where the policy asks for full recording.
    CommandOutput(CommandOutput),
    /// `command.executed`: it ended, or the session did.
    CommandExecuted(CommandExecuted),
    /// `builtin.executed`: a line that the managed prompt answered by itself.
    BuiltinExecuted(BuiltinExecuted),
    /// `command.observed`: a command seen on a raw terminal.
    CommandObserved(CommandObserved),
    /// `terminal.started`: a terminal was given; its recording begins.
    TerminalStarted(TerminalStarted),
    /// `terminal.output`: what the terminal showed.
    TerminalOutput(TerminalBytes),
    /// `terminal.input`: keystrokes accepted at a prompt of ours.
    TerminalInput(TerminalBytes),
    /// `terminal.resized`: the terminal has another size.
    TerminalResized(TerminalResized),
    /// `terminal.ended`: the recording is complete.
    TerminalEnded(TerminalEnded),
    /// `door.opened`: a door besides commands was opened, as the policy permits.
    DoorOpened(DoorOpened),
    /// `door.closed`: it was closed again.
    DoorClosed(DoorClosed),
    /// `file.opened`: a file is about to be opened for reading or writing. One more with the same `correlation_id` says how it went where
    /// it did not go as asked: the target refused (`failure`), did not answer (`unknown`), or it was never sent (`blocked`).
    FileOpened(FileOperation),
    /// `file.changed`: a file is about to be removed, renamed, linked, or its attributes changed; `file.listed`: a directory is about to be listed; one more as for `file.opened`.
    FileChanged(FileOperation),
    /// `file.blocked`: an operation on a file was refused; the target never saw it.
    FileBlocked(FileOperation),
    /// `file.transferred`: a file was closed after it was read or written.
    FileTransferred(FileTransferred),
    /// `session.watched`, `session.unwatched`, `session.termination_asked`, `sessions.listed`: an operator's act.
    OperatorActed(OperatorActed),
    /// `anomaly.detected`: something stood out against this person's own past.
    AnomalyDetected(AnomalyDetected),
    /// `request.refused`: another door was tried: a PTY, an environment variable, a forward, …
    RequestRefused(RequestRefused),
    /// `policy.changed`: a new policy is in force.
    PolicyChanged(PolicyChanged),
    /// `policy.rejected`: a new policy has mistakes; the old one stays in force.
    PolicyRejected {},
}

impl Detail {
    fn event_type(&self) -> &'static str {
        match self {
            Self::Login(Login { succeeded: true, .. }) => "login.succeeded",
            Self::Login(_) => "login.failed",
            Self::SessionStarted(_) => "session.started",
            Self::SessionRefused {} => "session.refused",
            Self::SessionWarned {} => "session.warned",
            Self::SessionEnded(_) => "session.ended",
            Self::TargetConnecting(_) => "target.connecting",
            Self::TargetConnected(_) => "target.connected",
            Self::TargetFailed(_) => "target.failed",
            Self::CommandStarted(_) => "command.started",
            Self::CommandBlocked(_) => "command.blocked",
            Self::CommandOutput(_) => "command.output",
            Self::CommandExecuted(_) => "command.executed",
            Self::BuiltinExecuted(_) => "builtin.executed",
            Self::CommandObserved(_) => "command.observed",
            Self::TerminalStarted(_) => "terminal.started",
            Self::TerminalOutput(_) => "terminal.output",
            Self::TerminalInput(_) => "terminal.input",
            Self::TerminalResized(_) => "terminal.resized",
            Self::TerminalEnded(_) => "terminal.ended",
            Self::DoorOpened(_) => "door.opened",
            Self::DoorClosed(_) => "door.closed",
            Self::FileOpened(_) => "file.opened",
            Self::FileChanged(operation) if operation.access == FileAccess::List => "file.listed",
            Self::FileChanged(_) => "file.changed",
            Self::FileBlocked(_) => "file.blocked",
            Self::FileTransferred(_) => "file.transferred",
            Self::OperatorActed(acted) => match acted.act {
                Act::Watch => "session.watched",
                Act::Unwatch => "session.unwatched",
                Act::Terminate => "session.termination_asked",
                Act::List => "sessions.listed",
            },
            Self::AnomalyDetected(_) => "anomaly.detected",
            Self::RequestRefused(_) => "request.refused",
            Self::PolicyChanged(_) => "policy.changed",
            Self::PolicyRejected {} => "policy.rejected",
        }
    }

    fn sensitive(&self) -> &'static [&'static str] {
        match self {
            Self::CommandBlocked(_) => &["command", "command_base64", "message"],
            // Passwords are typed at the wrong moment, and echoed.
            Self::BuiltinExecuted(_) | Self::CommandObserved(_) => &["command", "command_base64"],
            Self::TerminalInput(_) | Self::TerminalOutput(_) => &["text", "base64"],
            // People type passwords at name prompts, and a second command on a channel is a command line.
            Self::Login(Login { succeeded: false, .. }) => &["login_name"],
            Self::RequestRefused(RequestRefused { request: "exec", .. }) => &["asked"],
            _ => &[],
        }
    }
}

/// Fields of `login.failed` and `login.succeeded`.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct Login {
    /// `password`, `publickey`; with a second factor `password+totp`, `publickey+totp`: where such a login failed, the first factor was
    /// right.
    pub method: &'static str,
    /// The key's SHA-256 fingerprint as OpenSSH writes it, where one was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// The name as typed, where the login failed. It is no `actor_id`: nobody has shown to be that person, or that there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_name: Option<String>,
    #[serde(skip)]
    pub(crate) succeeded: bool,
}

impl Login {
    /// A login by `method` that succeeded.
    pub fn succeeded(method: &'static str) -> Self {
        Self { method, key_fingerprint: None, login_name: None, succeeded: true }
    }

    /// A login by `method` under `login_name` that failed.
    pub fn failed(method: &'static str, login_name: Option<String>) -> Self {
        let login_name = login_name.filter(|name| !name.is_empty());
        Self { method, key_fingerprint: None, login_name, succeeded: false }
    }

    /// The same, with a key of this fingerprint.
    #[must_use]
    pub fn key(mut self, fingerprint: Option<String>) -> Self {
        self.key_fingerprint = fingerprint;
        self
    }
}

/// Fields of `session.started`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SessionStarted {
    /// How commands run in this session.
    pub mode: Mode,
}

impl SessionStarted {
    /// A session in `mode`.
    pub fn new(mode: Mode) -> Self {
        Self { mode }
    }
}

/// Fields of `session.ended`.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct SessionEnded {
    /// Commands that were sent to the target.
    pub commands: u64,
    /// Commands that were blocked.
    pub commands_blocked: u64,
    /// Other requests that were refused.
    pub requests_refused: u64,
    /// From login to end.
    pub duration_ms: u64,
    /// Who ended it, where a person did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
}

/// Fields of `target.connecting`, `target.connected`, `target.failed`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TargetAddress {
    /// `host:port`.
    pub address: String,
    /// The account used there. The credential itself is never part of an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// SHA-256 fingerprint of the host key that the target proved to hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
}

impl TargetAddress {
    /// A target at `address`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), account: None, host_key: None }
    }
}

/// Fields of `request.refused`.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct RequestRefused {
    /// The SSH request or channel type, such as `pty-req`, `env`, `direct-tcpip`.
    pub request: &'static str,
    /// What was asked for: a variable's name (never its value), a forward's address, a subsystem's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
}

impl RequestRefused {
    /// A refused `request`; `asked` is cut at 256 bytes.
    pub fn new(request: &'static str, asked: Option<&str>) -> Self {
        Self {
            request,
            asked: asked.filter(|text| !text.is_empty()).map(|text| cut_at_char(text, 256).to_owned()),
        }
    }
}

/// Fields of `policy.changed`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PolicyChanged {
    /// SHA-256 of the policy's source text, in hexadecimal.
    pub policy_sha256: String,
}

impl PolicyChanged {
    /// The policy with this digest is in force.
    pub fn new(policy_sha256: impl Into<String>) -> Self {
        Self { policy_sha256: policy_sha256.into() }
    }
}

/// The longest prefix of at most `bytes_max` bytes that ends at a character boundary.
pub(crate) fn cut_at_char(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or("")
}

fn rfc3339_ms<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
