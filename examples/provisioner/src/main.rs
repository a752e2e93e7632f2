//! `provisioner`: look into SCIM services, and change what is there.
//!
//! This binary is wiring: everything about the protocol is in the crate `scim-client`. `args` has the command line, one file
//! for each group of verbs (`scim`) does what was asked, `table` and `json` show it, `terminal` sees to it that nothing a
//! server says acts on a terminal, and `failure` says why something was not done, with the exit status.

mod api;
mod args;
mod connector;
mod demo;
mod engine;
mod failure;
mod files;
mod json;
mod people;
mod progress;
mod scim;
mod table;
mod terminal;

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
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
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
