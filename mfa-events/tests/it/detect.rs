//! Attacks: those that published rules miss, the life of alerts, bounds of memory, and why there is no alert.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::detect::rule::Rules;
use mfa_events::detect::{
    Alert, AlertState, Closing, Detector, Finding, Group, Options, Prefix, Severity, TenantDetector, backtest,
};
use mfa_events::event::{FailureReason, GeoLocation, Method, RiskContext, RiskLevel};
use mfa_events::log::Which;
use mfa_events::store::Record;
use mfa_events::{
    AccountLocked, AccountUnlocked, ActorId, Event, EventLog, LoginFailure, LoginSuccess, MemoryStore,
    MfaFailure, Offset, RecoveryAttempted,
};

use crate::oracle::{acme, record, start};

fn ms(ms: i64) -> DateTime<Utc> {
    start() + TimeDelta::milliseconds(ms)
}

fn s(s: i64) -> DateTime<Utc> {
    ms(s * 1_000)
}

fn failure(actor: &str, ip: &str, at: DateTime<Utc>) -> Event {
    LoginFailure::new(actor).from(ip.parse().unwrap()).at(at).try_into().unwrap()
}

fn success(actor: &str, ip: &str, at: DateTime<Utc>) -> Event {
    LoginSuccess::new(actor).from(ip.parse().unwrap()).with(Method::Push).at(at).try_into().unwrap()
}

fn push_denied(actor: &str, at: DateTime<Utc>) -> Event {
    MfaFailure::new(actor, Method::Push, FailureReason::PushDenied).at(at).try_into().unwrap()
}

fn records(events: impl IntoIterator<Item = Event>) -> Vec<Record> {
    let numbered = events.into_iter().enumerate();
    numbered
        .map(|(number, event)| record(number as u64 + 1, event.clone(), event.at().as_datetime()))
        .collect()
}

fn run(rules: &Rules, events: impl IntoIterator<Item = Event>) -> Vec<Alert> {
    backtest(rules, &acme(), records(events), Options::default()).alerts
}

fn opened(alerts: &[Alert]) -> Vec<(&str, String)> {
    let opened = alerts.iter().filter(|alert| alert.state == AlertState::Opened);
    opened.map(|alert| (alert.rule.as_str(), alert.group.to_string())).collect()
}

fn only(id: &str) -> Rules {
    let rules = Rules::published().only(|rule| rule.id.as_str() == id);
    assert_eq!(rules.len(), 1, "{id}");
    rules
}

const ATTACKER: &str = "203.0.113.7";

/// Most different actors within one part of a calendar grid, as `bin _time span=10m` counts them.
fn most_of_a_bucket(events: &[Event], span_ms: i64) -> usize {
    let buckets: BTreeSet<_> =
        events.iter().map(|event| event.at().as_datetime().timestamp_millis() / span_ms).collect();
    let actors = |bucket: i64| {
        let within =
            events.iter().filter(|event| event.at().as_datetime().timestamp_millis() / span_ms == bucket);
        within.map(Event::actor).collect::<BTreeSet<_>>().len()
    };
    buckets.into_iter().map(actors).max().unwrap_or_default()
}

#[test]
fn sees_an_attack_that_lies_across_the_border_of_two_calendar_buckets() {
    // 9 actors in the second before a ten-minute border, and 9 in the second after it.
    let border = 1_700_000_400_000;
    let at = |number: i64| DateTime::from_timestamp_millis(border - 900 + number * 100).unwrap();
    let events: Vec<_> = (0..18).map(|number| failure(&format!("a{number}"), ATTACKER, at(number))).collect();
    assert_eq!(most_of_a_bucket(&events, 600_000), 9);
    let alerts = run(&Rules::published(), events);
    assert_eq!(opened(&alerts), [("credential-stuffing", ATTACKER.to_owned())]);
}

#[test]
fn counts_over_its_window_and_not_over_the_whole_search() {
    // One denied push a day is nobody's attack, however long one searches; ten in ten minutes are.
    let days = (0..30).map(|day| push_denied("alice", s(day * 86_400)));
    assert!(run(&Rules::published(), days).is_empty());
    let hours = (0..40).map(|hour| failure(&format!("a{hour}"), ATTACKER, s(hour * 3_600)));
    assert!(run(&Rules::published(), hours).is_empty());
    let minutes = (0..10).map(|minute| push_denied("alice", s(minute * 60)));
    assert_eq!(opened(&run(&only("mfa-fatigue"), minutes)), [("mfa-fatigue", "alice".to_owned())]);
}

#[test]
fn accounts_and_sources_of_a_distributed_spray_have_thresholds_of_their_own() {
    // 30 accounts from 12 sources: a rule that compares accounts with the bound for sources, or the other way round, is wrong either way.
    let spray = |actors: i64, sources: i64| {
        let events = (0..60).map(move |number| {
            let ip = format!("198.51.{}.7", number % sources);
            failure(&format!("a{}", number % actors), &ip, s(number * 5))
        });
        run(&only("password-spray-distributed"), events)
    };
    let alerts = spray(30, 12);
    assert_eq!(opened(&alerts), [("password-spray-distributed", "the tenant".to_owned())]);
    // It keeps as many sources as it asks for.
    assert_eq!((alerts[0].actors, alerts[0].sources), (30, 10));
    assert!(spray(29, 12).is_empty(), "too few accounts");
    assert!(spray(30, 9).is_empty(), "too few sources");
}

#[test]
fn sees_fatigue_that_lasts_longer_and_comes_after_something_harmless() {
    // A push in the morning that was answered; in the evening one every two minutes, and a yes after more than five minutes.
    let morning = [push_denied("alice", s(0)), success("alice", "192.0.2.1", s(20))];
    let evening = (0..4).map(|number| push_denied("alice", s(36_000 + number * 120)));
    let end = success("alice", "192.0.2.1", s(36_000 + 500));
    let alerts = run(&only("mfa-fatigue"), morning.into_iter().chain(evening).chain([end]));
    assert_eq!(opened(&alerts), [("mfa-fatigue", "alice".to_owned())]);
    assert_eq!((alerts[0].severity, alerts[0].finding), (Severity::Critical, Some(Finding::Approved)));
}

#[test]
fn sees_a_list_in_which_one_account_stands_three_times() {
    // More than two for one of them is no stuffing elsewhere, and less than 60 % at two to six is no spray.
    let mut events: Vec<_> =
        (0..14).map(|number| failure(&format!("a{number}"), ATTACKER, s(number * 10))).collect();
    events.extend([failure("a0", ATTACKER, s(150)), failure("a0", ATTACKER, s(160))]);
    let most = 3;
    let at_two_to_six = 1.0 / 14.0;
    assert!(most > 2 && at_two_to_six < 0.6);
    assert_eq!(
        opened(&run(&only("credential-stuffing"), events)),
        [("credential-stuffing", ATTACKER.to_owned())]
    );
}

#[test]
fn a_window_is_half_open_to_the_millisecond() {
    let rules = |threshold| {
        Rules::from_toml(&format!(
            "version = 1\n[[rule]]\nid = \"r\"\nname = \"n\"\nseverity = \"low\"\nkind = \"count\"\nthreshold = {threshold}\n\
             window = \"1s\"\ngroup_by = \"tenant\"\nselect = {{ event_type = \"login.failure\" }}\n"
        ))
        .unwrap()
    };
    let two = |gap| run(&rules(2), [failure("a", ATTACKER, ms(0)), failure("a", ATTACKER, ms(gap))]).len();
    assert_eq!((two(999), two(1_000)), (1, 0));
}

#[test]
fn an_office_behind_one_address_where_people_mistype_and_then_get_in_is_no_attack() {
    let office = (0..200).flat_map(|number| {
        let (actor, ip) = (format!("a{number}"), "192.0.2.1");
        [failure(&actor, ip, s(number * 5)), success(&actor, ip, s(number * 5 + 9))]
    });
    let mut office: Vec<_> = office.collect();
    office.sort_by_key(Event::at);
    assert_eq!(opened(&run(&Rules::published(), office.clone())), []);
    // The same failures, and nobody gets in.
    office.retain(|event| event.outcome() == mfa_events::Outcome::Failure);
    assert!(
        opened(&run(&Rules::published(), office)).contains(&("credential-stuffing", "192.0.2.1".to_owned()))
    );
}

#[test]
fn a_success_from_elsewhere_takes_no_victim_out() {
    // The people who are attacked work meanwhile, from their own places.
    let events = (0..12).flat_map(|number| {
        let actor = format!("a{number}");
        [failure(&actor, ATTACKER, s(number * 20)), success(&actor, "192.0.2.1", s(number * 20 + 1))]
    });
    let rules = Rules::published().only(|rule| rule.id.as_str() != "impossible-travel");
    assert_eq!(opened(&run(&rules, events)), [("credential-stuffing", ATTACKER.to_owned())]);
}

#[test]
fn addresses_of_one_network_are_seen_together() {
    let v6 = (0..20)
        .map(|number| failure(&format!("a{number}"), &format!("2001:db8:7:{number}::1"), s(number * 10)));
    assert_eq!(
        opened(&run(&Rules::published(), v6)),
        [("credential-stuffing-network", "2001:db8:7::/48".to_owned())]
    );
    // Within one /64 it is one source, whatever the last half is.
    let host = (0..12)
        .map(|number| failure(&format!("a{number}"), &format!("2001:db8:7:1::{number}"), s(number * 10)));
    assert_eq!(
        opened(&run(&Rules::published(), host)),
        [("credential-stuffing", "2001:db8:7:1::/64".to_owned())]
    );
    let v4 =
        (0..20).map(|number| failure(&format!("a{number}"), &format!("203.0.113.{number}"), s(number * 10)));
    assert_eq!(
        opened(&run(&Rules::published(), v4)),
        [("credential-stuffing-network", "203.0.113.0/24".to_owned())]
    );
}

#[test]
fn an_alert_opens_grows_and_closes() {
    let attack = (0..45).map(|number| failure(&format!("a{number}"), ATTACKER, s(number * 5)));
    let later = [failure("bob", "192.0.2.9", s(10_000))];
    let alerts = run(&only("credential-stuffing"), attack.chain(later));
    let turns: Vec<_> =
        alerts.iter().map(|alert| (alert.state, alert.actors, alert.at.as_datetime())).collect();
    assert_eq!(
        turns,
        [
            (AlertState::Opened, 10, s(45)),
            (AlertState::Updated, 20, s(95)),
            (AlertState::Updated, 32, s(155)),
            (AlertState::Updated, 40, s(195)),
            (AlertState::Closed, 45, s(220 + 600)),
        ]
    );
    assert_eq!(alerts.iter().map(|alert| alert.id).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(alerts[0].id.get_version_num(), 8);
    assert_eq!(alerts[4].actor_ids.len(), 45);
    assert_eq!(alerts[4].closing, Some(Closing::Quiet));
    assert_eq!(alerts[0].first_event_at.as_datetime(), s(0));
    assert_eq!(
        alerts[1].to_string(),
        "[high] Credential stuffing from one source (more): 203.0.113.7, 20 people, 20 events in 95 s"
    );
    let back: Alert = serde_json::from_str(&serde_json::to_string(&alerts[0]).unwrap()).unwrap();
    assert_eq!(back, alerts[0]);
}

#[test]
fn the_same_attack_in_another_tenant_or_later_is_another_alert() {
    let attack =
        |from: i64| (0..10).map(move |number| failure(&format!("a{number}"), ATTACKER, s(from + number)));
    let rules = only("credential-stuffing");
    let twice = run(&rules, attack(0).chain(attack(5_000)));
    assert_eq!(twice.len(), 3);
    let other = mfa_events::TenantId::new("other").unwrap();
    let other = backtest(&rules, &other, records(attack(0)), Options::default()).alerts;
    let ids: BTreeSet<_> = twice.iter().chain(&other).map(|alert| alert.id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn many_actors_are_counted_and_some_are_named() {
    let attack = (0..50_000).map(|number| failure(&format!("a{number}"), ATTACKER, ms(number)));
    let alerts = run(&only("credential-stuffing"), attack);
    let last = alerts.last().unwrap();
    assert_eq!(last.state, AlertState::Updated);
    assert!(!last.is_exact && last.actor_ids.len() == 100);
    // Doubled from 10: 12 times at most, within what an estimate is off.
    assert!((11..=13).contains(&alerts.len()), "{}", alerts.len());
    assert!((last.actors as f64 / last.events as f64 - 1.0).abs() < 0.15, "{last:?}");
}

#[test]
fn events_count_when_they_happened_if_they_come_in_time_and_when_they_came_otherwise() {
    // Ten within ten minutes, shuffled within the five seconds that one waits.
    let mut events: Vec<_> =
        (0..10).map(|number| failure(&format!("a{number}"), ATTACKER, ms(number * 450))).collect();
    events.reverse();
    let now = s(5);
    let shuffled = events.iter().enumerate().map(|(at, event)| record(at as u64 + 1, event.clone(), now));
    let report = backtest(&only("credential-stuffing"), &acme(), shuffled, Options::default());
    assert_eq!((report.counters.late_total, report.opened().count()), (0, 1));
    assert_eq!(report.alerts[0].at.as_datetime(), ms(9 * 450));

    // An hour late, they are an alert nevertheless, and it says so.
    let clock = record(1, failure("bob", "192.0.2.9", s(3_600)), s(3_600));
    let late = events.iter().enumerate().map(|(at, event)| record(at as u64 + 2, event.clone(), s(3_600)));
    let report =
        backtest(&only("credential-stuffing"), &acme(), [clock].into_iter().chain(late), Options::default());
    assert_eq!((report.counters.late_total, report.opened().count()), (10, 1));
    assert_eq!(report.alerts[0].late_events, 1, "only what opened it is counted with its lateness");
    assert_eq!(report.alerts[0].at.as_datetime(), s(3_595));
}

#[test]
fn a_clock_that_is_ahead_does_not_make_others_late() {
    let mut all = vec![record(1, failure("bob", "192.0.2.9", s(9_000_000)), s(0))];
    let attack = (0..10).map(|number| failure(&format!("a{number}"), ATTACKER, s(number)));
    all.extend(attack.enumerate().map(|(at, event)| record(at as u64 + 2, event, s(10))));
    let report = backtest(&only("credential-stuffing"), &acme(), all, Options::default());
    assert_eq!(
        (report.counters.future_total, report.counters.late_total, report.opened().count()),
        (1, 0, 1)
    );
}

#[test]
fn silence_lets_what_waits_be_judged_and_closes_alerts() {
    let mut detector = TenantDetector::new(acme(), &only("credential-stuffing"), Options::default());
    let mut alerts = Vec::new();
    let attack = (0..10).map(|number| failure(&format!("a{number}"), ATTACKER, s(number)));
    records(attack).iter().for_each(|record| detector.observe(record, &mut alerts));
    assert!(alerts.is_empty(), "the last wait for earlier ones");
    // The last came at 9 s, waits for 5, and 1 more is what a commit may take.
    detector.tick(ms(14_999), &mut alerts);
    assert!(alerts.is_empty(), "not yet");
    detector.tick(s(15), &mut alerts);
    assert_eq!(alerts.len(), 1);
    assert_eq!(detector.open().len(), 1);
    detector.tick(ms(614_999), &mut alerts);
    assert_eq!(alerts.len(), 1);
    detector.tick(s(615), &mut alerts);
    assert_eq!(alerts.last().unwrap().state, AlertState::Closed);
    assert!(detector.open().is_empty());
}

#[test]
fn risk_opens_an_alert_earlier_and_never_later() {
    let failing = |level: Option<RiskLevel>, count: i64| {
        let events = (0..count).map(move |number| {
            let draft =
                LoginFailure::new(&format!("a{number}")).from(ATTACKER.parse().unwrap()).at(s(number));
            let risk = RiskContext { level, ..RiskContext::default() };
            Event::try_from(draft.risk_context(risk)).unwrap()
        });
        run(&only("credential-stuffing"), events).len()
    };
    assert_eq!((failing(None, 9), failing(None, 10)), (0, 1));
    assert_eq!((failing(Some(RiskLevel::Critical), 4), failing(Some(RiskLevel::Critical), 5)), (0, 1));
    assert_eq!((failing(Some(RiskLevel::Low), 9), failing(Some(RiskLevel::Low), 10)), (0, 1));
}

#[test]
fn an_account_that_is_locked_again_after_a_person_unlocked_it_is_told() {
    let lock = |at| Event::try_from(AccountLocked::new("alice").at(s(at))).unwrap();
    let unlock = |by: &str, at| Event::try_from(AccountUnlocked::new("alice").by(by).at(s(at))).unwrap();
    let rules = Rules::published();
    let again = run(&rules, [lock(0), unlock("administrator", 600), lock(1_800)]);
    assert_eq!(opened(&again), [("repeat-lock-after-unlock", "alice".to_owned())]);
    assert!(run(&rules, [lock(0), unlock("expiry", 600), lock(1_800)]).is_empty());
    assert!(run(&rules, [lock(0), unlock("administrator", 600), lock(600 + 3_600)]).is_empty());
    assert!(run(&rules, [lock(0), lock(1_800)]).is_empty());
}

#[test]
fn lockouts_of_many_accounts_are_one_alert() {
    let locks = (0..12)
        .map(|number| AccountLocked::new(&format!("a{number}")).at(s(number * 40)).try_into().unwrap());
    assert_eq!(opened(&run(&Rules::published(), locks)), [("lockout-cluster", "the tenant".to_owned())]);
}

#[test]
fn nobody_flies_from_berlin_to_new_york_in_an_hour() {
    let login = |lat, lon, at| {
        let geo = GeoLocation { lat: Some(lat), lon: Some(lon), ..GeoLocation::default() };
        Event::try_from(LoginSuccess::new("alice").geo_location(geo).at(s(at))).unwrap()
    };
    let rules = only("impossible-travel");
    let alerts = run(&rules, [login(52.5, 13.4, 0), login(40.7, -74.0, 3_600)]);
    let Some(Finding::Travel { distance_km, in_ms }) = alerts[0].finding else { panic!("{alerts:?}") };
    // 6,385 km, less twice the accuracy.
    assert!((6_250.0..6_320.0).contains(&distance_km) && in_ms == 3_600_000, "{distance_km}");
    assert!(run(&rules, [login(52.5, 13.4, 0), login(40.7, -74.0, 8 * 3_600)]).is_empty());
    // Berlin to Potsdam in no time, as an address is known only so well.
    assert!(run(&rules, [login(52.5, 13.4, 0), login(52.4, 13.06, 1)]).is_empty());
}

#[test]
fn failures_then_a_success_then_a_new_factor_is_a_takeover() {
    let with = |method, at| Event::try_from(LoginSuccess::new("alice").with(method).at(s(at))).unwrap();
    let attack = |last| {
        let failures = (0..5).map(|number| push_denied("alice", s(number * 30)));
        run(&only("takeover-new-factor"), failures.chain([with(Method::Push, 200), with(last, 400)])).len()
    };
    assert_eq!((attack(Method::Totp), attack(Method::Push)), (1, 0));
}

#[test]
fn recoveries_are_compared_with_what_is_usual_at_that_hour_of_the_week() {
    let recovery =
        |number: i64, at| Event::try_from(RecoveryAttempted::new(&format!("a{number}")).at(s(at))).unwrap();
    // Every day 8 between 9 and 10, and 30 on Mondays; 5 weeks. The day is a Tuesday that begins at 22:13.
    let monday_nine = 5 * 86_400 + 10 * 3_600 + 48 * 60;
    let mut events = Vec::new();
    for day in 0..35_i64 {
        let from = monday_nine + (day - 6) * 86_400;
        let count = if (day - 6).rem_euclid(7) == 0 { 30 } else { 8 };
        events.extend((0..count).filter(|_| from > 0).map(|number| recovery(number, from + number * 110)));
    }
    let rules = only("recovery-volume");
    let learning = run(&rules, events.clone());
    assert!(
        learning.iter().all(|alert| alert.at.as_datetime() < s(3 * 7 * 86_400 + 6 * 86_400)),
        "{learning:?}"
    );
    // In the sixth week: 30 are usual on a Monday, and not on a Wednesday.
    let busy = |day: i64| {
        let from = monday_nine + (35 + day - 6) * 86_400;
        let more = (0..30).map(|number| recovery(number, from + number * 110));
        let alerts = run(&rules, events.iter().cloned().chain(more));
        alerts
            .into_iter()
            .filter(|alert| alert.state == AlertState::Opened && alert.at.as_datetime() >= s(from))
            .count()
    };
    assert_eq!((busy(6), busy(8)), (0, 1));
}

#[test]
fn what_is_kept_is_bounded_under_a_flood_of_made_up_actors_and_sources() {
    let options =
        Options { groups_max: 2_000, sketch_bytes: 1 << 16, hash_key: [1, 2], ..Options::default() };
    let rules = Rules::published();
    let mut detector = TenantDetector::new(acme(), &rules, options);
    let mut alerts = Vec::new();
    // 60,000 here; `FLOOD=10000000` takes longer, and the bench does that with the default bounds.
    let flood: u64 = std::env::var("FLOOD").ok().map_or(60_000, |count| count.parse().unwrap());
    let mut most = 0;
    for number in 0..flood {
        let event = LoginFailure::new(&format!("made-up-{number}"));
        let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + (number as u32).wrapping_mul(2_654_435_761) / 2);
        let at = ms(number as i64 / 10);
        detector
            .observe(&record(number + 1, event.from(ip.into()).at(at).try_into().unwrap(), at), &mut alerts);
        alerts.clear();
        if number % 10_000 == 0 {
            let size = detector.size();
            most = most.max(size.entries);
            assert!(size.groups <= rules.len() * 2_000, "{size:?}");
            assert!(size.sketch_bytes <= 1 << 16 && size.waiting <= 65_536, "{size:?}");
        }
    }
    // Most groups are of one event; those of the tenant keep as much as their thresholds ask for.
    assert!(most <= rules.len() * 2_000 + 2_000, "{most}");
    let crowded: Vec<_> = detector.rule_counts().filter(|(_, counts)| counts.unadmitted_total > 0).collect();
    assert!(crowded.len() >= 2, "{crowded:?}");
    // When it is over, what it took is given back.
    let end = ms(flood as i64 / 10) + TimeDelta::days(2);
    for number in 0..40_000 {
        let event = LoginFailure::new("bob")
            .from("192.0.2.1".parse().unwrap())
            .at(end + TimeDelta::milliseconds(number));
        detector.observe(
            &record(flood + 1 + number as u64, event.try_into().unwrap(), end + TimeDelta::days(1)),
            &mut alerts,
        );
    }
    assert!(detector.size().groups < 50, "{:?}", detector.size());
}

#[test]
fn a_flood_of_made_up_sources_does_not_push_a_slow_attack_out() {
    let options = Options { groups_max: 500, sketch_bytes: 1 << 14, hash_key: [1, 2], ..Options::default() };
    let mut events = Vec::new();
    for number in 0..60_000_i64 {
        let at = ms(number * 10);
        let ip = format!("10.{}.{}.{}", number / 65_536, number / 256 % 256, number % 256);
        events.push(failure(&format!("made-up-{number}"), &ip, at));
        // One in a minute: ten within the ten minutes.
        if number % 5_900 == 0 {
            events.push(failure(&format!("victim-{number}"), ATTACKER, at));
        }
    }
    let rules = only("credential-stuffing");
    let report = backtest(&rules, &acme(), records(events), options);
    let found = opened(&report.alerts);
    assert!(found.contains(&("credential-stuffing", ATTACKER.to_owned())), "{found:?}");
    let counts = report.rules.values().next().unwrap();
    assert!(counts.unadmitted_total > 10_000, "the flood was one: {counts:?}");
}

#[test]
fn tells_why_there_is_no_alert() {
    let rules = Rules::published();
    let mut detector = TenantDetector::new(acme(), &rules, Options::default());
    let events = (0..7).map(|number| failure(&format!("a{number}"), ATTACKER, s(number * 2)));
    let all = records(events);
    all.iter().for_each(|record| detector.observe(record, &mut Vec::new()));
    let group = Group::Source(ATTACKER.parse::<Prefix>().unwrap());
    let why = detector.explain("credential-stuffing", &group).unwrap();
    // The clock is five seconds behind the last, at 12 s: what happened up to 7 s is judged.
    assert!(why.is_kept && why.alert.is_none());
    assert_eq!((why.measures[0].what, why.measures[0].now, why.measures[0].needed), ("actors", 4.0, 10.0));
    assert_eq!((why.measures[0].missing(), why.waiting, why.late_events), (6.0, 3, 0));
    // What comes too late is told. Those that came up to 10 s have then waited for long enough.
    let late = record(8, failure("late", ATTACKER, s(-3_600)), s(15));
    detector.observe(&late, &mut Vec::new());
    let why = detector.explain("credential-stuffing", &group).unwrap();
    assert_eq!((why.measures[0].now, why.late_events), (7.0, 1));
    // Groups of another kind, and rules that there are not.
    let other = detector.explain("credential-stuffing", &Group::Actor(ActorId::new("alice").unwrap()));
    assert!(other.is_none() && detector.explain("none", &group).is_none());
    let unknown =
        detector.explain("credential-stuffing", &Group::Source("192.0.2.1".parse().unwrap())).unwrap();
    assert!(!unknown.is_kept && unknown.measures[0].missing() == 10.0);
    serde_json::to_string(&why).unwrap();
}

#[test]
fn tells_what_was_forgotten_for_lack_of_room() {
    let options = Options { groups_max: 8, hash_key: [1, 2], ..Options::default() };
    let mut detector = TenantDetector::new(acme(), &only("credential-stuffing"), options);
    // Twice each, so that they are let in.
    let events =
        (0..400).map(|number| failure(&format!("a{number}"), &format!("192.0.2.{}", number / 2), s(number)));
    records(events).iter().for_each(|record| detector.observe(record, &mut Vec::new()));
    let (_, counts) = detector.rule_counts().next().unwrap();
    assert!(counts.groups <= 8 && counts.evicted_total > 0, "{counts:?}");
    let evicted = (0..200).filter_map(|number| {
        let group = Group::Source(format!("192.0.2.{number}").parse().unwrap());
        detector.explain("credential-stuffing", &group)?.evicted
    });
    let evicted: Vec<_> = evicted.collect();
    assert!(!evicted.is_empty());
    assert!(evicted.iter().all(|evicted| evicted.progress > 0));
}

#[tokio::test]
async fn goes_through_a_log_and_on_from_a_checkpoint() {
    let log = EventLog::open(MemoryStore::new());
    let attack =
        |from: i64| (from..from + 6).map(|number| failure(&format!("a{number}"), ATTACKER, s(number)));
    let mut detector = Detector::new(only("credential-stuffing"));
    log.append(&acme(), attack(0), s(6)).await.unwrap();
    assert!(detector.advance(&log, &acme(), s(60)).await.unwrap().alerts.is_empty());
    let checkpoint = serde_json::to_vec(&detector.checkpoint(&acme()).unwrap()).unwrap();
    log.append(&acme(), attack(6), s(70)).await.unwrap();
    let alerts = detector.advance(&log, &acme(), s(120)).await.unwrap().alerts;
    assert_eq!(opened(&alerts), [("credential-stuffing", ATTACKER.to_owned())]);

    let mut again = Detector::new(only("credential-stuffing"));
    again.restore(serde_json::from_slice(&checkpoint).unwrap()).unwrap();
    assert_eq!(again.advance(&log, &acme(), s(120)).await.unwrap().alerts, alerts);
    // A rule that was changed does not go on with what another had kept.
    let changed = mfa_events::detect::rule::PUBLISHED.replace("threshold = 10\n", "threshold = 11\n");
    let changed = Rules::from_toml(&changed).unwrap().only(|rule| rule.id.as_str() == "credential-stuffing");
    let mut changed = Detector::new(changed);
    changed.restore(serde_json::from_slice(&checkpoint).unwrap()).unwrap();
    assert!(changed.advance(&log, &acme(), s(120)).await.unwrap().alerts.is_empty());
}

#[tokio::test]
async fn goes_on_behind_what_is_no_longer_kept_and_tells_what_it_missed() {
    let log = EventLog::open(MemoryStore::new());
    let attack =
        |from: i64| (from..from + 12).map(|number| failure(&format!("a{number}"), ATTACKER, s(number)));
    log.append(&acme(), attack(0), s(12)).await.unwrap();
    let half = log.read(&acme(), &Which::All, Offset::START, 12).await.unwrap().records[7].offset;
    log.forget(&acme(), half).await.unwrap();
    let mut detector = Detector::new(only("credential-stuffing"));
    let advanced = detector.advance(&log, &acme(), s(60)).await.unwrap();
    assert_eq!(advanced.lost, Some((Offset::START, half)));
    assert!(advanced.alerts.is_empty() && advanced.is_up_to_date);
    log.append(&acme(), attack(12), s(70)).await.unwrap();
    let advanced = detector.advance(&log, &acme(), s(120)).await.unwrap();
    assert_eq!(advanced.lost, None, "it is told once");
    assert_eq!(opened(&advanced.alerts), [("credential-stuffing", ATTACKER.to_owned())]);
    assert!(!format!("{detector:?}").contains("hash_key"));
}

#[tokio::test]
async fn tells_what_it_has_found_however_much_more_there_is() {
    let log = EventLog::open(MemoryStore::new());
    let attack = |from: usize| {
        (from..from + 10_000).map(|number| failure(&format!("a{number}"), ATTACKER, s(number as i64 / 1_000)))
    };
    for part in 0..2 {
        log.append(&acme(), attack(part * 10_000), s(60)).await.unwrap();
    }
    let mut detector = Detector::new(only("credential-stuffing"));
    let first = detector.advance(&log, &acme(), s(60)).await.unwrap();
    assert!(!first.is_up_to_date && !first.alerts.is_empty());
    assert!(detector.advance(&log, &acme(), s(60)).await.unwrap().is_up_to_date);
}

#[test]
fn codes_of_one_person_are_guessed_where_no_lock_stops_it() {
    let guesses = |many: i64| {
        (0..many).map(|number| {
            let reason = if number % 2 == 0 { FailureReason::WrongCode } else { FailureReason::ExpiredCode };
            // From another place each time.
            let from = [198, 51, 100, u8::try_from(number).unwrap()].into();
            MfaFailure::new("alice", Method::Totp, reason).from(from).at(s(number * 31)).try_into().unwrap()
        })
    };
    assert!(run(&Rules::published(), guesses(19)).is_empty());
    assert_eq!(opened(&run(&Rules::published(), guesses(20))), [("code-guessing", "alice".to_owned())]);
}

#[test]
fn a_push_that_is_approved_after_slow_requests_is_told() {
    let pushes = |denied: i64| {
        let denied = (0..denied).map(|number| push_denied("alice", s(number * 240)));
        denied.chain([LoginSuccess::new("alice").at(s(11 * 240)).try_into().unwrap()])
    };
    let found = |denied| opened(&run(&only("mfa-fatigue-slow"), pushes(denied))).len();
    assert_eq!((found(4), found(11)), (0, 1));
}
