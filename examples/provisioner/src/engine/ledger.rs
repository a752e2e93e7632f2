//! What outlives a restart beside the outbox: alerts.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use connector_health::ConnectorId;
use connector_health::alert::{Alert, AlertStore, AlertStoreError};

use super::{EngineError, rfc3339};
use crate::files;

/// Most alerts that are remembered.
const ALERTS_KEPT_MAX: usize = 1_000;

/// The newest message of each alert, oldest alert first.
pub(super) struct AlertHistory {
    file: PathBuf,
    alerts: VecDeque<Alert>,
}

impl AlertHistory {
    pub(super) fn open(file: PathBuf) -> Result<Self, EngineError> {
        let alerts = files::kept(&file)?.unwrap_or_default();
        Ok(Self { file, alerts })
    }

    pub(super) fn add(&mut self, alerts: &[Alert]) -> Result<(), EngineError> {
        for alert in alerts {
            // The same failure, later on, is another alert to whoever looks back.
            let same = |known: &&mut Alert| {
                known.alert_id == alert.alert_id && known.first_failure_at == alert.first_failure_at
            };
            match self.alerts.iter_mut().find(same) {
                Some(known) => *known = alert.clone(),
                None => self.alerts.push_back(alert.clone()),
            }
        }
        while self.alerts.len() > ALERTS_KEPT_MAX {
            self.alerts.pop_front();
        }
        files::keep(&self.file, &self.alerts)
    }

    pub(super) fn all(&self) -> Vec<Alert> {
        self.alerts.iter().cloned().collect()
    }

    /// What kept an application from being worked in that time, in a sentence.
    pub(super) fn outage(
        &self,
        connector: &ConnectorId,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Option<String> {
        let ended = |alert: &Alert| alert.resolution.as_ref().map(|resolution| resolution.resolved_at);
        let alert = self.alerts.iter().rev().find(|alert| {
            alert.connector == *connector
                && alert.first_failure_at < until
                && ended(alert).is_none_or(|ended| ended > from)
        })?;
        let since = rfc3339(alert.first_failure_at);
        let sample = alert.sample.as_ref().map(|sample| format!(" ({sample})")).unwrap_or_default();
        Some(format!(
            "nothing was sent while {connector} failed: {} since {since}{sample}",
            alert.failure_type
        ))
    }
}

/// Messages that a sink has not taken yet, in one file.
pub(super) struct FileAlerts {
    file: PathBuf,
    kept: Mutex<BTreeMap<String, (String, Alert)>>,
}

impl FileAlerts {
    pub(super) fn open(file: PathBuf) -> Result<Self, EngineError> {
        let kept = files::kept(&file)?.unwrap_or_default();
        Ok(Self { file, kept: Mutex::new(kept) })
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, (String, Alert)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(sink: &str, alert: &Alert) -> String {
    format!("{sink}\n{}\n{}", alert.connector, alert.failure_type.code())
}

#[async_trait]
impl AlertStore for FileAlerts {
    async fn put(&self, sink: &str, alert: &Alert) -> Result<(), AlertStoreError> {
        let mut kept = self.kept();
        kept.insert(place(sink, alert), (sink.to_owned(), alert.clone()));
        files::keep(&self.file, &*kept).map_err(AlertStoreError::new)
    }

    async fn remove(&self, sink: &str, alert: &Alert) -> Result<(), AlertStoreError> {
        let mut kept = self.kept();
        let place = place(sink, alert);
        let same = kept
            .get(&place)
            .is_some_and(|(_, known)| known.alert_id == alert.alert_id && known.sequence == alert.sequence);
        if same {
            kept.remove(&place);
            files::keep(&self.file, &*kept).map_err(AlertStoreError::new)?;
        }
        Ok(())
    }

    async fn load(&self) -> Result<Vec<(String, Alert)>, AlertStoreError> {
        Ok(self.kept().values().cloned().collect())
    }
}
