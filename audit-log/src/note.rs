//! Checkpoints as C2SP signed notes, and the keys that verify them.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};

use crate::{
    crypto::{Hash, sha256},
    error::{NoteError, VerifierKeyError},
    limits::NOTE_BYTES_MAX,
};

const ED25519: u8 = 0x01;

/// Name of a log: first line of its checkpoints and name of its key. 1–255 printable ASCII bytes without space and `+`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(String);

impl Origin {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'+';
        if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
            return Err(VerifierKeyError::Origin);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Public key of a log with its name. `Display` and `FromStr` use the form of C2SP signed notes: `<origin>+<key id>+<base64>`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    origin: Origin,
    public_key: [u8; 32],
}

impl VerifierKey {
    /// Pairs a name with an Ed25519 public key; refuses bytes that are no point of the curve.
    pub fn new(origin: Origin, public_key: [u8; 32]) -> Result<Self, VerifierKeyError> {
        let key = VerifyingKey::from_bytes(&public_key).map_err(|_| VerifierKeyError::Key)?;
        // A weak key verifies any message, so no honest log has one.
        if key.is_weak() {
            return Err(VerifierKeyError::Key);
        }
        Ok(Self { origin, public_key })
    }

    /// Name of the log.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The Ed25519 public key.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// First four bytes of `SHA-256(origin ‖ 0x0A ‖ 0x01 ‖ public key)`.
    pub fn id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = sha256(&[self.origin.0.as_bytes(), &[b'\n', ED25519], &self.public_key]);
        [a, b, c, d]
    }

    fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.public_key)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(&self.public_key);
        write!(f, "{}+{:08x}+{}", self.origin, u32::from_be_bytes(self.id()), STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.trim_end_matches('\n').splitn(3, '+');
        let (Some(origin), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeyError::Form);
        };
        let key = STANDARD.decode(key).map_err(|_| VerifierKeyError::Form)?;
        let Some((&ED25519, key)) = key.split_first() else { return Err(VerifierKeyError::Algorithm) };
        let public_key = key.try_into().map_err(|_| VerifierKeyError::Form)?;
        let verifier = Self::new(origin.parse()?, public_key)?;
        if format!("{:08x}", u32::from_be_bytes(verifier.id())) != id {
            return Err(VerifierKeyError::Id);
        }
        Ok(verifier)
    }
}

/// A signed statement that the log has this size and this root. `Display` gives the signed note, byte for byte as it was read;
/// `FromStr` reads one without verifying it.
#[derive(Clone, PartialEq, Eq)]
pub struct Checkpoint {
    note: String,
    body_bytes: usize,
    origin: Origin,
    size: u64,
    root: Hash,
    signatures: Vec<(Origin, [u8; 4], [u8; 64])>,
}

impl Checkpoint {
    /// Name of the log that it is about.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of the tree over those entries.
    pub fn root(&self) -> &[u8; 32] {
        &self.root
    }

    /// The signed note.
    pub fn as_str(&self) -> &str {
        &self.note
    }

    /// Checks that `key` signed this checkpoint and that it is about the log of that name.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        if &self.origin != key.origin() {
            return Err(NoteError::OtherLog { found: self.origin.clone(), expected: key.origin().clone() });
        }
        let body = self.note.as_bytes().get(..self.body_bytes).ok_or(NoteError::Form)?;
        let mut named =
            self.signatures.iter().filter(|(name, id, _)| name == key.origin() && *id == key.id());
        match named.next() {
            None => Err(NoteError::OtherKey),
            Some((_, _, signature)) if key.verifies(body, signature) => Ok(()),
            Some(_) => Err(NoteError::Signature),
        }
    }

    /// The text that is signed: three lines.
    pub(crate) fn body(origin: &Origin, size: u64, root: &Hash) -> String {
        format!("{origin}\n{size}\n{}\n", STANDARD.encode(root))
    }

    /// Builds the note from its body and a signature over it.
    pub(crate) fn signed(
        key: &VerifierKey,
        size: u64,
        root: Hash,
        body: String,
        signature: [u8; 64],
    ) -> Self {
        let mut blob = key.id().to_vec();
        blob.extend_from_slice(&signature);
        let note = format!("{body}\n\u{2014} {} {}\n", key.origin(), STANDARD.encode(blob));
        let signatures = vec![(key.origin().clone(), key.id(), signature)];
        Self { note, body_bytes: body.len(), origin: key.origin().clone(), size, root, signatures }
    }

    /// Whether the note ends in one signature line, by the log itself, of the length of Ed25519.
    pub(crate) fn has_one_signature(&self) -> bool {
        let lines = self.note.get(self.body_bytes..).unwrap_or_default();
        // An empty line comes before it.
        lines.lines().count() == 2
            && matches!(self.signatures.as_slice(), [(name, _, _)] if *name == self.origin)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.note)
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("origin", &self.origin)
            .field("size", &self.size)
            .field("root", &STANDARD.encode(self.root))
            .finish_non_exhaustive()
    }
}

impl FromStr for Checkpoint {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, Self::Err> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let (body, signatures) = note.split_once("\n\n").ok_or(NoteError::Form)?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Form);
        };
        // Extension lines are signed by some and not by other algorithms; this log never writes any, so none are taken.
        if lines.next().is_some() {
            return Err(NoteError::Form);
        }
        let origin = origin.parse().map_err(|_| NoteError::Form)?;
        let digits = !size.is_empty() && size.bytes().all(|b| b.is_ascii_digit());
        if !digits || (size.len() > 1 && size.starts_with('0')) {
            return Err(NoteError::Form);
        }
        let size = size.parse().map_err(|_| NoteError::Form)?;
        let root = decode_exact::<32>(root).ok_or(NoteError::Form)?;
        let signatures = signatures
            .strip_suffix('\n')
            .ok_or(NoteError::Form)?
            .split('\n')
            .map(|line| {
                let (name, blob) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
                // Other algorithms, cosignatures among them, sign in other lengths; they are passed over, not refused.
                let name: Origin = name.parse().ok()?;
                let blob = STANDARD.decode(blob).ok()?;
                let (id, signature) = blob.split_first_chunk::<4>()?;
                Some(<[u8; 64]>::try_from(signature).ok().map(|signature| (name, *id, signature)))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or(NoteError::Form)?
            .into_iter()
            .flatten()
            .collect();
        Ok(Self { note: note.to_owned(), body_bytes: body.len() + 1, origin, size, root, signatures })
    }
}

fn decode_exact<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the note that the signed-note specification prints as its example.
    const SPEC_KEY: &str = "example.com/foo+530cc3a4+AecsDYWbvu1mVz+hEEDuFrp8M4VfYsqeJlUFEs8mqxcU";

    #[test]
    fn verifier_key_survives_its_text_form() {
        if let Ok(key) = SPEC_KEY.parse::<VerifierKey>() {
            assert_eq!(key.to_string(), SPEC_KEY);
        }
        let seed = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let key =
            VerifierKey::new("example.com/log".parse().unwrap(), seed.verifying_key().to_bytes()).unwrap();
        assert_eq!(key.to_string().parse::<VerifierKey>().unwrap(), key);
    }

    #[test]
    fn reads_its_own_note_and_refuses_each_changed_byte() {
        use ed25519_dalek::Signer as _;
        let seed = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let key =
            VerifierKey::new("example.com/log".parse().unwrap(), seed.verifying_key().to_bytes()).unwrap();
        let body = Checkpoint::body(key.origin(), 5, &[9; 32]);
        let signature = seed.sign(body.as_bytes()).to_bytes();
        let note = Checkpoint::signed(&key, 5, [9; 32], body, signature);
        let read: Checkpoint = note.to_string().parse().unwrap();
        assert_eq!(read, note);
        read.verify(&key).unwrap();
        let bytes = note.to_string().into_bytes();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let verified = String::from_utf8(changed).ok().and_then(|text| text.parse::<Checkpoint>().ok());
            assert!(verified.is_none_or(|note| note.verify(&key).is_err()), "byte {place} may be changed");
        }
    }
}
