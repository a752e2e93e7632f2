//! Attributes of known kind, and the filters that can be made of them.

use std::marker::PhantomData;

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use serde_json::Number;

use super::{CompareOp, Filter, Literal, SyntaxError};
use crate::path::{AttributePath, Path};
use crate::resource::ResourceId;

/// A kind of attribute (RFC 7643 §2.3).
pub trait Kind: sealed::Sealed {}

/// A kind whose values have an order.
pub trait Ordered: Kind {}

/// A kind in whose values text can be searched for.
pub trait Searchable: Kind {}

/// A value to compare an attribute of kind `K` with.
pub trait LiteralOf<K: Kind> {
    /// As a filter writes it.
    fn literal(self) -> Literal;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $($capability:ident)*;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}

        impl sealed::Sealed for $name {}
        impl Kind for $name {}
        $(impl $capability for $name {})*
    )*};
}

kinds! {
    /// Text.
    Text: Ordered Searchable;
    /// `true` or `false`.
    Boolean:;
    /// An integer or a decimal.
    Decimal: Ordered;
    /// A time.
    Time: Ordered;
    /// A URI.
    Reference: Searchable;
    /// Bytes, as base64.
    Binary:;
    /// Of a kind that only the server knows: every operator compiles.
    Any: Ordered Searchable;
}

/// An attribute of kind `K`.
#[derive(Debug)]
pub struct Attribute<K> {
    path: AttributePath,
    kind: PhantomData<fn() -> K>,
}

/// An attribute by its name, of any kind: `attribute("urn:example:2.0:User:badge")?.eq(17)`.
///
/// # Errors
/// Where that is no attribute name.
pub fn attribute(name: &str) -> Result<Attribute<Any>, SyntaxError> {
    Ok(Attribute::of(name.parse()?))
}

impl<K: Kind> Attribute<K> {
    pub(super) fn of(path: AttributePath) -> Self {
        Self { path, kind: PhantomData }
    }

    /// The same attribute, known to be of another kind.
    pub fn of_kind<T: Kind>(self) -> Attribute<T> {
        Attribute::of(self.path)
    }

    /// The attribute's name.
    pub fn name(&self) -> &AttributePath {
        &self.path
    }

    /// The attribute as what a PATCH changes.
    pub fn path(self) -> Path {
        Path::from(self.path)
    }

    /// `pr`: it has a value.
    pub fn present(self) -> Filter {
        Filter::Present(self.path)
    }

    /// `not (… pr)`: it has no value.
    pub fn absent(self) -> Filter {
        !self.present()
    }

    /// `eq`
    pub fn eq(self, value: impl LiteralOf<K>) -> Filter {
        self.compare(CompareOp::Equal, value)
    }

    /// `ne`: no value of the attribute is equal.
    pub fn ne(self, value: impl LiteralOf<K>) -> Filter {
        self.compare(CompareOp::NotEqual, value)
    }

    fn compare(self, op: CompareOp, value: impl LiteralOf<K>) -> Filter {
        Filter::Compare(self.path, op, value.literal())
    }
}

impl<K: Searchable> Attribute<K> {
    /// `co`
    pub fn contains(self, text: impl Into<String>) -> Filter {
        Filter::Compare(self.path, CompareOp::Contains, Literal::String(text.into()))
    }

    /// `sw`
    pub fn starts_with(self, text: impl Into<String>) -> Filter {
        Filter::Compare(self.path, CompareOp::StartsWith, Literal::String(text.into()))
    }

    /// `ew`
    pub fn ends_with(self, text: impl Into<String>) -> Filter {
        Filter::Compare(self.path, CompareOp::EndsWith, Literal::String(text.into()))
    }
}

impl<K: Ordered> Attribute<K> {
    /// `gt`
    pub fn gt(self, value: impl LiteralOf<K>) -> Filter {
        self.compare(CompareOp::Greater, value)
    }

    /// `ge`
    pub fn ge(self, value: impl LiteralOf<K>) -> Filter {
        self.compare(CompareOp::GreaterOrEqual, value)
    }

    /// `lt`
    pub fn lt(self, value: impl LiteralOf<K>) -> Filter {
        self.compare(CompareOp::Less, value)
    }

    /// `le`
    pub fn le(self, value: impl LiteralOf<K>) -> Filter {
        self.compare(CompareOp::LessOrEqual, value)
    }
}

macro_rules! literals {
    ($($kind:ty: $($from:ty),*;)*) => {$($(
        impl LiteralOf<$kind> for $from {
            fn literal(self) -> Literal {
                self.into()
            }
        }
    )*)*};
}

literals! {
    Text: &str, String, &String, ResourceId, &ResourceId;
    Boolean: bool;
    Decimal: i32, u32, i64, u64, Number;
    Reference: &str, String, &String;
    Binary: &str, String, &String;
}

impl<Z: TimeZone> LiteralOf<Time> for DateTime<Z> {
    fn literal(self) -> Literal {
        self.with_timezone(&Utc).into()
    }
}

impl<T: Into<Literal>> LiteralOf<Any> for T {
    fn literal(self) -> Literal {
        self.into()
    }
}

macro_rules! into_literal {
    ($($from:ty: $literal:expr;)*) => {$(
        impl From<$from> for Literal {
            fn from(value: $from) -> Self {
                $literal(value)
            }
        }
    )*};
}

into_literal! {
    bool: Self::Bool;
    Number: Self::Number;
    i32: |value: i32| Self::Number(value.into());
    u32: |value: u32| Self::Number(value.into());
    i64: |value: i64| Self::Number(value.into());
    u64: |value: u64| Self::Number(value.into());
    String: Self::String;
    &String: |value: &String| Self::String(value.clone());
    &str: |value: &str| Self::String(value.to_owned());
    ResourceId: |value: ResourceId| Self::String(value.as_str().to_owned());
    &ResourceId: |value: &ResourceId| Self::String(value.as_str().to_owned());
    DateTime<Utc>: |value: DateTime<Utc>| {
        Self::String(value.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    };
}
