//! One-time codes that change with time (TOTP, RFC 6238), as authenticator apps show them.
//!
//! Pure: a secret, a moment and the step that was used last go in, a verdict comes out. Where secrets are kept, sealed, and where the
//! last step is remembered is the caller's business; both must outlast a restart.
//!
//! ```
//! use chrono::{DateTime, Utc};
//! use session_filter::totp::{Algorithm, CodeMatch, Totp};
//!
//! // The example of RFC 6238, appendix B.
//! let totp = Totp::new(b"12345678901234567890".to_vec(), Algorithm::Sha1, 8).unwrap();
//! let now = DateTime::<Utc>::from_timestamp(59, 0).unwrap();
//! assert_eq!(totp.check("94287082", now, None), CodeMatch::Right { step: 1 });
//! assert_eq!(totp.check("94287082", now, Some(1)), CodeMatch::Replayed);
//! ```

use chrono::{DateTime, Utc};
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

/// Length of a time step in seconds; what every authenticator app takes for granted.
pub const STEP_SECONDS: u64 = 30;

/// Steps before and after the current one whose codes are taken, for clocks that differ (RFC 6238 §5.2 allows one for the network;
/// one more in the other direction is for the user's clock).
pub const STEPS_OF_DRIFT: u64 = 1;

/// Shortest secret in bytes (RFC 4226 §4, R6: 128 bits).
pub const SECRET_BYTES_MIN: usize = 16;

/// Longest secret in bytes.
pub const SECRET_BYTES_MAX: usize = 128;

/// Longest text that is looked at as a code, spaces included.
const CODE_BYTES_MAX: usize = 32;

/// The hash behind the codes. SHA-1 is what authenticator apps are sure to know; its collisions do not matter in HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC-SHA-1.
    #[default]
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

/// What a code turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeMatch {
    /// The code of `step`. Keep the step durably before letting anybody in.
    Right {
        /// Number of the step since 1970.
        step: u64,
    },
    /// The code of a step that was used, or of one before it (RFC 6238 §5.2: a code is accepted once).
    Replayed,
    /// Anything else.
    Wrong,
}

/// A secret that its owner's app shares. It appears in no `Debug`.
pub struct Totp {
    secret: Zeroizing<Vec<u8>>,
    algorithm: Algorithm,
    digits: u32,
}

impl Totp {
    /// Codes of `digits` digits from `secret`.
    ///
    /// # Errors
    /// Where the secret has fewer than [`SECRET_BYTES_MIN`] or more than [`SECRET_BYTES_MAX`] bytes, or there are not 6 to 8 digits.
    pub fn new(secret: Vec<u8>, algorithm: Algorithm, digits: u32) -> Result<Self, TotpError> {
        let secret = Zeroizing::new(secret);
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
            return Err(TotpError::SecretLength { bytes: secret.len() });
        }
        if !(6..=8).contains(&digits) {
            return Err(TotpError::Digits { digits });
        }
        Ok(Self { secret, algorithm, digits })
    }

    /// Whether `code` is right at `now`, when the code of `last_step` was the last one that was accepted. Spaces are ignored: apps show
    /// them. The time taken depends on the length of `code` alone.
    pub fn check(&self, code: &str, now: DateTime<Utc>, last_step: Option<u64>) -> CodeMatch {
        let Some(typed) = self.typed(code) else { return CodeMatch::Wrong };
        let current = step_at(now);
        let (mut found, mut matched) = (0, Choice::from(0));
        for step in current.saturating_sub(STEPS_OF_DRIFT)..=current.saturating_add(STEPS_OF_DRIFT) {
            let Some(value) = self.value(step) else { return CodeMatch::Wrong };
            let equal = value.ct_eq(&typed);
            // Where two steps happen to have the same code, the later one counts: it must not be used again.
            found = u64::conditional_select(&found, &step, equal);
            matched |= equal;
        }
        match (bool::from(matched), last_step) {
            (false, _) => CodeMatch::Wrong,
            (true, Some(last)) if found <= last => CodeMatch::Replayed,
            (true, _) => CodeMatch::Right { step: found },
        }
    }

    /// The code at `now`: for enrolment and tests.
    pub fn code(&self, now: DateTime<Utc>) -> Zeroizing<String> {
        let width = usize::try_from(self.digits).unwrap_or(8);
        Zeroizing::new(self.value(step_at(now)).map(|value| format!("{value:0width$}")).unwrap_or_default())
    }

    /// The `otpauth://` address by which an app takes the secret over. Show it once, to its owner alone.
    pub fn uri(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let secret = Zeroizing::new(BASE32_NOPAD.encode(&self.secret));
        let algorithm = match self.algorithm {
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
            Algorithm::Sha512 => "SHA512",
        };
        let (issuer, account) = (percent_encode(issuer), percent_encode(account));
        Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm={algorithm}&digits={}&period={STEP_SECONDS}",
            secret.as_str(),
            self.digits,
        ))
    }

    /// The secret, for whoever seals it.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// The hash behind the codes.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Digits of a code.
    pub fn digits(&self) -> u32 {
        self.digits
    }

    /// HOTP of RFC 4226 §5.3 over the step number.
    fn value(&self, step: u64) -> Option<u32> {
        let counter = step.to_be_bytes();
        let mac = match self.algorithm {
            Algorithm::Sha1 => mac::<Hmac<Sha1>>(&self.secret, &counter)?,
            Algorithm::Sha256 => mac::<Hmac<Sha256>>(&self.secret, &counter)?,
            Algorithm::Sha512 => mac::<Hmac<Sha512>>(&self.secret, &counter)?,
        };
        let offset = usize::from(mac.last().copied().unwrap_or(0) & 0x0f);
        let truncated =
            mac.iter().skip(offset).take(4).fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        (truncated & 0x7fff_ffff).checked_rem(10_u32.checked_pow(self.digits)?)
    }

    /// The number that was typed, if it has the right shape.
    fn typed(&self, code: &str) -> Option<u32> {
        if code.len() > CODE_BYTES_MAX {
            return None;
        }
        let digits: Zeroizing<String> = Zeroizing::new(code.chars().filter(|c| *c != ' ').collect());
        let right_shape =
            digits.len() == usize::try_from(self.digits).ok()? && digits.bytes().all(|b| b.is_ascii_digit());
        if right_shape { digits.parse().ok() } else { None }
    }
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Totp")
            .field("algorithm", &self.algorithm)
            .field("digits", &self.digits)
            .finish_non_exhaustive()
    }
}

/// Why there is no [`Totp`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TotpError {
    /// The secret is too short to be one, or absurdly long.
    #[error("a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, not {bytes}")]
    SecretLength {
        /// Its length.
        bytes: usize,
    },
    /// Too few digits to be safe, or too many for the arithmetic of RFC 4226.
    #[error("a code has 6 to 8 digits, not {digits}")]
    Digits {
        /// As asked for.
        digits: u32,
    },
}

/// Number of the time step at `now`; zero before 1970.
pub fn step_at(now: DateTime<Utc>) -> u64 {
    u64::try_from(now.timestamp()).unwrap_or(0) / STEP_SECONDS
}

/// HMAC takes keys of any length, so there is always one.
fn mac<M: Mac + KeyInit>(secret: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(secret).ok()?;
    mac.update(message);
    Some(mac.finalize().into_bytes().to_vec())
}

/// RFC 3986 §2.3: everything but the unreserved characters.
fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn rfc(algorithm: Algorithm) -> Totp {
        let length = match algorithm {
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        };
        let secret = b"1234567890".iter().copied().cycle().take(length).collect();
        Totp::new(secret, algorithm, 8).unwrap()
    }

    /// RFC 6238, appendix B.
    #[test]
    fn codes_are_those_of_the_rfc() {
        for (time, sha1, sha256, sha512) in [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ] {
            for (algorithm, code) in
                [(Algorithm::Sha1, sha1), (Algorithm::Sha256, sha256), (Algorithm::Sha512, sha512)]
            {
                assert_eq!(rfc(algorithm).code(at(time)).as_str(), code, "{algorithm:?} at {time}");
                let step = u64::try_from(time).unwrap() / 30;
                assert_eq!(rfc(algorithm).check(code, at(time), None), CodeMatch::Right { step });
            }
        }
    }

    #[test]
    fn clocks_may_differ_by_one_step_and_no_more() {
        let totp = rfc(Algorithm::Sha1);
        let code = totp.code(at(3000));
        for (now, expected) in [
            (2969, CodeMatch::Wrong),
            (2970, CodeMatch::Right { step: 100 }),
            (3029, CodeMatch::Right { step: 100 }),
            (3059, CodeMatch::Right { step: 100 }),
            (3060, CodeMatch::Wrong),
        ] {
            assert_eq!(totp.check(&code, at(now), None), expected, "at {now}");
        }
    }

    #[test]
    fn a_code_is_accepted_once_and_none_before_it_afterwards() {
        let totp = rfc(Algorithm::Sha1);
        let (before, current, next) = (totp.code(at(2970)), totp.code(at(3000)), totp.code(at(3030)));
        assert_eq!(totp.check(&current, at(3000), Some(99)), CodeMatch::Right { step: 100 });
        assert_eq!(totp.check(&current, at(3000), Some(100)), CodeMatch::Replayed);
        assert_eq!(totp.check(&before, at(3000), Some(100)), CodeMatch::Replayed);
        assert_eq!(totp.check(&next, at(3000), Some(100)), CodeMatch::Right { step: 101 });
    }

    #[test]
    fn only_the_shape_that_apps_show_is_read() {
        let totp = Totp::new(b"12345678901234567890".to_vec(), Algorithm::Sha1, 6).unwrap();
        assert_eq!(totp.check("287 082", at(59), None), CodeMatch::Right { step: 1 });
        for bad in ["", "28708", "2870820", "+28708", "28708a", "２８７０８２", &"287082".repeat(6)] {
            assert_eq!(totp.check(bad, at(59), None), CodeMatch::Wrong, "{bad:?}");
        }
    }

    #[test]
    fn weak_parameters_are_refused() {
        let short = Totp::new(vec![0; 15], Algorithm::Sha1, 6).unwrap_err();
        assert_eq!(short, TotpError::SecretLength { bytes: 15 });
        assert_eq!(Totp::new(vec![0; 20], Algorithm::Sha1, 5).unwrap_err(), TotpError::Digits { digits: 5 });
        assert_eq!(Totp::new(vec![0; 20], Algorithm::Sha1, 9).unwrap_err(), TotpError::Digits { digits: 9 });
    }

    #[test]
    fn the_address_for_apps_is_encoded_and_debug_shows_no_secret() {
        let totp = Totp::new(b"12345678901234567890".to_vec(), Algorithm::Sha256, 6).unwrap();
        assert_eq!(
            totp.uri("session proxy", "a&b").as_str(),
            "otpauth://totp/session%20proxy:a%26b?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=session%20proxy\
             &algorithm=SHA256&digits=6&period=30"
        );
        assert_eq!(format!("{totp:?}"), "Totp { algorithm: Sha256, digits: 6, .. }");
    }
}
