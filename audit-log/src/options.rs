//! How a log is opened: options, a new log's beginning, an existing one's continuation.

use std::{fmt, io, sync::Arc};

use chrono::Utc;

use crate::{
    crypto::{random, sha256},
    entry::Entry,
    error::{KeyError, OpenError, ReadError},
    keys::KeyProvider,
    limits::{QUEUE_BYTES_MAX, SEGMENT_BYTES},
    log::{AuditLog, Clock},
    merkle::Frontier,
    note::{Checkpoint, Origin, VerifierKey},
    recovery::{Remains, Trusted, recover},
    segment::Previous,
    sink::CheckpointSink,
    source::{Layout, SegmentSource, Step, stored_checkpoint},
    store::Store,
    writer::{Position, Writer},
};

/// How to open a log. Begin with [`AuditLog::options`].
#[must_use = "options do nothing until `open` is called"]
pub struct Options {
    minimum: Option<Checkpoint>,
    predecessor: Option<Checkpoint>,
    origin: Option<Origin>,
    segment_bytes: u64,
    pub(crate) queue_bytes_max: usize,
    pub(crate) sinks: Vec<Box<dyn CheckpointSink>>,
    pub(crate) clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            minimum: None,
            predecessor: None,
            origin: None,
            segment_bytes: SEGMENT_BYTES,
            queue_bytes_max: QUEUE_BYTES_MAX,
            sinks: Vec::new(),
            clock: Arc::new(Utc::now),
        }
    }
}

impl Options {
    /// A checkpoint that was kept elsewhere: a log that does not reach it, or has another past, is refused.
    pub fn minimum(self, checkpoint: Checkpoint) -> Self {
        Self { minimum: Some(checkpoint), ..self }
    }

    /// The last checkpoint of another log that a new one goes on from; its first leaf commits to it. An existing log must have been
    /// begun with the same one.
    pub fn predecessor(self, checkpoint: Checkpoint) -> Self {
        Self { predecessor: Some(checkpoint), ..self }
    }

    /// Name of a new log, in its checkpoints and its public key. Without it, a random one. An existing log must have this name.
    pub fn origin(self, origin: Origin) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// Size at which a segment is followed by a new one; at least 4096. A frame that is longer gets a segment of its own.
    pub fn segment_bytes(self, bytes: u64) -> Self {
        Self { segment_bytes: bytes, ..self }
    }

    /// Bytes of entries that may wait to be written; beyond it, appends are refused with [`AppendError::Overloaded`](crate::AppendError::Overloaded).
    pub fn queue_bytes_max(self, bytes: usize) -> Self {
        Self { queue_bytes_max: bytes, ..self }
    }

    /// Also gives checkpoints to this sink.
    pub fn sink(mut self, sink: impl CheckpointSink + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    /// Takes the time from here instead of from the system.
    pub fn clock(self, clock: impl Fn() -> chrono::DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Opens the log: checks its end, makes it durable, and begins a new segment. Not cancelled by dropping the future.
    pub async fn open(
        self,
        store: impl Store + 'static,
        keys: impl KeyProvider + 'static,
    ) -> Result<AuditLog, OpenError> {
        let opened = tokio::task::spawn_blocking(move || self.open_blocking(store, keys));
        opened.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// [`open`](Self::open) for a thread that may block.
    pub fn open_blocking(
        self,
        store: impl Store + 'static,
        keys: impl KeyProvider + 'static,
    ) -> Result<AuditLog, OpenError> {
        let (store, keys): (Arc<dyn Store>, Arc<dyn KeyProvider>) = (Arc::new(store), Arc::new(keys));
        self.check(store.as_ref(), keys.as_ref())?;
        let lock = store.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked,
            _ => OpenError::from(ReadError::io("lock", error)),
        })?;
        let layout = Layout::read(store.as_ref())?;
        let trusted = Trusted { stored: stored_checkpoint(store.as_ref())?, minimum: self.minimum.clone() };
        let key = self.verifier_key(keys.as_ref())?;
        let begun = if layout.segments == 0 {
            self.begin(&key, &trusted)?
        } else {
            self.go_on(store.as_ref(), &keys, &key, layout.segments, &trusted)?
        };
        keys.bind(&key)?;
        let (position, first, predecessor) = begun;
        let writer = Writer::new(
            Arc::clone(&store),
            Arc::clone(&keys),
            key.clone(),
            self.segment_bytes,
            position,
            predecessor,
        )?;
        AuditLog::start(self, store, keys, key, writer, first, lock)
    }

    fn check(&self, store: &dyn Store, keys: &dyn KeyProvider) -> Result<(), OpenError> {
        if self.segment_bytes < 4096 {
            return Err(OpenError::Option("a segment has at least 4096 bytes"));
        }
        if let (Some(log), Some(keys)) = (store.location(), keys.location())
            && (log.starts_with(&keys) || keys.starts_with(&log))
        {
            return Err(OpenError::KeysBesideLog);
        }
        Ok(())
    }

    fn verifier_key(&self, keys: &dyn KeyProvider) -> Result<VerifierKey, OpenError> {
        let origin = match (keys.origin()?, &self.origin) {
            (Some(bound), Some(asked)) if bound != *asked => {
                return Err(KeyError::OtherLog { bound, asked: asked.clone() }.into());
            }
            (Some(bound), _) => bound,
            (None, Some(asked)) => asked.clone(),
            (None, None) => {
                let name = format!("audit-log/{}", hex(&random::<8>()?));
                name.parse().map_err(|_| OpenError::Option("no name for the log"))?
            }
        };
        let wrong = |error| KeyError::Wrong { what: format!("the public key: {error}") };
        Ok(VerifierKey::new(origin, keys.public_key()?).map_err(wrong)?)
    }

    /// Begins a new log.
    fn begin(&self, key: &VerifierKey, trusted: &Trusted) -> Result<Begun, OpenError> {
        if let Some(trusted) = trusted.minimum.as_ref().or(trusted.stored.as_ref()) {
            let what = "it is empty".to_owned();
            return Err(OpenError::RolledBack { trusted: trusted.size(), what });
        }
        let log = random::<16>()?;
        let mut first = Entry::of_log("log.created")
            .field("log_id", hex(&log))
            .field("origin", key.origin().as_str())
            .field("format_version", crate::segment::FORMAT_VERSION);
        let mut predecessor = None;
        if let Some(checkpoint) = &self.predecessor {
            first = first.field("predecessor", checkpoint.as_str());
            predecessor = Some(sha256(&[checkpoint.as_str().as_bytes()]));
        }
        let position =
            Position { log, segment: 0, tree: Frontier::new(), previous: Previous::none(), time_ms: 0 };
        Ok((position, first, predecessor))
    }

    /// Goes on with an existing log.
    fn go_on(
        &self,
        store: &dyn Store,
        keys: &Arc<dyn KeyProvider>,
        key: &VerifierKey,
        segments: u32,
        trusted: &Trusted,
    ) -> Result<Begun, OpenError> {
        if let Some(checkpoint) = &self.predecessor
            && predecessor_of(store)? != Some(sha256(&[checkpoint.as_str().as_bytes()]))
        {
            return Err(OpenError::Option("the log exists and was begun without this predecessor"));
        }
        let recovered = recover(store, keys, key, segments, trusted)?;
        let mut first = Entry::of_log("log.opened").field("clean", recovered.is_closed);
        if let Some(Remains { segment, offset, bytes, sha256 }) = &recovered.remains {
            let remains = serde_json::json!([{
                "segment": segment, "offset": offset, "bytes": bytes, "sha256": hex(sha256),
            }]);
            first = first.field("remains", remains);
        }
        first = first.field("entries", recovered.checkpoint.size());
        Ok((recovered.position, first, None))
    }
}

/// Where to begin, the entry to begin with, and the hash of the predecessor's checkpoint.
type Begun = (Position, Entry, Option<crate::crypto::Hash>);

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("minimum", &self.minimum)
            .field("predecessor", &self.predecessor)
            .field("origin", &self.origin)
            .field("segment_bytes", &self.segment_bytes)
            .field("queue_bytes_max", &self.queue_bytes_max)
            .finish_non_exhaustive()
    }
}

/// Hash of the predecessor's checkpoint that leaf 0 commits to.
fn predecessor_of(store: &dyn Store) -> Result<Option<crate::crypto::Hash>, ReadError> {
    let Some(mut source) = SegmentSource::open(store, 0)? else { return Ok(None) };
    Ok(match source.frame(crate::limits::HEADER_BYTES as u64)? {
        Step::Frame(frame, _) => {
            let leaf = frame.leaves().next().flatten().and_then(crate::leaf::Leaf::decode);
            leaf.and_then(|leaf| leaf.predecessor)
        }
        Step::End(_) => None,
    })
}

fn stopped() -> OpenError {
    ReadError::io(".", io::Error::other("the thread that opened the log was stopped")).into()
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
