use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq as _;

use super::{Open, RESTORED_ROW, SEAL_ROW, Shared, Standing, Vault, VaultError};
use crate::audit::{AuditError, AuditEvent, AuditSink, EventType, Mark, Outcome};
use crate::crypto::random;
use crate::id::{Caller, VaultId};
use crate::seal::{Header, HeaderError, KeyEncryptionKey, KeyError, KeyProvider, Keyring, KeyringError};
use crate::store::{Batch, Effect, Row, Store, StoreError};

/// A vault whose keys are not in memory. Nothing can be read or written.
#[derive(Clone)]
pub struct SealedVault(Arc<Shared>);

impl fmt::Debug for SealedVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedVault(…)")
    }
}

/// What unseals it again once it is sealed. It changes nothing.
impl From<&Vault> for SealedVault {
    fn from(vault: &Vault) -> Self {
        Self(Arc::clone(&vault.0))
    }
}

/// Why a vault was not initialised, not unsealed, or has its old key-encryption key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// There is a vault in this store already.
    #[error("there is a vault in this store already")]
    Exists,
    /// There is no vault in this store.
    #[error("there is no vault in this store")]
    Absent,
    /// The passphrase, the shares or the key are not this vault's, or its header was altered. What is wrong is not said.
    #[error("this does not open the vault")]
    WrongKey,
    /// The vault is opened in another way.
    #[error("the vault is opened by `{needed}`")]
    WrongMethod {
        /// By which.
        needed: String,
    },
    /// The records are another vault's.
    #[error("the records are of vault {recorded}, not of this one")]
    OtherVault {
        /// Which one they are of.
        recorded: VaultId,
    },
    /// Records tell of a vault, and the store is empty.
    #[error("records tell of generation {recorded}, and the store is empty")]
    Emptied {
        /// How far it had come.
        recorded: u64,
    },
    /// The store is older than its records: it was restored from a backup, or somebody put it back. See
    /// [`SealedVault::unseal_restored`].
    #[error("the store is of generation {found}, and records tell of {recorded}: it was put back")]
    Restored {
        /// Generation of the store.
        found: u64,
        /// Generation that records tell of.
        recorded: u64,
    },
    /// Key and store lie in one directory.
    #[error("the key lies where the store lies: whoever copies one has both")]
    KeyBesideStore,
    /// The provider has no key to give.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The vault is sealed, or its store, its records or the system failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for SealError {
    fn from(error: StoreError) -> Self {
        Self::Vault(error.into())
    }
}

impl From<AuditError> for SealError {
    fn from(error: AuditError) -> Self {
        Self::Vault(error.into())
    }
}

impl Vault {
    /// A vault in this store, whose records go there. It is sealed, if there is one.
    pub fn open(store: impl Store, audit: impl AuditSink) -> SealedVault {
        SealedVault(Arc::new(Shared::new(Arc::new(store), Arc::new(audit))))
    }

    /// Forgets all keys once what is under way is done. All clones answer [`VaultError::Sealed`] from then on.
    ///
    /// # Errors
    /// Where no record can be written. The vault is sealed all the same: this takes nothing from anybody.
    pub async fn reseal(&self, by: &Caller, now: DateTime<Utc>) -> Result<SealedVault, AuditError> {
        let mut open = self.0.open.write().await;
        if let Some(open) = open.take() {
            let event = self.0.event(EventType::VaultSealed, &open, by, now);
            drop(open);
            self.0.audit.record(&event.ended(Outcome::Success, None)).await?;
        }
        Ok(self.into())
    }

    /// Has the vault opened by `new` from now on, and no more by `current`, which has to open it: whoever could not unseal it does not change
    /// its lock. Data keys stay; rotate them as well where the old key got into wrong hands, for an older copy of the store still opens with it.
    ///
    /// # Errors
    /// With [`Effect::Unknown`] the vault is sealed, and one of the two opens it. Otherwise nothing has changed.
    pub async fn rotate_key_encryption_key(
        &self,
        current: &dyn KeyProvider,
        new: &dyn KeyProvider,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<(), SealError> {
        let known = self.0.opened().await?.header.clone();
        refuse_beside(self.0.store.location(), new)?;
        // Keys are made before others have to wait.
        let old = recover(&known, current).await;
        let (key, parameters) = new.create().await?;

        let mut guard = self.0.open.write().await;
        let open = guard.as_mut().ok_or(VaultError::Sealed)?;
        let event = self.0.event(EventType::KeyEncryptionKeyRotated, open, by, now);
        let is_current = match &old {
            Ok(old) => bool::from(old.expose().ct_eq(open.key.expose())),
            Err(_) => false,
        };
        if !is_current {
            self.0.refuse(event, "wrong_key").await?;
            return Err(old.err().unwrap_or(SealError::WrongKey));
        }
        if open.header != known {
            return Err(StoreError::Conflict.into());
        }
        let seal = known.seal().saturating_add(1);
        let header = Header::sealing(known.vault(), seal, (new.method(), &parameters), &key, &open.keyring)?;
        self.0.audit.record(&event).await?;
        let batch = Batch::new().expect(SEAL_ROW, Some(open.revision)).put(SEAL_ROW, header.to_bytes());
        let done = self.0.store.commit(batch).await;
        match self.0.header_written(&mut guard, event, header, done)? {
            Some(open) => open.key = key,
            None => return Err(VaultError::Sealed.into()),
        }
        Ok(())
    }

    /// Says that a restored vault's accounts on targets were looked at, and that from now on it may revoke again.
    ///
    /// # Errors
    /// Where it is sealed, or where store or records fail.
    pub async fn confirm_restore(&self, by: &Caller, now: DateTime<Utc>) -> Result<(), VaultError> {
        let mut guard = self.0.open.write().await;
        let open = guard.as_mut().ok_or(VaultError::Sealed)?;
        if open.standing == Standing::Restored {
            let event = self.0.event(EventType::RestoreConfirmed, open, by, now);
            self.0.effect(open, event, Batch::new().delete(RESTORED_ROW)).await?;
            open.standing = Standing::Confirmed;
        }
        Ok(())
    }
}

impl SealedVault {
    /// Makes a vault in an empty store, opened by this provider.
    ///
    /// # Errors
    /// [`SealError::Exists`] where there is one; [`SealError::Emptied`] where records tell that there was one.
    pub async fn initialise(
        &self,
        provider: &dyn KeyProvider,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Vault, SealError> {
        let shared = &self.0;
        let mut guard = shared.open.write().await;
        if shared.store.read(SEAL_ROW).await?.is_some() {
            return Err(SealError::Exists);
        }
        // A record of generation 0 is that of a beginning that came to nothing.
        if let Some(Mark { generation: recorded @ 1.., .. }) = shared.audit.newest().await? {
            return Err(SealError::Emptied { recorded });
        }
        refuse_beside(shared.store.location(), provider)?;
        let vault = VaultId::new(random().map_err(VaultError::from)?);
        let keyring = Keyring::generate().map_err(VaultError::from)?;
        let (key, parameters) = provider.create().await?;
        let header = Header::sealing(vault, 1, (provider.method(), &parameters), &key, &keyring)?;
        let event = AuditEvent::new(EventType::VaultInitialised, by, Mark { vault, generation: 0 }, now);
        shared.audit.record(&event).await?;
        let batch = Batch::new().expect(SEAL_ROW, None).put(SEAL_ROW, header.to_bytes());
        match shared.store.commit(batch).await {
            Ok(revision) => {
                shared.saw(revision);
                shared.audit.outcome(event.result(Outcome::Success, None, revision));
                *guard = Some(Open { header, revision, key, keyring, standing: Standing::Confirmed });
                Ok(Vault(Arc::clone(shared)))
            }
            Err(error) => {
                shared.failed(event, error.effect());
                Err(match error {
                    StoreError::Conflict => SealError::Exists,
                    error => error.into(),
                })
            }
        }
    }

    /// Opens the vault.
    ///
    /// # Errors
    /// [`SealError::WrongKey`] where this is not what opens it, which is put on record; [`SealError::Restored`] where the store is older
    /// than its records.
    pub async fn unseal(
        &self,
        provider: &dyn KeyProvider,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Vault, SealError> {
        self.unseal_as(provider, Restore::Refuse, by, now).await
    }

    /// As [`unseal`](Self::unseal), also where the store is older than its records. Then the vault's [standing](Vault::standing) is
    /// [`Standing::Restored`] until somebody confirms it.
    ///
    /// # Errors
    /// As with [`unseal`](Self::unseal), but for [`SealError::Restored`].
    pub async fn unseal_restored(
        &self,
        provider: &dyn KeyProvider,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Vault, SealError> {
        self.unseal_as(provider, Restore::Accept, by, now).await
    }

    /// The header: which kind of key provider is needed.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read.
    pub async fn header(&self) -> Result<Header, SealError> {
        Ok(self.read_header().await?.0)
    }

    async fn read_header(&self) -> Result<(Header, u64), SealError> {
        let Row { value, revision } = self.0.store.read(SEAL_ROW).await?.ok_or(SealError::Absent)?;
        Ok((Header::parse(&value)?, revision))
    }

    async fn unseal_as(
        &self,
        provider: &dyn KeyProvider,
        restore: Restore,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Vault, SealError> {
        let shared = &self.0;
        let mut guard = shared.open.write().await;
        let (header, revision) = self.read_header().await?;
        refuse_beside(shared.store.location(), provider)?;
        let generation = shared.store.generation().await?;
        let event =
            |event_type| AuditEvent::new(event_type, by, Mark { vault: header.vault(), generation }, now);
        let opened = match recover(&header, provider).await {
            Ok(key) => match header.open(&key) {
                Ok(keyring) => Ok((key, keyring)),
                Err(KeyringError::WrongKey) => Err(SealError::WrongKey),
                Err(KeyringError::Altered) => Err(VaultError::Altered.into()),
            },
            Err(error) => Err(error),
        };
        let (key, keyring) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let reason = if matches!(error, SealError::WrongKey) { "wrong_key" } else { "no_key" };
                shared.refuse(event(EventType::VaultUnsealed), reason).await?;
                return Err(error);
            }
        };
        let mut open = Open { header: header.clone(), revision, key, keyring, standing: Standing::Confirmed };
        let recorded = shared.audit.newest().await?.filter(|mark| mark.generation > 0);
        if let Some(Mark { vault: recorded, .. }) = recorded.filter(|mark| mark.vault != header.vault()) {
            shared.refuse(event(EventType::VaultUnsealed), "other_vault").await?;
            return Err(SealError::OtherVault { recorded });
        }
        shared.saw(generation);
        if let Some(Mark { generation: recorded, .. }) = recorded.filter(|mark| mark.generation > generation)
        {
            if restore == Restore::Refuse {
                shared.refuse(event(EventType::VaultUnsealed), "restored").await?;
                return Err(SealError::Restored { found: generation, recorded });
            }
            let value = open.seal_row(RESTORED_ROW, &recorded.to_be_bytes())?;
            let batch = Batch::new().put(RESTORED_ROW, value).generation_min(recorded.saturating_add(1));
            shared.effect(&open, event(EventType::RestoreAccepted), batch).await?;
        }
        if shared.read_row(&open, RESTORED_ROW).await?.is_some() {
            open.standing = Standing::Restored;
        }
        let unsealed = shared.event(EventType::VaultUnsealed, &open, by, now);
        shared.audit.record(&unsealed.ended(Outcome::Success, None)).await?;
        *guard = Some(open);
        Ok(Vault(Arc::clone(shared)))
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Restore {
    Refuse,
    Accept,
}

impl Shared {
    /// Takes over a header that was committed. `None` where the vault has been sealed meanwhile. Where nobody knows whether it was, nobody can say which
    /// keys hold: the vault is sealed.
    pub(super) fn header_written<'g>(
        &self,
        guard: &'g mut Option<Open>,
        event: AuditEvent,
        header: Header,
        done: Result<u64, StoreError>,
    ) -> Result<Option<&'g mut Open>, VaultError> {
        match done {
            Ok(revision) => {
                self.saw(revision);
                self.audit.outcome(event.result(Outcome::Success, None, revision));
                let Some(open) = guard.as_mut() else { return Ok(None) };
                (open.header, open.revision) = (header, revision);
                Ok(Some(open))
            }
            Err(error) => {
                self.failed(event, error.effect());
                match error {
                    StoreError::Conflict => self.is_stale.store(true, std::sync::atomic::Ordering::Release),
                    _ if error.effect() == Effect::Unknown => *guard = None,
                    _ => {}
                }
                Err(error.into())
            }
        }
    }
}

async fn recover(header: &Header, provider: &dyn KeyProvider) -> Result<KeyEncryptionKey, SealError> {
    if header.method() != provider.method() {
        return Err(SealError::WrongMethod { needed: header.method().to_owned() });
    }
    Ok(provider.recover(header.parameters()).await?)
}

fn refuse_beside(store: Option<PathBuf>, provider: &dyn KeyProvider) -> Result<(), SealError> {
    match (store, provider.location()) {
        (Some(store), Some(key)) if store == key => Err(SealError::KeyBesideStore),
        _ => Ok(()),
    }
}
