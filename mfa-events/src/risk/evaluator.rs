//! The model, and what it has learnt of each actor.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use chrono::{Datelike as _, Timelike as _};
use serde::{Deserialize, Serialize};

use super::source::{GeoSource, Nowhere, Reputation, ReputationSource};
use crate::event::{Code, Country, Event, EventType, GeoLocation, RiskContext, RiskLevel, Signal};
use crate::id::ActorId;

/// Most actors of whom something is kept. Of those beyond it, whoever logged in least often of a few is forgotten.
pub const ACTORS_MAX: usize = 1_000_000;

/// Most countries, networks and devices of an actor. The rarest makes room.
pub const VALUES_KEPT_MAX: usize = 16;

/// Logins of an actor before anything of them is usual or not.
pub const LOGINS_MIN: u32 = 3;

const HOURS: usize = 168;

/// Weights of the model. Each is how much a signal's log-odds count.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Log-odds that a login is somebody else's where nothing is known: -4, about 2 %.
    pub bias: f64,
    /// Country: 1.
    pub country: f64,
    /// Autonomous system of the network: 0.5.
    pub network: f64,
    /// What is known of the address: 1.
    pub reputation: f64,
    /// Hour of the week: 0.7.
    pub hour: f64,
    /// Device: 1.
    pub device: f64,
    /// Speed of travel: 1.
    pub travel: f64,
    /// Nobody travels faster, in kilometres an hour: 900.
    pub speed_km_h: f64,
    /// Radius of a place of which nothing else is known, in kilometres: 50.
    pub accuracy_km: f64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            bias: -4.0,
            country: 1.0,
            network: 0.5,
            reputation: 1.0,
            hour: 0.7,
            device: 1.0,
            travel: 1.0,
            speed_km_h: 900.0,
            accuracy_km: 50.0,
        }
    }
}

/// One part of the sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Term {
    /// Which.
    pub kind: TermKind,
    /// What it was found to be, as in [`Signal::evaluation`].
    pub evaluation: &'static str,
    /// What it adds to the log-odds, its weight included.
    pub log_odds: f64,
}

/// Which part of the sum.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TermKind {
    /// The country.
    Country,
    /// The autonomous system.
    Network,
    /// What is known of the address.
    Reputation,
    /// The hour of the week.
    Hour,
    /// The device.
    Device,
    /// How fast somebody would have travelled.
    Travel,
}

/// How likely it is that it was somebody else.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Assessment {
    /// The parts of which something is known.
    pub terms: Vec<Term>,
    /// Probability, from 0 to 1, bias included.
    pub probability: f64,
    /// In a word; absent where nothing is known: that is neither low nor high.
    pub level: Option<RiskLevel>,
}

impl Assessment {
    fn of(terms: Vec<Term>, bias: f64) -> Self {
        let sum: f64 = terms.iter().map(|term| term.log_odds).sum();
        let probability = 1.0 / (1.0 + (-(bias + sum)).exp());
        let level = (!terms.is_empty()).then_some(match probability {
            p if p >= 0.8 => RiskLevel::Critical,
            p if p >= 0.4 => RiskLevel::High,
            p if p >= 0.1 => RiskLevel::Medium,
            // A little more than where nothing is known is not low.
            _ if sum > 0.0 => RiskLevel::Medium,
            _ => RiskLevel::Low,
        });
        Self { terms, probability, level }
    }

    /// As an event carries it: the four signals with their weights.
    pub fn to_context(&self) -> RiskContext {
        let signal = |kinds: &[TermKind]| {
            let terms = self.terms.iter().filter(|term| kinds.contains(&term.kind));
            let weight: f64 = terms.clone().map(|term| term.log_odds).sum();
            let worst = terms.max_by(|one, other| one.log_odds.total_cmp(&other.log_odds))?;
            let evaluation = Code::new(worst.evaluation).ok()?;
            Some(Signal { evaluation, weight: Some(weight.clamp(-100.0, 100.0)) })
        };
        RiskContext {
            geo: signal(&[TermKind::Country, TermKind::Travel]),
            ip_reputation: signal(&[TermKind::Reputation, TermKind::Network]),
            time_of_day: signal(&[TermKind::Hour]),
            device_familiarity: signal(&[TermKind::Device]),
            score: self.level.map(|_| (self.probability * 1_000.0).round() / 10.0),
            level: self.level,
        }
    }
}

/// What is usual for the actors of one tenant. It is a value: what it has learnt can be written down and read again.
#[derive(Clone, Debug)]
pub struct RiskEvaluator<G = Nowhere, R = Nowhere> {
    model: Model,
    geo: G,
    reputation: R,
    learnt: Learnt,
}

/// What an evaluator has learnt.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Learnt {
    all: Profile,
    actors: HashMap<ActorId, Profile>,
}

/// Logins of an actor, or of all.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Profile {
    logins: u32,
    countries: BTreeMap<Country, u32>,
    networks: BTreeMap<u32, u32>,
    devices: BTreeMap<String, u32>,
    /// Hours of the week, in which there was a login.
    hours: Vec<u16>,
    last: Option<Visit>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Visit {
    at_ms: i64,
    lat: f64,
    lon: f64,
    accuracy_km: f64,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            logins: 0,
            countries: BTreeMap::new(),
            networks: BTreeMap::new(),
            devices: BTreeMap::new(),
            hours: vec![0; HOURS],
            last: None,
        }
    }
}

/// What is known of one event.
struct Seen {
    country: Option<Country>,
    network: Option<u32>,
    reputation: Option<Reputation>,
    device: Option<String>,
    hour: usize,
    visit: Option<Visit>,
}

impl Default for RiskEvaluator {
    fn default() -> Self {
        Self::new(Model::default(), Nowhere, Nowhere)
    }
}

impl<G: GeoSource, R: ReputationSource> RiskEvaluator<G, R> {
    /// That has learnt nothing yet. What an event says of its place itself comes before what `geo` says.
    pub fn new(model: Model, geo: G, reputation: R) -> Self {
        let learnt = Learnt { all: Profile::default(), actors: HashMap::new() };
        Self { model, geo, reputation, learnt }
    }

    /// How likely it is that it was somebody else.
    pub fn evaluate(&self, event: &Event) -> Assessment {
        let seen = self.seen(event);
        let own = self.learnt.actors.get(event.actor()).filter(|own| own.logins >= LOGINS_MIN);
        let mut terms = Vec::new();
        let mut term = |kind, weight: f64, (evaluation, log_odds): (&'static str, f64)| {
            terms.push(Term { kind, evaluation, log_odds: weight * log_odds.clamp(-2.0, 4.0) });
        };
        let (model, all) = (&self.model, &self.learnt.all);
        if let (Some(own), Some(country)) = (own, seen.country) {
            let known = own.countries.contains_key(&country);
            let odds = category(&all.countries, all.logins, &own.countries, own.logins, &country, 250.0);
            term(TermKind::Country, model.country, (if known { "usual" } else { "new_country" }, odds));
        }
        if let (Some(own), Some(network)) = (own, seen.network) {
            let known = own.networks.contains_key(&network);
            let odds = category(&all.networks, all.logins, &own.networks, own.logins, &network, 75_000.0);
            term(TermKind::Network, model.network, (if known { "usual" } else { "new_network" }, odds));
        }
        if let Some(reputation) = seen.reputation {
            let found = match reputation {
                Reputation::Own => ("own", -1.0),
                Reputation::Anonymous => ("anonymous", 1.5),
                Reputation::Bad => ("bad", 3.0),
            };
            term(TermKind::Reputation, model.reputation, found);
        }
        if let Some(own) = own {
            let odds = hour_odds(own, seen.hour);
            term(TermKind::Hour, model.hour, (if odds > 1.0 { "unusual_hour" } else { "usual" }, odds));
        }
        if let (Some(own), Some(device)) = (own, &seen.device)
            && !own.devices.is_empty()
        {
            term(TermKind::Device, model.device, device_odds(own, device));
        }
        if let (Some(last), Some(visit)) = (own.and_then(|own| own.last), seen.visit)
            && let Some(found) = self.travel(&last, &visit)
        {
            term(TermKind::Travel, model.travel, found);
        }
        Assessment::of(terms, model.bias)
    }

    /// Evaluates an event, and learns from it where it is a clean success: a `login.success` that is neither of high nor of critical risk.
    ///
    /// Where an alert is open for its actor or its source, [`evaluate`](Self::evaluate) it instead, and nothing is learnt.
    pub fn observe(&mut self, event: &Event) -> Assessment {
        let assessment = self.evaluate(event);
        let is_clean = !matches!(assessment.level, Some(RiskLevel::High | RiskLevel::Critical));
        if event.event_type() == EventType::LoginSuccess && is_clean {
            self.learn(event);
        }
        assessment
    }

    fn learn(&mut self, event: &Event) {
        let seen = self.seen(event);
        if self.learnt.actors.len() >= ACTORS_MAX && !self.learnt.actors.contains_key(event.actor()) {
            let few = self.learnt.actors.iter().take(16).min_by_key(|(_, profile)| profile.logins);
            if let Some(actor) = few.map(|(actor, _)| actor.clone()) {
                self.learnt.actors.remove(&actor);
            }
        }
        let own = self.learnt.actors.entry(event.actor().clone()).or_default();
        own.learn(&seen, VALUES_KEPT_MAX);
        // Devices of all together say nothing of one.
        self.learnt.all.learn(&Seen { device: None, visit: None, ..seen }, 1_000);
    }

    /// What it has learnt, as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Every key and value has its JSON.
        serde_json::to_vec(&self.learnt).unwrap_or_default()
    }

    /// Goes on with what an evaluator had learnt.
    ///
    /// # Errors
    /// Where it is no such text.
    pub fn learnt(mut self, json: &[u8]) -> Result<Self, serde_json::Error> {
        self.learnt = serde_json::from_slice(json)?;
        self.learnt.all.hours.resize(HOURS, 0);
        self.learnt.actors.values_mut().for_each(|own| own.hours.resize(HOURS, 0));
        Ok(self)
    }

    /// How many actors it knows.
    pub fn actors(&self) -> usize {
        self.learnt.actors.len()
    }

    fn seen(&self, event: &Event) -> Seen {
        let address = event.source_ip();
        let located = address.and_then(|address: IpAddr| self.geo.locate(address));
        let own = event.geo_location();
        let found = located.as_ref().map(|located| &located.geo);
        fn either<T>(
            own: Option<&GeoLocation>,
            found: Option<&GeoLocation>,
            of: impl Fn(&GeoLocation) -> Option<T>,
        ) -> Option<T> {
            own.and_then(&of).or_else(|| found.and_then(&of))
        }
        let place = either(own, found, |geo| geo.lat.zip(geo.lon));
        let accuracy_km = located.as_ref().and_then(|located| located.accuracy_km);
        let at = event.at().as_datetime();
        let day = usize::try_from(at.weekday().num_days_from_monday()).unwrap_or_default();
        let hour = usize::try_from(at.hour()).unwrap_or_default();
        Seen {
            country: either(own, found, |geo| geo.country),
            network: either(own, found, |geo| geo.asn),
            reputation: address.and_then(|address| self.reputation.reputation(address)),
            device: event.device().map(|device| device.as_str().to_owned()),
            hour: day * 24 + hour,
            visit: place.map(|(lat, lon)| Visit {
                at_ms: at.timestamp_millis(),
                lat,
                lon,
                accuracy_km: accuracy_km.unwrap_or(self.model.accuracy_km).clamp(0.0, 20_000.0),
            }),
        }
    }

    fn travel(&self, from: &Visit, to: &Visit) -> Option<(&'static str, f64)> {
        let distance_km = distance_km(from, to) - from.accuracy_km - to.accuracy_km;
        let hours = to.at_ms.saturating_sub(from.at_ms).saturating_abs() as f64 / 3_600_000.0;
        match distance_km {
            // Nobody who stays near says anything by it.
            km if km < 200.0 => None,
            km if km > self.model.speed_km_h * hours => Some(("impossible_travel", 4.0)),
            km if km > self.model.speed_km_h / 2.0 * hours => Some(("fast_travel", 1.0)),
            _ => None,
        }
    }
}

impl Profile {
    fn learn(&mut self, seen: &Seen, most: usize) {
        fn add<K: Clone + Ord>(counts: &mut BTreeMap<K, u32>, key: Option<K>, most: usize) {
            let Some(key) = key else { return };
            if counts.len() >= most
                && !counts.contains_key(&key)
                && let Some(rarest) =
                    counts.iter().min_by_key(|(_, count)| **count).map(|(key, _)| key.clone())
            {
                counts.remove(&rarest);
            }
            let count = counts.entry(key).or_insert(0);
            *count = count.saturating_add(1);
        }
        self.logins = self.logins.saturating_add(1);
        add(&mut self.countries, seen.country, most);
        add(&mut self.networks, seen.network, most);
        add(&mut self.devices, seen.device.clone(), most);
        if let Some(hour) = self.hours.get_mut(seen.hour) {
            *hour = hour.saturating_add(1);
        }
        if let Some(visit) = seen.visit
            && self.last.is_none_or(|last| last.at_ms <= visit.at_ms)
        {
            self.last = Some(visit);
        }
    }
}

/// `ln p(x | somebody else) / p(x | actor)`.
///
/// Somebody else comes from where all come from, or from anywhere: half and half, so that a rare place is worse than a common one. An
/// actor comes from where he came, and once in a while from where all do.
fn category<K: Ord>(
    all: &BTreeMap<K, u32>,
    all_logins: u32,
    own: &BTreeMap<K, u32>,
    own_logins: u32,
    value: &K,
    kinds: f64,
) -> f64 {
    let count = |of: &BTreeMap<K, u32>| of.get(value).copied().map_or(0.0, f64::from);
    let common = (count(all) + 1.0) / (f64::from(all_logins) + kinds);
    let somebody = 0.5 * common + 0.5 / kinds;
    let actor = (count(own) + common) / (f64::from(own_logins) + 1.0);
    (somebody / actor).ln()
}

/// An hour is like those beside it, and Sunday's last is beside Monday's first; seven logins at any hour are added to those that were (Laplace).
fn hour_odds(own: &Profile, hour: usize) -> f64 {
    let near = [(0, 1.0), (1, 0.6), (2, 0.2), (HOURS - 1, 0.6), (HOURS - 2, 0.2)];
    // The same hour of other days is like it, too, though less.
    let days = (0..7).map(|day| (day * 24, if day == 0 { 1.0 } else { 0.3 }));
    let kernel =
        days.flat_map(|(day, like)| near.iter().map(move |(apart, share)| (day + apart, like * share)));
    let (mut count, mut norm) = (0.0, 0.0);
    for (apart, share) in kernel {
        count += share * own.hours.get((hour + apart) % HOURS).copied().map_or(0.0, f64::from);
        norm += share;
    }
    // What the kernel spreads it does not lose: over all hours the shares sum to one.
    let (uniform, prior) = (1.0 / HOURS as f64, 7.0);
    let actor = (count / norm + prior * uniform) / (f64::from(own.logins) + prior);
    (uniform / actor).ln()
}

/// A device that is known, or one that is not: how often somebody has a new one is learnt from how many he has.
fn device_odds(own: &Profile, device: &str) -> (&'static str, f64) {
    let devices = own.devices.len() as f64;
    let new = (devices + 1.0) / (f64::from(own.logins) + 2.0);
    match own.devices.contains_key(device) {
        true => ("known_device", (0.05 / (1.0 - new).max(0.05)).ln()),
        false => ("new_device", (0.95 / new.min(0.95)).ln()),
    }
}

fn distance_km(from: &Visit, to: &Visit) -> f64 {
    const RADIUS_KM: f64 = 6_371.0;
    let (lat1, lat2) = (from.lat.to_radians(), to.lat.to_radians());
    let (dlat, dlon) = (lat2 - lat1, (to.lon - from.lon).to_radians());
    let h = (dlat / 2.0).sin().powi(2) + lat1.cos() * lat2.cos() * (dlon / 2.0).sin().powi(2);
    2.0 * RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin()
}
