//! The long tests.
//!
//! A long test is an integration test with `soak` in its name (a module `soak` will do). It reads two environment
//! variables: `SOAK_ROUNDS`, how many rounds to run ([`TWENTIETH_ROUNDS`] when unset), and `SOAK_SEED`, which
//! decides what happens in them.

use crate::console::Console;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::verdict::Verdict;
use crate::workspace::Workspace;

pub(crate) const FULL_ROUNDS: u64 = 1000;
pub(crate) const TWENTIETH_ROUNDS: u64 = FULL_ROUNDS / 20;

pub(crate) fn run(
    workspace: &Workspace,
    console: &Console,
    scale: u32,
    seed: u64,
    name: Option<&str>,
) -> Result<(), Failure> {
    let rounds = FULL_ROUNDS * u64::from(scale);
    console.say(&format!("soak: {rounds} rounds, seed {seed} (repeat with --scale {scale} --seed {seed})"));
    console.start_status("soak");
    let filter = name.unwrap_or("soak");
    let invocation = Invocation::cargo(workspace)
        .env("SOAK_ROUNDS", rounds.to_string())
        .env("SOAK_SEED", seed.to_string())
        .args(["test", "--workspace", "--all-features", "--tests", "--", "--include-ignored", "--nocapture"])
        .arg(filter);
    let command = invocation.shown();
    let mut verdict = Verdict::default();
    invocation.run_seeing(console, |line| verdict.see(line))?;
    if verdict.ran() == 0 {
        return Err(Failure::NothingRan { command, why: "no test has that in its name" });
    }
    console.say(&format!("soak: {} passed at {rounds} rounds, seed {seed}", verdict.passed));
    Ok(())
}
