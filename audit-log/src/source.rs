//! Reading segments from a store, buffered and in bounded memory.

use crate::{
    crypto::{Hash, Hasher},
    error::{Fault, ReadError},
    frame::{FRAME_HEADER_BYTES, Frame, FrameHeader, Tail, judge_tail},
    limits::{FRAME_BYTES_MAX, HEADER_BYTES, NOTE_BYTES_MAX, SECTOR_BYTES},
    note::Checkpoint,
    segment::{
        CHECKPOINT_NAME, HeaderFault, LOCK_NAME, NEW_SUFFIX, Previous, SegmentHeader, segment_name,
        segment_number,
    },
    store::{Access, Store, StoreFile},
};

const BUFFER_BYTES: usize = 2 * FRAME_BYTES_MAX;

/// What a log directory holds.
pub(crate) struct Layout {
    /// Number of segments; they are numbered from 0.
    pub(crate) segments: u32,
    pub(crate) unknown_files: Vec<String>,
}

impl Layout {
    pub(crate) fn read(store: &dyn Store) -> Result<Self, ReadError> {
        let names = store.names().map_err(|error| ReadError::io(".", error))?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let mut segments = 0u32;
        for number in numbers {
            // A listing is no snapshot: while a writer makes segments it may show one and not the one before.
            while segments < number {
                if let Err(error) = store.open(&segment_name(segments), Access::Read) {
                    if error.kind() != std::io::ErrorKind::NotFound {
                        return Err(ReadError::io(&segment_name(segments), error));
                    }
                    return Err(ReadError::Tampered(Fault {
                        file: segment_name(segments),
                        offset: 0,
                        frame: None,
                        seq: None,
                        what: "the segment is missing".to_owned(),
                    }));
                }
                segments += 1;
            }
            segments = number.saturating_add(1);
        }
        let is_known = |name: &str| {
            name == LOCK_NAME
                || name == CHECKPOINT_NAME
                || segment_number(name).is_some()
                || name
                    .strip_suffix(NEW_SUFFIX)
                    .is_some_and(|made| made == CHECKPOINT_NAME || segment_number(made).is_some())
        };
        let mut unknown_files: Vec<String> = names.into_iter().filter(|name| !is_known(name)).collect();
        unknown_files.sort_unstable();
        Ok(Self { segments, unknown_files })
    }

    /// Bytes of all segments together.
    pub(crate) fn bytes(&self, store: &dyn Store) -> Result<u64, ReadError> {
        let mut bytes = 0u64;
        for number in 0..self.segments {
            if let Some(source) = SegmentSource::open(store, number)? {
                bytes = bytes.saturating_add(source.bytes()?);
            }
        }
        Ok(bytes)
    }
}

/// Reads the copy of the last checkpoint, where there is one. What it says is not verified.
pub(crate) fn stored_checkpoint(store: &dyn Store) -> Result<Option<Checkpoint>, ReadError> {
    let io = |error| ReadError::io(CHECKPOINT_NAME, error);
    let file = match store.open(CHECKPOINT_NAME, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut note = vec![0; NOTE_BYTES_MAX + 1];
    let bytes = file.read_at(&mut note, 0).map_err(io)?;
    note.truncate(bytes);
    match String::from_utf8(note).ok().and_then(|note| note.parse().ok()) {
        Some(checkpoint) => Ok(Some(checkpoint)),
        None => Err(ReadError::Tampered(checkpoint_fault("not a signed checkpoint", None))),
    }
}

pub(crate) fn checkpoint_fault(what: &str, seq: Option<u64>) -> Fault {
    Fault { file: CHECKPOINT_NAME.to_owned(), offset: 0, frame: None, seq, what: what.to_owned() }
}

/// What is wrong with a file `checkpoint` that does not reach `due` entries.
pub(crate) fn copy_fault(found: Option<&Checkpoint>, due: u64) -> Fault {
    let what = match found {
        Some(found) => {
            format!("it names {} entries, and {due} were copied here before the log went on", found.size())
        }
        None => format!("it is missing, and was written here when the log had {due} entries"),
    };
    checkpoint_fault(&what, None)
}

/// One segment, open for reading.
pub(crate) struct SegmentSource {
    file: Box<dyn StoreFile>,
    name: String,
    number: u32,
    buffer: Vec<u8>,
    buffer_offset: u64,
    filled: usize,
}

/// What stands at an offset.
pub(crate) enum Step<'a> {
    Frame(Frame<'a>, &'a [u8]),
    /// No valid frame, and why.
    End(&'static str),
}

impl SegmentSource {
    /// Opens a segment; `None` when there is no such file.
    pub(crate) fn open(store: &dyn Store, number: u32) -> Result<Option<Self>, ReadError> {
        let name = segment_name(number);
        match store.open(&name, Access::Read) {
            Ok(file) => {
                Ok(Some(Self { file, name, number, buffer: Vec::new(), buffer_offset: 0, filled: 0 }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ReadError::io(&name, error)),
        }
    }

    pub(crate) fn bytes(&self) -> Result<u64, ReadError> {
        self.file.bytes().map_err(|error| ReadError::io(&self.name, error))
    }

    /// Reads and checks the header, and that it is the header of this file.
    pub(crate) fn header(&mut self) -> Result<(SegmentHeader, Hash), ReadError> {
        let (name, number) = (self.name.clone(), self.number);
        let fault = |what: &str| {
            ReadError::Tampered(Fault {
                file: name.clone(),
                offset: 0,
                frame: None,
                seq: None,
                what: what.to_owned(),
            })
        };
        match SegmentHeader::decode(self.window(0, HEADER_BYTES)?) {
            Ok((header, hash)) if header.segment == number => Ok((header, hash)),
            Ok(_) => Err(fault("the segment is not the one that its name says")),
            Err(HeaderFault::Newer(version)) => Err(ReadError::NewerFormat { file: name, version }),
            Err(HeaderFault::Altered(what)) => Err(fault(what)),
        }
    }

    /// Up to `bytes` bytes from `offset` on; fewer where the file ends.
    fn window(&mut self, offset: u64, bytes: usize) -> Result<&[u8], ReadError> {
        let held = offset
            .checked_sub(self.buffer_offset)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip.checked_add(bytes).is_some_and(|end| end <= self.filled));
        let start = match held {
            Some(start) => start,
            None => {
                // A first small look is for a header; what is read in a row is read in large pieces.
                let ahead = if self.filled == 0 { bytes } else { bytes.max(BUFFER_BYTES) };
                let left = self.bytes()?.saturating_sub(offset);
                let capacity = usize::try_from(left).unwrap_or(usize::MAX).min(ahead);
                if self.buffer.len() < capacity {
                    self.buffer.resize(capacity, 0);
                }
                let buffer = self.buffer.get_mut(..capacity).unwrap_or_default();
                self.filled =
                    self.file.read_at(buffer, offset).map_err(|error| ReadError::io(&self.name, error))?;
                self.buffer_offset = offset;
                0
            }
        };
        let end = start.saturating_add(bytes).min(self.filled);
        Ok(self.buffer.get(start..end).unwrap_or_default())
    }

    /// Forgets what is buffered, because a writer may have written since.
    pub(crate) fn refresh(&mut self) {
        self.filled = 0;
    }

    /// Reads the header of the frame at `offset` alone.
    pub(crate) fn frame_header(&mut self, offset: u64) -> Result<Option<FrameHeader>, ReadError> {
        Ok(FrameHeader::decode(self.window(offset, FRAME_HEADER_BYTES)?).ok())
    }

    /// Reads the frame at `offset`.
    pub(crate) fn frame(&mut self, offset: u64) -> Result<Step<'_>, ReadError> {
        let header = match FrameHeader::decode(self.window(offset, FRAME_HEADER_BYTES)?) {
            Ok(header) => header,
            Err(what) => return Ok(Step::End(what)),
        };
        let bytes = self.window(offset, header.frame_bytes)?;
        Ok(match Frame::parse(header, bytes) {
            Ok(frame) => Step::Frame(frame, bytes),
            Err(what) => Step::End(what),
        })
    }

    /// Judges what lies after the last valid frame of the last segment. After the closing entry nothing is ever written.
    pub(crate) fn tail(
        &mut self,
        offset: u64,
        expected: (u32, u32, u64),
        is_closed: bool,
    ) -> Result<Tail, ReadError> {
        let window = self.window(offset, FRAME_BYTES_MAX)?;
        let ends_in_window = window.len() < FRAME_BYTES_MAX;
        let window = window.to_vec();
        let beyond = if ends_in_window {
            None
        } else {
            let after = offset.saturating_add(FRAME_BYTES_MAX as u64);
            self.first_filled(after)?.map(|place| place - offset)
        };
        Ok(match judge_tail(&window, ends_in_window, beyond, expected) {
            Tail::Torn { .. } if is_closed => {
                Tail::Altered { offset: 0, what: "bytes after the end of a closed log" }
            }
            tail => tail,
        })
    }

    /// Offset of the first non-zero byte from `offset` on.
    pub(crate) fn first_filled(&mut self, mut offset: u64) -> Result<Option<u64>, ReadError> {
        loop {
            let window = self.window(offset, FRAME_BYTES_MAX)?;
            if window.is_empty() {
                return Ok(None);
            }
            if let Some(place) = window.iter().position(|byte| *byte != 0) {
                return Ok(Some(offset.saturating_add(place as u64)));
            }
            offset = offset.saturating_add(window.len() as u64);
        }
    }

    /// Hash of `bytes` bytes from `offset` on, or of fewer where the file ends, and how many there were.
    pub(crate) fn hash(&mut self, mut offset: u64, bytes: u64) -> Result<(Hash, u64), ReadError> {
        let mut hasher = Hasher::new();
        let mut left = bytes;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(FRAME_BYTES_MAX);
            let window = self.window(offset, want)?;
            if window.is_empty() {
                break;
            }
            hasher.update(window);
            let read = window.len() as u64;
            offset = offset.saturating_add(read);
            left -= read;
        }
        Ok((hasher.finish(), bytes - left))
    }

    /// Checks that after the valid frames lie exactly the remains that the next segment names, and then zeros.
    pub(crate) fn check_sealed(
        &mut self,
        previous: &Previous,
    ) -> Result<Result<(), (u64, &'static str)>, ReadError> {
        self.refresh();
        let (hash, bytes) = self.hash(previous.valid_end, previous.remains_bytes)?;
        let end = previous.valid_end.saturating_add(previous.remains_bytes);
        let is_whole_sectors =
            previous.remains_bytes.is_multiple_of(SECTOR_BYTES as u64) || end == self.bytes()?;
        if bytes != previous.remains_bytes || hash != previous.remains_sha256 || !is_whole_sectors {
            let what = "what a crash left behind was changed since the next segment recorded it";
            return Ok(Err((previous.valid_end, what)));
        }
        Ok(match self.first_filled(end)? {
            Some(place) => Err((place, "bytes after the end of the segment")),
            None => Ok(()),
        })
    }
}
