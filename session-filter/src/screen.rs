//! What a terminal shows: an emulated screen that hostile output can neither break nor make expensive.
//!
//! ```text
//! output ─▶ Sieve ─▶ text, cursor moves, colours ─▶ emulation ─▶ Picture ─▶ snapshot, or difference to the previous one
//!             └── strings (titles, clipboard, device control, …) end here
//! ```
//!
//! [`Screen`] emulates everything it is fed. [`Follower`] does so within a budget, for screens that are drawn faster than anybody looks.

mod follow;
mod picture;
pub(crate) mod sieve;

use std::num::NonZeroU16;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::follow::{BACKLOG_BYTES_MAX, Follower};
pub use self::picture::Picture;
use self::sieve::{Sieve, Token};

/// Most columns that are emulated; a wider terminal is shown as if it had these.
pub const COLS_MAX: u16 = 500;
/// Most rows that are emulated.
pub const ROWS_MAX: u16 = 250;
/// Longest line that is read off the screen, in rows: a command that was wrapped over more is cut.
const LINE_ROWS_MAX: u16 = 32;

/// An emulated terminal without scrollback. A cell takes 32 bytes: 60 KiB for 80 × 24, twice that once a program has used the alternate
/// screen.
///
/// Takes any bytes. Repetitions are bounded by the screen's width, strings (OSC, DCS, …) are not kept, and should the emulation panic, the
/// screen begins again empty.
pub struct Screen {
    parser: vt100::Parser,
    sieve: Sieve,
    /// Characters `` ` `` to `~` are line drawings (`ESC ( 0`).
    line_drawing: bool,
    /// The emulation may hold the beginning of a character, which it does not give away.
    may_be_in_character: bool,
}

/// What is on the screen may be secret: only the size is shown.
impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl Screen {
    /// An empty screen. Sizes beyond [`COLS_MAX`] and [`ROWS_MAX`], and zero, become the nearest possible.
    pub fn new(cols: u32, rows: u32) -> Self {
        let (cols, rows) = possible(cols, rows);
        Self {
            parser: vt100::Parser::new(rows, cols, 0),
            sieve: Sieve::new(0),
            line_drawing: false,
            may_be_in_character: false,
        }
    }

    /// A copy that goes on from here by itself. `None` after a byte that may be part of an unfinished character: try again after the next.
    pub fn fork(&self) -> Option<Self> {
        if self.may_be_in_character {
            return None;
        }
        let shown = self.parser.screen();
        let (rows, cols) = shown.size();
        let mut parser = vt100::Parser::new(rows, cols, 0);
        *parser.screen_mut() = shown.clone();
        // Only whole sequences reach the emulation, so that between them it holds nothing but what it shows.
        Some(Self {
            parser,
            sieve: self.sieve.clone(),
            line_drawing: self.line_drawing,
            may_be_in_character: false,
        })
    }

    /// Takes output.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut unlimited = u64::MAX;
        self.feed_within(bytes, &mut unlimited);
    }

    /// Takes output until `budget`, in nanoseconds as [`Cost`] estimates them, is used up; says how many bytes were taken. The last step
    /// may overdraw it.
    pub(crate) fn feed_within(&mut self, bytes: &[u8], budget: &mut u64) -> usize {
        let Self { parser, sieve, line_drawing, may_be_in_character } = self;
        if *budget == 0 {
            return 0;
        }
        sieve.feed(bytes, |token| {
            match token {
                Token::Text(text) => *may_be_in_character = !text.last().is_some_and(u8::is_ascii),
                // These do not reach the emulation.
                Token::Escape { intermediate: Some(_), .. } | Token::Osc(_) => {}
                Token::Control(_) | Token::Escape { .. } | Token::Csi { .. } => *may_be_in_character = false,
            }
            *budget = budget.saturating_sub(Cost::of(parser, token));
            apply(parser, line_drawing, token);
            if *budget == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    /// Takes output that will have scrolled away, or been drawn over, by the time somebody looks: only modes, colours, margins and the
    /// number of lines count.
    pub(crate) fn skim(&mut self, bytes: &[u8]) {
        let Self { parser, sieve, line_drawing, .. } = self;
        let (rows, cols) = parser.screen().size();
        let mut lines = 0_u64;
        sieve.feed(bytes, |token| {
            match token {
                Token::Text(text) => {
                    let newlines = memchr::memchr_iter(b'\n', text).count() as u64;
                    lines = lines.saturating_add(newlines);
                    // A long line wraps, too; where it does not, one scrolls a little further than the real terminal did.
                    lines = lines.saturating_add((text.len() as u64) / (2 * u64::from(cols.get())));
                }
                Token::Csi { last: b'm' | b'h' | b'l' | b'r', .. }
                | Token::Escape { intermediate: Some(b'('), .. }
                | Token::Escape { last: b'7' | b'8' | b'c', .. } => apply(parser, line_drawing, token),
                _ => {}
            }
            ControlFlow::Continue(())
        });
        if !parser.screen().alternate_screen() {
            let lines = usize::try_from(lines).unwrap_or(usize::MAX).min(rows.get().into());
            process(parser, &[b"\r".as_slice(), &b"\n".repeat(lines)].concat());
        }
    }

    /// The terminal has another size.
    pub fn resize(&mut self, cols: u32, rows: u32) {
        let (cols, rows) = possible(cols, rows);
        let resized = catch_unwind(AssertUnwindSafe(|| self.parser.set_size(rows, cols)));
        if resized.is_err() {
            self.parser = vt100::Parser::new(rows, cols, 0);
        }
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        let (rows, cols) = self.parser.screen().size();
        (cols.get(), rows.get())
    }

    /// What it shows.
    pub fn picture(&self) -> Picture {
        Picture::of(self, COLS_MAX, ROWS_MAX)
    }

    /// Whether a full-screen program has the terminal.
    pub fn is_alternate(&self) -> bool {
        self.parser.screen().alternate_screen()
    }

    /// The column of the cursor, counted from the beginning of its line, which may be wrapped over several rows.
    pub fn cursor_in_line(&self) -> usize {
        let shown = self.parser.screen();
        let (row, col) = shown.cursor_position();
        let above = usize::from(row.saturating_sub(self.line_begins_at(row)));
        above.saturating_mul(shown.size().1.get().into()).saturating_add(col.into())
    }

    /// The line on which the cursor stands, wrapped rows joined, from column `from` on; columns are counted as
    /// [`cursor_in_line`](Self::cursor_in_line) does. Without trailing spaces.
    pub fn cursor_line(&self, from: usize) -> String {
        let shown = self.parser.screen();
        let row = shown.cursor_position().0;
        let mut last = row;
        while shown.row_wrapped(last) && last.saturating_sub(row) < LINE_ROWS_MAX {
            last = last.saturating_add(1);
        }
        let (cols, mut col, mut line) = (shown.size().1.get(), 0_usize, String::new());
        for (row, at) in (self.line_begins_at(row)..=last).flat_map(|row| (0..cols).map(move |at| (row, at)))
        {
            let here = col;
            col = col.saturating_add(1);
            let Some(cell) = shown.cell(row, at).filter(|cell| here >= from && !cell.is_wide_continuation())
            else {
                continue;
            };
            match cell.has_contents() {
                true => line.push_str(cell.contents()),
                false => line.push(' '),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// The first row of the line of which `row` is a part.
    fn line_begins_at(&self, row: u16) -> u16 {
        let mut first = row;
        while let Some(above) = first.checked_sub(1)
            && self.parser.screen().row_wrapped(above)
            && row.saturating_sub(above) < LINE_ROWS_MAX
        {
            first = above;
        }
        first
    }

    fn parser(&self) -> &vt100::Parser {
        &self.parser
    }
}

fn possible(cols: u32, rows: u32) -> (NonZeroU16, NonZeroU16) {
    let within = |asked: u32, max: u16| {
        let asked = u16::try_from(asked).unwrap_or(u16::MAX).min(max);
        NonZeroU16::new(asked).unwrap_or(NonZeroU16::MIN)
    };
    // One column has no room for a wide character.
    (within(cols.max(2), COLS_MAX), within(rows, ROWS_MAX))
}

/// A panic of the emulation costs the picture, not the session.
fn process(parser: &mut vt100::Parser, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| parser.process(bytes))).is_err() {
        let (rows, cols) = parser.screen().size();
        *parser = vt100::Parser::new(rows, cols, 0);
    }
}

fn apply(parser: &mut vt100::Parser, line_drawing: &mut bool, token: Token<'_>) {
    match token {
        Token::Text(text) if *line_drawing => process(parser, &drawn_lines(text)),
        Token::Text(text) => process(parser, text),
        Token::Control(byte) => process(parser, &[byte]),
        Token::Escape { intermediate: Some(b'('), last } => *line_drawing = last == b'0',
        Token::Escape { intermediate: Some(_), .. } | Token::Osc(_) => {}
        Token::Escape { intermediate: None, last } => {
            *line_drawing &= last != b'c';
            process(parser, &[sieve::ESC, last]);
        }
        Token::Csi { body, last: b'b' } => {
            // A repetition of 65535 characters in eight bytes is no drawing.
            let asked =
                std::str::from_utf8(body).ok().and_then(|count| count.parse::<u16>().ok()).unwrap_or(1);
            let count = asked.min(parser.screen().size().1.get());
            process(parser, format!("\x1b[{count}b").as_bytes());
        }
        Token::Csi { body, last } => process(parser, &[b"\x1b[", body, &[last]].concat()),
    }
}

/// The DEC special graphics that programs draw boxes with.
fn drawn_lines(text: &[u8]) -> Vec<u8> {
    const FROM_BACKQUOTE: [char; 31] = [
        '◆', '▒', '␉', '␌', '␍', '␊', '°', '±', '␤', '␋', '┘', '┐', '┌', '└', '┼', '⎺', '⎻', '─', '⎼', '⎽',
        '├', '┤', '┴', '┬', '│', '≤', '≥', 'π', '≠', '£', '·',
    ];
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte.checked_sub(b'`').and_then(|index| FROM_BACKQUOTE.get(usize::from(index))) {
            Some(line) => out.extend_from_slice(line.encode_utf8(&mut [0; 4]).as_bytes()),
            None => out.push(*byte),
        }
    }
    out
}

/// What emulating a token costs, in nanoseconds of an ordinary processor, as measured: text 50 a byte, an erased or moved cell 5. Erasing
/// a large screen takes four bytes to ask for and half a millisecond to do.
struct Cost;

impl Cost {
    fn of(parser: &vt100::Parser, token: Token<'_>) -> u64 {
        let (rows, cols) = parser.screen().size();
        let (rows, cols) = (u64::from(rows.get()), u64::from(cols.get()));
        let row = cols.saturating_mul(5);
        match token {
            Token::Text(text) => {
                let newlines = memchr::memchr_iter(b'\n', text).count() as u64;
                (text.len() as u64)
                    .saturating_mul(50)
                    .saturating_add(newlines.saturating_mul(row.saturating_add(rows)))
            }
            Token::Control(_) => row,
            Token::Csi { last: b'J' | b'L' | b'M' | b'S' | b'T' | b'h' | b'l', .. } => {
                rows.saturating_mul(row)
            }
            Token::Csi { last: b'b', .. } => cols.saturating_mul(50),
            Token::Csi { last: b'@' | b'P' | b'X' | b'K', .. } => row,
            Token::Escape { last: b'c', .. } => rows.saturating_mul(row).saturating_mul(2),
            Token::Escape { last: b'M', .. } => row.saturating_add(rows),
            Token::Csi { .. } | Token::Escape { .. } | Token::Osc(_) => 100,
        }
    }
}
