//! The SFTP guard between hostile clients, hostile targets, and a file server in memory that follows links.

mod target;

use std::collections::VecDeque;

use proptest::prelude::*;
use serde_json::Value;
use session_filter::event::{Event, Outcome, Subject};
use session_filter::sftp::{Frames, Guard, Hashing, Notice, Packet, Step, Violation, limits};
use session_filter::{FileAccess, Refusal};
use sha2::{Digest as _, Sha256};

use self::target::{DENIED, FAILURE, NO_SUCH_FILE, Node, OK, Reader, Target};

type Rule = Box<dyn Fn(FileAccess, &str) -> bool>;

/// Client, guard and target in one place.
struct Bench {
    guard: Guard,
    target: Target,
    may: Rule,
    epoch: u64,
    /// Answers of the target on their way.
    replies: VecDeque<Vec<u8>>,
    reversed: bool,
    to_client: Vec<Vec<u8>>,
    to_target: Vec<Vec<u8>>,
    notices: Vec<Notice>,
    violation: Option<Violation>,
    next_id: u32,
}

/// Everything strictly below `/up`, and looking at what is on the way there.
fn below_up(access: FileAccess, path: &str) -> bool {
    path.starts_with("/up/") || (access == FileAccess::Stat && (path == "/up" || path == "/"))
}

impl Bench {
    fn new() -> Self {
        Self::with(Target::new(), Box::new(below_up))
    }

    fn with(target: Target, may: Rule) -> Self {
        let mut bench = Self {
            guard: Guard::new(Hashing::Whole),
            target,
            may,
            epoch: 1,
            replies: VecDeque::new(),
            reversed: false,
            to_client: Vec::new(),
            to_target: Vec::new(),
            notices: Vec::new(),
            violation: None,
            next_id: 100,
        };
        bench.send(&[target::init(6)]);
        assert_eq!(bench.to_client.remove(0)[4], 2, "a version is answered");
        assert_eq!(bench.guard.home().unwrap().as_str(), target::HOME);
        bench.to_target.clear();
        bench
    }

    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// Gives the guard all of these at once, and works until nothing is left to do.
    fn send(&mut self, packets: &[Vec<u8>]) {
        let mut frames = Frames::default();
        frames.push(&packets.concat());
        // More steps than any of the tests takes: a guard that goes round in circles fails.
        for _ in 0..100_000 {
            match self.guard.next(self.epoch) {
                Step::ToTarget(packet) => {
                    self.to_target.push(packet.to_vec());
                    let reply = self.target.handle(&packet);
                    self.replies.push_back(reply);
                }
                Step::ToClient(packet) => self.to_client.push(packet.to_vec()),
                Step::Check { access, path } => {
                    let decision = match (self.may)(access, path.as_str()) {
                        true => Ok(()),
                        false => Err(Refusal::new("path_not_permitted", format!("no {access} on {path}"))),
                    };
                    self.guard.decided(self.epoch, decision);
                }
                Step::Record(notice) => {
                    self.notices.push(*notice);
                    self.guard.recorded();
                }
                Step::Request => match frames.next() {
                    Ok(Some(packet)) => {
                        if let Err(violation) = self.guard.request(packet, self.epoch) {
                            self.violation = Some(violation);
                            return;
                        }
                    }
                    Ok(None) if self.replies.is_empty() => return,
                    Ok(None) => self.deliver(),
                    Err(violation) => {
                        self.violation = Some(violation);
                        return;
                    }
                },
                Step::Wait if self.replies.is_empty() => panic!("the guard waits for nothing"),
                Step::Wait => self.deliver(),
            }
        }
        panic!("the guard does not come to rest");
    }

    fn deliver(&mut self) {
        let reply = if self.reversed { self.replies.pop_back() } else { self.replies.pop_front() };
        let replied = self.guard.reply(packet(&reply.unwrap())).unwrap();
        self.notices.extend(replied.notices);
        self.to_client.extend(replied.to_client.map(|packet| packet.to_vec()));
    }

    /// One request and its answer.
    fn ask(&mut self, packet: Vec<u8>) -> Vec<u8> {
        self.to_client.clear();
        self.to_target.clear();
        self.send(&[packet]);
        assert_eq!(self.to_client.len(), 1, "one request, one answer");
        self.to_client.remove(0)
    }

    fn code(&mut self, packet: Vec<u8>) -> u32 {
        let answer = self.ask(packet);
        match answer[4] {
            101 => Reader(&answer[9..]).u32(),
            _ => OK,
        }
    }

    fn open(&mut self, path: &str, flags: u32) -> Vec<u8> {
        let id = self.id();
        let answer = self.ask(target::open(id, path, flags));
        assert_eq!(answer[4], 102, "{path} opens");
        Reader(&answer[9..]).string()
    }

    fn events(&self, event_type: &str) -> Vec<Value> {
        self.notices.iter().map(value).filter(|event| event["event_type"] == event_type).collect()
    }

    fn paths(&self, packets: &[Vec<u8>], kind: u8) -> Vec<String> {
        packets.iter().filter(|packet| packet[4] == kind).map(|packet| Reader(&packet[9..]).text()).collect()
    }
}

fn value(notice: &Notice) -> Value {
    let event =
        Event::new(Subject::default(), notice.outcome, notice.detail.clone(), chrono::DateTime::UNIX_EPOCH)
            .correlated(notice.correlation_id.clone());
    serde_json::to_value(match &notice.reason {
        Some((code, message)) => event.because(code, message),
        None => event,
    })
    .unwrap()
}

fn packet(bytes: &[u8]) -> Packet {
    let mut frames = Frames::default();
    frames.push(bytes);
    frames.next().unwrap().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

const READ: u32 = 0x1;
const PUT: u32 = 0x2 | 0x8 | 0x10;

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
fn what_is_permitted_is_sent_resolved_and_recorded_before() {
    let mut bench = Bench::new();
    let handle = bench.open("/home/alice/../../up/a/../x", READ);
    // Asked, then looked up, then opened under the resolved name.
    assert_eq!(bench.paths(&bench.to_target, 3), ["/up/x"]);
    let opened = bench.events("file.opened").remove(0);
    assert_eq!(
        (&opened["path"], &opened["asked"], &opened["access"], &opened["outcome"]),
        (&"/up/x".into(), &"/home/alice/../../up/a/../x".into(), &"read".into(), &"success".into())
    );
    let id = bench.id();
    let answer = bench.ask(target::read(id, &handle, 0, 100));
    assert_eq!(Reader(&answer[9..]).string(), b"/up/x");
    let id = bench.id();
    assert_eq!(bench.code(target::read(id, &handle, 5, 100)), 1);
    let id = bench.id();
    assert_eq!(bench.code(target::request(4, id, &[&handle], &[])), OK);
    let transferred = bench.events("file.transferred").remove(0);
    assert_eq!(transferred["sha256"], hex(b"/up/x"));
    assert_eq!(transferred["bytes_read"], 5);
    assert_eq!(transferred["correlation_id"], opened["correlation_id"]);
}

#[test]
fn each_operation_needs_its_own_access() {
    use FileAccess::{Chmod, Delete, Link, List, Read, Rename, Stat, Write};
    let attrs = |flags: u32, rest: &[u8]| {
        let mut raw = flags.to_be_bytes().to_vec();
        raw.extend(rest);
        raw
    };
    let size = attrs(1, &7_u64.to_be_bytes());
    let mode = attrs(4, &0o600_u32.to_be_bytes());
    let both = attrs(5, &[&7_u64.to_be_bytes()[..], &0o600_u32.to_be_bytes()].concat());
    let x = b"/up/x".as_slice();
    let requests: Vec<(Vec<u8>, Vec<FileAccess>)> = vec![
        (target::open(1, "/up/x", READ), vec![Read]),
        (target::open(1, "/up/x", 0x2), vec![Write]),
        (target::open(1, "/up/x", 0x4), vec![Write]),
        (target::open(1, "/up/x", 0x10), vec![Write]),
        (target::open(1, "/up/new", 0x8), vec![Write]),
        (target::open(1, "/up/x", 0x3), vec![Read, Write]),
        (target::open(1, "/up/x", 0), vec![Read]),
        (target::open(1, "/up/x", 0xffff_ff00), vec![Read]),
        (target::request(7, 1, &[x], &[]), vec![Stat]),
        (target::request(17, 1, &[x], &[]), vec![Stat]),
        (target::request(16, 1, &[x], &[]), vec![Stat]),
        (target::request(9, 1, &[x], &mode), vec![Chmod]),
        (target::request(9, 1, &[x], &size), vec![Write]),
        (target::request(9, 1, &[x], &both), vec![Chmod, Write]),
        (target::extended(1, "lsetstat@openssh.com", &[x], &mode), vec![Chmod]),
        (target::request(11, 1, &[b"/up/a"], &[]), vec![List]),
        (target::request(13, 1, &[x], &[]), vec![Delete]),
        (target::request(15, 1, &[b"/up/a/b"], &[]), vec![Delete]),
        (target::request(14, 1, &[b"/up/new"], &attrs(0, &[])), vec![Write]),
        (target::request(18, 1, &[x, b"/up/z"], &[]), vec![Rename]),
        (target::extended(1, "posix-rename@openssh.com", &[x, b"/up/z"], &[]), vec![Rename]),
        (target::extended(1, "hardlink@openssh.com", &[x, b"/up/z"], &[]), vec![Link]),
        (target::request(20, 1, &[x, b"/up/z"], &[]), vec![Link]),
        (target::request(20, 1, &[b"a", b"/up/z"], &[]), vec![Link]),
        (target::request(19, 1, &[b"/up/in"], &[]), vec![List]),
        (target::extended(1, "statvfs@openssh.com", &[x], &[]), vec![List]),
        (target::extended(1, "expand-path@openssh.com", &[x], &[]), vec![Stat]),
    ];
    let all = [Read, Write, List, Delete, Rename, Chmod, Link, Stat];
    for (request, needed) in requests {
        // All of them together suffice …
        let granted = needed.clone();
        let mut bench = Bench::with(Target::new(), Box::new(move |access, _| granted.contains(&access)));
        assert_ne!(bench.code(request.clone()), DENIED, "{request:?} with {needed:?}");
        // … and everything but one of them does not.
        for missing in &needed {
            let missing = *missing;
            let granted: Vec<FileAccess> = all.into_iter().filter(|access| *access != missing).collect();
            let mut bench = Bench::with(Target::new(), Box::new(move |access, _| granted.contains(&access)));
            assert_eq!(bench.code(request.clone()), DENIED, "{request:?} without {missing:?}");
            assert!(bench.to_target.is_empty(), "the target sees nothing of it");
            let blocked = bench.events("file.blocked").remove(0);
            assert_eq!(
                (&blocked["access"], &blocked["outcome"]),
                (&missing.name().into(), &"blocked".into())
            );
        }
    }
}

#[test]
fn both_ends_of_renames_and_links_are_checked() {
    let mut bench = Bench::new();
    for (from, to) in
        [("/up/x", "/etc/x"), ("/etc/secret", "/up/s"), ("/up/x", "/up/out/x"), ("/up/out/secret", "/up/s")]
    {
        let strings = [from.as_bytes(), to.as_bytes()];
        for request in [
            target::request(18, 1, &strings, &[]),
            target::request(20, 1, &strings, &[]),
            target::extended(1, "posix-rename@openssh.com", &strings, &[]),
            target::extended(1, "hardlink@openssh.com", &strings, &[]),
        ] {
            assert_eq!(bench.code(request), DENIED, "{from} {to}");
        }
    }
    assert_eq!(bench.target.touched, []);
    // What a relative link points to is seen from where the link is, through links.
    for (to, link, code) in [
        ("../etc/secret", "/up/l", DENIED),
        ("../../etc/secret", "/up/a/l", DENIED),
        ("../x", "/up/a/l", OK),
        ("../x", "/up/in/m", OK),
        ("up/secret", "/up/a/n", DENIED),
        ("missing", "/up/a/o", OK),
    ] {
        assert_eq!(
            bench.code(target::request(20, 1, &[to.as_bytes(), link.as_bytes()], &[])),
            code,
            "{link} -> {to}"
        );
    }
    assert_eq!(bench.target.nodes.get("/up/a/m"), Some(&Node::Link("../x".to_owned())));
}

#[test]
fn a_relative_link_is_not_made_where_the_order_of_its_paths_is_unknown() {
    let mut target = Target::new();
    target.extensions = &[];
    let mut bench = Bench::with(target, Box::new(below_up));
    assert_eq!(bench.code(target::request(20, 1, &[b"x", b"/up/l"], &[])), DENIED);
    assert_eq!(bench.events("file.blocked")[0]["reason"], "link_order");
    assert_eq!(bench.code(target::request(20, 1, &[b"/up/x", b"/up/l"], &[])), OK);
}

#[test]
fn links_that_lead_out_are_not_followed() {
    for strict in [false, true] {
        let mut target = Target::new();
        target.strict_realpath = strict;
        let mut bench = Bench::with(target, Box::new(below_up));
        let before = bench.target.nodes.clone();
        for path in ["/up/out/secret", "/up/a/up/secret", "/up/in/up/secret", "/up/dangling", "/up/loop"] {
            for flags in [READ, PUT, 0x2 | 0x8 | 0x20] {
                assert_ne!(bench.code(target::open(1, path, flags)), OK, "{path} {flags:x}");
            }
        }
        for path in ["/up/out", "/up/a/up"] {
            assert_eq!(bench.code(target::request(11, 1, &[path.as_bytes()], &[])), DENIED, "{path}");
            assert_eq!(bench.code(target::request(17, 1, &[path.as_bytes()], &[])), DENIED, "stat {path}");
            // The link itself may be looked at, and removed.
            assert_eq!(bench.code(target::request(7, 1, &[path.as_bytes()], &[])), OK, "lstat {path}");
            let behind = format!("{path}/");
            assert_eq!(
                bench.code(target::request(7, 1, &[behind.as_bytes()], &[])),
                DENIED,
                "lstat {behind}"
            );
        }
        assert_eq!(bench.target.nodes, before);
        assert!(bench.target.touched.is_empty(), "{:?}", bench.target.touched);
        assert_eq!(bench.code(target::request(13, 1, &[b"/up/out/"], &[])), OK);
        assert!(bench.target.nodes.contains_key("/etc/secret"));
        // New files come to be all the same, also through links that stay inside.
        bench.open("/up/in/new", PUT);
        assert!(bench.target.nodes.contains_key("/up/a/new"));
    }
}

#[test]
fn a_link_swapped_between_look_and_use_leads_nowhere() {
    let requests = [
        (target::open(9, "/up/in/y", PUT), 3),
        (target::request(13, 9, &[b"/up/in/y"], &[]), 13),
        (target::request(18, 9, &[b"/up/in/y", b"/up/in/z"], &[]), 18),
        (target::request(14, 9, &[b"/up/in/new"], &[0; 4]), 14),
        (target::request(20, 9, &[b"y", b"/up/in/l"], &[]), 20),
        (target::request(11, 9, &[b"/up/in"], &[]), 11),
    ];
    for (request, kind) in requests {
        let mut bench = Bench::new();
        bench.target.nodes.insert("/etc/y".to_owned(), Node::File(b"y".to_vec()));
        bench.guard.request(packet(&request), 1).unwrap();
        loop {
            match bench.guard.next(1) {
                Step::Check { .. } => bench.guard.decided(1, Ok(())),
                Step::Record(_) => bench.guard.recorded(),
                Step::ToTarget(sent) => {
                    if sent[4] == kind {
                        // Somebody else on the target, in the moment after the last look-up.
                        bench.target.nodes.insert("/up/in".to_owned(), Node::Link("/etc".to_owned()));
                    }
                    let reply = bench.target.handle(&sent);
                    bench.guard.reply(packet(&reply)).unwrap();
                    if sent[4] == kind {
                        break;
                    }
                }
                step => panic!("{step:?}"),
            }
        }
        assert!(!bench.target.touched.is_empty());
        assert!(
            bench.target.touched.iter().all(|(_, path)| path.starts_with("/up/a")),
            "{:?}",
            bench.target.touched
        );
    }
}

#[test]
fn paths_that_are_no_text_are_refused() {
    let mut bench = Bench::new();
    for path in [b"/up/\xff".as_slice(), b"/up/a\nb", b"/up/\0", &vec![b'x'; 5000]] {
        assert_eq!(bench.code(target::request(13, 1, &[path], &[])), DENIED);
    }
    assert_eq!(bench.code(target::extended(1, "expand-path@openssh.com", &[b"~root/x"], &[])), DENIED);
    assert_eq!(bench.events("file.blocked").len(), 5);
    assert_eq!(bench.target.touched, []);
}

#[test]
fn a_home_may_be_asked_for_and_is_shown_expanded() {
    let mut bench = Bench::new();
    for request in [
        target::request(16, 7, &[b"."], &[]),
        target::request(16, 7, &[b""], &[]),
        target::extended(7, "expand-path@openssh.com", &[b"~"], &[]),
        target::extended(7, "expand-path@openssh.com", &[b"~/../alice"], &[]),
    ] {
        let answer = bench.ask(request);
        assert_eq!((answer[4], &answer[5..9]), (104, &[0, 0, 0, 7][..]));
        let mut fields = Reader(&answer[9..]);
        assert_eq!((fields.u32(), fields.text()), (1, target::HOME.to_owned()));
    }
    assert_eq!(bench.guard.lookups(), 4);
    assert!(bench.notices.is_empty(), "looking is counted, not recorded");
    assert_eq!(bench.code(target::request(16, 7, &[b"/etc"], &[])), DENIED);
    assert_eq!(bench.code(target::request(16, 7, &[b"/up/nowhere/at/all"], &[])), NO_SUCH_FILE);
}

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

#[test]
fn what_was_recorded_but_not_sent_is_said_not_to_have_been() {
    let mut bench = Bench::new();
    let mut guard = std::mem::replace(&mut bench.guard, Guard::new(Hashing::Off));
    guard.request(packet(&target::request(13, 9, &[b"/up/x"], &[])), 1).unwrap();
    loop {
        match guard.next(1) {
            Step::Check { .. } => guard.decided(1, Ok(())),
            Step::ToTarget(packet) => drop(guard.reply(self::packet(&bench.target.handle(&packet))).unwrap()),
            Step::Record(_) => break,
            step => panic!("{step:?}"),
        }
    }
    let end = value(&guard.finish().remove(0));
    assert_eq!(
        (&end["event_type"], &end["outcome"], &end["reason"]),
        (&"file.changed".into(), &"blocked".into(), &"not_sent".into())
    );
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
fn a_policy_that_changes_applies_to_open_files_and_to_what_is_on_its_way() {
    let mut bench = Bench::new();
    let handle = bench.open("/up/x", READ);
    assert_eq!(bench.ask(target::read(1, &handle, 0, 1))[4], 103);
    bench.may = Box::new(|_, _| false);
    assert_eq!(bench.ask(target::read(1, &handle, 1, 1))[4], 103, "nothing says that it changed");
    bench.epoch += 1;
    assert_eq!(bench.code(target::read(1, &handle, 2, 1)), DENIED);
    assert!(bench.to_target.is_empty());
    assert_eq!(bench.events("file.blocked")[0]["path"], "/up/x");
    bench.may = Box::new(below_up);
    bench.epoch += 1;
    assert_eq!(bench.ask(target::read(1, &handle, 2, 1))[4], 103);

    // Between the check and the moment of sending: asked again, and refused by the new policy.
    let mut guard = std::mem::replace(&mut bench.guard, Guard::new(Hashing::Off));
    guard.request(packet(&target::request(13, 9, &[b"/up/x"], &[])), 10).unwrap();
    let (mut epoch, mut checks, mut recorded) = (10, 0, 0);
    let refusal = loop {
        match guard.next(epoch) {
            Step::Check { .. } => {
                checks += 1;
                let decision = if epoch == 10 { Ok(()) } else { Err(Refusal::new("gone", "withdrawn")) };
                guard.decided(epoch, decision);
            }
            Step::Record(notice) => {
                recorded += 1;
                if notice.outcome == Outcome::Success {
                    epoch = 11;
                }
                guard.recorded();
            }
            Step::ToTarget(packet) => {
                assert_eq!(packet[4], 16, "only the look-up is sent");
                let reply = bench.target.handle(&packet);
                guard.reply(self::packet(&reply)).unwrap();
            }
            Step::ToClient(answer) => break answer,
            step => panic!("{step:?}"),
        }
    };
    assert_eq!((refusal[4], checks, recorded), (101, 2, 2));
    assert!(bench.target.nodes.contains_key("/up/x"));
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
