//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{backtest, demo, keys, rules};

/// Take events of authentication, stream them, and show the last 24 hours.
#[derive(Debug, Parser)]
#[command(name = "event-api", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Print JSON: one line per result; errors, too
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  event-api demo                                                  see it work, nothing to set up
  event-api backtest event-api-demo/day.jsonl                     what the rules find in a file of events
  event-api backtest events.csv --explain mfa-fatigue:alice       why they have found nothing
  event-api rules render --as kql --rule credential-stuffing      the same rule for Microsoft Sentinel
  event-api rules show > rules.toml                               rules to begin one's own with
  event-api keys siem --tenant acme --may read                    a key, and what stands in the settings for it
  event-api check --config event-api.toml                         what is wrong with this file?
  event-api serve --config event-api.toml                         the real thing

Exit status: 0 done; 1 it could not be done; 2 what was asked for, or a file, makes no sense.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a company's day with three attacks in it, and keep serving on loopback
    Demo(demo::Wanted),
    /// Serve until told to end
    Serve {
        /// The settings
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say everything that is wrong with a settings file, and start nothing
    Check {
        /// The settings
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make a key, and what stands in the settings for it
    Keys(keys::Wanted),
    Backtest(backtest::Wanted),
    /// List, check and print the rules by which attacks are found
    Rules(rules::Wanted),
}

/// Whether JSON was asked for, also where the rest of the command line makes no sense.
pub(crate) fn asks_for_json(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().take_while(|argument| argument != "--").any(|argument| argument == "--json")
}
