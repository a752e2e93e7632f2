//! Files that only their owner may read, and keys kept in them.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use session_filter::ssh::keys::ssh_key::LineEnding;
use session_filter::ssh::keys::{Algorithm, PrivateKey};

use crate::Failure;

/// Makes `path` a directory that only its owner may enter.
pub(crate) fn private_dir(path: &Path) -> Result<(), Failure> {
    let failed = || Failure::because::<std::io::Error>(format!("cannot make directory `{}`", path.display()));
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) => return Err(failed()(error)),
    }
    let held = std::fs::metadata(path).map_err(failed())?;
    if held.uid() != rustix::process::geteuid().as_raw() {
        return Err(Failure::new(format!("`{}` belongs to somebody else", path.display())));
    }
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).map_err(failed())
}

/// Writes a file that only its owner may read, replacing what was there in one step.
pub(crate) fn private_file(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let failed = || Failure::because::<std::io::Error>(format!("cannot write `{}`", path.display()));
    let temporary = path.with_extension("new");
    // A leftover of an interrupted run would keep its old permissions.
    let _ = std::fs::remove_file(&temporary);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed())?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(failed())?;
    std::fs::rename(&temporary, path).map_err(failed())?;
    // The rename lasts once the directory is on disk.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed())
}

/// A fresh Ed25519 key.
pub(crate) fn new_key() -> Result<PrivateKey, Failure> {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
        .map_err(Failure::because("cannot make a key"))
}

/// Writes a private key in OpenSSH's format.
pub(crate) fn write_key(path: &Path, key: &PrivateKey) -> Result<(), Failure> {
    let text = key.to_openssh(LineEnding::LF).map_err(Failure::because("cannot encode a key"))?;
    private_file(path, text.as_bytes())
}

/// Reads a private key in OpenSSH's format, without a passphrase.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKey, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(Failure::because(format!("cannot read key `{}`", path.display())))?;
    PrivateKey::from_openssh(&text)
        .map_err(Failure::because(format!("`{}` is no usable private key", path.display())))
}

/// The key at `path`; made there at the first start.
pub(crate) fn kept_key(path: &Path) -> Result<PrivateKey, Failure> {
    if path.exists() {
        return read_key(path);
    }
    let key = new_key()?;
    write_key(path, &key)?;
    Ok(key)
}

/// What other users of this machine may do with a file that they should not: a sentence for people, or nothing.
pub(crate) fn exposure(path: &Path, kept: Kept) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.mode();
    let (others, may) = match kept {
        Kept::Secret => (mode & 0o077, "read or change"),
        Kept::Unchanged => (mode & 0o022, "change"),
    };
    (others != 0).then(|| format!("{}: others may {may} it (mode {:03o})", path.display(), mode & 0o777))
}

/// How a file is to be kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kept {
    /// Nobody else may read it.
    Secret,
    /// Nobody else may change it.
    Unchanged,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_that_others_can_use_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let said = |mode, kept| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            exposure(&path, kept).is_some()
        };
        assert!(!said(0o600, Kept::Secret));
        assert!(said(0o640, Kept::Secret));
        assert!(!said(0o644, Kept::Unchanged));
        assert!(said(0o664, Kept::Unchanged));
    }
}
