//! What is wrong with a policy text, and where.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use crate::grammar::escape_into;
use crate::limits::MISTAKES_MAX;

/// Most bytes of a text in the policy that a message repeats.
const QUOTED_BYTES_MAX: usize = 200;
/// Most bytes of one message.
const MESSAGE_BYTES_MAX: usize = 2 * 1024;
/// Most bytes that all mistakes together are shown in.
const SHOWN_BYTES_MAX: usize = 16 * 1024;
/// Most mistakes that are collected before the first [`MISTAKES_MAX`] of them, in the order of the text, are kept.
pub(crate) const COLLECTED_MAX: usize = 10 * MISTAKES_MAX;

/// The beginning of a text that may be long, to stand in a message.
pub(crate) fn excerpt(text: &str) -> Cow<'_, str> {
    cut(text, QUOTED_BYTES_MAX)
}

fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    // A character is four bytes at most, so one of these is its boundary.
    let start = (0..4).find_map(|back| text.get(..bytes_max.saturating_sub(back))).unwrap_or_default();
    Cow::Owned(format!("{start}…"))
}

/// One thing that is wrong, and where. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Mistake {
    /// Line of the text.
    pub line: usize,
    /// Character in that line.
    pub column: usize,
    /// What is wrong: a phrase in lower case without a full stop, 2 KiB at most.
    pub message: String,
}

/// Something that is not wrong but may not be meant. Same shape as a [`Mistake`].
pub type Warning = Mistake;

/// `line 3, column 12: …`, with nothing in it that can act on a terminal.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut message = String::new();
        escape_into(&self.message, MESSAGE_BYTES_MAX, &mut message);
        write!(f, "line {}, column {}: {message}", self.line, self.column)
    }
}

/// Everything that is wrong with a policy text, in the order of the text.
///
/// `Display` writes one mistake per line, until it has written 16 KiB; then it says how many more there are.
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
        let mut shown = 0usize;
        for (at, mistake) in self.mistakes.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            if shown >= SHOWN_BYTES_MAX {
                return write!(f, "… and {} more", self.mistakes.len().saturating_sub(at));
            }
            let text = mistake.to_string();
            shown = shown.saturating_add(text.len());
            f.write_str(&text)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyError {}

/// Turns byte offsets of a text into lines and columns.
pub(crate) struct Places<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
    /// The place asked for last: start of its line, offset, column less one. Places are asked for mostly in the order of
    /// the text, and a text may be one long line.
    last: Cell<(usize, usize, usize)>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let after_breaks =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at.saturating_add(1));
        Self {
            text,
            line_starts: std::iter::once(0).chain(after_breaks).collect(),
            last: Cell::new((0, 0, 0)),
        }
    }

    /// The line, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).max(1)
    }

    /// Line and column, from 1.
    pub(crate) fn at(&self, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = line.checked_sub(1).and_then(|at| self.line_starts.get(at)).copied().unwrap_or(0);
        let offset = offset.min(self.text.len());
        let (from, before) = match self.last.get() {
            (line, from, before) if line == start && from <= offset => (from, before),
            _ => (start, 0),
        };
        // Every byte that does not continue a character begins one.
        let bytes = self.text.as_bytes().get(from..offset).unwrap_or_default();
        let characters = bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count().saturating_add(before);
        self.last.set((start, offset, characters));
        (line, characters.saturating_add(1))
    }

    pub(crate) fn mistake(&self, offset: usize, message: impl Into<String>) -> Mistake {
        let (line, column) = self.at(offset);
        let message: String = message.into();
        let message = match cut(&message, MESSAGE_BYTES_MAX) {
            Cow::Borrowed(_) => message,
            Cow::Owned(cut) => cut,
        };
        Mistake { line, column, message }
    }
}
