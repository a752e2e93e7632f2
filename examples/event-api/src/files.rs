//! Files and directories of the service's own, readable by its owner alone.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes a directory, or makes one that is there private.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// Writes a file whole or not at all; durable on return.
pub(crate) fn private_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    // A leftover of an interrupted run would keep its old permissions.
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text).and_then(|()| file.sync_all())?;
    std::fs::rename(&fresh, path)?;
    // The rename lasts once the directory is on disk.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all())
}

/// What is in a file, where there is one.
pub(crate) fn kept(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
