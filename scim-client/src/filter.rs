//! Filters (RFC 7644 §3.4.2.2): what to ask for, and the check that what came back is what was asked for.
//!
//! A filter is built from typed attributes ([`user`], [`group`], [`enterprise`], or [`attribute()`] for any other), or
//! read from text; it is written by `Display` and evaluated by [`Filter::matches`]:
//!
//! ```
//! use scim_client::filter::{Filter, user};
//!
//! let filter = user::user_name().starts_with("a") & user::active().eq(true);
//! assert_eq!(filter.to_string(), r#"userName sw "a" and active eq true"#);
//! assert_eq!(filter, r#"USERNAME Sw "a" AND active eq True"#.parse::<Filter>()?);
//!
//! let work = user::emails().element(|email| email.kind().eq("work") & email.value().ends_with("@example.com"));
//! assert_eq!(work.to_string(), r#"emails[type eq "work" and value ew "@example.com"]"#);
//! # Ok::<(), scim_client::filter::SyntaxError>(())
//! ```
//!
//! An operator that makes no sense for an attribute does not compile:
//!
//! ```compile_fail
//! scim_client::filter::user::active().gt(true);
//! ```
//!
//! # Reading
//! The whole grammar is read: precedence (`not` over `and` over `or`), value paths, URN-prefixed attributes, operators
//! and names in any case. More leniently than the grammar: any amount of space, `True` for `true`, any URI for a schema,
//! `emails[type eq "work"].value eq "x"` for `emails[type eq "work" and value eq "x"]`. A filter ends at [`FILTER_BYTES_MAX`], [`FILTER_DEPTH_MAX`] and [`FILTER_TERMS_MAX`]; a [`SyntaxError`]
//! names the column and never repeats what was there.
//!
//! # Writing
//! One space, lower-case operators, parentheses only where the meaning needs them. What was read is written as the same
//! filter; what was written is read as an equal one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;

use crate::path::AttributePath;

mod attribute;
mod compare;
pub mod enterprise;
mod evaluate;
mod form;
pub mod group;
mod parse;
mod parts;
mod print;
mod published;
mod resource;
mod rules;
pub(crate) mod syntax;
pub mod user;

pub use attribute::{
    Any, Attribute, Binary, Boolean, Decimal, Kind, LiteralOf, Ordered, Reference, Searchable, Text, Time,
    attribute,
};
pub use parts::{Address, Grouping, Manager, Membership, MetaParts, NameParts, Plural};
pub use rules::{AttributeRules, Comparison, Rfc7643};
pub use syntax::{SyntaxError, SyntaxFault};

/// Longest filter that is read, in bytes.
pub const FILTER_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of parentheses and brackets that is read.
pub const FILTER_DEPTH_MAX: usize = 64;
/// Most comparisons and value paths in a filter that is read.
pub const FILTER_TERMS_MAX: usize = 1024;

/// A filter. `and` and `or` hold any number of parts, so that a long list does not nest.
///
/// Equal when written alike but for the case of attribute names.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// All hold; of nothing, it holds.
    And(Vec<Filter>),
    /// One holds; of nothing, it does not hold.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// `pr`: the attribute has a value.
    Present(AttributePath),
    /// The attribute compares so with the value.
    Compare(AttributePath, CompareOp, Literal),
    /// `emails[type eq "work"]`: one element of the attribute is as the filter says.
    Element(AttributePath, Box<Filter>),
}

/// How to compare.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CompareOp {
    /// `eq`
    Equal,
    /// `ne`: the negation of `eq`. So it holds for a resource without the attribute, and for a multi-valued attribute
    /// only where none of the elements is equal.
    NotEqual,
    /// `co`
    Contains,
    /// `sw`
    StartsWith,
    /// `ew`
    EndsWith,
    /// `gt`
    Greater,
    /// `ge`
    GreaterOrEqual,
    /// `lt`
    Less,
    /// `le`
    LessOrEqual,
}

/// What to compare with.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Literal {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text, a time or a reference.
    String(String),
}

impl Filter {
    /// Both hold. Long chains stay flat.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::join(self, other, Self::And, |filter| match filter {
            Self::And(parts) => Ok(parts),
            other => Err(other),
        })
    }

    /// One of the two holds, or both. Long chains stay flat.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::join(self, other, Self::Or, |filter| match filter {
            Self::Or(parts) => Ok(parts),
            other => Err(other),
        })
    }

    fn join(
        left: Self,
        right: Self,
        whole: fn(Vec<Self>) -> Self,
        parts: fn(Self) -> Result<Vec<Self>, Self>,
    ) -> Self {
        let mut joined = parts(left).unwrap_or_else(|single| vec![single]);
        match parts(right) {
            Ok(more) => joined.extend(more),
            Err(single) => joined.push(single),
        }
        whole(joined)
    }
}

impl std::ops::BitAnd for Filter {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.and(other)
    }
}

impl std::ops::BitOr for Filter {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

impl std::ops::Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
