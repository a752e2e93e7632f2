//! Keys in a directory of a local disk.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use super::{EpochKey, KeyProvider, SubjectKey, subjects};
use crate::{
    crypto::{WrapKey, random},
    error::KeyError,
    note::{Origin, VerifierKey},
    store::file::{replace_file, sync_directory},
};

const SIGNING: &str = "signing.key";
const SUBJECTS: &str = "subjects";
const VERIFIER: &str = "log.vkey";

/// Keys in a directory (0700, files 0600) that is neither the log's, nor in it, nor around it. One directory belongs to one log.
pub struct FileKeys {
    directory: PathBuf,
    signing: SigningKey,
    epochs: Mutex<BTreeMap<u32, EpochKey>>,
    bound: Mutex<Option<VerifierKey>>,
    /// Where the next batch of subject keys goes; unknown until the file was read or after a failed write.
    subjects_end: Mutex<Option<u64>>,
}

impl FileKeys {
    /// Opens a directory; makes it, and the first signing and epoch keys, where they are missing.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, KeyError> {
        let directory = directory.into();
        let made = (|| {
            if !directory.is_dir() {
                DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
                if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                    sync_directory(parent)?;
                }
            }
            fs::canonicalize(&directory)
        })();
        let directory = made.map_err(|error| failed(&directory, error))?;
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
        Self::load(directory)
    }

    /// Opens a directory that must exist and have keys, and changes nothing in it.
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
        self.bound().clone()
    }

    fn load(directory: PathBuf) -> Result<Self, KeyError> {
        let seed = read_key(&directory, SIGNING)?;
        let signing = SigningKey::from_bytes(&seed);
        let mut epochs = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(|error| failed(&directory, error))? {
            let name = entry.map_err(|error| failed(&directory, error))?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(epoch) = epoch_number(name) {
                epochs.insert(epoch, EpochKey(read_key(&directory, name)?));
            }
        }
        let path = directory.join(VERIFIER);
        let bound = match fs::read_to_string(&path) {
            Ok(text) => {
                let malformed = |what| KeyError::Malformed { file: path.display().to_string(), what };
                let key: VerifierKey = text.parse().map_err(|_| malformed("not a verifier key"))?;
                if *key.public_key() != signing.verifying_key().to_bytes() {
                    return Err(malformed("it does not belong to the signing key"));
                }
                Some(key)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path, error)),
        };
        Ok(Self {
            directory,
            signing,
            epochs: Mutex::new(epochs),
            bound: Mutex::new(bound),
            subjects_end: Mutex::new(None),
        })
    }

    fn epochs(&self) -> MutexGuard<'_, BTreeMap<u32, EpochKey>> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bound(&self) -> MutexGuard<'_, Option<VerifierKey>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrap_key(&self, epoch: u32) -> Result<WrapKey, KeyError> {
        WrapKey::derive(&self.epoch_key(epoch)?.0)
    }

    fn read_subjects(&self) -> Result<(Vec<SubjectKey>, u64), KeyError> {
        let path = self.directory.join(SUBJECTS);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            Err(error) => return Err(failed(&path, error)),
        };
        subjects::decode(&content, |epoch| self.wrap_key(epoch)).map_err(|malformed| match malformed {
            subjects::Malformed::What(what) => KeyError::Malformed { file: path.display().to_string(), what },
            subjects::Malformed::Keys(error) => error,
        })
    }
}

impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKeys").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl KeyProvider for FileKeys {
    fn public_key(&self) -> Result<[u8; 32], KeyError> {
        Ok(self.signing.verifying_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        Ok(self.signing.sign(message).to_bytes())
    }

    fn origin(&self) -> Result<Option<Origin>, KeyError> {
        Ok(self.bound().as_ref().map(|key| key.origin().clone()))
    }

    fn bind(&self, key: &VerifierKey) -> Result<(), KeyError> {
        let mut bound = self.bound();
        match bound.as_ref() {
            Some(bound) if bound == key => Ok(()),
            Some(bound) => {
                Err(KeyError::OtherLog { bound: bound.origin().clone(), asked: key.origin().clone() })
            }
            None => {
                replace_file(&self.directory, VERIFIER, format!("{key}\n").as_bytes())
                    .map_err(|error| failed(&self.directory.join(VERIFIER), error))?;
                *bound = Some(key.clone());
                Ok(())
            }
        }
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
        Ok(self.read_subjects()?.0)
    }

    fn store_subjects(&self, new: &[SubjectKey]) -> Result<(), KeyError> {
        let path = self.directory.join(SUBJECTS);
        let epoch = self.newest_epoch()?;
        let wrap = self.wrap_key(epoch)?;
        let mut batch = subjects::encode(new, epoch, &wrap)?;
        let mut known_end = self.subjects_end.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = match known_end.take() {
            Some(end) => end,
            None => self.read_subjects()?.1,
        };
        if offset == 0 {
            let mut with_header = subjects::header();
            with_header.append(&mut batch);
            batch = with_header;
        }
        let write = || {
            let mut open = OpenOptions::new();
            let file = open.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            // What is left of a batch that a crash cut off is in nobody's use.
            file.set_len(offset)?;
            file.write_all_at(&batch, offset)?;
            file.sync_data()?;
            if offset == 0 { sync_directory(&self.directory) } else { Ok(()) }
        };
        write().map_err(|error| failed(&path, error))?;
        *known_end = Some(offset.saturating_add(batch.len() as u64));
        Ok(())
    }

    fn location(&self) -> Option<PathBuf> {
        Some(self.directory.clone())
    }
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
