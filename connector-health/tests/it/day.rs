//! A day of a company: no leaver stays active for longer than an outage and its replay, no gap without alert and evidence, and nothing
//! is shown as healthy that is not.

mod simulation;

use simulation::{Check, Figures, Sabotage, Seen, Size, Violation, day, figures, judge, run};

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn judged(size: Size, seed: u64, sabotage: Sabotage) -> (Vec<Violation>, Seen, Figures) {
    run(async {
        let day = day(size, seed, sabotage).await;
        let (violations, seen) = judge(&day).await;
        (violations, seen, figures(&day))
    })
}

#[allow(clippy::print_stdout)]
#[test]
fn soak_a_day_leaves_no_leaver_active_and_no_failure_unseen() {
    // Ten thousand people at a thousand rounds.
    let people = usize::try_from(number("SOAK_ROUNDS", 50) * 10).unwrap();
    let seed = number("SOAK_SEED", 1);
    let (violations, seen, figures) =
        judged(Size { people, applications: 30, hours: 24 }, seed, Sabotage::None);
    println!("{people} people, seed {seed}: {seen:?}\n{figures}");
    for violation in violations.iter().take(60) {
        println!("{violation}");
    }
    assert!(violations.is_empty(), "{} do not hold, seed {seed}", violations.len());
    assert!(seen.gaps > 0 && seen.held > 0 && seen.records > 20 && seen.alerts > 20, "{seen:?}");
}

/// Small enough to be run once for each thing that may be wrong.
const SMALL: Size = Size { people: 120, applications: 8, hours: 9 };

/// What the oracle says of a small day with something wrong about it.
fn checks(sabotage: Sabotage) -> Vec<Check> {
    let (violations, ..) = judged(SMALL, 3, sabotage);
    let mut checks: Vec<_> = violations.iter().map(|violation| violation.check).collect();
    checks.sort_unstable();
    checks.dedup();
    checks
}

#[test]
fn the_oracle_finds_nothing_where_nothing_is_wrong() {
    assert_eq!(checks(Sabotage::None), []);
}

#[test]
fn the_oracle_finds_a_confirmation_that_is_false() {
    let checks = checks(Sabotage::FalseConfirmation);
    for expected in [Check::LeaverActive, Check::GapWithoutAlert, Check::GapWithoutEvidence, Check::Record] {
        assert!(checks.contains(&expected), "{expected:?} in {checks:?}");
    }
}

#[test]
fn the_oracle_finds_leavers_that_are_never_sent() {
    let checks = checks(Sabotage::NothingAfterFailure);
    for expected in [Check::LeaverActive, Check::FinalState, Check::Record] {
        assert!(checks.contains(&expected), "{expected:?} in {checks:?}");
    }
}

#[test]
fn the_oracle_finds_monitors_that_do_not_hear_of_failures() {
    let checks = checks(Sabotage::DeafMonitors);
    for expected in [Check::FalseHealthy, Check::GapWithoutAlert] {
        assert!(checks.contains(&expected), "{expected:?} in {checks:?}");
    }
}

#[test]
fn the_oracle_finds_alerts_that_are_lost_or_said_twice() {
    assert!(checks(Sabotage::LostAlerts).contains(&Check::Alert));
    assert_eq!(checks(Sabotage::RepeatedAlerts), [Check::Alert]);
}

#[test]
fn the_oracle_finds_records_with_other_times_than_those_that_hr_said() {
    let checks = checks(Sabotage::WrongTimes);
    assert!(checks.contains(&Check::Record), "{checks:?}");
}
