//! Verification of a whole log.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::{
    content::{ContentFault, Opener},
    error::{Fault, KeyError, NoteError, ReadError, VerifyError},
    frame::{Frame, FrameHeader, Tail},
    keys::KeyProvider,
    leaf::Leaf,
    note::{Checkpoint, Origin, VerifierKey},
    segment::{SegmentHeader, segment_name},
    source::{Layout, SegmentSource, Step, checkpoint_fault, copy_fault, stored_checkpoint},
    store::Store,
    walk::{Walk, Wrong},
};

/// How often the end of a log that is being written is read again before it is judged, and how long to wait in between.
const LIVE_TRIES: u32 = 200;
const LIVE_PAUSE: Duration = Duration::from_millis(2);
/// Frames that may wait for decryption while reading goes on.
const FRAMES_WAITING: usize = 4;

/// What to check beyond the log itself.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    pub(crate) verifier_key: Option<VerifierKey>,
    pub(crate) minimum: Option<Checkpoint>,
    pub(crate) signatures: Signatures,
}

impl VerifyOptions {
    /// Checks with the keys that the reader has, and against no outside checkpoint.
    pub fn new() -> Self {
        Self::default()
    }

    /// The log's public key, for a reader without keys. It should come from elsewhere than the log.
    #[must_use]
    pub fn verifier_key(mut self, key: VerifierKey) -> Self {
        self.verifier_key = Some(key);
        self
    }

    /// A checkpoint that was kept elsewhere: a log that does not reach it, or has another past, is tampered with.
    #[must_use]
    pub fn minimum(mut self, checkpoint: Checkpoint) -> Self {
        self.minimum = Some(checkpoint);
        self
    }

    /// Which signatures to check.
    #[must_use]
    pub fn signatures(mut self, signatures: Signatures) -> Self {
        self.signatures = signatures;
        self
    }
}

/// Which of the signatures in a log to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signatures {
    /// The last one, which covers every byte before its frame.
    #[default]
    Last,
    /// That of every frame; slower, and finds nothing more unless the signing key was used elsewhere.
    Every,
}

/// What was found in a log that is not tampered with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Number of entries.
    pub entries: u64,
    /// Number of segments.
    pub segments: u32,
    /// Number of commit frames.
    pub frames: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The last checkpoint; `None` for an empty log.
    pub checkpoint: Option<Checkpoint>,
    /// When the first entry was recorded, by the log's own clock.
    pub first_recorded_at: Option<DateTime<Utc>>,
    /// When the last entry was recorded.
    pub last_recorded_at: Option<DateTime<Utc>>,
    /// The key that signatures were checked with.
    pub verifier_key: Option<VerifierKey>,
    /// How the log ends.
    pub end: End,
    /// Whether content was decrypted and compared with the leaves.
    pub content: Checked,
    /// Whether the signature was checked.
    pub signature: Checked,
    /// Files in the directory that are no part of a log.
    pub unknown_files: Vec<String>,
}

impl Report {
    /// Whole, or whole but for a torn tail.
    pub fn outcome(&self) -> Outcome {
        match self.end {
            End::Torn { .. } => Outcome::TornTail,
            _ => Outcome::Whole,
        }
    }
}

/// Result of verifying a log that is not tampered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as it was written.
    Whole,
    /// A write that was never acknowledged was cut off after the last signed checkpoint.
    TornTail,
}

/// Whether something was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Yes.
    Yes,
    /// No, because the key for it was not given.
    NoKey,
}

/// How a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It was closed.
    Closed,
    /// Its writer was stopped without closing it; nothing that was written is missing or incomplete.
    Stopped,
    /// A writer is at work.
    Live,
    /// A write was cut off. What it left begins here and is no part of the log.
    Torn {
        /// File.
        file: String,
        /// Offset in the file.
        offset: u64,
        /// Length in bytes.
        bytes: u64,
    },
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Segments begun, of [`segments_total`](Self::segments_total).
    pub segments: u32,
    /// Segments that were there at the beginning.
    pub segments_total: u32,
    /// Entries checked so far.
    pub entries: u64,
    /// Bytes read so far, of [`bytes_total`](Self::bytes_total).
    pub bytes: u64,
    /// Bytes of all segments that were there at the beginning.
    pub bytes_total: u64,
}

/// A frame on its way to decryption.
struct Job {
    segment: Arc<SegmentHeader>,
    offset: u64,
    header: FrameHeader,
    bytes: Vec<u8>,
}

struct ContentFailure {
    fault: ContentFault,
    segment: u32,
    offset: u64,
    frame: u32,
}

impl ContentFailure {
    fn into_error(self) -> VerifyError {
        match self.fault {
            ContentFault::Keys(error) => VerifyError::Keys(error),
            ContentFault::Wrong(wrong) => VerifyError::Tampered(Fault {
                file: segment_name(self.segment),
                offset: self.offset,
                frame: Some(self.frame),
                seq: wrong.seq,
                what: wrong.what.to_owned(),
            }),
        }
    }
}

pub(crate) fn verify(
    store: &dyn Store,
    keys: Option<&Arc<dyn KeyProvider>>,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, VerifyError> {
    let Some(keys) = keys else {
        return Verification::new(store, None, options, progress)?.run(None);
    };
    // Decryption runs beside reading and hashing, a few frames behind.
    std::thread::scope(|scope| {
        let (jobs, waiting) = mpsc::sync_channel::<Job>(FRAMES_WAITING);
        let (spent, spare) = mpsc::channel();
        let mut opener = Opener::new(Arc::clone(keys));
        let worker = scope.spawn(move || {
            let mut failed = None;
            for job in waiting {
                if failed.is_none()
                    && let Err(failure) = open(&mut opener, &job)
                {
                    let is_keys = matches!(failure.fault, ContentFault::Keys(_));
                    failed = Some(failure);
                    if !is_keys {
                        break;
                    }
                    // Keys are said to be wrong only of a log that is sound without them, so reading goes on to its end.
                }
                // The reading side may be done already and need no more buffers.
                let _ = spent.send(job.bytes);
            }
            failed.map_or(Ok(()), Err)
        });
        let outcome = Verification::new(store, Some(keys), options, progress)
            .and_then(|verification| verification.run(Some((jobs, spare))));
        match (worker.join(), outcome) {
            (Ok(Ok(())), outcome) => outcome,
            (Ok(Err(content)), Err(VerifyError::Tampered(fault)))
                if (&fault.file, fault.offset) < (&segment_name(content.segment), content.offset) =>
            {
                Err(VerifyError::Tampered(fault))
            }
            // Structure is judged by what needs no keys; wrong keys are said only of a log that is sound without them.
            (
                Ok(Err(ContentFailure { fault: ContentFault::Keys(_), .. })),
                Err(VerifyError::Tampered(fault)),
            ) => Err(VerifyError::Tampered(fault)),
            (Ok(Err(content)), _) => Err(content.into_error()),
            (Err(_), _) => Err(VerifyError::Keys(KeyError::Derivation)),
        }
    })
}

/// Decrypts a frame and compares its entries with their leaves.
fn open(opener: &mut Opener, job: &Job) -> Result<(), ContentFailure> {
    let failure = |fault| ContentFailure {
        fault,
        segment: job.segment.segment,
        offset: job.offset,
        frame: job.header.frame,
    };
    opener.segment(&job.segment).map_err(|error| failure(error.into()))?;
    match Frame::split(job.header, &job.bytes) {
        Ok(frame) => opener.frame(&frame, |_, _| Ok(())).map_err(failure),
        // INVARIANT: the reading side has split these bytes before.
        Err(_) => Ok(()),
    }
}

type Decryption = (mpsc::SyncSender<Job>, mpsc::Receiver<Vec<u8>>);

struct Verification<'a> {
    store: &'a dyn Store,
    keys: Option<&'a Arc<dyn KeyProvider>>,
    options: &'a VerifyOptions,
    progress: &'a mut dyn FnMut(Progress),
    layout: Layout,
    stored: Option<Checkpoint>,
    /// Whether a frame has ended in exactly the note of the file `checkpoint`.
    is_stored_found: bool,
    verifier_key: Option<VerifierKey>,
    first_time_ms: u64,
    frames: u64,
    bytes: u64,
    bytes_total: u64,
}

impl<'a> Verification<'a> {
    fn new(
        store: &'a dyn Store,
        keys: Option<&'a Arc<dyn KeyProvider>>,
        options: &'a VerifyOptions,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Result<Self, VerifyError> {
        // The stored checkpoint is read first: whatever a live writer adds meanwhile comes after it.
        let stored = stored_checkpoint(store)?;
        let layout = Layout::read(store)?;
        let verifier_key = match (&options.verifier_key, keys) {
            (Some(key), _) => Some(key.clone()),
            (None, Some(keys)) => match keys.origin()? {
                Some(origin) => Some(verifier_key(keys.as_ref(), origin)?),
                None => None,
            },
            (None, None) => None,
        };
        // What was given from outside is no part of the log: where it does not hold, nothing is said about the log.
        if let (Some(minimum), Some(key)) = (&options.minimum, &verifier_key) {
            minimum.verify(key).map_err(VerifyError::Checkpoint)?;
        }
        let bytes_total = layout.bytes(store)?;
        Ok(Self {
            store,
            keys,
            options,
            progress,
            layout,
            stored,
            is_stored_found: false,
            verifier_key,
            first_time_ms: 0,
            frames: 0,
            bytes: 0,
            bytes_total,
        })
    }

    fn run(mut self, mut decryption: Option<Decryption>) -> Result<Report, VerifyError> {
        let Some(mut source) = SegmentSource::open(self.store, 0)? else {
            return self.empty();
        };
        let (header, hash) = source.header()?;
        let mut header = Arc::new(header);
        let mut walk = Walk::begin_log(&header, hash).map_err(|wrong| {
            VerifyError::Tampered(Fault { offset: 0, frame: None, ..fault_of(&header, &wrong) })
        })?;
        let mut tries = 0;
        // Whether a writer lived before the bytes at hand were read; unknown for bytes that were read ahead.
        let mut was_live = None;
        let end = loop {
            let why = match source.frame(walk.offset)? {
                Step::Frame(frame, bytes) => {
                    self.take(&mut walk, &frame, bytes, &header, &mut decryption)?;
                    (tries, was_live) = (0, None);
                    continue;
                }
                Step::End(why) => why,
            };
            // The end is judged by bytes that were read after it was known whether somebody writes them.
            let Some(is_live) = was_live else {
                was_live = Some(self.is_live()?);
                source.refresh();
                continue;
            };
            if let Some(mut next) = SegmentSource::open(self.store, walk.segment.saturating_add(1))? {
                // The writer may have written between our look at the end and our look for a successor.
                source.refresh();
                if let Step::Frame(..) = source.frame(walk.offset)? {
                    continue;
                }
                self.bytes = self.bytes.saturating_add(source.bytes()?.saturating_sub(walk.offset));
                let (next_header, hash) = self.join(&mut source, &mut next, &mut walk, why)?;
                walk.next_segment(&next_header, hash).map_err(|wrong| {
                    VerifyError::Tampered(Fault { offset: 0, frame: None, ..fault_of(&next_header, &wrong) })
                })?;
                header = Arc::new(next_header);
                source = next;
                (tries, was_live) = (0, None);
                continue;
            }
            let tail = if walk.frame == 0 {
                Tail::Altered { offset: 0, what: why }
            } else {
                source.tail(walk.offset, walk.expected(), walk.is_closed)?
            };
            if tail != Tail::Clean && is_live && tries < LIVE_TRIES {
                tries += 1;
                std::thread::sleep(LIVE_PAUSE);
                was_live = None;
                continue;
            }
            self.bytes = self.bytes.saturating_add(source.bytes()?.saturating_sub(walk.offset));
            break match tail {
                Tail::Altered { offset, what } => {
                    let mut fault = walk.fault(&Wrong { seq: None, what });
                    fault.offset = fault.offset.saturating_add(offset);
                    return Err(VerifyError::Tampered(fault));
                }
                _ if is_live => End::Live,
                Tail::Torn { remains_bytes } => {
                    End::Torn { file: segment_name(walk.segment), offset: walk.offset, bytes: remains_bytes }
                }
                Tail::Clean if walk.is_closed => End::Closed,
                Tail::Clean => End::Stopped,
            };
        };
        self.conclude(walk, end)
    }

    fn take(
        &mut self,
        walk: &mut Walk,
        frame: &Frame<'_>,
        bytes: &[u8],
        header: &Arc<SegmentHeader>,
        decryption: &mut Option<Decryption>,
    ) -> Result<(), VerifyError> {
        let offset = walk.offset;
        let before = walk.clone();
        let (stored, minimum) = (self.stored.as_ref(), self.options.minimum.as_ref());
        let mut differs = None;
        let taken = walk.frame(frame, |leaf, tree| {
            let is_other = |trusted: Option<&Checkpoint>| {
                trusted.is_some_and(|trusted| trusted.size() == tree.size() && *trusted.root() != tree.root())
            };
            let what = match (is_other(stored), is_other(minimum)) {
                (true, _) => "the log differs from the file `checkpoint`",
                (_, true) => "the log differs from the trusted checkpoint",
                _ => return Ok(()),
            };
            differs.get_or_insert(Wrong { seq: Some(leaf.seq), what });
            Ok(())
        });
        taken.map_err(|wrong| VerifyError::Tampered(before.fault(&wrong)))?;
        if let (Some(minimum), Some(origin)) = (minimum, &walk.origin)
            && minimum.origin() != origin
        {
            return Err(VerifyError::Checkpoint(NoteError::OtherLog {
                found: minimum.origin().clone(),
                expected: origin.clone(),
            }));
        }
        if let Some(wrong) = differs {
            return Err(VerifyError::Tampered(before.fault(&wrong)));
        }
        if let (Some(stored), Some(checkpoint)) = (stored, &walk.checkpoint)
            && stored.size() == checkpoint.size()
        {
            if stored.as_str() != checkpoint.as_str() {
                let what = "it is not the note of the frame at its size";
                return Err(VerifyError::Tampered(checkpoint_fault(what, None)));
            }
            self.is_stored_found = true;
        }
        if self.frames == 0 {
            self.first_time_ms = first_time_ms(frame);
        }
        if self.options.signatures == Signatures::Every {
            self.check_signature(walk, &before)?;
        }
        self.frames += 1;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        (self.progress)(Progress {
            segments: walk.segment.saturating_add(1),
            segments_total: self.layout.segments,
            entries: walk.tree.size(),
            bytes: self.bytes,
            bytes_total: self.bytes_total,
        });
        if let Some((jobs, spare)) = decryption {
            let mut copy = spare.try_recv().unwrap_or_default();
            copy.clear();
            copy.extend_from_slice(bytes);
            let job = Job { segment: Arc::clone(header), offset, header: frame.header, bytes: copy };
            if jobs.send(job).is_err() {
                // Decryption has found a fault, which is reported in place of this.
                return Err(VerifyError::Keys(KeyError::Derivation));
            }
        }
        Ok(())
    }

    /// Checks the end of a segment against what its successor says about it.
    fn join(
        &self,
        source: &mut SegmentSource,
        next: &mut SegmentSource,
        walk: &mut Walk,
        why: &'static str,
    ) -> Result<(SegmentHeader, crate::crypto::Hash), VerifyError> {
        let (header, hash) = next.header()?;
        if header.previous.valid_end > walk.offset || walk.frame == 0 {
            return Err(VerifyError::Tampered(walk.fault(&Wrong { seq: None, what: why })));
        }
        if header.previous.valid_end == walk.offset
            && let Err((offset, what)) = source.check_sealed(&header.previous)?
        {
            let fault = walk.fault(&Wrong { seq: None, what });
            return Err(VerifyError::Tampered(Fault { offset, frame: None, ..fault }));
        }
        Ok((header, hash))
    }

    fn is_live(&self) -> Result<bool, VerifyError> {
        self.store.has_writer().map_err(|error| ReadError::io("lock", error).into())
    }

    fn conclude(mut self, walk: Walk, end: End) -> Result<Report, VerifyError> {
        let size = walk.tree.size();
        if self.verifier_key.is_none()
            && let (Some(keys), Some(checkpoint)) = (self.keys, &walk.checkpoint)
        {
            // The keys are not bound yet: a writer is killed between the first frame and the binding.
            self.verifier_key = Some(verifier_key(keys.as_ref(), checkpoint.origin().clone())?);
            if let (Some(minimum), Some(key)) = (&self.options.minimum, &self.verifier_key) {
                minimum.verify(key).map_err(VerifyError::Checkpoint)?;
            }
        }
        self.check_signature(&walk, &walk)?;
        self.check_log_id(&walk)?;
        let truncated = |trusted: &Checkpoint| trusted.size() > size;
        let at_end = |what: &str| {
            let fault = walk.fault(&Wrong { seq: Some(size), what: "" });
            VerifyError::Tampered(Fault { what: what.to_owned(), ..fault })
        };
        if let Some(stored) = &self.stored {
            if let Some(key) = &self.verifier_key
                && let Err(error) = stored.verify(key)
            {
                return Err(VerifyError::Tampered(checkpoint_fault(&error.to_string(), None)));
            }
            if truncated(stored) {
                let what =
                    format!("the log is cut short: the file `checkpoint` names {} entries", stored.size());
                return Err(at_end(&what));
            }
            if !self.is_stored_found {
                let what = "it is not the note of any frame";
                return Err(VerifyError::Tampered(checkpoint_fault(what, None)));
            }
        }
        if let Some(minimum) = &self.options.minimum
            && truncated(minimum)
        {
            let what =
                format!("the log is cut short: the trusted checkpoint names {} entries", minimum.size());
            return Err(at_end(&what));
        }
        self.check_copied(walk.copied)?;
        Ok(Report {
            entries: size,
            segments: walk.segment.saturating_add(1),
            frames: self.frames,
            bytes: self.bytes,
            checkpoint: walk.checkpoint,
            first_recorded_at: time(self.first_time_ms),
            last_recorded_at: time(walk.time_ms),
            verifier_key: self.verifier_key.clone(),
            end,
            content: if self.keys.is_some() { Checked::Yes } else { Checked::NoKey },
            signature: if self.verifier_key.is_some() { Checked::Yes } else { Checked::NoKey },
            unknown_files: self.layout.unknown_files,
        })
    }

    /// Checks the signature on the checkpoint that the walk ends in; a fault is in the frame before `place` moves on.
    fn check_signature(&self, walk: &Walk, place: &Walk) -> Result<(), VerifyError> {
        let (Some(key), Some(checkpoint)) = (&self.verifier_key, &walk.checkpoint) else { return Ok(()) };
        match checkpoint.verify(key) {
            Ok(()) => Ok(()),
            Err(NoteError::OtherKey | NoteError::OtherLog { .. }) => {
                Err(VerifyError::Keys(KeyError::Wrong {
                    what: format!(
                        "the log is signed as `{}` with another key than that of `{}`",
                        checkpoint.origin(),
                        key.origin()
                    ),
                }))
            }
            Err(_) => {
                let what = "the signature on the checkpoint is not valid";
                Err(VerifyError::Tampered(place.fault(&Wrong { seq: None, what })))
            }
        }
    }

    /// Checks that the file `checkpoint` is there and as new as any crash leaves it, unless a checkpoint from elsewhere says as much.
    fn check_copied(&self, due: u64) -> Result<(), VerifyError> {
        let reaches =
            |checkpoint: &Option<Checkpoint>| checkpoint.as_ref().map_or(0, Checkpoint::size) >= due;
        if reaches(&self.stored) || reaches(&self.options.minimum) {
            return Ok(());
        }
        // A writer that began another run since has replaced what was read at first.
        match stored_checkpoint(self.store)? {
            Some(newer) if newer.size() >= due => Ok(()),
            found => Err(VerifyError::Tampered(copy_fault(found.as_ref(), due))),
        }
    }

    /// Another log under the same name and key is not the one that the keys were bound to.
    fn check_log_id(&self, walk: &Walk) -> Result<(), VerifyError> {
        let (Some(keys), Some(key)) = (self.keys, &self.verifier_key) else { return Ok(()) };
        if keys.log_id()?.is_some_and(|bound| bound != walk.log) && keys.public_key()? == *key.public_key() {
            return Err(VerifyError::Tampered(Fault {
                file: segment_name(0),
                offset: 0,
                frame: None,
                seq: None,
                what: "this is another log than the one that the keys were bound to".to_owned(),
            }));
        }
        Ok(())
    }

    fn empty(self) -> Result<Report, VerifyError> {
        // Keys are bound, and a verifier key is published, only when the first frame is durable.
        if self.stored.is_some() || self.options.minimum.is_some() || self.verifier_key.is_some() {
            return Err(VerifyError::Tampered(Fault {
                file: segment_name(0),
                offset: 0,
                frame: None,
                seq: Some(0),
                what: "the log is gone: a checkpoint or its keys name it, and no segment is left".to_owned(),
            }));
        }
        let end = if self.is_live()? { End::Live } else { End::Stopped };
        Ok(Report {
            entries: 0,
            segments: 0,
            frames: 0,
            bytes: 0,
            checkpoint: None,
            first_recorded_at: None,
            last_recorded_at: None,
            verifier_key: self.verifier_key,
            end,
            content: if self.keys.is_some() { Checked::Yes } else { Checked::NoKey },
            signature: Checked::NoKey,
            unknown_files: self.layout.unknown_files,
        })
    }
}

fn verifier_key(keys: &dyn KeyProvider, origin: Origin) -> Result<VerifierKey, KeyError> {
    VerifierKey::new(origin, keys.public_key()?)
        .map_err(|error| KeyError::Wrong { what: format!("the public key: {error}") })
}

fn first_time_ms(frame: &Frame<'_>) -> u64 {
    frame.leaves().next().flatten().and_then(Leaf::decode).map_or(0, |leaf| leaf.time_ms)
}

fn time(ms: u64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(ms).ok()?)
}

fn fault_of(header: &SegmentHeader, wrong: &Wrong) -> Fault {
    Fault {
        file: segment_name(header.segment),
        offset: 0,
        frame: None,
        seq: wrong.seq,
        what: wrong.what.to_owned(),
    }
}
