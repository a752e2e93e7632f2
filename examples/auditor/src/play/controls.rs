//! Keys.

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    StopOrGo,
    Forward,
    Back,
    NextCommand,
    PreviousCommand,
    Faster,
    Slower,
    Step,
    Leave,
}

/// Takes keys out of what a terminal sent; a sequence may come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    begun: Vec<u8>,
}

/// Longest sequence that is looked at; keys send less.
const SEQUENCE_BYTES_MAX: usize = 16;

impl Keys {
    /// The keys in these bytes; what is no key of ours is passed over.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for &byte in bytes {
            if self.begun.is_empty() && byte != 0x1b {
                keys.extend(plain(byte));
                continue;
            }
            self.begun.push(byte);
            let is_done = match self.begun.as_slice() {
                [0x1b] | [0x1b, b'[' | b'O'] => false,
                [0x1b, b'[' | b'O', .., last] => (0x40..=0x7e).contains(last),
                _ => true,
            };
            if is_done || self.begun.len() >= SEQUENCE_BYTES_MAX {
                keys.extend(match self.begun.as_slice() {
                    [0x1b, b'[' | b'O', b'C'] => Some(Key::Forward),
                    [0x1b, b'[' | b'O', b'D'] => Some(Key::Back),
                    _ => None,
                });
                self.begun.clear();
            }
        }
        keys
    }
}

fn plain(byte: u8) -> Option<Key> {
    Some(match byte {
        b' ' => Key::StopOrGo,
        b']' => Key::NextCommand,
        b'[' => Key::PreviousCommand,
        b'+' | b'=' => Key::Faster,
        b'-' => Key::Slower,
        b'.' => Key::Step,
        // In raw mode, Ctrl-C is a byte like any other.
        b'q' | 0x03 => Key::Leave,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_also_in_pieces() {
        let mut keys = Keys::default();
        assert_eq!(
            keys.take(b" [].+=-"),
            [
                Key::StopOrGo,
                Key::PreviousCommand,
                Key::NextCommand,
                Key::Step,
                Key::Faster,
                Key::Faster,
                Key::Slower
            ]
        );
        assert_eq!(keys.take(b"\x1b"), []);
        assert_eq!(keys.take(b"["), []);
        assert_eq!(keys.take(b"C\x1bOD"), [Key::Forward, Key::Back]);
        assert_eq!(keys.take(b"q\x03"), [Key::Leave, Key::Leave]);
    }

    #[test]
    fn other_sequences_are_passed_over_whole() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"\x1b[1;5C\x1b[5~xyz\x1bq"), []);
        assert_eq!(keys.take(&[b"\x1b[".as_slice(), &[b'1'; 100], b"m."].concat()).last(), Some(&Key::Step));
    }
}
