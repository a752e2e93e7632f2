//! What is understood of the old scp protocol.

use proptest::prelude::*;
use session_filter::scp::{Call, Control, Direction};

#[test]
fn calls_of_the_far_end_are_read() {
    let call = |line: &str| Call::read(line.as_bytes());
    let upload = Call {
        direction: Direction::ToTarget,
        recursive: false,
        preserve: false,
        is_directory: false,
        path: "/up/x".to_owned(),
    };
    assert_eq!(call("scp -t /up/x"), Some(upload.clone()));
    assert_eq!(call("/usr/bin/scp -v -t -- /up/x"), Some(upload.clone()));
    assert_eq!(call("scp -t '/up/x'"), Some(upload));
    let download = call("scp -r -p -d -f 'a b'").unwrap();
    assert_eq!((download.direction, download.path.as_str()), (Direction::FromTarget, "a b"));
    assert!(download.recursive && download.preserve && download.is_directory);
    assert_eq!(call("scp -f -- -x").unwrap().path, "-x");
    assert_eq!(call("scp -t ''").unwrap().path, ".");
}

#[test]
fn whatever_else_is_on_the_line_is_not_a_call() {
    for line in [
        "scp",
        "scp -t",
        "scp /up/x",
        "scp a b",
        "scp -t a b",
        "scp -f a b",
        "scp -t -f a",
        "scp -t -t a",
        "scp -tr a",
        "scp -S /bin/sh -t a",
        "scp -oProxyCommand=id -t a",
        "scp -t -oX a",
        "scp -t a; id",
        "scp -t a | sh",
        "scp -t a && id",
        "scp -t a\nid",
        "scp -t $(id)",
        "scp -t ~/x",
        "scp -t *",
        "scpx -t a",
        "./scp -t a",
        "xscp -t a",
        "env scp -t a",
        "A=b scp -t a",
        "sh -c 'scp -t a'",
    ] {
        assert_eq!(Call::read(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn control_lines_are_read_strictly() {
    let read = |line: &str| Control::read(line.as_bytes());
    assert_eq!(read("C0644 12 a b"), Some(Control::File { mode: 0o644, size: 12, name: "a b".to_owned() }));
    assert_eq!(read("D0755 0 dir"), Some(Control::Directory { mode: 0o755, name: "dir".to_owned() }));
    assert_eq!(read("T1 0 2 0"), Some(Control::Times { modified: 1, accessed: 2 }));
    assert_eq!(read("E"), Some(Control::End));
    assert_eq!(read("\u{1}scp: no"), Some(Control::Warning));
    assert_eq!(read("\u{2}"), Some(Control::Fatal));
    for line in [
        "",
        "C",
        "C0644",
        "C0644 1",
        "C0644 1 ",
        "C644 1 a",
        "C00644 1 a",
        "C0888 1 a",
        "C+644 1 a",
        "C0644 -1 a",
        "C0644 +1 a",
        "C0644 1x a",
        "C0644 99999999999999999999 a",
        "C0644 1 ..",
        "C0644 1 .",
        "C0644 1 a/b",
        "C0644 1 /a",
        "C0644 1 a\u{7}",
        "D0755 0 ../x",
        "Ex",
        "T1 0 2",
        "T1 0 2 0 0",
        "T-1 0 2 0",
        "T99999999999 0 2 0",
        "X",
        "c0644 1 a",
        " C0644 1 a",
    ] {
        assert_eq!(read(line), None, "{line:?}");
    }
    assert_eq!(Control::read(b"C0644 1 \xff"), None);
}

proptest! {
    #[test]
    fn control_lines_come_back_as_they_were(mode in 0_u32..0o10000, size in any::<u64>(), name in "[a-z ]{1,9}x", times in any::<(u32, u32)>()) {
        for control in [
            Control::File { mode, size, name: name.clone() },
            Control::Directory { mode, name: name.clone() },
            Control::Times { modified: times.0, accessed: times.1 },
            Control::End,
        ] {
            let line = control.line();
            prop_assert_eq!(Control::read(line.trim_end_matches('\n').as_bytes()), Some(control));
        }
    }

    #[test]
    fn any_bytes_are_read_or_not(line in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Some(Control::File { name, .. } | Control::Directory { name, .. }) = Control::read(&line) {
            prop_assert!(!name.contains('/') && name != ".." && !name.is_empty());
        }
        let _ = Call::read(&line);
    }
}
