//! What is usual at an hour of the week, and robustly so: neither one bad day nor the attack itself makes it more.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::rule::WEEKS_MIN;
use super::window::Place;

/// Most events of one window that are counted. A threshold above it is met there.
pub const VOLUME_MAX: usize = 65_536;

/// Weeks that are remembered.
pub const WEEKS_KEPT: usize = 8;

const HOURS_OF_WEEK: usize = 168;
const HOUR_MS: i64 = 3_600_000;

/// Counts of one tenant. Each hour that ends leaves the count of the window that ends with it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Baseline {
    window: VecDeque<Place>,
    /// Of each hour of the week, the last hours and their counts, oldest first.
    samples: Vec<VecDeque<(i64, u32)>>,
    /// The hour that is under way, since 1970, and when the first event came.
    under_way: Option<(i64, i64)>,
    /// Until then, what is counted is an attack and not usual.
    alerting_until: i64,
}

/// What a window holds, and what is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) count: usize,
    /// Median of earlier weeks; nothing as long as too few are known.
    pub(super) usual: Option<f64>,
    /// Whether that is known of every hour that the window lies in.
    pub(super) is_known: bool,
    /// It takes more than this.
    pub(super) above: f64,
    pub(super) first: Option<Place>,
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            window: VecDeque::new(),
            samples: vec![VecDeque::new(); HOURS_OF_WEEK],
            under_way: None,
            alerting_until: i64::MIN,
        }
    }
}

impl Baseline {
    pub(super) fn count(&mut self, (at, offset): Place, window_ms: i64) {
        self.roll(at, window_ms);
        self.expire(at.saturating_sub(window_ms));
        if self.window.len() >= VOLUME_MAX {
            self.window.pop_front();
        }
        self.window.push_back((at, offset));
    }

    fn expire(&mut self, until: i64) {
        while self.window.front().is_some_and(|(at, _)| *at <= until) {
            self.window.pop_front();
        }
    }

    /// Ends the hours that are over.
    fn roll(&mut self, at: i64, window_ms: i64) {
        let now = at.div_euclid(HOUR_MS);
        let Some((hour, since)) = self.under_way else {
            self.under_way = Some((now, at));
            return;
        };
        // What is longer ago than is remembered would be forgotten again.
        let kept = i64::try_from(WEEKS_KEPT * HOURS_OF_WEEK).unwrap_or(i64::MAX);
        for hour in hour.max(now.saturating_sub(kept))..now {
            let end = hour.saturating_add(1).saturating_mul(HOUR_MS);
            let start = end.saturating_sub(window_ms);
            self.expire(start);
            if start >= since
                && start >= self.alerting_until
                && let Some(samples) = self.samples.get_mut(slot(hour))
            {
                // One more than are compared with: the last may be of this week.
                if samples.len() > WEEKS_KEPT {
                    samples.pop_front();
                }
                samples.push_back((hour, u32::try_from(self.window.len()).unwrap_or(u32::MAX)));
            }
        }
        self.under_way = Some((now.max(hour), since));
    }

    /// What was counted last is an attack: until then, nothing becomes usual.
    pub(super) fn freeze(&mut self, until: i64) {
        self.alerting_until = self.alerting_until.max(until);
    }

    pub(super) fn level(&self, at: i64, window_ms: i64, deviations: f64, cold_start: u32) -> Level {
        let hour = at.div_euclid(HOUR_MS);
        // The window lies in two hours: the busier of them is what is usual.
        let known: Vec<_> =
            [hour, hour.saturating_sub(1)].iter().filter_map(|hour| self.usual(*hour)).collect();
        let above = known.iter().map(|(median, sigma)| median + deviations * sigma);
        let mut above = above.fold(0.0, f64::max);
        if known.len() < 2 {
            // One less, as it takes more.
            above = above.max(f64::from(cold_start) - 1.0);
        }
        let usual = known.iter().map(|(median, _)| *median).reduce(f64::max);
        let after = at.saturating_sub(window_ms);
        let from = self.window.partition_point(|(at, _)| *at <= after);
        let count = self.window.len().saturating_sub(from);
        let above = above.min(VOLUME_MAX as f64 - 1.0);
        Level { count, usual, is_known: known.len() == 2, above, first: self.window.get(from).copied() }
    }

    /// Median and spread of that hour in the weeks before. What has just ended is part of what is judged, and not of what is usual.
    fn usual(&self, hour: i64) -> Option<(f64, f64)> {
        let earlier = self.samples.get(slot(hour))?.iter().filter(|(of, _)| *of < hour);
        let samples: Vec<_> = earlier.rev().take(WEEKS_KEPT).map(|(_, count)| f64::from(*count)).collect();
        if samples.len() < WEEKS_MIN {
            return None;
        }
        let centre = median(samples.clone());
        let spread = median(samples.iter().map(|count| (count - centre).abs()).collect());
        // Counts of things that happen by themselves spread by their root; a few weeks may by chance show less.
        Some((centre, (1.4826 * spread).max(centre.sqrt()).max(1.0)))
    }

    /// When the last event came.
    pub(super) fn last_at(&self) -> Option<i64> {
        self.window.back().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.window.len().saturating_add(self.samples.iter().map(VecDeque::len).sum())
    }
}

fn slot(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(HOURS_OF_WEEK as i64)).unwrap_or_default()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    match values.len() % 2 {
        0 => (at(middle.saturating_sub(1)) + at(middle)) / 2.0,
        _ => at(middle),
    }
}
