//! Debian packages that are unpacked beside the environments rather than installed: two that conflict with each other, and of which each
//! would take the place of the log service that a machine has.

use std::fs;

use testbed::Toolbox;

use crate::console::Console;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::tools::as_root;
use crate::workspace::Workspace;

/// The servers, and the libraries of theirs that few machines have.
const PACKAGES: &[&str] = &[
    "rsyslog",
    "rsyslog-openssl",
    "syslog-ng-core",
    "libestr0",
    "libfastjson4",
    "libivykis0",
    "libjson-c5",
    "liblognorm5",
    "libnet1",
    "libpcre3",
    "libwrap0",
];

/// Fetches and unpacks them where that was not done; returns how many there are.
pub(crate) fn ensure(workspace: &Workspace, console: &Console) -> Result<usize, Failure> {
    let dir = Toolbox::in_target(workspace.target_dir()).unpacked();
    let (stamp, wanted) = (dir.join("made-from"), PACKAGES.join("\n"));
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(PACKAGES.len());
    }
    console.say("Unpacking syslog servers beside what is installed; this fetches packages.");
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(Failure::io("remove", &dir))?;
    }
    let fetched = dir.join("fetched");
    fs::create_dir_all(&fetched).map_err(Failure::io("create", &fetched))?;
    let fetch = || {
        let fetch = Invocation::program(workspace, "apt-get").args(["download", "--quiet=2"]).args(PACKAGES);
        fetch.dir(&fetched).run(console)
    };
    if fetch().is_err() {
        // The package lists may be missing, or too old.
        as_root(workspace, "apt-get").args(["update", "--quiet=2"]).run(console)?;
        fetch()?;
    }
    let root = dir.join("root");
    for entry in fs::read_dir(&fetched).map_err(Failure::io("list", &fetched))?.flatten() {
        Invocation::program(workspace, "dpkg").arg("-x").arg(entry.path()).arg(&root).run(console)?;
    }
    fs::write(&stamp, wanted).map_err(Failure::io("write", &stamp))?;
    Ok(PACKAGES.len())
}
