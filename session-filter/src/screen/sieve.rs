//! Terminal output taken apart: text, control characters, and escape sequences that are whole.

use std::ops::ControlFlow;

/// Longest control sequence (`CSI …`) that is passed on; a longer one is dropped. Real ones have at most a few dozen bytes.
pub(crate) const CSI_BYTES_MAX: usize = 128;
/// Longest run of text that is handed over at once.
const TEXT_BYTES_MAX: usize = 2 * 1024;

/// A piece of terminal output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Anything outside sequences, control characters included, `ESC` excluded.
    Text(&'a [u8]),
    /// A control character inside a sequence, which acts before the sequence does (ECMA-48 leaves it open; terminals do that).
    Control(u8),
    /// `ESC`, perhaps an intermediate byte, a final byte.
    Escape { intermediate: Option<u8>, last: u8 },
    /// `CSI`: parameters and intermediate bytes, and the final byte.
    Csi { body: &'a [u8], last: u8 },
    /// The content of an operating system command that ended properly and is not too long.
    Osc(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    Escape,
    Csi,
    /// OSC: ends with BEL, too.
    Osc,
    /// DCS, SOS, PM, APC: nothing in them is of use to us.
    Ignored,
}

/// Splits a stream into [`Token`]s, across pieces of any size, in constant memory.
///
/// It agrees with the `vte` parser on where sequences begin and end. 8-bit C1 controls are none: in UTF-8 they are parts of characters.
#[derive(Clone)]
pub(crate) struct Sieve {
    state: State,
    held: Vec<u8>,
    held_max: usize,
    /// What is held became too long, or is not needed.
    dropped: bool,
    intermediate: Option<u8>,
    osc_bytes_max: usize,
}

impl Sieve {
    /// Operating system commands of up to `osc_bytes_max` bytes are passed on; with 0 none are.
    pub(crate) fn new(osc_bytes_max: usize) -> Self {
        Self {
            state: State::Ground,
            held: Vec::new(),
            held_max: 0,
            dropped: false,
            intermediate: None,
            osc_bytes_max,
        }
    }

    /// Takes bytes until `act` breaks; says how many were taken.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut act: impl FnMut(Token<'_>) -> ControlFlow<()>) -> usize {
        let mut at = 0_usize;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (taken, flow) = match self.state {
                State::Ground => self.ground(rest, &mut act),
                State::Ignored | State::Osc => self.string(rest, &mut act),
                State::Escape | State::Csi => {
                    let byte = rest.first().copied().unwrap_or_default();
                    (1, self.sequence(byte, &mut act))
                }
            };
            at = at.saturating_add(taken);
            if flow.is_break() {
                break;
            }
        }
        at
    }

    fn ground(
        &mut self,
        rest: &[u8],
        act: &mut impl FnMut(Token<'_>) -> ControlFlow<()>,
    ) -> (usize, ControlFlow<()>) {
        let near = rest.get(..TEXT_BYTES_MAX).unwrap_or(rest);
        match memchr::memchr(ESC, near) {
            Some(0) => {
                self.enter(State::Escape, 0);
                (1, ControlFlow::Continue(()))
            }
            found => {
                let text = found.and_then(|end| near.get(..end)).unwrap_or(near);
                (text.len(), act(Token::Text(text)))
            }
        }
    }

    fn string(
        &mut self,
        rest: &[u8],
        act: &mut impl FnMut(Token<'_>) -> ControlFlow<()>,
    ) -> (usize, ControlFlow<()>) {
        let is_osc = self.state == State::Osc;
        let ends = |byte: &u8| matches!(byte, &ESC | &CAN | &SUB) || (is_osc && *byte == BEL);
        let Some(end) = rest.iter().position(ends) else {
            self.hold(rest);
            return (rest.len(), ControlFlow::Continue(()));
        };
        self.hold(rest.get(..end).unwrap_or_default());
        let last = rest.get(end).copied().unwrap_or_default();
        // `ESC` ends it whether or not `\` follows, as terminals do; `CAN` and `SUB` cancel it.
        let flow = match is_osc && !self.dropped && self.osc_bytes_max > 0 && matches!(last, ESC | BEL) {
            true => act(Token::Osc(&self.held)),
            false => ControlFlow::Continue(()),
        };
        match last {
            ESC => self.enter(State::Escape, 0),
            _ => self.enter(State::Ground, 0),
        }
        (end.saturating_add(1), flow)
    }

    fn sequence(&mut self, byte: u8, act: &mut impl FnMut(Token<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        match byte {
            ESC => self.enter(State::Escape, 0),
            CAN | SUB => self.enter(State::Ground, 0),
            0..0x20 => return act(Token::Control(byte)),
            0x7f.. => {}
            _ if self.state == State::Csi => {
                if byte < 0x40 {
                    self.hold(&[byte]);
                    return ControlFlow::Continue(());
                }
                let flow = match self.dropped {
                    true => ControlFlow::Continue(()),
                    false => act(Token::Csi { body: &self.held, last: byte }),
                };
                self.enter(State::Ground, 0);
                return flow;
            }
            0x20..0x30 => self.intermediate = Some(byte),
            _ if self.intermediate.is_some() => {
                let token = Token::Escape { intermediate: self.intermediate, last: byte };
                self.enter(State::Ground, 0);
                return act(token);
            }
            b'[' => self.enter(State::Csi, CSI_BYTES_MAX),
            b']' => self.enter(State::Osc, self.osc_bytes_max),
            b'P' | b'X' | b'^' | b'_' => self.enter(State::Ignored, 0),
            _ => {
                self.enter(State::Ground, 0);
                return act(Token::Escape { intermediate: None, last: byte });
            }
        }
        ControlFlow::Continue(())
    }

    fn enter(&mut self, state: State, held_max: usize) {
        self.state = state;
        self.held.clear();
        // One long command must not cost memory for the rest of the session.
        self.held.shrink_to(CSI_BYTES_MAX);
        self.held_max = held_max;
        self.dropped = false;
        self.intermediate = None;
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.dropped || self.held.len().saturating_add(bytes.len()) > self.held_max {
            self.dropped = true;
            self.held.clear();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }
}

const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
pub(crate) const ESC: u8 = 0x1b;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let mut sieve = Sieve::new(64);
        let mut seen: Vec<String> = Vec::new();
        for piece in pieces {
            let taken = sieve.feed(piece, |token| {
                match (token, seen.last_mut()) {
                    (Token::Text(text), Some(last)) if last.starts_with("text ") => {
                        last.push_str(&text.escape_ascii().to_string());
                    }
                    (Token::Text(text), _) => seen.push(format!("text {}", text.escape_ascii())),
                    (Token::Control(byte), _) => seen.push(format!("control {byte}")),
                    (Token::Escape { intermediate, last }, _) => {
                        seen.push(format!("esc {} {}", intermediate.unwrap_or(b'-') as char, last as char));
                    }
                    (Token::Csi { body, last }, _) => {
                        seen.push(format!("csi {}{}", body.escape_ascii(), last as char));
                    }
                    (Token::Osc(text), _) => seen.push(format!("osc {}", text.escape_ascii())),
                }
                ControlFlow::Continue(())
            });
            assert_eq!(taken, piece.len());
        }
        seen
    }

    #[test]
    fn sequences_are_told_from_text() {
        assert_eq!(
            split(&[b"a\x1b[1;2mb\x1b(0\x1b7\x1b]0;title\x07c\x1b]52;c;eA==\x1b\\d\x1bPq#0\x07\x1b\\e"]),
            [
                "text a",
                "csi 1;2m",
                "text b",
                "esc ( 0",
                "esc - 7",
                "osc 0;title",
                "text c",
                "osc 52;c;eA==",
                "esc - \\",
                "text d",
                "esc - \\",
                "text e"
            ]
        );
    }

    #[test]
    fn control_characters_inside_a_sequence_act_at_once_and_some_cancel_it() {
        assert_eq!(split(&[b"\x1b[1\n2Ax"]), ["control 10", "csi 12A", "text x"]);
        assert_eq!(split(&[b"\x1b[1\x182Ax"]), ["text 2Ax"]);
        assert_eq!(split(&[b"\x1b]0;x\x1ay"]), ["text y"]);
        assert_eq!(split(&[b"\x1b[1\x1b[2A"]), ["csi 2A"]);
        assert_eq!(split(&[b"\x1b\x1b\n[2A"]), ["control 10", "csi 2A"]);
    }

    #[test]
    fn what_is_too_long_is_dropped_and_the_rest_survives() {
        let long =
            [b"\x1b[".as_slice(), &[b'1'; 1_000_000], b"mx\x1b]", &[b'y'; 1_000_000], b"\x07z"].concat();
        let mut sieve = Sieve::new(64);
        let mut text = Vec::new();
        sieve.feed(&long, |token| {
            match token {
                Token::Text(piece) => text.extend_from_slice(piece),
                other => panic!("{other:?}"),
            }
            ControlFlow::Continue(())
        });
        assert_eq!(text, b"xz");
        assert!(sieve.held.capacity() <= CSI_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn where_pieces_are_cut_makes_no_difference(
            bytes in proptest::collection::vec(
                prop_oneof![Just(0x1b_u8), Just(b'['), Just(b']'), Just(b'P'), Just(7), Just(b'('), Just(b';'), any::<u8>()],
                0..200,
            ),
            cut in 0_usize..200,
        ) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(split(&[first, second]), split(&[&bytes]));
        }

        #[test]
        fn stopping_and_going_on_makes_no_difference(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut sieve = Sieve::new(64);
            let (mut rest, mut one_by_one) = (bytes.as_slice(), Vec::new());
            while !rest.is_empty() {
                let taken = sieve.feed(rest, |token| {
                    one_by_one.push(format!("{token:?}"));
                    ControlFlow::Break(())
                });
                rest = &rest[taken..];
            }
            let (mut sieve, mut at_once) = (Sieve::new(64), Vec::new());
            sieve.feed(&bytes, |token| {
                at_once.push(format!("{token:?}"));
                ControlFlow::Continue(())
            });
            prop_assert_eq!(one_by_one, at_once);
        }
    }
}
