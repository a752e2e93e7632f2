//! Requests, answers and handles that are not as they should be, and limits.

use session_filter::sftp::{Frames, Guard, Hashing, Step, limits};

use super::bench::{Bench, PUT, READ, below_up, packet};
use super::target::{self, FAILURE, OK, Reader, Target};

#[test]
fn only_decoded_extensions_are_offered_and_only_version_3_is_spoken() {
    let mut bench = Bench::with(Target::new(), Box::new(below_up));
    let mut guard = Guard::new(Hashing::Whole);
    assert!(matches!(guard.next(0), Step::Request));
    guard.request(packet(&target::init(6)), 0).unwrap();
    let Step::ToTarget(hello) = guard.next(0) else { panic!() };
    assert_eq!(hello.to_vec(), target::init(3));
    let version = guard.reply(packet(&bench.target.handle(&hello))).unwrap().to_client.unwrap();
    let text = String::from_utf8_lossy(&version);
    assert!(text.contains("posix-rename@openssh.com") && !text.contains("vendor@example.com"));

    for version in [0, 1, 2] {
        assert!(Guard::new(Hashing::Whole).request(packet(&target::init(version)), 0).is_err());
    }
    assert!(Guard::new(Hashing::Whole).request(packet(&target::open(1, "/up/x", READ)), 0).is_err());
    bench.send(&[target::init(3)]);
    assert!(bench.violation.is_some(), "no second greeting");
}

#[test]
fn handles_are_good_for_what_they_were_opened_for() {
    let mut bench = Bench::new();
    let (reads, writes) = (bench.open("/up/x", READ), bench.open("/up/a/y", 0x2));
    let answer = bench.ask(target::request(11, 1, &[b"/up/a"], &[]));
    let lists = Reader(&answer[9..]).string();
    let raw = |len: u64| [&0_u64.to_be_bytes()[..], &len.to_be_bytes()].concat();
    let copy = |from: &[u8], to: &[u8]| {
        let tail = [&target::string(to)[..], &0_u64.to_be_bytes()].concat();
        target::extended(1, "copy-data", &[from], &[raw(3), tail].concat())
    };
    let size: Vec<u8> = [&1_u32.to_be_bytes()[..], &1_u64.to_be_bytes()].concat();
    let refused = [
        target::read(1, &writes, 0, 10),
        target::read(1, &lists, 0, 10),
        target::read(1, b"none", 0, 10),
        target::write(1, &reads, 0, b"x"),
        target::request(12, 1, &[&reads], &[]),
        target::request(10, 1, &[&reads], &size),
        target::request(4, 1, &[b""], &[]),
        target::extended(1, "fsync@openssh.com", &[&reads], &[]),
        copy(&writes, &reads),
        copy(&reads, &reads),
        copy(&lists, &writes),
        copy(&reads, b"none"),
    ];
    for request in &refused {
        assert_eq!(bench.code(request.clone()), FAILURE, "{request:?}");
        assert!(bench.to_target.is_empty(), "{request:?}");
    }
    assert_eq!(bench.events("request.refused").len(), refused.len());
    bench.ask(copy(&reads, &writes));
    assert_eq!(bench.to_target.len(), 1);
    // A closed handle is gone at once, even before the target has answered.
    bench.to_target.clear();
    bench.send(&[target::request(4, 1, &[&reads], &[]), target::read(2, &reads, 0, 10)]);
    assert_eq!(bench.to_target.len(), 1, "the read is not sent");
}

#[test]
fn unknown_requests_are_answered_here_and_recorded() {
    let mut bench = Bench::new();
    for request in [
        target::request(21, 1, &[b"/up/x", b"/etc/x"], &[]),
        target::request(255, 1, &[], &[]),
        target::extended(1, "text-seek", &[b"x"], &[]),
        target::extended(1, "check-file-name", &[b"/etc/secret"], &[]),
        target::extended(1, "home-directory", &[b"root"], &[]),
    ] {
        assert_eq!(bench.code(request), 8);
        assert!(bench.to_target.is_empty());
    }
    // Truncated, or with more than belongs there.
    for request in [
        target::request(13, 1, &[], &[0, 0, 0, 9, b'x']),
        target::request(13, 1, &[b"/up/x", b"y"], &[]),
        target::request(5, 1, &[&[0; 300]], &[0; 12]),
        target::request(9, 1, &[b"/up/x"], &0x10_u32.to_be_bytes()),
    ] {
        assert_eq!(bench.code(request), 5);
        assert!(bench.to_target.is_empty());
    }
    assert_eq!(bench.events("request.refused").len(), 9);
    assert_eq!(bench.events("request.refused")[2]["asked"], "text-seek");
}

#[test]
fn a_clients_request_ids_never_meet_ours() {
    let mut bench = Bench::new();
    // All with the ids that the guard uses for its own look-ups, and all the same.
    let requests: Vec<Vec<u8>> = (0..20).map(|_| target::request(7, 2, &[b"/up/x"], &[])).collect();
    bench.to_client.clear();
    bench.send(&requests);
    assert_eq!(bench.to_client.len(), 20);
    assert!(bench.to_client.iter().all(|answer| answer[4] == 105 && answer[5..9] == [0, 0, 0, 2]));
}

#[test]
fn open_files_and_waiting_requests_are_limited() {
    let mut bench = Bench::new();
    for _ in 0..limits::HANDLES_MAX {
        bench.open("/up/x", READ);
    }
    assert_eq!(bench.code(target::open(1, "/up/x", READ)), FAILURE);
    assert!(bench.to_target.is_empty());

    let mut guard = Guard::new(Hashing::Off);
    std::mem::swap(&mut guard, &mut bench.guard);
    let mut sent = 0;
    loop {
        match guard.next(1) {
            Step::Request => guard.request(packet(&target::read(1, &1_u32.to_be_bytes(), 0, 1)), 1).unwrap(),
            Step::ToTarget(_) => sent += 1,
            Step::Wait => break,
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(sent, limits::REQUESTS_MAX);
}

#[test]
fn reads_beyond_the_limit_are_cut() {
    let mut bench = Bench::new();
    let handle = bench.open("/up/x", READ);
    bench.ask(target::read(1, &handle, 0, u32::MAX));
    let sent = bench.to_target.remove(0);
    assert_eq!(sent[sent.len() - 4..], limits::READ_BYTES_MAX.to_be_bytes());
}

#[test]
fn modes_at_creation_are_cut_to_permissions() {
    let mut bench = Bench::new();
    let attrs =
        [&0xf_u32.to_be_bytes()[..], &9_u64.to_be_bytes(), &[0; 8], &0o104_755_u32.to_be_bytes(), &[0; 8]];
    let mut open = PUT.to_be_bytes().to_vec();
    open.extend(attrs.concat());
    bench.ask(target::request(3, 1, &[b"/up/new"], &open));
    let sent = bench.to_target.pop().unwrap();
    assert!(sent.ends_with(&[&[0, 0, 0, 4], &0o755_u32.to_be_bytes()[..]].concat()), "{sent:?}");
}

#[test]
fn a_target_that_breaks_the_protocol_ends_the_channel() {
    let asked = |request: Vec<u8>| {
        let mut bench = Bench::new();
        let handle = bench.open("/up/x", READ);
        assert_eq!(handle, [0, 0, 0, 1]);
        bench.guard.request(packet(&request), 1).unwrap();
        loop {
            match bench.guard.next(1) {
                Step::ToTarget(packet) => {
                    let id = Reader(&packet[5..]).u32();
                    if packet[4] == request[4] {
                        return (bench.guard, id);
                    }
                    let reply = bench.target.handle(&packet);
                    bench.guard.reply(self::packet(&reply)).unwrap();
                }
                Step::Check { .. } => bench.guard.decided(1, Ok(())),
                Step::Record(_) => bench.guard.recorded(),
                step => panic!("{step:?}"),
            }
        }
    };
    let handle = 1_u32.to_be_bytes();
    let reading = || asked(target::read(1, &handle, 0, 3));
    let opening = || asked(target::open(1, "/up/x", READ));
    for (mut guard, answer) in [
        (reading().0, target::status(77_777, OK)),
        (reading().0, target::request(103, reading().1, &[b"four"], &[])),
        (reading().0, target::request(103, reading().1, &[], &[0xff; 4])),
        (reading().0, target::request(102, reading().1, &[b"h"], &[])),
        (reading().0, target::request(101, reading().1, &[], &[])),
        (opening().0, target::request(102, opening().1, &[&[0; 257]], &[])),
        (opening().0, target::request(102, opening().1, &[&handle], &[])),
        (opening().0, target::request(103, opening().1, &[b"x"], &[])),
    ] {
        assert!(guard.reply(packet(&answer)).is_err(), "{answer:?}");
    }
    let mut frames = Frames::default();
    frames.push(&[0xff, 0xff, 0xff, 0xff, 101]);
    assert!(frames.next().is_err());
    frames = Frames::default();
    frames.push(&[0; 4]);
    assert!(frames.next().is_err());
}
