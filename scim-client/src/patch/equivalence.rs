//! When two resources say the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{members, name};
use crate::resource::Attributes;

/// Whether two resources say the same, as far as a client may write it: [`between`](super::between) of them is empty.
///
/// Absent, `null` and `[]` are the same (RFC 7643 §2.5), so is a complex attribute in which nothing is said. Names
/// compare without case; values exactly. Elements of a multi-valued attribute have no order and count once; `primary:
/// false` says nothing. Members of a group are compared by `value` alone, since what else they hold cannot be changed
/// (RFC 7643 §4.2). What the server manages (`id`, `meta`, `schemas`, a user's `groups`) is not compared, nor are
/// attributes whose names no path can spell.
pub fn equivalent(one: &Attributes, other: &Attributes) -> bool {
    let both = [one, other];
    resource(one, &both) == resource(other, &both)
}

/// What a resource says, one entry for each attribute with its schema.
fn resource<'a>(
    attributes: &'a Attributes,
    both: &[&Attributes],
) -> BTreeMap<(String, String), Cow<'a, Value>> {
    let mut said = BTreeMap::new();
    for (key, value) in attributes {
        if name::is_urn(key) {
            if name::is_core(key) {
                continue;
            }
            for (key_inside, value) in value.as_object().into_iter().flatten() {
                if name::is_attribute_name(key_inside)
                    && let Some(value) = canonical(value)
                {
                    said.entry((key.to_ascii_lowercase(), key_inside.to_ascii_lowercase())).or_insert(value);
                }
            }
        } else if name::is_attribute_name(key)
            && !name::is_managed(key, both)
            && let Some(value) = canonical_attribute(key, value)
        {
            said.entry((String::new(), key.to_ascii_lowercase())).or_insert(value);
        }
    }
    said
}

/// Whether two values of an attribute of the resource itself say the same.
pub(super) fn same_attribute(attribute: &str, one: Option<&Value>, other: Option<&Value>) -> bool {
    one == other
        || one.and_then(|value| canonical_attribute(attribute, value))
            == other.and_then(|value| canonical_attribute(attribute, value))
}

/// Whether two values say the same.
pub(super) fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    one == other || one.and_then(canonical) == other.and_then(canonical)
}

/// Whether a value says nothing.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.iter().all(is_nothing),
        Value::Object(map) => map.values().all(is_nothing),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn canonical_attribute<'a>(attribute: &str, value: &'a Value) -> Option<Cow<'a, Value>> {
    if !name::is_multi_valued(attribute) {
        return canonical(value);
    }
    let elements = match value {
        Value::Array(elements) => elements.as_slice(),
        one => std::slice::from_ref(one),
    };
    if name::is_members(attribute) {
        canonical_elements(elements.iter().filter_map(|member| match members::id_of(member) {
            Some(id) => Some(Value::String(id.to_owned())),
            None => canonical(member).map(Cow::into_owned),
        }))
    } else {
        canonical_elements(elements.iter().filter_map(canonical_element))
    }
}

/// The one form that all values have that say the same; `None` for those that say nothing.
fn canonical(value: &Value) -> Option<Cow<'_, Value>> {
    match value {
        Value::Null => None,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(Cow::Borrowed(value)),
        Value::Array(elements) => canonical_elements(elements.iter().filter_map(canonical_element)),
        Value::Object(map) => canonical_object(map).map(Value::Object).map(Cow::Owned),
    }
}

/// The form of an element by which duplicates are known.
pub(super) fn canonical_element(element: &Value) -> Option<Value> {
    let mut canonical = canonical(element)?.into_owned();
    if let Value::Object(map) = &mut canonical {
        if map.get("primary") == Some(&Value::Bool(false)) {
            map.remove("primary");
        }
        if map.is_empty() {
            return None;
        }
    }
    Some(canonical)
}

fn canonical_elements(elements: impl Iterator<Item = Value>) -> Option<Cow<'static, Value>> {
    let mut elements: Vec<(String, Value)> = elements.map(|element| (element.to_string(), element)).collect();
    elements.sort_by(|one, other| one.0.cmp(&other.0));
    elements.dedup_by(|one, other| one.0 == other.0);
    let elements: Vec<Value> = elements.into_iter().map(|(_, element)| element).collect();
    (!elements.is_empty()).then_some(Cow::Owned(Value::Array(elements)))
}

fn canonical_object(map: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut said = Map::new();
    for (key, value) in map {
        if let Some(value) = canonical(value) {
            said.entry(key.to_ascii_lowercase()).or_insert_with(|| value.into_owned());
        }
    }
    (!said.is_empty()).then_some(said)
}

/// The value without what says nothing; `None` where nothing is left.
pub(super) fn pruned(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
        Value::Array(elements) => {
            let elements: Vec<Value> = elements.iter().filter_map(pruned).collect();
            (!elements.is_empty()).then_some(Value::Array(elements))
        }
        Value::Object(map) => {
            let map: Map<String, Value> =
                map.iter().filter_map(|(key, value)| Some((key.clone(), pruned(value)?))).collect();
            (!map.is_empty()).then_some(Value::Object(map))
        }
    }
}
