//! Keeps alerts until they have arrived.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::future::join_all;

use super::{Alert, AlertSink, Delivery};
use crate::ConnectorId;
use crate::monitor::FailureClass;

/// Keeps what sinks have not taken yet.
///
/// **What an implementor promises.** `put` is durable when it returns, and replaces whatever was kept for the same sink, connector
/// and failure class. `remove` removes nothing but that very message (alert and sequence): a newer one that took its place stays. Both may be
/// repeated. A `put` that was lost is an alert that a restart loses.
#[async_trait]
pub trait AlertStore: Send + Sync {
    /// Keeps this message for this sink.
    async fn put(&self, sink: &str, alert: &Alert) -> Result<(), AlertStoreError>;
    /// This message has arrived there.
    async fn remove(&self, sink: &str, alert: &Alert) -> Result<(), AlertStoreError>;
    /// Everything that is kept, with its sink.
    async fn load(&self) -> Result<Vec<(String, Alert)>, AlertStoreError>;
}

/// Why alerts could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("alerts could not be kept or read")]
pub struct AlertStoreError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl AlertStoreError {
    /// For this reason.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// Keeps alerts in memory: for tests, and where losing them in a crash is in order. Clones share what they keep.
#[derive(Clone, Debug, Default)]
pub struct MemoryAlerts {
    kept: Arc<Mutex<BTreeMap<Place, Alert>>>,
}

/// Sink, connector and failure class: one message of each is kept.
type Place = (String, ConnectorId, FailureClass);

#[async_trait]
impl AlertStore for MemoryAlerts {
    async fn put(&self, sink: &str, alert: &Alert) -> Result<(), AlertStoreError> {
        let key = (sink.to_owned(), alert.connector.clone(), alert.failure_type);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(key, alert.clone());
        Ok(())
    }

    async fn remove(&self, sink: &str, alert: &Alert) -> Result<(), AlertStoreError> {
        let key = (sink.to_owned(), alert.connector.clone(), alert.failure_type);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept
            .get(&key)
            .is_some_and(|kept| (&kept.alert_id, kept.sequence) == (&alert.alert_id, alert.sequence))
        {
            kept.remove(&key);
        }
        Ok(())
    }

    async fn load(&self) -> Result<Vec<(String, Alert)>, AlertStoreError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.iter().map(|((sink, ..), alert)| (sink.clone(), alert.clone())).collect())
    }
}

/// Takes alerts, and brings them to every sink.
pub struct AlertDesk<S> {
    store: S,
    sinks: Vec<(String, Arc<dyn AlertSink>)>,
    delivery: Mutex<Delivery>,
}

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pass {
    /// Messages that arrived.
    pub delivered: u64,
    /// Messages that did not, and will be sent again.
    pub failed: u64,
    /// Messages that arrived and are still kept, as the store did not take it in: a restart sends them again.
    pub unrecorded: u64,
}

impl<S: AlertStore> AlertDesk<S> {
    /// With these sinks, by name. What is kept for them from before is due at once.
    ///
    /// # Errors
    /// Where what is kept cannot be read.
    pub async fn open(
        store: S,
        sinks: Vec<(String, Arc<dyn AlertSink>)>,
        now: DateTime<Utc>,
    ) -> Result<Self, AlertStoreError> {
        let mut delivery = Delivery::new(sinks.iter().map(|(name, _)| name.clone()));
        let mut kept = store.load().await?;
        kept.sort_by_key(|(_, alert)| alert.at);
        for (sink, alert) in kept {
            // What is over the limit is dropped and counted; it stays in the store until something replaces it.
            let _ = delivery.accept_for(&sink, &alert, now);
        }
        Ok(Self { store, sinks, delivery: Mutex::new(delivery) })
    }

    /// Takes messages for every sink: kept first, sent by [`pass`](Self::pass).
    ///
    /// # Errors
    /// Where they could not be kept. They are sent all the same; a restart before that loses them.
    pub async fn accept(&self, alerts: &[Alert], now: DateTime<Utc>) -> Result<(), AlertStoreError> {
        let mut kept = Ok(());
        for alert in alerts {
            for (sink, _) in &self.sinks {
                kept = kept.and(self.store.put(sink, alert).await);
            }
            let dropped = self.delivery().accept(alert, now);
            for (sink, dropped) in dropped {
                kept = kept.and(self.store.remove(&sink, &dropped).await);
            }
        }
        kept
    }

    /// Sends what is due at `now`, to all sinks side by side and to each in order. Returns when the slowest sink has answered; several
    /// passes may run at once. Dropping it breaks off what is being sent, which is then due again.
    pub async fn pass(&self, now: DateTime<Utc>) -> Pass {
        let passes =
            join_all(self.sinks.iter().map(|(name, sink)| self.pass_to(name, sink.as_ref(), now))).await;
        passes.into_iter().fold(Pass::default(), |sum, pass| Pass {
            delivered: sum.delivered.saturating_add(pass.delivered),
            failed: sum.failed.saturating_add(pass.failed),
            unrecorded: sum.unrecorded.saturating_add(pass.unrecorded),
        })
    }

    /// When the next pass has something to do.
    pub fn next_deadline(&self) -> Option<DateTime<Utc>> {
        self.delivery().next_deadline()
    }

    /// Asks what waits, and how much was left out.
    pub fn with_delivery<T>(&self, ask: impl FnOnce(&Delivery) -> T) -> T {
        ask(&self.delivery())
    }

    async fn pass_to(&self, name: &str, sink: &dyn AlertSink, now: DateTime<Utc>) -> Pass {
        let mut pass = Pass::default();
        loop {
            let next = self.delivery().next(name, now);
            let Some(alert) = next else { return pass };
            let flight = Flight { delivery: &self.delivery, sink: name, alert: &alert };
            let answer = sink.deliver(&alert, now).await;
            match answer {
                Ok(()) => {
                    pass.delivered = pass.delivered.saturating_add(1);
                    self.delivery().delivered(name, &alert, now);
                    if self.store.remove(name, &alert).await.is_err() {
                        pass.unrecorded = pass.unrecorded.saturating_add(1);
                    }
                }
                Err(error) => {
                    pass.failed = pass.failed.saturating_add(1);
                    self.delivery().failed(name, &alert, &error, now);
                }
            }
            drop(flight);
        }
    }

    fn delivery(&self) -> MutexGuard<'_, Delivery> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message on its way. Where sending is broken off, it is due again.
struct Flight<'a> {
    delivery: &'a Mutex<Delivery>,
    sink: &'a str,
    alert: &'a Alert,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner).abandoned(self.sink, self.alert);
    }
}
