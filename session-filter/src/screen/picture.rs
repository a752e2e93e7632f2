//! What a screen shows at one moment, and the bytes that draw it elsewhere.

use std::fmt::Write as _;

use super::Screen;
use crate::text::acts_on_terminal;

/// What a terminal shows at one moment: lines with colours, and where the cursor is.
///
/// It is drawn with bytes of our own making: text, `SGR`, cursor moves, erasing. Whatever else the program behind it sent (titles,
/// clipboard, queries, device control) is not in it, and control and reordering characters never are.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    cols: u16,
    rows: u16,
    lines: Vec<Line>,
    /// Row and column from 0; nothing while it is hidden.
    cursor: Option<(u16, u16)>,
}

#[derive(Clone, PartialEq, Eq)]
struct Line {
    drawn: String,
    width: u16,
}

/// What is on the screen may be secret: only the size is shown.
impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picture").field("cols", &self.cols).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Picture {
    /// What `screen` shows, cut to at most `cols_max` columns and `rows_max` rows. Of a screen with more rows those are shown that
    /// end with the cursor's, so that what is being typed is in view.
    pub fn of(screen: &Screen, cols_max: u16, rows_max: u16) -> Self {
        let shown = screen.parser().screen();
        let (rows, cols) = shown.size();
        let (rows, cols) = (rows.get(), cols.get());
        let (kept_rows, kept_cols) = (rows.min(rows_max.max(1)), cols.min(cols_max.max(1)));
        let (cursor_row, cursor_col) = shown.cursor_position();
        let first =
            cursor_row.saturating_add(1).saturating_sub(kept_rows).min(rows.saturating_sub(kept_rows));
        let lines =
            (first..first.saturating_add(kept_rows)).map(|row| Line::of(shown, row, kept_cols)).collect();
        let cursor = (!shown.hide_cursor()).then(|| {
            // After the last column a terminal keeps the cursor on it until something more is written.
            (cursor_row.saturating_sub(first), cursor_col.min(kept_cols.saturating_sub(1)))
        });
        Self { cols: kept_cols, rows: kept_rows, lines, cursor }
    }

    /// Columns.
    pub fn cols(&self) -> u16 {
        self.cols
    }

    /// Rows.
    pub fn rows(&self) -> u16 {
        self.rows
    }

    /// Draws all of it on a terminal that shows whatever it shows. The terminal needs at least [`cols`](Self::cols) and
    /// [`rows`](Self::rows).
    pub fn snapshot(&self) -> String {
        let mut out = String::from("\x1b[0m\x1b[2J");
        for (row, line) in self.lines.iter().enumerate() {
            if line.width > 0 {
                self.draw(&mut out, row, line);
            }
        }
        self.place_cursor(&mut out);
        out
    }

    /// Turns a terminal that shows `previous` into one that shows this. Empty when nothing changed.
    pub fn diff(&self, previous: &Self) -> String {
        if (self.cols, self.rows) != (previous.cols, previous.rows) {
            return self.snapshot();
        }
        let mut out = String::new();
        for (row, (line, before)) in self.lines.iter().zip(&previous.lines).enumerate() {
            if line != before {
                self.draw(&mut out, row, line);
            }
        }
        if !out.is_empty() || self.cursor != previous.cursor {
            self.place_cursor(&mut out);
        }
        out
    }

    /// The text alone, one line per row, without trailing spaces.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let mut escaped = false;
            let from = out.len();
            for c in line.drawn.chars() {
                match c {
                    '\x1b' => escaped = true,
                    'm' if escaped => escaped = false,
                    _ if escaped => {}
                    _ => out.push(c),
                }
            }
            out.truncate(out.get(from..).map_or(0, |text| text.trim_end().len()).saturating_add(from));
            out.push('\n');
        }
        out
    }

    // Writing to a `String` cannot fail, here and below.

    fn draw(&self, out: &mut String, row: usize, line: &Line) {
        let _ = write!(out, "\x1b[{};1H{}", row.saturating_add(1), line.drawn);
        // In a full line the cursor still stands on the last column, which this would erase.
        if line.width < self.cols {
            out.push_str("\x1b[K");
        }
    }

    fn place_cursor(&self, out: &mut String) {
        match self.cursor {
            Some((row, col)) => {
                let _ = write!(out, "\x1b[{};{}H\x1b[?25h", row.saturating_add(1), col.saturating_add(1));
            }
            None => out.push_str("\x1b[?25l"),
        }
    }
}

impl Line {
    /// Begins and ends with default attributes.
    fn of(shown: &vt100::Screen, row: u16, cols: u16) -> Self {
        let (mut drawn, mut width, mut looks) = (String::new(), 0_u16, Looks::default());
        let mut blanks = 0_usize;
        let mut col = 0_u16;
        while let Some(cell) = shown.cell(row, col).filter(|_| col < cols) {
            let cell_width = if cell.is_wide() { 2 } else { 1 };
            let next = col.saturating_add(cell_width);
            let cell_looks = Looks::of(cell);
            if next > cols || (!cell.has_contents() && cell_looks == Looks::default()) {
                blanks = blanks.saturating_add(1);
                col = col.saturating_add(1);
                continue;
            }
            if blanks > 0 {
                looks.turn_into(&mut drawn, Looks::default());
                drawn.extend(std::iter::repeat_n(' ', std::mem::take(&mut blanks)));
                looks = Looks::default();
            }
            looks.turn_into(&mut drawn, cell_looks);
            looks = cell_looks;
            push_contents(&mut drawn, cell);
            width = next;
            col = next;
        }
        looks.turn_into(&mut drawn, Looks::default());
        Self { drawn, width }
    }
}

/// A cell is one character and what combines with it. Those that reorder or hide text are left out, so that nobody is shown something
/// else than what stands there.
fn push_contents(out: &mut String, cell: &vt100::Cell) {
    let mut chars = cell.contents().chars();
    match chars.next() {
        Some(first) if !acts_on_terminal(first) => out.push(first),
        _ => out.push_str(if cell.is_wide() { "\u{fffd} " } else { " " }),
    }
    out.extend(chars.filter(|c| !acts_on_terminal(*c)));
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Looks {
    foreground: vt100::Color,
    background: vt100::Color,
    /// Bold, dim, italic, underlined, inverse.
    marks: [bool; 5],
}

impl Default for Looks {
    fn default() -> Self {
        Self { foreground: vt100::Color::Default, background: vt100::Color::Default, marks: [false; 5] }
    }
}

impl Looks {
    fn of(cell: &vt100::Cell) -> Self {
        Self {
            foreground: cell.fgcolor(),
            background: cell.bgcolor(),
            marks: [cell.bold(), cell.dim(), cell.italic(), cell.underline(), cell.inverse()],
        }
    }

    /// Changes how the next text looks. Always from the ground up: the few bytes more are nothing to a watcher.
    fn turn_into(self, out: &mut String, next: Self) {
        if self == next {
            return;
        }
        out.push_str("\x1b[0");
        for (set, code) in next.marks.iter().zip([1, 2, 3, 4, 7]) {
            if *set {
                let _ = write!(out, ";{code}");
            }
        }
        for (colour, plane) in [(next.foreground, 38), (next.background, 48)] {
            let _ = match colour {
                vt100::Color::Default => Ok(()),
                vt100::Color::Idx(index) => write!(out, ";{plane};5;{index}"),
                vt100::Color::Rgb(r, g, b) => write!(out, ";{plane};2;{r};{g};{b}"),
            };
        }
        out.push('m');
    }
}
