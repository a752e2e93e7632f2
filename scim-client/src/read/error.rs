//! What is wrong with a document, and where.

use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::read::position::{Position, path_at};
use crate::resource::DUPLICATE;

/// A document that cannot be read. Names the place, holds no value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReadError {
    kind: ReadErrorKind,
    position: Position,
    path: String,
}

/// What is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ReadErrorKind {
    /// Nothing is there.
    Empty,
    /// It ends early.
    Truncated,
    /// It is not JSON.
    Syntax {
        /// Why not.
        reason: String,
    },
    /// It is not UTF-8.
    NotUtf8,
    /// A name appears twice in an object, in the same case or not.
    Duplicate,
    /// A value is of another kind than expected.
    Unexpected {
        /// What was expected.
        reason: String,
    },
    /// More bytes than the limit.
    TooLong {
        /// The limit.
        bytes_max: usize,
    },
    /// More objects and arrays within each other than the limit.
    TooDeep {
        /// The limit.
        depth_max: usize,
    },
    /// More values than the limit.
    TooMany {
        /// The limit.
        values_max: usize,
    },
}

impl ReadError {
    /// What is wrong.
    pub fn kind(&self) -> &ReadErrorKind {
        &self.kind
    }

    /// Where.
    pub fn position(&self) -> Position {
        self.position
    }

    /// In which attribute: `emails[1].value`; empty for the document itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is more than a limit of ours allows.
    pub fn is_limit(&self) -> bool {
        use ReadErrorKind::{TooDeep, TooLong, TooMany};
        matches!(self.kind, TooLong { .. } | TooDeep { .. } | TooMany { .. })
    }

    /// At an offset of `bytes`, which begin at `start`.
    pub(super) fn at(kind: ReadErrorKind, bytes: &[u8], offset: usize, start: Position) -> Self {
        let before = bytes.get(..offset).unwrap_or(bytes);
        let including = bytes.get(..=offset).unwrap_or(bytes);
        Self { kind, position: start.after(before), path: path_at(including) }
    }

    /// Where nothing but the place is known.
    pub(super) fn placed(kind: ReadErrorKind, position: Position, path: String) -> Self {
        Self { kind, position, path }
    }

    pub(super) fn of_json(error: &serde_json::Error, bytes: &[u8], start: Position) -> Self {
        let offset = offset_of(bytes, error.line(), error.column());
        let kind = match error.classify() {
            serde_json::error::Category::Eof if bytes.iter().all(u8::is_ascii_whitespace) => {
                ReadErrorKind::Empty
            }
            serde_json::error::Category::Eof => ReadErrorKind::Truncated,
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                ReadErrorKind::Syntax { reason: unplaced(error) }
            }
            serde_json::error::Category::Data => {
                let reason = valueless(unplaced(error));
                if reason == DUPLICATE {
                    ReadErrorKind::Duplicate
                } else {
                    ReadErrorKind::Unexpected { reason }
                }
            }
        };
        Self::at(kind, bytes, offset, start)
    }

    /// Said of something in this: `Resources[17]`.
    pub(super) fn within(mut self, outer: &str) -> Self {
        let joined = match self.path.chars().next() {
            None => outer.to_owned(),
            Some('[') => format!("{outer}{}", self.path),
            Some(_) => format!("{outer}.{}", self.path),
        };
        self.path = joined;
        self
    }
}

/// `serde_json` counts the bytes of the line that it has read, the one that it stumbles over among them.
fn offset_of(bytes: &[u8], line: usize, column: usize) -> usize {
    let line_start = match line.checked_sub(2) {
        None => 0,
        Some(before) => memchr::memchr_iter(b'\n', bytes).nth(before).map_or(0, |newline| newline + 1),
    };
    line_start.saturating_add(column.saturating_sub(1)).min(bytes.len())
}

/// What `serde_json` says, without its own account of the place.
fn unplaced(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(place) = text.rfind(" at line ") {
        text.truncate(place);
    }
    text
}

/// Derived readers cite what they do not like; what they expected is enough.
fn valueless(text: String) -> String {
    const CITING: [&str; 5] =
        ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant ", "unknown field "];
    if !CITING.iter().any(|citing| text.starts_with(citing)) {
        return text;
    }
    match text.rfind(", expected ") {
        Some(place) => text.get(place + 2..).unwrap_or_default().to_owned(),
        None => "another value is expected".to_owned(),
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ReadErrorKind::Empty => f.write_str("nothing is there, expected JSON")?,
            ReadErrorKind::Truncated => f.write_str("the JSON ends early")?,
            ReadErrorKind::Syntax { reason } => write!(f, "not JSON: {reason}")?,
            ReadErrorKind::NotUtf8 => f.write_str("not UTF-8")?,
            ReadErrorKind::Duplicate => f.write_str(DUPLICATE)?,
            ReadErrorKind::Unexpected { reason } => f.write_str(reason)?,
            ReadErrorKind::TooLong { bytes_max } => write!(f, "more than {bytes_max} bytes")?,
            ReadErrorKind::TooDeep { depth_max } => write!(f, "nested more than {depth_max} deep")?,
            ReadErrorKind::TooMany { values_max } => write!(f, "more than {values_max} values")?,
        }
        if !self.path.is_empty() {
            write!(f, " in `{}`", self.path)?;
        }
        write!(f, " at {}", self.position)
    }
}

impl std::error::Error for ReadError {}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        let kind = if error.is_limit() { ErrorKind::TooLarge } else { ErrorKind::Protocol };
        Self::new(kind).detail(error.to_string()).because(error)
    }
}
