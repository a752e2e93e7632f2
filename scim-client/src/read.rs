//! Reading what servers send: limits first, and errors that say where.
//!
//! [`from_slice`] reads a whole document. [`ListSplitter`] takes a list apart while it arrives and holds one resource
//! at a time, so that a listing of a million users needs no more memory than one of ten. Neither does I/O.
//!
//! What a [`ReadError`] says never holds a value of the document, only names of attributes and positions.

use serde::Deserialize;

mod error;
mod list;
mod nesting;
mod position;

pub use error::{ReadError, ReadErrorKind};
pub use list::{Element, ListSplitter};
pub use position::Position;

use nesting::Nesting;
use position::BOM;

/// What a document may hold. The values that are there after [`default`](Self::default) suit a group of 100,000 members.
///
/// Together they bound memory: a document of as many smallest values as are allowed becomes some 200 MB of structs at
/// worst. Who reads from servers that nobody trusts takes less.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReadLimits {
    /// Bytes of a document that is read whole; 16 MiB.
    pub bytes_max: usize,
    /// Objects and arrays within each other; 32. More than 127 counts as 127.
    pub depth_max: usize,
    /// Values of all kinds, in a document or in an element of a list; 1,000,000.
    pub values_max: usize,
    /// Bytes of an element of a list; 16 MiB.
    pub element_bytes_max: usize,
    /// Bytes of a list without its elements; 64 KiB.
    pub envelope_bytes_max: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            bytes_max: 16 << 20,
            depth_max: 32,
            values_max: 1_000_000,
            element_bytes_max: 16 << 20,
            envelope_bytes_max: 64 << 10,
        }
    }
}

impl ReadLimits {
    /// What `serde_json` can nest.
    const DEPTH_MAX: usize = 127;

    /// With some limits changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn depth(&self) -> usize {
        self.depth_max.min(Self::DEPTH_MAX)
    }
}

/// Reads a document, whatever its content type is said to be. A byte order mark is passed over.
///
/// # Errors
/// More than a limit allows, no UTF-8, no JSON, a name twice in an object, a value of another kind than `T` has there.
pub fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8], limits: &ReadLimits) -> Result<T, ReadError> {
    let start = Position::default();
    if bytes.len() > limits.bytes_max {
        return Err(ReadError::at(ReadErrorKind::TooLong { bytes_max: limits.bytes_max }, bytes, 0, start));
    }
    let (document, start) = match bytes.strip_prefix(BOM) {
        Some(rest) => (rest, start.after(BOM)),
        None => (bytes, start),
    };
    let mut nesting = Nesting::default();
    if let Err((kind, offset)) = nesting.check(document, limits) {
        return Err(ReadError::at(kind, document, offset, start));
    }
    parse(document, start)
}

/// Reads a value whose nesting is checked.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], start: Position) -> Result<T, ReadError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ReadError::at(ReadErrorKind::NotUtf8, bytes, error.valid_up_to(), start))?;
    serde_json::from_str(text).map_err(|error| ReadError::of_json(&error, bytes, start))
}
