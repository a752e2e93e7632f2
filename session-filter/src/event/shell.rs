//! What happened at a prompt of ours, and what was seen on a raw terminal.

use serde::Serialize;

use super::{Line, RecordingPosition, cut_at_char};

/// Fields of `builtin.executed`: a line that the managed prompt answers by itself, such as `cd` or `help`.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct BuiltinExecuted {
    /// The line as typed.
    #[serde(flatten)]
    pub line: Line,
    /// The directory after it.
    pub directory: String,
    /// Where in the terminal's recording it was typed, where there is a terminal.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<RecordingPosition>,
}

impl BuiltinExecuted {
    /// `line`, typed at `position`, was answered; commands now run in `directory`.
    pub fn new(line: Line, directory: &str, position: Option<RecordingPosition>) -> Self {
        Self { line, directory: cut_at_char(directory, 4096).to_owned(), position }
    }
}

/// How a command on a raw terminal was told apart. Neither way is a boundary: whatever runs there can print anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Observation {
    /// The shell said so itself, with marks that carry a number made for this session.
    PromptMarks,
    /// The line was read off the emulated screen when return was pressed.
    Screen,
}

/// Fields of `command.observed`: a command seen on a raw terminal. An aid for readers, not a boundary.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct CommandObserved {
    /// The line, as far as it could be told.
    #[serde(flatten)]
    pub line: Line,
    /// How it was told apart.
    pub observed_by: Observation,
    /// Exit status, where the shell said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<u32>,
    /// Where in the recording it began.
    #[serde(flatten)]
    pub position: RecordingPosition,
}

impl CommandObserved {
    /// `line` was seen at `position`.
    pub fn new(line: Line, observed_by: Observation, position: RecordingPosition) -> Self {
        Self { line, observed_by, exit_status: None, position }
    }
}
