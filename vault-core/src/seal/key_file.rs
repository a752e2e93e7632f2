use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{KeyEncryptionKey, KeyError, KeyProvider};
use crate::memory::{KEY_BYTES, KeyPage};

const PREFIX: &str = "vault-core key v0 ";
/// Prefix, hexadecimal digits, line end.
const FILE_BYTES: u64 = 18 + 2 * KEY_BYTES as u64 + 1;

/// A random key in a file of a local disk: its owner's alone (0600 or less), no link, in a directory that nobody else can write.
///
/// It protects what leaves the machine without the file: a backup, a disk that is thrown away. Whoever reads the file reads the vault.
pub struct KeyFile {
    key: KeyPage,
    directory: PathBuf,
}

impl KeyFile {
    /// Makes a file with a new random key. There must be none of that name. Durable on return.
    ///
    /// # Errors
    /// Where the file exists, cannot be written, or others could come by it.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let directory = directory_of(path)?;
        let key = KeyPage::random().map_err(|_| KeyError::Randomness)?;
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(FILE_BYTES).unwrap_or_default()));
        text.push_str(PREFIX);
        HEXLOWER.encode_append(key.bytes(), &mut text);
        text.push('\n');
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            File::open(&directory)?.sync_all()
        })();
        written.map_err(|error| failed(path, error))?;
        Ok(Self { key, directory })
    }

    /// Reads a file that [`create`](Self::create) made.
    ///
    /// # Errors
    /// Where there is none, where others than the owner can use it, or where it belongs to somebody else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let directory = directory_of(path)?;
        let refused = |what| KeyError::File { file: path.display().to_string(), what };
        // What is checked is what is read: the open file, not its name. A pipe in its place must not hold us up.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.map_err(|error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => refused("it is a link"),
            _ => failed(path, error),
        })?;
        let metadata = file.metadata().map_err(|error| failed(path, error))?;
        if !metadata.is_file() {
            return Err(refused("it is no ordinary file"));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(refused("others than its owner can use it; make it 0600"));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(refused("it belongs to somebody else"));
        }
        if metadata.nlink() != 1 {
            return Err(refused("it has another name as well"));
        }
        let mut text =
            Zeroizing::new(Vec::with_capacity(usize::try_from(FILE_BYTES + 1).unwrap_or_default()));
        file.take(FILE_BYTES + 1).read_to_end(&mut text).map_err(|error| failed(path, error))?;
        let mut key = KeyPage::from_bytes(&[0; KEY_BYTES]);
        let digits = text.strip_prefix(PREFIX.as_bytes()).and_then(|rest| rest.strip_suffix(b"\n"));
        let digits = digits.filter(|digits| digits.len() == 2 * KEY_BYTES);
        digits
            .and_then(|digits| HEXLOWER.decode_mut(digits, key.bytes_mut()).ok())
            .ok_or_else(|| refused("it does not hold a key"))?;
        Ok(Self { key, directory })
    }
}

/// Where the file is, if nobody else can put another one there.
fn directory_of(path: &Path) -> Result<PathBuf, KeyError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = parent.canonicalize().map_err(|error| failed(parent, error))?;
    let metadata = directory.metadata().map_err(|error| failed(&directory, error))?;
    let refused = |what| KeyError::File { file: directory.display().to_string(), what };
    if metadata.mode() & 0o022 != 0 {
        return Err(refused("others than its owner can write the directory"));
    }
    if ![0, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) {
        return Err(refused("the directory belongs to somebody else"));
    }
    Ok(directory)
}

fn failed(path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { file: path.display().to_string(), source }
}

#[async_trait]
impl KeyProvider for KeyFile {
    fn method(&self) -> &'static str {
        "key-file"
    }

    async fn create(&self) -> Result<(KeyEncryptionKey, Vec<u8>), KeyError> {
        Ok((KeyEncryptionKey::new(self.key.bytes()), vec![0]))
    }

    async fn recover(&self, parameters: &[u8]) -> Result<KeyEncryptionKey, KeyError> {
        match parameters {
            [0] => Ok(KeyEncryptionKey::new(self.key.bytes())),
            _ => Err(KeyError::Parameters { what: "not those of a key file" }),
        }
    }

    fn location(&self) -> Option<PathBuf> {
        Some(self.directory.clone())
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile(…)")
    }
}
