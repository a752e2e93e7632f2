//! Finding installed programs and running short ones to their end.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Output, Running};
use crate::{Error, Needs};

/// An installed program, found in `PATH` or where Debian keeps servers.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// Looks for `name` in `PATH`, then in `/usr/sbin`, `/usr/local/sbin` and `/sbin`, which an ordinary user's `PATH`
    /// often lacks.
    ///
    /// # Errors
    /// [`Needs`], naming `package`, when it is nowhere.
    pub fn find(name: &str, package: &str) -> Result<Self, Needs> {
        let search_path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&search_path)
            .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(name))
            .find(|candidate| is_executable(candidate))
            .map(|path| Self { path })
            .ok_or_else(|| Needs { program: name.to_owned(), package: package.to_owned() })
    }

    /// Where it was found; always absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }
}

/// Finds `name`, runs it with `args` and nothing on standard input, and waits at most a minute for its end.
///
/// # Errors
/// [`Error::Needs`] when it is not installed, [`Error::TimedOut`] when it does not end, [`Error::Failed`] when it ends
/// with a status other than 0.
pub fn run<A: AsRef<OsStr>>(
    name: &str,
    package: &str,
    args: impl IntoIterator<Item = A>,
) -> Result<Output, Error> {
    let mut command = Program::find(name, package)?.command();
    command.args(args);
    let mut running = Running::spawn(command)?;
    running.close_stdin();
    let output = running.wait(Duration::from_secs(60))?;
    if output.status.success() {
        Ok(output)
    } else {
        Err(Error::Failed { program: name.to_owned(), stderr: output.stderr_text() })
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
