//! Latency and failures of the last while, for pictures.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use connector_health::ConnectorId;
use connector_health::observe::Attempted;

/// Bars of one picture.
const BARS: usize = 60;

/// What the pictures show.
pub(super) struct Charts {
    step: TimeDelta,
    connectors: Mutex<BTreeMap<ConnectorId, VecDeque<Bar>>>,
}

#[derive(Clone, Copy)]
struct Bar {
    number: i64,
    answers: u32,
    latency_ms: u64,
    failures: u32,
}

impl Charts {
    pub(super) fn new(connectors: Vec<ConnectorId>, step: TimeDelta) -> Self {
        let connectors = connectors.into_iter().map(|id| (id, VecDeque::new())).collect();
        Self { step: step.max(TimeDelta::milliseconds(1)), connectors: Mutex::new(connectors) }
    }

    fn number(&self, at: DateTime<Utc>) -> i64 {
        at.timestamp_millis().div_euclid(self.step.num_milliseconds().max(1))
    }

    pub(super) fn attempted(&self, attempted: &Attempted<'_>) {
        let number = self.number(attempted.at);
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bars) = connectors.get_mut(attempted.connector) else { return };
        if bars.back().is_none_or(|bar| bar.number < number) {
            bars.push_back(Bar { number, answers: 0, latency_ms: 0, failures: 0 });
        }
        while bars.len() > BARS {
            bars.pop_front();
        }
        let Some(bar) = bars.back_mut() else { return };
        match attempted.failure {
            None => {
                bar.answers = bar.answers.saturating_add(1);
                let latency = u64::try_from(attempted.duration.as_millis()).unwrap_or(u64::MAX);
                bar.latency_ms = bar.latency_ms.saturating_add(latency);
            }
            Some(_) => bar.failures = bar.failures.saturating_add(1),
        }
    }

    /// Mean latency in milliseconds (none where nothing was answered) and failures, oldest first.
    pub(super) fn of(&self, connector: &ConnectorId, now: DateTime<Utc>) -> (Vec<Option<u64>>, Vec<u32>) {
        let (mut latency, mut failures) = (vec![None; BARS], vec![0; BARS]);
        let last = self.number(now);
        let connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        for bar in connectors.get(connector).into_iter().flatten() {
            let Ok(back) = usize::try_from(last - bar.number) else { continue };
            let Some(at) = (BARS - 1).checked_sub(back) else { continue };
            if let (Some(latency), Some(failures)) = (latency.get_mut(at), failures.get_mut(at)) {
                // Answers on loopback take less than a millisecond: that is not nothing.
                *latency = (bar.answers > 0).then(|| (bar.latency_ms / u64::from(bar.answers)).max(1));
                *failures = bar.failures;
            }
        }
        (latency, failures)
    }
}
