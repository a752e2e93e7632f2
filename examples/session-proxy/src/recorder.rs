//! Session events into the audit log.

use audit_log::{AuditLog, Entry};
use futures::future::BoxFuture;
use serde_json::Value;
use session_filter::event::Event;
use session_filter::record::{RecordError, Recorder};

/// Appends every event to the log; durable means under a signed checkpoint on disk.
#[derive(Clone)]
pub(crate) struct AuditRecorder(pub(crate) AuditLog);

impl Recorder for AuditRecorder {
    fn record(&self, event: Event) -> BoxFuture<'static, Result<(), RecordError>> {
        let entry = match serde_json::to_value(&event) {
            Ok(Value::Object(fields)) => {
                Entry::from_event(fields).map_err(|e| RecordError::new(e.to_string()))
            }
            Ok(_) => Err(RecordError::new("an event is not a JSON object")),
            Err(error) => Err(RecordError::new(error.to_string())),
        };
        match entry {
            Ok(entry) => {
                // Enqueued here, in the order of calls; the future only waits.
                let append = self.0.append(entry);
                Box::pin(async move { append.await.map(|_| ()).map_err(|e| RecordError::new(e.to_string())) })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}
