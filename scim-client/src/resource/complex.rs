//! Complex attributes (RFC 7643 §2.3.8) as Rust structs, declared once for reading and writing.
//!
//! Written out rather than derived: a derived reader knows names in one case only, and collecting unknown attributes
//! with `flatten` makes it copy each resource before it is read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, Serializer};

use crate::resource::json::{Json, UniqueNames};
use crate::resource::value::{AttributeField, FieldSeed, Scalar, only_element};
use crate::resource::{AttributeValue, DUPLICATE, Extensions};

/// A struct whose fields are attributes. [`attributes!`](crate::attributes) implements it.
pub trait Complex: Default {
    /// The number of the attribute with that name, in any case.
    fn slot(name: &str) -> Option<u32>;

    /// Reads the value of an attribute.
    ///
    /// # Errors
    /// As [`AttributeField::read_field`].
    fn read_slot<'de, A: MapAccess<'de>>(&mut self, slot: u32, map: &mut A) -> Result<(), A::Error>;

    /// Writes the attributes that are not absent.
    ///
    /// # Errors
    /// The serializer's.
    fn write_slots<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;

    /// What is meant where only a text stands; `None` where that means nothing.
    fn from_text(text: String) -> Option<Self>;

    /// The attributes of no known name.
    fn extensions(&self) -> &Extensions;

    /// Likewise, to change.
    fn extensions_mut(&mut self) -> &mut Extensions;
}

/// Declares a complex attribute, a resource or an extension: a struct, its names in JSON, how it is read and written.
///
/// The struct gets a field `extensions` for what it has no name for; so nothing that a server sent is lost when the
/// whole is written back. Reading is lenient: see [`AttributeValue`]; a name that appears twice (also in another case) is
/// an error. Writing is strict. Each field is an [`AttributeField`]. Up to 64 fields.
///
/// `bare as field` says which field is meant where a server sends only a text instead of the object.
///
/// ```
/// use scim_client::resource::{Extension, User};
/// use scim_client::{Asserted, attributes};
///
/// attributes! {
///     /// Who may enter the building.
///     #[derive(Clone, Debug, Default, PartialEq)]
///     pub struct Badge {
///         /// Printed on it.
///         "badgeNumber" => badge_number: Asserted<String>,
///         /// Whether it opens doors.
///         "enabled" => enabled: Asserted<bool>,
///     }
/// }
///
/// impl Extension for Badge {
///     const SCHEMA: &'static str = "urn:example:params:scim:schemas:extension:2.0:Badge";
/// }
///
/// let user: User = serde_json::from_str(
///     r#"{"userName": "bjensen", "urn:example:params:scim:schemas:extension:2.0:Badge": {"BadgeNumber": 17, "enabled": "True"}}"#,
/// )?;
/// let badge = user.extensions.extension::<Badge>()?.into_value().unwrap_or_default();
/// assert_eq!(badge.badge_number, "17".into());
/// assert_eq!(badge.enabled, true.into());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[macro_export]
macro_rules! attributes {
    (
        $(#[$outer:meta])*
        $vis:vis struct $name:ident $(, bare as $bare:ident)? {
            $( $(#[$doc:meta])* $json:literal => $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$outer])*
        $vis struct $name {
            $( $(#[$doc])* pub $field: $type, )*
            /// Extensions and attributes of no known name.
            pub extensions: $crate::resource::Extensions,
        }

        const _: () = {
            use $crate::__private::serde;
            use $crate::resource::{AttributeField, AttributeValue, Complex, Extensions};

            #[allow(non_camel_case_types)]
            enum Slot { $($field),* }

            const NAMES: &[&str] = &[$($json),*];
            assert!(NAMES.len() <= 64);

            impl Complex for $name {
                fn slot(name: &str) -> Option<u32> {
                    match name {
                        $( $json => return Some(Slot::$field as u32), )*
                        _ => {}
                    }
                    NAMES
                        .iter()
                        .position(|known| known.eq_ignore_ascii_case(name))
                        .and_then(|slot| u32::try_from(slot).ok())
                }

                fn read_slot<'de, A: serde::de::MapAccess<'de>>(
                    &mut self,
                    slot: u32,
                    map: &mut A,
                ) -> Result<(), A::Error> {
                    $(
                        if slot == Slot::$field as u32 {
                            self.$field = $crate::resource::read_field(map)?;
                            return Ok(());
                        }
                    )*
                    Ok(())
                }

                fn write_slots<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                    $(
                        if !AttributeField::is_absent(&self.$field) {
                            map.serialize_entry($json, &self.$field)?;
                        }
                    )*
                    Ok(())
                }

                #[allow(unused_variables)]
                fn from_text(text: String) -> Option<Self> {
                    $( return Some(Self { $bare: text.into(), ..Self::default() }); )?
                    #[allow(unreachable_code)]
                    None
                }

                fn extensions(&self) -> &Extensions {
                    &self.extensions
                }

                fn extensions_mut(&mut self) -> &mut Extensions {
                    &mut self.extensions
                }
            }

            impl AttributeValue for $name {
                fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
                    $crate::resource::read_complex(deserializer)
                }
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    $crate::resource::read_complex(deserializer)?
                        .ok_or_else(|| serde::de::Error::custom("expected an object"))
                }
            }

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    $crate::resource::write_complex(self, serializer)
                }
            }
        };
    };
}

/// Reads the value of a field of a [`Complex`].
#[doc(hidden)]
pub fn read_field<'de, T: AttributeField, A: MapAccess<'de>>(map: &mut A) -> Result<T, A::Error> {
    map.next_value_seed(FieldSeed(PhantomData))
}

/// Reads a [`Complex`]; `None` for `null` and for an empty array.
#[doc(hidden)]
pub fn read_complex<'de, C: Complex + AttributeValue, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<C>, D::Error> {
    deserializer.deserialize_any(ComplexVisitor(PhantomData))
}

/// Writes a [`Complex`].
#[doc(hidden)]
pub fn write_complex<C: Complex, S: Serializer>(complex: &C, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    write_entries(complex, &mut map)?;
    map.end()
}

/// Writes a [`Complex`] into an object that may hold more.
pub(crate) fn write_entries<C: Complex, M: SerializeMap>(complex: &C, map: &mut M) -> Result<(), M::Error> {
    complex.write_slots(map)?;
    for (name, value) in &complex.extensions().0 {
        if C::slot(name).is_some() {
            return Err(M::Error::custom("an extension has the name of an attribute that the type declares"));
        }
        map.serialize_entry(name, value)?;
    }
    Ok(())
}

/// Reads an object; `more` is asked about names that the type does not know and says whether it took the value.
pub(crate) fn read_entries<'de, C: Complex, A: MapAccess<'de>>(
    mut map: A,
    mut more: impl FnMut(&str, &mut A) -> Result<bool, A::Error>,
) -> Result<C, A::Error> {
    let mut complex = C::default();
    let mut seen = 0_u64;
    let mut names = UniqueNames::default();
    while let Some(name) = map.next_key_seed(NameSeed::<C>(PhantomData))? {
        match name {
            Name::Known(slot) => {
                let bit = 1_u64.checked_shl(slot).unwrap_or_default();
                if seen & bit != 0 {
                    return Err(A::Error::custom(DUPLICATE));
                }
                seen |= bit;
                complex.read_slot(slot, &mut map)?;
            }
            Name::Other(name) => {
                if more(&name, &mut map)? {
                    continue;
                }
                let Extensions(others) = complex.extensions_mut();
                if !names.admit(others, &name) {
                    return Err(A::Error::custom(DUPLICATE));
                }
                let Json(value) = map.next_value()?;
                others.insert(name, value);
            }
        }
    }
    Ok(complex)
}

enum Name {
    Known(u32),
    Other(String),
}

struct NameSeed<C>(PhantomData<C>);

impl<'de, C: Complex> DeserializeSeed<'de> for NameSeed<C> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<C: Complex> Visitor<'_> for NameSeed<C> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        Ok(C::slot(name).map_or_else(|| Name::Other(name.to_owned()), Name::Known))
    }
}

struct ComplexVisitor<C>(PhantomData<C>);

impl<C: Complex> ComplexVisitor<C> {
    fn bare<E: Error>(scalar: Scalar<'_>) -> Result<Option<C>, E> {
        C::from_text(scalar.into_text()).map(Some).ok_or_else(|| E::custom("expected an object"))
    }
}

impl<'de, C: Complex + AttributeValue> Visitor<'de> for ComplexVisitor<C> {
    type Value = Option<C>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        read_entries(map, |_, _| Ok(false)).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        only_element(seq)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Self::bare(Scalar::Text(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Self::bare(Scalar::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Self::bare(Scalar::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Self::bare(Scalar::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Self::bare(Scalar::Float(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
