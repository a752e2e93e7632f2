//! Walking through a log frame by frame: what must hold from one to the next. Pure; bytes in, verdicts out.

use crate::{
    crypto::{Hash, LogId, sha256},
    error::Fault,
    frame::Frame,
    leaf::Leaf,
    merkle::{Frontier, leaf_hash},
    note::{Checkpoint, Origin},
    segment::{Previous, SegmentHeader, segment_name},
};

/// What is wrong, and with which entry.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) seq: Option<u64>,
    pub(crate) what: &'static str,
}

impl Wrong {
    fn at(seq: u64, what: &'static str) -> Self {
        Self { seq: Some(seq), what }
    }
}

/// State between two frames.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    pub(crate) log: LogId,
    pub(crate) segment: u32,
    pub(crate) epoch: u32,
    /// Number that the next frame must have.
    pub(crate) frame: u32,
    /// Offset where the next frame must begin.
    pub(crate) offset: u64,
    pub(crate) tree: Frontier,
    pub(crate) chain: Hash,
    pub(crate) time_ms: u64,
    pub(crate) origin: Option<Origin>,
    /// Checkpoint of the last frame.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Whether the last entry is `log.closed`.
    pub(crate) is_closed: bool,
    /// Size after the last frame, where that frame begins a run of the writer.
    begun: Option<u64>,
    /// Size that the file `checkpoint` reaches at the least: a run copies the checkpoint of its first frame before it takes entries.
    pub(crate) copied: u64,
}

impl Walk {
    /// Begins at a segment whose header is taken at its word; the first frame's signature covers it.
    pub(crate) fn begin(header: &SegmentHeader, hash: Hash) -> Self {
        Self {
            log: header.log,
            segment: header.segment,
            epoch: header.epoch,
            frame: 0,
            offset: crate::limits::HEADER_BYTES as u64,
            tree: header.start.clone(),
            chain: hash,
            time_ms: 0,
            origin: None,
            checkpoint: None,
            is_closed: false,
            begun: None,
            copied: header.start.size(),
        }
    }

    /// Begins at segment 0, before which there is nothing.
    pub(crate) fn begin_log(header: &SegmentHeader, hash: Hash) -> Result<Self, Wrong> {
        if header.segment != 0 || header.start.size() != 0 || header.previous != Previous::none() {
            return Err(Wrong { seq: None, what: "the first segment is not the beginning of a log" });
        }
        Ok(Self::begin(header, hash))
    }

    /// Goes on to the next segment. How the remains of the previous one look is for the caller to check.
    pub(crate) fn next_segment(&mut self, header: &SegmentHeader, hash: Hash) -> Result<(), Wrong> {
        let wrong = |what| Err(Wrong { seq: Some(self.tree.size()), what });
        if header.log != self.log {
            return wrong("the segment belongs to another log");
        }
        if Some(header.segment) != self.segment.checked_add(1) {
            return wrong("the segment is not the one that its name says");
        }
        if header.start != self.tree {
            return wrong("the segment does not go on where the one before ends");
        }
        if header.previous.chain != self.chain {
            return wrong("the segment does not follow on the bytes of the one before");
        }
        if header.previous.valid_end != self.offset {
            return wrong("the segment names another end of the one before");
        }
        let origin = self.origin.take();
        let checkpoint = self.checkpoint.take();
        let (time_ms, is_closed, begun, copied) = (self.time_ms, self.is_closed, self.begun, self.copied);
        *self = Self { time_ms, origin, checkpoint, is_closed, begun, copied, ..Self::begin(header, hash) };
        Ok(())
    }

    /// Takes the next frame. `on_leaf` sees each leaf with the tree that ends in it.
    pub(crate) fn frame(
        &mut self,
        frame: &Frame<'_>,
        mut on_leaf: impl FnMut(&Leaf<'_>, &Frontier) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let header = &frame.header;
        let first_seq = self.tree.size();
        if (header.segment, header.frame, header.first_seq) != (self.segment, self.frame, first_seq) {
            return Err(Wrong::at(first_seq, "a frame that does not belong here"));
        }
        let mut entries = 0;
        let mut begins_run = false;
        for bytes in frame.leaves() {
            let seq = self.tree.size();
            let leaf = bytes
                .and_then(|bytes| Some((bytes, Leaf::decode(bytes)?)))
                .ok_or(Wrong::at(seq, "a leaf is malformed"));
            let (bytes, leaf) = leaf?;
            self.check_leaf(&leaf, entries == 0)?;
            self.tree.push(leaf_hash(bytes));
            self.time_ms = leaf.time_ms;
            self.is_closed = leaf.event_type == "log.closed";
            begins_run |= matches!(leaf.event_type, "log.created" | "log.opened");
            entries += 1;
            on_leaf(&leaf, &self.tree)?;
        }
        if entries != header.entries {
            return Err(Wrong::at(first_seq, "the frame has another number of leaves than it says"));
        }
        self.take_checkpoint(frame.checkpoint).map_err(|what| Wrong::at(first_seq, what))?;
        self.copied = self.begun.take().unwrap_or(self.copied);
        self.begun = begins_run.then(|| self.tree.size());
        self.chain = sha256(&[&self.chain, &frame.hash]);
        self.frame = self.frame.checked_add(1).ok_or(Wrong::at(first_seq, "too many frames"))?;
        self.offset = self.offset.saturating_add(header.frame_bytes as u64);
        Ok(())
    }

    fn check_leaf(&self, leaf: &Leaf<'_>, is_first: bool) -> Result<(), Wrong> {
        let seq = self.tree.size();
        let what = if leaf.log != self.log {
            "the leaf belongs to another log"
        } else if leaf.seq != seq {
            "the leaf has another sequence number"
        } else if leaf.epoch != self.epoch {
            "the leaf names another key epoch than its segment"
        } else if leaf.time_ms < self.time_ms {
            "the leaf is earlier than the one before"
        } else if leaf.chain.is_some() != is_first || leaf.chain.is_some_and(|chain| chain != self.chain) {
            "the leaf does not follow on the bytes before it"
        } else if leaf.predecessor.is_some() && seq != 0 {
            "the leaf names a predecessor log"
        } else if (leaf.event_type == "log.created") != (seq == 0) {
            "the log is not begun by its first entry"
        } else {
            return Ok(());
        };
        Err(Wrong::at(seq, what))
    }

    fn take_checkpoint(&mut self, note: &[u8]) -> Result<(), &'static str> {
        let note = std::str::from_utf8(note).map_err(|_| "the checkpoint is malformed")?;
        let checkpoint: Checkpoint = note.parse().map_err(|_| "the checkpoint is malformed")?;
        if checkpoint.size() != self.tree.size() || *checkpoint.root() != self.tree.root() {
            return Err("the checkpoint names another tree");
        }
        if !checkpoint.has_one_signature() {
            return Err("the checkpoint has not exactly one signature");
        }
        match &self.origin {
            Some(origin) if origin != checkpoint.origin() => return Err("the checkpoint is of another log"),
            Some(_) => {}
            None => self.origin = Some(checkpoint.origin().clone()),
        }
        self.checkpoint = Some(checkpoint);
        Ok(())
    }

    /// The frame that must come next: segment, frame, first seq.
    pub(crate) fn expected(&self) -> (u32, u32, u64) {
        (self.segment, self.frame, self.tree.size())
    }

    /// Names the place that the walk has come to.
    pub(crate) fn fault(&self, wrong: &Wrong) -> Fault {
        Fault {
            file: segment_name(self.segment),
            offset: self.offset,
            frame: Some(self.frame),
            seq: wrong.seq.or(Some(self.tree.size())),
            what: wrong.what.to_owned(),
        }
    }
}
