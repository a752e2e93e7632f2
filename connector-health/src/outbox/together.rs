//! Several who write at the same time wait for the disk once, and several who read ask the store once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, oneshot};

use crate::event::Lane;
use crate::store::{Batch, Committed, Loaded, OutboxStore, StoreError};

/// Most batches that are written together, and most lanes that are read together.
const TOGETHER_MAX: usize = 512;

pub(super) struct Together<S> {
    store: Arc<S>,
    commits: Line<Batch, Committed>,
    loads: Line<Lane, Option<Loaded>>,
}

/// Those who wait for their turn.
struct Line<Q, A> {
    queue: Mutex<Vec<(Q, Sender<A>)>>,
    turn: Turn<()>,
}

type Sender<A> = oneshot::Sender<Result<A, StoreError>>;

impl<Q, A> Line<Q, A> {
    fn new() -> Self {
        Self { queue: Mutex::default(), turn: Turn::new(()) }
    }

    fn join(&self, question: Q) -> oneshot::Receiver<Result<A, StoreError>> {
        let (sender, answer) = oneshot::channel();
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push((question, sender));
        answer
    }

    /// Those whose turn it is, oldest first.
    fn next(&self) -> (Vec<Q>, Vec<Sender<A>>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let many = queue.len().min(TOGETHER_MAX);
        queue.drain(..many).unzip()
    }
}

fn answer<A>(senders: Vec<Sender<A>>, answers: Vec<Result<A, StoreError>>) {
    for (sender, answer) in senders.into_iter().zip(answers) {
        // Nobody listens where the future was dropped.
        drop(sender.send(answer));
    }
}

impl<S: OutboxStore> Together<S> {
    pub(super) fn new(store: Arc<S>) -> Arc<Self> {
        Arc::new(Self { store, commits: Line::new(), loads: Line::new() })
    }

    /// Durable on return. Where the future is dropped, the batch is written nevertheless, or not: others may wait in the same turn.
    pub(super) async fn commit(self: &Arc<Self>, batch: Batch) -> Result<Committed, StoreError> {
        let answer = self.commits.join(batch);
        tokio::spawn(Arc::clone(self).commit_next());
        match answer.await {
            Ok(Ok(Committed::Unreadable)) => Err(StoreError::unreadable("what is stored there already")),
            Ok(committed) => committed,
            Err(_) => Err(StoreError::Stopped),
        }
    }

    /// A lane and its events that wait.
    pub(super) async fn load(self: &Arc<Self>, lane: &Lane) -> Result<Option<Loaded>, StoreError> {
        let answer = self.loads.join(lane.clone());
        tokio::spawn(Arc::clone(self).load_next());
        answer.await.unwrap_or(Err(StoreError::Stopped))
    }

    async fn commit_next(self: Arc<Self>) {
        let _turn = self.commits.turn.lock().await;
        let (batches, senders) = self.commits.next();
        if batches.is_empty() {
            return;
        }
        match self.store.commit(batches).await {
            Ok(done) => answer(senders, done.into_iter().map(Ok).collect()),
            Err(error) => {
                let error = Arc::new(error);
                let error = || Err(StoreError::Together(Arc::clone(&error)));
                let answers = std::iter::repeat_with(error).take(senders.len()).collect();
                answer(senders, answers);
            }
        }
    }

    async fn load_next(self: Arc<Self>) {
        let _turn = self.loads.turn.lock().await;
        let (lanes, senders) = self.loads.next();
        if !lanes.is_empty() {
            answer(senders, self.store.load_all(lanes).await);
        }
    }
}
