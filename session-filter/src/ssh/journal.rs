//! A session's way to the recorder: order kept, failures noticed, nothing forgotten at the end.

use std::sync::Arc;

use chrono::Utc;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use crate::event::{Detail, Event, Outcome, Subject};
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

enum Waiting {
    Event(Pending, Option<OwnedSemaphorePermit>),
    Flush(oneshot::Sender<()>),
}

impl Journal {
    pub(crate) fn new(recorder: Arc<dyn Recorder>, subject: Subject) -> Self {
        let (pending, mut waiting) = mpsc::channel(PENDING_MAX);
        let (fail, failed) = watch::channel(None);
        tokio::spawn(async move {
            while let Some(next) = waiting.recv().await {
                match next {
                    // The permit, if any, is released once the event is durable.
                    Waiting::Event(event, _permit) => {
                        if let Err(error) = event.await {
                            fail.send_replace(Some(error));
                        }
                    }
                    Waiting::Flush(done) => {
                        // Nobody waiting any more is fine.
                        let _ = done.send(());
                    }
                }
            }
        });
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
        redact: impl Fn(&str) -> Redacted,
    ) -> Result<Recorded<Permit>, RecordError> {
        self.check()?;
        Recorded::command(&*self.recorder, self.subject.clone(), correlation_id, permit, redact, Utc::now())
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
