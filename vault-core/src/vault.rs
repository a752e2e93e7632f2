//! The vault: what is sealed, what is recorded, and how rows are bound to where they stand.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use zeroize::Zeroizing;

use crate::audit::{AuditError, AuditEvent, AuditSink, EventType, Mark, Outcome};
use crate::crypto::{self, Closed, Context, NoRandomness};
use crate::id::{Caller, VaultId};
use crate::seal::{Header, KeyEncryptionKey, Keyring};
use crate::store::{Batch, Effect, Row, Store, StoreError};

mod credentials;
mod data_keys;
mod description;
mod handles;
mod opening;
mod secrets;
mod tending;

pub use credentials::{CredentialError, Ended, Issued, Recovered};
pub use data_keys::{DataKeyError, Walk, Walked};
pub use description::{Description, Version, VersionState};
pub use handles::{Handle, HandleError};
pub use opening::{SealError, SealedVault};
pub use secrets::{Expected, SecretError, Write};

/// The header's row.
const SEAL_ROW: &[u8] = b"seal";
/// Exists while what the vault says of targets is older than they are.
const RESTORED_ROW: &[u8] = b"restored";
/// Format of a row's value.
const ROW_FORMAT: u8 = 0;
/// So many secrets can be written side by side.
const LANES: usize = 64;

/// An open vault. Clones share it: when one is sealed, all are.
///
/// Whoever calls is believed: who may do what is decided outside. Every effect is on record first, and where no record can be written, nothing
/// is done. A future that is dropped leaves its effect done whole or not at all; the record says that it was begun.
#[derive(Clone)]
pub struct Vault(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    audit: Arc<dyn AuditSink>,
    open: RwLock<Option<Open>>,
    /// Another process may have changed the header.
    is_stale: AtomicBool,
    /// Greatest generation that was seen.
    generation: AtomicU64,
    /// One writer for a secret at a time.
    lanes: [Mutex<()>; LANES],
    /// Credentials that somebody is working at.
    busy: std::sync::Mutex<HashSet<String>>,
}

/// What a vault knows while it is open.
struct Open {
    header: Header,
    /// Revision of the header's row.
    revision: u64,
    key: KeyEncryptionKey,
    keyring: Keyring,
    standing: Standing,
}

/// Whether what the vault holds of targets is to be relied on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It is.
    Confirmed,
    /// The store was restored from a backup, and accounts may have been made and ended since. Nothing is revoked on targets until
    /// somebody has [confirmed](Vault::confirm_restore) it.
    Restored,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

/// What can go wrong whatever is asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// It is sealed.
    #[error("the vault is sealed")]
    Sealed,
    /// A row is not what this vault wrote there: altered, taken from elsewhere, or put back.
    #[error("a row of the store was altered")]
    Altered,
    /// A row needs a data key that this process does not have. It is looked for before the next call.
    #[error("data key {version} is not at hand")]
    KeyMissing {
        /// Which.
        version: u32,
    },
    /// The store failed. [`StoreError::effect`] says whether something was written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No record can be written, so nothing was done.
    #[error("nothing was done, as no record of it can be written")]
    Unrecorded(#[from] AuditError),
    /// The system has no randomness to give. Nothing was done.
    #[error("the system has no randomness to give")]
    Randomness,
}

impl From<NoRandomness> for VaultError {
    fn from(NoRandomness: NoRandomness) -> Self {
        Self::Randomness
    }
}

impl VaultError {
    /// Whether something was done.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Store(error) => error.effect(),
            _ => Effect::None,
        }
    }

    /// Whether the same may work when it is done again from the begin.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::KeyMissing { .. } => true,
            Self::Store(error) => error.is_retryable(),
            _ => false,
        }
    }
}

impl Vault {
    /// Which vault.
    ///
    /// # Errors
    /// Where it is sealed.
    pub async fn id(&self) -> Result<VaultId, VaultError> {
        Ok(self.0.opened().await?.header.vault())
    }

    /// Whether the system keeps all keys out of swap space.
    ///
    /// # Errors
    /// Where it is sealed.
    pub async fn keys_are_locked(&self) -> Result<bool, VaultError> {
        let open = self.0.opened().await?;
        Ok(open.key.0.is_locked() && open.keyring.is_locked())
    }

    /// Whether what it holds of targets is to be relied on.
    ///
    /// # Errors
    /// Where it is sealed.
    pub async fn standing(&self) -> Result<Standing, VaultError> {
        Ok(self.0.opened().await?.standing)
    }
}

impl Shared {
    fn new(store: Arc<dyn Store>, audit: Arc<dyn AuditSink>) -> Self {
        Self {
            store,
            audit,
            open: RwLock::new(None),
            is_stale: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            lanes: std::array::from_fn(|_| Mutex::new(())),
            busy: std::sync::Mutex::default(),
        }
    }

    /// What is needed to work, held for as long as the work takes: whoever seals or rotates waits for it.
    async fn opened(&self) -> Result<RwLockReadGuard<'_, Open>, VaultError> {
        if self.is_stale.swap(false, Ordering::AcqRel) {
            self.reload().await?;
        }
        RwLockReadGuard::try_map(self.open.read().await, Option::as_ref).map_err(|_| VaultError::Sealed)
    }

    /// Takes over a header that another process wrote. Where its key is another one, this one is sealed.
    async fn reload(&self) -> Result<(), VaultError> {
        let mut open = self.open.write().await;
        let Some(known) = open.as_mut() else { return Err(VaultError::Sealed) };
        let row = match self.store.read(SEAL_ROW).await {
            Ok(row) => row,
            Err(error) => {
                self.is_stale.store(true, Ordering::Release);
                return Err(error.into());
            }
        };
        let found = row.and_then(|row| Some((Header::parse(&row.value).ok()?, row.revision)));
        let found = found.filter(|(header, _)| header.vault() == known.header.vault());
        match found.and_then(|(header, revision)| Some((header.open(&known.key).ok()?, header, revision))) {
            Some((keyring, header, revision)) => {
                (known.keyring, known.header, known.revision) = (keyring, header, revision);
                Ok(())
            }
            None => {
                *open = None;
                Err(VaultError::Sealed)
            }
        }
    }

    async fn lane(&self, name: &str) -> Option<MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        // The remainder is smaller than the number of lanes.
        let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default();
        match self.lanes.get(lane) {
            Some(lane) => Some(lane.lock().await),
            None => None,
        }
    }

    fn saw(&self, generation: u64) {
        self.generation.fetch_max(generation, Ordering::AcqRel);
    }

    fn event(&self, event_type: EventType, open: &Open, by: &Caller, now: DateTime<Utc>) -> AuditEvent {
        let mark = Mark { vault: open.header.vault(), generation: self.generation.load(Ordering::Acquire) };
        AuditEvent::new(event_type, by, mark, now)
    }

    /// Puts on record that something is refused.
    async fn refuse(&self, event: AuditEvent, reason: &'static str) -> Result<(), VaultError> {
        Ok(self.audit.record(&event.ended(Outcome::Blocked, Some(reason))).await?)
    }

    /// Records, commits, and tells what came of it.
    async fn effect(&self, open: &Open, event: AuditEvent, batch: Batch) -> Result<u64, VaultError> {
        self.audit.record(&event).await?;
        self.commit(open, event, batch).await
    }

    /// Commits what is on record, and tells what came of it.
    async fn commit(&self, open: &Open, event: AuditEvent, batch: Batch) -> Result<u64, VaultError> {
        match self.write(open, batch).await {
            Ok(generation) => {
                self.audit.outcome(event.result(Outcome::Success, None, generation));
                Ok(generation)
            }
            Err(error) => {
                self.failed(event, error.effect());
                Err(error.into())
            }
        }
    }

    /// Commits, unless the header was changed by somebody else.
    ///
    /// INVARIANT: no row is written under a data key that the header in the store does not hold.
    async fn write(&self, open: &Open, batch: Batch) -> Result<u64, StoreError> {
        match self.store.commit(batch.expect(SEAL_ROW, Some(open.revision))).await {
            Ok(generation) => {
                self.saw(generation);
                Ok(generation)
            }
            Err(error) => {
                if matches!(error, StoreError::Conflict) {
                    self.is_stale.store(true, Ordering::Release);
                }
                Err(error)
            }
        }
    }

    /// Tells that what was recorded was not done, or that nobody knows.
    fn failed(&self, event: AuditEvent, effect: Effect) {
        let outcome = match effect {
            Effect::None => Outcome::Failure,
            Effect::Unknown => Outcome::Unknown,
        };
        let generation = event.generation;
        self.audit.outcome(event.result(outcome, Some("store_failed"), generation));
    }

    /// What stands in a row.
    async fn read_row(
        &self,
        open: &Open,
        key: &[u8],
    ) -> Result<Option<(Zeroizing<Vec<u8>>, u64)>, VaultError> {
        let Some(Row { value, revision }) = self.store.read(key).await? else { return Ok(None) };
        let plaintext = open.open_row(key, &value).inspect_err(|error| {
            if matches!(error, VaultError::KeyMissing { .. }) {
                self.is_stale.store(true, Ordering::Release);
            }
        })?;
        Ok(Some((plaintext, revision)))
    }
}

impl Open {
    /// A row's value, bound to the vault, to the row's key and to the data key's version.
    fn seal_row(&self, key: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (version, data_key) = self.keyring.newest().ok_or(VaultError::Sealed)?;
        let mut value = vec![ROW_FORMAT];
        value.extend_from_slice(&version.to_be_bytes());
        crypto::seal(data_key, &self.row_context(key, version), plaintext, &mut value)?;
        Ok(value)
    }

    fn open_row(&self, key: &[u8], value: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let version = key_version(value).ok_or(VaultError::Altered)?;
        let data_key = self.keyring.key(version).ok_or(VaultError::KeyMissing { version })?;
        let message = value.get(5..).ok_or(VaultError::Altered)?;
        crypto::open(data_key, &self.row_context(key, version), message)
            .map_err(|(Closed::Short | Closed::Key | Closed::Altered)| VaultError::Altered)
    }

    fn row_context(&self, key: &[u8], version: u32) -> Context {
        Context::of(&[b"row", self.header.vault().as_bytes(), key, &version.to_be_bytes()])
    }
}

/// Which data key a row's value needs.
fn key_version(value: &[u8]) -> Option<u32> {
    match value {
        [ROW_FORMAT, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}
