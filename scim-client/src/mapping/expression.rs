//! What a value is made of.

use serde_json::Value;

use super::date::DateForm;
use super::{Mapping, SourceKind};

/// How a value is made. Names attributes of the source alone, so that no expression can depend on itself.
#[derive(Clone, PartialEq)]
pub(crate) enum Expression {
    Copy(String),
    Constant(Value),
    Join { parts: Vec<Expression>, with: String },
    Case { of: Box<Expression>, case: Case },
    Lookup { of: Box<Expression>, table: String, default: Option<Value> },
    Date { of: Box<Expression>, from: DateForm, to: DateForm },
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Case {
    Lower,
    Upper,
}

/// What kind of value an expression gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Output {
    String,
    Boolean,
    Integer,
    Decimal,
    /// A list of texts.
    Strings,
    /// A time in the form of RFC 3339.
    DateTime,
    /// An object, or a list of something else.
    Complex,
}

impl Output {
    /// The kind of a value that is known.
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_f64() => Self::Decimal,
            Value::Number(_) => Self::Integer,
            Value::Array(elements) if elements.iter().all(Value::is_string) => Self::Strings,
            Value::Null | Value::String(_) => Self::String,
            Value::Array(_) | Value::Object(_) => Self::Complex,
        }
    }
}

impl Expression {
    /// What kind of value it gives.
    pub(crate) fn output(&self, mapping: &Mapping) -> Output {
        match self {
            Self::Copy(source) => match mapping.sources.get(source) {
                None | Some(SourceKind::String) => Output::String,
                Some(SourceKind::Boolean) => Output::Boolean,
                Some(SourceKind::Integer) => Output::Integer,
                Some(SourceKind::Decimal) => Output::Decimal,
                Some(SourceKind::Strings) => Output::Strings,
            },
            Self::Constant(value) => Output::of(value),
            Self::Join { .. } | Self::Case { .. } => Output::String,
            Self::Lookup { table, default, .. } => {
                let first = mapping.lookups.get(table).and_then(|table| table.values().next());
                first.or(default.as_ref()).map_or(Output::String, Output::of)
            }
            Self::Date { to: DateForm::Rfc3339, .. } => Output::DateTime,
            Self::Date { .. } => Output::String,
        }
    }

    /// Whether it gives the same for every source.
    pub(crate) fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    /// The values that it can give, where these are known.
    pub(crate) fn known_values<'a>(&'a self, mapping: &'a Mapping) -> Vec<&'a Value> {
        match self {
            Self::Constant(value) => vec![value],
            Self::Lookup { table, default, .. } => mapping
                .lookups
                .get(table)
                .into_iter()
                .flat_map(|table| table.values())
                .chain(default)
                .collect(),
            _ => Vec::new(),
        }
    }
}
