//! What is usual at an hour of the week, and robustly so: neither one bad day nor the attack itself makes it more.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::rule::WEEKS_MIN;
use super::window::Place;

/// Most events of one window that are counted. A threshold above it is met there.
pub const VOLUME_MAX: usize = 65_536;

/// Weeks that are remembered.
pub const WEEKS_KEPT: usize = 8;

/// Hours in a row in which nothing at all may be heard of a tenant, as at night or on a weekend. Nothing is learnt of a gap that is longer: it was
/// not quiet, but nothing was delivered.
pub const GAP_HOURS_MAX: i64 = 72;

/// Weeks in a row in which an hour was an attack before it is what is usual: a tenant may have grown.
pub const WEEKS_ACCEPTED: usize = 4;

const HOURS_OF_WEEK: usize = 168;
const HOUR_MS: i64 = 3_600_000;

/// Counts of one tenant. Each hour that ends leaves the count of the window that ends with it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Baseline {
    window: VecDeque<Place>,
    /// Of each hour of the week, the last hours, oldest first.
    samples: Vec<VecDeque<Sample>>,
    /// The hour that is under way, since 1970, and when the first event came.
    under_way: Option<(i64, i64)>,
    /// Hours since the last event that was counted in which others came, oldest first.
    heard: VecDeque<i64>,
    /// The first hour after the last gap.
    gapless_since: i64,
    /// Until then, what is counted is an attack and not usual.
    alerting_until: i64,
    /// What is usual at the hour under way and the one before, so that not each event asks for it anew.
    #[serde(skip)]
    known: Option<(i64, Usual)>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Sample {
    hour: i64,
    count: u32,
    is_attack: bool,
}

/// Median and spread of an hour and of the one before.
type Usual = [Option<(f64, f64)>; 2];

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
            heard: VecDeque::new(),
            gapless_since: i64::MIN,
            alerting_until: i64::MIN,
            known: None,
        }
    }
}

impl Baseline {
    pub(super) fn count(&mut self, (at, offset): Place, window_ms: i64) {
        self.roll(at, window_ms);
        let hour = at.div_euclid(HOUR_MS);
        if self.known.is_none_or(|(of, _)| of != hour) {
            self.known = Some((hour, self.usual(hour)));
        }
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

    /// An event of the tenant came in that hour, of whatever kind.
    pub(super) fn hear(&mut self, hour: i64) {
        let is_next = self.under_way.is_some_and(|(last, _)| hour > last)
            && self.heard.back().is_none_or(|last| hour > *last);
        if is_next {
            // What is longer ago than is remembered would be forgotten again.
            if self.heard.len() >= WEEKS_KEPT.saturating_mul(HOURS_OF_WEEK) {
                self.heard.pop_front();
            }
            self.heard.push_back(hour);
        }
    }

    /// Ends the hours that are over.
    fn roll(&mut self, at: i64, window_ms: i64) {
        let now = at.div_euclid(HOUR_MS);
        let Some((mut hour, since)) = self.under_way else {
            self.under_way = Some((now, at));
            self.gapless_since = now;
            return;
        };
        if now <= hour {
            return;
        }
        let mut first = self.gapless_since;
        loop {
            self.end(hour, first, since, window_ms);
            let next = self.heard.pop_front().map_or(now, |next| next.min(now));
            if next.saturating_sub(hour) > GAP_HOURS_MAX {
                first = next;
            } else {
                for quiet in hour.saturating_add(1)..next {
                    self.end(quiet, first, since, window_ms);
                }
            }
            if next >= now {
                break;
            }
            hour = next;
        }
        self.gapless_since = first;
        self.under_way = Some((now, since));
    }

    /// An hour is over. It is a sample where the window that ends with it lies behind the begin and behind the last gap.
    fn end(&mut self, hour: i64, gapless_since: i64, since: i64, window_ms: i64) {
        let start = hour.saturating_add(1).saturating_mul(HOUR_MS).saturating_sub(window_ms);
        self.expire(start);
        if start < since || start < gapless_since.saturating_mul(HOUR_MS) {
            return;
        }
        let is_attack = start < self.alerting_until;
        let count = u32::try_from(self.window.len()).unwrap_or(u32::MAX);
        let Some(samples) = self.samples.get_mut(slot(hour)) else { return };
        if is_accepted(samples.iter().rev()) {
            samples.retain(|sample| sample.is_attack);
            samples.iter_mut().for_each(|sample| sample.is_attack = false);
        }
        samples.push_back(Sample { hour, count, is_attack });
        // One more than are compared with, as the last may be of this week; and attacks push out nothing that is usual.
        while samples.len() > WEEKS_KEPT.saturating_add(WEEKS_ACCEPTED) {
            samples.pop_front();
        }
    }

    /// What was counted last is an attack: until then, nothing becomes usual.
    pub(super) fn freeze(&mut self, until: i64) {
        self.alerting_until = self.alerting_until.max(until);
    }

    pub(super) fn level(&self, at: i64, window_ms: i64, deviations: f64, cold_start: u32) -> Level {
        // The window lies in two hours: the busier of them is what is usual.
        let hour = at.div_euclid(HOUR_MS);
        let known = match self.known {
            Some((of, known)) if of == hour => known,
            _ => self.usual(hour),
        };
        let is_known = known.iter().all(Option::is_some);
        let known = known.into_iter().flatten();
        let above = known.clone().map(|(median, sigma)| median + deviations * sigma);
        let mut above = above.fold(0.0, f64::max);
        if !is_known {
            // One less, as it takes more.
            above = above.max(f64::from(cold_start) - 1.0);
        }
        let usual = known.map(|(median, _)| median).reduce(f64::max);
        let after = at.saturating_sub(window_ms);
        let from = self.window.partition_point(|(at, _)| *at <= after);
        let count = self.window.len().saturating_sub(from);
        let above = above.min(VOLUME_MAX as f64 - 1.0);
        Level { count, usual, is_known, above, first: self.window.get(from).copied() }
    }

    fn usual(&self, hour: i64) -> Usual {
        [self.usual_at(hour), self.usual_at(hour.saturating_sub(1))]
    }

    /// Median and spread of that hour in the weeks before. What has just ended is part of what is judged, and not of what is usual.
    fn usual_at(&self, hour: i64) -> Option<(f64, f64)> {
        let earlier = || self.samples.get(slot(hour)).into_iter().flatten().rev().filter(|of| of.hour < hour);
        let is_attack = is_accepted(earlier());
        let usual = earlier().filter(|sample| sample.is_attack == is_attack);
        let samples: Vec<_> = usual.take(WEEKS_KEPT).map(|sample| f64::from(sample.count)).collect();
        if samples.len() < WEEKS_MIN {
            return None;
        }
        let centre = median(samples.clone());
        let spread = median(samples.iter().map(|count| (count - centre).abs()).collect());
        // Counts of things that happen by themselves spread by their root; a few weeks may by chance show less.
        Some((centre, (1.4826 * spread).max(centre.sqrt()).max(1.0)))
    }

    /// The clock was ahead and is set back: what is counted just now is forgotten, and what is usual is not.
    pub(super) fn set_back(&mut self) {
        let samples = std::mem::take(&mut self.samples);
        *self = Self { samples, ..Self::default() };
    }

    /// When the last event came.
    pub(super) fn last_at(&self) -> Option<i64> {
        self.window.back().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.window.len().saturating_add(self.samples.iter().map(VecDeque::len).sum())
    }
}

/// Whether the latest, which come first, are attacks for so long that they are what is usual.
fn is_accepted<'s>(samples: impl Iterator<Item = &'s Sample>) -> bool {
    samples.take_while(|sample| sample.is_attack).count() >= WEEKS_ACCEPTED
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
