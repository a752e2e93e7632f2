//! From a filter to text.

use std::fmt::{self, Display, Formatter, Write};

use super::{CompareOp, Filter, Literal};
use crate::path::AttributePath;

impl CompareOp {
    pub(crate) const ALL: [Self; 9] = [
        Self::Equal,
        Self::NotEqual,
        Self::Contains,
        Self::StartsWith,
        Self::EndsWith,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Less,
        Self::LessOrEqual,
    ];

    /// As it is written: `eq`, `ne`, …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "eq",
            Self::NotEqual => "ne",
            Self::Contains => "co",
            Self::StartsWith => "sw",
            Self::EndsWith => "ew",
            Self::Greater => "gt",
            Self::GreaterOrEqual => "ge",
            Self::Less => "lt",
            Self::LessOrEqual => "le",
        }
    }
}

impl Display for CompareOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::String(text) => write_text(text, f),
        }
    }
}

fn write_text(text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
            plain => f.write_char(plain)?,
        }
    }
    f.write_char('"')
}

/// What stands around a filter.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Around {
    Nothing,
    Or,
    And,
}

/// Whether `and` may stand beside `or` without parentheses.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Grouping {
    ByPrecedence,
    Always,
}

/// A filter as text, grouped so.
pub(super) struct Written<'a>(pub(super) &'a Filter, pub(super) Grouping);

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Written(self, Grouping::ByPrecedence).fmt(f)
    }
}

impl Display for Written<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(filter, grouping) = *self;
        write_filter(filter, Around::Nothing, grouping, f)
    }
}

fn write_filter(filter: &Filter, around: Around, grouping: Grouping, f: &mut Formatter<'_>) -> fmt::Result {
    match filter {
        Filter::And(parts) => write_joined(parts, Around::And, around, grouping, f),
        Filter::Or(parts) => write_joined(parts, Around::Or, around, grouping, f),
        Filter::Not(inner) => write!(f, "not ({})", Written(inner, grouping)),
        Filter::Present(attribute) => write!(f, "{attribute} pr"),
        Filter::Compare(attribute, op, literal) => write!(f, "{attribute} {op} {literal}"),
        Filter::Element(attribute, inner) => write!(f, "{attribute}[{}]", Written(inner, grouping)),
    }
}

fn write_joined(
    parts: &[Filter],
    own: Around,
    around: Around,
    grouping: Grouping,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    match parts {
        // The grammar has no way to say "always" and "never"; this means it whatever the attribute is.
        [] => {
            let any = Filter::Present(AttributePath::named("id"));
            let other = if own == Around::And { Around::Or } else { Around::And };
            write_joined(&[any.clone(), !any], other, around, grouping, f)
        }
        [single] => write_filter(single, around, grouping, f),
        [first, rest @ ..] => {
            let enclosed = match grouping {
                Grouping::ByPrecedence => own < around,
                Grouping::Always => around != Around::Nothing && own != around,
            };
            if enclosed {
                f.write_char('(')?;
            }
            write_filter(first, own, grouping, f)?;
            for part in rest {
                f.write_str(if own == Around::And { " and " } else { " or " })?;
                write_filter(part, own, grouping, f)?;
            }
            if enclosed {
                f.write_char(')')?;
            }
            Ok(())
        }
    }
}
