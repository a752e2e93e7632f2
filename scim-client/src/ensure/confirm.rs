//! Whether what is read is what was written.

use serde::Serialize;
use serde_json::Value;

use crate::resource::{Attributes, attribute};

/// An attribute that the server shows otherwise than it was written.
///
/// Holds no values: they may be what nobody should read in a log.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Divergence {
    /// The attribute, as a path.
    pub path: String,
    /// How it differs.
    pub how: Difference,
}

/// How an attribute differs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Difference {
    /// The server does not show it.
    NotShown,
    /// The server shows another value.
    OtherValue,
    /// It was taken away, and the server shows it still.
    StillThere,
    /// Members that were not spoken of are not shown any more.
    OthersLost,
}

/// What a difference is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rule {
    /// To see whether something has to be written: `bob` becomes `Bob`, but not in names that have no case.
    Change,
    /// To see whether what was written is there: servers change the case of what they are given.
    Confirm,
}

/// Compares what was written with what is read; only what was written counts.
///
/// Servers rewrite: text is compared without case and without spaces around it, telephone numbers by their digits,
/// absent, null and empty are one, booleans and numbers may come as text. `password` is never shown and not compared.
pub(super) fn divergences(written: &Attributes, read: &Attributes, rule: Rule) -> Vec<Divergence> {
    let mut found = Vec::new();
    for (name, wanted) in written {
        if is_unread(name) {
            continue;
        }
        compare(name, wanted, attribute(read, name), rule, &mut found);
    }
    found
}

/// What a server never shows, or keeps by itself.
fn is_unread(name: &str) -> bool {
    ["password", "schemas", "id", "meta"].iter().any(|unread| name.eq_ignore_ascii_case(unread))
}

fn compare(path: &str, wanted: &Value, read: Option<&Value>, rule: Rule, found: &mut Vec<Divergence>) {
    let read = read.filter(|value| !is_empty(value));
    if is_empty(wanted) {
        if read.is_some() {
            found.push(Divergence { path: path.to_owned(), how: Difference::StillThere });
        }
        return;
    }
    let Some(read) = read else {
        found.push(Divergence { path: path.to_owned(), how: Difference::NotShown });
        return;
    };
    match (wanted, read) {
        (Value::Object(wanted), Value::Object(read)) => {
            let separator = if path.starts_with("urn:") { ':' } else { '.' };
            for (name, part) in wanted {
                compare(&format!("{path}{separator}{name}"), part, attribute(read, name), rule, found);
            }
        }
        // Order says nothing in a multi-valued attribute (RFC 7643 §2.4); a server may add to an element.
        (Value::Array(wanted), read) => {
            let read: &[Value] = match read {
                Value::Array(read) => read,
                single => std::slice::from_ref(single),
            };
            if wanted.len() != read.len()
                || !wanted.iter().all(|wanted| read.iter().any(|read| covers(path, wanted, read, rule)))
            {
                found.push(Divergence { path: path.to_owned(), how: Difference::OtherValue });
            }
        }
        (wanted, read) => {
            if !same(path, wanted, read, rule) {
                found.push(Divergence { path: path.to_owned(), how: Difference::OtherValue });
            }
        }
    }
}

/// Whether an element that was read says at least what the written one says.
fn covers(path: &str, wanted: &Value, read: &Value, rule: Rule) -> bool {
    let mut found = Vec::new();
    // Where it points to and what it is shown as are the server's to say.
    let wanted = match wanted {
        Value::Object(parts) => Value::Object(
            parts
                .iter()
                .filter(|(name, value)| {
                    !name.eq_ignore_ascii_case("$ref")
                        && !name.eq_ignore_ascii_case("display")
                        && **value != Value::Bool(false)
                })
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        ),
        other => other.clone(),
    };
    match (&wanted, read) {
        // A bare value stands for an object with that value (RFC 7643 §2.4).
        (Value::Object(parts), Value::String(_)) => {
            attribute(parts, "value").is_some_and(|value| same(path, value, read, rule))
        }
        (Value::Object(_), _) => {
            compare(path, &wanted, Some(read), rule, &mut found);
            found.is_empty()
        }
        (wanted, Value::Object(parts)) => {
            attribute(parts, "value").is_some_and(|value| same(path, wanted, value, rule))
        }
        (wanted, read) => same(path, wanted, read, rule),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.iter().all(is_empty),
        Value::Object(parts) => parts.values().all(is_empty),
        Value::String(text) => text.trim().is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn same(path: &str, wanted: &Value, read: &Value, rule: Rule) -> bool {
    if wanted == read {
        return true;
    }
    let (Some(wanted), Some(read)) = (scalar(wanted), scalar(read)) else { return false };
    let (wanted, read) = (wanted.trim(), read.trim());
    let case_counts = rule == Rule::Change && !is_case_inexact(path);
    wanted == read
        || (!case_counts && wanted.to_lowercase() == read.to_lowercase())
        || (is_telephone(path) && digits(wanted) == digits(read))
}

/// Text of a scalar: booleans and numbers come as text from some servers.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Names to sign in with and addresses have no case (RFC 7643 §4.1.1, §8.7.1).
fn is_case_inexact(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path == "username" || path == "emails" || path.starts_with("emails.")
}

fn is_telephone(path: &str) -> bool {
    path.to_ascii_lowercase().contains("phone")
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}
