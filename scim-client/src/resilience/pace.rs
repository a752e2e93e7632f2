//! How fast requests follow each other, as a pure state: slower when the server asks for it, faster again when it no longer does.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Requests that may go at once after a pause, before the rate counts.
pub const BURST: u32 = 10;

/// A 429 or 503 leaves so much of the rate.
pub const SLOWDOWN: f64 = 0.7;

/// Lowest rate, in requests a second, however often the server asks for fewer.
pub const RATE_MIN: f64 = 0.1;

/// So long it takes until a rate that was lowered is again what it was. It grows as in CUBIC (RFC 9438 §4.2): fast at first, hardly where
/// the server asked for less, and ever faster beyond.
const RECOVERY_S: f64 = 30.0;

/// Without a bound a rate is no limit any more where it is so many times what it was, and so much a second at least.
const RECOVERED_TIMES: f64 = 2.0;
const RECOVERED_MIN: f64 = 2.0;

/// Over so long the rate is measured, and over so many requests.
const MEASURED: TimeDelta = TimeDelta::seconds(10);
const MEASURED_MAX: usize = 256;

/// Which request it was, so that late answers do not count twice.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Grant(u64);

/// Whether a request may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// It may.
    Go(Grant),
    /// After so long it is to ask again.
    Wait(Duration),
    /// The server wants no request before so long.
    Paused(Duration),
}

/// The pace. Time is an argument; nothing here waits.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Requests that may go at once; below one, none.
    tokens: f64,
    /// When they were counted.
    at: Option<DateTime<Utc>>,
    slow: Option<Slow>,
    pause: Option<Pause>,
    granted: u64,
    /// The last request before the rate was lowered.
    lowered_at: u64,
    recent: VecDeque<DateTime<Utc>>,
}

/// A rate that was lowered.
#[derive(Clone, Copy, Debug)]
struct Slow {
    since: DateTime<Utc>,
    /// Requests a second before.
    before: f64,
}

/// What `Retry-After` said.
#[derive(Clone, Copy, Debug)]
struct Pause {
    since: DateTime<Utc>,
    length: Duration,
}

impl Pace {
    /// Whether a request may go now; `bound` is how many a minute are welcome.
    pub(crate) fn turn(&mut self, now: DateTime<Utc>, bound: Option<u32>) -> Turn {
        if let Some(left) = self.pause_left(now) {
            return Turn::Paused(left);
        }
        let rate = self.rate(now, bound);
        let elapsed = self.at.map(|at| seconds(now - at));
        self.at = Some(now);
        if let Some(rate) = rate {
            let most = f64::from(BURST);
            // Nothing has been counted yet: as after a long pause.
            self.tokens = elapsed.map_or(most, |elapsed| elapsed.mul_add(rate, self.tokens)).min(most);
            // A hair's breadth is for rounding.
            let lacking = 1.0 - self.tokens;
            if lacking > 1e-6 {
                let wait = Duration::try_from_secs_f64(lacking / rate).unwrap_or(Duration::MAX);
                return Turn::Wait(wait.max(Duration::from_millis(1)));
            }
            self.tokens -= 1.0;
        } else {
            self.tokens = f64::from(BURST);
        }
        self.granted = self.granted.saturating_add(1);
        self.recent.push_back(now);
        self.forget(now);
        Turn::Go(Grant(self.granted))
    }

    /// Whether the server wants no request now.
    pub(crate) fn is_paused(&mut self, now: DateTime<Utc>) -> bool {
        self.pause_left(now).is_some()
    }

    /// The server answered that request with 429 or 503, and perhaps said how long to wait.
    pub(crate) fn throttled(
        &mut self,
        grant: Grant,
        retry_after: Option<Duration>,
        now: DateTime<Utc>,
        bound: Option<u32>,
    ) {
        if let Some(length) = retry_after
            && self.pause_left(now).is_none_or(|left| left < length)
        {
            self.pause = Some(Pause { since: now, length });
        }
        // What was sent before the rate was lowered says nothing of the lower rate.
        if grant.0 <= self.lowered_at {
            return;
        }
        self.lowered_at = self.granted;
        let measured = self.measured(now);
        let before = self.rate(now, bound).map_or(measured, |rate| rate.min(measured)).max(RATE_MIN);
        self.slow = Some(Slow { since: now, before });
        self.tokens = self.tokens.min(0.0);
        self.at = Some(now);
    }

    /// Requests a second that may go; `None` without a limit.
    fn rate(&mut self, now: DateTime<Utc>, bound: Option<u32>) -> Option<f64> {
        let bound = bound.map(|a_minute| (f64::from(a_minute) / 60.0).max(RATE_MIN));
        let Some(slow) = &mut self.slow else { return bound };
        if now < slow.since {
            // The clock was set back.
            slow.since = now;
        }
        let beyond = seconds(now - slow.since) / RECOVERY_S - 1.0;
        let rate = (slow.before * (1.0 - SLOWDOWN).mul_add(beyond.powi(3), 1.0)).max(RATE_MIN);
        let recovered = bound.unwrap_or_else(|| (slow.before * RECOVERED_TIMES).max(RECOVERED_MIN));
        if rate >= recovered {
            self.slow = None;
            return bound;
        }
        Some(rate)
    }

    fn pause_left(&mut self, now: DateTime<Utc>) -> Option<Duration> {
        let pause = self.pause.as_mut()?;
        if now < pause.since {
            pause.since = now;
        }
        let over = (now - pause.since).to_std().unwrap_or_default();
        let left = pause.length.checked_sub(over).filter(|left| !left.is_zero());
        if left.is_none() {
            self.pause = None;
        }
        left
    }

    /// Requests a second lately.
    fn measured(&mut self, now: DateTime<Utc>) -> f64 {
        self.forget(now);
        let span = self.recent.front().map_or(1.0, |first| seconds(now - *first).max(1.0));
        // There are few enough of them.
        f64::from(u32::try_from(self.recent.len()).unwrap_or(u32::MAX)) / span
    }

    fn forget(&mut self, now: DateTime<Utc>) {
        while let Some(first) = self.recent.front()
            // What is to come was noted before the clock was set back.
            && (now - *first > MEASURED || *first > now || self.recent.len() > MEASURED_MAX)
        {
            self.recent.pop_front();
        }
    }
}

/// None where the clock was set back.
fn seconds(time: TimeDelta) -> f64 {
    time.to_std().unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    /// Asks until it may go; moves the time.
    fn go(pace: &mut Pace, now: &mut DateTime<Utc>, bound: Option<u32>) -> Grant {
        loop {
            match pace.turn(*now, bound) {
                Turn::Go(grant) => return grant,
                Turn::Wait(wait) | Turn::Paused(wait) => *now += wait,
            }
        }
    }

    #[test]
    fn without_a_bound_nothing_waits() {
        let mut pace = Pace::default();
        assert!((0..10_000).all(|_| matches!(pace.turn(start(), None), Turn::Go(_))));
    }

    #[test]
    fn a_bound_lets_a_burst_go_and_then_its_rate() {
        let mut pace = Pace::default();
        let mut now = start();
        for _ in 0..BURST {
            go(&mut pace, &mut now, Some(180));
        }
        assert_eq!(now, start());
        for _ in 0..180 {
            go(&mut pace, &mut now, Some(180));
        }
        let took = seconds(now - start());
        assert!((59.9..60.1).contains(&took), "{took}");
    }

    #[test]
    fn what_the_server_asks_of_one_is_heeded_by_all() {
        let mut pace = Pace::default();
        let now = start();
        let Turn::Go(first) = pace.turn(now, None) else { panic!() };
        let Turn::Go(second) = pace.turn(now, None) else { panic!() };
        pace.throttled(first, Some(Duration::from_secs(30)), now, None);
        assert_eq!(pace.turn(now, None), Turn::Paused(Duration::from_secs(30)));
        // A shorter wish does not shorten a longer one; a longer one counts.
        pace.throttled(second, Some(Duration::from_secs(5)), now, None);
        assert_eq!(pace.turn(now, None), Turn::Paused(Duration::from_secs(30)));
        pace.throttled(second, Some(Duration::from_secs(40)), now, None);
        assert_eq!(pace.turn(now + Duration::from_secs(39), None), Turn::Paused(Duration::from_secs(1)));
        assert!(!matches!(pace.turn(now + Duration::from_secs(40), None), Turn::Paused(_)));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lengthen_a_pause() {
        let mut pace = Pace::default();
        let now = start();
        let Turn::Go(first) = pace.turn(now, None) else { panic!() };
        pace.throttled(first, Some(Duration::from_secs(30)), now, None);
        let earlier = now - Duration::from_secs(86_400);
        assert_eq!(pace.turn(earlier, None), Turn::Paused(Duration::from_secs(30)));
        assert!(!matches!(pace.turn(earlier + Duration::from_secs(31), None), Turn::Paused(_)));
    }

    #[test]
    fn answers_to_what_was_sent_before_slow_down_once() {
        let mut pace = Pace::default();
        let mut now = start();
        let grants: Vec<_> = (0..8).map(|_| go(&mut pace, &mut now, None)).collect();
        for grant in grants {
            pace.throttled(grant, None, now, None);
        }
        let rate = pace.rate(now, None).unwrap();
        assert!((rate - 8.0 * SLOWDOWN).abs() < 1e-9, "{rate}");
    }

    #[test]
    fn a_slow_pace_recovers_to_its_bound_and_without_one_to_none() {
        let mut pace = Pace::default();
        let mut now = start();
        let grant = go(&mut pace, &mut now, Some(120));
        pace.throttled(grant, None, now, Some(120));
        let rate = |pace: &mut Pace, seconds| {
            pace.rate(now + Duration::from_secs(seconds), Some(120)).map(|rate| (rate * 1_000.0).round())
        };
        let grown = [0, 15, 30, 45, 60].map(|seconds| rate(&mut pace, seconds).unwrap());
        assert_eq!(grown, [700.0, 963.0, 1_000.0, 1_038.0, 1_300.0]);
        assert_eq!(rate(&mut pace, 90), Some(2_000.0), "its bound");

        let grant = go(&mut pace, &mut now, None);
        pace.throttled(grant, None, now, None);
        assert!(pace.rate(now + Duration::from_secs(60), None).is_some());
        assert_eq!(pace.rate(now + Duration::from_secs(300), None), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// A server that takes so many a second and says no to the rest, without saying how long to wait.
        #[test]
        fn under_a_storm_of_refusals_it_converges_to_what_the_server_takes(
            limit in 1.0_f64..50.0,
            latency_ms in 1_i64..200,
            bound in prop_oneof![Just(None), (60_u32..6_000).prop_map(Some)],
        ) {
            let mut pace = Pace::default();
            let mut now = start();
            let (mut room, mut counted) = (limit, now);
            let (mut taken, mut refused) = (0_u32, 0_u32);
            let warm = now + Duration::from_secs(120);
            let end = warm + Duration::from_secs(600);
            while now < end {
                let grant = go(&mut pace, &mut now, bound);
                room = seconds(now - counted).mul_add(limit, room).min(limit.max(1.0));
                counted = now;
                let takes = room >= 1.0;
                if takes {
                    room -= 1.0;
                } else {
                    pace.throttled(grant, None, now, bound);
                }
                if now >= warm {
                    if takes { taken += 1 } else { refused += 1 }
                }
                now += TimeDelta::milliseconds(latency_ms);
            }
            // One after the other, at most so many can go.
            let offered = (1000.0 / latency_ms as f64).min(bound.map_or(f64::MAX, |bound| f64::from(bound) / 60.0));
            let possible = limit.min(offered) * 600.0;
            prop_assert!(f64::from(refused) <= 0.05 * f64::from(taken) + 20.0, "{} of {} refused", refused, taken);
            prop_assert!(f64::from(taken) >= 0.5 * possible, "{} of {} taken", taken, possible);
        }
    }
}
