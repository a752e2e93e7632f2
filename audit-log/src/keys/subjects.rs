//! The `subjects` file: batches of subject keys, each wrapped under an epoch key and in sectors of its own.

use zeroize::Zeroizing;

use super::SubjectKey;
use crate::{
    crypto::{TAG_BYTES, WrapKey, random},
    cursor::Cursor,
    error::KeyError,
    limits::SECTOR_BYTES,
};

const MAGIC: &[u8; 8] = b"ALOGSUBJ";
const LENGTH_BYTES: usize = 4;
/// Shortest body of a batch: epoch, nonce and tag.
const BODY_BYTES_MIN: usize = 4 + 12 + TAG_BYTES;

/// The first sector of the file.
pub(super) fn header() -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.resize(SECTOR_BYTES, 0);
    header
}

fn aad(epoch: u32) -> Vec<u8> {
    let mut aad = b"audit-log v0 subjects".to_vec();
    aad.extend_from_slice(&epoch.to_be_bytes());
    aad
}

/// Encodes one batch, which is read back whole or not at all. No sector of it is all zero.
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
    batch.resize(batch.len().next_multiple_of(SECTOR_BYTES), 0xFF);
    Ok(batch)
}

/// What the file holds.
pub(super) struct Decoded {
    pub(super) keys: Vec<SubjectKey>,
    /// Where the last batch begins, if there is one.
    pub(super) last: usize,
    /// Where the next batch goes: before a last one that was torn.
    pub(super) end: usize,
}

/// Decodes the file.
pub(super) fn decode(
    content: &[u8],
    mut wrap: impl FnMut(u32) -> Result<WrapKey, KeyError>,
) -> Result<Decoded, Malformed> {
    if content.get(..SECTOR_BYTES) != Some(header().as_slice()) {
        return Err(Malformed::What("not a store of subject keys"));
    }
    let mut decoded = Decoded { keys: Vec::new(), last: SECTOR_BYTES, end: SECTOR_BYTES };
    let mut plaintext = Zeroizing::new(Vec::new());
    while decoded.end < content.len() {
        let rest = content.get(decoded.end..).unwrap_or_default();
        let Some(batch) = Batch::split(rest) else {
            // Batches are durable one by one, so what a crash cut off is the last.
            for later in rest.chunks(SECTOR_BYTES).enumerate().skip(1).map(|(place, _)| place * SECTOR_BYTES)
            {
                let batch = Batch::split(rest.get(later..).unwrap_or_default());
                if let Some(batch) = batch
                    && let Ok(key) = wrap(batch.epoch)
                    && batch.open(&key, &mut plaintext)
                {
                    return Err(Malformed::What("a batch before the last one is missing or incomplete"));
                }
            }
            return Ok(decoded);
        };
        let key = wrap(batch.epoch).map_err(Malformed::Keys)?;
        if !batch.open(&key, &mut plaintext) {
            let what = "a batch was altered, or the epoch key is not the one it was written with";
            return Err(Malformed::What(what));
        }
        let mut entries = Cursor::new(&plaintext);
        while !entries.is_empty() {
            let malformed = || Malformed::What("a batch is malformed");
            let fields = (entries.array(), entries.array(), entries.u16());
            let (Some(id), Some(key), Some(bytes)) = fields else { return Err(malformed()) };
            let subject =
                entries.take(usize::from(bytes)).and_then(|subject| std::str::from_utf8(subject).ok());
            let subject = subject.ok_or_else(malformed)?.to_owned();
            decoded.keys.push(SubjectKey::new(id, key, subject));
        }
        (decoded.last, decoded.end) = (decoded.end, decoded.end.saturating_add(batch.bytes));
    }
    Ok(decoded)
}

/// A batch all of whose sectors are there.
struct Batch<'a> {
    epoch: u32,
    nonce: [u8; 12],
    sealed: &'a [u8],
    /// Bytes on disk, padding included.
    bytes: usize,
}

impl<'a> Batch<'a> {
    /// `None` when the file ends within the batch or a sector of it was lost.
    fn split(rest: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(rest);
        let body_bytes = usize::try_from(cursor.u32()?).ok().filter(|bytes| *bytes >= BODY_BYTES_MIN)?;
        let bytes = LENGTH_BYTES.checked_add(body_bytes)?.checked_next_multiple_of(SECTOR_BYTES)?;
        let is_lost = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
        if rest.get(..bytes)?.chunks(SECTOR_BYTES).any(is_lost) {
            return None;
        }
        let mut body = Cursor::new(cursor.take(body_bytes)?);
        Some(Self { epoch: body.u32()?, nonce: body.array()?, sealed: body.rest(), bytes })
    }

    fn open(&self, key: &WrapKey, plaintext: &mut Vec<u8>) -> bool {
        key.open(self.nonce, &aad(self.epoch), self.sealed, plaintext).is_ok()
    }
}

/// Why the file cannot be used.
pub(super) enum Malformed {
    What(&'static str),
    Keys(KeyError),
}
