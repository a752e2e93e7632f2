//! Places from files in MaxMind's format: GeoLite2, GeoIP2, DB-IP and what else is written in it.

use std::fmt;
use std::net::IpAddr;

use maxminddb::{Reader, geoip2};

use super::source::{GeoSource, Located};
use crate::event::{Country, GeoLocation};
use crate::limits::TEXT_BYTES_MAX;

/// A file of cities or countries, and one of autonomous systems where there is one. They are read whole and stay in memory.
pub struct MaxMind {
    places: Reader<Vec<u8>>,
    networks: Option<Reader<Vec<u8>>>,
}

impl fmt::Debug for MaxMind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaxMind").field("networks", &self.networks.is_some()).finish_non_exhaustive()
    }
}

/// Why a file is no database.
#[derive(Debug, thiserror::Error)]
#[error("it is no database in MaxMind's format")]
pub struct MaxMindError(#[source] maxminddb::MaxMindDbError);

impl MaxMind {
    /// Of the bytes of a file of cities or countries.
    ///
    /// # Errors
    /// Where they are none.
    pub fn new(places: Vec<u8>) -> Result<Self, MaxMindError> {
        Ok(Self { places: Reader::from_source(places).map_err(MaxMindError)?, networks: None })
    }

    /// With the bytes of a file of autonomous systems.
    ///
    /// # Errors
    /// Where they are none.
    pub fn with_networks(self, networks: Vec<u8>) -> Result<Self, MaxMindError> {
        Ok(Self { networks: Some(Reader::from_source(networks).map_err(MaxMindError)?), ..self })
    }
}

/// What is not of an event's form is left out, and an address that cannot be looked up is nowhere.
impl GeoSource for MaxMind {
    fn locate(&self, address: IpAddr) -> Option<Located> {
        let text = |text: Option<&str>| {
            let text = text.filter(|text| !text.is_empty() && text.len() <= TEXT_BYTES_MAX)?;
            (!text.chars().any(char::is_control)).then(|| text.to_owned())
        };
        let degrees = |of: Option<f64>, most: f64| of.filter(|of| (-most..=most).contains(of));
        let city: Option<geoip2::City<'_>> =
            self.places.lookup(address).ok().and_then(|found| found.decode().ok().flatten());
        let networks = self.networks.as_ref().and_then(|networks| networks.lookup(address).ok());
        let network: Option<geoip2::Asn<'_>> = networks.and_then(|found| found.decode().ok().flatten());
        let asn = network.and_then(|network| network.autonomous_system_number);
        let Some(city) = city else {
            return asn.map(|asn| Located {
                geo: GeoLocation { asn: Some(asn), ..GeoLocation::default() },
                accuracy_km: None,
            });
        };
        let geo = GeoLocation {
            country: city.country.iso_code.and_then(|code| Country::new(code).ok()),
            region: text(city.subdivisions.first().and_then(|part| part.names.english)),
            city: text(city.city.names.english),
            lat: degrees(city.location.latitude, 90.0),
            lon: degrees(city.location.longitude, 180.0),
            asn,
        };
        Some(Located { geo, accuracy_km: city.location.accuracy_radius.map(f64::from) })
    }
}
