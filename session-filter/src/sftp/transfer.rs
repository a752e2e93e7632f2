//! An open file or directory: what went through it, and the hash of what was transferred whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::limits::REORDER_BYTES_MAX;
use crate::digest::hex;
use crate::directory::AbsolutePath;
use crate::door::FileAccess;
use crate::event::FileTransferred;

/// SHA-256 of a file that is read or written from its first byte, without gaps. Pieces may come out of order, as far as
/// they fit into what may be kept.
pub(crate) struct Whole {
    /// `None` once it can no longer be known.
    hash: Option<Sha256>,
    next: u64,
    early: BTreeMap<u64, Bytes>,
}

impl Whole {
    pub(crate) fn new(hashing: bool) -> Self {
        Self { hash: hashing.then(Sha256::new), next: 0, early: BTreeMap::new() }
    }

    /// `kept`: bytes that all files of the channel keep because they came early.
    pub(crate) fn take(&mut self, offset: u64, piece: Bytes, kept: &mut usize) {
        let Some(hash) = &mut self.hash else { return };
        if piece.is_empty() {
            return;
        }
        if offset != self.next {
            let room = REORDER_BYTES_MAX.saturating_sub(*kept) >= cost(&piece);
            if offset < self.next || !room || self.early.contains_key(&offset) {
                return self.give_up(kept);
            }
            *kept = kept.saturating_add(cost(&piece));
            // A copy: the piece itself would keep all that arrived together with it.
            self.early.insert(offset, Bytes::copy_from_slice(&piece));
            return;
        }
        hash.update(&piece);
        self.next = self.next.saturating_add(piece.len() as u64);
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > self.next {
                return;
            }
            if *entry.key() < self.next {
                return self.give_up(kept);
            }
            let piece = entry.remove();
            *kept = kept.saturating_sub(cost(&piece));
            hash.update(&piece);
            self.next = self.next.saturating_add(piece.len() as u64);
        }
    }

    pub(crate) fn give_up(&mut self, kept: &mut usize) {
        self.hash = None;
        for piece in std::mem::take(&mut self.early).into_values() {
            *kept = kept.saturating_sub(cost(&piece));
        }
    }

    /// Where the last of all pieces ends.
    fn reach(&self) -> u64 {
        let early = self.early.last_key_value();
        early.map_or(self.next, |(at, piece)| at.saturating_add(piece.len() as u64).max(self.next))
    }

    /// The hash of the first [`Whole::length`] bytes, if that is all that came.
    fn finish(self) -> Option<String> {
        let hash = self.hash.filter(|_| self.early.is_empty())?;
        Some(hex(&hash.finalize()))
    }

    fn length(&self) -> u64 {
        self.next
    }
}

/// What keeping a piece takes, so that many small ones take no more than they are counted for.
fn cost(piece: &Bytes) -> usize {
    const EACH: usize = 128;
    piece.len().saturating_add(EACH)
}

/// Something a target gave a handle for.
pub(crate) struct Open {
    pub(crate) path: AbsolutePath,
    /// The path as text alone resolves it, where it differs.
    pub(crate) textual: Option<AbsolutePath>,
    pub(crate) accesses: Accesses,
    pub(crate) is_directory: bool,
    /// The policy under which it was last decided about.
    pub(crate) epoch: u64,
    pub(crate) correlation_id: String,
    /// Reads and writes without an answer.
    pub(crate) outstanding: u32,
    /// How closing it was answered, once it was.
    pub(crate) closed: Option<u32>,
    pub(crate) read: Whole,
    pub(crate) written: Whole,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    /// The target was told to copy into it to the end of another file: nobody says how much that was.
    pub(crate) uncounted: bool,
    /// Where the target said that the file ends.
    ends_at: Option<u64>,
    size: Option<u64>,
    /// Nothing can lie beyond what was written: it was emptied, or new, when it was opened.
    pub(crate) was_empty: bool,
    /// The length that it was last cut or extended to.
    truncated_at: Option<u64>,
}

/// For what a file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accesses {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Accesses {
    pub(crate) fn each(self) -> impl Iterator<Item = FileAccess> {
        let read = self.read.then_some(FileAccess::Read);
        read.into_iter().chain(self.write.then_some(FileAccess::Write))
    }

    /// What events call it.
    pub(crate) fn main(self) -> FileAccess {
        if self.write { FileAccess::Write } else { FileAccess::Read }
    }
}

impl Open {
    pub(crate) fn new(
        path: AbsolutePath,
        textual: Option<AbsolutePath>,
        accesses: Accesses,
        correlation_id: String,
        epoch: u64,
        hashing: bool,
    ) -> Self {
        Self {
            path,
            textual,
            accesses,
            is_directory: false,
            epoch,
            correlation_id,
            outstanding: 0,
            closed: None,
            read: Whole::new(hashing && accesses.read),
            written: Whole::new(hashing && accesses.write),
            bytes_read: 0,
            bytes_written: 0,
            uncounted: false,
            ends_at: None,
            size: None,
            was_empty: false,
            truncated_at: None,
        }
    }

    pub(crate) fn took_read(&mut self, offset: u64, piece: Bytes, kept: &mut usize) {
        self.bytes_read = self.bytes_read.saturating_add(piece.len() as u64);
        self.read.take(offset, piece, kept);
    }

    /// The target said that nothing is to be read at `offset`.
    pub(crate) fn ends_at(&mut self, offset: u64) {
        self.ends_at = Some(self.ends_at.map_or(offset, |known| known.min(offset)));
    }

    pub(crate) fn has_size(&mut self, size: u64) {
        self.size = Some(size);
    }

    /// It was cut or extended: what was written beyond is gone, whatever its length becomes later.
    pub(crate) fn truncated(&mut self, size: u64, kept: &mut usize) {
        self.truncated_at = Some(size);
        if size < self.written.reach() {
            self.written.give_up(kept);
        }
    }

    /// What is on record when it is closed.
    pub(crate) fn transferred(mut self, complete: bool, kept: &mut usize) -> FileTransferred {
        let whole = match self.accesses.main() {
            FileAccess::Write => {
                let length = self.written.length();
                let nothing_beyond = match self.truncated_at {
                    Some(size) => size == length,
                    None => self.was_empty,
                };
                (complete && nothing_beyond).then(|| std::mem::replace(&mut self.written, Whole::new(false)))
            }
            _ => {
                let length = self.read.length();
                let at_end = self.ends_at == Some(length) || self.size == Some(length);
                (complete && at_end).then(|| std::mem::replace(&mut self.read, Whole::new(false)))
            }
        };
        let sha256 = whole.and_then(|whole| {
            let early: usize = whole.early.values().map(cost).sum();
            *kept = kept.saturating_sub(early);
            whole.finish()
        });
        self.read.give_up(kept);
        self.written.give_up(kept);
        FileTransferred::new(
            self.accesses.main(),
            self.path.as_str(),
            self.bytes_read,
            self.bytes_written,
            sha256,
        )
    }
}
