//! A PATCH in the form that a server reads.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::apply::{ApplyError, ApplyErrorKind, apply};
use super::members::Membership;
use super::{name, normalise};
use crate::dialect::{BooleanForm, Dialect, PatchForm};
use crate::filter::{CompareOp, Filter};
use crate::message::{PatchOp, PatchOperation, PatchVerb};
use crate::path::{AttributePath, Path};
use crate::resource::Attributes;

/// An operation and which it was.
pub(super) type Numbered = (usize, PatchOperation);

impl PatchOp {
    /// The same changes as a server of that dialect reads them, in one message or, where it limits the members that one
    /// may touch, in several to be sent one after the other (removals come first where the operations' order allows).
    ///
    /// `current` is the resource as it was last read. Only some forms look at it: those that write a multi-valued
    /// attribute as a whole where one element changes ([`PatchForm::PerAttribute`], [`PatchForm::Unfiltered`],
    /// [`PatchForm::Pathless`],
    /// [`MemberRemoval::Replace`](crate::dialect::MemberRemoval::Replace)), and replacing or removing all members under a
    /// limit. What somebody else changed since it was read is then undone, so such writes want `If-Match`.
    ///
    /// # Errors
    /// Where the operations cannot be read ([`normalise`]), or do not fit `current` in a form that needs it: an attribute
    /// whose elements they change is not in it. A group's `members` that are known to be none are `[]` there.
    pub fn in_dialect(&self, dialect: &Dialect, current: &Attributes) -> Result<Vec<Self>, ApplyError> {
        let mut operations = numbered(self)?;
        for path in operations.iter_mut().filter_map(|(_, operation)| operation.path.as_mut()) {
            without_own_schema(path, current);
        }
        let (members, others): (Vec<Numbered>, Vec<Numbered>) = operations
            .into_iter()
            .partition(|(_, operation)| operation.path.as_ref().is_some_and(name::is_members_path));
        let others = match dialect.patch {
            PatchForm::Standard => others.into_iter().map(|(_, operation)| operation).collect(),
            PatchForm::PerAttribute => per_attribute(others, current, chooses_elements)?,
            PatchForm::Unfiltered => per_attribute(others, current, filters)?,
            PatchForm::Pathless => pathless(&others, current)?,
        };
        let mut batches = Membership::of(members, current).batches(dialect)?;
        match batches.first_mut() {
            Some(first) => {
                first.splice(0..0, others);
            }
            None if !others.is_empty() => batches.push(others),
            None => {}
        }
        let written = |mut operations: Vec<PatchOperation>| {
            if dialect.booleans == BooleanForm::Text {
                operations.iter_mut().filter_map(|operation| operation.value.as_mut()).for_each(in_words);
            }
            Self { operations, verbs: dialect.verbs }
        };
        Ok(batches.into_iter().map(written).collect())
    }
}

/// The operations in the form of the RFC, with the numbers of those that they come from.
fn numbered(patch: &PatchOp) -> Result<Vec<Numbered>, ApplyError> {
    let mut numbered = Vec::with_capacity(patch.operations.len());
    for (index, operation) in patch.operations.iter().enumerate() {
        let one = PatchOp { operations: vec![operation.clone()], ..PatchOp::default() };
        let read = normalise::normalise(&one).map_err(|error| ApplyError { operation: index, ..error })?;
        numbered.extend(read.operations.into_iter().map(|operation| (index, operation)));
    }
    Ok(numbered)
}

/// The attributes of the only schema that the resource follows are its own; their URN goes from paths.
fn without_own_schema(path: &mut Path, current: &Attributes) {
    let mut schemas = name::schemas(current);
    let only = schemas.next().filter(|_| schemas.next().is_none());
    if let (Some(only), Some(schema)) = (only, &path.attribute.schema)
        && only.eq_ignore_ascii_case(schema)
        && name::key_of(current, schema).is_none()
    {
        path.attribute.schema = None;
    }
}

/// Operations on one attribute, by its schema and name in lower case.
type ByAttribute = BTreeMap<(String, String), Vec<Numbered>>;

fn key(path: &Path) -> (String, String) {
    let schema = path.attribute.schema.as_deref().unwrap_or_default();
    (schema.to_ascii_lowercase(), path.attribute.name.to_ascii_lowercase())
}

fn by_attribute(operations: &[Numbered]) -> ByAttribute {
    let mut by_attribute = ByAttribute::new();
    for (index, operation) in operations {
        if let Some(path) = &operation.path {
            by_attribute.entry(key(path)).or_default().push((*index, operation.clone()));
        }
    }
    by_attribute
}

/// Attributes with an operation that cannot be written so are written as a whole.
fn per_attribute(
    operations: Vec<Numbered>,
    current: &Attributes,
    unwritable: fn(&PatchOperation) -> bool,
) -> Result<Vec<PatchOperation>, ApplyError> {
    let mut groups = by_attribute(&operations);
    groups.retain(|_, operations| operations.iter().any(|(_, operation)| unwritable(operation)));
    let mut out = Vec::with_capacity(operations.len());
    for (_, operation) in operations {
        let Some(path) = &operation.path else { continue };
        match groups.get_mut(&key(path)) {
            None => out.push(operation),
            // The first one stands for all of them.
            Some(group) if group.is_empty() => {}
            Some(group) => {
                let path = Path::from(AttributePath { sub: None, ..path.attribute.clone() });
                let after = after(&path, &std::mem::take(group), current)?;
                out.push(match after {
                    Some(value) => {
                        PatchOperation { verb: PatchVerb::Replace, path: Some(path), value: Some(value) }
                    }
                    None => PatchOperation { verb: PatchVerb::Remove, path: Some(path), value: None },
                });
            }
        }
    }
    Ok(out)
}

/// Whether a filter chooses elements.
fn filters(operation: &PatchOperation) -> bool {
    operation.path.as_ref().is_some_and(|path| path.element.is_some())
}

/// Whether a filter chooses whole elements, or does it by more than `eq` and `and`.
fn chooses_elements(operation: &PatchOperation) -> bool {
    let Some(path) = &operation.path else { return false };
    path.element.as_deref().is_some_and(|filter| path.sub.is_none() || !is_equal_and(filter))
}

fn is_equal_and(filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().all(is_equal_and),
        Filter::Compare(_, op, _) => *op == CompareOp::Equal,
        _ => false,
    }
}

/// One value with all attributes: whole ones, or of complex ones the parts that change.
fn pathless(operations: &[Numbered], current: &Attributes) -> Result<Vec<PatchOperation>, ApplyError> {
    let mut all = Attributes::new();
    for operations in by_attribute(operations).into_values() {
        let Some(path) = operations.first().and_then(|(_, operation)| operation.path.clone()) else {
            continue;
        };
        let path = Path::from(AttributePath { sub: None, ..path.attribute });
        let after = after(&path, &operations, current)?;
        let parts: Option<Vec<&str>> = operations
            .iter()
            .map(|(_, operation)| {
                operation.path.as_ref().filter(|path| path.element.is_none()).and_then(Path::sub_attribute)
            })
            .collect();
        let value = match (after, parts) {
            (Some(Value::Object(map)), Some(parts)) => Value::Object(part_values(&map, &parts)),
            (None, Some(parts)) => Value::Object(part_values(&Map::new(), &parts)),
            (Some(value), _) => value,
            (None, None)
                if path.attribute.schema.is_none() && name::is_multi_valued(&path.attribute.name) =>
            {
                Value::Array(Vec::new())
            }
            (None, None) => Value::Null,
        };
        match path.attribute.schema {
            None => {
                all.insert(path.attribute.name, value);
            }
            Some(urn) => {
                let urn = name::key_of(&all, &urn).unwrap_or(urn);
                if let Value::Object(extension) = all.entry(urn).or_insert_with(|| Value::Object(Map::new()))
                {
                    extension.insert(path.attribute.name, value);
                }
            }
        }
    }
    if all.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![PatchOperation { verb: PatchVerb::Replace, path: None, value: Some(Value::Object(all)) }])
}

fn part_values(map: &Map<String, Value>, parts: &[&str]) -> Map<String, Value> {
    let part = |part: &&str| {
        let value = crate::resource::attribute(map, part).cloned().unwrap_or_default();
        ((*part).to_owned(), value)
    };
    parts.iter().map(part).collect()
}

/// What the attribute is after the operations on it.
pub(super) fn after(
    path: &Path,
    operations: &[Numbered],
    current: &Attributes,
) -> Result<Option<Value>, ApplyError> {
    let holder = path.attribute.schema.as_deref().unwrap_or(&path.attribute.name);
    let mut scratch = Attributes::new();
    for known in ["schemas", holder] {
        if let Some(key) = name::key_of(current, known)
            && let Some(value) = current.get(&key)
        {
            scratch.insert(key, value.clone());
        }
    }
    if value_at(&scratch, path).is_none()
        && let Some((index, operation)) = operations
            .iter()
            .find(|(_, operation)| operation.path.as_ref().is_some_and(|path| path.element.is_some()))
    {
        return Err(ApplyError::new(*index, ApplyErrorKind::NoTarget, operation.path.as_ref()));
    }
    let patch = PatchOp {
        operations: operations.iter().map(|(_, operation)| operation.clone()).collect(),
        ..PatchOp::default()
    };
    apply(&mut scratch, &patch).map_err(|error| {
        let operation = operations.get(error.operation).map_or(0, |(index, _)| *index);
        ApplyError { operation, ..error }
    })?;
    Ok(value_at(&scratch, path).cloned())
}

fn value_at<'a>(resource: &'a Attributes, path: &Path) -> Option<&'a Value> {
    let holder = match &path.attribute.schema {
        None => resource,
        Some(urn) => crate::resource::attribute(resource, urn)?.as_object()?,
    };
    crate::resource::attribute(holder, &path.attribute.name)
}

/// `"True"`, `"False"`
fn in_words(value: &mut Value) {
    match value {
        Value::Bool(true) => *value = Value::String("True".to_owned()),
        Value::Bool(false) => *value = Value::String("False".to_owned()),
        Value::Array(elements) => elements.iter_mut().for_each(in_words),
        Value::Object(map) => map.values_mut().for_each(in_words),
        Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}
