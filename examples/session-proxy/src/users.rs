//! The users file: names, password hashes, keys, roles; watched while the proxy runs.

use std::collections::HashSet;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _};
use serde::Deserialize;
use session_filter::User;
use session_filter::ssh::keys::ssh_key::public::KeyData;
use session_filter::ssh::keys::{Algorithm, PublicKey};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::Failure;

/// Longest users file.
const USERS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest password that is looked at.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;
/// Shortest RSA key that opens, in bits.
const RSA_BITS_MIN: u32 = 2048;
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
    /// An Argon2id hash in PHC form.
    password: Option<toml::Spanned<String>>,
    /// Public keys as in OpenSSH's `authorized_keys`; the only option is `no-touch-required`, for security keys.
    #[serde(default)]
    keys: Vec<toml::Spanned<String>>,
    /// What else is needed besides a password or key.
    second_factor: Option<SecondFactorToml>,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SecondFactorToml {
    /// A one-time code; `session-proxy enroll-totp` makes its secret.
    Totp,
}

impl std::fmt::Debug for UserToml {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserToml").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Somebody who may log in.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) user: User,
    /// An Argon2 hash in PHC form.
    pub(crate) password: Option<String>,
    pub(crate) keys: Vec<KeyData>,
    /// Whether a one-time code is needed, too.
    pub(crate) needs_code: bool,
}

/// The users as the file had them at one moment.
#[derive(Default)]
pub(crate) struct UserList {
    people: Vec<Person>,
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
        let mut people: Vec<Person> = Vec::new();
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
            let password = match entry.password {
                None => None,
                Some(password) => Some(password_hash(text, password)?),
            };
            let keys = entry.keys.iter().map(|key| {
                public_key(key.get_ref()).map_err(|what| format!("{}: {what}", place(text, key.span().start)))
            });
            let keys: Vec<KeyData> = keys.collect::<Result<_, _>>()?;
            if password.is_none() && keys.is_empty() {
                return Err(format!("{at}: `{name}` needs a `password`, `keys` or both"));
            }
            let needs_code = matches!(entry.second_factor, Some(SecondFactorToml::Totp));
            let user = entry.roles.into_iter().fold(User::new(name), User::role);
            people.push(Person { user, password, keys, needs_code });
        }
        Ok(Self { people })
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Person> {
        self.people.iter().find(|person| person.user.id() == name)
    }

    /// Names of those who need a one-time code.
    pub(crate) fn with_code(&self) -> impl Iterator<Item = &str> {
        self.people.iter().filter(|person| person.needs_code).map(|person| person.user.id())
    }

    pub(crate) fn len(&self) -> usize {
        self.people.len()
    }
}

fn password_hash(text: &str, password: toml::Spanned<String>) -> Result<String, String> {
    let at = place(text, password.span().start);
    let password = password.into_inner();
    match PasswordHash::new(&password) {
        Ok(hash) if hash.algorithm.as_str().starts_with("argon2") => Ok(password),
        // The text itself is not repeated: it may be a password in the clear.
        _ => Err(format!("{at}: not an Argon2 hash; `session-proxy hash-password` makes one")),
    }
}

/// One line of `authorized_keys`.
fn public_key(line: &str) -> Result<KeyData, String> {
    let (untouched, line) = match line.trim().split_once(char::is_whitespace) {
        Some(("no-touch-required", key)) => (true, key.trim()),
        Some(("verify-required", _)) => {
            return Err("`verify-required`: whether a PIN was entered cannot be seen".to_owned());
        }
        _ => (false, line.trim()),
    };
    // Not repeated: somebody may have pasted the private one.
    let key = PublicKey::from_openssh(line)
        .map_err(|_| "not a public key such as `ssh-ed25519 AAAA… comment`".to_owned())?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => {}
        Algorithm::Rsa { .. } if key.key_data().rsa().is_some_and(|rsa| rsa.key_size() >= RSA_BITS_MIN) => {}
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 if untouched => {}
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => {
            return Err(
                "whether a security key was touched cannot be seen; `no-touch-required` before it says that \
                        this will do"
                    .to_owned(),
            );
        }
        Algorithm::Rsa { .. } => return Err(format!("an RSA key needs {RSA_BITS_MIN} bits or more")),
        other => return Err(format!("`{other}` keys are not accepted")),
    }
    Ok(key.key_data().clone())
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
}

impl UserFile {
    /// Reads the file once and then watches it. `tell` hears of every change and every mistake.
    pub(crate) fn watch(
        path: PathBuf,
        tell: impl Fn(Result<usize, String>) + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Failure> {
        let text = read(&path).map_err(Failure::because(format!("cannot read `{}`", path.display())))?;
        let list = UserList::parse(&text).map_err(Failure::because(path.display().to_string()))?;
        let file = Arc::new(Self { current: RwLock::new(Arc::new(list)), version: watch::channel(0).0 });
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
        self.person(name).map(|person| person.user)
    }

    /// The user as listed now, with all that opens.
    pub(crate) fn person(&self, name: &str) -> Option<Person> {
        self.list().find(name).cloned()
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
        let mistake = UserList::parse("[[user]]\nname = \"a\"\npassword = \"hunter2\"\n").err().unwrap();
        assert!(mistake.starts_with("line 3, column 12"), "{mistake}");
        assert!(!mistake.contains("hunter2"), "{mistake}");
        let good = hash("x").unwrap();
        let twice =
            format!("[[user]]\nname=\"a\"\npassword=\"{good}\"\n[[user]]\nname=\"a\"\npassword=\"{good}\"\n");
        assert!(UserList::parse(&twice).err().unwrap().contains("line 5"));
        let broken = UserList::parse("[[user]]\nname = \"a\"\npassword = \"hunter2\n").err().unwrap();
        assert!(broken.starts_with("line 3") && !broken.contains("hunter2"), "{broken}");
        let plus = format!("[[user]]\nname=\"a+b\"\npassword=\"{good}\"\n");
        assert!(UserList::parse(&plus).err().unwrap().contains("line 2, column 6"));
    }

    #[test]
    fn keys_are_read_as_in_authorized_keys_and_unsound_ones_are_mistakes() {
        const ED25519: &str =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        const SK: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIFY5WwDTXUMKiopHDWtBG5N7vYpBMVSfwp3KmVJyNDd3AAAABHNzaDo=";
        let list = |keys: &str| {
            UserList::parse(&format!("[[user]]\nname = \"a\"\nkeys = [{keys}]\nsecond_factor = \"totp\"\n"))
        };
        let good = list(&format!("\"{ED25519} a@laptop\", \"no-touch-required {SK} a@key\"")).unwrap();
        assert_eq!(good.find("a").map(|person| person.keys.len()), Some(2));
        assert_eq!(good.with_code().collect::<Vec<_>>(), ["a"]);
        let mistake = |keys: &str| list(keys).err().unwrap();
        let untouched = mistake(&format!("\"{ED25519}\",\n  \"{SK}\""));
        assert!(
            untouched.starts_with("line 4, column 3: ") && untouched.contains("no-touch-required"),
            "{untouched}"
        );
        assert!(mistake(&format!("\"verify-required {SK}\"")).contains("PIN"));
        assert!(mistake("\"-----BEGIN hunter2\"").contains("not a public key"));
        assert!(!mistake("\"-----BEGIN hunter2\"").contains("hunter2"));
        assert!(mistake(&format!("\"from=10.0.0.1 {ED25519}\"")).contains("not a public key"));
        assert!(mistake("").contains("needs a `password`, `keys` or both"));
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
