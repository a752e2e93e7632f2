//! Watching a live session: its screen as it is, and as it changes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::Registry;
use crate::event::{Act, OperatorActed};
use crate::record::RecordError;
use crate::screen::{COLS_MAX, Follower, Picture, ROWS_MAX};

/// Watchers of one session at a time; further ones are refused.
pub const WATCHERS_MAX: usize = 16;
/// Shortest time between two frames for one watcher. What happens in between is in the later one.
pub const FRAME_EVERY: Duration = Duration::from_millis(50);
/// How long the terminal that is shown has to be silent before another that is not takes its place.
const SWITCH_AFTER: Duration = Duration::from_secs(2);
/// Size of the screen on which a session without a terminal shows its commands and what they print.
const TRANSCRIPT: (u32, u32) = (100, 30);

/// What a watcher gets to see. `Debug` shows sizes alone: what is on a screen may be secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// The screen has changed.
    Screen {
        /// The recording of the terminal that is shown; none for commands without a terminal.
        recording_id: Option<String>,
        /// Columns of what is drawn.
        cols: u16,
        /// Rows of what is drawn.
        rows: u16,
        /// Whether `bytes` draw everything; otherwise they change what the frame before has drawn.
        is_whole: bool,
        /// Text, colours, cursor moves and erasing; never anything else that a terminal acts on.
        bytes: String,
    },
    /// The session is over; nothing follows.
    Ended {
        /// Why, for people.
        reason: String,
    },
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Screen { recording_id, cols, rows, is_whole, bytes } => f
                .debug_struct("Screen")
                .field("recording_id", recording_id)
                .field("cols", cols)
                .field("rows", rows)
                .field("is_whole", is_whole)
                .field("bytes", &bytes.len())
                .finish(),
            Self::Ended { reason } => f.debug_struct("Ended").field("reason", reason).finish(),
        }
    }
}

/// Why a session cannot be watched.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// No such session lives.
    #[error("no such session")]
    NoSession,
    /// It has [`WATCHERS_MAX`] watchers already.
    #[error("the session has {WATCHERS_MAX} watchers already")]
    TooManyWatchers,
    /// That it is watched could not be recorded.
    #[error(transparent)]
    Recorder(#[from] RecordError),
}

/// How an operator's act gets on the session's record.
pub(crate) type RecordAct =
    Arc<dyn Fn(OperatorActed) -> BoxFuture<'static, Result<(), RecordError>> + Send + Sync>;

/// What a registered session shows, and where its watchers are recorded.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) stage: Arc<Stage>,
    pub(crate) record: RecordAct,
}

/// A session's terminals as a watcher sees them.
pub(crate) struct Stage {
    began: Instant,
    views: Mutex<Views>,
    transcript: Arc<View>,
    /// Counts what there is to see; closed with a reason.
    news: watch::Sender<News>,
    watchers: AtomicUsize,
}

#[derive(Default)]
struct Views {
    open: Vec<Arc<View>>,
    /// The terminal that is shown, and when it last did something.
    shown: Option<(Arc<View>, Instant)>,
}

#[derive(Clone, Default)]
struct News {
    count: u64,
    ended: Option<String>,
}

/// One terminal's screen.
pub(crate) struct View {
    recording_id: Option<String>,
    follower: Mutex<Follower>,
}

impl Stage {
    pub(crate) fn new() -> Arc<Self> {
        let transcript = View::new(None, TRANSCRIPT);
        Arc::new(Self {
            began: Instant::now(),
            views: Mutex::default(),
            transcript,
            news: watch::channel(News::default()).0,
            watchers: AtomicUsize::new(0),
        })
    }

    /// A terminal enters.
    pub(crate) fn open(&self, recording_id: &str, cols: u32, rows: u32) -> Arc<View> {
        let view = View::new(Some(recording_id.to_owned()), (cols, rows));
        lock(&self.views).open.push(Arc::clone(&view));
        self.saw(&view);
        view
    }

    /// A terminal is gone.
    pub(crate) fn close(&self, view: &Arc<View>) {
        let mut views = lock(&self.views);
        views.open.retain(|open| !Arc::ptr_eq(open, view));
        if views.shown.as_ref().is_some_and(|(shown, _)| Arc::ptr_eq(shown, view)) {
            views.shown = views.open.last().map(|next| (Arc::clone(next), Instant::now()));
        }
        drop(views);
        self.tell();
    }

    /// A terminal showed something.
    pub(crate) fn output(&self, view: &Arc<View>, bytes: &[u8]) {
        lock(&view.follower).feed(bytes, self.now_ms());
        self.saw(view);
    }

    pub(crate) fn resized(&self, view: &Arc<View>, cols: u32, rows: u32) {
        lock(&view.follower).resize(cols, rows);
        self.saw(view);
    }

    /// Whether anybody sees what commands without a terminal print: nobody keeps it for one who may come later.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// A command without a terminal printed something: line feeds begin a line, as a terminal's driver would make them.
    pub(crate) fn printed(&self, bytes: &[u8]) {
        // Of more than fits on its screen many times over, the end is enough.
        let bytes = bytes.get(bytes.len().saturating_sub(PRINTED_BYTES_MAX)..).unwrap_or(bytes);
        let mut out = Vec::with_capacity(bytes.len().saturating_add(64));
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(line) => {
                    out.extend_from_slice(line);
                    out.extend_from_slice(b"\r\n");
                }
                None => out.extend_from_slice(piece),
            }
        }
        lock(&self.transcript.follower).feed(&out, self.now_ms());
        self.tell();
    }

    /// The session is over.
    pub(crate) fn end(&self, reason: &str) {
        self.news.send_if_modified(|news| {
            let first = news.ended.is_none();
            if first {
                news.ended = Some(reason.to_owned());
            }
            first
        });
    }

    fn saw(&self, view: &Arc<View>) {
        let mut views = lock(&self.views);
        let now = Instant::now();
        match &mut views.shown {
            Some((shown, at)) if Arc::ptr_eq(shown, view) => *at = now,
            Some((_, at)) if now.duration_since(*at) < SWITCH_AFTER => {}
            shown => *shown = Some((Arc::clone(view), now)),
        }
        drop(views);
        self.tell();
    }

    fn tell(&self) {
        self.news.send_modify(|news| news.count = news.count.wrapping_add(1));
    }

    /// The chosen terminal while it is there, else the one that was active last, else what ran without one.
    fn view(&self, chosen: Option<&str>) -> Arc<View> {
        let views = lock(&self.views);
        let chosen =
            views.open.iter().find(|view| chosen.is_some() && view.recording_id.as_deref() == chosen);
        let shown = || views.shown.as_ref().map(|(shown, _)| shown);
        Arc::clone(chosen.or_else(shown).unwrap_or(&self.transcript))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

const PRINTED_BYTES_MAX: usize = 32 * 1024;

impl View {
    fn new(recording_id: Option<String>, (cols, rows): (u32, u32)) -> Arc<Self> {
        let follower = Mutex::new(Follower::new(cols, rows));
        Arc::new(Self { recording_id, follower })
    }

    /// Looks at the screen.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Follower) -> T) -> T {
        look(&mut lock(&self.follower))
    }
}

/// Someone's view of a live session. Dropping it ends the watching, which goes on record.
///
/// Frames are made when they are asked for, from what the watcher saw last: whoever asks seldom skips what was in between, holds up
/// nobody and costs no memory.
pub struct Watch {
    stage: Arc<Stage>,
    news: watch::Receiver<News>,
    record: RecordAct,
    operator: String,
    runtime: tokio::runtime::Handle,
    recording_id: Option<String>,
    fit: (u16, u16),
    seen: Option<(Arc<View>, Picture)>,
    last: Option<tokio::time::Instant>,
    /// There is more to see than the last look could afford to find out.
    behind: bool,
    is_over: bool,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("operator", &self.operator).finish_non_exhaustive()
    }
}

impl Registry {
    /// Lets `operator` watch a session. That they do is on the session's record, as `session.watched`, before this returns; that they
    /// stopped is when the [`Watch`] is dropped. Whether they may is for the caller to decide.
    ///
    /// Shows the terminal that was active last, a session without one as a list of its commands and what they print.
    /// [`Watch::choose`] stays with one terminal.
    ///
    /// Runs within a tokio runtime.
    ///
    /// # Errors
    /// [`WatchError`]; nothing is shown then.
    pub async fn watch(&self, session_id: &str, operator: &str) -> Result<Watch, WatchError> {
        let shown = self.lock().get(session_id).and_then(|entry| entry.shown.clone());
        let Shown { stage, record } = shown.ok_or(WatchError::NoSession)?;
        let place = stage.watchers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
            (count < WATCHERS_MAX).then(|| count.saturating_add(1))
        });
        if place.is_err() {
            return Err(WatchError::TooManyWatchers);
        }
        // Its drop gives the place back and records the end; it has shown nothing when the record of its beginning fails.
        let watch = Watch {
            news: stage.news.subscribe(),
            stage,
            record,
            operator: operator.to_owned(),
            runtime: tokio::runtime::Handle::current(),
            recording_id: None,
            fit: (COLS_MAX, ROWS_MAX),
            seen: None,
            last: None,
            behind: false,
            is_over: false,
        };
        (watch.record)(OperatorActed::new(operator, Act::Watch)).await?;
        Ok(watch)
    }
}

impl Watch {
    /// Stays with the terminal that has this recording; with another one, when it is gone or there is no such.
    pub fn choose(&mut self, recording_id: &str) {
        self.recording_id = Some(recording_id.to_owned());
        self.seen = None;
    }

    /// Cuts frames to the size of the watcher's terminal. The next one is whole.
    pub fn fit(&mut self, cols: u16, rows: u16) {
        self.fit = (cols, rows);
        self.seen = None;
    }

    /// The next frame: the first is whole and comes at once, later ones as the screen changes, at most one per [`FRAME_EVERY`]; last
    /// comes [`Frame::Ended`], then `None`. Cancellation safe.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if self.is_over {
                return None;
            }
            if self.seen.is_some() && !self.behind && self.news.borrow().ended.is_none() {
                // An error means that the session is gone without a word.
                let _ = self.news.changed().await;
            }
            let due = self.last.map(|last| last + FRAME_EVERY);
            if let Some(due) = due {
                tokio::time::sleep_until(due).await;
            }
            let ended = self.news.borrow_and_update().ended.clone();
            let ended = ended.or_else(|| self.news.has_changed().is_err().then(|| "it is gone".to_owned()));
            if let Some(frame) = self.look() {
                self.last = Some(tokio::time::Instant::now());
                return Some(frame);
            }
            if let Some(reason) = ended.filter(|_| !self.behind) {
                self.is_over = true;
                return Some(Frame::Ended { reason });
            }
        }
    }

    fn look(&mut self) -> Option<Frame> {
        let view = self.stage.view(self.recording_id.as_deref());
        let (picture, behind) = view.with(|follower| follower.picture(self.fit.0, self.fit.1));
        self.behind = behind;
        let before =
            self.seen.as_ref().filter(|(seen, _)| Arc::ptr_eq(seen, &view)).map(|(_, picture)| picture);
        let is_whole =
            before.is_none_or(|before| (before.cols(), before.rows()) != (picture.cols(), picture.rows()));
        let bytes = before.map_or_else(|| picture.snapshot(), |before| picture.diff(before));
        let (cols, rows) = (picture.cols(), picture.rows());
        let recording_id = view.recording_id.clone();
        self.seen = Some((view, picture));
        (!bytes.is_empty()).then_some(Frame::Screen { recording_id, cols, rows, is_whole, bytes })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stage.watchers.fetch_sub(1, Ordering::SeqCst);
        let unwatched = (self.record)(OperatorActed::new(&self.operator, Act::Unwatch));
        self.runtime.spawn(async move {
            // When the recorder fails the session ends by itself.
            let _ = unwatched.await;
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
