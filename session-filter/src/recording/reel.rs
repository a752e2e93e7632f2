//! The terminals of one session, and what is missing of them.

use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::moment::{Moment, Place, Scene};
use crate::digest::hex;

/// Most recordings of one session that are followed. Events of further ones are passed over, and that is said.
pub const RECORDINGS_MAX: usize = 4096;
/// Most flaws of one recording that are kept one by one; further ones are counted.
pub const FLAWS_MAX: usize = 64;

/// Follows the events of one session, in the order of the log, and says where each belongs.
#[derive(Debug, Default)]
pub struct Reel {
    recordings: Vec<Recording>,
    passed_over: u64,
}

/// One terminal from its beginning to its end.
#[non_exhaustive]
pub struct Recording {
    /// Its id, a UUIDv7.
    pub id: String,
    /// Columns at the beginning.
    pub width: u32,
    /// Rows at the beginning.
    pub height: u32,
    /// The client's `TERM`.
    pub term: Option<String>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// Its length so far, in milliseconds.
    pub duration_ms: u64,
    /// Bytes of output so far.
    pub output_bytes: u64,
    /// Lines that were run, answered, refused or seen on it.
    pub commands: u64,
    /// Whether its end is on record.
    pub has_ended: bool,
    flaws: Vec<Flaw>,
    flaws_left_out: u64,
    kept_bytes: u64,
    hash: Sha256,
}

/// What is wrong with a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// Output that was shown is not on record.
    Missing {
        /// Where it should be, in milliseconds.
        at_ms: u64,
        /// How much of it.
        bytes: u64,
    },
    /// Output that begins before the end of what came before it.
    Overlapping {
        /// Where, in milliseconds.
        at_ms: u64,
    },
    /// Time that runs backwards within the recording; what follows is played at the later time.
    Backwards {
        /// The later time, in milliseconds.
        at_ms: u64,
    },
    /// An event that lacks what it must have.
    Unreadable {
        /// After this, in milliseconds.
        at_ms: u64,
    },
    /// No output is on record, as the policy asked for.
    NotKept {
        /// How much there was.
        bytes: u64,
    },
    /// What is on record is not what was shown: its SHA-256 differs from the one recorded at the end.
    Altered,
    /// Its beginning is not on record.
    NoBeginning,
    /// Its end is not on record: it goes on, or the proxy was stopped.
    NoEnd,
}

/// Where a moment belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown {
    /// The recording's place in [`Reel::recordings`].
    pub recording: usize,
    /// Milliseconds since it began; never less than that of the moment before.
    pub at_ms: u64,
}

impl Reel {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next moment of the session. `None`: it belongs to no recording.
    pub fn take(&mut self, moment: &Moment) -> Option<Shown> {
        let number = match (&moment.place, &moment.scene) {
            (Some(place), Scene::Started { width, height, term }) => {
                let began = Recording::begin(place, *width, *height, term.clone(), moment.timestamp);
                self.add(began)?
            }
            (Some(place), _) => match self.recordings.iter().position(|known| known.id == place.recording_id)
            {
                Some(number) => number,
                None => {
                    let mut began = Recording::begin(place, 80, 24, None, None);
                    began.note(Flaw::NoBeginning);
                    self.add(began)?
                }
            },
            // Of a terminal, but who knows which: where there is only one, it is that one that lacks something.
            (None, Scene::Unreadable) => {
                let mut open = (0..).zip(&self.recordings).filter(|(_, recording)| !recording.has_ended);
                let (Some((number, _)), None) = (open.next(), open.next()) else { return None };
                number
            }
            // It had no terminal.
            (None, _) => return None,
        };
        let recording = self.recordings.get_mut(number)?;
        Some(Shown { recording: number, at_ms: recording.take(moment) })
    }

    /// The recordings so far, in the order in which they began.
    pub fn recordings(&self) -> &[Recording] {
        &self.recordings
    }

    /// Events that were passed over because there were [`RECORDINGS_MAX`] recordings before.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// The recordings, without what is needed to go on.
    pub fn into_recordings(self) -> Vec<Recording> {
        self.recordings
    }

    fn add(&mut self, began: Recording) -> Option<usize> {
        if self.recordings.len() >= RECORDINGS_MAX {
            self.passed_over = self.passed_over.saturating_add(1);
            return None;
        }
        self.recordings.push(began);
        Some(self.recordings.len().saturating_sub(1))
    }
}

impl Recording {
    /// What is wrong with it as far as it goes; one whose end is not on record has [`Flaw::NoEnd`].
    pub fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = self.flaws.clone();
        if !self.has_ended {
            flaws.push(Flaw::NoEnd);
        }
        flaws
    }

    /// Flaws beyond the first [`FLAWS_MAX`].
    pub fn flaws_left_out(&self) -> u64 {
        self.flaws_left_out
    }

    /// Whether all that was shown is on record, and is what was shown.
    pub fn is_whole(&self) -> bool {
        self.has_ended && self.flaws.is_empty()
    }

    fn begin(
        place: &Place,
        width: u32,
        height: u32,
        term: Option<String>,
        at: Option<DateTime<Utc>>,
    ) -> Self {
        Self {
            id: place.recording_id.clone(),
            width,
            height,
            term,
            started_at: at,
            duration_ms: 0,
            output_bytes: 0,
            commands: 0,
            has_ended: false,
            flaws: Vec::new(),
            flaws_left_out: 0,
            kept_bytes: 0,
            hash: Sha256::new(),
        }
    }

    fn note(&mut self, flaw: Flaw) {
        match self.flaws.len() < FLAWS_MAX {
            true => self.flaws.push(flaw),
            false => self.flaws_left_out = self.flaws_left_out.saturating_add(1),
        }
    }

    fn take(&mut self, moment: &Moment) -> u64 {
        let place = moment.place.as_ref().filter(|_| moment.scene != Scene::Unreadable);
        let Some(Place { at_ms, offset, .. }) = place else {
            self.note(Flaw::Unreadable { at_ms: self.duration_ms });
            return self.duration_ms;
        };
        let (at_ms, offset) = (*at_ms, *offset);
        if at_ms < self.duration_ms {
            self.note(Flaw::Backwards { at_ms: self.duration_ms });
        }
        let at_ms = at_ms.max(self.duration_ms);
        self.duration_ms = at_ms;
        match &moment.scene {
            Scene::Output(bytes) => {
                self.expect(offset, at_ms);
                self.hash.update(bytes);
                let bytes = bytes.len() as u64;
                self.kept_bytes = self.kept_bytes.saturating_add(bytes);
                self.output_bytes = offset.saturating_add(bytes);
            }
            Scene::Ended { sha256 } => {
                self.has_ended = true;
                if self.kept_bytes == 0 && offset > 0 {
                    self.note(Flaw::NotKept { bytes: offset });
                } else {
                    self.expect(offset, at_ms);
                    let is_complete = self.kept_bytes == offset;
                    let hash = hex(&self.hash.clone().finalize());
                    match sha256 {
                        Some(sha256) if is_complete && !hash.eq_ignore_ascii_case(sha256) => {
                            self.note(Flaw::Altered);
                        }
                        // What is kept whole has a hash.
                        None if is_complete && offset > 0 => self.note(Flaw::Unreadable { at_ms }),
                        _ => {}
                    }
                }
                self.output_bytes = offset;
            }
            Scene::Command { .. } => self.commands = self.commands.saturating_add(1),
            Scene::Started { .. } | Scene::Input(_) | Scene::Resized { .. } | Scene::Unreadable => {}
        }
        at_ms
    }

    /// The next output should begin where the one before it ended.
    fn expect(&mut self, offset: u64, at_ms: u64) {
        match offset.checked_sub(self.output_bytes) {
            Some(0) => {}
            Some(bytes) => self.note(Flaw::Missing { at_ms, bytes }),
            None => self.note(Flaw::Overlapping { at_ms }),
        }
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("id", &self.id)
            .field("duration_ms", &self.duration_ms)
            .field("output_bytes", &self.output_bytes)
            .field("flaws", &self.flaws())
            .finish_non_exhaustive()
    }
}

/// For people: a sentence without its end.
impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: &u64| format!("{}.{:03} s", ms / 1000, ms % 1000);
        match self {
            Self::Missing { at_ms, bytes } => {
                write!(f, "{bytes} bytes that were shown before {} are not on record", seconds(at_ms))
            }
            Self::Overlapping { at_ms } => {
                write!(f, "output at {} begins before the end of what came before it", seconds(at_ms))
            }
            Self::Backwards { at_ms } => write!(f, "time runs backwards after {}", seconds(at_ms)),
            Self::Unreadable { at_ms } => write!(f, "an event after {} cannot be read", seconds(at_ms)),
            Self::NotKept { bytes } => {
                write!(f, "{bytes} bytes were shown and not recorded, as the policy asked for")
            }
            Self::Altered => f.write_str("the recorded output is not what was shown: its SHA-256 differs"),
            Self::NoBeginning => f.write_str("its beginning is not on record"),
            Self::NoEnd => f.write_str("its end is not on record: it goes on, or the proxy was stopped"),
        }
    }
}
