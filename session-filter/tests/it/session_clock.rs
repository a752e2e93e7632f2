//! Idle limit, longest duration and windows, in virtual time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use session_filter::{ClockEvent, SessionClock, SessionLimits};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

fn limits(idle: u64, longest: u64, warn: u64) -> SessionLimits {
    SessionLimits {
        idle: Duration::from_secs(idle),
        longest: Duration::from_secs(longest),
        warn_before: Duration::from_secs(warn),
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn warns_before_idleness_ends_the_session() {
    let mut clock = SessionClock::new(limits(600, 28_800, 60), None, at(0));
    assert_eq!(clock.next_deadline(), Some(at(540)));
    assert_eq!(clock.tick(at(539)), None);
    assert_eq!(clock.tick(at(540)), Some(ClockEvent::WarnIdle { left: seconds(60) }));
    assert_eq!(clock.tick(at(541)), None);
    assert_eq!(clock.next_deadline(), Some(at(600)));
    assert_eq!(clock.tick(at(600)), Some(ClockEvent::Idle));
    assert_eq!(clock.tick(at(601)), None);
    assert_eq!(clock.next_deadline(), None);
}

#[test]
fn activity_starts_the_idle_time_again_and_the_warning_with_it() {
    let mut clock = SessionClock::new(limits(600, 28_800, 60), None, at(0));
    assert_eq!(clock.tick(at(550)), Some(ClockEvent::WarnIdle { left: seconds(50) }));
    clock.activity(at(560));
    assert_eq!(clock.next_deadline(), Some(at(1100)));
    assert_eq!(clock.tick(at(1099)), None);
    assert_eq!(clock.tick(at(1100)), Some(ClockEvent::WarnIdle { left: seconds(60) }));
}

#[test]
fn activity_after_the_idle_limit_revives_nothing() {
    let mut clock = SessionClock::new(limits(600, 28_800, 60), None, at(0));
    clock.activity(at(601));
    assert_eq!(clock.tick(at(601)), Some(ClockEvent::Idle));
}

#[test]
fn the_longest_duration_ends_a_busy_session() {
    let mut clock = SessionClock::new(limits(600, 1000, 60), None, at(0));
    clock.activity(at(500));
    clock.activity(at(900));
    assert_eq!(clock.tick(at(940)), Some(ClockEvent::WarnEnd { left: seconds(60) }));
    assert_eq!(clock.tick(at(940)), None);
    clock.activity(at(950));
    assert_eq!(clock.tick(at(1000)), Some(ClockEvent::Longest));
}

#[test]
fn the_window_ends_the_session_when_it_closes() {
    let mut clock = SessionClock::new(limits(600, 28_800, 60), Some(at(300)), at(0));
    assert_eq!(clock.next_deadline(), Some(at(240)));
    assert_eq!(clock.tick(at(240)), Some(ClockEvent::WarnEnd { left: seconds(60) }));
    assert_eq!(clock.tick(at(300)), Some(ClockEvent::WindowClosed));
    assert_eq!(ClockEvent::WindowClosed.code(), "window_closed");
}

#[test]
fn a_later_admission_moves_the_end_and_is_warned_about_again() {
    let mut clock = SessionClock::new(limits(6000, 28_800, 60), Some(at(300)), at(0));
    assert_eq!(clock.tick(at(250)), Some(ClockEvent::WarnEnd { left: seconds(50) }));
    clock.revise(limits(6000, 28_800, 60), Some(at(900)), at(260));
    assert_eq!(clock.tick(at(300)), None);
    assert_eq!(clock.tick(at(840)), Some(ClockEvent::WarnEnd { left: seconds(60) }));
    clock.revise(limits(100, 28_800, 60), Some(at(900)), at(845));
    assert_eq!(clock.tick(at(846)), Some(ClockEvent::Idle));
}

#[test]
fn a_clock_set_back_does_not_prolong_the_session() {
    let mut clock = SessionClock::new(limits(100, 1000, 0), None, at(0));
    clock.activity(at(90));
    // Set back by an hour: 90 seconds have passed, and counting goes on.
    assert_eq!(clock.tick(at(90 - 3600)), None);
    clock.activity(at(150 - 3600));
    assert_eq!(clock.tick(at(249 - 3600)), None);
    assert_eq!(clock.tick(at(250 - 3600)), Some(ClockEvent::Idle));
}

#[test]
fn a_clock_set_forward_ends_the_session_early() {
    let mut clock = SessionClock::new(limits(100, 1000, 0), None, at(0));
    assert_eq!(clock.tick(at(86_400)), Some(ClockEvent::Longest));
}

proptest! {
    #[test]
    fn sleeping_until_each_deadline_misses_nothing(
        idle in 1u64..1000, longest in 1u64..3000, warn in 0u64..200, window in prop::option::of(1i64..3000),
    ) {
        let mut clock = SessionClock::new(limits(idle, longest, warn), window.map(at), at(0));
        let end = idle.min(longest).min(window.map_or(u64::MAX, |end| end as u64));
        for _ in 0..4 {
            let Some(deadline) = clock.next_deadline() else { break };
            match clock.tick(deadline) {
                Some(event) if event.is_end() => prop_assert_eq!(deadline, at(end as i64)),
                Some(_) => prop_assert!(deadline <= at(end as i64)),
                None => prop_assert!(false, "nothing was due at the deadline"),
            }
            while let Some(event) = clock.tick(deadline) { prop_assert!(!event.is_end() || deadline == at(end as i64)); }
        }
        prop_assert_eq!(clock.next_deadline(), None);
    }
}
