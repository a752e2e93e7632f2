use std::time::Duration;

use chrono::TimeDelta;
use connector_health::monitor::{Dimension, FailureClass, Gate, Observation, StepKind};
use connector_health::{Monitor, Thresholds, Tier};

use super::{Bench, kinds, start};

fn latency(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn tier_of(monitor: &Monitor, dimension: Dimension) -> Tier {
    monitor.dimensions().find(|status| status.dimension == dimension).unwrap().tier
}

#[test]
fn what_was_never_seen_is_unknown_and_not_healthy() {
    let mut bench = Bench::new(Thresholds::default());
    assert_eq!(bench.monitor.tier(), Tier::Unknown);
    assert!(Tier::Unknown > Tier::Healthy);
    assert_eq!(bench.tick(), None);
    let text = bench.pass(60).explain();
    assert_eq!(
        text,
        "unknown: no success seen yet in 1 min of authentication, connectivity, sync, latency; nothing was ever confirmed"
    );
}

#[test]
fn the_first_confirmed_success_makes_healthy() {
    let mut bench = Bench::new(Thresholds::default());
    let change = bench.good().unwrap();
    assert_eq!((change.previous, change.tier, change.dimension), (Tier::Unknown, Tier::Healthy, None));
    assert!(change.answers_again);
    assert_eq!(bench.pass(12).explain(), "healthy: last confirmed success 12 s ago");
}

#[test]
fn answers_that_nothing_confirms_are_no_health() {
    let mut bench = Bench::new(Thresholds::default());
    for _ in 0..100 {
        assert_eq!(bench.pass(1).see(Observation::answered(latency(10))), None);
        assert_eq!(bench.see(Observation::cycle_ended(0)), None);
    }
    assert_eq!(bench.monitor.tier(), Tier::Unknown);
    let change = bench.pass(801).see(Observation::answered(latency(10))).unwrap();
    assert_eq!((change.tier, change.class), (Tier::Degraded, Some(FailureClass::Stale)));
}

#[test]
fn one_failed_event_is_noted_once_and_alerts_nobody() {
    let mut bench = Bench::healthy();
    let change = bench.pass(30).see(Observation::unreachable("connection refused"));
    assert_eq!(kinds(&change), [StepKind::Transient]);
    assert_eq!(change.unwrap().tier, Tier::Healthy);
    assert_eq!(bench.see(Observation::unreachable("connection refused")), None);
    assert_eq!(bench.see(Observation::cycle_ended(1)), None);
    assert_eq!(bench.pass(30).good(), None);
    // The next one is the first again.
    assert_eq!(kinds(&bench.pass(30).bad()), [StepKind::Transient]);
}

#[test]
fn two_failed_cycles_running_degrade() {
    let mut bench = Bench::healthy();
    bench.pass(30).bad();
    let first = bench.now;
    let change = bench.pass(30).bad().unwrap();
    assert_eq!((change.previous, change.tier), (Tier::Healthy, Tier::Degraded));
    assert_eq!(
        (change.dimension, change.class),
        (Some(Dimension::Connectivity), Some(FailureClass::Unreachable))
    );
    let worst = bench.monitor.worst();
    assert_eq!(
        (worst.first_failure_at, worst.failures, worst.sample),
        (Some(first), 2, Some("connection refused"))
    );
}

#[test]
fn how_many_cycles_is_configurable() {
    let mut bench = Bench::new(Thresholds { failed_cycles: 4, ..Thresholds::default() });
    bench.good();
    for _ in 0..3 {
        bench.pass(10).bad();
        assert_eq!(bench.monitor.tier(), Tier::Healthy);
    }
    assert_eq!(bench.pass(10).bad().unwrap().tier, Tier::Degraded);
}

#[test]
fn cycles_that_fail_each_for_another_reason_degrade_too() {
    let mut bench = Bench::healthy();
    bench.pass(30).see(Observation::failed(FailureClass::ServerError, "500"));
    bench.see(Observation::cycle_ended(3));
    bench.pass(30).see(Observation::rate_limited("429"));
    let change = bench.see(Observation::cycle_ended(3)).unwrap();
    assert_eq!((change.tier, change.class), (Tier::Degraded, Some(FailureClass::RateLimited)));
}

#[test]
fn a_cycle_that_says_nothing_does_not_excuse_failed_ones() {
    let mut bench = Bench::healthy();
    bench.pass(30).bad();
    assert_eq!(bench.pass(30).see(Observation::cycle_ended(0)), None);
    assert_eq!(bench.pass(30).bad().unwrap().tier, Tier::Degraded);
}

#[test]
fn one_authentication_failure_degrades() {
    for class in [FailureClass::CredentialRefused, FailureClass::PermissionDenied, FailureClass::LoginPage] {
        let mut bench = Bench::healthy();
        let change = bench.pass(1).see(Observation::failed(class, "401")).unwrap();
        assert_eq!((change.tier, change.class), (Tier::Degraded, Some(class)));
        assert_eq!(change.dimension, Some(Dimension::Authentication));
        assert_eq!(kinds(&Some(change)), [StepKind::Worsened]);
    }
}

#[test]
fn a_cycle_in_which_everything_is_forbidden_is_an_authentication_failure() {
    let mut bench = Bench::healthy();
    for _ in 0..3 {
        bench.see(Observation::failed(FailureClass::OperationRefused, "403"));
    }
    assert_eq!(bench.monitor.tier(), Tier::Healthy);
    let change = bench.see(Observation::cycle_ended(3)).unwrap();
    assert_eq!(change.class, Some(FailureClass::PermissionDenied));

    let mut bench = Bench::healthy();
    bench.see(Observation::failed(FailureClass::OperationRefused, "403"));
    bench.see(Observation::confirmed(latency(40)));
    bench.see(Observation::cycle_ended(1));
    assert_eq!(bench.monitor.tier(), Tier::Healthy);
}

#[test]
fn work_left_over_without_a_reason_fails_sync() {
    let mut bench = Bench::healthy();
    bench.see(Observation::cycle_ended(7));
    let change = bench.see(Observation::cycle_ended(7)).unwrap();
    assert_eq!((change.dimension, change.class), (Some(Dimension::Sync), Some(FailureClass::Undelivered)));
    assert_eq!(bench.monitor.worst().sample, Some("7 due and not delivered"));
}

#[test]
fn rate_limits_are_waited_out_within_a_cycle_and_no_longer() {
    let mut bench = Bench::healthy();
    for _ in 0..50 {
        bench.pass(30).see(Observation::rate_limited("429, Retry-After: 5"));
        bench.see(Observation::confirmed(latency(40)));
        bench.see(Observation::cycle_ended(0));
        assert_eq!(bench.monitor.tier(), Tier::Healthy);
    }
    for _ in 0..2 {
        bench.pass(30).see(Observation::rate_limited("429, Retry-After: 86400"));
        bench.see(Observation::confirmed(latency(40)));
        bench.see(Observation::cycle_ended(1));
    }
    assert_eq!(bench.monitor.tier(), Tier::Degraded);
    assert_eq!(bench.monitor.worst().dimension, Dimension::Latency);
}

#[test]
fn degraded_for_ten_minutes_is_failed_in_every_dimension() {
    let ways: [(Dimension, FailureClass); 4] = [
        (Dimension::Authentication, FailureClass::CredentialRefused),
        (Dimension::Connectivity, FailureClass::UnknownOutcome),
        (Dimension::Sync, FailureClass::SchemaMismatch),
        (Dimension::Latency, FailureClass::RateLimited),
    ];
    for (dimension, class) in ways {
        let mut bench = Bench::healthy();
        bench.see(Observation::probe_failed(class, "no"));
        bench.see(Observation::probe_failed(class, "no"));
        assert_eq!(bench.monitor.tier(), Tier::Degraded, "{dimension}");
        assert_eq!(bench.monitor.next_deadline(), Some(bench.now + TimeDelta::minutes(10)));
        assert_eq!(bench.pass(599).tick(), None);
        let change = bench.pass(1).tick().unwrap();
        assert_eq!((change.tier, change.dimension), (Tier::Failed, Some(dimension)));
        assert_eq!(bench.monitor.next_deadline(), None);
    }
}

#[test]
fn the_first_good_probe_is_told_at_once_and_healthy_comes_later() {
    let mut bench = Bench::healthy();
    bench.see(Observation::authentication_failed("401"));
    bench.pass(700).tick();
    assert_eq!(bench.monitor.tier(), Tier::Failed);

    let change = bench.pass(30).good().unwrap();
    assert!(change.answers_again);
    assert_eq!((change.tier, change.steps.len()), (Tier::Failed, 0));
    assert_eq!(bench.monitor.gate(bench.now), Gate::Work);
    // Two more make three, and the hold-down is not over.
    assert_eq!(bench.good_for(270), []);
    let text = bench.monitor.explain(bench.now);
    assert!(text.contains("well again for 4 min 30 s with 3 of 3 successes"), "{text}");
    assert!(text.contains("after 30 s more (hold-down 5 min)"), "{text}");

    let change = bench.pass(30).good().unwrap();
    assert_eq!((change.previous, change.tier), (Tier::Failed, Tier::Healthy));
    assert_eq!(kinds(&Some(change)), [StepKind::Recovered]);
}

#[test]
fn the_hold_down_alone_does_not_make_healthy() {
    let mut bench = Bench::healthy();
    bench.see(Observation::authentication_failed("401"));
    bench.good();
    bench.pass(400).tick();
    assert_eq!(bench.monitor.tier(), Tier::Degraded);
    bench.good();
    assert_eq!(bench.monitor.tier(), Tier::Degraded, "two successes are not three");
    bench.good();
    assert_eq!(bench.monitor.tier(), Tier::Healthy);
}

#[test]
fn a_failure_begins_the_recovery_anew_and_finds_the_old_time_of_degradation() {
    let mut bench = Bench::healthy();
    bench.bad();
    bench.bad();
    bench.good_for(270);
    assert_eq!(bench.monitor.tier(), Tier::Degraded);
    bench.pass(30).bad();
    assert!(!bench.monitor.worst().recovering);
    bench.good_for(270);
    assert_eq!(
        bench.monitor.tier(),
        Tier::Degraded,
        "570 s since it was degraded, and no success at the end of a hold-down"
    );
    bench.pass(40);
    bench.see(Observation::unreachable("connection refused"));
    assert_eq!(bench.monitor.tier(), Tier::Failed);
}

#[test]
fn flapping_doubles_the_hold_down_up_to_a_limit_and_is_forgotten() {
    let mut bench = Bench::healthy();
    let mut held = Vec::new();
    for _ in 0..7 {
        bench.see(Observation::authentication_failed("401"));
        let since = bench.now;
        while bench.monitor.tier() != Tier::Healthy {
            bench.pass(10).good();
        }
        held.push((bench.now - since).num_seconds() - 10);
    }
    assert_eq!(held, [300, 600, 1_200, 2_400, 3_600, 3_600, 3_600]);

    bench.good_for(20 * 3_600);
    bench.see(Observation::authentication_failed("401"));
    let since = bench.now;
    while bench.monitor.tier() != Tier::Healthy {
        bench.pass(10).good();
    }
    assert_eq!((bench.now - since).num_seconds() - 10, 300);
}

#[test]
fn silence_is_a_failure() {
    let mut bench = Bench::healthy();
    assert_eq!(bench.monitor.next_deadline(), Some(bench.now + TimeDelta::minutes(15)));
    assert_eq!(bench.pass(899).tick(), None);
    let change = bench.pass(1).tick().unwrap();
    assert_eq!((change.tier, change.class), (Tier::Degraded, Some(FailureClass::Stale)));
    assert_eq!(bench.pass(600).tick().unwrap().tier, Tier::Failed);
}

#[test]
fn silence_from_the_beginning_is_a_failure_too() {
    let mut bench = Bench::new(Thresholds::default());
    bench.tick();
    assert_eq!(bench.pass(900).tick().unwrap().class, Some(FailureClass::Stale));
}

#[test]
fn a_pause_excuses_silence_and_not_for_ever() {
    let mut bench = Bench::healthy();
    bench.see(Observation::paused_until(bench.now + TimeDelta::hours(4)));
    assert_eq!(bench.pass(4 * 3_600 + 899).tick(), None);
    assert_eq!(bench.pass(1).tick().unwrap().class, Some(FailureClass::Stale));

    let mut bench = Bench::healthy();
    bench.see(Observation::paused_until(chrono::DateTime::<chrono::Utc>::MAX_UTC));
    assert_eq!(bench.monitor.next_deadline(), Some(bench.now + TimeDelta::days(30) + TimeDelta::minutes(15)));
}

#[test]
fn a_recovery_that_falls_silent_is_none() {
    let mut bench = Bench::healthy();
    bench.see(Observation::authentication_failed("401"));
    bench.pass(60).good();
    assert_eq!(bench.pass(899).tick(), None);
    assert_eq!(bench.pass(1).tick().unwrap().tier, Tier::Failed);
    bench.good();
    bench.pass(1);
    bench.good();
    bench.good();
    assert_eq!(bench.monitor.tier(), Tier::Failed, "the hold-down began anew");
}

#[test]
fn a_failure_ratio_needs_a_minimum_sample() {
    let failing = |operations: u32| {
        let mut bench = Bench::healthy();
        let mut alerted = None;
        for n in 1..operations {
            bench.pass(5);
            // Half of all fail and are done at the next try, so that no cycle fails.
            if n % 2 == 0 {
                bench.see(Observation::failed(FailureClass::ServerError, "500"));
                bench.see(Observation::confirmed(latency(40)));
            } else {
                bench.see(Observation::failed(FailureClass::ServerError, "500"));
            }
            bench.see(Observation::confirmed(latency(40)));
            bench.see(Observation::cycle_ended(0));
            if bench.monitor.tier().is_bad() {
                alerted.get_or_insert(bench.monitor.worst().class);
            }
        }
        alerted
    };
    assert_eq!(failing(7), None);
    assert_eq!(failing(30), Some(Some(FailureClass::FailureRatio)));
}

#[test]
fn a_fast_burn_is_told_and_a_slow_one_too() {
    let burn = |every: u32, hours: u32| {
        let mut bench = Bench::healthy();
        for n in 0..hours * 120 {
            bench.pass(30);
            if n % every == 0 {
                bench.see(Observation::failed(FailureClass::ServerError, "500"));
            }
            bench.good();
            if bench.monitor.tier().is_bad() {
                return bench.monitor.worst().class;
            }
        }
        None
    };
    assert_eq!(burn(4, 2), Some(FailureClass::BurnRate));
    assert_eq!(burn(40, 12), Some(FailureClass::SlowBurn));
    assert_eq!(burn(400, 100), None);
}

#[test]
fn latency_is_judged_by_what_is_usual() {
    let mut bench = Bench::healthy();
    for _ in 0..300 {
        bench.pass(30).see(Observation::probe_confirmed(latency(200)));
    }
    // Twice is not three times.
    for _ in 0..40 {
        bench.pass(30).see(Observation::probe_confirmed(latency(400)));
    }
    assert_eq!(bench.monitor.tier(), Tier::Healthy);
    let mut probes = 0;
    while bench.monitor.tier() == Tier::Healthy {
        bench.pass(1).see(Observation::probe_confirmed(latency(1_500)));
        probes += 1;
        assert!(probes < 100);
    }
    let worst = bench.monitor.worst();
    assert_eq!((worst.dimension, worst.class), (Dimension::Latency, Some(FailureClass::Slow)));
    assert!(worst.sample.unwrap().starts_with("1500 ms, where "), "{:?}", worst.sample);
}

#[test]
fn the_baseline_does_not_learn_from_bad_times() {
    let mut bench = Bench::healthy();
    for _ in 0..300 {
        bench.pass(30).see(Observation::probe_confirmed(latency(100)));
    }
    for _ in 0..5_000 {
        bench.pass(30).see(Observation::probe_confirmed(latency(2_000)));
    }
    assert_eq!(bench.monitor.worst().class, Some(FailureClass::Slow));
    assert_eq!(bench.monitor.tier(), Tier::Failed);
}

#[test]
fn what_is_fast_is_not_called_slow_for_a_hiccup() {
    let mut bench = Bench::healthy();
    for _ in 0..300 {
        bench.pass(30).see(Observation::probe_confirmed(latency(3)));
    }
    for _ in 0..300 {
        bench.pass(30).see(Observation::probe_confirmed(latency(200)));
    }
    assert_eq!(bench.monitor.tier(), Tier::Healthy);
}

#[test]
fn the_ceiling_needs_neither_a_baseline_nor_many_samples() {
    let mut bench = Bench::healthy();
    bench.pass(30).see(Observation::probe_confirmed(latency(12_000)));
    assert_eq!(bench.monitor.tier(), Tier::Healthy);
    let change = bench.pass(30).see(Observation::probe_confirmed(latency(12_000))).unwrap();
    assert_eq!((change.tier, change.class), (Tier::Degraded, Some(FailureClass::OverCeiling)));
}

#[test]
fn the_end_of_a_credential_is_warned_of_and_is_a_failure() {
    let mut bench = Bench::healthy();
    let ends = bench.now + TimeDelta::days(40);
    assert_eq!(bench.see(Observation::credential_ends(Some(ends))), None);
    assert_eq!(bench.monitor.expiring(), None);
    let mut warned = Vec::new();
    while bench.now < ends {
        bench.pass(300);
        let change = bench.good();
        if kinds(&change).contains(&StepKind::ExpiryNear) {
            assert_eq!(change.unwrap().tier, Tier::Healthy);
            warned.push((ends - bench.now).num_days());
        }
    }
    assert_eq!(warned, [30, 7, 1]);
    assert_eq!(bench.monitor.expiring(), Some(ends));
    assert_eq!(bench.monitor.worst().class, Some(FailureClass::CredentialExpired));

    // It may still be taken, and is none to rely on.
    bench.good_for(3_600);
    assert_eq!(bench.monitor.tier(), Tier::Failed);
    assert!(bench.monitor.explain(bench.now).contains("past its end"));
    bench.see(Observation::credential_ends(Some(ends + TimeDelta::days(90))));
    bench.good_for(330);
    assert_eq!(bench.monitor.tier(), Tier::Healthy);
}

#[test]
fn the_connector_is_as_its_worst_dimension() {
    let mut bench = Bench::healthy();
    bench.bad();
    bench.bad();
    bench.pass(700).tick();
    assert_eq!(bench.monitor.tier(), Tier::Failed);
    // It answers, and refuses: the connection is well again, and the credential is what to look at.
    bench.see(Observation::authentication_failed("401"));
    assert_eq!(tier_of(&bench.monitor, Dimension::Authentication), Tier::Degraded);
    assert_eq!(bench.monitor.tier(), Tier::Failed);
    bench.pass(700).tick();
    assert_eq!(bench.monitor.worst().dimension, Dimension::Authentication);
}

#[test]
fn a_class_takes_over_when_it_was_seen_twice_running() {
    let mut bench = Bench::healthy();
    bench.bad();
    bench.bad();
    for _ in 0..10 {
        let other = Observation::probe_failed(FailureClass::Tls, "certificate expired");
        assert_eq!(bench.pass(10).see(other), None);
        assert_eq!(bench.pass(10).bad(), None);
    }
    bench.see(Observation::probe_failed(FailureClass::Tls, "certificate expired"));
    let change = bench.see(Observation::probe_failed(FailureClass::Tls, "certificate expired"));
    assert_eq!(kinds(&change), [StepKind::Reclassified]);
    assert_eq!(change.unwrap().class, Some(FailureClass::Tls));
}

#[test]
fn the_gate_lets_through_ever_fewer_probes_until_one_is_good() {
    let mut bench = Bench::healthy();
    assert_eq!(bench.monitor.gate(bench.now), Gate::Work);
    bench.see(Observation::authentication_failed("401"));
    let mut waits = Vec::new();
    for _ in 0..6 {
        let Gate::Wait { until } = bench.monitor.gate(bench.now) else {
            panic!("{:?}", bench.monitor.gate(bench.now))
        };
        waits.push((until - bench.now).num_seconds());
        bench.now = until;
        assert_eq!(bench.monitor.gate(bench.now), Gate::Probe);
        bench.see(Observation::probe_failed(FailureClass::CredentialRefused, "401"));
    }
    assert_eq!(waits, [30, 60, 120, 240, 300, 300]);
    bench.see(Observation::credential_replaced());
    assert_eq!(bench.monitor.gate(bench.now), Gate::Probe);
    assert!(bench.good().unwrap().answers_again);
    assert_eq!(bench.monitor.gate(bench.now), Gate::Work);
}

#[test]
fn a_clock_set_back_neither_heals_nor_panics() {
    let mut bench = Bench::healthy();
    bench.see(Observation::authentication_failed("401"));
    bench.good();
    for _ in 0..1_000 {
        bench.now -= TimeDelta::hours(1);
        bench.good();
    }
    assert_eq!(bench.monitor.tier(), Tier::Degraded);
    for extreme in [chrono::DateTime::<chrono::Utc>::MIN_UTC, chrono::DateTime::<chrono::Utc>::MAX_UTC] {
        bench.now = extreme;
        bench.bad();
        bench.tick();
        bench.monitor.next_deadline();
        bench.monitor.gate(extreme);
        bench.monitor.explain(extreme);
    }
}

#[test]
fn a_restart_keeps_what_was_known_and_counts_the_silence() {
    let mut bench = Bench::healthy();
    bench.bad();
    let first = bench.now;
    let kept = serde_json::to_string(bench.monitor.state()).unwrap();
    bench.monitor = Monitor::restore(Thresholds::default(), serde_json::from_str(&kept).unwrap());
    bench.pass(30).bad();
    assert_eq!(bench.monitor.worst().first_failure_at, Some(first));
    let kept = serde_json::to_string(bench.monitor.state()).unwrap();
    bench.monitor = Monitor::restore(Thresholds::default(), serde_json::from_str(&kept).unwrap());
    assert_eq!(bench.pass(601).tick().unwrap().tier, Tier::Failed);
    assert_eq!(bench.monitor.worst().first_failure_at, Some(first));
}

#[test]
fn samples_are_redacted_before_they_are_kept() {
    let mut bench = Bench::healthy();
    bench.see(Observation::authentication_failed("401 for Bearer s3cr3t-token of ann@example.com"));
    assert_eq!(bench.monitor.worst().sample, Some("401 for Bearer … of …"));
}

#[test]
fn thresholds_read_what_is_given_and_refuse_what_is_misspelt() {
    let thresholds: Thresholds = serde_json::from_str(r#"{"fail_after_s": 60}"#).unwrap();
    assert_eq!(thresholds, Thresholds { fail_after_s: 60, ..Thresholds::default() });
    assert!(serde_json::from_str::<Thresholds>(r#"{"fail_after": 60}"#).is_err());
    let zero = Thresholds {
        failed_cycles: 0,
        fail_after_s: 0,
        stale_after_s: 0,
        hold_down_s: 0,
        ..Thresholds::default()
    };
    let mut monitor = Monitor::new(zero);
    monitor.observe(Observation::unreachable("no"), start());
    assert_eq!(monitor.observe(Observation::cycle_ended(1), start()).unwrap().tier, Tier::Degraded);
}
