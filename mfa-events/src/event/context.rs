//! Where from, and how likely it is somebody else.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::code::Code;
use super::strict::{present, text};

/// A country by its two letters (ISO 3166-1 alpha-2), `DE`.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Country([u8; 2]);

/// Why a text is no country.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a country is two capital letters (ISO 3166-1), as in DE")]
#[non_exhaustive]
pub struct CountryError;

impl Country {
    /// Of two capital letters. Whether there is such a country is not checked: see [`is_assigned`](Self::is_assigned).
    ///
    /// # Errors
    /// Where it is anything else.
    pub fn new(text: &str) -> Result<Self, CountryError> {
        match <[u8; 2]>::try_from(text.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            _ => Err(CountryError),
        }
    }

    /// Whether ISO 3166-1 assigns these letters, or leaves them to its users as `XK` and `ZZ` (as of 2025). An event is kept with others, too:
    /// a source of places that knows no better is no reason to lose it.
    pub fn is_assigned(&self) -> bool {
        let [first, second] = self.0;
        let row = SECOND_LETTERS.get(usize::from(first.wrapping_sub(b'A')));
        row.is_some_and(|row| row.as_bytes().contains(&second))
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Of the assigned codes, by their first letter.
const SECOND_LETTERS: [&str; 26] = [
    "ADEFGILMOQRSTUWXZ",
    "ABDEFGHIJLMNOQRSTVWYZ",
    "ACDFGHIKLMNORUVWXYZ",
    "EJKMOZ",
    "CEGHRST",
    "IJKMOR",
    "ABDEFGHILMNPQRSTUWY",
    "KMNRTU",
    "DELMNOQRST",
    "EMOP",
    "EGHIMNPRWYZ",
    "ABCIKRSTUVY",
    "ACDEFGHKLMNOPQRSTUVWXYZ",
    "ACEFGILOPRUZ",
    "M",
    "AEFGHKLMNRSTWY",
    "AMNOPQRSTUVWXYZ",
    "EOSUW",
    "ABCDEGHIJKLMNORSTVXYZ",
    "CDFGHJKLMNORTVWZ",
    "AGMSYZ",
    "ACEGINU",
    "FS",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "ET",
    "AMWZ",
];

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Country {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, Self::new)
    }
}

/// Where an address is, as somebody looked it up. Whatever is not known is absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GeoLocation {
    /// The country.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    /// A part of it, at most [`TEXT_BYTES_MAX`](crate::limits::TEXT_BYTES_MAX).
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The city, at most [`TEXT_BYTES_MAX`](crate::limits::TEXT_BYTES_MAX).
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Degrees north, from -90 to 90.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    /// Degrees east, from -180 to 180.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub lon: Option<f64>,
    /// Number of the autonomous system that announces the address.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
}

/// Four signals, and what they come to. A signal that is absent was not looked at, and says nothing either way.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RiskContext {
    /// Whether the place is usual.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub geo: Option<Signal>,
    /// What is known of the address.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ip_reputation: Option<Signal>,
    /// Whether the hour is usual.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub time_of_day: Option<Signal>,
    /// Whether the device is known.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub device_familiarity: Option<Signal>,
    /// All of it, from 0 (as always) to 100 (surely somebody else).
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The score in a word.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub level: Option<RiskLevel>,
}

/// A risk in a word.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RiskLevel {
    /// Nothing to do.
    Low,
    /// Ask for more.
    Medium,
    /// Look at it today.
    High,
    /// Look at it now.
    Critical,
}

/// One signal and its evaluation. In JSON it is the evaluation alone where there is nothing else, `"new_country"`, or an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// What it was found to be: `usual`, `new_country`, `bad`, `unknown`.
    pub evaluation: Code,
    /// What it adds to the log-odds that this is somebody else.
    pub weight: Option<f64>,
}

impl Signal {
    /// With no weight.
    pub fn new(evaluation: Code) -> Self {
        Self { evaluation, weight: None }
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.weight {
            None => self.evaluation.serialize(serializer),
            Some(weight) => {
                Weighed { evaluation: self.evaluation.clone(), weight: Some(weight) }.serialize(serializer)
            }
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Weighed {
    evaluation: Code,
    #[serde(default, deserialize_with = "present")]
    weight: Option<f64>,
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Signal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a code, or an object with `evaluation`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Signal, E> {
                Code::new(text).map(Signal::new).map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Signal, A::Error> {
                let from = serde::de::value::MapAccessDeserializer::new(map);
                Weighed::deserialize(from).map(|Weighed { evaluation, weight }| Signal { evaluation, weight })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
