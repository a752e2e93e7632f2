//! Times in which a connector failed as a whole: a probe goes first, and what waits without ever being sent has a reason.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::{CONFLICTS_MAX, Outbox, OutboxError};
use crate::connector::Failure;
use crate::id::ConnectorId;
use crate::lane::{ConnectorRecord, EventRecord, Outage};
use crate::store::{Batch, Committed, OutboxStore, StoreError};

/// The last outage of each connector that was asked for; `None` where there was none.
#[derive(Default)]
pub(super) struct Outages(Mutex<BTreeMap<ConnectorId, Option<Outage>>>);

impl Outages {
    fn known(&self) -> MutexGuard<'_, BTreeMap<ConnectorId, Option<Outage>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last one, as far as it was asked for.
    pub(super) fn last(&self, connector: &ConnectorId) -> Option<Outage> {
        self.known().get(connector).cloned().flatten()
    }

    fn set(&self, connector: &ConnectorId, outage: Outage) {
        self.known().insert(connector.clone(), Some(outage));
    }

    /// It answers: what is accepted from now on did not wait for that.
    pub(super) fn answers(&self, connector: &ConnectorId, now: DateTime<Utc>) {
        if let Some(Some(outage)) = self.known().get_mut(connector) {
            outage.ended_at.get_or_insert(now);
        }
    }

    /// Whether it was failing as a whole when last used.
    pub(super) fn is_on(&self, connector: &ConnectorId) -> bool {
        self.last(connector).is_some_and(|outage| outage.ended_at.is_none())
    }
}

impl Outage {
    /// Gives it as the reason why an event waited that was never tried.
    pub(super) fn explain(&self, event: &mut EventRecord) {
        let within = self.ended_at.is_none_or(|ended| event.accepted_at < ended);
        if within && event.failure_started_at.is_none() {
            event.failure_started_at = Some(self.started_at.max(event.accepted_at));
            event.last_failure.get_or_insert_with(|| self.failure.clone());
        }
    }
}

impl<S: OutboxStore> Outbox<S> {
    /// The last outage of a connector, also one that an earlier process has seen. That it cannot be read is an error of a record until another
    /// one is noted.
    pub(super) async fn outage(&self, connector: &ConnectorId) -> Result<Option<Outage>, StoreError> {
        if let Some(known) = self.outages.known().get(connector) {
            return Ok(known.clone());
        }
        let stored = self.store.connector(connector).await?.and_then(|record| record.outage);
        self.outages.known().insert(connector.clone(), stored.clone());
        Ok(stored)
    }

    /// Notes how a pass ended: with a connector that fails as a whole, or not. `was_on` says how it began.
    pub(super) async fn note_outage(
        &self,
        connector: &ConnectorId,
        was_on: bool,
        failure: Option<&Failure>,
        now: DateTime<Utc>,
    ) -> Result<(), OutboxError> {
        let known = self.outages.last(connector);
        let outage = match (known, failure) {
            // A good probe alone is no end.
            (Some(outage), Some(_)) if was_on => {
                self.outages.set(connector, Outage { ended_at: None, ..outage });
                return Ok(());
            }
            (Some(outage), None) if was_on => Outage { ended_at: outage.ended_at.or(Some(now)), ..outage },
            (_, Some(failure)) => Outage { started_at: now, ended_at: None, failure: failure.clone() },
            (_, None) => return Ok(()),
        };
        for _ in 0..CONFLICTS_MAX {
            let stored = match self.store.connector(connector).await {
                // It is known here, and the next process begins anew.
                Err(error) if error.is_of_record() => break,
                stored => stored?,
            };
            let mut record = stored.unwrap_or_else(|| ConnectorRecord::new(connector.clone()));
            record.outage = Some(outage.clone());
            let batch = Batch { connectors: vec![record], ..Batch::default() };
            if self.together.commit(batch).await? == Committed::Done {
                break;
            }
        }
        self.outages.set(connector, outage);
        Ok(())
    }
}
