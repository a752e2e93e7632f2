//! `provisioner`: sees to it that who joins, moves and leaves has the access they should have, and looks into SCIM services.
//!
//! This binary is wiring: everything about the protocol is in the crate `scim-client`, everything about queues, health and
//! evidence in `connector-health`. `args` has the command line; `scim` asks one service by hand; `serve` runs what `config`
//! describes: `engine` is at work, `source` and `api` tell it what happens, `connector` is what it works with. `verbs` asks a
//! running service (`remote`). `table` and `json` show results, `terminal` sees to it that nothing a server says acts on a
//! terminal, and `failure` says why something was not done, with the exit status.

mod access;
mod api;
mod args;
mod config;
mod connector;
mod demo;
mod engine;
mod failure;
mod files;
mod json;
mod listen;
mod people;
mod progress;
mod remote;
mod renewed;
mod scim;
mod secrets;
mod serve;
mod source;
mod store;
mod table;
mod terminal;
mod tls;
mod verbs;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::{Arguments, Command};
use crate::failure::{Failure, USAGE};
use crate::terminal::{Palette, inert};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(refuse(&error)),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return ExitCode::from(Failure::usage(format!("cannot start: {error}")).report(arguments.json));
        }
    };
    let mut answer =
        Answer { out: BufWriter::new(io::stdout()), json: arguments.json, palette: Palette::of_stdout() };
    let outcome = runtime.block_on(async {
        match &arguments.command {
            Command::Demo { data_dir } => demo::run(data_dir, answer.json).await.map(|()| 0),
            Command::Serve { config } => serve::run(config, &mut answer).await.map(|()| 0),
            Command::Check { config } => serve::check(config, &mut answer),
            Command::Status(wanted) => verbs::status(wanted, &mut answer).await,
            Command::Offboard(wanted) => verbs::offboard(wanted, &mut answer).await,
            Command::Replay(wanted) => verbs::replay(wanted, &mut answer).await,
            Command::Approve(wanted) => verbs::approve(wanted, &mut answer).await,
            Command::Report(wanted) => verbs::report(wanted, &mut answer).await,
            Command::Reconcile(wanted) => verbs::reconcile(wanted, &mut answer).await,
            Command::Review(wanted) => verbs::review::run(wanted, &mut answer).await,
            Command::Sod(wanted) => verbs::sod::run(wanted, &mut answer).await,
            Command::Scim(arguments) => scim::run(arguments, &mut answer).await,
        }
    });
    // What was found before a failure is said before the failure is.
    let flushed = answer.out.flush();
    let status = match (outcome, flushed) {
        (Ok(status), Ok(())) => status,
        // Nobody reads on, as with `| head`.
        (Ok(status), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => status,
        (Ok(_), Err(error)) => Failure::Output(error).report(arguments.json),
        (Err(failure), _) => failure.report(arguments.json),
    };
    ExitCode::from(status)
}

/// Where the answer goes, and in which form.
pub(crate) struct Answer {
    pub(crate) out: BufWriter<io::Stdout>,
    pub(crate) json: bool,
    pub(crate) palette: Palette,
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
