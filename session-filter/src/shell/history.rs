//! The lines that were accepted at a prompt.

use std::collections::VecDeque;

use crate::limits::{HISTORY_BYTES_MAX, HISTORY_LINES_MAX};

/// Lines in the order in which they were accepted, each with a number that it keeps.
///
/// It lives as long as its prompt and is kept nowhere else. At most [`HISTORY_LINES_MAX`] lines of [`HISTORY_BYTES_MAX`] in all.
#[derive(Clone, Default)]
pub struct History {
    lines: VecDeque<String>,
    bytes: usize,
    forgotten: usize,
}

impl History {
    /// No lines.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers a line, unless it is empty or the same as the last one.
    pub fn push(&mut self, line: &str) {
        if line.trim().is_empty() || self.lines.back().is_some_and(|last| last == line) {
            return;
        }
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line.to_owned());
        while self.lines.len() > HISTORY_LINES_MAX || self.bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.len());
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }

    /// How many lines are remembered.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The line at `at`, counted from the oldest that is remembered.
    pub fn line(&self, at: usize) -> Option<&str> {
        self.lines.get(at).map(String::as_str)
    }

    /// All lines with their numbers, oldest first.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines
            .iter()
            .enumerate()
            .map(|(at, line)| (self.forgotten.saturating_add(at).saturating_add(1), line.as_str()))
    }

    /// The latest line before `at` that holds `text`.
    pub fn search(&self, text: &str, at: usize) -> Option<usize> {
        (0..at.min(self.lines.len())).rev().find(|at| self.line(*at).is_some_and(|line| line.contains(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_lines_and_keeps_their_numbers_right() {
        let mut history = History::new();
        for at in 0..HISTORY_LINES_MAX + 5 {
            history.push(&format!("line {at}"));
            history.push(&format!("line {at}"));
            history.push("  ");
        }
        assert_eq!(history.len(), HISTORY_LINES_MAX);
        assert_eq!(history.numbered().next(), Some((6, "line 5")));
        let long = "x".repeat(HISTORY_BYTES_MAX / 4);
        for at in 0..5 {
            history.push(&format!("{at}{long}"));
        }
        assert_eq!(history.len(), 3);
        assert_eq!(history.bytes, history.lines.iter().map(String::len).sum::<usize>());
    }

    #[test]
    fn searches_backwards() {
        let mut history = History::new();
        ["df -h", "uptime", "df -i"].iter().for_each(|line| history.push(line));
        assert_eq!(history.search("df", usize::MAX), Some(2));
        assert_eq!(history.search("df", 2), Some(0));
        assert_eq!(history.search("df", 0), None);
    }
}
