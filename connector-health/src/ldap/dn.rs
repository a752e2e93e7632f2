//! Distinguished names (RFC 4514): built out of values, read, compared.

use std::fmt;
use std::str::FromStr;

use super::filter::hex;

/// Most bytes of a name as text.
pub const DN_BYTES_MAX: usize = 8 * 1024;
/// Most components of a name.
pub const DN_DEPTH_MAX: usize = 64;

/// The name of an entry.
///
/// Two names are equal where the entries must be the same for common servers: types and values without regard to case,
/// runs of spaces as one, parts of a component in any order. `Display` gives the text it was read from.
#[derive(Clone, Debug)]
pub struct Dn {
    text: String,
    components: Vec<Component>,
}

/// Types and values, prepared for comparison, in order.
type Component = Vec<(String, String)>;

/// A text that is no distinguished name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a distinguished name, at byte {offset}")]
pub struct DnError {
    /// Where in the text.
    pub offset: usize,
}

impl Dn {
    /// `attribute=value` below this one; the value may hold anything.
    ///
    /// # Errors
    /// Where the attribute is no attribute's name, the value is empty or the name becomes too long.
    pub fn child(&self, attribute: &str, value: &str) -> Result<Self, DnError> {
        let text = match self.text.is_empty() {
            true => rdn(attribute, value),
            false => format!("{},{}", rdn(attribute, value), self.text),
        };
        if value.is_empty() {
            return Err(DnError { offset: attribute.len() });
        }
        text.parse()
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it lies somewhere below `top`, or is it.
    pub fn is_within(&self, top: &Self) -> bool {
        self.components.ends_with(&top.components)
    }

    /// What is left without the first component; the empty name has none.
    pub fn parent(&self) -> Option<Self> {
        let components = self.components.get(1..)?.to_vec();
        let rest = match components.is_empty() {
            true => "",
            false => self.text.get(end_of_component(&self.text)?.checked_add(1)?..)?,
        };
        Some(Self { text: rest.trim_start_matches(' ').to_owned(), components })
    }
}

/// Where the first separator stands that is not escaped.
fn end_of_component(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let was = escaped;
        escaped = character == '\\' && !was;
        (!was && character == ',').then_some(at)
    })
}

/// One component, escaped.
pub(super) fn rdn(attribute: &str, value: &str) -> String {
    format!("{attribute}={}", escape_value(value))
}

/// A value as RFC 4514 §2.4 writes it.
pub fn escape_value(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    let last = value.len().checked_sub(1);
    for (at, character) in value.char_indices() {
        let at_edge = (at == 0 && matches!(character, ' ' | '#')) || (Some(at) == last && character == ' ');
        match character {
            '"' | '+' | ',' | ';' | '<' | '=' | '>' | '\\' => {
                escaped.push('\\');
                escaped.push(character);
            }
            _ if at_edge || character.is_control() => {
                let mut bytes = [0; 4];
                character.encode_utf8(&mut bytes).bytes().for_each(|byte| hex(&mut escaped, byte));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

impl FromStr for Dn {
    type Err = DnError;

    fn from_str(text: &str) -> Result<Self, DnError> {
        if text.len() > DN_BYTES_MAX {
            return Err(DnError { offset: DN_BYTES_MAX });
        }
        let mut cursor = Cursor { text, at: 0 };
        let mut components: Vec<Component> = Vec::new();
        if !text.is_empty() {
            loop {
                let (component, separator) = cursor.component()?;
                components.push(component);
                if components.len() > DN_DEPTH_MAX {
                    return Err(cursor.error());
                }
                if separator.is_none() {
                    break;
                }
            }
        }
        Ok(Self { text: text.to_owned(), components })
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn error(&self) -> DnError {
        DnError { offset: self.at }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at = self.at.saturating_add(character.len_utf8());
        Some(character)
    }

    fn spaces(&mut self) {
        while self.peek() == Some(' ') {
            self.next();
        }
    }

    fn component(&mut self) -> Result<(Component, Option<char>), DnError> {
        let mut parts = Vec::new();
        loop {
            self.spaces();
            let attribute = self.attribute()?;
            let (value, separator) = self.value()?;
            parts.push((attribute, value));
            if separator != Some('+') {
                parts.sort();
                return Ok((parts, separator));
            }
        }
    }

    fn attribute(&mut self) -> Result<String, DnError> {
        let mut name = String::new();
        loop {
            match self.next() {
                Some('=') if !name.is_empty() => return Ok(name),
                Some(' ') if self.peek().is_some_and(|next| matches!(next, '=' | ' ')) => {}
                Some(character) if character.is_ascii_alphanumeric() || matches!(character, '-' | '.') => {
                    name.push(character.to_ascii_lowercase());
                }
                _ => return Err(self.error()),
            }
        }
    }

    /// The value, prepared for comparison, and the separator that ended it.
    fn value(&mut self) -> Result<(String, Option<char>), DnError> {
        self.spaces();
        let mut raw = Vec::new();
        // How much of `raw` is not an unescaped space at its end.
        let mut kept = 0;
        let separator = loop {
            match self.next() {
                None => break None,
                Some(separator @ (',' | ';' | '+')) => break Some(separator),
                Some('"' | '<' | '>') => return Err(self.error()),
                Some('\\') => {
                    raw.extend(self.escaped()?);
                    kept = raw.len();
                }
                Some(character) => {
                    raw.extend(character.encode_utf8(&mut [0; 4]).bytes());
                    if character != ' ' {
                        kept = raw.len();
                    }
                }
            }
        };
        raw.truncate(kept);
        if raw.is_empty() {
            return Err(self.error());
        }
        Ok((prepared(&raw), separator))
    }

    fn escaped(&mut self) -> Result<Vec<u8>, DnError> {
        let first = self.next().ok_or_else(|| self.error())?;
        if let Some(high) = first.to_digit(16) {
            let low = self.next().and_then(|next| next.to_digit(16)).ok_or_else(|| self.error())?;
            return u8::try_from(high * 16 + low).map(|byte| vec![byte]).map_err(|_| self.error());
        }
        match first {
            ' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\' => Ok(first.to_string().into_bytes()),
            _ => Err(self.error()),
        }
    }
}

fn prepared(raw: &[u8]) -> String {
    match std::str::from_utf8(raw) {
        Ok(text) => fold(text),
        // A form that no text has: its sign would have been escaped.
        Err(_) => raw.iter().fold("#".to_owned(), |mut hexed, byte| {
            hex(&mut hexed, *byte);
            hexed
        }),
    }
}

/// As caseIgnoreMatch compares (RFC 4518, without the rarer mappings): case folded, runs of spaces as one.
pub(super) fn fold(text: &str) -> String {
    let folded = text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    folded.to_lowercase()
}

impl PartialEq for Dn {
    fn eq(&self, other: &Self) -> bool {
        self.components == other.components
    }
}

impl Eq for Dn {}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
