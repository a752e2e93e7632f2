//! From characters to words and operators.

use std::iter::Peekable;
use std::str::CharIndices;

use super::{Fault, FaultReason, Operator};
use crate::limits::{ARGV_WORDS_MAX, LINE_COMMANDS_MAX};

/// What an unquoted `*` or `?` is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wildcards {
    /// A fault: this is a line that someone wants to run.
    Refused,
    /// A wildcard: this is a pattern in a policy.
    Active,
}

/// One word, with what its quoting said.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    /// The characters, quoting removed.
    pub(crate) text: String,
    /// Byte offset in the line.
    pub(crate) start: usize,
    /// No part of the word was quoted or escaped.
    pub(crate) bare: bool,
    /// Byte offsets in `text` of wildcards. Empty unless [`Wildcards::Active`].
    pub(crate) wildcards: Vec<usize>,
    assigns: bool,
}

impl Word {
    fn at(start: usize) -> Self {
        Self { text: String::with_capacity(16), start, bare: true, wildcards: Vec::new(), assigns: false }
    }
}

/// One command of a line.
#[derive(Debug)]
pub(crate) struct Part {
    /// At least one word.
    pub(crate) words: Vec<Word>,
    /// What joins it to the command before, and where; `None` for the first.
    pub(crate) joined_by: Option<(Operator, usize)>,
}

/// Words of the shell language. Some shells know only some of them; none is a program that a policy would name.
fn is_reserved(word: &str) -> bool {
    // A match compiles to a comparison of lengths first, which settles most words.
    matches!(
        word,
        "!" | "{"
            | "}"
            | "[["
            | "]]"
            | "case"
            | "coproc"
            | "do"
            | "done"
            | "elif"
            | "else"
            | "end"
            | "esac"
            | "fi"
            | "for"
            | "foreach"
            | "function"
            | "if"
            | "in"
            | "namespace"
            | "nocorrect"
            | "repeat"
            | "select"
            | "then"
            | "time"
            | "typeset"
            | "until"
            | "while"
    )
}

/// Reads text that [`check_text`](super::check_text) has passed.
pub(crate) fn lex_str(text: &str, wildcards: Wildcards) -> Result<Vec<Part>, Fault> {
    let lexer = Lexer {
        chars: text.char_indices().peekable(),
        wildcards,
        word: None,
        part: Part { words: Vec::with_capacity(8), joined_by: None },
        parts: Vec::with_capacity(1),
        words_seen: 0,
    };
    lexer.run(text.len())
}

struct Lexer<'a> {
    chars: Peekable<CharIndices<'a>>,
    wildcards: Wildcards,
    word: Option<Word>,
    part: Part,
    parts: Vec<Part>,
    words_seen: usize,
}

impl Lexer<'_> {
    fn run(mut self, end: usize) -> Result<Vec<Part>, Fault> {
        let mut before = ' ';
        while let Some((at, mut character)) = self.chars.next() {
            match character {
                ' ' => self.end_word()?,
                '\'' => self.single_quoted(at)?,
                '"' => self.double_quoted(at)?,
                '\\' => self.escaped(at)?,
                '$' | '`' => return Err(Fault::new(FaultReason::Expansion, at)),
                '*' | '?' if self.wildcards == Wildcards::Active => {
                    let word = self.word_at(at);
                    word.wildcards.push(word.text.len());
                    word.text.push(character);
                }
                '*' | '?' | '[' | ']' => return Err(Fault::new(FaultReason::Glob, at)),
                '{' | '}' => return Err(Fault::new(FaultReason::Brace, at)),
                // bash also expands `~` after `=` and `:` in a word that reads like an assignment.
                '~' if self.word.is_none() || matches!(before, '=' | ':') => {
                    return Err(Fault::new(FaultReason::Tilde, at));
                }
                '#' if self.word.is_none() => return Err(Fault::new(FaultReason::Comment, at)),
                '!' => return Err(Fault::new(FaultReason::History, at)),
                '(' | ')' => return Err(Fault::new(FaultReason::Subshell, at)),
                '<' | '>' => return Err(self.redirection(at, character)),
                '&' | '|' | ';' => self.operator(at, character)?,
                '=' => {
                    let word = self.word_at(at);
                    word.assigns = true;
                    word.text.push(character);
                }
                _ => character = self.plain(at, character),
            }
            before = character;
        }
        self.end_part(end)?;
        Ok(self.parts)
    }

    fn word_at(&mut self, start: usize) -> &mut Word {
        self.word.get_or_insert_with(|| Word::at(start))
    }

    /// A character without a meaning of its own, and the letters and digits after it. Answers the last of them.
    fn plain(&mut self, start: usize, character: char) -> char {
        let mut last = character;
        let word = self.word.get_or_insert_with(|| Word::at(start));
        word.text.push(character);
        while let Some((_, next)) = self.chars.next_if(|(_, next)| next.is_ascii_alphanumeric()) {
            word.text.push(next);
            last = next;
        }
        last
    }

    fn single_quoted(&mut self, start: usize) -> Result<(), Fault> {
        self.word_at(start).bare = false;
        loop {
            match self.chars.next() {
                Some((_, '\'')) => return Ok(()),
                Some((_, character)) => self.word_at(start).text.push(character),
                None => return Err(Fault::new(FaultReason::UnbalancedQuote, start)),
            }
        }
    }

    fn double_quoted(&mut self, start: usize) -> Result<(), Fault> {
        self.word_at(start).bare = false;
        loop {
            match self.chars.next() {
                Some((_, '"')) => return Ok(()),
                Some((at, '$' | '`')) => return Err(Fault::new(FaultReason::Expansion, at)),
                Some((at, '\\')) => return Err(Fault::new(FaultReason::Escape, at)),
                Some((at, '!')) => return Err(Fault::new(FaultReason::History, at)),
                Some((_, character)) => self.word_at(start).text.push(character),
                None => return Err(Fault::new(FaultReason::UnbalancedQuote, start)),
            }
        }
    }

    fn escaped(&mut self, start: usize) -> Result<(), Fault> {
        match self.chars.next() {
            Some((_, character @ ' '..='~')) => {
                let word = self.word_at(start);
                word.bare = false;
                word.text.push(character);
                Ok(())
            }
            _ => Err(Fault::new(FaultReason::Escape, start)),
        }
    }

    fn redirection(&mut self, at: usize, character: char) -> Fault {
        let reason = match self.chars.peek() {
            Some((_, '(')) => FaultReason::ProcessSubstitution,
            Some((_, '<')) if character == '<' => FaultReason::HereDoc,
            _ => FaultReason::Redirect,
        };
        Fault::new(reason, at)
    }

    fn operator(&mut self, at: usize, character: char) -> Result<(), Fault> {
        let next = self.chars.peek().map(|(_, next)| *next);
        let operator = match (character, next) {
            ('&', Some('&')) => Operator::And,
            ('|', Some('|')) => Operator::Or,
            ('&', Some('>')) | ('|', Some('&')) => return Err(Fault::new(FaultReason::Redirect, at)),
            ('&', _) => return Err(Fault::new(FaultReason::Background, at)),
            ('|', _) => Operator::Pipe,
            _ => Operator::Then,
        };
        if matches!(operator, Operator::And | Operator::Or) {
            self.chars.next();
        }
        self.end_part(at)?;
        if self.parts.len() >= LINE_COMMANDS_MAX {
            return Err(Fault::new(FaultReason::TooManyCommands, at));
        }
        self.part.joined_by = Some((operator, at));
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), Fault> {
        let Some(word) = self.word.take() else { return Ok(()) };
        if self.part.words.is_empty() {
            if word.assigns {
                return Err(Fault::new(FaultReason::Assignment, word.start));
            }
            if word.text.is_empty() {
                return Err(Fault::new(FaultReason::Empty, word.start));
            }
            if word.bare && is_reserved(&word.text) {
                return Err(Fault::new(FaultReason::ReservedWord, word.start));
            }
        }
        if self.words_seen >= ARGV_WORDS_MAX {
            return Err(Fault::new(FaultReason::TooManyWords, word.start));
        }
        self.words_seen = self.words_seen.saturating_add(1);
        self.part.words.push(word);
        Ok(())
    }

    fn end_part(&mut self, at: usize) -> Result<(), Fault> {
        self.end_word()?;
        if self.part.words.is_empty() {
            return Err(Fault::new(FaultReason::Empty, at));
        }
        let part = std::mem::replace(&mut self.part, Part { words: Vec::new(), joined_by: None });
        self.parts.push(part);
        Ok(())
    }
}
