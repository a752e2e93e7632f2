//! The subset of BER that LDAP uses (RFC 4511 §5.1): tags of one byte, definite lengths.
//!
//! Reading goes from element to element as the grammar asks for them, so that nothing nests deeper than the grammar does.

/// Bytes that are not what the grammar allows, with where in the message that was seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an LDAP message, at byte {offset}")]
pub(super) struct Malformed {
    /// From the message's beginning.
    pub(super) offset: usize,
}

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// Reads elements one after the other.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn malformed(&self) -> Malformed {
        Malformed { offset: self.offset }
    }

    /// The next element's tag, left where it is.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// The next element, whatever it is.
    pub(super) fn any(&mut self) -> Result<(u8, Reader<'a>), Malformed> {
        let (tag, head, length) =
            header(self.bytes).map_err(|()| self.malformed())?.ok_or_else(|| self.malformed())?;
        let end = head.checked_add(length).ok_or_else(|| self.malformed())?;
        let content = self.bytes.get(head..end).ok_or_else(|| self.malformed())?;
        let reader = Reader { bytes: content, offset: self.offset.saturating_add(head) };
        self.bytes = self.bytes.get(end..).unwrap_or_default();
        self.offset = self.offset.saturating_add(end);
        Ok((tag, reader))
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Reader<'a>, Malformed> {
        let here = self.malformed();
        match self.any()? {
            (found, reader) if found == tag => Ok(reader),
            _ => Err(here),
        }
    }

    /// The next element if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Reader<'a>>, Malformed> {
        match self.peek() {
            Some(found) if found == tag => self.expect(tag).map(Some),
            _ => Ok(None),
        }
    }

    pub(super) fn octets(&mut self) -> Result<&'a [u8], Malformed> {
        Ok(self.expect(OCTETS)?.bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        self.expect(OCTETS)?.into_text()
    }

    pub(super) fn into_text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes).map_err(|_| self.malformed())
    }

    /// An INTEGER or ENUMERATED; LDAP's lie within 0 and 2^31-1.
    pub(super) fn number(&mut self, tag: u8) -> Result<u32, Malformed> {
        let here = self.malformed();
        let content = self.expect(tag)?.bytes;
        match content {
            [first, ..] if content.len() <= 4 && *first < 0x80 => {
                Ok(content.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
            }
            _ => Err(here),
        }
    }
}

/// Tag, bytes of the header and of the content; nothing where the header is not there whole.
pub(super) fn header(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, ()> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    // The five low bits all set announce a longer tag, which LDAP has none of.
    if tag & 0x1f == 0x1f {
        return Err(());
    }
    if *first < 0x80 {
        return Ok(Some((*tag, 2, usize::from(*first))));
    }
    let count = usize::from(first & 0x7f);
    // 0x80 is the indefinite form, which LDAP forbids.
    if count == 0 || count > 4 {
        return Err(());
    }
    let Some(length) = rest.get(..count) else { return Ok(None) };
    let length = length.iter().fold(0_u32, |length, byte| (length << 8) | u32::from(*byte));
    let length = usize::try_from(length).map_err(|_| ())?;
    Ok(Some((*tag, count.saturating_add(2), length)))
}

/// Writes elements.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// An element that holds what `content` writes.
    pub(super) fn nest(&mut self, tag: u8, content: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        content(&mut inner);
        self.primitive(tag, &inner.bytes);
    }

    pub(super) fn primitive(&mut self, tag: u8, content: &[u8]) {
        self.bytes.push(tag);
        match u8::try_from(content.len()) {
            Ok(short) if short < 0x80 => self.bytes.push(short),
            _ => {
                let length = content.len().to_be_bytes();
                let zeros = length.iter().take_while(|byte| **byte == 0).count();
                let significant = length.get(zeros..).unwrap_or_default();
                self.bytes.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
                self.bytes.extend_from_slice(significant);
            }
        }
        self.bytes.extend_from_slice(content);
    }

    pub(super) fn octets(&mut self, content: impl AsRef<[u8]>) {
        self.primitive(OCTETS, content.as_ref());
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.primitive(BOOLEAN, &[if value { 0xff } else { 0 }]);
    }

    /// An INTEGER or ENUMERATED that is not negative.
    pub(super) fn number(&mut self, tag: u8, value: u32) {
        let all = value.to_be_bytes();
        let zeros = all.iter().take(3).take_while(|byte| **byte == 0).count();
        let significant = all.get(zeros..).unwrap_or_default();
        // A first bit that is set would make it negative.
        match significant.first() {
            Some(first) if *first >= 0x80 => self.primitive(tag, &[&[0], significant].concat()),
            _ => self.primitive(tag, significant),
        }
    }
}
