//! The seam to the cryptographic crates: everything else in this crate calls these and nothing below them.

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{AeadInOut as _, inout::InOutBuf},
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::KeyError;

pub(crate) type Hash = [u8; 32];
pub(crate) type LogId = [u8; 16];

pub(crate) const TAG_BYTES: usize = 16;

pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// SHA-256 of bytes that arrive in pieces.
#[derive(Clone)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

fn hmac_keyed(key: &Hash) -> Hmac<Sha256> {
    // RFC 2104 pads short keys with zeros to the block length, so this is the same key, of the one length that cannot be refused.
    let mut block = [0u8; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let keyed = Hmac::<Sha256>::new(&block.into());
    block.zeroize();
    keyed
}

/// `HMAC-SHA-256(salt, part)`: what a leaf says about content that it does not show.
pub(crate) fn commitment(salt: &Hash, part: &[u8]) -> Hash {
    let mut mac = hmac_keyed(salt);
    mac.update(part);
    mac.finalize().into_bytes().into()
}

/// Which part of an entry a salt is for.
#[derive(Clone, Copy)]
pub(crate) enum SaltLabel {
    Common,
    Subject,
}

/// A key that salts are expanded from; its HMAC state is kept, which halves the cost of a salt.
#[derive(Clone)]
pub(crate) struct SaltKey(Hmac<Sha256>);

impl SaltKey {
    pub(crate) fn new(key: &Hash) -> Self {
        Self(hmac_keyed(key))
    }

    /// First block of `HKDF-Expand-SHA-256(key, label ‖ log ‖ seq)`.
    pub(crate) fn salt(&self, label: SaltLabel, log: &LogId, seq: u64) -> Hash {
        let mut mac = self.0.clone();
        mac.update(match label {
            SaltLabel::Common => b"audit-log v0 env",
            SaltLabel::Subject => b"audit-log v0 sub",
        });
        mac.update(log);
        mac.update(&seq.to_be_bytes());
        mac.update(&[1]);
        mac.finalize().into_bytes().into()
    }
}

fn expand_sha512(salt: &[u8], ikm: &[u8], info: &[&[u8]], okm: &mut [u8]) -> Result<(), KeyError> {
    Hkdf::<Sha512>::new(Some(salt), ikm).expand_multi_info(info, okm).map_err(|_| KeyError::Derivation)
}

/// Key, base nonce and key commitment of one segment.
pub(crate) struct SegmentCipher {
    aead: Aes256Gcm,
    base_nonce: [u8; 12],
    commitment: Hash,
}

impl SegmentCipher {
    pub(crate) fn derive(
        epoch_key: &Hash,
        salt: &[u8; 24],
        log: &LogId,
        segment: u32,
    ) -> Result<Self, KeyError> {
        let mut okm = Zeroizing::new([0u8; 76]);
        let info: [&[u8]; 3] = [b"audit-log v0 segment", log, &segment.to_be_bytes()];
        expand_sha512(salt, epoch_key, &info, okm.as_mut_slice())?;
        let mut cursor = crate::cursor::Cursor::new(okm.as_slice());
        let (Some(key), Some(base_nonce), Some(commitment)) =
            (cursor.array::<32>(), cursor.array::<12>(), cursor.array::<32>())
        else {
            return Err(KeyError::Derivation);
        };
        let key = Zeroizing::new(key);
        let aead = Aes256Gcm::new_from_slice(key.as_slice()).map_err(|_| KeyError::Derivation)?;
        Ok(Self { aead, base_nonce, commitment })
    }

    pub(crate) fn commitment(&self) -> &Hash {
        &self.commitment
    }

    fn nonce(&self, frame: u32) -> [u8; 12] {
        let mut nonce = self.base_nonce;
        for (byte, number) in nonce.iter_mut().rev().zip(frame.to_be_bytes().iter().rev()) {
            *byte ^= number;
        }
        nonce
    }

    /// Encrypts in place and returns the tag.
    pub(crate) fn seal(
        &self,
        frame: u32,
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], KeyError> {
        let nonce = self.nonce(frame);
        let tag = self
            .aead
            .encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(buffer))
            .map_err(|_| KeyError::Derivation)?;
        Ok(tag.into())
    }

    /// Decrypts ciphertext with its tag into `plaintext`, or says that it was altered.
    pub(crate) fn open(
        &self,
        frame: u32,
        aad: &[u8],
        sealed: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<(), Altered> {
        let nonce = self.nonce(frame);
        open_detached(&self.aead, nonce, aad, sealed, plaintext)
    }
}

/// The bytes do not authenticate under the key.
#[derive(Debug)]
pub(crate) struct Altered;

fn open_detached(
    aead: &Aes256Gcm,
    nonce: [u8; 12],
    aad: &[u8],
    sealed: &[u8],
    plaintext: &mut Vec<u8>,
) -> Result<(), Altered> {
    plaintext.clear();
    let (body, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Altered)?;
    plaintext.resize(body.len(), 0);
    let buffers = InOutBuf::new(body, plaintext.as_mut_slice()).map_err(|_| Altered)?;
    let opened = aead.decrypt_inout_detached(&nonce.into(), aad, buffers, &(*tag).into());
    if opened.is_err() {
        plaintext.zeroize();
        return Err(Altered);
    }
    Ok(())
}

/// The key that wraps subject keys under one epoch key.
pub(crate) struct WrapKey(Aes256Gcm);

impl WrapKey {
    pub(crate) fn derive(epoch_key: &Hash) -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0u8; 32]);
        expand_sha512(&[], epoch_key, &[b"audit-log v0 subjects"], key.as_mut_slice())?;
        Ok(Self(Aes256Gcm::new_from_slice(key.as_slice()).map_err(|_| KeyError::Derivation)?))
    }

    pub(crate) fn seal(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], KeyError> {
        let tag = self
            .0
            .encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(buffer))
            .map_err(|_| KeyError::Derivation)?;
        Ok(tag.into())
    }

    pub(crate) fn open(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        sealed: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<(), Altered> {
        open_detached(&self.0, nonce, aad, sealed, plaintext)
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}
