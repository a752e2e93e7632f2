//! What a PATCH operation changes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AttributePath, is_path_character};
use crate::filter::syntax::Cursor;
use crate::filter::{FILTER_BYTES_MAX, Filter, SyntaxError, SyntaxFault};

/// What a PATCH operation changes: `members[value eq "2819c223"].display`.
///
/// ```
/// use scim_client::filter::group;
/// use scim_client::path::{AttributePath, Path};
///
/// let path = Path::from(AttributePath::named("members"))
///     .elements(AttributePath::named("value").equals("2819c223"))
///     .part("display");
/// assert_eq!(path.to_string(), r#"members[value eq "2819c223"].display"#);
/// assert_eq!(path, group::members().path_where(|member| member.value().eq("2819c223")).part("display"));
/// assert_eq!(path, path.to_string().parse()?);
/// # Ok::<(), scim_client::filter::SyntaxError>(())
/// ```
///
/// Without a filter, the sub-attribute is `attribute.sub` where it was read, and may stand in either place: both compare
/// equal and are written alike ([`sub_attribute`](Self::sub_attribute)). An extension as a whole is a path, too:
/// `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User`.
#[derive(Clone, Debug)]
pub struct Path {
    /// The attribute.
    pub attribute: AttributePath,
    /// Which of its elements.
    pub element: Option<Box<Filter>>,
    /// Which part of these.
    pub sub: Option<String>,
}

impl Path {
    /// Those elements of the attribute that are as the filter says; names in it are relative to an element.
    #[must_use]
    pub fn elements(mut self, filter: Filter) -> Self {
        self.element = Some(Box::new(filter));
        self
    }

    /// A part of the attribute, or of each of the elements.
    #[must_use]
    pub fn part(mut self, sub: impl Into<String>) -> Self {
        if self.element.is_some() {
            self.sub = Some(sub.into());
        } else {
            self.attribute.sub = Some(sub.into());
        }
        self
    }

    /// The sub-attribute that the path ends with, wherever it stands.
    pub fn sub_attribute(&self) -> Option<&str> {
        let of_attribute = || if self.element.is_none() { self.attribute.sub.as_deref() } else { None };
        self.sub.as_deref().or_else(of_attribute)
    }
}

impl Path {
    /// All names in lower case, the sub-attributes marked off.
    fn names(&self) -> impl Iterator<Item = u8> {
        let before = self.element.is_some().then_some(b'[');
        let subs = [&self.attribute.sub, &self.sub].into_iter().zip([None, before]);
        self.attribute.folded().chain(subs.flat_map(|(sub, before)| {
            let name = sub.iter().flat_map(|sub| [b'.'].into_iter().chain(sub.bytes()));
            before.into_iter().chain(name).map(|byte| byte.to_ascii_lowercase())
        }))
    }
}

impl From<AttributePath> for Path {
    fn from(attribute: AttributePath) -> Self {
        Self { attribute, element: None, sub: None }
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.element == other.element && self.names().eq(other.names())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.attribute)?;
        if let Some(element) = &self.element {
            write!(f, "[{element}]")?;
        }
        self.sub.as_deref().map_or(Ok(()), |sub| {
            f.write_str(".")?;
            super::write_name(sub, super::is_name_character, f)
        })
    }
}

impl FromStr for Path {
    type Err = SyntaxError;

    /// # Errors
    /// Where the text is no path or exceeds a limit of filters: what is wrong and where.
    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(SyntaxError::new(SyntaxFault::TooLong, text, FILTER_BYTES_MAX));
        }
        let mut cursor = Cursor::new(text);
        cursor.skip_space();
        let start = cursor.at();
        let word = cursor.take_while(is_path_character);
        if word.is_empty() {
            let fault = if cursor.is_at_end() { SyntaxFault::Empty } else { SyntaxFault::ExpectedAttribute };
            return Err(cursor.error(fault));
        }
        let attribute = AttributePath::read(word)
            .map_err(|offset| cursor.error_at(SyntaxFault::AttributeName, start.saturating_add(offset)))?;
        let (element, sub) = if cursor.eat('[') {
            let (filter, after) = Filter::read_element(cursor)?;
            cursor = after;
            (Some(Box::new(filter)), Self::read_part(&mut cursor)?)
        } else {
            (None, None)
        };
        cursor.skip_space();
        if !cursor.is_at_end() {
            return Err(cursor.error(SyntaxFault::ExpectedPathEnd));
        }
        Ok(Self { attribute, element, sub })
    }
}

impl Path {
    fn read_part(cursor: &mut Cursor<'_>) -> Result<Option<String>, SyntaxError> {
        if !cursor.eat('.') {
            return Ok(None);
        }
        let start = cursor.at();
        let word = cursor.take_while(is_path_character);
        if !super::is_name(word) {
            return Err(cursor.error_at(SyntaxFault::AttributeName, start));
        }
        Ok(Some(word.to_owned()))
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
