//! Names of people, sessions, targets, secrets and stores.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{ID_BYTES_MAX, PATH_BYTES_MAX};

/// Why a text is no id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is longer than its limit, [`ID_BYTES_MAX`] or [`PATH_BYTES_MAX`].
    #[error("it is too long")]
    TooLong,
    /// It holds a control character.
    #[error("it holds a control character")]
    Control,
    /// A segment of a path is empty, `.` or `..`.
    #[error("a segment of the path is empty, `.` or `..`")]
    Segment,
    /// It is not 32 hexadecimal digits.
    #[error("it is not 32 hexadecimal digits")]
    NotHexadecimal,
}

fn check(text: &str, bytes_max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        Err(IdError::Empty)
    } else if text.len() > bytes_max {
        Err(IdError::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(IdError::Control)
    } else {
        Ok(())
    }
}

fn check_id(text: &str) -> Result<(), IdError> {
    check(text, ID_BYTES_MAX)
}

fn check_path(text: &str) -> Result<(), IdError> {
    check(text, PATH_BYTES_MAX)?;
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..");
    if text.split('/').all(is_segment) { Ok(()) } else { Err(IdError::Segment) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $check:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Of this text.
            ///
            /// # Errors
            /// Where it is not as described above.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                $check(text).map(|()| Self(text.into()))
            }

            /// As it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Whoever asks: a person or a service. Opaque, 1 to [`ID_BYTES_MAX`] bytes without control characters.
    ActorId, check_id;
    /// The session that it is for. Opaque, 1 to [`ID_BYTES_MAX`] bytes without control characters.
    SessionId, check_id;
    /// Ties records of one doing together. Opaque, 1 to [`ID_BYTES_MAX`] bytes without control characters.
    CorrelationId, check_id;
    /// Where a credential opens something. Opaque, 1 to [`ID_BYTES_MAX`] bytes without control characters.
    TargetId, check_id;
    /// An account as its target names it. Opaque, 1 to [`ID_BYTES_MAX`] bytes without control characters.
    AccountName, check_id;
    /// Where a secret is: segments between `/`, none of them empty, `.` or `..`; 1 to [`PATH_BYTES_MAX`] bytes without control
    /// characters. Paths are not encrypted: they hold no secret.
    SecretPath, check_path;
}

/// Which vault: 16 random bytes that it got when it was initialised.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct VaultId([u8; 16]);

impl VaultId {
    /// Of these bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl std::str::FromStr for VaultId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| IdError::NotHexadecimal)?;
        Ok(Self(bytes.try_into().map_err(|_| IdError::NotHexadecimal)?))
    }
}

impl Serialize for VaultId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VaultId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Who asks, and in what connection. It stands in every record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Who.
    pub actor: ActorId,
    /// For which session, if for one.
    pub session: Option<SessionId>,
    /// What ties this to other records, if anything does.
    pub correlation: Option<CorrelationId>,
}

impl Caller {
    /// Somebody, for no session.
    pub fn new(actor: ActorId) -> Self {
        Self { actor, session: None, correlation: None }
    }

    /// For this session.
    pub fn session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// Tied to other records by this.
    pub fn correlation(mut self, correlation: CorrelationId) -> Self {
        self.correlation = Some(correlation);
        self
    }
}
