//! Records: the confidential part of an entry as it is encrypted, in one part per subject.

use crate::{cursor::Cursor, limits::ENTRY_SUBJECTS_MAX};

/// Writes a record.
pub(crate) struct RecordBuilder(Vec<u8>);

impl RecordBuilder {
    pub(crate) fn new(parts: usize, timestamp_ms: i64, common: &[u8]) -> Self {
        let mut out = Vec::with_capacity(64 + common.len());
        out.push(parts as u8);
        out.extend_from_slice(&(common.len() as u32 + 8).to_be_bytes());
        out.extend_from_slice(&timestamp_ms.to_be_bytes());
        out.extend_from_slice(common);
        Self(out)
    }

    /// Adds a subject's part and returns where the id of its key is to be written.
    pub(crate) fn subject(&mut self, part: &[u8]) -> usize {
        let slot = self.0.len();
        self.0.extend_from_slice(&[0; 8]);
        self.0.extend_from_slice(&(part.len() as u32).to_be_bytes());
        self.0.extend_from_slice(part);
        slot
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A record split into its parts.
pub(crate) struct Record<'a> {
    /// Timestamp and JSON object, as committed to.
    pub(crate) common: &'a [u8],
    /// Key id and JSON object of each subject.
    pub(crate) subjects: Parts<'a>,
}

impl<'a> Record<'a> {
    /// Splits a record; `None` when its lengths do not add up.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let subjects = usize::from(cursor.u8()?).checked_sub(1)?;
        if subjects > ENTRY_SUBJECTS_MAX {
            return None;
        }
        let common = cursor.sized()?;
        let rest = cursor.rest();
        for _ in 0..subjects {
            cursor.take(8)?;
            cursor.sized()?;
        }
        (common.len() >= 8 && cursor.is_empty())
            .then_some(Self { common, subjects: Parts { cursor: Cursor::new(rest), left: subjects } })
    }

    /// Timestamp and JSON text of the common part.
    pub(crate) fn timestamp(&self) -> Option<(i64, &'a [u8])> {
        let mut cursor = Cursor::new(self.common);
        Some((cursor.i64()?, cursor.rest()))
    }
}

/// Iterates over the subject parts of a record.
pub(crate) struct Parts<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

impl Parts<'_> {
    pub(crate) fn len(&self) -> usize {
        self.left
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = ([u8; 8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some((self.cursor.array()?, self.cursor.sized()?))
    }
}

/// Iterates over the records in a frame's plaintext, after the seed.
pub(crate) struct Records<'a>(Cursor<'a>);

impl<'a> Records<'a> {
    /// Splits a plaintext into its seed and its records.
    pub(crate) fn split(plaintext: &'a [u8]) -> Option<([u8; 32], Self)> {
        let mut cursor = Cursor::new(plaintext);
        Some((cursor.array()?, Self(cursor)))
    }

    /// The next record; `None` when there is none, or its length does not fit.
    pub(crate) fn next_record(&mut self) -> Option<&'a [u8]> {
        self.0.sized()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
