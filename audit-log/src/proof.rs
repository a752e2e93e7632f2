//! Proofs that an entry is in the log.

use std::{fmt, str::FromStr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    error::{ProofError, ProveError, ReadError},
    merkle::{Subtrees, inclusion_ranges, leaf_hash, root_of_inclusion},
    note::{Checkpoint, VerifierKey},
    scan::{FrameScan, Until},
    store::Store,
};

/// Most hashes in a path: a tree of 2⁶⁴ leaves has no more.
const PATH_MAX: usize = 64;

/// Proof that a leaf is in the log: verified by anyone who has the log's public key, offline. `Display` gives the C2SP `.tlog-proof` form, with the
/// leaf as its extra data; `FromStr` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    index: u64,
    leaf: Vec<u8>,
    path: Vec<[u8; 32]>,
    checkpoint: Checkpoint,
}

impl Proof {
    /// Sequence number of the entry.
    pub fn seq(&self) -> u64 {
        self.index
    }

    /// The leaf: public envelope and commitments, as FORMAT.md §6 describes.
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// Checkpoint that the proof leads to.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Checks the path from the leaf to the root, and the signature on the root.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), ProofError> {
        self.checkpoint.verify(key)?;
        let root = root_of_inclusion(self.index, self.checkpoint.size(), leaf_hash(&self.leaf), &self.path);
        if root.as_ref() == Some(self.checkpoint.root()) { Ok(()) } else { Err(ProofError::Path) }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "c2sp.org/tlog-proof@v1")?;
        writeln!(f, "extra {}", STANDARD.encode(&self.leaf))?;
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Proof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (head, note) = text.split_once("\n\n").ok_or(ProofError::Form("no checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some("c2sp.org/tlog-proof@v1") {
            return Err(ProofError::Form("not a proof of a known version"));
        }
        let leaf = lines
            .next()
            .and_then(|line| STANDARD.decode(line.strip_prefix("extra ")?).ok())
            .ok_or(ProofError::Form("no leaf"))?;
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index ")?.parse().ok())
            .ok_or(ProofError::Form("no index"))?;
        let path = lines
            .map(|line| STANDARD.decode(line).ok()?.try_into().ok())
            .take(PATH_MAX + 1)
            .collect::<Option<Vec<[u8; 32]>>>()
            .filter(|path| path.len() <= PATH_MAX)
            .ok_or(ProofError::Form("a malformed path"))?;
        Ok(Self { index, leaf, path, checkpoint: note.parse()? })
    }
}

/// Makes proofs. Reads the leaves of the whole log once, when the first proof is asked for, and keeps a hash for every 256.
pub(crate) struct Prover {
    store: Arc<dyn Store>,
    subtrees: Subtrees,
    scan: FrameScan,
}

impl Prover {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let scan = FrameScan::new(Arc::clone(&store), 0);
        Self { store, subtrees: Subtrees::default(), scan }
    }

    /// Proves entry `seq` under `checkpoint`, the newest of the log.
    pub(crate) fn prove(&mut self, seq: u64, checkpoint: &Checkpoint) -> Result<Proof, ProveError> {
        let size = checkpoint.size();
        if seq >= size {
            return Err(ProveError::NoSuchEntry { seq, size });
        }
        let Self { store, subtrees, scan } = self;
        let all = Until::Acknowledged(size);
        while scan.next_frame::<ReadError>(all, &mut |_, _, frame| {
            for leaf in frame.leaves().flatten() {
                subtrees.push(leaf_hash(leaf));
            }
            Ok(())
        })? {}
        let leaf = leaves(store, seq, seq + 1)?.pop().ok_or(ProveError::NoSuchEntry { seq, size })?;
        let mut hashes = |low, high| -> Result<Vec<[u8; 32]>, ReadError> {
            Ok(leaves(store, low, high)?.iter().map(|leaf| leaf_hash(leaf)).collect())
        };
        let mut path = Vec::new();
        for (low, high) in inclusion_ranges(seq, size) {
            path.push(subtrees.root(low, high, &mut hashes)?);
        }
        Ok(Proof { index: seq, leaf, path, checkpoint: checkpoint.clone() })
    }
}

/// Encoded leaves of a short range.
fn leaves(store: &Arc<dyn Store>, low: u64, high: u64) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut found = Vec::new();
    let mut scan = FrameScan::new(Arc::clone(store), low);
    while scan.next_frame::<ReadError>(Until::Acknowledged(high), &mut |_, _, frame| {
        for (leaf, seq) in frame.leaves().flatten().zip(frame.header.first_seq..) {
            if (low..high).contains(&seq) {
                found.push(leaf.to_vec());
            }
        }
        Ok(())
    })? {}
    Ok(found)
}
