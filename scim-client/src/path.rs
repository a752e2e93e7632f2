//! Attribute names (RFC 7644 §3.10) and PATCH paths (§3.5.2).

use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::filter::syntax::Cursor;
use crate::filter::{CompareOp, FILTER_BYTES_MAX, Filter, Literal, SyntaxError, SyntaxFault};
use crate::resource::{Attributes, attribute};

mod patch;

pub use patch::Path;

/// An attribute, or a part of one: `userName`, `name.familyName`,
/// `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value`. Compares without case.
///
/// An extension as a whole is an attribute whose name is its URN. Whether the last segment of a URN is an attribute or
/// belongs to the schema cannot be seen from the text alone (`urn:…:2.0:User` against `urn:…:User:title`); what follows
/// a version and begins with a capital letter is read as part of the schema. Both forms are written, compared and found
/// alike, so nothing depends on the guess.
///
/// The fields can hold what no attribute name can hold. Such characters are written percent-encoded, so that a name that
/// came from outside never turns into another path; [`is_valid`](Self::is_valid) tells.
#[derive(Clone, Debug)]
pub struct AttributePath {
    /// The URN of the schema, where it is named.
    pub schema: Option<String>,
    /// The attribute.
    pub name: String,
    /// The sub-attribute, where one is named.
    pub sub: Option<String>,
}

impl AttributePath {
    /// An attribute of that name; for names that are known to be names. Others are read by [`str::parse`].
    pub fn named(name: impl Into<String>) -> Self {
        Self { schema: None, name: name.into(), sub: None }
    }

    /// The same attribute of that schema.
    #[must_use]
    pub fn of_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// A part of the attribute.
    #[must_use]
    pub fn part(mut self, sub: impl Into<String>) -> Self {
        self.sub = Some(sub.into());
        self
    }

    /// The filter that the attribute equals that.
    pub fn equals(self, value: impl Into<Literal>) -> Filter {
        Filter::Compare(self, CompareOp::Equal, value.into())
    }

    /// Whether the fields hold only what RFC 7644 lets them hold, so that writing and reading gives an equal path.
    pub fn is_valid(&self) -> bool {
        Self::read(&self.to_string()).is_ok_and(|read| read == *self && self.is_whole())
    }

    /// A sub-attribute is one name, and so is the attribute unless it is an extension.
    fn is_whole(&self) -> bool {
        self.sub.as_deref().is_none_or(is_name)
            && (is_name(&self.name) || (self.schema.is_none() && self.name.contains(':')))
    }

    /// What a resource says of the attribute as a whole, `sub` left aside.
    ///
    /// Names are found in any case. An attribute of an extension is found in the extension, one of a core schema (the
    /// RFC's, or one that the resource lists in `schemas`) among the resource's own, and an extension as a whole by its
    /// URN.
    pub fn find<'r>(&self, resource: &'r Attributes) -> Option<&'r Value> {
        let Some(schema) = &self.schema else {
            return attribute(resource, &self.name).or_else(|| {
                let (schema, name) = self.name.rsplit_once(':')?;
                find_in_schema(resource, schema, name)
            });
        };
        find_in_schema(resource, schema, &self.name)
            .or_else(|| attribute(resource, &format!("{schema}:{}", self.name)))
    }

    /// From a word of [path characters](is_path_character), or the offset of what no name can hold.
    pub(crate) fn read(word: &str) -> Result<Self, usize> {
        let (schema, local) = match word.rsplit_once(':') {
            None => (None, word),
            Some((schema, local)) => (Some(schema), local),
        };
        let local_at = word.len().saturating_sub(local.len());
        if let Some(schema) = schema {
            if !is_uri(schema) {
                return Err(0);
            }
            if is_version(local) {
                return Ok(Self::named(word));
            }
        }
        let (name, sub) = match local.split_once('.') {
            None => (local, None),
            Some((name, sub)) => (name, Some(sub)),
        };
        if !is_name(name) {
            return Err(local_at);
        }
        if sub.is_some_and(|sub| !is_name(sub)) {
            return Err(local_at.saturating_add(name.len()).saturating_add(1));
        }
        let sub = sub.map(str::to_owned);
        let names_schema = schema.is_some_and(|schema| schema.rsplit(':').next().is_some_and(is_version))
            && name.starts_with(|first: char| first.is_ascii_uppercase());
        Ok(match schema {
            Some(schema) if names_schema => Self { schema: None, name: format!("{schema}:{name}"), sub },
            _ => Self { schema: schema.map(str::to_owned), name: name.to_owned(), sub },
        })
    }

    /// As it is written, but for the sub-attribute, in lower case.
    fn folded(&self) -> impl Iterator<Item = u8> {
        self.schema
            .iter()
            .flat_map(|schema| schema.bytes().chain([b':']))
            .chain(self.name.bytes())
            .map(|byte| byte.to_ascii_lowercase())
    }
}

fn find_in_schema<'r>(resource: &'r Attributes, schema: &str, name: &str) -> Option<&'r Value> {
    match attribute(resource, schema) {
        Some(Value::Object(extension)) => attribute(extension, name),
        Some(_) => None,
        None => is_core(schema, resource).then(|| attribute(resource, name))?,
    }
}

fn is_core(schema: &str, resource: &Attributes) -> bool {
    let starts =
        |prefix: &str| schema.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let is_listed = || match attribute(resource, "schemas") {
        Some(Value::Array(listed)) => listed
            .iter()
            .any(|listed| listed.as_str().is_some_and(|listed| listed.eq_ignore_ascii_case(schema))),
        _ => false,
    };
    // An extension without any attribute may be listed in `schemas` and have no member: it is not a core schema.
    starts("urn:ietf:params:scim:schemas:core:")
        || starts("urn:scim:schemas:core:")
        || (!schema.to_ascii_lowercase().contains(":extension:") && is_listed())
}

/// What attribute names and the URNs before them are made of (RFC 7643 §2.1, RFC 8141 §2 without parentheses).
pub(crate) fn is_path_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~:$+!*',;=@%/&#?".contains(character)
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '$')
}

pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '$' | '_'))
        && name.chars().all(is_name_character)
}

fn is_uri(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(is_path_character)
        && !text.ends_with(':')
}

fn is_version(segment: &str) -> bool {
    segment.starts_with(|first: char| first.is_ascii_digit())
        && segment.chars().all(|character| character.is_ascii_digit() || character == '.')
}

impl PartialEq for AttributePath {
    fn eq(&self, other: &Self) -> bool {
        let subs_equal = match (&self.sub, &other.sub) {
            (None, None) => true,
            (Some(own), Some(other)) => own.eq_ignore_ascii_case(other),
            _ => false,
        };
        subs_equal && self.folded().eq(other.folded())
    }
}

impl Eq for AttributePath {}

impl Hash for AttributePath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| state.write_u8(byte));
        for byte in self.sub.iter().flat_map(|sub| sub.bytes()) {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write_name(schema, is_path_character, f)?;
            f.write_char(':')?;
        }
        match self.name.rsplit_once(':') {
            Some((schema, local)) if self.schema.is_none() => {
                write_name(schema, is_path_character, f)?;
                f.write_char(':')?;
                // A dot that is not a version's would make the rest a sub-attribute.
                write_name(local, if is_version(local) { is_path_character } else { is_name_character }, f)?;
            }
            _ => write_name(&self.name, is_name_character, f)?,
        }
        match &self.sub {
            None => Ok(()),
            Some(sub) => {
                f.write_char('.')?;
                write_name(sub, is_name_character, f)
            }
        }
    }
}

fn write_name(name: &str, belongs: fn(char) -> bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if name.is_empty() {
        // Left out, it would make the path one of something else, or none at all.
        return f.write_char('%');
    }
    for character in name.chars() {
        if belongs(character) {
            f.write_char(character)?;
        } else {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                write!(f, "%{byte:02X}")?;
            }
        }
    }
    Ok(())
}

impl FromStr for AttributePath {
    type Err = SyntaxError;

    /// # Errors
    /// Where the text is no attribute name: what is wrong and where.
    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(SyntaxError::new(SyntaxFault::TooLong, text, FILTER_BYTES_MAX));
        }
        let mut cursor = Cursor::new(text);
        cursor.skip_space();
        let start = cursor.at();
        let word = cursor.take_while(is_path_character);
        if word.is_empty() {
            let fault = if cursor.is_at_end() { SyntaxFault::Empty } else { SyntaxFault::AttributeName };
            return Err(cursor.error(fault));
        }
        cursor.skip_space();
        if !cursor.is_at_end() {
            return Err(cursor.error(SyntaxFault::AttributeName));
        }
        Self::read(word).map_err(|offset| {
            SyntaxError::new(SyntaxFault::AttributeName, text, start.saturating_add(offset))
        })
    }
}

impl Serialize for AttributePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttributePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
