//! From the attributes that a source has (HR, a directory) to those of a SCIM resource.
//!
//! ```text
//!  TOML ── Mapping::from_toml ─▶ Mapping ── apply(source) ─▶ Attributes ── patch::towards ─▶ PatchOp
//!                                   │
//!                                   └── drift::check(discovered schemas) ─▶ what no longer fits
//! ```
//!
//! Expressions are few: copy, constant, join, case, lookup, date. They name attributes of the source alone, never other
//! targets, so that they cannot go in circles.
//!
//! ```
//! use scim_client::mapping::Mapping;
//!
//! let mapping = Mapping::from_toml(r#"
//! version = 1
//!
//! [source]
//! mail = "string"
//! first = "string"
//! last = "string"
//! dept = "integer"
//! hired = "string"
//!
//! [attributes]
//! userName = { lower = "mail", required = true }
//! displayName = { join = ["first", "last"], with = " " }
//! active = { constant = true }
//! 'emails[type eq "work"].value' = "mail"
//! "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department" = { lookup = "dept", in = "departments" }
//! "urn:example:2.0:User:since" = { date = "hired", from = "%d.%m.%Y" }
//!
//! [lookup.departments]
//! 17 = "Finance"
//! "#)?;
//! let source = serde_json::from_str(
//!     r#"{"mail": "Ann@X.example", "first": "Ann", "last": "Lee", "dept": 17, "hired": "01.02.2024"}"#,
//! )?;
//! let user = mapping.apply(&source)?;
//! assert_eq!(user["userName"], "ann@x.example");
//! assert_eq!(user["emails"][0]["type"], "work");
//! assert_eq!(user["urn:example:2.0:User"]["since"], "2024-02-01T00:00:00Z");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod date;
mod evaluate;
mod expression;
mod mistake;
mod parse;
mod write;

use std::collections::BTreeMap;
use std::fmt;

use crate::patch::ApplyErrorKind;
use crate::path::Path;
use crate::resource::Attributes;

use expression::Expression;
pub(crate) use expression::Output;
pub use mistake::{MISTAKES_MAX, MappingTextError, Mistake};
pub(crate) use write::attribute_of;

/// Longest text of a mapping, in bytes.
pub const MAPPING_BYTES_MAX: usize = 4 << 20;
/// Most attributes that are mapped, and most attributes of a source.
pub const RULES_MAX: usize = 1_000;
/// Deepest nesting of expressions.
pub const EXPRESSION_DEPTH_MAX: usize = 8;
/// Most entries of all lookup tables together.
pub const LOOKUP_ENTRIES_MAX: usize = 100_000;
/// Longest text that an expression gives, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// How a resource is made of the attributes of a source. Made by [`from_toml`](Self::from_toml), which checks it.
#[derive(Clone, PartialEq)]
pub struct Mapping {
    pub(crate) schema: String,
    pub(crate) sources: BTreeMap<String, SourceKind>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) lookups: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}

/// What kind of value an attribute of a source has.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SourceKind {
    /// `"string"`
    String,
    /// `"boolean"`; the texts `true` and `false` in any case count as such.
    Boolean,
    /// `"integer"`
    Integer,
    /// `"decimal"`
    Decimal,
    /// `"strings"`: a list of texts.
    Strings,
}

/// What one attribute becomes.
#[derive(Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) target: Path,
    pub(crate) expression: Expression,
    pub(crate) occasion: Occasion,
    pub(crate) required: bool,
}

/// When an attribute is written.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Occasion {
    /// `on = "create"`: when the resource is made, and never again.
    Create,
    /// `on = "always"`: whenever it is not as it should be.
    Always,
}

impl Mapping {
    /// Reads a mapping and checks it: expressions name known attributes of the source and known tables, formats of dates
    /// are sound, targets can be written and do not overlap.
    ///
    /// The text has a `version` (1), `schema` (the URN of the resource's own schema, `User` unless given), `[source]` with
    /// the kind of each attribute (`string`, `boolean`, `integer`, `decimal`, `strings`; dots lead into objects),
    /// `[attributes]` with an expression for each target, and `[lookup.<name>]` tables. An expression is the name of an
    /// attribute of the source, or a table with one of
    ///
    /// * `copy = "name"`,
    /// * `constant = value`,
    /// * `join = [expressions]`, `with = " "`: those that have a value,
    /// * `lower = expression`, `upper = expression`,
    /// * `lookup = expression`, `in = "table"`, `default = value` (without one, what is not in the table is an error),
    /// * `date = expression`, `from = "format"`, `to = "format"`: formats of `strftime`, RFC 3339 where none is given; a
    ///   time without a zone is UTC, a date its first moment.
    ///
    /// A target takes besides `required = true` (no value is an error) and `on = "create"` (not written again later).
    ///
    /// # Errors
    /// All mistakes that were found, each with line and column.
    pub fn from_toml(text: &str) -> Result<Self, MappingTextError> {
        parse::parse(text)
    }

    /// The resource that the source describes, for making it.
    ///
    /// What the source does not speak of is absent; what is `null`, empty text or an empty list there is `null` here, and
    /// `[]` for an attribute with several values. Attributes of the source that the mapping does not know are passed over.
    ///
    /// # Errors
    /// With the first attribute that has no value it could have. Values never appear in the error.
    pub fn apply(&self, source: &Attributes) -> Result<Attributes, MappingError> {
        write::resource(self, source, &[Occasion::Create, Occasion::Always])
    }

    /// The part of the resource that is kept up to date: all but what is written `on = "create"`.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_update(&self, source: &Attributes) -> Result<Attributes, MappingError> {
        write::resource(self, source, &[Occasion::Always])
    }

    /// The URN of the resource's own schema.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// What it writes, and when, in the order of the text.
    pub fn targets(&self) -> impl Iterator<Item = (&Path, Occasion)> {
        self.rules.iter().map(|rule| (&rule.target, rule.occasion))
    }

    /// The attributes of the source that it knows, by name.
    pub fn sources(&self) -> impl Iterator<Item = (&str, SourceKind)> {
        self.sources.iter().map(|(name, kind)| (name.as_str(), *kind))
    }
}

/// Without constants and tables, which may hold a first password.
impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<String> = self.rules.iter().map(|rule| attribute_of(&rule.target)).collect();
        f.debug_struct("Mapping")
            .field("schema", &self.schema)
            .field("targets", &targets)
            .finish_non_exhaustive()
    }
}

/// An attribute that cannot be made of a source. Names attributes and tables, never values.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MappingError {
    /// The target.
    pub attribute: String,
    /// Why.
    pub kind: MappingErrorKind,
}

/// Why an attribute cannot be made.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MappingErrorKind {
    /// It is required, and the source has no value for it.
    Required,
    /// An attribute of the source has a value of another kind.
    Kind {
        /// The attribute of the source.
        source: String,
        /// The kind that the mapping says it has.
        expected: SourceKind,
    },
    /// A table holds no such entry and there is no default.
    Lookup {
        /// The table.
        table: String,
    },
    /// A text is no date in the format.
    Date {
        /// The format.
        format: String,
    },
    /// A text longer than [`VALUE_BYTES_MAX`].
    TooLong,
    /// The value cannot stand beside what other targets wrote.
    Write(ApplyErrorKind),
}

impl SourceKind {
    /// As it is written in a mapping.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Strings => "strings",
        }
    }
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: ", self.attribute)?;
        match &self.kind {
            MappingErrorKind::Required => f.write_str("the source has no value, and one is required"),
            MappingErrorKind::Kind { source, expected } => {
                write!(
                    f,
                    "`{}` of the source is not of the kind `{}`",
                    source.escape_debug(),
                    expected.as_str()
                )
            }
            MappingErrorKind::Lookup { table } => {
                write!(f, "the value is not in the table `{}`, which has no default", table.escape_debug())
            }
            MappingErrorKind::Date { format } => {
                write!(f, "the value is no date of the form `{}`", format.escape_debug())
            }
            MappingErrorKind::TooLong => write!(f, "the value is longer than {VALUE_BYTES_MAX} bytes"),
            MappingErrorKind::Write(_) => f.write_str("the value cannot stand beside those of other targets"),
        }
    }
}

impl std::error::Error for MappingError {}
