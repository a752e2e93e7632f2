//! A version number that can be awaited, without a runtime.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Counts, and wakes whoever waits for the count to change.
#[derive(Debug)]
pub(crate) struct Signal {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    version: u64,
    next_waiter: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl Signal {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { version: 0, next_waiter: 0, waiting: BTreeMap::new() }) }
    }

    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    pub(crate) fn raise(&self) {
        let woken = {
            let mut state = self.lock();
            state.version = state.version.wrapping_add(1);
            std::mem::take(&mut state.waiting)
        };
        // Outside the lock: a waker may run its task on this thread.
        woken.into_values().for_each(Waker::wake);
    }

    pub(crate) fn changed(&self, seen: u64) -> Changed<'_> {
        Changed { signal: self, seen, waiter: None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves with the version once it differs from the one seen. Dropping it forgets the waiter.
pub(crate) struct Changed<'a> {
    signal: &'a Signal,
    seen: u64,
    waiter: Option<u64>,
}

impl Future for Changed<'_> {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        let mut state = self.signal.lock();
        if state.version != self.seen {
            return Poll::Ready(state.version);
        }
        let waiter = self.waiter.unwrap_or(state.next_waiter);
        if self.waiter.is_none() {
            state.next_waiter = state.next_waiter.wrapping_add(1);
        }
        state.waiting.insert(waiter, context.waker().clone());
        drop(state);
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.signal.lock().waiting.remove(&waiter);
        }
    }
}
