//! Requests as bytes and answers out of bytes (RFC 4511): nothing here does I/O.

use super::ber::{self, ENUMERATED, INTEGER, Malformed, OCTETS, Reader, SEQUENCE, SET, Writer};
use super::filter::Filter;

/// Most bytes of one message from a server: an entry with everything in it.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Most values in one entry, over all attributes.
pub const ENTRY_VALUES_MAX: usize = 200_000;
/// Most bytes of a server's explanation that are kept.
pub const DIAGNOSTIC_BYTES_MAX: usize = 500;

/// How far below its base a search goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    Base,
    Subtree,
}

/// One change of an attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Modification {
    pub(super) how: How,
    pub(super) attribute: String,
    pub(super) values: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    Add = 0,
    Delete = 1,
    Replace = 2,
}

impl Modification {
    pub(super) fn new(
        how: How,
        attribute: &str,
        values: impl IntoIterator<Item = impl Into<Vec<u8>>>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self { how, attribute: attribute.to_owned(), values }
    }
}

/// What is asked for. No `Debug`: it may be a password.
pub(super) enum Request<'a> {
    Bind { dn: &'a str, password: &'a [u8] },
    StartTls,
    Search(&'a Search),
    Modify { dn: &'a str, changes: &'a [Modification] },
    Add { dn: &'a str, attributes: &'a [(String, Vec<Vec<u8>>)] },
    Delete { dn: &'a str },
    Rename { dn: &'a str, rdn: &'a str },
    Unbind,
}

#[derive(Clone, Debug)]
pub(super) struct Search {
    pub(super) base: String,
    pub(super) scope: Scope,
    pub(super) filter: Filter,
    pub(super) attributes: Vec<String>,
    /// Most entries that the server is to send.
    pub(super) size_limit: u32,
    pub(super) time_limit_secs: u32,
    /// Page by page (RFC 2696): most entries of a page, and the cookie of the page before.
    pub(super) page: Option<(u32, Vec<u8>)>,
}

impl Request<'_> {
    /// The tag of the answer that ends it; nothing where there is none.
    pub(super) fn ends_with(&self) -> Option<u8> {
        match self {
            Self::Bind { .. } => Some(0x61),
            Self::StartTls => Some(EXTENDED),
            Self::Search(_) => Some(0x65),
            Self::Modify { .. } => Some(0x67),
            Self::Add { .. } => Some(0x69),
            Self::Delete { .. } => Some(0x6b),
            Self::Rename { .. } => Some(0x6d),
            Self::Unbind => None,
        }
    }

    pub(super) fn encode(&self, id: u32) -> Vec<u8> {
        let mut out = Writer::default();
        out.nest(SEQUENCE, |out| {
            out.number(INTEGER, id);
            self.write(out);
            if let Self::Search(Search { page: Some((size, cookie)), .. }) = self {
                out.nest(0xa0, |out| {
                    out.nest(SEQUENCE, |out| {
                        out.octets(PAGED_RESULTS);
                        // Critical: a server that cannot page says so instead of sending all at once.
                        out.boolean(true);
                        let mut value = Writer::default();
                        value.nest(SEQUENCE, |out| {
                            out.number(INTEGER, *size);
                            out.octets(cookie);
                        });
                        out.octets(value.into_bytes());
                    });
                });
            }
        });
        out.into_bytes()
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Bind { dn, password } => out.nest(0x60, |out| {
                out.number(INTEGER, 3);
                out.octets(dn);
                out.primitive(0x80, password);
            }),
            Self::StartTls => out.nest(0x77, |out| out.primitive(0x80, START_TLS.as_bytes())),
            Self::Search(search) => search.write(out),
            Self::Modify { dn, changes } => out.nest(0x66, |out| {
                out.octets(dn);
                out.nest(SEQUENCE, |out| {
                    for change in *changes {
                        out.nest(SEQUENCE, |out| {
                            out.number(ENUMERATED, change.how as u32);
                            attribute(out, &change.attribute, &change.values);
                        });
                    }
                });
            }),
            Self::Add { dn, attributes } => out.nest(0x68, |out| {
                out.octets(dn);
                out.nest(SEQUENCE, |out| {
                    attributes.iter().for_each(|(name, values)| attribute(out, name, values));
                });
            }),
            Self::Delete { dn } => out.primitive(0x4a, dn.as_bytes()),
            Self::Rename { dn, rdn } => out.nest(0x6c, |out| {
                out.octets(dn);
                out.octets(rdn);
                // The old name goes.
                out.boolean(true);
            }),
            Self::Unbind => out.primitive(0x42, &[]),
        }
    }
}

impl Search {
    fn write(&self, out: &mut Writer) {
        out.nest(0x63, |out| {
            out.octets(&self.base);
            out.number(ENUMERATED, if self.scope == Scope::Base { 0 } else { 2 });
            // Aliases are never followed: they would lead out of the base.
            out.number(ENUMERATED, 0);
            out.number(INTEGER, self.size_limit);
            out.number(INTEGER, self.time_limit_secs);
            out.boolean(false);
            self.filter.write(out);
            out.nest(SEQUENCE, |out| self.attributes.iter().for_each(|name| out.octets(name)));
        });
    }
}

fn attribute(out: &mut Writer, name: &str, values: &[Vec<u8>]) {
    out.nest(SEQUENCE, |out| {
        out.octets(name);
        out.nest(SET, |out| values.iter().for_each(|value| out.octets(value)));
    });
}

/// How an operation ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Outcome {
    pub(super) code: u32,
    /// Cut to [`DIAGNOSTIC_BYTES_MAX`], printable.
    pub(super) diagnostic: String,
    pub(super) has_referral: bool,
}

/// An entry as it was sent. `Debug` shows no values: some are personal.
#[derive(Clone, Default, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) dn: String,
    pub(super) attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// The values of an attribute, without regard to its case and options (`;binary`, `;lang-de`).
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.attributes
            .iter()
            .filter(move |(found, _)| {
                found.split(';').next().is_some_and(|found| found.eq_ignore_ascii_case(name))
            })
            .flat_map(|(_, values)| values.iter().map(Vec::as_slice))
    }

    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).filter_map(|value| std::str::from_utf8(value).ok())
    }
}

#[derive(Clone, Eq, PartialEq)]
pub(super) enum Answer {
    Entry(Entry),
    /// The search goes on elsewhere; nothing here follows.
    Reference,
    /// The end of an operation, by the tag of its answer.
    Done {
        tag: u8,
        outcome: Outcome,
        cookie: Option<Vec<u8>>,
    },
    /// Something that a client may pass by.
    Other,
}

pub(super) struct Message {
    pub(super) id: u32,
    pub(super) answer: Answer,
}

/// How many bytes the message has that these bytes begin; nothing where that cannot be told yet.
///
/// # Errors
/// Where no message begins so, or one that is longer than [`MESSAGE_BYTES_MAX`].
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match ber::header(bytes) {
        Ok(Some((SEQUENCE, head, content))) => {
            let whole = head.checked_add(content).filter(|length| *length <= MESSAGE_BYTES_MAX);
            whole.map(Some).ok_or(Malformed { offset: 1 })
        }
        Ok(None) if bytes.first().is_none_or(|tag| *tag == SEQUENCE) => Ok(None),
        Ok(_) | Err(()) => Err(Malformed { offset: 0 }),
    }
}

impl Message {
    /// One whole message.
    ///
    /// # Errors
    /// Where it is none.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut outer = Reader::new(bytes);
        let mut message = outer.expect(SEQUENCE)?;
        if !outer.is_empty() {
            return Err(outer.malformed());
        }
        let id = message.number(INTEGER)?;
        let (tag, mut body) = message.any()?;
        let answer = match tag {
            0x64 => Answer::Entry(entry(&mut body)?),
            0x73 => Answer::Reference,
            0x61 | 0x65 | 0x67 | 0x69 | 0x6b | 0x6d | EXTENDED => {
                let outcome = outcome(&mut body)?;
                Answer::Done { tag, outcome, cookie: cookie(&mut message)? }
            }
            _ => Answer::Other,
        };
        Ok(Self { id, answer })
    }
}

fn entry(body: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let dn = body.text()?.to_owned();
    let mut list = body.expect(SEQUENCE)?;
    let mut attributes = Vec::new();
    let mut count = 0_usize;
    while !list.is_empty() {
        let mut attribute = list.expect(SEQUENCE)?;
        let name = attribute.text()?.to_owned();
        let mut set = attribute.expect(SET)?;
        let mut values = Vec::new();
        count = count.saturating_add(1);
        while !set.is_empty() {
            values.push(set.octets()?.to_vec());
            count = count.saturating_add(1);
            if count > ENTRY_VALUES_MAX {
                return Err(set.malformed());
            }
        }
        attributes.push((name, values));
        if count > ENTRY_VALUES_MAX {
            return Err(list.malformed());
        }
    }
    Ok(Entry { dn, attributes })
}

fn outcome(body: &mut Reader<'_>) -> Result<Outcome, Malformed> {
    let code = body.number(ENUMERATED)?;
    // Where nothing was found further up; whatever it names is not ours to follow.
    body.expect(OCTETS)?;
    let diagnostic = printable(body.octets()?);
    let has_referral = body.optional(0xa3)?.is_some();
    Ok(Outcome { code, diagnostic, has_referral })
}

fn cookie(message: &mut Reader<'_>) -> Result<Option<Vec<u8>>, Malformed> {
    let Some(mut controls) = message.optional(0xa0)? else { return Ok(None) };
    while !controls.is_empty() {
        let mut control = controls.expect(SEQUENCE)?;
        let kind = control.octets()?;
        control.optional(ber::BOOLEAN)?;
        let Some(value) = control.optional(OCTETS)? else { continue };
        if kind == PAGED_RESULTS.as_bytes() {
            let mut value = value.clone().expect(SEQUENCE)?;
            // The server's guess of the total, which nothing depends on; some send numbers out of range.
            value.expect(INTEGER)?;
            return value.octets().map(|cookie| Some(cookie.to_vec()));
        }
    }
    Ok(None)
}

/// Cut, and without what could act on a terminal.
fn printable(bytes: &[u8]) -> String {
    let cut = bytes.get(..DIAGNOSTIC_BYTES_MAX).unwrap_or(bytes);
    let text = String::from_utf8_lossy(cut);
    let text = text.trim_end_matches('\0').chars();
    text.map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// Reads whatever a server might send; for fuzzing.
#[doc(hidden)]
pub fn probe(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Ok(Some(whole)) = length(rest) {
        let Some(message) = rest.get(..whole) else { return false };
        let Ok(Message { answer, .. }) = Message::decode(message) else { return false };
        match answer {
            Answer::Entry(entry) => {
                assert!(
                    entry.attributes.iter().map(|(_, values)| values.len()).sum::<usize>()
                        <= ENTRY_VALUES_MAX
                );
            }
            Answer::Done { outcome, .. } => {
                assert!(!outcome.diagnostic.chars().any(char::is_control));
            }
            Answer::Reference | Answer::Other => {}
        }
        rest = rest.get(whole..).unwrap_or_default();
    }
    true
}

const EXTENDED: u8 = 0x78;
const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
