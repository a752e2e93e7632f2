//! Any requests, in any order and in any pieces.

use proptest::prelude::*;
use session_filter::sftp::Frames;

use super::bench::{Bench, PUT, READ, below_up, packet};
use super::target::{self, Node, Target};

/// Anything a client may send about names made of few parts, so that they meet each other and the links.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        "up", "etc", "a", "b", "x", "y", "out", "in", "l", "m", "secret", "new", "..", ".", "", "dangling",
        "way",
    ]);
    let path = (any::<bool>(), prop::collection::vec(part, 0..5))
        .prop_map(|(absolute, parts)| format!("{}{}", if absolute { "/up/" } else { "" }, parts.join("/")));
    let flags = prop::sample::select(vec![READ, PUT, 0x3, 0x2 | 0x8 | 0x20, 0x6]);
    let handle = (1_u32..12).prop_map(|handle| handle.to_be_bytes().to_vec());
    let attrs = [&5_u32.to_be_bytes()[..], &3_u64.to_be_bytes(), &0o600_u32.to_be_bytes()].concat();
    let attrs_of_path = attrs.clone();
    prop_oneof![
        4 => (path.clone(), flags).prop_map(|(path, flags)| target::open(1, &path, flags)),
        3 => (path.clone(), path.clone()).prop_map(|(a, b)| target::request(20, 2, &[a.as_bytes(), b.as_bytes()], &[])),
        3 => (path.clone(), path.clone()).prop_map(|(a, b)| target::request(18, 3, &[a.as_bytes(), b.as_bytes()], &[])),
        2 => (path.clone(), path.clone(), prop::sample::select(vec!["hardlink@openssh.com", "posix-rename@openssh.com"]))
            .prop_map(|(a, b, name)| target::extended(4, name, &[a.as_bytes(), b.as_bytes()], &[])),
        4 => (path.clone(), prop::sample::select(vec![7_u8, 11, 13, 15, 16, 17, 19]))
            .prop_map(|(path, kind)| target::request(kind, 5, &[path.as_bytes()], &[])),
        1 => path.clone().prop_map(|path| target::request(14, 5, &[path.as_bytes()], &[0; 4])),
        1 => path.prop_map(move |path| target::request(9, 5, &[path.as_bytes()], &attrs_of_path)),
        2 => (handle.clone(), 0_u64..9).prop_map(|(handle, offset)| target::write(6, &handle, offset, b"new")),
        2 => (handle.clone(), 0_u64..9).prop_map(|(handle, offset)| target::read(6, &handle, offset, 5)),
        1 => handle.clone().prop_map(move |handle| target::request(10, 6, &[&handle], &attrs)),
        1 => handle.prop_map(|handle| target::request(4, 6, &[&handle], &[])),
    ]
}

proptest! {
    /// Whatever a client asks for, in whatever order and however many at a time: nothing outside of what is permitted is touched on
    /// the target, links followed.
    #[test]
    fn nothing_outside_is_touched(
        requests in prop::collection::vec(any_request(), 1..40),
        strict in any::<bool>(),
        at_once in 1_usize..8,
    ) {
        let mut target = Target::new();
        target.strict_realpath = strict;
        let outside = |target: &Target| -> Vec<(String, Node)> {
            let nodes = target.nodes.iter().filter(|(path, _)| !path.starts_with("/up/"));
            nodes.map(|(path, node)| (path.clone(), node.clone())).collect()
        };
        let before = outside(&target);
        let mut bench = Bench::with(target, Box::new(below_up));
        for some in requests.chunks(at_once) {
            bench.to_client.clear();
            bench.send(some);
            prop_assert_eq!(bench.to_client.len(), some.len(), "each request is answered once");
        }
        for (how, path) in &bench.target.touched {
            prop_assert!(path.starts_with("/up/"), "{} {}", how, path);
        }
        prop_assert_eq!(before, outside(&bench.target));
        bench.guard.finish();
    }

    /// However a stream is cut into pieces, the same packets come out.
    #[test]
    fn frames_do_not_depend_on_how_the_stream_is_cut(
        requests in prop::collection::vec(any_request(), 1..10),
        cut in 1_usize..50,
    ) {
        let stream = requests.concat();
        let mut frames = Frames::default();
        let mut kinds = Vec::new();
        for piece in stream.chunks(cut) {
            frames.push(piece);
            while let Some(packet) = frames.next().unwrap() {
                kinds.push(packet.kind());
            }
        }
        prop_assert!(frames.is_empty());
        let expected: Vec<u8> = requests.iter().map(|request| request[4]).collect();
        prop_assert_eq!(kinds, expected);
    }

    /// No bytes make the guard panic, from either side.
    #[test]
    fn any_bytes_are_answered_or_refused(
        bodies in prop::collection::vec((prop::sample::select((0_u8..25).chain([200, 201]).collect::<Vec<_>>()), prop::collection::vec(any::<u8>(), 0..40)), 1..20),
        from_target in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        for (kind, body) in bodies {
            let mut bytes = vec![kind];
            bytes.extend(body);
            let bytes = target::framed(bytes);
            if from_target {
                if bench.guard.reply(packet(&bytes)).is_err() {
                    return Ok(());
                }
            } else if bench.guard.request(packet(&bytes), 1).is_err() {
                return Ok(());
            }
            bench.send(&[]);
        }
    }
}
