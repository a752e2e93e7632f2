//! Any JSON, read so that no name appears twice in an object.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::resource::value::AttributeValue;
use crate::resource::{Attributes, DUPLICATE};

/// A [`Value`] in which names are unique whatever their case (RFC 7643 §2.1). With `serde_json` alone the last of
/// several would win, and another reader might have taken the first.
pub(crate) struct Json(pub(crate) Value);

/// Likewise, of an object.
pub(crate) struct JsonObject(pub(crate) Attributes);

impl AttributeValue for Value {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let Json(value) = Json::deserialize(deserializer)?;
        Ok((!value.is_null()).then_some(value))
    }
}

/// Tells whether a name is new to an object.
#[derive(Default)]
pub(super) struct UniqueNames {
    /// In lower case, once there are so many that going through them would take long.
    many: Option<HashSet<String>>,
}

impl UniqueNames {
    const FEW: usize = 16;

    pub(super) fn admit(&mut self, present: &Attributes, name: &str) -> bool {
        if present.len() < Self::FEW {
            return !present.keys().any(|key| key.eq_ignore_ascii_case(name));
        }
        self.many
            .get_or_insert_with(|| present.keys().map(|key| key.to_ascii_lowercase()).collect())
            .insert(name.to_ascii_lowercase())
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        ObjectVisitor.visit_map(map).map(Value::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Json(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor).map(Self)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut attributes = Attributes::new();
        let mut names = UniqueNames::default();
        while let Some(name) = map.next_key::<String>()? {
            if !names.admit(&attributes, &name) {
                return Err(A::Error::custom(DUPLICATE));
            }
            let Json(value) = map.next_value()?;
            attributes.insert(name, value);
        }
        Ok(attributes)
    }
}
