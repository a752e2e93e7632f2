//! Files and directories of the provisioner's own, readable by its owner alone.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::EngineError;

/// Makes a directory, or makes one that is there private.
pub(crate) fn private_dir(path: &Path) -> Result<(), EngineError> {
    let failed = |source| EngineError::File { what: "cannot make", path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// Writes a file whole or not at all; durable on return.
pub(crate) fn private_file(path: &Path, text: &[u8]) -> Result<(), EngineError> {
    let failed = |source| EngineError::File { what: "cannot write", path: path.to_owned(), source };
    let fresh = path.with_extension("new");
    // A leftover of an interrupted run would keep its old permissions.
    let _ = std::fs::remove_file(&fresh);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)?;
    // The rename lasts once the directory is on disk.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

/// Whether it failed for want of a file descriptor, of which there may be some again soon: `ENFILE`, `EMFILE`.
pub(crate) fn is_scarce(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Keeps a value as JSON.
pub(crate) fn keep(path: &Path, value: &impl Serialize) -> Result<(), EngineError> {
    let text = serde_json::to_vec(value).map_err(|error| EngineError::File {
        what: "cannot write",
        path: path.to_owned(),
        source: error.into(),
    })?;
    private_file(path, &text)
}

/// What was kept, where there is anything.
pub(crate) fn kept<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EngineError> {
    let failed = |source| EngineError::File { what: "cannot read", path: path.to_owned(), source };
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| failed(error.into())),
    }
}
