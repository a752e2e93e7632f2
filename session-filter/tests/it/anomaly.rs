//! What stands out against a person's own past, in virtual time.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use session_filter::anomaly::{
    Anomaly, AnomalyDetector, AnomalyKind, Baseline, BaselineSettings, Happening, Observation, Response,
};

/// Midnight on a Monday.
fn monday() -> DateTime<Utc> {
    DateTime::from_timestamp(1_799_020_800, 0).unwrap()
}

fn at(day: i64, hour: i64, minute: i64) -> DateTime<Utc> {
    monday() + TimeDelta::days(day) + TimeDelta::hours(hour) + TimeDelta::minutes(minute)
}

fn see(baseline: &Baseline, session: &str, happening: Happening<'_>, now: DateTime<Utc>) -> Vec<Anomaly> {
    baseline.observe(&Observation::new("alice", "web-1", session, happening), now)
}

fn ran<'a>(program: &'a str) -> Happening<'a> {
    Happening::CommandStarted { program: Some(program) }
}

/// A session with so many commands and so much output. What stood out.
fn session(
    baseline: &Baseline,
    now: DateTime<Utc>,
    programs: &[&str],
    commands: usize,
    bytes: u64,
) -> Vec<Anomaly> {
    let id = format!("s-{now}");
    let mut raised = see(baseline, &id, Happening::SessionStarted, now);
    for n in 0..commands {
        raised.extend(see(baseline, &id, ran(programs[n % programs.len()]), now));
        raised.extend(see(baseline, &id, Happening::Output { bytes: bytes / commands as u64 }, now));
    }
    raised.extend(see(baseline, &id, Happening::SessionEnded, now));
    raised
}

const PROGRAMS: [&str; 4] = ["systemctl", "journalctl", "df", "tail"];

/// Whoever works from nine to five for a month, with sessions much like each other.
fn learned(settings: BaselineSettings) -> Baseline {
    let baseline = Baseline::new(settings);
    for day in (0..30).filter(|day| day % 7 < 5) {
        for hour in [9, 11, 13, 15, 16] {
            let raised = session(&baseline, at(day, hour, 7), &PROGRAMS, 20, 2_000_000);
            assert_eq!(raised, []);
        }
    }
    baseline
}

fn kinds(raised: &[Anomaly]) -> Vec<AnomalyKind> {
    raised.iter().map(|anomaly| anomaly.kind).collect()
}

#[test]
fn a_program_stands_out_when_it_is_new_and_never_again() {
    let baseline = learned(BaselineSettings::default());
    let now = at(35, 10, 0);
    see(&baseline, "s", Happening::SessionStarted, now);
    let raised = see(&baseline, "s", ran("nc\u{1b}[2J"), now);
    assert_eq!(kinds(&raised), [AnomalyKind::FirstSeenCommand]);
    assert_eq!(raised[0].message, r"ran `nc\u{1b}[2J` for the first time, having run 4 others so far");
    assert_eq!((raised[0].observed, raised[0].response), (4.0, Response::Alert));
    assert_eq!(see(&baseline, "s", ran("nc\u{1b}[2J"), now), []);
    assert_eq!(see(&baseline, "s", ran("df"), now), []);
    assert_eq!(see(&baseline, "s", Happening::CommandStarted { program: None }, now), []);
    // Somebody else's past says nothing about her.
    let other = Observation::new("bob", "web-1", "t", ran("df"));
    assert_eq!(baseline.observe(&other, now), []);
}

#[test]
fn nothing_is_unusual_while_there_is_nothing_usual() {
    let baseline = Baseline::new(BaselineSettings::default());
    for day in 0..13 {
        let program = format!("p{day}");
        let raised = session(&baseline, at(day, day, 0), &[&program], 1000, 1 << (20 + day));
        assert_eq!(raised, [], "day {day}");
    }
    // Long enough, but too few sessions.
    let baseline = Baseline::new(BaselineSettings::default());
    for day in [0, 20, 40] {
        assert_eq!(session(&baseline, at(day, 9, 0), &[&format!("p{day}")], 10, 10), []);
    }
}

#[test]
fn a_session_at_night_stands_out_once() {
    let baseline = learned(BaselineSettings::default());
    let raised = see(&baseline, "s", Happening::SessionStarted, at(35, 3, 12));
    assert_eq!(kinds(&raised), [AnomalyKind::UnusualHour]);
    assert!(raised[0].observed < 0.01 && raised[0].usual == Some(0.01), "{raised:?}");
    assert_eq!(raised[0].message, "a session that begins at 03:12 UTC, when this person's hardly ever do");
    assert_eq!(see(&baseline, "s", ran("df"), at(35, 3, 13)), []);
    // The hour beside a usual one is forgiven.
    assert_eq!(see(&baseline, "t", Happening::SessionStarted, at(36, 8, 59)), []);
    assert_eq!(see(&baseline, "u", Happening::SessionStarted, at(36, 17, 59)), []);
}

#[test]
fn what_is_repeated_becomes_usual() {
    let baseline = learned(BaselineSettings::default());
    let nights: Vec<usize> =
        (35..80).map(|day| session(&baseline, at(day, 3, 0), &PROGRAMS, 20, 2_000_000).len()).collect();
    assert_eq!(nights[0], 1);
    assert_eq!(nights[44], 0, "{nights:?}");
}

#[test]
fn more_output_and_more_commands_than_ever_stand_out_once_each_while_the_session_goes_on() {
    let baseline = learned(with(settings(), |it| {
        it.blocked_max = 3;
    }));
    let now = at(35, 11, 0);
    see(&baseline, "s", Happening::SessionStarted, now);
    let mut raised = Vec::new();
    for _ in 0..10_000 {
        raised.extend(see(&baseline, "s", Happening::Output { bytes: 4096 }, now));
    }
    assert_eq!(kinds(&raised), [AnomalyKind::UnusualOutput]);
    assert!((raised[0].usual.unwrap() - 2_000_000.0).abs() < 1.0, "{raised:?}");
    // Raised when it was passed, not at the end.
    assert!(
        raised[0].observed > 10.0 * 1024.0 * 1024.0 && raised[0].observed < 11.0 * 1024.0 * 1024.0,
        "{raised:?}"
    );
    let mut raised = Vec::new();
    for _ in 0..500 {
        raised.extend(see(&baseline, "s", ran("df"), now));
    }
    assert_eq!(kinds(&raised), [AnomalyKind::UnusualCommands]);
    assert!(raised[0].observed > 50.0 && raised[0].observed < 200.0, "{raised:?}");
    see(&baseline, "s", Happening::SessionEnded, now);
    // One such session does not move what is usual.
    see(&baseline, "t", Happening::SessionStarted, now);
    assert_eq!(
        kinds(&see(&baseline, "t", Happening::Output { bytes: 40_960_000 }, now)),
        [AnomalyKind::UnusualOutput]
    );
}

fn with(mut settings: BaselineSettings, change: impl Fn(&mut BaselineSettings)) -> BaselineSettings {
    change(&mut settings);
    settings
}

fn settings() -> BaselineSettings {
    BaselineSettings::default()
}

#[test]
fn a_burst_of_blocked_lines_stands_out_once_until_it_has_calmed_down() {
    let baseline = Baseline::new(with(settings(), |it| {
        it.blocked_max = 4;
        it.blocked_window_s = 60;
    }));
    let blocked = |second: i64, session: &str| {
        see(&baseline, session, Happening::Blocked, monday() + TimeDelta::seconds(second)).len()
    };
    // Across a minute's boundary, and in two sessions.
    assert_eq!([blocked(50, "a"), blocked(55, "b"), blocked(65, "a"), blocked(70, "b")], [0, 0, 0, 1]);
    assert_eq!([blocked(75, "a"), blocked(80, "a"), blocked(100, "a")], [0, 0, 0]);
    // Quiet for a while, then again.
    assert_eq!([blocked(500, "a"), blocked(501, "a"), blocked(502, "a"), blocked(503, "a")], [0, 0, 0, 1]);
    // Three a minute are none.
    let slow: usize = (0..100).map(|n| blocked(1000 + 20 * n, "a")).sum();
    assert_eq!(slow, 0);
    // A clock that is set back does not hide it.
    assert_eq!([blocked(5000, "a"), blocked(100, "a"), blocked(101, "a"), blocked(102, "a")], [0, 0, 0, 1]);
}

#[test]
fn each_kind_is_off_or_has_a_response_of_its_own() {
    let settings: BaselineSettings = serde_json::from_str(
        r#"{"first_seen_command":"off","unusual_hour":"terminate","unusual_volume":"off","blocked_burst":"terminate","blocked_max":2}"#,
    )
    .unwrap();
    let baseline = learned(settings);
    let now = at(35, 3, 0);
    let raised = see(&baseline, "s", Happening::SessionStarted, now);
    assert_eq!((kinds(&raised), raised[0].response), (vec![AnomalyKind::UnusualHour], Response::Terminate));
    assert_eq!(see(&baseline, "s", ran("nc"), now), []);
    assert_eq!(see(&baseline, "s", Happening::Output { bytes: 1 << 40 }, now), []);
    assert_eq!(see(&baseline, "s", Happening::Blocked, now), []);
    assert_eq!(see(&baseline, "s", Happening::Blocked, now)[0].response, Response::Terminate);
    assert!(serde_json::from_str::<BaselineSettings>(r#"{"unusual_hours":"off"}"#).is_err());
    assert!(serde_json::from_str::<BaselineSettings>(r#"{"unusual_hour":"kill"}"#).is_err());
}

#[test]
fn what_was_learned_survives_a_restart() {
    let baseline = learned(settings());
    let text = serde_json::to_string(&baseline.snapshot()).unwrap();
    drop(baseline);
    let baseline = Baseline::restore(settings(), serde_json::from_str(&text).unwrap());
    let now = at(35, 3, 0);
    assert_eq!(kinds(&see(&baseline, "s", Happening::SessionStarted, now)), [AnomalyKind::UnusualHour]);
    assert_eq!(see(&baseline, "s", ran("df"), now), []);
    assert_eq!(kinds(&see(&baseline, "s", ran("nc"), now)), [AnomalyKind::FirstSeenCommand]);
    let much = Happening::Output { bytes: 1 << 40 };
    assert_eq!(kinds(&see(&baseline, "s", much, now)), [AnomalyKind::UnusualOutput]);
    // Another version's is not used, and neither it nor Debug shows names.
    let other = text.replace("\"version\":1", "\"version\":2");
    let baseline = Baseline::restore(settings(), serde_json::from_str(&other).unwrap());
    assert_eq!(see(&baseline, "s", ran("nc"), now), []);
    assert!(!format!("{:?} {baseline:?}", baseline.snapshot()).contains("alice"));
}

#[test]
fn whoever_was_not_seen_for_longest_is_forgotten() {
    let few = with(settings(), |it| {
        it.users_max = 3;
        it.learning_days = 0;
        it.learning_sessions = 1;
    });
    let baseline = Baseline::new(few.clone());
    let see = |user: &str, happening| {
        baseline.observe(&Observation::new(user, "t", "s", happening), monday()).len()
    };
    for user in ["a", "b", "c"] {
        see(user, Happening::SessionStarted);
    }
    see("a", Happening::SessionEnded);
    see("d", Happening::SessionStarted);
    // `a` was seen after `b`, so `b` is unknown again, and has nothing usual.
    assert_eq!((see("a", ran("x")), see("b", ran("x"))), (1, 0));
    let text = serde_json::to_value(baseline.snapshot()).unwrap();
    assert_eq!(text["people"].as_array().unwrap().len(), 3);
    let fewer = with(few, |it| {
        it.users_max = 1;
    });
    let baseline = Baseline::restore(fewer, serde_json::from_value(text).unwrap());
    let text = serde_json::to_value(baseline.snapshot()).unwrap();
    assert_eq!((text["people"].as_array().unwrap().len(), &text["people"][0][0]), (1, &"b".into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Habits within which people vary: any working hour, sessions between half and twice the usual size, the same programs, a
    /// mistyped line now and then.
    #[test]
    fn steady_habits_raise_nothing(
        days in prop::collection::vec(prop::collection::vec((9i64..17, 0i64..60, 60usize..180, 1u64..4, 0usize..3), 1..4), 60..80),
    ) {
        let baseline = Baseline::new(settings());
        for (day, sessions) in days.into_iter().enumerate().filter(|(day, _)| day % 7 < 5) {
            for (hour, minute, commands, million, blocked) in sessions {
                let now = at(day as i64, hour, minute);
                let raised = session(&baseline, now, &PROGRAMS, commands, million * 20_000_000);
                prop_assert_eq!(raised, vec![]);
                for _ in 0..blocked {
                    prop_assert_eq!(see(&baseline, "s", Happening::Blocked, now), vec![]);
                }
            }
        }
    }

    #[test]
    fn any_order_of_events_is_taken(
        events in prop::collection::vec((0u8..5, 0u8..3, any::<u64>(), -1_000_000i64..1_000_000), 0..200),
    ) {
        let eager = with(settings(), |it| { it.learning_days = 0; it.learning_sessions = 0; it.users_max = 2; it.blocked_max = 0; });
        let baseline = Baseline::new(eager.clone());
        for (what, who, size, second) in events {
            let who = who.to_string();
            let program = (size % 7).to_string();
            let happening = match what {
                0 => Happening::SessionStarted,
                1 => ran(&program),
                2 => Happening::Blocked,
                3 => Happening::Output { bytes: size },
                _ => Happening::SessionEnded,
            };
            let raised = baseline.observe(&Observation::new(&who, "t", &who, happening), monday() + TimeDelta::seconds(second));
            for anomaly in raised {
                prop_assert!(anomaly.observed.is_finite() && anomaly.usual.is_none_or(f64::is_finite));
            }
        }
        let text = serde_json::to_string(&baseline.snapshot()).unwrap();
        let again = Baseline::restore(eager, serde_json::from_str(&text).unwrap());
        prop_assert_eq!(serde_json::to_string(&again.snapshot()).unwrap(), text);
    }
}
