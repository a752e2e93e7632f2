//! The menu for whoever may enter several targets and has named none.

use std::sync::Arc;

use bytes::Bytes;

use super::asked::{self, EXIT_UNAVAILABLE};
use super::channel::{Asked, ClientChannel, FromClient};
use super::entry::{Choice, Entered};
use super::text::printable;

/// Targets that are listed at a time; of more, one is found by a part of its name.
const LISTED_MAX: usize = 50;
/// Longest line that is taken, in bytes; what is beyond is not.
const LINE_BYTES_MAX: usize = 256;

/// Serves one channel of a connection that has no session yet.
pub(crate) async fn serve(choice: Arc<Choice>, mut channel: ClientChannel) {
    let patience = choice.shared().limits.choice_time;
    let Ok(Some(asked)) = tokio::time::timeout(patience, channel.asked()).await else { return };
    if let Some(session) = choice.chosen() {
        drop(choice);
        return asked::serve_asked(session, channel, asked).await;
    }
    // A person who is asked needs a terminal; programs get an answer that does not wait for one.
    let is_person = matches!(asked, Asked::Shell) && channel.pty().is_some();
    channel.accept().await;
    if !is_person {
        return leave(&mut channel, &choice.refuse("target_not_named").await).await;
    }
    if !choice.take() {
        return leave(&mut channel, "a target is being chosen on another channel").await;
    }
    let chosen = match tokio::time::timeout(patience, choose(&choice, &mut channel)).await {
        Ok(Some(id)) => id,
        Ok(None) => return leave(&mut channel, &choice.refuse("no_target_chosen").await).await,
        Err(_) => return leave(&mut channel, &choice.refuse("no_target_chosen").await).await,
    };
    let entered = choice.choose(&chosen).await;
    // The user's place at the menu is free again.
    drop(choice);
    match entered {
        Ok(Entered::Session(session)) => asked::serve_asked(session, channel, asked).await,
        Ok(Entered::Refused { reason, .. }) => leave(&mut channel, &reason).await,
        Ok(Entered::Choosing(_)) => leave(&mut channel, "no session").await,
        Err(error) => leave(&mut channel, &format!("no session: {error}")).await,
    }
}

async fn leave(channel: &mut ClientChannel, words: &str) {
    channel.say(words).await;
    channel.finish(EXIT_UNAVAILABLE).await;
}

/// Talks until a target is chosen; `None` when the client leaves or is gone.
async fn choose(choice: &Choice, channel: &mut ClientChannel) -> Option<String> {
    let names: Vec<String> = choice.targets().iter().map(|target| target.id().to_owned()).collect();
    let mut menu = Menu::new(names);
    show(channel, &menu.listing()).await?;
    let mut typed = Typed::default();
    loop {
        let data = match channel.read.next().await? {
            FromClient::Data(data) => data,
            FromClient::WindowChange { cols, rows, .. } => {
                channel.setup.resized(cols, rows);
                continue;
            }
            FromClient::Eof => return None,
            FromClient::Signal(_) => continue,
        };
        let mut echo = String::new();
        let mut rest = data.iter();
        while let Some(byte) = rest.next() {
            match typed.press(*byte, &mut echo) {
                Pressed::Nothing => {}
                Pressed::Leave => {
                    show(channel, &format!("{echo}\r\n")).await?;
                    return None;
                }
                Pressed::Line(line) => match menu.answer(&line) {
                    Answer::Chosen(id) => {
                        show(channel, &format!("{echo}\r\n")).await?;
                        // What was typed ahead is for whatever comes next.
                        let ahead = Bytes::copy_from_slice(rest.as_slice());
                        if !ahead.is_empty() {
                            channel.read.put_back([FromClient::Data(ahead)].into());
                        }
                        return Some(id);
                    }
                    Answer::Again(text) => echo.push_str(&text),
                    Answer::Leave => {
                        show(channel, &format!("{echo}\r\n")).await?;
                        return None;
                    }
                },
            }
        }
        if !echo.is_empty() {
            show(channel, &echo).await?;
        }
    }
}

async fn show(channel: &mut ClientChannel, text: &str) -> Option<()> {
    let shown = channel.write.data_bytes(Bytes::copy_from_slice(text.as_bytes()));
    channel.read.beside(shown).await?.ok()
}

/// The targets, and what an answer means.
struct Menu {
    names: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Chosen(String),
    /// Not understood, or not enough; what to show.
    Again(String),
    Leave,
}

impl Menu {
    fn new(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        Self { names }
    }

    fn listing(&self) -> String {
        self.list(self.names.iter().enumerate())
    }

    /// A number as listed, or a name, or a part of one.
    fn answer(&mut self, line: &str) -> Answer {
        let line = line.trim();
        if line.is_empty() {
            return Answer::Again(self.listing());
        }
        let numbered = line.parse::<usize>().ok().and_then(|number| self.names.get(number.checked_sub(1)?));
        if let Some(name) = numbered.or_else(|| self.names.iter().find(|name| *name == line)) {
            return Answer::Chosen(name.clone());
        }
        if line == "q" {
            return Answer::Leave;
        }
        let part = line.to_lowercase();
        // A number that is not listed is a slip, and part of no name.
        let is_number = line.bytes().all(|byte| byte.is_ascii_digit());
        let fits = |name: &String| !is_number && name.to_lowercase().contains(&part);
        let matching: Vec<(usize, &String)> =
            self.names.iter().enumerate().filter(|(_, name)| fits(name)).collect();
        match matching.as_slice() {
            [] => Answer::Again(format!("\r\nno target is called `{}`{PROMPT}", printable(line))),
            [(_, only)] => Answer::Chosen((*only).clone()),
            _ => Answer::Again(self.list(matching.iter().copied())),
        }
    }

    fn list<'a>(&self, names: impl ExactSizeIterator<Item = (usize, &'a String)>) -> String {
        let more = names.len().saturating_sub(LISTED_MAX);
        let width = self.names.len().to_string().len();
        let mut out = String::from("\r\nTargets that admit you:\r\n");
        for (index, name) in names.take(LISTED_MAX) {
            out.push_str(&format!("  {:>width$}  {}\r\n", index.saturating_add(1), printable(name)));
        }
        if more > 0 {
            out.push_str(&format!("  … and {more} more: type a part of the name\r\n"));
        }
        out.push_str("Number or name, q leaves");
        out.push_str(PROMPT);
        out
    }
}

const PROMPT: &str = "\r\n> ";

/// A line on its way, as far as a menu needs one edited.
#[derive(Default)]
struct Typed {
    line: Vec<u8>,
    escape: Escape,
    /// Whether the last byte was a carriage return: a line feed after it ends no second line.
    after_return: bool,
}

/// Within an escape sequence, as arrow keys send them.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    Outside,
    Begun,
    Within,
}

#[derive(Debug, PartialEq, Eq)]
enum Pressed {
    Nothing,
    Line(String),
    Leave,
}

impl Typed {
    fn press(&mut self, byte: u8, echo: &mut String) -> Pressed {
        let after_return = std::mem::take(&mut self.after_return);
        match (self.escape, byte) {
            (Escape::Begun, b'[' | b'O') => {
                self.escape = Escape::Within;
                return Pressed::Nothing;
            }
            (Escape::Within, 0x20..=0x3f) => return Pressed::Nothing,
            (Escape::Begun | Escape::Within, _) => {
                self.escape = Escape::Outside;
                return Pressed::Nothing;
            }
            (Escape::Outside, _) => {}
        }
        match byte {
            b'\n' if after_return => Pressed::Nothing,
            b'\r' | b'\n' => {
                self.after_return = byte == b'\r';
                // What is no text is no name.
                Pressed::Line(String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned())
            }
            // Ctrl-C, and Ctrl-D where nothing was typed.
            0x03 => Pressed::Leave,
            0x04 if self.line.is_empty() => Pressed::Leave,
            0x08 | 0x7f => {
                // A character of several bytes goes as a whole.
                while self.line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
                self.draw(echo);
                Pressed::Nothing
            }
            // Ctrl-U.
            0x15 => {
                self.line.clear();
                self.draw(echo);
                Pressed::Nothing
            }
            0x1b => {
                self.escape = Escape::Begun;
                Pressed::Nothing
            }
            0x20.. if self.line.len() < LINE_BYTES_MAX => {
                self.line.push(byte);
                if std::str::from_utf8(&self.line).is_ok() {
                    self.draw(echo);
                }
                Pressed::Nothing
            }
            _ => Pressed::Nothing,
        }
    }

    /// The line anew: simpler than knowing how wide its last character was.
    fn draw(&self, echo: &mut String) {
        let text = String::from_utf8_lossy(&self.line);
        echo.push_str(&format!("\r> {}\x1b[K", printable(&text)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn menu(names: &[&str]) -> Menu {
        Menu::new(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn chosen(name: &str) -> Answer {
        Answer::Chosen(name.to_owned())
    }

    #[test]
    fn a_number_a_name_or_a_part_of_one_chooses() {
        let mut menu = menu(&["web-2", "db-1", "web-1", "web-10"]);
        assert!(menu.listing().contains("  1  db-1\r\n  2  web-1\r\n  3  web-10\r\n  4  web-2\r\n"));
        assert_eq!(menu.answer("1"), chosen("db-1"));
        assert_eq!(menu.answer(" web-1 "), chosen("web-1"));
        assert_eq!(menu.answer("DB"), chosen("db-1"));
        assert_eq!(menu.answer("q"), Answer::Leave);
        let Answer::Again(listed) = menu.answer("web") else { panic!() };
        assert!(listed.contains("  4  web-2") && !listed.contains("db-1"), "{listed}");
        for nothing in ["0", "5", "mail", "\u{1b}[2J"] {
            let Answer::Again(said) = menu.answer(nothing) else { panic!("{nothing:?}") };
            assert!(said.contains("no target is called") && !said.contains('\u{1b}'), "{said:?}");
        }
    }

    #[test]
    fn names_act_on_no_terminal_and_long_lists_are_cut() {
        let mut names: Vec<String> = (0..200).map(|n| format!("box-{n:03}")).collect();
        names.push("a\u{1b}]0;x\u{7}".to_owned());
        let menu = Menu::new(names);
        let listing = menu.listing();
        assert!(!listing.contains('\u{1b}') && listing.contains("and 151 more"), "{listing}");
        assert_eq!(listing.matches("box-").count(), LISTED_MAX - 1);
    }

    fn press_all(bytes: &[u8]) -> (Vec<Pressed>, String) {
        let (mut typed, mut echo) = (Typed::default(), String::new());
        let pressed = bytes.iter().map(|byte| typed.press(*byte, &mut echo));
        (pressed.filter(|pressed| *pressed != Pressed::Nothing).collect(), echo)
    }

    #[test]
    fn keys_edit_a_line() {
        let lines = |bytes: &[u8]| press_all(bytes).0;
        let line = |text: &str| Pressed::Line(text.to_owned());
        assert_eq!(lines(b"web\r\ndb\n"), [line("web"), line("db")]);
        assert_eq!(lines("wä\x7feb\x15db\x08b\r".as_bytes()), [line("db")]);
        assert_eq!(lines(b"\x1b[A1\x1bOB\x1b[1;5C\r"), [line("1")]);
        assert_eq!(lines(b"w\x04\x03"), [Pressed::Leave]);
        assert_eq!(lines(b"\x04"), [Pressed::Leave]);
        assert_eq!(lines(&[&[b'x'; 1000][..], b"\r"].concat()), [line(&"x".repeat(LINE_BYTES_MAX))]);
    }

    proptest! {
        #[test]
        fn whatever_is_typed_only_text_and_our_own_sequences_come_back(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let (_, echo) = press_all(&bytes);
            let text = echo.replace("\r> ", "").replace("\x1b[K", "");
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}
