//! Command patterns: words that argument vectors are compared with.

use std::sync::Arc;

use crate::grammar::{Fault, FaultReason, Wildcards, Word, check_text, lex_str};

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// As written.
    pub(crate) text: Arc<str>,
    /// Index of its rule.
    pub(crate) rule: usize,
    /// Line of the policy text.
    pub(crate) line: usize,
    /// The first word, which holds no wildcards.
    pub(crate) program: String,
    /// The plain name that also matches, where the program is an absolute path.
    pub(crate) plain_name: Option<String>,
    pub(crate) args: Vec<ArgPattern>,
    /// Ends with `...`.
    pub(crate) any_rest: bool,
    /// What it permits is the same whatever the directory is, as far as its words show.
    pub(crate) same_anywhere: bool,
    /// The rule acknowledges that it can run other programs, which nothing checks.
    pub(crate) nests: bool,
}

/// One word after the program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ArgPattern {
    Exact(String),
    Glob(Glob),
}

/// Why a text is not a pattern, and the byte at which it stops being one.
#[derive(Debug)]
pub(crate) struct PatternFault {
    pub(crate) position: usize,
    pub(crate) message: String,
}

impl From<Fault> for PatternFault {
    fn from(fault: Fault) -> Self {
        let message = match fault.reason() {
            FaultReason::Empty => "a command pattern is missing".to_owned(),
            reason => format!("not a command pattern: {reason}"),
        };
        Self { position: fault.position(), message }
    }
}

impl Pattern {
    pub(crate) fn parse(text: &str, rule: usize, line: usize) -> Result<Self, PatternFault> {
        let refuse = |position: usize, message: &str| PatternFault { position, message: message.to_owned() };
        let mut parts = lex_str(check_text(text.as_bytes())?, Wildcards::Active)?.into_iter();
        let part = parts.next().ok_or_else(|| refuse(0, "a command pattern is missing"))?;
        if let Some((_, position)) = parts.next().and_then(|part| part.joined_by) {
            return Err(refuse(
                position,
                "a pattern is one command; set `lists` or `pipelines` to permit joining them",
            ));
        }
        let mut words = part.words.into_iter();
        let program = words.next().ok_or_else(|| refuse(0, "a command pattern is missing"))?;
        if !program.wildcards.is_empty() {
            return Err(refuse(program.start, "the program cannot hold wildcards"));
        }
        if is_rest(&program) {
            return Err(refuse(program.start, "`...` stands for arguments, not for the program"));
        }
        let mut words: Vec<Word> = words.collect();
        let any_rest = words.last().is_some_and(is_rest);
        if any_rest {
            words.pop();
        }
        if let Some(early) = words.iter().find(|word| is_rest(word)) {
            return Err(refuse(early.start, "`...` can only be the last word (quote it to mean three dots)"));
        }
        if program.text.starts_with('-') {
            return Err(refuse(program.start, "a program's name cannot begin with `-`"));
        }
        let args: Vec<ArgPattern> = words.into_iter().map(ArgPattern::from_word).collect();
        let is_relative = |program: &str| program.contains('/') && !program.starts_with('/');
        Ok(Self {
            text: text.into(),
            rule,
            line,
            plain_name: plain_name(&program.text).map(str::to_owned),
            same_anywhere: !any_rest
                && !is_relative(&program.text)
                && args.iter().all(ArgPattern::is_same_anywhere),
            program: program.text,
            args,
            any_rest,
            nests: false,
        })
    }

    /// The last component of the program: what it is, wherever it lies.
    pub(crate) fn base_name(&self) -> &str {
        self.program.rsplit('/').next().unwrap_or(&self.program)
    }

    /// Compares the words after the program.
    pub(crate) fn matches(&self, args: &[Word]) -> bool {
        let long_enough =
            if self.any_rest { args.len() >= self.args.len() } else { args.len() == self.args.len() };
        long_enough && self.matched(args) == self.args.len()
    }

    /// Whether it permits everything that `other` does. May answer no where the truth is yes.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let long_enough = match self.any_rest {
            true => self.args.len() <= other.args.len(),
            false => self.args.len() == other.args.len() && !other.any_rest,
        };
        let word_covers = |(wide, narrow): (&ArgPattern, &ArgPattern)| match narrow {
            ArgPattern::Exact(text) => wide.matches(text),
            ArgPattern::Glob(_) => wide == narrow,
        };
        self.program == other.program && long_enough && self.args.iter().zip(&other.args).all(word_covers)
    }

    /// Whether it permits more than one argument vector.
    pub(crate) fn is_open(&self) -> bool {
        self.any_rest || self.args.iter().any(|arg| matches!(arg, ArgPattern::Glob(_)))
    }

    /// How many of the leading words match.
    pub(crate) fn matched(&self, args: &[Word]) -> usize {
        self.args.iter().zip(args).take_while(|(pattern, arg)| pattern.matches(&arg.text)).count()
    }
}

fn plain_name(program: &str) -> Option<&str> {
    let (_, name) = program.strip_prefix('/').and(program.rsplit_once('/'))?;
    (!name.is_empty()).then_some(name)
}

fn is_rest(word: &Word) -> bool {
    word.bare && word.text == "..."
}

impl ArgPattern {
    fn from_word(word: Word) -> Self {
        match word.wildcards.is_empty() {
            true => Self::Exact(word.text),
            false => Self::Glob(Glob::new(&word.text, &word.wildcards)),
        }
    }

    pub(crate) fn matches(&self, arg: &str) -> bool {
        match self {
            Self::Exact(text) => text == arg,
            Self::Glob(glob) => glob.matches(arg),
        }
    }

    /// Whether it means the same in any directory: a wildcard behind a `/` at the beginning, and words that do not look like relative
    /// paths. A plain word (`notes.txt`, `nginx`) does not.
    fn is_same_anywhere(&self) -> bool {
        match self {
            Self::Glob(glob) => glob.literal_prefix().starts_with('/'),
            Self::Exact(text) => {
                let is_path = text.contains('/') || matches!(text.as_str(), "." | "..");
                !is_path || text.starts_with(['/', '-']) || text.contains("://")
            }
        }
    }

    /// What it matches, for people.
    pub(crate) fn shown(&self) -> &str {
        match self {
            Self::Exact(text) if text.is_empty() => "''",
            Self::Exact(text) => text,
            Self::Glob(glob) => &glob.source,
        }
    }
}

/// A word with wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Glob {
    source: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Byte(u8),
    /// `?`: one character, not `/`.
    One,
    /// `*`: any characters, not `/`.
    Any,
    /// `**`: any characters.
    AnyPath,
}

impl Glob {
    pub(crate) fn new(source: &str, wildcards: &[usize]) -> Self {
        let mut pieces = Vec::with_capacity(source.len());
        let mut wildcards = wildcards.iter().peekable();
        for (at, byte) in source.bytes().enumerate() {
            let wild = wildcards.next_if(|wild| **wild == at).is_some();
            match (wild, byte, pieces.last()) {
                (true, b'*', Some(Piece::AnyPath)) => {}
                (true, b'*', Some(Piece::Any)) => {
                    pieces.pop();
                    pieces.push(Piece::AnyPath);
                }
                (true, b'*', _) => pieces.push(Piece::Any),
                (true, _, _) => pieces.push(Piece::One),
                (false, byte, _) => pieces.push(Piece::Byte(byte)),
            }
        }
        Self { source: source.to_owned(), pieces }
    }

    /// The characters before the first wildcard.
    pub(crate) fn literal_prefix(&self) -> String {
        let bytes = self.pieces.iter().map_while(|piece| match piece {
            Piece::Byte(byte) => Some(*byte),
            _ => None,
        });
        String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
    }

    pub(crate) fn matches(&self, arg: &str) -> bool {
        let leads_with_wildcard = !matches!(self.pieces.first(), Some(Piece::Byte(_)));
        if leads_with_wildcard && arg.starts_with('-') {
            return false;
        }
        let only_wildcards = !self.pieces.iter().any(|piece| matches!(piece, Piece::Byte(_)));
        if only_wildcards && arg.is_empty() {
            return false;
        }
        !climbs(arg) && self.matches_bytes(arg.as_bytes())
    }

    /// Greedy, going back to the last `*` or, where that one would have to pass a `/`, to the last `**`.
    ///
    /// The earliest end of everything before a wildcard is always the best one, so no more than these two places need
    /// remembering, and the time is bounded by the product of the lengths.
    pub(crate) fn matches_bytes(&self, arg: &[u8]) -> bool {
        let (mut at, mut piece) = (0usize, 0usize);
        let mut star: Option<(usize, usize)> = None;
        let mut path: Option<(usize, usize)> = None;
        loop {
            match (self.pieces.get(piece), arg.get(at)) {
                (None, None) => return true,
                (Some(Piece::Any), _) => {
                    piece = piece.saturating_add(1);
                    star = Some((at, piece));
                    continue;
                }
                (Some(Piece::AnyPath), _) => {
                    piece = piece.saturating_add(1);
                    path = Some((at, piece));
                    star = None;
                    continue;
                }
                (Some(Piece::Byte(expected)), Some(found)) if expected == found => {
                    at = at.saturating_add(1);
                    piece = piece.saturating_add(1);
                    continue;
                }
                (Some(Piece::One), Some(found)) if *found != b'/' && !is_continuation(*found) => {
                    at = at.saturating_add(1);
                    while arg.get(at).is_some_and(|byte| is_continuation(*byte)) {
                        at = at.saturating_add(1);
                    }
                    piece = piece.saturating_add(1);
                    continue;
                }
                _ => {}
            }
            match (star, path) {
                (Some((from, next)), _) if arg.get(from).is_some_and(|byte| *byte != b'/') => {
                    at = from.saturating_add(1);
                    piece = next;
                    star = Some((at, next));
                }
                (_, Some((from, next))) if from < arg.len() => {
                    at = from.saturating_add(1);
                    piece = next;
                    path = Some((at, next));
                    star = None;
                }
                _ => return false,
            }
        }
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Whether some path in the argument (it may follow `=`, `:` or `,`) has a `..` component.
fn climbs(arg: &str) -> bool {
    arg.contains("..") && arg.split(['/', '=', ':', ',']).any(|component| component == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same language by the definition: every way to split the text, tried in turn.
    fn naive(pieces: &[Piece], text: &[char]) -> bool {
        let Some((piece, rest)) = pieces.split_first() else { return text.is_empty() };
        match piece {
            Piece::Byte(byte) => text.first() == Some(&char::from(*byte)) && naive(rest, &text[1..]),
            Piece::One => text.first().is_some_and(|c| *c != '/') && naive(rest, &text[1..]),
            Piece::Any | Piece::AnyPath => (0..=text.len())
                .take_while(|n| *piece == Piece::AnyPath || !text[..*n].contains(&'/'))
                .any(|n| naive(rest, &text[n..])),
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4096))]

        #[test]
        fn globs_agree_with_the_naive_model(pattern in "[ab/*?]{0,8}", text in "[ab/é漢]{0,10}") {
            let wildcards: Vec<usize> =
                pattern.bytes().enumerate().filter(|(_, b)| matches!(b, b'*' | b'?')).map(|(at, _)| at).collect();
            let glob = Glob::new(&pattern, &wildcards);
            let characters: Vec<char> = text.chars().collect();
            proptest::prop_assert_eq!(
                glob.matches_bytes(text.as_bytes()),
                naive(&glob.pieces, &characters),
                "{} on {}", pattern, text
            );
        }
    }

    fn glob(pattern: &str, arg: &str) -> bool {
        let pattern = Pattern::parse(&format!("p {pattern}"), 0, 1).unwrap();
        pattern.args[0].matches(arg)
    }

    #[test]
    fn a_leading_wildcard_never_matches_an_option() {
        assert!(glob("*", "nginx"));
        for option in ["-H", "--host=evil", "-"] {
            assert!(!glob("*", option), "{option}");
            assert!(!glob("**", option), "{option}");
            assert!(!glob("?*", option), "{option}");
        }
        assert!(glob("-*", "-H"));
        assert!(glob("--since=*", "--since=-1h"));
    }

    #[test]
    fn a_word_of_wildcards_never_matches_nothing() {
        assert!(!glob("*", ""));
        assert!(!glob("**", ""));
        assert!(glob("nginx*", "nginx"));
    }

    #[test]
    fn a_star_stays_within_one_path_component_and_no_wildcard_climbs() {
        assert!(glob("/var/log/*", "/var/log/syslog"));
        assert!(!glob("/var/log/*", "/var/log/nginx/error.log"));
        assert!(glob("/var/log/**", "/var/log/nginx/error.log"));
        for climbing in ["/var/log/../../etc/shadow", "/var/log/..", "/var/log/x=../y", "/var/log/a:../b"] {
            assert!(!glob("/var/log/**", climbing), "{climbing}");
        }
        assert!(glob("*", "main..topic"));
    }

    #[test]
    fn quoting_makes_wildcards_literal() {
        assert!(glob("'*'", "*"));
        assert!(!glob("'*'", "a"));
        assert!(glob(r"\*a*", "*ab"));
        assert!(!glob(r"\*a*", "bab"));
    }

    #[test]
    fn names_the_plain_program_of_an_absolute_path_only() {
        let plain = |text: &str| Pattern::parse(text, 0, 1).unwrap().plain_name;
        assert_eq!(plain("/usr/bin/df"), Some("df".to_owned()));
        assert_eq!(plain("/df"), Some("df".to_owned()));
        assert_eq!(plain("bin/df"), None);
        assert_eq!(plain("df"), None);
    }
}
