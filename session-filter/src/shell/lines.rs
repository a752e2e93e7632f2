//! Lines from a client that has no terminal: `ssh host < file`.

use crate::limits::LINE_BYTES_MAX;

/// Cuts a stream of bytes into lines. A line ends with `\n` or `\r\n`; the last one may end with the stream.
///
/// Of a line longer than [`LINE_BYTES_MAX`] so much is kept that whoever checks it sees that it is too long.
#[derive(Default)]
pub struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes up to the end of a line. Returns the line, without its end, where there is one, and what follows it.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> (Option<Vec<u8>>, &'a [u8]) {
        match bytes.iter().position(|byte| *byte == b'\n') {
            None => {
                self.keep(bytes);
                (None, &[])
            }
            Some(end) => {
                let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
                self.keep(line);
                let mut line = std::mem::take(&mut self.line);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                (Some(line), rest.get(1..).unwrap_or(&[]))
            }
        }
    }

    /// The stream has ended: what there is without an end of its own.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        (!line.is_empty()).then_some(line)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_add(2).saturating_sub(self.line.len());
        self.line.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut all) = (Lines::new(), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (line, after) = lines.take(rest);
                all.extend(line);
                rest = after;
            }
        }
        all.extend(lines.finish());
        all
    }

    #[test]
    fn lines_end_where_they_end_however_they_arrive() {
        let expected: Vec<Vec<u8>> =
            ["a", "", "b c", "d"].iter().map(|line| line.as_bytes().to_vec()).collect();
        assert_eq!(all(&[b"a\n\nb c\r\nd"]), expected);
        assert_eq!(all(&[b"a", b"\n", b"\nb", b" c\r", b"\nd\n"]), expected);
    }

    #[test]
    fn a_line_that_is_too_long_stays_too_long_and_the_next_one_is_whole() {
        let long = vec![b'x'; LINE_BYTES_MAX * 3];
        let read = all(&[&long, b"\nnext\n"]);
        assert!(read[0].len() > LINE_BYTES_MAX && read[0].len() < LINE_BYTES_MAX + 10);
        assert_eq!(read[1], b"next");
    }
}
