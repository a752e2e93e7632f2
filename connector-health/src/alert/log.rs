//! Alerts as lines.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Alert, AlertSink, SinkError};

/// Writes each message as one line of JSON, and flushes.
#[derive(Debug)]
pub struct LogSink<W> {
    writer: Mutex<W>,
}

impl<W: Write + Send> LogSink<W> {
    /// To this writer. It must not wait for anybody.
    pub fn new(writer: W) -> Self {
        Self { writer: Mutex::new(writer) }
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.writer.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<W: Write + Send> AlertSink for LogSink<W> {
    async fn deliver(&self, alert: &Alert, _: DateTime<Utc>) -> Result<(), SinkError> {
        let mut line = serde_json::to_vec(alert).map_err(|_| SinkError::Unwritable("no JSON"))?;
        line.push(b'\n');
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // One write, so that a line is whole or missing.
        writer
            .write_all(&line)
            .and_then(|()| writer.flush())
            .map_err(|_| SinkError::Unavailable("the log cannot be written"))
    }
}

/// Hands each message to `tracing`: `ERROR` while it is open and at least high, `WARN` while it is open, `INFO` when it is over.
#[cfg(feature = "tracing")]
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingSink;

#[cfg(feature = "tracing")]
#[async_trait]
impl AlertSink for TracingSink {
    async fn deliver(&self, alert: &Alert, _: DateTime<Utc>) -> Result<(), SinkError> {
        use super::{AlertState, Priority};

        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(
                    alert_id = %alert.alert_id,
                    sequence = alert.sequence,
                    event_type = alert.event_type(),
                    connector = %alert.connector,
                    failure_type = %alert.failure_type,
                    tier = %alert.tier,
                    deprovisioning_queued = alert.queue.deprovisioning_queued,
                    provisioning_queued = alert.queue.provisioning_queued,
                    "{alert}"
                )
            };
        }
        match (alert.state, alert.priority) {
            (AlertState::Resolved, _) => say!(info),
            (AlertState::Open, Priority::High | Priority::Urgent) => say!(error),
            (AlertState::Open, _) => say!(warn),
        }
        Ok(())
    }
}
