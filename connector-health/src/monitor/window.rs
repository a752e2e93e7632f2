//! Counts over sliding windows, in bounded memory.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::thresholds::{Thresholds, ms};
use super::tier::FailureClass;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const FINE_KEPT: i64 = 6 * 60;
const COARSE_KEPT: i64 = 3 * 24 * 2;

/// How many operations went well and badly, by minute for six hours and by half hour for three days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcomes {
    fine: VecDeque<Bucket>,
    coarse: VecDeque<Bucket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket {
    number: i64,
    good: u32,
    bad: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) good: u64,
    pub(super) bad: u64,
}

impl Counts {
    pub(super) fn all(self) -> u64 {
        self.good.saturating_add(self.bad)
    }

    /// Whether more than `permille` of a thousand are bad.
    fn over(self, permille: u64) -> bool {
        self.bad.saturating_mul(1_000) > permille.saturating_mul(self.all())
    }
}

/// The SRE workbook's multiwindow burn rates (chapter 5): tenths of the budget's rate over a long and a short window.
const BURNS: [(u64, i64, i64, FailureClass); 3] = [
    (144, HOUR, 5 * MINUTE, FailureClass::BurnRate),
    (60, 6 * HOUR, 30 * MINUTE, FailureClass::BurnRate),
    (10, 72 * HOUR, 6 * HOUR, FailureClass::SlowBurn),
];

impl Outcomes {
    pub(super) fn add(&mut self, good: bool, t: Moment) {
        add(&mut self.fine, t.bucket(MINUTE), FINE_KEPT, good);
        add(&mut self.coarse, t.bucket(HOUR / 2), COARSE_KEPT, good);
    }

    /// What was told and is over is not counted towards the next alert.
    pub(super) fn forget(&mut self) {
        self.fine.clear();
        self.coarse.clear();
    }

    pub(super) fn over(&self, window_ms: i64, t: Moment) -> Counts {
        let (buckets, width) = match window_ms > 6 * HOUR {
            true => (&self.coarse, HOUR / 2),
            false => (&self.fine, MINUTE),
        };
        let oldest = t.bucket(width).saturating_sub(window_ms.div_euclid(width));
        buckets.iter().rev().take_while(|bucket| bucket.number > oldest).fold(
            Counts::default(),
            |sum, bucket| Counts {
                good: sum.good.saturating_add(bucket.good.into()),
                bad: sum.bad.saturating_add(bucket.bad.into()),
            },
        )
    }

    /// The counted failure that is there, with its numbers.
    pub(super) fn judge(&self, thresholds: &Thresholds, t: Moment) -> Option<(FailureClass, Counts)> {
        let recent = self.over(ms(thresholds.ratio_window_s).min(6 * HOUR), t);
        if recent.all() >= u64::from(thresholds.sample_min.max(1))
            && recent.over(u64::from(thresholds.failure_percent.clamp(1, 100)).saturating_mul(10))
        {
            return Some((FailureClass::FailureRatio, recent));
        }
        let budget = u64::from(thresholds.error_budget_permille.max(1));
        BURNS.into_iter().find_map(|(tenths, long, short, class)| {
            let permille = budget.saturating_mul(tenths).div_euclid(10);
            let (lasting, now) = (self.over(long, t), self.over(short, t));
            (lasting.bad >= u64::from(thresholds.burn_failures_min.max(1))
                && lasting.all() >= u64::from(thresholds.sample_min.max(1))
                && lasting.over(permille)
                && now.over(permille))
            .then_some((class, lasting))
        })
    }
}

fn add(buckets: &mut VecDeque<Bucket>, number: i64, kept: i64, good: bool) {
    if buckets.back().is_none_or(|last| last.number < number) {
        buckets.push_back(Bucket { number, good: 0, bad: 0 });
        while buckets.front().is_some_and(|first| first.number <= number.saturating_sub(kept)) {
            buckets.pop_front();
        }
    }
    if let Some(last) = buckets.back_mut() {
        let count = if good { &mut last.good } else { &mut last.bad };
        *count = count.saturating_add(1);
    }
}
