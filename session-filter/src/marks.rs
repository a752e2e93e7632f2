//! How commands on a raw terminal are told apart: the shell says so, with marks in its output that carry a number made for this session.
//!
//! An aid for readers of the record, not a boundary. Marks without the number are ordinary output. The number is in the environment in
//! which the shell was started, so whatever runs as the same account can find it there and lie.
//!
//! ```text
//! ESC ] 633 ; <number> ; P ; <exit status> BEL     a prompt is about to be shown; the command before it ended like this
//! ESC ] 633 ; <number> ; E ; <history entry> BEL   a command was accepted, and is about to run
//! ```

use bytes::Bytes;

/// Longest mark, in bytes. The shell cuts lines well before; what is longer is ordinary output.
pub const MARK_BYTES_MAX: usize = 40 * 1024;
/// Longest number, in bytes.
pub const NUMBER_BYTES_MAX: usize = 64;

/// Finds marks in the output of a shell, and takes them out of it: no terminal has to know them.
pub struct Marks {
    /// `ESC ] 633 ; <number> ;`
    prefix: Vec<u8>,
    /// The beginning of what may become a mark.
    held: Vec<u8>,
}

/// The number is what makes a mark credible.
impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

/// A part of a shell's output.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// For the terminal, byte for byte.
    Shown(Bytes),
    /// A prompt is about to be shown.
    Prompt {
        /// How the last command ended.
        exit_status: Option<u32>,
    },
    /// A command is about to run.
    Command {
        /// Its number in the shell's history: one that does not grow belongs to an entry that is not this command's.
        number: Option<u64>,
        /// The entry.
        line: Vec<u8>,
    },
}

/// Output and command lines may be secret: only sizes are shown.
impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shown(bytes) => f.debug_tuple("Shown").field(&bytes.len()).finish(),
            Self::Prompt { exit_status } => f.debug_tuple("Prompt").field(exit_status).finish(),
            Self::Command { number, line } => {
                f.debug_tuple("Command").field(number).field(&line.len()).finish()
            }
        }
    }
}

impl Marks {
    /// Marks that carry `number`: at most [`NUMBER_BYTES_MAX`] letters and digits.
    pub fn new(number: &str) -> Self {
        let number: String =
            number.chars().filter(char::is_ascii_alphanumeric).take(NUMBER_BYTES_MAX).collect();
        Self { prefix: format!("\x1b]633;{number};").into_bytes(), held: Vec::new() }
    }

    /// Takes output. The end of it may be held back while it looks like the beginning of a mark.
    pub fn feed(&mut self, bytes: Bytes) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.held.is_empty() {
                let Some(at) = memchr::memchr(ESC, &rest) else {
                    show(&mut parts, rest);
                    break;
                };
                show(&mut parts, rest.split_to(at));
            }
            rest = self.hold(rest, &mut parts);
        }
        parts
    }

    /// What is held back when no more output comes.
    pub fn finish(&mut self) -> Option<Bytes> {
        (!self.held.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.held)))
    }

    /// `rest` goes on with what may be a mark. Returns what follows it.
    fn hold(&mut self, mut rest: Bytes, parts: &mut Vec<Part>) -> Bytes {
        // First the prefix, byte by byte.
        while let Some(expected) = self.prefix.get(self.held.len()) {
            match rest.first() {
                None => return rest,
                Some(byte) if byte == expected => {
                    self.held.push(*byte);
                    let _ = rest.split_to(1);
                }
                Some(_) => {
                    // No mark; an `ESC` can only stand at the beginning of one, so nothing in what was held begins another.
                    show(parts, Bytes::from(std::mem::take(&mut self.held)));
                    return rest;
                }
            }
        }
        // Then up to its end.
        let ends = |byte: &u8| matches!(*byte, BEL | ESC | CAN | SUB);
        match rest.iter().position(ends) {
            Some(at)
                if rest.get(at) == Some(&BEL) && self.held.len().saturating_add(at) <= MARK_BYTES_MAX =>
            {
                self.held.extend_from_slice(&rest.split_to(at));
                let _ = rest.split_to(1);
                let held = std::mem::take(&mut self.held);
                let content = held.get(self.prefix.len()..).unwrap_or_default();
                match read(content) {
                    Some(mark) => parts.push(mark),
                    None => show(parts, Bytes::from([held.as_slice(), &[BEL]].concat())),
                }
            }
            Some(at) => {
                show(parts, Bytes::from(std::mem::take(&mut self.held)));
                show(parts, rest.split_to(at));
            }
            None if self.held.len().saturating_add(rest.len()) > MARK_BYTES_MAX => {
                show(parts, Bytes::from(std::mem::take(&mut self.held)));
                show(parts, std::mem::take(&mut rest));
            }
            None => self.held.extend_from_slice(&std::mem::take(&mut rest)),
        }
        rest
    }
}

fn show(parts: &mut Vec<Part>, bytes: Bytes) {
    if !bytes.is_empty() {
        parts.push(Part::Shown(bytes));
    }
}

fn read(content: &[u8]) -> Option<Part> {
    match content.split_at_checked(2)? {
        (b"P;", status) => {
            let exit_status = std::str::from_utf8(status).ok()?.parse().ok();
            Some(Part::Prompt { exit_status })
        }
        (b"E;", entry) => {
            let entry = entry.trim_ascii_start();
            let digits = entry.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (number, line) = entry.split_at_checked(digits)?;
            let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
            // `501  line`, and `501* line` for an entry that was changed.
            let line = line.get(2..).unwrap_or_default();
            Some(Part::Command { number, line: unescaped(line) })
        }
        _ => None,
    }
}

fn unescaped(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b'e') => out.push(ESC),
            Some(b'a') => out.push(BEL),
            Some(b'c') => out.push(CAN),
            Some(b'z') => out.push(SUB),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// The command line with which a login shell is started, by `bash` itself, so that it makes marks. Nothing is written on the target,
/// and the user's startup files run as they would. The variables are not passed on to what the shell starts.
///
/// Where a startup file sets `PROMPT_COMMAND` anew, exit statuses are missing; where it sets `PS0`, there are no marks.
pub(crate) fn bash_login(number: &str) -> String {
    let prompt = format!(
        "builtin printf '\\033]633;{number};P;%d\\007' \"$?\"; builtin export -n PROMPT_COMMAND PS0 SESSION_MARK"
    );
    // The entry is read in a subshell of the prompt's expansion, so none of these names are the user's.
    let mark = format!(
        "b='\\'; n=$'\\n'; e=$'\\033'; a=$'\\007'; c=$'\\030'; z=$'\\032'; \
         x=$(HISTTIMEFORMAT= builtin history 1); x=${{x:0:8192}}; x=${{x//\"$b\"/\"$b$b\"}}; x=${{x//\"$n\"/\"${{b}}n\"}}; \
         x=${{x//\"$e\"/\"${{b}}e\"}}; x=${{x//\"$a\"/\"${{b}}a\"}}; x=${{x//\"$c\"/\"${{b}}c\"}}; x=${{x//\"$z\"/\"${{b}}z\"}}; \
         builtin printf '\\033]633;{number};E;%s\\007' \"$x\""
    );
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    format!(
        "PROMPT_COMMAND={} PS0={} SESSION_MARK={} exec -a -bash \"$SHELL\"",
        quoted(&prompt),
        quoted("$(eval \"$SESSION_MARK\")"),
        quoted(&mark),
    )
}

const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(number: &str, pieces: &[&[u8]]) -> (Vec<u8>, Vec<Part>) {
        let mut marks = Marks::new(number);
        let (mut shown, mut seen) = (Vec::new(), Vec::new());
        for piece in pieces {
            for part in marks.feed(Bytes::copy_from_slice(piece)) {
                match part {
                    Part::Shown(bytes) => shown.extend_from_slice(&bytes),
                    mark => seen.push(mark),
                }
            }
        }
        shown.extend(marks.finish().unwrap_or_default());
        (shown, seen)
    }

    #[test]
    fn marks_are_taken_out_and_everything_else_is_shown() {
        let output = b"\x1b[1mhi\x1b]633;n1;P;7\x07$ ls\r\n\x1b]633;n1;E;  501  echo a\\nb\\\\ \\e\x07\x1b]0;title\x07x";
        let (shown, seen) = feed("n1", &[output]);
        assert_eq!(shown, b"\x1b[1mhi$ ls\r\n\x1b]0;title\x07x");
        let line = b"echo a\nb\\ \x1b".to_vec();
        assert_eq!(seen, [Part::Prompt { exit_status: Some(7) }, Part::Command { number: Some(501), line }]);
    }

    #[test]
    fn marks_with_another_number_or_none_are_output() {
        for forged in [
            b"\x1b]633;n2;P;0\x07".as_slice(),
            b"\x1b]633;P;0\x07",
            b"\x1b]633;;E;1  rm\x07",
            b"\x1b]633;n1;P;0\x1b\\",
            b"\x1b]633;n1;E;1  rm\x18",
            b"\x1b]633;n1;Q;1\x07",
            b"\x1b]633;n1;\x07",
            b"\x1b]633;n1;E",
            b"\x1b\x1b]633;n\x1b]63",
        ] {
            assert_eq!(
                feed("n1", &[forged]),
                (forged.to_vec(), vec![]),
                "{:?}",
                forged.escape_ascii().to_string()
            );
        }
        assert_eq!(feed("n1", &[b"\x1b\x1b]633;n1;P;0\x07"]).1.len(), 1);
    }

    #[test]
    fn a_mark_without_an_end_is_shown_before_it_grows_too_large() {
        let mut marks = Marks::new("n1");
        let mut shown = 0;
        assert_eq!(marks.feed(Bytes::from_static(b"\x1b]633;n1;E;1  ")), []);
        for _ in 0..100 {
            for part in marks.feed(Bytes::from(vec![b'x'; 1000])) {
                let Part::Shown(bytes) = part else { panic!("a mark") };
                shown += bytes.len();
            }
            assert!(marks.held.len() <= MARK_BYTES_MAX);
        }
        assert!(shown > 90_000);
    }

    proptest! {
        #[test]
        fn where_output_is_cut_makes_no_difference_and_no_byte_is_lost(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just(b"\x1b]633;n1;P;0\x07".to_vec()),
                    Just(b"\x1b]633;n1;E;12  ls\x07".to_vec()),
                    Just(b"\x1b]633;n1".to_vec()),
                    Just(b"\x1b]6".to_vec()),
                    Just(b"\x07".to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..10),
                ],
                0..20,
            ),
            cut in 0_usize..200,
        ) {
            let whole = pieces.concat();
            let (first, second) = whole.split_at(cut.min(whole.len()));
            let at_once = feed("n1", &[&whole]);
            prop_assert_eq!(feed("n1", &[first, second]), at_once.clone());
            let one_by_one: Vec<&[u8]> = whole.chunks(1).collect();
            prop_assert_eq!(feed("n1", &one_by_one), at_once.clone());
            let marks: usize = at_once.1.iter().map(|mark| match mark {
                Part::Command { .. } => b"\x1b]633;n1;E;12  ls\x07".len(),
                _ => b"\x1b]633;n1;P;0\x07".len(),
            }).sum();
            // Exact for the marks that were put in; one that arose from random bytes may differ by a few.
            prop_assert!(at_once.0.len() + marks >= whole.len().saturating_sub(8));
        }
    }
}
