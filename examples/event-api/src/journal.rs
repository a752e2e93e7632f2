//! Each event also stands in the audit log, under its `event_id`, before its sender is told that it is kept.
//!
//! One task for each tenant follows the tenant's stream and writes what it reads. What a killed service had written is found in the audit
//! log itself, so that no event is missing there and none stands there twice; a file says from which entry and which event on to look.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_log::{AppendError, AuditLog, Entry, EntryError, FileKeys, FileStore};
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use mfa_events::log::{Page, Which};
use mfa_events::store::Record;
use mfa_events::{EventLog, Offset, RedbStore, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::files;

/// Events that are written together.
const EVENTS_TOGETHER: usize = 500;
/// Events after which the file is written anew: about as many are looked at when the service starts.
const EVENTS_PER_MARK: u64 = 20_000;
/// Before what had no room is tried again.
const ROOM_AFTER: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("the audit log: {0}")]
    Audit(String),
    #[error("the log of events cannot be read: {0}")]
    Events(#[from] mfa_events::log::ReadError),
    #[error("`{path}`: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("an event is no audit entry: {0}")]
    Entry(#[from] EntryError),
}

fn audit(error: impl std::fmt::Display) -> JournalError {
    JournalError::Audit(error.to_string())
}

/// How far a tenant's events are in the audit log.
#[derive(Clone)]
enum Progress {
    To(Offset),
    Failed(Arc<str>),
}

/// What the file holds: events up to these offsets are written, and of those behind them, some are among the entries from `seq` on.
#[derive(Default, Deserialize, Serialize)]
struct Mark {
    seq: u64,
    tenants: BTreeMap<String, u64>,
}

struct Shared {
    audit: AuditLog,
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Up to where each tenant's events are in the audit log.
    tenants: BTreeMap<String, u64>,
    /// Of each tenant whose events are being written, a number that none of their entries is below.
    writing: HashMap<String, u64>,
    since_mark: u64,
}

/// The audit log, as far as it goes with the log of events.
#[derive(Clone)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
    progress: Arc<HashMap<TenantId, watch::Receiver<Progress>>>,
}

impl Journal {
    /// Opens or begins the audit log in this directory, and follows the events of these tenants.
    pub(crate) async fn open(
        dir: &Path,
        log: &EventLog<RedbStore>,
        tenants: impl IntoIterator<Item = TenantId>,
    ) -> Result<Self, JournalError> {
        let store = FileStore::open(dir.join("audit")).map_err(audit)?;
        let keys = FileKeys::open(dir.join("keys")).map_err(audit)?;
        let audit_log = AuditLog::open(store, keys).await.map_err(audit)?;
        let file = dir.join("audit-position.json");
        let mark = match files::kept(&file) {
            Ok(Some(text)) => serde_json::from_slice(&text).map_err(Into::into),
            Ok(None) => Ok(Mark::default()),
            Err(error) => Err(error),
        };
        let mut mark: Mark = mark.map_err(|source| JournalError::File { path: file.clone(), source })?;
        let mut written = written(&audit_log, mark.seq).await?;
        for tenant in tenants {
            mark.tenants.entry(tenant.as_str().to_owned()).or_default();
        }
        let writing = mark.tenants.keys().map(|tenant| (tenant.clone(), mark.seq)).collect();
        let state = Mutex::new(State { tenants: mark.tenants.clone(), writing, ..State::default() });
        let shared = Arc::new(Shared { audit: audit_log, file, state });
        // A tenant is in the file before any of its events is in the audit log: who loses the last key has the last events written, too.
        shared.mark()?;
        let mut progress = HashMap::new();
        for (name, offset) in mark.tenants {
            let tenant = TenantId::new(&name).map_err(audit)?;
            let from = Offset::new(offset);
            let (told, seen) = watch::channel(Progress::To(from));
            progress.insert(tenant.clone(), seen);
            let written = written.remove(&name).unwrap_or_default();
            tokio::spawn(write(Arc::clone(&shared), log.clone(), tenant, written, told));
        }
        Ok(Self { shared, progress: Arc::new(progress) })
    }

    /// Something that is no event, such as a start.
    pub(crate) async fn note(&self, entry: Entry) -> Result<(), JournalError> {
        self.shared.audit.append(entry).await.map(drop).map_err(audit)
    }

    /// Up to where a tenant's events are in the audit log.
    pub(crate) fn written(&self, tenant: &TenantId) -> Offset {
        match self.progress.get(tenant).map(|progress| progress.borrow().clone()) {
            Some(Progress::To(offset)) => offset,
            Some(Progress::Failed(_)) | None => Offset::START,
        }
    }

    /// Returns when a tenant's events cannot be written any more, and says why.
    pub(crate) async fn failed(&self) -> String {
        let waits = self.progress.values().cloned().map(|mut progress| {
            Box::pin(async move {
                let failed = progress.wait_for(|progress| matches!(progress, Progress::Failed(_))).await;
                match failed.as_deref() {
                    Ok(Progress::Failed(why)) => why.to_string(),
                    _ => "its task has ended".to_owned(),
                }
            })
        });
        let waits: Vec<_> = waits.collect();
        match waits.is_empty() {
            true => std::future::pending().await,
            false => futures::future::select_all(waits).await.0,
        }
    }

    /// Waits for everything that was appended, and closes the audit log.
    pub(crate) async fn close(self, log: &EventLog<RedbStore>) -> Result<(), JournalError> {
        for tenant in self.progress.keys() {
            if let Ok(bounds) = log.bounds(tenant).await {
                self.reached(tenant, bounds.last).await.map_err(JournalError::Audit)?;
            }
        }
        self.shared.mark()?;
        self.shared.audit.clone().close().await.map_err(audit)
    }

    async fn reached(&self, tenant: &TenantId, to: Offset) -> Result<(), String> {
        let Some(progress) = self.progress.get(tenant) else {
            return Err("nothing of this tenant is written".to_owned());
        };
        let mut progress = progress.clone();
        let reached = progress.wait_for(|progress| match progress {
            Progress::To(offset) => *offset >= to,
            Progress::Failed(_) => true,
        });
        match reached.await.as_deref() {
            Ok(Progress::To(_)) => Ok(()),
            Ok(Progress::Failed(why)) => Err(why.to_string()),
            Err(_) => Err("its task has ended".to_owned()),
        }
    }
}

impl mfa_events::http::Journal for Journal {
    fn holds<'a>(
        &'a self,
        tenant: &'a TenantId,
        to: Offset,
    ) -> BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>> {
        Box::pin(async move { self.reached(tenant, to).await.map_err(Into::into) })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the file.
    fn mark(&self) -> Result<(), JournalError> {
        let mark = {
            let mut state = self.state();
            state.since_mark = 0;
            // Entries that are not acknowledged yet lie behind what was there when they were begun.
            let seq = state.writing.values().min().copied().unwrap_or_else(|| self.audit.checkpoint().size());
            Mark { seq, tenants: state.tenants.clone() }
        };
        let failed = |source| JournalError::File { path: self.file.clone(), source };
        let text = serde_json::to_vec(&mark).map_err(|error| failed(error.into()))?;
        files::private_file(&self.file, &text).map_err(failed)
    }

    /// Writes those events of a page that are not written.
    async fn write(
        &self,
        tenant: &TenantId,
        page: &Page,
        written: &HashSet<u64>,
    ) -> Result<(), JournalError> {
        let size = self.audit.checkpoint().size();
        // What was written before the start lies behind what the file says: the lower number stays until this page is done.
        self.state().writing.entry(tenant.as_str().to_owned()).or_insert(size);
        let unwritten = page.records.iter().filter(|record| !written.contains(&record.offset.as_u64()));
        // With a key for the person, as long as there is room for one.
        let mut left: Vec<_> = unwritten.map(|record| (record, true)).collect();
        while !left.is_empty() {
            // Together, so that all wait for the disk once.
            let mut begun = Vec::with_capacity(left.len());
            for (record, has_subject) in left {
                let entry =
                    if has_subject { entry(record, tenant)? } else { without_subject(record, tenant)? };
                begun.push((record, has_subject, self.audit.append(entry)));
            }
            left = Vec::new();
            let mut is_overloaded = false;
            for (record, has_subject, appended) in begun {
                match appended.await {
                    Ok(_) => {}
                    Err(AppendError::Overloaded { .. }) => {
                        is_overloaded = true;
                        left.push((record, has_subject));
                    }
                    Err(AppendError::Entry(EntryError::SubjectsFull)) if has_subject => {
                        left.push((record, false))
                    }
                    Err(error) => return Err(audit(error)),
                }
            }
            if is_overloaded {
                tokio::time::sleep(ROOM_AFTER).await;
            }
        }
        let is_due = {
            let mut state = self.state();
            state.tenants.insert(tenant.as_str().to_owned(), page.next.as_u64());
            let is_past = written.iter().all(|offset| *offset <= page.next.as_u64());
            if is_past {
                state.writing.remove(tenant.as_str());
            }
            state.since_mark = state.since_mark.saturating_add(page.records.len() as u64);
            state.since_mark >= EVENTS_PER_MARK
        };
        match is_due {
            true => self.mark(),
            false => Ok(()),
        }
    }
}

/// Follows a tenant's stream until it cannot be written.
async fn write(
    shared: Arc<Shared>,
    log: EventLog<RedbStore>,
    tenant: TenantId,
    mut written: HashSet<u64>,
    told: watch::Sender<Progress>,
) {
    let from = match *told.borrow() {
        Progress::To(from) => from,
        Progress::Failed(_) => return,
    };
    if written.is_empty() {
        shared.state().writing.remove(tenant.as_str());
    }
    let mut follow = log.follow(tenant.clone(), Which::All, from);
    let why = loop {
        let page = match follow.next(EVENTS_TOGETHER).await {
            Ok(page) => page,
            Err(error) => break JournalError::from(error),
        };
        if let Err(error) = shared.write(&tenant, &page, &written).await {
            break error;
        }
        written.retain(|offset| *offset > page.next.as_u64());
        told.send_replace(Progress::To(page.next));
    };
    told.send_replace(Progress::Failed(why.to_string().into()));
}

/// The offsets of events that are among the entries from `seq` on.
async fn written(log: &AuditLog, seq: u64) -> Result<HashMap<String, HashSet<u64>>, JournalError> {
    let mut written: HashMap<String, HashSet<u64>> = HashMap::new();
    let mut entries = log.read(seq..);
    while let Some(entry) = entries.try_next().await.map_err(audit)? {
        let text = |name: &str| entry.fields.get(name).and_then(Value::as_str);
        if let (Some(tenant), Some(offset)) = (text("tenant_id"), text("offset"))
            && let Ok(offset) = u64::from_str_radix(offset, 16)
        {
            written.entry(tenant.to_owned()).or_default().insert(offset);
        }
    }
    Ok(written)
}

fn members(record: &Record, tenant: &TenantId) -> Map<String, Value> {
    // What was written as an object is read as one.
    serde_json::from_slice(&record.to_json(tenant)).unwrap_or_default()
}

fn entry(record: &Record, tenant: &TenantId) -> Result<Entry, EntryError> {
    Entry::from_event(members(record, tenant))
}

/// An event whose actor cannot be given a key any more, for an audit log knows so many at most: it names nobody as its actor, and holds all
/// of the event nevertheless.
fn without_subject(record: &Record, tenant: &TenantId) -> Result<Entry, EntryError> {
    let mut members = members(record, tenant);
    if let Some(actor) = members.remove("actor_id") {
        members.insert("actor".to_owned(), actor);
    }
    Entry::from_event(members)
}
