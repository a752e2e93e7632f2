//! From text to a filter.

use std::str::FromStr;

use serde_json::Number;

use super::syntax::{Cursor, SyntaxError, SyntaxFault};
use super::{CompareOp, FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_TERMS_MAX, Filter, Literal};
use crate::path::{AttributePath, is_name, is_path_character};

impl FromStr for Filter {
    type Err = SyntaxError;

    /// # Errors
    /// Where the text is no filter or exceeds a limit: what is wrong and where.
    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(SyntaxError::new(SyntaxFault::TooLong, text, FILTER_BYTES_MAX));
        }
        let mut parser = FilterParser::new(Cursor::new(text));
        parser.cursor.skip_space();
        if parser.cursor.is_at_end() {
            return Err(parser.cursor.error(SyntaxFault::Empty));
        }
        let filter = parser.either(Place::Resource)?;
        parser.cursor.skip_space();
        if !parser.cursor.is_at_end() {
            return Err(parser.cursor.error(SyntaxFault::ExpectedEnd));
        }
        Ok(filter)
    }
}

impl Filter {
    /// What follows an opening bracket, with the closing one, and what comes after.
    pub(crate) fn read_element(cursor: Cursor<'_>) -> Result<(Self, Cursor<'_>), SyntaxError> {
        let mut parser = FilterParser::new(cursor);
        let filter = parser.element()?;
        Ok((filter, parser.cursor))
    }
}

/// What attribute names are relative to.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Resource,
    Element,
}

/// INVARIANT: `either`, `both` and `single` call each other at most [`FILTER_DEPTH_MAX`] deep.
struct FilterParser<'a> {
    cursor: Cursor<'a>,
    depth: usize,
    terms: usize,
}

impl<'a> FilterParser<'a> {
    fn new(cursor: Cursor<'a>) -> Self {
        Self { cursor, depth: 0, terms: 0 }
    }

    /// What follows an opening bracket, with the closing one.
    fn element(&mut self) -> Result<Filter, SyntaxError> {
        self.enclosed(Place::Element, ']', SyntaxFault::ExpectedBracket)
    }

    fn either(&mut self, place: Place) -> Result<Filter, SyntaxError> {
        let mut filter = self.both(place)?;
        while self.eat_word("or") {
            filter = filter.or(self.both(place)?);
        }
        Ok(filter)
    }

    fn both(&mut self, place: Place) -> Result<Filter, SyntaxError> {
        let mut filter = self.single(place)?;
        while self.eat_word("and") {
            filter = filter.and(self.single(place)?);
        }
        Ok(filter)
    }

    fn single(&mut self, place: Place) -> Result<Filter, SyntaxError> {
        self.cursor.skip_space();
        if self.cursor.eat('(') {
            return self.enclosed(place, ')', SyntaxFault::ExpectedParenthesis);
        }
        let start = self.cursor.at();
        let word = self.cursor.take_while(is_path_character);
        if word.is_empty() {
            return Err(self.cursor.error(SyntaxFault::ExpectedAttribute));
        }
        self.cursor.skip_space();
        if word.eq_ignore_ascii_case("not") && self.cursor.eat('(') {
            let inner = self.enclosed(place, ')', SyntaxFault::ExpectedParenthesis)?;
            return Ok(Filter::Not(Box::new(inner)));
        }
        self.count_term(start)?;
        let attribute = AttributePath::read(word)
            .map_err(|offset| self.cursor.error_at(SyntaxFault::AttributeName, start + offset))?;
        if self.cursor.peek() == Some('[') {
            if place == Place::Element {
                return Err(self.cursor.error(SyntaxFault::NestedElement));
            }
            self.cursor.advance(1);
            let mut element = self.element()?;
            if self.cursor.eat('.') {
                element = element.and(self.comparison_of_part()?);
            }
            return Ok(Filter::Element(attribute, Box::new(element)));
        }
        self.comparison(attribute)
    }

    /// What follows an opening parenthesis or bracket.
    fn enclosed(&mut self, place: Place, end: char, unclosed: SyntaxFault) -> Result<Filter, SyntaxError> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return Err(self.cursor.error_at(SyntaxFault::TooDeep, self.cursor.at().saturating_sub(1)));
        }
        let inner = self.either(place)?;
        self.cursor.skip_space();
        if !self.cursor.eat(end) {
            return Err(self.cursor.error(unclosed));
        }
        self.depth -= 1;
        Ok(inner)
    }

    /// `emails[type eq "work"].value eq "x"`, which the grammar does not have and some clients send, means
    /// `emails[type eq "work" and value eq "x"]`.
    fn comparison_of_part(&mut self) -> Result<Filter, SyntaxError> {
        let start = self.cursor.at();
        let word = self.cursor.take_while(is_path_character);
        if !is_name(word) {
            return Err(self.cursor.error_at(SyntaxFault::AttributeName, start));
        }
        self.count_term(start)?;
        self.cursor.skip_space();
        self.comparison(AttributePath::named(word))
    }

    fn count_term(&mut self, at: usize) -> Result<(), SyntaxError> {
        self.terms += 1;
        if self.terms > FILTER_TERMS_MAX {
            return Err(self.cursor.error_at(SyntaxFault::TooManyTerms, at));
        }
        Ok(())
    }

    fn comparison(&mut self, attribute: AttributePath) -> Result<Filter, SyntaxError> {
        let start = self.cursor.at();
        let word = self.cursor.take_while(is_path_character);
        if word.eq_ignore_ascii_case("pr") {
            return Ok(Filter::Present(attribute));
        }
        let op = CompareOp::ALL
            .into_iter()
            .find(|op| op.as_str().eq_ignore_ascii_case(word))
            .ok_or_else(|| self.cursor.error_at(SyntaxFault::ExpectedOperator, start))?;
        self.cursor.skip_space();
        Ok(Filter::Compare(attribute, op, self.literal()?))
    }

    fn literal(&mut self) -> Result<Literal, SyntaxError> {
        let start = self.cursor.at();
        if self.cursor.peek() == Some('"') {
            return self.text().map(Literal::String);
        }
        let word = self.cursor.take_while(is_path_character);
        if word.eq_ignore_ascii_case("true") {
            Ok(Literal::Bool(true))
        } else if word.eq_ignore_ascii_case("false") {
            Ok(Literal::Bool(false))
        } else if word.eq_ignore_ascii_case("null") {
            Ok(Literal::Null)
        } else if word.starts_with(|first: char| first == '-' || first.is_ascii_digit())
            && word.chars().all(|character| matches!(character, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
        {
            number(word)
                .map(Literal::Number)
                .ok_or_else(|| self.cursor.error_at(SyntaxFault::BadNumber, start))
        } else {
            Err(self.cursor.error_at(SyntaxFault::ExpectedValue, start))
        }
    }

    fn text(&mut self) -> Result<String, SyntaxError> {
        let start = self.cursor.at();
        let rest = self.cursor.rest();
        let mut escaped = false;
        let end = rest
            .bytes()
            .enumerate()
            .skip(1)
            .find(|(_, byte)| {
                let closes = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                closes
            })
            .map(|(at, _)| at + 1)
            .ok_or_else(|| self.cursor.error_at(SyntaxFault::UnclosedText, start))?;
        self.cursor.advance(end);
        serde_json::from_str(rest.get(..end).unwrap_or_default())
            .map_err(|_| self.cursor.error_at(SyntaxFault::BadText, start))
    }

    fn eat_word(&mut self, expected: &str) -> bool {
        self.cursor.skip_space();
        let start = self.cursor.at();
        let found = self.cursor.take_while(is_path_character).eq_ignore_ascii_case(expected);
        if !found {
            self.cursor.back_to(start);
        }
        found
    }
}

fn number(word: &str) -> Option<Number> {
    let number: Number = serde_json::from_str(word).ok()?;
    // serde_json rounds decimals less exactly than the standard library does; what is written has to read the same.
    if number.is_f64() { Number::from_f64(word.parse().ok()?) } else { Some(number) }
}
