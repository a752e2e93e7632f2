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
  auditor --data-dir /var/lib/session-proxy play 0198c0de --search 'permission denied'
  auditor --data-dir /var/lib/session-proxy export 0198c0de --cast -o session.cast

Exit status:
  0  it worked; for `verify`: the log is whole
  1  the log was tampered with; the place is named
  2  wrong usage, no such log, wrong or unreadable keys, a newer format
  3  `verify`: whole, but for a write at the very end that was never finished (a crash);
     `play`, `export`: the recording is incomplete or goes on; what is missing is said on standard error

The auditor changes nothing and works while the log is being written. It reads past the process that writes the log,
so what it shows to whom is not itself logged.

What is printed cannot act on a terminal: control characters, escape sequences and reading-direction marks are
written out, such as \\x1b; --json escapes them, such as \\u001b. Colours only on a terminal, and not with NO_COLOR set.";

/// Verify, search, show and play an audit log, offline.
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
    /// Play what a terminal showed; where standard output is no terminal, print it as text
    ///
    /// Keys: space stops and goes on, arrows go 5 s back and forth, `[` and `]` to the previous and next command, `+` and `-`
    /// change the speed, `.` shows the next output, `q` leaves. Nothing that was recorded reaches your terminal as it is: what
    /// is shown is drawn anew from an emulated screen.
    Play(Play),
    /// Write a recording for other players
    Export(Export),
    /// Verify, then print the last signed checkpoint, to keep it elsewhere
    Checkpoint,
}

/// Which terminal of which session.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The session's id, or the beginning of it
    pub(crate) session: String,
    /// Which of the session's recordings: its number, from 1, or its id or the beginning of it; needed where there are several
    #[arg(long, value_name = "N|ID")]
    pub(crate) recording: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Play {
    #[command(flatten)]
    pub(crate) which: Which,
    /// How many times as fast as it was
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) speed: f64,
    /// Cut pauses that are longer than this, in seconds
    #[arg(long, value_name = "S")]
    pub(crate) idle_limit: Option<f64>,
    /// Begin so many seconds after the recording's beginning
    #[arg(long, value_name = "S", group = "place")]
    pub(crate) at: Option<f64>,
    /// Begin at the command with this number, from 1, blocked ones included
    #[arg(long, value_name = "N", group = "place")]
    pub(crate) command: Option<usize>,
    /// Begin where this first stood on the screen, went by, or was run
    #[arg(long, value_name = "TEXT", group = "place")]
    pub(crate) search: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) which: Which,
    /// As asciicast v2, which `asciinema play` plays; commands are markers
    #[arg(long, required = true)]
    pub(crate) cast: bool,
    /// Write to this file, which must not exist, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
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
