//! The screen as it was, and how it is drawn again.
//!
//! What was recorded goes into a terminal emulation and no further. What comes out is made here: positions, colours and
//! printable text. Titles, clipboards, queries, modes, pictures and anything else that a terminal might obey stay inside.

use std::fmt::Write as _;
use std::num::NonZeroU16;

use crate::terminal::acts;

/// Largest screen that is emulated; a larger terminal is shown in part.
pub(crate) const COLUMNS_MAX: u16 = 1000;
pub(crate) const ROWS_MAX: u16 = 500;

/// An emulated terminal.
pub(crate) struct Stage {
    parser: vt100::Parser,
    between: Between,
}

/// What the emulation holds at one moment, outside any escape sequence.
#[derive(Clone)]
pub(crate) struct Snapshot(vt100::Screen);

impl Snapshot {
    /// Roughly what it takes in memory: a cell holds its text and its colours; both screens count.
    pub(crate) fn bytes(&self) -> usize {
        let (rows, columns) = self.0.size();
        usize::from(rows.get()) * usize::from(columns.get()) * 2 * 40
    }
}

impl Stage {
    pub(crate) fn new(columns: u32, rows: u32) -> Self {
        let (columns, rows) = (clamp(columns, COLUMNS_MAX), clamp(rows, ROWS_MAX));
        Self { parser: vt100::Parser::new(rows, columns, 0), between: Between::Text }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.parser.process(bytes);
        self.between = bytes.iter().fold(self.between, |between, byte| between.after(*byte));
    }

    pub(crate) fn resize(&mut self, columns: u32, rows: u32) {
        self.parser.set_size(clamp(rows, ROWS_MAX), clamp(columns, COLUMNS_MAX));
    }

    /// The state, if no escape sequence or character is half-read: the emulation does not give that part away.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        (self.between == Between::Text).then(|| Snapshot(self.parser.screen().clone()))
    }

    /// Goes back to a state.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) {
        let (rows, columns) = snapshot.0.size();
        self.parser = vt100::Parser::new(rows, columns, 0);
        *self.parser.screen_mut() = snapshot.0.clone();
        self.between = Between::Text;
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (u16, u16) {
        let (rows, columns) = self.parser.screen().size();
        (columns.get(), rows.get())
    }

    /// Row and column of the cursor, if it is to be seen.
    pub(crate) fn cursor(&self) -> Option<(u16, u16)> {
        let screen = self.parser.screen();
        (!screen.hide_cursor()).then(|| screen.cursor_position())
    }

    /// All text on the screen.
    pub(crate) fn contents(&self) -> String {
        self.parser.screen().contents()
    }

    /// A row of at most so many columns, as text and SGR; colours are reset at its end.
    pub(crate) fn row(&self, row: u16, columns: u16) -> String {
        let mut drawn = String::with_capacity(usize::from(columns) + 16);
        let mut style = Style::default();
        let mut column = 0;
        while column < columns {
            let Some(cell) = self.parser.screen().cell(row, column) else { break };
            let wanted = Style::of(cell);
            if wanted != style {
                wanted.draw(&mut drawn);
                style = wanted;
            }
            let width = if cell.is_wide() { 2 } else { 1 };
            let fits = column.saturating_add(width) <= columns;
            let text = if fits { cell.contents() } else { "" };
            let before = drawn.len();
            drawn.extend(text.chars().filter(|character| !acts(*character)));
            if drawn.len() == before {
                drawn.extend(std::iter::repeat_n(' ', usize::from(width.min(columns - column))));
            }
            column = column.saturating_add(width);
            if !text.is_ascii() {
                // Terminals disagree about how wide some characters are.
                let _ = write!(drawn, "\x1b[{}G", column.saturating_add(1));
            }
        }
        if style != Style::default() {
            drawn.push_str("\x1b[0m");
        }
        drawn
    }
}

fn clamp(number: u32, max: u16) -> NonZeroU16 {
    let number = u16::try_from(number).unwrap_or(max).clamp(1, max);
    NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN)
}

/// How a cell looks.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Style {
    foreground: vt100::Color,
    background: vt100::Color,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    inverse: bool,
}

impl Style {
    fn of(cell: &vt100::Cell) -> Self {
        Self {
            foreground: cell.fgcolor(),
            background: cell.bgcolor(),
            bold: cell.bold(),
            dim: cell.dim(),
            italic: cell.italic(),
            underline: cell.underline(),
            inverse: cell.inverse(),
        }
    }

    /// SGR, from nothing.
    fn draw(self, out: &mut String) {
        out.push_str("\x1b[0");
        for (code, is_set) in
            [(1, self.bold), (2, self.dim), (3, self.italic), (4, self.underline), (7, self.inverse)]
        {
            if is_set {
                let _ = write!(out, ";{code}");
            }
        }
        for (base, color) in [(38, self.foreground), (48, self.background)] {
            let _ = match color {
                vt100::Color::Default => Ok(()),
                vt100::Color::Idx(index) => write!(out, ";{base};5;{index}"),
                vt100::Color::Rgb(red, green, blue) => write!(out, ";{base};2;{red};{green};{blue}"),
            };
        }
        out.push('m');
    }
}

/// Where in the stream of bytes the emulation stands, as far as it matters for taking a snapshot. Errs towards "within".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Between {
    Text,
    Character,
    Escape,
    Control,
    String,
}

impl Between {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (_, 0x18 | 0x1a) => Self::Text,
            (_, 0x1b) => Self::Escape,
            (Self::Text | Self::Character, 0x80..) => Self::Character,
            (Self::Text | Self::Character, _) => Self::Text,
            (Self::Escape, b'[') => Self::Control,
            (Self::Escape, b']' | b'P' | b'X' | b'^' | b'_') => Self::String,
            (Self::Escape, 0x30..=0x7e) | (Self::Control, 0x40..=0x7e) => Self::Text,
            (Self::String, _) => Self::String,
            (Self::Escape, _) => Self::Escape,
            (Self::Control, _) => Self::Control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(stage: &Stage) -> String {
        let (columns, rows) = stage.size();
        (0..rows).map(|row| stage.row(row, columns) + "\n").collect()
    }

    /// Whether text holds nothing but printable characters and the sequences that are made here.
    fn is_ours(text: &str) -> bool {
        let mut rest = text;
        while let Some(at) = rest.find('\x1b') {
            let (plain, sequence) = rest.split_at(at);
            let Some(body) = sequence.strip_prefix("\x1b[") else { return false };
            let body =
                body.trim_start_matches(|character: char| character.is_ascii_digit() || character == ';');
            let Some(after) = body.strip_prefix(['m', 'G']) else { return false };
            if plain.contains(|character| acts(character) && character != '\n') {
                return false;
            }
            rest = after;
        }
        !rest.contains(|character| acts(character) && character != '\n')
    }

    #[test]
    fn hostile_sequences_stay_inside() {
        let mut stage = Stage::new(40, 5);
        for hostile in [
            "\x1b]52;c;aGVsbG8=\x07",
            "\x1b]0;title\x1b\\",
            "\x1b[6n",
            "\x1b[c",
            "\x1b[>c",
            "\x1bP+q544e\x1b\\",
            "\x1bZ",
            "\x1b[?1049h",
            "\x1b[?1000h",
            "\x1b[5i",
            "\x1b#8",
            "\u{9b}31m",
            "\u{202e}abc\u{202c}",
            "e\u{e0041}",
            "\u{ad}",
            "\x07",
            "\x1b[99999999999;9H",
            "\x1b[1;1r\n\n\n",
            "\x1b_Gpayload\x1b\\",
            "\x1b^pm\x1b\\",
        ] {
            stage.feed(hostile.as_bytes());
            stage.feed(b"text");
            let drawn = drawn(&stage);
            assert!(is_ours(&drawn), "{hostile:?}: {drawn:?}");
        }
    }

    #[test]
    fn colours_and_wide_characters_are_drawn() {
        let mut stage = Stage::new(6, 2);
        stage.feed("\x1b[1;31mred\x1b[0m東京".as_bytes());
        assert_eq!(stage.row(0, 6), "\x1b[0;1;38;5;1mred\x1b[0m東\x1b[6G ");
        assert_eq!(stage.row(1, 6), "京\x1b[3G    ");
        assert_eq!(stage.row(0, 4), "\x1b[0;1;38;5;1mred\x1b[0m ", "half a character is not drawn");
    }

    #[test]
    fn a_snapshot_is_taken_between_sequences_only() {
        let mut stage = Stage::new(10, 2);
        for (bytes, is_between) in [
            (&b"a"[..], true),
            (b"\x1b", false),
            (b"[3", false),
            (b"1m", true),
            (b"\x1b]0;x", false),
            (b"y", false),
            (b"\x1b\\", true),
            (b"\xe2\x82", false),
            (b"\xac", false),
            (b"z", true),
            (b"\x1b[1", false),
            (b"\x18", true),
            (b"\x1b(", false),
            (b"B", true),
        ] {
            stage.feed(bytes);
            assert_eq!(stage.snapshot().is_some(), is_between, "after {bytes:?}");
        }
    }

    proptest! {
        /// Whatever a terminal was told, what is drawn holds nothing that acts, and a snapshot goes on as the original does.
        #[test]
        fn nothing_recorded_gets_out(
            pieces in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..40).prop_map(Ok),
                    "(\x1b\\[[0-9;?]{0,8}[@A-Za-z`]|\x1b[\\]P_^X78cDEMHZ=>#()][ -~]{0,6}|[a-zé東\u{301}\u{fe0f}\u{1f600}\r\n\t\x08]){0,12}"
                        .prop_map(|text| Ok(text.into_bytes())),
                    (0u32..30, 0u32..12).prop_map(Err),
                ],
                0..30,
            ),
        ) {
            let mut stage = Stage::new(12, 4);
            let mut copy: Option<Stage> = None;
            for piece in &pieces {
                for stage in std::iter::once(&mut stage).chain(copy.as_mut()) {
                    match piece {
                        Ok(bytes) => stage.feed(bytes),
                        Err((columns, rows)) => stage.resize(*columns, *rows),
                    }
                }
                let drawn = drawn(&stage);
                prop_assert!(is_ours(&drawn), "{drawn:?}");
                if let Some(copy) = &copy {
                    prop_assert_eq!(self::drawn(copy), drawn);
                } else if let Some(snapshot) = stage.snapshot() {
                    let mut restored = Stage::new(1, 1);
                    restored.restore(&snapshot);
                    copy = Some(restored);
                }
            }
        }
    }
}
