//! Any output on a terminal that is resized in between. It is drawn again with text, colours, cursor moves and erasing alone, and a
//! screen that is drawn on shows the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use session_filter::screen::{Follower, Screen};

fuzz_target!(|input: (u8, u8, u8, u8, &[u8], &[u8])| {
    let (cols, rows, cols_then, rows_then, first, second) = input;
    let mut screen = Screen::new(cols.into(), rows.into());
    let mut follower = Follower::new(cols.into(), rows.into());
    screen.feed(first);
    follower.feed(first, 0);
    let before = screen.picture();
    screen.resize(cols_then.into(), rows_then.into());
    follower.resize(cols_then.into(), rows_then.into());
    screen.feed(second);
    follower.feed(second, 1);
    let picture = screen.picture();
    let drawn = picture.snapshot();
    assert_harmless(&drawn);
    assert_harmless(&picture.diff(&before));
    assert_harmless(&follower.picture(80, 24).0.snapshot());
    let (cols, rows) = screen.size();
    let mut watcher = Screen::new(cols.into(), rows.into());
    watcher.feed(drawn.as_bytes());
    assert!(watcher.picture() == picture);
    let _ = (screen.cursor_line(screen.cursor_in_line()), picture.text());
});

fn assert_harmless(drawn: &str) {
    let mut rest = drawn;
    while let Some((text, sequence)) = rest.split_once('\x1b') {
        assert!(text.chars().all(|c| !c.is_control()));
        let sequence = sequence.strip_prefix('[').expect("CSI");
        rest = match sequence.strip_prefix("?25") {
            Some(shown) => shown.strip_prefix(['h', 'l']).expect("shown or hidden"),
            None => {
                let last = sequence.trim_start_matches(|c: char| c == ';' || c.is_ascii_digit());
                last.strip_prefix(['m', 'H', 'J', 'K']).expect("drawing")
            }
        };
    }
    assert!(rest.chars().all(|c| !c.is_control()));
}
