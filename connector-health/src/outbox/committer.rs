//! Several who write at the same time wait for the disk once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, oneshot};

use crate::store::{Batch, Committed, OutboxStore, StoreError};

/// Most batches that are written together.
const TOGETHER_MAX: usize = 512;

type Queued = (Batch, oneshot::Sender<Result<Committed, StoreError>>);

pub(super) struct Committer<S> {
    store: Arc<S>,
    queue: Mutex<Vec<Queued>>,
    turn: Turn<()>,
}

impl<S: OutboxStore> Committer<S> {
    pub(super) fn new(store: Arc<S>) -> Arc<Self> {
        Arc::new(Self { store, queue: Mutex::default(), turn: Turn::new(()) })
    }

    /// Durable on return. Where the future is dropped, the batch is written nevertheless, or not: others may wait in the same turn.
    pub(super) async fn commit(self: &Arc<Self>, batch: Batch) -> Result<Committed, StoreError> {
        let (sender, answer) = oneshot::channel();
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push((batch, sender));
        tokio::spawn(Arc::clone(self).take_turn());
        answer.await.unwrap_or(Err(StoreError::Stopped))
    }

    async fn take_turn(self: Arc<Self>) {
        let _turn = self.turn.lock().await;
        let queued: Vec<Queued> = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let many = queue.len().min(TOGETHER_MAX);
            queue.drain(..many).collect()
        };
        if queued.is_empty() {
            return;
        }
        let (batches, senders): (Vec<_>, Vec<_>) = queued.into_iter().unzip();
        match self.store.commit(batches).await {
            Ok(done) => {
                for (sender, done) in senders.into_iter().zip(done) {
                    drop(sender.send(Ok(done)));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for sender in senders {
                    drop(sender.send(Err(StoreError::Together(Arc::clone(&error)))));
                }
            }
        }
    }
}
