//! Command lines, and what became of them.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{RecordingPosition, cut_at_char};
use crate::policy::Redacted;

/// Longest piece of a command line, in bytes, that an event carries. A longer one is cut; its whole length
/// and SHA-256 are recorded beside it.
pub const RECORDED_LINE_BYTES_MAX: usize = 8 * 1024;

/// A command line as an event carries it: text where it reads as text, Base64 elsewhere, cut at
/// [`RECORDED_LINE_BYTES_MAX`].
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct Line {
    /// The line as the client sent it, perhaps cut or redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The line, where it is not UTF-8 or mostly control characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_base64: Option<String>,
    /// Length of the whole line, where it was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_bytes: Option<u64>,
    /// SHA-256 of the whole line, where it was cut. A redacted line has none: the hash of a password can be guessed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_sha256: Option<String>,
    /// A rule replaced part of the line before it was recorded.
    #[serde(skip_serializing_if = "is_false")]
    pub redacted: bool,
}

impl Line {
    /// Takes a line from the wire.
    ///
    /// `redact` sees the line as it was typed and, where the grammar understands it, as the words it stands for: `pass"wo"rd=x`
    /// hides a secret from an expression that looks for `password=`. When only the words give it away, they are what is
    /// recorded. A line that is not UTF-8 is redacted as it reads with replacement characters.
    pub fn new(bytes: &[u8], redact: impl Fn(&str) -> Redacted) -> Self {
        let (text, is_utf8) = match String::from_utf8_lossy(bytes) {
            Cow::Borrowed(text) => (Cow::Borrowed(text), true),
            lossy @ Cow::Owned(_) => (lossy, false),
        };
        let typed = redact(&text);
        if typed.changed {
            return Self::redacted(&typed.text);
        }
        if let Ok(lexed) = crate::grammar::lex(bytes) {
            let words: Vec<&str> = lexed.commands().iter().flatten().map(AsRef::as_ref).collect();
            let joined = redact(&words.join(" "));
            if joined.changed || words.iter().any(|word| redact(word).changed) {
                let each: Vec<String> = words.iter().map(|word| redact(word).text).collect();
                return Self::redacted(&redact(&each.join(" ")).text);
            }
        }
        let mut line = Self {
            command: None,
            command_base64: None,
            command_bytes: None,
            command_sha256: None,
            redacted: false,
        };
        if bytes.len() > RECORDED_LINE_BYTES_MAX {
            line.command_bytes = Some(bytes.len() as u64);
            line.command_sha256 = Some(crate::digest::hex(&Sha256::digest(bytes)));
        }
        let kept = cut_at_char(&text, RECORDED_LINE_BYTES_MAX);
        // Quotes and backslashes double at most; a permitted line holds nothing that grows more.
        if is_utf8 && (!kept.chars().any(char::is_control) || reads_as_text(kept)) {
            line.command = Some(kept.to_owned());
        } else {
            line.command_base64 = Some(BASE64.encode(bytes.get(..RECORDED_LINE_BYTES_MAX).unwrap_or(bytes)));
        }
        line
    }

    /// Neither length nor hash of the whole: the hash of a password can be guessed.
    fn redacted(text: &str) -> Self {
        let command = Some(cut_at_char(text, RECORDED_LINE_BYTES_MAX).to_owned());
        Self { command, command_base64: None, command_bytes: None, command_sha256: None, redacted: true }
    }

    /// The line for a person, as far as it is on record.
    pub fn shown(&self) -> &str {
        self.command.as_deref().unwrap_or("(not text)")
    }
}

/// Fields of `command.started`.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct CommandStarted {
    /// The line as the client sent it.
    #[serde(flatten)]
    pub line: Line,
    /// What is sent, one argument vector per command of a pipeline or list. Absent where a rule redacted
    /// the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<Vec<String>>>,
    /// The pattern that permits it, as written in the policy.
    pub rule: String,
    /// The line of the policy on which that pattern stands.
    pub rule_line: u64,
    /// The directory it runs in, where that is not the account's home.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Paths that its arguments may refer to, seen from that directory. A guess from how the arguments look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// A rule acknowledges that the program grants a shell or runs others: what those are is not controlled.
    #[serde(skip_serializing_if = "is_false")]
    pub nested_uncontrolled: bool,
    /// Where in the terminal's recording it begins, where it runs on one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<RecordingPosition>,
}

/// Fields of `command.blocked`.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct CommandBlocked {
    /// The line as the client sent it. It may hold a password: see [`Event::sensitive`](super::Event::sensitive).
    #[serde(flatten)]
    pub line: Line,
    /// Byte offset at which the line stopped being permitted, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Where in the terminal's recording it was refused, where it was meant to run on one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<RecordingPosition>,
}

/// Fields of `command.output`: a piece of what a command wrote.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct CommandOutput {
    /// `stdout` or `stderr`.
    pub stream: Stream,
    /// Offset of the first byte of this piece in its stream.
    pub offset: u64,
    /// The piece.
    #[serde(flatten)]
    pub piece: Piece,
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Bytes as an event carries them: text where they read as text, Base64 otherwise.
#[derive(Clone, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Piece {
    /// UTF-8 that is not mostly control characters.
    Text {
        /// The bytes as text, control characters included.
        text: String,
    },
    /// Anything else.
    Base64 {
        /// The bytes in standard Base64 with padding.
        base64: String,
    },
}

impl Piece {
    /// Takes bytes as they came.
    pub fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if reads_as_text(text) => Self::Text { text: text.to_owned() },
            _ => Self::Base64 { base64: BASE64.encode(bytes) },
        }
    }
}

/// Fields of `command.executed`.
#[derive(Clone, Default, Serialize)]
#[non_exhaustive]
pub struct CommandExecuted {
    /// The command line, again, so that a search for it finds how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Exit status as the target reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<u32>,
    /// Signal that ended it, without `SIG`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_signal: Option<String>,
    /// From sending to end.
    pub duration_ms: u64,
    /// Bytes the client sent to the command. Their content is not kept: it may be a password.
    pub stdin_bytes: u64,
    /// Where in the terminal's recording its output ended, where it ran on one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<RecordingPosition>,
    /// What it wrote to standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<StreamRecord>,
    /// What it wrote to standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<StreamRecord>,
}

/// What is kept of an output stream: its size, hash, first and last part.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct StreamRecord {
    /// Size of the whole.
    pub bytes: u64,
    /// SHA-256 of the whole, in hexadecimal; absent where only the size is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The first part; absent where only the size is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Piece>,
    /// The last part, where the whole is longer than the first part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<Piece>,
}

impl StreamRecord {
    /// From a finished digest; nothing for a stream that stayed empty.
    pub fn new(digest: &crate::digest::StreamSummary) -> Option<Self> {
        (digest.bytes > 0).then(|| Self {
            bytes: digest.bytes,
            sha256: Some(digest.sha256.clone()),
            head: Some(Piece::new(&digest.head)),
            tail: (!digest.tail.is_empty()).then(|| Piece::new(&digest.tail)),
        })
    }

    /// Only a size; nothing for a stream that stayed empty.
    pub fn counted(bytes: u64) -> Option<Self> {
        (bytes > 0).then_some(Self { bytes, sha256: None, head: None, tail: None })
    }
}

/// Whether JSON writes it in at most half as much again: a stream of NUL bytes is UTF-8, and would grow six times.
fn reads_as_text(text: &str) -> bool {
    let grown: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
            0..0x20 => 5,
            _ => 0,
        })
        .sum();
    grown <= text.len() / 2 + 16
}

fn is_false(value: &bool) -> bool {
    !*value
}
