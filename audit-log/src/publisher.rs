//! Hands checkpoints to where others look for them, on a thread of its own.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::{
    log::caught,
    note::{Checkpoint, VerifierKey},
    sink::CheckpointSink,
};

/// Shortest time between two copies of the checkpoint to where others look for it.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// Hands checkpoints on, at its own pace.
pub(crate) struct Publisher {
    pub(crate) key: VerifierKey,
    state: Mutex<PublisherState>,
    wake: Condvar,
    sinks: Mutex<Vec<Box<dyn CheckpointSink>>>,
}

#[derive(Default)]
struct PublisherState {
    waiting: Option<Arc<Checkpoint>>,
    last: Option<Instant>,
    is_stopped: bool,
    sink_error: Option<String>,
}

impl Publisher {
    pub(crate) fn new(sinks: Vec<Box<dyn CheckpointSink>>, key: VerifierKey) -> Self {
        Self { key, state: Mutex::default(), wake: Condvar::new(), sinks: Mutex::new(sinks) }
    }

    pub(crate) fn offer(&self, checkpoint: Arc<Checkpoint>) {
        let was_empty = lock(&self.state).waiting.replace(checkpoint).is_none();
        // While one waits for its time, a newer one takes its place without waking anybody.
        if was_empty {
            self.wake.notify_one();
        }
    }

    pub(crate) fn stop(&self) {
        lock(&self.state).is_stopped = true;
        self.wake.notify_one();
    }

    /// Waits for a checkpoint and until it is time for it; `None` when stopped.
    pub(crate) fn next(&self) -> Option<Arc<Checkpoint>> {
        let mut state = lock(&self.state);
        loop {
            if state.is_stopped {
                return None;
            }
            let left = state.last.map(|last| CHECKPOINT_INTERVAL.saturating_sub(last.elapsed()));
            match left {
                _ if state.waiting.is_none() => {
                    state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(left) if !left.is_zero() => {
                    let waited = self.wake.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                _ => {
                    state.last = Some(Instant::now());
                    return state.waiting.take();
                }
            }
        }
    }

    pub(crate) fn deliver(&self, checkpoint: &Checkpoint, now: DateTime<Utc>) {
        let mut failed = None;
        for sink in lock(&self.sinks).iter_mut() {
            if let Err(cause) = caught(|| sink.take(checkpoint, now)) {
                failed = Some(cause);
            }
        }
        lock(&self.state).sink_error = failed;
    }

    /// The last failure of a sink, when the last round had one.
    pub(crate) fn sink_error(&self) -> Option<String> {
        lock(&self.state).sink_error.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
