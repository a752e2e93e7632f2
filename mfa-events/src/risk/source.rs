//! What others know of an address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;

use crate::detect::Prefix;
use crate::event::GeoLocation;

/// Says where addresses are.
///
/// An implementor answers from memory and at once, the same for one address until its data changes. A wrong answer makes a login look
/// as if it came from elsewhere: at most it weighs double, or half.
pub trait GeoSource {
    /// Where an address is; nothing where that is not known.
    fn locate(&self, address: IpAddr) -> Option<Located>;
}

/// Where an address is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Located {
    /// The place.
    pub geo: GeoLocation,
    /// Radius around it in which the address is, in kilometres.
    pub accuracy_km: Option<f64>,
}

/// Says what is known of addresses. The promise is that of [`GeoSource`].
pub trait ReputationSource {
    /// What is known of an address; nothing where nothing is.
    fn reputation(&self, address: IpAddr) -> Option<Reputation>;
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Reputation {
    /// It belongs to whoever is asking: an office, a VPN of one's own.
    Own,
    /// It hides who uses it: Tor, a public proxy, a hosting company.
    Anonymous,
    /// Attacks came from it.
    Bad,
}

/// Knows no address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl GeoSource for Nowhere {
    fn locate(&self, _: IpAddr) -> Option<Located> {
        None
    }
}

impl ReputationSource for Nowhere {
    fn reputation(&self, _: IpAddr) -> Option<Reputation> {
        None
    }
}

/// Most networks of a list.
pub const NETWORKS_MAX: usize = 1_000_000;

/// Networks and what is known of them: the narrowest that holds an address says it.
#[derive(Clone, Debug, Default)]
pub struct NetworkList {
    networks: HashMap<Prefix, Reputation>,
    /// Lengths of prefixes that there are, the longest first.
    lengths: Vec<u8>,
}

/// Why a text is no list of networks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkListError {
    /// A line is no address and no network.
    #[error("line {line}: it is no address and no network")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// There are more than [`NETWORKS_MAX`].
    #[error("a list has at most {NETWORKS_MAX} networks")]
    TooMany,
}

impl NetworkList {
    /// Of no network.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds networks, one a line: `203.0.113.7`, `198.51.100.0/24`, `2001:db8::/32`. What follows `#` or `;` is passed over.
    ///
    /// # Errors
    /// Where a line is none; nothing is added then.
    pub fn add(&mut self, text: &str, reputation: Reputation) -> Result<(), NetworkListError> {
        let mut added = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let network = line.split(['#', ';']).next().unwrap_or_default().trim();
            if network.is_empty() {
                continue;
            }
            let line = number.saturating_add(1);
            added.push(Prefix::from_str(network).map_err(|_| NetworkListError::Line { line })?);
            if added.len().saturating_add(self.networks.len()) > NETWORKS_MAX {
                return Err(NetworkListError::TooMany);
            }
        }
        for network in added {
            self.lengths.push(network.bits());
            self.networks.insert(network, reputation);
        }
        self.lengths.sort_unstable_by(|one, other| other.cmp(one));
        self.lengths.dedup();
        Ok(())
    }
}

impl ReputationSource for NetworkList {
    fn reputation(&self, address: IpAddr) -> Option<Reputation> {
        self.lengths.iter().find_map(|bits| self.networks.get(&Prefix::of(address, *bits)?).copied())
    }
}
