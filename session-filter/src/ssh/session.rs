//! A live session: who, on what, since when, until when; and why it ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::{broadcast, mpsc, watch};

use super::anomalies::Untold;
use super::journal::Journal;
use super::lanes::Lanes;
use super::proxy::Shared;
use super::target::Destination;
use crate::anomaly::Happening;
use crate::clock::{ClockEvent, SessionClock};
use crate::event::{Act, Detail, OperatorActed, Outcome, SessionEnded, SessionStarted};
use crate::gate::{Admission, Decision, SessionRequest};
use crate::policy::Mode;
use crate::record::RecordError;
use crate::registry::watch::{Shown, Stage};
use crate::registry::{LiveSession, LiveTerminal, Registration, Termination};
use crate::verdict::OutputRecord;

/// Why a session ends.
#[derive(Debug, Clone)]
pub(crate) enum End {
    ClientLeft,
    Terminated(Termination),
    Withdrawn { code: String, message: String },
    Idle,
    Longest,
    WindowClosed,
    RecorderFailed,
    TooManyRefusals,
    Shutdown,
}

impl End {
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::ClientLeft => "client_left",
            Self::Terminated(_) => "terminated",
            Self::Withdrawn { .. } => "access_withdrawn",
            Self::Idle => "idle_limit",
            Self::Longest => "longest_duration",
            Self::WindowClosed => "window_closed",
            Self::RecorderFailed => "recorder_failed",
            Self::TooManyRefusals => "too_many_refusals",
            Self::Shutdown => "proxy_shutdown",
        }
    }

    /// What the user sees.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::ClientLeft => "the client left".to_owned(),
            Self::Terminated(t) => format!("ended by {}: {}", t.by, t.reason),
            Self::Withdrawn { message, .. } => format!("access was withdrawn: {message}"),
            Self::Idle => "the idle limit is reached".to_owned(),
            Self::Longest => "the longest permitted duration is reached".to_owned(),
            Self::WindowClosed => "the permitted time is over".to_owned(),
            Self::RecorderFailed => "the session can no longer be recorded".to_owned(),
            Self::TooManyRefusals => "too many refused requests".to_owned(),
            Self::Shutdown => "the proxy is shutting down".to_owned(),
        }
    }
}

pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) request: SessionRequest,
    pub(crate) journal: Journal,
    mode: Mutex<Mode>,
    destination: Destination,
    clock: Mutex<SessionClock>,
    pub(crate) lanes: Lanes,
    record: Mutex<OutputRecord>,
    end: watch::Sender<Option<End>>,
    notices: broadcast::Sender<String>,
    registration: Registration,
    /// What watchers see.
    pub(crate) stage: Arc<Stage>,
    started: Instant,
    commands: AtomicU64,
    blocked: AtomicU64,
    refused: AtomicU64,
    pub(crate) untold: Untold,
    /// Every task that works for this session holds a clone; the session has ended when all are gone.
    working: Mutex<Option<mpsc::Sender<()>>>,
    worked: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

/// Held by a task while it works for a session.
pub(crate) struct Working(#[allow(dead_code, reason = "its drop is the signal")] mpsc::Sender<()>);

impl Session {
    /// Enters an admitted session: listed, recorded durably, watched over. Nothing when its user has too many already.
    pub(crate) async fn begin(
        shared: Arc<Shared>,
        request: SessionRequest,
        journal: Journal,
        destination: Destination,
        admission: Admission,
        version: u64,
    ) -> Result<Option<Arc<Self>>, RecordError> {
        let mode = admission.mode();
        let now = Utc::now();
        let (end, _) = watch::channel(None);
        let (ending, asking, patience) = (end.clone(), journal.clone(), shared.limits.farewell);
        let runtime = tokio::runtime::Handle::current();
        let live = LiveSession {
            session_id: request.session_id.clone(),
            actor_id: request.user.id().to_owned(),
            target_id: request.target.id().to_owned(),
            source_ip: request.source,
            mode,
            started: now,
            commands: 0,
            commands_blocked: 0,
            running: Vec::new(),
            terminals: Vec::new(),
        };
        let registration =
            shared.registry.try_enter(live, shared.limits.sessions_per_user_max, move |termination| {
                let acted = OperatorActed::new(&termination.by, Act::Terminate);
                let asked = asking.event(Outcome::Success, Detail::OperatorActed(acted));
                let asked = asked.because("terminated", termination.reason.clone());
                let (ending, asking) = (ending.clone(), asking.clone());
                runtime.spawn(async move {
                    // A disk that is slow or broken does not keep anybody in.
                    let _ = tokio::time::timeout(patience, asking.record(asked)).await;
                    set_end(&ending, End::Terminated(termination));
                });
            });
        let Some(registration) = registration else { return Ok(None) };
        let (stage, acting, failing) = (Stage::new(), journal.clone(), end.clone());
        registration.show(Shown {
            stage: Arc::clone(&stage),
            record: Arc::new(move |acted| {
                let (acting, failing) = (acting.clone(), failing.clone());
                let event = acting.event(Outcome::Success, Detail::OperatorActed(acted));
                Box::pin(async move {
                    let recorded = acting.record(event).await;
                    if recorded.is_err() {
                        set_end(&failing, End::RecorderFailed);
                    }
                    recorded
                })
            }),
        });
        journal
            .record(journal.event(Outcome::Success, Detail::SessionStarted(SessionStarted::new(mode))))
            .await?;
        let (working, worked) = mpsc::channel(1);
        let session = Arc::new(Self {
            clock: Mutex::new(SessionClock::new(admission.limits(), admission.valid_until(), now)),
            mode: Mutex::new(mode),
            untold: Untold::new(shared.anomalies.clone()),
            shared,
            request,
            journal,
            destination,
            lanes: Lanes::default(),
            record: Mutex::new(admission.record()),
            end,
            notices: broadcast::channel(16).0,
            registration,
            stage,
            started: Instant::now(),
            commands: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            working: Mutex::new(Some(working)),
            worked: tokio::sync::Mutex::new(worked),
        });
        session.observe(Happening::SessionStarted).await;
        if let Some(working) = session.work() {
            tokio::spawn(Arc::clone(&session).watch_over(working, version));
        }
        Ok(Some(session))
    }

    pub(crate) fn mode(&self) -> Mode {
        *lock(&self.mode)
    }

    /// How much of a terminal's output is kept at least.
    pub(crate) fn record(&self) -> OutputRecord {
        *lock(&self.record)
    }

    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }

    pub(crate) fn target_id(&self) -> &str {
        self.request.target.id()
    }

    /// A task that works for this session asks for its pass here; none is given once the session is closing.
    pub(crate) fn work(&self) -> Option<Working> {
        lock(&self.working).clone().map(Working)
    }

    /// Tells the session to end. The first reason stays.
    pub(crate) fn end(&self, reason: End) {
        set_end(&self.end, reason);
    }

    /// Resolves when the session is to end.
    pub(crate) async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        loop {
            if let Some(reason) = end.borrow_and_update().clone() {
                return reason;
            }
            if end.changed().await.is_err() {
                return End::Shutdown;
            }
        }
    }

    /// Whether the session is to end.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// What is to be shown to the user while commands run.
    pub(crate) fn notices(&self) -> broadcast::Receiver<String> {
        self.notices.subscribe()
    }

    /// Bytes or requests went by.
    pub(crate) fn active(&self) {
        lock(&self.clock).activity(Utc::now());
    }

    pub(crate) fn command_sent(&self, line: &str) {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.registration.update(|live| {
            live.commands += 1;
            live.running.push(line.to_owned());
        });
    }

    /// A command was seen on a raw terminal. Nobody sent it, so it is not counted.
    pub(crate) fn running(&self, line: &str) {
        self.registration.update(|live| live.running.push(line.to_owned()));
    }

    pub(crate) fn command_ended(&self, line: &str) {
        self.registration.update(|live| {
            if let Some(at) = live.running.iter().position(|running| running == line) {
                live.running.swap_remove(at);
            }
        });
    }

    pub(crate) fn terminal_started(&self, terminal: LiveTerminal) {
        self.registration.update(|live| live.terminals.push(terminal));
    }

    pub(crate) fn terminal_resized(&self, recording_id: &str, width: u32, height: u32) {
        self.registration.update(|live| {
            let mut terminals = live.terminals.iter_mut();
            if let Some(terminal) = terminals.find(|terminal| terminal.recording_id == recording_id) {
                (terminal.width, terminal.height) = (width, height);
            }
        });
    }

    pub(crate) fn terminal_ended(&self, recording_id: &str) {
        self.registration
            .update(|live| live.terminals.retain(|terminal| terminal.recording_id != recording_id));
    }

    pub(crate) fn command_blocked(&self) {
        self.blocked.fetch_add(1, Ordering::Relaxed);
        self.registration.update(|live| live.commands_blocked += 1);
        self.count_refusal();
    }

    pub(crate) fn request_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.count_refusal();
    }

    /// The target's side sent so much to the client.
    pub(crate) fn sent_to_client(&self, bytes: usize) {
        self.untold.output(bytes);
    }

    fn count_refusal(&self) {
        self.untold.blocked();
        let refusals =
            self.blocked.load(Ordering::Relaxed).saturating_add(self.refused.load(Ordering::Relaxed));
        if refusals > self.shared.limits.refusals_max {
            self.end(End::TooManyRefusals);
        }
    }

    /// Ends the session when its time is over, when access is withdrawn or when the recorder fails.
    async fn watch_over(self: Arc<Self>, _working: Working, mut version: u64) {
        let gatekeeper = Arc::clone(&self.shared.gatekeeper);
        let mut reevaluate = tokio::time::interval(self.shared.limits.reevaluate_every);
        reevaluate.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let deadline = self.until_deadline();
            tokio::select! {
                _ = self.ended() => return,
                _ = self.journal.failure() => self.end(End::RecorderFailed),
                changed = gatekeeper.changed(version) => {
                    version = changed;
                    self.reevaluate().await;
                }
                _ = reevaluate.tick() => self.reevaluate().await,
                () = self.untold.waiting() => self.tell().await,
                () = tokio::time::sleep(deadline) => self.tick(),
            }
        }
    }

    fn until_deadline(&self) -> Duration {
        // A second at the most, so that a wall clock set forward is noticed.
        let second = Duration::from_secs(1);
        lock(&self.clock)
            .next_deadline()
            .and_then(|at| (at - Utc::now()).to_std().ok())
            .map_or(second, |left| left.clamp(Duration::from_millis(5), second))
    }

    fn tick(&self) {
        let event = lock(&self.clock).tick(Utc::now());
        match event {
            None => {}
            Some(ClockEvent::WarnIdle { left }) => {
                self.warn(format!(
                    "idle; this session ends in {} s unless something happens",
                    whole_seconds(left)
                ));
            }
            Some(ClockEvent::WarnEnd { left }) => {
                self.warn(format!("this session ends in {} s", whole_seconds(left)));
            }
            Some(ClockEvent::Idle) => self.end(End::Idle),
            Some(ClockEvent::Longest) => self.end(End::Longest),
            Some(_) => self.end(End::WindowClosed),
        }
    }

    fn warn(&self, text: String) {
        let journal = self.journal.clone();
        let event =
            journal.event(Outcome::Success, Detail::SessionWarned {}).because("end_is_near", text.clone());
        tokio::spawn(async move { journal.submit(event).await });
        // Nobody listens when no command runs.
        let _ = self.notices.send(text);
    }

    async fn reevaluate(&self) {
        match self.shared.admit(&self.request).await {
            Decision::Allow(admission) => {
                let before = std::mem::replace(&mut *lock(&self.mode), admission.mode());
                if before == Mode::Unrestricted && admission.mode() != Mode::Unrestricted {
                    // A raw shell that runs already cannot be held to anything.
                    let message = "a raw terminal is not permitted any more; log in again".to_owned();
                    self.end(End::Withdrawn { code: "mode_changed".to_owned(), message });
                }
                *lock(&self.record) = admission.record();
                lock(&self.clock).revise(admission.limits(), admission.valid_until(), Utc::now());
            }
            Decision::Deny(refusal) | Decision::NeedsApproval(refusal) => {
                self.end(End::Withdrawn { code: refusal.code().to_owned(), message: refusal.to_string() });
            }
        }
    }

    /// Gives no more passes and waits, at most `patience`, for those who hold one.
    pub(crate) async fn settle(&self, patience: Duration) {
        lock(&self.working).take();
        let _ = tokio::time::timeout(patience, async { self.worked.lock().await.recv().await }).await;
    }

    /// Drops the target connection and records the end. Call once, last, after [`settle`](Self::settle).
    pub(crate) async fn close(&self) {
        let farewell = self.shared.limits.farewell;
        self.settle(farewell).await;
        let end = self.end.borrow().clone().unwrap_or(End::ClientLeft);
        let released = self.lanes.close(farewell).await;
        // Whoever held out until now has lost its target and ends with its connection.
        self.settle(farewell).await;
        let ended = SessionEnded {
            commands: self.commands.load(Ordering::Relaxed),
            commands_blocked: self.blocked.load(Ordering::Relaxed),
            requests_refused: self.refused.load(Ordering::Relaxed),
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            ended_by: match &end {
                End::Terminated(t) => Some(t.by.clone()),
                _ => None,
            },
        };
        self.tell().await;
        self.observe(Happening::SessionEnded).await;
        self.stage.end(&end.message());
        let mut event = self.journal.event(Outcome::Success, Detail::SessionEnded(ended));
        event = event.because(end.code(), end.message());
        if let End::Withdrawn { code, .. } = &end {
            event.correlation_id = None;
            event.reason = Some(format!("access_withdrawn.{code}"));
        }
        self.journal.submit(event).await;
        // When the recorder fails here there is nobody left to tell; the host's log does.
        let _ = self.journal.flush().await;
        for lease in released {
            lease.release().await;
        }
    }
}

/// Rounded up: nobody is told that zero seconds are left.
fn whole_seconds(left: Duration) -> u64 {
    left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0))
}

fn set_end(end: &watch::Sender<Option<End>>, reason: End) {
    end.send_if_modified(|held| {
        let first = held.is_none();
        if first {
            *held = Some(reason);
        }
        first
    });
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
