//! Checks written JSON for what it could not be read back from.

use crate::limits::FIELD_DEPTH_MAX;

/// Why a value would not come back as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    TooDeep,
    Number,
}

/// Checks one JSON text that a serializer wrote.
pub(crate) fn check(text: &[u8]) -> Result<(), Unreadable> {
    let mut depth = 0usize;
    let mut bytes = text.iter().enumerate();
    while let Some((place, byte)) = bytes.next() {
        match byte {
            b'"' => {
                let mut is_escaped = false;
                for (_, byte) in bytes.by_ref() {
                    match byte {
                        _ if is_escaped => is_escaped = false,
                        b'\\' => is_escaped = true,
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > FIELD_DEPTH_MAX {
                    return Err(Unreadable::TooDeep);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let rest = text.get(place..).unwrap_or_default();
                let is_number = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let end = rest.iter().position(|byte| !is_number(byte)).unwrap_or(rest.len());
                let number = rest.get(..end).unwrap_or_default();
                if !is_exact(number) {
                    return Err(Unreadable::Number);
                }
                for _ in 1..end {
                    bytes.next();
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_exact(number: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(number) else { return false };
    if text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
        text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()
    } else {
        text.parse::<f64>().is_ok_and(f64::is_finite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_what_comes_back_and_stops_at_what_does_not() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        for text in [
            "\"[[[\"",
            "\"\\\"[\"",
            "18446744073709551615",
            "-9223372036854775808",
            "[1.5e300,-0.0]",
            "{\"a\":[]}",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
        assert_eq!(check(nested(64).as_bytes()), Ok(()));
        assert_eq!(check(nested(65).as_bytes()), Err(Unreadable::TooDeep));
        for text in ["18446744073709551616", "[1,-9223372036854775809]", "1e400"] {
            assert_eq!(check(text.as_bytes()), Err(Unreadable::Number), "{text}");
        }
    }
}
