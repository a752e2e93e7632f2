//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{backtest, demo, keys, rules};

/// Take events of authentication, stream them, and show the last 24 hours.
#[derive(Debug, Parser)]
#[command(name = "event-api", version)]
pub(crate) struct Arguments {
    /// Print JSON: one line per result; errors, too
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

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
