//! Secrets in files that only their owner may read, read again when they change.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use scim_client::auth::{Credential, Credentials, Secret, SourceError};
use zeroize::Zeroizing;

/// Longest secret that is read.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Which version of a file: replaced, or written to.
type Stamp = (u64, u64, i64, i64, u64);

/// Reads a secret of one line. Says why it is none: no part of it is in what is said.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    stamped(path).map(|(_, secret)| secret)
}

fn stamped(path: &Path) -> Result<(Stamp, Zeroizing<String>), String> {
    let failed = |why: &dyn std::fmt::Display| format!("`{}`: {why}", path.display());
    let file = File::open(path).map_err(|error| failed(&error))?;
    let known = file.metadata().map_err(|error| failed(&error))?;
    if !known.is_file() {
        return Err(failed(&"this is no file"));
    }
    let mode = known.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(failed(&format!("others can get at it (mode {mode:04o}): chmod 600 keeps them out")));
    }
    if known.len() > SECRET_BYTES_MAX {
        return Err(failed(&format!("more than {SECRET_BYTES_MAX} bytes, which is no secret")));
    }
    // With room for all of it, no copy is left behind by growing.
    let room = usize::try_from(SECRET_BYTES_MAX).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(|error| failed(&error))?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(failed(&"nothing is in it"));
    }
    if secret.chars().any(char::is_control) {
        return Err(failed(&"more than one line, or a control character"));
    }
    Ok((stamp(&known), Zeroizing::new(secret.to_owned())))
}

fn stamp(known: &std::fs::Metadata) -> Stamp {
    (known.ino(), known.len(), known.mtime(), known.mtime_nsec(), known.dev())
}

/// A credential whose secret lies in a file. Whoever replaces the file need not restart anything.
pub(crate) struct FileSecret {
    path: PathBuf,
    /// Name of a user or client, where there is one beside the secret.
    id: Option<String>,
    known: Mutex<(Stamp, Credential)>,
    /// What [`changed`](Self::changed) saw last.
    seen: Mutex<Stamp>,
}

impl FileSecret {
    pub(crate) fn open(path: PathBuf, id: Option<String>) -> Result<Self, String> {
        let (stamp, secret) = stamped(&path)?;
        let known = Mutex::new((stamp, credential(id.as_deref(), &secret)));
        Ok(Self { path, id, known, seen: Mutex::new(stamp) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is another than at the last call.
    pub(crate) fn changed(&self) -> bool {
        let Ok(known) = std::fs::metadata(&self.path) else { return false };
        let now = stamp(&known);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, now) != now
    }
}

fn credential(id: Option<&str>, secret: &str) -> Credential {
    match id {
        Some(id) => Credential::pair(id, Secret::from(secret)),
        None => Credential::secret(Secret::from(secret)),
    }
}

#[async_trait]
impl Credentials for FileSecret {
    async fn current(&self) -> Result<Credential, SourceError> {
        let now = stamp(&std::fs::metadata(&self.path)?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != now {
            // A file that is gone or open to others is no credential, whatever it was before.
            let (stamp, secret) = stamped(&self.path)?;
            *known = (stamp, credential(self.id.as_deref(), &secret));
        }
        Ok(known.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, text: &str) {
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&fresh, path).unwrap();
    }

    #[tokio::test]
    async fn a_replaced_file_is_the_new_credential() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        write(&path, "one\n");
        let secret = FileSecret::open(path.clone(), Some("ann".to_owned())).unwrap();
        let before = secret.current().await.unwrap();
        assert_eq!((before.id.as_deref(), before.secret.expose()), (Some("ann"), "one"));
        assert!(!secret.changed());
        write(&path, "two\n");
        assert_eq!(secret.current().await.unwrap().secret.expose(), "two");
        assert!(secret.changed() && !secret.changed());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, "");
        let error = secret.current().await.unwrap_err().to_string();
        assert!(error.contains("nothing is in it"), "{error}");
    }

    #[test]
    fn what_others_can_read_is_refused_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "hunter2").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.contains("chmod 600") && !error.contains("hunter2"), "{error}");
    }
}
