//! Who may do what, where, and when: the permitted-command list, read from TOML and compiled for fast answers.
//!
//! ```toml
//! version = 1                                   # optional
//! redact  = ['(?i)password=\S+']                # hidden in what is kept: regular expressions
//!
//! [[permit]]
//! users    = ["alice", "role:vendor"]           # ids, `role:` names, or "*"
//! targets  = ["web-1", "tag:web"]               # ids, `tag:` names, or "*"
//! mode     = "managed"                          # "exec-only" (default), "managed", "unrestricted"
//! commands = ["systemctl status *", "journalctl -u nginx --since *", "df -h"]
//! when     = { days = "mon-fri", hours = "08:00-18:00", zone = "Asia/Kolkata" }
//! idle     = "10m"                              # cut after so much rest; default 15m
//! longest  = "8h"                               # cut after so much in all; default 8h
//! warn     = "1m"                               # said so long before a cut; default 1m
//! pipelines = true                              # `|` between commands that this rule permits; default false
//! lists    = true                               # `&&`, `||`, `;` likewise; default false
//! directories = ["/var/log/**"]                 # managed: where these commands may run besides home
//! record   = "full"                             # of output: "off" (sizes only), "digest" (default) or "full"
//! acknowledge = ["vi grants a shell"]           # needed for programs that can run others
//!
//! [permit.files]                                # SFTP and scp, by absolute paths
//! read  = ["/var/log/**"]
//! list  = ["/var/log/**", "/srv/upload"]        # and write, delete, rename, chmod, link
//! write = ["/srv/upload/*"]
//!
//! [permit.doors]
//! local-forward  = ["10.0.0.5:5432", "db-*:5432", "[::1]:8000-8100", "*:443"]
//! local-socket   = ["/run/app.sock"]
//! remote-forward = ["127.0.0.1:8080"]
//! remote-socket  = ["/tmp/app-*.sock"]
//! env            = ["LANG", "LC_*"]
//! subsystems     = ["netconf"]
//! agent = true
//! x11   = true
//! legacy-scp = true                             # `scp -t`, `scp -f`; their paths are checked like those of SFTP
//! ```
//!
//! # Rules
//!
//! A rule applies to a session when one of its users and one of its targets match. It is *in force* while every
//! condition in `when` holds. What no rule in force permits is denied. When several rules permit a command, the first
//! in the file is the one named in records. Commands that are joined by `|`, `&&`, `||` or `;` need one rule in force that
//! permits the joining and every one of them.
//!
//! The terms of a session come from all rules in force: the strictest of the stated `idle`, `longest` and `warn`; the
//! most complete `record`; `managed` if any of them says so. A raw terminal is never combined with a list of commands:
//! `unrestricted` counts only where no rule for this user and target lists commands, in force or not, and a policy in
//! which both are written for the same user (or role) and target (or tag) does not load. A raw terminal lasts no longer than
//! the rules that give it.
//!
//! A rule may consist of `files` or `doors` alone. It admits its users, says nothing about how they use a session unless it
//! states a `mode`, and keeps nobody from a raw terminal that another rule gives; a user whom only such rules name has an
//! `exec-only` session in which no command is permitted. If it does state `exec-only` or `managed`, it counts as a list of
//! commands, an empty one.
//!
//! In an unrestricted session a single command (`ssh host 'command'`) is sent as the client sent it, unread: any bytes but NUL.
//!
//! # Command patterns
//!
//! A pattern is lexed like a command line, then compared word by word:
//!
//! | in a pattern | matches |
//! |---|---|
//! | `status`, `'*'` | exactly that word |
//! | `?` | one character of an argument, but not `/` |
//! | `*` | any characters of an argument, but not `/` |
//! | `**` | any characters of an argument |
//! | `...` as the last word | any number of any further arguments, options included |
//!
//! A wildcard stays within one argument, and three rules keep it from reaching further than it reads:
//! it never matches an argument that begins with `-` unless the pattern's word does (`systemctl status *` does not
//! permit `systemctl status -Hevil`); a word of nothing but wildcards never matches an empty argument; and an argument
//! with a `..` path component matches no wildcard (`/var/log/**` does not permit `/var/log/../../etc/shadow`).
//!
//! It does match hidden files and whatever else a program gives a meaning to: `cat *` permits `cat .pgpass`, and `tool *`
//! permits `tool @list` and `tool +x`. Write the directory or the beginning out where that matters.
//!
//! The program is compared exactly, and holds no wildcards. Where a pattern names it by absolute path, the plain name
//! matches too, and the absolute path is what is sent.
//!
//! # Directories
//!
//! In a managed session `cd` goes to a directory that `directories` of any rule in force names, or anywhere if none of them names
//! one. There a rule's commands run if its own `directories` names the place, or if they mean the same anywhere:
//!
//! * no `...`, and no wildcard but behind a `/` at the beginning of its word (`cat /var/log/nginx/*`);
//! * a program by plain name or absolute path;
//! * no word that is a relative path by its looks: `.`, `..`, or with a `/` that is not the first character. Options and URLs are none.
//!
//! So `df -h` runs anywhere, `cat *` and `./backup` run at home. A plain word is not seen to be a file: `cat notes.txt` runs anywhere, too,
//! and `make` reads whatever `Makefile` is there. Name the file by its absolute path, or `directories`, where that matters.
//!
//! What is sent is then `cd -- '/dir' && exec 'program' 'argument'`, or `cd -- '/dir' && { …; }` for commands that are joined. Because of
//! `exec`, what exists only as a shell's builtin (`ulimit`, `type`) runs at home alone.
//!
//! # Paths
//!
//! Patterns in `directories`, `files` and of sockets are absolute, compared component by component and byte by byte:
//!
//! | in a pattern | matches |
//! |---|---|
//! | `?` | one character |
//! | `*` | any characters of one component, hidden files included |
//! | `**`, as a whole component | any number of components, none included: `/srv/**` is `/srv` and all below, `/srv/*/**` only what is below |
//!
//! `~`, `.`, `..`, `//` and control characters are mistakes. The paths that are compared are resolved first, as text and, as far as
//! the protocol shows it, through links; a socket's path must be written the resolved way.
//!
//! Whoever has any access to a path may also look at it and at the directories that lead there: clients do that on their way
//! ([`FileAccess::Stat`](crate::FileAccess::Stat)). That shows whether such a directory exists, its size, times and owner, and nothing of its entries.
//!
//! # Doors
//!
//! An address is `host:port`. The host is an address, compared as such (IPv6 in brackets), or a name, compared without regard to case
//! and never resolved, in which `*` stands for any characters of one label; `*` alone is any host. The port is a number, a range or
//! `*`. To listen on (`remote-forward`), `127.0.0.1`, `::1` and `localhost` are the same; every interface (`0.0.0.0`, `::`, or no
//! address, which clients send for `*`) must be written, the last as `*`; port `0` lets the target choose one.
//!
//! A name says nothing about where it leads: whoever controls its DNS zone, or `/etc/hosts` on the target, decides that.
//!
//! Environment variables that make programs run others, load what they name or read their settings there (`LD_*`, `BASH_ENV`, `ENV`,
//! `PATH`, `PAGER`, `EDITOR`, `GIT_SSH*`, `PYTHON*`, `PERL5*`, `IFS`, `SSH_*`, `XDG_*`, …) are never passed on: written out they are a mistake, and no
//! wildcard matches them. The table is not complete; name what is needed rather than `A*`.
//!
//! # Conditions
//!
//! | in `when` | holds while |
//! |---|---|
//! | `days = "mon-fri,sun"` | today is one of these, in `zone` |
//! | `hours = "22:00-06:00"` | the time is in this window, in `zone`; past midnight it belongs to the day it began on |
//! | `zone = "Asia/Kolkata"` | (an IANA name; default `UTC`) |
//! | `from`, `until` | the moment lies between these, RFC 3339 with offset |
//! | `networks = ["10.0.0.0/8"]` | the source address lies in one of these |
//! | `countries = ["IN"]` | the source address belongs to one of these (ISO 3166-1 alpha-2) |
//! | `reputation_min = 50` | the source address has at least this standing, 0 to 100 |
//! | `device = "enrolled"` (or a list) | the device has (one of) this standing |
//! | `mfa_within = "15m"` | the person passed a second factor within this time |
//! | `risk_max = 30` | the session carries at most this risk, 0 to 100 |
//!
//! A fact that is not known makes its condition not hold.
//!
//! # Programs that run programs
//!
//! Editors, pagers, interpreters, `find -exec`, `tar --to-command` and their like turn a permitted command into any
//! command. A pattern that can reach such a feature does not load unless an entry of `acknowledge` in the same rule names
//! the program and what it does: `find runs programs` covers `-exec`, and not `-delete`; `find anything` covers both. A
//! program that is a danger however it is called takes any words: `vi grants a shell`. The mistake says what to write. See
//! [`lint`] for which features are known. When such a command runs, its record says that what it runs in its turn was not checked
//! (`nested_uncontrolled`).
//!
//! `scp` among `commands` needs an acknowledgement, too, since it reads and writes files that `files` does not name; open
//! `legacy-scp` instead.

mod access;
mod check;
mod condition;
mod environment;
mod index;
pub mod lint;
mod mistake;
mod parse;
mod path;
mod pattern;
mod terms;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use regex::Regex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use access::{Doors, Files};
pub use condition::Unmet;
pub(crate) use condition::{FactNeeds, When};
use index::Index;
pub use mistake::{Mistake, PolicyError, Warning};
use path::PathPattern;
#[cfg(feature = "ssh")]
pub(crate) use pattern::ArgPattern;
pub(crate) use pattern::Pattern;

use crate::clock::SessionLimits;
use crate::digest::hex;
use crate::directory::Directory;
use crate::facts::Facts;
use crate::identity::{Target, User};
use crate::verdict::{OutputRecord, Verdict};

/// How a session may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One command per request, without a terminal. Everything else is refused.
    ExecOnly,
    /// The proxy owns the prompt; each approved line is a command of its own.
    Managed,
    /// A raw terminal, recorded but not checked.
    Unrestricted,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExecOnly => "exec-only",
            Self::Managed => "managed",
            Self::Unrestricted => "unrestricted",
        })
    }
}

/// The terms on which a user may be on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// How the session may be used.
    pub mode: Mode,
    /// How long it may rest and last.
    pub limits: SessionLimits,
    /// How much of its output is kept at least.
    pub record: OutputRecord,
    /// When the last of the rules in force ceases to be, if time alone will end them all.
    pub valid_until: Option<DateTime<Utc>>,
}

/// A text in which secrets were hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// The text, with `[redacted]` in place of each secret.
    pub text: String,
    /// Whether anything was hidden.
    pub changed: bool,
}

impl Redacted {
    /// Nothing was hidden.
    pub fn unchanged(text: impl Into<String>) -> Self {
        Self { text: text.into(), changed: false }
    }
}

/// A compiled policy. Immutable; share it with [`Arc`] and replace it whole.
pub struct Policy {
    rules: Vec<Rule>,
    patterns: Vec<Pattern>,
    index: Index,
    redactions: Vec<Regex>,
    warnings: Vec<Warning>,
    needs: FactNeeds,
    digest: String,
}

/// One `[[permit]]`.
pub(crate) struct Rule {
    pub(crate) line: usize,
    /// `None`: the rule lists no commands and states no mode, so it says nothing about how a session may be used.
    pub(crate) mode: Option<Mode>,
    pub(crate) patterns: std::ops::Range<usize>,
    pub(crate) when: Option<When>,
    pub(crate) idle: Option<std::time::Duration>,
    pub(crate) longest: Option<std::time::Duration>,
    pub(crate) warn: Option<std::time::Duration>,
    pub(crate) pipelines: bool,
    pub(crate) lists: bool,
    /// What the rule states; `None` where it states nothing and permits nothing that has output.
    pub(crate) record: Option<OutputRecord>,
    pub(crate) directories: Vec<PathPattern>,
    pub(crate) files: Option<Files>,
    pub(crate) doors: Option<Doors>,
}

impl Rule {
    /// Holds whoever it is about to a list of commands, which may be empty.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.mode, Some(Mode::ExecOnly | Mode::Managed))
    }

    /// Gives a raw terminal.
    pub(crate) fn is_raw(&self) -> bool {
        self.mode == Some(Mode::Unrestricted)
    }
}

impl Policy {
    /// Reads and compiles a policy.
    ///
    /// # Errors
    ///
    /// Every mistake that can be found, each with line and column. A policy with a mistake is not used at all.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let parsed = parse::parse(text)?;
        Ok(Self {
            rules: parsed.rules,
            patterns: parsed.patterns,
            index: parsed.index,
            redactions: parsed.redactions,
            warnings: parsed.warnings,
            needs: parsed.needs,
            digest: hex(&Sha256::digest(text.as_bytes())),
        })
    }

    /// Whether `user` may run `line` on `target`, with nothing else known.
    ///
    /// Rules with a `when` do not hold here, since neither the time nor the source is known; where that decides, the
    /// denial says so. Use [`check_with`](Self::check_with) where facts are at hand.
    pub fn check(&self, user: &User, target: &Target, line: &str) -> Verdict {
        check::check(self, user, target, line.as_bytes(), &Directory::Home, None)
    }

    /// Whether `user` may run `line` on `target`, given what is known now. `line` is what the client sent: any bytes.
    pub fn check_with(&self, user: &User, target: &Target, line: &[u8], facts: &Facts) -> Verdict {
        check::check(self, user, target, line, &Directory::Home, Some(facts))
    }

    /// Whether `user` may run `line` on `target` in `directory`, given what is known now. The permit's bytes go there first.
    pub fn check_in(
        &self,
        user: &User,
        target: &Target,
        line: &[u8],
        directory: &Directory,
        facts: &Facts,
    ) -> Verdict {
        check::check(self, user, target, line, directory, Some(facts))
    }

    /// What is not wrong with the policy but may not be meant.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// SHA-256 of the source text, lower-case hexadecimal: names the policy in records.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Hides what the policy's `redact` expressions match.
    pub fn redact(&self, text: &str) -> Redacted {
        let mut redacted = Redacted::unchanged(text);
        for expression in &self.redactions {
            if expression.is_match(&redacted.text) {
                redacted.text = expression.replace_all(&redacted.text, "[redacted]").into_owned();
                redacted.changed = true;
            }
        }
        redacted
    }

    pub(crate) fn needs(&self) -> FactNeeds {
        self.needs
    }

    pub(crate) fn pattern_text(pattern: &Pattern) -> Arc<str> {
        Arc::clone(&pattern.text)
    }
}

/// The shape only: redaction expressions may describe secrets.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("digest", &self.digest)
            .field("rules", &self.rules.len())
            .field("patterns", &self.patterns.len())
            .finish_non_exhaustive()
    }
}

impl std::str::FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Self::from_toml(text)
    }
}
