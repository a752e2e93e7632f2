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

/// How tightly the text around a filter binds.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Binding {
    Or,
    And,
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write(f, Binding::Or)
    }
}

impl Filter {
    fn write(&self, f: &mut Formatter<'_>, around: Binding) -> fmt::Result {
        match self {
            Self::And(parts) => write_joined(parts, Binding::And, around, f),
            Self::Or(parts) => write_joined(parts, Binding::Or, around, f),
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::Present(attribute) => write!(f, "{attribute} pr"),
            Self::Compare(attribute, op, literal) => write!(f, "{attribute} {op} {literal}"),
            Self::Element(attribute, inner) => write!(f, "{attribute}[{inner}]"),
        }
    }
}

fn write_joined(parts: &[Filter], own: Binding, around: Binding, f: &mut Formatter<'_>) -> fmt::Result {
    match parts {
        // The grammar has no way to say "always" and "never"; this means it whatever the attribute is.
        [] => {
            let any = Filter::Present(AttributePath::named("id"));
            write_joined(
                &[any.clone(), !any],
                if own == Binding::And { Binding::Or } else { Binding::And },
                around,
                f,
            )
        }
        [single] => single.write(f, around),
        [first, rest @ ..] => {
            let enclosed = own < around;
            if enclosed {
                f.write_char('(')?;
            }
            first.write(f, own)?;
            for part in rest {
                f.write_str(if own == Binding::And { " and " } else { " or " })?;
                part.write(f, own)?;
            }
            if enclosed {
                f.write_char(')')?;
            }
            Ok(())
        }
    }
}
