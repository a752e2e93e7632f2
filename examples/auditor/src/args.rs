//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  auditor --data-dir /var/lib/session-proxy verify
  auditor --data-dir /var/lib/session-proxy checkpoint > /mnt/elsewhere/checkpoint
  auditor --data-dir /var/lib/session-proxy verify --checkpoint /mnt/elsewhere/checkpoint
  auditor --data-dir /var/lib/session-proxy search 'systemctl restart' --actor alice --since 2d
  auditor --data-dir /var/lib/session-proxy --json search '' --type command.blocked | jq .command
  auditor --data-dir /var/lib/session-proxy sessions --since 2026-01-31
  auditor --data-dir /var/lib/session-proxy show 0198c0de

Exit status:
  0  it worked; for `verify`: the log is whole
  1  the log was tampered with; the place is named
  2  wrong usage, no such log, wrong or unreadable keys, a newer format
  3  `verify` only: whole, but for a write at the very end that was never finished (a crash)

The auditor changes nothing and works while the log is being written. It reads past the process that writes the log,
so what it shows to whom is not itself logged.

What is printed cannot act on a terminal: control characters, escape sequences and reading-direction marks are
written out, such as \\x1b; --json escapes them, such as \\u001b. Colours only on a terminal, and not with NO_COLOR set.";

/// Verify, search and show an audit log, offline.
#[derive(Debug, Parser)]
#[command(name = "auditor", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Directory that holds the log in `audit/` and its keys in `keys/`; a log directory itself will do, too
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,

    /// Directory of the log's keys [default: `keys` beside the log, where there is one]
    ///
    /// Without keys, `verify` checks every byte, the tree and the chain, but no contents. A directory that holds only
    /// `log.vkey` lets it check signatures, too.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) keys: Option<PathBuf>,

    /// Print JSON: one object for `verify` and `checkpoint`, one line per result otherwise; errors, too
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Hide fields that may hold a secret, such as the text of a blocked command; by default they are marked
    #[arg(long, global = true)]
    pub(crate) hide_sensitive: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check that the log is whole: exit status 0 whole, 1 tampered, 3 a torn tail
    Verify {
        /// A signed checkpoint kept elsewhere (`-` reads standard input): the log must still contain its tree
        ///
        /// Without one, nobody can see that a log was cut back to an earlier checkpoint.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The log's verifier key, kept elsewhere, instead of `log.vkey` in the keys directory
        #[arg(long, value_name = "FILE")]
        verifier_key: Option<PathBuf>,
    },
    /// Find events that contain a text, blocked commands included, in the order in which they were recorded
    Search(Search),
    /// Show a session from beginning to end
    Show {
        /// The session's id, or the beginning of it
        session: String,
    },
    /// List the sessions
    Sessions {
        /// Only sessions of this person or service
        #[arg(long, value_name = "ID")]
        actor: Option<String>,
        /// Only sessions to this target
        #[arg(long, value_name = "ID")]
        target: Option<String>,
        #[command(flatten)]
        period: Period,
    },
    /// Verify, then print the last signed checkpoint, to keep it elsewhere
    Checkpoint,
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    /// What an event must contain, in any field, upper and lower case apart; `''` finds every event
    pub(crate) text: String,
    /// Only what this person or service did
    #[arg(long, value_name = "ID")]
    pub(crate) actor: Option<String>,
    /// Only what was done to this target
    #[arg(long, value_name = "ID")]
    pub(crate) target: Option<String>,
    /// Only this session
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// Only events of this type, such as `command.blocked`
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// Only events with this outcome: success, failure, blocked or unknown
    #[arg(long, value_name = "OUTCOME")]
    pub(crate) outcome: Option<String>,
    #[command(flatten)]
    pub(crate) period: Period,
    /// Stop after so many results
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// From when to when.
#[derive(Debug, Args)]
pub(crate) struct Period {
    /// Not before: RFC 3339, a date, or a span before now such as `2h` or `3d`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only before: the same forms
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}

/// Whether JSON was asked for, also where the rest of the command line makes no sense.
pub(crate) fn asks_for_json(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().take_while(|argument| argument != "--").any(|argument| argument == "--json")
}
