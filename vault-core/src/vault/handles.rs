use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{Vault, VaultError};
use crate::audit::{AuditEvent, EventType};
use crate::crypto::{fill, sha256};
use crate::id::Caller;
use crate::kind::{Secret, TooLarge};
use crate::limits::{HANDLE_LIFETIME_MAX, HANDLE_MEMORY, PAGE_MAX};
use crate::store::{Batch, StoreError};

pub(super) const HANDLE_ROWS: &[u8] = b"handle/";
const DUE_ROWS: &[u8] = b"due/";
const PREFIX: &str = "vault-handle-";
const TOKEN_BYTES: usize = 32;

/// Opens one secret, once. Whoever has it has the secret, as long as nobody was faster; and then both know.
#[derive(Clone)]
pub struct Handle(Zeroizing<[u8; TOKEN_BYTES]>);

impl Handle {
    /// As text, which [`FromStr`] reads.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 2 * TOKEN_BYTES));
        text.push_str(PREFIX);
        HEXLOWER.encode_append(self.0.as_slice(), &mut text);
        text
    }

    /// What it is called in records: nothing that opens it.
    pub fn id(&self) -> String {
        HEXLOWER.encode(sha256(self.0.as_slice()).first_chunk::<8>().unwrap_or(&[0; 8]))
    }

    /// The store has no part of the handle, either.
    fn row(&self) -> Vec<u8> {
        [HANDLE_ROWS, &sha256(self.0.as_slice())].concat()
    }
}

impl FromStr for Handle {
    type Err = NoHandle;

    fn from_str(text: &str) -> Result<Self, NoHandle> {
        let digits = text.trim_ascii().strip_prefix(PREFIX).ok_or(NoHandle)?;
        let mut token = Zeroizing::new([0; TOKEN_BYTES]);
        if digits.len() != 2 * TOKEN_BYTES {
            return Err(NoHandle);
        }
        HEXLOWER.decode_mut(digits.as_bytes(), token.as_mut_slice()).map_err(|_| NoHandle)?;
        Ok(Self(token))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(…)")
    }
}

/// A text is no handle.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is no handle")]
pub struct NoHandle;

/// Why a handle was not made or did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// There is no such handle.
    #[error("there is no such handle")]
    Absent,
    /// It was used before. This is on record as an alarm: somebody else has what it opened.
    #[error("the handle was used before")]
    Used {
        /// When.
        at: DateTime<Utc>,
    },
    /// Its time is over.
    #[error("the handle has expired")]
    Expired,
    /// A lifetime is not positive, or longer than [`HANDLE_LIFETIME_MAX`].
    #[error("a handle does not live as long as that")]
    Lifetime,
    /// The secret is larger than a limit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The vault is sealed, or its store, its records or the system failed. Where the effect is unknown, the handle may have been used up.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

enum Row<'r> {
    Live {
        expires_at: i64,
        payload: &'r [u8],
    },
    Used {
        expires_at: i64,
        at: i64,
    },
    /// Expired unused, and its secret is gone.
    Over {
        expires_at: i64,
    },
}

impl<'r> Row<'r> {
    fn parse(bytes: &'r [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (expires_at, rest) = rest.split_first_chunk::<8>()?;
        let expires_at = i64::from_be_bytes(*expires_at);
        match (kind, rest) {
            (0, payload) => Some(Self::Live { expires_at, payload }),
            (1, at) => Some(Self::Used { expires_at, at: i64::from_be_bytes(at.try_into().ok()?) }),
            (2, []) => Some(Self::Over { expires_at }),
            _ => None,
        }
    }

    fn expires_at(&self) -> i64 {
        match self {
            Self::Live { expires_at, .. } | Self::Used { expires_at, .. } | Self::Over { expires_at } => {
                *expires_at
            }
        }
    }
}

fn head(kind: u8, expires_at: i64) -> Vec<u8> {
    [[kind].as_slice(), &expires_at.to_be_bytes()].concat()
}

/// When something is to be done about a handle, so that looking for what is due costs what is due.
fn due_row(at: i64, handle_row: &[u8]) -> Vec<u8> {
    let id = handle_row.strip_prefix(HANDLE_ROWS).unwrap_or_default();
    // The sign's bit turned, numbers sort as bytes.
    [DUE_ROWS, &(at.cast_unsigned() ^ (1 << 63)).to_be_bytes(), id].concat()
}

fn parse_due_row(row: &[u8]) -> Option<(i64, Vec<u8>)> {
    let (at, id) = row.strip_prefix(DUE_ROWS)?.split_first_chunk::<8>()?;
    Some(((u64::from_be_bytes(*at) ^ (1 << 63)).cast_signed(), [HANDLE_ROWS, id].concat()))
}

impl Vault {
    /// Keeps a secret for whoever comes with the handle, once, within its lifetime.
    ///
    /// # Errors
    /// Where the lifetime is not possible or the secret too large; or with the vault.
    pub async fn wrap(
        &self,
        secret: &Secret,
        lifetime: TimeDelta,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Handle, HandleError> {
        secret.check()?;
        let is_possible = lifetime > TimeDelta::zero() && lifetime <= HANDLE_LIFETIME_MAX;
        let expires_at =
            now.checked_add_signed(lifetime).filter(|_| is_possible).ok_or(HandleError::Lifetime)?;
        let expires_at = expires_at.timestamp_millis();
        let shared = &self.0;
        let open = shared.opened().await?;
        let mut handle = Handle(Zeroizing::new([0; TOKEN_BYTES]));
        fill(handle.0.as_mut_slice()).map_err(VaultError::from)?;
        let row = handle.row();
        let mut plaintext = Zeroizing::new(Vec::with_capacity(secret.encoded_bytes().saturating_add(9)));
        plaintext.extend_from_slice(&head(0, expires_at));
        secret.encode(&mut plaintext);
        let value = open.seal_row(&row, &plaintext)?;
        let batch =
            Batch::new().put(due_row(expires_at, &row), []).expect(row.as_slice(), None).put(row, value);
        let event = with_handle(shared.event(EventType::HandleWrapped, &open, by, now), handle.id());
        shared.effect(&open, event, batch).await?;
        Ok(handle)
    }

    /// The secret, and the end of the handle. Whoever comes second raises an alarm.
    ///
    /// # Errors
    /// Refusals are on record as well. Where an error's effect is unknown, the secret may be lost: nobody has seen it.
    pub async fn unwrap_handle(
        &self,
        handle: &Handle,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<Secret, HandleError> {
        let shared = &self.0;
        let row = handle.row();
        let _lane = shared.lane(&handle.id()).await;
        let open = shared.opened().await?;
        let event = |event_type| with_handle(shared.event(event_type, &open, by, now), handle.id());
        // Once more where another process was faster: then it is used, and that has to be said.
        for _ in 0..2 {
            let Some((plaintext, revision)) = shared.read_row(&open, &row).await? else {
                shared.refuse(event(EventType::HandleUnwrapped), "absent").await?;
                return Err(HandleError::Absent);
            };
            let (expires_at, payload) = match Row::parse(&plaintext).ok_or(VaultError::Altered)? {
                Row::Used { at, .. } => {
                    shared.refuse(event(EventType::HandleReused), "used").await?;
                    return Err(HandleError::Used {
                        at: DateTime::from_timestamp_millis(at).unwrap_or_default(),
                    });
                }
                Row::Over { .. } => {
                    shared.refuse(event(EventType::HandleUnwrapped), "expired").await?;
                    return Err(HandleError::Expired);
                }
                Row::Live { expires_at, .. } if expires_at <= now.timestamp_millis() => {
                    shared.refuse(event(EventType::HandleUnwrapped), "expired").await?;
                    return Err(HandleError::Expired);
                }
                Row::Live { expires_at, payload } => (expires_at, payload),
            };
            let secret = Secret::decode(payload).ok_or(VaultError::Altered)?;
            let used = [head(1, expires_at).as_slice(), &now.timestamp_millis().to_be_bytes()].concat();
            let value = open.seal_row(&row, &used)?;
            let batch = Batch::new().expect(row.as_slice(), Some(revision)).put(row.as_slice(), value);
            match shared.effect(&open, event(EventType::HandleUnwrapped), batch).await {
                // INVARIANT: nobody gets the secret before the store says that nobody else will.
                Ok(_) => return Ok(secret),
                Err(VaultError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(VaultError::Store(StoreError::Conflict).into())
    }

    /// Does away with secrets of handles that ran out, and forgets handles [`HANDLE_MEMORY`] later. Looks at what is due alone, up to
    /// `handles_max` of it, and says how much it was: call again while that is as much.
    ///
    /// # Errors
    /// Where the vault is sealed, or store or records fail.
    pub async fn sweep_handles(
        &self,
        handles_max: usize,
        by: &Caller,
        now: DateTime<Utc>,
    ) -> Result<usize, VaultError> {
        let shared = &self.0;
        let open = shared.opened().await?;
        let now_ms = now.timestamp_millis();
        let memory_ms = HANDLE_MEMORY.num_milliseconds();
        // Each writes up to three rows.
        let found = shared.store.scan(DUE_ROWS, None, handles_max.clamp(1, PAGE_MAX / 4)).await?;
        let mut batch = Batch::new();
        let mut swept = 0usize;
        for (due, _) in found {
            let (at, row) = parse_due_row(&due).ok_or(VaultError::Altered)?;
            if at > now_ms {
                break;
            }
            swept = swept.saturating_add(1);
            batch = batch.delete(due);
            let Some((plaintext, revision)) = shared.read_row(&open, &row).await? else { continue };
            let parsed = Row::parse(&plaintext).ok_or(VaultError::Altered)?;
            let expires_at = parsed.expires_at();
            batch = batch.expect(row.as_slice(), Some(revision));
            let forget_at = expires_at.saturating_add(memory_ms);
            if forget_at <= now_ms {
                batch = batch.delete(row);
                continue;
            }
            batch = batch.put(due_row(forget_at, &row), []);
            // Where a due row says so too early, somebody changed it: what is alive stays.
            if matches!(parsed, Row::Live { .. }) && expires_at <= now_ms {
                let value = open.seal_row(&row, &head(2, expires_at))?;
                batch = batch.put(row, value);
            }
        }
        if swept > 0 {
            shared.effect(&open, shared.event(EventType::HandlesSwept, &open, by, now), batch).await?;
        }
        Ok(swept)
    }
}

fn with_handle(mut event: AuditEvent, id: String) -> AuditEvent {
    event.handle_id = Some(id);
    event
}
