//! The steps of `cargo xtask test`, in order.

use std::time::{Duration, Instant};

use crate::console::{Console, duration, spelled};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::verdict::Verdict;
use crate::workspace::{Workspace, find_program};
use crate::{fuzz, package, soak, tools};

/// What a person may choose about a run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) fuzz_seconds: u32,
    pub(crate) advisories: Advisories,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Advisories {
    Skip,
    Fetch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    Stop,
    GoOn,
}

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Run<'_>) -> Result<String, Failure>,
}

struct Run<'a> {
    workspace: &'a Workspace,
    console: &'a Console,
    settings: &'a Settings,
}

struct Done {
    step: &'static str,
    time: Duration,
    outcome: Result<String, Failure>,
}

/// Cheap and telling steps come first. All that compile use one feature set, so that dependencies are built once for
/// checks (clippy, doc) and once for tests.
const STEPS: &[Step] = &[
    Step {
        name: "tools",
        about: "what real-server tests need: programs through apt, Python and Node packages from lock files",
        run: ensure_tools,
    },
    Step { name: "fmt", about: "rustfmt finds nothing to change", run: fmt },
    Step { name: "clippy", about: "clippy on everything, warnings denied", run: clippy },
    Step { name: "dependency-rule", about: "who may depend on whom", run: dependency_rule },
    Step { name: "tests", about: "unit, integration and doc tests that need nothing installed", run: tests },
    Step {
        name: "server-tests",
        about: "ignored tests: real servers, real shells, real peers",
        run: server_tests,
    },
    Step { name: "doc", about: "rustdoc as docs.rs builds it, warnings denied", run: doc },
    Step {
        name: "package",
        about: "each library crate packaged and built from its package",
        run: package_all,
    },
    Step { name: "licences", about: "licences, bans and sources of all dependencies", run: licences },
    Step { name: "fuzz", about: "each fuzz target's corpus and a short smoke", run: fuzz_smoke },
];

/// For `--only`.
pub(crate) fn parse_name(name: &str) -> Result<&'static str, String> {
    let known = STEPS.iter().map(|step| step.name);
    known.clone().find(|known| *known == name).ok_or_else(|| {
        let names: Vec<_> = known.collect();
        format!("the steps are {}", names.join(", "))
    })
}

pub(crate) fn list() {
    for step in STEPS {
        println!("{:<16} {}", step.name, step.about);
    }
}

/// Runs the steps in `only`, or all, and closes with a table of what each took.
pub(crate) fn run(
    workspace: &Workspace,
    console: &Console,
    settings: &Settings,
    only: &[&'static str],
    on_failure: OnFailure,
) -> Result<(), Failure> {
    let began = Instant::now();
    let run = Run { workspace, console, settings };
    let steps: Vec<&Step> =
        STEPS.iter().filter(|step| only.is_empty() || only.contains(&step.name)).collect();
    let mut done: Vec<Done> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let place = format!("[{}/{}] {}", index + 1, steps.len(), step.name);
        console.say(&format!("\n==> {place}: {}", step.about));
        console.start_status(&place);
        let step_began = Instant::now();
        let outcome = (step.run)(&run);
        let time = step_began.elapsed();
        console.end_status();
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        console.say(&format!("<== {place}: {word} in {}", spelled(time)));
        let stop = outcome.is_err() && on_failure == OnFailure::Stop;
        done.push(Done { step: step.name, time, outcome });
        if stop {
            break;
        }
    }
    summarise(console, &steps, &done);
    conclude(console, done, began)
}

fn summarise(console: &Console, steps: &[&Step], done: &[Done]) {
    console.say("\nstep             result   time         note");
    for step in steps {
        let (word, time, note) = match done.iter().find(|done| done.step == step.name) {
            None => ("-", String::new(), "not run".to_owned()),
            Some(Done { time, outcome: Ok(note), .. }) => ("ok", spelled(*time), note.clone()),
            Some(Done { time, outcome: Err(failure), .. }) => ("FAILED", spelled(*time), failure.to_string()),
        };
        console.say(format!("{:<16} {word:<8} {time:<12} {note}", step.name).trim_end());
    }
}

fn conclude(console: &Console, done: Vec<Done>, began: Instant) -> Result<(), Failure> {
    let run = done.len();
    let mut failures: Vec<(&'static str, Failure)> =
        done.into_iter().filter_map(|done| done.outcome.err().map(|failure| (done.step, failure))).collect();
    match failures.len() {
        0 => {
            let steps = if run == 1 { "step" } else { "steps" };
            console.say(&format!("\n{run} {steps} passed in {}.", duration(began)));
            Ok(())
        }
        1 => {
            let (step, source) = failures.swap_remove(0);
            Err(Failure::Step { step, source: Box::new(source) })
        }
        failed => {
            let names: Vec<_> = failures.iter().map(|(step, _)| *step).collect();
            Err(Failure::Steps { failed, run, names: names.join(", ") })
        }
    }
}

fn ensure_tools(run: &Run<'_>) -> Result<String, Failure> {
    tools::ensure(run.workspace, run.console).map(|count| format!("{count} tools are there"))
}

fn fmt(run: &Run<'_>) -> Result<String, Failure> {
    Invocation::cargo(run.workspace).args(["fmt", "--all", "--check"]).run(run.console)?;
    for folder in fuzz::folders(run.workspace)? {
        let manifest = folder.join("Cargo.toml");
        Invocation::cargo(run.workspace)
            .args(["fmt", "--check", "--manifest-path"])
            .arg(manifest)
            .run(run.console)?;
    }
    Ok(String::new())
}

fn clippy(run: &Run<'_>) -> Result<String, Failure> {
    Invocation::cargo(run.workspace)
        .args(["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"])
        .run(run.console)?;
    Ok(String::new())
}

fn dependency_rule(run: &Run<'_>) -> Result<String, Failure> {
    let test = cargo_test(run).args(["--test", "dependency_rule"]);
    counted(run, test, "xtask/tests/dependency_rule.rs holds none")
}

fn tests(run: &Run<'_>) -> Result<String, Failure> {
    let test = cargo_test(run).arg("--no-fail-fast");
    counted(run, test, "the workspace holds none")
}

fn server_tests(run: &Run<'_>) -> Result<String, Failure> {
    // Without `--tests`, doc examples marked `ignore` would be run, too.
    let test = cargo_test(run).args(["--no-fail-fast", "--tests", "--", "--ignored"]);
    counted(
        run,
        test,
        "tests that need a real server are marked `#[ignore = \"needs …\"]`, and none was found",
    )
}

fn cargo_test(run: &Run<'_>) -> Invocation {
    Invocation::cargo(run.workspace)
        // The same cases in every run: whether a change may land does not depend on luck. `cargo test` alone draws new ones.
        .env("PROPTEST_RNG_SEED", run.settings.seed.to_string())
        .env("SOAK_ROUNDS", soak::TWENTIETH_ROUNDS.to_string())
        .env("SOAK_SEED", run.settings.seed.to_string())
        .args(["test", "--workspace", "--all-features"])
}

fn counted(run: &Run<'_>, test: Invocation, why: &'static str) -> Result<String, Failure> {
    let command = test.shown();
    let mut verdict = Verdict::default();
    test.run_seeing(run.console, |line| verdict.see(line))?;
    if verdict.ran() == 0 {
        return Err(Failure::NothingRan { command, why });
    }
    Ok(format!("{} passed", verdict.passed))
}

fn doc(run: &Run<'_>) -> Result<String, Failure> {
    Invocation::cargo(run.workspace)
        .env("RUSTDOCFLAGS", "--cfg docsrs --deny warnings")
        .args(["doc", "--workspace", "--all-features", "--no-deps", "--lib"])
        .run(run.console)?;
    Ok(String::new())
}

fn package_all(run: &Run<'_>) -> Result<String, Failure> {
    package::run(run.workspace, run.console)
}

fn licences(run: &Run<'_>) -> Result<String, Failure> {
    if find_program("cargo-deny").is_none() {
        Invocation::cargo(run.workspace)
            .env_remove("CARGO_TARGET_DIR")
            .args(["install", "--locked", "cargo-deny@^0.20"])
            .run(run.console)?;
    }
    let deny =
        Invocation::cargo(run.workspace).args(["deny", "--all-features", "check", "--hide-inclusion-graph"]);
    let deny = deny.args(["licenses", "bans", "sources"]);
    match run.settings.advisories {
        Advisories::Skip => {
            deny.run(run.console)?;
            Ok("advisories not asked for (--advisories)".to_owned())
        }
        Advisories::Fetch => {
            deny.arg("advisories").run(run.console)?;
            Ok("advisories included".to_owned())
        }
    }
}

fn fuzz_smoke(run: &Run<'_>) -> Result<String, Failure> {
    let search = fuzz::Search {
        seconds: run.settings.fuzz_seconds,
        seed: run.settings.seed,
        sanitizer: fuzz::Sanitizer::Address,
    };
    fuzz::run(run.workspace, run.console, None, search)
}
