//! What is read and written: sizes and hashes, where they can be told.

use serde_json::Value;
use session_filter::sftp::limits;

use super::bench::{Bench, PUT, READ, below_up, hex, value};
use super::target::{self, Node, OK, Target};

#[test]
fn writes_are_hashed_where_they_are_whole() {
    let content = b"0123456789".repeat(1000);
    let pieces: Vec<(u64, &[u8])> =
        content.chunks(700).enumerate().map(|(at, piece)| (at as u64 * 700, piece)).collect();
    let close = |bench: &mut Bench, handle: &[u8]| {
        assert_eq!(bench.code(target::request(4, 9, &[handle], &[])), OK);
        bench.events("file.transferred").pop().unwrap()
    };
    // In order, in reverse order (kept until the rest has come), in place and cut at the end.
    for (flags, reversed, cut) in [(PUT, false, false), (PUT, true, false), (0x2 | 0x8, false, true)] {
        let mut bench = Bench::new();
        let handle = bench.open("/up/new", flags);
        let mut writes: Vec<Vec<u8>> =
            pieces.iter().map(|(offset, piece)| target::write(5, &handle, *offset, piece)).collect();
        if reversed {
            writes.reverse();
        }
        bench.send(&writes);
        if cut {
            let size: Vec<u8> = [&1_u32.to_be_bytes()[..], &10_000_u64.to_be_bytes()].concat();
            assert_eq!(bench.code(target::request(10, 5, &[&handle], &size)), OK);
        }
        let transferred = close(&mut bench, &handle);
        assert_eq!(transferred["sha256"], hex(&content), "{flags:x} {reversed} {cut}");
        assert_eq!(transferred["bytes_written"], content.len());
        assert_eq!(bench.target.nodes.get("/up/new"), Some(&Node::File(content.clone())));
    }
    // With a gap, with a piece twice, without being emptied, appended to, cut elsewhere: no hash.
    let gap: Vec<(u64, &[u8])> = pieces.iter().copied().skip(1).collect();
    let twice: Vec<(u64, &[u8])> = pieces.iter().copied().chain(pieces.first().copied()).collect();
    for (flags, pieces) in [(PUT, gap), (PUT, twice), (0x2, pieces.clone()), (0x6 | PUT, pieces.clone())] {
        let mut bench = Bench::new();
        let handle = bench.open("/up/x", flags);
        let writes: Vec<Vec<u8>> =
            pieces.iter().map(|(offset, piece)| target::write(5, &handle, *offset, piece)).collect();
        bench.send(&writes);
        let transferred = close(&mut bench, &handle);
        assert_eq!(transferred["sha256"], Value::Null, "{flags:x}");
    }
}

#[test]
fn reads_are_hashed_in_whatever_order_they_are_answered() {
    for (reversed, length, hashed) in [(false, 100, true), (true, 100, true), (true, 4 << 20, false)] {
        let mut target = Target::new();
        let content: Vec<u8> = (0..length).map(|at: usize| (at / 7) as u8).collect();
        target.nodes.insert("/up/big".to_owned(), Node::File(content.clone()));
        let mut bench = Bench::with(target, Box::new(below_up));
        let handle = bench.open("/up/big", READ);
        bench.reversed = reversed;
        let step = (length / 50).clamp(10, 100_000);
        let reads: Vec<Vec<u8>> = (0..=length.div_ceil(step))
            .map(|at| target::read(at as u32, &handle, (at * step) as u64, step as u32))
            .collect();
        bench.send(&reads);
        assert_eq!(bench.code(target::request(4, 9, &[&handle], &[])), OK);
        let transferred = bench.events("file.transferred").pop().unwrap();
        assert_eq!(transferred["bytes_read"], length);
        assert_eq!(transferred["sha256"], if hashed { hex(&content).into() } else { Value::Null });
    }
}

#[test]
fn what_was_written_and_cut_away_again_has_no_hash() {
    let size = |handle: &[u8], size: u64| {
        let attrs: Vec<u8> = [&1_u32.to_be_bytes()[..], &size.to_be_bytes()].concat();
        target::request(10, 5, &[handle], &attrs)
    };
    for cut_to in [0, 5] {
        let mut bench = Bench::new();
        let handle = bench.open("/up/new", PUT);
        bench.send(&[
            target::write(5, &handle, 0, b"0123456789"),
            size(&handle, cut_to),
            size(&handle, 10),
            target::request(4, 9, &[&handle], &[]),
        ]);
        let held = bench.target.nodes.get("/up/new").cloned();
        assert_ne!(held, Some(Node::File(b"0123456789".to_vec())));
        let transferred = bench.events("file.transferred").pop().unwrap();
        assert_eq!(transferred["sha256"], Value::Null, "cut to {cut_to}");
    }
}

#[test]
fn an_end_that_was_seen_elsewhere_does_not_make_a_part_the_whole() {
    let mut bench = Bench::with(Target::new(), Box::new(below_up));
    bench.target.nodes.insert("/up/log".to_owned(), Node::File(Vec::new()));
    let handle = bench.open("/up/log", READ);
    bench.send(&[target::read(1, &handle, 0, 10)]);
    bench.target.nodes.insert("/up/log".to_owned(), Node::File(b"0123456789".to_vec()));
    bench.send(&[
        target::read(2, &handle, 0, 5),
        // Some servers answer this with the end of the file.
        target::read(3, &handle, 5, 0),
        target::request(4, 9, &[&handle], &[]),
    ]);
    let transferred = bench.events("file.transferred").pop().unwrap();
    assert_eq!((&transferred["bytes_read"], &transferred["sha256"]), (&5.into(), &Value::Null));
}

#[test]
fn what_the_target_copies_by_itself_is_not_said_to_be_nothing() {
    for (len, reason) in [(0_u64, Value::from("copied_by_target")), (5, Value::Null)] {
        let mut bench = Bench::new();
        let (from, to) = (bench.open("/up/x", READ), bench.open("/up/new", PUT));
        let (at, len) = (0_u64.to_be_bytes(), len.to_be_bytes());
        let copy = [&at[..], &len, &target::string(&to), &at].concat();
        bench.send(&[target::extended(5, "copy-data", &[&from], &copy)]);
        bench.send(&[target::request(4, 9, &[&to], &[])]);
        let transferred = bench.events("file.transferred").pop().unwrap();
        assert_eq!((&transferred["reason"], &transferred["sha256"]), (&reason, &Value::Null));
    }
}

#[test]
fn many_small_pieces_that_come_early_are_not_kept_without_limit() {
    let mut bench = Bench::new();
    let handle = bench.open("/up/new", PUT);
    let pieces = limits::REORDER_BYTES_MAX / 100;
    let mut writes: Vec<Vec<u8>> =
        (1..=pieces).map(|at| target::write(5, &handle, at as u64, b"x")).collect();
    writes.push(target::write(5, &handle, 0, b"x"));
    bench.send(&writes[..pieces / 2]);
    bench.send(&writes[pieces / 2..]);
    bench.send(&[target::request(4, 9, &[&handle], &[])]);
    let transferred = bench.events("file.transferred").pop().unwrap();
    assert_eq!(transferred["bytes_written"], pieces + 1);
    assert_eq!(transferred["sha256"], Value::Null);
}

#[test]
fn a_file_whose_channel_ends_has_no_hash() {
    let mut bench = Bench::new();
    let handle = bench.open("/up/new", PUT);
    bench.send(&[target::write(5, &handle, 0, b"half")]);
    let transferred = value(&bench.guard.finish().remove(0));
    assert_eq!(
        (
            &transferred["bytes_written"],
            &transferred["sha256"],
            &transferred["outcome"],
            &transferred["reason"]
        ),
        (&4.into(), &Value::Null, &"unknown".into(), &"interrupted".into())
    );
    assert!(bench.guard.finish().is_empty());
}
