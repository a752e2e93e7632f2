//! A list, taken apart while it arrives.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::message::{ListResponse, Page};
use crate::read::nesting::Nesting;
use crate::read::position::{BOM, Position};
use crate::read::{ReadError, ReadErrorKind, ReadLimits, parse};

/// Takes a `ListResponse` apart while it arrives: resource by resource, then what the list says of itself.
///
/// Holds at most one resource and the rest of the list, each up to its limit, however long the list is. A bare array,
/// `"Resources": null` and a single resource without an array are read, too.
///
/// ```
/// use scim_client::read::{ListSplitter, ReadLimits};
/// use scim_client::resource::User;
///
/// let limits = ReadLimits::default();
/// let mut splitter = ListSplitter::new(limits);
/// let mut names = Vec::new();
/// for piece in [&br#"{"totalResults": 2, "Resources": [{"userName": "bjen"#[..], br#"sen"}, {"userName": "jsmith"}]}"#] {
///     let mut rest = piece;
///     while let Some(element) = splitter.next(&mut rest)? {
///         names.extend(element.read::<User>()?.user_name.into_value());
///     }
/// }
/// assert_eq!(names, ["bjensen", "jsmith"]);
/// assert_eq!(splitter.finish()?.total_results, Some(2));
/// # Ok::<(), scim_client::read::ReadError>(())
/// ```
pub struct ListSplitter {
    limits: ReadLimits,
    state: State,
    at: Position,
    /// Where the document begins, after a byte order mark and blanks.
    origin: Position,
    /// The list without its elements.
    envelope: Vec<u8>,
    /// Where the elements were taken out of it, and the place at which it goes on.
    cut: Option<(usize, Position)>,
    /// Whether the document is an array, without anything around it.
    bare: bool,
    /// Whether the elements stand in an array.
    array: bool,
    /// What came so far of the element that is not complete.
    partial: Vec<u8>,
    elements: u64,
}

/// One element of a list.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    bytes: &'a [u8],
    index: u64,
    start: Position,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the document; how many bytes of a byte order mark there were, all where none may come any more.
    Start { bom: usize },
    /// Before a name, or the end of the object.
    Names,
    /// In a name, whose first byte after the quote is this one of the envelope.
    Name { start: usize, escaped: bool },
    /// Before the colon; whether the name was `Resources`.
    Colon { resources: bool },
    /// Before a value.
    Value { resources: bool },
    /// In a value of the envelope that is an object, an array or a text.
    Within(Nesting),
    /// In a number or a word of the envelope.
    Word,
    /// After a value of the envelope.
    AfterValue,
    /// Before an element.
    Elements { after_comma: bool },
    /// In an element.
    Element { nesting: Nesting, start: Position },
    /// In an element that is a number or a word.
    WordElement { start: Position },
    /// After an element.
    AfterElement,
    /// After the document.
    End,
}

impl<'a> Element<'a> {
    /// As JSON.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its place in the list, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Where it begins.
    pub fn position(&self) -> Position {
        self.start
    }

    /// Reads it.
    ///
    /// # Errors
    /// No UTF-8, no JSON, a name twice in an object, a value of another kind than `T` has there.
    pub fn read<T: Deserialize<'a>>(&self) -> Result<T, ReadError> {
        parse(self.bytes, self.start).map_err(|error| error.within(&format!("Resources[{}]", self.index)))
    }
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Element")
            .field("index", &self.index)
            .field("start", &self.start)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

impl fmt::Debug for ListSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListSplitter")
            .field("at", &self.at)
            .field("elements", &self.elements)
            .finish_non_exhaustive()
    }
}

/// Where an element is that has come to its end.
enum Found {
    /// In these bytes.
    Input(Range<usize>),
    /// In the splitter.
    Partial,
}

impl ListSplitter {
    /// For one answer.
    pub fn new(limits: ReadLimits) -> Self {
        Self {
            limits,
            state: State::Start { bom: 0 },
            at: Position::default(),
            origin: Position::default(),
            envelope: Vec::new(),
            cut: None,
            bare: false,
            array: true,
            partial: Vec::new(),
            elements: 0,
        }
    }

    /// How many elements there were so far.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// Takes bytes from the front of `input` up to the end of an element. `None` when all are taken and more are needed.
    ///
    /// # Errors
    /// What cannot be a list, and more than a limit allows. The splitter is then of no more use.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Element<'a>>, ReadError> {
        let bytes: &'i [u8] = input;
        let mut taken = 0;
        let mut begun = 0;
        let (found, start) = loop {
            let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) else {
                if matches!(self.state, State::Element { .. } | State::WordElement { .. }) {
                    self.keep(bytes.get(begun..).unwrap_or_default())?;
                }
                *input = &[];
                return Ok(None);
            };
            match self.state {
                State::Element { mut nesting, start } => {
                    let end = nesting
                        .find_end(rest, &self.limits)
                        .map_err(|(kind, offset)| self.refuse(kind, rest, offset))?;
                    let length = end.map_or(rest.len(), |end| end + 1);
                    taken += length;
                    self.at = self.at.after(rest.get(..length).unwrap_or_default());
                    if end.is_none() {
                        self.state = State::Element { nesting, start };
                        continue;
                    }
                    break (self.complete(bytes, begun..taken)?, start);
                }
                State::WordElement { start } => {
                    let length = word_length(rest);
                    taken += length;
                    self.at = self.at.after(rest.get(..length).unwrap_or_default());
                    if length == rest.len() {
                        continue;
                    }
                    break (self.complete(bytes, begun..taken)?, start);
                }
                _ => {
                    let length = self.step(rest)?;
                    self.at = self.at.after(rest.get(..length).unwrap_or_default());
                    taken += length;
                    begun = taken;
                }
            }
        };
        *input = bytes.get(taken..).unwrap_or_default();
        let index = self.elements;
        self.elements += 1;
        self.state = if self.array {
            State::AfterElement
        } else {
            self.push(b"]")?;
            self.resume(self.at)
        };
        let bytes = match found {
            Found::Input(range) => bytes.get(range).unwrap_or_default(),
            Found::Partial => &self.partial,
        };
        Ok(Some(Element { bytes, index, start }))
    }

    /// What the list says of itself, once everything has been taken.
    ///
    /// # Errors
    /// Where it is not whole or cannot be read.
    pub fn finish(self) -> Result<Page, ReadError> {
        match self.state {
            State::End if self.bare => Ok(Page::default()),
            State::End => self.page(),
            State::Start { bom: 0 | 3 } => {
                Err(ReadError::placed(ReadErrorKind::Empty, self.at, String::new()))
            }
            _ => {
                let path = match self.state {
                    State::Element { .. } | State::WordElement { .. } => self.element_path(),
                    _ => String::new(),
                };
                Err(ReadError::placed(ReadErrorKind::Truncated, self.at, path))
            }
        }
    }

    fn page(&self) -> Result<Page, ReadError> {
        let list = parse::<ListResponse<IgnoredAny>>(&self.envelope, Position::default());
        list.map(|list| list.page).map_err(|error| {
            let offset = usize::try_from(error.position().offset).unwrap_or(usize::MAX);
            let (from, place) = match self.cut {
                Some((cut, resumed)) if offset >= cut => (cut, resumed),
                _ => (0, self.origin),
            };
            let since = self.envelope.get(from..offset).unwrap_or_default();
            ReadError::placed(error.kind().clone(), place.after(since), error.path().to_owned())
        })
    }

    /// Takes something that is not in an element. Gives how many bytes.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, ReadError> {
        let Some(&first) = bytes.first() else {
            return Ok(0);
        };
        let blank = bytes.iter().take_while(|byte| is_blank(byte)).count();
        let (taken, next) = match self.state {
            State::Start { bom } if BOM.get(bom) == Some(&first) => {
                self.state = State::Start { bom: bom + 1 };
                return Ok(1);
            }
            State::Start { bom: 1 | 2 } => return Err(self.syntax("expected an object")),
            State::Name { start, escaped } => return self.name(bytes, start, escaped),
            State::Within(mut nesting) => {
                let end = nesting
                    .find_end(bytes, &self.limits)
                    .map_err(|(kind, offset)| self.refuse(kind, bytes, offset))?;
                match end {
                    Some(end) => (end + 1, State::AfterValue),
                    None => (bytes.len(), State::Within(nesting)),
                }
            }
            State::Word => {
                let length = word_length(bytes);
                (length, if length < bytes.len() { State::AfterValue } else { State::Word })
            }
            State::Start { .. } if blank > 0 => {
                self.state = State::Start { bom: BOM.len() };
                return Ok(blank);
            }
            State::Elements { .. } | State::AfterElement | State::End if blank > 0 => return Ok(blank),
            _ if blank > 0 => (blank, self.state),
            State::Start { .. } if first == b'[' => {
                self.bare = true;
                (1, State::Elements { after_comma: false })
            }
            State::Start { .. } if first == b'{' => {
                self.origin = self.at;
                (1, State::Names)
            }
            State::Start { .. } => return Err(self.syntax("expected an object")),
            State::Names if first == b'"' => {
                (1, State::Name { start: self.envelope.len() + 1, escaped: false })
            }
            State::Names if first == b'}' => (1, State::End),
            State::Names => return Err(self.syntax("expected a name")),
            State::Colon { resources } if first == b':' => (1, State::Value { resources }),
            State::Colon { .. } => return Err(self.syntax("expected `:`")),
            State::Value { resources: true } if first == b'[' => (1, State::Elements { after_comma: false }),
            State::Value { resources: true } if first == b'{' => {
                self.push(b"[")?;
                self.array = false;
                self.state = self.element();
                return Ok(0);
            }
            State::Value { .. } => match first {
                b'{' | b'[' | b'"' => {
                    self.state = State::Within(Nesting::default());
                    return Ok(0);
                }
                _ if word_length(bytes) == 0 => return Err(self.syntax("expected a value")),
                _ => (0, State::Word),
            },
            State::AfterValue if first == b',' => (1, State::Names),
            State::AfterValue if first == b'}' => (1, State::End),
            State::AfterValue => return Err(self.syntax("expected `,` or `}`")),
            State::Elements { after_comma: false } | State::AfterElement if first == b']' => {
                self.push(b"]")?;
                self.state = self.resume(self.at.after(b"]"));
                return Ok(1);
            }
            State::AfterElement if first == b',' => {
                self.state = State::Elements { after_comma: true };
                return Ok(1);
            }
            State::AfterElement => return Err(self.syntax("expected `,` or `]`")),
            State::Elements { .. } => {
                self.state = match first {
                    b'{' | b'[' | b'"' => self.element(),
                    _ if word_length(bytes) == 0 => return Err(self.syntax("expected a value")),
                    _ => State::WordElement { start: self.at },
                };
                self.partial.clear();
                self.partial.shrink_to(PARTIAL_KEPT_BYTES);
                return Ok(0);
            }
            State::End => return Err(self.syntax("trailing characters")),
            State::Element { .. } | State::WordElement { .. } => (0, self.state),
        };
        self.push(bytes.get(..taken).unwrap_or_default())?;
        self.state = next;
        Ok(taken)
    }

    fn name(&mut self, bytes: &[u8], start: usize, escaped: bool) -> Result<usize, ReadError> {
        let (mut length, mut escaped) = (0, escaped);
        for byte in bytes {
            length += 1;
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.push(bytes.get(..length).unwrap_or_default())?;
                    let resources = is_resources(self.envelope.get(start..).unwrap_or_default());
                    if resources && self.cut.is_some() {
                        return Err(ReadError::placed(
                            ReadErrorKind::Duplicate,
                            self.at,
                            "Resources".to_owned(),
                        ));
                    }
                    self.state = State::Colon { resources };
                    return Ok(length);
                }
                _ => {}
            }
        }
        self.push(bytes)?;
        self.state = State::Name { start, escaped };
        Ok(length)
    }

    fn element(&self) -> State {
        State::Element { nesting: Nesting::default(), start: self.at }
    }

    /// The end of an element was found; `range` is what of it is in these bytes.
    fn complete(&mut self, bytes: &[u8], range: Range<usize>) -> Result<Found, ReadError> {
        let length = self.partial.len() + range.len();
        if length > self.limits.element_bytes_max {
            return Err(self.element_too_long());
        }
        if self.partial.is_empty() {
            return Ok(Found::Input(range));
        }
        self.partial.extend_from_slice(bytes.get(range).unwrap_or_default());
        Ok(Found::Partial)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        if self.partial.len() + bytes.len() > self.limits.element_bytes_max {
            return Err(self.element_too_long());
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let bytes_max = self.limits.envelope_bytes_max;
        if self.envelope.len() + bytes.len() > bytes_max {
            return Err(ReadError::placed(ReadErrorKind::TooLong { bytes_max }, self.at, String::new()));
        }
        self.envelope.extend_from_slice(bytes);
        Ok(())
    }

    /// The elements are over, and the envelope goes on here.
    fn resume(&mut self, at: Position) -> State {
        self.cut = Some((self.envelope.len(), at));
        if self.bare { State::End } else { State::AfterValue }
    }

    fn element_path(&self) -> String {
        format!("Resources[{}]", self.elements)
    }

    fn element_too_long(&self) -> ReadError {
        let kind = ReadErrorKind::TooLong { bytes_max: self.limits.element_bytes_max };
        ReadError::placed(kind, self.at, self.element_path())
    }

    fn syntax(&self, reason: &str) -> ReadError {
        ReadError::placed(ReadErrorKind::Syntax { reason: reason.to_owned() }, self.at, String::new())
    }

    /// Something is too much at an offset of `bytes`, which are next.
    fn refuse(&self, kind: ReadErrorKind, bytes: &[u8], offset: usize) -> ReadError {
        let path = match self.state {
            State::Element { .. } => self.element_path(),
            _ => String::new(),
        };
        ReadError::placed(kind, self.at.after(bytes.get(..offset).unwrap_or_default()), path)
    }
}

/// A buffer that one large element needed is not kept for all the small ones after it.
const PARTIAL_KEPT_BYTES: usize = 64 << 10;

/// Blank between values (RFC 8259 §2); the form feed is not.
fn is_blank(byte: &u8) -> bool {
    b" \t\n\r".contains(byte)
}

/// The bytes of a number, `true`, `false` or `null`. Nothing else is made sure of: the reader of the value does that.
fn word_length(bytes: &[u8]) -> usize {
    let ends = |byte: &u8| is_blank(byte) || b",:]}[{\"".contains(byte);
    bytes.iter().position(ends).unwrap_or(bytes.len())
}

/// `name` has its quotes around it, but for the first.
fn is_resources(name: &[u8]) -> bool {
    const RESOURCES: &[u8] = b"Resources";
    let Some(name) = name.strip_suffix(b"\"") else {
        return false;
    };
    if !name.contains(&b'\\') {
        return name.eq_ignore_ascii_case(RESOURCES);
    }
    let quoted = [b"\"", name, b"\""].concat();
    serde_json::from_slice::<String>(&quoted)
        .is_ok_and(|name| name.as_bytes().eq_ignore_ascii_case(RESOURCES))
}
