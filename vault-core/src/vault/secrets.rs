use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use zeroize::Zeroizing;

use super::description::MARK_BYTES;
use super::{Description, Open, Shared, Vault, VaultError, Version, VersionState};
use crate::audit::{AuditEvent, EventType, Outcome};
use crate::crypto::random;
use crate::id::{Caller, SecretPath};
use crate::kind::{Secret, TooLarge};
use crate::limits::{LABEL_BYTES_MAX, LABELS_MAX, PAGE_MAX, VERSIONS_DEFAULT, VERSIONS_MAX};
use crate::store::{Batch, Effect};

pub(super) const META_ROWS: &[u8] = b"meta/";
pub(super) const DATA_ROWS: &[u8] = b"data/";

fn meta_row(path: &SecretPath) -> Vec<u8> {
    [META_ROWS, path.as_str().as_bytes()].concat()
}

/// No path holds a zero, so no two secrets share a row.
fn data_row(path: &SecretPath, version: u32) -> Vec<u8> {
    [DATA_ROWS, path.as_str().as_bytes(), &[0], &version.to_be_bytes()].concat()
}

/// Which version has to be the newest for a write to happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Whichever.
    Any,
    /// There must be no secret on that path.
    Absent,
    /// This one.
    Version(u32),
}

/// A secret to be written.
#[derive(Clone, Debug)]
pub struct Write {
    secret: Secret,
    expected: Expected,
    expires_at: Option<DateTime<Utc>>,
    versions_max: Option<u32>,
}

impl Write {
    /// Over whatever there is, never to expire.
    pub fn of(secret: Secret) -> Self {
        Self { secret, expected: Expected::Any, expires_at: None, versions_max: None }
    }

    /// Only where this is the newest version.
    pub fn expecting(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }

    /// Not to be read from then on. Time is what callers say it is.
    pub fn expires_at(mut self, at: DateTime<Utc>) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// From now on so many versions of this secret are kept: 1 to [`VERSIONS_MAX`]. Older ones are destroyed.
    pub fn versions_max(mut self, versions: u32) -> Self {
        self.versions_max = Some(versions);
        self
    }
}

impl From<Secret> for Write {
    fn from(secret: Secret) -> Self {
        Self::of(secret)
    }
}

/// Why a secret was not written, read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is no secret on this path.
    #[error("there is no such secret")]
    Absent,
    /// There is no such version, or not any more.
    #[error("there is no version {version} of this secret")]
    NoVersion {
        /// Which.
        version: u32,
    },
    /// It has expired.
    #[error("the secret has expired")]
    Expired,
    /// It was deleted, and can be undeleted.
    #[error("the secret was deleted")]
    Deleted,
    /// It was destroyed.
    #[error("the secret was destroyed")]
    Destroyed,
    /// The newest version is another one than was expected.
    #[error("the newest version is not the one that was expected")]
    Unexpected {
        /// The newest; `None` where there is no secret.
        newest: Option<u32>,
    },
    /// It is larger than a limit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The vault is sealed, or its store, its records or the system failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl SecretError {
    /// Whether something was done.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Vault(error) => error.effect(),
            _ => Effect::None,
        }
    }

    /// Whether the same may work when it is done again from the begin.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Vault(error) if error.is_retryable())
    }

    /// As it stands in records, where it is a refusal.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Absent => Some("absent"),
            Self::NoVersion { .. } => Some("no_version"),
            Self::Expired => Some("expired"),
            Self::Deleted => Some("deleted"),
            Self::Destroyed => Some("destroyed"),
            Self::Unexpected { .. } => Some("unexpected_version"),
            Self::TooLarge(_) => Some("too_large"),
            Self::Vault(VaultError::Altered) => Some("altered"),
            Self::Vault(_) => None,
        }
    }
}

impl Vault {
    /// Writes a version of a secret, and answers with its number. Versions count from 1.
    ///
    /// # Errors
    /// Nothing was written where [`SecretError::effect`] is [`Effect::None`].
    pub async fn write(
        &self,
        path: &SecretPath,
        write: impl Into<Write> + Send,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<u32, SecretError> {
        let write = write.into();
        let shared = &self.0;
        let _lane = shared.lane(path.as_str()).await;
        let open = shared.opened().await?;
        let event = shared.event(EventType::SecretWritten, &open, by, now).secret(path, None);
        let known = shared.refusing(&event, shared.described(&open, path).await).await?;
        let newest = known.as_ref().map(|(description, _)| description.newest);
        let version = shared.refusing(&event, next_version(&write, newest)).await?;
        let event = event.secret(path, Some(version));

        let mark: [u8; MARK_BYTES] = random().map_err(VaultError::from)?;
        let row = data_row(path, version);
        let room = write.secret.encoded_bytes().saturating_add(MARK_BYTES);
        let mut plaintext = Zeroizing::new(Vec::with_capacity(room));
        plaintext.extend_from_slice(&mark);
        write.secret.encode(&mut plaintext);
        let mut batch = Batch::new().put(row.as_slice(), open.seal_row(&row, &plaintext)?);

        let (mut description, revision) = match known {
            Some((description, revision)) => (description, Some(revision)),
            None => (
                Description {
                    newest: 0,
                    versions: BTreeMap::new(),
                    versions_max: VERSIONS_DEFAULT,
                    labels: BTreeMap::new(),
                    created_at: now,
                },
                None,
            ),
        };
        description.newest = version;
        description.versions_max = write.versions_max.unwrap_or(description.versions_max);
        let made = Version::new(write.secret.kind(), now, by.actor.clone(), write.expires_at, &mark);
        description.versions.insert(version, made);
        while description.versions.len() > usize::try_from(description.versions_max).unwrap_or(usize::MAX) {
            let Some((oldest, _)) = description.versions.pop_first() else { break };
            batch = batch.delete(data_row(path, oldest));
        }
        let batch = with_description(&open, batch, path, Some(&description), revision)?;
        shared.effect(&open, event, batch).await?;
        Ok(version)
    }

    /// The newest version of a secret.
    ///
    /// # Errors
    /// Refusals are on record as well.
    pub async fn read(
        &self,
        path: &SecretPath,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Secret, SecretError> {
        self.read_any(path, None, by, now).await
    }

    /// A version of a secret.
    ///
    /// # Errors
    /// Refusals are on record as well.
    pub async fn read_version(
        &self,
        path: &SecretPath,
        version: u32,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Secret, SecretError> {
        self.read_any(path, Some(version), by, now).await
    }

    async fn read_any(
        &self,
        path: &SecretPath,
        version: Option<u32>,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Secret, SecretError> {
        let shared = &self.0;
        let open = shared.opened().await?;
        let event = shared.event(EventType::SecretRead, &open, by, now).secret(path, version);
        let described = shared.refusing(&event, shared.described(&open, path).await).await?;
        let readable = described.ok_or(SecretError::Absent).and_then(|(description, _)| {
            let number = version.unwrap_or(description.newest);
            let version =
                description.versions.get(&number).ok_or(SecretError::NoVersion { version: number })?;
            match version.state {
                VersionState::Deleted(_) => Err(SecretError::Deleted),
                VersionState::Destroyed(_) => Err(SecretError::Destroyed),
                VersionState::Live if version.expires_at.is_some_and(|at| at <= now) => {
                    Err(SecretError::Expired)
                }
                VersionState::Live => Ok((number, version.clone())),
            }
        });
        let (number, version) = shared.refusing(&event, readable).await?;
        let event = event.secret(path, Some(number));
        shared.audit.record(&event.clone().ended(Outcome::Success, None)).await.map_err(VaultError::from)?;
        let read = shared.payload(&open, &data_row(path, number), &version).await;
        if let Err(error) = &read {
            let reason = if matches!(error, VaultError::Altered) { "altered" } else { "store_failed" };
            let generation = event.generation;
            shared.audit.outcome(event.result(Outcome::Failure, Some(reason), generation));
        }
        Ok(read?)
    }

    /// What is known of a secret, without what is in it.
    ///
    /// # Errors
    /// Refusals are on record as well.
    pub async fn describe(
        &self,
        path: &SecretPath,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Description, SecretError> {
        let shared = &self.0;
        let open = shared.opened().await?;
        let event = shared.event(EventType::SecretDescribed, &open, by, now).secret(path, None);
        let described =
            shared.described(&open, path).await.and_then(|found| found.ok_or(SecretError::Absent));
        let (description, _) = shared.refusing(&event, described).await?;
        shared.audit.record(&event.ended(Outcome::Success, None)).await.map_err(VaultError::from)?;
        Ok(description)
    }

    /// Paths that begin so, in order, after this one; `paths_max` of them at the most, and never more than [`PAGE_MAX`].
    ///
    /// # Errors
    /// Where the vault is sealed, or store or records fail.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&SecretPath>,
        paths_max: usize,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Vec<SecretPath>, VaultError> {
        let shared = &self.0;
        let open = shared.opened().await?;
        let event = shared.event(EventType::SecretListed, &open, by, now);
        shared.audit.record(&event.ended(Outcome::Success, None)).await?;
        let after = after.map(meta_row);
        let prefix = [META_ROWS, prefix.as_bytes()].concat();
        let rows = shared.store.scan(&prefix, after.as_deref(), paths_max.min(PAGE_MAX)).await?;
        let path = |(key, _): (Vec<u8>, _)| {
            let path = key.strip_prefix(META_ROWS).and_then(|path| std::str::from_utf8(path).ok());
            path.and_then(|path| SecretPath::new(path).ok()).ok_or(VaultError::Altered)
        };
        rows.into_iter().map(path).collect()
    }

    /// Writes beside a secret what others may know of it, in place of what stood there.
    ///
    /// # Errors
    /// Nothing was written where [`SecretError::effect`] is [`Effect::None`].
    pub async fn label(
        &self,
        path: &SecretPath,
        labels: BTreeMap<String, String>,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<(), SecretError> {
        self.change(EventType::SecretLabelled, path, by, now, move |description| {
            if labels.len() > LABELS_MAX {
                return Err(TooLarge { limit: "LABELS_MAX", max: LABELS_MAX }.into());
            }
            if labels.iter().any(|(name, value)| name.len().max(value.len()) > LABEL_BYTES_MAX) {
                return Err(TooLarge { limit: "LABEL_BYTES_MAX", max: LABEL_BYTES_MAX }.into());
            }
            description.labels = labels;
            Ok(Batch::new())
        })
        .await
    }

    /// Makes versions unreadable until they are undeleted.
    ///
    /// # Errors
    /// Nothing was changed where [`SecretError::effect`] is [`Effect::None`].
    pub async fn delete(
        &self,
        path: &SecretPath,
        versions: &[u32],
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<(), SecretError> {
        self.change(EventType::SecretDeleted, path, by, now, |description| {
            each(description, versions, |version| {
                if version.state == VersionState::Live {
                    version.state = VersionState::Deleted(now);
                }
                Ok(())
            })?;
            Ok(Batch::new())
        })
        .await
    }

    /// Makes versions readable again that were deleted.
    ///
    /// # Errors
    /// [`SecretError::Destroyed`] where one was destroyed. Nothing was changed where [`SecretError::effect`] is [`Effect::None`].
    pub async fn undelete(
        &self,
        path: &SecretPath,
        versions: &[u32],
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<(), SecretError> {
        self.change(EventType::SecretUndeleted, path, by, now, |description| {
            each(description, versions, |version| match version.state {
                VersionState::Destroyed(_) => Err(SecretError::Destroyed),
                VersionState::Live | VersionState::Deleted(_) => {
                    version.state = VersionState::Live;
                    Ok(())
                }
            })?;
            Ok(Batch::new())
        })
        .await
    }

    /// Takes versions away for good. That they were there is kept.
    ///
    /// # Errors
    /// Nothing was changed where [`SecretError::effect`] is [`Effect::None`].
    pub async fn destroy(
        &self,
        path: &SecretPath,
        versions: &[u32],
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<(), SecretError> {
        self.change(EventType::SecretDestroyed, path, by, now, |description| {
            each(description, versions, |version| {
                if !matches!(version.state, VersionState::Destroyed(_)) {
                    version.state = VersionState::Destroyed(now);
                }
                Ok(())
            })?;
            let gone = versions.iter().map(|version| data_row(path, *version));
            Ok(gone.fold(Batch::new(), Batch::delete))
        })
        .await
    }

    /// Takes a secret away with all its versions and what is known of it. Versions of another one on that path count from 1 again.
    ///
    /// # Errors
    /// Nothing was changed where [`SecretError::effect`] is [`Effect::None`].
    pub async fn remove(
        &self,
        path: &SecretPath,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<(), SecretError> {
        let shared = &self.0;
        let _lane = shared.lane(path.as_str()).await;
        let open = shared.opened().await?;
        let event = shared.event(EventType::SecretRemoved, &open, by, now).secret(path, None);
        let described =
            shared.described(&open, path).await.and_then(|found| found.ok_or(SecretError::Absent));
        let (description, revision) = shared.refusing(&event, described).await?;
        let rows = description.versions.keys().map(|version| data_row(path, *version));
        let batch = rows.fold(Batch::new(), Batch::delete);
        let batch = with_description(&open, batch, path, None, Some(revision))?;
        shared.effect(&open, event, batch).await?;
        Ok(())
    }

    async fn change(
        &self,
        event_type: EventType,
        path: &SecretPath,
        by: &Caller,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Description) -> Result<Batch, SecretError> + Send,
    ) -> Result<(), SecretError> {
        let shared = &self.0;
        let _lane = shared.lane(path.as_str()).await;
        let open = shared.opened().await?;
        let event = shared.event(event_type, &open, by, now).secret(path, None);
        let changed = match shared.described(&open, path).await {
            Ok(Some((mut description, revision))) => {
                change(&mut description).map(|batch| (batch, description, revision))
            }
            Ok(None) => Err(SecretError::Absent),
            Err(error) => Err(error),
        };
        let (batch, description, revision) = shared.refusing(&event, changed).await?;
        let batch = with_description(&open, batch, path, Some(&description), Some(revision))?;
        shared.effect(&open, event, batch).await?;
        Ok(())
    }
}

fn next_version(write: &Write, newest: Option<u32>) -> Result<u32, SecretError> {
    write.secret.check()?;
    if write.versions_max.is_some_and(|versions| !(1..=VERSIONS_MAX).contains(&versions)) {
        let max = usize::try_from(VERSIONS_MAX).unwrap_or(usize::MAX);
        return Err(TooLarge { limit: "VERSIONS_MAX", max }.into());
    }
    let is_expected = match write.expected {
        Expected::Any => true,
        Expected::Absent => newest.is_none(),
        Expected::Version(version) => newest == Some(version),
    };
    if !is_expected {
        return Err(SecretError::Unexpected { newest });
    }
    // Numbers end after four billion writes of one secret.
    newest.unwrap_or(0).checked_add(1).ok_or(SecretError::Unexpected { newest })
}

fn each(
    description: &mut Description,
    versions: &[u32],
    mut change: impl FnMut(&mut Version) -> Result<(), SecretError>,
) -> Result<(), SecretError> {
    for number in versions {
        let version = description.versions.get_mut(number);
        change(version.ok_or(SecretError::NoVersion { version: *number })?)?;
    }
    Ok(())
}

/// The batch, and the description beside it, where nobody else has written one meanwhile.
fn with_description(
    open: &Open,
    batch: Batch,
    path: &SecretPath,
    description: Option<&Description>,
    revision: Option<u64>,
) -> Result<Batch, VaultError> {
    let row = meta_row(path);
    let batch = batch.expect(row.as_slice(), revision);
    Ok(match description {
        // A description has numbers, texts and times, all of which JSON has.
        Some(description) => {
            let json = serde_json::to_vec(description).map_err(|_| VaultError::Altered)?;
            let value = open.seal_row(&row, &json)?;
            batch.put(row, value)
        }
        None => batch.delete(row),
    })
}

impl Shared {
    async fn described(
        &self,
        open: &Open,
        path: &SecretPath,
    ) -> Result<Option<(Description, u64)>, SecretError> {
        let Some((json, revision)) = self.read_row(open, &meta_row(path)).await? else { return Ok(None) };
        let description = serde_json::from_slice(&json).map_err(|_| VaultError::Altered)?;
        Ok(Some((description, revision)))
    }

    async fn payload(&self, open: &Open, row: &[u8], version: &Version) -> Result<Secret, VaultError> {
        // What is described as being there, and is not, was taken by somebody else.
        let (plaintext, _) = self.read_row(open, row).await?.ok_or(VaultError::Altered)?;
        let (mark, payload) = plaintext.split_at_checked(MARK_BYTES).ok_or(VaultError::Altered)?;
        if !version.is_marked(mark) {
            return Err(VaultError::Altered);
        }
        Secret::decode(payload).ok_or(VaultError::Altered)
    }

    /// Puts a refusal on record before it is told.
    async fn refusing<T>(&self, event: &AuditEvent, done: Result<T, SecretError>) -> Result<T, SecretError> {
        if let Err(error) = &done
            && let Some(reason) = error.reason()
        {
            self.refuse(event.clone(), reason).await?;
        }
        done
    }
}
