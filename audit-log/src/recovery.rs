//! Opening an existing log for writing: where it validly ends, and what a crash left behind.

use std::sync::Arc;

use crate::{
    content::Opener,
    crypto::Hash,
    error::{Fault, NoteError, OpenError, ReadError},
    frame::Tail,
    keys::KeyProvider,
    note::{Checkpoint, VerifierKey},
    segment::{CHECKPOINT_NAME, Previous, segment_name},
    source::{SegmentSource, Step, checkpoint_fault, copy_fault},
    store::{Access, Store},
    walk::{Walk, Wrong},
    writer::Position,
};

/// What a crash left behind: bytes that were never acknowledged.
pub(crate) struct Remains {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: Hash,
}

pub(crate) struct Recovered {
    pub(crate) position: Position,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) is_closed: bool,
    pub(crate) remains: Option<Remains>,
}

/// Checkpoints that the log must contain.
pub(crate) struct Trusted {
    /// The log's own copy.
    pub(crate) stored: Option<Checkpoint>,
    /// What the caller kept elsewhere.
    pub(crate) minimum: Option<Checkpoint>,
}

impl Trusted {
    fn smallest(&self) -> Option<u64> {
        [&self.stored, &self.minimum].into_iter().flatten().map(Checkpoint::size).min()
    }
}

/// Reads the end of the log, checks it, and makes it durable as it is.
pub(crate) fn recover(
    store: &dyn Store,
    keys: &Arc<dyn KeyProvider>,
    key: &VerifierKey,
    segments: u32,
    trusted: &Trusted,
) -> Result<Recovered, OpenError> {
    // What was given from outside is no part of the log, so it is judged by itself.
    if let Some(minimum) = &trusted.minimum {
        minimum.verify(key).map_err(OpenError::Checkpoint)?;
    }
    let (mut source, mut walk, header) = begin(store, segments, trusted)?;
    Opener::new(Arc::clone(keys)).segment(&header)?;
    let mut last_frame_offset = walk.offset;
    let mut is_stored_found = trusted.stored.is_none();
    let tail = loop {
        let why = match source.frame(walk.offset)? {
            Step::Frame(frame, _) => {
                let place = walk.fault(&Wrong { seq: None, what: "" });
                last_frame_offset = walk.offset;
                let mut differs = None;
                let taken = walk.frame(&frame, |_, tree| {
                    for checkpoint in [&trusted.stored, &trusted.minimum].into_iter().flatten() {
                        if checkpoint.size() == tree.size() && *checkpoint.root() != tree.root() {
                            differs = Some(checkpoint.size());
                        }
                    }
                    Ok(())
                });
                if let Err(wrong) = taken {
                    let seq = wrong.seq.or(place.seq);
                    return Err(OpenError::Tampered(Fault { seq, what: wrong.what.to_owned(), ..place }));
                }
                if let Some(trusted) = differs {
                    return Err(OpenError::RolledBack { trusted, what: "its entries are others".to_owned() });
                }
                if let (Some(stored), Some(checkpoint)) = (&trusted.stored, &walk.checkpoint)
                    && stored.size() == checkpoint.size()
                {
                    if stored.as_str() != checkpoint.as_str() {
                        let what = "it is not the note of the frame at its size";
                        return Err(OpenError::Tampered(checkpoint_fault(what, None)));
                    }
                    is_stored_found = true;
                }
                continue;
            }
            Step::End(why) => why,
        };
        if walk.segment.saturating_add(1) < segments {
            (source, walk) = go_on(store, source, walk, why)?;
            continue;
        }
        if walk.frame == 0 {
            return Err(OpenError::Tampered(walk.fault(&Wrong { seq: None, what: why })));
        }
        break source.tail(walk.offset, walk.expected(), walk.is_closed)?;
    };
    let remains_bytes = match tail {
        Tail::Clean => 0,
        Tail::Torn { remains_bytes } => remains_bytes,
        Tail::Altered { offset, what } => {
            let mut fault = walk.fault(&Wrong { seq: None, what });
            fault.offset = fault.offset.saturating_add(offset);
            return Err(OpenError::Tampered(fault));
        }
    };
    let checkpoint = check_signatures(&walk, key, trusted)?;
    if !is_stored_found {
        return Err(OpenError::Tampered(checkpoint_fault("it is not the note of any frame", None)));
    }
    let reaches = |trusted: &Option<Checkpoint>| trusted.as_ref().map_or(0, Checkpoint::size) >= walk.copied;
    if !reaches(&trusted.stored) && !reaches(&trusted.minimum) {
        return Err(OpenError::Tampered(copy_fault(trusted.stored.as_ref(), walk.copied)));
    }
    let (sha256, _) = source.hash(walk.offset, remains_bytes)?;
    let end = walk.offset.saturating_add(remains_bytes);
    harden(store, &source, walk.segment, last_frame_offset, end)?;
    // Before anything is built upon it, the end that was found is copied: so the copy is never older than the run before.
    if trusted.stored.as_ref().is_none_or(|stored| stored.size() < checkpoint.size()) {
        let replaced = store.replace(CHECKPOINT_NAME, checkpoint.as_str().as_bytes());
        replaced.map_err(|error| ReadError::io(CHECKPOINT_NAME, error))?;
    }
    let is_closed = walk.is_closed;
    let remains = (remains_bytes > 0).then_some(Remains {
        segment: walk.segment,
        offset: walk.offset,
        bytes: remains_bytes,
        sha256,
    });
    let position = Position {
        log: walk.log,
        segment: walk
            .segment
            .checked_add(1)
            .ok_or(OpenError::Option("the log has as many segments as it can have"))?,
        previous: Previous {
            valid_end: walk.offset,
            remains_bytes,
            remains_sha256: sha256,
            chain: walk.chain,
        },
        tree: walk.tree,
        time_ms: walk.time_ms,
    };
    Ok(Recovered { position, checkpoint, is_closed, remains })
}

/// The last segment, or the one in which the oldest trusted checkpoint lies.
fn begin(
    store: &dyn Store,
    segments: u32,
    trusted: &Trusted,
) -> Result<(SegmentSource, Walk, crate::segment::SegmentHeader), OpenError> {
    let mut number = segments.saturating_sub(1);
    loop {
        let missing = || {
            OpenError::Tampered(Fault {
                file: segment_name(number),
                offset: 0,
                frame: None,
                seq: None,
                what: "the segment is missing".to_owned(),
            })
        };
        let mut source = SegmentSource::open(store, number)?.ok_or_else(missing)?;
        let (header, hash) = source.header()?;
        let is_late = trusted.smallest().is_some_and(|size| size <= header.start.size());
        if number > 0 && is_late {
            number -= 1;
            continue;
        }
        let walk = if number == 0 {
            Walk::begin_log(&header, hash).map_err(|wrong| {
                let place = Walk::begin(&header, hash).fault(&wrong);
                OpenError::Tampered(Fault { offset: 0, frame: None, ..place })
            })?
        } else {
            Walk::begin(&header, hash)
        };
        return Ok((source, walk, header));
    }
}

/// Moves to the next segment.
fn go_on(
    store: &dyn Store,
    mut source: SegmentSource,
    mut walk: Walk,
    why: &'static str,
) -> Result<(SegmentSource, Walk), OpenError> {
    let altered = |fault| OpenError::Tampered(fault);
    let number = walk.segment.saturating_add(1);
    let Some(mut next) = SegmentSource::open(store, number)? else {
        return Err(altered(walk.fault(&Wrong { seq: None, what: "the next segment is missing" })));
    };
    let (header, hash) = next.header()?;
    if header.previous.valid_end > walk.offset || walk.frame == 0 {
        return Err(altered(walk.fault(&Wrong { seq: None, what: why })));
    }
    if header.previous.valid_end == walk.offset
        && let Err((offset, what)) = source.check_sealed(&header.previous)?
    {
        let fault = walk.fault(&Wrong { seq: None, what });
        return Err(altered(Fault { offset, frame: None, ..fault }));
    }
    if let Err(wrong) = walk.next_segment(&header, hash) {
        let fault = walk.fault(&wrong);
        return Err(altered(Fault { file: segment_name(number), offset: 0, frame: None, ..fault }));
    }
    Ok((next, walk))
}

fn check_signatures(walk: &Walk, key: &VerifierKey, trusted: &Trusted) -> Result<Checkpoint, OpenError> {
    let Some(checkpoint) = walk.checkpoint.clone() else {
        return Err(OpenError::Tampered(walk.fault(&Wrong { seq: None, what: "the log has no checkpoint" })));
    };
    match checkpoint.verify(key) {
        Ok(()) => {}
        Err(error @ (NoteError::OtherKey | NoteError::OtherLog { .. })) => {
            return Err(OpenError::Keys(crate::error::KeyError::Wrong { what: error.to_string() }));
        }
        Err(_) => {
            let what = "the signature on the checkpoint is not valid";
            return Err(OpenError::Tampered(walk.fault(&Wrong { seq: None, what })));
        }
    }
    if let Some(stored) = &trusted.stored
        && let Err(error) = stored.verify(key)
    {
        return Err(OpenError::Tampered(checkpoint_fault(&error.to_string(), None)));
    }
    for trusted in [&trusted.stored, &trusted.minimum].into_iter().flatten() {
        if trusted.size() > checkpoint.size() {
            let what = format!("it has {} entries", checkpoint.size());
            return Err(OpenError::RolledBack { trusted: trusted.size(), what });
        }
    }
    Ok(checkpoint)
}

/// Makes the end of the last segment durable, whatever happened before: the bytes of its last frame and of any remains are written
/// again as they are (after a failed sync the system may hold them and believe them written) and synced. Cuts off zeros only.
fn harden(
    store: &dyn Store,
    source: &SegmentSource,
    segment: u32,
    from: u64,
    end: u64,
) -> Result<(), OpenError> {
    let name = segment_name(segment);
    let failed = |source| OpenError::from(ReadError::io(&name, source));
    let file = store.open(&name, Access::Write).map_err(failed)?;
    let bytes = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
    let mut same = vec![0; bytes];
    let read = file.read_at(&mut same, from).map_err(failed)?;
    same.truncate(read);
    file.write_at(&same, from).map_err(failed)?;
    if source.bytes()? > end {
        file.truncate(end).map_err(failed)?;
    }
    file.sync().map_err(failed)
}
