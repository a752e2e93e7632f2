//! What is usual, and whether the present is far from it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::thresholds::Thresholds;
use super::tier::FailureClass;

/// Recent latencies that the present is judged by.
const RECENT_MAX: usize = 64;
/// How long they count.
const RECENT_MS: i64 = 10 * 60 * 1_000;
/// Each bucket reaches a quarter further than the one before it, from 1 ms to more than 15 minutes.
const BUCKETS: usize = 64;
/// Samples after which something is known to be usual.
const LEARNED: u64 = 200;
/// Samples after which the older half of the weight is let go, so that the baseline follows the application's own change.
const HALVED_AT: u64 = 20_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Latency {
    recent: VecDeque<(Moment, u32)>,
    /// Of the present cycle; learned from only once it has ended well.
    cycle: Vec<u32>,
    baseline: Baseline,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Baseline {
    buckets: Vec<u32>,
}

/// How the present is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Nothing was measured in this cycle.
    Unmeasured,
    /// As it should be.
    Good,
    /// Not: of which class, and the milliseconds.
    Bad(FailureClass, u32),
}

impl Latency {
    pub(super) fn add(&mut self, latency_ms: u32, t: Moment) {
        while self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((t, latency_ms));
        if self.cycle.len() < RECENT_MAX {
            self.cycle.push(latency_ms);
        }
    }

    /// Judges the cycle that ends. `good_times` says whether it may be learned from.
    pub(super) fn end_cycle(&mut self, thresholds: &Thresholds, good_times: bool, t: Moment) -> Pace {
        self.recent.retain(|(at, _)| t.since(*at) <= RECENT_MS);
        let pace = self.pace(thresholds);
        // INVARIANT: the baseline holds nothing from cycles that failed, were slow, or ended while something was wrong.
        if good_times && pace == Pace::Good {
            self.cycle.iter().for_each(|latency_ms| self.baseline.learn(*latency_ms));
        }
        self.cycle.clear();
        pace
    }

    fn pace(&self, thresholds: &Thresholds) -> Pace {
        let Some(fastest) = self.cycle.iter().copied().min() else { return Pace::Unmeasured };
        let ceiling = thresholds.latency_ceiling_ms.max(1);
        // Few samples have no 95th percentile; what was slow even at its fastest needs none. A connector without work has a probe
        // now and then, and never as many.
        if fastest > ceiling {
            return Pace::Bad(FailureClass::OverCeiling, fastest);
        }
        let slow = self.baseline.p95().map(|usual| usual.saturating_mul(thresholds.latency_factor.max(1)));
        let slow = slow.map(|slow| slow.max(thresholds.latency_floor_ms));
        if slow.is_some_and(|slow| fastest > slow) {
            return Pace::Bad(FailureClass::Slow, fastest);
        }
        match (self.p95(thresholds), slow) {
            (Some(p95), _) if p95 > ceiling => Pace::Bad(FailureClass::OverCeiling, p95),
            (Some(p95), Some(slow)) if p95 > slow => Pace::Bad(FailureClass::Slow, p95),
            _ => Pace::Good,
        }
    }

    /// Of what was measured recently, where that is enough.
    pub(super) fn p95(&self, thresholds: &Thresholds) -> Option<u32> {
        let mut recent: Vec<u32> = self.recent.iter().map(|(_, latency_ms)| *latency_ms).collect();
        let wanted = usize::try_from(thresholds.sample_min.max(1)).unwrap_or(usize::MAX).min(RECENT_MAX);
        if recent.len() < wanted {
            return None;
        }
        recent.sort_unstable();
        recent.get(recent.len().saturating_sub(1).saturating_mul(95).div_euclid(100)).copied()
    }

    pub(super) fn usual_p95(&self) -> Option<u32> {
        self.baseline.p95()
    }
}

impl Baseline {
    fn learn(&mut self, latency_ms: u32) {
        self.buckets.resize(BUCKETS, 0);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(latency_ms)) {
            *bucket = bucket.saturating_add(1);
        }
        if self.samples() >= HALVED_AT {
            self.buckets.iter_mut().for_each(|bucket| *bucket = bucket.div_euclid(2));
        }
    }

    fn samples(&self) -> u64 {
        self.buckets.iter().map(|bucket| u64::from(*bucket)).sum()
    }

    /// At most a quarter above the true one; `None` while too little is known.
    fn p95(&self) -> Option<u32> {
        let samples = self.samples();
        if samples < LEARNED {
            return None;
        }
        let mut left = samples.saturating_mul(95).div_ceil(100);
        let found = self.buckets.iter().position(|bucket| {
            left = left.saturating_sub(u64::from(*bucket));
            left == 0
        });
        Some(found.map_or(u32::MAX, upper_edge))
    }
}

fn upper_edge(bucket: usize) -> u32 {
    (0..bucket).fold(1_u32, |edge, _| edge.saturating_add(edge.div_ceil(4)))
}

fn bucket_of(latency_ms: u32) -> usize {
    let mut edge = 1_u32;
    (0..BUCKETS.saturating_sub(1))
        .find(|_| {
            let here = latency_ms <= edge;
            edge = edge.saturating_add(edge.div_ceil(4));
            here
        })
        .unwrap_or(BUCKETS.saturating_sub(1))
}
