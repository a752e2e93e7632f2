//! What the database holds, and how.

use std::collections::BTreeSet;
use std::ops::{Bound, Range};
use std::sync::Arc;

use chrono::DateTime;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition,
    TableHandle as _, WriteTransaction,
};
use uuid::Uuid;

use super::journal::Key;
use super::recent::Gathered;
use crate::event::{Event, Timestamp};
use crate::id::{ActorId, TenantId};
use crate::store::{Offset, Record, StoreError};

/// Number of a stream.
pub(super) type StreamNumber = u32;

/// Of what this code reads and writes.
const FORMAT: u128 = 3;

/// What is of the whole file.
const META: TableDefinition<'static, &str, u128> = TableDefinition::new("meta");
/// Streams by the names of their tenants: number, last offset, and the last that was forgotten.
const STREAMS: TableDefinition<'static, &str, (StreamNumber, u64, u64)> = TableDefinition::new("streams");
/// Events in blocks of some that follow each other, by stream and the last offset.
const BLOCKS: TableDefinition<'static, (StreamNumber, u64), &[u8]> = TableDefinition::new("blocks");
/// Offsets by stream and id.
const IDS: TableDefinition<'static, (StreamNumber, u128), u64> = TableDefinition::new("ids");
/// Stream, time and offset of each event.
const MOMENTS: TableDefinition<'static, (StreamNumber, i64, u64), ()> = TableDefinition::new("moments");
/// Stream, mark of the actor and offset of each event.
const ACTORS: TableDefinition<'static, (StreamNumber, u64, u64), ()> = TableDefinition::new("actors");

/// What a file has that is a copy of a stream elsewhere.
const REPLICA: &str = "replica";

/// Bytes of a block: what fits into one page of the database.
const BLOCK_BYTES: usize = 4_000;

/// Rows that one transaction of [`forget`] takes away, so that senders do not wait for all of them.
const FORGOTTEN_TOGETHER: usize = 10_000;

pub(super) fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Failed(error.into())
}

pub(super) fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unreadable(error.into())
}

pub(super) fn timestamp(ms: i64) -> Result<Timestamp, StoreError> {
    let at = DateTime::from_timestamp_millis(ms).ok_or_else(|| unreadable("a time that is none"))?;
    Timestamp::new(at).map_err(unreadable)
}

/// What is written down of a stream.
#[derive(Clone, Copy, Default)]
pub(super) struct Row {
    pub(super) number: StreamNumber,
    pub(super) last: u64,
    pub(super) forgotten: u64,
    /// No id in the database is greater.
    pub(super) greatest_id: Option<u128>,
}

/// What a process finds that starts.
pub(super) struct Opened {
    pub(super) streams: Vec<(TenantId, Row)>,
    pub(super) is_new: bool,
    pub(super) applied: u64,
    pub(super) journal: Key,
    /// Of the marks of actors.
    pub(super) marks: Key,
}

fn begin(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_durability(Durability::Immediate).map_err(failed)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// A key that nobody can guess.
pub(super) fn random_key() -> Key {
    // The last 32 bits of each are random whenever it was made; the rest grows with time, from a counter that begins at random.
    Key(Uuid::now_v7().as_u128() ^ Uuid::now_v7().as_u128().rotate_left(64))
}

/// Reads what is there, after it has been made where it is not.
pub(super) fn open(database: &Database) -> Result<Opened, StoreError> {
    let is_new = {
        let transaction = database.begin_read().map_err(failed)?;
        let names: Vec<_> =
            transaction.list_tables().map_err(failed)?.map(|table| table.name().to_owned()).collect();
        if names.iter().any(|name| name == REPLICA) {
            return Err(failed("the file is a copy of a stream that lies elsewhere"));
        }
        // The first format had no table that says so.
        if !names.is_empty() && !names.iter().any(|name| name == META.name()) {
            return Err(StoreError::Format { found: 1 });
        }
        names.is_empty()
    };
    if is_new {
        let transaction = begin(database)?;
        {
            let mut meta = transaction.open_table(META).map_err(failed)?;
            let written =
                [("format", FORMAT), ("applied", 0), ("journal", random_key().0), ("marks", random_key().0)];
            for (name, value) in written {
                meta.insert(name, value).map_err(failed)?;
            }
            transaction.open_table(STREAMS).map_err(failed)?;
            transaction.open_table(BLOCKS).map_err(failed)?;
            transaction.open_table(IDS).map_err(failed)?;
            transaction.open_table(MOMENTS).map_err(failed)?;
            transaction.open_table(ACTORS).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
    }
    let transaction = database.begin_read().map_err(failed)?;
    let meta = transaction.open_table(META).map_err(failed)?;
    let value = |name: &str| {
        let value = meta.get(name).map_err(failed)?.map(|value| value.value());
        value.ok_or_else(|| unreadable("the log does not say what it is"))
    };
    let format = value("format")?;
    if format != FORMAT {
        return Err(StoreError::Format { found: u32::try_from(format).unwrap_or(u32::MAX) });
    }
    let ids = transaction.open_table(IDS).map_err(failed)?;
    let mut streams = Vec::new();
    for row in transaction.open_table(STREAMS).map_err(failed)?.iter().map_err(failed)? {
        let (tenant, row) = row.map_err(failed)?;
        let (number, last, forgotten) = row.value();
        let greatest = ids.range((number, 0)..=(number, u128::MAX)).map_err(failed)?.next_back().transpose();
        let greatest_id = greatest.map_err(failed)?.map(|(key, _)| key.value().1);
        let tenant = TenantId::new(tenant.value()).map_err(unreadable)?;
        streams.push((tenant, Row { number, last, forgotten, greatest_id }));
    }
    let applied = u64::try_from(value("applied")?).map_err(unreadable)?;
    let (journal, marks) = (Key(value("journal")?), Key(value("marks")?));
    // Its journal is made after it: where nothing was ever applied, it may not have come to that.
    let is_new = is_new || (applied == 0 && streams.is_empty() && value("begun").is_err());
    Ok(Opened { streams, is_new, applied, journal, marks })
}

/// Says that the journal is there, and begins it under another key.
pub(super) fn begin_journal(database: &Database, key: Key) -> Result<(), StoreError> {
    let transaction = begin(database)?;
    {
        let mut meta = transaction.open_table(META).map_err(failed)?;
        meta.insert("begun", 1).map_err(failed)?;
        meta.insert("journal", key.0).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

/// Puts what has gathered into the database, in one transaction and in the order of its rows. Answers the greatest id of each stream.
pub(super) fn apply(
    database: &Database,
    gathered: &Gathered,
) -> Result<Vec<(StreamNumber, Option<u128>)>, StoreError> {
    let transaction = begin(database)?;
    let mut numbers: Vec<_> = gathered.streams.keys().copied().collect();
    numbers.sort_unstable();
    let (mut by_id, mut by_moment, mut by_actor) = (Vec::new(), Vec::new(), Vec::new());
    {
        let mut streams = transaction.open_table(STREAMS).map_err(failed)?;
        let mut blocks = transaction.open_table(BLOCKS).map_err(failed)?;
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        for (number, stream) in
            numbers.iter().filter_map(|number| Some((*number, gathered.streams.get(number)?)))
        {
            let name = stream.tenant.as_str();
            let forgotten = streams.get(name).map_err(failed)?.map_or(0, |row| row.value().2);
            streams.insert(name, (number, stream.last(), forgotten)).map_err(failed)?;
            let mut last = 0;
            for row in gathered.rows(stream) {
                by_id.push((number, row.id, row.offset));
                by_moment.push((number, row.happened, row.offset));
                by_actor.push((number, row.mark, row.offset));
                if !block.is_empty()
                    && block.len().saturating_add(ROW_BYTES).saturating_add(row.json.len()) > BLOCK_BYTES
                {
                    blocks.insert((number, last), block.as_slice()).map_err(failed)?;
                    block.clear();
                }
                push(&mut block, row.came, row.mark, row.json);
                last = row.offset;
            }
            if !block.is_empty() {
                blocks.insert((number, last), block.as_slice()).map_err(failed)?;
                block.clear();
            }
        }
    }
    by_id.sort_unstable();
    by_moment.sort_unstable();
    by_actor.sort_unstable();
    let greatest = numbers.into_iter().map(|number| {
        let end = by_id.partition_point(|row| row.0 <= number);
        (number, by_id.get(end.saturating_sub(1)).map(|row| row.1))
    });
    let greatest = greatest.collect();
    {
        let mut ids = transaction.open_table(IDS).map_err(failed)?;
        for (number, id, offset) in by_id {
            ids.insert((number, id), offset).map_err(failed)?;
        }
        let mut moments = transaction.open_table(MOMENTS).map_err(failed)?;
        for row in by_moment {
            moments.insert(row, ()).map_err(failed)?;
        }
        let mut actors = transaction.open_table(ACTORS).map_err(failed)?;
        for row in by_actor {
            actors.insert(row, ()).map_err(failed)?;
        }
        let mut meta = transaction.open_table(META).map_err(failed)?;
        let last_frame = u128::from(gathered.last_frame);
        let before = meta.insert("applied", last_frame).map_err(failed)?.map(|before| before.value());
        if before.is_none_or(|before| last_frame <= before) {
            return Err(unreadable("frames of the journal that are in the database already"));
        }
    }
    transaction.commit().map_err(failed)?;
    Ok(greatest)
}

/// Bytes of an event in a block besides its JSON: when it came, the mark of its actor, and how long its JSON is.
const ROW_BYTES: usize = 20;

fn push(block: &mut Vec<u8>, came: i64, mark: u64, json: &[u8]) {
    block.extend_from_slice(&came.to_le_bytes());
    block.extend_from_slice(&mark.to_le_bytes());
    // An event's JSON is far shorter.
    block.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes());
    block.extend_from_slice(json);
}

/// An event of a block.
struct InBlock<'b> {
    offset: u64,
    came: i64,
    mark: u64,
    json: &'b [u8],
}

impl InBlock<'_> {
    fn record(&self) -> Result<Record, StoreError> {
        let event = Event::from_json(self.json).map_err(unreadable)?;
        Ok(Record {
            offset: Offset::new(self.offset),
            ingested_at: timestamp(self.came)?,
            event: Arc::new(event),
        })
    }
}

/// Events of a block whose last has this offset.
fn unpack(last: u64, mut block: &[u8]) -> Result<Vec<InBlock<'_>>, StoreError> {
    let mut events = Vec::new();
    while !block.is_empty() {
        let broken = || unreadable("a block of events ends early");
        let (came, rest) = block.split_first_chunk().ok_or_else(broken)?;
        let (mark, rest) = rest.split_first_chunk().ok_or_else(broken)?;
        let (length, rest) = rest.split_first_chunk().ok_or_else(broken)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(unreadable)?;
        let (json, rest) = rest.split_at_checked(length).ok_or_else(broken)?;
        events.push(InBlock {
            offset: 0,
            came: i64::from_le_bytes(*came),
            mark: u64::from_le_bytes(*mark),
            json,
        });
        block = rest;
    }
    for (behind, event) in (0..).zip(events.iter_mut().rev()) {
        event.offset =
            last.checked_sub(behind).ok_or_else(|| unreadable("a block of more events than there are"))?;
    }
    Ok(events)
}

fn in_block(
    blocks: &impl ReadableTable<(StreamNumber, u64), &'static [u8]>,
    number: StreamNumber,
    offset: u64,
) -> Result<Option<Record>, StoreError> {
    let mut range = blocks.range((number, offset)..=(number, u64::MAX)).map_err(failed)?;
    let Some(row) = range.next() else { return Ok(None) };
    let (key, block) = row.map_err(failed)?;
    let events = unpack(key.value().1, block.value())?;
    events.iter().find(|event| event.offset == offset).map(InBlock::record).transpose()
}

/// The database as it was at one moment.
pub(super) struct View(ReadTransaction);

impl View {
    pub(super) fn of(database: &Database) -> Result<Self, StoreError> {
        database.begin_read().map(Self).map_err(failed)
    }

    /// Where the event of this id stands, and the event.
    pub(super) fn known(&self, number: StreamNumber, id: u128) -> Result<Option<Record>, StoreError> {
        let ids = self.0.open_table(IDS).map_err(failed)?;
        let Some(offset) = ids.get((number, id)).map_err(failed)?.map(|offset| offset.value()) else {
            return Ok(None);
        };
        let blocks = self.0.open_table(BLOCKS).map_err(failed)?;
        let record = in_block(&blocks, number, offset)?;
        record.map(Some).ok_or_else(|| unreadable("an id is of no event"))
    }

    /// Events after an offset and before another, at most so many.
    pub(super) fn read(
        &self,
        number: StreamNumber,
        after: u64,
        before: u64,
        most: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let blocks = self.0.open_table(BLOCKS).map_err(failed)?;
        let mut records = Vec::new();
        let range = (Bound::Excluded((number, after)), Bound::Included((number, u64::MAX)));
        for row in blocks.range(range).map_err(failed)? {
            let (key, block) = row.map_err(failed)?;
            for event in unpack(key.value().1, block.value())? {
                if event.offset >= before || records.len() >= most {
                    return Ok(records);
                }
                if event.offset > after {
                    records.push(event.record()?);
                }
            }
        }
        Ok(records)
    }

    /// Those of actors, of whom these are the marks.
    pub(super) fn of_actors(
        &self,
        number: StreamNumber,
        actors: &BTreeSet<&ActorId>,
        marks: &[u64],
        after: u64,
        before: u64,
        most: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let indexed = self.0.open_table(ACTORS).map_err(failed)?;
        let blocks = self.0.open_table(BLOCKS).map_err(failed)?;
        let mut records = Vec::new();
        let mut from = after;
        loop {
            // Those that stand first, of all actors together, and no more than are wanted: only these are read.
            let mut first = BTreeSet::new();
            for mark in marks {
                let range =
                    (Bound::Excluded((number, *mark, from)), Bound::Excluded((number, *mark, before)));
                if from >= before {
                    break;
                }
                for row in indexed.range(range).map_err(failed)? {
                    let offset = row.map_err(failed)?.0.value().2;
                    let is_full = first.len() >= most;
                    if is_full && first.last().is_some_and(|last| *last <= offset) {
                        break;
                    }
                    first.insert(offset);
                    if first.len() > most {
                        first.pop_last();
                    }
                }
            }
            let is_full = first.len() >= most;
            for offset in first {
                from = offset;
                let Some(record) = in_block(&blocks, number, offset)? else { continue };
                // Others may have the same mark.
                if actors.contains(record.event.actor()) {
                    records.push(record);
                }
            }
            if !is_full || records.len() >= most {
                records.truncate(most);
                return Ok(records);
            }
        }
    }

    /// Those that happened within a span of milliseconds, after a time and offset, and stand before an offset.
    pub(super) fn of_time(
        &self,
        number: StreamNumber,
        span: Range<i64>,
        after: Option<(i64, u64)>,
        before: u64,
        most: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let moments = self.0.open_table(MOMENTS).map_err(failed)?;
        let blocks = self.0.open_table(BLOCKS).map_err(failed)?;
        let mut records = Vec::new();
        let start = match after {
            Some((at, offset)) => Bound::Excluded((number, at, offset)),
            None => Bound::Included((number, span.start, 0)),
        };
        let range = (start, Bound::Excluded((number, span.end, 0)));
        for row in moments.range(range).map_err(failed)? {
            if records.len() >= most {
                break;
            }
            let offset = row.map_err(failed)?.0.value().2;
            if offset >= before {
                continue;
            }
            records.extend(in_block(&blocks, number, offset)?);
        }
        Ok(records)
    }
}

/// Takes some events up to an offset away, and answers up to where, and whether there may be more.
pub(super) fn forget(
    database: &Database,
    tenant: &TenantId,
    row: Row,
    to: u64,
    tell: impl FnOnce(u64),
) -> Result<bool, StoreError> {
    let Row { number, forgotten, .. } = row;
    let transaction = begin(database)?;
    // Of the events that are in the database: those after it are in the journal.
    let stored = {
        let streams = transaction.open_table(STREAMS).map_err(failed)?;
        streams.get(tenant.as_str()).map_err(failed)?.map(|row| row.value().1)
    };
    let Some(last) = stored else { return Ok(false) };
    let mut reached = forgotten;
    let has_more;
    {
        let mut blocks = transaction.open_table(BLOCKS).map_err(failed)?;
        let mut ids = transaction.open_table(IDS).map_err(failed)?;
        let mut moments = transaction.open_table(MOMENTS).map_err(failed)?;
        let mut actors = transaction.open_table(ACTORS).map_err(failed)?;
        let (mut gone, mut changed, mut cut) = (Vec::new(), Vec::new(), None);
        for row in blocks.range((number, forgotten.saturating_add(1))..=(number, u64::MAX)).map_err(failed)? {
            let (key, block) = row.map_err(failed)?;
            let last_of_block = key.value().1;
            let mut rest = Vec::new();
            for event in unpack(last_of_block, block.value())? {
                if event.offset > to {
                    push(&mut rest, event.came, event.mark, event.json);
                    continue;
                }
                reached = reached.max(event.offset);
                let parsed = Event::from_json(event.json).map_err(unreadable)?;
                let happened = parsed.at().as_datetime().timestamp_millis();
                gone.push((event.offset, event.mark, parsed.id().as_u128(), happened));
            }
            match rest.is_empty() {
                true => changed.push(last_of_block),
                false => cut = Some((last_of_block, rest)),
            }
            if cut.is_some() || last_of_block >= to || gone.len() >= FORGOTTEN_TOGETHER {
                break;
            }
        }
        has_more = gone.len() >= FORGOTTEN_TOGETHER && cut.is_none();
        for last_of_block in changed {
            blocks.remove((number, last_of_block)).map_err(failed)?;
        }
        if let Some((last_of_block, rest)) = cut {
            blocks.insert((number, last_of_block), rest.as_slice()).map_err(failed)?;
        }
        for (offset, mark, id, happened) in gone {
            ids.remove((number, id)).map_err(failed)?;
            moments.remove((number, happened, offset)).map_err(failed)?;
            actors.remove((number, mark, offset)).map_err(failed)?;
        }
        if !has_more {
            reached = reached.max(to.min(last));
        }
        let mut streams = transaction.open_table(STREAMS).map_err(failed)?;
        streams.insert(tenant.as_str(), (number, last, reached)).map_err(failed)?;
    }
    // Told first: who reads meanwhile is sent away rather than over a gap.
    tell(reached);
    transaction.commit().map_err(failed)?;
    Ok(has_more)
}
