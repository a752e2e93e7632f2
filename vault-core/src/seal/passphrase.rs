use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{KeyEncryptionKey, KeyError, KeyProvider};
use crate::crypto::random;
use crate::limits::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_MEMORY_KIB_MIN, ARGON2_PASSES_MAX, ARGON2_PASSES_MIN,
    PASSPHRASE_BYTES_MAX,
};
use crate::memory::KEY_BYTES;
use crate::secret::SecretString;

const SALT_BYTES: usize = 16;

/// What one guess costs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Argon2Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Argon2Cost {
    /// Memory in KiB, passes over it, and lanes.
    ///
    /// # Errors
    /// Where one is below or above its limit in [`limits`](crate::limits).
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, CostError> {
        let is_possible = (ARGON2_MEMORY_KIB_MIN..=ARGON2_MEMORY_KIB_MAX).contains(&memory_kib)
            && (ARGON2_PASSES_MIN..=ARGON2_PASSES_MAX).contains(&passes)
            && (1..=ARGON2_LANES_MAX).contains(&lanes);
        if is_possible { Ok(Self { memory_kib, passes, lanes }) } else { Err(CostError) }
    }
}

impl Default for Argon2Cost {
    /// RFC 9106 §4, second recommended option: 64 MiB, three passes, four lanes.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

/// A cost is outside its limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the cost of Argon2id is outside of `ARGON2_MEMORY_KIB_MIN` to `ARGON2_LANES_MAX`")]
pub struct CostError;

/// A passphrase, stretched by Argon2id (RFC 9106, version 0x13). Cost and salt are kept in the header; a cost that is read back is held to
/// the limits before it is paid.
pub struct Passphrase {
    phrase: SecretString,
    cost: Argon2Cost,
}

impl Passphrase {
    /// Of this text, at the default cost.
    pub fn new(phrase: impl Into<SecretString>) -> Self {
        Self { phrase: phrase.into(), cost: Argon2Cost::default() }
    }

    /// At this cost, for a new seal. One that is opened has its own.
    pub fn cost(mut self, cost: Argon2Cost) -> Self {
        self.cost = cost;
        self
    }

    async fn stretch(&self, cost: Argon2Cost, salt: [u8; SALT_BYTES]) -> Result<KeyEncryptionKey, KeyError> {
        let bytes = self.phrase.expose().len();
        if bytes == 0 || bytes > PASSPHRASE_BYTES_MAX {
            return Err(KeyError::Passphrase);
        }
        let phrase = self.phrase.clone();
        let stretched = tokio::task::spawn_blocking(move || {
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_BYTES))
                .and_then(|params| {
                    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                        phrase.expose().as_bytes(),
                        &salt,
                        key.as_mut_slice(),
                    )
                })
                .map_err(|_| KeyError::Parameters { what: "a cost that Argon2id does not have" })?;
            Ok(KeyEncryptionKey::new(&key))
        });
        stretched.await.unwrap_or_else(|error| Err(KeyError::Other(error.into())))
    }
}

#[async_trait]
impl KeyProvider for Passphrase {
    fn method(&self) -> &'static str {
        "passphrase"
    }

    async fn create(&self) -> Result<(KeyEncryptionKey, Vec<u8>), KeyError> {
        let salt = random::<SALT_BYTES>().map_err(|_| KeyError::Randomness)?;
        let Argon2Cost { memory_kib, passes, lanes } = self.cost;
        let mut parameters = vec![0];
        for number in [memory_kib, passes, lanes] {
            parameters.extend_from_slice(&number.to_be_bytes());
        }
        parameters.extend_from_slice(&salt);
        Ok((self.stretch(self.cost, salt).await?, parameters))
    }

    async fn recover(&self, parameters: &[u8]) -> Result<KeyEncryptionKey, KeyError> {
        let malformed = || KeyError::Parameters { what: "not those of a passphrase" };
        let (numbers, salt) = parameters
            .strip_prefix(&[0])
            .and_then(<[u8]>::split_last_chunk::<SALT_BYTES>)
            .ok_or_else(malformed)?;
        let ([memory_kib, passes, lanes], []) = numbers.as_chunks::<4>() else { return Err(malformed()) };
        let [memory_kib, passes, lanes] =
            [memory_kib, passes, lanes].map(|number| u32::from_be_bytes(*number));
        let cost = Argon2Cost::new(memory_kib, passes, lanes)
            .map_err(|CostError| KeyError::Parameters { what: "a cost of Argon2id outside its limits" })?;
        self.stretch(cost, *salt).await
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

#[cfg(test)]
mod tests {
    use argon2::{AssociatedData, ParamsBuilder};

    use super::*;

    #[test]
    fn argon2id_is_that_of_rfc_9106() {
        // RFC 9106 §5.3.
        let params = ParamsBuilder::new()
            .m_cost(32)
            .t_cost(3)
            .p_cost(4)
            .data(AssociatedData::new(&[4; 12]).unwrap())
            .output_len(32)
            .build()
            .unwrap();
        let argon2 = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
        let mut tag = [0; 32];
        argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag).unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&tag),
            "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
        );
    }
}
