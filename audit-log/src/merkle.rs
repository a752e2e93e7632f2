//! The tree of RFC 6962 §2.1 with SHA-256: growing it, its root, inclusion paths.

use crate::crypto::{Hash, sha256};

/// Hash of a leaf, `SHA-256(0x00 ‖ leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> [u8; 32] {
    sha256(&[&[0], leaf])
}

/// Hash of an inner node, `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut message = [1u8; 65];
    for (to, from) in message.iter_mut().skip(1).zip(left.iter().chain(right)) {
        *to = *from;
    }
    sha256(&[&message])
}

/// A tree that only grows, held as the roots of its perfect subtrees, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tree of `size` leaves from its peaks; `None` when their number does not fit the size.
    pub fn from_peaks(size: u64, peaks: Vec<[u8; 32]>) -> Option<Self> {
        (u32::try_from(peaks.len()) == Ok(size.count_ones())).then_some(Self { size, peaks })
    }

    /// Appends a leaf by its [`leaf_hash`].
    pub fn push(&mut self, leaf: [u8; 32]) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size = self.size.saturating_add(1);
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect subtrees, largest first.
    pub fn peaks(&self) -> &[[u8; 32]] {
        &self.peaks
    }

    /// The root; that of the empty tree is `SHA-256("")`.
    pub fn root(&self) -> [u8; 32] {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => sha256(&[]),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// Root that an inclusion path leads to (RFC 9162 §2.1.3.2); `None` when the path cannot belong to that place.
pub fn root_of_inclusion(index: u64, size: u64, leaf: [u8; 32], path: &[[u8; 32]]) -> Option<[u8; 32]> {
    if index >= size {
        return None;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Places of an inclusion path, bottom up, as ranges of leaves (RFC 6962 §2.1.1); each is the subtree whose root is the sibling.
pub(crate) fn inclusion_ranges(index: u64, size: u64) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let split = low + largest_power_below(high - low);
        if index < split {
            ranges.push((split, high));
            high = split;
        } else {
            ranges.push((low, split));
            low = split;
        }
    }
    ranges.reverse();
    ranges
}

/// Largest power of two smaller than `n`, for `n > 1`.
pub(crate) fn largest_power_below(n: u64) -> u64 {
    1 << (63 - (n.saturating_sub(1)).leading_zeros().min(63))
}

const TILE_LEVEL: u32 = 8;
/// Leaves under one stored hash.
pub(crate) const TILE_LEAVES: u64 = 1 << TILE_LEVEL;

/// Roots of all perfect subtrees of 256 leaves and more: what inclusion paths need besides a few leaves from disk.
#[derive(Debug, Default)]
pub(crate) struct Subtrees {
    partial: Frontier,
    levels: Vec<Vec<Hash>>,
    size: u64,
}

impl Subtrees {
    pub(crate) fn push(&mut self, leaf: Hash) {
        self.partial.push(leaf);
        self.size += 1;
        if self.partial.size() < TILE_LEAVES {
            return;
        }
        let mut node = self.partial.root();
        self.partial = Frontier::new();
        for level in 0.. {
            if self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            let Some(nodes) = self.levels.get_mut(level) else { return };
            nodes.push(node);
            let [.., left, right] = nodes.as_slice() else { return };
            if nodes.len() % 2 == 1 {
                return;
            }
            node = node_hash(left, right);
        }
    }

    /// Root of the leaves `low..high`, a range out of [`inclusion_ranges`] of a tree no larger than this; leaves come from `leaves`.
    pub(crate) fn root<E>(
        &self,
        low: u64,
        high: u64,
        leaves: &mut impl FnMut(u64, u64) -> Result<Vec<Hash>, E>,
    ) -> Result<Hash, E> {
        let count = high - low;
        if count <= TILE_LEAVES
            && (count < TILE_LEAVES || !low.is_multiple_of(TILE_LEAVES) || high > self.size)
        {
            let mut tree = Frontier::new();
            for leaf in leaves(low, high)? {
                tree.push(leaf);
            }
            return Ok(tree.root());
        }
        if count.is_power_of_two() {
            let level = (count.trailing_zeros() - TILE_LEVEL) as usize;
            let place = usize::try_from(low >> count.trailing_zeros()).unwrap_or(usize::MAX);
            if let Some(hash) = self.levels.get(level).and_then(|nodes| nodes.get(place)) {
                return Ok(*hash);
            }
        }
        let split = low + largest_power_below(count);
        let left = self.root(low, split, leaves)?;
        let right = self.root(split, high, leaves)?;
        Ok(node_hash(&left, &right))
    }
}
