//! What is kept of a stream.

use proptest::prelude::*;
use session_filter::StreamDigest;
use session_filter::limits::STREAM_EXCERPT_BYTES_MAX;

#[test]
fn keeps_a_short_stream_whole() {
    let mut digest = StreamDigest::new();
    digest.update(b"ab");
    digest.update(b"c");
    let summary = digest.finish();
    assert_eq!((summary.bytes, summary.head.as_slice(), summary.tail.as_slice()), (3, &b"abc"[..], &b""[..]));
    // FIPS 180-4, the message "abc".
    assert_eq!(summary.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

proptest! {
    #[test]
    fn keeps_both_ends_however_the_stream_is_cut(
        length in 0usize..3 * STREAM_EXCERPT_BYTES_MAX,
        cuts in prop::collection::vec(1usize..6000, 0..20),
    ) {
        let stream: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
        let mut digest = StreamDigest::new();
        let mut rest = stream.as_slice();
        for cut in cuts {
            let (chunk, more) = rest.split_at(cut.min(rest.len()));
            digest.update(chunk);
            rest = more;
        }
        digest.update(rest);
        let summary = digest.finish();

        let head = length.min(STREAM_EXCERPT_BYTES_MAX);
        let tail = (length - head).min(STREAM_EXCERPT_BYTES_MAX);
        prop_assert_eq!(summary.bytes, length as u64);
        prop_assert_eq!(&summary.head, &stream[..head]);
        prop_assert_eq!(&summary.tail, &stream[length - tail..]);
        let mut whole = StreamDigest::new();
        whole.update(&stream);
        prop_assert_eq!(summary.sha256, whole.finish().sha256);
    }
}

#[test]
fn shows_no_content_in_debug() {
    let mut digest = StreamDigest::new();
    digest.update(b"hunter2");
    assert!(!format!("{digest:?}").contains("104"));
    assert!(!format!("{:?}", digest.finish()).contains("104"));
}
