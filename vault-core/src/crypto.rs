//! The seam to the cryptographic crates: everything else in this crate calls these and nothing below them.
//!
//! Each message has a key and a nonce of its own, derived from the long-lived key, a random salt of 32 bytes and what the message is:
//!
//! ```text
//! context  = for each part: length (u32) ‖ part
//! okm      = HKDF-SHA-512(key, salt, "vault-core v0" ‖ context) = key (32) ‖ nonce (12) ‖ commitment (32)
//! message  = salt (32) ‖ commitment (32) ‖ AES-256-GCM(key, nonce, context, plaintext) with its tag (16)
//! ```
//!
//! Nothing is counted, so a store that was restored from a backup, or a machine that runs twice from one snapshot, repeats no nonce
//! as long as its random source does not repeat. GCM alone does not commit to a key; the commitment does, and is checked first.

use aes_gcm::aead::{AeadInOut as _, inout::InOutBuf};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::memory::{KEY_BYTES, KeyPage};

const SALT_BYTES: usize = 32;
const COMMITMENT_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Bytes that a message is longer than what is in it.
pub(crate) const OVERHEAD_BYTES: usize = SALT_BYTES + COMMITMENT_BYTES + TAG_BYTES;

/// What a message is: parts that together are said of no other message.
pub(crate) struct Context(Vec<u8>);

impl Context {
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            // Parts are limited far below 4 GiB.
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Self(bytes)
    }
}

/// Why a message does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closed {
    /// It is shorter than any message.
    Short,
    /// The key is another one, or salt, commitment or context are not the message's.
    Key,
    /// The key is right, what was encrypted was altered.
    Altered,
}

/// The system has no randomness, or a message is too long.
#[derive(Debug, thiserror::Error)]
#[error("the system has no randomness to give")]
pub(crate) struct NoRandomness;

struct Derived {
    cipher: Aes256Gcm,
    nonce: [u8; NONCE_BYTES],
    commitment: [u8; COMMITMENT_BYTES],
}

fn derive(key: &KeyPage, salt: &[u8], context: &Context) -> Option<Derived> {
    let mut okm = Zeroizing::new([0u8; KEY_BYTES + NONCE_BYTES + COMMITMENT_BYTES]);
    Hkdf::<Sha512>::new(Some(salt), key.bytes())
        .expand_multi_info(&[b"vault-core v0", &context.0], okm.as_mut_slice())
        .ok()?;
    let (message_key, rest) = okm.split_first_chunk::<KEY_BYTES>()?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let commitment = *rest.first_chunk::<COMMITMENT_BYTES>()?;
    Some(Derived { cipher: Aes256Gcm::new_from_slice(message_key).ok()?, nonce: *nonce, commitment })
}

/// Random bytes in their place: what is secret is not moved about.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(|_| NoRandomness)
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Appends the message to `out`.
pub(crate) fn seal(
    key: &KeyPage,
    context: &Context,
    plaintext: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), NoRandomness> {
    let salt = random::<SALT_BYTES>()?;
    let derived = derive(key, &salt, context).ok_or(NoRandomness)?;
    // No reallocation from here on: it would leave plaintext behind.
    out.reserve(plaintext.len().saturating_add(OVERHEAD_BYTES));
    out.extend_from_slice(&salt);
    out.extend_from_slice(&derived.commitment);
    let start = out.len();
    out.extend_from_slice(plaintext);
    let body = out.get_mut(start..).unwrap_or_default();
    let tag = derived
        .cipher
        .encrypt_inout_detached(&derived.nonce.into(), &context.0, InOutBuf::from(body))
        .map_err(|_| NoRandomness)?;
    out.extend_from_slice(&tag);
    Ok(())
}

/// What is in a message.
pub(crate) fn open(key: &KeyPage, context: &Context, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
    let (salt, rest) = message.split_at_checked(SALT_BYTES).ok_or(Closed::Short)?;
    let (commitment, rest) = rest.split_at_checked(COMMITMENT_BYTES).ok_or(Closed::Short)?;
    let body_bytes = rest.len().checked_sub(TAG_BYTES).ok_or(Closed::Short)?;
    let (body, tag) = rest.split_at_checked(body_bytes).ok_or(Closed::Short)?;
    let tag: [u8; TAG_BYTES] = tag.try_into().map_err(|_| Closed::Short)?;
    let derived = derive(key, salt, context).ok_or(Closed::Key)?;
    if !bool::from(derived.commitment.ct_eq(commitment)) {
        return Err(Closed::Key);
    }
    let mut plaintext = Zeroizing::new(body.to_vec());
    derived
        .cipher
        .decrypt_inout_detached(
            &derived.nonce.into(),
            &context.0,
            InOutBuf::from(plaintext.as_mut_slice()),
            &tag.into(),
        )
        .map_err(|_| Closed::Altered)?;
    Ok(plaintext)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> KeyPage {
        KeyPage::from_bytes(&[byte; KEY_BYTES])
    }

    fn sealed(context: &Context) -> Vec<u8> {
        let mut out = Vec::new();
        seal(&key(1), context, b"hunter2", &mut out).unwrap();
        out
    }

    #[test]
    fn opens_for_its_key_and_context_only() {
        let context = Context::of(&[b"a", b"b"]);
        let message = sealed(&context);
        assert_eq!(open(&key(1), &context, &message).unwrap().as_slice(), b"hunter2");
        assert_eq!(open(&key(2), &context, &message).unwrap_err(), Closed::Key);
        for other in [&[b"ab".as_slice()] as &[&[u8]], &[b"a", b"c"], &[b"a", b"b", b""], &[b"", b"ab"]] {
            assert_eq!(open(&key(1), &Context::of(other), &message).unwrap_err(), Closed::Key);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_length_is_found() {
        let context = Context::of(&[b"a"]);
        let message = sealed(&context);
        for bit in 0..message.len() * 8 {
            let mut altered = message.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let expected =
                if bit / 8 < SALT_BYTES + COMMITMENT_BYTES { Closed::Key } else { Closed::Altered };
            assert_eq!(open(&key(1), &context, &altered).unwrap_err(), expected, "bit {bit}");
        }
        for length in 0..message.len() {
            assert!(open(&key(1), &context, &message[..length]).is_err(), "{length} bytes");
        }
        let longer = [message.as_slice(), b"x"].concat();
        assert_eq!(open(&key(1), &context, &longer).unwrap_err(), Closed::Altered);
    }

    #[test]
    fn the_same_twice_has_another_key_and_another_nonce() {
        let context = Context::of(&[b"a"]);
        let (first, second) = (sealed(&context), sealed(&context));
        assert_ne!(first[..SALT_BYTES], second[..SALT_BYTES]);
        let [first, second] =
            [&first, &second].map(|message| derive(&key(1), &message[..SALT_BYTES], &context).unwrap());
        assert_ne!(first.nonce, second.nonce);
        assert_ne!(first.commitment, second.commitment);
    }
}
