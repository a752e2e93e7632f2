//! Alerts: what is said, and that it arrives.

mod book;
mod delivery;
mod redaction;
#[cfg(feature = "smtp")]
mod smtp;
#[cfg(feature = "webhook")]
mod webhook;

use connector_health::ConnectorId;
use connector_health::alert::{Alert, AlertBook, AlertRules, Backlog};
use connector_health::monitor::Observation;

use crate::monitor::Bench;

pub(crate) fn connector() -> ConnectorId {
    ConnectorId::new("crm").unwrap()
}

/// A monitor and the book of its alerts.
pub(crate) struct Watched {
    pub(crate) bench: Bench,
    pub(crate) book: AlertBook,
    pub(crate) queue: Backlog,
}

impl Watched {
    pub(crate) fn healthy() -> Self {
        let book = AlertBook::new(connector(), AlertRules::default());
        Self { bench: Bench::healthy(), book, queue: Backlog::default() }
    }

    pub(crate) fn update(&mut self) -> Vec<Alert> {
        self.book.update(&self.bench.monitor, &self.queue, self.bench.now)
    }

    /// Good probes until it is healthy; gives what was said.
    pub(crate) fn heal(&mut self) -> Vec<Alert> {
        let mut said = Vec::new();
        while self.bench.monitor.tier().is_bad() {
            self.bench.pass(30).good();
            said.extend(self.update());
        }
        said
    }
}

/// One alert about a refused credential.
pub(crate) fn an_alert() -> Alert {
    let mut watched = Watched::healthy();
    watched.bench.see(Observation::authentication_failed("401"));
    watched.update().pop().unwrap()
}
