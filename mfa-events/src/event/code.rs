//! Codes: short words for machines that this crate does not know in advance.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::strict::text;
use crate::limits::CODE_BYTES_MAX;

/// A word for machines, such as `email_link` or `new_country`.
///
/// 1 to [`CODE_BYTES_MAX`] of ASCII letters, digits, `_`, `-` and `.`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Code(Box<str>);

/// Why a text is no code.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a code is 1 to {CODE_BYTES_MAX} of ASCII letters, digits, `_`, `-` and `.`")]
#[non_exhaustive]
pub struct CodeError;

impl Code {
    /// Of this text.
    ///
    /// # Errors
    /// Where it is empty, too long, or has other characters.
    pub fn new(text: impl AsRef<str>) -> Result<Self, CodeError> {
        let text = text.as_ref();
        let is_code = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if text.is_empty() || text.len() > CODE_BYTES_MAX || !text.bytes().all(is_code) {
            return Err(CodeError);
        }
        Ok(Self(text.into()))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, |code| Self::new(code))
    }
}
