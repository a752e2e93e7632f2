//! What may reach a terminal: text that cannot act on it.
//!
//! A sender writes what it likes. Printed as it is, it could move the cursor, rewrite lines above, set the window's title or
//! the clipboard, or turn the reading direction around. So whatever comes from outside is made inert first: each character
//! that could act is written out, such as `\x1b` or `\u{202e}`. Nothing is dropped, so nothing can be hidden either; `--json`
//! has the exact text.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Text that cannot act on a terminal, on one line: newlines are written out, too.
pub(crate) fn inert(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut inert = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        push(&mut inert, character);
    }
    Cow::Owned(inert)
}

fn push(inert: &mut String, character: char) {
    // Writing to a `String` cannot fail.
    let _ = match character {
        '\n' => write!(inert, "\\n"),
        '\r' => write!(inert, "\\r"),
        '\t' => write!(inert, "\\t"),
        '\0'..='\x7f' if acts(character) => write!(inert, "\\x{:02x}", u32::from(character)),
        _ if acts(character) => write!(inert, "\\u{{{:x}}}", u32::from(character)),
        _ => write!(inert, "{character}"),
    };
}

/// Whether a character can move the cursor, switch a mode, change the reading direction or hide itself.
///
/// The zero-width joiners U+200C and U+200D stay: several scripts are not readable without them.
pub(crate) fn acts(character: char) -> bool {
    character.is_control() // C0, DEL, C1
        || matches!(character,
            '\u{ad}'                      // soft hyphen: invisible
            | '\u{61c}'                   // Arabic letter mark
            | '\u{180e}'                  // Mongolian vowel separator: invisible
            | '\u{200b}'                  // zero-width space
            | '\u{200e}' | '\u{200f}'     // left-to-right, right-to-left mark
            | '\u{2028}'..='\u{202e}'     // line and paragraph separator, embeddings and overrides
            | '\u{2060}'..='\u{206f}'     // word joiner, invisible operators, isolates, deprecated controls
            | '\u{feff}'                  // byte order mark
            | '\u{fff9}'..='\u{fffb}'     // interlinear annotation
            | '\u{e0000}'..='\u{e007f}'   // tags: invisible text
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set title, set clipboard, clear screen, cursor up, 8-bit CSI, DEL, bidi override, line separator.
    const HOSTILE: &str =
        "a\x1b]0;title\x07b\x1b]52;c;aGk=\x1b\\c\x1b[2J\x1b[1A\u{9b}31m\x7f\u{202e}evil\u{2028}\r\n\u{e0041}";

    #[test]
    fn nothing_that_acts_is_left() {
        let text = inert(HOSTILE);
        assert!(!text.contains(acts), "{text:?}");
        assert_eq!(
            text,
            "a\\x1b]0;title\\x07b\\x1b]52;c;aGk=\\x1b\\c\\x1b[2J\\x1b[1A\\u{9b}31m\\x7f\\u{202e}evil\\u{2028}\\r\\n\\u{e0041}"
        );
    }

    #[test]
    fn every_control_and_direction_character_is_written_out() {
        let controls = (0..0x20).chain(0x7f..0xa0).chain(0x202a..=0x202e).chain(0x2066..=0x2069);
        for code in controls.chain([0x61c, 0x200e, 0x200f, 0x2028, 0x2029]) {
            let character = char::from_u32(code).unwrap();
            let text = inert(&character.to_string()).into_owned();
            assert!(text.starts_with('\\') && text.is_ascii() && !text.contains(acts), "{code:x}: {text:?}");
        }
    }

    #[test]
    fn plain_text_is_left_alone() {
        let text = "naïve — 東京 \u{1f600} می\u{200c}خواهم c:\\dir";
        assert!(matches!(inert(text), Cow::Borrowed(same) if same == text));
    }
}
