//! What runs on the target: small programs of known paths, and something to move.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Programs, and a file of text in memory.
pub(crate) struct Scripts {
    dir: TempDir,
}

impl Scripts {
    /// With a file of so many MiB.
    pub(crate) fn create(mib: usize) -> Self {
        // In memory, so that reading it costs the same every time.
        let dir = tempfile::Builder::new().prefix("bench-").tempdir_in("/dev/shm").expect("/dev/shm");
        let scripts = Self { dir };
        let mut block = String::with_capacity(1 << 20);
        let mut number = 0;
        while block.len() < 1 << 20 {
            number += 1;
            let _ = write!(
                block,
                "2026-01-31T09:15:27Z host-{} service[{number}]: request took {} ms\r\n",
                number % 40,
                number * 7 % 900
            );
        }
        block.truncate(1 << 20);
        fs::write(scripts.data(), block.repeat(mib)).unwrap();
        let data = scripts.data();
        let data = data.display();
        scripts.write("download", &format!("exec cat {data}"));
        scripts.write("upload", "exec cat > /dev/null");
        scripts.write("to-terminal", &format!("stty raw -echo; exec cat {data}"));
        scripts.write("echo", "stty raw -echo; printf ready; exec cat");
        scripts
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A policy that permits them all, with what is kept of their output.
    pub(crate) fn policy(&self, record: &str) -> String {
        let names =
            ["download", "upload", "to-terminal", "echo"].map(|name| format!("{:?}", self.path(name)));
        format!(
            "[[permit]]\nusers = [\"alice\"]\ntargets = [\"box\"]\nrecord = \"{record}\"\ncommands = [{}, \"true\"]\n",
            names.join(", ")
        )
    }

    fn write(&self, name: &str, body: &str) {
        let path: &Path = &self.dir.path().join(name);
        fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
