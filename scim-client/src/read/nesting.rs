//! How objects and arrays lie within each other, found without building anything.

use crate::read::{ReadErrorKind, ReadLimits};

/// Follows the nesting of a document that may come in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nesting {
    depth: usize,
    values: usize,
    text: Text,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Text {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

type Refusal = (ReadErrorKind, usize);

impl Nesting {
    /// Goes through a whole document.
    pub(super) fn check(&mut self, bytes: &[u8], limits: &ReadLimits) -> Result<(), Refusal> {
        let mut offset = 0;
        while let Some(rest) = bytes.get(offset..) {
            match self.find_end(rest, limits) {
                Ok(Some(end)) => offset += end + 1,
                Ok(None) => break,
                Err((kind, at)) => return Err((kind, offset + at)),
            }
        }
        Ok(())
    }

    /// Goes to the byte that ends the outermost object, array or text, and gives its offset; `None` where that is not
    /// among these bytes.
    pub(super) fn find_end(&mut self, bytes: &[u8], limits: &ReadLimits) -> Result<Option<usize>, Refusal> {
        let mut offset = 0;
        loop {
            match self.text {
                Text::Outside => {
                    let rest = bytes.get(offset..).unwrap_or_default();
                    for byte in rest {
                        match byte {
                            b'"' => {
                                self.text = Text::Inside;
                                break;
                            }
                            b'{' | b'[' => {
                                self.depth += 1;
                                if self.depth > limits.depth() {
                                    return Err((
                                        ReadErrorKind::TooDeep { depth_max: limits.depth() },
                                        offset,
                                    ));
                                }
                                self.count(offset, limits)?;
                            }
                            b',' => self.count(offset, limits)?,
                            b'}' | b']' => {
                                self.depth = self.depth.saturating_sub(1);
                                if self.depth == 0 {
                                    return Ok(Some(offset));
                                }
                            }
                            _ => {}
                        }
                        offset += 1;
                    }
                    if self.text == Text::Outside {
                        return Ok(None);
                    }
                    offset += 1;
                }
                Text::Inside => {
                    let rest = bytes.get(offset..).unwrap_or_default();
                    let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                        return Ok(None);
                    };
                    offset += found;
                    if bytes.get(offset) == Some(&b'"') {
                        self.text = Text::Outside;
                        if self.depth == 0 {
                            return Ok(Some(offset));
                        }
                    } else {
                        self.text = Text::Escaped;
                    }
                    offset += 1;
                }
                Text::Escaped => {
                    if offset >= bytes.len() {
                        return Ok(None);
                    }
                    self.text = Text::Inside;
                    offset += 1;
                }
            }
        }
    }

    /// Counts objects, arrays and commas, which is at least half of the values.
    fn count(&mut self, offset: usize, limits: &ReadLimits) -> Result<(), Refusal> {
        self.values += 1;
        if self.values > limits.values_max {
            return Err((ReadErrorKind::TooMany { values_max: limits.values_max }, offset));
        }
        Ok(())
    }
}
