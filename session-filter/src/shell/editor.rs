//! The line editor: keys in, drawing and whole lines out.

use std::collections::VecDeque;

use super::buffer::Buffer;
use super::completion::{Completion, typed, typed_start};
use super::drawing::Drawing;
use super::history::History;
use super::keys::{Key, Keys};
use crate::grammar::escape_into;
use crate::limits::{COMPLETIONS_MAX, TYPED_AHEAD_BYTES_MAX};

/// What came of the keys. After any action but [`Complete`](Action::Complete) and [`Pause`](Action::Pause) the editor rests until the
/// next [`begin`](Editor::begin); what was typed in the meantime waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A line was accepted. It holds no control character; nothing else about it was checked.
    Line(String),
    /// Ctrl-C: the line was given up, and with it what was left of a paste.
    Interrupt,
    /// Ctrl-D on an empty line.
    EndOfInput,
    /// Tab: the editor waits for [`offer`](Editor::offer), with the text before the cursor.
    Complete(String),
    /// There are more keys, and enough was drawn or looked for: show what was drawn, then step again.
    Pause,
}

/// What one [`Editor::step`] draws or lays out at the most, give or take one drawing of the line. A few bytes can ask for all of the line.
const DRAWN_BYTES_MAX: usize = 64 * 1024;
/// Keys that one [`Editor::step`] acts on at the most, those not counted that add a character: others may walk over the line or
/// look through the history.
const KEYS_MAX: usize = 1024;

/// Edits one line after the other on a terminal.
///
/// Whoever owns it feeds what the terminal sends, steps until nothing more comes of it, and shows what [`Editor::drawn`] gives.
pub struct Editor {
    keys: Keys,
    /// Bytes that were not looked at yet.
    waiting: VecDeque<u8>,
    ready: VecDeque<Key>,
    /// What is left of a paste, line by line.
    pasted: VecDeque<Pasted>,
    taken: Vec<u8>,
    prompt: String,
    buffer: Buffer,
    /// Why the line is not what was typed: such a line is not accepted.
    spoiled: Option<&'static str>,
    killed: Killed,
    history: History,
    /// The line of the history that is shown, and the line that was being written before.
    browsing: Option<(usize, Buffer)>,
    search: Option<Search>,
    /// Tab was pressed and led nowhere: the next one lists.
    tabbed: bool,
    drawing: Drawing,
    out: String,
}

enum Pasted {
    Text(String),
    Enter,
}

#[derive(Default)]
struct Killed {
    text: String,
    /// The last key killed, too: what the next one kills joins it.
    growing: bool,
}

struct Search {
    wanted: String,
    found: Option<usize>,
    before: Buffer,
}

const BELL: char = '\x07';

impl Editor {
    /// An editor on a terminal of `cols` columns and `rows` rows, with nothing typed yet.
    pub fn new(cols: u32, rows: u32) -> Self {
        Self {
            keys: Keys::new(),
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            pasted: VecDeque::new(),
            taken: Vec::new(),
            prompt: String::new(),
            buffer: Buffer::default(),
            spoiled: None,
            killed: Killed::default(),
            history: History::new(),
            browsing: None,
            search: None,
            tabbed: false,
            drawing: Drawing::new(cols, rows),
            out: String::new(),
        }
    }

    /// Shows the prompt and takes keys from here on. The cursor must be at the start of a row; what is from there on is
    /// cleared.
    pub fn begin(&mut self, prompt: &str) {
        self.prompt = prompt.to_owned();
        self.drawing.begin(&mut self.out);
        self.draw();
    }

    /// Takes what the terminal sent. `false` where more than [`TYPED_AHEAD_BYTES_MAX`] would wait: then nothing of it is taken.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        if self.waiting.len().saturating_add(bytes.len()) > TYPED_AHEAD_BYTES_MAX {
            self.out.push(BELL);
            return false;
        }
        self.waiting.extend(bytes);
        true
    }

    /// Acts on keys until there is something to do, or no key is left.
    pub fn step(&mut self) -> Option<Action> {
        let (mut keys_left, mut laid_out) = (KEYS_MAX, 0_usize);
        loop {
            laid_out = laid_out.saturating_add(self.drawing.laid_out());
            if self.has_more() && (keys_left == 0 || self.out.len().max(laid_out) >= DRAWN_BYTES_MAX) {
                return Some(Action::Pause);
            }
            let action = if let Some(piece) = self.pasted.pop_front() {
                self.piece(piece)
            } else if let Some(key) = self.ready.pop_front() {
                if self.search.is_some() || !matches!(key, Key::Character(_)) {
                    keys_left = keys_left.saturating_sub(1);
                }
                self.key(key)
            } else if let Some(byte) = self.waiting.pop_front() {
                self.taken.push(byte);
                let mut keys = Vec::new();
                self.keys.press(byte, &mut keys);
                self.ready.extend(keys);
                None
            } else {
                self.draw();
                return None;
            };
            if action.is_some() {
                return action;
            }
        }
    }

    /// What is to be shown since the last call. Control sequences move the cursor and clear; the text in it is printable.
    pub fn drawn(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// The line as it is now.
    pub fn line(&self) -> &str {
        self.buffer.text()
    }

    /// Bytes of it before the cursor.
    pub fn cursor(&self) -> usize {
        self.buffer.before().len()
    }

    /// The bytes that were acted on since the last call: the keystrokes of what has been accepted, and of the line so far.
    pub fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.taken)
    }

    /// Whether keys, or pasted lines, wait behind the line that was accepted.
    pub fn has_more(&self) -> bool {
        !self.pasted.is_empty() || !self.ready.is_empty() || !self.waiting.is_empty()
    }

    /// Drops what is left of a paste, and says how many lines those were.
    pub fn drop_paste(&mut self) -> usize {
        let texts =
            self.pasted.iter().filter(|piece| matches!(piece, Pasted::Text(text) if !text.trim().is_empty()));
        let lines = texts.count();
        self.pasted.clear();
        lines
    }

    /// Drops what was typed behind the accepted line and not looked at yet, as a terminal does when Ctrl-C stops a command. Says
    /// whether there was any.
    pub fn drop_typed(&mut self) -> bool {
        let any = !self.ready.is_empty() || !self.waiting.is_empty();
        self.ready.clear();
        self.waiting.clear();
        any
    }

    /// The lines that Up and Ctrl-R find. What belongs there is for the owner to say.
    pub fn history(&mut self) -> &mut History {
        &mut self.history
    }

    /// The terminal has another size.
    pub fn resize(&mut self, cols: u32, rows: u32) {
        self.drawing.resize(cols, rows, &mut self.out);
        self.draw();
    }

    /// The terminal got another size while no line was being edited.
    pub fn set_size(&mut self, cols: u32, rows: u32) {
        self.drawing = Drawing::new(cols, rows);
    }

    /// Shows a line of text above the prompt.
    pub fn notice(&mut self, text: &str) {
        self.drawing.erase(&mut self.out);
        escape_into(text, usize::MAX, &mut self.out);
        self.out.push_str("\r\n");
        self.draw();
    }

    /// Gives up the line, and goes to a fresh row.
    pub fn give_up(&mut self) {
        self.search = None;
        self.draw();
        self.drawing.leave("", &mut self.out);
        self.buffer = Buffer::default();
        self.browsing = None;
    }

    /// Answers [`Action::Complete`].
    pub fn offer(&mut self, completion: &Completion) {
        let again = std::mem::take(&mut self.tabbed);
        let common = completion.common();
        let replacement = match completion.words.as_slice() {
            [] => None,
            [word] => Some(format!("{} ", typed(word))),
            _ if common.len() > completion.partial.len() => typed_start(common),
            _ => None,
        };
        match replacement {
            Some(text) => {
                if !self.buffer.replace_before(completion.from, &text) {
                    self.out.push(BELL);
                }
                self.tabbed = completion.words.len() > 1;
            }
            None if again && completion.words.len() > 1 => self.list(&completion.words),
            None => {
                self.out.push(BELL);
                self.tabbed = true;
            }
        }
        self.draw();
    }

    fn list(&mut self, words: &[String]) {
        self.draw();
        self.drawing.leave("", &mut self.out);
        let shown: Vec<String> = words
            .iter()
            .take(COMPLETIONS_MAX)
            .map(|word| {
                let mut shown = String::new();
                escape_into(word, 64, &mut shown);
                shown
            })
            .collect();
        let width =
            shown.iter().map(|word| unicode_width::UnicodeWidthStr::width(word.as_str())).max().unwrap_or(0);
        let width = width.saturating_add(2);
        let per_row = self.drawing.cols().checked_div(width).unwrap_or(1).max(1);
        for row in shown.chunks(per_row) {
            let row: String = row
                .iter()
                .map(|word| {
                    let drawn = unicode_width::UnicodeWidthStr::width(word.as_str());
                    format!("{word}{}", " ".repeat(width.saturating_sub(drawn)))
                })
                .collect();
            self.out.push_str(row.trim_end());
            self.out.push_str("\r\n");
        }
        let more = words.len().saturating_sub(shown.len());
        if more > 0 {
            self.out.push_str(&format!("… and {more} more\r\n"));
        }
    }

    fn draw(&mut self) {
        match &self.search {
            None => self.drawing.show(&self.prompt, self.buffer.before(), self.buffer.after(), &mut self.out),
            Some(search) => {
                let missing =
                    if search.found.is_none() && !search.wanted.is_empty() { "failed " } else { "" };
                let prompt = format!("({missing}reverse-i-search)`{}': ", search.wanted);
                self.drawing.show(&prompt, self.buffer.before(), self.buffer.after(), &mut self.out);
            }
        }
    }

    fn piece(&mut self, piece: Pasted) -> Option<Action> {
        match piece {
            Pasted::Enter => self.accept(),
            Pasted::Text(text) => {
                if !self.buffer.insert(&text) {
                    // What would follow was written for a line that is not there.
                    self.drop_paste();
                    self.notice("paste refused: the line would be too long");
                    self.out.push(BELL);
                }
                None
            }
        }
    }

    fn accept(&mut self) -> Option<Action> {
        self.end_search();
        self.draw();
        self.drawing.leave("", &mut self.out);
        self.browsing = None;
        let line = std::mem::take(&mut self.buffer);
        if let Some(why) = self.spoiled.take() {
            self.killed.text = line.text().to_owned();
            self.drop_paste();
            self.out.push_str(&format!("line refused: {why}; Ctrl-Y brings back what there is of it\r\n"));
            return None;
        }
        Some(Action::Line(line.text().to_owned()))
    }

    fn key(&mut self, key: Key) -> Option<Action> {
        if key != Key::Complete {
            self.tabbed = false;
        }
        if self.search.is_some() && !self.searching(&key) {
            return None;
        }
        let grew = std::mem::take(&mut self.killed.growing);
        // An empty line that anything was taken from is as good as new.
        let key_clears = !self.buffer.is_empty();
        let done = match key {
            Key::Character(c) => {
                let inserted = self.buffer.insert(c.encode_utf8(&mut [0; 4]));
                if !inserted {
                    self.spoiled = Some("it is too long");
                }
                inserted
            }
            Key::Enter => return self.accept(),
            Key::Interrupt => {
                self.search = None;
                self.draw();
                self.drop_paste();
                self.drawing.leave("^C", &mut self.out);
                self.buffer = Buffer::default();
                self.spoiled = None;
                self.browsing = None;
                return Some(Action::Interrupt);
            }
            Key::DeleteOrEnd if self.buffer.is_empty() => {
                self.drawing.leave("", &mut self.out);
                return Some(Action::EndOfInput);
            }
            Key::Complete => {
                self.draw();
                return Some(Action::Complete(self.buffer.before().to_owned()));
            }
            Key::Delete | Key::DeleteOrEnd => self.buffer.delete(),
            Key::Backspace => self.buffer.backspace(),
            Key::Left | Key::Right | Key::WordLeft | Key::WordRight | Key::Home | Key::End => {
                self.go(&key);
                true
            }
            Key::Transpose => self.buffer.transpose(),
            Key::KillToEnd => {
                let text = self.buffer.kill_to_end();
                self.killed.forward(text, grew)
            }
            Key::KillWord => {
                let text = self.buffer.kill_word();
                self.killed.forward(text, grew)
            }
            Key::KillToStart => {
                let text = self.buffer.kill_to_start();
                self.killed.backward(text, grew)
            }
            Key::KillBack => {
                let text = self.buffer.kill_back();
                self.killed.backward(text, grew)
            }
            Key::KillWordBack => {
                let text = self.buffer.kill_word_back();
                self.killed.backward(text, grew)
            }
            Key::Yank => self.buffer.insert(&self.killed.text),
            Key::Earlier => self.browse(true),
            Key::Later => self.browse(false),
            Key::Search => {
                self.search =
                    Some(Search { wanted: String::new(), found: None, before: self.buffer.clone() });
                true
            }
            Key::Clear => {
                self.drawing.forget();
                self.out.push_str("\x1b[H\x1b[2J");
                true
            }
            Key::Paste(text) => {
                for (at, line) in text.split('\n').enumerate() {
                    if at > 0 {
                        self.pasted.push_back(Pasted::Enter);
                    }
                    self.pasted.push_back(Pasted::Text(line.to_owned()));
                }
                true
            }
            Key::PasteRefused(fault) => {
                self.draw();
                self.notice(&format!("paste refused: {fault}"));
                false
            }
            Key::Abort => true,
            Key::Refused => {
                self.spoiled = Some("not all that was typed is text");
                false
            }
        };
        if !done {
            self.out.push(BELL);
        }
        if self.buffer.is_empty() && key_clears {
            self.spoiled = None;
        }
        None
    }

    fn go(&mut self, key: &Key) {
        match key {
            Key::Left => self.buffer.left(),
            Key::Right => self.buffer.right(),
            Key::WordLeft => self.buffer.word_left(),
            Key::WordRight => self.buffer.word_right(),
            Key::Home => self.buffer.home(),
            _ => self.buffer.end(),
        }
    }

    fn browse(&mut self, earlier: bool) -> bool {
        let at = self.browsing.as_ref().map_or(self.history.len(), |(at, _)| *at);
        let to = if earlier { at.checked_sub(1) } else { at.checked_add(1) };
        let Some(to) = to else { return false };
        match self.history.line(to) {
            Some(line) => {
                let shown = Buffer::holding(line);
                let written = std::mem::replace(&mut self.buffer, shown);
                let kept = self.browsing.take().map_or(written, |(_, kept)| kept);
                self.browsing = Some((to, kept));
                true
            }
            None => match self.browsing.take() {
                Some((_, kept)) => {
                    self.buffer = kept;
                    true
                }
                None => false,
            },
        }
    }

    /// Acts on a key during a search. `true`: the search is over, and the key still to be acted on.
    fn searching(&mut self, key: &Key) -> bool {
        let Some(search) = &mut self.search else { return true };
        let from = match key {
            Key::Character(c) => {
                if search.wanted.len() < SEARCH_BYTES_MAX {
                    search.wanted.push(*c);
                }
                // The line that is found already may well hold the longer text, too.
                search.found.map_or(usize::MAX, |at| at.saturating_add(1))
            }
            Key::Search => search.found.unwrap_or(usize::MAX),
            Key::Backspace => {
                search.wanted.pop();
                usize::MAX
            }
            Key::Abort => {
                self.buffer = search.before.clone();
                self.search = None;
                return false;
            }
            Key::Interrupt => return true,
            _ => {
                self.end_search();
                return true;
            }
        };
        let found = match search.wanted.is_empty() {
            true => None,
            false => self.history.search(&search.wanted, from),
        };
        match found.and_then(|at| self.history.line(at).map(|line| (at, line))) {
            Some((at, line)) => {
                search.found = Some(at);
                self.buffer = Buffer::holding(line);
            }
            None => {
                if matches!(key, Key::Search) {
                    // The last one found stays.
                } else {
                    search.found = None;
                    self.buffer = search.before.clone();
                }
                self.out.push(BELL);
            }
        }
        false
    }

    fn end_search(&mut self) {
        if let Some(search) = self.search.take()
            && let Some(at) = search.found
        {
            self.browsing = Some((at, search.before));
        }
    }
}

/// Longest text that is searched for.
const SEARCH_BYTES_MAX: usize = 256;

impl Killed {
    fn forward(&mut self, text: String, grew: bool) -> bool {
        self.text = if grew { format!("{}{text}", self.text) } else { text };
        self.growing = true;
        true
    }

    fn backward(&mut self, text: String, grew: bool) -> bool {
        self.text = if grew { format!("{text}{}", self.text) } else { text };
        self.growing = true;
        true
    }
}
