//! What may be done to which path, links followed, and what is on record of it.

use session_filter::event::Outcome;
use session_filter::sftp::{Guard, Hashing, Step};
use session_filter::{FileAccess, Refusal};

use super::bench::{Bench, PUT, READ, below_up, hex, packet, value};
use super::target::{self, DENIED, NO_SUCH_FILE, Node, OK, Reader, Target};

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
