//! A copy of a stream that lies elsewhere, in the tables that a log of this machine has, under offsets that are given.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use redb::{
    Durability, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};
use uuid::Uuid;

use super::{EVENTS, IDS, REPLICA_TABLE, RedbStore, Row, STREAMS, Shared, Stream, begin, failed, record};
use crate::id::{ActorId, TenantId};
use crate::store::{Bounds, Entry, EventStore as _, Moment, Offset, Record, StoreError, Take};

/// Which stream this is a copy of, how far it reaches, and what stands there.
const HEAD: TableDefinition<'static, (), (&str, u64, u64)> = TableDefinition::new(REPLICA_TABLE);
/// Key of the tenant and sequence of each message that is no event.
const DAMAGED: TableDefinition<'static, (u128, u64), ()> = TableDefinition::new("damaged");

/// Damaged messages that are answered at once.
const DAMAGED_TOGETHER: usize = 64;

/// A copy, and the number that stands before its stream's sequences in offsets.
pub(in crate::store) struct Replica {
    store: RedbStore,
    base: u64,
    /// How many messages are damaged, so that nobody looks for one where there is none.
    damaged: AtomicU64,
}

/// How far a copy reaches, and a mark of the message that stands there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::store) struct Position {
    pub(in crate::store) sequence: u64,
    pub(in crate::store) mark: u64,
}

/// What a message of the stream says.
#[derive(Debug)]
pub(in crate::store) enum Change {
    Event { sequence: u64, entry: Entry },
    Forget { key: u128, tenant: TenantId, to: u64 },
    Damaged { key: u128, sequence: u64 },
}

/// What a file says that is opened.
pub(in crate::store) struct File {
    store: RedbStore,
    pub(in crate::store) head: Option<(String, Position)>,
}

/// A message that is no event stands where one would be.
#[derive(Debug, thiserror::Error)]
#[error("message {0} of the stream is no event")]
struct Damage(u64);

impl File {
    /// Opens a file, or creates it. Blocks.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, StoreError> {
        let store = RedbStore::open_any(path)?;
        let transaction = begin(&store.0.database)?;
        let head = {
            transaction.open_table(DAMAGED).map_err(failed)?;
            let table = transaction.open_table(HEAD).map_err(failed)?;
            let row = table.get(()).map_err(failed)?;
            row.map(|row| {
                let (identity, sequence, mark) = row.value();
                (identity.to_owned(), Position { sequence, mark })
            })
        };
        if head.is_none() && !store.0.streams().by_tenant.is_empty() {
            // The transaction is dropped: whoever opens it as what it is finds it as it was.
            return Err(failed("the file is a log of its own"));
        }
        transaction.commit().map_err(failed)?;
        Ok(Self { store, head })
    }

    /// Makes it a copy of this stream, where it is none yet. Blocks.
    pub(in crate::store) fn follow(self, identity: &str, base: u64) -> Result<Replica, StoreError> {
        let transaction = begin(&self.store.0.database)?;
        let damaged = {
            let mut heads = transaction.open_table(HEAD).map_err(failed)?;
            if self.head.is_none() {
                heads.insert((), (identity, 0, 0)).map_err(failed)?;
            }
            AtomicU64::new(transaction.open_table(DAMAGED).map_err(failed)?.len().map_err(failed)?)
        };
        transaction.commit().map_err(failed)?;
        Ok(Replica { store: self.store, base, damaged })
    }
}

impl Replica {
    /// Where a message stands.
    pub(in crate::store) fn offset(&self, sequence: u64) -> Offset {
        Offset::new(self.base.saturating_add(sequence))
    }

    fn sequence(&self, offset: Offset) -> u64 {
        offset.as_u64().saturating_sub(self.base)
    }

    /// Applies what further messages say, in their order, and answers whose events there are more of. What is not durable is applied
    /// again after a power cut; applying again changes nothing.
    pub(in crate::store) async fn apply(
        &self,
        read: impl FnOnce() -> Vec<Change> + Send + 'static,
        to: Position,
        is_durable: bool,
    ) -> Result<BTreeSet<TenantId>, StoreError> {
        let base = self.base;
        let (tenants, damaged) = self
            .store
            .blocking(move |shared| {
                let changes = read();
                let mut tenants = BTreeSet::new();
                let mut damaged = None;
                let mut run = Vec::new();
                for change in changes {
                    match change {
                        Change::Event { ref entry, .. } => {
                            tenants.insert(entry.tenant.clone());
                            run.push(change);
                        }
                        Change::Damaged { .. } => run.push(change),
                        Change::Forget { key, tenant, to } => {
                            shared.apply(&std::mem::take(&mut run), base, None, false)?;
                            damaged = Some(shared.forget_all(key, &tenant, base, to)?);
                            tenants.insert(tenant);
                        }
                    }
                }
                let counted = shared.apply(&run, base, Some(to), is_durable)?;
                Ok((tenants, counted.or(damaged)))
            })
            .await?;
        if let Some(damaged) = damaged {
            self.damaged.store(damaged, Ordering::Release);
        }
        Ok(tenants)
    }

    /// What is known of these ids.
    pub(in crate::store) async fn known(
        &self,
        ids: Vec<(TenantId, Uuid)>,
    ) -> Result<Vec<Option<Record>>, StoreError> {
        self.store.blocking(move |shared| shared.known(&ids)).await
    }

    /// The first damaged messages behind this one, by key and sequence.
    pub(in crate::store) async fn damaged_behind(
        &self,
        behind: (u128, u64),
    ) -> Result<Vec<(u128, u64)>, StoreError> {
        if self.damaged.load(Ordering::Acquire) == 0 {
            return Ok(Vec::new());
        }
        self.store
            .blocking(move |shared| {
                let transaction = shared.database.begin_read().map_err(failed)?;
                let table = transaction.open_table(DAMAGED).map_err(failed)?;
                let range = (std::ops::Bound::Excluded(behind), std::ops::Bound::Unbounded);
                let rows = table.range(range).map_err(failed)?.take(DAMAGED_TOGETHER);
                rows.map(|row| Ok(row.map_err(failed)?.0.value())).collect()
            })
            .await
    }

    /// Somebody has taken a damaged message out of the stream.
    pub(in crate::store) async fn mend(&self, damaged: (u128, u64)) -> Result<(), StoreError> {
        let left = self
            .store
            .blocking(move |shared| {
                let _one_at_a_time = shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
                let transaction = begin(&shared.database)?;
                let left = {
                    let mut table = transaction.open_table(DAMAGED).map_err(failed)?;
                    table.remove(damaged).map_err(failed)?;
                    table.len().map_err(failed)?
                };
                transaction.commit().map_err(failed)?;
                Ok(left)
            })
            .await?;
        self.damaged.store(left, Ordering::Release);
        Ok(())
    }

    /// The first damaged message of a tenant after an offset.
    fn damaged_after(&self, key: u128, after: Offset) -> Result<Option<u64>, StoreError> {
        if self.damaged.load(Ordering::Acquire) == 0 {
            return Ok(None);
        }
        let transaction = self.store.0.database.begin_read().map_err(failed)?;
        let table = transaction.open_table(DAMAGED).map_err(failed)?;
        let from = self.sequence(after).saturating_add(1);
        let mut rows = table.range((key, from)..=(key, u64::MAX)).map_err(failed)?;
        rows.next().map(|row| Ok(row.map_err(failed)?.0.value().1)).transpose()
    }

    /// Events up to the first damaged message, and an error where it is the next.
    pub(in crate::store) async fn read(
        &self,
        key: u128,
        tenant: &TenantId,
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        let mut records = self.store.read(tenant, after, take).await?;
        if let Some(damaged) = self.damaged_after(key, after)? {
            records.retain(|record| record.offset < self.offset(damaged));
            if records.is_empty() {
                return Err(StoreError::Unreadable(Box::new(Damage(damaged))));
            }
        }
        Ok(records)
    }

    /// A damaged message may be of any actor: an answer that would reach over it is an error.
    pub(in crate::store) async fn of_actors(
        &self,
        key: u128,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        let mut records = self.store.of_actors(tenant, actors, after, take).await?;
        if let Some(damaged) = self.damaged_after(key, after)? {
            records.retain(|record| record.offset < self.offset(damaged));
            if records.len() < take.events.max(1) {
                return Err(StoreError::Unreadable(Box::new(Damage(damaged))));
            }
        }
        Ok(records)
    }

    /// A damaged message may have happened at any time.
    pub(in crate::store) async fn of_time(
        &self,
        key: u128,
        tenant: &TenantId,
        span: Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        match self.damaged_after(key, Offset::START)? {
            Some(damaged) => Err(StoreError::Unreadable(Box::new(Damage(damaged)))),
            None => self.store.of_time(tenant, span, after, take).await,
        }
    }

    /// The stream of a tenant ends for now before its first damaged message: nobody passes over it.
    pub(in crate::store) async fn bounds(&self, key: u128, tenant: &TenantId) -> Result<Bounds, StoreError> {
        let mut bounds = self.store.bounds(tenant).await?;
        if let Some(damaged) = self.damaged_after(key, bounds.forgotten)? {
            let before = self.offset(damaged.saturating_sub(1));
            bounds.last = bounds.last.min(before).max(bounds.forgotten);
        }
        Ok(bounds)
    }
}

impl Shared {
    /// Applies messages that forget nothing. Answers how many are damaged, where that has changed.
    fn apply(
        &self,
        run: &[Change],
        base: u64,
        to: Option<Position>,
        is_durable: bool,
    ) -> Result<Option<u64>, StoreError> {
        if run.is_empty() && to.is_none() {
            return Ok(None);
        }
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut transaction = begin(&self.database)?;
        if !is_durable {
            transaction.set_quick_repair(false);
            transaction.set_two_phase_commit(false);
            transaction.set_durability(Durability::None).map_err(failed)?;
        }
        let events = run.iter().filter_map(|change| match change {
            Change::Event { sequence, entry } => Some((entry, Some(base.saturating_add(*sequence)))),
            Change::Forget { .. } | Change::Damaged { .. } => None,
        });
        let written = self.write(&transaction, events)?;
        let mut damaged = None;
        for change in run {
            if let Change::Damaged { key, sequence } = change {
                let mut table = transaction.open_table(DAMAGED).map_err(failed)?;
                table.insert((*key, *sequence), ()).map_err(failed)?;
                damaged = Some(table.len().map_err(failed)?);
            }
        }
        if let Some(Position { sequence, mark }) = to {
            let mut heads = transaction.open_table(HEAD).map_err(failed)?;
            let identity = heads.get(()).map_err(failed)?.map(|row| row.value().0.to_owned());
            let identity = identity.ok_or_else(|| failed("the file does not say what it is a copy of"))?;
            heads.insert((), (identity.as_str(), sequence, mark)).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        self.show(written);
        Ok(damaged)
    }

    /// Forgets up to there, also what never was here. Answers how many messages are damaged then.
    fn forget_all(&self, key: u128, tenant: &TenantId, base: u64, to: u64) -> Result<u64, StoreError> {
        let left = {
            let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = begin(&self.database)?;
            let offset = base.saturating_add(to);
            let known = self.row(tenant);
            let (row, next_number) = {
                let next = self.streams().next_number;
                match known {
                    Some(row) => (Row { last: row.last.max(offset), ..row }, next),
                    None => (Row { number: next, last: offset, ..Row::default() }, next.saturating_add(1)),
                }
            };
            let left = {
                let mut rows = transaction.open_table(STREAMS).map_err(failed)?;
                rows.insert(tenant.as_str(), row.as_stored()).map_err(failed)?;
                let mut table = transaction.open_table(DAMAGED).map_err(failed)?;
                table.retain_in((key, 0)..=(key, to), |_, ()| false).map_err(failed)?;
                table.len().map_err(failed)?
            };
            transaction.commit().map_err(failed)?;
            let mut streams = self.streams();
            streams.next_number = next_number;
            let gathered = BTreeMap::new();
            streams.by_tenant.entry(tenant.clone()).or_insert(Stream { row, gathered }).row = row;
            left
        };
        while self.forget_some(tenant, Offset::new(base.saturating_add(to)))? {}
        Ok(left)
    }

    fn known(&self, ids: &[(TenantId, Uuid)]) -> Result<Vec<Option<Record>>, StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let events = transaction.open_table(EVENTS).map_err(failed)?;
        let table = transaction.open_table(IDS).map_err(failed)?;
        let mut known = Vec::with_capacity(ids.len());
        for (tenant, id) in ids {
            let row = self.row(tenant);
            let Some(Row { number, .. }) = row else {
                known.push(None);
                continue;
            };
            let offset = table.get((number, id.as_u128())).map_err(failed)?.map(|offset| offset.value());
            let Some(offset) = offset else {
                known.push(None);
                continue;
            };
            let row = events.get((number, offset)).map_err(failed)?;
            let row = row.ok_or_else(|| super::unreadable("an id is of no event"))?;
            let (came, _, json) = row.value();
            known.push(Some(record(offset, came, json)?));
        }
        Ok(known)
    }
}
