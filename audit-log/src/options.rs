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
    begins_anew: bool,
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
            begins_anew: false,
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

    /// Begins a new log although the keys belong to one that is gone. It gets another name, so that no two logs are ever signed under one.
    /// Without this, an empty store with keys that are bound is refused as [`OpenError::Emptied`]. An existing log is opened as ever.
    pub fn begin_anew(self) -> Self {
        Self { begins_anew: true, ..self }
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
        let keys_lock = keys.lock()?;
        let layout = Layout::read(store.as_ref())?;
        let trusted = Trusted { stored: stored_checkpoint(store.as_ref())?, minimum: self.minimum.clone() };
        let beginning = beginning_of(store.as_ref())?;
        if layout.segments == 0 {
            self.check_empty(keys.as_ref(), &trusted)?;
        }
        let key = self.verifier_key(keys.as_ref(), beginning.as_ref())?;
        if let (Some(beginning), Some(known)) = (&beginning, keys.log_id()?)
            && beginning.log != known
        {
            return Err(KeyError::SameName { bound: key.origin().clone() }.into());
        }
        let (position, first, predecessor) = if layout.segments == 0 {
            self.begin(&key)?
        } else {
            self.go_on(store.as_ref(), &keys, &key, layout.segments, &trusted, beginning.as_ref())?
        };
        let log = position.log;
        let writer = Writer::new(
            Arc::clone(&store),
            Arc::clone(&keys),
            key.clone(),
            self.segment_bytes,
            position,
            predecessor,
        )?;
        AuditLog::start(self, store, keys, (key, log), writer, first, [lock, keys_lock])
    }

    /// An empty store is where a log begins only if nothing says that there was one.
    fn check_empty(&self, keys: &dyn KeyProvider, trusted: &Trusted) -> Result<(), OpenError> {
        if let Some(trusted) = trusted.minimum.as_ref().or(trusted.stored.as_ref()) {
            let what = "it is empty".to_owned();
            return Err(OpenError::RolledBack { trusted: trusted.size(), what });
        }
        match keys.origin()? {
            None => Ok(()),
            Some(origin) if !self.begins_anew => Err(OpenError::Emptied { origin }),
            Some(origin) if self.origin.as_ref() == Some(&origin) => Err(OpenError::Option(
                "a log that is begun anew needs another name than the one that is gone",
            )),
            Some(_) => Ok(keys.release()?),
        }
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

    fn verifier_key(
        &self,
        keys: &dyn KeyProvider,
        beginning: Option<&Beginning>,
    ) -> Result<VerifierKey, OpenError> {
        // A crash came between the first frame and the binding, or the file with the name was lost; the signature tells whose log it is.
        let known = match keys.origin()? {
            None => beginning.and_then(|beginning| beginning.origin.clone()),
            bound => bound,
        };
        let origin = match (known, &self.origin) {
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
    fn begin(&self, key: &VerifierKey) -> Result<Begun, OpenError> {
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
        beginning: Option<&Beginning>,
    ) -> Result<Begun, OpenError> {
        if let Some(checkpoint) = &self.predecessor
            && beginning.and_then(|beginning| beginning.predecessor)
                != Some(sha256(&[checkpoint.as_str().as_bytes()]))
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
            .field("begins_anew", &self.begins_anew)
            .field("segment_bytes", &self.segment_bytes)
            .field("queue_bytes_max", &self.queue_bytes_max)
            .finish_non_exhaustive()
    }
}

/// What the first segment says of a log.
struct Beginning {
    log: crate::crypto::LogId,
    /// Name in the first checkpoint.
    origin: Option<Origin>,
    /// Hash of the predecessor's checkpoint that leaf 0 commits to.
    predecessor: Option<crate::crypto::Hash>,
}

/// Reads the beginning of a log. What it says is for the caller to verify.
fn beginning_of(store: &dyn Store) -> Result<Option<Beginning>, ReadError> {
    let Some(mut source) = SegmentSource::open(store, 0)? else { return Ok(None) };
    let (header, _) = source.header()?;
    let mut beginning = Beginning { log: header.log, origin: None, predecessor: None };
    if let Step::Frame(frame, _) = source.frame(crate::limits::HEADER_BYTES as u64)? {
        let leaf = frame.leaves().next().flatten().and_then(crate::leaf::Leaf::decode);
        beginning.predecessor = leaf.and_then(|leaf| leaf.predecessor);
        let note = std::str::from_utf8(frame.checkpoint).ok();
        let checkpoint = note.and_then(|note| note.parse::<Checkpoint>().ok());
        beginning.origin = checkpoint.map(|checkpoint| checkpoint.origin().clone());
    }
    Ok(Some(beginning))
}

fn stopped() -> OpenError {
    ReadError::io(".", io::Error::other("the thread that opened the log was stopped")).into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
