use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::{Open, SEAL_ROW, Shared, Vault, VaultError, key_version};
use crate::audit::EventType;
use crate::id::Caller;
use crate::limits::{BATCH_ROWS_MAX, PAGE_MAX};
use crate::store::{Batch, Row, StoreError};

/// Rows whose values are encrypted, by how their keys begin.
const SEALED_ROWS: [&[u8]; 6] = [
    super::secrets::DATA_ROWS,
    super::handles::HANDLE_ROWS,
    super::secrets::META_ROWS,
    super::tending::LIVE_ROWS,
    super::tending::ENDED_ROWS,
    super::RESTORED_ROW,
];
/// So many bytes of rows are moved together, and one row more.
const MOVED_BYTES: usize = 4 * 1024 * 1024;

/// Why data keys are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataKeyError {
    /// There are [`DATA_KEYS_MAX`](crate::limits::DATA_KEYS_MAX) already: re-encrypt, and retire old ones.
    #[error("there are `DATA_KEYS_MAX` data keys already")]
    TooMany,
    /// A header with this keyring would be too large.
    #[error(transparent)]
    Header(#[from] crate::seal::HeaderError),
    /// The vault is sealed, or its store, its records or the system failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// How far re-encryption has come. It begins with [`Walk::default`], and can be written down to go on after a restart.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Walk {
    rows: usize,
    after: Option<Vec<u8>>,
}

/// What a step of re-encryption did.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Walked {
    /// Rows that were looked at.
    pub seen: usize,
    /// Rows that have the newest key now and had an older one.
    pub moved: usize,
    /// Where to go on; `None` at the end.
    pub next: Option<Walk>,
}

impl Vault {
    /// Makes a new data key, which encrypts whatever is written from now on. What was written before stays readable. Answers with its version.
    ///
    /// # Errors
    /// Where an error's effect is unknown, the vault is sealed; unseal it again to see which keys it has.
    pub async fn rotate_data_key(&self, by: &Caller, now: DateTime<Utc>) -> Result<u32, DataKeyError> {
        let shared = &self.0;
        let mut guard = shared.open.write().await;
        let open = guard.as_mut().ok_or(VaultError::Sealed)?;
        if open.keyring.is_full() {
            return Err(DataKeyError::TooMany);
        }
        let keyring = open.keyring.with_new_key().map_err(VaultError::from)?;
        let version = keyring.newest().map_or(0, |(version, _)| version);
        let event = shared.event(EventType::DataKeyRotated, open, by, now);
        shared.replace_keyring(&mut guard, event, keyring).await?;
        Ok(version)
    }

    /// Versions of all data keys.
    ///
    /// # Errors
    /// Where it is sealed.
    pub async fn data_keys(&self) -> Result<Vec<u32>, VaultError> {
        Ok(self.0.opened().await?.keyring.versions().collect())
    }

    /// Takes a step of re-encrypting what older data keys encrypted: looks at up to `rows_max` rows ([`PAGE_MAX`] at the most). The vault stays in use.
    /// What somebody else writes meanwhile has the newest key by itself.
    ///
    /// # Errors
    /// [`VaultError::Altered`] where a row is not this vault's: it stays where it is, and so does the walk.
    pub async fn reencrypt(
        &self,
        walk: &Walk,
        rows_max: usize,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Walked, VaultError> {
        let shared = &self.0;
        let open = shared.opened().await?;
        let Some(prefix) = SEALED_ROWS.get(walk.rows) else {
            return Ok(Walked { seen: 0, moved: 0, next: None });
        };
        let rows_max = rows_max.clamp(1, PAGE_MAX.min(BATCH_ROWS_MAX));
        let found = shared.store.scan(prefix, walk.after.as_deref(), rows_max).await?;
        let next = match found.last() {
            Some((last, _)) => Some(Walk { rows: walk.rows, after: Some(last.clone()) }),
            None => Some(Walk { rows: walk.rows.saturating_add(1), after: None })
                .filter(|next| next.rows < SEALED_ROWS.len()),
        };
        let seen = found.len();
        let newest = open.keyring.newest().map(|(version, _)| version);
        let old: Vec<_> = found.into_iter().filter(|(_, row)| key_version(&row.value) != newest).collect();
        if old.is_empty() {
            return Ok(Walked { seen, moved: 0, next });
        }
        let event = shared.event(EventType::Reencrypted, &open, by, now);
        shared.audit.record(&event).await?;
        let mut moved = 0usize;
        let mut rest = old.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0usize;
            let few = rest
                .iter()
                .take_while(|(_, row)| {
                    let fits = bytes <= MOVED_BYTES;
                    bytes = bytes.saturating_add(row.value.len());
                    fits
                })
                .count();
            let (together, after) = rest.split_at_checked(few.max(1)).unwrap_or((rest, &[]));
            rest = after;
            moved = moved.saturating_add(shared.move_rows(&open, event.clone(), together).await?);
        }
        Ok(Walked { seen, moved, next })
    }

    /// Forgets data keys that encrypt nothing any more, and answers with their versions. What such a key encrypted, in a backup or in unused pages of
    /// the store, cannot be read by this vault from then on; an older header, if somebody kept one, still holds the key. Looks at every row, and the vault waits
    /// meanwhile.
    ///
    /// # Errors
    /// Where an error's effect is unknown, the vault is sealed; unseal it again to see which keys it has.
    pub async fn retire_data_keys(&self, by: &Caller, now: DateTime<Utc>) -> Result<Vec<u32>, DataKeyError> {
        let shared = &self.0;
        let mut guard = shared.open.write().await;
        let open = guard.as_mut().ok_or(VaultError::Sealed)?;
        let mut used = BTreeSet::new();
        for prefix in SEALED_ROWS {
            let mut after: Option<Vec<u8>> = None;
            loop {
                // Few, because rows can be large.
                let page = shared.store.scan(prefix, after.as_deref(), 16).await.map_err(VaultError::from)?;
                let Some((last, _)) = page.last() else { break };
                after = Some(last.clone());
                used.extend(page.iter().filter_map(|(_, row)| key_version(&row.value)));
            }
        }
        let keyring = open.keyring.retaining(|version| used.contains(&version));
        let kept: BTreeSet<u32> = keyring.versions().collect();
        let retired: Vec<u32> = open.keyring.versions().filter(|version| !kept.contains(version)).collect();
        if !retired.is_empty() {
            let event = shared.event(EventType::DataKeysRetired, open, by, now);
            shared.replace_keyring(&mut guard, event, keyring).await?;
        }
        Ok(retired)
    }
}

impl Shared {
    async fn replace_keyring(
        &self,
        guard: &mut Option<Open>,
        event: crate::audit::AuditEvent,
        keyring: crate::seal::Keyring,
    ) -> Result<(), DataKeyError> {
        let open = guard.as_mut().ok_or(VaultError::Sealed)?;
        let header = open.header.resealing(&open.key, &keyring)?;
        self.audit.record(&event).await.map_err(VaultError::from)?;
        let batch = Batch::new().expect(SEAL_ROW, Some(open.revision)).put(SEAL_ROW, header.to_bytes());
        let done = self.store.commit(batch).await;
        match self.header_written(guard, event, header, done)? {
            Some(open) => open.keyring = keyring,
            None => return Err(VaultError::Sealed.into()),
        }
        Ok(())
    }

    /// Re-encrypts rows that are as they were read. Where one is not, each is tried for itself: whoever wrote it used the newest key.
    async fn move_rows(
        &self,
        open: &Open,
        event: crate::audit::AuditEvent,
        rows: &[(Vec<u8>, Row)],
    ) -> Result<usize, VaultError> {
        let mut values = Vec::with_capacity(rows.len());
        for (key, row) in rows {
            values.push(open.seal_row(key, &open.open_row(key, &row.value)?)?);
        }
        let whole = rows.iter().zip(&values).fold(Batch::new(), |batch, ((key, row), value)| {
            batch.expect(key.as_slice(), Some(row.revision)).put(key.as_slice(), value.as_slice())
        });
        match self.commit(open, event.clone(), whole).await {
            Ok(_) => return Ok(rows.len()),
            Err(VaultError::Store(StoreError::Conflict)) => {}
            Err(error) => return Err(error),
        }
        let mut moved = 0usize;
        for ((key, row), value) in rows.iter().zip(values) {
            let one = Batch::new().expect(key.as_slice(), Some(row.revision)).put(key.as_slice(), value);
            match self.commit(open, event.clone(), one).await {
                Ok(_) => moved = moved.saturating_add(1),
                Err(VaultError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }
}
