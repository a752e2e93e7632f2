//! Detection beside the log: one task for each tenant reads what comes, and its alerts are there for whoever asks.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use mfa_events::detect::{Alert, AlertState, Detector};
use mfa_events::http::Alerts;
use mfa_events::{EventLog, Offset, RedbStore, TenantId};
use serde_json::Value;

use crate::playbook::Playbook;
use crate::say;

/// Most alerts of a tenant that are shown. Beyond it, those go that have been over for longest, and then the oldest.
const ALERTS_MAX: usize = 1_000;
/// How long nothing may come before alerts are looked at whose time is up.
const TICK: Duration = Duration::from_secs(1);

/// Alerts as they are now, for each tenant. They are found anew when the service starts, under the same ids.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    alerts: Arc<Mutex<HashMap<TenantId, Vec<Alert>>>>,
    playbooks: Arc<HashMap<TenantId, Playbook>>,
    /// Up to where each tenant's events were looked at.
    looked_to: Arc<Mutex<HashMap<TenantId, Offset>>>,
}

impl Watch {
    /// With what is done about alerts.
    pub(crate) fn new(playbooks: HashMap<TenantId, Playbook>) -> Self {
        Self { playbooks: Arc::new(playbooks), ..Self::default() }
    }

    /// Returns when a playbook has stopped, and says why.
    pub(crate) async fn failed(&self) -> String {
        let waits: Vec<_> = self.playbooks.values().map(|playbook| Box::pin(playbook.failed())).collect();
        match waits.is_empty() {
            true => std::future::pending().await,
            false => futures::future::select_all(waits).await.0,
        }
    }

    /// A tenant's playbook is for alerts from then on.
    pub(crate) fn since(&self, tenant: &TenantId, since: DateTime<Utc>) {
        if let Some(playbook) = self.playbooks.get(tenant) {
            playbook.since(since);
        }
    }

    /// Up to where a tenant's events were looked at.
    pub(crate) fn looked_to(&self, tenant: &TenantId) -> Offset {
        let looked_to = self.looked_to.lock().unwrap_or_else(PoisonError::into_inner);
        looked_to.get(tenant).copied().unwrap_or(Offset::START)
    }

    /// Takes in what a detector tells.
    pub(crate) async fn tell(&self, tenant: &TenantId, told: &[Alert]) {
        self.show(tenant, told);
        if let Some(playbook) = self.playbooks.get(tenant) {
            for alert in told {
                playbook.take(alert).await;
            }
        }
    }

    fn show(&self, tenant: &TenantId, told: &[Alert]) {
        if told.is_empty() {
            return;
        }
        let mut all = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
        let alerts = all.entry(tenant.clone()).or_default();
        for alert in told {
            match alerts.iter_mut().find(|known| known.id == alert.id) {
                Some(known) => *known = alert.clone(),
                None => alerts.push(alert.clone()),
            }
        }
        // Those that are open first, and then the newest first.
        alerts.sort_by_key(|alert| (alert.state == AlertState::Closed, std::cmp::Reverse(alert.opened_at)));
        alerts.truncate(ALERTS_MAX);
    }

    /// Goes on with a tenant's events, until they cannot be read.
    pub(crate) async fn follow(self, log: EventLog<RedbStore>, tenant: TenantId, mut detector: Detector) {
        loop {
            match detector.advance(&log, &tenant, Utc::now()).await {
                Ok(advanced) => {
                    self.tell(&tenant, &advanced.alerts).await;
                    if let Some((after, to)) = advanced.lost {
                        say(&format!(
                            "events of {tenant} after {after} up to {to} are not kept: nothing was looked for among them"
                        ));
                    }
                    if !advanced.is_up_to_date {
                        continue;
                    }
                }
                Err(error) => {
                    return say(&format!("nothing is looked for any more among events of {tenant}: {error}"));
                }
            }
            let after = detector.offset(&tenant);
            self.looked_to.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone(), after);
            // Where nothing comes, time goes on nevertheless.
            if let Ok(Err(error)) = tokio::time::timeout(TICK, log.wait(&tenant, after)).await {
                return say(&format!("nothing is looked for any more among events of {tenant}: {error}"));
            }
        }
    }
}

impl Alerts for Watch {
    fn alerts<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> BoxFuture<'a, Result<Vec<Value>, Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            let alerts = {
                let all = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
                all.get(tenant).cloned().unwrap_or_default()
            };
            let playbook = self.playbooks.get(tenant);
            let shown = alerts.iter().map(|alert| {
                let mut shown = serde_json::to_value(alert)?;
                if let Some(decided) = playbook.and_then(|playbook| playbook.shown(alert.id))
                    && let Some(shown) = shown.as_object_mut()
                {
                    shown.insert("playbook".to_owned(), decided);
                }
                Ok(shown)
            });
            shown.collect()
        })
    }
}
