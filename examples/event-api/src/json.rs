//! JSON that is safe to look at: what could act on a terminal is escaped by JSON's own rules.
//!
//! RFC 8259 §7 asks for escapes below U+0020 only; DEL, C1, bidirectional controls and the rest of [`acts`] may stand
//! in a string as they are, and a terminal would obey them. `\u00XX` means the same to every parser.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::terminal::acts;

/// Writes a value on one line, with a newline.
pub(crate) fn write_line<W: Write + ?Sized>(out: &mut W, value: &impl Serialize) -> io::Result<()> {
    let mut line = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut line, Inert)).map_err(io::Error::other)?;
    line.push(b'\n');
    out.write_all(&line)
}

#[derive(Debug)]
struct Inert;

impl Formatter for Inert {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = fragment;
        while let Some((at, character)) = plain.char_indices().find(|(_, character)| acts(*character)) {
            let (before, after) = plain.split_at(at);
            writer.write_all(before.as_bytes())?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = after.strip_prefix(character).unwrap_or("");
        }
        writer.write_all(plain.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_acts_is_escaped_and_parses_back() {
        let value = json!({"a\u{9b}": "x\u{7f}\u{202e}\u{1b}[0m\u{e0041}\n\"é"});
        let mut line = Vec::new();
        write_line(&mut line, &value).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, "{\"a\\u009b\":\"x\\u007f\\u202e\\u001b[0m\\udb40\\udc41\\n\\\"é\"}\n");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
