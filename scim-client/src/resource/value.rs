//! How one value of an attribute is read: leniently, and without its text ever getting into an error.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::asserted::Asserted;
use crate::resource::ResourceId;

/// A type whose values attributes have.
///
/// [`attributes!`](crate::attributes) implements it for complex attributes. Text may come as a number, a number and a
/// boolean as text (`"False"`), a single value in an array of one, several values without an array.
pub trait AttributeValue: Serialize + Sized {
    /// Reads a value; `None` where it is said that there is none (`null`).
    ///
    /// # Errors
    /// Where it is of another kind.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error>;
}

/// A type that a field of [`attributes!`](crate::attributes) may have: [`Asserted`], [`Option`] (which takes `null` for
/// absent) or [`Vec`] (which takes `null` and absent for empty) of an [`AttributeValue`].
pub trait AttributeField: Serialize + Default {
    /// Reads the field.
    ///
    /// # Errors
    /// Where the value is of another kind.
    fn read_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// Whether it is not to be written.
    fn is_absent(&self) -> bool;
}

impl<T: AttributeValue> AttributeField for Asserted<T> {
    fn read_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(T::read(deserializer)?.map_or(Self::Null, Self::Value))
    }

    fn is_absent(&self) -> bool {
        Self::is_absent(self)
    }
}

impl<T: AttributeValue> AttributeField for Option<T> {
    fn read_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: AttributeValue> AttributeField for Vec<T> {
    fn read_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::read(deserializer)?.unwrap_or_default())
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// A value that is neither complex nor several.
#[derive(Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Scalar<'_> {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text.to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Unsigned(value) => value.to_string(),
            Self::Signed(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
        }
    }
}

/// A type that is read from one [`Scalar`].
pub(crate) trait ScalarValue: AttributeValue {
    /// What is read, for errors.
    const EXPECTED: &'static str;

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self>;

    /// Likewise, with an error that says more. It must not hold the value, which may be a secret.
    fn try_scalar<E: Error>(scalar: Scalar<'_>) -> Result<Option<Self>, E> {
        Self::from_scalar(scalar)
            .map(Some)
            .ok_or_else(|| E::custom(format_args!("expected {}", Self::EXPECTED)))
    }
}

/// Implements [`AttributeValue`] for types that are read from one [`Scalar`].
macro_rules! scalar_values {
    ($($name:ty),*) => {$(
        impl $crate::resource::AttributeValue for $name {
            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
                $crate::resource::value::read_scalar(deserializer)
            }
        }
    )*};
}
pub(crate) use scalar_values;

scalar_values!(String, ResourceId, bool, u64, u16);

impl ScalarValue for String {
    const EXPECTED: &'static str = "text";

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        Some(scalar.into_text())
    }
}

impl ScalarValue for ResourceId {
    const EXPECTED: &'static str = "text";

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        Some(Self::new(scalar.into_text()))
    }
}

impl ScalarValue for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Bool(value) => Some(value),
            Scalar::Text(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
            Scalar::Text(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
            Scalar::Unsigned(1) => Some(true),
            Scalar::Unsigned(0) => Some(false),
            _ => None,
        }
    }
}

impl ScalarValue for u64 {
    const EXPECTED: &'static str = "a number that is not negative";

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        // Up to 2^53 a number with a fraction of zero is exact.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        match scalar {
            Scalar::Unsigned(value) => Some(value),
            Scalar::Text(text) => text.trim().parse().ok(),
            Scalar::Float(value) if (0.0..=EXACT_MAX).contains(&value) && value.fract() == 0.0 => {
                Some(value as Self)
            }
            Scalar::Signed(_) | Scalar::Float(_) | Scalar::Bool(_) => None,
        }
    }
}

impl ScalarValue for u16 {
    const EXPECTED: &'static str = "a number from 0 to 65535";

    fn from_scalar(scalar: Scalar<'_>) -> Option<Self> {
        u64::from_scalar(scalar)?.try_into().ok()
    }
}

/// Reads one scalar, also out of an array of one.
pub(crate) fn read_scalar<'de, T: ScalarValue, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(ScalarVisitor(PhantomData))
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<'de, T: ScalarValue> Visitor<'de> for ScalarVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        T::try_scalar(Scalar::Text(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        T::try_scalar(Scalar::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        T::try_scalar(Scalar::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        T::try_scalar(u64::try_from(value).map_or(Scalar::Signed(value), Scalar::Unsigned))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        T::try_scalar(Scalar::Float(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        only_element(seq)
    }
}

/// The one element of an array that stands where a single value is expected; `None` where it is empty
/// (RFC 7643 §2.5: unassigned, like `null`).
pub(super) fn only_element<'de, T: AttributeValue, A: SeqAccess<'de>>(
    mut seq: A,
) -> Result<Option<T>, A::Error> {
    let Some(first) = seq.next_element_seed(ValueSeed(PhantomData))? else {
        return Ok(None);
    };
    if seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
        return Err(A::Error::custom("several values, expected one"));
    }
    Ok(first)
}

pub(super) struct ValueSeed<T>(pub(super) PhantomData<T>);

impl<'de, T: AttributeValue> DeserializeSeed<'de> for ValueSeed<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        T::read(deserializer)
    }
}

pub(super) struct FieldSeed<T>(pub(super) PhantomData<T>);

impl<'de, T: AttributeField> DeserializeSeed<'de> for FieldSeed<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        T::read_field(deserializer)
    }
}

impl<T: AttributeValue> AttributeValue for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        deserializer.deserialize_any(ValuesVisitor(PhantomData))
    }
}

/// Reads several values, or one that stands there without an array.
struct ValuesVisitor<T>(PhantomData<T>);

impl<'de, T: AttributeValue> ValuesVisitor<T> {
    fn one<D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<T>>, D::Error> {
        Ok(T::read(deserializer)?.map(|value| vec![value]))
    }
}

impl<'de, T: AttributeValue> Visitor<'de> for ValuesVisitor<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(ValueSeed(PhantomData))? {
            values.extend(value);
        }
        Ok(Some(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Self::one(MapAccessDeserializer::new(map))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Self::one(value.into_deserializer())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Self::one(value.into_deserializer())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Self::one(value.into_deserializer())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Self::one(value.into_deserializer())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Self::one(value.into_deserializer())
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
