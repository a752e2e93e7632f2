//! Reading a log without writing it: offline, or beside a writer in another process.

use std::{
    collections::HashMap,
    fmt,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use crate::{
    error::{KeyError, ReadError, VerifyError},
    keys::KeyProvider,
    query::Query,
    recorded::Recorded,
    scan::{Entries, Until},
    store::Store,
    verify::{Progress, Report, VerifyOptions, verify},
};

/// Reads a log. Takes no lock, so it works while another process writes. Its methods block.
///
/// What is read is decrypted and compared with the leaves beside it; that those leaves are the signed ones is said by
/// [`verify`](Self::verify) alone. What is read this way is not logged.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn Store>,
    keys: Option<Arc<dyn KeyProvider>>,
}

impl Reader {
    /// Opens a log with its keys.
    pub fn open(store: impl Store + 'static, keys: impl KeyProvider + 'static) -> Self {
        Self { store: Arc::new(store), keys: Some(Arc::new(keys)) }
    }

    /// Opens a log without keys: its structure can be verified, its content not read.
    pub fn keyless(store: impl Store + 'static) -> Self {
        Self { store: Arc::new(store), keys: None }
    }

    /// Verifies the whole log, in bounded memory. `progress` is called after each frame.
    pub fn verify(
        &self,
        options: &VerifyOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Report, VerifyError> {
        verify(self.store.as_ref(), self.keys.as_ref(), options, &mut progress)
    }

    /// Entries with these sequence numbers, as far as there are any.
    pub fn read(&self, seqs: impl RangeBounds<u64>) -> Result<Entries, ReadError> {
        let (from, until) = bounds(seqs);
        Ok(Entries::new(Arc::clone(&self.store), self.keys()?, None, from, until))
    }

    /// Entries that match, in order of sequence.
    pub fn search(&self, query: Query) -> Result<Entries, ReadError> {
        Ok(Entries::new(Arc::clone(&self.store), self.keys()?, Some(query.prepare()), 0, Until::End))
    }

    /// All sessions that entries name, in the order in which they first appear. Takes memory for each.
    pub fn sessions(&self) -> Result<Vec<SessionSummary>, ReadError> {
        let mut sessions: Vec<SessionSummary> = Vec::new();
        let mut places = HashMap::new();
        for entry in self.read(..)? {
            let entry = entry?;
            let Some(id) = entry.session_id.as_deref() else { continue };
            let place = *places.entry(id.to_owned()).or_insert_with(|| {
                sessions.push(SessionSummary::begin(id, &entry));
                sessions.len() - 1
            });
            if let Some(session) = sessions.get_mut(place) {
                session.add(&entry);
            }
        }
        Ok(sessions)
    }

    fn keys(&self) -> Result<Arc<dyn KeyProvider>, KeyError> {
        let missing = || KeyError::Missing { what: "every key (the log was opened without keys)".to_owned() };
        self.keys.clone().ok_or_else(missing)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("has_keys", &self.keys.is_some()).finish_non_exhaustive()
    }
}

/// What the log knows of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSummary {
    /// The session.
    pub session_id: String,
    /// Its first known actor.
    pub actor_id: Option<String>,
    /// Its first known target.
    pub target_id: Option<String>,
    /// Timestamp of its first entry.
    pub first: DateTime<Utc>,
    /// Timestamp of its last entry.
    pub last: DateTime<Utc>,
    /// Number of its entries.
    pub entries: u64,
}

impl SessionSummary {
    fn begin(id: &str, entry: &Recorded) -> Self {
        Self {
            session_id: id.to_owned(),
            actor_id: None,
            target_id: None,
            first: entry.timestamp,
            last: entry.timestamp,
            entries: 0,
        }
    }

    fn add(&mut self, entry: &Recorded) {
        let set = |known: &mut Option<String>, id: Option<&str>| {
            if known.is_none() {
                *known = id.map(str::to_owned);
            }
        };
        set(&mut self.actor_id, entry.actor_id.as_deref());
        set(&mut self.target_id, entry.target_id.as_deref());
        self.first = self.first.min(entry.timestamp);
        self.last = self.last.max(entry.timestamp);
        self.entries += 1;
    }
}

/// First number, and where to stop.
pub(crate) fn bounds(seqs: impl RangeBounds<u64>) -> (u64, Until) {
    let from = match seqs.start_bound() {
        Bound::Included(seq) => *seq,
        Bound::Excluded(seq) => seq.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let until = match seqs.end_bound() {
        Bound::Included(seq) => Until::AtMost(seq.saturating_add(1)),
        Bound::Excluded(seq) => Until::AtMost(*seq),
        Bound::Unbounded => Until::End,
    };
    (from, until)
}
