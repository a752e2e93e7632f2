use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Appended, Bounds, Entry, EventStore, Moment, Offset, Record, StoreError, Take};
use crate::id::{ActorId, TenantId};

/// A store in memory, for tests and examples. Clones share their content. Nothing survives the process.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<HashMap<TenantId, Stream>>>);

#[derive(Debug, Default)]
struct Stream {
    records: BTreeMap<Offset, Record>,
    ids: HashMap<Uuid, Offset>,
    actors: HashMap<ActorId, BTreeSet<Offset>>,
    moments: BTreeSet<Moment>,
    last: u64,
    forgotten: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<TenantId, Stream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T: Default>(&self, tenant: &TenantId, read: impl FnOnce(&Stream) -> T) -> T {
        self.streams().get(tenant).map(read).unwrap_or_default()
    }
}

impl Stream {
    fn append(&mut self, entry: Entry) -> Appended {
        let id = entry.event.id();
        if let Some(offset) = self.ids.get(&id) {
            let is_same = self.records.get(offset).is_some_and(|record| *record.event == entry.event);
            return if is_same { Appended::Known(*offset) } else { Appended::Conflict(*offset) };
        }
        self.last = self.last.saturating_add(1);
        let offset = Offset::new(self.last);
        self.ids.insert(id, offset);
        self.actors.entry(entry.event.actor().clone()).or_default().insert(offset);
        let record = Record { offset, ingested_at: entry.ingested_at, event: Arc::new(entry.event) };
        self.moments.insert(record.moment());
        self.records.insert(offset, record);
        Appended::New(offset)
    }

    fn after(&self, after: Offset) -> impl Iterator<Item = &Record> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.records.range((Excluded(after), Unbounded)).map(|(_, record)| record)
    }

    fn forget(&mut self, to: Offset) {
        while let Some(entry) = self.records.first_entry()
            && *entry.key() <= to
        {
            let (offset, record) = entry.remove_entry();
            self.ids.remove(&record.event.id());
            self.moments.remove(&record.moment());
            if let Some(offsets) = self.actors.get_mut(record.event.actor()) {
                offsets.remove(&offset);
                if offsets.is_empty() {
                    self.actors.remove(record.event.actor());
                }
            }
        }
        self.forgotten = self.forgotten.max(to.as_u64().min(self.last));
    }
}

impl EventStore for MemoryStore {
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Appended>, StoreError> {
        let mut streams = self.streams();
        Ok(entries
            .into_iter()
            .map(|entry| streams.entry(entry.tenant.clone()).or_default().append(entry))
            .collect())
    }

    async fn read(&self, tenant: &TenantId, after: Offset, take: Take) -> Result<Vec<Record>, StoreError> {
        Ok(self.read(tenant, |stream| stream.after(after).take(take.events.max(1)).cloned().collect()))
    }

    async fn of_actors(
        &self,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        Ok(self.read(tenant, |stream| {
            let mut offsets = BTreeSet::new();
            for actor in actors {
                let own = stream.actors.get(actor).into_iter().flatten();
                offsets.extend(own.filter(|offset| **offset > after));
            }
            let records = offsets.iter().filter_map(|offset| stream.records.get(offset));
            records.take(take.events.max(1)).cloned().collect()
        }))
    }

    async fn of_time(
        &self,
        tenant: &TenantId,
        span: Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        Ok(self.read(tenant, |stream| {
            let is_wanted = |moment: &&Moment| {
                span.contains(&moment.at.as_datetime()) && after.is_none_or(|after| **moment > after)
            };
            let wanted = stream.moments.iter().filter(is_wanted).take(take.events.max(1));
            wanted.filter_map(|moment| stream.records.get(&moment.offset)).cloned().collect()
        }))
    }

    async fn bounds(&self, tenant: &TenantId) -> Result<Bounds, StoreError> {
        let (forgotten, last) = self.read(tenant, |stream| (stream.forgotten, stream.last));
        Ok(Bounds { forgotten: Offset::new(forgotten), last: Offset::new(last) })
    }

    async fn forget(&self, tenant: &TenantId, to: Offset) -> Result<(), StoreError> {
        if let Some(stream) = self.streams().get_mut(tenant) {
            stream.forget(to);
        }
        Ok(())
    }
}
