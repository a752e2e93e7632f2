//! What is counted apart.

use std::fmt;
use std::hash::Hasher as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::rule::Grouping;
use crate::event::Event;
use crate::id::ActorId;

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

/// An event, with what every rule asks of it looked up once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'e> {
    pub(super) event: &'e Event,
    /// When it counts: when it happened, or now where it came too late.
    pub(super) at: i64,
    /// When it happened.
    pub(super) happened: i64,
    pub(super) offset: u64,
    pub(super) is_late: bool,
    pub(super) features: u32,
    pub(super) weight: u16,
    pub(super) actor_hash: u64,
    /// With their hashes.
    pub(super) source: Option<(Prefix, u64)>,
    pub(super) network: Option<(Prefix, u64)>,
}

impl Facts<'_> {
    /// Hash of the group that it belongs to.
    pub(super) fn group_hash(&self, grouping: Grouping) -> Option<u64> {
        match grouping {
            Grouping::Tenant => Some(0),
            Grouping::Source => self.source.map(|(_, hash)| hash),
            Grouping::Network => self.network.map(|(_, hash)| hash),
            Grouping::Actor => Some(self.actor_hash),
        }
    }

    pub(super) fn is_of(&self, group: &Group) -> bool {
        match group {
            Group::Tenant => true,
            Group::Source(prefix) => self.source.is_some_and(|(source, _)| source == *prefix),
            Group::Network(prefix) => self.network.is_some_and(|(network, _)| network == *prefix),
            Group::Actor(actor) => actor == self.event.actor(),
        }
    }

    pub(super) fn group(&self, grouping: Grouping) -> Option<Group> {
        match grouping {
            Grouping::Tenant => Some(Group::Tenant),
            Grouping::Source => self.source.map(|(source, _)| Group::Source(source)),
            Grouping::Network => self.network.map(|(network, _)| Group::Network(network)),
            Grouping::Actor => Some(Group::Actor(self.event.actor().clone())),
        }
    }

    pub(super) fn origin(&self) -> u64 {
        self.source.map_or(0, |(_, hash)| hash)
    }
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

    pub(super) fn actor(self, actor: &ActorId) -> u64 {
        let mut hasher = self.hasher();
        hasher.write(actor.as_str().as_bytes());
        hasher.finish()
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
            Group::Actor(actor) => self.actor(actor),
        }
    }
}
