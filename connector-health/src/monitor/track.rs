//! The state machine of one dimension.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::thresholds::{Thresholds, ms};
use super::tier::{Dimension, FailureClass, Tier};

/// Something that happened to one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which one.
    pub dimension: Dimension,
    /// What.
    pub kind: StepKind,
    /// Its tier before.
    pub from: Tier,
    /// Its tier after.
    pub to: Tier,
    /// Of what kind its failure is, or was.
    pub class: Option<FailureClass>,
}

/// What happened to a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepKind {
    /// The first success of all.
    FirstSeen,
    /// A single failure where all was well: to be logged, and no alert.
    Transient,
    /// Degraded, or failed after that.
    Worsened,
    /// As bad as before, for another reason.
    Reclassified,
    /// Healthy again.
    Recovered,
    /// The credential comes near its end.
    ExpiryNear,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Track {
    pub(super) dimension: Dimension,
    pub(super) tier: Tier,
    pub(super) class: Option<FailureClass>,
    pub(super) sample: Option<String>,
    /// Of the failing run that is on, whether or not it is bad yet.
    pub(super) first_failure_at: Option<DateTime<Utc>>,
    pub(super) last_failure_at: Option<DateTime<Utc>>,
    pub(super) last_success_at: Option<DateTime<Utc>>,
    /// Failures in the run.
    pub(super) failures: u64,
    pub(super) failing_cycles: u32,
    pub(super) degraded: Option<Moment>,
    /// Since when it has gone well without a failure, while it is not healthy again.
    pub(super) recovering: Option<Moment>,
    pub(super) successes: u32,
    pub(super) flaps: u32,
    recovered: Option<Moment>,
    /// What failed last in the cycle that is on.
    pub(super) in_cycle: Option<FailureClass>,
    /// Another class that was seen while bad, and how often running.
    other: Option<(FailureClass, u32)>,
}

impl Track {
    pub(super) fn new(dimension: Dimension) -> Self {
        Self {
            dimension,
            tier: Tier::Unknown,
            class: None,
            sample: None,
            first_failure_at: None,
            last_failure_at: None,
            last_success_at: None,
            failures: 0,
            failing_cycles: 0,
            degraded: None,
            recovering: None,
            successes: 0,
            flaps: 0,
            recovered: None,
            in_cycle: None,
            other: None,
        }
    }

    /// Takes a failure. Whether it makes the dimension bad is for others to say.
    pub(super) fn fail(&mut self, class: FailureClass, sample: &str, now: DateTime<Utc>) -> Option<Step> {
        let first = self.in_cycle.is_none() && self.failing_cycles == 0 && !self.tier.is_bad();
        self.touch(now);
        self.in_cycle = Some(class);
        if !sample.is_empty() {
            self.sample = Some(sample.to_owned());
        }
        first.then(|| self.step(StepKind::Transient, self.tier, Some(class)))
    }

    /// Whatever recovery was under way begins again.
    pub(super) fn touch(&mut self, now: DateTime<Utc>) {
        self.first_failure_at.get_or_insert(now);
        self.last_failure_at = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.recovering = None;
        self.successes = 0;
    }

    /// Makes it degraded; where it is bad already, another class takes over once it was seen `failed_cycles` times running, so that two
    /// that alternate are one alert.
    pub(super) fn degrade(
        &mut self,
        class: FailureClass,
        thresholds: &Thresholds,
        now: DateTime<Utc>,
        t: Moment,
    ) -> Option<Step> {
        self.first_failure_at.get_or_insert(now);
        self.recovering = None;
        self.successes = 0;
        let from = self.tier;
        if from.is_bad() {
            return self.reclassify(class, thresholds);
        }
        if let Some(recovered) = self.recovered {
            let healthy_for = t.since(recovered);
            let forgotten = healthy_for.div_euclid(ms(thresholds.flap_decay_s));
            self.flaps = match forgotten {
                0 => self.flaps.saturating_add(1).min(32),
                forgotten => self.flaps.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX)),
            };
        }
        self.tier = Tier::Degraded;
        self.class = Some(class);
        self.degraded = Some(t);
        self.other = None;
        Some(self.step(StepKind::Worsened, from, self.class))
    }

    fn reclassify(&mut self, class: FailureClass, thresholds: &Thresholds) -> Option<Step> {
        if self.class == Some(class) {
            self.other = None;
            return None;
        }
        let seen = match self.other {
            Some((other, seen)) if other == class => seen.saturating_add(1),
            _ => 1,
        };
        self.other = Some((class, seen));
        if seen < thresholds.failed_cycles.max(1) {
            return None;
        }
        self.other = None;
        self.class = Some(class);
        Some(self.step(StepKind::Reclassified, self.tier, self.class))
    }

    /// Makes it failed where it has been degraded for too long. While it goes well again the time stands still; a failure within
    /// recovery finds it where it was.
    pub(super) fn escalate(&mut self, thresholds: &Thresholds, t: Moment) -> Option<Step> {
        if t < self.fails_at(thresholds)? {
            return None;
        }
        self.tier = Tier::Failed;
        Some(self.step(StepKind::Worsened, Tier::Degraded, self.class))
    }

    pub(super) fn fails_at(&self, thresholds: &Thresholds) -> Option<Moment> {
        match (self.tier, self.recovering) {
            (Tier::Degraded, None) => Some(self.degraded?.plus(ms(thresholds.fail_after_s))),
            _ => None,
        }
    }

    /// Takes a success. Only a success makes healthy: time alone never does.
    pub(super) fn succeed(&mut self, thresholds: &Thresholds, now: DateTime<Utc>, t: Moment) -> Option<Step> {
        self.last_success_at = Some(now);
        let from = self.tier;
        match from {
            Tier::Healthy => None,
            Tier::Unknown => {
                self.tier = Tier::Healthy;
                Some(self.step(StepKind::FirstSeen, from, None))
            }
            Tier::Degraded | Tier::Failed => {
                self.successes = self.successes.saturating_add(1);
                let since = *self.recovering.get_or_insert(t);
                let held = t.since(since) >= thresholds.hold_down_ms(self.flaps);
                // INVARIANT: no way to healthy but this one: enough successes, none after a failure, over the whole hold-down.
                if !held || self.successes < thresholds.recovery_successes.max(1) {
                    return None;
                }
                let class = self.class.take();
                self.tier = Tier::Healthy;
                self.recovered = Some(t);
                self.recovering = None;
                self.successes = 0;
                self.degraded = None;
                self.other = None;
                self.end_run();
                Some(self.step(StepKind::Recovered, from, class))
            }
        }
    }

    /// The run of failures is over, where it never became bad.
    pub(super) fn end_run(&mut self) {
        self.failing_cycles = 0;
        if !self.tier.is_bad() {
            self.first_failure_at = None;
            self.sample = None;
            self.failures = 0;
        }
    }

    pub(super) fn step(&self, kind: StepKind, from: Tier, class: Option<FailureClass>) -> Step {
        Step { dimension: self.dimension, kind, from, to: self.tier, class }
    }
}
