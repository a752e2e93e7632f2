//! Programs that hand out a shell or run programs that their arguments name.
//!
//! A permitted-command list is worth little if one of its commands runs any other. This table knows, for programs that
//! are often asked for, which of their features do that. A pattern that *can reach* such a feature needs an
//! acknowledgement in the policy; a pattern that cannot (`tar --version`, `systemctl status *`) does not.
//!
//! Whether a pattern can reach a feature is judged generously: `...` reaches everything; `*` reaches every operand,
//! the subcommand too unless it is written out before, but no option, since a wildcard does not match a leading `-`; abbreviated long options and bundled short
//! ones count. The table cannot be complete: a program that is not in it may still run others. Its sources are GTFOBins
//! and the manuals of the programs.

mod table;

use super::pattern::{ArgPattern, Pattern};
use crate::policy::Mode;

use table::TABLE;

/// What is known about a program.
#[derive(Debug)]
pub struct Program {
    names: &'static [&'static str],
    features: &'static [Feature],
}

/// A way from a program to other programs.
#[derive(Debug)]
pub struct Feature {
    reach: Reach,
    reason: &'static str,
}

/// What an argument vector must hold for a feature to be used.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// Nothing: running the program is enough.
    Always,
    /// Any argument that is not an option.
    Operand,
    /// This word: an option, or a subcommand where it does not begin with `-`.
    Word(&'static str),
    /// A word that begins like this; a long option also by its abbreviations.
    Prefix(&'static str),
    /// This short option, alone or bundled with others.
    Short(char),
    /// This letter in the first word, with or without a dash (`tar xf`).
    Bundle(char),
    /// A terminal, unless one of these words is there. Only a warning: it depends on the target's settings.
    Terminal(&'static [&'static str]),
}

impl Program {
    /// The names that the program goes by. A name that ends in a digit or dot-separated version (`python3.11`) is
    /// known by what comes before.
    pub fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// The ways from it to other programs.
    pub fn features(&self) -> &'static [Feature] {
        self.features
    }
}

impl Feature {
    /// What it does, to stand behind the program's name: `vi`: `opens a shell with :!`.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

/// Everything that is known.
pub fn programs() -> &'static [Program] {
    TABLE
}

/// What is known about the program of this name, which may be a path.
pub fn program(name: &str) -> Option<&'static Program> {
    let base = name.rsplit('/').next().unwrap_or(name);
    let stem = base.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').trim_end_matches('-');
    let known = |name: &str| TABLE.iter().find(|program| program.names.contains(&name));
    known(base).or_else(|| known(stem))
}

/// What the linter says about a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It needs an acknowledgement.
    Reaches(&'static str),
    /// It should be known, but is not refused.
    Doubtful(&'static str),
}

/// The gravest thing to say about a pattern under a mode.
pub(crate) fn examine(pattern: &Pattern, mode: Mode) -> Option<Finding> {
    let features = program(&pattern.program)?.features;
    let reached = features.iter().find(|feature| !is_doubt(feature) && feature.is_reached(pattern));
    if let Some(feature) = reached {
        return Some(Finding::Reaches(feature.reason));
    }
    let doubt = features.iter().find(|feature| is_doubt(feature) && feature.is_reached(pattern));
    doubt.filter(|_| mode == Mode::Managed).map(|feature| Finding::Doubtful(feature.reason))
}

fn is_doubt(feature: &Feature) -> bool {
    matches!(feature.reach, Reach::Terminal(_))
}

impl Feature {
    fn is_reached(&self, pattern: &Pattern) -> bool {
        let any =
            |reaches: &dyn Fn(&ArgPattern) -> bool| pattern.any_rest || pattern.args.iter().any(reaches);
        match self.reach {
            Reach::Always => true,
            Reach::Operand => any(&|arg| match arg {
                ArgPattern::Exact(text) => !text.starts_with('-') || text == "-",
                ArgPattern::Glob(glob) => !glob.literal_prefix().starts_with('-'),
            }),
            Reach::Word(word) if word.starts_with('-') => any(&|arg| arg.matches(word)),
            Reach::Word(word) => pattern.any_rest || reaches_subcommand(&pattern.args, word),
            Reach::Prefix(prefix) => any(&|arg| can_begin(arg, prefix)),
            Reach::Short(letter) => any(&|arg| can_bundle(arg, letter)),
            Reach::Bundle(letter) => {
                any(&|arg| can_bundle(arg, letter))
                    || pattern.args.first().is_some_and(|arg| match arg {
                        ArgPattern::Exact(text) => !text.starts_with("--") && text.contains(letter),
                        ArgPattern::Glob(_) => true,
                    })
            }
            Reach::Terminal(unless) => !unless
                .iter()
                .any(|word| pattern.args.iter().any(|arg| *arg == ArgPattern::Exact((*word).to_owned()))),
        }
    }
}

/// Options that take no value, so that the word behind them is the subcommand.
const VALUELESS: &[&str] =
    &["--no-pager", "-P", "--quiet", "-q", "--now", "--no-block", "--user", "--system", "-y", "--yes"];

/// Whether one of the words can be the subcommand: if it is written out, anywhere; if a wildcard would have to be it,
/// only before the word that certainly is the subcommand (the first operand that cannot be the value of an option).
fn reaches_subcommand(args: &[ArgPattern], subcommand: &str) -> bool {
    let mut behind_option = false;
    let mut settled = false;
    for arg in args {
        match arg {
            ArgPattern::Exact(text) if text == subcommand => return true,
            ArgPattern::Exact(text) => {
                let is_option = text.starts_with('-');
                settled |= !is_option && !behind_option;
                behind_option = is_option && !text.contains('=') && !VALUELESS.contains(&text.as_str());
            }
            ArgPattern::Glob(_) => {
                if !settled && arg.matches(subcommand) {
                    return true;
                }
                behind_option = false;
            }
        }
    }
    false
}

/// Whether the word can begin with `prefix`, or abbreviate it where it is a long option.
fn can_begin(arg: &ArgPattern, prefix: &str) -> bool {
    match arg {
        ArgPattern::Exact(text) => {
            let name = text.split('=').next().unwrap_or(text);
            text.starts_with(prefix)
                || (prefix.starts_with("--") && name.len() > 2 && prefix.starts_with(name))
        }
        ArgPattern::Glob(glob) => {
            let literal = glob.literal_prefix();
            match literal.is_empty() {
                true => !prefix.starts_with('-'),
                false => {
                    prefix.starts_with(&literal) || literal.starts_with(prefix) || {
                        let name = literal.split('=').next().unwrap_or(&literal);
                        prefix.starts_with("--") && name.len() > 2 && prefix.starts_with(name)
                    }
                }
            }
        }
    }
}

fn can_bundle(arg: &ArgPattern, letter: char) -> bool {
    match arg {
        ArgPattern::Exact(text) => text.starts_with('-') && !text.starts_with("--") && text.contains(letter),
        ArgPattern::Glob(glob) => {
            let literal = glob.literal_prefix();
            // What follows a literal `-x` may bundle further letters.
            literal.starts_with('-') && !literal.starts_with("--")
        }
    }
}
