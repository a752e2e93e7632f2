//! What happened on a terminal: together these events are a recording that can be played.

use serde::Serialize;

use super::Piece;

/// A place in a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RecordingPosition {
    /// The recording, a UUIDv7. A session has one per terminal.
    pub recording_id: String,
    /// Milliseconds since the recording began.
    pub at_ms: u64,
    /// Bytes of output before this place.
    pub offset: u64,
}

impl RecordingPosition {
    /// `offset` bytes into `recording_id`, at `at_ms`.
    pub fn new(recording_id: impl Into<String>, at_ms: u64, offset: u64) -> Self {
        Self { recording_id: recording_id.into(), at_ms, offset }
    }
}

/// Fields of `terminal.started`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TerminalStarted {
    /// The recording that begins here.
    pub recording_id: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The client's `TERM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
}

impl TerminalStarted {
    /// A recording of a terminal of `width` columns and `height` rows.
    pub fn new(recording_id: impl Into<String>, width: u32, height: u32, term: Option<String>) -> Self {
        Self { recording_id: recording_id.into(), width, height, term: term.filter(|term| !term.is_empty()) }
    }
}

/// Fields of `terminal.output` and `terminal.input`: bytes as the terminal got or gave them.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct TerminalBytes {
    /// Where in the recording these bytes begin; for input, how much output there was.
    #[serde(flatten)]
    pub position: RecordingPosition,
    /// The bytes.
    #[serde(flatten)]
    pub piece: Piece,
}

impl TerminalBytes {
    /// `bytes` at `position`.
    pub fn new(position: RecordingPosition, bytes: &[u8]) -> Self {
        Self { position, piece: Piece::new(bytes) }
    }
}

/// Fields of `terminal.resized`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TerminalResized {
    /// When.
    #[serde(flatten)]
    pub position: RecordingPosition,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl TerminalResized {
    /// From `position` on the terminal has this size.
    pub fn new(position: RecordingPosition, width: u32, height: u32) -> Self {
        Self { position, width, height }
    }
}

/// Fields of `terminal.ended`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TerminalEnded {
    /// Length of the recording; `offset` is the size of all output.
    #[serde(flatten)]
    pub position: RecordingPosition,
    /// SHA-256 of all output, in hexadecimal. Absent where the policy asked for no recording, be it for a part of the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Bytes the client typed. What went to programs is not kept: it may be a password.
    pub input_bytes: u64,
}

impl TerminalEnded {
    /// The recording ended at `position`.
    pub fn new(position: RecordingPosition, sha256: impl Into<Option<String>>, input_bytes: u64) -> Self {
        Self { position, sha256: sha256.into(), input_bytes }
    }
}
