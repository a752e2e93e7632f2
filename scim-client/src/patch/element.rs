//! Elements of a multi-valued attribute: which of the old ones is which of the new ones.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::build::equals;
use super::difference::{Reach, sub_changes};
use super::equivalence::{canonical_element, pruned, same};
use super::{apply, name};
use crate::filter::Filter;
use crate::message::{PatchOp, PatchOperation, PatchVerb};
use crate::path::{AttributePath, Path};
use crate::resource::{Attributes, attribute};

/// The most elements of one attribute that are told apart one by one; an attribute with more (other than a group's
/// members) is replaced as a whole.
pub const PAIRED_ELEMENTS_MAX: usize = 100;

/// The operations that make the old elements into the new ones.
pub(super) fn difference(
    path: &AttributePath,
    old: &[Value],
    new: &[Value],
    reach: Reach,
) -> Vec<PatchOperation> {
    let whole = |verb, value| vec![PatchOperation { verb, path: Some(Path::from(path.clone())), value }];
    let said = |element: &&Value| canonical_element(element).is_some();
    let old: Vec<&Value> = old.iter().filter(said).collect();
    let mut forms = HashSet::new();
    let fresh =
        |element: &&Value| canonical_element(element).is_some_and(|form| forms.insert(form.to_string()));
    let new: Vec<&Value> = new.iter().filter(fresh).collect();
    if new.is_empty() {
        return if old.is_empty() { Vec::new() } else { whole(PatchVerb::Remove, None) };
    }
    if old.len().max(new.len()) > PAIRED_ELEMENTS_MAX {
        let elements: Vec<Value> = new.into_iter().filter_map(pruned).collect();
        let verb = if old.is_empty() { PatchVerb::Add } else { PatchVerb::Replace };
        return whole(verb, Some(Value::Array(elements)));
    }
    let pairs = pairs(&old, &new);
    let wanted = wanted(&old, &new, &pairs, reach);
    if pairs.iter().all(Option::is_none) {
        let verb = if old.is_empty() { PatchVerb::Add } else { PatchVerb::Replace };
        return whole(verb, Some(Value::Array(wanted)));
    }
    match one_by_one(path, &old, &wanted, &pairs) {
        // Filters may match more than was meant, and one change may make another's filter mean something else. Whether
        // they do is seen by doing it.
        Some(operations) if leads_to(&operations, &old, &wanted) => operations,
        _ => whole(PatchVerb::Replace, Some(Value::Array(wanted))),
    }
}

/// For each new element the old one that it was.
fn pairs(old: &[&Value], new: &[&Value]) -> Vec<Option<usize>> {
    let mut pairs: Vec<Option<usize>> = vec![None; new.len()];
    let mut free: Vec<bool> = vec![true; old.len()];
    type Key = fn(&Value) -> Option<String>;
    let keys: [Key; 4] = [
        |element| canonical_element(element).map(|element| element.to_string()),
        |element| Some(format!("{}\n{}", text(element, "value")?, text(element, "type")?)),
        |element| text(element, "value").map(str::to_owned),
        |element| text(element, "type").map(str::to_owned),
    ];
    for (round, key) in keys.into_iter().enumerate() {
        let old_keys: Vec<Option<String>> = old.iter().map(|element| key(element)).collect();
        let new_keys: Vec<Option<String>> = new.iter().map(|element| key(element)).collect();
        for (at, wanted) in new_keys.iter().enumerate() {
            if wanted.is_none() || pairs.get(at).is_none_or(Option::is_some) {
                continue;
            }
            let mut same = old_keys
                .iter()
                .enumerate()
                .filter(|(at, key)| *key == wanted && free.get(*at).copied().unwrap_or_default())
                .map(|(at, _)| at);
            let (Some(first), second) = (same.next(), same.next()) else { continue };
            let rivals =
                new_keys.iter().zip(&pairs).filter(|(key, pair)| *key == wanted && pair.is_none()).count();
            // What is equal may be paired with any; what is alike in one respect, only where nothing else is.
            if round == 0 || (second.is_none() && rivals == 1) {
                if let Some(pair) = pairs.get_mut(at) {
                    *pair = Some(first);
                }
                if let Some(free) = free.get_mut(first) {
                    *free = false;
                }
            }
        }
    }
    pairs
}

fn text<'a>(element: &'a Value, sub: &str) -> Option<&'a str> {
    attribute(element.as_object()?, sub)?.as_str()
}

/// The elements as they shall be: for [`Reach::Spoken`] with what the old ones hold besides.
fn wanted(old: &[&Value], new: &[&Value], pairs: &[Option<usize>], reach: Reach) -> Vec<Value> {
    let primary = |element: &Value| {
        element.as_object().and_then(|map| attribute(map, "primary")) == Some(&Value::Bool(true))
    };
    let has_primary = new.iter().any(|element| primary(element));
    let merged = |(new, pair): (&&Value, &Option<usize>)| {
        let old = pair.and_then(|at| old.get(at)).and_then(|element| element.as_object());
        match (reach, old, new) {
            (Reach::Spoken, Some(old), Value::Object(new)) => {
                let mut map = old.clone();
                if has_primary {
                    remove(&mut map, "primary");
                }
                for (key, value) in new {
                    remove(&mut map, key);
                    map.insert(key.clone(), value.clone());
                }
                pruned(&Value::Object(map))
            }
            _ => pruned(new),
        }
    };
    new.iter().zip(pairs).map(|pair| merged(pair).unwrap_or_default()).collect()
}

fn remove(map: &mut Map<String, Value>, name: &str) {
    if let Some(key) = name::key_of(map, name) {
        map.remove(&key);
    }
}

/// Removes, changes and adds elements; `None` where one of them cannot be named.
fn one_by_one(
    path: &AttributePath,
    old: &[&Value],
    wanted: &[Value],
    pairs: &[Option<usize>],
) -> Option<Vec<PatchOperation>> {
    let at = |filter: Filter, sub: Option<&str>| Path {
        attribute: path.clone(),
        element: Some(Box::new(filter)),
        sub: sub.map(str::to_owned),
    };
    let mut operations = Vec::new();
    for (index, gone) in old.iter().enumerate() {
        if !pairs.contains(&Some(index)) {
            let path = Some(at(naming(gone, gone, old)?, None));
            operations.push(PatchOperation { verb: PatchVerb::Remove, path, value: None });
        }
    }
    let mut added = Vec::new();
    for (element, pair) in wanted.iter().zip(pairs) {
        let Some(was) = pair.and_then(|at| old.get(at)) else {
            added.push(element.clone());
            continue;
        };
        if canonical_element(was) == canonical_element(element) {
            continue;
        }
        let (Value::Object(was_map), Value::Object(map)) = (was, element) else { return None };
        for change in sub_changes(was_map, map, Reach::Whole) {
            if !name::is_attribute_name(change.name) {
                return None;
            }
            let path = Some(at(naming(was, element, old)?, Some(change.name)));
            operations.push(PatchOperation { verb: change.verb, path, value: change.value });
        }
    }
    if !added.is_empty() {
        let value = Some(Value::Array(added));
        operations.push(PatchOperation { verb: PatchVerb::Add, path: Some(Path::from(path.clone())), value });
    }
    Some(operations)
}

/// A filter for this element and no other: by `value` where that stays, else by `type`, else by both. The comparison is
/// without case, as servers may make it.
fn naming(was: &Value, becomes: &Value, all: &[&Value]) -> Option<Filter> {
    let (value, kind) = (text(was, "value"), text(was, "type"));
    let count = |value: Option<&str>, kind: Option<&str>| {
        let alike = |element: &Value, sub, wanted: Option<&str>| {
            wanted.is_none_or(|wanted| {
                text(element, sub).is_some_and(|text| text.to_lowercase() == wanted.to_lowercase())
            })
        };
        all.iter().filter(|element| alike(element, "value", value) && alike(element, "type", kind)).count()
    };
    if let Some(text_was) = value
        && text(becomes, "value") == value
        && count(value, None) == 1
    {
        return Some(equals("value", text_was));
    }
    if let Some(text_was) = kind
        && text(becomes, "type") == kind
        && (value.is_none() || text(becomes, "value") != value)
        && count(None, kind) == 1
    {
        return Some(equals("type", text_was));
    }
    match (value, kind) {
        (Some(value), Some(kind)) if count(Some(value), Some(kind)) == 1 => {
            Some(Filter::And(vec![equals("value", value), equals("type", kind)]))
        }
        _ => None,
    }
}

fn leads_to(operations: &[PatchOperation], old: &[&Value], wanted: &[Value]) -> bool {
    let attribute_path = name::attribute_path(None, "elements", None);
    let mut patch = PatchOp { operations: operations.to_vec(), ..PatchOp::default() };
    for path in patch.operations.iter_mut().filter_map(|operation| operation.path.as_mut()) {
        path.attribute = attribute_path.clone();
    }
    let elements = old.iter().map(|element| (*element).clone()).collect();
    let mut scratch = Attributes::from_iter([("elements".to_owned(), Value::Array(elements))]);
    apply::apply(&mut scratch, &patch).is_ok()
        && same(scratch.get("elements"), Some(&Value::Array(wanted.to_vec())))
}
