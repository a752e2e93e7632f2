//! What a word may be completed to: programs and arguments that the policy names.

use std::collections::BTreeSet;

use super::builtin::BUILTINS;
use crate::grammar::lex;
use crate::policy::{ArgPattern, Pattern};

/// What may stand where the cursor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Byte at which the word begins that is to be replaced.
    pub(super) from: usize,
    /// The characters of that word so far, its quoting removed.
    pub(super) partial: String,
    /// The words, in order.
    pub(super) words: Vec<String>,
}

impl Completion {
    /// Looks for words that policy names for the place behind `before`. `permitted` are command patterns as the policy writes them.
    ///
    /// A program is completed from the patterns' programs and the builtins; an argument from patterns that all the words before it
    /// match. Wildcards offer nothing: what they match is on the target.
    pub fn of(permitted: &[String], before: &str) -> Self {
        let current = Current::of(before);
        let none = Self { from: current.word, partial: current.partial.clone(), words: Vec::new() };
        let earlier = before.get(current.command..current.word).unwrap_or("");
        let earlier: Vec<String> = match earlier.trim_matches(' ') {
            "" => Vec::new(),
            earlier => match lex(earlier.as_bytes()) {
                Ok(line) => line.commands().first().cloned().unwrap_or_default(),
                Err(_) => return none,
            },
        };
        let patterns = permitted.iter().filter_map(|text| Pattern::parse(text, 0, 1).ok());
        let mut words = BTreeSet::new();
        match earlier.split_first() {
            None => {
                for pattern in patterns {
                    words.insert(match pattern.plain_name {
                        Some(name) if !current.partial.starts_with('/') => name,
                        _ => pattern.program,
                    });
                }
                if current.command == 0 {
                    words.extend(BUILTINS.iter().map(|name| (*name).to_owned()));
                }
            }
            Some((program, arguments)) => {
                let named = |pattern: &Pattern| {
                    pattern.program == *program || pattern.plain_name.as_deref() == Some(program.as_str())
                };
                for pattern in patterns.filter(named) {
                    let fits =
                        pattern.args.iter().zip(arguments).all(|(pattern, word)| pattern.matches(word));
                    if let (true, Some(ArgPattern::Exact(word))) = (fits, pattern.args.get(arguments.len())) {
                        words.insert(word.clone());
                    }
                }
            }
        }
        words.retain(|word| word.starts_with(&current.partial) && !word.is_empty());
        Self { words: words.into_iter().collect(), ..none }
    }

    /// The longest text that all words begin with.
    pub(super) fn common(&self) -> &str {
        let Some((first, rest)) = self.words.split_first() else { return "" };
        let mut length = first.len();
        for word in rest {
            let same = first.chars().zip(word.chars()).take_while(|(a, b)| a == b);
            length = length.min(same.map(|(c, _)| c.len_utf8()).sum());
        }
        first.get(..length).unwrap_or("")
    }
}

/// The word at the end of a text, which may be unfinished.
struct Current {
    command: usize,
    word: usize,
    partial: String,
}

impl Current {
    fn of(before: &str) -> Self {
        let mut current = Self { command: 0, word: 0, partial: String::new() };
        let mut quote = None;
        let mut escaped = false;
        for (at, c) in before.char_indices() {
            let next = at.saturating_add(c.len_utf8());
            match (quote, c) {
                _ if escaped => {
                    escaped = false;
                    current.partial.push(c);
                }
                (None, '\\') => escaped = true,
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                (None, ' ') => {
                    current.word = next;
                    current.partial.clear();
                }
                (None, '|' | ';' | '&') => {
                    (current.command, current.word) = (next, next);
                    current.partial.clear();
                }
                (_, c) => current.partial.push(c),
            }
        }
        current
    }
}

/// A word as one would type it: plain where that is the same word, quoted elsewhere.
pub(super) fn typed(word: &str) -> String {
    match is_plain(word) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The beginning of a word as one would type it, open for more.
pub(super) fn typed_start(start: &str) -> Option<String> {
    match is_plain(start) {
        true => Some(start.to_owned()),
        false => (!start.contains('\'')).then(|| format!("'{start}")),
    }
}

fn is_plain(word: &str) -> bool {
    let reads_as =
        |line: String, words: &[&str]| lex(line.as_bytes()).is_ok_and(|line| line.commands() == [words]);
    reads_as(format!("x {word}"), &["x", word]) && reads_as(word.to_owned(), &[word])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERMITTED: &[&str] = &[
        "systemctl status *",
        "systemctl status nginx",
        "systemctl restart nginx",
        "/usr/bin/df -h",
        "journalctl -u nginx --since *",
        "journalctl -u nginx --until *",
        "journalctl -u postgres ...",
        "echo 'two words'",
        "tail ...",
    ];

    fn words(before: &str) -> Vec<String> {
        let permitted: Vec<String> = PERMITTED.iter().map(|text| (*text).to_owned()).collect();
        Completion::of(&permitted, before).words
    }

    #[test]
    fn programs_and_builtins_come_first() {
        assert_eq!(words("sy"), ["systemctl"]);
        assert_eq!(words("h"), ["help", "history"]);
        assert_eq!(words("d"), ["df"]);
        assert_eq!(words("/usr"), ["/usr/bin/df"]);
        assert!(words("").len() > 8);
        assert_eq!(words("df -h | he"), [""; 0], "builtins stand alone");
        assert_eq!(words("df -h | ta"), ["tail"]);
        assert_eq!(words("df -h;e"), ["echo"]);
    }

    #[test]
    fn arguments_come_from_patterns_that_the_words_before_match() {
        assert_eq!(words("systemctl "), ["restart", "status"]);
        assert_eq!(words("systemctl status "), ["nginx"]);
        assert_eq!(words("systemctl reload "), [""; 0]);
        assert_eq!(words("journalctl -u "), ["nginx", "postgres"]);
        assert_eq!(words("journalctl -u nginx "), ["--since", "--until"]);
        assert_eq!(words("journalctl -u postgres "), [""; 0], "`...` offers nothing");
        assert_eq!(words("df "), ["-h"]);
        assert_eq!(words("/usr/bin/df "), ["-h"]);
        assert_eq!(words("tail "), [""; 0]);
    }

    #[test]
    fn quoting_is_seen_through() {
        assert_eq!(words("systemctl 'status' ng"), ["nginx"]);
        assert_eq!(words("systemctl 'sta"), ["status"]);
        assert_eq!(words("echo 'two w"), ["two words"]);
        assert_eq!(words("echo two\\ "), ["two words"]);
        assert_eq!(words("systemctl $(x) "), [""; 0]);
        assert_eq!(typed("two words"), "'two words'");
        assert_eq!(typed("it's"), r"'it'\''s'");
        assert_eq!(typed("--since"), "--since");
        assert_eq!(typed("a=b"), "'a=b'");
        assert_eq!(typed_start("two w").as_deref(), Some("'two w"));
    }

    proptest::proptest! {
        #[test]
        fn a_completed_word_reads_back_as_itself(word in "[ -~é漢]{1,12}") {
            let line = format!("x {}", typed(&word));
            let read = lex(line.as_bytes()).unwrap();
            proptest::prop_assert_eq!(read.commands(), [vec!["x".to_owned(), word]]);
        }

        #[test]
        fn any_text_may_stand_before_the_cursor(before in "\\PC{0,40}") {
            let _ = words(&before);
        }
    }
}
