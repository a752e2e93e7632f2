//! Programs that hand out a shell or run programs that their arguments name.
//!
//! A permitted-command list is worth little if one of its commands runs any other. This table knows, for programs that
//! are often asked for, which of their features do that. A pattern that *can reach* such a feature needs an
//! acknowledgement in the policy; a pattern that cannot (`tar --version`, `systemctl status *`) does not.
//!
//! A program that is a danger however it is called (a shell, an editor, `env`, a pager) is acknowledged as a whole, with any
//! words: `vi grants a shell`. Of any other, each way that a pattern can reach is acknowledged by itself, with the words of
//! the table or their beginning: `find runs programs` covers `-exec` and not `-delete`. `find anything` covers every way that
//! is known now or will be.
//!
//! Shells have programs of their own for some names, and some of these evaluate their arguments, quoted or not: bash runs `id` for
//! `printf -v 'a[$(id)]' x` and for `test -v 'a[$(id)]'`. A pattern with a wildcard for such a name needs an acknowledgement, or the
//! program's path: `/usr/bin/printf` is what it says.
//!
//! Pagers need it in every mode. Programs that only show their text in one (`systemctl status`, `git log`, `dpkg -l`) do so
//! on a terminal alone. Under `exec-only` there is none, and nothing is said. Under `managed` there can be one, and whether the
//! pager then opens a shell depends on the target (`PAGER`, `LESSSECURE`, `SYSTEMD_PAGERSECURE`): the policy loads with a
//! warning, which `--no-pager` in the pattern removes.
//!
//! Whether a pattern can reach a feature is judged generously: `...` reaches everything; `*` reaches every operand,
//! the subcommand too unless it is written out before, but no option, since a wildcard does not match a leading `-`; abbreviated long options and bundled short
//! ones count. So do other names of a program: by path, with a version (`python3.11`), with what distributions append
//! (`vim.nox`, `bash-static`, `sh.distrib`), and GNU's as `g…` elsewhere (`gtar`). The table cannot be complete: a program that is not in it may still run others. Its sources are GTFOBins
//! and the manuals of the programs.

mod table;

use super::Mode;
use super::pattern::{ArgPattern, Pattern};

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
    /// This many arguments that are not options.
    Operands(usize),
    /// An argument that is not an option and holds a `=`.
    Assignment,
    /// A plain name, of which the shell has its own, and an argument that is not written out.
    Builtin,
    /// A terminal, unless one of these words is there (only a warning: it depends on the target's settings): an option anywhere, or else the subcommand.
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
    let known = |name: &str| TABLE.iter().find(|program| program.names.contains(&name));
    let plain = DIVERTED.iter().find_map(|suffix| base.strip_suffix(suffix)).unwrap_or(base);
    known(base)
        .or_else(|| known(unversioned(plain)).or_else(|| known(plain)))
        .or_else(|| known(variant_of(base)?))
        // The names of the GNU programs on other systems.
        .or_else(|| known(unversioned(plain.strip_prefix('g')?)))
}

/// What is put behind the name of a program that another one took the place of.
const DIVERTED: &[&str] = &[".distrib", ".real", ".orig", ".exe", ".bin", ".static", "-static"];

/// Programs that come in several builds, named `vim.nox` or `python3-dbg`.
const VARIED: &[&str] = &[
    "ash", "bash", "busybox", "csh", "dash", "dropbear", "emacs", "fish", "fsck", "gawk", "gcc", "gdb",
    "ghc", "ipython", "java", "joe", "jruby", "ksh", "less", "lua", "luajit", "mawk", "mkfs", "mksh",
    "mount", "nano", "nc", "ncat", "node", "nodejs", "nvim", "perl", "php", "pwsh", "pypy", "python",
    "rbash", "ruby", "sash", "screen", "sh", "tcsh", "tclsh", "tmux", "toybox", "umount", "vi", "vim",
    "wish", "yash", "zsh",
];

fn unversioned(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').trim_end_matches(['-', '_'])
}

/// The name in the table for another build of a program.
fn variant_of(base: &str) -> Option<&str> {
    let first = unversioned(base.split(['.', '-', '_']).next().unwrap_or(base));
    if VARIED.contains(&first) {
        return Some(first);
    }
    // `ld-linux-x86-64.so.2`, `ld-musl-x86_64.so.1`, `ld64.so.2`, `ld-2.31.so` run the program in their arguments.
    if base.starts_with("ld") && (base.ends_with(".so") || base.contains(".so.")) {
        return Some("ld.so");
    }
    // git's own directory holds its subcommands.
    if base.starts_with("git-") {
        return Some("git-shell");
    }
    // Compilers for other machines: `x86_64-linux-gnu-gcc-12`.
    let last = unversioned(base).rsplit('-').next()?;
    ["gcc", "g++", "cc", "c++", "clang", "cpp", "ld", "as"].contains(&last).then_some("gcc")
}

/// What the linter says about a pattern. Each thing is said once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// The ways in which it can reach other programs. Each needs an acknowledgement.
    pub(crate) reaches: Vec<&'static str>,
    /// What should be known, but is not refused.
    pub(crate) doubts: Vec<&'static str>,
}

/// What there is to say about a pattern under a mode.
pub(crate) fn examine(pattern: &Pattern, mode: Mode) -> Findings {
    let mut findings = Findings::default();
    let features = program(&pattern.program).map(Program::features).unwrap_or_default();
    for feature in features.iter().filter(|feature| feature.is_reached(pattern)) {
        let said = match feature.reach {
            Reach::Terminal(_) if mode == Mode::ExecOnly => continue,
            Reach::Terminal(_) => &mut findings.doubts,
            // What holds without any argument is said only where arguments make it no worse.
            Reach::Always if !findings.reaches.is_empty() => continue,
            _ => &mut findings.reaches,
        };
        if !said.contains(&feature.reason) {
            said.push(feature.reason);
        }
    }
    findings
}

/// Whether this way leads to programs that nothing checks, and not just to files, accounts or the network.
pub(crate) fn nests(reason: &str) -> bool {
    const WORDS: &[&str] = &[
        "runs",
        "shell",
        "program",
        "code",
        "editor",
        "pager",
        "commands",
        "options",
        "settings",
        "container",
        "starts",
    ];
    !reason.starts_with("changes ") && WORDS.iter().any(|word| reason.contains(word))
}

/// Whether an acknowledgement with these words covers this way of the pattern's program.
pub(crate) fn covers(pattern: &Pattern, words: &str, reason: &str) -> bool {
    let is_danger_itself = program(&pattern.program)
        .is_some_and(|program| program.features.iter().any(|feature| matches!(feature.reach, Reach::Always)));
    let is_its_beginning =
        || reason.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    is_danger_itself || words == ANYTHING || is_its_beginning()
}

/// The words that acknowledge every way from a program to others.
pub(crate) const ANYTHING: &str = "anything";

impl Feature {
    fn is_reached(&self, pattern: &Pattern) -> bool {
        let any =
            |reaches: &dyn Fn(&ArgPattern) -> bool| pattern.any_rest || pattern.args.iter().any(reaches);
        match self.reach {
            Reach::Always => true,
            // By path it is the program, which evaluates nothing.
            Reach::Builtin => {
                !pattern.program.contains('/') && any(&|arg| matches!(arg, ArgPattern::Glob(_)))
            }
            Reach::Operand => any(&is_operand),
            Reach::Operands(count) => {
                pattern.any_rest || pattern.args.iter().filter(|arg| is_operand(arg)).count() >= count
            }
            Reach::Assignment => any(&|arg| match arg {
                ArgPattern::Exact(text) => is_operand(arg) && text.contains('='),
                ArgPattern::Glob(_) => is_operand(arg),
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
            Reach::Terminal(unless) => {
                let exact =
                    |arg: &ArgPattern, word: &str| matches!(arg, ArgPattern::Exact(text) if text == word);
                let before_end = || pattern.args.iter().take_while(|arg| !exact(arg, "--"));
                !unless.iter().any(|word| match word.starts_with('-') {
                    true => before_end().any(|arg| exact(arg, word)),
                    false => {
                        pattern.args.iter().find(|arg| is_operand(arg)).is_some_and(|arg| exact(arg, word))
                    }
                })
            }
        }
    }
}

fn is_operand(arg: &ArgPattern) -> bool {
    match arg {
        ArgPattern::Exact(text) => !text.starts_with('-') || text == "-",
        ArgPattern::Glob(glob) => !glob.literal_prefix().starts_with('-'),
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
        ArgPattern::Exact(text) => text.starts_with(prefix) || abbreviates(text, prefix),
        ArgPattern::Glob(glob) => {
            let literal = glob.literal_prefix();
            match literal.is_empty() {
                true => !prefix.starts_with('-'),
                false => {
                    prefix.starts_with(&literal)
                        || literal.starts_with(prefix)
                        || abbreviates(&literal, prefix)
                }
            }
        }
    }
}

/// Whether the word, up to a `=`, is the beginning of a long option. Options that are long behind a single dash (`ip -batch`,
/// `openssl -engine`) take two as well.
fn abbreviates(word: &str, option: &str) -> bool {
    let name = word.split('=').next().unwrap_or(word);
    match (name.strip_prefix("--"), option.strip_prefix("--")) {
        (Some(name), Some(option)) => !name.is_empty() && option.starts_with(name),
        (None, Some(_)) => false,
        (_, None) => {
            let (name, option) = (name.trim_start_matches('-'), option.strip_prefix('-').unwrap_or_default());
            let is_option = word.starts_with('-') && !name.is_empty();
            is_option && option.len() > 1 && (option.starts_with(name) || name.starts_with(option))
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
