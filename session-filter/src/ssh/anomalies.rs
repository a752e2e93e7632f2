//! Telling the anomaly detector what happens in a session, and doing what it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::Utc;
use tokio::sync::Notify;

use super::session::{End, Session};
use crate::anomaly::{AnomalyDetector, Happening, Observation, Response};
use crate::event::{AnomalyDetected, Detail, Outcome};
use crate::registry::Termination;
use crate::verdict::Permit;

/// So much output is told at a time. Nothing is told for every packet.
const OUTPUT_EVERY_BYTES: u64 = 256 * 1024;

/// Who ends a session in which something stood out, as the user and the record name it.
const ENDED_BY: &str = "anomaly detection";

/// What happened and was not told yet.
pub(crate) struct Untold {
    detector: Option<Arc<dyn AnomalyDetector>>,
    blocked: AtomicU64,
    output: AtomicU64,
    wake: Notify,
}

impl Untold {
    pub(crate) fn new(detector: Option<Arc<dyn AnomalyDetector>>) -> Self {
        Self { detector, blocked: AtomicU64::new(0), output: AtomicU64::new(0), wake: Notify::new() }
    }

    /// Something was refused.
    pub(crate) fn blocked(&self) {
        if self.detector.is_some() {
            self.blocked.fetch_add(1, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }

    /// The target's side sent so much.
    pub(crate) fn output(&self, bytes: usize) {
        if self.detector.is_some() {
            let before = self.output.fetch_add(bytes as u64, Ordering::Relaxed);
            if before < OUTPUT_EVERY_BYTES && before.saturating_add(bytes as u64) >= OUTPUT_EVERY_BYTES {
                self.wake.notify_one();
            }
        }
    }

    /// Resolves when there is something to tell.
    pub(crate) async fn waiting(&self) {
        self.wake.notified().await;
    }
}

impl Session {
    /// Tells what was counted since the last time.
    pub(crate) async fn tell(&self) {
        for _ in 0..self.untold.blocked.swap(0, Ordering::Relaxed) {
            self.observe(Happening::Blocked).await;
        }
        let bytes = self.untold.output.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            self.observe(Happening::Output { bytes }).await;
        }
    }

    /// Tells of the commands of a line that is on record and about to be sent.
    pub(crate) async fn observe_commands(&self, programs: &[Option<String>]) {
        for program in programs {
            self.observe(Happening::CommandStarted { program: program.as_deref() }).await;
        }
    }

    /// Tells one thing. What stands out is on record when this returns; where the detector says so, the session has been told to end.
    pub(crate) async fn observe(&self, happening: Happening<'_>) {
        let Some(detector) = &self.untold.detector else { return };
        let request = &self.request;
        let observation =
            Observation::new(request.user.id(), request.target.id(), &request.session_id, happening);
        for anomaly in detector.observe(&observation, Utc::now()) {
            // Nothing is left to end once the session is over.
            let ends = anomaly.response == Response::Terminate && !self.has_ended();
            let detail = AnomalyDetected::new(anomaly.observed, anomaly.usual, ends);
            let event = self.journal.event(Outcome::Success, Detail::AnomalyDetected(detail));
            let event = event.because(anomaly.kind.code(), &anomaly.message);
            if self.journal.record(event).await.is_err() {
                return self.end(End::RecorderFailed);
            }
            if ends {
                let termination = Termination::new(ENDED_BY, anomaly.message);
                if self.shared.registry.terminate(&request.session_id, termination.clone()) {
                    // The registry has it on record before it ends anything, and gives up on that after a moment.
                    self.ended().await;
                } else {
                    self.end(End::Terminated(termination));
                }
            }
        }
    }
}

/// The programs of a permitted line, one for each of its commands; nothing for one that is not known or is a secret.
pub(crate) fn programs(session: &Session, permit: &Permit) -> Vec<Option<String>> {
    if session.untold.detector.is_none() {
        return Vec::new();
    }
    let known = permit.commands().map(|argv| {
        let program = argv.first().filter(|program| !session.shared.gatekeeper.redact(program).changed);
        program.cloned()
    });
    let known: Vec<Option<String>> = known.collect();
    if known.is_empty() { vec![None] } else { known }
}
