//! What is kept of a stream that is not recorded in full: its length, its SHA-256, and both ends.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::limits::STREAM_EXCERPT_BYTES_MAX;

/// Follows a stream in constant memory (two excerpts of [`STREAM_EXCERPT_BYTES_MAX`] bytes).
#[derive(Clone)]
pub struct StreamDigest {
    hash: Sha256,
    bytes: u64,
    head: Vec<u8>,
    tail: VecDeque<u8>,
}

/// What a [`StreamDigest`] saw.
///
/// Head and tail never overlap: a stream of up to two excerpts is kept whole as `head` followed by `tail`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSummary {
    /// Length of the whole stream.
    pub bytes: u64,
    /// SHA-256 of the whole stream, lower-case hexadecimal.
    pub sha256: String,
    /// The first bytes, at most [`STREAM_EXCERPT_BYTES_MAX`].
    pub head: Vec<u8>,
    /// The last bytes that are not in `head`, at most [`STREAM_EXCERPT_BYTES_MAX`].
    pub tail: Vec<u8>,
}

impl StreamDigest {
    /// A digest of nothing yet.
    pub fn new() -> Self {
        Self { hash: Sha256::new(), bytes: 0, head: Vec::new(), tail: VecDeque::new() }
    }

    /// Takes the next bytes of the stream.
    pub fn update(&mut self, chunk: &[u8]) {
        self.hash.update(chunk);
        self.bytes = self.bytes.saturating_add(chunk.len() as u64);

        let room = STREAM_EXCERPT_BYTES_MAX.saturating_sub(self.head.len()).min(chunk.len());
        let (first, rest) = chunk.split_at_checked(room).unwrap_or((chunk, &[]));
        self.head.extend_from_slice(first);

        let skipped = rest.len().saturating_sub(STREAM_EXCERPT_BYTES_MAX);
        let last = rest.get(skipped..).unwrap_or_default();
        let surplus = self.tail.len().saturating_add(last.len()).saturating_sub(STREAM_EXCERPT_BYTES_MAX);
        self.tail.drain(..surplus.min(self.tail.len()));
        self.tail.extend(last);
    }

    /// Bytes taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the stream.
    pub fn finish(self) -> StreamSummary {
        StreamSummary {
            bytes: self.bytes,
            sha256: hex(&self.hash.finalize()),
            head: self.head,
            tail: self.tail.into(),
        }
    }
}

impl Default for StreamDigest {
    fn default() -> Self {
        Self::new()
    }
}

/// Streams hold what programs print, secrets included: only the length is shown.
impl std::fmt::Debug for StreamDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamDigest").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Streams hold what programs print, secrets included: only length and hash are shown.
impl std::fmt::Debug for StreamSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamSummary")
            .field("bytes", &self.bytes)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
