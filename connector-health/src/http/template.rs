//! Requests with holes in them. What fills a hole stays in its place: a value is percent-encoded in a path and in a query, and a JSON
//! value in a body; no text is pasted together and read again.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::connector::{Failure, FailureKind};

/// What fills holes, by name. `Null` is a value that is to go.
pub(super) type Fill = BTreeMap<String, Value>;

/// A text with holes: `{name}`, `{name?}` where there may be nothing, `{secret:name}`; `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Hole { name: String, is_optional: bool },
    Secret(String),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars().peekable();
        while let Some(character) = rest.next() {
            match (character, rest.peek()) {
                ('{', Some('{')) | ('}', Some('}')) => {
                    rest.next();
                    literal.push(character);
                }
                ('}', _) => return Err("has a `}` that closes nothing; a brace is written twice".to_owned()),
                ('{', _) => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(character) => name.push(character),
                            None => {
                                return Err(
                                    "has a `{` that nothing closes; a brace is written twice".to_owned()
                                );
                            }
                        }
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(hole(&name)?);
                }
                _ => literal.push(character),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }

    /// Names of its holes, without secrets.
    pub(super) fn holes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Hole { name, .. } => Some(name.as_str()),
            Part::Text(_) | Part::Secret(_) => None,
        })
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Secret(name) => Some(name.as_str()),
            Part::Text(_) | Part::Hole { .. } => None,
        })
    }

    /// As part of a header; holes are secrets alone.
    pub(super) fn header(
        &self,
        secret: impl Fn(&str) -> Option<String>,
    ) -> Option<zeroize::Zeroizing<String>> {
        let mut header = zeroize::Zeroizing::new(String::new());
        for part in &self.0 {
            match part {
                Part::Text(text) => header.push_str(text),
                Part::Secret(name) => header.push_str(&zeroize::Zeroizing::new(secret(name)?)),
                Part::Hole { .. } => return None,
            }
        }
        Some(header)
    }

    /// As a path. A value is within one segment, and is never the whole of a segment that means another one.
    pub(super) fn path(&self, fill: &Fill) -> Result<String, Failure> {
        let mut path = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Secret(_) => return Err(unfit("a secret")),
                Part::Hole { name, .. } => {
                    let value = fill.get(name).and_then(text).filter(|value| !value.is_empty());
                    path.extend(utf8_percent_encode(&value.ok_or_else(|| unfit(name))?, RESERVED));
                }
            }
        }
        match path.split('/').any(|segment| matches!(segment, "." | "..")) {
            true => Err(Failure::new(FailureKind::SchemaMismatch, "a value would lead to another path")),
            false => Ok(path),
        }
    }

    /// As the value of a query's parameter; nothing where an optional hole has nothing.
    pub(super) fn query(&self, fill: &Fill) -> Result<Option<String>, Failure> {
        match self.text(fill)? {
            Some(text) => Ok(Some(utf8_percent_encode(&text, RESERVED).to_string())),
            None => Ok(None),
        }
    }

    fn text(&self, fill: &Fill) -> Result<Option<String>, Failure> {
        let mut whole = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => whole.push_str(text),
                Part::Secret(_) => return Err(unfit("a secret")),
                Part::Hole { name, is_optional } => match (fill.get(name).and_then(text), is_optional) {
                    (Some(value), _) => whole.push_str(&value),
                    (None, true) => return Ok(None),
                    (None, false) => return Err(unfit(name)),
                },
            }
        }
        Ok(Some(whole))
    }
}

fn hole(name: &str) -> Result<Part, String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.'))
    };
    if let Some(secret) = name.strip_prefix("secret:") {
        return match is_name(secret) {
            true => Ok(Part::Secret(secret.to_owned())),
            false => Err(format!("has `{{{name}}}`, which names no secret")),
        };
    }
    let (plain, is_optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
    match is_name(plain) {
        true => Ok(Part::Hole { name: plain.to_owned(), is_optional }),
        false => Err(format!("has `{{{name}}}`, which is no name")),
    }
}

fn unfit(name: &str) -> Failure {
    Failure::new(
        FailureKind::SchemaMismatch,
        format!("the request needs `{name}`, and there is none that fits"),
    )
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A body with holes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    Literal(Value),
    /// A text that is one hole and nothing else takes a value of any type.
    Hole {
        name: String,
        is_optional: bool,
    },
    Text(Template),
    Object(Vec<(String, Body)>),
    Array(Vec<Body>),
}

impl Body {
    /// Out of TOML; the error has the path of keys below `key`.
    pub(super) fn parse(key: &str, value: &toml::Value) -> Result<Self, (String, String)> {
        match value {
            toml::Value::String(text) => {
                let template = Template::parse(text).map_err(|what| (key.to_owned(), what))?;
                if template.secrets().next().is_some() {
                    return Err((
                        key.to_owned(),
                        "must not have secrets, which belong in headers".to_owned(),
                    ));
                }
                Ok(match template.0.as_slice() {
                    [Part::Hole { name, is_optional }] => {
                        Self::Hole { name: name.clone(), is_optional: *is_optional }
                    }
                    _ => Self::Text(template),
                })
            }
            toml::Value::Table(table) => {
                let members = table
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Self::parse(&format!("{key}.{name}"), value)?)));
                members.collect::<Result<_, _>>().map(Self::Object)
            }
            toml::Value::Array(list) => {
                list.iter().map(|value| Self::parse(key, value)).collect::<Result<_, _>>().map(Self::Array)
            }
            toml::Value::Datetime(_) => {
                Err((key.to_owned(), "is a date, which JSON has none of: write a text".to_owned()))
            }
            other => serde_json::to_value(other)
                .map(Self::Literal)
                .map_err(|error| (key.to_owned(), error.to_string())),
        }
    }

    pub(super) fn holes(&self) -> Vec<&str> {
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Hole { name, .. } => vec![name],
            Self::Text(template) => template.holes().collect(),
            Self::Object(members) => members.iter().flat_map(|(_, body)| body.holes()).collect(),
            Self::Array(list) => list.iter().flat_map(Self::holes).collect(),
        }
    }

    /// Nothing where all that it consists of is optional and not there.
    pub(super) fn fill(&self, fill: &Fill) -> Result<Option<Value>, Failure> {
        Ok(match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Hole { name, is_optional } => match fill.get(name) {
                Some(value) => Some(value.clone()),
                None if *is_optional => None,
                None => return Err(unfit(name)),
            },
            Self::Text(template) => template.text(fill)?.map(Value::String),
            Self::Object(members) => {
                let mut filled = serde_json::Map::new();
                for (name, body) in members {
                    if let Some(value) = body.fill(fill)? {
                        filled.insert(name.clone(), value);
                    }
                }
                (!filled.is_empty() || members.is_empty()).then_some(Value::Object(filled))
            }
            Self::Array(list) => {
                let mut filled = Vec::new();
                for body in list {
                    filled.extend(body.fill(fill)?);
                }
                (!filled.is_empty() || list.is_empty()).then_some(Value::Array(filled))
            }
        })
    }
}

/// All but the unreserved characters of RFC 3986 §2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
