//! A session's way to the recorder: order kept, failures noticed, nothing forgotten at the end.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::event::{Detail, Event, Outcome, RecordingPosition, Subject};
use crate::policy::Redacted;
use crate::record::{RecordError, Recorded, Recorder};
use crate::verdict::Permit;

/// Events whose durability nobody waits for at once, but whose failure ends the session.
const PENDING_MAX: usize = 1024;

type Pending = futures::future::BoxFuture<'static, Result<(), RecordError>>;

/// Submits a session's events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Journal {
    recorder: Arc<dyn Recorder>,
    subject: Subject,
    pending: mpsc::Sender<Waiting>,
    failed: watch::Receiver<Option<RecordError>>,
}

/// Longest time that the record of a result waits for other records to share a write with. Nothing waits for it, and written by itself
/// it would hold up the record of the next command, which somebody does wait for.
const RESULT_DELAY: Duration = Duration::from_millis(5);
/// Results that wait at the most.
const RESULTS_MAX: usize = 64;

enum Waiting {
    Event(Pending, Option<OwnedSemaphorePermit>),
    Result(Pending),
    Flush(oneshot::Sender<()>),
}

/// Waits for what was submitted, in order, and notes the first failure.
async fn attend(mut waiting: mpsc::Receiver<Waiting>, fail: watch::Sender<Option<RecordError>>) {
    let mut results: Vec<Pending> = Vec::new();
    let mut due = Instant::now();
    let note = |result: Result<(), RecordError>| {
        if let Err(error) = result {
            fail.send_replace(Some(error));
        }
    };
    loop {
        let next = tokio::select! {
            biased;
            next = waiting.recv(), if results.len() < RESULTS_MAX => next,
            () = tokio::time::sleep_until(due), if !results.is_empty() => {
                for result in results.drain(..) {
                    note(result.await);
                }
                continue;
            }
        };
        match next {
            Some(Waiting::Result(result)) => {
                if results.is_empty() {
                    due = Instant::now() + RESULT_DELAY;
                }
                results.push(result);
            }
            // The permit, if any, is released once the event is durable.
            Some(Waiting::Event(event, _permit)) => note(event.await),
            Some(Waiting::Flush(done)) => {
                for result in results.drain(..) {
                    note(result.await);
                }
                // Nobody waiting any more is fine.
                let _ = done.send(());
            }
            None => {
                for result in results.drain(..) {
                    note(result.await);
                }
                return;
            }
        }
    }
}

impl Journal {
    pub(crate) fn new(recorder: Arc<dyn Recorder>, subject: Subject) -> Self {
        let (pending, waiting) = mpsc::channel(PENDING_MAX);
        let (fail, failed) = watch::channel(None);
        tokio::spawn(attend(waiting, fail));
        Self { recorder, subject, pending, failed }
    }

    pub(crate) fn event(&self, outcome: Outcome, detail: Detail) -> Event {
        Event::new(self.subject.clone(), outcome, detail, Utc::now())
    }

    /// Records and waits until durable.
    pub(crate) async fn record(&self, event: Event) -> Result<(), RecordError> {
        self.check()?;
        self.recorder.record(event).await
    }

    /// Records in order; durability is waited for elsewhere. The session ends when it fails.
    pub(crate) async fn submit(&self, event: Event) {
        // Taken by the recorder now, so later events of this session come after it.
        let pending = self.recorder.record(event);
        // The receiver lives as long as this sender does.
        let _ = self.pending.send(Waiting::Event(pending, None)).await;
    }

    /// Like [`submit`](Self::submit), for what already happened: it may wait a moment for company.
    pub(crate) async fn submit_result(&self, event: Event) {
        let pending = self.recorder.record(event);
        let _ = self.pending.send(Waiting::Result(pending)).await;
    }

    /// Like [`submit`](Self::submit), and gives `permit` back once the event is durable.
    pub(crate) async fn submit_holding(&self, event: Event, permit: OwnedSemaphorePermit) {
        let pending = self.recorder.record(event);
        let _ = self.pending.send(Waiting::Event(pending, Some(permit))).await;
    }

    /// Records a permitted command and waits until durable.
    pub(crate) async fn command(
        &self,
        correlation_id: &str,
        permit: Permit,
        position: Option<RecordingPosition>,
        redact: impl Fn(&str) -> Redacted,
    ) -> Result<Recorded<Permit>, RecordError> {
        self.check()?;
        let subject = self.subject.clone();
        Recorded::command(&*self.recorder, subject, correlation_id, permit, position, redact, Utc::now())
            .await
    }

    /// Waits until everything submitted before is durable or has failed.
    pub(crate) async fn flush(&self) -> Result<(), RecordError> {
        let (done, flushed) = oneshot::channel();
        let _ = self.pending.send(Waiting::Flush(done)).await;
        let _ = flushed.await;
        self.check()
    }

    /// Resolves when an event could not be recorded.
    pub(crate) async fn failure(&self) -> RecordError {
        let mut failed = self.failed.clone();
        loop {
            if let Some(error) = failed.borrow_and_update().clone() {
                return error;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn check(&self) -> Result<(), RecordError> {
        self.failed.borrow().clone().map_or(Ok(()), Err)
    }
}
