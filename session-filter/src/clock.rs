//! When a session is warned and when it is cut. Pure: time is an argument.
//!
//! Two kinds of time meet here. *Idle* and *longest* are durations: they count the time between calls, so a clock
//! that is set back costs at most the time between two calls, and one that is set forward can only end a session
//! early. The end of the *window* is a moment: it is compared with the clock as it reads.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::limits::{IDLE_DEFAULT, LONGEST_DEFAULT, WARN_DEFAULT};

/// How long a session may rest, and how long it may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLimits {
    /// Longest time without activity.
    pub idle: Duration,
    /// Longest time in all.
    pub longest: Duration,
    /// How long before a cut the user is warned; zero for no warning.
    pub warn_before: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { idle: IDLE_DEFAULT, longest: LONGEST_DEFAULT, warn_before: WARN_DEFAULT }
    }
}

/// What the passing of time asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockEvent {
    /// Tell the user that the session ends for idleness in `left`. Said once per idle stretch.
    WarnIdle {
        /// Time until the cut.
        left: Duration,
    },
    /// Tell the user that the session ends in `left`, whatever they do. Said once.
    WarnEnd {
        /// Time until the cut.
        left: Duration,
    },
    /// End the session: idle for too long.
    Idle,
    /// End the session: it has lasted as long as it may.
    Longest,
    /// End the session: the window in which it was permitted has closed.
    WindowClosed,
}

impl ClockEvent {
    /// Whether the session ends here; otherwise it is a warning.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Idle | Self::Longest | Self::WindowClosed)
    }

    /// Machine-readable reason: `idle`, `longest`, `window_closed`, `warn_idle`, `warn_end`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WarnIdle { .. } => "warn_idle",
            Self::WarnEnd { .. } => "warn_end",
            Self::Idle => "idle",
            Self::Longest => "longest",
            Self::WindowClosed => "window_closed",
        }
    }
}

/// The clock of one session.
#[derive(Clone, Debug)]
pub struct SessionClock {
    limits: SessionLimits,
    valid_until: Option<DateTime<Utc>>,
    seen_at: DateTime<Utc>,
    lasted: Duration,
    rested: Duration,
    warned_idle: bool,
    warned_end: bool,
    ended: bool,
}

impl SessionClock {
    /// Starts at `now`. `valid_until` is the end of the window in which the session is permitted, if there is one.
    pub fn new(limits: SessionLimits, valid_until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        Self {
            limits,
            valid_until,
            seen_at: now,
            lasted: Duration::ZERO,
            rested: Duration::ZERO,
            warned_idle: false,
            warned_end: false,
            ended: false,
        }
    }

    /// The user did something: the idle time starts again.
    ///
    /// Time that passed before still counts towards the longest duration. Activity after the idle limit has run out
    /// does not revive a session; the next [`tick`](Self::tick) ends it.
    pub fn activity(&mut self, now: DateTime<Utc>) {
        self.advance(now);
        if self.rested < self.limits.idle {
            self.rested = Duration::ZERO;
            self.warned_idle = false;
        }
    }

    /// Takes over what a later admission of the same session said. A changed end is warned about again.
    pub fn revise(&mut self, limits: SessionLimits, valid_until: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        self.advance(now);
        if (limits.longest, limits.warn_before, valid_until)
            != (self.limits.longest, self.limits.warn_before, self.valid_until)
        {
            self.warned_end = false;
        }
        self.limits = limits;
        self.valid_until = valid_until;
    }

    /// What is due at `now`. Call until it answers `None`; after an end it answers `None` for ever.
    pub fn tick(&mut self, now: DateTime<Utc>) -> Option<ClockEvent> {
        self.advance(now);
        if self.ended {
            return None;
        }
        let window_left = self.window_left();
        let longest_left = self.limits.longest.saturating_sub(self.lasted);
        let idle_left = self.limits.idle.saturating_sub(self.rested);

        let end = if window_left.is_some_and(|left| left.is_zero()) {
            Some(ClockEvent::WindowClosed)
        } else if longest_left.is_zero() {
            Some(ClockEvent::Longest)
        } else if idle_left.is_zero() {
            Some(ClockEvent::Idle)
        } else {
            None
        };
        if end.is_some() {
            self.ended = true;
            return end;
        }

        let end_left = window_left.map_or(longest_left, |left| left.min(longest_left));
        if !self.warned_end && end_left <= self.limits.warn_before {
            self.warned_end = true;
            return Some(ClockEvent::WarnEnd { left: end_left });
        }
        // Whoever was told that the session ends before the idle limit runs out needs no second warning.
        if !self.warned_idle && idle_left <= self.limits.warn_before && idle_left < end_left {
            self.warned_idle = true;
            return Some(ClockEvent::WarnIdle { left: idle_left });
        }
        None
    }

    /// When [`tick`](Self::tick) next has something to say; `None` once the session has ended.
    ///
    /// Activity moves it later. A shell sleeps until then (or less, since clocks may be set) and calls `tick`.
    pub fn next_deadline(&self) -> Option<DateTime<Utc>> {
        if self.ended {
            return None;
        }
        let longest_left = self.limits.longest.saturating_sub(self.lasted);
        let end_left = self.window_left().map_or(longest_left, |left| left.min(longest_left));
        let idle_left = self.limits.idle.saturating_sub(self.rested);
        let warning = |left: Duration, given: bool| match given {
            true => left,
            false => left.saturating_sub(self.limits.warn_before),
        };
        let idle_given = self.warned_idle || idle_left >= end_left;
        let wait = warning(end_left, self.warned_end).min(warning(idle_left, idle_given));
        TimeDelta::from_std(wait).ok().and_then(|wait| self.seen_at.checked_add_signed(wait))
    }

    fn advance(&mut self, now: DateTime<Utc>) {
        // A clock that was set back yields a negative difference: nothing passed, and counting goes on from there.
        let passed = now.signed_duration_since(self.seen_at).to_std().unwrap_or_default();
        self.seen_at = now;
        self.lasted = self.lasted.saturating_add(passed);
        self.rested = self.rested.saturating_add(passed);
    }

    fn window_left(&self) -> Option<Duration> {
        self.valid_until.map(|end| end.signed_duration_since(self.seen_at).to_std().unwrap_or_default())
    }
}
