//! The users file: names, password hashes, roles; watched while the proxy runs.

use std::collections::HashSet;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use async_trait::async_trait;
use serde::Deserialize;
use session_filter::User;
use session_filter::ssh::Authenticator;
use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

use crate::Failure;

/// Longest users file.
const USERS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Passwords that are verified at the same time: each takes 19 MiB and tens of milliseconds of a core.
const VERIFY_MAX: usize = 4;
/// Longest password that is looked at.
const PASSWORD_BYTES_MAX: usize = 1024;
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsersToml {
    #[serde(default, rename = "user")]
    users: Vec<UserToml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserToml {
    name: toml::Spanned<String>,
    password: toml::Spanned<String>,
    #[serde(default)]
    roles: Vec<String>,
}

impl std::fmt::Debug for UserToml {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserToml").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The users as the file had them at one moment.
#[derive(Debug, Default)]
pub(crate) struct UserList {
    users: Vec<(User, String)>,
}

impl UserList {
    /// Parses a users file; a mistake is named with line and column.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // The error's own text draws the line it stands on, which may hold a password in the clear.
        let parsed: UsersToml = toml::from_str(text).map_err(|e| match e.span() {
            Some(span) => format!("{}: {}", place(text, span.start), e.message().replace('\n', " ")),
            None => e.message().to_owned(),
        })?;
        let mut names = HashSet::new();
        let mut users: Vec<(User, String)> = Vec::new();
        for entry in parsed.users {
            let at = place(text, entry.name.span().start);
            let name = entry.name.into_inner();
            if name.is_empty() || name.contains('+') || name.chars().any(char::is_control) || name.len() > 128
            {
                return Err(format!("{at}: a name is 1 to 128 bytes without `+` and control characters"));
            }
            if !names.insert(name.clone()) {
                return Err(format!("{at}: `{name}` is listed twice"));
            }
            let at = place(text, entry.password.span().start);
            let password = entry.password.into_inner();
            match PasswordHash::new(&password) {
                Ok(hash) if hash.algorithm.as_str().starts_with("argon2") => {}
                // The text itself is not repeated: it may be a password in the clear.
                _ => {
                    return Err(format!("{at}: not an Argon2 hash; `session-proxy hash-password` makes one"));
                }
            }
            let user = entry.roles.into_iter().fold(User::new(name), User::role);
            users.push((user, password));
        }
        Ok(Self { users })
    }

    fn find(&self, name: &str) -> Option<&(User, String)> {
        self.users.iter().find(|(user, _)| user.id() == name)
    }

    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }
}

/// `line 3, column 12` of a byte offset.
pub(crate) fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    format!("line {line}, column {column}")
}

/// The users file, kept in step with the disk.
pub(crate) struct UserFile {
    current: RwLock<Arc<UserList>>,
    version: watch::Sender<u64>,
    verifying: Semaphore,
    /// Verified when a name does not exist, so that the time taken does not tell.
    decoy: String,
}

impl UserFile {
    /// Reads the file once and then watches it. `tell` hears of every change and every mistake.
    pub(crate) fn watch(
        path: PathBuf,
        tell: impl Fn(Result<usize, String>) + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Failure> {
        let text = read(&path).map_err(Failure::because(format!("cannot read `{}`", path.display())))?;
        let list = UserList::parse(&text).map_err(Failure::because(path.display().to_string()))?;
        let file = Arc::new(Self {
            current: RwLock::new(Arc::new(list)),
            version: watch::channel(0).0,
            verifying: Semaphore::new(VERIFY_MAX),
            decoy: hash("no password has this hash")?,
        });
        let watched = Arc::downgrade(&file);
        // On a thread of its own: a file system that stalls must not stall the sessions.
        std::thread::Builder::new()
            .name("users-file".to_owned())
            .spawn(move || {
                let mut watch = Watch { held: text, candidate: None, mistaken: None };
                loop {
                    std::thread::sleep(LOOK_EVERY);
                    let Some(file) = watched.upgrade() else { return };
                    match watch.look(&path) {
                        None => {}
                        Some(Ok(list)) => {
                            let users = list.len();
                            *file.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
                            file.version.send_modify(|version| *version += 1);
                            tell(Ok(users));
                        }
                        Some(Err(mistake)) => {
                            let place = path.display();
                            tell(Err(format!("{place}: {mistake}; the last good list stays in force")));
                        }
                    }
                }
            })
            .map_err(Failure::because("cannot watch the users file"))?;
        Ok(file)
    }

    /// The user as listed now, with the roles of now.
    pub(crate) fn find(&self, name: &str) -> Option<User> {
        self.list().find(name).map(|(user, _)| user.clone())
    }

    pub(crate) fn version(&self) -> u64 {
        *self.version.borrow()
    }

    pub(crate) async fn changed(&self, seen: u64) -> u64 {
        let mut version = self.version.subscribe();
        match version.wait_for(|now| *now != seen).await {
            Ok(now) => *now,
            // The sender is ours.
            Err(_) => seen,
        }
    }

    fn list(&self) -> Arc<UserList> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was seen of the file so far.
struct Watch {
    held: String,
    candidate: Option<String>,
    mistaken: Option<String>,
}

impl Watch {
    /// Looks once; something only when there is news.
    fn look(&mut self, path: &Path) -> Option<Result<UserList, String>> {
        let now = match read(path) {
            Ok(text) => text,
            Err(error) => {
                if self.mistaken.as_ref() == Some(&error) {
                    return None;
                }
                self.mistaken = Some(error.clone());
                return Some(Err(error));
            }
        };
        self.mistaken = None;
        if now == self.held {
            self.candidate = None;
            return None;
        }
        // Taken only when read twice the same: an editor may be in the middle of writing.
        if self.candidate.as_ref() != Some(&now) {
            self.candidate = Some(now);
            return None;
        }
        self.candidate = None;
        self.held = now;
        Some(UserList::parse(&self.held))
    }
}

/// The users file as an authenticator.
#[derive(Clone)]
pub(crate) struct Passwords(pub(crate) Arc<UserFile>);

#[async_trait]
impl Authenticator for Passwords {
    async fn password(&self, name: &str, password: &str, _source: IpAddr) -> Option<User> {
        if password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        let _turn = self.0.verifying.acquire().await.ok()?;
        let found = self.0.list().find(name).cloned();
        let hash = found.as_ref().map_or_else(|| self.0.decoy.clone(), |(_, hash)| hash.clone());
        let password = Zeroizing::new(password.to_owned());
        let right = tokio::task::spawn_blocking(move || {
            PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await
        .unwrap_or(false);
        if right { found.map(|(user, _)| user) } else { None }
    }
}

/// An Argon2id hash with a fresh salt, in PHC form.
pub(crate) fn hash(password: &str) -> Result<String, Failure> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(Failure::because("cannot hash"))
}

pub(crate) fn hash_from_stdin() -> Result<(), Failure> {
    let mut password = Zeroizing::new(String::new());
    std::io::stdin()
        .take(PASSWORD_BYTES_MAX as u64 + 2)
        .read_to_string(&mut password)
        .map_err(Failure::because("cannot read the password"))?;
    let password = password.trim_end_matches(['\n', '\r']);
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(Failure::new(format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes")));
    }
    println!("{}", hash(password)?);
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    // Without waiting: opening a FIFO would, for ever.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(i32::from_ne_bytes(rustix::fs::OFlags::NONBLOCK.bits().to_ne_bytes()))
        .open(path)
        .map_err(|e| e.to_string())?;
    if !file.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("not a file".to_owned());
    }
    let mut text = String::new();
    file.take(USERS_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > USERS_BYTES_MAX {
        return Err(format!("longer than {USERS_BYTES_MAX} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_with_their_place_and_without_the_password() {
        let mistake = UserList::parse("[[user]]\nname = \"a\"\npassword = \"hunter2\"\n").unwrap_err();
        assert!(mistake.starts_with("line 3, column 12"), "{mistake}");
        assert!(!mistake.contains("hunter2"), "{mistake}");
        let good = hash("x").unwrap();
        let twice =
            format!("[[user]]\nname=\"a\"\npassword=\"{good}\"\n[[user]]\nname=\"a\"\npassword=\"{good}\"\n");
        assert!(UserList::parse(&twice).unwrap_err().contains("line 5"));
        let broken = UserList::parse("[[user]]\nname = \"a\"\npassword = \"hunter2\n").unwrap_err();
        assert!(broken.starts_with("line 3") && !broken.contains("hunter2"), "{broken}");
        let plus = format!("[[user]]\nname=\"a+b\"\npassword=\"{good}\"\n");
        assert!(UserList::parse(&plus).unwrap_err().contains("line 2, column 6"));
    }

    #[tokio::test]
    async fn password_opens_and_removal_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let hashed = hash("right").unwrap();
        std::fs::write(&path, format!("[[user]]\nname=\"a\"\npassword=\"{hashed}\"\nroles=[\"r\"]\n"))
            .unwrap();
        let file = UserFile::watch(path.clone(), |_| ()).unwrap();
        let passwords = Passwords(Arc::clone(&file));
        let here = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(passwords.password("a", "right", here).await, Some(User::new("a").role("r")));
        assert_eq!(passwords.password("a", "wrong", here).await, None);
        assert_eq!(passwords.password("b", "right", here).await, None);
        std::fs::write(&path, "# nobody\n").unwrap();
        assert_eq!(file.changed(0).await, 1);
        assert_eq!(file.find("a"), None);
        assert_eq!(passwords.password("a", "right", here).await, None);
    }

    #[tokio::test]
    async fn a_fifo_in_the_file_s_place_is_refused_and_stalls_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        std::fs::write(&path, "# nobody\n").unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let file = UserFile::watch(path.clone(), move |news| drop(tell.send(news))).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        while !told.recv().await.unwrap().unwrap_err().contains("not a file") {}
        let hashed = hash("right").unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, format!("[[user]]\nname=\"a\"\npassword=\"{hashed}\"\n")).unwrap();
        assert_eq!(file.changed(0).await, 1);
    }
}
