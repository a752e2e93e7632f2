//! Draws a prompt and a line on a terminal whose width is known, over as many rows as they take.

use unicode_width::UnicodeWidthChar as _;

use super::buffer::is_joined;
use crate::grammar::escape_into;

/// What is on the screen, and where the cursor is in it.
pub(super) struct Drawing {
    cols: usize,
    drawn: String,
    /// Bytes of `drawn` before the cursor.
    cursor: usize,
}

/// A place, counted from where the prompt begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    row: usize,
    col: usize,
}

const CLEAR_TO_END: &str = "\x1b[J";
const COLS_MIN: usize = 2;

impl Drawing {
    pub(super) fn new(cols: usize) -> Self {
        Self { cols: cols.max(COLS_MIN), drawn: String::new(), cursor: 0 }
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// The cursor is at the start of a row, on which something may still be from a program that wrote all over the screen.
    pub(super) fn begin(&mut self, out: &mut String) {
        self.forget();
        out.push_str(CLEAR_TO_END);
    }

    /// Shows `prompt`, `before` and `after`, with the cursor between the latter two. What is the same already stays.
    pub(super) fn show(&mut self, prompt: &str, before: &str, after: &str, out: &mut String) {
        let mut wanted =
            String::with_capacity(prompt.len().saturating_add(before.len()).saturating_add(after.len()));
        for text in [prompt, before] {
            escape_into(text, usize::MAX, &mut wanted);
        }
        let cursor = wanted.len();
        escape_into(after, usize::MAX, &mut wanted);
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
                // Behind a full row a terminal keeps its cursor in the last column; this takes it to the next row.
                out.push_str(" \r");
            }
            step(end, self.cursor_place(&wanted, cursor), out);
        } else {
            step(self.cursor_place(&self.drawn, self.cursor), self.cursor_place(&wanted, cursor), out);
        }
        (self.drawn, self.cursor) = (wanted, cursor);
    }

    /// Leaves what is drawn where it is, and goes to a fresh row below it. `mark` comes behind the end.
    pub(super) fn leave(&mut self, mark: &str, out: &mut String) {
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
        self.cursor = 0;
    }

    /// The terminal is `cols` wide now, and has probably wrapped what is on it afresh. Draw again after this.
    pub(super) fn resize(&mut self, cols: usize, out: &mut String) {
        self.cols = cols.max(COLS_MIN);
        self.erase(out);
    }

    /// Where drawing `text[..bytes]` takes the cursor of a terminal, given that it never stays behind a full row.
    fn place(&self, text: &str, bytes: usize) -> Place {
        let mut place = Place::default();
        for c in text.get(..bytes).unwrap_or(text).chars() {
            place = self.fitting(place, c);
            place.col = place.col.saturating_add(c.width().unwrap_or(0));
            if place.col >= self.cols {
                place = Place { row: place.row.saturating_add(1), col: 0 };
            }
        }
        place
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
