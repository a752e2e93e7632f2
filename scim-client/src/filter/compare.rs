//! One value against one literal.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Number, Value};

use super::{CompareOp, Comparison, Literal};

/// Whether a single value compares so with the literal. [`CompareOp::NotEqual`] and [`Literal::Null`] are about all
/// values of an attribute together and are none of this function's business.
pub(super) fn holds(value: &Value, op: CompareOp, literal: &Literal, rule: Option<Comparison>) -> bool {
    match (value, literal) {
        (Value::String(text), Literal::String(wanted)) => text_holds(text, op, wanted, rule),
        (Value::Number(number), Literal::Number(wanted)) => {
            numbers(number, wanted).is_some_and(|ordering| ordering_holds(ordering, op))
        }
        // Booleans have no order (RFC 7644 §3.4.2.2).
        (_, Literal::Bool(wanted)) => op == CompareOp::Equal && boolean(value) == Some(*wanted),
        (Value::Bool(value), Literal::String(wanted)) => {
            op == CompareOp::Equal && boolean_text(wanted) == Some(*value)
        }
        _ => false,
    }
}

/// Some servers and clients write `"True"` for `true`.
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => boolean_text(text),
        _ => None,
    }
}

fn boolean_text(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn ordering_holds(ordering: Ordering, op: CompareOp) -> bool {
    match op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::Greater => ordering.is_gt(),
        CompareOp::GreaterOrEqual => ordering.is_ge(),
        CompareOp::Less => ordering.is_lt(),
        CompareOp::LessOrEqual => ordering.is_le(),
        CompareOp::NotEqual | CompareOp::Contains | CompareOp::StartsWith | CompareOp::EndsWith => false,
    }
}

fn numbers(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn text_holds(text: &str, op: CompareOp, wanted: &str, rule: Option<Comparison>) -> bool {
    let fold = if rule == Some(Comparison::Exact) { |character| character } else { folded };
    match op {
        CompareOp::Contains if rule == Some(Comparison::Exact) => text.contains(wanted),
        CompareOp::Contains => {
            let wanted: String = wanted.chars().map(fold).collect();
            text.chars().map(fold).collect::<String>().contains(&wanted)
        }
        CompareOp::StartsWith => begins(text.chars().map(fold), wanted.chars().map(fold)),
        CompareOp::EndsWith => begins(text.chars().rev().map(fold), wanted.chars().rev().map(fold)),
        CompareOp::Equal if text == wanted => true,
        _ => {
            let instants = match rule {
                Some(Comparison::Exact | Comparison::Caseless) => None,
                Some(Comparison::Instant) | None => instant(text).zip(instant(wanted)),
            };
            let ordering = match instants {
                Some((left, right)) => left.cmp(&right),
                // A time that cannot be read comes neither before nor after any other.
                None if rule == Some(Comparison::Instant) && op != CompareOp::Equal => return false,
                None => text.chars().map(fold).cmp(wanted.chars().map(fold)),
            };
            ordering_holds(ordering, op)
        }
    }
}

fn begins(mut whole: impl Iterator<Item = char>, mut start: impl Iterator<Item = char>) -> bool {
    start.all(|wanted| whole.next() == Some(wanted))
}

/// The character without its case. A letter outside ASCII never becomes one of ASCII (as the Kelvin sign would become
/// `k`), nor does one become several: nobody should be able to register a name that looks like another's and compares
/// equal to it.
fn folded(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) if !single.is_ascii() => single,
        _ => character,
    }
}

/// An xsd:dateTime (RFC 7643 §2.3.5); one without a zone is taken as UTC.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    if !text.as_bytes().get(10).is_some_and(|separator| separator.eq_ignore_ascii_case(&b'T')) {
        return None;
    }
    DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok().or_else(|| {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|time| time.and_utc()).ok()
    })
}
