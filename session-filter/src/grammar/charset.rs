//! Which characters a line may hold at all, and how the others are shown.

use std::sync::LazyLock;

use regex::Regex;

use super::{Fault, FaultReason};
use crate::limits::LINE_BYTES_MAX;

/// Everything beyond ASCII that does not print as itself: controls, format characters (bidi overrides, zero width),
/// surrogates, private use, unassigned; white space other than the space; what fonts draw as nothing (variation
/// selectors, Hangul fillers, the blank Braille pattern).
///
/// `None` would mean that the pattern itself is broken; then nothing beyond ASCII passes.
static HIDDEN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\x{2800}\x{1D159}\x{FFFC}\x{FFFD}]").ok()
});

/// The line as text, if it is short enough and every character in it can be seen.
pub(crate) fn check_text(line: &[u8]) -> Result<&str, Fault> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Fault::new(FaultReason::LineTooLong, LINE_BYTES_MAX));
    }
    let text = std::str::from_utf8(line).map_err(|e| Fault::new(FaultReason::NotUtf8, e.valid_up_to()))?;
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(text);
    }
    for (at, character) in text.char_indices() {
        if let Some(reason) = refused(character) {
            return Err(Fault::new(reason, at));
        }
    }
    Ok(text)
}

fn refused(character: char) -> Option<FaultReason> {
    match character {
        ' '..='~' => None,
        '\n' | '\r' => Some(FaultReason::Newline),
        _ if character.is_control() => Some(FaultReason::ControlCharacter),
        _ => is_hidden(character).then_some(FaultReason::InvisibleCharacter),
    }
}

fn is_hidden(character: char) -> bool {
    let mut buffer = [0; 4];
    match &*HIDDEN {
        Some(hidden) => hidden.is_match(character.encode_utf8(&mut buffer)),
        None => true,
    }
}

/// Appends `text` so that nothing in it can act on a terminal or hide: what [`check_text`] would refuse is written
/// as `\u{…}`. Stops after about `bytes_max`.
pub(crate) fn escape_into(text: &str, bytes_max: usize, out: &mut String) {
    let start = out.len();
    for character in text.chars() {
        if out.len().saturating_sub(start) >= bytes_max {
            out.push('…');
            return;
        }
        if refused(character).is_some() {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
}
