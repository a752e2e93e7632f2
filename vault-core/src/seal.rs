//! What opens a vault: key providers, and the header that says which one is needed.
//!
//! ```text
//! KeyProvider ─▶ key-encryption key ─▶ keyring: data keys by version ─▶ rows
//!  passphrase, shares, file, yours      in the header, encrypted         each with a key of its own
//! ```

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::memory::{KEY_BYTES, KeyPage};

mod gf256;
mod header;
mod key_file;
mod passphrase;
mod shamir;

pub use header::{Header, HeaderError};
pub use key_file::KeyFile;
pub use passphrase::{Argon2Cost, CostError, Passphrase};
pub use shamir::{DealError, Shamir, Share, ShareError};

pub(crate) use header::{Keyring, KeyringError};

/// Knows the key-encryption key of a vault, or how to ask for it.
///
/// A KMS or HSM fits behind it: [`create`](Self::create) has a fresh key wrapped and gives the wrapped form as parameters,
/// [`recover`](Self::recover) has that unwrapped.
///
/// An implementor promises:
/// * **Randomness** – [`create`](Self::create) gives a key that is hard to guess, and the same one to nobody else.
/// * **Stability** – [`recover`](Self::recover) gives the same key for the same parameters, now and later.
/// * **Silence** – no key, passphrase or share is in an error or in `Debug`. What was given wrong is not said: whether a key is right, the
///   vault finds out, and says no more than that.
/// * **Care** – parameters that are read come from a store that may be hostile: they are checked and bounded before anything is done with them.
#[async_trait]
pub trait KeyProvider: Send + Sync {
    /// Name of the method, kept in the header: 1 to 32 bytes.
    fn method(&self) -> &'static str;

    /// A key for a new seal, and what is kept in the clear to come by it again.
    async fn create(&self) -> Result<(KeyEncryptionKey, Vec<u8>), KeyError>;

    /// The key of a seal that was made with these parameters.
    async fn recover(&self, parameters: &[u8]) -> Result<KeyEncryptionKey, KeyError>;

    /// Directory of a local disk where the key lies, if it does: the store must not lie there, or whoever copies it has both.
    fn location(&self) -> Option<PathBuf> {
        None
    }
}

/// Encrypts the data keys of a vault. In a page of its own, overwritten when dropped.
pub struct KeyEncryptionKey(pub(crate) KeyPage);

impl KeyEncryptionKey {
    /// Of 32 bytes that are hard to guess.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(KeyPage::from_bytes(key))
    }

    /// 32 random bytes.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn random() -> Result<Self, KeyError> {
        KeyPage::random().map(Self).map_err(|_| KeyError::Randomness)
    }

    /// The bytes. Whoever copies them answers for the copy.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        self.0.bytes()
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyEncryptionKey(…)")
    }
}

/// Why a provider has no key to give.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
    /// What the header says for this provider is not what it writes, or beyond a limit.
    #[error("the seal's parameters are malformed: {what}")]
    Parameters {
        /// What is wrong.
        what: &'static str,
    },
    /// More shares are needed.
    #[error("{needed} shares are needed, {given} were given")]
    TooFew {
        /// How many different ones were given.
        given: usize,
        /// How many are needed.
        needed: usize,
    },
    /// This provider has what opens a seal, and nothing to make another one with.
    #[error("a new seal takes new shares")]
    NotNew,
    /// A passphrase is empty or longer than [`PASSPHRASE_BYTES_MAX`](crate::limits::PASSPHRASE_BYTES_MAX).
    #[error("the passphrase is empty or too long")]
    Passphrase,
    /// A key file is not what a key file is.
    #[error("`{file}` is no key file: {what}")]
    File {
        /// Where.
        file: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A file cannot be read or written.
    #[error("`{file}` cannot be used")]
    Io {
        /// Where.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Whatever a provider of your own has to say. It holds no secret.
    #[error("the key provider failed")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}
