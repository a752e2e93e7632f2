//! The records of an outbox as rows with ordered keys, for stores that have such.

mod key;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) use key::time_at;
use key::{Key, Table, lane_at};

use super::{Batch, Claim, Committed, Lease, Loaded, StoreError};
use crate::event::{Lane, Order, Subject};
use crate::id::{ConnectorId, EventId, PersonId};
use crate::lane::{Attempt, Class, ConnectorRecord, EventRecord, EventState, LaneRecord, Place, QueueCounts};

/// Is shown a key and its value.
pub(super) type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<Go, StoreError>;

/// Reads rows.
pub(super) trait Rows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Rows with this prefix and after this key, in order, until `each` says no.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, each: Each<'_>) -> Result<(), StoreError>;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Stop,
}

/// Writes rows.
pub(super) trait RowsMut: Rows {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError>;
    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError>;
}

/// Leases of a store that only this process opens.
#[derive(Debug, Default)]
pub(super) struct Leases {
    of: HashMap<Lane, (u128, Lease)>,
    given: u64,
}

impl Leases {
    fn holds(&self, lane: &Lane, now: DateTime<Utc>) -> bool {
        self.of.get(lane).is_some_and(|(_, lease)| lease.until > now)
    }

    fn give(&mut self, lane: Lane, claim: &Claim) -> Lease {
        self.given = self.given.saturating_add(1);
        let lease = Lease { lane: lane.clone(), token: self.given, until: claim.until };
        self.of.insert(lane, (claim.worker, lease.clone()));
        lease
    }

    /// Whether nobody else took its place. What is written under a lease that ran out meanwhile counts as written before: whoever
    /// has the lane then reads it, or is refused for its version.
    pub(super) fn stands(&self, under: Option<&Lease>) -> bool {
        under
            .is_none_or(|lease| self.of.get(&lease.lane).is_some_and(|(_, known)| known.token == lease.token))
    }

    pub(super) fn release_all(&mut self, worker: u128) {
        self.of.retain(|_, (of, _)| *of != worker);
    }

    pub(super) fn release(&mut self, lease: &Lease) {
        if self.stands(Some(lease)) {
            self.of.remove(&lease.lane);
        }
    }
}

/// Times as bytes that are in the order of time.
#[cfg(feature = "postgres")]
pub(super) fn time_key(at: DateTime<Utc>) -> Vec<u8> {
    Key(Vec::new()).time(at).0
}

/// Places as bytes that are in their order.
#[cfg(feature = "postgres")]
pub(super) fn order_key(order: Order) -> Vec<u8> {
    Key(Vec::new()).order(order).0
}

/// Where the record of a lane lies.
pub(super) fn lane_key(lane: &Lane) -> Vec<u8> {
    Key::new(Table::Lanes).lane(lane).0
}

pub(super) fn connector_key(connector: &ConnectorId) -> Vec<u8> {
    Key::new(Table::Connectors).text(connector.as_str()).0
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(StoreError::unreadable)
}

fn write(rows: &mut dyn RowsMut, key: &Key, value: &impl Serialize) -> Result<(), StoreError> {
    rows.put(&key.0, &serde_json::to_vec(value).map_err(StoreError::unreadable)?)
}

fn one<T: DeserializeOwned>(rows: &dyn Rows, key: &Key) -> Result<Option<T>, StoreError> {
    rows.get(&key.0)?.map(|value| read(&value)).transpose()
}

fn many<T>(
    rows: &dyn Rows,
    prefix: &Key,
    after: Option<&Key>,
    limit: usize,
    make: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    if limit > 0 {
        rows.scan(&prefix.0, after.map(|key| key.0.as_slice()), &mut |key, value| {
            found.push(make(key, value)?);
            Ok(if found.len() < limit { Go::On } else { Go::Stop })
        })?;
    }
    Ok(found)
}

const FORMAT: u64 = 0;

/// Begins an empty store, or refuses one that is newer. Answers the next number of an event.
pub(super) fn open(rows: &mut dyn RowsMut) -> Result<u64, StoreError> {
    match one::<u64>(rows, &Key::new(Table::Meta).text("format"))? {
        None => write(rows, &Key::new(Table::Meta).text("format"), &FORMAT)?,
        Some(FORMAT) => {}
        Some(newer) => return Err(StoreError::NewerFormat(newer)),
    }
    Ok(one(rows, &Key::new(Table::Meta).text("seq"))?.unwrap_or(1))
}

/// Sums that a transaction changes, written once for all of its batches.
#[derive(Default)]
struct Sums {
    counts: BTreeMap<ConnectorId, QueueCounts>,
    seq: u64,
}

/// Writes batches, each by itself whole or not at all. After an error, nothing of them may stay.
pub(super) fn commit(
    rows: &mut dyn RowsMut,
    batches: &[Batch],
    stands: &dyn Fn(Option<&Lease>) -> bool,
) -> Result<Vec<Committed>, StoreError> {
    let mut sums = Sums::default();
    let mut done = Vec::with_capacity(batches.len());
    for batch in batches {
        if !stands(batch.under.as_ref()) {
            done.push(Committed::LeaseLost);
            continue;
        }
        done.push(match read_stored(rows, &mut sums, batch) {
            Ok(Some(stored)) => {
                put_batch(rows, &mut sums, batch, stored)?;
                Committed::Done
            }
            Ok(None) => Committed::Conflict,
            Err(StoreError::Unreadable(_)) => Committed::Unreadable,
            Err(error) => return Err(error),
        });
    }
    for (connector, counts) in &sums.counts {
        write(rows, &Key::new(Table::Counts).text(connector.as_str()), counts)?;
    }
    if sums.seq > 0 {
        let next = Key::new(Table::Meta).text("seq");
        let stored: u64 = one(rows, &next)?.unwrap_or(1);
        write(rows, &next, &stored.max(sums.seq))?;
    }
    Ok(done)
}

/// What is stored of a batch: its lanes, and whether its events are known.
struct Stored {
    lanes: Vec<Option<LaneRecord>>,
    is_known: Vec<bool>,
}

/// Reads all that has to be read for a batch to be written; nothing where somebody else wrote first.
fn read_stored(rows: &dyn Rows, sums: &mut Sums, batch: &Batch) -> Result<Option<Stored>, StoreError> {
    let mut lanes = Vec::with_capacity(batch.lanes.len());
    for lane in &batch.lanes {
        let stored: Option<LaneRecord> = one(rows, &Key::new(Table::Lanes).lane(&lane.lane))?;
        if stored.as_ref().map_or(0, |stored| stored.version) != lane.version {
            return Ok(None);
        }
        lanes.push(stored);
        let connector = &lane.lane.connector;
        if !sums.counts.contains_key(connector) {
            sums.counts.insert(connector.clone(), sum(rows, connector)?);
        }
    }
    for connector in &batch.connectors {
        let key = Key::new(Table::Connectors).text(connector.connector.as_str());
        let stored: Option<ConnectorRecord> = one(rows, &key)?;
        if stored.map_or(0, |stored| stored.version) != connector.version {
            return Ok(None);
        }
    }
    let mut is_known = Vec::with_capacity(batch.events.len());
    for event in &batch.events {
        let place = (event.event.lane(), event.order);
        let stored: Option<(Lane, Order)> = one(rows, &Key::new(Table::Ids).text(event.event.id().as_str()))?;
        if stored.as_ref().is_some_and(|(lane, order)| (lane, *order) != place) {
            return Ok(None);
        }
        is_known.push(stored.is_some());
    }
    Ok(Some(Stored { lanes, is_known }))
}

fn put_batch(
    rows: &mut dyn RowsMut,
    sums: &mut Sums,
    batch: &Batch,
    stored: Stored,
) -> Result<(), StoreError> {
    for (event, is_known) in batch.events.iter().zip(stored.is_known) {
        put_event(rows, sums, event, !is_known)?;
    }
    for (lane, stored) in batch.lanes.iter().zip(stored.lanes) {
        put_lane(rows, sums, stored, lane)?;
    }
    for (seq, attempt) in &batch.attempts {
        write(rows, &Key::new(Table::Attempts).number(*seq).number(attempt.number.into()), attempt)?;
    }
    for connector in &batch.connectors {
        let key = Key::new(Table::Connectors).text(connector.connector.as_str());
        let version = connector.version.saturating_add(1);
        write(rows, &key, &ConnectorRecord { version, ..connector.clone() })?;
    }
    Ok(())
}

fn put_event(
    rows: &mut dyn RowsMut,
    sums: &mut Sums,
    event: &EventRecord,
    is_new: bool,
) -> Result<(), StoreError> {
    let lane = event.event.lane();
    if is_new {
        let id = Key::new(Table::Ids).text(event.event.id().as_str());
        write(rows, &id, &(lane, event.order))?;
        sums.seq = sums.seq.max(event.order.seq.saturating_add(1));
    }
    let open = Key::new(Table::Open).lane(lane).order(event.order);
    let closed = Key::new(Table::Closed).lane(lane).order(event.order);
    let held = Key::new(Table::Held).text(lane.connector.as_str()).number(event.order.seq);
    let is_held = matches!(event.state, EventState::Held { .. });
    let is_open = !is_held && !event.state.is_closed();
    if !is_new {
        if !is_open {
            rows.remove(&open.0)?;
        }
        if !is_held && event.is_deprovision() {
            rows.remove(&held.0)?;
            if is_open {
                rows.remove(&closed.0)?;
            }
        }
    }
    if is_held {
        write(rows, &held, event)?;
    }
    write(rows, if is_open { &open } else { &closed }, event)
}

fn ready(lane: &Lane, place: &Place) -> Key {
    let key = Key::new(Table::Ready).text(lane.connector.as_str()).byte(place.class as u8);
    key.order(place.order).lane(lane)
}

/// Bytes of a time in a key, and of a place in the order.
const TIME_BYTES: usize = 12;
const ORDER_BYTES: usize = 20;

/// Most lanes that become ready together.
const PROMOTED_TOGETHER_MAX: usize = 4096;

fn later(lane: &Lane, place: &Place, due_at: DateTime<Utc>) -> Key {
    let key = Key::new(Table::Later).text(lane.connector.as_str()).time(due_at);
    key.byte(place.class as u8).order(place.order).lane(lane)
}

fn put_lane(
    rows: &mut dyn RowsMut,
    sums: &mut Sums,
    before: Option<LaneRecord>,
    lane: &LaneRecord,
) -> Result<(), StoreError> {
    let name = &lane.lane;
    let version = lane.version.saturating_add(1);
    write(rows, &Key::new(Table::Lanes).lane(name), &LaneRecord { version, ..lane.clone() })?;
    let old = before.as_ref();
    // One with a time may have been moved to those that are ready; a clock that went back moves it again.
    let is_moved = |place: Place| place.due_at.is_some();
    if old.and_then(|old| old.place) != lane.place || lane.place.is_some_and(is_moved) {
        if let Some(place) = old.and_then(|old| old.place) {
            rows.remove(&ready(name, &place).0)?;
            if let Some(due_at) = place.due_at {
                rows.remove(&later(name, &place, due_at).0)?;
            }
        }
        if let Some(place) = &lane.place {
            let key = place.due_at.map_or_else(|| ready(name, place), |due_at| later(name, place, due_at));
            rows.put(&key.0, &[])?;
        }
    }
    if old.is_none()
        && let Subject::Person(person) = &name.subject
    {
        rows.put(&Key::new(Table::Persons).text(person.as_str()).lane(name).0, &[])?;
    }
    let holder = |(attribute, value): &(String, String)| {
        let key = Key::new(Table::Holders).text(name.connector.as_str());
        key.text(attribute).text(value).lane(name)
    };
    if let Some(old) = old {
        for gone in old.holds.difference(&lane.holds) {
            rows.remove(&holder(gone).0)?;
        }
    }
    for held in &lane.holds {
        if old.is_none_or(|old| !old.holds.contains(held)) {
            rows.put(&holder(held).0, &[])?;
        }
    }
    if old.and_then(|old| old.waits_for.as_ref()) != lane.waits_for.as_ref() {
        if let Some(on) = old.and_then(|old| old.waits_for.as_ref()) {
            rows.remove(&Key::new(Table::Waiting).lane(on).lane(name).0)?;
        }
        if let Some(on) = &lane.waits_for {
            rows.put(&Key::new(Table::Waiting).lane(on).lane(name).0, &[])?;
        }
    }
    count(rows, sums, name, old.map(|old| old.counts).unwrap_or_default(), lane.counts)
}

fn count(
    rows: &mut dyn RowsMut,
    sums: &mut Sums,
    lane: &Lane,
    old: QueueCounts,
    new: QueueCounts,
) -> Result<(), StoreError> {
    if old.oldest_deprovision != new.oldest_deprovision {
        let key = |at| Key::new(Table::Leavers).text(lane.connector.as_str()).time(at).lane(lane);
        if let Some(at) = old.oldest_deprovision {
            rows.remove(&key(at).0)?;
        }
        if let Some(at) = new.oldest_deprovision {
            rows.put(&key(at).0, &[])?;
        }
    }
    let sum = sums.counts.entry(lane.connector.clone()).or_default();
    *sum = shifted(*sum, old, new);
    Ok(())
}

/// A sum in which one lane counts otherwise than before.
fn shifted(sum: QueueCounts, old: QueueCounts, new: QueueCounts) -> QueueCounts {
    let shift = |sum: u64, old: u64, new: u64| sum.saturating_sub(old).saturating_add(new);
    QueueCounts {
        provisioning_queued: shift(sum.provisioning_queued, old.provisioning_queued, new.provisioning_queued),
        provisioning_failed: shift(sum.provisioning_failed, old.provisioning_failed, new.provisioning_failed),
        deprovisioning_queued: shift(
            sum.deprovisioning_queued,
            old.deprovisioning_queued,
            new.deprovisioning_queued,
        ),
        deprovisioning_failed: shift(
            sum.deprovisioning_failed,
            old.deprovisioning_failed,
            new.deprovisioning_failed,
        ),
        held: shift(sum.held, old.held, new.held),
        active: shift(sum.active, old.active, new.active),
        // Read from the index of leavers when asked.
        oldest_deprovision: None,
    }
}

/// The sum over a connector's lanes. One that cannot be read any more is made anew, of the lanes that can be.
fn sum(rows: &dyn Rows, connector: &ConnectorId) -> Result<QueueCounts, StoreError> {
    match one(rows, &Key::new(Table::Counts).text(connector.as_str())) {
        Err(StoreError::Unreadable(_)) => {}
        sum => return Ok(sum?.unwrap_or_default()),
    }
    let mut sum = QueueCounts::default();
    let lanes = Key::new(Table::Lanes).text(connector.as_str());
    rows.scan(&lanes.0, None, &mut |_, value| {
        if let Ok(lane) = read::<LaneRecord>(value) {
            sum = shifted(sum, QueueCounts::default(), lane.counts);
        }
        Ok(Go::On)
    })?;
    Ok(sum)
}

/// Leases that end: whose batch was refused goes on with its lane.
pub(super) fn released<'a>(batches: &'a [Batch], done: &'a [Committed]) -> impl Iterator<Item = &'a Lease> {
    let written = batches.iter().zip(done).filter(|(_, done)| **done == Committed::Done);
    written.flat_map(|(batch, _)| &batch.released)
}

/// Whether lanes became due that are not among those that are ready.
#[cfg(feature = "redb")]
pub(super) fn is_promotion_due(rows: &dyn Rows, claim: &Claim) -> Result<bool, StoreError> {
    Ok(!due_later(rows, claim, 1)?.is_empty())
}

/// Keys of lanes that are due and not among those that are ready.
fn due_later(rows: &dyn Rows, claim: &Claim, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
    let prefix = Key::new(Table::Later).text(claim.connector.as_str());
    let until = |at| Key::new(Table::Later).text(claim.connector.as_str()).time(at);
    let mut found = Vec::new();
    let last = until(claim.due);
    rows.scan(&prefix.0, None, &mut |key, _| {
        if key.get(..last.0.len()).unwrap_or(key) > last.0.as_slice() {
            return Ok(Go::Stop);
        }
        found.push(key.to_vec());
        Ok(if found.len() < limit { Go::On } else { Go::Stop })
    })?;
    if found.len() < limit {
        // After all keys of that time.
        let latest = until(claim.due_latest).byte(u8::MAX);
        let left = limit.saturating_sub(found.len());
        found.extend(many(rows, &prefix, Some(&latest), left, |key, _| Ok(key.to_vec()))?);
    }
    Ok(found)
}

/// Moves lanes that became due to those that are ready. Nothing depends on its being durable.
pub(super) fn promote(rows: &mut dyn RowsMut, claim: &Claim) -> Result<(), StoreError> {
    let prefix = Key::new(Table::Later).text(claim.connector.as_str());
    let place_from = prefix.0.len().saturating_add(TIME_BYTES);
    for later in due_later(rows, claim, PROMOTED_TOGETHER_MAX)? {
        let mut ready = Key::new(Table::Ready).text(claim.connector.as_str());
        ready.0.extend_from_slice(later.get(place_from..).unwrap_or_default());
        rows.remove(&later)?;
        rows.put(&ready.0, &[])?;
    }
    Ok(())
}

pub(super) fn claim(rows: &dyn Rows, leases: &mut Leases, claim: &Claim) -> Result<Vec<Lease>, StoreError> {
    let prefix = Key::new(Table::Ready).text(claim.connector.as_str());
    let lane_from = prefix.0.len().saturating_add(1 + ORDER_BYTES);
    let mut found = Vec::new();
    if claim.limit > 0 {
        rows.scan(&prefix.0, None, &mut |key, _| {
            if key.get(prefix.0.len()).is_none_or(|class| *class > claim.class as u8) {
                return Ok(Go::Stop);
            }
            let lane = lane_at(key, lane_from)?;
            if !leases.holds(&lane, claim.now) {
                found.push(lane);
            }
            Ok(if found.len() < claim.limit { Go::On } else { Go::Stop })
        })?;
    }
    Ok(found.into_iter().map(|lane| leases.give(lane, claim)).collect())
}

pub(super) fn load(rows: &dyn Rows, lane: &Lane) -> Result<Option<Loaded>, StoreError> {
    let Some(record) = one(rows, &Key::new(Table::Lanes).lane(lane))? else { return Ok(None) };
    let open = many(rows, &Key::new(Table::Open).lane(lane), None, usize::MAX, |_, value| read(value))?;
    Ok(Some(Loaded { record, open }))
}

pub(super) fn event(rows: &dyn Rows, id: &EventId) -> Result<Option<EventRecord>, StoreError> {
    let Some((lane, order)) = one::<(Lane, Order)>(rows, &Key::new(Table::Ids).text(id.as_str()))? else {
        return Ok(None);
    };
    match one(rows, &Key::new(Table::Open).lane(&lane).order(order))? {
        Some(event) => Ok(Some(event)),
        None => one(rows, &Key::new(Table::Closed).lane(&lane).order(order)),
    }
}

pub(super) fn history(
    rows: &dyn Rows,
    lane: &Lane,
    after: Option<Order>,
    limit: usize,
) -> Result<Vec<EventRecord>, StoreError> {
    let mut found = Vec::new();
    for table in [Table::Open, Table::Closed] {
        let prefix = Key::new(table).lane(lane);
        let after = after.map(|order| Key::new(table).lane(lane).order(order));
        found.extend(many(rows, &prefix, after.as_ref(), limit, |_, value| read::<EventRecord>(value))?);
    }
    found.sort_by_key(|event| event.order);
    found.truncate(limit);
    Ok(found)
}

pub(super) fn attempts(
    rows: &dyn Rows,
    seq: u64,
    after: u32,
    limit: usize,
) -> Result<Vec<Attempt>, StoreError> {
    let prefix = Key::new(Table::Attempts).number(seq);
    let after = Key::new(Table::Attempts).number(seq).number(after.into());
    many(rows, &prefix, Some(&after), limit, |_, value| read(value))
}

pub(super) fn lanes_of(rows: &dyn Rows, person: &PersonId) -> Result<Vec<Lane>, StoreError> {
    let prefix = Key::new(Table::Persons).text(person.as_str());
    many(rows, &prefix, None, usize::MAX, |key, _| lane_at(key, prefix.0.len()))
}

pub(super) fn lanes(
    rows: &dyn Rows,
    connector: &ConnectorId,
    after: Option<&Lane>,
    limit: usize,
) -> Result<Vec<LaneRecord>, StoreError> {
    let after = after.map(|lane| Key::new(Table::Lanes).lane(lane));
    let prefix = Key::new(Table::Lanes).text(connector.as_str());
    many(rows, &prefix, after.as_ref(), limit, |_, value| read(value))
}

pub(super) fn holders(
    rows: &dyn Rows,
    connector: &ConnectorId,
    name: &str,
    value: &str,
    after: Option<&Lane>,
    limit: usize,
) -> Result<Vec<Lane>, StoreError> {
    let prefix = || Key::new(Table::Holders).text(connector.as_str()).text(name).text(value);
    let after = after.map(|lane| prefix().lane(lane));
    let lane_from = prefix().0.len();
    many(rows, &prefix(), after.as_ref(), limit, |key, _| lane_at(key, lane_from))
}

pub(super) fn waiting(rows: &dyn Rows, on: &Lane, limit: usize) -> Result<Vec<Lane>, StoreError> {
    let prefix = Key::new(Table::Waiting).lane(on);
    many(rows, &prefix, None, limit, |key, _| lane_at(key, prefix.0.len()))
}

pub(super) fn leavers(
    rows: &dyn Rows,
    connector: &ConnectorId,
    limit: usize,
) -> Result<Vec<Lane>, StoreError> {
    let prefix = Key::new(Table::Leavers).text(connector.as_str());
    let lane_from = prefix.0.len().saturating_add(TIME_BYTES);
    many(rows, &prefix, None, limit, |key, _| lane_at(key, lane_from))
}

pub(super) fn counts(rows: &dyn Rows, connector: &ConnectorId) -> Result<QueueCounts, StoreError> {
    let sum = sum(rows, connector)?;
    let leavers = Key::new(Table::Leavers).text(connector.as_str());
    let oldest = many(rows, &leavers, None, 1, |key, _| time_at(key, leavers.0.len()))?;
    Ok(QueueCounts { oldest_deprovision: oldest.first().copied(), ..sum })
}

pub(super) fn connector(
    rows: &dyn Rows,
    connector: &ConnectorId,
) -> Result<Option<ConnectorRecord>, StoreError> {
    one(rows, &Key::new(Table::Connectors).text(connector.as_str()))
}

pub(super) fn held(
    rows: &dyn Rows,
    connector: &ConnectorId,
    after: u64,
    limit: usize,
) -> Result<Vec<EventRecord>, StoreError> {
    let prefix = Key::new(Table::Held).text(connector.as_str());
    let after = Key::new(Table::Held).text(connector.as_str()).number(after);
    many(rows, &prefix, Some(&after), limit, |_, value| read(value))
}

pub(super) fn next_due(
    rows: &dyn Rows,
    connector: &ConnectorId,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let ready = Key::new(Table::Ready).text(connector.as_str());
    if !many(rows, &ready, None, 1, |_, _| Ok(()))?.is_empty() {
        return Ok(Some(DateTime::<Utc>::MIN_UTC));
    }
    let later = Key::new(Table::Later).text(connector.as_str());
    Ok(many(rows, &later, None, 1, |key, _| time_at(key, later.0.len()))?.first().copied())
}

const _: () =
    assert!((Class::Leaver as u8) < (Class::Removal as u8) && (Class::Removal as u8) < (Class::Other as u8));
