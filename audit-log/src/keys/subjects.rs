//! The `subjects` file: batches of subject keys, each wrapped under an epoch key.

use zeroize::Zeroizing;

use super::SubjectKey;
use crate::{
    crypto::{WrapKey, random},
    cursor::Cursor,
    error::KeyError,
};

const MAGIC: &[u8; 8] = b"ALOGSUBJ";
const HEADER_BYTES: usize = 16;

pub(super) fn header() -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.resize(HEADER_BYTES, 0);
    header
}

fn aad(epoch: u32) -> Vec<u8> {
    let mut aad = b"audit-log v0 subjects".to_vec();
    aad.extend_from_slice(&epoch.to_be_bytes());
    aad
}

/// Encodes one batch, which is read back whole or not at all.
pub(super) fn encode(keys: &[SubjectKey], epoch: u32, wrap: &WrapKey) -> Result<Vec<u8>, KeyError> {
    let mut plaintext = Zeroizing::new(Vec::new());
    for key in keys {
        plaintext.extend_from_slice(&key.id);
        plaintext.extend_from_slice(key.key.as_slice());
        // INVARIANT: entries are refused before here when an id is longer than 1024 bytes.
        plaintext.extend_from_slice(&(key.subject.len() as u16).to_be_bytes());
        plaintext.extend_from_slice(key.subject.as_bytes());
    }
    let nonce = random()?;
    let tag = wrap.seal(nonce, &aad(epoch), &mut plaintext)?;
    let mut body = epoch.to_be_bytes().to_vec();
    body.extend_from_slice(&nonce);
    body.extend_from_slice(&plaintext);
    body.extend_from_slice(&tag);
    let mut batch = (body.len() as u32).to_be_bytes().to_vec();
    batch.extend_from_slice(&body);
    Ok(batch)
}

/// Decodes the file. Returns the keys and the offset at which the next batch goes: before a last batch that was torn.
pub(super) fn decode(
    content: &[u8],
    mut wrap: impl FnMut(u32) -> Result<WrapKey, KeyError>,
) -> Result<(Vec<SubjectKey>, u64), Malformed> {
    let mut cursor = Cursor::new(content);
    if cursor.take(HEADER_BYTES) != Some(header().as_slice()) {
        // The header is written with the first batch, so a shorter or lost one holds no key that is in use.
        let lost = content.len() < HEADER_BYTES || content.iter().all(|byte| *byte == 0);
        return if lost { Ok((Vec::new(), 0)) } else { Err(Malformed::What("not a store of subject keys")) };
    }
    let mut keys = Vec::new();
    let mut plaintext = Zeroizing::new(Vec::new());
    loop {
        let end = (content.len() - cursor.rest().len()) as u64;
        let Some(body) = cursor.sized().filter(|body| !body.is_empty()) else { return Ok((keys, end)) };
        let mut batch = Cursor::new(body);
        let fields = (batch.u32(), batch.array::<12>());
        let (Some(epoch), Some(nonce)) = fields else {
            return Err(Malformed::What("a batch is too short"));
        };
        let key = match wrap(epoch) {
            Ok(key) => key,
            Err(_) if cursor.is_empty() && epoch == 0 => return Ok((keys, end)),
            Err(error) => return Err(Malformed::Keys(error)),
        };
        if key.open(nonce, &aad(epoch), batch.rest(), &mut plaintext).is_err() {
            if cursor.is_empty() {
                return Ok((keys, end));
            }
            return Err(Malformed::What(
                "a batch was altered, or the epoch key is not the one it was written with",
            ));
        }
        let mut entries = Cursor::new(&plaintext);
        while !entries.is_empty() {
            let fields = (entries.array(), entries.array(), entries.u16());
            let (Some(id), Some(key), Some(bytes)) = fields else {
                return Err(Malformed::What("a batch is malformed"));
            };
            let subject =
                entries.take(usize::from(bytes)).and_then(|subject| std::str::from_utf8(subject).ok());
            let Some(subject) = subject else { return Err(Malformed::What("a batch is malformed")) };
            keys.push(SubjectKey::new(id, key, subject.to_owned()));
        }
    }
}

/// Why the file cannot be used.
pub(super) enum Malformed {
    What(&'static str),
    Keys(KeyError),
}
