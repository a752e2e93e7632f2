//! What has to be done to make one resource into another.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::equivalence::{is_nothing, pruned, same, same_attribute};
use super::{element, members, name};
use crate::message::{PatchOp, PatchOperation, PatchVerb};
use crate::path::{AttributePath, Path};
use crate::resource::Attributes;

pub use super::element::PAIRED_ELEMENTS_MAX;

/// The operations that make `old` into `new`: what `new` does not speak of is removed.
///
/// Each operation has a path and changes one attribute or sub-attribute. Elements of multi-valued attributes are told
/// apart by `value` and `type`; those that cannot be told apart make the attribute be replaced as a whole. Members of a
/// group are added and removed one by one, never replaced, so that members whom somebody else added meanwhile stay.
///
/// What the server manages is left alone (see the module), and so are attributes whose names no path can spell.
pub fn between(old: &Attributes, new: &Attributes) -> PatchOp {
    difference(old, new, Reach::Whole)
}

/// The operations that bring `old` to what `wanted` says: what `wanted` does not speak of stays, `null` and `[]` remove.
///
/// Sub-attributes count alone (a server's `name.formatted` stays), also those of elements that are in both; the elements
/// of a multi-valued attribute count together: what `wanted` does not list is removed. A write is confirmed when this is
/// empty for what was read afterwards (what is never returned, such as `password`, left out).
pub fn towards(old: &Attributes, wanted: &Attributes) -> PatchOp {
    difference(old, wanted, Reach::Spoken)
}

/// How far a difference goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// Also to what the new state does not speak of.
    Whole,
    /// To what the new state speaks of.
    Spoken,
}

fn difference(old: &Attributes, new: &Attributes, reach: Reach) -> PatchOp {
    let mut difference = Difference { managed: [old, new], operations: Vec::new() };
    difference.attributes(None, old, new, reach);
    PatchOp { operations: difference.operations, ..PatchOp::default() }
}

struct Difference<'a> {
    managed: [&'a Attributes; 2],
    operations: Vec<PatchOperation>,
}

/// The attributes by their names in lower case; of two that differ in case alone, the first.
fn index(map: &Attributes) -> BTreeMap<String, (&str, &Value)> {
    let mut index = BTreeMap::new();
    for (key, value) in map {
        index.entry(key.to_ascii_lowercase()).or_insert((key.as_str(), value));
    }
    index
}

impl Difference<'_> {
    fn attributes(&mut self, schema: Option<&str>, old: &Attributes, new: &Attributes, reach: Reach) {
        let (old, new) = (index(old), index(new));
        for (lower, (key, wanted)) in &new {
            let (key, was) = match old.get(lower) {
                Some((key, was)) => (*key, Some(*was)),
                None => (*key, None),
            };
            match wanted {
                wanted if schema.is_none() && name::is_urn(key) => {
                    self.extension(key, was, Some(wanted), reach);
                }
                wanted => self.attribute(schema, key, was, wanted, reach),
            }
        }
        if reach == Reach::Spoken {
            return;
        }
        for (lower, (key, was)) in &old {
            if new.contains_key(lower) {
                continue;
            }
            if schema.is_none() && name::is_urn(key) {
                self.extension(key, Some(was), None, reach);
            } else {
                self.attribute(schema, key, Some(was), &Value::Null, reach);
            }
        }
    }

    /// An extension is its attributes: a path that is a URN alone is read as an attribute by some servers.
    fn extension(&mut self, urn: &str, old: Option<&Value>, new: Option<&Value>, reach: Reach) {
        if name::is_core(urn) {
            return;
        }
        let empty = Attributes::new();
        let old = old.and_then(Value::as_object).unwrap_or(&empty);
        match new {
            Some(Value::Object(new)) => self.attributes(Some(urn), old, new, reach),
            _ => self.attributes(Some(urn), old, &empty, Reach::Whole),
        }
    }

    fn attribute(&mut self, schema: Option<&str>, key: &str, old: Option<&Value>, new: &Value, reach: Reach) {
        let own = schema.is_none();
        if !name::is_attribute_name(key) || (own && name::is_managed(key, &self.managed)) {
            return;
        }
        let unchanged = if own { same_attribute(key, old, Some(new)) } else { same(old, Some(new)) };
        if unchanged && !(reach == Reach::Spoken && matches!((old, new), (Some(Value::Object(_)), _))) {
            return;
        }
        let path = name::attribute_path(schema, key, None);
        let many = own && name::is_multi_valued(key);
        let old = old.map(|old| if many { as_elements(old) } else { Cow::Borrowed(old) });
        let new = if many { as_elements(new) } else { Cow::Borrowed(new) };
        match (old.as_deref(), &*new) {
            (Some(Value::Object(old)), Value::Object(new)) => self.complex(&path, old, new, reach),
            (Some(Value::Array(old)), Value::Array(new)) => {
                if own && name::is_members(key) && members::are_members(old) && members::are_members(new) {
                    self.operations.extend(members::difference(&path, old, new));
                } else {
                    self.operations.extend(element::difference(&path, old, new, reach));
                }
            }
            (old, new) => self.simple(Path::from(path), old, new),
        }
    }

    /// One value in place of another.
    fn simple(&mut self, path: Path, old: Option<&Value>, new: &Value) {
        // An empty list says that there are several.
        let old = old.filter(|old| !is_nothing(old) || (old.is_array() && !new.is_array()));
        let Some(new) = pruned(new) else {
            if old.is_some() {
                self.push(PatchVerb::Remove, path, None);
            }
            return;
        };
        match old {
            None => self.push(PatchVerb::Add, path, Some(new)),
            // In place of several values, one would be taken for an element of them.
            Some(Value::Array(_)) if !new.is_array() => {
                self.push(PatchVerb::Remove, path.clone(), None);
                self.push(PatchVerb::Add, path, Some(new));
            }
            Some(_) => self.push(PatchVerb::Replace, path, Some(new)),
        }
    }

    fn complex(
        &mut self,
        path: &AttributePath,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        reach: Reach,
    ) {
        let whole = || Path::from(path.clone());
        if reach == Reach::Whole && new.values().all(is_nothing) {
            return self.push(PatchVerb::Remove, whole(), None);
        }
        let changes = sub_changes(old, new, reach);
        if changes.iter().all(|change| name::is_attribute_name(change.name)) {
            for change in changes {
                let path = AttributePath { sub: Some(change.name.to_owned()), ..path.clone() };
                self.push(change.verb, Path::from(path), change.value);
            }
        } else if reach == Reach::Whole {
            self.push(PatchVerb::Remove, whole(), None);
            self.push(PatchVerb::Add, whole(), pruned(&Value::Object(new.clone())));
        } else {
            self.push(PatchVerb::Replace, whole(), Some(Value::Object(new.clone())));
        }
    }

    fn push(&mut self, verb: PatchVerb, path: Path, value: Option<Value>) {
        self.operations.push(PatchOperation { verb, path: Some(path), value });
    }
}

/// A change of one sub-attribute.
pub(super) struct SubChange<'a> {
    pub(super) name: &'a str,
    pub(super) verb: PatchVerb,
    pub(super) value: Option<Value>,
}

/// What differs among the sub-attributes of a complex value.
pub(super) fn sub_changes<'a>(
    old: &'a Map<String, Value>,
    new: &'a Map<String, Value>,
    reach: Reach,
) -> Vec<SubChange<'a>> {
    let (old, new) = (index(old), index(new));
    let mut changes = Vec::new();
    for (lower, (key, wanted)) in &new {
        let was = old.get(lower);
        let (name, was) = was.map_or((*key, None), |(key, was)| (*key, Some(*was)));
        if same(was, Some(wanted)) {
            continue;
        }
        let value = pruned(wanted);
        // To an empty list, `add` would add an element.
        let has = was.is_some_and(|was| !is_nothing(was) || (was.is_array() && !wanted.is_array()));
        let verb = match (&value, has) {
            (None, _) => PatchVerb::Remove,
            (Some(_), true) => PatchVerb::Replace,
            (Some(_), false) => PatchVerb::Add,
        };
        changes.push(SubChange { name, verb, value });
    }
    if reach == Reach::Whole {
        for (lower, (name, was)) in &old {
            if !new.contains_key(lower) && !is_nothing(was) {
                changes.push(SubChange { name, verb: PatchVerb::Remove, value: None });
            }
        }
    }
    changes
}

/// What an attribute holds that has several values; a single one stands for itself.
fn as_elements(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::Null | Value::Array(_) => Cow::Borrowed(value),
        one => Cow::Owned(Value::Array(vec![one.clone()])),
    }
}
