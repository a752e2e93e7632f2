//! Absent, null or a value: three things that SCIM keeps apart.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a resource says of one attribute.
///
/// RFC 7643 §2.5: an attribute that is absent is not spoken of; one that is `null` (or an empty array) is said to have
/// no value. In a replace both unassign, in a partial answer only the second says something: so they are kept apart.
///
/// In structs with serde's derives, fields of this type carry
/// `#[serde(default, skip_serializing_if = "Asserted::is_absent")]`; [`attributes!`](crate::attributes) needs nothing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Asserted<T> {
    /// Not spoken of.
    #[default]
    Absent,
    /// Said to have no value.
    Null,
    /// Said to have this value.
    Value(T),
}

impl<T> Asserted<T> {
    /// Whether nothing is said.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The value, where there is one.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// The value to change, where there is one.
    pub const fn value_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// The value itself, where there is one.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

impl<T> From<T> for Asserted<T> {
    fn from(value: T) -> Self {
        Self::Value(value)
    }
}

impl From<&str> for Asserted<String> {
    fn from(value: &str) -> Self {
        Self::Value(value.to_owned())
    }
}

impl<T: Serialize> Serialize for Asserted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Absent | Self::Null => serializer.serialize_none(),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Asserted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}
