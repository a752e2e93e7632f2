use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::rows::{self, Each, Go, Leases, Rows, RowsMut};
use super::{Batch, Claim, Committed, Lease, Loaded, OutboxStore, StoreError};
use crate::event::{Lane, Order};
use crate::id::{ConnectorId, EventId, PersonId};
use crate::lane::{Attempt, ConnectorRecord, EventRecord, LaneRecord, QueueCounts};

/// Where the process seems to die.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// Before the commit of this number, from 0.
    Before(u64),
    /// After it is durable, before anybody is told.
    After(u64),
}

/// A store in memory, for tests and examples. Clones share their content. Nothing survives the process.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    leases: Leases,
    next: u64,
    commits: u64,
    cut: Option<Cut>,
    is_dead: bool,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the store die there: from then on, all calls fail with [`StoreError::Stopped`].
    pub fn cut(&self, at: Cut) {
        self.content().cut = Some(at);
    }

    /// Makes what is stored of a lane unreadable, as a bad disk may.
    pub fn spoil(&self, lane: &Lane) {
        self.content().rows.insert(rows::lane_key(lane), b"spoiled".to_vec());
    }

    /// Makes what is stored of a connector unreadable.
    pub fn spoil_connector(&self, connector: &ConnectorId) {
        self.content().rows.insert(rows::connector_key(connector), b"spoiled".to_vec());
    }

    /// How many commits there were.
    pub fn commits(&self) -> u64 {
        self.content().commits
    }

    /// What a process finds that starts now: what is durable, and no leases.
    #[must_use]
    pub fn restart(&self) -> Self {
        let rows = self.content().rows.clone();
        Self(Arc::new(Mutex::new(Content { rows, ..Content::default() })))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&BTreeMap<Vec<u8>, Vec<u8>>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let content = self.content();
        if content.is_dead { Err(StoreError::Stopped) } else { read(&content.rows) }
    }
}

impl Rows for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, each: Each<'_>) -> Result<(), StoreError> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        for (key, value) in self.range::<[u8], _>((from, Bound::Unbounded)) {
            if !key.starts_with(prefix) || each(key, value)? == Go::Stop {
                break;
            }
        }
        Ok(())
    }
}

impl RowsMut for BTreeMap<Vec<u8>, Vec<u8>> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        BTreeMap::remove(self, key);
        Ok(())
    }
}

impl OutboxStore for MemoryStore {
    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        let mut content = self.content();
        if content.is_dead {
            return Err(StoreError::Stopped);
        }
        let stored = rows::open(&mut content.rows)?;
        let first = content.next.max(stored);
        content.next = first.saturating_add(count);
        Ok(first)
    }

    async fn commit(&self, batches: Vec<Batch>) -> Result<Vec<Committed>, StoreError> {
        let mut content = self.content();
        if content.cut == Some(Cut::Before(content.commits)) {
            content.is_dead = true;
        }
        if content.is_dead {
            return Err(StoreError::Stopped);
        }
        let Content { rows, leases, .. } = &mut *content;
        let done = rows::commit(rows, &batches, &|under| leases.stands(under))?;
        rows::released(&batches, &done).for_each(|lease| leases.release(lease));
        content.is_dead = content.cut == Some(Cut::After(content.commits));
        content.commits = content.commits.saturating_add(1);
        if content.is_dead { Err(StoreError::Stopped) } else { Ok(done) }
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Lease>, StoreError> {
        let mut content = self.content();
        if content.is_dead {
            return Err(StoreError::Stopped);
        }
        let Content { rows, leases, .. } = &mut *content;
        rows::promote(rows, &claim)?;
        rows::claim(rows, leases, &claim)
    }

    async fn release(&self, worker: u128) -> Result<(), StoreError> {
        self.content().leases.release_all(worker);
        Ok(())
    }

    async fn load(&self, lane: &Lane) -> Result<Option<Loaded>, StoreError> {
        self.read(|rows| rows::load(rows, lane))
    }

    async fn event(&self, id: &EventId) -> Result<Option<EventRecord>, StoreError> {
        self.read(|rows| rows::event(rows, id))
    }

    async fn history(
        &self,
        lane: &Lane,
        after: Option<Order>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        self.read(|rows| rows::history(rows, lane, after, limit))
    }

    async fn attempts(&self, seq: u64, after: u32, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        self.read(|rows| rows::attempts(rows, seq, after, limit))
    }

    async fn lanes_of(&self, person: &PersonId) -> Result<Vec<Lane>, StoreError> {
        self.read(|rows| rows::lanes_of(rows, person))
    }

    async fn lanes(
        &self,
        connector: &ConnectorId,
        after: Option<&Lane>,
        limit: usize,
    ) -> Result<Vec<LaneRecord>, StoreError> {
        self.read(|rows| rows::lanes(rows, connector, after, limit))
    }

    async fn holders(
        &self,
        connector: &ConnectorId,
        name: &str,
        value: &str,
        after: Option<&Lane>,
        limit: usize,
    ) -> Result<Vec<Lane>, StoreError> {
        self.read(|rows| rows::holders(rows, connector, name, value, after, limit))
    }

    async fn waiting(&self, on: &Lane, limit: usize) -> Result<Vec<Lane>, StoreError> {
        self.read(|rows| rows::waiting(rows, on, limit))
    }

    async fn leavers(&self, connector: &ConnectorId, limit: usize) -> Result<Vec<Lane>, StoreError> {
        self.read(|rows| rows::leavers(rows, connector, limit))
    }

    async fn counts(&self, connector: &ConnectorId) -> Result<QueueCounts, StoreError> {
        self.read(|rows| rows::counts(rows, connector))
    }

    async fn connector(&self, connector: &ConnectorId) -> Result<Option<ConnectorRecord>, StoreError> {
        self.read(|rows| rows::connector(rows, connector))
    }

    async fn held(
        &self,
        connector: &ConnectorId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        self.read(|rows| rows::held(rows, connector, after, limit))
    }

    async fn next_due(&self, connector: &ConnectorId) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.read(|rows| rows::next_due(rows, connector))
    }
}
