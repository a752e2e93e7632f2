//! The outbox in PostgreSQL, where several workers share it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use deadpool_postgres::Client;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_postgres::Row;
use uuid::Uuid;

use super::rows::time_at;
use super::{Batch, Claim, Claimed, Committed, HeldEvent, Loaded, OutboxStore, StoreError};
use crate::event::{Lane, Order, Subject};
use crate::id::{ConnectorId, EntitlementId, EventId, PersonId};
use crate::lane::{Attempt, ConnectorRecord, EventRecord, EventState, LaneRecord, QueueCounts};

mod claim;
mod commit;
mod options;
mod plan;
mod schema;
mod session;

use commit::{after, number};
pub use options::{PostgresOptions, PostgresSettingsError};
use schema::FORMAT;
use session::{Fault, Params, Sessions, Tries, give_back, params};

/// Parts of a connector's sums: writers of different parts do not wait for each other.
const PARTS: i16 = 16;

/// A store in a PostgreSQL database, for any number of processes at a time. Clones share connections.
///
/// Each process works on lanes of its own: a claim leases them (`FOR UPDATE SKIP LOCKED`), and what is written under a lease is refused
/// once somebody else took the lane over. Lanes of a process that died are taken over when their leases end. Leases are by the
/// database's clock, whatever those of workers say. When something is due, and for how long a create may still be carried out, is by
/// the clocks of workers: what one of them put off, another whose clock is ahead tries earlier by so much, and one whose clock is behind
/// later. A machine whose clock is further from the server's than [`PostgresOptions::clock_skew_max`] gets no connection.
///
/// Only a primary is written to, also where several hosts are named. Once a newer version has changed the tables, this one writes
/// nothing more: [`StoreError::NewerFormat`].
///
/// Lost connections are made anew, and what collided with others is tried again, each a few times within some seconds. Whether a commit
/// happened whose answer was lost is read back, so that it neither fails nor happens twice.
///
/// Needs PostgreSQL 12 or newer, a database in UTF-8, and sessions of its own (no pooler that parts them by transaction). Commits are
/// as durable as the server's `fsync` and `synchronous_commit` say, the latter being `on` where it was `off`; with asynchronous
/// replicas, a failover may lose what was acknowledged. Attributes lie in the tables in the clear: give its role to nobody else.
#[derive(Clone)]
pub struct PostgresStore(Arc<Shared>);

struct Shared {
    sessions: Arc<Sessions>,
    /// This store among all that are open.
    writer: Uuid,
    /// Number of the last transaction that was begun.
    commits: tokio::sync::Mutex<i64>,
    part: i16,
    /// Until when a claim does not wait for what others are writing.
    impatient: Mutex<HashMap<ConnectorId, Instant>>,
    leases_are_callers: bool,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("writer", &self.0.writer).finish_non_exhaustive()
    }
}

/// Where an event lies.
#[derive(Clone, Copy)]
#[repr(i16)]
enum State {
    Open,
    Closed,
    Held,
}

impl State {
    fn of(event: &EventRecord) -> Self {
        match &event.state {
            EventState::Held { .. } => Self::Held,
            state if state.is_closed() => Self::Closed,
            _ => Self::Open,
        }
    }
}

impl PostgresStore {
    /// Connects, makes the tables where they are missing and brings them up to date. Several processes may do so at once.
    ///
    /// # Errors
    /// Where the settings cannot be used, the server cannot be reached or refuses, or the tables are of a newer format.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let sessions = Arc::new(Sessions::new(&options)?);
        let mut tries = Tries::new();
        loop {
            let fault = match sessions.client().await {
                Ok(client) => {
                    let done = migrate(client, &options.schema);
                    match tokio::time::timeout(schema::MIGRATION_TIMEOUT, done).await {
                        Ok(Ok(())) => break,
                        Ok(Err(Fault::Locked)) => Fault::Collided("others use the tables".to_owned()),
                        Ok(Err(fault)) => fault,
                        Err(_) => Fault::Slow,
                    }
                }
                Err(fault) => fault,
            };
            tries.after(fault).await?;
        }
        let writer = Uuid::now_v7();
        // Of a commit of the first transaction, nobody could tell otherwise whether it is still on its way.
        const WRITER: &str = "INSERT INTO writers (id, commits) VALUES ($1, 0) ON CONFLICT DO NOTHING";
        sessions.rows(WRITER, params![writer]).await?;
        const GONE: &str = "DELETE FROM writers WHERE seen_at < now() - interval '30 days'";
        sessions.rows(GONE, params![]).await?;
        Ok(Self(Arc::new(Shared {
            sessions,
            writer,
            commits: tokio::sync::Mutex::new(0),
            part: fastrand::i16(..PARTS),
            impatient: Mutex::default(),
            leases_are_callers: options.leases_are_callers,
        })))
    }

    async fn rows(&self, sql: &'static str, params: Params) -> Result<Vec<Row>, StoreError> {
        self.0.sessions.rows(sql, params).await
    }

    /// Records in the first column.
    async fn records<T: DeserializeOwned>(
        &self,
        sql: &'static str,
        params: Params,
    ) -> Result<Vec<T>, StoreError> {
        self.rows(sql, params).await?.iter().map(|row| parse(row, 0)).collect()
    }

    /// Lanes in the first two columns. A row that names none is passed over.
    async fn named(&self, sql: &'static str, params: Params) -> Result<Vec<Lane>, StoreError> {
        Ok(self.rows(sql, params).await?.iter().filter_map(|row| lane_of(row, 0, 1).ok()).collect())
    }
}

async fn migrate(mut client: Client, schema: &str) -> Result<(), Fault> {
    let done = async {
        let transaction = client.transaction().await?;
        schema::migrate(&transaction, schema).await?;
        Ok(transaction.commit().await?)
    };
    let done: Result<(), Fault> = done.await;
    give_back(client, done.as_ref().err());
    done
}

/// A subject as the tables have it.
fn subject_of(lane: &Lane) -> String {
    match &lane.subject {
        Subject::Person(person) => format!("p{person}"),
        Subject::Group(group) => format!("g{group}"),
    }
}

/// The lane that two columns name.
fn lane_of(row: &Row, connector: usize, subject: usize) -> Result<Lane, StoreError> {
    let connector: &str = row.try_get(connector).map_err(StoreError::unreadable)?;
    let subject: &str = row.try_get(subject).map_err(StoreError::unreadable)?;
    let connector = ConnectorId::new(connector).map_err(StoreError::unreadable)?;
    let subject = if let Some(person) = subject.strip_prefix('p') {
        Subject::Person(PersonId::new(person).map_err(StoreError::unreadable)?)
    } else if let Some(group) = subject.strip_prefix('g') {
        Subject::Group(EntitlementId::new(group).map_err(StoreError::unreadable)?)
    } else {
        return Err(StoreError::unreadable("a row names no lane"));
    };
    Ok(Lane { connector, subject })
}

fn parse<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T, StoreError> {
    let text: &str = row.try_get(column).map_err(StoreError::unreadable)?;
    serde_json::from_str(text).map_err(StoreError::unreadable)
}

/// A lane and its events that wait, from the last two columns of a row.
fn loaded(row: &Row) -> Result<Loaded, StoreError> {
    let open: Vec<&str> = row.try_get(3).map_err(StoreError::unreadable)?;
    let open = open.into_iter().map(|text| serde_json::from_str(text).map_err(StoreError::unreadable));
    Ok(Loaded { record: parse(row, 2)?, open: open.collect::<Result<_, _>>()? })
}

fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn figure(row: &Row, column: usize) -> Result<u64, StoreError> {
    let figure: i64 = row.try_get(column).map_err(StoreError::unreadable)?;
    u64::try_from(figure).map_err(StoreError::unreadable)
}

fn time(row: &Row, column: usize) -> Result<Option<DateTime<Utc>>, StoreError> {
    let key: Option<&[u8]> = row.try_get(column).map_err(StoreError::unreadable)?;
    key.map(|key| time_at(key, 0)).transpose()
}

fn only(rows: &[Row]) -> Result<&Row, StoreError> {
    rows.first().ok_or_else(|| StoreError::unreadable("a row is missing"))
}

impl OutboxStore for PostgresStore {
    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        const SQL: &str =
            "UPDATE numbers SET next = next + $2 WHERE (SELECT expect_format($1)) RETURNING next - $2";
        figure(only(&self.rows(SQL, params![FORMAT, number(count)?]).await?)?, 0)
    }

    async fn commit(&self, batches: Vec<Batch>) -> Result<Vec<Committed>, StoreError> {
        let shared = Arc::clone(&self.0);
        let done = tokio::spawn(async move { shared.commit(&batches).await });
        done.await.unwrap_or_else(|error| Err(StoreError::failed(error)))
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        self.claim_due(claim).await
    }

    async fn release(&self, worker: u128) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM leases WHERE (SELECT expect_format($1)) AND worker = $2";
        self.rows(SQL, params![FORMAT, Uuid::from_u128(worker)]).await.map(drop)
    }

    async fn load(&self, lane: &Lane) -> Result<Option<Loaded>, StoreError> {
        self.load_all(vec![lane.clone()]).await.pop().unwrap_or(Ok(None))
    }

    async fn load_all(&self, lanes: Vec<Lane>) -> Vec<Result<Option<Loaded>, StoreError>> {
        // One statement, so that a lane and its events are of the same moment.
        const SQL: &str = "SELECT l.connector, l.subject, l.record, ARRAY(SELECT e.record FROM events e
                WHERE e.connector = l.connector AND e.subject = l.subject AND e.state = 0 ORDER BY e.sort)
            FROM unnest($1::text[], $2::text[]) w (connector, subject) JOIN lanes l USING (connector, subject)";
        let connectors: Vec<_> = lanes.iter().map(|lane| lane.connector.as_str().to_owned()).collect();
        let subjects: Vec<_> = lanes.iter().map(subject_of).collect();
        let rows = match self.rows(SQL, params![connectors, subjects]).await {
            Ok(rows) => rows,
            Err(error) => {
                let error = Arc::new(error);
                let errors = std::iter::repeat_with(|| Err(StoreError::Together(Arc::clone(&error))));
                return errors.take(lanes.len()).collect();
            }
        };
        let mut found = HashMap::new();
        for row in &rows {
            // Its names are those that were asked for.
            if let Ok(lane) = lane_of(row, 0, 1) {
                found.insert(lane, loaded(row));
            }
        }
        lanes.iter().map(|lane| found.remove(lane).transpose()).collect()
    }

    async fn event(&self, id: &EventId) -> Result<Option<EventRecord>, StoreError> {
        const SQL: &str = "SELECT record FROM events WHERE id = $1";
        Ok(self.records(SQL, params![id.as_str().to_owned()]).await?.pop())
    }

    async fn history(
        &self,
        lane: &Lane,
        after_order: Option<Order>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        const SQL: &str = "SELECT record FROM events WHERE connector = $1 AND subject = $2 AND sort > $3
            ORDER BY sort LIMIT $4";
        let connector = lane.connector.as_str().to_owned();
        self.records(SQL, params![connector, subject_of(lane), after(after_order), most(limit)]).await
    }

    async fn attempts(&self, seq: u64, after: u32, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        const SQL: &str =
            "SELECT record FROM attempts WHERE seq = $1 AND number > $2 ORDER BY number LIMIT $3";
        let after = i32::try_from(after).unwrap_or(i32::MAX);
        self.records(SQL, params![number(seq)?, after, most(limit)]).await
    }

    async fn lanes_of(&self, person: &PersonId) -> Result<Vec<Lane>, StoreError> {
        const SQL: &str = "SELECT connector, subject FROM lanes WHERE subject = $1 ORDER BY connector";
        // Nothing is missing from what is said of somebody's access.
        self.rows(SQL, params![format!("p{person}")]).await?.iter().map(|row| lane_of(row, 0, 1)).collect()
    }

    async fn lanes(
        &self,
        connector: &ConnectorId,
        after: Option<&Lane>,
        limit: usize,
    ) -> Result<Vec<LaneRecord>, StoreError> {
        const SQL: &str =
            "SELECT record FROM lanes WHERE connector = $1 AND subject > $2 ORDER BY subject LIMIT $3";
        let after = after.map(subject_of).unwrap_or_default();
        self.records(SQL, params![connector.as_str().to_owned(), after, most(limit)]).await
    }

    async fn holders(
        &self,
        connector: &ConnectorId,
        name: &str,
        value: &str,
        after: Option<&Lane>,
        limit: usize,
    ) -> Result<Vec<Lane>, StoreError> {
        const SQL: &str = "SELECT connector, subject FROM holds
            WHERE connector = $1 AND name = $2 AND value = $3 AND subject > $4 ORDER BY subject LIMIT $5";
        let after = after.map(subject_of).unwrap_or_default();
        self.named(
            SQL,
            params![connector.as_str().to_owned(), name.to_owned(), value.to_owned(), after, most(limit)],
        )
        .await
    }

    async fn waiting(&self, on: &Lane, limit: usize) -> Result<Vec<Lane>, StoreError> {
        const SQL: &str = "SELECT connector, subject FROM lanes
            WHERE waits_connector = $1 AND waits_subject = $2 ORDER BY connector, subject LIMIT $3";
        self.named(SQL, params![on.connector.as_str().to_owned(), subject_of(on), most(limit)]).await
    }

    async fn leavers(&self, connector: &ConnectorId, limit: usize) -> Result<Vec<Lane>, StoreError> {
        const SQL: &str = "SELECT connector, subject FROM lanes
            WHERE connector = $1 AND oldest IS NOT NULL ORDER BY oldest, subject LIMIT $2";
        self.named(SQL, params![connector.as_str().to_owned(), most(limit)]).await
    }

    async fn counts(&self, connector: &ConnectorId) -> Result<QueueCounts, StoreError> {
        const SQL: &str = "SELECT coalesce(sum(provisioning_queued), 0)::bigint,
                coalesce(sum(provisioning_failed), 0)::bigint, coalesce(sum(deprovisioning_queued), 0)::bigint,
                coalesce(sum(deprovisioning_failed), 0)::bigint, coalesce(sum(held), 0)::bigint,
                coalesce(sum(active), 0)::bigint,
                (SELECT oldest FROM lanes WHERE connector = $1 AND oldest IS NOT NULL ORDER BY oldest LIMIT 1)
            FROM counts WHERE connector = $1";
        let rows = self.rows(SQL, params![connector.as_str().to_owned()]).await?;
        let row = only(&rows)?;
        // Rows that were damaged must not keep others from being worked on: a sum is never below nothing.
        let figure = |column| row.try_get::<_, i64>(column).map(|sum| u64::try_from(sum).unwrap_or_default());
        let figure = |column| figure(column).map_err(StoreError::unreadable);
        Ok(QueueCounts {
            provisioning_queued: figure(0)?,
            provisioning_failed: figure(1)?,
            deprovisioning_queued: figure(2)?,
            deprovisioning_failed: figure(3)?,
            held: figure(4)?,
            active: figure(5)?,
            oldest_deprovision: time(row, 6).unwrap_or_default(),
        })
    }

    async fn connector(&self, connector: &ConnectorId) -> Result<Option<ConnectorRecord>, StoreError> {
        const SQL: &str = "SELECT record FROM connectors WHERE connector = $1";
        Ok(self.records(SQL, params![connector.as_str().to_owned()]).await?.pop())
    }

    async fn held(
        &self,
        connector: &ConnectorId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HeldEvent>, StoreError> {
        const SQL: &str = "SELECT seq, record FROM events WHERE connector = $1 AND state = 2 AND seq > $2
            ORDER BY seq LIMIT $3";
        let rows =
            self.rows(SQL, params![connector.as_str().to_owned(), number(after)?, most(limit)]).await?;
        rows.iter().map(|row| Ok((figure(row, 0)?, parse(row, 1)))).collect()
    }

    async fn offboardings(
        &self,
        after: Option<&PersonId>,
        limit: usize,
    ) -> Result<Vec<(PersonId, u64)>, StoreError> {
        const SQL: &str = "SELECT person, seq FROM offboardings WHERE person > $1 ORDER BY person LIMIT $2";
        let after = after.map(PersonId::to_string).unwrap_or_default();
        let rows = self.rows(SQL, params![after, most(limit)]).await?;
        let open = rows.iter().map(|row| {
            let person: &str = row.try_get(0).map_err(StoreError::unreadable)?;
            Ok((PersonId::new(person).map_err(StoreError::unreadable)?, figure(row, 1)?))
        });
        open.collect()
    }

    async fn end_offboarding(&self, person: &PersonId, seq: u64) -> Result<(), StoreError> {
        const SQL: &str =
            "DELETE FROM offboardings WHERE (SELECT expect_format($1)) AND person = $2 AND seq = $3";
        self.rows(SQL, params![FORMAT, person.to_string(), number(seq)?]).await.map(drop)
    }

    async fn next_due(
        &self,
        connector: &ConnectorId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        // What is leased is looked at when its lease ends, unless it is given back before.
        const SQL: &str = "SELECT
            EXISTS (SELECT 1 FROM lanes l WHERE l.connector = $1 AND l.class IS NOT NULL AND l.due IS NULL
                AND NOT EXISTS (SELECT 1 FROM leases s WHERE s.connector = l.connector AND s.subject = l.subject)),
            (SELECT l.due FROM lanes l WHERE l.connector = $1 AND l.due IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM leases s WHERE s.connector = l.connector AND s.subject = l.subject)
                ORDER BY l.due LIMIT 1),
            (SELECT ceil(extract(epoch FROM min(s.until) - coalesce($2, clock_timestamp())) * 1000)::bigint
                FROM leases s JOIN lanes l USING (connector, subject)
                WHERE s.connector = $1 AND l.class IS NOT NULL)";
        let rows = self.rows(SQL, params![connector.as_str().to_owned(), self.now_of(now)]).await?;
        let row = only(&rows)?;
        if row.try_get(0).map_err(StoreError::unreadable)? {
            return Ok(Some(DateTime::<Utc>::MIN_UTC));
        }
        // A claim moves what says no time to what is ready, as it does with what was put off by a clock that was wrong.
        let later = time(row, 1).unwrap_or(Some(DateTime::<Utc>::MIN_UTC));
        let left_ms: Option<i64> = row.try_get(2).map_err(StoreError::unreadable)?;
        let leased = left_ms.map(|left_ms| {
            let left = TimeDelta::try_milliseconds(left_ms).unwrap_or(TimeDelta::MAX);
            now.checked_add_signed(left).unwrap_or(DateTime::<Utc>::MAX_UTC)
        });
        Ok(later.into_iter().chain(leased).min())
    }

    fn is_shared(&self) -> bool {
        true
    }
}
