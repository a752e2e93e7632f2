//! Values between JSON and octets.

use chrono::{DateTime, Datelike as _, NaiveDateTime, Utc};
use serde_json::Value;

use super::CONTROL;
use super::dn::Dn;
use super::message::Entry;
use crate::connector::{Failure, FailureKind};

/// As a directory holds it: texts as they are, numbers in decimal, truths as TRUE and FALSE (RFC 4517 §3.3.3).
pub(super) fn from_json(name: &str, value: &Value) -> Result<Vec<Vec<u8>>, Failure> {
    let unfit = || Failure::new(FailureKind::SchemaMismatch, format!("`{name}` holds what no attribute can"));
    let list = match value {
        Value::Array(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    let mut values: Vec<Vec<u8>> = list
        .iter()
        .map(|value| text(value).map(String::into_bytes).ok_or_else(unfit))
        .collect::<Result<_, _>>()?;
    values.sort();
    values.dedup();
    match values.iter().any(Vec::is_empty) {
        true => Err(unfit()),
        false => Ok(values),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("TRUE".to_owned()),
        Value::Bool(false) => Some("FALSE".to_owned()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// One value as a text, several as a list; nothing where there is none.
pub(super) fn to_json<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Value> {
    let mut texts: Vec<_> = values.map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    match texts.len() {
        0 => None,
        1 => texts.pop().map(Value::String),
        _ => {
            texts.sort();
            Some(texts.into())
        }
    }
}

/// Whether these are the same values, in whichever order; names of accounts are compared as names.
pub(super) fn agree(wanted: &Value, found: &Value, people: &Dn) -> bool {
    let prepared = |value: &Value| {
        let list = match value {
            Value::Array(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut texts: Vec<String> = list.iter().map(|value| text(value).unwrap_or_default()).collect();
        texts.sort();
        texts.dedup();
        texts
    };
    let (wanted, found) = (prepared(wanted), prepared(found));
    let same_name = |one: &String, other: &String| match (one.parse::<Dn>(), other.parse::<Dn>()) {
        (Ok(one), Ok(other)) => one.is_within(people) && one == other,
        _ => false,
    };
    wanted == found
        || (wanted.len() == found.len()
            && wanted.iter().all(|one| found.iter().any(|other| one == other || same_name(one, other))))
}

/// `userAccountControl`, which is a signed number of 32 bits on the wire (MS-ADA3).
pub(super) fn control(entry: &Entry) -> Result<Option<u32>, Failure> {
    let mut values = entry.texts(CONTROL);
    match (values.next(), values.next()) {
        (None, _) if entry.values(CONTROL).next().is_none() => Ok(None),
        (Some(text), None) => {
            text.parse::<i32>().map(|number| Some(number.cast_unsigned())).map_err(|_| unreadable())
        }
        _ => Err(unreadable()),
    }
}

/// A time: GeneralizedTime in UTC (RFC 4517 §3.3.13), or Active Directory's count of 100 ns since 1601, of which 0 is never
/// (MS-ADTS §3.1.1.2.2.2, Interval).
pub(super) fn instant(entry: &Entry, name: &str) -> Option<DateTime<Utc>> {
    /// Seconds from 1601 to 1970.
    const EPOCHS_APART: i64 = 11_644_473_600;
    let text = entry.texts(name).next()?;
    if let Some(utc) = text.strip_suffix('Z') {
        return NaiveDateTime::parse_from_str(utc, "%Y%m%d%H%M%S%.f").ok().map(|time| time.and_utc());
    }
    let intervals = text.parse::<i64>().ok().filter(|intervals| *intervals > 0)?;
    let seconds = intervals.div_euclid(10_000_000).checked_sub(EPOCHS_APART)?;
    // The greatest count means that there is none.
    DateTime::from_timestamp(seconds, 0).filter(|at| at.year() <= 9999)
}

fn unreadable() -> Failure {
    Failure::new(FailureKind::SchemaMismatch, "an account has no readable `userAccountControl`")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut hexed, byte| {
        let _ = write!(hexed, "{byte:02x}");
        hexed
    })
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some((digit(high)? << 4) | digit(low)?),
            _ => None,
        })
        .collect()
}

/// 32 characters out of 64, which nobody sees; in quotes and UTF-16, as `unicodePwd` wants it (MS-ADTS §3.1.1.3.1.5). One of each kind
/// that complexity rules ask for is always in it.
pub(super) fn random_password() -> Result<Vec<u8>, Failure> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = zeroize::Zeroizing::new([0_u8; 32]);
    getrandom::fill(random.as_mut())
        .map_err(|_| Failure::new(FailureKind::Unsupported, "this machine has no source of chance"))?;
    let drawn = random.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 0x3f)).copied());
    let quoted = std::iter::once(b'"').chain(drawn).chain(*b"Aa0-\"");
    Ok(quoted.flat_map(|byte| [byte, 0]).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms_and_nonsense_is_no_time() {
        let read = |text: &str| {
            let attributes = vec![("lastLogonTimestamp".to_owned(), vec![text.as_bytes().to_vec()])];
            instant(&Entry { attributes, ..Entry::default() }, "lastlogontimestamp")
        };
        let at = DateTime::from_timestamp(1_767_222_245, 0);
        assert_eq!(read("20251231230405Z"), at);
        assert_eq!(read("20251231230405.000000Z"), at);
        assert_eq!(read("134116958450000000"), at);
        for none in
            ["0", "9223372036854775807", "-1", "", "Z", "20251331230405Z", "soon", "99999999999999999999"]
        {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn a_password_nobody_knows_is_quoted_utf_16() {
        let (one, other) = (random_password().unwrap(), random_password().unwrap());
        assert_ne!(one, other);
        let units: Vec<u16> =
            one.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let text = String::from_utf16(&units).unwrap();
        assert!(
            text.starts_with('"') && text.ends_with("Aa0-\"") && text.len() == 38,
            "{} characters",
            text.len()
        );
        assert!(!text[1..37].contains('"'));
    }
}
