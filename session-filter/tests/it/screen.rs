//! The emulated screen: what hostile output can make of it, and what a watcher gets to see.

use proptest::prelude::*;
use session_filter::screen::{BACKLOG_BYTES_MAX, COLS_MAX, Follower, Picture, ROWS_MAX, Screen};

fn screen(cols: u32, rows: u32, output: &[u8]) -> Screen {
    let mut screen = Screen::new(cols, rows);
    screen.feed(output);
    screen
}

/// Nothing but text, colours, cursor moves, erasing and showing or hiding the cursor.
fn assert_harmless(drawn: &str) {
    let mut rest = drawn;
    while let Some(at) = rest.find('\x1b') {
        assert!(rest[..at].chars().all(|c| !c.is_control() && c != '\u{202e}'), "{drawn:?}");
        let sequence = rest[at..].strip_prefix("\x1b[").unwrap_or_else(|| panic!("no CSI: {drawn:?}"));
        let sequence = match sequence.strip_prefix("?25") {
            Some(shown) if shown.starts_with(['h', 'l']) => &shown[1..],
            _ => {
                let end = sequence.find(|c: char| c != ';' && !c.is_ascii_digit()).expect("a final byte");
                assert!(sequence[end..].starts_with(['m', 'H', 'J', 'K']), "{drawn:?}");
                &sequence[end + 1..]
            }
        };
        rest = sequence;
    }
    assert!(rest.chars().all(|c| !c.is_control()), "{drawn:?}");
}

#[test]
fn nothing_that_acts_on_a_terminal_is_drawn_again() {
    let attacks: [&[u8]; 22] = [
        b"\x1b]52;c;cm0gLXJmIH4=\x07",
        b"\x1b]52;c;?\x1b\\",
        b"\x1b]0;title\x07\x1b]2;title\x1b\\\x1bkname\x1b\\",
        b"\x1b[21t\x1b[20t\x1b[8;1;1t",
        b"\x1b[c\x1b[>c\x1b[=c\x1bZ",
        b"\x1b[5n\x1b[6n\x1b[?6n",
        b"\x1bP$qm\x1b\\\x1bP+q544e\x1b\\",
        b"\x1bP1$r0m\x1b\\",
        b"\x1b_Gf=100,a=T;AAAA\x1b\\",
        b"\x1b^pm\x1b\\\x1bXsos\x1b\\",
        b"\x1b]8;;http://evil.example/\x07link\x1b]8;;\x07",
        b"\x1b]1337;File=inline=1:AAAA\x07",
        b"\x1b]4;1;?\x07\x1b]10;?\x07\x1b]104\x07",
        b"\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[?1049h",
        b"\x1b[?5h\x1b[4i\x1b[5i\x1b[!p\x1b[62;1\"p",
        b"\x1b#8\x1b%G\x1b(0\x0e\x0f\x05\x07",
        b"\x9b6n\x9d0;t\x9c\xc2\x9b6n\xc2\x9d0;t\xc2\x9c",
        b"\x1b[99999999999999999999;99999999999999999999H\x1b[65535b",
        b"\xff\xfe\xc0\x80\xed\xa0\x80\xf5\x80\x80\x80",
        "\u{202e}evil\u{2066}\u{200b}\u{feff}\u{2028}".as_bytes(),
        b"\x1b]0;never ends",
        b"\x1b[",
    ];
    let mut together = Screen::new(80, 24);
    let mut before = together.picture();
    for attack in attacks {
        together.feed(b"shown ");
        together.feed(attack);
        let picture = together.picture();
        assert_harmless(&picture.snapshot());
        assert_harmless(&picture.diff(&before));
        before = picture;
        let drawn = screen(80, 24, &[b"shown ".as_slice(), attack].concat()).picture().snapshot();
        assert_harmless(&drawn);
        for secret in ["title", "52;c", "evil.example", "AAAA", "1337"] {
            assert!(!drawn.contains(secret), "{drawn:?}");
        }
    }
    assert!(!before.text().trim().is_empty(), "nothing was shown at all");
}

#[test]
fn a_wide_picture_is_cut_where_the_watcher_s_terminal_ends() {
    let output = b"one\r\ntwo\r\nthree\r\nfour and more\r\nfive";
    let whole = screen(40, 10, output);
    let cut = Picture::of(&whole, 6, 3);
    assert_eq!((cut.cols(), cut.rows()), (6, 3));
    assert_eq!(cut.text(), "three\nfour a\nfive\n");
    assert_eq!(screen(6, 3, cut.snapshot().as_bytes()).picture(), cut);
}

#[test]
fn boxes_drawn_with_the_old_character_set_are_boxes() {
    assert_eq!(screen(10, 2, b"\x1b(0lqk\x1b(Bxq").picture().text(), "┌─┐xq\n\n");
}

#[test]
fn impossible_sizes_become_possible_ones() {
    for (cols, rows) in [(0, 0), (1, 1), (u32::MAX, u32::MAX), (65536, 65537)] {
        let mut screen = screen(80, 24, b"text\x1b[?1049h more");
        screen.resize(cols, rows);
        screen.feed("wide 漢字\r\n\u{301}x".as_bytes());
        let (cols, rows) = screen.size();
        assert!((2..=COLS_MAX).contains(&cols) && (1..=ROWS_MAX).contains(&rows));
        assert_eq!(Screen::new(u32::MAX, 0).size(), (COLS_MAX, 1));
    }
}

#[test]
fn the_line_under_the_cursor_is_read_whole_from_where_typing_began() {
    let mut screen = screen(20, 4, b"$ ");
    let from = screen.cursor_in_line();
    screen.feed(b"tar czf archive.tar.gz /etc");
    assert_eq!(screen.cursor_line(from), "tar czf archive.tar.gz /etc");
    assert_eq!(screen.cursor_in_line(), 29);
    screen.feed(b"\r\n");
    assert_eq!(screen.cursor_line(0), "");
}

/// Emulating everything, which is what a follower must look like.
fn assert_follows(cols: u32, rows: u32, output: &[u8]) {
    let mut follower = Follower::new(cols, rows);
    for piece in output.chunks(7001) {
        follower.feed(piece, 0);
    }
    let mut picture = follower.picture(COLS_MAX, ROWS_MAX);
    for _ in 0..100 {
        if !picture.1 {
            break;
        }
        picture = follower.picture(COLS_MAX, ROWS_MAX);
    }
    assert!(!picture.1, "it never catches up");
    assert_eq!(picture.0.text(), screen(cols, rows, output).picture().text());
    assert_eq!(picture.0, screen(cols, rows, output).picture());
}

#[test]
fn a_flood_ends_with_the_same_screen_as_if_all_of_it_had_been_emulated() {
    let lines: String = (0..400_000).map(|n| format!("line {n} of many\r\n")).collect();
    assert!(lines.len() > 20 * BACKLOG_BYTES_MAX);
    assert_follows(80, 24, lines.as_bytes());
    assert_follows(80, 24, format!("top\r\n{lines}$ ").as_bytes());
    // What was switched on far back still holds.
    assert_follows(80, 24, format!("\x1b[1;31m{lines}end").as_bytes());
    assert_follows(80, 24, format!("first\x1b[?1049h\x1b[2J{lines}\x1b[?1049l$ ").as_bytes());
    // Of a line without an end it is not known in which column its last part began.
    let mut follower = Follower::new(80, 24);
    "漢字 without an end ".repeat(200_000).as_bytes().chunks(7001).for_each(|piece| follower.feed(piece, 0));
    assert!(follower.picture(80, 24).0.text().matches("without").count() > 80);
}

#[test]
fn a_hundred_thousand_erased_screens_are_not_all_emulated() {
    let mut follower = Follower::new(500, 250);
    let attack = b"\x1b[2J".repeat(100_000);
    let started = std::time::Instant::now();
    for piece in attack.chunks(32 * 1024) {
        follower.feed(piece, 0);
    }
    // Emulated whole these are 50 s or more; the bound is far from both.
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    follower.feed(b"\x1b[Hafter", 1_000);
    while follower.picture(80, 24).1 {}
    assert!(follower.picture(80, 24).0.text().starts_with("after\n"));
}

#[test]
fn a_window_that_changes_its_size_all_the_time_is_not_followed_all_the_time() {
    let mut follower = Follower::new(500, 250);
    follower.feed(&b"x".repeat(BACKLOG_BYTES_MAX), 0);
    let started = std::time::Instant::now();
    for turn in 0..60_000_u32 {
        if turn % 2 == 0 {
            follower.resize(2, 1)
        } else {
            follower.resize(500, 250)
        };
        if turn % 4 == 0 {
            follower.feed(b"drawn", 0);
        }
    }
    // Followed each time this is half a minute or more; the bound is far from both.
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    follower.resize(70, 20);
    while follower.picture(80, 24).1 {}
    follower.feed(b"\x1b[2J\x1b[20;60Hlast row", 60_000);
    let picture = follower.picture(80, 24).0;
    assert_eq!((picture.cols(), picture.rows()), (70, 20));
    assert!(picture.text().ends_with("last row\n"), "{}", picture.text());
}

#[test]
fn a_look_at_what_is_not_emulated_yet_costs_a_bounded_step() {
    let mut follower = Follower::new(500, 250);
    follower.feed(&b"\x1b[2J".repeat(4_000), 0);
    let (_, behind) = follower.picture(80, 24);
    assert!(behind, "one look emulated 4000 erased screens");
}

/// Every key that is pressed on a raw terminal asks for the screen: that must not be a way around the price of output.
#[test]
fn asking_for_the_screen_again_and_again_emulates_no_more_than_output_may_cost() {
    let mut follower = Follower::new(500, 250);
    follower.feed(&b"\x1b[2J".repeat(4_000), 0);
    for _ in 0..1_000 {
        assert!(
            follower.up_to_date().is_none(),
            "4000 erased screens were emulated without any time passing"
        );
    }
    let mut passed = 0;
    while follower.up_to_date().is_none() {
        passed += 1_000;
        follower.feed(b"x", passed);
    }
    assert!(passed > 50_000, "{passed}");
}

fn output() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[a-z ]{0,30}".prop_map(String::into_bytes),
        Just("漢字é\u{301}".as_bytes().to_vec()),
        Just("\u{202e}👩\u{200d}👩\u{fe0f}".as_bytes().to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\x08".to_vec()),
        Just(b"\t".to_vec()),
        (0_u16..300, 0_u16..300).prop_map(|(r, c)| format!("\x1b[{r};{c}H").into_bytes()),
        (0_u16..=65535, prop::sample::select(b"@ABCDEFGJKLMPSTX`bdmnhlr".to_vec()))
            .prop_map(|(n, last)| format!("\x1b[{n}{}", last as char).into_bytes()),
        (0_u8..=110, 0_u8..=255).prop_map(|(n, m)| format!("\x1b[{n};38;5;{m}m").into_bytes()),
        prop::sample::select(vec!["?1049h", "?1049l", "?47h", "?6h", "?25l", "2;5r", "1;1r"])
            .prop_map(|mode| format!("\x1b[{mode}").into_bytes()),
        prop::sample::select(b"78McDE=>(".to_vec()).prop_map(|byte| vec![0x1b, byte]),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_picture_drawn_elsewhere_is_the_same_picture(
        first in output(), second in output(), cols in 2_u32..90, rows in 1_u32..30,
    ) {
        let mut seen = screen(cols, rows, &first);
        let before = seen.picture();
        assert_harmless(&before.snapshot());
        let mut watcher = screen(cols, rows, before.snapshot().as_bytes());
        prop_assert_eq!(watcher.picture().text(), before.text());
        prop_assert_eq!(watcher.picture(), before.clone());
        seen.feed(&second);
        let after = seen.picture();
        let diff = after.diff(&before);
        assert_harmless(&diff);
        watcher.feed(diff.as_bytes());
        prop_assert_eq!(watcher.picture(), after.clone());
        prop_assert_eq!(after.diff(&after), "");
    }

    #[test]
    fn any_output_and_any_resizing_is_survived(
        steps in proptest::collection::vec((output(), 0_u32..600, 0_u32..300), 1..5),
    ) {
        let mut screen = Screen::new(80, 24);
        let mut follower = Follower::new(80, 24);
        for (output, cols, rows) in steps {
            screen.feed(&output);
            screen.resize(cols, rows);
            screen.feed(&output);
            let _ = (screen.cursor_line(0), screen.cursor_in_line());
            assert_harmless(&screen.picture().snapshot());
            follower.feed(&output, 0);
            follower.resize(cols, rows);
            assert_harmless(&follower.picture(80, 24).0.snapshot());
        }
    }
}

proptest! {
    /// A copy goes on as the original does, wherever it was taken.
    #[test]
    fn a_fork_goes_on_as_the_original_does(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..12),
                "(\x1b[\\[\\]P(][0-9;?]{0,4}[@-~]?|[a-zé東\u{301}\r\n]){0,6}".prop_map(String::into_bytes),
            ],
            1..30,
        ),
    ) {
        let mut original = Screen::new(12, 4);
        let mut forks: Vec<Screen> = Vec::new();
        for piece in &pieces {
            original.feed(piece);
            forks.iter_mut().for_each(|fork| fork.feed(piece));
            forks.extend(original.fork());
            for fork in &forks {
                prop_assert!(fork.picture() == original.picture(), "{:?}", pieces);
            }
        }
    }
}

#[test]
fn no_fork_is_taken_within_a_character() {
    let mut within = Screen::new(10, 2);
    for (bytes, is_between) in [
        (&b"a"[..], true),
        (b"\xe2\x82", false),
        (b"\x1b(0", false),
        (b"\x1b[m", true),
        (b"\x1b[3", true),
        (b"1mx", true),
    ] {
        within.feed(bytes);
        assert_eq!(within.fork().is_some(), is_between, "after {bytes:?}");
    }
}
