//! Reading entries in order of sequence.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    content::{ContentFault, Opener},
    error::{Fault, ReadError},
    frame::{Frame, Tail},
    keys::KeyProvider,
    limits::HEADER_BYTES,
    query::Prepared,
    record::Record,
    recorded::Recorded,
    segment::{SegmentHeader, segment_name},
    source::{Layout, SegmentSource, Step},
    store::Store,
    walk::Wrong,
};

const LIVE_TRIES: u32 = 200;
const LIVE_PAUSE: Duration = Duration::from_millis(2);

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// To the end of the log.
    End,
    /// To this sequence number or the end of the log, whichever comes first.
    AtMost(u64),
    /// To this sequence number; everything before it was acknowledged, so that it must be there.
    Acknowledged(u64),
}

impl Until {
    fn excludes(self, seq: u64) -> bool {
        match self {
            Self::End => false,
            Self::AtMost(end) | Self::Acknowledged(end) => seq >= end,
        }
    }
}

/// Goes through the frames of a log from a given entry on. Can be continued after the log has grown.
pub(crate) struct FrameScan {
    store: Arc<dyn Store>,
    source: Option<(SegmentSource, SegmentHeader)>,
    offset: u64,
    frame: u32,
    /// Sequence number of the next entry that is wanted.
    next_seq: u64,
}

impl FrameScan {
    pub(crate) fn new(store: Arc<dyn Store>, from: u64) -> Self {
        Self { store, source: None, offset: 0, frame: 0, next_seq: from }
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Finds the segment that holds `next_seq`: the last one that begins at or before it.
    fn locate(&mut self) -> Result<bool, ReadError> {
        let (mut low, mut high) = (0, Layout::read(self.store.as_ref())?.segments);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.header_of(middle)? {
                Some((_, header)) if header.start.size() <= self.next_seq => low = middle,
                _ => high = middle,
            }
        }
        self.source = self.header_of(low)?;
        self.offset = HEADER_BYTES as u64;
        self.frame = 0;
        Ok(self.source.is_some())
    }

    fn header_of(&self, number: u32) -> Result<Option<(SegmentSource, SegmentHeader)>, ReadError> {
        let Some(mut source) = SegmentSource::open(self.store.as_ref(), number)? else { return Ok(None) };
        let (header, _) = source.header()?;
        Ok(Some((source, header)))
    }

    /// Hands the next frame that holds wanted entries to `visit`. `false` at the end.
    pub(crate) fn next_frame<E: From<ReadError>>(
        &mut self,
        until: Until,
        visit: &mut dyn FnMut(&SegmentHeader, u64, &Frame<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut tries = 0;
        // Whether a writer lived before the bytes at hand were read; unknown for bytes that were read ahead.
        let mut was_live = None;
        let mut is_joined = false;
        loop {
            if until.excludes(self.next_seq) {
                return Ok(false);
            }
            if self.source.is_none() && !self.locate()? {
                return Ok(false);
            }
            let Some((source, header)) = &mut self.source else { return Ok(false) };
            // Frames before the first wanted one are hopped over by their headers.
            if let Some(frame) = source.frame_header(self.offset)?
                && (frame.segment, frame.frame) == (header.segment, self.frame)
                && frame.first_seq.saturating_add(u64::from(frame.entries)) <= self.next_seq
            {
                self.offset = self.offset.saturating_add(frame.frame_bytes as u64);
                self.frame = self.frame.saturating_add(1);
                continue;
            }
            let (offset, number) = (self.offset, self.frame);
            let fault = |header: &SegmentHeader, what: &str| Fault {
                file: segment_name(header.segment),
                offset,
                frame: Some(number),
                seq: Some(self.next_seq),
                what: what.to_owned(),
            };
            let why = match source.frame(offset)? {
                Step::Frame(frame, _) => {
                    let found = &frame.header;
                    if (found.segment, found.frame) != (header.segment, number)
                        || found.first_seq > self.next_seq
                    {
                        let what = "a frame that does not belong here";
                        return Err(ReadError::Tampered(fault(header, what)).into());
                    }
                    visit(header, offset, &frame)?;
                    self.next_seq = found.first_seq.saturating_add(u64::from(found.entries));
                    self.offset = offset.saturating_add(found.frame_bytes as u64);
                    self.frame = number.saturating_add(1);
                    return Ok(true);
                }
                Step::End(why) => why,
            };
            // The end is judged by bytes that were read after it was known whether somebody writes them.
            let Some(is_live) = was_live else {
                let is_live = self.store.has_writer().map_err(|error| ReadError::io("lock", error))?;
                was_live = Some(is_live);
                source.refresh();
                continue;
            };
            if let Some(mut next) =
                SegmentSource::open(self.store.as_ref(), header.segment.saturating_add(1))?
            {
                let (next_header, _) = next.header()?;
                if next_header.previous.valid_end == offset && next_header.log == header.log {
                    self.source = Some((next, next_header));
                    self.offset = HEADER_BYTES as u64;
                    self.frame = 0;
                    (was_live, is_joined) = (None, false);
                    continue;
                }
                // The writer may have written between our look at the end and our look for a successor.
                if is_joined {
                    return Err(ReadError::Tampered(fault(header, why)).into());
                }
                is_joined = true;
                source.refresh();
                continue;
            }
            let expected = (header.segment, number, self.next_seq);
            let tail = source.tail(offset, expected, false)?;
            if tail != Tail::Clean && is_live && tries < LIVE_TRIES {
                tries += 1;
                std::thread::sleep(LIVE_PAUSE);
                was_live = None;
                continue;
            }
            return match tail {
                Tail::Altered { what, .. } => Err(ReadError::Tampered(fault(header, what)).into()),
                _ if matches!(until, Until::Acknowledged(_)) => {
                    Err(ReadError::Tampered(fault(header, "an entry that was acknowledged is missing"))
                        .into())
                }
                _ => Ok(false),
            };
        }
    }
}

/// Entries of a log, in order of sequence, decrypted and compared with their leaves. An iterator that blocks while it reads.
pub struct Entries {
    frames: FrameScan,
    opener: Opener,
    query: Option<Prepared>,
    from: u64,
    until: Until,
    ready: VecDeque<Recorded>,
    has_failed: bool,
}

impl Entries {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        keys: Arc<dyn KeyProvider>,
        query: Option<Prepared>,
        from: u64,
        until: Until,
    ) -> Self {
        Self {
            frames: FrameScan::new(store, from),
            opener: Opener::new(keys),
            query,
            from,
            until,
            ready: VecDeque::new(),
            has_failed: false,
        }
    }

    /// Lets the iterator go on up to a later end, after it has come to the present one.
    pub(crate) fn extend(&mut self, until: Until) {
        self.until = until;
    }

    fn fill(&mut self) -> Result<bool, ReadError> {
        let Self { frames, opener, query, from, until, ready, .. } = self;
        frames.next_frame::<ReadError>(*until, &mut |header, offset, frame| {
            opener.segment(header)?;
            let (segment, number) = (header.segment, frame.header.frame);
            let visited = opener.frame(frame, |leaf, record| {
                let seq = leaf.seq;
                let is_wanted = seq >= *from && !until.excludes(seq);
                if !is_wanted || query.as_ref().is_some_and(|query| !query.may_match(leaf, record)) {
                    return Ok(());
                }
                let malformed = Wrong { seq: Some(seq), what: "the content of the entry is malformed" };
                let entry = Record::parse(record)
                    .and_then(|record| Recorded::assemble(leaf, record, segment, number))
                    .ok_or(malformed)?;
                if query.as_ref().is_none_or(|query| query.matches(&entry)) {
                    ready.push_back(entry);
                }
                Ok(())
            });
            visited.map_err(|fault| match fault {
                ContentFault::Keys(error) => ReadError::Keys(error),
                ContentFault::Wrong(wrong) => ReadError::Tampered(Fault {
                    file: segment_name(segment),
                    offset,
                    frame: Some(number),
                    seq: wrong.seq,
                    what: wrong.what.to_owned(),
                }),
            })
        })
    }
}

impl Iterator for Entries {
    type Item = Result<Recorded, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            if self.has_failed {
                return None;
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.has_failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("next", &self.frames.next_seq()).finish_non_exhaustive()
    }
}
