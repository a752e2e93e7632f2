//! What an expression gives for a source.

use serde_json::{Number, Value};

use super::expression::{Case, Expression};
use super::{Mapping, MappingErrorKind, SourceKind, VALUE_BYTES_MAX};
use crate::asserted::Asserted;
use crate::resource::Attributes;

type Given = Result<Asserted<Value>, MappingErrorKind>;

impl Expression {
    /// Absent where the source does not speak of what it is made of, null where that has no value there.
    pub(super) fn evaluate(&self, mapping: &Mapping, source: &Attributes) -> Given {
        let given = match self {
            Self::Copy(name) => copy(name, mapping, source)?,
            Self::Constant(value) => Asserted::Value(value.clone()),
            Self::Join { parts, with } => join(parts, with, mapping, source)?,
            Self::Case { of, case } => of.evaluate_with(mapping, source, |text| {
                Ok(Value::String(match case {
                    Case::Lower => text.to_lowercase(),
                    Case::Upper => text.to_uppercase(),
                }))
            })?,
            Self::Lookup { of, table, default } => of.evaluate_with(mapping, source, |key| {
                let entry = mapping.lookups.get(table).and_then(|entries| entries.get(key));
                let missing = || MappingErrorKind::Lookup { table: table.clone() };
                entry.or(default.as_ref()).cloned().ok_or_else(missing)
            })?,
            Self::Date { of, from, to } => of.evaluate_with(mapping, source, |text| {
                let error = |format: &str| MappingErrorKind::Date { format: format.to_owned() };
                let time = from.read(text.trim()).ok_or_else(|| error(from.as_str()))?;
                Ok(Value::String(to.write(time).ok_or_else(|| error(to.as_str()))?))
            })?,
        };
        match &given {
            Asserted::Value(value) if bytes(value) > VALUE_BYTES_MAX => Err(MappingErrorKind::TooLong),
            _ => Ok(given),
        }
    }

    /// What is made of the value as text, where there is one.
    fn evaluate_with(
        &self,
        mapping: &Mapping,
        source: &Attributes,
        make: impl FnOnce(&str) -> Result<Value, MappingErrorKind>,
    ) -> Given {
        Ok(match self.evaluate_text(mapping, source)? {
            Asserted::Absent => Asserted::Absent,
            Asserted::Null => Asserted::Null,
            Asserted::Value(text) => Asserted::Value(make(&text)?),
        })
    }

    /// The value as text. Lists have none.
    fn evaluate_text(
        &self,
        mapping: &Mapping,
        source: &Attributes,
    ) -> Result<Asserted<String>, MappingErrorKind> {
        Ok(match self.evaluate(mapping, source)? {
            Asserted::Absent => Asserted::Absent,
            Asserted::Null => Asserted::Null,
            Asserted::Value(value) => match value {
                Value::String(text) => Asserted::Value(text),
                Value::Bool(bool) => Asserted::Value(bool.to_string()),
                Value::Number(number) => Asserted::Value(number.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => Asserted::Null,
            },
        })
    }
}

fn copy(name: &str, mapping: &Mapping, source: &Attributes) -> Given {
    let Some(value) = find(name, source) else { return Ok(Asserted::Absent) };
    let kind = mapping.sources.get(name).copied().unwrap_or(SourceKind::String);
    let of_kind = match (kind, value) {
        (_, Value::Null) => None,
        (SourceKind::String, Value::String(text)) if text.is_empty() => None,
        (SourceKind::Strings, Value::Array(texts)) if texts.is_empty() => None,
        (SourceKind::String, Value::String(_))
        | (SourceKind::Boolean, Value::Bool(_))
        | (SourceKind::Decimal, Value::Number(_)) => Some(value.clone()),
        (SourceKind::Integer, Value::Number(number)) if !number.is_f64() => Some(value.clone()),
        (SourceKind::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("true") => Some(true.into()),
        (SourceKind::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("false") => {
            Some(false.into())
        }
        (SourceKind::Integer, Value::String(text)) if text.parse::<i64>().is_ok() => {
            text.parse::<i64>().ok().map(|number| Value::Number(Number::from(number)))
        }
        (SourceKind::Strings, Value::Array(texts)) if texts.iter().all(Value::is_string) => {
            Some(value.clone())
        }
        _ => return Err(MappingErrorKind::Kind { source: name.to_owned(), expected: kind }),
    };
    Ok(of_kind.map_or(Asserted::Null, Asserted::Value))
}

/// The attribute of that name, or, where the name has dots, what they lead to.
fn find<'a>(name: &str, source: &'a Attributes) -> Option<&'a Value> {
    source.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        match source.get(first)? {
            Value::Object(inside) => find(rest, inside),
            Value::Null => Some(&Value::Null),
            _ => None,
        }
    })
}

fn join(parts: &[Expression], with: &str, mapping: &Mapping, source: &Attributes) -> Given {
    let mut texts = Vec::with_capacity(parts.len());
    let mut spoken_of = false;
    for part in parts {
        match part.evaluate_text(mapping, source)? {
            Asserted::Absent => {}
            Asserted::Null => spoken_of = true,
            Asserted::Value(text) => {
                // A constant alone is nobody's name.
                spoken_of |= !matches!(part, Expression::Constant(_));
                texts.push((text, matches!(part, Expression::Constant(_))));
            }
        }
    }
    if texts.iter().all(|(_, constant)| *constant) {
        return Ok(if spoken_of { Asserted::Null } else { Asserted::Absent });
    }
    let texts: Vec<String> = texts.into_iter().map(|(text, _)| text).collect();
    Ok(Asserted::Value(Value::String(texts.join(with))))
}

fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.iter().map(bytes).fold(0, usize::saturating_add),
        Value::Object(map) => map.values().map(bytes).fold(0, usize::saturating_add),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
