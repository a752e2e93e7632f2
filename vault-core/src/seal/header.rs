use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::KeyEncryptionKey;
use crate::crypto::{self, Closed, Context, NoRandomness};
use crate::id::VaultId;
use crate::limits::{DATA_KEYS_MAX, HEADER_BYTES_MAX, PARAMETERS_BYTES_MAX};
use crate::memory::{KEY_BYTES, KeyPage};

const MAGIC: &[u8; 4] = b"vch0";
const METHOD_BYTES_MAX: usize = 32;

/// The first row of a vault: which key provider opens it, and its data keys, encrypted.
///
/// ```text
/// "vch0" ‖ vault id (16) ‖ seal (u32) ‖ method: length (u8), text ‖ parameters: length (u16), bytes ‖ keyring
/// ```
///
/// Everything before the keyring is bound to it: a header of which a part was changed opens with no key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    vault: VaultId,
    seal: u32,
    method: String,
    parameters: Vec<u8>,
    keyring: Vec<u8>,
}

impl Header {
    /// Reads a header, which may be hostile.
    ///
    /// # Errors
    /// Where it is not built like one, or beyond a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(HeaderError::TooLarge);
        }
        let short = HeaderError::Short;
        let rest = bytes.strip_prefix(MAGIC).ok_or(HeaderError::Format)?;
        let (vault, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
        let (seal, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
        let (method_bytes, rest) = rest.split_first().ok_or(short)?;
        let (method, rest) = rest.split_at_checked(usize::from(*method_bytes)).ok_or(short)?;
        let method = std::str::from_utf8(method).ok().filter(|method| is_method(method));
        let (parameters_bytes, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
        let parameters_bytes = usize::from(u16::from_be_bytes(*parameters_bytes));
        if parameters_bytes > PARAMETERS_BYTES_MAX {
            return Err(HeaderError::TooLarge);
        }
        let (parameters, keyring) = rest.split_at_checked(parameters_bytes).ok_or(short)?;
        if keyring.len() < crypto::OVERHEAD_BYTES {
            return Err(short);
        }
        Ok(Self {
            vault: VaultId::new(*vault),
            seal: u32::from_be_bytes(*seal),
            method: method.ok_or(HeaderError::Method)?.to_owned(),
            parameters: parameters.to_vec(),
            keyring: keyring.to_vec(),
        })
    }

    /// As it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(self.vault.as_bytes());
        bytes.extend_from_slice(&self.seal.to_be_bytes());
        // Both lengths were checked when the header was made.
        bytes.push(u8::try_from(self.method.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(self.method.as_bytes());
        bytes.extend_from_slice(&u16::try_from(self.parameters.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(&self.parameters);
        bytes.extend_from_slice(&self.keyring);
        bytes
    }

    /// Which vault.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// How often the key-encryption key was made, from 1.
    pub fn seal(&self) -> u32 {
        self.seal
    }

    /// Which kind of key provider opens it.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// What that provider wrote down.
    pub fn parameters(&self) -> &[u8] {
        &self.parameters
    }

    /// A header around a keyring, encrypted anew.
    pub(crate) fn sealing(
        vault: VaultId,
        seal: u32,
        (method, parameters): (&str, &[u8]),
        key: &KeyEncryptionKey,
        keyring: &Keyring,
    ) -> Result<Self, HeaderError> {
        if !is_method(method) {
            return Err(HeaderError::Method);
        }
        if parameters.len() > PARAMETERS_BYTES_MAX {
            return Err(HeaderError::TooLarge);
        }
        let mut header = Self {
            vault,
            seal,
            method: method.to_owned(),
            parameters: parameters.to_vec(),
            keyring: Vec::new(),
        };
        let mut sealed = Vec::new();
        crypto::seal(&key.0, &header.context(), &keyring.to_bytes(), &mut sealed)
            .map_err(|NoRandomness| HeaderError::Randomness)?;
        header.keyring = sealed;
        Ok(header)
    }

    /// The same seal around another keyring.
    pub(crate) fn resealing(&self, key: &KeyEncryptionKey, keyring: &Keyring) -> Result<Self, HeaderError> {
        Self::sealing(self.vault, self.seal, (&self.method, &self.parameters), key, keyring)
    }

    /// The data keys, for who has the key.
    pub(crate) fn open(&self, key: &KeyEncryptionKey) -> Result<Keyring, KeyringError> {
        let bytes = crypto::open(&key.0, &self.context(), &self.keyring).map_err(|closed| match closed {
            Closed::Key => KeyringError::WrongKey,
            Closed::Short | Closed::Altered => KeyringError::Altered,
        })?;
        Keyring::parse(&bytes).ok_or(KeyringError::Altered)
    }

    fn context(&self) -> Context {
        Context::of(&[
            b"keyring",
            self.vault.as_bytes(),
            &self.seal.to_be_bytes(),
            self.method.as_bytes(),
            &self.parameters,
        ])
    }
}

fn is_method(method: &str) -> bool {
    (1..=METHOD_BYTES_MAX).contains(&method.len()) && method.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It is no header, or one of another version.
    #[error("it is no header of this version")]
    Format,
    /// It ends too early.
    #[error("the header ends too early")]
    Short,
    /// It is larger than [`HEADER_BYTES_MAX`], or its parameters than [`PARAMETERS_BYTES_MAX`].
    #[error("the header is too large")]
    TooLarge,
    /// Its method is not 1 to 32 printable ASCII characters.
    #[error("the header names no method")]
    Method,
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
}

/// Why a keyring does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyringError {
    WrongKey,
    Altered,
}

/// Data keys by version. There is always one; the newest encrypts.
#[derive(Debug)]
pub(crate) struct Keyring {
    keys: BTreeMap<u32, KeyPage>,
}

impl Keyring {
    pub(crate) fn generate() -> Result<Self, NoRandomness> {
        let key = KeyPage::random().map_err(|_| NoRandomness)?;
        Ok(Self { keys: BTreeMap::from([(1, key)]) })
    }

    pub(crate) fn newest(&self) -> Option<(u32, &KeyPage)> {
        self.keys.last_key_value().map(|(version, key)| (*version, key))
    }

    pub(crate) fn key(&self, version: u32) -> Option<&KeyPage> {
        self.keys.get(&version)
    }

    pub(crate) fn versions(&self) -> impl Iterator<Item = u32> {
        self.keys.keys().copied()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.keys.len() >= DATA_KEYS_MAX
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.keys.values().all(KeyPage::is_locked)
    }

    /// The same keys and a new one.
    pub(crate) fn with_new_key(&self) -> Result<Self, NoRandomness> {
        let next = self.newest().map_or(1, |(version, _)| version.saturating_add(1));
        let mut keys = self.copy();
        keys.insert(next, KeyPage::random().map_err(|_| NoRandomness)?);
        Ok(Self { keys })
    }

    /// Those keys alone that `keep` says, and the newest.
    pub(crate) fn retaining(&self, keep: impl Fn(u32) -> bool) -> Self {
        let newest = self.newest().map(|(version, _)| version);
        let mut keys = self.copy();
        keys.retain(|version, _| Some(*version) == newest || keep(*version));
        Self { keys }
    }

    fn copy(&self) -> BTreeMap<u32, KeyPage> {
        self.keys.iter().map(|(version, key)| (*version, KeyPage::from_bytes(key.bytes()))).collect()
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let bytes_each = 4 + KEY_BYTES;
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.keys.len().saturating_mul(bytes_each)));
        for (version, key) in &self.keys {
            bytes.extend_from_slice(&version.to_be_bytes());
            bytes.extend_from_slice(key.bytes());
        }
        bytes
    }

    /// Versions grow, so that there is one way to write a keyring.
    fn parse(bytes: &[u8]) -> Option<Self> {
        const EACH: usize = 4 + KEY_BYTES;
        let (entries, []) = bytes.as_chunks::<EACH>() else { return None };
        if entries.is_empty() || entries.len() > DATA_KEYS_MAX {
            return None;
        }
        let mut keys = BTreeMap::new();
        let mut last = 0;
        for entry in entries {
            let (version, key) = entry.split_first_chunk::<4>()?;
            let version = u32::from_be_bytes(*version);
            if version <= last {
                return None;
            }
            last = version;
            keys.insert(version, KeyPage::from_bytes(key.try_into().ok()?));
        }
        Some(Self { keys })
    }
}
