//! Packages as they would be published.

use crate::console::Console;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::workspace::Workspace;

/// Packages each library crate and builds it from its package alone; returns their names.
pub(crate) fn run(workspace: &Workspace, console: &Console) -> Result<String, Failure> {
    let changes = Invocation::program(workspace, "git").args(["status", "--porcelain"]).quiet_output();
    let mut invocation = Invocation::cargo(workspace).arg("package");
    for name in workspace.library_crates() {
        invocation = invocation.args(["--package", name]);
    }
    if changes.is_none_or(|changes| !changes.trim().is_empty()) {
        console.say("There are changes that are not committed; they go into the packages as they are.");
        invocation = invocation.arg("--allow-dirty");
    }
    invocation.run(console)?;
    Ok(workspace.library_crates().join(", "))
}
