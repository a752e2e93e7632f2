//! What outlives a restart beside the outbox: alerts, and who left and is not confirmed to be out.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use connector_health::PersonId;
use connector_health::alert::{Alert, AlertStore, AlertStoreError};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::EngineError;
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

/// Those whose offboarding has no entry in the audit trail yet: a file for each, so that a crash forgets nobody.
pub(super) struct OpenLeavers {
    dir: PathBuf,
    known: Mutex<BTreeMap<PersonId, PathBuf>>,
}

impl OpenLeavers {
    pub(super) fn open(dir: PathBuf) -> Result<Self, EngineError> {
        files::private_dir(&dir)?;
        let mut known = BTreeMap::new();
        let failed = |source| EngineError::File { what: "cannot read", path: dir.clone(), source };
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(person) = files::kept::<PersonId>(&path)?
            {
                known.insert(person, path);
            }
        }
        Ok(Self { dir, known: Mutex::new(known) })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<PersonId, PathBuf>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, person: &PersonId) -> Result<(), EngineError> {
        if self.known().contains_key(person) {
            return Ok(());
        }
        let name = HEXLOWER.encode(&Sha256::digest(person.as_str().as_bytes()));
        let path = self.dir.join(format!("{name}.json"));
        files::keep(&path, person)?;
        self.known().insert(person.clone(), path);
        Ok(())
    }

    pub(super) fn remove(&self, person: &PersonId) -> Result<(), EngineError> {
        let Some(path) = self.known().remove(person) else { return Ok(()) };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(EngineError::File { what: "cannot remove", path, source: error })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn all(&self) -> Vec<PersonId> {
        self.known().keys().cloned().collect()
    }
}
