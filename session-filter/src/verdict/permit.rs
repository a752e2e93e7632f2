//! Proof that a policy permitted exactly these bytes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::directory::AbsolutePath;
use crate::grammar::{Operator, write_argv};
use crate::quote::quote_into;

/// How much of a command's output is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputRecord {
    /// Sizes only.
    Off,
    /// First and last part, length and SHA-256 of the whole.
    #[default]
    Digest,
    /// Everything.
    Full,
}

/// Proof that a policy permitted a line, and the bytes to send for it.
///
/// Only a [`Policy`](crate::Policy) makes one, and it cannot be copied: a permit is spent on one send.
///
/// What was checked and what is sent cannot differ, since the bytes are written from the checked words: each word
/// [quoted](crate::quote), commands joined by the operators that were checked.
///
/// In an unrestricted session nothing is checked, and the bytes are the line as the client sent it.
pub struct Permit {
    line: Vec<u8>,
    first: Vec<String>,
    more: Vec<(Operator, Vec<String>)>,
    bytes: Vec<u8>,
    rules: Vec<PermitRule>,
    record: OutputRecord,
    directory: Option<AbsolutePath>,
    nested_uncontrolled: bool,
}

#[derive(Clone)]
pub(crate) struct PermitRule {
    pub(crate) pattern: Arc<str>,
    pub(crate) line: usize,
}

impl Permit {
    /// INVARIANT: called only by the policy, for words that its rules matched in `directory`. `rules` has one entry per command.
    pub(crate) fn new(
        line: String,
        first: Vec<String>,
        more: Vec<(Operator, Vec<String>)>,
        rules: Vec<PermitRule>,
        record: OutputRecord,
        directory: Option<AbsolutePath>,
        nested_uncontrolled: bool,
    ) -> Self {
        let mut bytes = Vec::with_capacity(line.len().saturating_add(16));
        if let Some(directory) = &directory {
            bytes.extend_from_slice(b"cd -- ");
            quote_into(directory.as_str(), &mut bytes);
            // A single command takes the shell's place, so that signals reach it; what is joined needs the shell.
            bytes.extend_from_slice(if more.is_empty() { b" && exec " } else { b" && { " });
        }
        write_argv(&first, &mut bytes);
        for (operator, argv) in &more {
            bytes.extend_from_slice(operator.joint().as_bytes());
            write_argv(argv, &mut bytes);
        }
        if directory.is_some() && !more.is_empty() {
            bytes.extend_from_slice(b"; }");
        }
        let line = line.into_bytes();
        Self { line, first, more, bytes, rules, record, directory, nested_uncontrolled }
    }

    /// INVARIANT: called only by the policy, where a rule gives a raw terminal and none lists commands.
    pub(crate) fn raw(line: Vec<u8>, rule_line: usize, record: OutputRecord) -> Self {
        Self {
            bytes: line.clone(),
            line,
            first: Vec::new(),
            more: Vec::new(),
            rules: vec![PermitRule { pattern: "unrestricted".into(), line: rule_line }],
            record,
            directory: None,
            nested_uncontrolled: true,
        }
    }

    /// The words of the first command (of the only one, where policy permits no lists); none in an unrestricted session, where
    /// the line is not read.
    ///
    /// Where the rule names an absolute path, the first word is that path even if the user typed the name alone.
    pub fn argv(&self) -> &[String] {
        &self.first
    }

    /// The words of every command in the line.
    pub fn commands(&self) -> impl Iterator<Item = &[String]> {
        let first = Some(self.first.as_slice()).filter(|first| !first.is_empty());
        first.into_iter().chain(self.more.iter().map(|(_, argv)| argv.as_slice()))
    }

    /// What to send, byte for byte.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[cfg_attr(not(feature = "ssh"), allow(dead_code, reason = "the protocol engines are behind features"))]
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The line as the client sent it; text, except in an unrestricted session.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The directory to which the bytes go first, where that is not home.
    pub fn directory(&self) -> Option<&AbsolutePath> {
        self.directory.as_ref()
    }

    /// Whether what the command runs in its turn is checked by nothing: a rule acknowledges that the program runs others, or the
    /// session is unrestricted.
    pub fn nested_uncontrolled(&self) -> bool {
        self.nested_uncontrolled
    }

    /// The pattern that permitted the first command, as written in the policy; `unrestricted` where there is none.
    pub fn rule(&self) -> &str {
        self.rules.first().map_or("", |rule| &rule.pattern)
    }

    /// The line of the policy text in which that pattern stands, counted from 1.
    pub fn rule_line(&self) -> usize {
        self.rules.first().map_or(0, |rule| rule.line)
    }

    /// Pattern and policy line for each command, in the order of [`commands`](Self::commands).
    pub fn rules(&self) -> impl Iterator<Item = (&str, usize)> {
        self.rules.iter().map(|rule| (&*rule.pattern, rule.line))
    }

    /// How much of the output to keep: the most that any of the rules asks for.
    pub fn record(&self) -> OutputRecord {
        self.record
    }
}

/// Arguments may hold passwords: only program and rule are shown.
impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("program", &self.first.first())
            .field("rule", &self.rule())
            .field("rule_line", &self.rule_line())
            .finish_non_exhaustive()
    }
}
