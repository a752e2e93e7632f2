//! Secrets in files that only their owner may read, read again when they change; or in the environment.

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
    Ok((stamp(&known), sound(&text).map_err(|why| failed(&why))?))
}

/// A secret of one line, without what surrounds it.
fn sound(text: &str) -> Result<Zeroizing<String>, &'static str> {
    match text.trim() {
        "" => Err("nothing is in it"),
        secret if secret.chars().any(char::is_control) => Err("more than one line, or a control character"),
        secret => Ok(Zeroizing::new(secret.to_owned())),
    }
}

fn stamp(known: &std::fs::Metadata) -> Stamp {
    (known.ino(), known.len(), known.mtime(), known.mtime_nsec(), known.dev())
}

/// A credential whose secret lies in a file, where whoever replaces the file need not restart anything; or in a variable of the
/// environment, where it stays what it was at the start.
pub(crate) struct StoredSecret {
    place: Place,
    /// Name of a user or client, where there is one beside the secret.
    id: Option<String>,
    known: Mutex<(Stamp, Credential)>,
    /// What [`changed`](Self::changed) saw last.
    seen: Mutex<Stamp>,
}

enum Place {
    File(PathBuf),
    Environment,
}

impl StoredSecret {
    pub(crate) fn in_file(path: PathBuf, id: Option<String>) -> Result<Self, String> {
        let (stamp, secret) = stamped(&path)?;
        Ok(Self::stored(Place::File(path), stamp, id, &secret))
    }

    pub(crate) fn in_environment(name: &str, id: Option<String>) -> Result<Self, String> {
        let text = Zeroizing::new(std::env::var(name).map_err(|error| format!("`{name}`: {error}"))?);
        let secret = sound(&text).map_err(|why| format!("`{name}`: {why}"))?;
        Ok(Self::stored(Place::Environment, Stamp::default(), id, &secret))
    }

    fn stored(place: Place, stamp: Stamp, id: Option<String>, secret: &str) -> Self {
        let known = Mutex::new((stamp, credential(id.as_deref(), secret)));
        Self { place, id, known, seen: Mutex::new(stamp) }
    }

    /// Whether it is another than at the last call; and where it lies then.
    pub(crate) fn changed(&self) -> Option<&Path> {
        let Place::File(path) = &self.place else { return None };
        let now = stamp(&std::fs::metadata(path).ok()?);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::replace(&mut *seen, now) != now).then_some(path)
    }

    /// As it is now. Says why there is none.
    pub(crate) fn now(&self) -> Result<Credential, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Place::File(path) = &self.place {
            let failed = |error: std::io::Error| format!("`{}`: {error}", path.display());
            let now = stamp(&std::fs::metadata(path).map_err(failed)?);
            if known.0 != now {
                // A file that is gone or open to others is no credential, whatever it was before.
                let (stamp, secret) = stamped(path)?;
                *known = (stamp, credential(self.id.as_deref(), &secret));
            }
        }
        Ok(known.1.clone())
    }
}

fn credential(id: Option<&str>, secret: &str) -> Credential {
    match id {
        Some(id) => Credential::pair(id, Secret::from(secret)),
        None => Credential::secret(Secret::from(secret)),
    }
}

#[async_trait]
impl Credentials for StoredSecret {
    async fn current(&self) -> Result<Credential, SourceError> {
        Ok(self.now()?)
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
        let secret = StoredSecret::in_file(path.clone(), Some("ann".to_owned())).unwrap();
        let before = secret.current().await.unwrap();
        assert_eq!((before.id.as_deref(), before.secret.expose()), (Some("ann"), "one"));
        assert!(secret.changed().is_none());
        write(&path, "two\n");
        assert_eq!(secret.current().await.unwrap().secret.expose(), "two");
        assert!(secret.changed().is_some() && secret.changed().is_none());
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
