//! The transaction that writes batches.

use std::collections::{BTreeMap, HashMap, HashSet};

use deadpool_postgres::{Client, Transaction};
use futures::try_join;
use serde::Serialize;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{IsolationLevel, Row};

use super::plan::{Plan, Stored, Unreadable, plan};
use super::schema::FORMAT;
use super::session::{Fault, Tries, give_back, params};
use super::{Shared, State, lane_of, parse, subject_of};
use crate::event::{Lane, Order};
use crate::id::{ConnectorId, EventId, PersonId};
use crate::lane::{ConnectorRecord, LaneRecord, QueueCounts};
use crate::store::rows::{order_key, time_key};
use crate::store::{Batch, Committed, StoreError};

/// About how many bytes one statement writes at most, a single record excepted.
const STATEMENT_BYTES: usize = 8 << 20;

/// Why a transaction did not happen, or is not known to have.
enum Broken {
    /// It did not.
    Before(Fault),
    /// Somebody wrote what was not there to be locked.
    Overtaken,
    /// The answer to the commit is missing.
    Commit(Fault, Vec<Committed>),
    /// What is stored, or is to be, is not what it should be.
    Store(StoreError),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Before(fault)
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Shared {
    /// Writes batches, whatever happens to the connection, once.
    pub(super) async fn commit(&self, batches: &[Batch]) -> Result<Vec<Committed>, StoreError> {
        // One transaction of this store at a time, so that its number tells which was the last.
        let mut number = self.commits.lock().await;
        let mut tries = Tries::new();
        loop {
            *number = number.saturating_add(1);
            let fault = match self.try_commit(batches, *number).await {
                Ok(done) => return Ok(done),
                Err(Broken::Before(fault)) => fault,
                Err(Broken::Overtaken) => Fault::Collided("others write the same all the time".to_owned()),
                Err(Broken::Store(error)) => return Err(error),
                Err(Broken::Commit(fault, done)) => {
                    if self.last_commit().await? == *number {
                        return Ok(done);
                    }
                    fault
                }
            };
            tries.after(fault).await?;
        }
    }

    /// The number of the last transaction of this store that happened. Waits for one that the server is still at.
    async fn last_commit(&self) -> Result<i64, StoreError> {
        const SQL: &str = "INSERT INTO writers (id, commits) VALUES ($1, 0)
            ON CONFLICT (id) DO UPDATE SET seen_at = now() RETURNING commits";
        let rows = self.sessions.rows(SQL, params![self.writer]).await?;
        let row = rows.first().ok_or_else(|| StoreError::unreadable("no answer"))?;
        row.try_get(0).map_err(StoreError::unreadable)
    }

    async fn try_commit(&self, batches: &[Batch], number: i64) -> Result<Vec<Committed>, Broken> {
        let mut client = self.sessions.client().await?;
        let done = self.transact(&mut client, batches, number).await;
        let fault = match &done {
            Err(Broken::Before(fault) | Broken::Commit(fault, _)) => Some(fault),
            Err(Broken::Overtaken | Broken::Store(_)) | Ok(_) => None,
        };
        give_back(client, fault);
        done
    }

    async fn transact(
        &self,
        client: &mut Client,
        batches: &[Batch],
        number: i64,
    ) -> Result<Vec<Committed>, Broken> {
        let begin = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start();
        let statements = Statements { shared: self, transaction: self.sessions.within(begin).await? };
        // Whoever changes the tables waits for this transaction, or this one sees that they were changed.
        const SQL: &str = "INSERT INTO writers (id, commits)
            SELECT $1::uuid, $2::bigint WHERE (SELECT expect_format($3))
            ON CONFLICT (id) DO UPDATE SET commits = excluded.commits, seen_at = now()";
        statements.run(SQL, &[&self.writer, &number, &FORMAT]).await?;
        let mut stored = statements.lock(batches).await?;
        let plan = plan(&mut stored, batches);
        statements.write(&plan, self.part).await?;
        match self.sessions.within(statements.transaction.commit()).await {
            Ok(()) => Ok(plan.done),
            // It says that it did not.
            Err(fault @ (Fault::Collided(_) | Fault::Refused { .. } | Fault::OtherFormat(_))) => {
                Err(Broken::Before(fault))
            }
            Err(fault) => Err(Broken::Commit(fault, plan.done)),
        }
    }
}

struct Statements<'a> {
    shared: &'a Shared,
    transaction: Transaction<'a>,
}

impl Statements<'_> {
    async fn run(&self, sql: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Fault> {
        let running = async {
            let statement = self.transaction.prepare_cached(sql).await?;
            self.transaction.execute(&statement, params).await
        };
        self.shared.sessions.within(running).await
    }

    async fn rows(&self, sql: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Fault> {
        let running = async {
            let statement = self.transaction.prepare_cached(sql).await?;
            self.transaction.query(&statement, params).await
        };
        self.shared.sessions.within(running).await
    }

    /// Reads all that batches touch. Lanes, leases and connectors stay as they are until the transaction ends; events never change
    /// their place.
    async fn lock(&self, batches: &[Batch]) -> Result<Stored, Broken> {
        // Asked one after the other, without waiting for the answers in between.
        let ((lanes, bad_lanes), leases, (connectors, bad_connectors), (places, bad_events)) = try_join!(
            self.lock_lanes(batches),
            self.lock_leases(batches),
            self.lock_connectors(batches),
            self.read_places(batches),
        )?;
        let unreadable = Unreadable { lanes: bad_lanes, connectors: bad_connectors, events: bad_events };
        Ok(Stored { lanes, leases, connectors, places, unreadable })
    }

    /// Those that are there, and those that cannot be read.
    async fn lock_lanes(
        &self,
        batches: &[Batch],
    ) -> Result<(HashMap<Lane, LaneRecord>, HashSet<Lane>), Broken> {
        let (mut known, mut unreadable) = (HashMap::new(), HashSet::new());
        let (connectors, subjects) =
            names(batches.iter().flat_map(|batch| &batch.lanes).map(|lane| &lane.lane));
        if !connectors.is_empty() {
            const SQL: &str = "SELECT l.connector, l.subject, l.record FROM lanes l
                JOIN unnest($1::text[], $2::text[]) w (connector, subject) USING (connector, subject)
                ORDER BY l.connector, l.subject FOR UPDATE OF l";
            for row in self.rows(SQL, &[&connectors, &subjects]).await? {
                let lane = lane_of(&row, 0, 1)?;
                match parse(&row, 2) {
                    Ok(record) => drop(known.insert(lane, record)),
                    Err(_) => drop(unreadable.insert(lane)),
                }
            }
        }
        Ok((known, unreadable))
    }

    async fn lock_leases(&self, batches: &[Batch]) -> Result<HashMap<Lane, u64>, Broken> {
        let mut known = HashMap::new();
        let leases = batches.iter().flat_map(|batch| batch.under.iter().chain(&batch.released));
        let (connectors, subjects) = names(leases.map(|lease| &lease.lane));
        if !connectors.is_empty() {
            const SQL: &str = "SELECT s.connector, s.subject, s.token FROM leases s
                JOIN unnest($1::text[], $2::text[]) w (connector, subject) USING (connector, subject)
                ORDER BY s.connector, s.subject FOR UPDATE OF s";
            for row in self.rows(SQL, &[&connectors, &subjects]).await? {
                let token: i64 = row.try_get(2).map_err(StoreError::unreadable)?;
                known.insert(lane_of(&row, 0, 1)?, token.unsigned_abs());
            }
        }
        Ok(known)
    }

    async fn lock_connectors(
        &self,
        batches: &[Batch],
    ) -> Result<(HashMap<ConnectorId, ConnectorRecord>, HashSet<ConnectorId>), Broken> {
        let (mut known, mut unreadable) = (HashMap::new(), HashSet::new());
        let connectors = batches.iter().flat_map(|batch| &batch.connectors);
        let connectors: Vec<_> = connectors.map(|record| record.connector.as_str()).collect();
        if !connectors.is_empty() {
            const SQL: &str = "SELECT connector, record FROM connectors WHERE connector = ANY($1) ORDER BY connector FOR UPDATE";
            for row in self.rows(SQL, &[&connectors]).await? {
                let connector = ConnectorId::new(column::<&str>(&row, 0)?).map_err(StoreError::unreadable)?;
                match parse(&row, 1) {
                    Ok(record) => drop(known.insert(connector, record)),
                    Err(_) => drop(unreadable.insert(connector)),
                }
            }
        }
        Ok((known, unreadable))
    }

    async fn read_places(
        &self,
        batches: &[Batch],
    ) -> Result<(HashMap<EventId, (Lane, Vec<u8>)>, HashSet<EventId>), Broken> {
        let (mut known, mut unreadable) = (HashMap::new(), HashSet::new());
        let ids: Vec<_> =
            batches.iter().flat_map(|batch| &batch.events).map(|event| event.event.id().as_str()).collect();
        if !ids.is_empty() {
            const SQL: &str = "SELECT connector, subject, id, sort FROM events WHERE id = ANY($1)";
            for row in self.rows(SQL, &[&ids]).await? {
                let (id, sort): (&str, &[u8]) = (column(&row, 2)?, column(&row, 3)?);
                let id = EventId::new(id).map_err(StoreError::unreadable)?;
                match lane_of(&row, 0, 1) {
                    Ok(lane) => drop(known.insert(id, (lane, sort.to_vec()))),
                    Err(_) => drop(unreadable.insert(id)),
                }
            }
        }
        Ok((known, unreadable))
    }

    async fn write(&self, plan: &Plan, part: i16) -> Result<(), Broken> {
        try_join!(
            self.write_lanes(plan),
            self.write_events(plan),
            self.write_offboardings(plan),
            self.write_attempts(plan),
            self.write_connectors(plan),
            self.write_holds(plan),
            self.write_counts(plan, part),
            self.release(plan),
        )?;
        Ok(())
    }

    async fn write_connectors(&self, plan: &Plan) -> Result<(), Broken> {
        for (connector, change) in &plan.connectors {
            const SQL: &str = "INSERT INTO connectors AS c (connector, version, record) VALUES ($1, $2, $3)
                ON CONFLICT (connector) DO UPDATE SET version = excluded.version, record = excluded.record
                WHERE c.version = $4";
            let before = change.before.as_ref().map_or(0, |before| before.version);
            let (version, before) = (number(change.after.version)?, number(before)?);
            let record = json(&change.after)?;
            all(1, self.run(SQL, &[&connector.as_str(), &version, &record, &before]).await?)?;
        }
        Ok(())
    }

    async fn release(&self, plan: &Plan) -> Result<(), Broken> {
        if !plan.released.is_empty() {
            const SQL: &str = "DELETE FROM leases s
                USING unnest($1::text[], $2::text[]) w (connector, subject)
                WHERE s.connector = w.connector AND s.subject = w.subject";
            let (connectors, subjects) = names(plan.released.iter().map(|lease| &lease.lane));
            self.run(SQL, &[&connectors, &subjects]).await?;
        }
        Ok(())
    }

    async fn write_lanes(&self, plan: &Plan) -> Result<(), Broken> {
        const FRESH: &str = "INSERT INTO lanes
            (connector, subject, version, class, sort, due, oldest, waits_connector, waits_subject, record)
            SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::smallint[], $5::bytea[], $6::bytea[],
                $7::bytea[], $8::text[], $9::text[], $10::text[])
            ON CONFLICT DO NOTHING";
        const KNOWN: &str = "UPDATE lanes l SET version = w.version, class = w.class, sort = w.sort, due = w.due,
                oldest = w.oldest, waits_connector = w.waits_connector, waits_subject = w.waits_subject,
                record = w.record
            FROM unnest($1::text[], $2::text[], $3::bigint[], $4::smallint[], $5::bytea[], $6::bytea[],
                $7::bytea[], $8::text[], $9::text[], $10::text[])
                w (connector, subject, version, class, sort, due, oldest, waits_connector, waits_subject, record)
            WHERE l.connector = w.connector AND l.subject = w.subject";
        for (sql, is_fresh) in [(FRESH, true), (KNOWN, false)] {
            let mut written = Vec::new();
            for change in plan.lanes.values().filter(|change| change.before.is_none() == is_fresh) {
                written.push((json(&change.after)?, &change.after));
            }
            for some in portions(&written, |(record, _)| record.len()) {
                let (connectors, subjects) = names(some.iter().map(|(_, lane)| &lane.lane));
                let versions = some.iter().map(|(_, lane)| number(lane.version));
                let versions = versions.collect::<Result<Vec<_>, _>>()?;
                let places: Vec<_> = some.iter().map(|(_, lane)| lane.place).collect();
                let class: Vec<_> =
                    places.iter().map(|place| place.map(|place| place.class as i16)).collect();
                let sort: Vec<_> =
                    places.iter().map(|place| place.map(|place| order_key(place.order))).collect();
                let due: Vec<_> = places.iter().map(|place| place.and_then(|place| place.due_at)).collect();
                let due: Vec<_> = due.into_iter().map(|due| due.map(time_key)).collect();
                let oldest: Vec<_> =
                    some.iter().map(|(_, lane)| lane.counts.oldest_deprovision.map(time_key)).collect();
                let waits: Vec<_> = some.iter().map(|(_, lane)| lane.waits_for.as_ref()).collect();
                let waits_connector: Vec<_> =
                    waits.iter().map(|on| on.map(|on| on.connector.as_str())).collect();
                let waits_subject: Vec<_> = waits.iter().map(|on| on.map(subject_of)).collect();
                let records: Vec<_> = some.iter().map(|(record, _)| record.as_str()).collect();
                let params: [&(dyn ToSql + Sync); 10] = [
                    &connectors,
                    &subjects,
                    &versions,
                    &class,
                    &sort,
                    &due,
                    &oldest,
                    &waits_connector,
                    &waits_subject,
                    &records,
                ];
                all(some.len(), self.run(sql, &params).await?)?;
            }
        }
        Ok(())
    }

    async fn write_events(&self, plan: &Plan) -> Result<(), Broken> {
        const SQL: &str = "INSERT INTO events AS e (id, connector, subject, sort, seq, state, record)
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::smallint[],
                $7::text[])
            ON CONFLICT (id) DO UPDATE SET state = excluded.state, record = excluded.record
            WHERE e.connector = excluded.connector AND e.subject = excluded.subject AND e.sort = excluded.sort";
        let mut written = Vec::new();
        for event in plan.events.values() {
            written.push((json(event)?, event));
        }
        for some in portions(&written, |(record, _)| record.len()) {
            let ids: Vec<_> = some.iter().map(|(_, event)| event.event.id().as_str()).collect();
            let (connectors, subjects) = names(some.iter().map(|(_, event)| event.event.lane()));
            let sort: Vec<_> = some.iter().map(|(_, event)| order_key(event.order)).collect();
            let seq = some.iter().map(|(_, event)| number(event.order.seq)).collect::<Result<Vec<_>, _>>()?;
            let states: Vec<_> = some.iter().map(|(_, event)| State::of(event) as i16).collect();
            let records: Vec<_> = some.iter().map(|(record, _)| record.as_str()).collect();
            let params: [&(dyn ToSql + Sync); 7] =
                [&ids, &connectors, &subjects, &sort, &seq, &states, &records];
            all(some.len(), self.run(SQL, &params).await?)?;
        }
        Ok(())
    }

    async fn write_offboardings(&self, plan: &Plan) -> Result<(), Broken> {
        const SQL: &str =
            "INSERT INTO offboardings AS o (person, seq) SELECT * FROM unnest($1::text[], $2::bigint[])
            ON CONFLICT (person) DO UPDATE SET seq = excluded.seq WHERE o.seq < excluded.seq";
        if !plan.left.is_empty() {
            let people: Vec<_> = plan.left.keys().map(PersonId::as_str).collect();
            let seqs = plan.left.values().map(|seq| number(*seq)).collect::<Result<Vec<_>, _>>()?;
            self.run(SQL, &[&people, &seqs]).await?;
        }
        Ok(())
    }

    async fn write_attempts(&self, plan: &Plan) -> Result<(), Broken> {
        const SQL: &str = "INSERT INTO attempts (seq, number, record)
            SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[])
            ON CONFLICT (seq, number) DO UPDATE SET record = excluded.record";
        let mut written = Vec::new();
        for (key, attempt) in &plan.attempts {
            written.push((json(attempt)?, key));
        }
        for some in portions(&written, |(record, _)| record.len()) {
            let seq = some.iter().map(|(_, (seq, _))| number(*seq)).collect::<Result<Vec<_>, _>>()?;
            let numbers = some.iter().map(|(_, (_, number))| i32::try_from(*number));
            let numbers = numbers.collect::<Result<Vec<_>, _>>().map_err(StoreError::unreadable)?;
            let records: Vec<_> = some.iter().map(|(record, _)| record.as_str()).collect();
            self.run(SQL, &[&seq, &numbers, &records]).await?;
        }
        Ok(())
    }

    async fn write_holds(&self, plan: &Plan) -> Result<(), Broken> {
        const GONE: &str = "DELETE FROM holds h
            USING unnest($1::text[], $2::text[], $3::text[], $4::text[]) w (connector, name, value, subject)
            WHERE h.connector = w.connector AND h.name = w.name AND h.value = w.value AND h.subject = w.subject";
        const NEW: &str = "INSERT INTO holds (connector, name, value, subject)
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING";
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        let nothing = std::collections::BTreeSet::new();
        for (lane, change) in &plan.lanes {
            let before = change.before.as_ref().map_or(&nothing, |before| &before.holds);
            gone.extend(before.difference(&change.after.holds).map(|held| (lane, held)));
            new.extend(change.after.holds.difference(before).map(|held| (lane, held)));
        }
        for (sql, changed) in [(GONE, gone), (NEW, new)] {
            for some in portions(&changed, |(_, (name, value))| name.len().saturating_add(value.len())) {
                let (connectors, subjects) = names(some.iter().map(|(lane, _)| *lane));
                let held: Vec<_> = some.iter().map(|(_, (name, _))| name.as_str()).collect();
                let values: Vec<_> = some.iter().map(|(_, (_, value))| value.as_str()).collect();
                self.run(sql, &[&connectors, &held, &values, &subjects]).await?;
            }
        }
        Ok(())
    }

    async fn write_counts(&self, plan: &Plan, part: i16) -> Result<(), Broken> {
        const SQL: &str =
            "INSERT INTO counts AS c (connector, part, provisioning_queued, provisioning_failed,
                deprovisioning_queued, deprovisioning_failed, held, active)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (connector, part) DO UPDATE SET
                provisioning_queued = c.provisioning_queued + excluded.provisioning_queued,
                provisioning_failed = c.provisioning_failed + excluded.provisioning_failed,
                deprovisioning_queued = c.deprovisioning_queued + excluded.deprovisioning_queued,
                deprovisioning_failed = c.deprovisioning_failed + excluded.deprovisioning_failed,
                held = c.held + excluded.held, active = c.active + excluded.active";
        let mut shifts: BTreeMap<&ConnectorId, [i64; 6]> = BTreeMap::new();
        for (lane, change) in &plan.lanes {
            let old = change.before.as_ref().map(|before| before.counts).unwrap_or_default();
            let (old, new) = (figures(old)?, figures(change.after.counts)?);
            let shift = shifts.entry(&lane.connector).or_default();
            for (shift, (old, new)) in shift.iter_mut().zip(old.into_iter().zip(new)) {
                *shift = shift.saturating_sub(old).saturating_add(new);
            }
        }
        for (connector, [queued, failed, leaving, leaving_failed, held, active]) in shifts {
            if [queued, failed, leaving, leaving_failed, held, active] != [0; 6] {
                let connector = connector.as_str();
                let params: [&(dyn ToSql + Sync); 8] =
                    [&connector, &part, &queued, &failed, &leaving, &leaving_failed, &held, &active];
                self.run(SQL, &params).await?;
            }
        }
        Ok(())
    }
}

fn column<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(StoreError::unreadable)
}

fn figures(counts: QueueCounts) -> Result<[i64; 6], StoreError> {
    Ok([
        number(counts.provisioning_queued)?,
        number(counts.provisioning_failed)?,
        number(counts.deprovisioning_queued)?,
        number(counts.deprovisioning_failed)?,
        number(counts.held)?,
        number(counts.active)?,
    ])
}

fn names<'a>(lanes: impl Iterator<Item = &'a Lane>) -> (Vec<&'a str>, Vec<String>) {
    lanes.map(|lane| (lane.connector.as_str(), subject_of(lane))).unzip()
}

/// A number as the server has them.
pub(super) fn number(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(StoreError::unreadable)
}

fn json(record: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(StoreError::unreadable)
}

/// Whether as many rows were written as there were to be.
fn all(wanted: usize, written: u64) -> Result<(), Broken> {
    if written == wanted as u64 { Ok(()) } else { Err(Broken::Overtaken) }
}

/// Parts of which each is written by one statement.
fn portions<T>(rows: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut portions = Vec::new();
    let (mut from, mut size) = (0, 0_usize);
    for (at, row) in rows.iter().enumerate() {
        let more = bytes(row);
        if at > from && size.saturating_add(more) > STATEMENT_BYTES {
            portions.extend(rows.get(from..at));
            (from, size) = (at, 0);
        }
        size = size.saturating_add(more);
    }
    portions.extend(rows.get(from..).filter(|rest| !rest.is_empty()));
    portions
}

/// Place of an event after which nothing is left out.
pub(super) fn after(order: Option<Order>) -> Vec<u8> {
    order.map(order_key).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_records_are_written_in_parts_and_none_is_left_out() {
        let half = STATEMENT_BYTES / 2;
        let rows = [1, half, half, 3 * STATEMENT_BYTES, 2, 2];
        let parts = portions(&rows, |row| *row);
        assert_eq!(parts, [&[1, half][..], &[half][..], &[3 * STATEMENT_BYTES][..], &[2, 2][..]]);
        assert!(portions(&[0; 0], |row| *row).is_empty());
    }
}
