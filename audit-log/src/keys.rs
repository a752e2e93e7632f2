//! Keys of a log: the provider trait, an implementation in memory, and one in a directory.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::{
    crypto::random,
    error::KeyError,
    note::{Origin, VerifierKey},
    store::{MemoryLock, StoreLock},
};

mod file;
mod subjects;

pub use file::FileKeys;

/// Keeps the keys of one log: signing key, epoch keys, subject keys. Calls block; the log makes them on a thread of its own.
///
/// An implementor promises:
/// * keys do not lie where the log lies;
/// * **durability** – what [`bind`](Self::bind) and [`store_subjects`](Self::store_subjects) took is there after a power cut;
///   otherwise entries that were acknowledged can no longer be checked against their leaves;
/// * **exclusion** – while a lock that [`lock`](Self::lock) gave out lives, no other one is given out, in this process or another: keys
///   belong to one log;
/// * **stability** – an epoch's key and a subject's key never change;
/// * no key appears in an error or in `Debug`.
pub trait KeyProvider: Send + Sync {
    /// Takes the keys for a log that is opened for writing; [`KeyError::Locked`] when another one has them. Makes durable again what
    /// is there, because an earlier process may have been stopped between writing and syncing it.
    fn lock(&self) -> Result<Box<dyn StoreLock>, KeyError>;

    /// The Ed25519 public key that checkpoints are signed with.
    fn public_key(&self) -> Result<[u8; 32], KeyError>;

    /// Signs with that key.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError>;

    /// Name of the log that these keys were bound to, if they were.
    fn origin(&self) -> Result<Option<Origin>, KeyError>;

    /// Id of the log that these keys were bound to, if they were; `None` as well when only its name is known.
    fn log_id(&self) -> Result<Option<[u8; 16]>, KeyError>;

    /// Binds the keys to a log, once, and publishes its verifier key. The log does it when its first frame is durable, so keys that are
    /// bound say that there is a log. Binding to the same log again does nothing; to one of another name or with another key is
    /// [`KeyError::OtherLog`], to another one of the same name [`KeyError::SameName`].
    fn bind(&self, key: &VerifierKey, log: &[u8; 16]) -> Result<(), KeyError>;

    /// Forgets the log that these keys were bound to, and no key. Only for [`Options::begin_anew`](crate::Options::begin_anew).
    fn release(&self) -> Result<(), KeyError>;

    /// Number of the newest epoch; new segments are encrypted under its key.
    fn newest_epoch(&self) -> Result<u32, KeyError>;

    /// Key of an epoch; [`KeyError::Missing`] when it is not held.
    fn epoch_key(&self, epoch: u32) -> Result<EpochKey, KeyError>;

    /// All subject keys.
    fn subjects(&self) -> Result<Vec<SubjectKey>, KeyError>;

    /// Adds subject keys, all or none; durable on return.
    fn store_subjects(&self, new: &[SubjectKey]) -> Result<(), KeyError>;

    /// Directory on a local disk, where there is one: the log must not lie there.
    fn location(&self) -> Option<PathBuf> {
        None
    }
}

/// Key that the keys of segments are derived from. Wiped from memory when dropped.
#[derive(Clone)]
pub struct EpochKey(pub(crate) Zeroizing<[u8; 32]>);

impl EpochKey {
    /// Takes 32 random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochKey(…)")
    }
}

/// Key of one subject, from which the salts of its commitments come. Wiped from memory when dropped.
#[derive(Clone)]
pub struct SubjectKey {
    id: [u8; 8],
    key: Zeroizing<[u8; 32]>,
    subject: String,
}

impl SubjectKey {
    /// Puts a key together from its random id, 32 random bytes and the subject that it is for.
    pub fn new(id: [u8; 8], key: [u8; 32], subject: String) -> Self {
        Self { id, key: Zeroizing::new(key), subject }
    }

    pub(crate) fn generate(subject: String) -> Result<Self, KeyError> {
        Ok(Self::new(random()?, random()?, subject))
    }

    /// Random id, which stands in the log beside what the key is used for.
    pub fn id(&self) -> [u8; 8] {
        self.id
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8; 32] {
        &self.key
    }

    /// The subject, as callers name it.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(…)")
    }
}

/// Whether keys that are bound as given may be bound to `key` and `log`.
fn check_binding(
    bound: Option<(&VerifierKey, Option<&[u8; 16]>)>,
    key: &VerifierKey,
    log: &[u8; 16],
) -> Result<(), KeyError> {
    match bound {
        Some((bound, _)) if bound != key => {
            Err(KeyError::OtherLog { bound: bound.origin().clone(), asked: key.origin().clone() })
        }
        Some((bound, Some(known))) if known != log => {
            Err(KeyError::SameName { bound: bound.origin().clone() })
        }
        _ => Ok(()),
    }
}

/// Keys in memory, for tests and examples: the log cannot be read once they are gone. Clones share their content.
#[derive(Clone)]
pub struct MemoryKeys {
    signing: SigningKey,
    state: Arc<Mutex<MemoryState>>,
    locked: Arc<AtomicBool>,
}

#[derive(Clone, Default)]
struct MemoryState {
    bound: Option<(VerifierKey, [u8; 16])>,
    epochs: BTreeMap<u32, EpochKey>,
    subjects: Vec<SubjectKey>,
}

impl MemoryKeys {
    /// Fresh random keys.
    pub fn generate() -> Result<Self, KeyError> {
        let seed = Zeroizing::new(random::<32>()?);
        let epochs = BTreeMap::from([(1, EpochKey::new(random()?))]);
        let state = Arc::new(Mutex::new(MemoryState { epochs, ..MemoryState::default() }));
        Ok(Self { signing: SigningKey::from_bytes(&seed), state, locked: Arc::default() })
    }

    /// A copy of all keys as they are now; what is added afterwards is not in it, nor is the lock.
    pub fn snapshot(&self) -> Self {
        let state = self.state().clone();
        Self { signing: self.signing.clone(), state: Arc::new(Mutex::new(state)), locked: Arc::default() }
    }

    /// Adds an epoch key; segments from the next on use it.
    pub fn new_epoch(&self) -> Result<u32, KeyError> {
        let key = EpochKey::new(random()?);
        let mut state = self.state();
        let epoch = state.epochs.last_key_value().map_or(1, |(epoch, _)| epoch.saturating_add(1));
        state.epochs.insert(epoch, key);
        Ok(epoch)
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryKeys(…)")
    }
}

impl KeyProvider for MemoryKeys {
    fn lock(&self) -> Result<Box<dyn StoreLock>, KeyError> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Err(KeyError::Locked);
        }
        Ok(Box::new(MemoryLock(Arc::clone(&self.locked))))
    }

    fn public_key(&self) -> Result<[u8; 32], KeyError> {
        Ok(self.signing.verifying_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        Ok(self.signing.sign(message).to_bytes())
    }

    fn origin(&self) -> Result<Option<Origin>, KeyError> {
        Ok(self.state().bound.as_ref().map(|(key, _)| key.origin().clone()))
    }

    fn log_id(&self) -> Result<Option<[u8; 16]>, KeyError> {
        Ok(self.state().bound.as_ref().map(|(_, log)| *log))
    }

    fn bind(&self, key: &VerifierKey, log: &[u8; 16]) -> Result<(), KeyError> {
        let mut state = self.state();
        check_binding(state.bound.as_ref().map(|(key, log)| (key, Some(log))), key, log)?;
        state.bound = Some((key.clone(), *log));
        Ok(())
    }

    fn release(&self) -> Result<(), KeyError> {
        self.state().bound = None;
        Ok(())
    }

    fn newest_epoch(&self) -> Result<u32, KeyError> {
        let newest = self.state().epochs.last_key_value().map(|(epoch, _)| *epoch);
        newest.ok_or_else(|| KeyError::Missing { what: "an epoch key".to_owned() })
    }

    fn epoch_key(&self, epoch: u32) -> Result<EpochKey, KeyError> {
        let key = self.state().epochs.get(&epoch).cloned();
        key.ok_or_else(|| KeyError::Missing { what: format!("the key of epoch {epoch}") })
    }

    fn subjects(&self) -> Result<Vec<SubjectKey>, KeyError> {
        Ok(self.state().subjects.clone())
    }

    fn store_subjects(&self, new: &[SubjectKey]) -> Result<(), KeyError> {
        self.state().subjects.extend_from_slice(new);
        Ok(())
    }
}
