//! Draws a prompt and a line on a terminal whose size is known, over as many rows as they take. Of a line that takes more rows than
//! the terminal has, those around the cursor are shown.

use std::ops::Range;

use unicode_width::UnicodeWidthChar as _;

use super::buffer::is_joined;
use crate::grammar::escape_into;

/// What is on the screen, and where the cursor is in it.
pub(super) struct Drawing {
    cols: usize,
    rows: usize,
    drawn: String,
    /// Bytes of `drawn` before the cursor.
    cursor: usize,
    /// All that there is to draw, where `drawn` is a part of it.
    whole: Option<String>,
    /// Rows of it above `drawn`.
    above: usize,
    /// Bytes that were laid out, shown or not.
    laid_out: usize,
}

/// A place, counted from where the prompt begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    row: usize,
    col: usize,
}

const CLEAR_TO_END: &str = "\x1b[J";
/// Behind a full row a terminal keeps its cursor in the last column; this takes it to the next row.
const BEHIND_FULL_ROW: &str = " \r";
const COLS_MIN: usize = 2;
/// One to draw in, one for a cursor behind a full row.
const ROWS_MIN: usize = 2;

impl Drawing {
    pub(super) fn new(cols: u32, rows: u32) -> Self {
        let (cols, rows) = within(cols, rows);
        Self { cols, rows, drawn: String::new(), cursor: 0, whole: None, above: 0, laid_out: 0 }
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes that were laid out since the last call.
    pub(super) fn laid_out(&mut self) -> usize {
        std::mem::take(&mut self.laid_out)
    }

    /// The cursor is at the start of a row, on which something may still be from a program that wrote all over the screen.
    pub(super) fn begin(&mut self, out: &mut String) {
        self.forget();
        out.push_str(CLEAR_TO_END);
    }

    /// Shows `prompt`, `before` and `after`, with the cursor between the latter two. What is the same already stays.
    pub(super) fn show(&mut self, prompt: &str, before: &str, after: &str, out: &mut String) {
        let mut whole =
            String::with_capacity(prompt.len().saturating_add(before.len()).saturating_add(after.len()));
        for text in [prompt, before] {
            escape_into(text, usize::MAX, &mut whole);
        }
        let cursor = whole.len();
        escape_into(after, usize::MAX, &mut whole);
        self.laid_out = self.laid_out.saturating_add(whole.len());
        let window = self.window(&whole, cursor);
        let cursor = cursor.saturating_sub(window.start);
        let (wanted, whole) = match window.len() == whole.len() {
            true => (whole, None),
            false => (whole.get(window).unwrap_or("").to_owned(), Some(whole)),
        };
        let same = common_prefix(&self.drawn, &wanted);
        if same < wanted.len() || same < self.drawn.len() {
            step(self.cursor_place(&self.drawn, self.cursor), self.place(&self.drawn, same), out);
            if same < self.drawn.len() {
                out.push_str(CLEAR_TO_END);
            }
            let added = wanted.get(same..).unwrap_or("");
            out.push_str(added);
            let end = self.place(&wanted, wanted.len());
            if end.col == 0 && end.row > 0 && !added.is_empty() {
                out.push_str(BEHIND_FULL_ROW);
            }
            step(end, self.cursor_place(&wanted, cursor), out);
        } else {
            step(self.cursor_place(&self.drawn, self.cursor), self.cursor_place(&wanted, cursor), out);
        }
        (self.drawn, self.cursor, self.whole) = (wanted, cursor, whole);
    }

    /// Leaves what is drawn where it is, all of it, and goes to a fresh row below it. `mark` comes behind the end.
    pub(super) fn leave(&mut self, mark: &str, out: &mut String) {
        if let Some(whole) = self.whole.take() {
            // What scrolls off the screen can be scrolled back to, and is in the recording.
            self.erase(out);
            out.push_str(&whole);
            let end = self.place(&whole, whole.len());
            if end.col == 0 && end.row > 0 {
                out.push_str(BEHIND_FULL_ROW);
            }
            (self.cursor, self.drawn) = (whole.len(), whole);
        }
        let end = self.place(&self.drawn, self.drawn.len());
        step(self.cursor_place(&self.drawn, self.cursor), end, out);
        out.push_str(mark);
        if end.col > 0 || !mark.is_empty() || end.row == 0 {
            out.push_str("\r\n");
        }
        self.forget();
    }

    /// Takes what is drawn off the screen.
    pub(super) fn erase(&mut self, out: &mut String) {
        step(self.cursor_place(&self.drawn, self.cursor), Place::default(), out);
        out.push_str(CLEAR_TO_END);
        self.forget();
    }

    /// Whatever was drawn is no longer there.
    pub(super) fn forget(&mut self) {
        self.drawn.clear();
        self.whole = None;
        (self.cursor, self.above) = (0, 0);
    }

    /// The terminal has this size now, and has probably wrapped what is on it afresh. Draw again after this.
    pub(super) fn resize(&mut self, cols: u32, rows: u32, out: &mut String) {
        (self.cols, self.rows) = within(cols, rows);
        self.erase(out);
    }

    /// The part of `text` that is shown: all, or as many rows as there is room for, moved no further than the cursor makes necessary.
    fn window(&mut self, text: &str, cursor: usize) -> Range<usize> {
        let begins = self.row_begins(text);
        if begins.len() <= self.rows {
            self.above = 0;
            return 0..text.len();
        }
        // The last row is for a cursor behind a full one.
        let height = self.rows.saturating_sub(1);
        let row = self.cursor_place(text, cursor).row;
        let (least, most) =
            (row.saturating_add(1).saturating_sub(height), begins.len().saturating_sub(height));
        self.above = self.above.max(least).min(most.min(row));
        let begin = |row: usize| begins.get(row).copied().unwrap_or(text.len());
        begin(self.above)..begin(self.above.saturating_add(height))
    }

    /// Where in `text` each row begins that it takes.
    fn row_begins(&self, text: &str) -> Vec<usize> {
        let (mut begins, mut place) = (vec![0], Place::default());
        for (at, c) in text.char_indices() {
            place = self.fitting(place, c);
            if place.row == begins.len() {
                begins.push(at);
            }
            place = self.behind(place, c);
        }
        if place.row == begins.len() {
            begins.push(text.len());
        }
        begins
    }

    /// Where drawing `text[..bytes]` takes the cursor of a terminal, given that it never stays behind a full row.
    fn place(&self, text: &str, bytes: usize) -> Place {
        let mut place = Place::default();
        for c in text.get(..bytes).unwrap_or(text).chars() {
            place = self.behind(self.fitting(place, c), c);
        }
        place
    }

    /// Where the cursor is behind a character that was drawn at `place`.
    fn behind(&self, place: Place, c: char) -> Place {
        let col = place.col.saturating_add(c.width().unwrap_or(0));
        match col >= self.cols {
            true => Place { row: place.row.saturating_add(1), col: 0 },
            false => Place { col, ..place },
        }
    }

    /// Where the character at `text[bytes]` is drawn.
    fn cursor_place(&self, text: &str, bytes: usize) -> Place {
        let place = self.place(text, bytes);
        match text.get(bytes..).and_then(|rest| rest.chars().next()) {
            Some(next) => self.fitting(place, next),
            None => place,
        }
    }

    /// A wide character that does not fit into the rest of a row begins the next one.
    fn fitting(&self, place: Place, c: char) -> Place {
        match place.col.saturating_add(c.width().unwrap_or(0)) > self.cols {
            true => Place { row: place.row.saturating_add(1), col: 0 },
            false => place,
        }
    }
}

fn within(cols: u32, rows: u32) -> (usize, usize) {
    let side = |side: u32| usize::try_from(side).unwrap_or(usize::MAX);
    (side(cols).max(COLS_MIN), side(rows).max(ROWS_MIN))
}

/// Bytes that both begin with, so that nothing behind them is drawn onto the last of them.
fn common_prefix(one: &str, other: &str) -> usize {
    let mut same = 0usize;
    for (a, b) in one.chars().zip(other.chars()) {
        if a != b {
            break;
        }
        same = same.saturating_add(a.len_utf8());
    }
    loop {
        let joined = [one, other]
            .iter()
            .any(|text| text.get(same..).and_then(|rest| rest.chars().next()).is_some_and(is_joined));
        match one.get(..same).and_then(|text| text.chars().next_back()) {
            Some(last) if joined => same = same.saturating_sub(last.len_utf8()),
            _ => return same,
        }
    }
}

fn step(from: Place, to: Place, out: &mut String) {
    let rows_up = from.row.saturating_sub(to.row);
    let rows_down = to.row.saturating_sub(from.row);
    if rows_up > 0 {
        out.push_str(&format!("\x1b[{rows_up}A"));
    }
    if rows_down > 0 {
        out.push_str(&format!("\x1b[{rows_down}B"));
    }
    match (to.col, from.col) {
        (to, from) if to == from => {}
        (0, _) => out.push('\r'),
        (to, from) if to.saturating_add(1) == from => out.push('\x08'),
        (to, from) if to < from => out.push_str(&format!("\x1b[{}D", from.saturating_sub(to))),
        (to, from) => out.push_str(&format!("\x1b[{}C", to.saturating_sub(from))),
    }
}
