//! Segment headers and segment names.

use crate::{
    crypto::{Hash, LogId, sha256},
    cursor::Cursor,
    limits::HEADER_BYTES,
    merkle::Frontier,
};

const MAGIC: &[u8; 8] = b"ALOGSEGM";
const SUITE: u8 = 0;
pub(crate) const FORMAT_VERSION: u16 = 0;
/// Offset of the header hash.
const HASH_OFFSET: usize = HEADER_BYTES - 32;
const PEAKS_MAX: usize = 56;

/// File that a live writer locks.
pub(crate) const LOCK_NAME: &str = "lock";
/// File that holds a copy of the last checkpoint.
pub(crate) const CHECKPOINT_NAME: &str = "checkpoint";
/// Ending of files in the making.
pub(crate) const NEW_SUFFIX: &str = ".new";

/// Name of the file of segment `number`.
pub(crate) fn segment_name(number: u32) -> String {
    format!("segment-{number:08}.log")
}

/// Number in the name of a segment file; `None` for any other name.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// What a segment says about itself and the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) segment: u32,
    pub(crate) log: LogId,
    pub(crate) epoch: u32,
    pub(crate) salt: [u8; 24],
    pub(crate) key_commitment: Hash,
    pub(crate) start: Frontier,
    pub(crate) previous: Previous,
    pub(crate) created_ms: u64,
}

/// How the segment before ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    pub(crate) valid_end: u64,
    pub(crate) remains_bytes: u64,
    pub(crate) remains_sha256: Hash,
    pub(crate) chain: Hash,
}

impl Previous {
    /// What segment 0 says.
    pub(crate) fn none() -> Self {
        Self { valid_end: 0, remains_bytes: 0, remains_sha256: sha256(&[]), chain: [0; 32] }
    }
}

/// Why 2048 bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Cut short, or its hash or form is wrong.
    Altered(&'static str),
    /// Sound, but of a later format.
    Newer(u16),
}

impl SegmentHeader {
    /// Encodes the header and returns it with its hash.
    pub(crate) fn encode(&self) -> (Vec<u8>, Hash) {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        out.push(SUITE);
        out.push(self.start.peaks().len() as u8);
        out.extend_from_slice(&self.segment.to_be_bytes());
        out.extend_from_slice(&self.log);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.key_commitment);
        out.extend_from_slice(&self.start.size().to_be_bytes());
        out.extend_from_slice(&self.start.root());
        out.extend_from_slice(&self.previous.valid_end.to_be_bytes());
        out.extend_from_slice(&self.previous.remains_bytes.to_be_bytes());
        out.extend_from_slice(&self.previous.remains_sha256);
        out.extend_from_slice(&self.previous.chain);
        out.extend_from_slice(&self.created_ms.to_be_bytes());
        out.extend_from_slice(self.start.peaks().as_flattened());
        out.resize(HASH_OFFSET, 0xFF);
        let hash = sha256(&[&out]);
        out.extend_from_slice(&hash);
        (out, hash)
    }

    /// Decodes a header and returns it with its hash. The hash is checked before anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, Hash), HeaderFault> {
        let (content, hash) = bytes
            .get(..HEADER_BYTES)
            .and_then(|header| header.split_last_chunk::<32>())
            .ok_or(HeaderFault::Altered("the file is shorter than a segment header"))?;
        if sha256(&[content]) != *hash {
            return Err(HeaderFault::Altered("the hash of the segment header does not match"));
        }
        let mut cursor = Cursor::new(content);
        if cursor.take(MAGIC.len()) != Some(MAGIC) {
            return Err(HeaderFault::Altered("not a segment"));
        }
        match cursor.u16() {
            Some(FORMAT_VERSION) => {}
            version => return Err(HeaderFault::Newer(version.unwrap_or(u16::MAX))),
        }
        let header =
            Self::fields(&mut cursor).ok_or(HeaderFault::Altered("the segment header is malformed"))?;
        Ok((header, *hash))
    }

    fn fields(cursor: &mut Cursor<'_>) -> Option<Self> {
        if cursor.u8()? != SUITE {
            return None;
        }
        let peaks = usize::from(cursor.u8()?);
        let (segment, log, epoch) = (cursor.u32()?, cursor.array()?, cursor.u32()?);
        let (salt, key_commitment) = (cursor.array()?, cursor.array()?);
        let (size, root) = (cursor.u64()?, cursor.array()?);
        let previous = Previous {
            valid_end: cursor.u64()?,
            remains_bytes: cursor.u64()?,
            remains_sha256: cursor.array()?,
            chain: cursor.array()?,
        };
        let created_ms = cursor.u64()?;
        if peaks > PEAKS_MAX {
            return None;
        }
        let (peaks, _) = cursor.take(32 * peaks)?.as_chunks::<32>();
        let start = Frontier::from_peaks(size, peaks.to_vec())?;
        let padded = cursor.rest().iter().all(|byte| *byte == 0xFF);
        (padded && start.root() == root).then_some(Self {
            segment,
            log,
            epoch,
            salt,
            key_commitment,
            start,
            previous,
            created_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_survives_encoding_and_no_changed_byte_does() {
        let mut start = Frontier::new();
        for leaf in 0..7 {
            start.push([leaf; 32]);
        }
        let header = SegmentHeader {
            segment: 3,
            log: [1; 16],
            epoch: 2,
            salt: [4; 24],
            key_commitment: [5; 32],
            start,
            previous: Previous::none(),
            created_ms: 7,
        };
        let (bytes, hash) = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok((header, hash)));
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x80;
            assert!(matches!(SegmentHeader::decode(&changed), Err(HeaderFault::Altered(_))));
        }
    }

    #[test]
    fn only_canonical_names_are_segments() {
        assert_eq!(segment_number("segment-00000012.log"), Some(12));
        for name in ["segment-12.log", "segment-+0000012.log", "segment-00000012.log.new", "lock"] {
            assert_eq!(segment_number(name), None);
        }
    }
}
