//! Text from outside, in what people open: spreadsheets and terminals.

use std::borrow::Cow;

/// A cell that a spreadsheet shows and does not compute (OWASP, "CSV Injection"): what could begin a formula gets an
/// apostrophe before it. Some programs skip spaces first, and take full-width signs for the usual ones.
pub(crate) fn defused(text: &str) -> Cow<'_, str> {
    let first = text.trim_start_matches(' ').chars().next();
    match first {
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠') => {
            Cow::Owned(format!("'{text}"))
        }
        _ => Cow::Borrowed(text),
    }
}

/// At most so many characters of a text, without those that act on a terminal or turn the direction of what follows.
pub(crate) fn visible(text: &str, chars_max: usize) -> String {
    let unsafe_to_show = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown: String = text
        .chars()
        .take(chars_max)
        .map(|c| if unsafe_to_show(c) { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(chars_max).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}
