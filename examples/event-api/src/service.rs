//! What serves: log, audit log, metrics and page, in one directory.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use audit_log::Entry;
use axum::Router;
use mfa_events::cursor::{CURSOR_KEY_BYTES, CursorKey};
use mfa_events::http::{Api, HashedKeys};
use mfa_events::{CurrentMetrics, EventLog, RedbStore, Rules, TenantId};

use crate::failure::Failure;
use crate::journal::Journal;
use crate::playbook::{self, Playbook};
use crate::retention::{Policy, Retention};
use crate::watch::Watch;
use crate::{files, page};

pub(crate) struct Service {
    pub(crate) log: EventLog<RedbStore>,
    pub(crate) journal: Journal,
    pub(crate) watch: Watch,
    pub(crate) router: Router,
}

impl Service {
    /// Returns when something cannot go on that must, and says why.
    pub(crate) fn failed(&self) -> impl Future<Output = String> + use<> {
        let (journal, watch) = (self.journal.clone(), self.watch.clone());
        async move {
            tokio::select! {
                why = journal.failed() => why,
                why = watch.failed() => why,
            }
        }
    }

    pub(crate) async fn open(
        data_dir: &Path,
        keys: HashedKeys,
        tenants: &[TenantId],
        rules: &Rules,
        playbooks: Vec<playbook::Settings>,
        retention: Policy,
    ) -> Result<Self, Failure> {
        files::private_dir(data_dir)
            .map_err(|error| Failure::stopped(format!("`{}`: {error}", data_dir.display())))?;
        let store = RedbStore::open(data_dir.join("events.redb")).map_err(|error| {
            Failure::stopped(format!("`{}`: {error}", data_dir.join("events.redb").display()))
        })?;
        let log = EventLog::open(store);
        let journal =
            Journal::open(data_dir, &log, tenants.iter().cloned()).await.map_err(Failure::stopped)?;
        let metrics = Arc::new(CurrentMetrics::new(log.clone()));
        tenants.iter().for_each(|tenant| metrics.begin(tenant));
        let cursors = cursors(&data_dir.join("cursor.key"))?;
        let mut opened = HashMap::new();
        for settings in playbooks {
            let tenant = settings.tenant.clone();
            let playbook = Playbook::open(settings, rules, data_dir, log.clone(), journal.clone());
            let path = data_dir.join("playbook");
            let playbook =
                playbook.map_err(|error| Failure::stopped(format!("`{}`: {error}", path.display())))?;
            opened.insert(tenant, playbook);
        }
        let watch = Watch::new(opened);
        let retention = Retention::new(retention, log.clone(), journal.clone(), watch.clone());
        let router = page::router().merge(retention.clone().router(keys.clone()));
        let api = Api::new(log.clone(), keys, cursors)
            .metrics(metrics)
            .journal(journal.clone())
            .alerts(watch.clone());
        tokio::spawn(retention.run(tenants.to_vec()));
        Ok(Self { log, journal, watch, router: router.merge(api.router()) })
    }

    /// Puts a start on record.
    pub(crate) async fn started(&self) -> Result<(), Failure> {
        let entry = Entry::new("service.started").outcome("success");
        self.journal.note(entry).await.map_err(Failure::stopped)
    }

    /// Brings what was appended into the audit log, and closes it.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        let Self { log, journal, watch, router } = self;
        drop((watch, router));
        journal.close(&log).await.map_err(Failure::stopped)
    }
}

/// The key that cursors are made with: they hold as long as the data they point into.
fn cursors(path: &Path) -> Result<CursorKey, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::stopped(format!("`{}`: {error}", path.display()));
    let known = files::kept(path).map_err(|error| failed(&error))?;
    let key: [u8; CURSOR_KEY_BYTES] = match known {
        Some(known) => known.try_into().map_err(|_| failed(&"this is no key of cursors"))?,
        None => {
            let mut key = [0; CURSOR_KEY_BYTES];
            getrandom::fill(&mut key).map_err(|error| failed(&error))?;
            files::private_file(path, &key).map_err(|error| failed(&error))?;
            key
        }
    };
    Ok(CursorKey::new(key))
}
