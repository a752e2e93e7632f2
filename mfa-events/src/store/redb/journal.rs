//! What is durable before it is in the database: two files beside it, one of them written while what is in the other goes into the database.
//!
//! A frame is a mark (8 bytes), its number (8), the length of what it holds (8), a keyed hash of these and of what it holds (8), and that,
//! filled up to eight bytes. Numbers grow by one from frame to frame. Mark and hash come from a key that is new with each opening and that
//! no sender knows: nothing in an event can look like a frame, and no frame of an earlier opening counts.
//!
//! In front of the frames each file has a block that says what it is of: a word of ours (8 bytes), the format of the file (8), the key of its
//! frames (16) and the key before (16), which is the database's until that is told. It stands in one sector, and is written once for each
//! opening. A file that is of another log or another time does not have the database's key there.

use std::fs::{File, OpenOptions};
use std::hash::Hasher as _;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use siphasher::sip::SipHasher13;

/// Bytes in front of what a frame holds.
pub(super) const HEAD_BYTES: usize = 32;

/// Bytes of the block in front of the frames: no write of a frame touches its page.
const BLOCK_BYTES: usize = 4096;

/// Where the first frame begins.
const FIRST: u64 = BLOCK_BYTES as u64;

const MAGIC: [u8; 8] = *b"mfa-jrnl";

/// Of a file that this code reads and writes.
const FORMAT: u64 = 1;

/// By how much a file grows. Blocks that exist already are durable sooner than new ones.
const GROWTH_BYTES: u64 = 4 << 20;

/// What tells our frames from all else.
#[derive(Clone, Copy, PartialEq)]
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
    #[error(
        "the journal beside the log is of another log, or the log or its journal was put back from another time"
    )]
    Foreign,
    #[error("the log is new or its file is gone, and the journal of one that was there is still beside it")]
    Left,
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
    /// Opens the files beside a database, which have to be there unless it is new, and be of this key, and reads frames after this number, in
    /// their order, each with its head. Changes nothing in them.
    pub(super) fn open(
        database: &Path,
        is_new: bool,
        key: Key,
        applied: u64,
    ) -> Result<(Self, Vec<Vec<u8>>), ReplayError> {
        let open = |path: &PathBuf| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(is_new).truncate(false);
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
        let is_ahead = is_ahead(&texts, is_new, key)?;
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
        // Blocks are written when every frame is in the database.
        if is_ahead && !replayed.is_empty() {
            return Err(ReplayError::Foreign);
        }
        let segment = |file: File, text: &Vec<u8>| Segment {
            file,
            position: FIRST,
            length: u64::try_from(text.len()).unwrap_or_default(),
        };
        let [of_first, of_second] = &*texts else { return Err(ReplayError::Damaged) };
        let segments = [segment(first, of_first), segment(second, of_second)];
        Ok((Self { segments, active: 0, key, next }, replayed))
    }

    /// Of frames from now on; all that were before are in the database, which is to be told of the key next.
    pub(super) fn begin(&mut self, key: Key) -> io::Result<()> {
        let block = block(key, self.key);
        for segment in &mut self.segments {
            segment.file.seek(SeekFrom::Start(0))?;
            segment.file.write_all(&block)?;
            segment.file.sync_all()?;
            segment.length = segment.length.max(FIRST);
        }
        self.key = key;
        Ok(())
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

    /// Makes writes fail from now on, as those of a disk that is gone, and answers what [`take_writes`](Self::take_writes) undoes it with.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub(super) fn refuse_writes(&mut self, database: &Path) -> [File; 2] {
        self.take_writes(paths(database).map(|path| File::open(path).unwrap()))
    }

    #[cfg(test)]
    pub(super) fn take_writes(&mut self, files: [File; 2]) -> [File; 2] {
        let [of_first, of_second] = files;
        let [first, second] = &mut self.segments;
        [std::mem::replace(&mut first.file, of_first), std::mem::replace(&mut second.file, of_second)]
    }

    /// Goes on in the other file, from its first frame. What was in it is in the database.
    pub(super) fn turn(&mut self) {
        self.active = usize::from(self.active == 0);
        if let Some(segment) = self.segments.get_mut(self.active) {
            segment.position = FIRST;
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

/// What says what a file is of.
fn block(key: Key, before: Key) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    block.extend_from_slice(&MAGIC);
    block.extend_from_slice(&FORMAT.to_le_bytes());
    block.extend_from_slice(&key.0.to_le_bytes());
    block.extend_from_slice(&before.0.to_le_bytes());
    block.resize(BLOCK_BYTES, 0);
    block
}

/// The key of a file, and the one before.
fn keys(text: &[u8]) -> Option<(Key, Key)> {
    let (magic, rest) = text.split_first_chunk()?;
    let (format, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let (before, _) = rest.split_first_chunk()?;
    let is_ours = *magic == MAGIC && u64::from_le_bytes(*format) == FORMAT;
    is_ours.then(|| (Key(u128::from_le_bytes(*key)), Key(u128::from_le_bytes(*before))))
}

/// Whether one of the files was begun for an opening of which the database was not told any more.
fn is_ahead(texts: &[Vec<u8>], is_new: bool, key: Key) -> Result<bool, ReplayError> {
    let mut is_ahead = false;
    for text in texts {
        match keys(text) {
            Some((of, _)) if of == key => {}
            // Had that opening come to anything, it would be in the database: one with its frames is of another time.
            Some((of, before)) if before == key && !texts.iter().any(|text| holds_later(text, of, 0)) => {
                is_ahead = true;
            }
            // What a process that was killed while it made the log may leave.
            None if is_new && text.iter().all(|byte| *byte == 0) => {}
            _ => return Err(if is_new { ReplayError::Left } else { ReplayError::Foreign }),
        }
    }
    Ok(is_ahead)
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

/// Frames that follow each other from the first of a file.
fn frames(text: &[u8], key: Key) -> Option<Found> {
    let (first, _) = frame(text, BLOCK_BYTES, key)?;
    let (mut at, mut next, mut frames) = (BLOCK_BYTES, first, Vec::new());
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

    fn begun(path: &Path) -> Journal {
        let (mut journal, none) = Journal::open(path, true, Key(6), 0).unwrap();
        assert!(none.is_empty());
        journal.begin(KEY).unwrap();
        journal
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
        let mut journal = begun(&path);
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
    }

    #[test]
    fn the_last_frame_may_be_torn_anywhere_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut journal = begun(&path);
        for text in ["one", "two", "three"] {
            journal.append(&mut framed(text)).unwrap();
        }
        let file = paths(&path)[0].clone();
        let whole = std::fs::read(&file).unwrap();
        for at in 0..120 {
            let mut torn = whole.clone();
            torn[BLOCK_BYTES + at] ^= 1;
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
        drop(begun(&path));
        std::fs::remove_file(&paths(&path)[1]).unwrap();
        assert!(matches!(open(&path, 0), Err(ReplayError::Missing)));
    }

    #[test]
    fn files_of_another_time_or_another_log_are_not_taken_for_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut journal = begun(&path);
        journal.append(&mut framed("one")).unwrap();
        let files = paths(&path);
        let first = files.clone().map(|file| std::fs::read(file).unwrap());
        let put = |texts: &[Vec<u8>; 2]| {
            files.iter().zip(texts).for_each(|(file, text)| std::fs::write(file, text).unwrap());
        };
        // The next opening was killed before the database heard of it, in between the files or behind both.
        let (mut journal, _) = Journal::open(&path, false, KEY, 1).unwrap();
        journal.begin(Key(8)).unwrap();
        let second = files.clone().map(|file| std::fs::read(file).unwrap());
        for texts in [[&second[0], &first[1]], [&first[0], &second[1]], [&second[0], &second[1]]] {
            put(&texts.map(Vec::clone));
            assert!(open(&path, 1).unwrap().1.is_empty());
            assert!(matches!(open(&path, 0), Err(ReplayError::Foreign)), "an older database has a frame due");
        }
        // The database of before, beside files that went on.
        journal.append(&mut framed("two")).unwrap();
        assert!(matches!(open(&path, 1), Err(ReplayError::Foreign)));
        assert_eq!(Journal::open(&path, false, Key(8), 1).unwrap().1.len(), 1);
        // The files of before, beside a database that went on; and files of nothing.
        put(&first);
        assert!(matches!(Journal::open(&path, false, Key(8), 1), Err(ReplayError::Foreign)));
        for length in [0, 8, BLOCK_BYTES] {
            put(&[vec![0; length], second[1].clone()]);
            assert!(matches!(Journal::open(&path, false, Key(8), 1), Err(ReplayError::Foreign)));
        }
    }

    #[test]
    fn a_log_that_is_new_takes_nobodys_journal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        drop(begun(&path));
        drop(Journal::open(&path, true, Key(6), 0).unwrap());
        let before = std::fs::read(&paths(&path)[0]).unwrap();
        assert!(matches!(Journal::open(&path, true, Key(9), 0), Err(ReplayError::Left)));
        assert_eq!(std::fs::read(&paths(&path)[0]).unwrap(), before, "it is left as it is");
    }
}
