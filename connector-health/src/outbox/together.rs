//! Several who write at the same time wait for the disk once, and several who read ask the store once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::event::Lane;
use crate::store::{Batch, Committed, Loaded, OutboxStore, StoreError};

/// Most batches that are written together, and most lanes that are read together.
const TOGETHER_MAX: usize = 512;

pub(super) struct Together<S> {
    store: Arc<S>,
    commits: Arc<Line<Batch, Committed>>,
    loads: Arc<Line<Lane, Option<Loaded>>>,
}

/// Those who wait for their turn.
struct Line<Q, A>(Mutex<Waiting<Q, A>>);

struct Waiting<Q, A> {
    queue: Vec<(Q, Sender<A>)>,
    /// There is a task that serves the queue until it is empty. One for all: one for each who waits would wait longer than they do.
    is_served: bool,
}

type Sender<A> = oneshot::Sender<Result<A, StoreError>>;
type Receiver<A> = oneshot::Receiver<Result<A, StoreError>>;

impl<Q, A> Line<Q, A> {
    fn new() -> Self {
        Self(Mutex::new(Waiting { queue: Vec::new(), is_served: false }))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<Q, A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the answer comes. Where nobody serves the line, the caller has to.
    fn join(self: &Arc<Self>, question: Q) -> (Receiver<A>, Option<Server<Q, A>>) {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.queue.push((question, sender));
        let was_served = std::mem::replace(&mut waiting.is_served, true);
        (answer, (!was_served).then(|| Server { line: Arc::clone(self), is_serving: true }))
    }
}

/// Whoever serves a line. One that panics, or ends with its runtime, leaves nobody waiting: they learn that it stopped.
struct Server<Q, A> {
    line: Arc<Line<Q, A>>,
    is_serving: bool,
}

impl<Q, A> Server<Q, A> {
    /// Those whose turn it is, oldest first. Where nobody waits, the line is not served any more.
    fn next(&mut self) -> Option<(Vec<Q>, Vec<Sender<A>>)> {
        let mut waiting = self.line.lock();
        let many = waiting.queue.len().min(TOGETHER_MAX);
        self.is_serving = many > 0;
        waiting.is_served = self.is_serving;
        self.is_serving.then(|| waiting.queue.drain(..many).unzip())
    }
}

impl<Q, A> Drop for Server<Q, A> {
    fn drop(&mut self) {
        if self.is_serving {
            let mut waiting = self.line.lock();
            waiting.is_served = false;
            waiting.queue.clear();
        }
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
        Arc::new(Self { store, commits: Arc::new(Line::new()), loads: Arc::new(Line::new()) })
    }

    /// Durable on return. Where the future is dropped, the batch is written nevertheless, or not: others may wait in the same turn.
    pub(super) async fn commit(self: &Arc<Self>, batch: Batch) -> Result<Committed, StoreError> {
        let (answer, server) = self.commits.join(batch);
        if let Some(server) = server {
            tokio::spawn(Arc::clone(self).serve_commits(server));
        }
        match answer.await {
            Ok(Ok(Committed::Unreadable)) => Err(StoreError::unreadable("what is stored there already")),
            Ok(committed) => committed,
            Err(_) => Err(StoreError::Stopped),
        }
    }

    /// A lane and its events that wait.
    pub(super) async fn load(self: &Arc<Self>, lane: &Lane) -> Result<Option<Loaded>, StoreError> {
        let (answer, server) = self.loads.join(lane.clone());
        if let Some(server) = server {
            tokio::spawn(Arc::clone(self).serve_loads(server));
        }
        answer.await.unwrap_or(Err(StoreError::Stopped))
    }

    async fn serve_commits(self: Arc<Self>, mut server: Server<Batch, Committed>) {
        while let Some((batches, senders)) = server.next() {
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
    }

    async fn serve_loads(self: Arc<Self>, mut server: Server<Lane, Option<Loaded>>) {
        while let Some((lanes, senders)) = server.next() {
            answer(senders, self.store.load_all(lanes).await);
        }
    }
}
