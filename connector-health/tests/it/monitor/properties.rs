//! Random histories, clocks set back and forth included.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use connector_health::monitor::{Change, Dimension, FailureClass, Observation, StepKind};
use connector_health::{Monitor, Thresholds, Tier};
use proptest::prelude::*;

use super::start;

#[derive(Clone, Debug)]
enum Act {
    See(Observation),
    Tick,
}

fn classes() -> impl Strategy<Value = FailureClass> {
    prop::sample::select(vec![
        FailureClass::Unreachable,
        FailureClass::Tls,
        FailureClass::UnknownOutcome,
        FailureClass::CredentialRefused,
        FailureClass::LoginPage,
        FailureClass::OperationRefused,
        FailureClass::SchemaMismatch,
        FailureClass::ServerError,
        FailureClass::RateLimited,
    ])
}

fn acts() -> impl Strategy<Value = Vec<(i64, Act)>> {
    let latencies = || (1_u64..20_000).prop_map(Duration::from_millis);
    let act = prop_oneof![
        6 => latencies().prop_map(|latency| Act::See(Observation::probe_confirmed(latency.min(Duration::from_millis(300))))),
        2 => latencies().prop_map(|latency| Act::See(Observation::confirmed(latency))),
        1 => latencies().prop_map(|latency| Act::See(Observation::answered(latency))),
        2 => classes().prop_map(|class| Act::See(Observation::failed(class, "no"))),
        2 => classes().prop_map(|class| Act::See(Observation::probe_failed(class, "no"))),
        2 => (0_u64..3).prop_map(|undelivered| Act::See(Observation::cycle_ended(undelivered))),
        1 => (-1_000_i64..100_000).prop_map(|seconds| {
            Act::See(Observation::credential_ends(Some(start() + TimeDelta::seconds(seconds))))
        }),
        1 => Just(Act::See(Observation::credential_ends(None))),
        3 => Just(Act::Tick),
    ];
    let steps = prop_oneof![10 => 0_i64..120, 2 => 0_i64..1_000, 1 => -5_000_i64..5_000];
    prop::collection::vec((steps, act), 1..200)
}

fn act(monitor: &mut Monitor, act: &Act, now: DateTime<Utc>) -> Option<Change> {
    match act {
        Act::See(observation) => monitor.observe(observation.clone(), now),
        Act::Tick => monitor.tick(now),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_rules_hold_in_every_history(acts in acts()) {
        let mut monitor = Monitor::new(Thresholds::default());
        let mut now = start();
        // Time that passed, as the monitor counts it: a clock set back adds nothing.
        let mut passed = 0_i64;
        let mut last_bad: [Option<i64>; 4] = [None; 4];
        for (seconds, what) in &acts {
            now += TimeDelta::seconds(*seconds);
            passed += seconds.max(&0);
            let before: Vec<Tier> = monitor.dimensions().map(|status| status.tier).collect();
            let change = act(&mut monitor, what, now);
            let after: Vec<Tier> = monitor.dimensions().map(|status| status.tier).collect();

            prop_assert_eq!(monitor.tier(), *after.iter().max().unwrap());
            prop_assert_eq!(change.is_some() || before == after, true, "a tier changed and nobody was told");
            if let Some(change) = &change {
                prop_assert_eq!(change.tier, monitor.tier());
            }
            for (n, dimension) in Dimension::ALL.into_iter().enumerate() {
                if after[n] == Tier::Failed && before[n] != Tier::Failed {
                    let was_degraded = before[n] == Tier::Degraded
                        || change.iter().flat_map(|change| &change.steps).any(|step| {
                            step.dimension == dimension && step.to == Tier::Degraded && step.kind == StepKind::Worsened
                        });
                    prop_assert!(was_degraded, "{dimension} failed without having been degraded");
                }
                let healed = before[n].is_bad() && after[n] == Tier::Healthy;
                if healed {
                    prop_assert!(matches!(what, Act::See(_)), "time alone healed {dimension}");
                    let held = passed - last_bad[n].unwrap();
                    prop_assert!(held >= 300, "{dimension} was healthy {held} s after its last failure");
                }
                let status = monitor.dimensions().nth(n).unwrap();
                if after[n].is_bad() && !status.recovering {
                    last_bad[n] = Some(passed);
                    prop_assert!(status.first_failure_at.is_some() && status.class.is_some());
                    prop_assert_eq!(status.class.unwrap().dimension(), dimension);
                }
            }
            prop_assert!(!monitor.explain(now).is_empty());
            monitor.gate(now);
        }
    }

    #[test]
    fn a_restart_anywhere_changes_nothing_that_follows(acts in acts(), at in 0_usize..200) {
        let mut whole = Monitor::new(Thresholds::default());
        let mut broken = whole.clone();
        let mut now = start();
        for (n, (seconds, what)) in acts.iter().enumerate() {
            now += TimeDelta::seconds(*seconds);
            prop_assert_eq!(act(&mut whole, what, now), act(&mut broken, what, now));
            if n == at {
                let kept = serde_json::to_vec(broken.state()).unwrap();
                broken = Monitor::restore(Thresholds::default(), serde_json::from_slice(&kept).unwrap());
            }
            prop_assert_eq!(whole.state(), broken.state());
            prop_assert_eq!(whole.next_deadline(), broken.next_deadline());
        }
    }

    #[test]
    fn deadlines_are_kept_and_come_to_an_end(acts in acts()) {
        let mut monitor = Monitor::new(Thresholds::default());
        let mut now = start();
        for (seconds, what) in &acts {
            now += TimeDelta::seconds(seconds.abs());
            act(&mut monitor, what, now);
        }
        // Nothing happens before a deadline, and silence ends in failed.
        for _ in 0..20 {
            let Some(deadline) = monitor.next_deadline() else { break };
            prop_assert!(deadline >= now);
            if deadline - now > TimeDelta::milliseconds(2) {
                prop_assert_eq!(monitor.clone().tick(deadline - TimeDelta::milliseconds(1)), None);
            }
            now = deadline;
            monitor.tick(now);
        }
        prop_assert_eq!(monitor.next_deadline(), None);
        prop_assert_eq!(monitor.tier(), Tier::Failed);
    }
}

#[test]
fn memory_is_bounded_however_long_it_runs() {
    let mut monitor = Monitor::new(Thresholds::default());
    let mut now = start();
    let mut largest = 0;
    for n in 0..15_000_u64 {
        now += TimeDelta::seconds(20);
        let latency = Duration::from_millis(n % 5_000);
        monitor.observe(Observation::confirmed(latency), now);
        monitor.observe(Observation::failed(FailureClass::ServerError, "x".repeat(1_000)), now);
        if n % 1_000 == 0 {
            monitor.observe(Observation::cycle_ended(0), now);
            largest = largest.max(serde_json::to_vec(monitor.state()).unwrap().len());
        }
    }
    // JSON takes more than memory does: about 40 bytes for a bucket of 16.
    assert!(largest < connector_health::monitor::STATE_BYTES_MAX * 2, "{largest}");
}
