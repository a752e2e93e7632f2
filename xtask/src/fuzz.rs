//! Fuzz targets: every binary of every `<crate>/fuzz` package.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

use cargo_metadata::{MetadataCommand, TargetKind};
use clap::ValueEnum;

use crate::console::{Console, Stream};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::workspace::{Workspace, find_program};

/// What is built into a target besides coverage.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Sanitizer {
    /// AddressSanitizer. There is no unsafe code here for it to watch, but it also shows libFuzzer what byte strings are
    /// compared with, and that finds keywords and magic numbers.
    Address,
    /// Nothing: several times faster, for long runs that have the keywords in their corpus.
    None,
}

impl Sanitizer {
    fn flag(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::None => "none",
        }
    }
}

/// How long and how to search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    pub(crate) seconds: u32,
    pub(crate) seed: u64,
    pub(crate) sanitizer: Sanitizer,
}

struct Target {
    crate_name: String,
    fuzz_dir: PathBuf,
    name: String,
}

impl Target {
    fn label(&self) -> String {
        format!("{}/{}", self.crate_name, self.name)
    }
}

/// Replays the corpus of each target (or of one) and then looks for new inputs for the given time; returns what ran.
///
/// The committed corpus, `<crate>/fuzz/corpus/<target>`, is only read. New inputs are kept below the target directory,
/// where the next run finds them; who wants to commit one copies it.
pub(crate) fn run(
    workspace: &Workspace,
    console: &Console,
    only: Option<&str>,
    search: Search,
) -> Result<String, Failure> {
    let mut targets = discover(workspace)?;
    if let Some(only) = only {
        let names: Vec<_> = targets.iter().map(|target| target.name.clone()).collect();
        targets.retain(|target| target.name == only);
        if targets.is_empty() {
            return Err(Failure::NoSuchTarget(only.to_owned(), names.join(", ")));
        }
    }
    if targets.is_empty() {
        return Ok("no fuzz targets yet".to_owned());
    }
    install_cargo_fuzz(workspace, console)?;
    let Search { seconds, .. } = search;
    let folders: BTreeSet<_> = targets.iter().map(|target| &target.fuzz_dir).collect();
    for folder in folders {
        cargo_fuzz(workspace, "build", folder, search.sanitizer).args(only).run(console)?;
    }
    run_all(workspace, console, &targets, search)?;
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    Ok(format!("{} for {seconds} s each", names.join(", ")))
}

/// As many at a time as the machine has processors: libFuzzer takes one each. Each line says whose it is. Ends with the first failure; what is under
/// way then comes to its end.
fn run_all(
    workspace: &Workspace,
    console: &Console,
    targets: &[Target],
    search: Search,
) -> Result<(), Failure> {
    let runs: Vec<_> = targets
        .iter()
        .map(|target| Ok((target.label(), run_of(workspace, target, search)?)))
        .collect::<Result<_, Failure>>()?;
    let due = Mutex::new(runs.into_iter());
    let due = || due.lock().unwrap_or_else(PoisonError::into_inner);
    let (sender, lines) = channel();
    thread::scope(|scope| {
        let runners: Vec<_> = (0..thread::available_parallelism().map_or(1, NonZero::get))
            .map(|_| {
                let (sender, due) = (sender.clone(), &due);
                scope.spawn(move || {
                    let next = || due().next();
                    while let Some((label, run)) = next() {
                        let say =
                            |stream, line: &str| drop(sender.send((stream, format!("{label}: {line}"))));
                        say(Stream::Out, &format!("$ {}", run.shown()));
                        if let Err(failure) = run.follow(say) {
                            due().by_ref().for_each(drop);
                            return Err(failure);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        drop(sender);
        for (stream, line) in lines {
            console.command_line(stream, &line);
        }
        let outcomes =
            runners.into_iter().map(|runner| runner.join().unwrap_or_else(|panic| resume_unwind(panic)));
        outcomes.fold(Ok(()), Result::and)
    })
}

fn run_of(workspace: &Workspace, target: &Target, search: Search) -> Result<Invocation, Failure> {
    let found = build_dir(workspace).join("found").join(&target.crate_name).join(&target.name);
    fs::create_dir_all(&found).map_err(Failure::io("create", &found))?;
    let mut corpora = vec![found];
    let committed = target.fuzz_dir.join("corpus").join(&target.name);
    if committed.is_dir() {
        corpora.push(committed);
    }
    // libFuzzer takes a seed of 32 bits, and 0 as "take one from the clock".
    let seed = search.seed % u64::from(u32::MAX) + 1;
    Ok(cargo_fuzz(workspace, "run", &target.fuzz_dir, search.sanitizer)
        .arg(&target.name)
        .args(corpora)
        .args(["--", "-detect_leaks=0", "-timeout=20", "-print_final_stats=1"])
        .arg(format!("-max_total_time={}", search.seconds))
        .arg(format!("-seed={seed}")))
}

fn cargo_fuzz(workspace: &Workspace, verb: &str, folder: &Path, sanitizer: Sanitizer) -> Invocation {
    Invocation::cargo(workspace)
        // cargo-fuzz passes flags that the compiler keeps for its nightly builds.
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", verb, "--sanitizer", sanitizer.flag(), "--fuzz-dir"])
        .arg(folder)
        .arg("--target-dir")
        .arg(build_dir(workspace))
}

fn build_dir(workspace: &Workspace) -> PathBuf {
    workspace.target_dir().join("fuzz")
}

/// The `<crate>/fuzz` folders. Each is a workspace of its own, which commands for this one pass by.
pub(crate) fn folders(workspace: &Workspace) -> Result<Vec<PathBuf>, Failure> {
    let root = workspace.root();
    let entries = fs::read_dir(root).map_err(Failure::io("read", root))?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path().join("fuzz")))
        .filter(|folder| folder.join("Cargo.toml").is_file())
        .collect();
    folders.sort();
    Ok(folders)
}

fn discover(workspace: &Workspace) -> Result<Vec<Target>, Failure> {
    let mut targets = Vec::new();
    for fuzz_dir in folders(workspace)? {
        let metadata = MetadataCommand::new().manifest_path(fuzz_dir.join("Cargo.toml")).no_deps().exec()?;
        let crate_dir = fuzz_dir.parent().and_then(Path::file_name).unwrap_or_default();
        let crate_name = crate_dir.to_string_lossy().into_owned();
        let binaries = metadata
            .packages
            .iter()
            .flat_map(|package| &package.targets)
            .filter(|target| target.kind.contains(&TargetKind::Bin));
        targets.extend(binaries.map(|target| Target {
            crate_name: crate_name.clone(),
            fuzz_dir: fuzz_dir.clone(),
            name: target.name.clone(),
        }));
    }
    Ok(targets)
}

fn install_cargo_fuzz(workspace: &Workspace, console: &Console) -> Result<(), Failure> {
    if find_program("cargo-fuzz").is_some() {
        return Ok(());
    }
    Invocation::cargo(workspace)
        .env_remove("CARGO_TARGET_DIR")
        .args(["install", "--locked", "cargo-fuzz@^0.13"])
        .run(console)
}
