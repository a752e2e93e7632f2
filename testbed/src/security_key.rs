//! Security keys without hardware: a provider library that OpenSSH's own tools load.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Error;
use crate::process::Running;
use crate::program::{Program, run};

/// Whether a security key asks to be touched. One that asks always is; one that does not never is, and says so in its signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// As OpenSSH makes keys.
    Asked,
    /// As `ssh-keygen -O no-touch-required` makes them.
    NotAsked,
}

/// A provider of security keys (`SSH_SK_PROVIDER`, `SecurityKeyProvider`), compiled here, and the keys that it made. Gone when dropped.
///
/// OpenSSH's `ssh-keygen`, `ssh` and `ssh-sk-helper` do with it whatever they do with a device.
#[derive(Debug)]
pub struct SecurityKeys {
    dir: TempDir,
}

impl SecurityKeys {
    /// Compiles the provider.
    ///
    /// # Errors
    /// [`Error::Needs`] without a C compiler, [`Error::Failed`] with its words where OpenSSL's headers (`libssl-dev`) are missing.
    pub fn plug_in() -> Result<Self, Error> {
        let dir =
            tempfile::Builder::new().prefix("testbed-sk-").tempdir().map_err(Error::io("create", "/tmp"))?;
        let source = dir.path().join("security_key.c");
        std::fs::write(&source, include_str!("security_key.c")).map_err(Error::io("write", &source))?;
        let library = dir.path().join(LIBRARY);
        let [shared, independent, out] = ["-shared", "-fPIC", "-o"].map(Path::new);
        run("cc", "gcc", [shared, independent, out, &library, &source, Path::new("-lcrypto")])?;
        Ok(Self { dir })
    }

    /// The provider library, an absolute path.
    pub fn provider(&self) -> PathBuf {
        self.dir.path().join(LIBRARY)
    }

    /// Makes a key of this type (`ed25519-sk`, `ecdsa-sk`) by `ssh-keygen`, without a passphrase. Returns the path of its private file; the
    /// public one is beside it, as always.
    ///
    /// # Errors
    /// [`Error::Needs`] without `ssh-keygen`, [`Error::Failed`] with its words when it makes none.
    pub fn make(&self, key_type: &str, touch: Touch) -> Result<PathBuf, Error> {
        let path = self.dir.path().join(format!("{key_type}-{touch:?}"));
        let mut keygen = Program::find("ssh-keygen", "openssh-client")?.command();
        keygen.env("SSH_SK_PROVIDER", self.provider());
        keygen.args(["-q", "-t", key_type, "-N", "", "-f"]).arg(&path);
        if touch == Touch::NotAsked {
            keygen.args(["-O", "no-touch-required"]);
        }
        let mut making = Running::spawn(keygen)?;
        making.close_stdin();
        let made = making.wait(KEYGEN_LIMIT)?;
        match made.status.success() {
            true => Ok(path),
            false => Err(Error::Failed { program: "ssh-keygen".to_owned(), stderr: made.stderr_text() }),
        }
    }
}

const LIBRARY: &str = "libsecurity_key.so";
const KEYGEN_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
