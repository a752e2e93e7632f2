//! The log, open for writing.

use std::{
    collections::VecDeque,
    fmt, io,
    ops::RangeBounds,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError},
    task::{Context, Poll},
    thread::{self, JoinHandle},
};

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _, channel::mpsc};
use tokio::sync::watch;

use crate::{
    append::{Append, Pending, Queue, Receipt, Slot, Stop},
    crypto::LogId,
    entry::Entry,
    error::{AppendError, CloseError, OpenError, ProveError, ReadError},
    keys::KeyProvider,
    note::{Checkpoint, VerifierKey},
    options::Options,
    proof::{Proof, Prover},
    publisher::Publisher,
    query::{Prepared, Query},
    reader::bounds,
    recorded::Recorded,
    scan::{Entries, Until},
    store::{Store, StoreLock},
    writer::{Committed, Writer},
};

/// Entries that a search may be ahead of whoever reads its results.
const HITS_AHEAD: usize = 64;

pub(crate) type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// An append-only, encrypted, provable log, open for writing. Clones are handles on the same log; dropping the last one stops it without a closing
/// entry, after everything that was taken is written, which blocks for one write. Use [`close`](Self::close) to end it cleanly.
#[derive(Clone)]
pub struct AuditLog {
    shared: Arc<Shared>,
    /// Dropped with the last handle.
    handle: Arc<Handle>,
}

/// What handles, appends under way and the writing thread share.
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    writer: Mutex<Writer>,
    latest: Mutex<Arc<Checkpoint>>,
    progress: watch::Sender<Extent>,
    publisher: Publisher,
    queue_bytes_max: usize,
    clock: Clock,
    store: Arc<dyn Store>,
    keys: Arc<dyn KeyProvider>,
    prover: Mutex<Prover>,
}

/// How far the log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    size: u64,
    is_ended: bool,
}

struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop(Stop::Drop);
        self.join();
    }
}

impl Handle {
    fn join(&self) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            // The thread does not panic; were it to, the log is as after a crash, and whoever waits is told so.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AuditLog {
    /// Opens a log with default options; begins a new one where there is none.
    pub async fn open(
        store: impl Store + 'static,
        keys: impl KeyProvider + 'static,
    ) -> Result<Self, OpenError> {
        Self::options().open(store, keys).await
    }

    /// How to open a log, to be changed before [`Options::open`].
    pub fn options() -> Options {
        Options::default()
    }

    pub(crate) fn start(
        options: Options,
        store: Arc<dyn Store>,
        keys: Arc<dyn KeyProvider>,
        (key, log): (VerifierKey, LogId),
        mut writer: Writer,
        first: Entry,
        locks: [Box<dyn StoreLock>; 2],
    ) -> Result<Self, OpenError> {
        let now = (options.clock)();
        let entry = first.encode(now).map_err(|error| OpenError::Append(error.into()))?;
        let mut batch = vec![Pending { entry, at: now, slot: None }];
        let poisoned = |error: &dyn fmt::Display| {
            OpenError::Append(AppendError::Poisoned { cause: error.to_string().into() })
        };
        let committed = writer.commit(&mut batch).map_err(|error| poisoned(&error))?;
        let Some(Committed { checkpoint, .. }) = committed else {
            return Err(poisoned(&"nothing was written"));
        };
        // Keys are bound only to a log that is there, and before it takes an entry.
        keys.bind(&key, &log)?;
        writer.publish_checkpoint(&checkpoint).map_err(|error| poisoned(&error))?;
        let (progress, _) = watch::channel(Extent { size: checkpoint.size(), is_ended: false });
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            writer: Mutex::new(writer),
            latest: Mutex::new(Arc::clone(&checkpoint)),
            progress,
            publisher: Publisher::new(options.sinks, key).map_err(|error| poisoned(&error))?,
            queue_bytes_max: options.queue_bytes_max,
            clock: options.clock,
            prover: Mutex::new(Prover::new(Arc::clone(&store))),
            store,
            keys,
        });
        shared.publisher.offer(checkpoint);
        let for_publisher = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name("audit-log-checkpoints".to_owned())
            .spawn(move || for_publisher.publish_until_stopped())
            .and_then(|publisher| {
                let shared = Arc::clone(&shared);
                thread::Builder::new()
                    .name("audit-log-writer".to_owned())
                    .spawn(move || shared.write_until_stopped(publisher, locks))
            });
        let thread = match spawned {
            Ok(thread) => thread,
            Err(error) => {
                shared.publisher.stop();
                shared.publisher.release_sinks();
                return Err(poisoned(&error));
            }
        };
        let handle = Arc::new(Handle { shared: Arc::clone(&shared), thread: Mutex::new(Some(thread)) });
        Ok(Self { shared, handle })
    }

    /// Appends an entry. Its place in the order is taken when this returns; await the result, or [`wait`](Append::wait) for it, to know that it is
    /// durable, in the tree and under a signed checkpoint. Dropping the result does not take the entry back.
    pub fn append(&self, entry: Entry) -> Append {
        let now = (self.shared.clock)();
        match entry.encode(now) {
            Err(error) => Append::refused(error.into()),
            Ok(entry) => {
                let slot = Arc::new(Slot::default());
                let pending = Pending { entry, at: now, slot: Some(Arc::clone(&slot)) };
                match self.shared.enqueue(pending) {
                    Ok(()) => Append::queued(slot, Arc::clone(&self.shared)),
                    Err(error) => Append::refused(error),
                }
            }
        }
    }

    /// The newest checkpoint. Keep it elsewhere, to be able to see later that the log was not cut short.
    pub fn checkpoint(&self) -> Checkpoint {
        lock(&self.shared.latest).as_ref().clone()
    }

    /// The public key that verifies checkpoints and proofs.
    pub fn public_key(&self) -> VerifierKey {
        self.shared.publisher.key.clone()
    }

    /// Proves that an acknowledged entry is in the log, under the newest checkpoint. The first proof reads the leaves of the whole log.
    pub async fn prove(&self, receipt: &Receipt) -> Result<Proof, ProveError> {
        self.prove_seq(receipt.seq).await
    }

    /// Proves that the entry with this sequence number is in the log.
    pub async fn prove_seq(&self, seq: u64) -> Result<Proof, ProveError> {
        let shared = Arc::clone(&self.shared);
        let proved = tokio::task::spawn_blocking(move || {
            let checkpoint = Arc::clone(&lock(&shared.latest));
            lock(&shared.prover).prove(seq, &checkpoint)
        });
        proved.await.unwrap_or_else(|_| {
            Err(ReadError::io(".", io::Error::other("the thread that made the proof was stopped")).into())
        })
    }

    /// Entries that match, among those that were acknowledged when this was called, in order of sequence.
    pub fn search(&self, query: Query) -> Hits {
        self.stream(0, Until::Acknowledged(self.size()), Some(query.prepare()))
    }

    /// Entries with these sequence numbers, among those that were acknowledged when this was called.
    pub fn read(&self, seqs: impl RangeBounds<u64>) -> Hits {
        let (from, until) = bounds(seqs);
        let end = match until {
            Until::AtMost(end) | Until::Acknowledged(end) => end.min(self.size()),
            Until::End => self.size(),
        };
        self.stream(from, Until::Acknowledged(end), None)
    }

    /// Entries from a sequence number on, first those that are there and then each as it is acknowledged, none skipped. Ends when the log is closed.
    pub fn tail(&self, from: u64) -> Hits {
        let (mut entries, results) = mpsc::channel(HITS_AHEAD);
        let shared = &self.shared;
        let mut progress = shared.progress.subscribe();
        let (store, keys) = (Arc::clone(&shared.store), Arc::clone(&shared.keys));
        let follow = async move {
            let mut scan = Entries::new(store, keys, None, from, Until::Acknowledged(from));
            loop {
                let extent = *progress.borrow_and_update();
                scan.extend(Until::Acknowledged(extent.size));
                loop {
                    // Disk is read off the runtime's threads, some entries at a time.
                    let read = tokio::task::spawn_blocking(move || {
                        let batch: Vec<_> = scan.by_ref().take(HITS_AHEAD).collect();
                        (scan, batch)
                    });
                    let Ok((back, batch)) = read.await else { return };
                    scan = back;
                    if batch.is_empty() {
                        break;
                    }
                    for entry in batch {
                        if futures::SinkExt::send(&mut entries, entry).await.is_err() {
                            return;
                        }
                    }
                }
                if extent.is_ended || progress.changed().await.is_err() {
                    return;
                }
            }
        };
        Hits { driver: Some(Box::pin(follow)), results }
    }

    /// Closes the log: writes what was taken, a closing entry and the checkpoint, cuts off the zeros at its end and releases it. Further appends are
    /// refused, through other handles as well.
    pub async fn close(self) -> Result<(), CloseError> {
        let closed = tokio::task::spawn_blocking(move || self.close_blocking());
        closed
            .await
            .unwrap_or_else(|_| Err(CloseError::Poisoned { cause: "the writing thread was stopped".into() }))
    }

    /// [`close`](Self::close) for a thread that may block.
    pub fn close_blocking(self) -> Result<(), CloseError> {
        self.shared.stop(Stop::Close);
        self.handle.join();
        match &lock(&self.shared.queue).poison {
            Some(cause) => Err(CloseError::Poisoned { cause: Arc::clone(cause) }),
            None => Ok(()),
        }
    }

    /// The last failure of a checkpoint sink, when its last call failed.
    pub fn sink_error(&self) -> Option<String> {
        self.shared.publisher.sink_error()
    }

    fn size(&self) -> u64 {
        self.shared.progress.borrow().size
    }

    fn stream(&self, from: u64, until: Until, query: Option<Prepared>) -> Hits {
        let (mut sender, results) = mpsc::channel(HITS_AHEAD);
        let shared = &self.shared;
        let scan = Entries::new(Arc::clone(&shared.store), Arc::clone(&shared.keys), query, from, until);
        let driver = async move {
            let reading = tokio::task::spawn_blocking(move || {
                for entry in scan {
                    // Whoever asked has gone.
                    if futures::executor::block_on(futures::SinkExt::send(&mut sender, entry)).is_err() {
                        return;
                    }
                }
            });
            let _ = reading.await;
        };
        Hits { driver: Some(Box::pin(driver)), results }
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").field("checkpoint", &self.checkpoint()).finish_non_exhaustive()
    }
}

/// Entries as a stream. Nothing is read before it is first polled; dropping it ends the reading. Needs a Tokio runtime.
#[must_use = "streams do nothing unless polled"]
pub struct Hits {
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    results: mpsc::Receiver<Result<Recorded, ReadError>>,
}

impl Stream for Hits {
    type Item = Result<Recorded, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(context).is_ready()
        {
            self.driver = None;
        }
        self.results.poll_next_unpin(context)
    }
}

impl fmt::Debug for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hits(…)")
    }
}

impl Shared {
    fn enqueue(&self, pending: Pending) -> Result<(), AppendError> {
        let mut queue = lock(&self.queue);
        if let Some(cause) = &queue.poison {
            return Err(AppendError::Poisoned { cause: Arc::clone(cause) });
        }
        if queue.stop.is_some() {
            return Err(AppendError::Closed);
        }
        let bytes = queue.bytes.saturating_add(pending.queue_bytes());
        if bytes > self.queue_bytes_max {
            return Err(AppendError::Overloaded { queued_bytes: queue.bytes });
        }
        queue.bytes = bytes;
        queue.pending.push_back(pending);
        Ok(())
    }

    /// Wakes the writing thread.
    pub(crate) fn kick(&self) {
        self.wake.notify_one();
    }

    /// Writes in this thread until `slot` is resolved, or leaves it to the thread that is writing. Waiting for that one's lock instead would
    /// make many threads take turns at it for small frames.
    pub(crate) fn write_here(&self, slot: &Slot) {
        let mut has_written = false;
        while !slot.is_resolved() {
            let mut writer = match self.writer.try_lock() {
                Ok(writer) => writer,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => break,
            };
            has_written = true;
            if !self.write_once(&mut writer) {
                break;
            }
        }
        // Whoever enqueued while this thread was writing relies on it: the lock was held, so they wait for their outcome only.
        if has_written && !lock(&self.queue).pending.is_empty() {
            self.kick();
        }
    }

    /// Commits one frame of what waits. `false` when nothing waits.
    fn write_once(&self, writer: &mut Writer) -> bool {
        let mut batch = {
            let mut queue = lock(&self.queue);
            if queue.poison.is_some() {
                return false;
            }
            let fitting = Writer::fitting(queue.pending.iter());
            let batch: Vec<Pending> = queue.pending.drain(..fitting).collect();
            queue.bytes = queue.bytes.saturating_sub(batch.iter().map(Pending::queue_bytes).sum());
            batch
        };
        if batch.is_empty() {
            return false;
        }
        match caught(|| writer.commit(&mut batch)) {
            Ok(Some(committed)) => self.announce(committed),
            Ok(None) => {}
            Err(cause) => self.poison(&cause, batch),
        }
        true
    }

    /// Shows a frame to readers, then tells whoever waits: what is acknowledged can be found and proved at once.
    fn announce(&self, committed: Committed) {
        let checkpoint = Arc::clone(&committed.checkpoint);
        *lock(&self.latest) = Arc::clone(&checkpoint);
        self.progress.send_modify(|extent| extent.size = checkpoint.size());
        self.publisher.offer(checkpoint);
        committed.acknowledge();
    }

    /// Refuses everything from now on; the first cause stays. A failed sync is never tried again: it may succeed and still have lost the data.
    fn poison(&self, cause: &str, batch: Vec<Pending>) {
        let (cause, waiting) = {
            let mut queue = lock(&self.queue);
            let cause = Arc::clone(queue.poison.get_or_insert_with(|| cause.into()));
            queue.bytes = 0;
            (cause, std::mem::take(&mut queue.pending))
        };
        for pending in VecDeque::from(batch).into_iter().chain(waiting) {
            if let Some(slot) = pending.slot {
                slot.resolve(Err(AppendError::Poisoned { cause: Arc::clone(&cause) }));
            }
        }
    }

    fn stop(&self, stop: Stop) {
        lock(&self.queue).stop.get_or_insert(stop);
        self.wake.notify_all();
    }

    fn write_until_stopped(&self, publisher: JoinHandle<()>, locks: [Box<dyn StoreLock>; 2]) {
        let stop = loop {
            {
                let mut queue = lock(&self.queue);
                let stop = loop {
                    if !queue.pending.is_empty() {
                        break None;
                    }
                    if let Some(stop) = queue.stop {
                        break Some(stop);
                    }
                    queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                };
                if let Some(stop) = stop {
                    break stop;
                }
            }
            self.write_once(&mut lock(&self.writer));
        };
        // Another thread may be in the middle of a write; once the writer is free, nothing waits any more and nothing new is taken.
        let mut writer = lock(&self.writer);
        while self.write_once(&mut writer) {}
        if stop == Stop::Close {
            self.end(&mut writer);
        }
        self.publisher.stop();
        let _ = publisher.join();
        if stop == Stop::Close && lock(&self.queue).poison.is_none() {
            let latest = Arc::clone(&lock(&self.latest));
            if let Err(cause) = caught(|| writer.publish_checkpoint(&latest)) {
                self.poison(&cause, Vec::new());
            }
            self.publisher.deliver(&latest, (self.clock)());
        }
        self.publisher.release_sinks();
        drop(locks);
        self.progress.send_modify(|extent| extent.is_ended = true);
    }

    /// Writes the closing entry and cuts off the zeros.
    fn end(&self, writer: &mut Writer) {
        if lock(&self.queue).poison.is_some() {
            return;
        }
        let at = (self.clock)();
        let Ok(entry) = Entry::of_log("log.closed").encode(at) else { return };
        let mut batch = vec![Pending { entry, at, slot: None }];
        match caught(|| writer.commit(&mut batch)) {
            Ok(Some(committed)) => self.announce(committed),
            Ok(None) => {}
            Err(cause) => return self.poison(&cause, batch),
        }
        if let Err(cause) = caught(|| writer.seal()) {
            self.poison(&cause, Vec::new());
        }
    }

    fn publish_until_stopped(&self) {
        while let Some(checkpoint) = self.publisher.next() {
            // The store takes this beside the writer's work: the copy is another file, and it is about durable entries only.
            let content = checkpoint.as_str().as_bytes();
            if let Err(cause) = caught(|| self.store.replace(crate::segment::CHECKPOINT_NAME, content)) {
                self.poison(&format!("cannot write `checkpoint`: {cause}"), Vec::new());
            }
            self.publisher.deliver(&checkpoint, (self.clock)());
        }
    }
}

/// Calls what a user's store, keys or sink do. One that panics has failed: nobody is left waiting, and the lock is not given up early.
pub(crate) fn caught<T, E: fmt::Display>(call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("a store, key provider or sink panicked".to_owned()),
    }
}
