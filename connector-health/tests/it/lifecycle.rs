//! End dates, and what changed in a source.

mod feed;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use connector_health::lifecycle::*;
use connector_health::{ConnectorId, EntitlementId, PersonId};
use proptest::prelude::*;

fn day(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn ada() -> PersonId {
    PersonId::new("ada").unwrap()
}

fn change(id: &str, occurred_at: &str, end: Option<&str>) -> Change {
    Change {
        id: id.into(),
        occurred_at: utc(occurred_at),
        person: ada(),
        subject: Subject::Contract,
        end: end.map(|end| End::At(utc(end))),
    }
}

fn schedule(warn_days: &[u16]) -> Schedule {
    Schedule::new(ScheduleSettings {
        warn_days: warn_days.iter().copied().collect(),
        ..ScheduleSettings::default()
    })
}

/// Everything due, executed.
fn take(schedule: &mut Schedule, now: &str) -> Vec<What> {
    let now = utc(now);
    let due = schedule.due(now).unwrap();
    due.into_iter()
        .map(|due| (schedule.executed(&due.id, now), due.what))
        .map(|(executed, what)| {
            assert!(executed, "{what:?}");
            what
        })
        .collect()
}

fn warnings(due: &[What]) -> Vec<u16> {
    due.iter()
        .map(|what| match what {
            What::Warn { days, .. } => *days,
            _ => 0,
        })
        .collect()
}

fn end_of(zone: Tz, year: i32, month: u32, date: u32) -> DateTime<Utc> {
    End::EndOf { day: day(year, month, date), zone }.instant().unwrap()
}

#[test]
fn a_day_ends_where_the_person_works() {
    assert_eq!(end_of(Tz::Asia__Kolkata, 2026, 3, 31), utc("2026-03-31T18:30:00Z"));
    assert_eq!(end_of(Tz::America__New_York, 2026, 3, 31), utc("2026-04-01T04:00:00Z"));
    // 25 hours long.
    assert_eq!(end_of(Tz::Europe__Berlin, 2026, 10, 25), utc("2026-10-25T23:00:00Z"));
}

#[test]
fn a_day_without_a_midnight_begins_when_it_begins() {
    // Clocks in Beirut went from 23:59:59 on 26 March 2022 to 01:00 on the 27th.
    assert_eq!(end_of(Tz::Asia__Beirut, 2022, 3, 26), utc("2022-03-26T22:00:00Z"));
    // Samoa had no 30 December 2011.
    assert_eq!(end_of(Tz::Pacific__Apia, 2011, 12, 29), utc("2011-12-30T10:00:00Z"));
    assert_eq!(End::EndOf { day: NaiveDate::MAX, zone: Tz::UTC }.instant(), Err(EndError));
}

#[test]
fn an_end_is_warned_of_ahead_and_executed_on_time_once() {
    let mut schedule = schedule(&[7, 1]);
    let end = End::EndOf { day: day(2026, 3, 31), zone: Tz::Asia__Kolkata };
    let change = Change { end: Some(end), ..change("1", "2026-01-01T00:00:00Z", None) };
    assert_eq!(schedule.apply(change, utc("2026-01-01T00:00:00Z")), Ok(Applied::Set));
    assert_eq!(schedule.next(), Some(utc("2026-03-24T18:30:00Z")));
    assert_eq!(take(&mut schedule, "2026-03-24T18:29:59Z"), []);
    assert_eq!(warnings(&take(&mut schedule, "2026-03-24T18:30:00Z")), [7]);
    assert_eq!(take(&mut schedule, "2026-03-25T00:00:00Z"), []);
    assert_eq!(warnings(&take(&mut schedule, "2026-03-30T18:30:00Z")), [1]);
    assert_eq!(take(&mut schedule, "2026-03-31T18:29:59Z"), []);
    assert_eq!(take(&mut schedule, "2026-03-31T18:30:00Z"), [What::Leave]);
    assert_eq!(take(&mut schedule, "2026-04-02T00:00:00Z"), []);
    assert_eq!(schedule.next(), None);
}

#[test]
fn what_was_not_executed_is_due_again_under_the_same_id() {
    let mut schedule = schedule(&[]);
    schedule
        .apply(change("1", "2026-01-01T00:00:00Z", Some("2026-02-01T00:00:00Z")), utc("2026-01-01T00:00:00Z"))
        .unwrap();
    let kept = serde_json::to_string(&schedule).unwrap();
    let first = schedule.due(utc("2026-02-01T00:00:00Z")).unwrap();
    // The process ends here. What it gave out is lost or in the outbox; nobody knows.
    let mut schedule: Schedule = serde_json::from_str(&kept).unwrap();
    let again = schedule.due(utc("2026-02-01T00:00:05Z")).unwrap();
    assert_eq!(first, again);
    assert!(schedule.executed(&again[0].id, utc("2026-02-01T00:00:06Z")));
    assert!(!schedule.executed(&again[0].id, utc("2026-02-01T00:00:07Z")));
    let mut schedule: Schedule = serde_json::from_str(&serde_json::to_string(&schedule).unwrap()).unwrap();
    assert_eq!(schedule.due(utc("2026-02-02T00:00:00Z")), Ok(vec![]));
}

#[test]
fn late_ends_are_warned_of_once() {
    let mut schedule = schedule(&[30, 14, 7, 1]);
    schedule
        .apply(change("1", "2026-01-01T00:00:00Z", Some("2026-01-06T00:00:00Z")), utc("2026-01-01T00:00:00Z"))
        .unwrap();
    assert_eq!(warnings(&take(&mut schedule, "2026-01-01T00:00:00Z")), [7]);
    assert_eq!(warnings(&take(&mut schedule, "2026-01-05T00:00:00Z")), [1]);
}

#[test]
fn extended_shortened_and_cancelled() {
    let mut schedule = schedule(&[7]);
    let now = utc("2026-01-10T00:00:00Z");
    let mut apply = |id: &str, at: &str, end| schedule.apply(change(id, at, end), now).unwrap();
    assert_eq!(apply("1", "2026-01-01T00:00:00Z", Some("2026-01-12T00:00:00Z")), Applied::Set);
    assert_eq!(apply("2", "2026-01-02T00:00:00Z", Some("2026-06-01T00:00:00Z")), Applied::Extended);
    assert_eq!(apply("3", "2026-01-03T00:00:00Z", Some("2026-01-20T00:00:00Z")), Applied::Shortened);
    assert_eq!(apply("4", "2026-01-04T00:00:00Z", Some("2026-01-20T00:00:00Z")), Applied::Unchanged);
    assert_eq!(apply("5", "2026-01-05T00:00:00Z", None), Applied::Cancelled);
    assert_eq!(schedule.next(), None);
    assert_eq!(take(&mut schedule, "2026-02-01T00:00:00Z"), []);
}

#[test]
fn a_longer_contract_is_warned_of_again() {
    let mut schedule = schedule(&[7]);
    schedule
        .apply(change("1", "2026-01-01T00:00:00Z", Some("2026-01-08T00:00:00Z")), utc("2026-01-01T00:00:00Z"))
        .unwrap();
    let given = schedule.due(utc("2026-01-08T00:00:00Z")).unwrap();
    schedule
        .apply(change("2", "2026-01-02T00:00:00Z", Some("2026-02-08T00:00:00Z")), utc("2026-01-08T00:00:00Z"))
        .unwrap();
    assert!(
        !schedule.executed(&given[0].id, utc("2026-01-08T00:00:00Z")),
        "the contract no longer ends then"
    );
    assert_eq!(warnings(&take(&mut schedule, "2026-02-01T00:00:00Z")), [7]);
    assert_eq!(take(&mut schedule, "2026-02-08T00:00:00Z"), [What::Leave]);
}

#[test]
fn a_contract_that_goes_on_after_it_was_ended_is_reopened() {
    let mut schedule = schedule(&[]);
    schedule
        .apply(change("1", "2026-01-01T00:00:00Z", Some("2026-01-08T00:00:00Z")), utc("2026-01-01T00:00:00Z"))
        .unwrap();
    assert_eq!(take(&mut schedule, "2026-01-08T00:00:00Z"), [What::Leave]);
    let now = utc("2026-01-09T00:00:00Z");
    let earlier = change("2", "2026-01-07T00:00:00Z", Some("2026-01-07T12:00:00Z"));
    assert_eq!(schedule.apply(earlier, now), Ok(Applied::Shortened), "it ended, and stays so");
    assert_eq!(take(&mut schedule, "2026-01-09T00:00:00Z"), []);
    let later = change("3", "2026-01-08T00:00:00Z", Some("2026-02-01T00:00:00Z"));
    assert_eq!(schedule.apply(later, now), Ok(Applied::Reopened));
    assert_eq!(take(&mut schedule, "2026-02-01T00:00:00Z"), [What::Leave]);
}

#[test]
fn a_clock_that_is_put_back_makes_nothing_due_again() {
    let mut schedule = schedule(&[]);
    schedule
        .apply(change("1", "2026-01-01T00:00:00Z", Some("2026-01-08T00:00:00Z")), utc("2026-01-01T00:00:00Z"))
        .unwrap();
    assert_eq!(take(&mut schedule, "2026-01-08T00:00:00Z"), [What::Leave]);
    assert_eq!(take(&mut schedule, "2026-01-07T00:00:00Z"), []);
    assert_eq!(take(&mut schedule, "2026-01-08T00:00:00Z"), []);
}

#[test]
fn a_clock_that_jumps_ahead_ends_nothing_until_confirmed() {
    let mut schedule = schedule(&[]);
    schedule
        .apply(change("1", "2026-01-01T00:00:00Z", Some("2027-01-08T00:00:00Z")), utc("2026-01-01T00:00:00Z"))
        .unwrap();
    assert_eq!(take(&mut schedule, "2026-01-02T00:00:00Z"), []);
    let jumped = utc("2036-01-02T00:00:00Z");
    assert!(matches!(schedule.due(jumped), Err(ScheduleError::ClockJump { .. })));
    assert!(
        matches!(schedule.due(jumped), Err(ScheduleError::ClockJump { .. })),
        "asking again confirms nothing"
    );
    assert_eq!(take(&mut schedule, "2026-01-03T00:00:00Z"), []);
    schedule.accept_clock(jumped);
    assert_eq!(take(&mut schedule, "2036-01-02T00:00:00Z"), [What::Leave]);
}

#[test]
fn refuses_changes_that_would_outdo_all_others() {
    let mut schedule = schedule(&[]);
    let now = utc("2026-01-01T00:00:00Z");
    let skewed = change("1", "2026-01-01T00:05:01Z", None);
    assert!(matches!(schedule.apply(skewed, now), Err(ScheduleError::FromTheFuture { .. })));
    assert_eq!(schedule.apply(change("", "2026-01-01T00:00:00Z", None), now), Err(ScheduleError::Identifier));
    assert!(schedule.is_empty());
}

#[test]
fn persons_end_before_rights_and_rights_before_warnings() {
    let mut schedule = schedule(&[7]);
    let now = utc("2026-01-01T00:00:00Z");
    let right = Subject::Right {
        connector: ConnectorId::new("sap").unwrap(),
        entitlement: EntitlementId::new("Z_PAY").unwrap(),
    };
    let of = |person: &str, subject: &Subject, end: &str| Change {
        person: PersonId::new(person).unwrap(),
        subject: subject.clone(),
        ..change("1", "2026-01-01T00:00:00Z", Some(end))
    };
    schedule.apply(of("c", &Subject::Contract, "2026-01-12T00:00:00Z"), now).unwrap();
    schedule.apply(of("b", &right, "2026-01-08T00:00:00Z"), now).unwrap();
    schedule.apply(of("a", &Subject::Contract, "2026-01-09T00:00:00Z"), now).unwrap();
    let due = take(&mut schedule, "2026-01-10T00:00:00Z");
    assert!(
        matches!(due.as_slice(), [What::Leave, What::Revoke { .. }, What::Warn { days: 7, .. }]),
        "{due:?}"
    );
    schedule.drop_before(utc("2026-01-11T00:00:00Z"));
    assert_eq!(schedule.len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Apply(usize),
    Pass { hours: i64 },
    Back { hours: i64 },
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..8usize).prop_map(Step::Apply),
        4 => (1..60i64).prop_map(|hours| Step::Pass { hours }),
        1 => (1..60i64).prop_map(|hours| Step::Back { hours }),
        2 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..40)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = (0..48i64, proptest::option::weighted(0.8, 0..400i64));
    proptest::collection::vec(one, 8).prop_map(|all| {
        let start = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
        let each = all.into_iter().enumerate().map(|(n, (at, end))| Change {
            id: format!("c{n}"),
            occurred_at: start - Duration::days(120) - Duration::hours(at),
            person: ada(),
            subject: Subject::Contract,
            end: end.map(|hours| End::At(start + Duration::hours(hours))),
        });
        each.collect()
    })
}

proptest! {
    #[test]
    fn the_order_and_number_of_statements_change_nothing(changes in changes(), order in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle(), again in proptest::collection::vec(0..8usize, 0..8)) {
        let now = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
        let (mut one, mut other) = (schedule(&[3]), schedule(&[3]));
        for change in &changes {
            one.apply(change.clone(), now).unwrap();
        }
        for at in order.into_iter().chain(again) {
            other.apply(changes[at].clone(), now).unwrap();
        }
        prop_assert_eq!(one.end_of(&ada(), &Subject::Contract), other.end_of(&ada(), &Subject::Contract));
        prop_assert_eq!(one.next(), other.next());
    }

    /// Against random clocks, crashes and statements: an end is executed once for as long as it stands, never early, and at the
    /// end of it all nothing that has come is left undone.
    #[test]
    fn ends_are_executed_once_and_never_early(changes in changes(), steps in steps()) {
        let mut schedule = schedule(&[3, 1]);
        let mut kept = serde_json::to_string(&schedule).unwrap();
        let mut now = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
        let mut outbox: BTreeSet<DueId> = BTreeSet::new();
        let mut executed: BTreeMap<DueId, u32> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Apply(at) => {
                    schedule.apply(changes[at].clone(), now).unwrap();
                }
                Step::Pass { hours } => now += Duration::hours(hours),
                Step::Back { hours } => now -= Duration::hours(hours),
                Step::Crash => {
                    // What was given out reaches the outbox, and the process ends before the schedule is told.
                    for due in schedule.due(now).unwrap() {
                        outbox.insert(due.id);
                    }
                    schedule = serde_json::from_str(&kept).unwrap();
                    continue;
                }
            }
            for due in schedule.due(now).unwrap() {
                prop_assert!(due.at <= now);
                outbox.insert(due.id.clone());
                prop_assert!(schedule.executed(&due.id, now));
                *executed.entry(due.id).or_default() += 1;
            }
            prop_assert!(schedule.due(now).unwrap().is_empty());
            kept = serde_json::to_string(&schedule).unwrap();
        }
        prop_assert!(executed.values().all(|times| *times == 1));
        prop_assert!(executed.keys().all(|id| outbox.contains(id)));
        prop_assert!(schedule.next().is_none_or(|next| next > now));
    }
}
