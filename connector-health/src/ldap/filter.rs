//! Search filters as values: what is looked for is never pasted into a text.

use std::fmt;

use super::ber::{OCTETS, Writer};

/// What an entry must be like (RFC 4511 §4.5.1.7).
///
/// It goes onto the wire as it is; `Display` writes the text form of RFC 4515, escaped, for people and other programs.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// All of them hold.
    And(Vec<Filter>),
    /// One of them holds.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// The attribute has this value.
    Equal(String, Vec<u8>),
    /// The attribute has a value.
    Present(String),
}

impl Filter {
    /// The attribute has this value.
    pub fn equal(attribute: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Equal(attribute.into(), value.into())
    }

    /// The attribute has a value.
    pub fn present(attribute: impl Into<String>) -> Self {
        Self::Present(attribute.into())
    }

    pub(super) fn write(&self, to: &mut Writer) {
        match self {
            Self::And(all) => to.nest(0xa0, |to| all.iter().for_each(|filter| filter.write(to))),
            Self::Or(any) => to.nest(0xa1, |to| any.iter().for_each(|filter| filter.write(to))),
            Self::Not(filter) => to.nest(0xa2, |to| filter.write(to)),
            Self::Equal(attribute, value) => to.nest(0xa3, |to| {
                to.primitive(OCTETS, attribute.as_bytes());
                to.primitive(OCTETS, value);
            }),
            Self::Present(attribute) => to.primitive(0x87, attribute.as_bytes()),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, sign: char, filters: &[Self]| {
            write!(f, "({sign}")?;
            filters.iter().try_for_each(|filter| write!(f, "{filter}"))?;
            f.write_str(")")
        };
        match self {
            Self::And(all) => list(f, '&', all),
            Self::Or(any) => list(f, '|', any),
            Self::Not(filter) => write!(f, "(!{filter})"),
            Self::Equal(attribute, value) => write!(f, "({attribute}={})", escape(value)),
            Self::Present(attribute) => write!(f, "({attribute}=*)"),
        }
    }
}

/// A value as RFC 4515 §3 writes it: `*`, `(`, `)`, `\`, control characters and whatever is not UTF-8 as `\` and two
/// hexadecimal digits.
pub fn escape(value: &[u8]) -> String {
    let mut escaped = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            if matches!(character, '*' | '(' | ')' | '\\') || character.is_control() {
                let mut bytes = [0; 4];
                character.encode_utf8(&mut bytes).bytes().for_each(|byte| hex(&mut escaped, byte));
            } else {
                escaped.push(character);
            }
        }
        chunk.invalid().iter().for_each(|byte| hex(&mut escaped, *byte));
    }
    escaped
}

pub(super) fn hex(to: &mut String, byte: u8) {
    use fmt::Write as _;
    let _ = write!(to, "\\{byte:02x}");
}
