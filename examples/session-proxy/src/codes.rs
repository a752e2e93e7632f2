//! Secrets of one-time codes, sealed on disk, each with the step that was used last.
//!
//! A file per user in `totp/` of the data directory, sealed with AES-256-GCM under a key file, the user's name bound in: a file
//! that was put in another's place opens for neither. Whoever can write there can put an old file back, and with it codes of the last
//! minute and a half; whoever has the key file and the directory has the secrets.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use session_filter::ssh::CodeCheck;
use session_filter::totp::{Algorithm, CodeMatch, Totp};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::config::Config;
use crate::users::UserList;
use crate::{Failure, files};

/// Bytes of a new secret (RFC 4226 §4, R6 recommends 160 bits).
const SECRET_BYTES: usize = 20;
/// Digits of a code.
const DIGITS: u32 = 6;
/// Longest key file or sealed file.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// As apps show it.
const ISSUER: &str = "session-proxy";

/// Where the secrets are.
#[derive(Debug, Clone)]
pub(crate) struct Codes {
    dir: PathBuf,
    key: PathBuf,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Secret {
    secret: String,
    algorithm: Algorithm,
    digits: u32,
    last_step: Option<u64>,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    version: u32,
    nonce: String,
    sealed: String,
}

impl Codes {
    pub(crate) fn new(data_dir: &Path, key: Option<PathBuf>) -> Self {
        let key = key.unwrap_or_else(|| Self::default_key(data_dir));
        Self { dir: data_dir.join("totp"), key }
    }

    pub(crate) fn default_key(data_dir: &Path) -> PathBuf {
        data_dir.join("totp.key")
    }

    pub(crate) fn is_enrolled(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Checks a code and stores its use, in one step as seen from other processes. Blocks.
    pub(crate) fn check(&self, name: &str, code: &str, now: DateTime<Utc>) -> CodeCheck {
        if !self.is_enrolled(name) {
            return CodeCheck::NotEnrolled;
        }
        self.try_check(name, code, now).unwrap_or_else(|error| CodeCheck::Unavailable(error.to_string()))
    }

    fn try_check(&self, name: &str, code: &str, now: DateTime<Utc>) -> Result<CodeCheck, Failure> {
        let _turn = self.lock()?;
        let key = self.read_key()?;
        let mut secret = self.open(name, &key)?;
        match totp(&secret)?.check(code, now, secret.last_step) {
            CodeMatch::Wrong => Ok(CodeCheck::Wrong),
            CodeMatch::Replayed => Ok(CodeCheck::Replayed),
            CodeMatch::Right { step } => {
                secret.last_step = Some(step);
                // Durable before anybody is let in.
                self.seal(name, &secret, &key)?;
                Ok(CodeCheck::Right)
            }
        }
    }

    /// Makes a secret for `name`.
    fn enroll(&self, name: &str, replace: bool) -> Result<Totp, Failure> {
        files::private_dir(&self.dir)?;
        let _turn = self.lock()?;
        if self.is_enrolled(name) && !replace {
            return Err(Failure::new(format!("`{name}` has a secret already; `--replace` makes a new one")));
        }
        let key = if self.key.exists() { self.read_key()? } else { self.new_key()? };
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(bytes.as_mut()).map_err(Failure::because("no randomness"))?;
        let secret = Secret {
            secret: BASE64.encode(bytes.as_ref()),
            algorithm: Algorithm::Sha1,
            digits: DIGITS,
            last_step: None,
        };
        self.seal(name, &secret, &key)?;
        totp(&secret)
    }

    /// Names may hold characters that file names may not.
    fn path(&self, name: &str) -> PathBuf {
        let digest = Sha256::digest(name.as_bytes());
        self.dir.join(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// Held by whoever reads a secret to write it again; released when dropped.
    fn lock(&self) -> Result<File, Failure> {
        let path = self.dir.join("lock");
        let failed = || Failure::because::<std::io::Error>(format!("cannot lock `{}`", path.display()));
        let file = File::options().create(true).append(true).open(&path).map_err(failed())?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| failed()(error.into()))?;
        Ok(file)
    }

    fn new_key(&self) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut()).map_err(Failure::because("no randomness"))?;
        files::private_file(&self.key, Zeroizing::new(BASE64.encode(key.as_ref())).as_bytes())?;
        Ok(key)
    }

    fn read_key(&self) -> Result<Zeroizing<[u8; 32]>, Failure> {
        if let Some(exposed) = files::exposure(&self.key, files::Kept::Secret) {
            return Err(Failure::new(exposed));
        }
        let text = read(&self.key)?;
        let wrong = || Failure::new(format!("`{}` is no key: 32 bytes in Base64", self.key.display()));
        let bytes = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| wrong())?);
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return Err(wrong());
        }
        key.copy_from_slice(&bytes);
        Ok(key)
    }

    fn open(&self, name: &str, key: &[u8; 32]) -> Result<Secret, Failure> {
        let wrong = || Failure::new(format!("the sealed secret of `{name}` cannot be opened with this key"));
        let sealed: Sealed = serde_json::from_str(&read(&self.path(name))?).map_err(|_| wrong())?;
        if sealed.version != 1 {
            return Err(wrong());
        }
        let nonce = BASE64.decode(&sealed.nonce).map_err(|_| wrong())?;
        let nonce = Nonce::try_from(nonce.as_slice()).map_err(|_| wrong())?;
        let sealed = BASE64.decode(&sealed.sealed).map_err(|_| wrong())?;
        let payload = Payload { msg: &sealed, aad: &bound_to(name) };
        let opened = Aes256Gcm::new(key.into()).decrypt(&nonce, payload).map_err(|_| wrong())?;
        serde_json::from_slice(&Zeroizing::new(opened)).map_err(|_| wrong())
    }

    fn seal(&self, name: &str, secret: &Secret, key: &[u8; 32]) -> Result<(), Failure> {
        let failed = || Failure::new("cannot seal");
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).map_err(Failure::because("no randomness"))?;
        let text = Zeroizing::new(serde_json::to_vec(secret).map_err(|_| failed())?);
        let payload = Payload { msg: &text, aad: &bound_to(name) };
        let sealed =
            Aes256Gcm::new(key.into()).encrypt(&Nonce::from(nonce), payload).map_err(|_| failed())?;
        let sealed = Sealed { version: 1, nonce: BASE64.encode(nonce), sealed: BASE64.encode(sealed) };
        let text = serde_json::to_vec(&sealed).map_err(|_| failed())?;
        files::private_file(&self.path(name), &text)
    }
}

fn bound_to(name: &str) -> Vec<u8> {
    [b"session-proxy totp 1\0", name.as_bytes()].concat()
}

fn totp(secret: &Secret) -> Result<Totp, Failure> {
    let bytes = BASE64.decode(&secret.secret).map_err(|_| Failure::new("the sealed secret is damaged"))?;
    Totp::new(bytes, secret.algorithm, secret.digits)
        .map_err(Failure::because("the sealed secret is damaged"))
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    use std::io::Read as _;
    let failed = || Failure::because::<std::io::Error>(format!("cannot read `{}`", path.display()));
    let mut text = Zeroizing::new(String::new());
    File::open(path).map_err(failed())?.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed())?;
    Ok(text)
}

/// `session-proxy enroll-totp`.
pub(crate) fn enroll(config: &Path, name: &str, replace: bool) -> Result<(), Failure> {
    let (config, _) = Config::read(config)?;
    let users = config.users.display().to_string();
    let text =
        std::fs::read_to_string(&config.users).map_err(Failure::because(format!("cannot read `{users}`")))?;
    let list = UserList::parse(&text).map_err(Failure::because(users.clone()))?;
    let Some(person) = list.find(name) else {
        return Err(Failure::new(format!("{users}: nobody is called `{}`", name.escape_debug())));
    };
    files::private_dir(&config.data_dir)?;
    let totp = Codes::new(&config.data_dir, config.totp_key).enroll(name, replace)?;
    let uri = totp.uri(ISSUER, name);
    println!("{}", uri.as_str());
    if std::io::stdout().is_terminal() {
        println!("{}", qr_code(&uri).unwrap_or_default());
        println!("For the authenticator app of {name}. It is not shown again.");
    }
    if !person.needs_code {
        crate::say!("warning: {users}: no code is asked of `{name}` until it says second_factor = \"totp\"");
    }
    Ok(())
}

/// For a terminal, two modules per character, light on dark, with the quiet zone that readers need.
fn qr_code(text: &str) -> Option<String> {
    use qrcodegen::{QrCode, QrCodeEcc};
    const QUIET: i32 = 2;
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let range = -QUIET..code.size() + QUIET;
    let mut out = String::new();
    for y in range.clone().step_by(2) {
        for x in range.clone() {
            // `true` is dark, also beyond the last row of an odd number of rows.
            out.push(match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        out.push('\n');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn a_code_opens_once_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let codes = Codes::new(dir.path(), None);
        assert_eq!(codes.check("alice", "000000", now()), CodeCheck::NotEnrolled);
        let totp = codes.enroll("alice", false).unwrap();
        let code = totp.code(now());
        assert_eq!(codes.check("alice", &code, now()), CodeCheck::Right);
        assert_eq!(codes.check("alice", &code, now()), CodeCheck::Replayed);
        assert_eq!(Codes::new(dir.path(), None).check("alice", &code, now()), CodeCheck::Replayed);
        let later = now() + chrono::TimeDelta::seconds(30);
        assert_eq!(codes.check("alice", &totp.code(later), later), CodeCheck::Right);
        assert_eq!(codes.check("alice", &code, later), CodeCheck::Replayed);
    }

    #[test]
    fn of_many_logins_with_the_same_code_one_gets_in() {
        let dir = tempfile::tempdir().unwrap();
        let codes = Codes::new(dir.path(), None);
        let code = codes.enroll("alice", false).unwrap().code(now());
        let right: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| usize::from(codes.check("alice", &code, now()) == CodeCheck::Right)))
                .collect();
            tries.into_iter().map(|tried| tried.join().unwrap()).sum()
        });
        assert_eq!(right, 1);
    }

    #[test]
    fn nothing_on_disk_reads_as_the_secret_and_nobody_else_may_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let codes = Codes::new(dir.path(), None);
        let totp = codes.enroll("alice", false).unwrap();
        let secret = BASE64.encode(totp.secret());
        let path = codes.path("alice");
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&secret));
        for path in [path, codes.key.clone()] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::set_permissions(&codes.key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let checked = codes.check("alice", &totp.code(now()), now());
        assert!(
            matches!(&checked, CodeCheck::Unavailable(why) if why.contains("others may read")),
            "{checked:?}"
        );
    }

    #[test]
    fn a_secret_opens_for_its_user_and_with_its_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        let codes = Codes::new(dir.path(), None);
        let totp = codes.enroll("alice", false).unwrap();
        codes.enroll("bob", false).unwrap();
        std::fs::copy(codes.path("alice"), codes.path("bob")).unwrap();
        let refused = |name: &str| {
            let checked = codes.check(name, &totp.code(now()), now());
            matches!(&checked, CodeCheck::Unavailable(why) if why.contains("cannot be opened"))
        };
        assert!(refused("bob"));
        assert!(!refused("alice"));
        codes.new_key().unwrap();
        assert!(refused("alice"));
        std::fs::remove_file(&codes.key).unwrap();
        let checked = codes.check("alice", &totp.code(now()), now());
        assert!(matches!(checked, CodeCheck::Unavailable(_)), "{checked:?}");
    }

    #[test]
    fn a_use_that_cannot_be_stored_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let codes = Codes::new(dir.path(), None);
        let totp = codes.enroll("alice", false).unwrap();
        // Where the new file would be written, there is a directory that cannot be removed as a file.
        std::fs::create_dir(codes.path("alice").with_extension("new")).unwrap();
        let checked = codes.check("alice", &totp.code(now()), now());
        assert!(matches!(checked, CodeCheck::Unavailable(_)), "{checked:?}");
    }

    #[test]
    fn a_second_enrolment_has_to_be_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let codes = Codes::new(dir.path(), None);
        let first = codes.enroll("alice", false).unwrap();
        assert!(codes.enroll("alice", false).unwrap_err().to_string().contains("--replace"));
        let second = codes.enroll("alice", true).unwrap();
        assert_ne!(first.secret(), second.secret());
        assert_eq!(codes.check("alice", &second.code(now()), now()), CodeCheck::Right);
    }

    #[test]
    fn the_code_for_cameras_is_square_and_quiet_at_its_edge() {
        let drawn = qr_code("otpauth://totp/x:y?secret=GEZDGNBVGY3TQOJQ").unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[0].chars().all(|c| c == '█'), "{drawn}");
        assert!(lines.iter().all(|line| line.chars().count().div_ceil(2) == lines.len()), "{drawn}");
    }
}
