//! `event-api`: takes events of authentication, keeps them beside an audit log, streams them, and shows the last 24 hours.
//!
//! This binary is wiring: events, log, metrics and the HTTP interface are in the crate `mfa-events`. `args` has the command line;
//! `serve` runs what `config` describes, `demo` a company's day without any settings. `service` puts the log, `journal` (each event also
//! stands in the audit log), `watch` (detection), `playbook` (what is done about alerts), `retention` and `page` together, `server` and `tls` bring
//! them to the network within limits. `rules` and `backtest` try rules before they are trusted, `keys` makes keys,
//! `terminal` and `json` see to it that nothing from outside acts on a terminal, and `failure` says why something was not done.

mod args;
mod backtest;
mod config;
mod demo;
mod failure;
mod files;
mod journal;
mod json;
mod keys;
mod page;
mod playbook;
mod retention;
mod rules;
mod serve;
mod server;
mod service;
mod stall;
mod terminal;
mod tls;
mod watch;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::{Arguments, Command};
use crate::failure::{Failure, USAGE};
use crate::terminal::inert;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(refuse(&error)),
    };
    let as_json = arguments.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return ExitCode::from(Failure::stopped(format!("cannot start: {error}")).report(as_json));
        }
    };
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Demo(wanted) => demo::run(&wanted, as_json).await.map(|()| 0),
            Command::Serve { config } => serve::run(&config, as_json).await.map(|()| 0),
            Command::Check { config } => serve::check(&config, as_json),
            Command::Keys(wanted) => keys::run(&wanted, as_json).map(|()| 0),
            Command::Backtest(wanted) => backtest::run(&wanted, as_json),
            Command::Rules(wanted) => rules::run(&wanted, as_json),
        }
    });
    // What still runs on a thread that blocks is not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(failure) => ExitCode::from(failure.report(as_json)),
    }
}

/// Answers `--help` and `--version`, and refuses what makes no sense.
fn refuse(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that went away needs no help.
        let _ = error.print();
        return 0;
    }
    if args::asks_for_json(std::env::args_os()) {
        return Failure::usage(error.render().to_string().trim_end()).report(true);
    }
    // The message repeats what was typed, which may be anything. Line by line: its own line breaks are wanted.
    for line in error.render().to_string().lines() {
        say(line);
    }
    USAGE
}

/// A line on standard error, inert.
pub(crate) fn say(line: &str) {
    // Where standard error is gone, nobody is left to tell.
    let _ = writeln!(io::stderr(), "{}", inert(line));
}

/// A line on standard output, inert.
pub(crate) fn tell(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{}", inert(line)).map_err(Failure::Output)
}
