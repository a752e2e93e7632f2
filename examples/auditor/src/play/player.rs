//! What the screen was at any time of a recording, in bounded memory.
//!
//! The player reads the log forwards and keeps snapshots of the screen as it goes; going back begins at the last snapshot before the
//! wanted time. When there are too many, every second one is dropped.

use std::iter::Peekable;
use std::time::Duration;

use session_filter::recording::Scene;
use session_filter::screen::Screen;

use crate::failure::Failure;
use crate::film::{Film, Mark};

/// Memory for snapshots, roughly.
const SNAPSHOT_BYTES_MAX: usize = 64 << 20;
/// Most snapshots, however small.
const SNAPSHOTS_MAX: usize = 256;
/// Output between two snapshots, at least, to begin with.
const OUTPUT_BETWEEN: u64 = 64 * 1024;
/// How far past a command one has to be for "back" to mean that command rather than the one before it.
const BACK_MS: u64 = 700;

/// What the player reads from.
pub(crate) trait Source {
    /// The recording's moments from a sequence number on.
    fn from(&self, seq: u64) -> Result<Moments<'_>, Failure>;
}

pub(crate) type Moments<'a> = Box<dyn Iterator<Item = Result<Cue, Failure>> + 'a>;

/// One moment of the recording, and where in the log it stands.
pub(crate) struct Cue {
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) scene: Scene,
}

/// How fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) speed: f64,
    /// Pauses longer than this are cut.
    pub(crate) idle_limit_ms: Option<f64>,
}

pub(crate) struct Player<'a, S: Source> {
    source: &'a S,
    marks: &'a [Mark],
    duration_ms: u64,
    moments: Peekable<Moments<'a>>,
    screen: Screen,
    /// Where it stands; between moments while it plays.
    position_ms: f64,
    /// Time of the last moment that was taken.
    last_ms: u64,
    pub(crate) pace: Pace,
    pub(crate) is_playing: bool,
    snapshots: Vec<Kept>,
    output_since: u64,
    output_between: u64,
    snapshots_max: usize,
}

/// The screen before the moment `next_seq`.
struct Kept {
    next_seq: u64,
    last_ms: u64,
    screen: Screen,
}

impl<'a, S: Source> Player<'a, S> {
    /// At the beginning, playing.
    pub(crate) fn new(source: &'a S, film: &'a Film, pace: Pace) -> Result<Self, Failure> {
        let screen = Screen::new(film.recording.width, film.recording.height);
        let mut player = Self {
            source,
            marks: &film.marks,
            duration_ms: film.recording.duration_ms,
            moments: source.from(film.seqs.0)?.peekable(),
            screen,
            position_ms: 0.0,
            last_ms: 0,
            pace,
            is_playing: true,
            snapshots: Vec::new(),
            output_since: 0,
            output_between: OUTPUT_BETWEEN,
            snapshots_max: SNAPSHOTS_MAX,
        };
        player.keep(film.seqs.0);
        Ok(player)
    }

    pub(crate) fn screen(&self) -> &Screen {
        &self.screen
    }

    pub(crate) fn position_ms(&self) -> u64 {
        // Within a recording, milliseconds are far below what a float holds exactly.
        self.position_ms as u64
    }

    /// How many commands began so far, and the last one.
    pub(crate) fn command(&self) -> (usize, Option<&'a Mark>) {
        let begun = self.marks.partition_point(|mark| mark.at_ms <= self.position_ms());
        (begun, begun.checked_sub(1).and_then(|place| self.marks.get(place)))
    }

    /// Lets real time pass. `true`: the screen may have changed.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<bool, Failure> {
        if !self.is_playing {
            return Ok(false);
        }
        let mut to = self.position_ms + time.as_secs_f64() * 1000.0 * self.pace.speed;
        let next = self.next_ms()?;
        if let (Some(limit), Some(next)) = (self.pace.idle_limit_ms, next)
            && to - self.last_ms as f64 > limit
        {
            to = to.max(next as f64);
        }
        if next.is_none() || to >= self.duration_ms as f64 && next.is_none_or(|next| next as f64 <= to) {
            to = to.min(self.duration_ms as f64);
        }
        let changed = self.advance(to)?;
        if self.next_ms()?.is_none() && self.position_ms >= self.duration_ms as f64 {
            self.is_playing = false;
        }
        Ok(changed)
    }

    /// Real time until the next moment; `None` at the end.
    pub(crate) fn until_next(&mut self) -> Result<Option<Duration>, Failure> {
        let position = self.position_ms;
        let Some(next) = self.next_ms()? else { return Ok(None) };
        let mut wait = (next as f64 - position).max(0.0);
        if let Some(limit) = self.pace.idle_limit_ms {
            wait = wait.min((self.last_ms as f64 + limit - position).max(0.0));
        }
        Ok(Some(Duration::from_secs_f64((wait / 1000.0 / self.pace.speed).min(3600.0))))
    }

    /// Shows the screen as it was at this time.
    pub(crate) fn seek(&mut self, to_ms: u64) -> Result<(), Failure> {
        let to_ms = to_ms.min(self.duration_ms);
        let place = self.snapshots.partition_point(|kept| kept.last_ms <= to_ms);
        let is_back = to_ms < self.last_ms;
        if let Some(kept) = place.checked_sub(1).and_then(|place| self.snapshots.get(place))
            && (is_back || kept.last_ms > self.last_ms)
            && let Some(screen) = kept.screen.fork()
        {
            self.screen = screen;
            self.last_ms = kept.last_ms;
            self.output_since = 0;
            self.moments = self.source.from(kept.next_seq)?.peekable();
        }
        self.position_ms = to_ms as f64;
        self.advance(to_ms as f64).map(drop)
    }

    /// Takes everything up to and including the next output, and stands still there.
    pub(crate) fn step(&mut self) -> Result<(), Failure> {
        self.is_playing = false;
        while let Some(cue) = self.moments.next().transpose()? {
            let is_output = matches!(cue.scene, Scene::Output(_));
            self.take(cue);
            if is_output {
                break;
            }
        }
        self.position_ms = self.position_ms.max(self.last_ms as f64);
        Ok(())
    }

    /// To the command before this one, or to the beginning.
    pub(crate) fn previous_command(&mut self) -> Result<(), Failure> {
        let before = self.position_ms().saturating_sub(BACK_MS);
        let place = self.marks.partition_point(|mark| mark.at_ms < before);
        self.seek(place.checked_sub(1).and_then(|place| self.marks.get(place)).map_or(0, |mark| mark.at_ms))
    }

    /// To the next command, if there is one.
    pub(crate) fn next_command(&mut self) -> Result<(), Failure> {
        let place = self.marks.partition_point(|mark| mark.at_ms <= self.position_ms());
        match self.marks.get(place) {
            Some(mark) => self.seek(mark.at_ms),
            None => Ok(()),
        }
    }

    fn next_ms(&mut self) -> Result<Option<u64>, Failure> {
        // An error is taken out, as it cannot be copied; the player ends with it.
        if let Some(Err(failure)) = self.moments.next_if(Result::is_err) {
            return Err(failure);
        }
        let last_ms = self.last_ms;
        Ok(self.moments.peek().and_then(|cue| cue.as_ref().ok()).map(|cue| cue.at_ms.max(last_ms)))
    }

    fn advance(&mut self, to: f64) -> Result<bool, Failure> {
        let mut changed = false;
        while self.next_ms()?.is_some_and(|next| next as f64 <= to) {
            let Some(cue) = self.moments.next().transpose()? else { break };
            self.take(cue);
            changed = true;
        }
        self.position_ms = to;
        Ok(changed)
    }

    fn take(&mut self, cue: Cue) {
        self.last_ms = self.last_ms.max(cue.at_ms);
        match cue.scene {
            Scene::Output(bytes) => {
                self.screen.feed(&bytes);
                self.output_since = self.output_since.saturating_add(bytes.len() as u64);
            }
            Scene::Resized { width, height } => self.screen.resize(width, height),
            _ => {}
        }
        if self.output_since >= self.output_between
            && self.snapshots.last().is_none_or(|kept| kept.next_seq <= cue.seq)
        {
            self.keep(cue.seq.saturating_add(1));
        }
    }

    fn keep(&mut self, next_seq: u64) {
        let Some(screen) = self.screen.fork() else { return };
        self.output_since = 0;
        self.snapshots_max =
            (SNAPSHOT_BYTES_MAX / bytes_of(&screen).max(1)).clamp(4, SNAPSHOTS_MAX).min(self.snapshots_max);
        self.snapshots.push(Kept { next_seq, last_ms: self.last_ms, screen });
        if self.snapshots.len() > self.snapshots_max {
            let mut place = 0;
            self.snapshots.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.output_between = self.output_between.saturating_mul(2);
        }
    }
}

/// Roughly what a screen takes in memory: 32 bytes a cell, for the ordinary and the alternate screen.
fn bytes_of(screen: &Screen) -> usize {
    let (columns, rows) = screen.size();
    usize::from(rows) * usize::from(columns) * 2 * 32
}

/// When a text was first to be seen: in a command, in the stream of output, or on the screen.
pub(crate) fn find(source: &impl Source, film: &Film, text: &str) -> Result<Option<u64>, Failure> {
    if text.is_empty() {
        return Ok(Some(0));
    }
    let of_command = film.marks.iter().find(|mark| mark.line.contains(text)).map(|mark| mark.at_ms);
    let mut screen = Screen::new(film.recording.width, film.recording.height);
    let mut before: Vec<u8> = Vec::new();
    let mut last_ms = 0;
    for cue in source.from(film.seqs.0)? {
        let cue = cue?;
        last_ms = cue.at_ms.max(last_ms);
        if of_command.is_some_and(|at_ms| at_ms <= last_ms) {
            break;
        }
        match cue.scene {
            Scene::Output(bytes) => {
                screen.feed(&bytes);
                // Text may be cut between two pieces, and may go by too fast to stand on the screen after one.
                before.extend(bytes);
                let goes_by = contains(&before, text.as_bytes());
                before.drain(..before.len().saturating_sub(text.len() - 1));
                if goes_by || screen.picture().text().contains(text) {
                    return Ok(Some(last_ms));
                }
            }
            Scene::Resized { width, height } => screen.resize(width, height),
            _ => {}
        }
    }
    Ok(of_command)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests;
