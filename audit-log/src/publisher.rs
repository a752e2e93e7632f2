//! Hands checkpoints to where others look for them, on a thread of its own.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
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

/// Longest time that closing waits for sinks.
const SINKS_WAIT: Duration = Duration::from_secs(2);

/// Hands checkpoints on, at its own pace.
pub(crate) struct Publisher {
    pub(crate) key: VerifierKey,
    state: Mutex<PublisherState>,
    wake: Condvar,
    feed: Arc<Feed>,
}

/// What is handed to sinks, which have a thread of their own: one that hangs holds up neither the copy beside the log nor its close for long.
#[derive(Default)]
struct Feed {
    state: Mutex<FeedState>,
    wake: Condvar,
}

#[derive(Default)]
struct FeedState {
    waiting: Option<(Arc<Checkpoint>, DateTime<Utc>)>,
    is_busy: bool,
    is_stopped: bool,
    error: Option<String>,
}

#[derive(Default)]
struct PublisherState {
    waiting: Option<Arc<Checkpoint>>,
    last: Option<Instant>,
    is_stopped: bool,
}

impl Publisher {
    pub(crate) fn new(sinks: Vec<Box<dyn CheckpointSink>>, key: VerifierKey) -> io::Result<Self> {
        let feed = Arc::new(Feed::default());
        if sinks.is_empty() {
            lock(&feed.state).is_stopped = true;
        } else {
            let for_sinks = Arc::clone(&feed);
            thread::Builder::new()
                .name("audit-log-sinks".to_owned())
                .spawn(move || for_sinks.deliver_until_stopped(sinks))?;
        }
        Ok(Self { key, state: Mutex::default(), wake: Condvar::new(), feed })
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

    /// Leaves a checkpoint for the sinks, in place of one that they have not come to.
    pub(crate) fn deliver(&self, checkpoint: &Arc<Checkpoint>, now: DateTime<Utc>) {
        let mut state = lock(&self.feed.state);
        if !state.is_stopped {
            state.waiting = Some((Arc::clone(checkpoint), now));
            self.feed.wake.notify_all();
        }
    }

    /// Waits, but not for ever, until the sinks have what was left for them, and lets them go.
    pub(crate) fn release_sinks(&self) {
        let mut state = lock(&self.feed.state);
        let until = Instant::now() + SINKS_WAIT;
        while state.waiting.is_some() || state.is_busy {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.error = Some("a sink has not returned".to_owned());
                break;
            }
            state = self.feed.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_stopped = true;
        self.feed.wake.notify_all();
    }

    /// The last failure of a sink, when the last round had one.
    pub(crate) fn sink_error(&self) -> Option<String> {
        lock(&self.feed.state).error.clone()
    }
}

impl Feed {
    fn deliver_until_stopped(&self, mut sinks: Vec<Box<dyn CheckpointSink>>) {
        let mut state = lock(&self.state);
        loop {
            let Some((checkpoint, now)) = state.waiting.take() else {
                if state.is_stopped {
                    return;
                }
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.is_busy = true;
            drop(state);
            let mut failed = None;
            for sink in &mut sinks {
                if let Err(cause) = caught(|| sink.take(&checkpoint, now)) {
                    failed = Some(cause);
                }
            }
            state = lock(&self.state);
            (state.is_busy, state.error) = (false, failed);
            self.wake.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
