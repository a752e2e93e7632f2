//! The line being edited: text, a cursor, and what was last killed.

use unicode_width::UnicodeWidthChar as _;

use crate::limits::LINE_BYTES_MAX;

/// INVARIANT: `cursor` is at a character boundary of `text`, and never before a character that is drawn onto the one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Buffer {
    text: String,
    cursor: usize,
}

impl Buffer {
    /// `text`, with the cursor behind it.
    pub(super) fn holding(text: &str) -> Self {
        Self { text: text.to_owned(), cursor: text.len() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn before(&self) -> &str {
        self.text.get(..self.cursor).unwrap_or("")
    }

    pub(super) fn after(&self) -> &str {
        self.text.get(self.cursor..).unwrap_or("")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Inserts at the cursor. `false` where the line would grow beyond [`LINE_BYTES_MAX`]: then nothing is inserted.
    pub(super) fn insert(&mut self, text: &str) -> bool {
        if self.text.len().saturating_add(text.len()) > LINE_BYTES_MAX {
            return false;
        }
        self.text.insert_str(self.cursor, text);
        self.cursor = self.cursor.saturating_add(text.len());
        // What was behind the cursor may now be drawn onto what was inserted.
        self.cursor = self.cursor.saturating_add(joined_length(self.after()));
        true
    }

    /// Replaces what is between `from` and the cursor. `false` where the line would grow beyond its limit, or `from` is nowhere.
    pub(super) fn replace_before(&mut self, from: usize, text: &str) -> bool {
        let (Some(kept), after) = (self.before().get(..from), self.after()) else { return false };
        if kept.len().saturating_add(text.len()).saturating_add(after.len()) > LINE_BYTES_MAX {
            return false;
        }
        let cursor = kept.len().saturating_add(text.len());
        let whole = format!("{kept}{text}{after}");
        *self = Self { text: whole, cursor };
        self.cursor = self.cursor.saturating_add(joined_length(self.after()));
        true
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.cursor.saturating_sub(last_length(self.before()));
    }

    pub(super) fn right(&mut self) {
        self.cursor = self.cursor.saturating_add(first_length(self.after()));
    }

    pub(super) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    pub(super) fn word_left(&mut self) {
        self.cursor = word_start(self.before());
    }

    pub(super) fn word_right(&mut self) {
        self.cursor = self.cursor.saturating_add(word_end(self.after()));
    }

    /// Removes the character before the cursor.
    pub(super) fn backspace(&mut self) -> bool {
        let from = self.cursor.saturating_sub(last_length(self.before()));
        !self.cut(from, self.cursor).is_empty()
    }

    /// Removes the character at the cursor.
    pub(super) fn delete(&mut self) -> bool {
        let to = self.cursor.saturating_add(first_length(self.after()));
        !self.cut(self.cursor, to).is_empty()
    }

    pub(super) fn kill_to_end(&mut self) -> String {
        self.cut(self.cursor, self.text.len())
    }

    pub(super) fn kill_to_start(&mut self) -> String {
        self.cut(0, self.cursor)
    }

    /// Back to white space.
    pub(super) fn kill_back(&mut self) -> String {
        let word = self.before().trim_end_matches(' ');
        let from = word.rfind(' ').map_or(0, |space| space.saturating_add(1));
        self.cut(from, self.cursor)
    }

    /// Back to the start of a name.
    pub(super) fn kill_word_back(&mut self) -> String {
        self.cut(word_start(self.before()), self.cursor)
    }

    pub(super) fn kill_word(&mut self) -> String {
        let to = self.cursor.saturating_add(word_end(self.after()));
        self.cut(self.cursor, to)
    }

    /// Swaps the characters before and at the cursor; at the end, the last two.
    pub(super) fn transpose(&mut self) -> bool {
        let mut middle = self.cursor;
        if self.after().is_empty() {
            middle = middle.saturating_sub(last_length(self.before()));
        }
        let (Some(before), Some(after)) = (self.text.get(..middle), self.text.get(middle..)) else {
            return false;
        };
        let (left, right) = (last_length(before), first_length(after));
        if left == 0 || right == 0 {
            return false;
        }
        let (from, to) = (middle.saturating_sub(left), middle.saturating_add(right));
        let swapped = match (self.text.get(middle..to), self.text.get(from..middle)) {
            (Some(right), Some(left)) => format!("{right}{left}"),
            _ => return false,
        };
        self.text.replace_range(from..to, &swapped);
        self.cursor = to;
        true
    }

    fn cut(&mut self, from: usize, to: usize) -> String {
        let Some(cut) = self.text.get(from..to).map(str::to_owned) else { return String::new() };
        self.text.replace_range(from..to, "");
        self.cursor = from;
        self.cursor = self.cursor.saturating_add(joined_length(self.after()));
        cut
    }
}

/// Whether a character is drawn onto the one before it.
pub(super) fn is_joined(c: char) -> bool {
    !c.is_control() && c.width() == Some(0)
}

fn joined_length(text: &str) -> usize {
    text.chars().take_while(|c| is_joined(*c)).map(char::len_utf8).sum()
}

/// Bytes of the first character with what is drawn onto it.
fn first_length(text: &str) -> usize {
    let mut characters = text.chars();
    match characters.next() {
        None => 0,
        Some(first) => first.len_utf8().saturating_add(joined_length(characters.as_str())),
    }
}

/// Bytes of the last character with what is drawn onto it.
fn last_length(text: &str) -> usize {
    let mut length = 0usize;
    for c in text.chars().rev() {
        length = length.saturating_add(c.len_utf8());
        if !is_joined(c) {
            break;
        }
    }
    length
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || is_joined(c)
}

/// Where the last word begins.
fn word_start(text: &str) -> usize {
    text.trim_end_matches(|c| !in_word(c)).trim_end_matches(in_word).len()
}

/// Where the first word ends.
fn word_end(text: &str) -> usize {
    let rest = text.trim_start_matches(|c| !in_word(c)).trim_start_matches(in_word);
    text.len().saturating_sub(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same line by definition: characters and an index.
    #[derive(Default)]
    struct Model {
        characters: Vec<char>,
        cursor: usize,
    }

    impl Model {
        fn settle(&mut self) {
            while self.characters.get(self.cursor).is_some_and(|c| is_joined(*c)) {
                self.cursor += 1;
            }
        }

        fn left_of(&self, mut at: usize) -> usize {
            while at > 0 {
                at -= 1;
                if !is_joined(self.characters[at]) {
                    break;
                }
            }
            at
        }

        fn right_of(&self, mut at: usize) -> usize {
            at = (at + 1).min(self.characters.len());
            while self.characters.get(at).is_some_and(|c| is_joined(*c)) {
                at += 1;
            }
            at
        }

        fn remove(&mut self, from: usize, to: usize) -> String {
            let removed = self.characters.drain(from..to).collect();
            self.cursor = from;
            self.settle();
            removed
        }

        fn back_while(&self, mut at: usize, holds: impl Fn(char) -> bool) -> usize {
            while at > 0 && holds(self.characters[at - 1]) {
                at -= 1;
            }
            at
        }

        fn on_while(&self, mut at: usize, holds: impl Fn(char) -> bool) -> usize {
            while at < self.characters.len() && holds(self.characters[at]) {
                at += 1;
            }
            at
        }

        fn word_start(&self) -> usize {
            self.back_while(self.back_while(self.cursor, |c| !in_word(c)), in_word)
        }

        fn word_end(&self) -> usize {
            self.on_while(self.on_while(self.cursor, |c| !in_word(c)), in_word)
        }

        fn transpose(&mut self) {
            let middle =
                if self.cursor == self.characters.len() { self.left_of(self.cursor) } else { self.cursor };
            let (from, to) = (self.left_of(middle), self.right_of(middle));
            if from < middle && middle < self.characters.len() {
                self.characters[from..to].rotate_left(middle - from);
                self.cursor = to;
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Edit {
        Insert(String),
        Left,
        Right,
        Home,
        End,
        WordLeft,
        WordRight,
        Backspace,
        Delete,
        KillToEnd,
        KillToStart,
        KillBack,
        KillWordBack,
        KillWord,
        Transpose,
    }

    fn edit() -> impl Strategy<Value = Edit> {
        prop_oneof![
            4 => "[a-c_ /é漢\u{301}🦀\u{200d}'-]{1,5}".prop_map(Edit::Insert),
            1 => prop::sample::select(vec![
                Edit::Left, Edit::Right, Edit::Home, Edit::End, Edit::WordLeft, Edit::WordRight, Edit::Backspace,
                Edit::Delete, Edit::KillToEnd, Edit::KillToStart, Edit::KillBack, Edit::KillWordBack, Edit::KillWord,
                Edit::Transpose,
            ]),
            2 => prop::sample::select(vec![Edit::Left, Edit::WordLeft, Edit::Transpose, Edit::Delete]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn editing_agrees_with_characters_and_an_index(edits in prop::collection::vec(edit(), 1..40)) {
            let (mut buffer, mut model) = (Buffer::default(), Model::default());
            for edit in edits {
                let (mut killed, mut expected) = (String::new(), String::new());
                let (at, end) = (model.cursor, model.characters.len());
                match &edit {
                    Edit::Insert(text) => {
                        prop_assert!(buffer.insert(text));
                        model.characters.splice(at..at, text.chars());
                        model.cursor += text.chars().count();
                        model.settle();
                    }
                    Edit::Left => { buffer.left(); model.cursor = model.left_of(at); }
                    Edit::Right => { buffer.right(); model.cursor = model.right_of(at); }
                    Edit::Home => { buffer.home(); model.cursor = 0; }
                    Edit::End => { buffer.end(); model.cursor = end; }
                    Edit::WordLeft => { buffer.word_left(); model.cursor = model.word_start(); }
                    Edit::WordRight => { buffer.word_right(); model.cursor = model.word_end(); }
                    Edit::Backspace => { buffer.backspace(); model.remove(model.left_of(at), at); }
                    Edit::Delete => { buffer.delete(); model.remove(at, model.right_of(at)); }
                    Edit::KillToEnd => { killed = buffer.kill_to_end(); expected = model.remove(at, end); }
                    Edit::KillToStart => { killed = buffer.kill_to_start(); expected = model.remove(0, at); }
                    Edit::KillBack => {
                        killed = buffer.kill_back();
                        let from = model.back_while(model.back_while(at, |c| c == ' '), |c| c != ' ');
                        expected = model.remove(from, at);
                    }
                    Edit::KillWordBack => {
                        killed = buffer.kill_word_back();
                        expected = model.remove(model.word_start(), at);
                    }
                    Edit::KillWord => { killed = buffer.kill_word(); expected = model.remove(at, model.word_end()); }
                    Edit::Transpose => { buffer.transpose(); model.transpose(); }
                }
                let before: String = model.characters[..model.cursor].iter().collect();
                let after: String = model.characters[model.cursor..].iter().collect();
                prop_assert_eq!((buffer.before(), buffer.after()), (before.as_str(), after.as_str()), "{:?}", edit);
                prop_assert_eq!(killed, expected, "{:?}", edit);
            }
        }
    }

    #[test]
    fn a_line_does_not_grow_beyond_its_limit() {
        let mut buffer = Buffer::default();
        assert!(buffer.insert(&"x".repeat(LINE_BYTES_MAX)));
        assert!(!buffer.insert("y"));
        assert!(!buffer.replace_before(LINE_BYTES_MAX, "y"));
        assert_eq!(buffer.text().len(), LINE_BYTES_MAX);
        assert!(buffer.backspace() && buffer.insert("y"));
    }
}
