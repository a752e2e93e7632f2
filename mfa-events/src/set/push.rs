//! What a receiver says to a token that was pushed to it (RFC 8935).

use serde::Deserialize;

/// The type of a pushed token: it is the whole body of a POST (RFC 8935 §2.1), with `Accept: application/json`.
pub const CONTENT_TYPE: &str = "application/secevent+jwt";

/// Most bytes of an answer that are looked at.
pub const PUSH_ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What an answer means for the token.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// The receiver has it (202): on with the next.
    Taken,
    /// The receiver does not want it, and would not want it again (`invalid_request`, or a code that the RFC does not have, and 413, for it is
    /// too long): on with the next, and tell somebody (RFC 8935 §2.4).
    Refused {
        /// Of the characters that a code has; empty where there is none.
        err: String,
    },
    /// The receiver does not know the key, the issuer or the audience (`invalid_key`, `invalid_issuer`, `invalid_audience`): no token will be
    /// taken until that is mended.
    Misconfigured {
        /// Which.
        err: String,
    },
    /// The receiver does not let us in (`authentication_failed`, `access_denied`, 401, 403): no token will be taken until that is mended.
    Denied,
    /// Try again later.
    Later,
}

/// Most characters of a code that is repeated.
const CODE_CHARS_MAX: usize = 64;

impl Answer {
    /// Reads an answer.
    pub fn read(status: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            err: String,
        }
        match status {
            // Other 2xx are none that the RFC has, and mean the same.
            200..=299 => Self::Taken,
            401 | 403 => Self::Denied,
            400 => {
                let body = body.get(..PUSH_ANSWER_BYTES_MAX.min(body.len())).unwrap_or_default();
                match serde_json::from_slice::<Body>(body).map(|body| body.err) {
                    Ok(err) if ["authentication_failed", "access_denied"].contains(&err.as_str()) => {
                        Self::Denied
                    }
                    Ok(err)
                        if ["invalid_key", "invalid_issuer", "invalid_audience"].contains(&err.as_str()) =>
                    {
                        Self::Misconfigured { err }
                    }
                    Ok(err) => Self::Refused { err: code(&err) },
                    // Something in between said so, not the receiver.
                    Err(_) => Self::Later,
                }
            }
            413 => Self::Refused { err: String::new() },
            _ => Self::Later,
        }
    }
}

/// What comes from outside goes no further than it looks like a code.
fn code(text: &str) -> String {
    text.chars()
        .filter(|one| one.is_ascii_alphanumeric() || "_-.".contains(*one))
        .take(CODE_CHARS_MAX)
        .collect()
}
