//! The recorder: nothing happens that was not written down first.

mod files;

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

use crate::event::{CommandStarted, Detail, Event, Line, Outcome, RecordingPosition, Subject};
use crate::policy::Redacted;
use crate::verdict::Permit;

/// Where events go. A session ends when its recorder fails.
///
/// What an implementor promises:
///
/// * **Order.** Events are taken in the order of the calls to [`record`](Recorder::record), before the call
///   returns; the returned future only waits. Dropping it cancels nothing. Writing may begin when the future is first polled, so that
///   events which nobody waits for yet can share a write with one that somebody does.
/// * **Durability.** The future resolves to `Ok` once the event, and every event taken before it, would survive
///   a power cut.
/// * **Bounds.** When events arrive faster than they can be written, the future resolves to an error. It does not
///   grow a queue without limit, and it does not drop an event silently.
///
/// A recorder that answers `Ok` too early costs the guarantee that every command which ran is on record.
pub trait Recorder: Send + Sync + 'static {
    /// Takes `event`; the future resolves when it is durable.
    fn record(&self, event: Event) -> BoxFuture<'static, Result<(), RecordError>>;
}

impl<R: Recorder + ?Sized> Recorder for Arc<R> {
    fn record(&self, event: Event) -> BoxFuture<'static, Result<(), RecordError>> {
        (**self).record(event)
    }
}

/// The event may not have been written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
#[error("cannot record: {message}")]
pub struct RecordError {
    message: String,
}

impl RecordError {
    /// An error with a sentence for people, lowercase and without a full stop.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// Refuses every event, so nothing runs: what a proxy without a recorder does.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRecorder;

impl Recorder for NoRecorder {
    fn record(&self, _event: Event) -> BoxFuture<'static, Result<(), RecordError>> {
        Box::pin(std::future::ready(Err(RecordError::new("no recorder is configured"))))
    }
}

/// Keeps events in memory, for tests and for trying things out. They are gone with the process.
#[derive(Debug, Clone, Default)]
pub struct MemoryRecorder {
    events: Arc<Mutex<Vec<Event>>>,
    broken: Arc<std::sync::atomic::AtomicBool>,
}

impl MemoryRecorder {
    /// All events so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on every call fails, as a full disk would make it.
    pub fn break_now(&self) {
        self.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Recorder for MemoryRecorder {
    fn record(&self, event: Event) -> BoxFuture<'static, Result<(), RecordError>> {
        if self.broken.load(std::sync::atomic::Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(RecordError::new("the recorder was broken on purpose"))));
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Proof that `T` is on record. Only this module makes one, and only after the recorder said so, so what takes
/// a `Recorded<Permit>` cannot act on an unrecorded command.
#[must_use = "a recorded permit that is not used leaves a command on record that never ran"]
pub struct Recorded<T> {
    inner: T,
    shown: String,
}

/// A command line may hold a secret, so it is not shown.
impl<T: std::fmt::Debug> std::fmt::Debug for Recorded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorded").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Recorded<Permit> {
    /// Records `command.started` for `permit` and waits until it is durable.
    ///
    /// The event is built from the permit itself, so what is on record and what may be sent cannot differ. `position` is where in the
    /// terminal's recording it begins, where it runs on one.
    ///
    /// # Errors
    /// [`RecordError`] when the recorder failed; the permit is consumed and the command must not run.
    pub async fn command(
        recorder: &dyn Recorder,
        subject: Subject,
        correlation_id: &str,
        permit: Permit,
        position: Option<RecordingPosition>,
        redact: impl Fn(&str) -> Redacted,
        now: DateTime<Utc>,
    ) -> Result<Self, RecordError> {
        let line = Line::new(permit.line(), redact);
        let shown = line.shown().to_owned();
        let redacted = line.redacted;
        let argv = (!redacted && !permit.argv().is_empty())
            .then(|| permit.commands().map(<[String]>::to_vec).collect());
        let started = CommandStarted {
            line,
            argv,
            rule: permit.rule().to_owned(),
            rule_line: permit.rule_line() as u64,
            directory: permit.directory().map(ToString::to_string),
            files: if redacted { Vec::new() } else { files::files(&permit) },
            nested_uncontrolled: permit.nested_uncontrolled(),
            position,
        };
        let mut event = Event::new(subject, Outcome::Success, Detail::CommandStarted(started), now)
            .correlated(correlation_id);
        event.message = match (permit.nested_uncontrolled(), permit.argv().is_empty()) {
            (false, _) => None,
            (true, false) => Some("the program can run others, which nothing checks".to_owned()),
            (true, true) => Some("unrestricted: nothing was checked".to_owned()),
        };
        recorder.record(event).await?;
        Ok(Self { inner: permit, shown })
    }

    /// The exact bytes to send, once.
    #[cfg_attr(not(feature = "ssh"), allow(dead_code))]
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.inner.into_bytes()
    }

    /// The command line as it is on record: cut, and redacted where a rule says so.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// What is kept of the command's output.
    pub fn record(&self) -> crate::verdict::OutputRecord {
        self.inner.record()
    }
}
