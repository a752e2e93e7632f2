//! When something is bad, and when it is good again.

use serde::{Deserialize, Serialize};

/// Most entries of [`Thresholds::expiry_warn_days`] that are read.
pub const EXPIRY_WARNINGS_MAX: usize = 16;

/// When a connector is degraded, failed and healthy again. The defaults are those of the product.
///
/// Every number is taken as at least 1, so that no setting turns a detector off by accident; a very large one turns it off on
/// purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Consecutive failed cycles that make a connector degraded. 2.
    pub failed_cycles: u32,
    /// Seconds degraded after which it is failed. 600.
    pub fail_after_s: u64,
    /// Seconds without a confirmed success that count as a failure, though nothing failed. 900.
    pub stale_after_s: u64,
    /// Fewest operations that a failure ratio is taken of. 20.
    pub sample_min: u32,
    /// Percentage of failed operations in [`ratio_window_s`](Self::ratio_window_s) that is too much. 40, as Microsoft Entra ID has it.
    pub failure_percent: u8,
    /// Seconds over which the failure ratio is taken, at most 6 hours. 600.
    pub ratio_window_s: u64,
    /// Failed operations per thousand that are in order, for the burn rate. 10.
    pub error_budget_permille: u32,
    /// Fewest failures that a burn rate is taken of, so that no single one in a quiet time is called a fire. 10.
    pub burn_failures_min: u32,
    /// How many times the usual 95th percentile of latency is slow. 3.
    pub latency_factor: u32,
    /// Milliseconds below which nothing is called slow, however fast it usually is. 250.
    pub latency_floor_ms: u32,
    /// Milliseconds that are too slow whatever is usual. 10,000.
    pub latency_ceiling_ms: u32,
    /// Successes in a row that make it healthy again. 3.
    pub recovery_successes: u32,
    /// Seconds without failure that make it healthy again. 300.
    pub hold_down_s: u64,
    /// Longest hold-down that flapping leads to, in seconds. 3,600.
    pub hold_down_max_s: u64,
    /// Healthy seconds that make one flap forgotten; failing again sooner is a flap. 3,600.
    pub flap_decay_s: u64,
    /// Seconds until the first probe of a connector that refuses or does not answer; doubled after each. 30.
    pub probe_every_s: u64,
    /// Longest time between two such probes, in seconds. 300.
    pub probe_every_max_s: u64,
    /// Days before the end of a credential at which is warned of it. 30, 7 and 1.
    pub expiry_warn_days: Vec<u32>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            failed_cycles: 2,
            fail_after_s: 600,
            stale_after_s: 900,
            sample_min: 20,
            failure_percent: 40,
            ratio_window_s: 600,
            error_budget_permille: 10,
            burn_failures_min: 10,
            latency_factor: 3,
            latency_floor_ms: 250,
            latency_ceiling_ms: 10_000,
            recovery_successes: 3,
            hold_down_s: 300,
            hold_down_max_s: 3_600,
            flap_decay_s: 3_600,
            probe_every_s: 30,
            probe_every_max_s: 300,
            expiry_warn_days: vec![30, 7, 1],
        }
    }
}

impl Thresholds {
    /// The hold-down after this many flaps, in milliseconds: doubled by each, up to the longest.
    pub(super) fn hold_down_ms(&self, flaps: u32) -> i64 {
        let longest = self.hold_down_max_s.max(self.hold_down_s);
        let doubled = self.hold_down_s.max(1).saturating_mul(1_u64.checked_shl(flaps).unwrap_or(u64::MAX));
        ms(doubled.min(longest))
    }

    /// The time to the next probe after this many failed, in milliseconds.
    pub(super) fn probe_wait_ms(&self, failed: u32) -> i64 {
        let longest = self.probe_every_max_s.max(self.probe_every_s);
        let doubled = self.probe_every_s.max(1).saturating_mul(1_u64.checked_shl(failed).unwrap_or(u64::MAX));
        ms(doubled.min(longest))
    }
}

/// Seconds as milliseconds; at least one second.
pub(super) fn ms(seconds: u64) -> i64 {
    i64::try_from(seconds.max(1).saturating_mul(1_000)).unwrap_or(i64::MAX)
}
