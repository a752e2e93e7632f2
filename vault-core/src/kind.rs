//! What a secret is.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::limits::{FIELD_NAME_BYTES_MAX, FIELDS_MAX, SECRET_BYTES_MAX};
use crate::secret::SecretString;

/// A secret, by its kind. What is in its texts is not looked at.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum Secret {
    /// A password.
    Password(SecretString),
    /// A private key for SSH, with its public half where that is wanted beside it.
    SshKey {
        /// The private key, as OpenSSH or PEM write it.
        private_key: SecretString,
        /// The public key, as a line of `authorized_keys`.
        public_key: Option<String>,
    },
    /// A certificate and its private key.
    Certificate {
        /// The certificate and what leads from it to its authority, in PEM.
        chain: String,
        /// The private key, in PEM.
        private_key: SecretString,
    },
    /// A token for an interface.
    ApiToken(SecretString),
    /// Whatever else belongs together, by name. Names are not shown, either; but they are not overwritten when dropped.
    KeyValue(BTreeMap<String, SecretString>),
}

/// Kind of a secret.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A password.
    Password,
    /// A private key for SSH.
    SshKey,
    /// A certificate and its private key.
    Certificate,
    /// A token for an interface.
    ApiToken,
    /// Whatever else, by name.
    KeyValue,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?}, …)", self.kind())
    }
}

/// A secret is larger than a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the secret is larger than `{limit}`, {max}")]
pub struct TooLarge {
    /// Name of the limit in [`limits`](crate::limits).
    pub limit: &'static str,
    /// The limit.
    pub max: usize,
}

impl Secret {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Password(_) => Kind::Password,
            Self::SshKey { .. } => Kind::SshKey,
            Self::Certificate { .. } => Kind::Certificate,
            Self::ApiToken(_) => Kind::ApiToken,
            Self::KeyValue(_) => Kind::KeyValue,
        }
    }

    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Password(text) | Self::ApiToken(text) => vec![text.expose()],
            Self::SshKey { private_key, public_key } => {
                [Some(private_key.expose()), public_key.as_deref()].into_iter().flatten().collect()
            }
            Self::Certificate { chain, private_key } => vec![chain, private_key.expose()],
            Self::KeyValue(fields) => {
                fields.iter().flat_map(|(name, value)| [name.as_str(), value.expose()]).collect()
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), TooLarge> {
        if let Self::KeyValue(fields) = self {
            if fields.len() > FIELDS_MAX {
                return Err(TooLarge { limit: "FIELDS_MAX", max: FIELDS_MAX });
            }
            if fields.keys().any(|name| name.len() > FIELD_NAME_BYTES_MAX) {
                return Err(TooLarge { limit: "FIELD_NAME_BYTES_MAX", max: FIELD_NAME_BYTES_MAX });
            }
        }
        if self.encoded_bytes() > SECRET_BYTES_MAX {
            return Err(TooLarge { limit: "SECRET_BYTES_MAX", max: SECRET_BYTES_MAX });
        }
        Ok(())
    }

    pub(crate) fn encoded_bytes(&self) -> usize {
        self.texts().iter().fold(1usize, |sum, text| sum.saturating_add(text.len()).saturating_add(4))
    }

    /// Kind, then each text with its length before it. Callers have made room, so that nothing is copied about.
    pub(crate) fn encode(&self, out: &mut Zeroizing<Vec<u8>>) {
        out.push(match self.kind() {
            Kind::Password => 1,
            Kind::SshKey => 2,
            Kind::Certificate => 3,
            Kind::ApiToken => 4,
            Kind::KeyValue => 5,
        });
        for text in self.texts() {
            // No text is longer than the limit of all.
            out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// What [`encode`](Self::encode) wrote, and nothing else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        let mut texts = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (text, after) = after.split_at_checked(length)?;
            texts.push(std::str::from_utf8(text).ok()?);
            rest = after;
        }
        let decoded = match (kind, texts.as_slice()) {
            (1, [text]) => Self::Password((*text).into()),
            (2, [key]) => Self::SshKey { private_key: (*key).into(), public_key: None },
            (2, [key, public]) => {
                Self::SshKey { private_key: (*key).into(), public_key: Some((*public).to_owned()) }
            }
            (3, [chain, key]) => Self::Certificate { chain: (*chain).to_owned(), private_key: (*key).into() },
            (4, [text]) => Self::ApiToken((*text).into()),
            (5, fields) => {
                let (pairs, []) = fields.as_chunks::<2>() else { return None };
                // Names grow, so that there is one way to write a secret.
                if !pairs.is_sorted_by(|[a, _], [b, _]| a < b) {
                    return None;
                }
                let pair = |[name, value]: &[&str; 2]| ((*name).to_owned(), SecretString::from(*value));
                Self::KeyValue(pairs.iter().map(pair).collect())
            }
            _ => return None,
        };
        decoded.check().is_ok().then_some(decoded)
    }
}
