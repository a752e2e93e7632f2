//! Any output of a shell, in two pieces. Where it is cut makes no difference, and what is no mark is shown byte for byte.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use session_filter::marks::{Marks, Part};

fn take(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Part>) {
    let mut marks = Marks::new("n");
    let (mut shown, mut found) = (Vec::new(), Vec::new());
    for piece in pieces {
        for part in marks.feed(Bytes::copy_from_slice(piece)) {
            match part {
                Part::Shown(bytes) => shown.extend_from_slice(&bytes),
                mark => found.push(mark),
            }
        }
    }
    shown.extend_from_slice(&marks.finish().unwrap_or_default());
    (shown, found)
}

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, bytes) = input;
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    let (shown, found) = take(&[first, second]);
    assert_eq!((shown.clone(), found.clone()), take(&[bytes]));
    if found.is_empty() {
        assert_eq!(shown, bytes);
    }
});
