//! Keys in a directory of a local disk.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use super::{EpochKey, KeyProvider, SubjectKey, check_binding, subjects};
use crate::{
    crypto::{WrapKey, random},
    error::KeyError,
    note::{Origin, VerifierKey},
    options::hex,
    store::{
        StoreLock,
        file::{lock_directory, make_directory, replace_file, sync_directory},
    },
};

const SIGNING: &str = "signing.key";
const SUBJECTS: &str = "subjects";
const VERIFIER: &str = "log.vkey";
const LOG_ID: &str = "log.id";

/// Keys in a directory (0700, files 0600) that is neither the log's, nor in it, nor around it. One directory belongs to one log.
pub struct FileKeys {
    directory: PathBuf,
    signing: Option<SigningKey>,
    epochs: Mutex<BTreeMap<u32, EpochKey>>,
    bound: Mutex<Option<Binding>>,
    /// Where the next batch of subject keys goes; unknown until the file was read or after a failed write.
    subjects_end: Mutex<Option<u64>>,
}

/// Which log the keys belong to.
#[derive(Clone)]
struct Binding {
    key: VerifierKey,
    /// Unknown when a crash came between the two files.
    log: Option<[u8; 16]>,
}

impl FileKeys {
    /// Opens a directory; makes it, and the first signing and epoch keys, where they are missing.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, KeyError> {
        let directory = directory.into();
        let made = (|| {
            make_directory(&directory)?;
            fs::canonicalize(&directory)
        })();
        let directory = made.map_err(|error| failed(&directory, error))?;
        refuse_exposed(&directory)?;
        // New keys only where there never were any: next to other keys, a missing one is an accident that a new one would hide.
        // The signing key comes last, so a crash in between is made good by the next call.
        let exists =
            |name: &str| directory.join(name).try_exists().map_err(|error| failed(&directory, error));
        if !exists(SIGNING)? && !exists(VERIFIER)? && !exists(SUBJECTS)? {
            if !exists(&epoch_name(1))? {
                write_key(&directory, &epoch_name(1))?;
            }
            write_key(&directory, SIGNING)?;
        }
        if !exists(SIGNING)? {
            return Err(KeyError::Missing { what: format!("`{}`", directory.join(SIGNING).display()) });
        }
        let keys = Self::load(directory)?;
        let epochs: Vec<String> = keys.epochs().keys().copied().map(epoch_name).collect();
        for name in epochs.iter().map(String::as_str).chain([SIGNING]) {
            refuse_exposed(&keys.directory.join(name))?;
        }
        Ok(keys)
    }

    /// Opens a directory that must exist and have keys, and changes nothing in it. The signing key need not be there: who reads needs
    /// epoch keys, `subjects` and `log.vkey`.
    pub fn read_only(directory: impl AsRef<Path>) -> Result<Self, KeyError> {
        let directory = directory.as_ref();
        Self::load(fs::canonicalize(directory).map_err(|error| failed(directory, error))?)
    }

    /// Adds an epoch key; segments from the next on use it. Earlier ones are kept, for reading.
    pub fn new_epoch(&self) -> Result<u32, KeyError> {
        let mut epochs = self.epochs();
        let epoch = epochs.last_key_value().map_or(1, |(epoch, _)| epoch.saturating_add(1));
        let name = epoch_name(epoch);
        write_key(&self.directory, &name)?;
        epochs.insert(epoch, EpochKey(read_key(&self.directory, &name)?));
        Ok(epoch)
    }

    /// The verifier key, once the keys are bound to a log.
    pub fn verifier_key(&self) -> Option<VerifierKey> {
        self.bound().as_ref().map(|bound| bound.key.clone())
    }

    fn load(directory: PathBuf) -> Result<Self, KeyError> {
        let signing = match read_key(&directory, SIGNING) {
            Ok(seed) => Some(SigningKey::from_bytes(&seed)),
            Err(KeyError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        let keys = Self {
            directory,
            signing,
            epochs: Mutex::default(),
            bound: Mutex::default(),
            subjects_end: Mutex::new(None),
        };
        keys.reload()?;
        Ok(keys)
    }

    /// Reads what another process may have added since.
    fn reload(&self) -> Result<(), KeyError> {
        let directory = &self.directory;
        let mut epochs = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(|error| failed(directory, error))? {
            let name = entry.map_err(|error| failed(directory, error))?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(epoch) = epoch_number(name) {
                epochs.insert(epoch, EpochKey(read_key(directory, name)?));
            }
        }
        *self.epochs() = epochs;
        *self.bound() = self.read_binding()?;
        Ok(())
    }

    fn read_binding(&self) -> Result<Option<Binding>, KeyError> {
        let malformed = |name: &str, what| KeyError::Malformed {
            file: self.directory.join(name).display().to_string(),
            what,
        };
        let Some(text) = self.read_text(VERIFIER)? else { return Ok(None) };
        let key: VerifierKey = text.parse().map_err(|_| malformed(VERIFIER, "not a verifier key"))?;
        if self
            .signing
            .as_ref()
            .is_some_and(|signing| *key.public_key() != signing.verifying_key().to_bytes())
        {
            return Err(malformed(VERIFIER, "it does not belong to the signing key"));
        }
        let log = match self.read_text(LOG_ID)? {
            Some(text) => {
                let id = unhex(text.trim_end_matches('\n'));
                Some(id.ok_or_else(|| malformed(LOG_ID, "not an id of 32 hexadecimal digits"))?)
            }
            None => None,
        };
        Ok(Some(Binding { key, log }))
    }

    fn read_text(&self, name: &str) -> Result<Option<String>, KeyError> {
        let path = self.directory.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, error)),
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), KeyError> {
        replace_file(&self.directory, name, content)
            .map_err(|error| failed(&self.directory.join(name), error))
    }

    fn epochs(&self) -> MutexGuard<'_, BTreeMap<u32, EpochKey>> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bound(&self) -> MutexGuard<'_, Option<Binding>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrap_key(&self, epoch: u32) -> Result<WrapKey, KeyError> {
        WrapKey::derive(&self.epoch_key(epoch)?.0)
    }

    /// The file of subject keys and what is in it; nothing where there is none.
    fn read_subjects(&self) -> Result<Option<(Vec<u8>, subjects::Decoded)>, KeyError> {
        let path = self.directory.join(SUBJECTS);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path, error)),
        };
        match subjects::decode(&content, |epoch| self.wrap_key(epoch)) {
            Ok(decoded) => Ok(Some((content, decoded))),
            Err(subjects::Malformed::What(what)) => {
                Err(KeyError::Malformed { file: path.display().to_string(), what })
            }
            Err(subjects::Malformed::Keys(error)) => Err(error),
        }
    }

    /// Writes at `offset` of the file of subject keys, which ends there afterwards, and makes it durable.
    fn write_subjects(&self, bytes: &[u8], offset: u64) -> Result<(), KeyError> {
        let path = self.directory.join(SUBJECTS);
        let write = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            // What is left of a batch that a crash cut off is in nobody's use.
            file.set_len(offset)?;
            file.write_all_at(bytes, offset)?;
            file.sync_data()
        };
        write().map_err(|error| failed(&path, error))
    }
}

impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKeys").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl KeyProvider for FileKeys {
    fn lock(&self) -> Result<Box<dyn StoreLock>, KeyError> {
        let lock = lock_directory(&self.directory).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => KeyError::Locked,
            _ => failed(&self.directory, error),
        })?;
        self.reload()?;
        // What an earlier process wrote may be known to the system alone: its sync failed, or it was killed before. Written again as it
        // is, and synced, it is durable before anything relies on it.
        if let Some((content, decoded)) = self.read_subjects()? {
            let last = content.get(decoded.last..decoded.end).unwrap_or_default();
            let write = || {
                let file = OpenOptions::new().write(true).open(self.directory.join(SUBJECTS))?;
                file.write_all_at(last, decoded.last as u64)?;
                file.set_len(decoded.end as u64)?;
                file.sync_data()
            };
            write().map_err(|error| failed(&self.directory.join(SUBJECTS), error))?;
        }
        sync_directory(&self.directory).map_err(|error| failed(&self.directory, error))?;
        *self.subjects_end.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(Box::new(KeysLock { _directory: lock }))
    }

    fn public_key(&self) -> Result<[u8; 32], KeyError> {
        match (&self.signing, self.bound().as_ref()) {
            (Some(signing), _) => Ok(signing.verifying_key().to_bytes()),
            (None, Some(bound)) => Ok(*bound.key.public_key()),
            (None, None) => Err(KeyError::Missing { what: "the public key".to_owned() }),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let signing = self.signing.as_ref();
        let signing = signing.ok_or_else(|| KeyError::Missing { what: "the signing key".to_owned() })?;
        Ok(signing.sign(message).to_bytes())
    }

    fn origin(&self) -> Result<Option<Origin>, KeyError> {
        Ok(self.bound().as_ref().map(|bound| bound.key.origin().clone()))
    }

    fn log_id(&self) -> Result<Option<[u8; 16]>, KeyError> {
        Ok(self.bound().as_ref().and_then(|bound| bound.log))
    }

    fn bind(&self, key: &VerifierKey, log: &[u8; 16]) -> Result<(), KeyError> {
        let mut bound = self.bound();
        check_binding(bound.as_ref().map(|bound| (&bound.key, bound.log.as_ref())), key, log)?;
        if bound.is_none() {
            self.write(VERIFIER, format!("{key}\n").as_bytes())?;
        }
        if bound.as_ref().is_none_or(|bound| bound.log.is_none()) {
            self.write(LOG_ID, format!("{}\n", hex(log)).as_bytes())?;
        }
        *bound = Some(Binding { key: key.clone(), log: Some(*log) });
        Ok(())
    }

    fn release(&self) -> Result<(), KeyError> {
        let mut bound = self.bound();
        let Some(key) = bound.as_ref().map(|bound| bound.key.clone()) else { return Ok(()) };
        // The key of the old log is kept beside the others: it verifies what is left of that log.
        self.write(&format!("{VERIFIER}.old"), format!("{key}\n").as_bytes())?;
        for name in [LOG_ID, VERIFIER] {
            let path = self.directory.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path, error)),
                _ => {}
            }
        }
        sync_directory(&self.directory).map_err(|error| failed(&self.directory, error))?;
        *bound = None;
        Ok(())
    }

    fn newest_epoch(&self) -> Result<u32, KeyError> {
        let newest = self.epochs().last_key_value().map(|(epoch, _)| *epoch);
        newest.ok_or_else(|| KeyError::Missing { what: "an epoch key".to_owned() })
    }

    fn epoch_key(&self, epoch: u32) -> Result<EpochKey, KeyError> {
        let key = self.epochs().get(&epoch).cloned();
        key.ok_or_else(|| KeyError::Missing { what: format!("the key of epoch {epoch}") })
    }

    fn subjects(&self) -> Result<Vec<SubjectKey>, KeyError> {
        Ok(self.read_subjects()?.map(|(_, decoded)| decoded.keys).unwrap_or_default())
    }

    fn store_subjects(&self, new: &[SubjectKey]) -> Result<(), KeyError> {
        let epoch = self.newest_epoch()?;
        let wrap = self.wrap_key(epoch)?;
        let batch = subjects::encode(new, epoch, &wrap)?;
        let mut known_end = self.subjects_end.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = match known_end.take() {
            Some(end) => end,
            None => match self.read_subjects()? {
                Some((_, decoded)) => decoded.end as u64,
                None => {
                    let header = subjects::header();
                    self.write(SUBJECTS, &header)?;
                    header.len() as u64
                }
            },
        };
        self.write_subjects(&batch, offset)?;
        *known_end = Some(offset.saturating_add(batch.len() as u64));
        Ok(())
    }

    fn location(&self) -> Option<PathBuf> {
        Some(self.directory.clone())
    }
}

/// Keys that others can read are no secret, and a directory that others can write to holds what they like.
fn refuse_exposed(path: &Path) -> Result<(), KeyError> {
    let mode = fs::metadata(path).map_err(|error| failed(path, error))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { file: path.display().to_string(), mode });
    }
    Ok(())
}

struct KeysLock {
    _directory: File,
}

impl StoreLock for KeysLock {}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Vec<u8> = pairs
        .iter()
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<_>>()?;
    rest.is_empty().then(|| bytes.try_into().ok()).flatten()
}

fn failed(path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { file: path.display().to_string(), source }
}

fn epoch_name(epoch: u32) -> String {
    format!("epoch-{epoch:08}.key")
}

fn epoch_number(name: &str) -> Option<u32> {
    let epoch = name.strip_prefix("epoch-")?.strip_suffix(".key")?.parse().ok()?;
    (epoch > 0 && epoch_name(epoch) == name).then_some(epoch)
}

fn write_key(directory: &Path, name: &str) -> Result<(), KeyError> {
    let key = Zeroizing::new(random::<32>()?);
    replace_file(directory, name, key.as_slice()).map_err(|error| failed(&directory.join(name), error))
}

fn read_key(directory: &Path, name: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let path = directory.join(name);
    let file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { what: format!("`{}`", path.display()) },
        _ => failed(&path, error),
    })?;
    let mut key = Zeroizing::new([0u8; 32]);
    let bytes = file.metadata().map_err(|error| failed(&path, error))?.len();
    if bytes != 32 {
        return Err(KeyError::Malformed { file: path.display().to_string(), what: "a key has 32 bytes" });
    }
    file.read_exact_at(key.as_mut_slice(), 0).map_err(|error| failed(&path, error))?;
    Ok(key)
}
