//! A recording as text: the lines that were written, in order, with edits applied.

use std::io::{self, Write};

use session_filter::recording::Scene;

use super::player::Source;
use crate::failure::Failure;
use crate::film::Film;
use crate::terminal::{acts, inert};

/// Longest line that is put together; a longer one goes on in the next.
const LINE_CHARS_MAX: usize = 10_000;

/// Prints the recording from `from_ms` on: each line with the time at which it was finished, commands between them.
///
/// Lines are those of the stream, not of the screen: what was cleared or scrolled away stays, and what a full-screen program drew
/// comes in the order in which it drew it.
pub(crate) fn print(
    source: &impl Source,
    film: &Film,
    from_ms: u64,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    writeln!(out, "{}", inert(&film.title))?;
    writeln!(out, "recording {}: {}", film.number, film.summary())?;
    let mut parser = vte::Parser::new();
    let mut page = Page::default();
    let mut marks = film.marks.iter().peekable();
    let mut last_ms = 0;
    for cue in source.from(film.seqs.0)? {
        let cue = cue?;
        last_ms = cue.at_ms.max(last_ms);
        while let Some(mark) = marks.next_if(|mark| mark.at_ms <= last_ms) {
            if mark.at_ms >= from_ms {
                line(out, mark.at_ms, "▸ ", &mark.shown())?;
            }
        }
        if let Scene::Output(bytes) = cue.scene {
            parser.advance(&mut page, &bytes);
            for done in page.done.drain(..) {
                if last_ms >= from_ms {
                    line(out, last_ms, "  ", &done)?;
                }
            }
        }
    }
    page.end_line();
    for done in page.done.drain(..) {
        line(out, last_ms, "  ", &done)?;
    }
    for mark in marks {
        line(out, mark.at_ms, "▸ ", &mark.shown())?;
    }
    Ok(())
}

fn line(out: &mut dyn Write, at_ms: u64, sign: &str, text: &str) -> io::Result<()> {
    writeln!(out, "{:>6}.{:03} {sign}{}", at_ms / 1000, at_ms % 1000, inert(text))
}

/// The line being written, and those that are finished.
#[derive(Debug, Default)]
struct Page {
    line: Vec<char>,
    column: usize,
    done: Vec<String>,
}

impl Page {
    fn end_line(&mut self) {
        let line: String = self.line.drain(..).collect();
        self.column = 0;
        let line = line.trim_end();
        if !line.is_empty() {
            self.done.push(line.to_owned());
        }
    }
}

impl vte::Perform for Page {
    fn print(&mut self, character: char) {
        if acts(character) {
            return;
        }
        if self.column >= LINE_CHARS_MAX {
            self.end_line();
        }
        if self.line.len() < self.column {
            self.line.resize(self.column, ' ');
        }
        match self.line.get_mut(self.column) {
            Some(there) => *there = character,
            None => self.line.push(character),
        }
        self.column += 1;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' | 0x0b | 0x0c => self.end_line(),
            b'\r' => self.column = 0,
            0x08 => self.column = self.column.saturating_sub(1),
            b'\t' => self.column = (self.column / 8 + 1).saturating_mul(8).min(LINE_CHARS_MAX),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &vte::Params, intermediates: &[u8], _: bool, action: char) {
        let number = params.iter().next().and_then(|values| values.first()).copied().unwrap_or(0);
        let count = usize::from(number.max(1));
        match action {
            _ if !intermediates.is_empty() => {}
            'C' => self.column = self.column.saturating_add(count).min(LINE_CHARS_MAX),
            'D' => self.column = self.column.saturating_sub(count),
            'G' => self.column = (count - 1).min(LINE_CHARS_MAX),
            'K' if number == 0 => self.line.truncate(self.column),
            'K' if number == 2 => self.line.clear(),
            'P' => {
                let end = self.column.saturating_add(count).min(self.line.len());
                self.line.drain(self.column.min(end)..end);
            }
            // Elsewhere on the screen: another line.
            'A' | 'B' | 'E' | 'F' | 'H' | 'f' | 'd' | 'J' => self.end_line(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(output: &str) -> Vec<String> {
        let mut page = Page::default();
        vte::Parser::new().advance(&mut page, output.as_bytes());
        page.end_line();
        page.done
    }

    #[test]
    fn edits_are_applied_and_nothing_else_is_left() {
        assert_eq!(lines("$ lx\x08s -l\r\ntotal 4\r\n"), ["$ ls -l", "total 4"]);
        assert_eq!(lines("10%\r20%\r100%\x1b[K\n"), ["100%"]);
        assert_eq!(
            lines("\x1b]0;title\x07\x1b[1;31mred\x1b[0m\tx\x1b]52;c;aGk=\x1b\\\u{202e}"),
            ["red     x"]
        );
        assert_eq!(lines("abc\x1b[2D\x1b[PX\x1b[2K\x1b[1Gnew"), ["new"]);
    }

    #[test]
    fn what_is_cleared_stays() {
        assert_eq!(lines("secret deed\x1b[2J\x1b[Hinnocent"), ["secret deed", "innocent"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let lines = lines(&("x".repeat(LINE_CHARS_MAX + 5) + "\x1b[99999C\x1b[99999Cy\ty"));
        assert!(lines.iter().all(|line| line.chars().count() <= LINE_CHARS_MAX + 1), "{}", lines.len());
    }
}
