//! How much a key may ask for, and how much of what all share a tenant may take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Problem;
use crate::id::TenantId;
use crate::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};

/// Most events of one tenant that wait for the disk at the same time; further ones wait in a line of the tenant's own. A tenant that sends
/// without end takes no more of the common line than this.
pub const TENANT_EVENTS_IN_FLIGHT_MAX: usize = BATCH_EVENTS_MAX;

/// Most bytes of messages of one tenant that are in memory at the same time. A message counts as far as it has come; one for which there
/// is no room any more is refused (429), also in the middle of it.
pub const TENANT_BYTES_IN_FLIGHT_MAX: usize = 4 * BATCH_BYTES_MAX;

/// Most of these bytes that one key takes, so that no key keeps its tenant's others out.
pub const KEY_BYTES_IN_FLIGHT_MAX: usize = TENANT_BYTES_IN_FLIGHT_MAX / 2;

/// Keys and tenants whose use is remembered; beyond it, those that are not in use at the moment are forgotten.
pub const REMEMBERED_MAX: usize = 100_000;

const KIB: usize = 1024;

/// How much may be asked for with one key. What goes beyond it is refused with 429, the name of the limit and `Retry-After`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// `requests_per_s`: requests of any kind, on average.
    pub requests_per_s: u32,
    /// `requests_burst`: requests at once.
    pub requests_burst: u32,
    /// `events_per_s`: events that are sent, on average, refused ones included.
    pub events_per_s: u32,
    /// `events_burst`: events at once. One message may go beyond it, and the next one waits for that.
    pub events_burst: u32,
    /// `events_per_day`: events that are sent on one day (UTC), counted since this process began.
    pub events_per_day: u64,
    /// `live_readers`: long-polls and streams of server-sent events at the same time.
    pub live_readers: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_s: 50_000,
            requests_burst: 100_000,
            events_per_s: 500_000,
            events_burst: 1_000_000,
            events_per_day: u64::MAX,
            live_readers: 10_000,
        }
    }
}

/// Lets through so many on average, and so many at once (generic cell rate algorithm). What was let through beyond that is waited for
/// before the next.
#[derive(Debug)]
struct Bucket {
    /// When everything that was let through would have come if it had come evenly.
    even: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { even: now }
    }

    /// Lets `count` through, or says after what time to come again.
    fn take(&mut self, count: usize, per_s: u32, burst: u32, now: Instant) -> Result<(), Duration> {
        let each = Duration::from_secs(1) / per_s.max(1);
        let ahead = self.even.saturating_duration_since(now);
        // One is always let through where nothing was.
        let most = each.saturating_mul(burst.max(1).saturating_sub(1));
        if ahead > most {
            return Err(ahead.saturating_sub(most));
        }
        let taken = each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let even = self.even.max(now);
        self.even = even.checked_add(taken).unwrap_or(even);
        Ok(())
    }
}

/// What is in use.
#[derive(Default)]
pub(super) struct Usage {
    keys: Mutex<HashMap<[u8; 32], Arc<KeyUsage>>>,
    tenants: Mutex<HashMap<TenantId, Arc<TenantUsage>>>,
}

/// Of one key.
pub(super) struct KeyUsage {
    state: Mutex<KeyState>,
    live_readers: AtomicU32,
    /// In KiB.
    bytes: Arc<Semaphore>,
}

struct KeyState {
    requests: Bucket,
    events: Bucket,
    day: i64,
    events_of_day: u64,
}

/// Of one tenant.
pub(super) struct TenantUsage {
    events: Arc<Semaphore>,
    /// In KiB.
    bytes: Arc<Semaphore>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds what is remembered under a name, or begins it.
fn remembered<K: Clone + Eq + std::hash::Hash, V>(
    known: &Mutex<HashMap<K, Arc<V>>>,
    name: &K,
    begin: impl FnOnce() -> V,
) -> Arc<V> {
    let mut known = lock(known);
    if let Some(found) = known.get(name) {
        return Arc::clone(found);
    }
    if known.len() >= REMEMBERED_MAX {
        known.retain(|_, usage| Arc::strong_count(usage) > 1);
    }
    let begun = Arc::new(begin());
    known.insert(name.clone(), Arc::clone(&begun));
    begun
}

impl Usage {
    pub(super) fn of_key(&self, hash: &[u8; 32], now: Instant) -> Arc<KeyUsage> {
        remembered(&self.keys, hash, || KeyUsage {
            state: Mutex::new(KeyState {
                requests: Bucket::new(now),
                events: Bucket::new(now),
                day: 0,
                events_of_day: 0,
            }),
            live_readers: AtomicU32::new(0),
            bytes: Arc::new(Semaphore::new(KEY_BYTES_IN_FLIGHT_MAX / KIB)),
        })
    }

    pub(super) fn of_tenant(&self, tenant: &TenantId) -> Arc<TenantUsage> {
        remembered(&self.tenants, tenant, || TenantUsage {
            events: Arc::new(Semaphore::new(TENANT_EVENTS_IN_FLIGHT_MAX)),
            bytes: Arc::new(Semaphore::new(TENANT_BYTES_IN_FLIGHT_MAX / KIB)),
        })
    }
}

/// A refusal that names its limit. Seconds are whole, and at least one.
fn refused(limit: &'static str, retry_after: Duration) -> Problem {
    let seconds = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0)).max(1);
    let mut problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many",
        format!("this goes beyond the limit `{limit}`; come again in {seconds} s"),
    );
    problem.limit = Some(limit);
    problem.retry_after_s = Some(seconds);
    problem
}

impl KeyUsage {
    pub(super) fn request(&self, limits: &Limits, now: Instant) -> Result<(), Problem> {
        let taken = lock(&self.state).requests.take(1, limits.requests_per_s, limits.requests_burst, now);
        taken.map_err(|wait| refused("requests_per_s", wait))
    }

    /// Events of one message; none asks whether any would be let through.
    pub(super) fn events(
        &self,
        count: usize,
        limits: &Limits,
        now: Instant,
        date: DateTime<Utc>,
    ) -> Result<(), Problem> {
        let mut state = lock(&self.state);
        let day = date.timestamp().div_euclid(SECONDS_OF_DAY);
        if state.day != day {
            (state.day, state.events_of_day) = (day, 0);
        }
        let of_day = state.events_of_day.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if state.events_of_day >= limits.events_per_day || of_day > limits.events_per_day {
            let left = SECONDS_OF_DAY.saturating_sub(date.timestamp().rem_euclid(SECONDS_OF_DAY));
            return Err(refused("events_per_day", Duration::from_secs(left.unsigned_abs())));
        }
        let taken = state.events.take(count, limits.events_per_s, limits.events_burst, now);
        taken.map_err(|wait| refused("events_per_s", wait))?;
        state.events_of_day = of_day;
        Ok(())
    }

    /// A place for one who waits for events.
    pub(super) fn live_reader(self: &Arc<Self>, limits: &Limits) -> Result<LiveReader, Problem> {
        let more = |readers: u32| (readers < limits.live_readers).then(|| readers.saturating_add(1));
        let taken = self.live_readers.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.map_err(|_| refused("live_readers", Duration::from_secs(1)))?;
        Ok(LiveReader(Arc::clone(self)))
    }
}

const SECONDS_OF_DAY: i64 = 24 * 60 * 60;

/// The place is free again when this is dropped.
pub(super) struct LiveReader(Arc<KeyUsage>);

impl Drop for LiveReader {
    fn drop(&mut self) {
        self.0.live_readers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl TenantUsage {
    /// The turn of these events.
    pub(super) async fn events(&self, count: usize) -> Option<OwnedSemaphorePermit> {
        let count = u32::try_from(count.min(TENANT_EVENTS_IN_FLIGHT_MAX)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        Arc::clone(&self.events).acquire_many_owned(count).await.ok()
    }
}

/// Room in memory for a message, which it takes as it comes, and gives back when this is dropped.
pub(super) struct MessageRoom {
    shares: [(Arc<Semaphore>, &'static str); 2],
    held: Vec<OwnedSemaphorePermit>,
    kib: usize,
}

impl MessageRoom {
    pub(super) fn new(key: &KeyUsage, tenant: &TenantUsage) -> Self {
        let shares = [
            (Arc::clone(&key.bytes), "key_bytes_in_flight"),
            (Arc::clone(&tenant.bytes), "tenant_bytes_in_flight"),
        ];
        Self { shares, held: Vec::new(), kib: 0 }
    }

    /// So many bytes have come in all.
    pub(super) fn holds(&mut self, bytes: usize) -> Result<(), Problem> {
        let kib = bytes.div_ceil(KIB);
        let more = u32::try_from(kib.saturating_sub(self.kib)).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        for (place, (share, limit)) in self.shares.iter().enumerate() {
            let permit = Arc::clone(share).try_acquire_many_owned(more);
            let permit = permit.map_err(|_| refused(limit, Duration::from_secs(1)))?;
            match self.held.get_mut(place) {
                Some(held) => held.merge(permit),
                None => self.held.push(permit),
            }
        }
        self.kib = kib;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_bucket_lets_through_a_burst_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        for _ in 0..5 {
            assert_eq!(bucket.take(1, 10, 5, start), Ok(()));
        }
        assert_eq!(bucket.take(1, 10, 5, start), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(1, 10, 5, at(99)), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(1, 10, 5, at(100)), Ok(()));
        // What was not used is not saved beyond the burst.
        for _ in 0..5 {
            assert_eq!(bucket.take(1, 10, 5, at(60_000)), Ok(()));
        }
        assert!(bucket.take(1, 10, 5, at(60_000)).is_err());
    }

    #[test]
    fn a_message_may_go_beyond_a_burst_and_is_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        assert_eq!(bucket.take(100, 10, 5, start), Ok(()));
        assert_eq!(bucket.take(0, 10, 5, start), Err(Duration::from_millis(9_600)));
        assert_eq!(bucket.take(1, 10, 5, start + Duration::from_secs(10)), Ok(()));
    }

    #[test]
    fn a_day_is_over_at_midnight() {
        let usage = Usage::default().of_key(&[0; 32], Instant::now());
        let limits = Limits { events_per_day: 10, ..Limits::default() };
        let date: DateTime<Utc> = "2026-01-31T23:59:00Z".parse().unwrap();
        assert!(usage.events(8, &limits, Instant::now(), date).is_ok());
        let refused = usage.events(3, &limits, Instant::now(), date).unwrap_err();
        assert_eq!((refused.limit, refused.retry_after_s), (Some("events_per_day"), Some(60)));
        assert!(usage.events(2, &limits, Instant::now(), date).is_ok());
        assert!(usage.events(0, &limits, Instant::now(), date).is_err());
        let next: DateTime<Utc> = "2026-02-01T00:00:00Z".parse().unwrap();
        assert!(usage.events(10, &limits, Instant::now(), next).is_ok());
    }

    #[test]
    fn a_place_is_free_again_when_its_reader_goes() {
        let usage = Usage::default().of_key(&[0; 32], Instant::now());
        let limits = Limits { live_readers: 2, ..Limits::default() };
        let first = usage.live_reader(&limits).ok().unwrap();
        let _second = usage.live_reader(&limits).ok().unwrap();
        assert_eq!(usage.live_reader(&limits).err().unwrap().limit, Some("live_readers"));
        drop(first);
        assert!(usage.live_reader(&limits).is_ok());
    }
}
