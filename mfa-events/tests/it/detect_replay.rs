//! A detector that was killed, and whose clock was told of, finds what follows from the log alone.

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::detect::rule::Rules;
use mfa_events::detect::{Alert, AlertState, Closing, Options, TenantDetector};
use mfa_events::store::Record;
use mfa_events::{Event, LoginFailure};
use proptest::prelude::*;

use crate::oracle::{Drawn, RULES, acme, history, record, start};

fn s(s: i64) -> DateTime<Utc> {
    start() + TimeDelta::seconds(s)
}

fn failure(actor: &str, at: DateTime<Utc>) -> Event {
    LoginFailure::new(actor).from([203, 0, 113, 7].into()).at(at).try_into().unwrap()
}

fn stuffing() -> Rules {
    Rules::published().only(|rule| rule.id.as_str() == "credential-stuffing")
}

fn options() -> Options {
    Options { hash_key: [3, 4], ..Options::default() }
}

fn attack(offset: u64, at: i64, ingested: i64) -> Vec<Record> {
    let failures = (0..10).map(|number| (number, failure(&format!("a{offset}-{number}"), s(at))));
    failures.map(|(number, event)| record(offset + number, event, s(ingested))).collect()
}

#[test]
fn a_batch_that_comes_after_silence_counts_when_it_happened() {
    let mut detector = TenantDetector::new(acme(), &stuffing(), options());
    let mut alerts = Vec::new();
    detector.observe(&record(1, failure("bob", s(0)), s(0)), &mut alerts);
    // Ten minutes of silence, and then what somebody had kept back for five.
    detector.tick(s(600), &mut alerts);
    attack(2, 300, 601).iter().for_each(|record| detector.observe(record, &mut alerts));
    detector.tick(s(700), &mut alerts);
    assert_eq!(detector.counters().late_total, 0);
    assert_eq!((alerts.len(), alerts[0].at.as_datetime(), alerts[0].late_events), (1, s(300), 0));
}

#[test]
fn one_step_of_time_opens_and_closes() {
    let mut detector = TenantDetector::new(acme(), &stuffing(), options());
    let mut alerts = Vec::new();
    detector.observe_all(&attack(1, 0, 0), &mut alerts);
    detector.tick(s(7_200), &mut alerts);
    let states: Vec<_> = alerts.iter().map(|alert| alert.state).collect();
    assert_eq!(states, [AlertState::Opened, AlertState::Closed]);
}

#[test]
fn whoever_sends_old_events_for_ever_does_not_keep_alerts_from_being_told() {
    let mut detector = TenantDetector::new(acme(), &stuffing(), options());
    let mut alerts = Vec::new();
    attack(1, 0, 0).iter().for_each(|record| detector.observe(record, &mut alerts));
    for second in 1..=7_u64 {
        let old = record(20 + second, failure("old", s(-3_600)), s(second as i64));
        detector.observe(&old, &mut alerts);
    }
    assert_eq!(alerts.len(), 1, "they had waited for five seconds");
    for second in 8..=700_u64 {
        let old = record(20 + second, failure("old", s(-3_600)), s(second as i64));
        detector.observe(&old, &mut alerts);
    }
    assert_eq!((detector.open().len(), alerts[0].state), (1, AlertState::Opened));
}

#[test]
fn a_clock_that_was_far_ahead_and_is_set_back_is_begun_anew_and_told() {
    let mut detector = TenantDetector::new(acme(), &stuffing(), options());
    let mut alerts = Vec::new();
    attack(1, 86_400, 86_400).iter().for_each(|record| detector.observe(record, &mut alerts));
    attack(11, 0, 0).iter().for_each(|record| detector.observe(record, &mut alerts));
    detector.tick(s(6), &mut alerts);
    let turns: Vec<_> = alerts.iter().map(|alert| (alert.state, alert.closing)).collect();
    let closed = (AlertState::Closed, Some(Closing::ClockSetBack));
    assert_eq!(turns, [(AlertState::Opened, None), closed, (AlertState::Opened, None)]);
    assert_eq!(alerts[2].at.as_datetime(), s(0));
    let counters = detector.counters();
    assert_eq!((counters.set_back_total, counters.late_total), (1, 0));
}

#[test]
fn what_a_tick_was_told_too_early_is_counted() {
    let mut detector = TenantDetector::new(acme(), &stuffing(), options());
    let mut alerts = Vec::new();
    detector.tick(s(3_600), &mut alerts);
    attack(1, 0, 0).iter().for_each(|record| detector.observe(record, &mut alerts));
    assert_eq!(detector.counters().unproven_total, 10);
    detector.finish(&mut alerts);
    assert_eq!((alerts.len(), alerts[0].at.as_datetime()), (1, s(0)), "and spoils no window");
}

#[test]
fn what_waits_is_small_however_large_events_are() {
    let mut detector = TenantDetector::new(acme(), &stuffing(), options());
    let text = "x".repeat(500);
    for number in 1..=100 {
        let event = LoginFailure::new("alice").at(s(0)).message(&text);
        detector.observe(&record(number, event.try_into().unwrap(), s(0)), &mut Vec::new());
    }
    assert_eq!(detector.size().waiting, 100);
    // Nothing of an event is kept but what rules ask for.
    let checkpoint = serde_json::to_string(&detector.checkpoint()).unwrap();
    assert!(!checkpoint.contains("xxx"));
}

#[test]
fn a_checkpoint_of_another_version_says_so() {
    let detector = TenantDetector::new(acme(), &stuffing(), options());
    let written = serde_json::to_string(&detector.checkpoint()).unwrap();
    let old = written.replacen("\"version\":2", "\"version\":1", 1);
    let error = serde_json::from_str::<mfa_events::detect::Checkpoint>(&old).unwrap_err();
    assert!(error.to_string().contains("the checkpoint is of another version"), "{error}");
}

/// A day in the life of a process: it is told the time, and killed, and goes on from what it had written down.
fn lived(rules: &Rules, records: &[Record], whims: &[(u8, i64, usize)], end: DateTime<Utc>) -> Vec<Alert> {
    let new = || TenantDetector::new(acme(), rules, options());
    let mut detector = new();
    let mut alerts: Vec<Alert> = Vec::new();
    let mut written: Option<(String, usize, usize)> = None;
    let mut whims = whims.iter();
    let mut at = 0;
    while at < records.len() {
        let ingested = records[at].ingested_at.as_datetime();
        match whims.next() {
            // Nothing that is not there yet was taken in more than a second ago.
            Some((0..=3, early, _)) => {
                detector.tick(ingested + TimeDelta::seconds(1) - TimeDelta::milliseconds(*early), &mut alerts)
            }
            Some((4, ..)) => {
                let checkpoint = serde_json::to_string(&detector.checkpoint()).unwrap();
                written = Some((checkpoint, at, alerts.len()));
            }
            Some((5, ..)) => {
                let (checkpoint, back, told) = written.clone().unwrap_or_default();
                alerts.truncate(told);
                at = back;
                detector = match checkpoint.as_str() {
                    "" => new(),
                    text => TenantDetector::restore(serde_json::from_str(text).unwrap(), rules, options())
                        .unwrap(),
                };
                continue;
            }
            Some((_, _, many)) => {
                let to = (at + many).min(records.len());
                detector.observe_all(&records[at..to], &mut alerts);
                at = to;
                continue;
            }
            None => {}
        }
        detector.observe(&records[at], &mut alerts);
        at += 1;
    }
    detector.tick(end, &mut alerts);
    assert_eq!(detector.counters().unproven_total, 0);
    alerts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("ORACLE_CASES").map_or(300, |cases| cases.parse().unwrap()), ..ProptestConfig::default() })]

    #[test]
    fn replay_finds_what_was_found_live_whenever_a_process_was_killed(
        drawn in prop::collection::vec((0..14_u8, 0..6_u8, 0..10_u8, 0..4_u8, 0..4_u8, 0..6_000_i64, -2..14_i64), 1..120),
        pauses in prop::collection::vec(1..30_i64, 1..120),
        whims in prop::collection::vec((0..9_u8, 0..40_000_i64, 1..50_usize), 0..150),
    ) {
        let rules = Rules::from_toml(RULES).unwrap();
        // Now and then nobody does anything for minutes.
        let drawn: Vec<Drawn> = drawn.into_iter().zip(pauses.iter().cycle()).map(|(mut drawn, pause)| {
            if *pause < 4 { drawn.5 *= 30 }
            drawn
        }).collect();
        let records = history(&drawn, 1);
        let end = records.last().unwrap().ingested_at.as_datetime() + TimeDelta::hours(1);
        let live = lived(&rules, &records, &whims, end);
        let replayed = lived(&rules, &records, &[], end);
        let turn = |alert: &Alert| (alert.rule.clone(), alert.group.clone(), alert.state, alert.at);
        prop_assert_eq!(live.iter().map(turn).collect::<Vec<_>>(), replayed.iter().map(turn).collect::<Vec<_>>());
        prop_assert!(live == replayed);
    }
}
