//! What is counted apart.

use std::fmt;
use std::hash::Hasher as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use siphasher::sip128;

use super::rule::Grouping;
use super::select::features;
use super::window::NEUTRAL;
use crate::event::{Code, Detail, GeoLocation};
use crate::id::ActorId;
use crate::risk::weight_of;
use crate::store::Record;

/// An address, or a network. In text an address alone, or with the length of its prefix: `203.0.113.7`, `2001:db8::/64`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a prefix is an address, or an address, a slash and a number of bits")]
#[non_exhaustive]
pub struct PrefixError;

impl Prefix {
    /// The source that an address belongs to: itself, or its /64 with IPv6.
    pub fn source(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::masked(address, 32),
            IpAddr::V6(_) => Self::masked(address, 64),
        }
    }

    /// The network that an address belongs to: its /24, or its /48 with IPv6.
    pub fn network(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::masked(address, 24),
            IpAddr::V6(_) => Self::masked(address, 48),
        }
    }

    /// The network of so many bits that an address belongs to; nothing where its addresses have fewer bits.
    pub fn of(address: IpAddr, bits: u8) -> Option<Self> {
        (bits <= if address.to_canonical().is_ipv4() { 32 } else { 128 }).then(|| Self::masked(address, bits))
    }

    /// Length of the prefix, in bits.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    fn masked(address: IpAddr, bits: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(bits))).unwrap_or_default();
                Self { address: Ipv4Addr::from_bits(v4.to_bits() & mask).into(), bits }
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(bits))).unwrap_or_default();
                Self { address: Ipv6Addr::from_bits(v6.to_bits() & mask).into(), bits }
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.bits == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_whole() {
            true => self.address.fmt(f),
            false => write!(f, "{}/{}", self.address, self.bits),
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse::<u8>()).map_err(|_| PrefixError)?;
        if bits > most || address != address.to_canonical() {
            return Err(PrefixError);
        }
        Ok(Self::masked(address, bits))
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whose events are counted together.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase", tag = "by", content = "value")]
#[non_exhaustive]
pub enum Group {
    /// All of the tenant.
    Tenant,
    /// Those from one source.
    Source(Prefix),
    /// Those from one network.
    Network(Prefix),
    /// Those of one actor.
    Actor(ActorId),
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("the tenant"),
            Self::Source(prefix) | Self::Network(prefix) => prefix.fmt(f),
            Self::Actor(actor) => actor.fmt(f),
        }
    }
}

/// What rules ask of an event, looked up once when it comes. It is as large as it waits: the event itself, which may be larger by far, is
/// not kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Facts {
    /// When it counts: when it happened, or now where it came too late.
    pub(super) at: i64,
    /// When it happened.
    pub(super) happened: i64,
    /// When the log took it in.
    pub(super) ingested: i64,
    pub(super) offset: u64,
    pub(super) features: u32,
    pub(super) weight: u16,
    pub(super) actor_hash: u64,
    /// More of the same hash: both together tell an actor from every other.
    pub(super) actor_check: u64,
    pub(super) actor: ActorId,
    /// With its hash.
    pub(super) source: Option<(Prefix, u64)>,
    pub(super) network_hash: u64,
    /// How it was locked, unlocked or recovered.
    pub(super) code: Option<Code>,
    pub(super) place: Option<Spot>,
}

/// Where on Earth.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Spot {
    pub(super) lat: f64,
    pub(super) lon: f64,
    /// Only the country is known, and this is somewhere in its middle.
    pub(super) is_country: bool,
}

impl Facts {
    /// Of an event that counts when it happened.
    pub(super) fn of(record: &Record, at: i64, key: HashKey) -> Self {
        let event = &*record.event;
        let source = event.source_ip().map(|ip| {
            let source = Prefix::source(ip);
            (source, key.prefix(&source))
        });
        let code = match event.detail() {
            Detail::AccountLocked { lock_reason, .. } => lock_reason.as_ref(),
            Detail::AccountUnlocked { unlock_method } => unlock_method.as_ref(),
            Detail::RecoveryAttempted { recovery_method } => recovery_method.as_ref(),
            _ => None,
        };
        let [actor_hash, actor_check] = key.actor(event.actor());
        Self {
            at,
            happened: at,
            ingested: record.ingested_at.as_datetime().timestamp_millis(),
            offset: record.offset.as_u64(),
            features: features(event),
            weight: event.risk_context().map_or(NEUTRAL, |risk| hundredths(weight_of(risk))),
            actor_hash,
            actor_check,
            actor: event.actor().clone(),
            source,
            network_hash: source.map_or(0, |(source, _)| key.prefix(&Prefix::network(source.address))),
            code: code.cloned(),
            place: event.geo_location().and_then(Spot::of),
        }
    }

    pub(super) fn is_late(&self) -> bool {
        self.happened < self.at
    }

    /// Hash of the group that it belongs to.
    pub(super) fn group_hash(&self, grouping: Grouping) -> Option<u64> {
        match grouping {
            Grouping::Tenant => Some(0),
            Grouping::Source => self.source.map(|(_, hash)| hash),
            Grouping::Network => self.source.map(|_| self.network_hash),
            Grouping::Actor => Some(self.actor_hash),
        }
    }

    pub(super) fn is_of(&self, group: &Group) -> bool {
        match group {
            Group::Tenant => true,
            Group::Source(prefix) => self.source.is_some_and(|(source, _)| source == *prefix),
            Group::Network(prefix) => {
                self.source.is_some_and(|(source, _)| Prefix::network(source.address) == *prefix)
            }
            Group::Actor(actor) => *actor == self.actor,
        }
    }

    pub(super) fn group(&self, grouping: Grouping) -> Option<Group> {
        match grouping {
            Grouping::Tenant => Some(Group::Tenant),
            Grouping::Source => self.source.map(|(source, _)| Group::Source(source)),
            Grouping::Network => {
                self.source.map(|(source, _)| Group::Network(Prefix::network(source.address)))
            }
            Grouping::Actor => Some(Group::Actor(self.actor.clone())),
        }
    }

    pub(super) fn origin(&self) -> u64 {
        self.source.map_or(0, |(_, hash)| hash)
    }
}

impl Spot {
    fn of(geo: &GeoLocation) -> Option<Self> {
        let (lat, lon) = geo.lat.zip(geo.lon)?;
        let is_country = geo.country.is_some() && geo.region.is_none() && geo.city.is_none();
        Some(Self { lat, lon, is_country })
    }
}

fn hundredths(weight: f64) -> u16 {
    // Between a half and two.
    (weight.clamp(0.5, 2.0) * 100.0).round() as u16
}

/// Key of the hashes by which values are found. Whoever sends events must not know it: he could make all land in one place.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct HashKey(pub(super) [u64; 2]);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl HashKey {
    fn hasher(self) -> SipHasher13 {
        let [first, second] = self.0;
        SipHasher13::new_with_keys(first, second)
    }

    /// A hash to find an actor by, and as much again to know them by, so that names need not be read to be compared. Of 2^64 names two may
    /// be taken for one; whoever does not know the key cannot look for them.
    pub(super) fn actor(self, actor: &ActorId) -> [u64; 2] {
        let [first, second] = self.0;
        let hash = sip128::SipHasher13::new_with_keys(first, second).hash(actor.as_str().as_bytes());
        [hash.h1, hash.h2]
    }

    pub(super) fn prefix(self, prefix: &Prefix) -> u64 {
        let mut hasher = self.hasher();
        match prefix.address {
            IpAddr::V4(address) => {
                hasher.write_u64(u64::from(address.to_bits()) << 8 | u64::from(prefix.bits))
            }
            IpAddr::V6(address) => {
                hasher.write_u128(address.to_bits());
                hasher.write_u8(prefix.bits);
            }
        }
        hasher.finish()
    }

    pub(super) fn group(self, group: &Group) -> u64 {
        match group {
            Group::Tenant => 0,
            Group::Source(prefix) | Group::Network(prefix) => self.prefix(prefix),
            Group::Actor(actor) => {
                let [hash, _] = self.actor(actor);
                hash
            }
        }
    }
}
