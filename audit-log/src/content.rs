//! Opening frames: decryption and comparison with the commitments in the leaves.

use std::{collections::HashMap, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    crypto::{SaltKey, SaltLabel, SegmentCipher, commitment},
    error::KeyError,
    frame::Frame,
    keys::KeyProvider,
    leaf::Leaf,
    record::{Record, Records},
    segment::SegmentHeader,
    walk::Wrong,
};

/// Why a frame cannot be opened.
pub(crate) enum ContentFault {
    Keys(KeyError),
    Wrong(Wrong),
}

impl From<KeyError> for ContentFault {
    fn from(error: KeyError) -> Self {
        Self::Keys(error)
    }
}

/// Holds what is needed to open the frames of one segment after another.
pub(crate) struct Opener {
    keys: Arc<dyn KeyProvider>,
    segment: Option<(SegmentHeader, SegmentCipher)>,
    subjects: HashMap<[u8; 8], SaltKey>,
    plaintext: Zeroizing<Vec<u8>>,
}

impl Opener {
    pub(crate) fn new(keys: Arc<dyn KeyProvider>) -> Self {
        Self { keys, segment: None, subjects: HashMap::new(), plaintext: Zeroizing::default() }
    }

    /// Derives the keys of a segment and compares their commitment, before anything is decrypted with them.
    pub(crate) fn segment(&mut self, header: &SegmentHeader) -> Result<(), KeyError> {
        if self.segment.as_ref().is_some_and(|(current, _)| current == header) {
            return Ok(());
        }
        let epoch_key = self.keys.epoch_key(header.epoch)?;
        let cipher = SegmentCipher::derive(&epoch_key.0, &header.salt, &header.log, header.segment)?;
        if *cipher.commitment() != header.key_commitment {
            let what = format!("the key of epoch {} is not the one this log was written with", header.epoch);
            return Err(KeyError::Wrong { what });
        }
        self.segment = Some((header.clone(), cipher));
        Ok(())
    }

    /// Decrypts a frame of the current segment and compares every entry with its leaf, then hands it to `visit`.
    pub(crate) fn frame(
        &mut self,
        frame: &Frame<'_>,
        mut visit: impl FnMut(&Leaf<'_>, &[u8]) -> Result<(), Wrong>,
    ) -> Result<(), ContentFault> {
        let first_seq = frame.header.first_seq;
        let wrong = |seq, what| ContentFault::Wrong(Wrong { seq: Some(seq), what });
        let Self { keys, segment, subjects, plaintext } = self;
        let Some((header, cipher)) = segment else {
            return Err(ContentFault::Keys(KeyError::Derivation));
        };
        let aad = frame.header.aad(&header.log);
        if cipher.open(frame.header.frame, &aad, frame.ciphertext, plaintext).is_err() {
            return Err(wrong(first_seq, "the ciphertext was changed"));
        }
        let malformed = "the content of the frame is malformed";
        let (seed, mut records) = Records::split(plaintext).ok_or(wrong(first_seq, malformed))?;
        let seed = SaltKey::new(&seed);
        for bytes in frame.leaves() {
            let leaf = bytes.and_then(Leaf::decode).ok_or(wrong(first_seq, "a leaf is malformed"))?;
            let seq = leaf.seq;
            let bytes = records.next_record().ok_or(wrong(seq, malformed))?;
            let record = Record::parse(bytes).ok_or(wrong(seq, malformed))?;
            if record.subjects.len() != leaf.subjects.len() {
                return Err(wrong(seq, "the entry has another number of subjects than its leaf"));
            }
            let differs = "the content of the entry is not what its leaf commits to";
            let salt = seed.salt(SaltLabel::Common, &leaf.log, seq);
            if commitment(&salt, record.common) != leaf.common {
                return Err(wrong(seq, differs));
            }
            for ((id, part), committed) in record.subjects.zip(leaf.subjects) {
                let key = match subjects.get(&id) {
                    Some(key) => key,
                    None => {
                        for key in keys.subjects()? {
                            subjects.insert(key.id(), SaltKey::new(key.expose()));
                        }
                        subjects.get(&id).ok_or_else(|| KeyError::Missing {
                            what: format!("the key of a subject of entry {seq}"),
                        })?
                    }
                };
                if commitment(&key.salt(SaltLabel::Subject, &leaf.log, seq), part) != *committed {
                    return Err(wrong(seq, differs));
                }
            }
            visit(&leaf, bytes).map_err(ContentFault::Wrong)?;
        }
        if !records.is_empty() {
            return Err(wrong(first_seq, malformed));
        }
        Ok(())
    }
}
