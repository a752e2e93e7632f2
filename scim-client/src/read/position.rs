//! Places in a document.

use std::fmt;

/// The byte order mark that some servers begin with.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// A place in a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Position {
    /// Bytes before it.
    pub offset: u64,
    /// The line, from 1.
    pub line: u64,
    /// The byte in the line, from 1.
    pub column: u64,
}

impl Default for Position {
    fn default() -> Self {
        Self { offset: 0, line: 1, column: 1 }
    }
}

impl Position {
    /// Where this goes after these bytes.
    pub(super) fn after(mut self, bytes: &[u8]) -> Self {
        let length = |bytes: &[u8]| bytes.len() as u64;
        self.offset = self.offset.saturating_add(length(bytes));
        match memchr::memrchr(b'\n', bytes) {
            None => self.column = self.column.saturating_add(length(bytes)),
            Some(last) => {
                let lines = memchr::memchr_iter(b'\n', bytes).count() as u64;
                self.line = self.line.saturating_add(lines);
                self.column = length(bytes).saturating_sub(last as u64);
            }
        }
        self
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {} (byte {})", self.line, self.column, self.offset)
    }
}

/// The path of the attribute that these bytes, the beginning of a document, end in: `emails[1].value`.
///
/// Goes by quotes, brackets and commas alone, so that it works on what is not JSON, too.
pub(super) fn path_at(bytes: &[u8]) -> String {
    let mut frames: Vec<Frame<'_>> = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'"' => {
                let Some(length) = text_length(rest) else {
                    break;
                };
                let (text, after) = rest.split_at(length);
                rest = after.get(1..).unwrap_or_default();
                if let Some(Frame::Object { name, expected: expected @ true }) = frames.last_mut() {
                    *name = Some(text);
                    *expected = false;
                }
            }
            b'{' => frames.push(Frame::Object { name: None, expected: true }),
            b'[' => frames.push(Frame::Array { index: 0 }),
            b'}' | b']' => drop(frames.pop()),
            b',' => match frames.last_mut() {
                Some(Frame::Object { name, expected }) => (*name, *expected) = (None, true),
                Some(Frame::Array { index }) => *index += 1,
                None => {}
            },
            _ => {}
        }
        if frames.len() > FRAMES_MAX {
            break;
        }
    }
    written(&frames)
}

/// Deeper than any limit lets a document be.
const FRAMES_MAX: usize = 256;
/// Longer names are cut.
const NAME_CHARS_MAX: usize = 80;
/// Longer paths are cut.
const PATH_CHARS_MAX: usize = 400;

enum Frame<'a> {
    Object { name: Option<&'a [u8]>, expected: bool },
    Array { index: usize },
}

/// How many bytes there are before the quote that ends a text; `None` where it does not end.
fn text_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    loop {
        let found = memchr::memchr2(b'"', b'\\', bytes.get(length..)?)?;
        length += found;
        if bytes.get(length) == Some(&b'"') {
            return Some(length);
        }
        length += 2;
    }
}

fn written(frames: &[Frame<'_>]) -> String {
    let mut path = String::new();
    for frame in frames {
        match frame {
            Frame::Object { name: Some(name), .. } => {
                // A URN and an attribute of it are joined as RFC 7644 §3.10 does.
                let urn = path.rsplit(['[', ']']).next().is_some_and(|last| last.starts_with("urn:"));
                match (path.is_empty(), urn) {
                    (true, _) => {}
                    (false, true) => path.push(':'),
                    (false, false) => path.push('.'),
                }
                let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
                path.extend(String::from_utf8_lossy(name).chars().map(printable).take(NAME_CHARS_MAX));
            }
            Frame::Object { name: None, .. } => {}
            Frame::Array { index } => path.push_str(&format!("[{index}]")),
        }
    }
    match path.char_indices().nth(PATH_CHARS_MAX) {
        None => path,
        Some((cut, _)) => path.get(..cut).unwrap_or_default().to_owned() + "…",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_attribute_at_a_place() {
        let document = br#"{"emails": [{"value": "a"}, {"value": "b\"}]", "type": {"x": 1}}], "active": tru"#;
        let place = |text: &str| {
            let offset = document.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
            path_at(&document[..=offset])
        };
        assert_eq!(place("[{"), "emails[0]");
        assert_eq!(place(r#"a"}"#), "emails[0].value");
        assert_eq!(place(r#""b\""#), "emails[1].value");
        assert_eq!(place(r#"1}"#), "emails[1].type.x");
        assert_eq!(place(r#"], "active"#), "emails");
        assert_eq!(place("tru"), "active");
    }

    #[test]
    fn joins_a_urn_and_its_attribute_by_a_colon() {
        let document = br#"{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": {"#;
        assert_eq!(path_at(document), "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager");
    }

    #[test]
    fn counts_lines_and_columns() {
        let at = Position::default().after(b"{\n\n  \"a\"");
        assert_eq!((at.offset, at.line, at.column), (8, 3, 6));
        let at = at.after(b": 1");
        assert_eq!((at.offset, at.line, at.column), (11, 3, 9));
    }
}
