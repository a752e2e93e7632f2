//! Session events into the audit log.

use std::sync::Arc;

use audit_log::{AppendError, AuditLog, Entry};
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use serde_json::Value;
use session_filter::event::Event;
use session_filter::record::{RecordError, Recorder};
use tokio::sync::watch;

use crate::events::Outbox;

/// Appends every event to the log; durable means under a signed checkpoint on disk.
#[derive(Clone)]
pub(crate) struct AuditRecorder {
    log: AuditLog,
    /// Logins go on from the log.
    outbox: Option<Outbox>,
    broken: Arc<watch::Sender<Option<String>>>,
}

impl AuditRecorder {
    pub(crate) fn new(log: AuditLog) -> Self {
        Self { log, outbox: None, broken: Arc::new(watch::channel(None).0) }
    }

    /// Sends logins on once they are on record.
    pub(crate) fn with(mut self, outbox: Option<Outbox>) -> Self {
        self.outbox = outbox;
        self
    }

    /// Resolves when the log takes nothing more until it is opened again, with the reason.
    pub(crate) async fn broken(&self) -> String {
        let mut broken = self.broken.subscribe();
        match broken.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The sender is ours.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Recorder for AuditRecorder {
    fn record(&self, event: Event) -> BoxFuture<'static, Result<(), RecordError>> {
        let fields = match serde_json::to_value(&event) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return refused("an event is not a JSON object"),
            Err(error) => return refused(&error.to_string()),
        };
        let outbox = self.outbox.as_ref().filter(|_| Outbox::takes(event.event_type));
        let told = outbox.map(|outbox| (outbox, fields.clone()));
        let entry = match Entry::from_event(fields) {
            Ok(entry) => entry,
            Err(error) => return refused(&error.to_string()),
        };
        // Enqueued here, in the order of calls; the future only waits.
        let append = match told {
            Some((outbox, fields)) => {
                let durable = outbox.append(fields, entry);
                durable.map(|told| told.unwrap_or(Err(AppendError::Closed))).boxed()
            }
            None => self.log.append(entry).map_ok(drop).boxed(),
        };
        let broken = Arc::clone(&self.broken);
        Box::pin(async move {
            append.await.map_err(|error| {
                if matches!(error, AppendError::Poisoned { .. }) {
                    broken.send_replace(Some(error.to_string()));
                }
                RecordError::new(error.to_string())
            })
        })
    }
}

fn refused(why: &str) -> BoxFuture<'static, Result<(), RecordError>> {
    Box::pin(std::future::ready(Err(RecordError::new(why))))
}

#[cfg(test)]
mod tests {
    use audit_log::{FileKeys, FileStore, Reader};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_keeps_what_a_recorder_promises() {
        let dir = tempfile::tempdir().unwrap();
        let (audit, keys) = (dir.path().join("audit"), dir.path().join("keys"));
        let log =
            AuditLog::open(FileStore::open(&audit).unwrap(), FileKeys::open(&keys).unwrap()).await.unwrap();
        let recorder = AuditRecorder::new(log.clone());
        // Read from the files, as somebody else would after a crash.
        let recorded = || async {
            let reader =
                Reader::open(FileStore::read_only(&audit).unwrap(), FileKeys::read_only(&keys).unwrap());
            let entries = reader.read(..).unwrap().map(|entry| entry.unwrap().to_json());
            entries.filter_map(|entry| entry.get("event_id")?.as_str()?.parse().ok()).collect()
        };
        session_filter::conformance::recorder(&recorder, recorded).await;
        log.close().await.unwrap();
    }
}
