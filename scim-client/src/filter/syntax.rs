//! Where and why a filter or a path cannot be read, and the cursor that reads them.

use std::fmt;

/// What is wrong with a filter or a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SyntaxFault {
    /// Nothing is there.
    Empty,
    /// Longer than [`FILTER_BYTES_MAX`](super::FILTER_BYTES_MAX).
    TooLong,
    /// Nested deeper than [`FILTER_DEPTH_MAX`](super::FILTER_DEPTH_MAX).
    TooDeep,
    /// More than [`FILTER_TERMS_MAX`](super::FILTER_TERMS_MAX) comparisons.
    TooManyTerms,
    /// An attribute should stand here.
    ExpectedAttribute,
    /// What stands here is no attribute name.
    AttributeName,
    /// `pr` or a comparison should stand here.
    ExpectedOperator,
    /// A value should stand here: text in double quotes, a number, `true`, `false` or `null`.
    ExpectedValue,
    /// Text that JSON does not allow: an unknown escape, half a surrogate pair, a control character.
    BadText,
    /// Text without a closing quote.
    UnclosedText,
    /// A number that JSON does not allow.
    BadNumber,
    /// A parenthesis that is not closed.
    ExpectedParenthesis,
    /// A bracket that is not closed.
    ExpectedBracket,
    /// Brackets within brackets.
    NestedElement,
    /// `and`, `or` or the end should stand here.
    ExpectedEnd,
    /// A PATCH path should end here.
    ExpectedPathEnd,
}

impl SyntaxFault {
    fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "nothing is there",
            Self::TooLong => "it is too long",
            Self::TooDeep => "it is nested too deep",
            Self::TooManyTerms => "it compares too often",
            Self::ExpectedAttribute => "expected an attribute",
            Self::AttributeName => "this is not an attribute name",
            Self::ExpectedOperator => "expected `pr`, `eq`, `ne`, `co`, `sw`, `ew`, `gt`, `ge`, `lt` or `le`",
            Self::ExpectedValue => {
                "expected a value: text in double quotes, a number, `true`, `false` or `null`"
            }
            Self::BadText => "this text is not as JSON writes it",
            Self::UnclosedText => "this text has no closing quote",
            Self::BadNumber => "this number is not as JSON writes it",
            Self::ExpectedParenthesis => "expected `)`",
            Self::ExpectedBracket => "expected `]`",
            Self::NestedElement => "brackets cannot stand within brackets",
            Self::ExpectedEnd => "expected `and`, `or` or the end",
            Self::ExpectedPathEnd => "expected the end of the path",
        }
    }
}

/// A filter or a path that cannot be read. Says where, and does not repeat what stands there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SyntaxError {
    fault: SyntaxFault,
    offset: usize,
    column: usize,
}

impl SyntaxError {
    pub(crate) fn new(fault: SyntaxFault, text: &str, offset: usize) -> Self {
        let column = text.char_indices().take_while(|(at, _)| *at < offset).count() + 1;
        Self { fault, offset, column }
    }

    /// What is wrong.
    pub fn fault(&self) -> SyntaxFault {
        self.fault
    }

    /// Where, in bytes from the start.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Where, in characters, the first being 1.
    pub fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.fault.as_str())
    }
}

impl std::error::Error for SyntaxError {}

/// A place in a text.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn back_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    pub(crate) fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    pub(crate) fn eat(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.advance(expected.len_utf8());
        }
        found
    }

    pub(crate) fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|character| !belongs(character)).unwrap_or(rest.len());
        self.advance(end);
        rest.get(..end).unwrap_or_default()
    }

    pub(crate) fn skip_space(&mut self) {
        self.take_while(|character| matches!(character, ' ' | '\t' | '\r' | '\n'));
    }

    pub(crate) fn error(&self, fault: SyntaxFault) -> SyntaxError {
        self.error_at(fault, self.at)
    }

    pub(crate) fn error_at(&self, fault: SyntaxFault, at: usize) -> SyntaxError {
        SyntaxError::new(fault, self.text, at)
    }
}
