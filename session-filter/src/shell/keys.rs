//! Bytes from a terminal, read as keys.
//!
//! What a terminal sends is hostile: a paste may hold anything, and replies of the terminal (to a question that some output asked
//! it) arrive among the keys. So a sequence that is not known is swallowed whole and never inserted as text, a paste is text and
//! never keys, and bytes that are not UTF-8 are refused.

use crate::limits::{ESCAPE_BYTES_MAX, LINE_BYTES_MAX, PASTE_BYTES_MAX};

/// What a key asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Key {
    /// A character to insert. Never a control character.
    Character(char),
    /// Return, or Ctrl-J.
    Enter,
    /// Tab.
    Complete,
    /// Backspace, Ctrl-H.
    Backspace,
    /// Delete.
    Delete,
    /// Ctrl-D: delete, or the end where there is nothing to delete.
    DeleteOrEnd,
    /// Left, Ctrl-B.
    Left,
    /// Right, Ctrl-F.
    Right,
    /// Ctrl-Left, Alt-B.
    WordLeft,
    /// Ctrl-Right, Alt-F.
    WordRight,
    /// Home, Ctrl-A.
    Home,
    /// End, Ctrl-E.
    End,
    /// Up, Ctrl-P.
    Earlier,
    /// Down, Ctrl-N.
    Later,
    /// Ctrl-R.
    Search,
    /// Ctrl-G: leaves a search.
    Abort,
    /// Ctrl-K.
    KillToEnd,
    /// Ctrl-U.
    KillToStart,
    /// Ctrl-W: back to white space.
    KillBack,
    /// Alt-Backspace: back to the start of a name.
    KillWordBack,
    /// Alt-D.
    KillWord,
    /// Ctrl-Y.
    Yank,
    /// Ctrl-T.
    Transpose,
    /// Ctrl-L.
    Clear,
    /// Ctrl-C.
    Interrupt,
    /// A bracketed paste, with `\n` for every line break and a space for every tab.
    Paste(String),
    /// A bracketed paste that is not taken.
    PasteRefused(PasteFault),
    /// Bytes that are no text.
    Refused,
}

/// Why a paste is not taken. None of it is: half a paste is not what anybody meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasteFault {
    /// Longer than [`PASTE_BYTES_MAX`], or one of its lines longer than [`LINE_BYTES_MAX`].
    TooLong,
    /// It holds a control character besides tabs and line breaks.
    ControlCharacter,
    /// It is not UTF-8.
    NotUtf8,
}

impl std::fmt::Display for PasteFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the paste is too long",
            Self::ControlCharacter => "the paste holds control characters",
            Self::NotUtf8 => "the paste is not valid UTF-8",
        })
    }
}

/// Reads keys from bytes, one byte at a time; sequences may be cut anywhere.
#[derive(Default)]
pub struct Keys {
    state: State,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    after_return: bool,
}

#[derive(Default)]
enum State {
    #[default]
    Ground,
    /// Inside a character; the flag is for one that Alt was held with.
    Utf8 {
        bytes: Vec<u8>,
        length: usize,
        alt: bool,
    },
    Escape,
    /// After `ESC [`.
    Control(Vec<u8>),
    /// After `ESC O`.
    Function,
    /// Inside a string that a terminal sends in reply (OSC, DCS, APC, PM, SOS); the flag is for an ESC that may end it.
    Reply {
        length: usize,
        escape: bool,
    },
    /// So many bytes more belong to a sequence.
    Swallow(usize),
    Paste {
        bytes: Vec<u8>,
        too_long: bool,
    },
}

const PASTE_END: &[u8] = b"\x1b[201~";

impl Keys {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the end of a paste is still to come.
    pub fn in_paste(&self) -> bool {
        matches!(self.state, State::Paste { .. })
    }

    /// Reads one byte; at most two keys come of it.
    pub fn press(&mut self, byte: u8, keys: &mut Vec<Key>) {
        let after_return = std::mem::take(&mut self.after_return);
        match std::mem::take(&mut self.state) {
            State::Ground => self.ground(byte, after_return, keys),
            State::Utf8 { bytes, length, alt } => self.character(byte, bytes, length, alt, keys),
            State::Escape => self.escape(byte, keys),
            State::Control(parameters) => self.control(byte, parameters, keys),
            State::Function => self.function(byte, keys),
            State::Reply { length, escape } => self.reply(byte, length, escape, keys),
            State::Swallow(left) => self.swallow(byte, left, keys),
            State::Paste { bytes, too_long } => self.paste(byte, bytes, too_long, keys),
        }
    }

    fn ground(&mut self, byte: u8, after_return: bool, keys: &mut Vec<Key>) {
        let key = match byte {
            0x01 => Key::Home,
            0x02 => Key::Left,
            0x03 => Key::Interrupt,
            0x04 => Key::DeleteOrEnd,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x07 => Key::Abort,
            0x08 | 0x7f => Key::Backspace,
            b'\t' => Key::Complete,
            b'\n' if after_return => return,
            b'\n' => Key::Enter,
            b'\r' => {
                self.after_return = true;
                Key::Enter
            }
            0x0b => Key::KillToEnd,
            0x0c => Key::Clear,
            0x0e => Key::Later,
            0x10 => Key::Earlier,
            0x12 => Key::Search,
            0x14 => Key::Transpose,
            0x15 => Key::KillToStart,
            0x17 => Key::KillBack,
            0x19 => Key::Yank,
            0x1b => {
                self.state = State::Escape;
                return;
            }
            b' '..=b'~' => Key::Character(char::from(byte)),
            // Ctrl-Z, Ctrl-V, NUL and the others mean nothing here.
            0x00..=0x1f => return,
            0x80.. => return self.lead(byte, false, keys),
        };
        keys.push(key);
    }

    fn lead(&mut self, byte: u8, alt: bool, keys: &mut Vec<Key>) {
        let length = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return keys.push(Key::Refused),
        };
        self.state = State::Utf8 { bytes: vec![byte], length, alt };
    }

    fn character(&mut self, byte: u8, mut bytes: Vec<u8>, length: usize, alt: bool, keys: &mut Vec<Key>) {
        if !matches!(byte, 0x80..=0xbf) {
            keys.push(Key::Refused);
            return self.ground(byte, false, keys);
        }
        bytes.push(byte);
        if bytes.len() < length {
            self.state = State::Utf8 { bytes, length, alt };
            return;
        }
        let character = std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next());
        match character {
            Some(c) if !c.is_control() => {
                if !alt {
                    keys.push(Key::Character(c));
                }
            }
            _ => keys.push(Key::Refused),
        }
    }

    fn escape(&mut self, byte: u8, keys: &mut Vec<Key>) {
        match byte {
            b'[' => self.state = State::Control(Vec::new()),
            b'O' => self.state = State::Function,
            b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::Reply { length: 0, escape: false },
            0x1b => self.state = State::Escape,
            b'b' => keys.push(Key::WordLeft),
            b'f' => keys.push(Key::WordRight),
            b'd' => keys.push(Key::KillWord),
            0x08 | 0x7f => keys.push(Key::KillWordBack),
            0x03 => keys.push(Key::Interrupt),
            0x80.. => self.lead(byte, true, keys),
            _ => {}
        }
    }

    fn control(&mut self, byte: u8, mut parameters: Vec<u8>, keys: &mut Vec<Key>) {
        match byte {
            // Parameters and intermediates.
            0x20..=0x3f => {
                // Beyond the limit only the end matters: it is none of ours.
                if parameters.len() <= ESCAPE_BYTES_MAX {
                    parameters.push(byte);
                }
                self.state = State::Control(parameters);
            }
            // Function keys of the Linux console: `ESC [ [ A`.
            b'[' if parameters.is_empty() => self.state = State::Swallow(1),
            // A mouse that was left on, in the old form: three bytes follow.
            b'M' if parameters.is_empty() => self.state = State::Swallow(3),
            b'~' if parameters == b"200" => self.state = State::Paste { bytes: Vec::new(), too_long: false },
            0x40..=0x7e => {
                if let Some(key) = control_key(&parameters, byte) {
                    keys.push(key);
                }
            }
            0x1b => self.state = State::Escape,
            0x03 => keys.push(Key::Interrupt),
            // A control character breaks the sequence off, and goes with it.
            _ => {}
        }
    }

    fn function(&mut self, byte: u8, keys: &mut Vec<Key>) {
        match byte {
            // Some terminals put a modifier here.
            b'0'..=b'9' => self.state = State::Function,
            0x1b => self.state = State::Escape,
            0x03 => keys.push(Key::Interrupt),
            _ => keys.extend(control_key(&[], byte)),
        }
    }

    fn reply(&mut self, byte: u8, length: usize, escape: bool, keys: &mut Vec<Key>) {
        match byte {
            b'\\' if escape => {}
            0x07 => {}
            0x03 => keys.push(Key::Interrupt),
            0x1b => self.state = State::Reply { length: length.saturating_add(1), escape: true },
            // No reply holds any other control character, and what follows an ESC inside is no reply either.
            0x00..=0x1f => {}
            // Nor is any that long: an Alt-] by mistake must not swallow for ever.
            _ if length >= LINE_BYTES_MAX => keys.push(Key::Refused),
            _ => self.state = State::Reply { length: length.saturating_add(1), escape: false },
        }
    }

    fn swallow(&mut self, byte: u8, left: usize, keys: &mut Vec<Key>) {
        match byte {
            0x03 => keys.push(Key::Interrupt),
            0x1b => self.state = State::Escape,
            _ if left > 1 => self.state = State::Swallow(left.saturating_sub(1)),
            _ => {}
        }
    }

    fn paste(&mut self, byte: u8, mut bytes: Vec<u8>, mut too_long: bool, keys: &mut Vec<Key>) {
        bytes.push(byte);
        if bytes.ends_with(PASTE_END) {
            bytes.truncate(bytes.len().saturating_sub(PASTE_END.len()));
            keys.push(match too_long {
                true => Key::PasteRefused(PasteFault::TooLong),
                false => pasted(&bytes),
            });
            return;
        }
        if bytes.len() > PASTE_BYTES_MAX.saturating_add(PASTE_END.len()) {
            too_long = true;
            // All that matters from here is where it ends.
            bytes.drain(..bytes.len().saturating_sub(PASTE_END.len()));
        }
        self.state = State::Paste { bytes, too_long };
    }
}

fn control_key(parameters: &[u8], last: u8) -> Option<Key> {
    // Shift, Alt, Ctrl and their sums come as a second parameter; Shift alone changes nothing.
    let by_word = matches!(parameters, b"1;3" | b"1;4" | b"1;5" | b"1;6" | b"1;7" | b"1;8" | b"5" | b"3");
    let plain = matches!(parameters, b"" | b"1" | b"1;2");
    Some(match (last, parameters) {
        (b'A', _) if plain || by_word => Key::Earlier,
        (b'B', _) if plain || by_word => Key::Later,
        (b'C', _) if plain => Key::Right,
        (b'D', _) if plain => Key::Left,
        (b'C', _) if by_word => Key::WordRight,
        (b'D', _) if by_word => Key::WordLeft,
        (b'H', _) if plain || by_word => Key::Home,
        (b'F', _) if plain || by_word => Key::End,
        (b'~', b"1" | b"7") => Key::Home,
        (b'~', b"4" | b"8") => Key::End,
        (b'~', b"3") => Key::Delete,
        (b'~', b"3;3" | b"3;5") => Key::KillWord,
        // The keypad's return key.
        (b'M', b"") => Key::Enter,
        _ => return None,
    })
}

fn pasted(bytes: &[u8]) -> Key {
    let Ok(text) = std::str::from_utf8(bytes) else { return Key::PasteRefused(PasteFault::NotUtf8) };
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', " ");
    if bytes.len() > PASTE_BYTES_MAX || text.split('\n').any(|line| line.len() > LINE_BYTES_MAX) {
        return Key::PasteRefused(PasteFault::TooLong);
    }
    match text.chars().any(|c| c.is_control() && c != '\n') {
        true => Key::PasteRefused(PasteFault::ControlCharacter),
        false => Key::Paste(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Key> {
        let (mut keys, mut read) = (Keys::new(), Vec::new());
        bytes.iter().for_each(|byte| keys.press(*byte, &mut read));
        read
    }

    fn text(bytes: &[u8]) -> String {
        let characters = read(bytes).into_iter().filter_map(|key| match key {
            Key::Character(c) => Some(c),
            _ => None,
        });
        characters.collect()
    }

    #[test]
    fn keys_have_the_meaning_people_expect_whatever_the_terminal_calls_them() {
        for (bytes, key) in [
            (&b"\x1b[A"[..], Key::Earlier),
            (b"\x1bOA", Key::Earlier),
            (b"\x1b[1;5C", Key::WordRight),
            (b"\x1b[1;3D", Key::WordLeft),
            (b"\x1bOc", Key::Refused),
            (b"\x1bf", Key::WordRight),
            (b"\x1b[H", Key::Home),
            (b"\x1b[1~", Key::Home),
            (b"\x1bOF", Key::End),
            (b"\x1b[3~", Key::Delete),
            (b"\x1b\x7f", Key::KillWordBack),
            (b"\x1bd", Key::KillWord),
            (b"\x7f", Key::Backspace),
            (b"\x08", Key::Backspace),
            (b"\x12", Key::Search),
        ] {
            match key {
                Key::Refused => assert_eq!(read(bytes), [], "{bytes:?}"),
                key => assert_eq!(read(bytes), [key], "{bytes:?}"),
            }
        }
    }

    #[test]
    fn carriage_return_and_line_feed_are_one() {
        assert_eq!(read(b"\r\n"), [Key::Enter]);
        assert_eq!(read(b"\n\r"), [Key::Enter, Key::Enter]);
        assert_eq!(read(b"\r\r\n\n"), [Key::Enter, Key::Enter, Key::Enter]);
    }

    #[test]
    fn unknown_sequences_and_replies_of_the_terminal_are_never_inserted() {
        for swallowed in [
            &b"\x1b[24;80R"[..],
            b"\x1b[?1;2c",
            b"\x1b[>0;276;0c",
            b"\x1b]11;rgb:0000/0000/0000\x1b\\",
            b"\x1b]l rm -rf /\x07",
            b"\x1bP1$r0m\x1b\\",
            b"\x1bP>|xterm(300)\x1b\\",
            b"\x1b[I",
            b"\x1b[O",
            b"\x1b[<0;10;10M",
            b"\x1b[<0;10;10m",
            b"\x1b[M !!",
            b"\x1b[[A",
            b"\x1b[97;5u",
            b"\x1b[15~",
            b"\x1bz",
            b"\x1b\xc3\xa9",
            b"\x1b[1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20;21;22;23;24;25;26;27;28;29;30;31;32;33z",
            b"\x1a",
            b"\x16",
            b"\0",
            b"\x1c\x1d\x1e\x1f",
        ] {
            assert_eq!(read(swallowed), [], "{:?}", String::from_utf8_lossy(swallowed));
            let mut followed = swallowed.to_vec();
            followed.extend_from_slice(b"x");
            assert_eq!(text(&followed), "x", "{:?}", String::from_utf8_lossy(swallowed));
        }
    }

    #[test]
    fn a_return_inside_a_reply_accepts_nothing() {
        for spoofed in [&b"\x1b]l\rtouch x\x07"[..], b"\x1bP\ntouch\x1b\\", b"\x1b[12\r"] {
            assert!(!read(spoofed).contains(&Key::Enter), "{:?}", String::from_utf8_lossy(spoofed));
        }
        assert_eq!(read(b"\x1b]l\x03"), [Key::Interrupt]);
    }

    #[test]
    fn what_is_not_utf8_is_refused_and_takes_nothing_with_it() {
        assert_eq!(read(b"\xff"), [Key::Refused]);
        assert_eq!(read(b"\xc3x"), [Key::Refused, Key::Character('x')]);
        assert_eq!(read(b"\xe2\x82\r"), [Key::Refused, Key::Enter]);
        assert_eq!(read(b"\xed\xa0\x80"), [Key::Refused]);
        assert_eq!(read(b"\xc2\x9b"), [Key::Refused]);
        assert_eq!(text("é漢𝄞".as_bytes()), "é漢𝄞");
    }

    #[test]
    fn a_paste_is_text_and_its_control_characters_are_no_keys() {
        let paste = |text: &str| read(format!("\x1b[200~{text}\x1b[201~").as_bytes());
        assert_eq!(paste("a\tb"), [Key::Paste("a b".into())]);
        assert_eq!(paste("a\r\nb\rc\nd"), [Key::Paste("a\nb\nc\nd".into())]);
        for acting in ["a\u{3}b", "\u{1b}[A", "\u{15}x", "\u{16}\n", "a\0", "\u{9b}2J", "\u{1b}[200~x"] {
            assert_eq!(paste(acting), [Key::PasteRefused(PasteFault::ControlCharacter)], "{acting:?}");
        }
        assert_eq!(read(b"\x1b[200~\xff\x1b[201~"), [Key::PasteRefused(PasteFault::NotUtf8)]);
    }

    #[test]
    fn a_paste_ends_at_its_limit_and_only_its_end_ends_it() {
        let mut keys = Keys::new();
        let mut read = Vec::new();
        b"\x1b[200~".iter().for_each(|byte| keys.press(*byte, &mut read));
        for at in 0..PASTE_BYTES_MAX * 3 {
            keys.press(if at % 80 == 0 { b'\r' } else { b'x' }, &mut read);
        }
        assert!(read.is_empty() && keys.in_paste());
        let State::Paste { bytes, .. } = &keys.state else { unreachable!() };
        assert!(bytes.len() <= PASTE_BYTES_MAX + PASTE_END.len());
        PASTE_END.iter().for_each(|byte| keys.press(*byte, &mut read));
        assert_eq!(read, [Key::PasteRefused(PasteFault::TooLong)]);
        let long_line = "x".repeat(LINE_BYTES_MAX + 1);
        let paste = super::tests::read(format!("\x1b[200~a\n{long_line}\x1b[201~").as_bytes());
        assert_eq!(paste, [Key::PasteRefused(PasteFault::TooLong)]);
    }
}
