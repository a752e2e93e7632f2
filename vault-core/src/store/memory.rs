use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Batch, Row, Store, StoreError};

/// A store in memory, for tests and examples. Clones share its rows.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Rows>>);

#[derive(Clone, Debug, Default)]
struct Rows {
    rows: BTreeMap<Vec<u8>, Row>,
    generation: u64,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of all rows as they are now, as a backup has them.
    pub fn snapshot(&self) -> Self {
        Self(Arc::new(Mutex::new(self.rows().clone())))
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn read(&self, key: &[u8]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows().rows.get(key).cloned())
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<(Vec<u8>, Row)>, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rows = self.rows();
        let found = rows.rows.range::<[u8], _>((start, Bound::Unbounded));
        let found = found.take_while(|(key, _)| key.starts_with(prefix)).take(rows_max);
        Ok(found.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    async fn generation(&self) -> Result<u64, StoreError> {
        Ok(self.rows().generation)
    }

    async fn commit(&self, batch: Batch) -> Result<u64, StoreError> {
        batch.check()?;
        let mut rows = self.rows();
        for (key, expected) in batch.expectations() {
            if rows.rows.get(key).map(|row| row.revision) != expected {
                return Err(StoreError::Conflict);
            }
        }
        let generation = batch.next_generation(rows.generation).ok_or(StoreError::Stopped)?;
        rows.generation = generation;
        for (key, value) in batch.writes() {
            match value {
                Some(value) => {
                    let row = Row { value: value.to_vec(), revision: generation };
                    rows.rows.insert(key.to_vec(), row);
                }
                None => {
                    rows.rows.remove(key);
                }
            }
        }
        Ok(generation)
    }
}
