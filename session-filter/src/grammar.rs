//! The command grammar: a small subset of what shells read, on which every POSIX shell agrees.
//!
//! * Words are separated by spaces. Inside `'…'` everything is itself. Inside `"…"` everything is itself except
//!   `$`, `` ` ``, `\` and `!`, which are refused. Outside quotes `\` makes the next printable ASCII character itself.
//! * `|`, `&&`, `||` and `;` join commands. Whether a line may use them is for policy to say.
//! * Everything else that a shell gives a meaning to is refused with a name and a place: expansion, globs, braces,
//!   tilde, redirection, subshells, assignments, comments, reserved words, background.
//! * Refused in any position, quoted or not: control characters (the tab, too: a terminal completes on it), line
//!   breaks, and characters that a reader cannot see or that reorder what they see.
//!
//! A line that passes is never sent as it was typed: its words are quoted afresh (see [`quote`](crate::quote)). So
//! this lexer need not agree with a shell about what it refuses, only about what it accepts.

mod charset;
mod lexer;

use std::fmt;

use serde::Serialize;

pub(crate) use charset::{check_text, escape_into};
pub(crate) use lexer::{Part, Wildcards, Word, lex_str};

/// Reads a line. On success, the words of each command and how the commands are joined.
///
/// # Errors
///
/// The first thing that is not in the grammar, with its byte offset.
pub fn lex(line: &[u8]) -> Result<Line, Fault> {
    let text = check_text(line)?;
    let parts = lex_str(text, Wildcards::Refused)?;
    let mut line = Line { commands: Vec::with_capacity(parts.len()), operators: Vec::new() };
    for part in parts {
        if let Some((operator, _)) = part.joined_by {
            line.operators.push(operator);
        }
        line.commands.push(part.words.into_iter().map(|word| word.text).collect());
    }
    Ok(line)
}

/// A line that is in the grammar. Which of its commands may run is for a policy to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    commands: Vec<Vec<String>>,
    operators: Vec<Operator>,
}

impl Line {
    /// The argument vectors, in the order written. Never empty, and none of them is empty.
    pub fn commands(&self) -> &[Vec<String>] {
        &self.commands
    }

    /// What stands between the commands: one less than there are commands.
    pub fn operators(&self) -> &[Operator] {
        &self.operators
    }

    /// The line as it would be sent: each word quoted, commands joined as written.
    pub fn quoted(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut operators = self.operators.iter();
        for argv in &self.commands {
            if !out.is_empty()
                && let Some(operator) = operators.next()
            {
                out.extend_from_slice(operator.joint().as_bytes());
            }
            write_argv(argv, &mut out);
        }
        out
    }
}

/// Arguments may hold passwords: only the shape is shown.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("commands", &self.commands.len())
            .field("operators", &self.operators)
            .finish_non_exhaustive()
    }
}

/// Appends the words, each quoted, with one space between.
pub(crate) fn write_argv(argv: &[String], out: &mut Vec<u8>) {
    for (at, word) in argv.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        crate::quote::quote_into(word, out);
    }
}

/// What joins two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// `|`
    Pipe,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `;`
    Then,
}

impl Operator {
    pub(crate) fn joint(self) -> &'static str {
        match self {
            Self::Pipe => " | ",
            Self::And => " && ",
            Self::Or => " || ",
            Self::Then => " ; ",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.joint().trim())
    }
}

/// Why and where a line is not in the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    reason: FaultReason,
    position: usize,
}

impl Fault {
    pub(crate) fn new(reason: FaultReason, position: usize) -> Self {
        Self { reason, position }
    }

    /// What is wrong.
    pub fn reason(&self) -> FaultReason {
        self.reason
    }

    /// Byte offset of the first byte that is not in the grammar.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.reason, self.position)
    }
}

impl std::error::Error for Fault {}

macro_rules! fault_reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $message:literal;)*) => {
        /// The ways in which a line can leave the grammar.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FaultReason {
            $($(#[$doc])* $variant,)*
        }

        impl FaultReason {
            /// Machine-readable name.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }

        impl fmt::Display for FaultReason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $message,)* })
            }
        }
    };
}

fault_reasons! {
    /// Longer than [`LINE_BYTES_MAX`](crate::limits::LINE_BYTES_MAX).
    LineTooLong = "line_too_long", "the line is too long";
    /// More than [`ARGV_WORDS_MAX`](crate::limits::ARGV_WORDS_MAX) words.
    TooManyWords = "too_many_words", "the line has too many words";
    /// More than [`LINE_COMMANDS_MAX`](crate::limits::LINE_COMMANDS_MAX) commands.
    TooManyCommands = "too_many_commands", "the line has too many commands";
    /// Not UTF-8.
    NotUtf8 = "not_utf8", "the line is not valid UTF-8";
    /// A line feed or carriage return.
    Newline = "newline", "a line break is not permitted in a command";
    /// NUL, tab, escape, or any other C0 or C1 control character.
    ControlCharacter = "control_character", "a control character is not permitted in a command";
    /// A character that cannot be seen, reorders text, looks like a space, or is not assigned.
    InvisibleCharacter = "invisible_character", "an invisible or unassigned character is not permitted in a command";
    /// Nothing where a command should be.
    Empty = "empty", "a command is missing";
    /// A quote that is never closed.
    UnbalancedQuote = "unbalanced_quote", "a quote is not closed";
    /// A backslash before nothing, before a non-ASCII character, or inside double quotes.
    Escape = "escape", "a backslash is not permitted here (use single quotes)";
    /// `$` or a backquote.
    Expansion = "expansion", "expansion is not permitted (use single quotes for a literal character)";
    /// `!` outside single quotes.
    History = "history", "history expansion is not permitted (use single quotes for a literal `!`)";
    /// `*`, `?`, `[` or `]` outside quotes.
    Glob = "glob", "file name patterns are not permitted (use single quotes for a literal character)";
    /// `{` or `}` outside quotes.
    Brace = "brace", "braces are not permitted (use single quotes for a literal character)";
    /// `~` where a shell would put a home directory.
    Tilde = "tilde", "`~` is not expanded here (write the path out)";
    /// `#` at the start of a word.
    Comment = "comment", "comments are not permitted";
    /// `<`, `>`, `&>` or `|&`.
    Redirect = "redirect", "redirection is not permitted";
    /// `<<`.
    HereDoc = "here_doc", "here-documents are not permitted";
    /// `<(` or `>(`.
    ProcessSubstitution = "process_substitution", "process substitution is not permitted";
    /// `(` or `)`.
    Subshell = "subshell", "subshells and functions are not permitted";
    /// A single `&`.
    Background = "background", "background commands are not permitted";
    /// `name=value` before a command.
    Assignment = "assignment", "variable assignments are not permitted";
    /// A word of the shell language where a program should be.
    ReservedWord = "reserved_word", "shell keywords are not permitted";
}
