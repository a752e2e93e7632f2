//! What is wrong with a policy text, and where.

use std::fmt;

use crate::grammar::escape_into;
use crate::limits::MISTAKES_MAX;

/// One thing that is wrong, and where. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Mistake {
    /// Line of the text.
    pub line: usize,
    /// Character in that line.
    pub column: usize,
    /// What is wrong: a phrase in lower case without a full stop.
    pub message: String,
}

/// Something that is not wrong but may not be meant. Same shape as a [`Mistake`].
pub type Warning = Mistake;

/// `line 3, column 12: …`, with nothing in it that can act on a terminal.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut message = String::new();
        escape_into(&self.message, usize::MAX, &mut message);
        write!(f, "line {}, column {}: {message}", self.line, self.column)
    }
}

/// Everything that is wrong with a policy text, in the order of the text.
///
/// `Display` writes one mistake per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    mistakes: Vec<Mistake>,
}

impl PolicyError {
    pub(crate) fn new(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort();
        mistakes.dedup();
        mistakes.truncate(MISTAKES_MAX);
        Self { mistakes }
    }

    /// The mistakes, at least one and at most [`MISTAKES_MAX`].
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.mistakes.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyError {}

/// Turns byte offsets of a text into lines and columns.
pub(crate) struct Places<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let after_breaks =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at.saturating_add(1));
        Self { text, line_starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// Line and column, from 1.
    pub(crate) fn at(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|at| self.line_starts.get(at)).copied().unwrap_or(0);
        let before = self.text.as_bytes().get(start..offset.min(self.text.len())).unwrap_or_default();
        (line.max(1), String::from_utf8_lossy(before).chars().count().saturating_add(1))
    }

    pub(crate) fn mistake(&self, offset: usize, message: impl Into<String>) -> Mistake {
        let (line, column) = self.at(offset);
        Mistake { line, column, message: message.into() }
    }
}
