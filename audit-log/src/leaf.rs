//! Leaves of the tree: a small public envelope and salted commitments to what is not public.

use crate::{
    crypto::{Hash, LogId},
    cursor::Cursor,
    limits::{ENTRY_SUBJECTS_MAX, EVENT_TYPE_BYTES_MAX},
};

const LEAF_VERSION: u8 = 0;
const TAG_PREDECESSOR: u8 = 2;
const TAG_CHAIN: u8 = 3;
/// Bytes of a leaf beyond its type, its subjects and its bindings.
const FIXED_BYTES: usize = 1 + 16 + 8 + 8 + 4 + 1 + 32 + 1 + 1;

/// Longest leaf, in bytes.
pub(crate) const LEAF_BYTES_MAX: usize =
    FIXED_BYTES + EVENT_TYPE_BYTES_MAX + 32 * ENTRY_SUBJECTS_MAX + 2 * 33;

/// A decoded leaf, borrowing from the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf<'a> {
    pub(crate) log: LogId,
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    pub(crate) epoch: u32,
    pub(crate) event_type: &'a str,
    pub(crate) common: Hash,
    pub(crate) subjects: &'a [[u8; 32]],
    pub(crate) chain: Option<Hash>,
    pub(crate) predecessor: Option<Hash>,
}

/// Bytes that an encoded leaf takes.
pub(crate) fn leaf_bytes(event_type: &str, subjects: usize, bindings: usize) -> usize {
    FIXED_BYTES + event_type.len() + 32 * subjects + 33 * bindings
}

impl<'a> Leaf<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(LEAF_VERSION);
        out.extend_from_slice(&self.log);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        // INVARIANT: lengths were checked when the entry was taken, so nothing is cut off here.
        out.push(self.event_type.len() as u8);
        out.extend_from_slice(self.event_type.as_bytes());
        out.extend_from_slice(&self.common);
        out.push(self.subjects.len() as u8);
        out.extend_from_slice(self.subjects.as_flattened());
        out.push(u8::from(self.chain.is_some()) + u8::from(self.predecessor.is_some()));
        for (tag, hash) in [(TAG_CHAIN, &self.chain), (TAG_PREDECESSOR, &self.predecessor)] {
            if let Some(hash) = hash {
                out.push(tag);
                out.extend_from_slice(hash);
            }
        }
    }

    /// Decodes the one canonical form; anything else is `None`.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u8()? != LEAF_VERSION {
            return None;
        }
        let (log, seq, time_ms, epoch) = (cursor.array()?, cursor.u64()?, cursor.u64()?, cursor.u32()?);
        let type_bytes = usize::from(cursor.u8()?);
        let event_type = std::str::from_utf8(cursor.take(type_bytes)?).ok()?;
        if !is_event_type(event_type) {
            return None;
        }
        let common = cursor.array()?;
        let subjects = usize::from(cursor.u8()?);
        if subjects > ENTRY_SUBJECTS_MAX {
            return None;
        }
        let (subjects, _) = cursor.take(32 * subjects)?.as_chunks::<32>();
        let (mut chain, mut predecessor) = (None, None);
        let bindings = cursor.u8()?;
        for place in 0..bindings {
            match (cursor.u8()?, place) {
                (TAG_CHAIN, 0) => chain = Some(cursor.array()?),
                (TAG_PREDECESSOR, _) if predecessor.is_none() => predecessor = Some(cursor.array()?),
                _ => return None,
            }
        }
        cursor.is_empty().then_some(Self {
            log,
            seq,
            time_ms,
            epoch,
            event_type,
            common,
            subjects,
            chain,
            predecessor,
        })
    }
}

/// Whether `name` may stand in a leaf: 1 to 128 bytes of `a-z`, `0-9`, `.`, `_`, `-`.
pub(crate) fn is_event_type(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= EVENT_TYPE_BYTES_MAX
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encodes_and_nothing_longer_or_shorter() {
        let subjects = [[7; 32], [8; 32]];
        for (chain, predecessor) in [(None, None), (Some([1; 32]), None), (Some([1; 32]), Some([2; 32]))] {
            let leaf = Leaf {
                log: [3; 16],
                seq: 42,
                time_ms: 1_700_000_000_000,
                epoch: 1,
                event_type: "command.executed",
                common: [9; 32],
                subjects: &subjects,
                chain,
                predecessor,
            };
            let mut bytes = Vec::new();
            leaf.encode(&mut bytes);
            let bindings = usize::from(chain.is_some()) + usize::from(predecessor.is_some());
            assert_eq!(bytes.len(), leaf_bytes("command.executed", 2, bindings));
            assert_eq!(Leaf::decode(&bytes), Some(leaf));
            assert_eq!(Leaf::decode(&bytes[..bytes.len() - 1]), None);
            bytes.push(0);
            assert_eq!(Leaf::decode(&bytes), None);
        }
    }
}
