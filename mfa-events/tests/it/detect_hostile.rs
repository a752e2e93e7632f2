//! People who know how alerts come about, and what is told nevertheless.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::detect::rule::{PUBLISHED, Rules};
use mfa_events::detect::{Alert, AlertState, Closing, OPEN_MAX, Options, TenantDetector, backtest};
use mfa_events::event::{Country, FailureReason, GeoLocation, Method};
use mfa_events::store::Record;
use mfa_events::{Event, LoginFailure, LoginSuccess, MfaFailure};

use crate::oracle::{acme, record, start};

fn s(s: i64) -> DateTime<Utc> {
    start() + TimeDelta::seconds(s)
}

fn only(id: &str) -> Rules {
    let rules = Rules::published().only(|rule| rule.id.as_str() == id);
    assert_eq!(rules.len(), 1, "{id}");
    rules
}

fn failure(actor: &str, at: i64) -> Event {
    LoginFailure::new(actor).from([203, 0, 113, 7].into()).at(s(at)).try_into().unwrap()
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

#[test]
fn decoys_in_front_do_not_keep_victims_out_of_an_alert() {
    let decoys = (0..150).map(|number| failure(&format!("decoy-{number}"), number / 10));
    let victims = (0..20).map(|number| failure(&format!("victim-{number}"), 100 + number));
    // Fewer than double it, and they are told within a minute after the alert was told last.
    let alerts = run(&only("credential-stuffing"), decoys.chain(victims).chain([failure("last", 200)]));
    let named: BTreeSet<_> =
        alerts.iter().flat_map(|alert| &alert.latest_actor_ids).map(|actor| actor.as_str()).collect();
    assert!((0..20).all(|number| named.contains(format!("victim-{number}").as_str())), "{named:?}");
    let last = alerts.last().unwrap();
    assert_eq!((last.actor_ids.len(), last.latest_actor_ids.len()), (100, 71));
    assert_eq!(last.latest_actor_ids.last().unwrap().as_str(), "last");
}

#[test]
fn open_alerts_are_bounded_and_those_given_up_are_told() {
    let rules = PUBLISHED.replace("threshold = 20\nwindow = \"10m\"", "threshold = 2\nwindow = \"10m\"");
    let rules = Rules::from_toml(&rules).unwrap().only(|rule| rule.id.as_str() == "code-guessing");
    let guesses = (0..2 * (OPEN_MAX + 10)).map(|number| {
        let failure = MfaFailure::new(&format!("a{}", number / 2), Method::Totp, FailureReason::WrongCode);
        failure.at(start() + TimeDelta::milliseconds(number as i64)).try_into().unwrap()
    });
    let mut detector = TenantDetector::new(acme(), &rules, Options::default());
    let mut alerts = Vec::new();
    detector.observe_all(&records(guesses), &mut alerts);
    detector.finish(&mut alerts);
    let (_, counts) = detector.rule_counts().next().unwrap();
    assert_eq!((counts.open, counts.given_up_total), (OPEN_MAX as u64, 10));
    assert_eq!(detector.open().len(), OPEN_MAX);
    let given_up = alerts.iter().filter(|alert| alert.closing == Some(Closing::GivenUp));
    let given_up: Vec<_> = given_up.map(|alert| (alert.state, alert.id)).collect();
    assert_eq!(given_up.len(), 10);
    // Whoever is told of it knows the alert.
    assert!(given_up.iter().all(|(state, id)| *state == AlertState::Closed
        && alerts.iter().any(|alert| alert.state == AlertState::Opened && alert.id == *id)));
}

#[test]
fn a_rule_that_is_called_otherwise_goes_on_and_alerts_of_one_that_is_gone_are_closed() {
    let mut detector = TenantDetector::new(acme(), &only("credential-stuffing"), Options::default());
    let mut alerts = Vec::new();
    detector.observe_all(&records((0..10).map(|number| failure(&format!("a{number}"), number))), &mut alerts);
    detector.tick(s(20), &mut alerts);
    assert_eq!(alerts.len(), 1);
    let written = serde_json::to_string(&detector.checkpoint()).unwrap();
    let restored = |rules: &Rules| {
        TenantDetector::restore(serde_json::from_str(&written).unwrap(), rules, Options::default()).unwrap()
    };
    let renamed =
        PUBLISHED.replace("Credential stuffing from one source", "Stuffing").replace("Many", "Lots");
    let renamed = Rules::from_toml(&renamed).unwrap().only(|rule| rule.id.as_str() == "credential-stuffing");
    let open = restored(&renamed).open();
    assert_eq!((open.len(), open[0].id, open[0].name.as_str()), (1, alerts[0].id, "Stuffing"));

    for rules in [only("password-spray"), Rules::from_toml("version = 1").unwrap_or_default()] {
        let mut detector = restored(&rules);
        // A crash before anybody was told leaves it to be told.
        let again = serde_json::to_string(&detector.checkpoint()).unwrap();
        let mut told = Vec::new();
        detector.tick(s(21), &mut told);
        let closed = (told.len(), told[0].id, told[0].state, told[0].closing);
        assert_eq!(closed, (1, alerts[0].id, AlertState::Closed, Some(Closing::RuleChanged)));
        assert_eq!(detector.counters().closed_total, 1);
        let again = serde_json::from_str(&again).unwrap();
        let mut again = TenantDetector::restore(again, &rules, Options::default()).unwrap();
        let mut twice = Vec::new();
        again.tick(s(21), &mut twice);
        assert_eq!(twice, told);
    }
}

#[test]
fn new_groups_are_weighed_by_the_measure_of_those_that_are_kept() {
    let options = Options { groups_max: 8, hash_key: [1, 2], ..Options::default() };
    let mut detector = TenantDetector::new(acme(), &only("takeover-recovery"), options);
    // Eight people with three of five failures, and then a flood of people with two.
    let halfway = (0..24).map(|number| failure(&format!("victim-{}", number % 8), number));
    let flood = (0..400).map(|number| failure(&format!("made-up-{}", number / 2), 30 + number / 10));
    detector.observe_all(&records(halfway.chain(flood)), &mut Vec::new());
    detector.finish(&mut Vec::new());
    let kept = (0..8).filter(|number| {
        let actor = mfa_events::ActorId::new(format!("victim-{number}")).unwrap();
        let why = detector.explain("takeover-recovery", &mfa_events::detect::Group::Actor(actor));
        why.is_some_and(|why| why.is_kept)
    });
    let kept = kept.count();
    let (_, counts) = detector.rule_counts().next().unwrap();
    // Half of them were let in before there was not room for all; the flood pushes out its own.
    assert!(kept >= 4 && counts.evicted_total > 100, "{kept} {counts:?}");
}

#[test]
fn a_place_of_which_only_the_country_is_known_may_be_anywhere_near() {
    let login = |lat, lon, city: Option<&str>, at| {
        let geo = GeoLocation {
            country: Some(Country::new("DE").unwrap()),
            city: city.map(str::to_owned),
            lat: Some(lat),
            lon: Some(lon),
            ..GeoLocation::default()
        };
        Event::try_from(LoginSuccess::new("alice").geo_location(geo).at(s(at))).unwrap()
    };
    let found = |city: Option<&str>| {
        // Munich, and an hour later Hamburg, which are 610 km apart.
        run(&only("impossible-travel"), [login(48.1, 11.6, city, 0), login(53.6, 10.0, city, 1_200)]).len()
    };
    assert_eq!((found(Some("somewhere")), found(None)), (1, 0));
}

#[test]
fn a_factor_that_was_tried_before_is_new_nevertheless() {
    let tried = (0..5).map(|number| {
        let failure = MfaFailure::new("alice", Method::Totp, FailureReason::WrongCode);
        Event::try_from(failure.at(s(number * 30))).unwrap()
    });
    let with = |method, at| Event::try_from(LoginSuccess::new("alice").with(method).at(s(at))).unwrap();
    let alerts =
        run(&only("takeover-new-factor"), tried.chain([with(Method::Push, 200), with(Method::Totp, 400)]));
    assert_eq!(alerts.len(), 1);
}

#[test]
fn senders_who_do_not_say_from_where_are_seen() {
    let blind = |many: i64| {
        let failures = (0..many).map(|number| LoginFailure::new(&format!("a{number}")).at(s(number * 20)));
        run(&only("many-accounts-fail"), failures.map(|failure| failure.try_into().unwrap())).len()
    };
    assert_eq!((blind(59), blind(60)), (0, 1));
}
