//! What is durable before it is in the database: two files beside it, one of them written while what is in the other goes into the database.
//!
//! A frame is a mark (8 bytes), its number (8), the length of what it holds (8), a keyed hash of these and of what it holds (8), and that,
//! filled up to eight bytes. Numbers grow by one from frame to frame. Mark and hash come from a key that is new with each opening and that
//! no sender knows: nothing in an event can look like a frame, and no frame of an earlier opening counts.

use std::fs::{File, OpenOptions};
use std::hash::Hasher as _;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use siphasher::sip::SipHasher13;

/// Bytes in front of what a frame holds.
pub(super) const HEAD_BYTES: usize = 32;

/// By how much a file grows. Blocks that exist already are durable sooner than new ones.
const GROWTH_BYTES: u64 = 4 << 20;

/// What tells our frames from all else.
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) u128);

impl Key {
    fn hash(self, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0.to_le_bytes());
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }

    fn mark(self) -> u64 {
        self.hash(&[b"frame"])
    }
}

/// The two files.
pub(super) struct Journal {
    segments: [Segment; 2],
    /// Which is written.
    active: usize,
    key: Key,
    /// Of the next frame.
    next: u64,
}

struct Segment {
    file: File,
    /// Where the next frame goes.
    position: u64,
    /// Bytes that the file has.
    length: u64,
}

/// What a file holds of frames.
struct Found {
    first: u64,
    frames: Vec<Vec<u8>>,
}

/// Why a journal was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the journal of the log is damaged")]
    Damaged,
    #[error("the journal of the log is not beside it")]
    Missing,
}

fn paths(database: &Path) -> [PathBuf; 2] {
    ["journal-0", "journal-1"].map(|name| {
        let mut path = database.as_os_str().to_owned();
        path.push(".");
        path.push(name);
        path.into()
    })
}

impl Journal {
    /// Opens the files beside a database, which have to be there unless it is new, and reads frames after this number, in their order, each
    /// with its head.
    pub(super) fn open(
        database: &Path,
        is_new: bool,
        key: Key,
        applied: u64,
    ) -> Result<(Self, Vec<Vec<u8>>), ReplayError> {
        let open = |path: &PathBuf| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(is_new).truncate(is_new);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => ReplayError::Missing,
                _ => error.into(),
            })
        };
        let [first, second] = paths(database);
        let (mut first, mut second) = (open(&first)?, open(&second)?);
        #[cfg(unix)]
        if is_new && let Some(directory) = database.parent() {
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            File::open(directory)?.sync_all()?;
        }
        let mut found = Vec::new();
        let mut texts = Vec::new();
        for file in [&mut first, &mut second] {
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            found.extend(frames(&text, key));
            texts.push(text);
        }
        found.sort_by_key(|found| found.first);
        let mut next = applied.saturating_add(1);
        let mut replayed = Vec::new();
        for Found { first, frames } in found {
            for (number, frame) in (first..).zip(frames) {
                if number == next {
                    next = next.saturating_add(1);
                    replayed.push(frame);
                } else if number > next {
                    return Err(ReplayError::Damaged);
                }
            }
        }
        // The last frame may be torn: it was not answered for. Behind one that was, there is none.
        if texts.iter().any(|text| holds_later(text, key, next)) {
            return Err(ReplayError::Damaged);
        }
        let segment = |file: File, text: &Vec<u8>| Segment {
            file,
            position: 0,
            length: u64::try_from(text.len()).unwrap_or_default(),
        };
        let [of_first, of_second] = &*texts else { return Err(ReplayError::Damaged) };
        let segments = [segment(first, of_first), segment(second, of_second)];
        Ok((Self { segments, active: 0, key, next }, replayed))
    }

    /// Of frames from now on; all that were before are in the database.
    pub(super) fn begin(&mut self, key: Key) {
        self.key = key;
    }

    /// Writes a frame, durably. `frame` has [`HEAD_BYTES`] of room in front.
    pub(super) fn append(&mut self, frame: &mut Vec<u8>) -> io::Result<u64> {
        let number = self.next;
        let held = u64::try_from(frame.len().saturating_sub(HEAD_BYTES)).unwrap_or(u64::MAX);
        let hash = {
            let body = frame.get(HEAD_BYTES..).unwrap_or_default();
            self.key.hash(&[&number.to_le_bytes(), &held.to_le_bytes(), body])
        };
        let head = [self.key.mark(), number, held, hash];
        for (place, word) in frame.chunks_exact_mut(8).zip(head) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        frame.resize(frame.len().next_multiple_of(8), 0);
        let [first, second] = &mut self.segments;
        let segment = if self.active == 0 { first } else { second };
        segment.write(frame)?;
        self.next = number.saturating_add(1);
        Ok(number)
    }

    /// Goes on in the other file, from its begin. What was in it is in the database.
    pub(super) fn turn(&mut self) {
        self.active = usize::from(self.active == 0);
        if let Some(segment) = self.segments.get_mut(self.active) {
            segment.position = 0;
        }
    }
}

impl Segment {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let end = self.position.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        if end > self.length {
            self.grow(end)?;
        }
        self.file.seek(SeekFrom::Start(self.position))?;
        self.file.write_all(frame)?;
        self.file.sync_data()?;
        self.position = end;
        Ok(())
    }

    /// Writes zeros rather than asking for room: a block that was never written costs the file system an entry of its own when it is.
    fn grow(&mut self, end: u64) -> io::Result<()> {
        let length = end.next_multiple_of(GROWTH_BYTES);
        self.file.seek(SeekFrom::Start(self.length))?;
        io::copy(&mut io::repeat(0).take(length.saturating_sub(self.length)), &mut self.file)?;
        self.file.sync_all()?;
        self.length = length;
        Ok(())
    }
}

fn word(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

/// A frame that begins there: its number, and what it holds.
fn frame(text: &[u8], at: usize, key: Key) -> Option<(u64, &[u8])> {
    if word(text, at)? != key.mark() {
        return None;
    }
    let (number, held) = (word(text, at.checked_add(8)?)?, word(text, at.checked_add(16)?)?);
    let start = at.checked_add(HEAD_BYTES)?;
    let body = text.get(start..start.checked_add(usize::try_from(held).ok()?)?)?;
    let hash = key.hash(&[&number.to_le_bytes(), &held.to_le_bytes(), body]);
    (word(text, at.checked_add(24)?)? == hash).then_some((number, body))
}

/// Frames that follow each other from the begin of a file.
fn frames(text: &[u8], key: Key) -> Option<Found> {
    let (first, _) = frame(text, 0, key)?;
    let (mut at, mut next, mut frames) = (0_usize, first, Vec::new());
    while let Some((number, body)) = frame(text, at, key)
        && number == next
    {
        let end = at.saturating_add(HEAD_BYTES).saturating_add(body.len());
        frames.push(text.get(at..end).unwrap_or_default().to_vec());
        next = next.saturating_add(1);
        at = end.next_multiple_of(8);
    }
    Some(Found { first, frames })
}

/// Whether there is a frame of this number or a later one anywhere.
fn holds_later(text: &[u8], key: Key, number: u64) -> bool {
    let mark = key.mark().to_le_bytes();
    let places = text.chunks_exact(8).enumerate().filter(|(_, word)| *word == mark);
    places
        .filter_map(|(place, _)| frame(text, place.saturating_mul(8), key))
        .any(|(found, _)| found >= number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    const KEY: Key = Key(7);

    fn framed(text: &str) -> Vec<u8> {
        let mut frame = vec![0; HEAD_BYTES];
        frame.extend_from_slice(text.as_bytes());
        frame
    }

    fn open(path: &Path, applied: u64) -> Result<(Journal, Vec<String>), ReplayError> {
        let (journal, frames) = Journal::open(path, false, KEY, applied)?;
        Ok((
            journal,
            frames
                .into_iter()
                .map(|frame| String::from_utf8(frame[HEAD_BYTES..].to_vec()).unwrap())
                .collect(),
        ))
    }

    #[test]
    fn frames_come_back_in_order_and_from_both_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (mut journal, none) = Journal::open(&path, true, KEY, 0).unwrap();
        assert!(none.is_empty());
        for text in ["one", "two, a longer one", "three"] {
            journal.append(&mut framed(text)).unwrap();
        }
        journal.turn();
        assert_eq!(journal.append(&mut framed("four")).unwrap(), 4);
        assert_eq!(open(&path, 0).unwrap().1, ["one", "two, a longer one", "three", "four"]);
        assert_eq!(open(&path, 3).unwrap().1, ["four"], "what is in the database is not read again");
        // The first file again, over what was in it: only now may its old frames go.
        journal.turn();
        journal.append(&mut framed("5")).unwrap();
        assert_eq!(open(&path, 3).unwrap().1, ["four", "5"]);
        assert!(open(&path, 5).unwrap().1.is_empty());
        assert!(Journal::open(&path, false, Key(8), 0).unwrap().1.is_empty(), "another key has no frames");
    }

    #[test]
    fn the_last_frame_may_be_torn_anywhere_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (mut journal, _) = Journal::open(&path, true, KEY, 0).unwrap();
        for text in ["one", "two", "three"] {
            journal.append(&mut framed(text)).unwrap();
        }
        let file = paths(&path)[0].clone();
        let whole = std::fs::read(&file).unwrap();
        for at in 0..120 {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(&file, &torn).unwrap();
            match at / 40 {
                2 if at % 40 < 37 => assert_eq!(open(&path, 0).unwrap().1, ["one", "two"], "{at}"),
                // What fills a frame up says nothing.
                _ if at % 40 >= HEAD_BYTES + [3, 3, 5][at / 40] => {
                    assert_eq!(open(&path, 0).unwrap().1.len(), 3, "{at}");
                }
                _ => assert!(matches!(open(&path, 0), Err(ReplayError::Damaged)), "{at}"),
            }
        }
    }

    #[test]
    fn a_journal_that_is_gone_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        drop(Journal::open(&path, true, KEY, 0).unwrap());
        std::fs::remove_file(&paths(&path)[1]).unwrap();
        assert!(matches!(open(&path, 0), Err(ReplayError::Missing)));
    }
}
