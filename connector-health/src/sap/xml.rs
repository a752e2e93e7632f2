//! XML in and out. What comes in has no document type, no entities but the five of XML itself, and limits on depth and number.

use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;

/// Deepest nesting of elements in an answer.
pub const XML_DEPTH_MAX: usize = 32;
/// Most elements in an answer.
pub const XML_ELEMENTS_MAX: usize = 200_000;

/// An element: name without prefix, text and children. Attributes carry nothing that is needed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

/// Why something is no XML that is read here.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum XmlError {
    #[error("the answer is no XML")]
    Malformed,
    #[error("the answer has a document type, an entity or an instruction, which are not read")]
    Forbidden,
    #[error("the answer nests too deeply or has too many elements")]
    TooLarge,
}

impl Element {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, XmlError> {
        let text = std::str::from_utf8(bytes).map_err(|_| XmlError::Malformed)?;
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        reader.config_mut().check_end_names = true;
        let mut open: Vec<Self> = Vec::new();
        let mut root = None;
        let mut count = 0_usize;
        loop {
            match reader.read_event().map_err(|_| XmlError::Malformed)? {
                Event::Start(start) => {
                    count = count.saturating_add(1);
                    if open.len() >= XML_DEPTH_MAX || count > XML_ELEMENTS_MAX {
                        return Err(XmlError::TooLarge);
                    }
                    if root.is_some() {
                        return Err(XmlError::Malformed);
                    }
                    let name = start.local_name().as_ref().to_owned();
                    open.push(Self { name, ..Self::default() });
                }
                Event::End(_) => {
                    let done = open.pop().ok_or(XmlError::Malformed)?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(done),
                        None => root = Some(done),
                    }
                }
                Event::Text(piece) => match open.last_mut() {
                    Some(element) => element.text.push_str(&piece),
                    None if piece.trim().is_empty() => {}
                    None => return Err(XmlError::Malformed),
                },
                Event::CData(piece) => open.last_mut().ok_or(XmlError::Malformed)?.text.push_str(&piece),
                Event::GeneralRef(reference) => {
                    let character = match reference.resolve_char_ref() {
                        Ok(Some(character)) => character,
                        Ok(None) => predefined(&reference).ok_or(XmlError::Forbidden)?,
                        Err(_) => return Err(XmlError::Malformed),
                    };
                    open.last_mut().ok_or(XmlError::Malformed)?.text.push(character);
                }
                Event::DocType(_) | Event::PI(_) => return Err(XmlError::Forbidden),
                Event::Comment(_) | Event::Decl(_) => {}
                // Not reported, as they are expanded.
                Event::Empty(_) => return Err(XmlError::Malformed),
                Event::Eof => break,
            }
        }
        match root {
            Some(root) if open.is_empty() => Ok(root),
            _ => Err(XmlError::Malformed),
        }
    }

    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of a descendant, trimmed; nothing where it is not there or empty.
    pub(super) fn at(&self, path: &[&str]) -> Option<&str> {
        let mut element = self;
        for name in path {
            element = element.child(name)?;
        }
        Some(element.text.trim()).filter(|text| !text.is_empty())
    }
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

/// Writes elements. Names are our own; texts are escaped, and what XML cannot hold at all is refused.
#[derive(Default)]
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// `head` is the name and the attributes, as they stand.
    pub(super) fn nest(&mut self, head: &str, content: impl FnOnce(&mut Self)) {
        let name = head.split(' ').next().unwrap_or_default();
        self.0.push_str(&format!("<{head}>"));
        content(self);
        self.0.push_str(&format!("</{name}>"));
    }

    pub(super) fn leaf(&mut self, name: &str, text: &str) {
        self.nest(name, |out| out.0.push_str(&escape(text)));
    }
}

/// Whether a text can be in XML 1.0 at all (§2.2), and comes out as it went in.
pub(super) fn is_writable(text: &str) -> bool {
    text.chars().all(|character| !character.is_control() && !matches!(character, '\u{fffe}' | '\u{ffff}'))
}

/// Reads whatever a server might send; for fuzzing.
#[doc(hidden)]
pub fn probe(bytes: &[u8]) -> bool {
    fn depth(element: &Element) -> usize {
        element.children.iter().map(depth).max().unwrap_or(0).saturating_add(1)
    }
    let Ok(root) = Element::parse(bytes) else { return false };
    assert!(depth(&root) <= XML_DEPTH_MAX);
    true
}
