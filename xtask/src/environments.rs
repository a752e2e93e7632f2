//! The Python and Node environments of `testbed`, made once from their lock files.

use std::fs;

use testbed::{Environment, Toolbox};

use crate::console::Console;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::tools::DEBIAN_PYTHON;
use crate::workspace::Workspace;

/// Makes those that are missing or older than their lock file; returns how many there are.
pub(crate) fn ensure(workspace: &Workspace, console: &Console) -> Result<usize, Failure> {
    let toolbox = Toolbox::in_target(workspace.target_dir());
    for environment in Environment::ALL {
        if !toolbox.holds(environment) {
            make(workspace, console, &toolbox, environment).map_err(|source| Failure::Environment {
                name: environment.name(),
                source: Box::new(source),
            })?;
        }
    }
    Ok(Environment::ALL.len())
}

fn make(
    workspace: &Workspace,
    console: &Console,
    toolbox: &Toolbox,
    environment: Environment,
) -> Result<(), Failure> {
    console.say(&format!("Making {} from its lock file; this fetches packages.", environment.name()));
    let dir = toolbox.environment(environment);
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(Failure::io("remove", &dir))?;
    }
    fs::create_dir_all(&dir).map_err(Failure::io("create", &dir))?;
    match environment {
        Environment::Python | Environment::SiemPython | Environment::EventsPython => {
            let lock = dir.join("requirements.txt");
            fs::write(&lock, environment.lock()).map_err(Failure::io("write", &lock))?;
            Invocation::program(workspace, DEBIAN_PYTHON).args(["-m", "venv"]).arg(&dir).run(console)?;
            // The hashes in the lock file are what makes it one: a package that differs is refused. It is whole, so nothing is
            // resolved; Debian's pip would look for what only an extra asks for by itself, and find what is not pinned.
            Invocation::program(workspace, dir.join("bin/pip"))
                .args([
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--require-hashes",
                    "--no-deps",
                    "--requirement",
                ])
                .arg(&lock)
                .run(console)?;
        }
        Environment::Node | Environment::SiemNode | Environment::EventsNode => {
            for (name, text) in
                [("package-lock.json", Some(environment.lock())), ("package.json", environment.manifest())]
            {
                let path = dir.join(name);
                fs::write(&path, text.unwrap_or_default()).map_err(Failure::io("write", &path))?;
            }
            Invocation::program(workspace, "npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
                .arg(&dir)
                .run(console)?;
        }
    }
    Ok(toolbox.mark_made(environment)?)
}
