//! Fuzz targets: every binary of every `<crate>/fuzz` package.

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{MetadataCommand, TargetKind};
use clap::ValueEnum;

use crate::console::Console;
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

/// Replays the corpus of each target (or of one) and then looks for new inputs for the given time; returns what ran.
///
/// The committed corpus, `<crate>/fuzz/corpus/<target>`, is only read. New inputs are kept below the target directory,
/// where the next run finds them; who wants to commit one copies it.
///
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
    let Search { seconds, seed, .. } = search;
    for target in &targets {
        console.say(&format!("fuzz: {} of {}, {seconds} s, seed {seed}", target.name, target.crate_name));
        run_one(workspace, console, target, search)?;
    }
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    Ok(format!("{} for {seconds} s each", names.join(", ")))
}

fn run_one(workspace: &Workspace, console: &Console, target: &Target, search: Search) -> Result<(), Failure> {
    let build_dir = workspace.target_dir().join("fuzz");
    let found = build_dir.join("found").join(&target.crate_name).join(&target.name);
    fs::create_dir_all(&found).map_err(Failure::io("create", &found))?;
    let mut corpora = vec![found];
    let committed = target.fuzz_dir.join("corpus").join(&target.name);
    if committed.is_dir() {
        corpora.push(committed);
    }
    // libFuzzer takes a seed of 32 bits, and 0 as "take one from the clock".
    let seed = search.seed % u64::from(u32::MAX) + 1;
    Invocation::cargo(workspace)
        // cargo-fuzz passes flags that the compiler keeps for its nightly builds.
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", "run", "--sanitizer", search.sanitizer.flag(), "--fuzz-dir"])
        .arg(&target.fuzz_dir)
        .arg("--target-dir")
        .arg(&build_dir)
        .arg(&target.name)
        .args(corpora)
        .args(["--", "-detect_leaks=0", "-timeout=20", "-print_final_stats=1"])
        .arg(format!("-max_total_time={}", search.seconds))
        .arg(format!("-seed={seed}"))
        .run(console)
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
