//! `cargo xtask …`: what people would otherwise do by hand.
//!
//! A terminal program for developers of this workspace; nothing here is part of a crate.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a terminal")]

mod bench;
mod console;
mod environments;
mod failure;
mod fuzz;
mod invocation;
mod package;
mod soak;
mod steps;
mod tools;
mod unpacked;
mod verdict;
mod workspace;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};

use crate::console::Console;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// Tests, benches and long runs of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run everything that must pass before a change lands. On Debian and Ubuntu it installs the packages that tests
    /// against real servers need (through sudo where not root); elsewhere it names what is missing and fails.
    Test(TestArgs),
    /// Run the long tests at full length (`test` runs a twentieth of them): every test with `soak` in its name.
    Soak(SoakArgs),
    /// Run the fuzz targets of every `*/fuzz` folder, as many at a time as there are processors (`test` gives each a few seconds).
    Fuzz(FuzzArgs),
    /// Run a bench and print its ratios against its peers, measured side by side in one run.
    Bench(BenchArgs),
    /// Package each library crate as for publishing, and build it from its package.
    Package,
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Show the steps and what each does, and run nothing.
    #[arg(long)]
    list: bool,
    /// Run only this step (repeatable); the order stays that of `--list`.
    #[arg(long, value_name = "STEP", value_parser = steps::parse_name)]
    only: Vec<&'static str>,
    /// Run the remaining steps after one has failed; the exit status still says so.
    #[arg(long)]
    keep_going: bool,
    /// Also check dependencies against the RustSec advisories, which are fetched from the network.
    #[arg(long)]
    advisories: bool,
    /// Seed of property tests, of the shortened soak and of the fuzz smoke.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Seconds for each fuzz target, after its corpus is replayed.
    #[arg(long, value_name = "N", default_value_t = 10)]
    fuzz_seconds: u32,
}

#[derive(Debug, Args)]
struct SoakArgs {
    /// How many times the full length: tests are given SOAK_ROUNDS = N × 1000.
    #[arg(long, value_name = "N", default_value_t = 1)]
    scale: u32,
    /// Seed of the run (SOAK_SEED); taken from the clock, and shown, unless given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run the tests with this in their name, rather than `soak`.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, Args)]
struct FuzzArgs {
    /// Run only this target.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Seed of the run; taken from the clock, and shown, unless given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What to build into the targets.
    #[arg(long, value_enum, default_value = "address")]
    sanitizer: fuzz::Sanitizer,
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// What to measure.
    subject: bench::Subject,
    /// Passed on to the bench, as in `cargo xtask bench policy -- --quick`.
    #[arg(last = true, value_name = "ARG")]
    rest: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let console = Console::new();
    match run(&cli.task, &console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nFAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task, console: &Console) -> Result<(), Failure> {
    if let Task::Test(TestArgs { list: true, .. }) = task {
        steps::list();
        return Ok(());
    }
    let workspace = Workspace::load()?;
    let outcome = run_in(&workspace, task, console);
    console.end_status();
    outcome
}

fn run_in(workspace: &Workspace, task: &Task, console: &Console) -> Result<(), Failure> {
    match task {
        Task::Test(args) => {
            let settings = steps::Settings {
                seed: args.seed,
                fuzz_seconds: args.fuzz_seconds,
                advisories: if args.advisories { steps::Advisories::Fetch } else { steps::Advisories::Skip },
            };
            let on_failure = if args.keep_going { steps::OnFailure::GoOn } else { steps::OnFailure::Stop };
            steps::run(workspace, console, &settings, &args.only, on_failure)
        }
        Task::Soak(args) => {
            let seed = args.seed.unwrap_or_else(seed_from_clock);
            tools::ensure(workspace, console)?;
            soak::run(workspace, console, args.scale, seed, args.name.as_deref())
        }
        Task::Fuzz(args) => {
            let search = fuzz::Search {
                seconds: args.seconds,
                seed: args.seed.unwrap_or_else(seed_from_clock),
                sanitizer: args.sanitizer,
            };
            console.start_status("fuzz");
            fuzz::run(workspace, console, args.target.as_deref(), search).map(drop)
        }
        Task::Bench(args) => {
            tools::ensure(workspace, console)?;
            bench::run(workspace, console, args.subject, &args.rest)
        }
        Task::Package => {
            console.start_status("package");
            package::run(workspace, console).map(drop)
        }
    }
}

fn seed_from_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs()
}
