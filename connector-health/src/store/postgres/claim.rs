//! Leasing what is due.

use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use super::schema::FORMAT;
use super::session::{Fault, params};
use super::{PostgresStore, lane_of, most};
use crate::id::ConnectorId;
use crate::store::rows::time_key;
use crate::store::{Claim, Claimed, Lease, StoreError};

/// Lanes that became due and are moved to those that are ready at a time.
const PROMOTED_MAX: i64 = 4096;
/// How often a claim is tried again for lanes that others had locked.
const CLAIMS_MAX: usize = 64;
/// How long a claim waits for what others are writing.
const CLAIM_LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// Whoever had written for longer is not waited for again before: only what is free is claimed meanwhile.
const CLAIM_LOCK_PAUSE: Duration = Duration::from_secs(5);
/// Longest lease.
const LEASE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl PostgresStore {
    /// Leases lanes that are due, as [`OutboxStore::claim`](crate::store::OutboxStore::claim) has it.
    pub(super) async fn claim_due(&self, claim: Claim) -> Result<Claimed, StoreError> {
        let mut claimed = Claimed::default();
        let mut unreadable = None;
        for _ in 0..CLAIMS_MAX {
            let wanted = claim.limit.saturating_sub(claimed.leases.len());
            if wanted == 0 {
                break;
            }
            let Some(free) = self.claim_with(CLAIM_FREE, PROMOTED_MAX, &claim, wanted).await? else {
                claimed.is_contended = true;
                break;
            };
            let (is_enough, is_whole) = (free.is_enough, free.unreadable.is_none());
            claimed.leases.extend(free.leases);
            unreadable = unreadable.or(free.unreadable);
            match (is_enough, is_whole) {
                (true, true) => break,
                (true, false) => continue,
                (false, _) => {}
            }
            // Fewer than asked for may mean that others are writing what is left. One at a time: who waits holds nothing that others
            // wait for.
            let locked = match self.is_patient(&claim.connector) {
                true => self.claim_with(CLAIM_LOCKED, 1, &claim, 1).await?,
                false => None,
            };
            let Some(locked) = locked else {
                self.lose_patience(&claim.connector);
                claimed.is_contended = true;
                break;
            };
            if locked.leases.is_empty() && locked.unreadable.is_none() {
                break;
            }
            claimed.leases.extend(locked.leases);
            unreadable = unreadable.or(locked.unreadable);
        }
        match unreadable {
            Some(error) if claimed.leases.is_empty() => Err(error),
            _ => Ok(claimed),
        }
    }

    /// Leases what is due; nothing where that is locked for longer than a claim waits.
    async fn claim_with(
        &self,
        (promote, lease): (&'static str, &'static str),
        promoted_max: i64,
        claim: &Claim,
        limit: usize,
    ) -> Result<Option<Found>, StoreError> {
        let connector = claim.connector.as_str().to_owned();
        let patience = CLAIM_LOCK_TIMEOUT.as_millis().to_string();
        let (due, latest) = (time_key(claim.due), time_key(claim.due_latest));
        let promote_params = params![FORMAT, patience.clone(), connector.clone(), due, promoted_max, latest];
        let (class, limit, worker) = (claim.class as i16, most(limit), Uuid::from_u128(claim.worker));
        let lasts = claim.until.signed_duration_since(claim.now).to_std().unwrap_or_default().min(LEASE_MAX);
        let lasts_s = lasts.as_secs_f64();
        let now = self.now_of(claim.now);
        let lease_params = params![FORMAT, patience, connector, class, now, limit, worker, lasts_s];
        let sessions = &self.0.sessions;
        let rows = match sessions.try_rows(promote, promote_params).await {
            Ok(_) => sessions.try_rows(lease, lease_params).await,
            Err(fault) => Err(fault),
        };
        let rows = match rows {
            Err(Fault::Locked) => return Ok(None),
            rows => rows?,
        };
        let mut found = Found::default();
        for row in &rows {
            let token = row.try_get::<_, i64>(2).map_err(StoreError::unreadable);
            match lane_of(row, 0, 1).and_then(|lane| Ok((lane, token?))) {
                Ok((lane, token)) => {
                    found.leases.push(Lease { lane, token: token.unsigned_abs(), until: claim.until });
                }
                Err(error) => found.unreadable = Some(error),
            }
        }
        found.is_enough = rows.len() as u64 >= limit.unsigned_abs();
        Ok(Some(found))
    }

    /// The time for leases, where it is not the database's.
    pub(super) fn now_of(&self, now: DateTime<Utc>) -> Option<SystemTime> {
        self.0.leases_are_callers.then(|| now.into())
    }

    /// Whether a claim may wait for what others are writing.
    fn is_patient(&self, connector: &ConnectorId) -> bool {
        let mut impatient = self.0.impatient.lock().unwrap_or_else(PoisonError::into_inner);
        impatient.retain(|_, until| *until > Instant::now());
        !impatient.contains_key(connector)
    }

    fn lose_patience(&self, connector: &ConnectorId) {
        let until = Instant::now() + CLAIM_LOCK_PAUSE;
        let mut impatient = self.0.impatient.lock().unwrap_or_else(PoisonError::into_inner);
        impatient.entry(connector.clone()).or_insert(until);
    }
}

/// What one statement claimed.
#[derive(Default)]
struct Found {
    leases: Vec<Lease>,
    /// Whether as many rows were found as were asked for.
    is_enough: bool,
    /// A row names no lane: it is leased like the others, and so out of their way.
    unreadable: Option<StoreError>,
}

/// Statements of a claim: one moves what became due to what is ready, the other leases. With `SKIP LOCKED`, or waiting for what is
/// locked for as long as `$2` says.
macro_rules! claiming {
    ($locked:literal) => {
        (
            concat!(
                "WITH late AS (
                    SELECT connector, subject FROM lanes
                    WHERE (SELECT expect_format($1) AND set_config('lock_timeout', $2, true) IS NOT NULL)
                        AND connector = $3 AND due <= $4 ORDER BY due LIMIT $5 FOR UPDATE ",
                $locked,
                "), wrong AS (
                    SELECT connector, subject FROM lanes
                    WHERE (SELECT set_config('lock_timeout', $2, true) IS NOT NULL)
                        AND connector = $3 AND due > $6 ORDER BY due LIMIT $5 FOR UPDATE ",
                $locked,
                ") UPDATE lanes SET due = NULL WHERE (connector, subject) IN (
                    SELECT connector, subject FROM late UNION ALL SELECT connector, subject FROM wrong)"
            ),
            concat!(
                "WITH free AS (
                    SELECT l.connector, l.subject, l.class, l.sort FROM lanes l
                    WHERE (SELECT expect_format($1) AND set_config('lock_timeout', $2, true) IS NOT NULL)
                        AND l.connector = $3 AND l.class IS NOT NULL AND l.class <= $4 AND l.due IS NULL
                        AND NOT EXISTS (SELECT 1 FROM leases s WHERE s.connector = l.connector
                            AND s.subject = l.subject AND s.until > coalesce($5, clock_timestamp()))
                    ORDER BY l.connector, l.class, l.sort, l.subject LIMIT $6 FOR UPDATE OF l ",
                $locked,
                "), given AS (
                    INSERT INTO leases AS s (connector, subject, worker, token, until)
                    SELECT connector, subject, $7, nextval('lease_tokens'),
                        coalesce($5, clock_timestamp()) + $8 * interval '1 second' FROM free
                    ON CONFLICT (connector, subject) DO UPDATE
                    SET worker = excluded.worker, token = excluded.token, until = excluded.until
                    WHERE s.until <= coalesce($5, clock_timestamp())
                    RETURNING connector, subject, token)
                SELECT given.connector, given.subject, given.token FROM given JOIN free USING (connector, subject)
                ORDER BY free.class, free.sort, free.subject"
            ),
        )
    };
}

const CLAIM_FREE: (&str, &str) = claiming!("SKIP LOCKED");
const CLAIM_LOCKED: (&str, &str) = claiming!("");
