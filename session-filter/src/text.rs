//! Text on its way to somebody's terminal.

#[cfg(feature = "ssh")]
use std::borrow::Cow;
#[cfg(feature = "ssh")]
use std::fmt::Write as _;

/// Makes control characters visible (`\u{1b}`), so that no text from a policy, a target or a user acts on a terminal.
#[cfg(feature = "ssh")]
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts_on_terminal) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts_on_terminal(c) {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Control characters, and the format characters that reorder or hide text (bidirectional controls, zero width).
pub(crate) fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(all(test, feature = "ssh"))]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(printable("plain – text"), "plain – text");
        assert_eq!(printable("a\u{1b}]52;c;eA==\u{7}b"), r"a\u{1b}]52;c;eA==\u{7}b");
        assert_eq!(printable("x\u{9b}2J\r\n\u{202e}y"), r"x\u{9b}2J\r\n\u{202e}y");
    }
}
