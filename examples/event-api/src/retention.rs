//! How long events are kept. What detection and the audit log have not had yet stays, however old it is; the audit log keeps all.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audit_log::Entry;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::event::Timestamp;
use mfa_events::http::{HashedKeys, Keys as _, Right};
use mfa_events::log::{ReadError, Which};
use mfa_events::{EventLog, Offset, RedbStore, TenantId};
use serde::{Deserialize, Serialize};

use crate::journal::{Journal, JournalError};
use crate::say;
use crate::watch::Watch;

/// How often it is looked for what is to go.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Fewest days: metrics compare with the day before.
pub(crate) const DAYS_MIN: u32 = 2;

/// `[retention]` of the settings. Without it everything is kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    /// Events that came longer ago are forgotten.
    pub(crate) days: Option<NonZeroU32>,
    /// Of each tenant; the earliest beyond it are forgotten.
    pub(crate) max_events: Option<NonZeroU64>,
}

/// What became of a tenant's events since the service began.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Counts {
    forgotten_total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten_at: Option<Timestamp>,
}

#[derive(Clone)]
pub(crate) struct Retention {
    policy: Policy,
    log: EventLog<RedbStore>,
    journal: Journal,
    watch: Watch,
    counts: Arc<Mutex<HashMap<TenantId, Counts>>>,
}

/// Why nothing was forgotten.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] mfa_events::store::StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Retention {
    pub(crate) fn new(policy: Policy, log: EventLog<RedbStore>, journal: Journal, watch: Watch) -> Self {
        Self { policy, log, journal, watch, counts: Arc::default() }
    }

    /// Forgets what is to be forgotten, on and on.
    pub(crate) async fn run(self, tenants: Vec<TenantId>) {
        if self.policy == Policy::default() {
            return;
        }
        loop {
            for tenant in &tenants {
                if let Err(error) = self.forget(tenant, Utc::now()).await {
                    say(&format!("old events of {tenant} are not forgotten: {error}"));
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn forget(&self, tenant: &TenantId, now: DateTime<Utc>) -> Result<(), Broken> {
        let bounds = self.log.bounds(tenant).await?;
        let mut to = bounds.forgotten;
        if let Some(max) = self.policy.max_events {
            to = to.max(Offset::new(bounds.last.as_u64().saturating_sub(max.get())));
        }
        if let Some(days) = self.policy.days {
            let time = now - TimeDelta::days(days.get().into());
            to = to.max(came_before(&self.log, tenant, time).await?);
        }
        let to = to.min(self.journal.written(tenant)).min(self.watch.looked_to(tenant));
        if to <= bounds.forgotten {
            return Ok(());
        }
        // On record before it happens.
        let entry = Entry::new("events.forgotten")
            .outcome("success")
            .field("tenant_id", tenant.as_str())
            .field("after", bounds.forgotten.to_string())
            .field("to", to.to_string());
        self.journal.note(entry).await?;
        self.log.forget(tenant, to).await?;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.entry(tenant.clone()).or_default();
        let number = to.as_u64().saturating_sub(bounds.forgotten.as_u64());
        counts.forgotten_total = counts.forgotten_total.saturating_add(number);
        counts.forgotten_at = Timestamp::new(now).ok();
        Ok(())
    }

    /// `GET /v1/retention`, for keys that may read.
    pub(crate) fn router(self, keys: HashedKeys) -> Router {
        Router::new().route("/v1/retention", get(shown)).with_state((Arc::new(self), Arc::new(keys)))
    }
}

/// The last offset of what came before a time. Events come in the order of their offsets.
async fn came_before(
    log: &EventLog<RedbStore>,
    tenant: &TenantId,
    time: DateTime<Utc>,
) -> Result<Offset, ReadError> {
    let bounds = log.bounds(tenant).await?;
    let (mut low, mut high) = (bounds.forgotten.as_u64(), bounds.last.as_u64());
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let page = log.read(tenant, &Which::All, Offset::new(middle - 1), 1).await?;
        match page.records.first() {
            Some(record) if record.ingested_at.as_datetime() < time => low = record.offset.as_u64(),
            _ => high = middle - 1,
        }
    }
    Ok(Offset::new(low))
}

#[derive(Serialize)]
struct Shown {
    tenant_id: TenantId,
    #[serde(flatten)]
    policy: Policy,
    /// Events that are kept, where no offset was left out.
    kept: u64,
    #[serde(flatten)]
    counts: Counts,
}

async fn shown(
    State((retention, keys)): State<(Arc<Retention>, Arc<HashedKeys>)>,
    headers: HeaderMap,
) -> Response {
    let shown =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(scope) = shown.and_then(|key| keys.scope(key)) else {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response();
    };
    if !scope.rights.contains(&Right::Read) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Ok(bounds) = retention.log.bounds(&scope.tenant).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let counts = retention.counts.lock().unwrap_or_else(PoisonError::into_inner);
    let counts = counts.get(&scope.tenant).copied().unwrap_or_default();
    let kept = bounds.last.as_u64().saturating_sub(bounds.forgotten.as_u64());
    let answer = Shown { tenant_id: scope.tenant, policy: retention.policy, kept, counts };
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

#[cfg(test)]
mod tests {
    use mfa_events::LoginFailure;

    use super::*;

    #[tokio::test]
    async fn what_came_before_a_time_is_found_by_when_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let log = EventLog::open(RedbStore::open(dir.path().join("events.redb")).unwrap());
        let tenant = TenantId::new("acme").unwrap();
        let begin: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut last = Vec::new();
        for day in 0..20 {
            let now = begin + TimeDelta::days(day);
            // Events say that they are old; that is not what counts.
            let events = (0..=day).map(|number| LoginFailure::new(&format!("p{number}")).at(begin));
            let appended = log.append(&tenant, events, now).await.unwrap();
            last.push(appended.last().unwrap().offset());
        }
        for day in 0..20_usize {
            let time = begin + TimeDelta::days(i64::try_from(day).unwrap());
            let before = came_before(&log, &tenant, time).await.unwrap();
            assert_eq!(before, day.checked_sub(1).map_or(Offset::START, |before| last[before]), "{day}");
        }
        assert_eq!(came_before(&log, &tenant, begin + TimeDelta::days(99)).await.unwrap(), last[19]);
        log.forget(&tenant, last[5]).await.unwrap();
        assert_eq!(came_before(&log, &tenant, begin).await.unwrap(), last[5]);
        assert_eq!(came_before(&log, &tenant, begin + TimeDelta::days(8)).await.unwrap(), last[7]);
    }
}
