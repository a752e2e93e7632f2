//! The queue between those who append and the one who writes.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use chrono::{DateTime, Utc};

use crate::{entry::Encoded, error::AppendError, log::Shared, note::Checkpoint};

/// Where an entry is, said once it is durable, in the tree and under a signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Sequence number of the entry.
    pub seq: u64,
    /// When the log took it, by its own clock; never goes back.
    pub recorded_at: DateTime<Utc>,
    /// Number of the segment that holds it.
    pub segment: u32,
    /// Number of the frame in that segment.
    pub frame: u32,
    checkpoint: Arc<Checkpoint>,
}

impl Receipt {
    pub(crate) fn new(
        seq: u64,
        recorded_at: DateTime<Utc>,
        segment: u32,
        frame: u32,
        checkpoint: Arc<Checkpoint>,
    ) -> Self {
        Self { seq, recorded_at, segment, frame, checkpoint }
    }

    /// The signed checkpoint of its frame, the first one that covers the entry.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

pub(crate) type Outcome = Result<Receipt, AppendError>;

/// Where the writer leaves an outcome.
#[derive(Default)]
pub(crate) struct Slot {
    state: Mutex<SlotState>,
    ready: Condvar,
}

#[derive(Default)]
struct SlotState {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
    has_thread: bool,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_resolved(&self) -> bool {
        self.state().outcome.is_some()
    }

    pub(crate) fn resolve(&self, outcome: Outcome) {
        let (waker, has_thread) = {
            let mut state = self.state();
            state.outcome = Some(outcome);
            (state.waker.take(), state.has_thread)
        };
        if has_thread {
            self.ready.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// An entry that waits to be written.
pub(crate) struct Pending {
    pub(crate) entry: Encoded,
    pub(crate) at: DateTime<Utc>,
    pub(crate) slot: Option<Arc<Slot>>,
}

impl Pending {
    /// Bytes that it is counted with against the limit of the queue.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.entry.record.len() + QUEUE_OVERHEAD_BYTES
    }
}

const QUEUE_OVERHEAD_BYTES: usize = 256;

/// Entries in the order of the calls.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) bytes: usize,
    pub(crate) stop: Option<Stop>,
    pub(crate) poison: Option<Arc<str>>,
}

/// How the writer is to end once the queue is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// With a last entry that says so.
    Close,
    /// As if killed, but with everything written that was taken.
    Drop,
}

/// An append that is under way. The entry has its place in the order already; dropping this does not take it back.
///
/// Await it, or [`wait`](Self::wait) for it in a thread that may block. It resolves when the entry is durable, in the tree and under a
/// signed checkpoint. Writing begins when it is first polled, waited for or dropped. Cancellation safe.
#[must_use = "the entry is acknowledged only by awaiting this"]
pub struct Append {
    state: AppendState,
}

enum AppendState {
    Refused(AppendError),
    Queued { slot: Arc<Slot>, log: Arc<Shared>, is_kicked: bool },
    Done,
}

impl Append {
    pub(crate) fn refused(error: AppendError) -> Self {
        Self { state: AppendState::Refused(error) }
    }

    pub(crate) fn queued(slot: Arc<Slot>, log: Arc<Shared>) -> Self {
        Self { state: AppendState::Queued { slot, log, is_kicked: false } }
    }

    /// Waits in this thread, and writes in it where no other thread is writing, which saves two changes of thread.
    /// Not for use in asynchronous code.
    pub fn wait(mut self) -> Result<Receipt, AppendError> {
        match std::mem::replace(&mut self.state, AppendState::Done) {
            AppendState::Refused(error) => Err(error),
            AppendState::Done => Err(AppendError::Closed),
            AppendState::Queued { slot, log, is_kicked } => {
                if !is_kicked {
                    log.write_here(&slot);
                }
                let mut state = slot.state();
                loop {
                    if let Some(outcome) = state.outcome.take() {
                        return outcome;
                    }
                    state.has_thread = true;
                    state = slot.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl Future for Append {
    type Output = Result<Receipt, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            AppendState::Queued { slot, log, is_kicked } => {
                {
                    let mut state = slot.state();
                    match state.outcome.take() {
                        Some(outcome) => {
                            drop(state);
                            // Resolved by somebody else's write.
                            *is_kicked = true;
                            self.state = AppendState::Done;
                            return Poll::Ready(outcome);
                        }
                        None => state.waker = Some(context.waker().clone()),
                    }
                }
                if !std::mem::replace(is_kicked, true) {
                    log.kick();
                }
                Poll::Pending
            }
            AppendState::Refused(_) => match std::mem::replace(&mut self.state, AppendState::Done) {
                AppendState::Refused(error) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            },
            AppendState::Done => Poll::Pending,
        }
    }
}

impl Drop for Append {
    fn drop(&mut self) {
        if let AppendState::Queued { log, is_kicked: false, .. } = &self.state {
            log.kick();
        }
    }
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Append(…)")
    }
}
