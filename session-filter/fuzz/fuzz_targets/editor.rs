//! Any bytes as what a terminal sends, and as what a program shows on it. No line that comes out holds a control character, what is
//! drawn only moves the cursor and clears, and what waits stays within its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use session_filter::limits::{LINE_BYTES_MAX, TYPED_AHEAD_BYTES_MAX};
use session_filter::shell::completion::Completion;
use session_filter::shell::{Action, Builtin, Editor, Lines, TerminalModes};

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (cols, bytes) = input;
    let permitted =
        ["systemctl status nginx".to_owned(), "systemctl stop *".to_owned(), "echo 'a b' ...".to_owned()];
    let mut editor = Editor::new(u32::from(cols), u32::from(cols / 4));
    editor.begin("alice@web-1:~$ ");
    let mut taken = 0;
    for piece in bytes.chunks(7) {
        assert!(editor.feed(piece) || bytes.len() > TYPED_AHEAD_BYTES_MAX);
        while let Some(action) = editor.step() {
            match action {
                Action::Line(line) => {
                    assert!(line.len() <= LINE_BYTES_MAX);
                    assert!(line.chars().all(|c| !c.is_control()));
                    let _ = Builtin::parse(&line);
                    editor.history().push(&line);
                }
                Action::Complete(before) => {
                    editor.offer(&Completion::of(&permitted, &before));
                    continue;
                }
                Action::Pause => continue,
                _ => {}
            }
            editor.begin("alice@web-1:~$ ");
        }
        let drawn = editor.drawn();
        assert!(drawn.chars().all(|c| !c.is_control() || "\x1b\r\n\x08\x07".contains(c)));
        assert!(drawn.split('\x1b').skip(1).all(|after| {
            let last = after.trim_start_matches('[').trim_start_matches(|c: char| c.is_ascii_digit());
            after.starts_with('[') && last.starts_with(['A', 'B', 'C', 'D', 'H', 'J'])
        }));
        taken += editor.taken().len();
    }
    assert!(taken <= bytes.len());
    editor.resize(u32::from(cols / 2), u32::from(cols % 8));

    let mut modes = TerminalModes::new();
    modes.shown(&bytes);
    let _ = modes.restore();
    assert_eq!(modes.restore(), "");

    let (mut lines, mut rest) = (Lines::new(), bytes.as_slice());
    while !rest.is_empty() {
        let (line, after) = lines.take(rest);
        assert!(line.is_none_or(|line| line.len() <= LINE_BYTES_MAX + 2 && !line.contains(&b'\n')));
        rest = after;
    }
});
