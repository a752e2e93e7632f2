//! A hostile segment: no panic, no runaway memory, whatever it holds. Hashes are made good first, so that what is behind them is reached.
#![no_main]

use audit_log::{MemoryStore, Reader, VerifyOptions};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

const HEADER_BYTES: usize = 2048;

fuzz_target!(|input: &[u8]| {
    let Some((choice, segment)) = input.split_first() else { return };
    let mut segment = segment.to_vec();
    if choice & 1 == 1 {
        make_good(&mut segment);
    }
    let store = MemoryStore::new();
    store.insert("segment-00000000.log", segment);
    let _ = Reader::keyless(store).verify(&VerifyOptions::new(), |_| {});
});

fn make_good(segment: &mut [u8]) {
    if segment.len() < HEADER_BYTES {
        return;
    }
    let hash = Sha256::digest(&segment[..HEADER_BYTES - 32]);
    segment[HEADER_BYTES - 32..HEADER_BYTES].copy_from_slice(&hash);
    let mut offset = HEADER_BYTES;
    while segment.len() >= offset + 64 {
        let check = Sha256::digest(&segment[offset..offset + 48]);
        segment[offset + 48..offset + 64].copy_from_slice(&check[..16]);
        let bytes = u32::from_be_bytes([8, 9, 10, 11].map(|place| segment[offset + place])) as usize;
        if bytes < 96 || segment.len() - offset < bytes {
            return;
        }
        // The first leaf carries the hash of what is before it, which can be made good as well where the leaf is where it should be.
        if offset == HEADER_BYTES {
            let header_hash = hash;
            let leaf_bytes = usize::from(u16::from_be_bytes([segment[offset + 64], segment[offset + 65]]));
            let end = offset + 66 + leaf_bytes;
            if leaf_bytes > 33 && end <= offset + bytes && segment[end - 33] == 3 {
                segment[end - 32..end].copy_from_slice(&header_hash);
            }
        }
        let hash = Sha256::digest(&segment[offset..offset + bytes - 32]);
        segment[offset + bytes - 32..offset + bytes].copy_from_slice(&hash);
        offset += bytes;
    }
}
