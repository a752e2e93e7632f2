//! Where the outbox lies: in a file of this machine, or in a PostgreSQL database that several services may share.

use std::error::Error;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use connector_health::event::{Lane, Order};
use connector_health::lane::{Attempt, ConnectorRecord, EventRecord, LaneRecord, QueueCounts};
use connector_health::store::{
    Batch, Claim, Claimed, Committed, HeldEvent, Loaded, OutboxStore, PostgresOptions, PostgresStore,
    StoreError,
};
use connector_health::{ConnectorId, EventId, PersonId, RedbStore};

/// The file in the data directory, unless the settings say otherwise.
pub(crate) const OUTBOX: &str = "outbox.redb";

/// Which, as the settings say.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    File(PathBuf),
    Postgres(Box<PostgresOptions>),
}

impl Place {
    pub(crate) async fn open(self) -> Result<Store, StoreError> {
        match self {
            Self::File(path) => RedbStore::open(path).map(Store::File),
            Self::Postgres(options) => PostgresStore::open(*options).await.map(Store::Postgres),
        }
    }
}

/// An error with all that caused it; no part of a credential is in any.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // What is transparent says what its cause says.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// An open one.
#[derive(Debug)]
pub(crate) enum Store {
    File(RedbStore),
    Postgres(PostgresStore),
}

macro_rules! either {
    ($self:ident.$call:ident($($argument:expr),*)) => {
        match $self {
            Self::File(store) => store.$call($($argument),*).await,
            Self::Postgres(store) => store.$call($($argument),*).await,
        }
    };
}

impl OutboxStore for Store {
    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        either!(self.reserve(count))
    }

    async fn commit(&self, batches: Vec<Batch>) -> Result<Vec<Committed>, StoreError> {
        either!(self.commit(batches))
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        either!(self.claim(claim))
    }

    async fn release(&self, worker: u128) -> Result<(), StoreError> {
        either!(self.release(worker))
    }

    async fn load(&self, lane: &Lane) -> Result<Option<Loaded>, StoreError> {
        either!(self.load(lane))
    }

    async fn load_all(&self, lanes: Vec<Lane>) -> Vec<Result<Option<Loaded>, StoreError>> {
        either!(self.load_all(lanes))
    }

    async fn event(&self, id: &EventId) -> Result<Option<EventRecord>, StoreError> {
        either!(self.event(id))
    }

    async fn history(
        &self,
        lane: &Lane,
        after: Option<Order>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        either!(self.history(lane, after, limit))
    }

    async fn attempts(&self, seq: u64, after: u32, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        either!(self.attempts(seq, after, limit))
    }

    async fn lanes_of(&self, person: &PersonId) -> Result<Vec<Lane>, StoreError> {
        either!(self.lanes_of(person))
    }

    async fn lanes(
        &self,
        connector: &ConnectorId,
        after: Option<&Lane>,
        limit: usize,
    ) -> Result<Vec<LaneRecord>, StoreError> {
        either!(self.lanes(connector, after, limit))
    }

    async fn holders(
        &self,
        connector: &ConnectorId,
        name: &str,
        value: &str,
        after: Option<&Lane>,
        limit: usize,
    ) -> Result<Vec<Lane>, StoreError> {
        either!(self.holders(connector, name, value, after, limit))
    }

    async fn waiting(&self, on: &Lane, limit: usize) -> Result<Vec<Lane>, StoreError> {
        either!(self.waiting(on, limit))
    }

    async fn leavers(&self, connector: &ConnectorId, limit: usize) -> Result<Vec<Lane>, StoreError> {
        either!(self.leavers(connector, limit))
    }

    async fn counts(&self, connector: &ConnectorId) -> Result<QueueCounts, StoreError> {
        either!(self.counts(connector))
    }

    async fn connector(&self, connector: &ConnectorId) -> Result<Option<ConnectorRecord>, StoreError> {
        either!(self.connector(connector))
    }

    async fn held(
        &self,
        connector: &ConnectorId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HeldEvent>, StoreError> {
        either!(self.held(connector, after, limit))
    }

    async fn offboardings(
        &self,
        after: Option<&PersonId>,
        limit: usize,
    ) -> Result<Vec<(PersonId, u64)>, StoreError> {
        either!(self.offboardings(after, limit))
    }

    async fn end_offboarding(&self, person: &PersonId, seq: u64) -> Result<(), StoreError> {
        either!(self.end_offboarding(person, seq))
    }

    async fn next_due(
        &self,
        connector: &ConnectorId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        either!(self.next_due(connector, now))
    }

    fn is_shared(&self) -> bool {
        match self {
            Self::File(store) => store.is_shared(),
            Self::Postgres(store) => store.is_shared(),
        }
    }
}
