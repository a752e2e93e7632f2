//! Resources in words.

use std::io::{self, Write};

use scim_client::path::AttributePath;
use scim_client::resource::{Attributes, attribute};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::table::padded;
use crate::terminal::{Paint, Palette, inert};

/// The columns of a list where none were asked for.
pub(crate) fn columns(kind: &str) -> &'static [&'static str] {
    match kind {
        "Users" => &["id", "userName", "displayName", "active", "emails"],
        "Groups" => &["id", "displayName", "members"],
        "Schemas" => &["id", "name", "attributes"],
        "ResourceTypes" => &["name", "endpoint", "schema", "schemaExtensions"],
        "" => &["id", "meta.resourceType", "userName", "displayName"],
        _ => &["id", "displayName", "name"],
    }
}

/// What a resource has in a column.
pub(crate) fn cell(resource: &Attributes, column: &str) -> String {
    let Ok(path) = column.parse::<AttributePath>() else { return String::new() };
    let Some(value) = path.find(resource) else { return String::new() };
    match (&path.sub, value) {
        (None, Value::Array(elements)) if counts(&path.name) => match elements.len() {
            1 => "1 entry".to_owned(),
            count => format!("{count} entries"),
        },
        (None, value) => short(value),
        (Some(sub), Value::Array(elements)) => {
            let parts = elements.iter().filter_map(Value::as_object).filter_map(|one| attribute(one, sub));
            parts.map(short).collect::<Vec<_>>().join(", ")
        }
        (Some(sub), Value::Object(one)) => attribute(one, sub).map(short).unwrap_or_default(),
        (Some(_), _) => String::new(),
    }
}

/// Attributes of which there may be thousands.
fn counts(name: &str) -> bool {
    ["members", "attributes"].iter().any(|long| long.eq_ignore_ascii_case(name))
}

/// A value on one line.
pub(crate) fn short(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(elements) => elements.iter().map(short).collect::<Vec<_>>().join(", "),
        Value::Object(parts) => {
            let main = ["value", "formatted", "displayName", "display", "schema", "name"];
            match main.iter().find_map(|name| attribute(parts, name)).filter(|value| !value.is_null()) {
                Some(main) => short(main),
                None => value.to_string(),
            }
        }
    }
}

/// Prints a resource, an attribute a line: schemas and what the server says of the resource come last.
pub(crate) fn print(out: &mut dyn Write, resource: &Attributes, palette: Palette) -> io::Result<()> {
    let is_last = |name: &str| ["schemas", "meta"].iter().any(|last| last.eq_ignore_ascii_case(name));
    let mut lines = Vec::new();
    let first = attribute(resource, "id").map(|id| ("id", id));
    let rest = || resource.iter().map(|(name, value)| (name.as_str(), value));
    let own = rest().filter(|(name, _)| !name.eq_ignore_ascii_case("id") && !is_last(name));
    for (name, value) in first.into_iter().chain(own).chain(rest().filter(|(name, _)| is_last(name))) {
        add_lines(name, value, &mut lines);
    }
    let width = lines.iter().map(|(name, _)| name.width()).max().unwrap_or(0).min(NAME_COLUMNS_MAX);
    for (name, text) in lines {
        writeln!(out, "{}  {}", palette.paint(Paint::Dim, &padded(&name, width)), inert(&text))?;
    }
    Ok(())
}

/// Widest name that the values are lined up with.
const NAME_COLUMNS_MAX: usize = 40;

fn add_lines(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(parts) if name.contains(':') => {
            lines.push((name.to_owned(), String::new()));
            for (part, value) in parts {
                add_lines(&format!("  {part}"), value, lines);
            }
        }
        Value::Object(parts) => {
            for (part, value) in parts {
                add_lines(&format!("{name}.{part}"), value, lines);
            }
        }
        Value::Array(elements) if elements.is_empty() => {}
        Value::Array(elements) => {
            for element in elements {
                lines.push((name.to_owned(), element_text(element)));
            }
        }
        Value::Null => {}
        value => lines.push((name.to_owned(), short(value))),
    }
}

/// `ann@example.com  (work, primary)`
fn element_text(element: &Value) -> String {
    let Value::Object(parts) = element else { return short(element) };
    let mut notes = Vec::new();
    let main = attribute(parts, "value").map(short);
    for (name, value) in parts {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match value {
            Value::Null | Value::Bool(false) => {}
            _ if is("value") || is("$ref") => {}
            Value::Bool(true) => notes.push(name.clone()),
            value if main.is_some() && (is("type") || is("display")) => notes.push(short(value)),
            value => notes.push(format!("{name}: {}", short(value))),
        }
    }
    match (main, notes.is_empty()) {
        (Some(main), true) => main,
        (Some(main), false) => format!("{main}  ({})", notes.join(", ")),
        (None, _) => notes.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_say_the_main_thing() {
        let resource = json!({
            "userName": "ann", "active": false, "name": {"familyName": "A", "formatted": "Ann A"},
            "emails": [{"value": "a@x", "type": "work"}, {"value": "b@x"}], "members": [{"value": "1"}],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "R&D"}, "title": null
        });
        let cell = |column| cell(resource.as_object().unwrap(), column);
        assert_eq!(cell("USERNAME"), "ann");
        assert_eq!(cell("active"), "false");
        assert_eq!(cell("name"), "Ann A");
        assert_eq!(cell("name.familyName"), "A");
        assert_eq!(cell("emails"), "a@x, b@x");
        assert_eq!(cell("emails.type"), "work");
        assert_eq!(cell("members"), "1 entry");
        assert_eq!(cell("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"), "R&D");
        assert_eq!([cell("title"), cell("nothing"), cell("no path")], ["", "", ""]);
    }

    #[test]
    fn a_resource_is_an_attribute_a_line() {
        let resource = json!({
            "schemas": ["urn:x"], "userName": "ann", "id": "7", "name": {"familyName": "A"},
            "emails": [{"value": "a@x", "type": "work", "primary": true, "$ref": "no"}], "title": null, "roles": [],
            "urn:x:User": {"badge": 5}, "addresses": [{"locality": "Pune", "primary": false}], "meta": {"version": "1"}
        });
        let mut out = Vec::new();
        print(&mut out, resource.as_object().unwrap(), Palette::plain()).unwrap();
        let lines = String::from_utf8(out).unwrap();
        assert_eq!(
            lines.lines().map(str::trim_end).collect::<Vec<_>>(),
            [
                "id               7",
                "addresses        locality: Pune",
                "emails           a@x  (primary, work)",
                "name.familyName  A",
                "urn:x:User",
                "  badge          5",
                "userName         ann",
                "meta.version     1",
                "schemas          urn:x",
            ]
        );
    }
}
