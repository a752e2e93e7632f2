//! A store in memory that does what it is told before it does its own.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use mfa_events::store::{Bounds, Entry, Moment, Record, StoreError, Take};
use mfa_events::{ActorId, Appended, EventStore, MemoryStore, Offset, TenantId};
use tokio::sync::Semaphore;

/// Queries by time wait for a permit each; a disk that is full keeps nothing; the call for bounds that counts `until_slow` down to 0 takes
/// longer than a reader is silent.
#[derive(Clone)]
pub(crate) struct Hooked {
    pub(crate) store: MemoryStore,
    pub(crate) queries: Arc<Semaphore>,
    pub(crate) is_full: Arc<AtomicBool>,
    pub(crate) until_slow: Arc<AtomicU32>,
    /// What goes with it.
    pub(crate) _held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Hooked {
    pub(crate) fn new(queries: usize) -> Self {
        let (queries, is_full) = (Arc::new(Semaphore::new(queries)), Arc::default());
        Self { store: MemoryStore::new(), queries, is_full, until_slow: Arc::default(), _held: None }
    }
}

impl EventStore for Hooked {
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Appended>, StoreError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(StoreError::Failed("no space left on device".into()));
        }
        self.store.append(entries).await
    }

    async fn read(&self, tenant: &TenantId, after: Offset, take: Take) -> Result<Vec<Record>, StoreError> {
        EventStore::read(&self.store, tenant, after, take).await
    }

    async fn of_actors(
        &self,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        self.store.of_actors(tenant, actors, after, take).await
    }

    async fn of_time(
        &self,
        tenant: &TenantId,
        span: Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        self.queries.acquire().await.unwrap().forget();
        self.store.of_time(tenant, span, after, take).await
    }

    async fn bounds(&self, tenant: &TenantId) -> Result<Bounds, StoreError> {
        let before = self.until_slow.load(Ordering::SeqCst);
        self.until_slow.store(before.saturating_sub(1), Ordering::SeqCst);
        if before == 1 {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        self.store.bounds(tenant).await
    }

    async fn forget(&self, tenant: &TenantId, to: Offset) -> Result<(), StoreError> {
        self.store.forget(tenant, to).await
    }
}
