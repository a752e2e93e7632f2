//! Attribute names and PATCH paths (RFC 7644 §3.5.2).

use crate::filter::Filter;

/// An attribute, or a part of one: `userName`, `name.familyName`,
/// `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value`. Compares without case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AttributePath {
    /// The URN of the schema, where it is named.
    pub schema: Option<String>,
    /// The attribute.
    pub name: String,
    /// The sub-attribute, where one is named.
    pub sub: Option<String>,
}

/// What a PATCH operation changes: `members[value eq "2819c223"].display`.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// The attribute.
    pub attribute: AttributePath,
    /// Which of its elements.
    pub element: Option<Box<Filter>>,
    /// Which part of these.
    pub sub: Option<String>,
}
