//! Any store, behind something that happens around its commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Memory};

use chrono::{DateTime, Utc};
use connector_health::event::{Lane, Order};
use connector_health::lane::{Attempt, ConnectorRecord, EventRecord, LaneRecord, QueueCounts};
use connector_health::store::{
    Batch, Claim, Claimed, Committed, Cut, HeldEvent, Loaded, OutboxStore, StoreError,
};
use connector_health::{ConnectorId, EventId, PersonId};

/// A store of a process that dies at a commit. Clones die together.
#[derive(Clone)]
pub(crate) struct Mortal<S> {
    store: S,
    cut: Option<Cut>,
    commits: Arc<AtomicU64>,
    is_dead: Arc<AtomicBool>,
    /// How long each commit takes, in the time of tokio.
    pub(crate) commit_lasts: std::time::Duration,
}

impl<S: OutboxStore> Mortal<S> {
    pub(crate) fn new(store: S, cut: Option<Cut>) -> Self {
        Self {
            store,
            cut,
            commits: Arc::default(),
            is_dead: Arc::default(),
            commit_lasts: std::time::Duration::ZERO,
        }
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Memory::SeqCst)
    }

    fn living(&self) -> Result<&S, StoreError> {
        if self.is_dead.load(Memory::SeqCst) { Err(StoreError::Stopped) } else { Ok(&self.store) }
    }

    fn die(&self) -> StoreError {
        self.is_dead.store(true, Memory::SeqCst);
        StoreError::Stopped
    }
}

impl<S: OutboxStore> OutboxStore for Mortal<S> {
    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        self.living()?.reserve(count).await
    }

    async fn commit(&self, batches: Vec<Batch>) -> Result<Vec<Committed>, StoreError> {
        let number = self.commits.fetch_add(1, Memory::SeqCst);
        if self.cut == Some(Cut::Before(number)) {
            return Err(self.die());
        }
        let done = self.living()?.commit(batches).await?;
        tokio::time::sleep(self.commit_lasts).await;
        if self.cut == Some(Cut::After(number)) { Err(self.die()) } else { Ok(done) }
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        self.living()?.claim(claim).await
    }

    async fn release(&self, worker: u128) -> Result<(), StoreError> {
        self.living()?.release(worker).await
    }

    async fn load(&self, lane: &Lane) -> Result<Option<Loaded>, StoreError> {
        self.living()?.load(lane).await
    }

    async fn load_all(&self, lanes: Vec<Lane>) -> Vec<Result<Option<Loaded>, StoreError>> {
        match self.living() {
            Ok(store) => store.load_all(lanes).await,
            Err(_) => lanes.iter().map(|_| Err(StoreError::Stopped)).collect(),
        }
    }

    async fn event(&self, id: &EventId) -> Result<Option<EventRecord>, StoreError> {
        self.living()?.event(id).await
    }

    async fn history(
        &self,
        lane: &Lane,
        after: Option<Order>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        self.living()?.history(lane, after, limit).await
    }

    async fn attempts(&self, seq: u64, after: u32, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        self.living()?.attempts(seq, after, limit).await
    }

    async fn lanes_of(&self, person: &PersonId) -> Result<Vec<Lane>, StoreError> {
        self.living()?.lanes_of(person).await
    }

    async fn lanes(
        &self,
        connector: &ConnectorId,
        after: Option<&Lane>,
        limit: usize,
    ) -> Result<Vec<LaneRecord>, StoreError> {
        self.living()?.lanes(connector, after, limit).await
    }

    async fn holders(
        &self,
        connector: &ConnectorId,
        name: &str,
        value: &str,
        after: Option<&Lane>,
        limit: usize,
    ) -> Result<Vec<Lane>, StoreError> {
        self.living()?.holders(connector, name, value, after, limit).await
    }

    async fn waiting(&self, on: &Lane, limit: usize) -> Result<Vec<Lane>, StoreError> {
        self.living()?.waiting(on, limit).await
    }

    async fn leavers(&self, connector: &ConnectorId, limit: usize) -> Result<Vec<Lane>, StoreError> {
        self.living()?.leavers(connector, limit).await
    }

    async fn counts(&self, connector: &ConnectorId) -> Result<QueueCounts, StoreError> {
        self.living()?.counts(connector).await
    }

    async fn connector(&self, connector: &ConnectorId) -> Result<Option<ConnectorRecord>, StoreError> {
        self.living()?.connector(connector).await
    }

    async fn held(
        &self,
        connector: &ConnectorId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HeldEvent>, StoreError> {
        self.living()?.held(connector, after, limit).await
    }

    async fn offboardings(
        &self,
        after: Option<&PersonId>,
        limit: usize,
    ) -> Result<Vec<(PersonId, u64)>, StoreError> {
        self.living()?.offboardings(after, limit).await
    }

    async fn end_offboarding(&self, person: &PersonId, seq: u64) -> Result<(), StoreError> {
        self.living()?.end_offboarding(person, seq).await
    }

    async fn next_due(
        &self,
        connector: &ConnectorId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.living()?.next_due(connector, now).await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }
}
