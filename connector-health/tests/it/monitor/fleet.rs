//! Thirty days of a fleet with random outages, in virtual time.

use std::time::Duration;

use chrono::TimeDelta;
use connector_health::monitor::{FailureClass, Gate, Observation};
use connector_health::{Monitor, Thresholds, Tier};

use super::start;

const CONNECTORS: u64 = 12;
const STEP_S: i64 = 30;
const STEPS: i64 = 30 * 24 * 3_600 / STEP_S;
/// Longest time in which a monitor is looked at twice: the longest wait between two probes.
const SLACK_S: i64 = 300;

#[derive(Clone, Copy)]
struct Outage {
    begins: i64,
    ends: i64,
    class: Option<FailureClass>,
}

/// Outages that do not overlap, with at least six hours between them, so that each is one of its own. No class: nobody observes.
fn outages(rng: &mut fastrand::Rng) -> Vec<Outage> {
    let kinds = [
        Some(FailureClass::Unreachable),
        Some(FailureClass::UnknownOutcome),
        Some(FailureClass::CredentialRefused),
        Some(FailureClass::SchemaMismatch),
        Some(FailureClass::ServerError),
        Some(FailureClass::RateLimited),
        None,
    ];
    let mut begins = rng.i64(720..2_880);
    let mut all = Vec::new();
    while begins < STEPS - 720 {
        let class = kinds[rng.usize(..kinds.len())];
        // From a single event to twelve hours, short ones more often.
        let steps = 1_440.0_f64.powf(rng.f64()) as i64;
        let steps = if class.is_none() { steps.max(40) } else { steps };
        all.push(Outage { begins, ends: begins + steps, class });
        begins += steps + rng.i64(720..8_640);
    }
    all
}

#[test]
fn no_outage_is_missed_and_nothing_is_healthy_during_one() {
    let mut to_alert = Vec::new();
    let mut to_healthy = Vec::new();
    let (mut counted, mut short, mut transients) = (0, 0, 0);
    for seed in 0..CONNECTORS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let outages = outages(&mut rng);
        let mut monitor = Monitor::new(Thresholds::default());
        let mut current: Option<(Outage, Option<i64>)> = None;
        let mut ended: Option<i64> = None;
        let mut next = outages.iter().copied().peekable();
        for step in 0..STEPS {
            let now = start() + TimeDelta::seconds(step * STEP_S);
            if let Some(outage) = next.next_if(|outage| outage.begins == step) {
                assert_eq!(monitor.tier(), Tier::Healthy, "seed {seed}: not healthy again in six hours");
                current = Some((outage, None));
            }
            if let Some((outage, alerted)) = current.filter(|(outage, _)| outage.ends == step) {
                let failed = outage.ends - outage.begins;
                if failed > 2 {
                    assert!(
                        alerted.is_some(),
                        "seed {seed}: {failed} cycles of {:?} and no alert",
                        outage.class
                    );
                }
                counted += 1;
                short += i32::from(failed == 1);
                ended = alerted.is_some().then_some(step);
                current = None;
            }
            match current.as_ref().map(|(outage, _)| outage.class) {
                _ if matches!(monitor.gate(now), Gate::Wait { .. }) => {
                    monitor.tick(now);
                }
                Some(Some(class)) => {
                    monitor.observe(Observation::probe_failed(class, "out"), now);
                }
                Some(None) => {
                    monitor.tick(now);
                }
                None => {
                    // One in a thousand fails once and is done at the next try.
                    if ended.is_none() && rng.u32(..1_000) == 0 {
                        transients += 1;
                        monitor.observe(Observation::failed(FailureClass::ServerError, "500"), now);
                    }
                    monitor
                        .observe(Observation::probe_confirmed(Duration::from_millis(rng.u64(30..120))), now);
                }
            }
            let bad = monitor.tier().is_bad();
            match &mut current {
                Some((outage, alerted)) => {
                    let cycles = step - outage.begins + 1;
                    if bad && alerted.is_none() {
                        *alerted = Some(step);
                        to_alert.push((outage.class, (step - outage.begins) * STEP_S));
                        let single = cycles == 1 && outage.class != Some(FailureClass::CredentialRefused);
                        assert!(!single, "seed {seed}: an alert for a single transient failure");
                    }
                    let must_be_bad = match outage.class {
                        Some(_) => cycles > 2,
                        None => cycles * STEP_S > 900 + SLACK_S,
                    };
                    assert!(bad || !must_be_bad, "seed {seed}: falsely {} in cycle {cycles}", monitor.tier());
                }
                None if ended.is_some() && !bad => {
                    to_healthy.extend(ended.take().map(|at| (step - at) * STEP_S));
                }
                None => assert!(
                    !bad || ended.is_some(),
                    "seed {seed}: an alert for nothing: {}",
                    monitor.explain(now)
                ),
            }
        }
    }
    assert!(counted > 200 && short > 5 && transients > 100, "{counted} {short} {transients}");
    let silent: Vec<i64> = to_alert.iter().filter(|(class, _)| class.is_none()).map(|(_, s)| *s).collect();
    let refused: Vec<i64> = to_alert
        .iter()
        .filter(|(c, _)| *c == Some(FailureClass::CredentialRefused))
        .map(|(_, s)| *s)
        .collect();
    let others: Vec<i64> = to_alert
        .iter()
        .filter(|(class, _)| class.is_some_and(|class| class != FailureClass::CredentialRefused))
        .map(|(_, s)| *s)
        .collect();
    println!(
        "{counted} outages ({short} of one event), {transients} transients, over {CONNECTORS} connectors and 30 days"
    );
    print("seconds from fault to alert, refused credential", &refused);
    print("seconds from fault to alert, other failures", &others);
    print("seconds from fault to alert, silence", &silent);
    print("seconds from recovery to healthy", &to_healthy);
    assert!(refused.iter().all(|seconds| *seconds == 0));
    assert!(others.iter().all(|seconds| *seconds == STEP_S));
}

#[allow(clippy::print_stdout)]
fn print(what: &str, seconds: &[i64]) {
    let mut seconds = seconds.to_vec();
    seconds.sort_unstable();
    let at = |percent: usize| seconds.get((seconds.len() - 1) * percent / 100).copied().unwrap_or_default();
    println!("{what}: p50 {} p95 {} p99 {} max {} (n = {})", at(50), at(95), at(99), at(100), seconds.len());
}
