//! Columns that line up, although rows keep coming.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use crate::terminal::{Paint, Palette, inert};

/// Rows that are looked at before the widths of the columns are settled.
const ROWS_AHEAD: usize = 100;
/// Widest column that later rows are lined up with; a longer cell pushes the rest of its row.
const COLUMNS_MAX: usize = 60;

/// A table that is printed as it grows: the first rows settle the widths, later ones go out at once, so that a million
/// rows need no more memory than a hundred.
#[derive(Debug)]
pub(crate) struct Table {
    names: Vec<String>,
    ahead: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    palette: Palette,
}

impl Table {
    /// With columns of these names.
    pub(crate) fn new(names: Vec<String>, palette: Palette) -> Self {
        Self { names, ahead: Vec::new(), widths: None, palette }
    }

    /// One more row, of outside text.
    pub(crate) fn row(&mut self, out: &mut dyn Write, cells: Vec<String>) -> io::Result<()> {
        let cells: Vec<String> = cells.iter().map(|cell| inert(cell).into_owned()).collect();
        if let Some(widths) = &self.widths {
            return line(out, &cells, widths);
        }
        self.ahead.push(cells);
        if self.ahead.len() >= ROWS_AHEAD { self.settle(out) } else { Ok(()) }
    }

    /// Prints what is held back.
    pub(crate) fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.widths.is_none() && !self.ahead.is_empty() { self.settle(out) } else { Ok(()) }
    }

    fn settle(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let widths: Vec<usize> = self
            .names
            .iter()
            .enumerate()
            .map(|(column, name)| {
                let cells = self.ahead.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
                cells.chain([name.width()]).max().unwrap_or(0).min(COLUMNS_MAX)
            })
            .collect();
        let mut head = Vec::new();
        line(&mut head, &self.names, &widths)?;
        let head = String::from_utf8_lossy(&head);
        writeln!(out, "{}", self.palette.paint(Paint::Dim, head.trim_end()))?;
        for cells in std::mem::take(&mut self.ahead) {
            line(out, &cells, &widths)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn line(out: &mut dyn Write, cells: &[String], widths: &[usize]) -> io::Result<()> {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()).saturating_add(2)));
    }
    writeln!(out, "{}", text.trim_end())
}

/// The text with spaces up to a width.
pub(crate) fn padded(text: &str, width: usize) -> String {
    let mut padded = text.to_owned();
    padded.extend(std::iter::repeat_n(' ', width.saturating_sub(text.width())));
    padded
}
