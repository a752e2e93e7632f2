//! What the published rules find, and what they take for an attack: a simulated company with attacks inside, some by people who know every
//! threshold and window.
//!
//! The company has 2,000 people, three offices behind one address each, and people at home. They mistype, forget, are locked and unlocked,
//! leave a push unanswered, and fly. Four weeks come before the two days that are judged. Each seed is another
//! company with another course of attacks; the seeds are fixed, and no rule was tuned on them. The figures are those of the worst seed.
//!
//! An adaptive attacker stays below the threshold that he knows. Where another rule sees him it counts as found; where none does the table says so.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use mfa_events::detect::{Alert, AlertState, Group, Options, Rules, backtest};
use mfa_events::event::{Country, FailureReason, GeoLocation, Method, Timestamp};
use mfa_events::store::Record;
use mfa_events::{
    AccountLocked, AccountUnlocked, ActorId, Event, LoginFailure, LoginSuccess, MfaFailure, Offset,
    RecoveryAttempted, TenantId,
};

const SEEDS: std::ops::Range<u64> = 9_000..9_012;
const PEOPLE: usize = 2_000;
const MIN: i64 = 60;
const HOUR: i64 = 60 * MIN;
const DAY: i64 = 24 * HOUR;
/// The two days that are judged begin here: a Monday.
const JUDGED: i64 = 28 * DAY;

/// Seconds since the begin of a Monday.
fn at(second: f64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_699_833_600, 0).expect("it was")
        + TimeDelta::milliseconds((second * 1_000.0) as i64)
}

/// What was done, and to whom.
struct Attack {
    name: &'static str,
    /// Failures and recoveries of it.
    volume: usize,
    from: f64,
    to: f64,
    actors: BTreeSet<String>,
    sources: BTreeSet<String>,
}

struct Company {
    random: Rng,
    events: Vec<Event>,
    attacks: Vec<Attack>,
}

fn place(country: &str, lat: f64, lon: f64) -> GeoLocation {
    let country = Some(Country::new(country).expect("two letters"));
    GeoLocation { country, lat: Some(lat), lon: Some(lon), ..GeoLocation::default() }
}

fn person(number: usize) -> String {
    format!("p{number:04}")
}

/// Three quarters work in offices, the others at home.
fn address(number: usize) -> String {
    match number % 4 {
        3 => format!("198.51.{}.{}", number / 250, number % 250),
        office => format!("192.0.2.{}", office + 1),
    }
}

impl Company {
    fn push<E>(&mut self, draft: E)
    where
        Event: TryFrom<E>,
        <Event as TryFrom<E>>::Error: std::fmt::Debug,
    {
        self.events.push(draft.try_into().expect("an event"));
    }

    fn fails(&mut self, actor: &str, ip: &str, second: f64) {
        self.push(LoginFailure::new(actor).from(ip.parse().expect("an address")).at(at(second)));
    }

    fn denies(&mut self, actor: &str, ip: &str, second: f64, reason: FailureReason) {
        let failure = MfaFailure::new(actor, Method::Push, reason);
        self.push(failure.from(ip.parse().expect("an address")).at(at(second)));
    }

    fn gets_in(&mut self, actor: &str, ip: &str, second: f64, method: Method, geo: GeoLocation) {
        let success = LoginSuccess::new(actor).with(method).geo_location(geo);
        self.push(success.from(ip.parse().expect("an address")).at(at(second)));
    }

    /// An hour of the working day, with peaks in the morning and after lunch.
    fn hour(&mut self) -> f64 {
        let peak = [8.6, 9.0, 9.3, 13.1, 16.0][self.random.usize(..5)];
        let spread: f64 = (0..4).map(|_| self.random.f64() - 0.5).sum();
        (peak + spread * 1.6).clamp(5.0, 22.0) * HOUR as f64
    }

    fn works(&mut self) {
        // Nobody works on weekends.
        for day in (-28..2_i64).filter(|day| day.rem_euclid(7) < 5) {
            let begin = (JUDGED + day * DAY) as f64;
            for number in 0..PEOPLE {
                let (actor, ip) = (person(number), address(number));
                for _ in 0..4 {
                    let mut second = begin + self.hour();
                    match self.random.u32(..1_000) {
                        // Mistypes, and gets in.
                        0..60 => {
                            for _ in 0..self.random.usize(1..4) {
                                self.fails(&actor, &ip, second);
                                second += 8.0 + 20.0 * self.random.f64();
                            }
                            self.gets_in(&actor, &ip, second, Method::Push, place("DE", 52.5, 13.4));
                        }
                        // Mistypes, and gives up for now.
                        60..66 => self.fails(&actor, &ip, second),
                        // Has forgotten: locked, and unlocked by the help desk.
                        66..68 => {
                            for number in 0..4 {
                                self.fails(&actor, &ip, second + f64::from(number) * 15.0);
                            }
                            self.push(AccountLocked::new(&actor).at(at(second + 60.0)));
                            let helped = second + 600.0 + 1_800.0 * self.random.f64();
                            self.push(AccountUnlocked::new(&actor).by("administrator").at(at(helped)));
                            self.gets_in(&actor, &ip, helped + 120.0, Method::Push, place("DE", 52.5, 13.4));
                        }
                        // The phone is in the other room.
                        68..90 => {
                            for _ in 0..self.random.usize(1..3) {
                                self.denies(&actor, &ip, second, FailureReason::PushTimeout);
                                second += 65.0;
                            }
                            self.gets_in(&actor, &ip, second, Method::Push, place("DE", 52.5, 13.4));
                        }
                        _ => self.gets_in(&actor, &ip, second, Method::Push, place("DE", 52.5, 13.4)),
                    }
                }
            }
            // Some fly, of the days that are judged: in the morning here, and eleven hours later there.
            for _ in 0..if day < 0 { 0 } else { 5 } {
                let actor = person(self.random.usize(..PEOPLE));
                self.events.retain(|event| {
                    event.actor().as_str() != actor
                        || event.at().as_datetime() < at(begin)
                        || event.at().as_datetime() > at(begin + DAY as f64)
                });
                self.gets_in(
                    &actor,
                    "192.0.2.1",
                    begin + 6.0 * 3_600.0,
                    Method::Push,
                    place("DE", 52.5, 13.4),
                );
                self.gets_in(
                    &actor,
                    "203.0.113.200",
                    begin + 17.0 * 3_600.0,
                    Method::Push,
                    place("US", 40.7, -74.0),
                );
            }
        }
        // Recoveries: a few in each working hour, and more on Monday mornings.
        for day in 0..30 {
            for hour in 7..19 {
                let usual = match (day % 7, hour) {
                    (5 | 6, _) => 0,
                    (0, 8..11) => 9,
                    _ => 3,
                };
                for _ in 0..usual + self.random.i64(-1..3) {
                    let second = (day * DAY + hour * HOUR) as f64 + self.random.f64() * HOUR as f64;
                    let actor = person(self.random.usize(..PEOPLE));
                    self.push(RecoveryAttempted::new(&actor).at(at(second)));
                }
            }
        }
    }

    fn attack(&mut self, name: &'static str, lasts: f64, act: impl FnOnce(&mut Self, f64, &mut Attack)) {
        let from = JUDGED as f64 + 3_600.0 * (1.0 + 30.0 * self.random.f64());
        let mut attack = Attack {
            name,
            volume: 0,
            from,
            to: from + lasts,
            actors: BTreeSet::new(),
            sources: BTreeSet::new(),
        };
        act(self, from, &mut attack);
        self.attacks.push(attack);
    }

    /// Failures of so many people, one every so many seconds, from an address for each number.
    fn tries(
        &mut self,
        from: f64,
        attack: &mut Attack,
        people: usize,
        every: f64,
        ip: impl Fn(usize) -> String,
    ) {
        let first = self.random.usize(..PEOPLE);
        for number in 0..people {
            let (actor, ip) = (person((first + number * 7) % PEOPLE), ip(number));
            self.fails(&actor, &ip, from + number as f64 * every);
            attack.actors.insert(actor);
            attack.sources.insert(ip);
            attack.volume += 1;
        }
    }

    fn is_attacked(&mut self) {
        self.attack("stuffing, one source", 300.0, |company, from, attack| {
            company.tries(from, attack, 300, 1.0, |_| "203.0.113.10".into());
        });
        self.attack("stuffing across a bucket's border", 2.0, |company, from, attack| {
            let border = (from / 600.0).ceil() * 600.0;
            (attack.from, attack.to) = (border - 1.0, border + 1.0);
            company.tries(border - 0.9, attack, 18, 0.1, |_| "203.0.114.10".into());
        });
        self.attack("adaptive: one source, 9 in 10 min", 4.0 * 3_600.0, |company, from, attack| {
            company.tries(from, attack, 210, 67.0, |_| "203.0.115.10".into());
        });
        self.attack("adaptive: one /24, 9 a source", 1_200.0, |company, from, attack| {
            company.tries(from, attack, 90, 13.0, |number| format!("203.0.116.{}", number % 12));
        });
        self.attack("adaptive: one IPv6 /48, a /64 each", 1_200.0, |company, from, attack| {
            company.tries(from, attack, 90, 13.0, |number| format!("2001:db8:7:{number:x}::1"));
        });
        self.attack("spray, many sources", 480.0, |company, from, attack| {
            company.tries(from, attack, 200, 2.4, |number| format!("100.{}.{}.1", 64 + number % 50, number));
        });
        self.attack("adaptive: many sources, 20 in 10 min", 3.0 * 3_600.0, |company, from, attack| {
            company
                .tries(from, attack, 360, 30.0, |number| format!("101.{}.{}.1", number % 50, number % 200));
        });
        self.attack("adaptive: many sources, 3 in 10 min", 12.0 * 3_600.0, |company, from, attack| {
            company
                .tries(from, attack, 240, 180.0, |number| format!("102.{}.{}.1", number % 120, number % 200));
        });
        self.attack("stuffing, senders without addresses", 600.0, |company, from, attack| {
            let first = company.random.usize(..PEOPLE);
            for number in 0..200 {
                let actor = person((first + number * 7) % PEOPLE);
                company.push(LoginFailure::new(&actor).at(at(from + number as f64 * 3.0)));
                attack.actors.insert(actor);
                attack.volume += 1;
            }
        });
        self.attack("brute force of ten, many sources", 1_800.0, |company, from, attack| {
            let first = company.random.usize(..PEOPLE);
            for number in 0..600 {
                let (actor, ip) =
                    (person((first + number % 10) % PEOPLE), format!("103.{}.{}.1", number % 60, number % 7));
                company.fails(&actor, &ip, from + number as f64 * 3.0);
                attack.actors.insert(actor);
                attack.volume += 1;
            }
        });
        self.attack("codes of one person guessed", 540.0, |company, from, attack| {
            let actor = person(company.random.usize(..PEOPLE));
            for number in 0..30 {
                let failure = MfaFailure::new(&actor, Method::Totp, FailureReason::WrongCode);
                let ip = format!("104.0.{number}.1").parse().expect("an address");
                company.push(failure.from(ip).at(at(from + f64::from(number) * 18.0)));
            }
            attack.actors.insert(actor);
        });
        self.attack("adaptive: codes, 19 in 10 min", 3_600.0, |company, from, attack| {
            let actor = person(company.random.usize(..PEOPLE));
            for number in 0..110 {
                let failure = MfaFailure::new(&actor, Method::Totp, FailureReason::WrongCode);
                company.push(failure.at(at(from + f64::from(number) * 32.0)));
            }
            attack.actors.insert(actor);
        });
        self.attack("MFA fatigue, approved", 500.0, |company, from, attack| {
            company.is_asked(from, attack, 8, 55.0);
        });
        self.attack("adaptive: fatigue, 4 in 10 min, approved", 2_400.0, |company, from, attack| {
            company.is_asked(from, attack, 16, 151.0);
        });
        self.attack("adaptive: fatigue, 2 in 10 min, approved", 4.0 * 3_600.0, |company, from, attack| {
            company.is_asked(from, attack, 44, 310.0);
        });
        self.attack("lockouts of many", 300.0, |company, from, attack| {
            company.locks(from, attack, 15, 20.0, None);
        });
        self.attack("lockouts of seven, one source", 480.0, |company, from, attack| {
            company.locks(from, attack, 7, 65.0, Some("203.0.121.1"));
        });
        self.attack("adaptive: lockouts, 5 in 10 min", 3_600.0, |company, from, attack| {
            company.locks(from, attack, 30, 121.0, None);
        });
        self.attack("locked again after an unlock", 1_800.0, |company, from, attack| {
            let actor = person(company.random.usize(..PEOPLE));
            company.push(AccountLocked::new(&actor).at(at(from)));
            company.push(AccountUnlocked::new(&actor).by("administrator").at(at(from + 900.0)));
            company.push(AccountLocked::new(&actor).at(at(from + 1_700.0)));
            attack.actors.insert(actor);
        });
        self.attack("recoveries, 60 in an hour", 3_600.0, |company, from, attack| {
            company.recovers(from, attack, 60);
        });
        self.attack("adaptive: recoveries, as many as usual", 3_600.0, |company, from, attack| {
            company.recovers(from, attack, 4);
        });
        self.attack("impossible travel", 3_600.0, |company, from, attack| {
            let actor = format!("traveller-{}", company.random.u32(..1_000));
            company.gets_in(&actor, "192.0.2.1", from, Method::Push, place("DE", 52.5, 13.4));
            company.gets_in(&actor, "203.0.117.1", from + 3_000.0, Method::Push, place("BR", -23.5, -46.6));
            attack.actors.insert(actor);
        });
        self.attack("adaptive: travel through a nearby exit", 3_600.0, |company, from, attack| {
            let actor = format!("traveller-near-{}", company.random.u32(..1_000));
            company.gets_in(&actor, "192.0.2.1", from, Method::Push, place("DE", 52.5, 13.4));
            company.gets_in(&actor, "203.0.118.1", from + 3_000.0, Method::Push, place("DE", 52.4, 13.0));
            attack.actors.insert(actor);
        });
        self.attack("takeover with a factor of one's own", 1_200.0, |company, from, attack| {
            let actor = format!("victim-{}", company.random.u32(..1_000));
            for number in 0..5 {
                company.fails(&actor, "203.0.119.1", from + f64::from(number) * 60.0);
            }
            company.gets_in(&actor, "203.0.119.1", from + 400.0, Method::Push, place("DE", 52.5, 13.4));
            company.gets_in(&actor, "203.0.119.1", from + 1_100.0, Method::Totp, place("DE", 52.5, 13.4));
            attack.actors.insert(actor);
            attack.sources.insert("203.0.119.1".into());
        });
        self.attack("adaptive: takeover, the own factor tried first", 1_200.0, |company, from, attack| {
            let actor = format!("victim-tried-{}", company.random.u32(..1_000));
            let ip = "203.0.122.1".parse().expect("an address");
            for number in 0..5 {
                let failure = MfaFailure::new(&actor, Method::Totp, FailureReason::WrongCode);
                company.push(failure.from(ip).at(at(from + f64::from(number) * 60.0)));
            }
            company.gets_in(&actor, "203.0.122.1", from + 400.0, Method::Push, place("DE", 52.5, 13.4));
            company.gets_in(&actor, "203.0.122.1", from + 1_100.0, Method::Totp, place("DE", 52.5, 13.4));
            attack.actors.insert(actor);
        });
        self.attack("takeover with a recovery", 1_200.0, |company, from, attack| {
            let actor = format!("victim-recovers-{}", company.random.u32(..1_000));
            for number in 0..5 {
                company.fails(&actor, "203.0.123.1", from + f64::from(number) * 60.0);
            }
            company.gets_in(&actor, "203.0.123.1", from + 400.0, Method::Push, place("DE", 52.5, 13.4));
            company.push(RecoveryAttempted::new(&actor).at(at(from + 900.0)));
            attack.actors.insert(actor);
        });
    }

    fn is_asked(&mut self, from: f64, attack: &mut Attack, times: u32, every: f64) {
        let actor = format!("asked-{}-{times}", self.random.u32(..1_000));
        for number in 0..times {
            self.denies(&actor, "203.0.120.1", from + f64::from(number) * every, FailureReason::PushDenied);
        }
        self.gets_in(
            &actor,
            "203.0.120.1",
            from + f64::from(times) * every,
            Method::Push,
            place("DE", 52.5, 13.4),
        );
        attack.actors.insert(actor);
        attack.to = from + f64::from(times) * every;
    }

    fn locks(&mut self, from: f64, attack: &mut Attack, people: usize, every: f64, ip: Option<&str>) {
        let first = self.random.usize(..PEOPLE);
        for number in 0..people {
            let actor = person((first + number * 13) % PEOPLE);
            let mut locked = AccountLocked::new(&actor).at(at(from + number as f64 * every));
            if let Some(ip) = ip {
                locked = locked.from(ip.parse().expect("an address"));
                attack.sources.insert(ip.to_owned());
            }
            self.push(locked);
            attack.actors.insert(actor);
        }
    }

    fn recovers(&mut self, from: f64, attack: &mut Attack, times: usize) {
        for number in 0..times {
            let actor = person(self.random.usize(..PEOPLE));
            self.push(RecoveryAttempted::new(&actor).at(at(from + number as f64 * 3_600.0 / times as f64)));
            attack.actors.insert(actor);
            attack.volume += 1;
        }
    }
}

/// Whether an alert is about an attack: in its time, and about its sources or one of its actors.
fn is_of(alert: &Alert, attack: &Attack) -> bool {
    let opened = alert.at.as_datetime();
    if opened < at(attack.from) || opened > at(attack.to + 1.0) {
        return false;
    }
    let source = |text: &str| {
        attack.sources.iter().any(|ip| {
            let ip = ip.parse().expect("an address");
            let prefixes = [mfa_events::detect::Prefix::source(ip), mfa_events::detect::Prefix::network(ip)];
            prefixes.iter().any(|prefix| prefix.to_string() == text)
        })
    };
    match &alert.group {
        // One of many victims may have trouble of his own meanwhile.
        Group::Actor(actor) => attack.actors.len() == 1 && attack.actors.contains(actor.as_str()),
        Group::Source(prefix) | Group::Network(prefix) => source(&prefix.to_string()),
        // Of those that it names last, most must be the attack's: that somebody else mistypes meanwhile does not make it found.
        _ => {
            let named =
                if alert.latest_actor_ids.is_empty() { &alert.actor_ids } else { &alert.latest_actor_ids };
            let own = named.iter().filter(|actor| attack.actors.contains(actor.as_str())).count();
            own > 0 && own * 2 >= named.len()
        }
    }
}

/// Whether most of those that an alert of the whole tenant names were attacked in its time, be it by one attack or by several.
fn is_of_any(alert: &Alert, attacks: &[Attack]) -> bool {
    let (first, last) = (alert.first_event_at.as_datetime(), alert.at.as_datetime());
    let under_way: Vec<_> =
        attacks.iter().filter(|attack| at(attack.from) <= last && at(attack.to) >= first).collect();
    // Of a volume what counts is how many they are, and it takes a hundred.
    if alert.rule.as_str() == "failure-volume" {
        return under_way.iter().map(|attack| attack.volume).sum::<usize>() >= 60;
    }
    let own = |actor: &&ActorId| under_way.iter().any(|attack| attack.actors.contains(actor.as_str()));
    let own = alert.actor_ids.iter().filter(own).count();
    alert.group == Group::Tenant && own > 0 && own * 2 >= alert.actor_ids.len()
}

#[derive(Default)]
struct Score {
    found: Vec<f64>,
    missed: usize,
    by: BTreeSet<String>,
}

fn main() {
    let tenant = TenantId::new("acme").expect("an id");
    let rules = Rules::published();
    let mut attacks: BTreeMap<&str, Score> = BTreeMap::new();
    // Of each rule and seed, how many alerts are right, and how many there are.
    let mut precision: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    let mut order = Vec::new();
    let mut events = 0;
    for seed in SEEDS {
        let mut company = Company { random: Rng::with_seed(seed), events: Vec::new(), attacks: Vec::new() };
        company.works();
        company.is_attacked();
        company.events.sort_by_key(Event::at);
        events += company.events.len();
        let records = company.events.iter().enumerate().map(|(number, event)| Record {
            offset: Offset::new(number as u64 + 1),
            ingested_at: Timestamp::new(event.at().as_datetime()).expect("of these years"),
            event: Arc::new(event.clone()),
        });
        let report = backtest(&rules, &tenant, records, Options::default());
        assert_eq!(report.alerts_left_out, 0);
        let judged = |alert: &&Alert| alert.at.as_datetime() >= at(JUDGED as f64);
        let opened: Vec<_> = report.opened().filter(judged).collect();
        // A volume names only whoever came last: it is about an attack that is under way and recovers.
        let about = |alert: &Alert, attack: &Attack| match alert.rule.as_str() {
            "recovery-volume" => {
                attack.name.contains("recoveries")
                    && (at(attack.from)..=at(attack.to)).contains(&alert.at.as_datetime())
            }
            // So many that they would be seen by their number alone.
            "failure-volume" => {
                attack.volume >= 100
                    && !attack.name.contains("recoveries")
                    && (at(attack.from)..=at(attack.to)).contains(&alert.at.as_datetime())
            }
            _ => is_of(alert, attack),
        };
        for attack in &company.attacks {
            if seed == SEEDS.start {
                order.push(attack.name);
            }
            let score = attacks.entry(attack.name).or_default();
            // An update may be what names it: an alert that was open already, or has become worse.
            let turns = report.alerts.iter().filter(|alert| alert.state != AlertState::Closed);
            let first = turns.filter(|alert| about(alert, attack)).min_by_key(|alert| alert.at);
            match first {
                Some(alert) => {
                    score
                        .found
                        .push((alert.at.as_datetime() - at(attack.from)).num_milliseconds() as f64 / 1_000.0);
                    score.by.insert(alert.rule.to_string());
                }
                None => score.missed += 1,
            }
        }
        for rule in &rules {
            let of_rule: Vec<_> = opened.iter().filter(|alert| alert.rule == rule.id).collect();
            let is_right = |alert: &Alert| {
                company.attacks.iter().any(|attack| about(alert, attack))
                    || is_of_any(alert, &company.attacks)
            };
            let right = of_rule.iter().filter(|alert| is_right(alert)).count();
            if std::env::var_os("WRONG").is_some() {
                for alert in of_rule.iter().filter(|alert| !is_right(alert)) {
                    println!("seed {seed}: {} at {:?}", alert, alert.at);
                }
            }
            precision.entry(rule.id.to_string()).or_default().push((right, of_rule.len()));
        }
    }
    let seeds = SEEDS.end - SEEDS.start;
    println!("{seeds} companies, {events} events\n");
    println!("{:<44} {:>7} {:>10} {:>10}  first seen by", "attack", "found", "median", "slowest");
    for name in order {
        let Some(score) = attacks.get_mut(name) else { continue };
        score.found.sort_by(f64::total_cmp);
        let minutes =
            |seconds: Option<&f64>| seconds.map_or("-".to_owned(), |s| format!("{:.1} min", s / 60.0));
        let (median, slowest) =
            (minutes(score.found.get(score.found.len() / 2)), minutes(score.found.last()));
        let found = format!("{}/{seeds}", seeds as usize - score.missed);
        let by = score.by.iter().cloned().collect::<Vec<_>>().join(", ");
        println!("{name:<44} {found:>7} {median:>10} {slowest:>10}  {by}");
    }
    println!("\n{:<30} {:>8} {:>8} {:>10} {:>12}", "rule", "alerts", "right", "precision", "worst seed");
    for rule in &rules {
        let scores = &precision[rule.id.as_str()];
        let (right, all) = scores.iter().fold((0, 0), |(right, all), (r, a)| (right + r, all + a));
        let share = |right: usize, all: usize| match all {
            0 => "-".to_owned(),
            _ => format!("{:.2}", right as f64 / all as f64),
        };
        let worst = scores
            .iter()
            .filter(|(_, all)| *all > 0)
            .min_by(|one, other| (one.0 * other.1).cmp(&(other.0 * one.1)));
        let worst = worst.map_or("-".to_owned(), |(right, all)| share(*right, *all));
        println!("{:<30} {all:>8} {right:>8} {:>10} {worst:>12}", rule.id.as_str(), share(right, all));
    }
}
