//! Counts that follow a log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{LoginMetrics, MINUTES_AHEAD_MAX, MINUTES_KEPT, Report};
use crate::id::TenantId;
use crate::log::{EventLog, PAGE_EVENTS_MAX, ReadError, Which};
use crate::store::{EventStore, Offset, Record, StoreError};

/// How long whoever asks waits until what is in the log is counted, as after a start.
pub const COUNTED_WITHIN: Duration = Duration::from_secs(10);

/// Keeps the metrics of each tenant as current as its log.
///
/// Nothing is kept beside the log: who is asked for first is counted from what is there of the last [`MINUTES_KEPT`] minutes, and then with
/// each event that comes. An event counts by the time when it came to the log, so that the counts are the same after a restart; only
/// [`Report::too_late`] and [`Report::from_the_future`] begin anew. Each tenant that was asked for takes memory until this is dropped.
pub struct CurrentMetrics<S> {
    log: EventLog<S>,
    tenants: Mutex<Tenants>,
}

#[derive(Default)]
struct Tenants {
    counted: HashMap<TenantId, Arc<Counted>>,
    /// Their tasks end with it.
    tasks: JoinSet<()>,
}

/// One tenant's.
struct Counted {
    metrics: Mutex<LoginMetrics>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone)]
enum Progress {
    /// What is there is being counted.
    Begun,
    /// Everything up to there is counted.
    To(Offset),
    /// It will be begun anew.
    Failed(Arc<ReadError>),
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The log does not say how far it reaches.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is more in the log than could be counted within [`COUNTED_WITHIN`]. It is being counted on: ask again.
    #[error("events are being counted")]
    Counting,
    /// Events could not be read. Whoever asks again has them counted anew.
    #[error("events could not be counted")]
    Read(#[source] Arc<ReadError>),
}

/// Metrics, and how much of the log they hold.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AsOf {
    /// The last 24 hours.
    pub report: Report,
    /// Everything up to this offset is counted.
    pub offset: Offset,
}

impl<S> std::fmt::Debug for CurrentMetrics<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CurrentMetrics").finish_non_exhaustive()
    }
}

impl<S: EventStore> CurrentMetrics<S> {
    /// Of a log. Nothing is counted before somebody asks, or [`begin`](Self::begin) says so.
    pub fn new(log: EventLog<S>) -> Self {
        Self { log, tenants: Mutex::default() }
    }

    /// Begins to count a tenant's events, so that the first who asks need not wait for it. Needs a tokio runtime.
    pub fn begin(&self, tenant: &TenantId) {
        self.counted(tenant);
    }

    /// The last 24 hours, everything counted that was in the log when this was called.
    ///
    /// # Errors
    /// Where the log cannot be read, or is not counted yet.
    ///
    /// # Cancellation
    /// Counting goes on.
    pub async fn report(&self, tenant: &TenantId, now: DateTime<Utc>) -> Result<AsOf, MetricsError> {
        let counted = timeout(COUNTED_WITHIN, self.counted_up_to_now(tenant, now)).await;
        counted.unwrap_or(Err(MetricsError::Counting))
    }

    async fn counted_up_to_now(&self, tenant: &TenantId, now: DateTime<Utc>) -> Result<AsOf, MetricsError> {
        let last = self.log.bounds(tenant).await?.last;
        let counted = self.counted(tenant);
        let mut progress = counted.progress.subscribe();
        loop {
            let reached = progress.wait_for(|progress| match progress {
                Progress::Begun => false,
                Progress::To(offset) => *offset >= last,
                Progress::Failed(_) => true,
            });
            // `counted` holds the sender: it does not end.
            drop(reached.await);
            let metrics = counted.metrics();
            match &*counted.progress.borrow() {
                Progress::To(offset) => {
                    return Ok(AsOf { report: metrics.report(now), offset: *offset });
                }
                Progress::Failed(error) => return Err(MetricsError::Read(Arc::clone(error))),
                // It was begun anew in between.
                Progress::Begun => {}
            }
        }
    }

    fn counted(&self, tenant: &TenantId) -> Arc<Counted> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = tenants.counted.get(tenant)
            && !matches!(*counted.progress.borrow(), Progress::Failed(_))
        {
            return Arc::clone(counted);
        }
        let counted = Arc::new(Counted {
            metrics: Mutex::new(LoginMetrics::new()),
            progress: watch::Sender::new(Progress::Begun),
        });
        tenants.counted.insert(tenant.clone(), Arc::clone(&counted));
        while tenants.tasks.try_join_next().is_some() {}
        tenants.tasks.spawn(count(self.log.clone(), tenant.clone(), Arc::clone(&counted)));
        counted
    }
}

impl Counted {
    fn metrics(&self) -> MutexGuard<'_, LoginMetrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts these, and says how far that is. Whoever asks meanwhile waits, or has neither.
    fn add(&self, records: &[Record], to: Offset) {
        let mut metrics = self.metrics();
        for record in records {
            metrics.count(&record.event, record.ingested_at.as_datetime());
        }
        self.progress.send_replace(Progress::To(to));
    }
}

async fn count<S: EventStore>(log: EventLog<S>, tenant: TenantId, counted: Arc<Counted>) {
    loop {
        match follow(&log, &tenant, &counted).await {
            // What was passed over was forgotten meanwhile: what is there is counted anew.
            ReadError::Gone { .. } => {
                counted.progress.send_replace(Progress::Begun);
                *counted.metrics() = LoginMetrics::new();
            }
            error => {
                counted.progress.send_replace(Progress::Failed(Arc::new(error)));
                return;
            }
        }
    }
}

/// Counts what is there, and then what comes, until it cannot be read.
async fn follow<S: EventStore>(log: &EventLog<S>, tenant: &TenantId, counted: &Counted) -> ReadError {
    let from = match recent(log, tenant, counted).await {
        Ok(from) => from,
        Err(error) => return error.into(),
    };
    counted.add(&[], from);
    let mut follow = log.follow(tenant.clone(), Which::All, from);
    loop {
        match follow.next(PAGE_EVENTS_MAX).await {
            Ok(page) => counted.add(&page.records, page.next),
            Err(error) => return error,
        }
    }
}

/// Counts what happened within the minutes that are kept, by the index of times; says up to where.
async fn recent<S: EventStore>(
    log: &EventLog<S>,
    tenant: &TenantId,
    counted: &Counted,
) -> Result<Offset, StoreError> {
    let now = Utc::now();
    let span =
        now - TimeDelta::minutes(MINUTES_KEPT)..now + TimeDelta::minutes(MINUTES_AHEAD_MAX.saturating_add(1));
    let mut from = None;
    loop {
        // What came after it began is counted when it is followed.
        let page = log.read_time(tenant, span.clone(), from, PAGE_EVENTS_MAX).await?;
        {
            let mut metrics = counted.metrics();
            for record in &page.records {
                metrics.count(&record.event, record.ingested_at.as_datetime());
            }
        }
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(page.as_of),
        }
    }
}
