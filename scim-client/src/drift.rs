//! Where a server's schemas and a mapping no longer agree: seen before a 400 says it.
//!
//! [`check`] compares discovered schemas with a [`Mapping`]; it does no I/O. Discover again when a write fails with
//! [`SchemaMismatch`](crate::error::ErrorKind::SchemaMismatch), and on a schedule.

mod compare;

use std::fmt;

use serde::Serialize;

use crate::mapping::Mapping;
use crate::message::Schema;

/// One thing in which a server's schemas and a mapping do not agree.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Drift {
    /// The attribute, with the URN of its schema where that is an extension.
    pub attribute: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: DriftKind,
    /// What follows.
    pub severity: Severity,
}

/// How a server's schemas and a mapping do not agree.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DriftKind {
    /// The server has no such schema; nothing of it was checked.
    SchemaMissing,
    /// The schema has no such attribute.
    Missing,
    /// Only the server writes it.
    ReadOnly,
    /// It is written once, and the mapping writes it on changes, too (`on = "create"` does not).
    Immutable,
    /// It has values of another kind.
    Type {
        /// What the mapping writes, by its name in schemas.
        written: String,
        /// What the schema says.
        schema: String,
    },
    /// It has several values, and the mapping writes one.
    MultiValued,
    /// It has one value, and the mapping writes several.
    SingleValued,
    /// The server requires it; the mapping does not write it, or only where the source has a value.
    Required,
    /// The mapping writes a value that is not among those that the schema names.
    CanonicalValue {
        /// Which.
        value: String,
    },
}

/// What follows from a drift.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// Some writes may fail, or not do what they say.
    Warns,
    /// Writes will fail, or what is written is lost.
    Blocks,
}

/// Compares a mapping with the schemas that a server has, the severe first.
///
/// A schema that says nothing of its attributes is not compared with. Canonical values are suggestions by RFC 7643 §7, and
/// an immutable attribute that never changes is never written again: both warn only. So does text for a date, which may
/// be one.
pub fn check(mapping: &Mapping, schemas: &[Schema]) -> Vec<Drift> {
    let mut drifts = compare::drifts(mapping, schemas);
    drifts.sort_by(|one, other| {
        other.severity.cmp(&one.severity).then_with(|| one.attribute.cmp(&other.attribute))
    });
    drifts.dedup();
    drifts
}

impl DriftKind {
    /// As one word for programs, the same in every release.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SchemaMissing => "schema_missing",
            Self::Missing => "missing",
            Self::ReadOnly => "read_only",
            Self::Immutable => "immutable",
            Self::Type { .. } => "type",
            Self::MultiValued => "multi_valued",
            Self::SingleValued => "single_valued",
            Self::Required => "required",
            Self::CanonicalValue { .. } => "canonical_value",
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: ", self.attribute.escape_debug())?;
        match &self.kind {
            DriftKind::SchemaMissing => f.write_str("the server has no such schema"),
            DriftKind::Missing => f.write_str("the schema has no such attribute"),
            DriftKind::ReadOnly => f.write_str("only the server writes it"),
            DriftKind::Immutable => f.write_str("it is written once, and the mapping writes it on changes"),
            DriftKind::Type { written, schema } => {
                write!(f, "the mapping writes `{written}`, the schema says `{}`", schema.escape_debug())
            }
            DriftKind::MultiValued => f.write_str("it has several values, and the mapping writes one"),
            DriftKind::SingleValued => f.write_str("it has one value, and the mapping writes several"),
            DriftKind::Required => f.write_str("the server requires it, and the mapping may not write it"),
            DriftKind::CanonicalValue { value } => {
                write!(f, "`{}` is not among the values that the schema names", value.escape_debug())
            }
        }
    }
}
