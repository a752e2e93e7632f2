//! References to what other operations make (RFC 7644 §3.7.2): where they stand, and what takes their place.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::request;
use crate::resource::ResourceId;

const PREFIX: &str = "bulkId:";

/// What takes the place of a name; `None` leaves it.
pub(super) type Resolve<'a> = &'a mut dyn FnMut(&str) -> Option<ResourceId>;

/// What a text is, which says where in it a reference can stand.
#[derive(Clone, Copy)]
enum Text {
    /// A value: the whole of it is one.
    Value,
    /// An address (`$ref`): a segment is one.
    Address,
    /// The path of a change: what is compared with is one (`members[value eq "bulkId:ann"]`).
    Path,
}

/// The name that a text refers to, if it is a reference. The prefix in another case is one, too: no server would know it for
/// anything else that is wanted.
pub(super) fn name_of(text: &str) -> Option<&str> {
    let (prefix, name) = text.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(name)
}

/// Puts identifiers in the place of references, in a resource or in changes.
pub(super) fn resolve(data: &mut Value, by: Resolve<'_>) {
    walk(data, Text::Value, by);
}

/// Likewise, in the segments of a path.
pub(super) fn resolve_segments(segments: &mut [String], by: Resolve<'_>) {
    for segment in segments {
        if let Some(id) = name_of(segment).and_then(&mut *by) {
            *segment = id.as_str().to_owned();
        }
    }
}

fn walk(value: &mut Value, is: Text, by: Resolve<'_>) {
    match value {
        Value::String(text) => {
            if let Some(resolved) = in_text(text, is, by) {
                *text = resolved;
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| walk(element, is, by)),
        Value::Object(attributes) => {
            for (name, value) in attributes {
                let is = match name.as_str() {
                    name if name.eq_ignore_ascii_case("$ref") => Text::Address,
                    name if name.eq_ignore_ascii_case("path") => Text::Path,
                    _ => Text::Value,
                };
                walk(value, is, by);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn in_text(text: &str, is: Text, by: Resolve<'_>) -> Option<String> {
    if let Some(name) = name_of(text) {
        return by(name).map(|id| id.as_str().to_owned());
    }
    match is {
        Text::Value => None,
        Text::Address => in_parts(text, '/', |part| {
            let id = by(name_of(&percent_decode_str(part).decode_utf8().ok()?)?)?;
            let path = request::path([id.as_str()]).ok()?;
            Some(path.trim_start_matches('/').to_owned())
        }),
        Text::Path => in_parts(text, '"', |part| {
            let quoted = Value::from(by(name_of(part)?)?.as_str()).to_string();
            Some(quoted.strip_prefix('"')?.strip_suffix('"')?.to_owned())
        }),
    }
}

/// The text with some of its parts replaced; `None` where none is.
fn in_parts(text: &str, between: char, mut replaced: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut any = false;
    let mut is_escaped = false;
    let parts: Vec<String> = text
        .split(|c: char| {
            let ends = c == between && !is_escaped;
            // A quote within what is quoted ends nothing.
            is_escaped = between == '"' && c == '\\' && !is_escaped;
            ends
        })
        .map(|part| match replaced(part) {
            Some(part) => {
                any = true;
                part
            }
            None => part.to_owned(),
        })
        .collect();
    any.then(|| parts.join(between.encode_utf8(&mut [0; 4])))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_found_wherever_they_can_stand() {
        let mut data = json!({
            "displayName": "see bulkId:ann",
            "manager": {"value": "bulkId:ann", "$ref": "../Users/bulkId:ann"},
            "members": [{"value": "BulkID:bob"}, {"value": "26118915"}],
            "Operations": [{"path": "members[value eq \"bulkId:ann\" or value eq \"bulkId:bob\"]"}],
        });
        let mut seen = Vec::new();
        resolve(&mut data, &mut |name| {
            seen.push(name.to_owned());
            (name == "ann").then(|| ResourceId::new("a/\"1\""))
        });
        seen.sort();
        assert_eq!(seen, ["ann", "ann", "ann", "bob", "bob"]);
        assert_eq!(
            data,
            json!({
                "displayName": "see bulkId:ann",
                "manager": {"value": "a/\"1\"", "$ref": "../Users/a%2F%221%22"},
                "members": [{"value": "BulkID:bob"}, {"value": "26118915"}],
                "Operations": [{"path": "members[value eq \"a/\\\"1\\\"\" or value eq \"bulkId:bob\"]"}],
            })
        );
    }

    #[test]
    fn segments_are_references_as_a_whole() {
        let mut segments = ["Users", "bulkId:ann"].map(str::to_owned);
        resolve_segments(&mut segments, &mut |name| Some(ResourceId::new(format!("{name}/1"))));
        assert_eq!(segments, ["Users", "ann/1"]);
    }
}
