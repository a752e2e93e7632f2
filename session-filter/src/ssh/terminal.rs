//! A client's terminal: what it showed is recorded, and can be watched.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, Semaphore};

use super::channel::PtyRequest;
use super::relay::OUTPUT_PIECE_BYTES_MAX;
use super::session::{Session, Working};
use crate::event::{
    Detail, Event, Outcome, RecordingPosition, TerminalBytes, TerminalEnded, TerminalResized, TerminalStarted,
};
use crate::record::RecordError;
use crate::registry::LiveTerminal;
use crate::registry::watch::View;
use crate::screen::Screen;
use crate::verdict::OutputRecord;

/// Longest time that output waits for more to share an event with.
const TOGETHER: Duration = Duration::from_millis(50);
/// Events that wait for company at the most; keystrokes and their echoes take turns.
const WAITING_MAX: usize = 8;

/// One client's terminal: its recording, and the screen that watchers see.
///
/// Output may be ahead of the disk by [`Limits::output_ahead_max`](super::Limits::output_ahead_max) events of at most 16 KiB; then
/// whoever brings more waits.
pub(crate) struct Terminal {
    recording: Arc<Recording>,
    /// Writes what nothing else pushes out.
    writer: tokio::task::AbortHandle,
    /// The session waits for the last words of its recordings.
    working: Mutex<Option<Working>>,
}

struct Recording {
    session: Arc<Session>,
    recording_id: String,
    began: Instant,
    view: Arc<View>,
    /// Where the policy asks for no recording, sizes are all that is kept: until it asks for one.
    is_kept: AtomicBool,
    kept: Mutex<Kept>,
    /// Bytes of output so far; also while `kept` is being written.
    offset: AtomicU64,
    typed: AtomicU64,
    /// Held while events are taken from `kept` and given to the journal, so that they stay in order.
    turn: tokio::sync::Mutex<()>,
    /// One permit per event that may be ahead of the disk.
    ahead: Arc<Semaphore>,
    wake: Notify,
}

/// What has not been given to the journal yet.
#[derive(Default)]
struct Kept {
    waiting: VecDeque<Waiting>,
    hash: Sha256,
    /// Output that was not kept.
    passed_over: bool,
    has_ended: bool,
}

struct Waiting {
    at_ms: u64,
    offset: u64,
    what: What,
}

enum What {
    Output(Vec<u8>),
    Input(Vec<u8>),
    Resized(u32, u32),
}

impl Terminal {
    /// Begins a recording; that it began is durable.
    pub(crate) async fn start(session: &Arc<Session>, pty: &PtyRequest) -> Result<Arc<Self>, RecordError> {
        let recording_id = uuid::Uuid::now_v7().to_string();
        let started = TerminalStarted::new(&recording_id, pty.cols, pty.rows, Some(pty.term.clone()));
        let event = session.journal.event(Outcome::Success, Detail::TerminalStarted(started));
        session.journal.record(event).await?;
        session.terminal_started(LiveTerminal::new(&recording_id, pty.cols, pty.rows));
        let recording = Arc::new(Recording {
            is_kept: AtomicBool::new(false),
            view: session.stage.open(&recording_id, pty.cols, pty.rows),
            session: Arc::clone(session),
            recording_id,
            began: Instant::now(),
            kept: Mutex::default(),
            offset: AtomicU64::new(0),
            typed: AtomicU64::new(0),
            turn: tokio::sync::Mutex::new(()),
            ahead: Arc::new(Semaphore::new(session.shared.limits.output_ahead_max)),
            wake: Notify::new(),
        });
        let writing = Arc::clone(&recording);
        let writer = tokio::spawn(async move {
            loop {
                writing.wake.notified().await;
                tokio::time::sleep(TOGETHER).await;
                writing.write(Tail::MayWait).await;
            }
        });
        let working = Mutex::new(session.work());
        Ok(Arc::new(Self { recording, writer: writer.abort_handle(), working }))
    }

    /// The terminal shows this. Waits while too much is ahead of the disk.
    ///
    /// Dropping the future loses nothing: what was taken is written later.
    pub(crate) async fn output(&self, bytes: &[u8]) {
        let recording = &self.recording;
        if recording.output(bytes) {
            recording.write(Tail::MayWait).await;
        } else {
            recording.wake.notify_one();
        }
    }

    /// Keystrokes that a prompt of ours took. What goes to a program is [counted](Self::typed) instead: it may be a password.
    pub(crate) async fn input(&self, bytes: &[u8]) {
        let recording = &self.recording;
        recording.typed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if bytes.is_empty() || !recording.is_kept() {
            return;
        }
        for piece in bytes.chunks(OUTPUT_PIECE_BYTES_MAX) {
            // As with output: who types faster than the disk writes has to wait.
            if recording.push(What::Input(piece.to_vec())) > WAITING_MAX {
                recording.write(Tail::MayWait).await;
            }
        }
        recording.wake.notify_one();
    }

    /// This many bytes went to a program.
    pub(crate) fn typed(&self, count: usize) {
        self.recording.typed.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// The terminal has another size.
    pub(crate) fn resize(&self, cols: u32, rows: u32) {
        let recording = &self.recording;
        let mut kept = recording.lock();
        // A window that is being dragged: the size it ends with is enough.
        if let Some(Waiting { what: What::Resized(was_cols, was_rows), .. }) = kept.waiting.back_mut() {
            (*was_cols, *was_rows) = (cols, rows);
        } else {
            let waiting = recording.now(What::Resized(cols, rows));
            kept.waiting.push_back(waiting);
        }
        drop(kept);
        recording.session.stage.resized(&recording.view, cols, rows);
        recording.session.terminal_resized(&recording.recording_id, cols, rows);
        recording.wake.notify_one();
    }

    /// Where the recording is now.
    pub(crate) fn position(&self) -> RecordingPosition {
        self.recording.position()
    }

    /// Gives the journal everything up to now, so that what is recorded next comes after it. Says where that is.
    pub(crate) async fn mark(&self) -> RecordingPosition {
        self.recording.write(Tail::MayWait).await;
        self.recording.position()
    }

    /// Looks at the screen, for the line on it. None while a full-screen program has it, or when it is not emulated so far.
    pub(crate) fn line_on_screen<T>(&self, look: impl FnOnce(&Screen) -> T) -> Option<T> {
        self.recording
            .view
            .with(|follower| follower.up_to_date().filter(|screen| !screen.is_alternate()).map(look))
    }

    /// Records `event` after everything so far. It counts towards what may be ahead of the disk, as output does.
    pub(crate) async fn note(&self, event: Event) {
        let recording = &self.recording;
        recording.write(Tail::MayWait).await;
        let Ok(permit) = Arc::clone(&recording.ahead).acquire_owned().await else { return };
        recording.session.journal.submit_holding(event, permit).await;
    }

    /// Ends the recording; nothing is taken after that.
    pub(crate) async fn finish(&self) {
        self.recording.finish().await;
        lock(&self.working).take();
    }
}

/// A terminal whose channel was cut short ends its recording all the same.
impl Drop for Terminal {
    fn drop(&mut self) {
        self.writer.abort();
        let recording = Arc::clone(&self.recording);
        let working = lock(&self.working).take();
        if !recording.lock().has_ended
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                let _working = working;
                recording.finish().await;
            });
        }
    }
}

/// Whether the beginning of a character may wait for its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    MayWait,
    IsAll,
}

impl Recording {
    /// Keeps output; says whether there is enough of it to be written now.
    fn output(&self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return false;
        }
        self.session.stage.output(&self.view, bytes);
        let mut kept = self.lock();
        if kept.has_ended {
            return false;
        }
        let mut full = false;
        if !self.is_kept() {
            kept.passed_over = true;
        } else {
            kept.hash.update(bytes);
            full = kept.waiting.len() > WAITING_MAX;
            match kept.waiting.back_mut() {
                Some(Waiting { what: What::Output(pending), .. }) => pending.extend_from_slice(bytes),
                _ => {
                    let waiting = self.now(What::Output(bytes.to_vec()));
                    kept.waiting.push_back(waiting);
                }
            }
            if let Some(Waiting { what: What::Output(pending), .. }) = kept.waiting.back() {
                full |= pending.len() >= OUTPUT_PIECE_BYTES_MAX;
            }
        }
        self.offset.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        full
    }

    /// Says how much waits.
    fn push(&self, what: What) -> usize {
        let waiting = self.now(what);
        let mut kept = self.lock();
        if !kept.has_ended {
            kept.waiting.push_back(waiting);
        }
        kept.waiting.len()
    }

    fn now(&self, what: What) -> Waiting {
        Waiting { at_ms: self.at_ms(), offset: self.offset.load(Ordering::Relaxed), what }
    }

    /// Gives events to the journal, in order, as far ahead of the disk as may be.
    async fn write(&self, tail: Tail) {
        let _turn = self.turn.lock().await;
        loop {
            if self.lock().waiting.is_empty() {
                return;
            }
            let Ok(permit) = Arc::clone(&self.ahead).acquire_owned().await else { return };
            // From here to the journal nothing waits, so nothing is lost when whoever waits for this stops waiting.
            let Some(next) = self.lock().take(tail) else { return };
            let position = RecordingPosition::new(&self.recording_id, next.at_ms, next.offset);
            let detail = match next.what {
                What::Output(bytes) => Detail::TerminalOutput(TerminalBytes::new(position, &bytes)),
                What::Input(bytes) => Detail::TerminalInput(TerminalBytes::new(position, &bytes)),
                What::Resized(cols, rows) => {
                    Detail::TerminalResized(TerminalResized::new(position, cols, rows))
                }
            };
            let event = self.session.journal.event(Outcome::Success, detail);
            self.session.journal.submit_holding(event, permit).await;
        }
    }

    async fn finish(&self) {
        let ended = {
            let mut kept = self.lock();
            std::mem::replace(&mut kept.has_ended, true)
        };
        if ended {
            return;
        }
        self.write(Tail::IsAll).await;
        let is_kept = self.is_kept();
        let sha256 = {
            let mut kept = self.lock();
            let is_whole = is_kept && !kept.passed_over;
            is_whole.then(|| crate::digest::hex(&std::mem::take(&mut kept.hash).finalize()))
        };
        let ended = TerminalEnded::new(self.position(), sha256, self.typed.load(Ordering::Relaxed));
        let event = self.session.journal.event(Outcome::Success, Detail::TerminalEnded(ended));
        self.session.journal.submit(event).await;
        self.session.stage.close(&self.view);
        self.session.terminal_ended(&self.recording_id);
    }

    /// Whether what comes now is to be kept. A change of policy begins a recording, and does not end one.
    fn is_kept(&self) -> bool {
        if !self.is_kept.load(Ordering::Relaxed) && self.session.record() != OutputRecord::Off {
            self.is_kept.store(true, Ordering::Relaxed);
        }
        self.is_kept.load(Ordering::Relaxed)
    }

    fn position(&self) -> RecordingPosition {
        RecordingPosition::new(&self.recording_id, self.at_ms(), self.offset.load(Ordering::Relaxed))
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }
}

impl Kept {
    /// The next event's content: at most one piece, and no part of a character where the rest of it may still come.
    fn take(&mut self, tail: Tail) -> Option<Waiting> {
        let is_last = self.waiting.len() == 1;
        let first = self.waiting.front_mut()?;
        let What::Output(bytes) = &mut first.what else { return self.waiting.pop_front() };
        let mut length = bytes.len().min(OUTPUT_PIECE_BYTES_MAX);
        let may_wait = length < bytes.len() || (is_last && tail == Tail::MayWait);
        if may_wait {
            length = length.saturating_sub(begun_character(bytes.get(..length).unwrap_or_default()));
        }
        if length == 0 {
            return None;
        }
        if length == bytes.len() {
            return self.waiting.pop_front();
        }
        let rest = bytes.split_off(length);
        let piece = Waiting {
            at_ms: first.at_ms,
            offset: first.offset,
            what: What::Output(std::mem::replace(bytes, rest)),
        };
        first.offset = first.offset.saturating_add(length as u64);
        Some(piece)
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character whose other bytes are missing.
fn begun_character(bytes: &[u8]) -> usize {
    for (behind, byte) in bytes.iter().rev().take(3).enumerate() {
        let length = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        let there = behind.saturating_add(1);
        return if there < length { there } else { 0 };
    }
    0
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_cut_where_its_end_may_still_come() {
        let whole = "aé漢🦀".as_bytes();
        for cut in 0..whole.len() {
            let begun = begun_character(&whole[..cut]);
            assert!(std::str::from_utf8(&whole[..cut - begun]).is_ok(), "{cut}");
            assert!(begun < 4);
        }
        for never in [b"\xff".as_slice(), b"a\x80\x80\x80\x80", b"\xc0", b"\xf5\x80"] {
            assert_eq!(begun_character(never), 0, "{never:?}");
        }
    }

    #[test]
    fn pieces_follow_each_other_without_a_gap() {
        let text = "漢字".repeat(10_000).into_bytes();
        let mut kept = Kept::default();
        kept.waiting.push_back(Waiting { at_ms: 7, offset: 100, what: What::Output(text.clone()) });
        let mut whole = Vec::new();
        while let Some(piece) = kept.take(Tail::MayWait) {
            assert_eq!(piece.offset, 100 + whole.len() as u64);
            let What::Output(bytes) = piece.what else { panic!("not output") };
            assert!(bytes.len() <= OUTPUT_PIECE_BYTES_MAX && std::str::from_utf8(&bytes).is_ok());
            whole.extend(bytes);
        }
        assert_eq!(whole, text);
    }

    #[test]
    fn half_a_character_waits_until_something_else_happens() {
        let mut kept = Kept::default();
        kept.waiting.push_back(Waiting { at_ms: 0, offset: 0, what: What::Output(b"\xe6\xbc".to_vec()) });
        assert!(kept.take(Tail::MayWait).is_none());
        kept.waiting.push_back(Waiting { at_ms: 1, offset: 2, what: What::Resized(80, 24) });
        assert!(matches!(kept.take(Tail::MayWait).unwrap().what, What::Output(_)));
        assert!(matches!(kept.take(Tail::MayWait).unwrap().what, What::Resized(80, 24)));
        kept.waiting.push_back(Waiting { at_ms: 1, offset: 2, what: What::Output(b"\xe6".to_vec()) });
        assert!(kept.take(Tail::IsAll).is_some());
    }
}
