//! The rules, one by one, in virtual time.

mod fleet;
mod properties;
mod rules;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use connector_health::monitor::{Change, FailureClass, Observation, StepKind};
use connector_health::{Monitor, Thresholds};

pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_000_000, 0).unwrap()
}

/// A monitor and a clock that stands still until it is told to move.
pub(crate) struct Bench {
    pub(crate) monitor: Monitor,
    pub(crate) now: DateTime<Utc>,
}

impl Bench {
    pub(crate) fn new(thresholds: Thresholds) -> Self {
        Self { monitor: Monitor::new(thresholds), now: start() }
    }

    /// One that was seen to work.
    pub(crate) fn healthy() -> Self {
        let mut bench = Self::new(Thresholds::default());
        bench.good();
        bench
    }

    /// Lets time pass, without a tick.
    pub(crate) fn pass(&mut self, seconds: i64) -> &mut Self {
        self.now += TimeDelta::seconds(seconds);
        self
    }

    pub(crate) fn see(&mut self, observation: Observation) -> Option<Change> {
        self.monitor.observe(observation, self.now)
    }

    pub(crate) fn tick(&mut self) -> Option<Change> {
        self.monitor.tick(self.now)
    }

    pub(crate) fn explain(&self) -> String {
        self.monitor.explain(self.now)
    }

    pub(crate) fn good(&mut self) -> Option<Change> {
        self.see(Observation::probe_confirmed(Duration::from_millis(40)))
    }

    pub(crate) fn bad(&mut self) -> Option<Change> {
        self.see(Observation::probe_failed(FailureClass::Unreachable, "connection refused"))
    }

    /// Good probes every half minute for this long.
    pub(crate) fn good_for(&mut self, seconds: i64) -> Vec<Change> {
        (0..seconds / 30).filter_map(|_| self.pass(30).good()).collect()
    }
}

pub(crate) fn kinds(change: &Option<Change>) -> Vec<StepKind> {
    change.iter().flat_map(|change| &change.steps).map(|step| step.kind).collect()
}
