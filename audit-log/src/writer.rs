//! The writer: turns waiting entries into commit frames and makes them durable. It alone writes segments.

use std::{collections::HashMap, io, sync::Arc};

use chrono::{DateTime, Utc};
use zeroize::Zeroizing;

use crate::{
    append::{Pending, Receipt, Slot},
    crypto::{Hash, LogId, SaltKey, SaltLabel, SegmentCipher, TAG_BYTES, commitment, random, sha256},
    error::{AppendError, EntryError, KeyError},
    frame::{FRAME_HEADER_BYTES, FrameHeader, aad, finish, frame_bytes},
    keys::{KeyProvider, SubjectKey},
    leaf::{LEAF_BYTES_MAX, Leaf, leaf_bytes},
    limits::{
        FRAME_BYTES_MAX, FRAME_ENTRIES_MAX, HEADER_BYTES, NOTE_BYTES_MAX, PREALLOCATED_BYTES, SUBJECTS_MAX,
    },
    merkle::{Frontier, leaf_hash},
    note::{Checkpoint, VerifierKey},
    record::Record,
    segment::{NEW_SUFFIX, Previous, SegmentHeader, segment_name},
    store::{Store, StoreFile},
};

/// Bytes of a frame that entries cannot use.
const FRAME_OVERHEAD: usize = FRAME_HEADER_BYTES + 32 + TAG_BYTES + 32 + 2 * 33 + 1024;
const _: () = assert!(
    FRAME_OVERHEAD + LEAF_BYTES_MAX + crate::limits::ENTRY_BYTES_MAX + 16 <= FRAME_BYTES_MAX,
    "the longest entry must fit a frame"
);

/// Why writing failed, once and for all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("cannot write `{file}`: {source}")]
    Io { file: String, source: io::Error },
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("the log has as many {0} as it can have")]
    Full(&'static str),
}

/// Where the next segment begins.
pub(crate) struct Position {
    pub(crate) log: LogId,
    pub(crate) segment: u32,
    pub(crate) tree: Frontier,
    pub(crate) previous: Previous,
    pub(crate) time_ms: u64,
}

/// The segment that is being written. There is none until its first frame is.
struct Current {
    file: Box<dyn StoreFile>,
    cipher: SegmentCipher,
    number: u32,
    epoch: u32,
    frame: u32,
    /// Where the next frame goes.
    offset: u64,
    /// Up to here the file has been filled with zeros.
    allocated: u64,
    chain: Hash,
}

pub(crate) struct Writer {
    store: Arc<dyn Store>,
    keys: Arc<dyn KeyProvider>,
    verifier_key: VerifierKey,
    segment_bytes: u64,
    position: Position,
    current: Option<Current>,
    subjects: HashMap<String, ([u8; 8], SaltKey)>,
    predecessor: Option<Hash>,
    /// Buffers that are used again for each frame.
    frame: Vec<u8>,
    plaintext: Zeroizing<Vec<u8>>,
    file_name: String,
}

/// A frame that is durable. Whoever waits for its entries is told by [`acknowledge`](Self::acknowledge), after the log shows them.
#[must_use = "whoever waits is to be told"]
pub(crate) struct Committed {
    pub(crate) checkpoint: Arc<Checkpoint>,
    receipts: Vec<(Arc<Slot>, Receipt)>,
}

impl Committed {
    pub(crate) fn acknowledge(self) {
        for (slot, receipt) in self.receipts {
            slot.resolve(Ok(receipt));
        }
    }
}

impl Writer {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        keys: Arc<dyn KeyProvider>,
        verifier_key: VerifierKey,
        segment_bytes: u64,
        position: Position,
        predecessor: Option<Hash>,
    ) -> Result<Self, KeyError> {
        let subjects = keys
            .subjects()?
            .into_iter()
            .map(|key| {
                let salts = SaltKey::new(key.expose());
                (key.subject().to_owned(), (key.id(), salts))
            })
            .collect();
        Ok(Self {
            store,
            keys,
            verifier_key,
            segment_bytes,
            position,
            current: None,
            subjects,
            predecessor,
            frame: Vec::new(),
            plaintext: Zeroizing::default(),
            file_name: String::new(),
        })
    }

    /// How many of the waiting entries the next frame takes: as many as fit, at least one.
    pub(crate) fn fitting<'a>(pending: impl Iterator<Item = &'a Pending>) -> usize {
        let mut bytes = FRAME_OVERHEAD + NOTE_BYTES_MAX.min(1024);
        let mut entries = 0;
        for pending in pending.take(FRAME_ENTRIES_MAX) {
            let entry = &pending.entry;
            bytes += 2 + leaf_bytes(&entry.event_type, entry.subjects.len(), 0) + 4 + entry.record.len();
            if bytes > FRAME_BYTES_MAX && entries > 0 {
                break;
            }
            entries += 1;
        }
        entries
    }

    /// Commits a batch in one frame. An error is final: nothing may be written afterwards.
    pub(crate) fn commit(&mut self, batch: &mut Vec<Pending>) -> Result<Option<Committed>, WriteError> {
        self.learn_subjects(batch)?;
        if batch.is_empty() {
            return Ok(None);
        }
        let needed = batch
            .iter()
            .map(|pending| {
                let entry = &pending.entry;
                6 + leaf_bytes(&entry.event_type, entry.subjects.len(), 0) + entry.record.len()
            })
            .sum::<usize>()
            + FRAME_OVERHEAD;
        let is_full = self.current.as_ref().is_some_and(|current| {
            current.offset.saturating_add(needed as u64) > self.segment_bytes || current.frame == u32::MAX
        });
        if is_full {
            self.seal()?;
        }
        match self.current.take() {
            Some(current) => self.commit_to(current, None, batch),
            None => {
                let (current, header) = self.begin_segment()?;
                self.commit_to(current, Some(header), batch)
            }
        }
        .map(Some)
    }

    /// Makes the keys of subjects that are new, durably, before any leaf uses them. Entries that cannot have one are refused.
    fn learn_subjects(&mut self, batch: &mut Vec<Pending>) -> Result<(), WriteError> {
        let mut new: Vec<SubjectKey> = Vec::new();
        let mut refused = false;
        for pending in batch.iter() {
            for (subject, _) in &pending.entry.subjects {
                if self.subjects.contains_key(subject) {
                    continue;
                }
                if self.subjects.len() >= SUBJECTS_MAX {
                    refused = true;
                    continue;
                }
                let key = SubjectKey::generate(subject.clone())?;
                self.subjects.insert(subject.clone(), (key.id(), SaltKey::new(key.expose())));
                new.push(key);
            }
        }
        if !new.is_empty() {
            self.keys.store_subjects(&new)?;
        }
        if refused {
            let subjects = &self.subjects;
            batch.retain_mut(|pending| {
                let known = pending.entry.subjects.iter().all(|(subject, _)| subjects.contains_key(subject));
                if !known && let Some(slot) = pending.slot.take() {
                    slot.resolve(Err(AppendError::Entry(EntryError::SubjectsFull)));
                }
                known
            });
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(Current, SegmentHeader), WriteError> {
        let number = self.position.segment;
        self.file_name = segment_name(number);
        let epoch = self.keys.newest_epoch()?;
        let salt = random::<24>()?;
        let epoch_key = self.keys.epoch_key(epoch)?;
        let cipher = SegmentCipher::derive(&epoch_key.0, &salt, &self.position.log, number)?;
        let header = SegmentHeader {
            segment: number,
            log: self.position.log,
            epoch,
            salt,
            key_commitment: *cipher.commitment(),
            start: self.position.tree.clone(),
            previous: self.position.previous.clone(),
            created_ms: self.position.time_ms,
        };
        let name = format!("{}{NEW_SUFFIX}", self.file_name);
        let file = self.store.create(&name).map_err(|error| self.failed(error))?;
        let current = Current {
            file,
            cipher,
            number,
            epoch,
            frame: 0,
            offset: HEADER_BYTES as u64,
            allocated: 0,
            chain: [0; 32],
        };
        Ok((current, header))
    }

    fn commit_to(
        &mut self,
        mut current: Current,
        new_segment: Option<SegmentHeader>,
        batch: &mut Vec<Pending>,
    ) -> Result<Committed, WriteError> {
        let mut prefix = 0;
        self.frame.clear();
        let is_new = new_segment.is_some();
        if let Some(mut header) = new_segment {
            header.created_ms =
                batch.first().map_or(0, |pending| millis(pending.at)).max(self.position.time_ms);
            let (bytes, hash) = header.encode();
            current.chain = hash;
            self.frame.extend_from_slice(&bytes);
            prefix = bytes.len();
        }
        let mut tree = self.position.tree.clone();
        let first_seq = tree.size();
        let mut receipts = Vec::with_capacity(batch.len());
        let leaves_bytes = self.encode_entries(&current, &mut tree, batch, prefix, &mut receipts)?;

        let header_at = prefix..prefix + FRAME_HEADER_BYTES;
        let aad = aad(&self.position.log, current.number, current.frame, first_seq);
        let tag = current.cipher.seal(current.frame, &aad, &mut self.plaintext)?;
        self.frame.extend_from_slice(&self.plaintext);
        self.frame.extend_from_slice(&tag);
        let ciphertext_bytes = self.plaintext.len() + TAG_BYTES;

        let root = tree.root();
        let body = Checkpoint::body(self.verifier_key.origin(), tree.size(), &root);
        let signature = self.keys.sign(body.as_bytes())?;
        let checkpoint = Checkpoint::signed(&self.verifier_key, tree.size(), root, body, signature);
        self.frame.extend_from_slice(checkpoint.as_str().as_bytes());

        let header = FrameHeader {
            frame_bytes: frame_bytes(leaves_bytes, ciphertext_bytes, checkpoint.as_str().len()),
            segment: current.number,
            frame: current.frame,
            entries: batch.len() as u32,
            first_seq,
            leaves_bytes,
            ciphertext_bytes,
            checkpoint_bytes: checkpoint.as_str().len(),
        };
        let mut encoded = Vec::with_capacity(FRAME_HEADER_BYTES);
        header.encode(&mut encoded);
        if let Some(place) = self.frame.get_mut(header_at) {
            place.copy_from_slice(&encoded);
        }
        // The segment header, where there is one, is not part of the frame that is hashed.
        let hash = if prefix == 0 {
            finish(&mut self.frame, header.frame_bytes)
        } else {
            let mut frame = self.frame.split_off(prefix);
            let hash = finish(&mut frame, header.frame_bytes);
            self.frame.append(&mut frame);
            hash
        };

        self.write(&mut current, is_new, header.frame_bytes as u64)?;

        current.chain = sha256(&[&current.chain, &hash]);
        current.offset = current.offset.saturating_add(header.frame_bytes as u64);
        let (segment, frame) = (current.number, current.frame);
        current.frame = current.frame.saturating_add(1);
        self.position.tree = tree;
        self.current = Some(current);
        let checkpoint = Arc::new(checkpoint);
        let receipt = |(pending, (seq, time_ms)): (Pending, (u64, u64))| {
            let at = DateTime::from_timestamp_millis(time_ms as i64).unwrap_or(pending.at);
            let receipt = Receipt::new(seq, at, segment, frame, Arc::clone(&checkpoint));
            pending.slot.map(|slot| (slot, receipt))
        };
        let receipts = batch.drain(..).zip(receipts).filter_map(receipt).collect();
        Ok(Committed { checkpoint, receipts })
    }

    /// Appends placeholders for the frame header, then the leaves, to `self.frame`, and the records to `self.plaintext`.
    fn encode_entries(
        &mut self,
        current: &Current,
        tree: &mut Frontier,
        batch: &mut [Pending],
        prefix: usize,
        receipts: &mut Vec<(u64, u64)>,
    ) -> Result<usize, WriteError> {
        let seed = Zeroizing::new(random::<32>()?);
        let seed_salts = SaltKey::new(&seed);
        // What is in the buffer was encrypted in place.
        self.plaintext.clear();
        self.plaintext.extend_from_slice(seed.as_slice());
        self.frame.resize(prefix + FRAME_HEADER_BYTES, 0);
        let log = self.position.log;
        for (place, pending) in batch.iter_mut().enumerate() {
            let seq = tree.size();
            // Order is by sequence; a clock that was set back must not make a later entry look earlier.
            let time_ms = millis(pending.at).max(self.position.time_ms);
            self.position.time_ms = time_ms;
            let entry = &mut pending.entry;
            let mut salts = [None; crate::limits::ENTRY_SUBJECTS_MAX];
            for ((subject, slot), salt) in entry.subjects.iter().zip(&mut salts) {
                let Some((id, key)) = self.subjects.get(subject) else {
                    return Err(KeyError::Missing { what: "the key of a subject".to_owned() }.into());
                };
                if let Some(place) = entry.record.get_mut(*slot..*slot + 8) {
                    place.copy_from_slice(id);
                }
                *salt = Some(key.salt(SaltLabel::Subject, &log, seq));
            }
            let malformed = || KeyError::Missing { what: "a well-formed record".to_owned() };
            let record = Record::parse(&entry.record).ok_or_else(malformed)?;
            let mut subjects = [[0; 32]; crate::limits::ENTRY_SUBJECTS_MAX];
            let count = record.subjects.len();
            for (((_, part), salt), to) in record.subjects.zip(salts.iter().flatten()).zip(&mut subjects) {
                *to = commitment(salt, part);
            }
            let leaf = Leaf {
                log,
                seq,
                time_ms,
                epoch: current.epoch,
                event_type: &entry.event_type,
                common: commitment(&seed_salts.salt(SaltLabel::Common, &log, seq), record.common),
                subjects: subjects.get(..count).unwrap_or_default(),
                chain: (place == 0).then_some(current.chain),
                predecessor: if seq == 0 { self.predecessor } else { None },
            };
            let length_at = self.frame.len();
            self.frame.extend_from_slice(&[0; 2]);
            leaf.encode(&mut self.frame);
            let leaf = self.frame.get(length_at + 2..).unwrap_or_default();
            tree.push(leaf_hash(leaf));
            // INVARIANT: LEAF_BYTES_MAX fits two bytes.
            let length = (leaf.len() as u16).to_be_bytes();
            if let Some(place) = self.frame.get_mut(length_at..length_at + 2) {
                place.copy_from_slice(&length);
            }
            self.plaintext.extend_from_slice(&(entry.record.len() as u32).to_be_bytes());
            self.plaintext.extend_from_slice(&entry.record);
            receipts.push((seq, time_ms));
        }
        Ok(self.frame.len() - prefix - FRAME_HEADER_BYTES)
    }

    /// Writes what is in `self.frame` and makes it durable; the one place where entries become true.
    fn write(&mut self, current: &mut Current, is_new: bool, frame_bytes: u64) -> Result<(), WriteError> {
        let end = current.offset.saturating_add(frame_bytes);
        if end > current.allocated {
            self.allocate(current, end)?;
        }
        let start = if is_new { 0 } else { current.offset };
        current.file.write_at(&self.frame, start).map_err(|error| self.failed(error))?;
        current.file.sync().map_err(|error| self.failed(error))?;
        if is_new {
            let new = format!("{}{NEW_SUFFIX}", self.file_name);
            self.store.publish(&new, &self.file_name).map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Fills the file with zeros ahead of what is written, so that a commit changes nothing but its own bytes.
    fn allocate(&self, current: &mut Current, end: u64) -> Result<(), WriteError> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let ahead = end.saturating_add(PREALLOCATED_BYTES).min(self.segment_bytes.max(end));
        let target = ahead.next_multiple_of(crate::limits::SECTOR_BYTES as u64);
        let mut offset = current.allocated;
        while offset < target {
            let bytes = usize::try_from(target - offset).unwrap_or(usize::MAX).min(ZEROS.len());
            let zeros = ZEROS.get(..bytes).unwrap_or(&ZEROS);
            current.file.write_at(zeros, offset).map_err(|error| self.failed(error))?;
            offset = offset.saturating_add(bytes as u64);
        }
        current.allocated = target;
        Ok(())
    }

    /// Ends the current segment: cuts off its zeros and remembers where the next one goes on.
    pub(crate) fn seal(&mut self) -> Result<(), WriteError> {
        let Some(current) = self.current.take() else { return Ok(()) };
        current.file.truncate(current.offset).map_err(|error| self.failed(error))?;
        let next = current.number.checked_add(1).ok_or(WriteError::Full("segments"))?;
        self.position.segment = next;
        self.position.previous =
            Previous { valid_end: current.offset, chain: current.chain, ..Previous::none() };
        Ok(())
    }

    /// Copies a checkpoint to where readers look for it. Its frame is durable already.
    pub(crate) fn publish_checkpoint(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.store.replace(crate::segment::CHECKPOINT_NAME, checkpoint.as_str().as_bytes())
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError::Io { file: self.file_name.clone(), source }
    }
}

pub(crate) fn millis(at: DateTime<Utc>) -> u64 {
    u64::try_from(at.timestamp_millis()).unwrap_or(0)
}
