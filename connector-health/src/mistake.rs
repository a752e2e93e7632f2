//! What is wrong with a text that people write, and where.

use std::fmt;

/// Most mistakes that are shown of one text.
pub const MISTAKES_MAX: usize = 50;

/// Most characters of one message.
const MESSAGE_CHARS_MAX: usize = 500;

/// One thing that is wrong, and where. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct Mistake {
    /// Line of the text.
    pub line: usize,
    /// Character in that line.
    pub column: usize,
    /// What is wrong: a phrase in lower case without a full stop.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// Everything that is wrong with a text, in its order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TextError {
    mistakes: Vec<Mistake>,
}

impl TextError {
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

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.mistakes.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TextError {}

/// The mistake at a byte of the text.
pub(crate) fn mistake(text: &str, offset: usize, message: &str) -> Mistake {
    let before = text.as_bytes().get(..offset.min(text.len())).unwrap_or_default();
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
    // Every byte that does not continue a character begins one.
    let in_line = before.get(line_start..).unwrap_or_default();
    let column = in_line.iter().filter(|byte| **byte & 0xc0 != 0x80).count().saturating_add(1);
    Mistake { line, column, message: shown(message) }
}

/// A message that repeats what a text says, so that it cannot act on a terminal.
pub(crate) fn shown(message: &str) -> String {
    let visible = |character: char| match character.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => character,
    };
    message.chars().take(MESSAGE_CHARS_MAX).map(visible).collect()
}
