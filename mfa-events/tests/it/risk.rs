//! Risk: what it is made of, and what it must never do.

use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::event::{Country, GeoLocation, RiskLevel};
use mfa_events::risk::{
    Model, NetworkList, NetworkListError, Nowhere, Reputation, RiskEvaluator, TermKind, VALUES_KEPT_MAX,
    weight_of,
};
use mfa_events::{Event, LoginFailure, LoginSuccess};
use proptest::prelude::*;

/// A Monday, at nine.
fn monday(hours: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_470_800, 0).unwrap() + TimeDelta::hours(hours)
}

fn berlin() -> GeoLocation {
    GeoLocation {
        country: Some(Country::new("DE").unwrap()),
        lat: Some(52.5),
        lon: Some(13.4),
        asn: Some(64_500),
        ..GeoLocation::default()
    }
}

fn login(actor: &str, at: DateTime<Utc>) -> LoginSuccess {
    LoginSuccess::new(actor)
        .at(at)
        .geo_location(berlin())
        .device("laptop")
        .from("203.0.113.7".parse().unwrap())
}

fn event(draft: LoginSuccess) -> Event {
    draft.try_into().unwrap()
}

/// Alice's weeks: every working day at nine, from Berlin, with her laptop; so do others.
fn learnt() -> RiskEvaluator {
    let mut risk = RiskEvaluator::default();
    for day in (0..28).filter(|day| day % 7 < 5) {
        for actor in ["alice", "bob", "carol"] {
            risk.observe(&event(login(actor, monday(day * 24))));
        }
    }
    risk
}

#[test]
fn what_is_usual_weighs_less_than_one_and_what_is_not_more() {
    let risk = learnt();
    let usual = risk.evaluate(&event(login("alice", monday(28 * 24))));
    assert_eq!(usual.level, Some(RiskLevel::Low));
    assert!(usual.terms.iter().all(|term| term.log_odds < 0.0), "{usual:#?}");
    assert!(weight_of(&usual.to_context()) < 0.75);

    let geo = GeoLocation {
        country: Some(Country::new("KP").unwrap()),
        lat: Some(39.0),
        lon: Some(125.7),
        asn: Some(131_279),
        ..GeoLocation::default()
    };
    let stranger = login("alice", monday(28 * 24 - 42)).geo_location(geo).device("phone");
    let strange = risk.evaluate(&event(stranger.clone()));
    assert_eq!(strange.level, Some(RiskLevel::Critical), "{strange:#?}");
    let context = strange.to_context();
    assert_eq!(weight_of(&context), 2.0);
    let evaluation =
        |signal: &Option<mfa_events::event::Signal>| signal.as_ref().unwrap().evaluation.to_string();
    assert_eq!(evaluation(&context.device_familiarity), "new_device");
    assert_eq!(evaluation(&context.time_of_day), "unusual_hour");
    assert_eq!(evaluation(&context.ip_reputation), "new_network");
    // An event takes it as it is.
    event(stranger.risk_context(context));
}

#[test]
fn what_is_not_known_is_neutral() {
    let risk = learnt();
    let nobody = risk.evaluate(&event(login("nobody", monday(0))));
    assert_eq!((nobody.terms.len(), nobody.level), (0, None));
    assert_eq!(weight_of(&nobody.to_context()), 1.0);
    // Of somebody who is known, what an event does not say adds nothing.
    let bare = risk.evaluate(&event(LoginSuccess::new("alice").at(monday(28 * 24))));
    assert_eq!(bare.terms.iter().map(|term| term.kind).collect::<Vec<_>>(), [TermKind::Hour]);
}

#[test]
fn each_term_is_told_and_they_add_up() {
    let risk = learnt();
    let assessment = risk.evaluate(&event(login("alice", monday(3 * 24 + 14)).device("new")));
    let sum: f64 = assessment.terms.iter().map(|term| term.log_odds).sum();
    let expected = 1.0 / (1.0 + (4.0 - sum).exp());
    assert!((assessment.probability - expected).abs() < 1e-12);
    assert!(assessment.terms.len() >= 4, "{assessment:?}");
}

#[test]
fn a_rare_place_is_worse_than_a_common_one() {
    let mut risk = RiskEvaluator::default();
    let from = |actor: &str, country: &str, day: i64| {
        let geo = GeoLocation { country: Some(Country::new(country).unwrap()), ..GeoLocation::default() };
        event(LoginSuccess::new(actor).at(monday(day * 24)).geo_location(geo))
    };
    for day in 0..20 {
        for number in 0..10 {
            risk.observe(&from(&format!("f{number}"), "FR", day));
        }
        risk.observe(&from("alice", "DE", day));
    }
    let odds = |country| {
        let terms = risk.evaluate(&from("alice", country, 21)).terms;
        terms.iter().find(|term| term.kind == TermKind::Country).unwrap().log_odds
    };
    assert!(
        odds("DE") < 0.0 && odds("FR") > 0.0 && odds("TV") > odds("FR") + 0.5,
        "{} {} {}",
        odds("DE"),
        odds("FR"),
        odds("TV")
    );
}

#[test]
fn learns_from_clean_successes_only() {
    let mut risk = learnt();
    let before = risk.to_json();
    for number in 0..50 {
        let failure =
            LoginFailure::new("alice").at(monday(28 * 24 + number)).geo_location(berlin()).device("attacker");
        risk.observe(&failure.try_into().unwrap());
    }
    assert_eq!(risk.to_json(), before, "failures teach nothing");
    let bad = GeoLocation {
        country: Some(Country::new("KP").unwrap()),
        lat: Some(39.0),
        lon: Some(125.7),
        ..GeoLocation::default()
    };
    let got_in = event(login("alice", monday(27 * 24 + 18)).geo_location(bad).device("attacker"));
    let first = risk.observe(&got_in);
    assert!(first.level >= Some(RiskLevel::High), "{first:?}");
    assert_eq!(risk.to_json(), before, "nor does a success that is not clean");
}

#[test]
fn hours_are_a_circle() {
    let mut risk = RiskEvaluator::default();
    // Sundays, in the last hour of the week.
    for week in 0..10 {
        risk.observe(&event(LoginSuccess::new("alice").at(monday(week * 168 - 10))));
    }
    let odds = |hours: i64| {
        risk.evaluate(&event(LoginSuccess::new("alice").at(monday(1_680 + hours)))).terms[0].log_odds
    };
    let (own, next_day, noon) = (odds(-10), odds(-9), odds(3));
    assert!(own <= next_day && next_day < 0.0 && noon > 0.0, "{own} {next_day} {noon}");
}

#[test]
fn nobody_travels_faster_than_a_plane() {
    let risk = learnt();
    let last = 25 * 24;
    let new_york = GeoLocation { lat: Some(40.7), lon: Some(-74.0), ..berlin() };
    let travel = |hours: i64| {
        let assessment =
            risk.evaluate(&event(login("alice", monday(last + hours)).geo_location(new_york.clone())));
        assessment.terms.iter().find(|term| term.kind == TermKind::Travel).map(|term| term.evaluation)
    };
    assert_eq!(travel(2), Some("impossible_travel"));
    assert_eq!(travel(10), Some("fast_travel"));
    assert_eq!(travel(72), None);
}

#[test]
fn networks_are_known_by_the_narrowest_that_holds_an_address() {
    let mut list = NetworkList::new();
    list.add("# Tor\n198.51.100.0/24\n2001:db8::/32 ; a company\n", Reputation::Anonymous).unwrap();
    list.add("198.51.100.7", Reputation::Own).unwrap();
    list.add("203.0.113.0/24", Reputation::Bad).unwrap();
    assert_eq!(list.add("203.0.113.1\nnonsense", Reputation::Own), Err(NetworkListError::Line { line: 2 }));
    let risk = RiskEvaluator::new(Model::default(), Nowhere, list);
    let from = |ip: &str| {
        let assessment =
            risk.evaluate(&event(LoginSuccess::new("nobody").at(monday(0)).from(ip.parse().unwrap())));
        assessment.terms.first().map(|term| term.evaluation)
    };
    let found = ["198.51.100.7", "198.51.100.8", "2001:db8:1::1", "203.0.113.1", "192.0.2.1"].map(from);
    assert_eq!(found, [Some("own"), Some("anonymous"), Some("anonymous"), Some("bad"), None]);
}

#[test]
fn goes_on_with_what_it_had_learnt() {
    let risk = learnt();
    let again = RiskEvaluator::default().learnt(&risk.to_json()).unwrap();
    let login = event(login("alice", monday(700)));
    assert_eq!(again.evaluate(&login), risk.evaluate(&login));
    assert_eq!(again.actors(), 3);
    assert!(RiskEvaluator::default().learnt(b"{}").is_err());
}

#[test]
fn what_is_kept_of_an_actor_is_bounded() {
    let mut risk = RiskEvaluator::default();
    for number in 0..1_000 {
        let geo = GeoLocation { asn: Some(number), ..GeoLocation::default() };
        let draft = LoginSuccess::new("alice").at(monday(9)).geo_location(geo).device(&format!("d{number}"));
        risk.observe(&event(draft));
    }
    let learnt: serde_json::Value = serde_json::from_slice(&risk.to_json()).unwrap();
    let alice = &learnt["actors"]["alice"];
    assert!(alice["devices"].as_object().unwrap().len() <= VALUES_KEPT_MAX);
    assert!(alice["networks"].as_object().unwrap().len() <= VALUES_KEPT_MAX);
    assert!(alice["logins"].as_u64().unwrap() > 3);
}

proptest! {
    #[test]
    fn a_weight_is_between_a_half_and_two(weights in prop::collection::vec(prop::option::of(-100.0..100.0_f64), 4)) {
        let signal = |at: usize| weights[at].map(|weight| mfa_events::event::Signal {
            evaluation: mfa_events::event::Code::new("x").unwrap(),
            weight: Some(weight),
        });
        let context = mfa_events::event::RiskContext {
            geo: signal(0),
            ip_reputation: signal(1),
            time_of_day: signal(2),
            device_familiarity: signal(3),
            ..Default::default()
        };
        prop_assert!((0.5..=2.0).contains(&weight_of(&context)));
    }
}

#[cfg(feature = "maxmind")]
#[test]
fn reads_files_in_the_format_of_maxmind() {
    use mfa_events::risk::{GeoSource as _, MaxMind};
    // Made by mmdb_writer 0.2.7.
    let places = include_bytes!("maxmind/city.mmdb").to_vec();
    let networks = include_bytes!("maxmind/asn.mmdb").to_vec();
    let maxmind = MaxMind::new(places).unwrap().with_networks(networks).unwrap();
    let found = maxmind.locate("203.0.113.9".parse().unwrap()).unwrap();
    assert_eq!(found.accuracy_km, Some(20.0));
    let expected =
        GeoLocation { city: Some("Berlin".into()), region: Some("Land Berlin".into()), ..berlin() };
    assert_eq!(found.geo, expected);
    // A country in small letters and a latitude of 952 degrees are none.
    let broken = maxmind.locate("2001:db8::1".parse().unwrap()).unwrap().geo;
    assert_eq!((broken.country, broken.lat, broken.lon), (None, None, Some(13.4)));
    let network_alone = maxmind.locate("203.0.114.1".parse().unwrap()).unwrap().geo;
    assert_eq!((network_alone.asn, network_alone.country), (Some(64_500), None));
    assert_eq!(maxmind.locate("192.0.2.1".parse().unwrap()), None);
    assert!(MaxMind::new(b"no database".to_vec()).is_err());
}
