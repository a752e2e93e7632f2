//! The command line. Each verb has its own file beside this one; what it takes stands there.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{scim, verbs};

/// Bring joiners, movers and leavers to every application, and prove who is out; look into single SCIM services.
#[derive(Debug, Parser)]
#[command(name = "provisioner", version, after_help = scim::args::HELP)]
pub(crate) struct Arguments {
    /// Print JSON: one line per result, the exact text; errors, too
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start three applications on loopback, show what becomes of somebody who leaves while two of them are ill, and keep serving
    Demo {
        /// Where to keep outbox, audit log and keys; stays when the demo ends
        #[arg(long, value_name = "DIR", default_value = "provisioner-demo")]
        data_dir: PathBuf,
    },
    /// Provision to all configured applications, until told to end
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
    /// Show the connectors of the running service, what waits there, and who left and is not out yet
    Status(verbs::Status),
    /// Take all access from somebody, everywhere
    Offboard(verbs::Offboard),
    /// Try a connector again now, as after an outage
    Replay(verbs::Replay),
    /// Let leavers go on that were held since there were unusually many
    Approve(verbs::Approve),
    /// Show what became of somebody's access: the record of an offboarding
    Report(verbs::Report),
    /// Compare the accounts that an application has with those that it should have
    Reconcile(verbs::Reconcile),
    /// Review who has what: begin a campaign, decide, see how far it is, hand it to an auditor
    Review(verbs::review::Review),
    /// Rights that nobody may have together: who violates what, what waits, and what is done about it
    Sod(verbs::sod::Sod),
    /// Ask one SCIM service: what it supports, who is in it; change one resource
    Scim(Box<scim::args::Arguments>),
}

/// Whether JSON was asked for, also where the rest of the command line makes no sense.
pub(crate) fn asks_for_json(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().take_while(|argument| argument != "--").any(|argument| argument == "--json")
}
