//! What senders add to events.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::limits::{EXT_BYTES_MAX, EXT_DEPTH_MAX};

/// A JSON object of a sender's own, at most [`EXT_DEPTH_MAX`] levels deep and [`EXT_BYTES_MAX`] long. No name stands twice in an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Ext(Map<String, Value>);

impl Ext {
    /// Of this object.
    ///
    /// # Errors
    /// Where it is too deep or too long, in a phrase.
    pub fn new(object: Map<String, Value>) -> Result<Self, &'static str> {
        if object.values().any(|value| depth(value) >= EXT_DEPTH_MAX) {
            return Err(TOO_DEEP);
        }
        let length = serde_json::to_vec(&object).map_or(usize::MAX, |text| text.len());
        if length > EXT_BYTES_MAX {
            return Err(TOO_LONG);
        }
        Ok(Self(object))
    }

    /// The object.
    pub fn as_object(&self) -> &Map<String, Value> {
        &self.0
    }
}

const TOO_DEEP: &str = "`ext` is too deep: it has at most 8 levels";
const TOO_LONG: &str = "`ext` is too long: it has at most 4096 bytes";
const _: () = assert!(EXT_DEPTH_MAX == 8 && EXT_BYTES_MAX == 4096, "the messages say so");

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or_default(),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

impl<'de> Deserialize<'de> for Ext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match (Level { left: EXT_DEPTH_MAX }).deserialize(deserializer)? {
            Value::Object(object) => Self::new(object).map_err(D::Error::custom),
            _ => Err(D::Error::custom("`ext` is an object")),
        }
    }
}

/// Reads a value, and stops where it is deeper than it may be, or where a name stands twice: of two values, nobody knows which
/// was meant.
#[derive(Clone, Copy)]
struct Level {
    left: usize,
}

impl Level {
    fn below<E: Error>(self) -> Result<Self, E> {
        self.left.checked_sub(1).map(|left| Self { left }).ok_or_else(|| E::custom(TOO_DEEP))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no such number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(below)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(below)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice in one object"));
            }
        }
        Ok(Value::Object(object))
    }
}
