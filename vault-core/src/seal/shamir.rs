use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use data_encoding::{Encoding, Specification};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{KeyEncryptionKey, KeyError, KeyProvider, gf256};
use crate::crypto::{random, sha256};
use crate::limits::SHARE_BYTES_MAX;
use crate::memory::{KEY_BYTES, KeyPage};

const SET_BYTES: usize = 8;
const CHECK_BYTES: usize = 4;
/// Version, set, threshold, place, value, check.
const SHARE_BYTES: usize = 1 + SET_BYTES + 1 + 1 + KEY_BYTES + CHECK_BYTES;
const PREFIX: &str = "vault-share-";

/// A key that is dealt to several people, of whom some are enough (Shamir's scheme over GF(2⁸), byte by byte).
///
/// [`deal`](Self::deal) makes a key and its shares, for a new seal; [`collect`](Self::collect) takes shares to open one. Fewer than the
/// threshold say nothing about the key. A share that was altered or is another seal's makes the key wrong, and the vault says that it is and nothing
/// else: not which share, and not how many are right. Give more than the threshold, and all of them have to agree.
///
/// ```
/// use vault_core::{Shamir, Share};
///
/// let (new_seal, shares) = Shamir::deal(2, 3)?;              // initialise the vault with this, give each share to somebody
/// let printed: Vec<_> = shares.iter().map(Share::expose).collect();
///
/// let returned = [printed[0].parse()?, printed[2].parse()?]; // later, two of the three
/// let opens = Shamir::collect(returned);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Shamir(Inner);

enum Inner {
    Dealt { key: KeyPage, set: [u8; SET_BYTES], threshold: u8, count: u8 },
    Collected(Vec<Share>),
}

impl Shamir {
    /// A new random key, and `count` shares of which `threshold` are enough.
    ///
    /// # Errors
    /// Where the threshold is below 2 or above the count, or the system has no randomness.
    pub fn deal(threshold: u8, count: u8) -> Result<(Self, Vec<Share>), DealError> {
        if threshold < 2 || threshold > count {
            return Err(DealError::Numbers { threshold, count });
        }
        let key = KeyPage::random().map_err(|_| DealError::Randomness)?;
        let set = random().map_err(|_| DealError::Randomness)?;
        let mut shares: Vec<Share> =
            (1..=count).map(|place| Share { set, threshold, place, value: Zeroizing::default() }).collect();
        // One polynomial for each byte of the key, with that byte at 0.
        for (at, byte) in key.bytes().iter().enumerate() {
            let mut coefficients = Zeroizing::new(vec![0u8; usize::from(threshold)]);
            getrandom::fill(&mut coefficients).map_err(|_| DealError::Randomness)?;
            if let Some(first) = coefficients.first_mut() {
                *first = *byte;
            }
            for share in &mut shares {
                if let Some(value) = share.value.get_mut(at) {
                    *value = gf256::evaluate(&coefficients, share.place);
                }
            }
        }
        Ok((Self(Inner::Dealt { key, set, threshold, count }), shares))
    }

    /// Shares to open a seal with.
    pub fn collect(shares: impl IntoIterator<Item = Share>) -> Self {
        Self(Inner::Collected(shares.into_iter().collect()))
    }
}

/// The key that all these shares agree on. One that does not belong here makes it another key.
fn combine(shares: &[&Share]) -> KeyPage {
    let places: Vec<u8> = shares.iter().map(|share| share.place).collect();
    let weights = gf256::weights(&places);
    let mut key = KeyPage::from_bytes(&[0; KEY_BYTES]);
    for (share, weight) in shares.iter().zip(weights) {
        for (byte, value) in key.bytes_mut().iter_mut().zip(share.value.iter()) {
            *byte ^= gf256::multiply(*value, weight);
        }
    }
    key
}

#[async_trait]
impl KeyProvider for Shamir {
    fn method(&self) -> &'static str {
        "shamir"
    }

    async fn create(&self) -> Result<(KeyEncryptionKey, Vec<u8>), KeyError> {
        match &self.0 {
            Inner::Dealt { key, set, threshold, count } => {
                let mut parameters = vec![0, *threshold, *count];
                parameters.extend_from_slice(set);
                Ok((KeyEncryptionKey::new(key.bytes()), parameters))
            }
            Inner::Collected(_) => Err(KeyError::NotNew),
        }
    }

    async fn recover(&self, parameters: &[u8]) -> Result<KeyEncryptionKey, KeyError> {
        let malformed = KeyError::Parameters { what: "not those of shares" };
        let [0, threshold, count, set @ ..] = parameters else { return Err(malformed) };
        if *threshold < 2 || threshold > count || set.len() != SET_BYTES {
            return Err(malformed);
        }
        let shares = match &self.0 {
            Inner::Dealt { key, .. } => return Ok(KeyEncryptionKey::new(key.bytes())),
            Inner::Collected(shares) => shares,
        };
        // The same share twice counts once. Two that differ in one place are kept apart by what is said of the whole: a wrong key.
        let mut by_place: BTreeMap<u8, &Share> = BTreeMap::new();
        let mut contradict = false;
        for share in shares {
            let known = by_place.entry(share.place).or_insert(share);
            contradict |= !bool::from(known.value.ct_eq(share.value.as_slice()));
        }
        let needed = usize::from(*threshold);
        if by_place.len() < needed {
            return Err(KeyError::TooFew { given: by_place.len(), needed });
        }
        if contradict || by_place.values().any(|share| share.set != *set) {
            // Some key that opens nothing: what is wrong is not said.
            return KeyEncryptionKey::random();
        }
        let shares: Vec<&Share> = by_place.into_values().collect();
        Ok(KeyEncryptionKey(combine(&shares)))
    }
}

impl fmt::Debug for Shamir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shamir(…)")
    }
}

/// Why a key cannot be dealt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DealError {
    /// These numbers are not possible.
    #[error(
        "a threshold of {threshold} of {count} shares is not possible: it is 2 at least, and not more than there are shares"
    )]
    Numbers {
        /// How many are to be enough.
        threshold: u8,
        /// How many there are to be.
        count: u8,
    },
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
}

/// One person's part of a key. Written as `vault-share-` and letters and digits that are hard to confuse, with a check that finds slips of
/// whoever types it; upper and lower case are the same, hyphens and spaces are passed over.
#[derive(Clone)]
pub struct Share {
    set: [u8; SET_BYTES],
    threshold: u8,
    place: u8,
    value: Zeroizing<[u8; KEY_BYTES]>,
}

impl Share {
    /// Which of the shares this is, from 1.
    pub fn number(&self) -> u8 {
        self.place
    }

    /// How many are enough.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// The share as text, which [`FromStr`] reads.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(SHARE_BYTES));
        bytes.push(0);
        bytes.extend_from_slice(&self.set);
        bytes.extend_from_slice(&[self.threshold, self.place]);
        bytes.extend_from_slice(self.value.as_slice());
        let check = sha256(&bytes);
        bytes.extend_from_slice(check.first_chunk::<CHECK_BYTES>().unwrap_or(&[0; CHECK_BYTES]));
        let mut text = Zeroizing::new(String::with_capacity(SHARE_BYTES_MAX));
        text.push_str(PREFIX);
        if let Some(letters) = letters() {
            letters.encode_append(&bytes, &mut text);
        }
        text
    }
}

/// Crockford's base 32: no `i`, `l`, `o`, `u`.
fn letters() -> Option<Encoding> {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    specification.translate.from.push_str("ABCDEFGHJKMNPQRSTVWXYZoOiIlL");
    specification.translate.to.push_str("abcdefghjkmnpqrstvwxyz001111");
    specification.encoding().ok()
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        if text.len() > SHARE_BYTES_MAX {
            return Err(ShareError::TooLong);
        }
        let text = text.trim_ascii();
        let (prefix, digits) = text.split_at_checked(PREFIX.len()).ok_or(ShareError::NoShare)?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return Err(ShareError::NoShare);
        }
        let mut compact = Zeroizing::new(String::with_capacity(SHARE_BYTES_MAX));
        compact.extend(digits.chars().filter(|digit| !matches!(digit, '-' | ' ')));
        let letters = letters().ok_or(ShareError::NoShare)?;
        let bytes = Zeroizing::new(letters.decode(compact.as_bytes()).map_err(|_| ShareError::NoShare)?);
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(ShareError::NoShare)?;
        let (head, value) = body.split_last_chunk::<KEY_BYTES>().ok_or(ShareError::NoShare)?;
        let [0, set @ .., threshold, place] = head else { return Err(ShareError::NoShare) };
        let set: [u8; SET_BYTES] = set.try_into().map_err(|_| ShareError::NoShare)?;
        if !sha256(body).starts_with(check) {
            return Err(ShareError::Check);
        }
        if *place == 0 || *threshold < 2 {
            return Err(ShareError::NoShare);
        }
        Ok(Self { set, threshold: *threshold, place: *place, value: Zeroizing::new(*value) })
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(…)")
    }
}

/// Why a text is no share.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// It is longer than [`SHARE_BYTES_MAX`].
    #[error("it is too long for a share")]
    TooLong,
    /// It is not built like a share.
    #[error("it is no share")]
    NoShare,
    /// It is built like a share, and there is a slip in it.
    #[error("there is a slip in this share")]
    Check,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subsets(shares: &[Share], size: usize) -> Vec<Vec<&Share>> {
        (0u32..1 << shares.len())
            .filter(|mask| mask.count_ones() as usize == size)
            .map(|mask| {
                shares.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, s)| s).collect()
            })
            .collect()
    }

    #[test]
    fn every_threshold_of_every_count_up_to_six() {
        for count in 2..=6u8 {
            for threshold in 2..=count {
                let (dealt, shares) = Shamir::deal(threshold, count).unwrap();
                let Inner::Dealt { key, .. } = &dealt.0 else { panic!() };
                for size in 1..=usize::from(count) {
                    for subset in subsets(&shares, size) {
                        let is_key = combine(&subset).bytes() == key.bytes();
                        assert_eq!(
                            is_key,
                            size >= usize::from(threshold),
                            "{threshold} of {count}, {size} given"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn one_share_fewer_fits_every_key() {
        // Perfect secrecy in the small: with threshold 2, for one share and every value of the key's byte there is one polynomial.
        for value in 0..=255u8 {
            let share = gf256::evaluate(&[7, 99], 5);
            let slope = gf256::multiply(share ^ value, gf256::invert(5));
            assert_eq!(gf256::evaluate(&[value, slope], 5), share);
        }
    }
}
