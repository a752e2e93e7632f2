//! What is new in a stream, written once for all who wait for it.
//!
//! Who reads a stream as it grows asks for the same as the others: what stands behind one offset. Whoever asks first reads it from the log, and
//! who comes from the same place gets that too, up to the same next place. Nothing is ever sent to somebody who did not ask for what comes
//! behind his own offset, so that nobody misses any.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::body::Bytes;
use tokio::sync::OnceCell;

use crate::id::TenantId;
use crate::store::Offset;

/// Chunks of one stream that are remembered.
const CHUNKS_MAX: usize = 8;

/// Events as they are sent, and where to read on.
#[derive(Clone)]
pub(super) struct Chunk {
    pub(super) text: Bytes,
    pub(super) next: Offset,
}

/// Those of all tenants whose events somebody waits for.
#[derive(Default)]
pub(super) struct Tails(Mutex<HashMap<TenantId, Weak<Tail>>>);

/// One tenant's. It lasts as long as somebody holds it.
#[derive(Default)]
pub(super) struct Tail(Mutex<VecDeque<(Offset, Arc<OnceCell<Chunk>>)>>);

impl Tails {
    pub(super) fn of(&self, tenant: &TenantId) -> Arc<Tail> {
        let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(tenant).and_then(Weak::upgrade) {
            return tail;
        }
        tails.retain(|_, tail| tail.strong_count() > 0);
        let tail = Arc::new(Tail::default());
        tails.insert(tenant.clone(), Arc::downgrade(&tail));
        tail
    }
}

impl Tail {
    /// What stands behind an offset, by `read` where nobody has read it yet.
    pub(super) async fn behind<E>(
        &self,
        after: Offset,
        read: impl Future<Output = Result<Chunk, E>>,
    ) -> Result<Chunk, E> {
        let cell = {
            let mut chunks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match chunks.iter().rev().find(|(from, _)| *from == after) {
                Some((_, cell)) => Arc::clone(cell),
                None => {
                    if chunks.len() >= CHUNKS_MAX {
                        chunks.pop_front();
                    }
                    let cell = Arc::default();
                    chunks.push_back((after, Arc::clone(&cell)));
                    cell
                }
            }
        };
        // Whoever goes away in the middle of reading leaves it to the next.
        cell.get_or_try_init(|| read).await.cloned()
    }
}
