//! Commit frames: header, extent, sealing and opening.

use crate::{
    crypto::{Hash, LogId, TAG_BYTES, sha256},
    cursor::Cursor,
    limits::{DENSE_BYTES_MIN, FRAME_BYTES_MAX, FRAME_ENTRIES_MAX, NOTE_BYTES_MAX, SECTOR_BYTES},
};

const MAGIC: &[u8; 8] = b"ALOGFRAM";
pub(crate) const FRAME_HEADER_BYTES: usize = 64;
const CHECKED_BYTES: usize = 48;
const HASH_BYTES: usize = 32;

/// Bytes that a frame with these contents takes on disk.
pub(crate) fn frame_bytes(leaves: usize, ciphertext: usize, checkpoint: usize) -> usize {
    (FRAME_HEADER_BYTES + leaves + ciphertext + checkpoint + HASH_BYTES).next_multiple_of(SECTOR_BYTES)
}

/// What the first 64 bytes of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) frame_bytes: usize,
    pub(crate) segment: u32,
    pub(crate) frame: u32,
    pub(crate) entries: u32,
    pub(crate) first_seq: u64,
    pub(crate) leaves_bytes: usize,
    pub(crate) ciphertext_bytes: usize,
    pub(crate) checkpoint_bytes: usize,
}

impl FrameHeader {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        for number in [self.frame_bytes as u32, self.segment, self.frame, self.entries] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.first_seq.to_be_bytes());
        for number in [self.leaves_bytes, self.ciphertext_bytes, self.checkpoint_bytes] {
            // INVARIANT: all are below FRAME_BYTES_MAX.
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        let check = sha256(&[out.get(start..).unwrap_or_default()]);
        out.extend_from_slice(check.first_chunk::<16>().unwrap_or(&[0; 16]));
    }

    /// Decodes a header that passes its own check and the limits.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let header =
            bytes.first_chunk::<FRAME_HEADER_BYTES>().ok_or("the file ends within a frame header")?;
        let (checked, check) = header.split_at(CHECKED_BYTES);
        if !checked.starts_with(MAGIC) {
            return Err("no frame begins here");
        }
        if sha256(&[checked]).first_chunk::<16>().map(|c| c.as_slice()) != Some(check) {
            return Err("the frame header does not match its check");
        }
        Self::fields(checked).ok_or("the frame header is malformed")
    }

    fn fields(checked: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(checked);
        cursor.take(MAGIC.len())?;
        let header = Self {
            frame_bytes: cursor.u32()? as usize,
            segment: cursor.u32()?,
            frame: cursor.u32()?,
            entries: cursor.u32()?,
            first_seq: cursor.u64()?,
            leaves_bytes: cursor.u32()? as usize,
            ciphertext_bytes: cursor.u32()? as usize,
            checkpoint_bytes: cursor.u32()? as usize,
        };
        let sound = cursor.array() == Some([0; 4])
            && header.frame_bytes <= FRAME_BYTES_MAX
            && (1..=FRAME_ENTRIES_MAX).contains(&(header.entries as usize))
            && header.leaves_bytes <= FRAME_BYTES_MAX
            && (TAG_BYTES..=FRAME_BYTES_MAX).contains(&header.ciphertext_bytes)
            && header.checkpoint_bytes <= NOTE_BYTES_MAX
            && header.first_seq.checked_add(u64::from(header.entries)).is_some()
            && header.frame_bytes
                == frame_bytes(header.leaves_bytes, header.ciphertext_bytes, header.checkpoint_bytes);
        sound.then_some(header)
    }

    /// Additional data that the ciphertext is bound to.
    pub(crate) fn aad(&self, log: &LogId) -> [u8; 32] {
        aad(log, self.segment, self.frame, self.first_seq)
    }
}

/// Additional data of a frame: log ‖ segment ‖ frame ‖ first seq.
pub(crate) fn aad(log: &LogId, segment: u32, frame: u32, first_seq: u64) -> [u8; 32] {
    let mut aad = [0; 32];
    let fields = log
        .iter()
        .copied()
        .chain(segment.to_be_bytes())
        .chain(frame.to_be_bytes())
        .chain(first_seq.to_be_bytes());
    for (to, from) in aad.iter_mut().zip(fields) {
        *to = from;
    }
    aad
}

/// A frame whose hash, lengths and padding hold, split into its parts.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) leaves: &'a [u8],
    pub(crate) ciphertext: &'a [u8],
    pub(crate) checkpoint: &'a [u8],
    pub(crate) hash: Hash,
}

impl<'a> Frame<'a> {
    /// Splits a frame that [`parse`](Self::parse) has passed, without hashing it again.
    pub(crate) fn split(header: FrameHeader, bytes: &'a [u8]) -> Result<Self, &'static str> {
        let cut = "the frame is cut short";
        let (content, hash) = bytes
            .get(..header.frame_bytes)
            .and_then(|frame| frame.split_last_chunk::<HASH_BYTES>())
            .ok_or(cut)?;
        let mut cursor = Cursor::new(content);
        cursor.take(FRAME_HEADER_BYTES).ok_or(cut)?;
        let leaves = cursor.take(header.leaves_bytes).ok_or(cut)?;
        let ciphertext = cursor.take(header.ciphertext_bytes).ok_or(cut)?;
        let checkpoint = cursor.take(header.checkpoint_bytes).ok_or(cut)?;
        if cursor.rest().iter().any(|byte| *byte != 0xFF) {
            return Err("the padding of the frame was changed");
        }
        Ok(Self { header, leaves, ciphertext, checkpoint, hash: *hash })
    }

    /// Splits exactly `header.frame_bytes` bytes whose hash holds.
    pub(crate) fn parse(header: FrameHeader, bytes: &'a [u8]) -> Result<Self, &'static str> {
        let cut = "the frame is cut short";
        let (content, hash) = bytes
            .get(..header.frame_bytes)
            .and_then(|frame| frame.split_last_chunk::<HASH_BYTES>())
            .ok_or(cut)?;
        if sha256(&[content]) != *hash {
            return Err("the frame hash does not match");
        }
        Self::split(header, bytes)
    }

    /// The encoded leaves.
    pub(crate) fn leaves(&self) -> Leaves<'a> {
        Leaves(Cursor::new(self.leaves))
    }
}

/// Iterates over length-prefixed leaves; yields `None` inside when the lengths do not add up.
pub(crate) struct Leaves<'a>(Cursor<'a>);

impl<'a> Iterator for Leaves<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let leaf = self.0.u16().and_then(|bytes| self.0.take(usize::from(bytes)));
        if leaf.is_none() {
            self.0 = Cursor::new(&[]);
        }
        Some(leaf)
    }
}

/// Pads what was put together to whole sectors and seals it with its hash.
pub(crate) fn finish(frame: &mut Vec<u8>, frame_bytes: usize) -> Hash {
    frame.resize(frame_bytes.saturating_sub(HASH_BYTES), 0xFF);
    let hash = sha256(&[frame]);
    frame.extend_from_slice(&hash);
    hash
}

/// What lies after the last valid frame of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing, or zeros only.
    Clean,
    /// What a write that was cut off leaves behind: this many bytes up to the last sector that is not zero.
    Torn { remains_bytes: u64 },
    /// Bytes that no crash leaves behind.
    Altered { offset: u64, what: &'static str },
}

/// Judges the bytes from the end of the valid frames on. `window` holds up to [`FRAME_BYTES_MAX`] of them (all, when fewer are
/// left), `beyond` is the offset of the first non-zero byte after the window, if any, `expected` the frame that was due here.
///
/// A write loses whole sectors, which then read as zero, or is cut short by the end of the file. It never changes single bytes.
pub(crate) fn judge_tail(
    window: &[u8],
    ends_in_window: bool,
    beyond: Option<u64>,
    expected: (u32, u32, u64),
) -> Tail {
    let is_zero = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
    let (segment, number, first_seq) = expected;
    if beyond.is_none() && is_zero(window) {
        return Tail::Clean;
    }
    let mut remains = 0u64;
    for (place, sector) in window.chunks(SECTOR_BYTES).enumerate() {
        if !is_zero(sector) {
            remains = (place * SECTOR_BYTES + sector.len()) as u64;
        }
    }
    let torn = Tail::Torn { remains_bytes: remains };
    let beyond = beyond.map(|offset| Tail::Altered { offset, what: "bytes after the end of the log" });
    // A frame is begun only when the one before is durable, so a crash loses sectors of one frame, whose header stands in its first.
    let later = window.chunks(SECTOR_BYTES).enumerate().skip(1).find_map(|(place, sector)| {
        FrameHeader::decode(sector).is_ok_and(|later| later.segment == segment).then_some(Tail::Altered {
            offset: (place * SECTOR_BYTES) as u64,
            what: "a frame follows on one that is missing or incomplete",
        })
    });
    let first = window.chunks(SECTOR_BYTES).next().unwrap_or_default();
    if is_zero(first) {
        if let Some(later) = later {
            return later;
        }
        // The sector with the frame header was lost; what is left of a frame is dense, unlike bytes that were changed one by one.
        for (place, sector) in window.chunks(SECTOR_BYTES).enumerate() {
            let filled = sector.iter().filter(|byte| **byte != 0).count();
            let dense = if sector.len() < SECTOR_BYTES { sector.len() / 16 } else { DENSE_BYTES_MIN };
            if filled > 0 && filled < dense {
                let offset = (place * SECTOR_BYTES) as u64;
                return Tail::Altered { offset, what: "bytes in the unwritten end of the segment" };
            }
        }
        return beyond.unwrap_or(torn);
    }
    if first.len() < FRAME_HEADER_BYTES {
        return if begins_header(first, expected) {
            torn
        } else {
            Tail::Altered { offset: 0, what: "bytes that begin no frame" }
        };
    }
    let header = match FrameHeader::decode(first) {
        Ok(header) => header,
        Err(what) => return Tail::Altered { offset: 0, what },
    };
    if (header.segment, header.frame, header.first_seq) != (segment, number, first_seq) {
        return Tail::Altered { offset: 0, what: "a frame that does not belong here" };
    }
    let (extent, after) = window.split_at(header.frame_bytes.min(window.len()));
    let is_cut_short = ends_in_window && window.len() < header.frame_bytes;
    if !is_cut_short && !extent.chunks(SECTOR_BYTES).any(is_zero) {
        let what = "the frame hash does not match and no sector of the frame is missing";
        return Tail::Altered { offset: 0, what };
    }
    if let Some(later) = later {
        return later;
    }
    if !is_zero(after) {
        return Tail::Altered { offset: extent.len() as u64, what: "bytes after an unfinished frame" };
    }
    beyond.unwrap_or(torn)
}

/// Whether a few bytes may be the beginning of the header of the frame that was due: what is known of it stands in them.
fn begins_header(bytes: &[u8], (segment, frame, first_seq): (u32, u32, u64)) -> bool {
    let known: [(usize, &[u8]); 5] = [
        (0, MAGIC),
        (12, &segment.to_be_bytes()),
        (16, &frame.to_be_bytes()),
        (24, &first_seq.to_be_bytes()),
        (44, &[0; 4]),
    ];
    known.iter().all(|(offset, field)| {
        let found = bytes.get(*offset..).unwrap_or_default();
        found.iter().zip(*field).all(|(found, due)| found == due)
    })
}
