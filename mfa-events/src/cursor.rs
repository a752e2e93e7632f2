//! Cursors: offsets as strangers carry them.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::id::TenantId;
use crate::log::Which;
use crate::store::Offset;

/// Bytes of a [`CursorKey`].
pub const CURSOR_KEY_BYTES: usize = 32;

/// Digits of an offset, and of what binds it.
const DIGITS: usize = 16;

/// Makes cursors that hold for one tenant and one filter, and tells them from forged ones.
///
/// A cursor is the offset and, behind it, half of an HMAC-SHA-256 over tenant, filter and offset: cursors of one stream sort as texts in
/// the order of its events. Whoever changes the key makes all cursors void.
#[derive(Clone)]
pub struct CursorKey([u8; CURSOR_KEY_BYTES]);

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CursorKey").finish_non_exhaustive()
    }
}

/// Why a text is no cursor here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// It never was one.
    #[error("this is no cursor")]
    Form,
    /// It is forged, or of another tenant, another filter or another key.
    #[error("this cursor was not made for this stream")]
    Foreign,
}

impl CursorKey {
    /// Of these bytes, which nobody else knows.
    pub fn new(key: [u8; CURSOR_KEY_BYTES]) -> Self {
        Self(key)
    }

    /// The cursor for what comes after an offset.
    pub fn cursor(&self, tenant: &TenantId, which: &Which, after: Offset) -> String {
        format!("{after}{:016x}", self.bound(tenant, which, after))
    }

    /// What a cursor stands for.
    ///
    /// # Errors
    /// Where it is none of this tenant and filter.
    pub fn open(&self, tenant: &TenantId, which: &Which, cursor: &str) -> Result<Offset, CursorError> {
        let (offset, bound) = cursor.split_at_checked(DIGITS).ok_or(CursorError::Form)?;
        let number = |digits: &str| {
            let is_form = digits.len() == DIGITS
                && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            is_form.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or(CursorError::Form)
        };
        let (offset, bound) = (Offset::new(number(offset)?), number(bound)?);
        // Numbers are compared at once: how many digits are right takes no time to tell.
        match bound ^ self.bound(tenant, which, offset) {
            0 => Ok(offset),
            _ => Err(CursorError::Foreign),
        }
    }

    fn bound(&self, tenant: &TenantId, which: &Which, offset: Offset) -> u64 {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return 0 };
        let mut part = |bytes: &[u8]| {
            mac.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(bytes);
        };
        part(tenant.as_str().as_bytes());
        part(&offset.as_u64().to_be_bytes());
        match which {
            Which::All => part(b"all"),
            Which::Actors(actors) => {
                part(b"actors");
                // The same actors in another order are the same filter.
                let mut actors: Vec<_> = actors.iter().collect();
                actors.sort();
                actors.dedup();
                actors.iter().for_each(|actor| part(actor.as_str().as_bytes()));
            }
        }
        mac.finalize().into_bytes().iter().take(8).fold(0, |bound, byte| (bound << 8) | u64::from(*byte))
    }
}
