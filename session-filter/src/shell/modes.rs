//! What a program left a terminal in, and the way back.
//!
//! A program that dies in the middle of a full screen leaves the cursor hidden, the mouse reporting or the screen scrolling in a
//! part of itself. Sending every reset after every command would be no cure: leaving an alternate screen that was never entered
//! moves the cursor on most terminals. So what is shown is followed, and exactly what was changed is undone.

use std::collections::BTreeSet;

use crate::limits::ESCAPE_BYTES_MAX;

/// Follows what is shown on a terminal, as far as modes and the start of a line go.
///
/// Nothing depends on it but how things look: a program that fools it spoils its own user's screen.
#[derive(Default)]
pub struct TerminalModes {
    state: State,
    /// Private modes that are not as they are at first.
    private: BTreeSet<u16>,
    elsewhere: bool,
    /// `elsewhere` of the main screen while the alternate one is shown.
    main_elsewhere: bool,
    rendition: bool,
    insert: bool,
    keypad: bool,
    margins: bool,
    charset: bool,
    shifted: bool,
    cursor_style: bool,
    other_keys: bool,
    key_protocol: bool,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    /// After `ESC` and an intermediate character.
    Designate(u8),
    /// Parameters after `ESC [`.
    Control(Vec<u8>),
    /// Inside an OSC, DCS, APC, PM or SOS string.
    Text {
        escape: bool,
    },
}

/// Private modes that are put back, and whether they are on at first.
const PRIVATE: &[(u16, bool)] = &[
    (1, false),    // cursor keys as an application wants them
    (5, false),    // reverse video
    (6, false),    // origin at the margins
    (7, true),     // wrap
    (9, false),    // mouse, in its oldest form
    (25, true),    // cursor shown
    (47, false),   // alternate screen, three ways
    (66, false),   // keypad
    (69, false),   // margins left and right
    (1000, false), // mouse: presses
    (1001, false),
    (1002, false),
    (1003, false),
    (1004, false), // focus
    (1005, false), // how the mouse is reported
    (1006, false),
    (1015, false),
    (1016, false),
    (1047, false),
    (1049, false),
    (2004, false), // bracketed paste
    (2026, false), // updates held back
];
const ALTERNATE: [u16; 3] = [47, 1047, 1049];

impl TerminalModes {
    /// A terminal as it is at a prompt, with the cursor at the start of a line.
    pub fn new() -> Self {
        Self::default()
    }

    /// These bytes are shown.
    pub fn shown(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match std::mem::take(&mut self.state) {
                State::Ground => self.ground(*byte),
                State::Escape => self.escape(*byte),
                State::Designate(b'(') => self.charset = *byte != b'B',
                State::Designate(_) => {}
                State::Control(parameters) => self.control(parameters, *byte),
                State::Text { escape } => match byte {
                    0x07 | 0x18 | 0x1a => {}
                    b'\\' if escape => {}
                    byte => self.state = State::Text { escape: *byte == 0x1b },
                },
            }
        }
    }

    /// What to show so that the terminal is as it was, and the cursor at the start of a line.
    pub fn restore(&mut self) -> String {
        let mut out = String::new();
        match self.state {
            State::Ground => {}
            // Cut off in the middle: the rest of the sequence must not be made of what follows.
            State::Text { .. } => out.push_str("\x18\x1b\\"),
            _ => out.push('\x18'),
        }
        let alternate = ALTERNATE.iter().any(|mode| self.private.contains(mode));
        let origin = self.private.contains(&6);
        let mut elsewhere = self.elsewhere;
        if alternate {
            elsewhere = self.main_elsewhere;
        }
        let is_alternate = |mode: &u16| ALTERNATE.contains(mode);
        let (first, then): (Vec<u16>, Vec<u16>) = self.private.iter().copied().partition(is_alternate);
        for mode in first.into_iter().chain(then) {
            if let Some((_, initially)) = PRIVATE.iter().find(|(known, _)| *known == mode) {
                out.push_str(&format!("\x1b[?{mode}{}", if *initially { 'h' } else { 'l' }));
            }
        }
        if self.margins {
            // Setting margins moves the cursor.
            out.push_str("\x1b7\x1b[r\x1b8");
        }
        if origin {
            // It has moved to the top; what is there is somebody's output.
            out.push_str("\x1b[999B");
            elsewhere = true;
        }
        for (changed, back) in [
            (self.rendition, "\x1b[0m"),
            (self.insert, "\x1b[4l"),
            (self.keypad, "\x1b>"),
            (self.charset, "\x1b(B"),
            (self.shifted, "\x0f"),
            (self.cursor_style, "\x1b[0 q"),
            (self.other_keys, "\x1b[>4;0m"),
            (self.key_protocol, "\x1b[<9u"),
        ] {
            if changed {
                out.push_str(back);
            }
        }
        if elsewhere {
            out.push_str("\r\n");
        }
        *self = Self::default();
        out
    }

    fn ground(&mut self, byte: u8) {
        match byte {
            b'\r' => self.elsewhere = false,
            0x0e => self.shifted = true,
            0x0f => self.shifted = false,
            0x1b => self.state = State::Escape,
            b'\t' | 0x20..=0x7e | 0x80.. => self.elsewhere = true,
            _ => {}
        }
    }

    fn escape(&mut self, byte: u8) {
        match byte {
            b'[' => self.state = State::Control(Vec::new()),
            b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::Text { escape: false },
            0x1b => self.state = State::Escape,
            0x20..=0x2f => self.state = State::Designate(byte),
            b'=' => self.keypad = true,
            b'>' => self.keypad = false,
            b'8' => self.elsewhere = true,
            b'E' => self.elsewhere = false,
            b'c' => *self = Self::default(),
            _ => {}
        }
    }

    fn control(&mut self, mut parameters: Vec<u8>, byte: u8) {
        match byte {
            0x20..=0x3f => {
                if parameters.len() <= ESCAPE_BYTES_MAX {
                    parameters.push(byte);
                }
                self.state = State::Control(parameters);
            }
            0x40..=0x7e => self.controlled(&parameters, byte),
            0x1b => self.state = State::Escape,
            // Breaks it off.
            0x18 | 0x1a => {}
            // Terminals act on a control character inside a sequence, and go on with the sequence.
            _ => {
                self.ground(byte);
                self.state = State::Control(parameters);
            }
        }
    }

    fn controlled(&mut self, parameters: &[u8], last: u8) {
        let numbers =
            |from: usize| parameters.get(from..).unwrap_or(&[]).split(|byte| *byte == b';').map(number);
        let second = numbers(0).nth(1).flatten();
        match (parameters.first(), last) {
            (Some(b'?'), b'h' | b'l') => {
                numbers(1).flatten().for_each(|mode| self.private(mode, last == b'h'))
            }
            (Some(b'>'), b'm') if numbers(1).next() == Some(Some(4)) => {
                self.other_keys = numbers(1).nth(1).flatten().is_some_and(|value| value > 0);
            }
            (Some(b'>' | b'='), b'u') => self.key_protocol = true,
            (Some(b'<'), b'u') => self.key_protocol = false,
            (Some(b'!'), b'p') => {
                let (elsewhere, main_elsewhere) = (self.elsewhere, self.main_elsewhere);
                let alternate =
                    self.private.iter().copied().filter(|mode| ALTERNATE.contains(mode)).collect();
                *self = Self { private: alternate, elsewhere, main_elsewhere, ..Self::default() };
            }
            (Some(b'<'..=b'?' | b'!'), _) => {}
            (_, b'h' | b'l') if numbers(0).any(|mode| mode == Some(4)) => self.insert = last == b'h',
            (_, b'm') => self.rendition = !ends_rendition(parameters),
            (first, b'r') => {
                self.margins = first.is_some();
                self.elsewhere = false;
            }
            (_, b'q') if parameters.last() == Some(&b' ') => {
                self.cursor_style = !matches!(parameters, b" " | b"0 ");
            }
            (_, b'E' | b'F') => self.elsewhere = false,
            (_, b'G' | b'`') => self.elsewhere = numbers(0).next().flatten().is_some_and(|col| col > 1),
            (_, b'H' | b'f') => self.elsewhere = second.is_some_and(|col| col > 1),
            (_, b'C' | b'a' | b'I' | b'u') => self.elsewhere = true,
            _ => {}
        }
    }

    fn private(&mut self, mode: u16, on: bool) {
        let Some((_, initially)) = PRIVATE.iter().find(|(known, _)| *known == mode) else { return };
        if ALTERNATE.contains(&mode) {
            let shown = ALTERNATE.iter().any(|mode| self.private.contains(mode));
            match (shown, on) {
                (false, true) => self.main_elsewhere = std::mem::take(&mut self.elsewhere),
                (true, false) => {
                    self.elsewhere = self.main_elsewhere;
                    // Whichever way it was entered, one way out is enough.
                    self.private.retain(|mode| !ALTERNATE.contains(mode));
                }
                _ => {}
            }
        }
        match on == *initially {
            true => self.private.remove(&mode),
            false => self.private.insert(mode),
        };
    }
}

/// Whether nothing is left of bold, colours and the like. A zero may also be the last part of a colour.
fn ends_rendition(parameters: &[u8]) -> bool {
    let values = parameters.split(|byte| *byte == b';');
    let mut plain = true;
    for value in values {
        match value {
            b"" | b"0" | b"00" => plain = true,
            b"38" | b"48" | b"58" => return false,
            _ => plain = false,
        }
    }
    plain
}

fn number(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(output: &str) -> String {
        let mut modes = TerminalModes::new();
        modes.shown(output.as_bytes());
        modes.restore()
    }

    #[test]
    fn nothing_is_sent_after_a_program_that_left_nothing_behind() {
        for tidy in [
            "hello\r\n",
            "",
            "\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=\x1b[?25l\x1b[1;24r\x1b[H\x1b[2Jtext\x1b[?25h\x1b[?1l\x1b>\x1b[r\x1b[?1049l",
            "\x1b[31mred\x1b[0m\r\n",
            "\x1b[31mred\x1b[m\r\n",
            "\x1b]0;title\x07\x1b]8;;http://x\x1b\\x\x1b]8;;\x1b\\\r\n",
            "\x1b[>4;2m\x1b[>4;m",
            "\x1b(0qqq\x1b(B\r\n",
        ] {
            assert_eq!(after(tidy), "", "{tidy:?}");
        }
    }

    #[test]
    fn what_a_program_left_behind_is_undone() {
        for (left, back) in [
            ("x", "\r\n"),
            ("x\x1b[K", "\r\n"),
            ("\x1b[1;5H", "\r\n"),
            ("x\r\x1b[K", ""),
            ("\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?7l", "\x1b[?7h"),
            ("\x1b[?1000;1006h", "\x1b[?1000l\x1b[?1006l"),
            ("\x1b[?2004h", "\x1b[?2004l"),
            ("\x1b[31m", "\x1b[0m"),
            ("\x1b[0;1m", "\x1b[0m"),
            ("\x1b[38;5;0m", "\x1b[0m"),
            ("\x1b[38:5:0m", "\x1b[0m"),
            ("\x1b[2;10r", "\x1b7\x1b[r\x1b8"),
            ("\x1b[4h", "\x1b[4l"),
            ("\x1b=", "\x1b>"),
            ("\x1b[6 q", "\x1b[0 q"),
            ("\x1b[>4;2m", "\x1b[>4;0m"),
            ("\x0e", "\x0f"),
            ("\x1b(0", "\x1b(B"),
            ("\x1b]0;cut off", "\x18\x1b\\"),
            ("\x1b[12", "\x18"),
            ("\x1bc", ""),
            ("\x1b[?25l\x1b[!p", ""),
        ] {
            assert_eq!(after(left), back, "{left:?}");
        }
    }

    #[test]
    fn the_alternate_screen_is_left_only_where_it_was_entered() {
        assert_eq!(after("\x1b[?1049hfull screen"), "\x1b[?1049l");
        assert_eq!(after("x\x1b[?1049h"), "\x1b[?1049l\r\n");
        assert_eq!(after("\x1b[?1049h\x1b[?25lx"), "\x1b[?1049l\x1b[?25h");
        assert_eq!(after("\x1b[?1049l"), "");
        assert_eq!(after("\x1b[?47h\x1b[?1049h\x1b[?1049l"), "");
    }

    proptest::proptest! {
        #[test]
        fn sequences_may_be_cut_anywhere(
            bytes in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::prelude::any::<u8>(),
                    proptest::sample::select(b"\x1b[?1049;25hlmr\r\nH".to_vec()),
                ],
                0..60,
            ),
            cut in 0..60usize,
        ) {
            let (mut whole, mut pieces) = (TerminalModes::new(), TerminalModes::new());
            whole.shown(&bytes);
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            pieces.shown(first);
            pieces.shown(second);
            let restored = whole.restore();
            proptest::prop_assert_eq!(&restored, &pieces.restore());
            // And what restores leaves nothing behind itself.
            let mut again = TerminalModes::new();
            again.shown(&bytes);
            again.shown(restored.as_bytes());
            proptest::prop_assert!(again.private.is_empty(), "{:?}", restored);
        }
    }
}
