//! What other senders write, brought into the form of RFC 7644.

use serde_json::{Map, Value};

use super::apply::{ApplyError, ApplyErrorKind, OPERATIONS_MAX};
use super::build::equals;
use super::name;
use crate::filter::{CompareOp, Filter, Literal};
use crate::message::{PatchOp, PatchOperation, PatchVerb};
use crate::path::{AttributePath, Path};
use crate::resource::Attributes;

/// Brings a PATCH into the form that RFC 7644 describes, one attribute with a path for each operation:
///
/// * a value without a path becomes an operation for each attribute in it, also behind the URN of an extension and under
///   keys that are paths (`name.familyName`, `emails[type eq "work"].value`), as Okta and Entra write them;
/// * `remove` with a path and a list of values removes each of them by a filter (Entra's and AWS's members);
/// * `"True"` and `"False"` become booleans in `active` and `primary`;
/// * a single element stands in a list where RFC 7643 knows several, and is an object where it was its `value` alone; so
///   is a `manager` that is only an identifier;
/// * URNs of RFC 7643's resources in front of their attributes go.
///
/// # Errors
/// Where a key is no path, a value without a path is no object, or there are more than [`OPERATIONS_MAX`] operations.
pub fn normalise(patch: &PatchOp) -> Result<PatchOp, ApplyError> {
    let mut operations = Vec::with_capacity(patch.operations.len());
    for (index, operation) in patch.operations.iter().enumerate() {
        let error = |kind| ApplyError::new(index, kind, operation.path.as_ref());
        self::operation(operation, &mut operations).map_err(error)?;
        if operations.len() > OPERATIONS_MAX {
            return Err(error(ApplyErrorKind::TooLarge));
        }
    }
    Ok(PatchOp { operations, ..PatchOp::default() })
}

fn operation(operation: &PatchOperation, out: &mut Vec<PatchOperation>) -> Result<(), ApplyErrorKind> {
    let PatchOperation { verb, path, value } = operation;
    let Some(path) = path else {
        return match (verb, value) {
            (PatchVerb::Remove, _) => Err(ApplyErrorKind::NoTarget),
            (_, Some(Value::Object(attributes))) => flatten(*verb, None, attributes, out),
            _ => Err(ApplyErrorKind::InvalidValue),
        };
    };
    if let (Some(urn), Some(Value::Object(attributes))) = (schema_alone(&path.attribute), value)
        && *verb != PatchVerb::Remove
        && path.element.is_none()
        && path.sub.is_none()
    {
        return flatten(*verb, (!name::is_core(&urn)).then_some(&*urn), attributes, out);
    }
    push(*verb, path.clone(), value.clone(), out);
    Ok(())
}

/// The URN that the whole path is, where that is known.
fn schema_alone(path: &AttributePath) -> Option<String> {
    let alone = match &path.schema {
        None => path.name.clone(),
        Some(schema) if path.name.is_empty() => schema.clone(),
        Some(schema) => format!("{schema}:{}", path.name),
    };
    let known = name::is_core_alone(&alone) || alone.eq_ignore_ascii_case(name::ENTERPRISE);
    (path.sub.is_none() && known).then_some(alone)
}

fn flatten(
    verb: PatchVerb,
    urn: Option<&str>,
    attributes: &Attributes,
    out: &mut Vec<PatchOperation>,
) -> Result<(), ApplyErrorKind> {
    for (key, value) in attributes {
        let path = match value {
            _ if name::is_attribute_name(key) => Path::from(name::attribute_path(urn, key, None)),
            Value::Object(inside) if urn.is_none() && name::is_urn(key) => {
                flatten(verb, (!name::is_core(key)).then_some(key), inside, out)?;
                continue;
            }
            _ => {
                let mut path: Path = key.parse().map_err(|_| ApplyErrorKind::InvalidPath)?;
                if let Some(urn) = urn {
                    path.attribute.schema = Some(urn.to_owned());
                }
                path
            }
        };
        push(verb, path, Some(value.clone()), out);
    }
    Ok(())
}

fn push(verb: PatchVerb, mut path: Path, value: Option<Value>, out: &mut Vec<PatchOperation>) {
    if path.attribute.schema.as_deref().is_some_and(name::is_core) && schema_alone(&path.attribute).is_none()
    {
        path.attribute.schema = None;
    }
    if let Some(filter) = &mut path.element {
        filter_booleans(filter);
    }
    let value = value.map(|value| self::value(&path, value));
    match (verb, &value) {
        (PatchVerb::Remove, Some(values)) if path.element.is_none() => match values {
            Value::Array(elements) => match filters(elements, name::is_members_path(&path)) {
                Some(filters) => out.extend(filters.into_iter().map(|filter| {
                    let path = Path { element: Some(Box::new(filter)), ..path.clone() };
                    PatchOperation { verb, path: Some(path), value: None }
                })),
                None => out.push(PatchOperation { verb, path: Some(path), value }),
            },
            _ => out.push(PatchOperation { verb, path: Some(path), value: None }),
        },
        (PatchVerb::Remove, _) => out.push(PatchOperation { verb, path: Some(path), value: None }),
        _ => out.push(PatchOperation { verb, path: Some(path), value }),
    }
}

/// For each element a filter that it matches; `None` where one cannot be described so.
fn filters(elements: &[Value], membership: bool) -> Option<Vec<Filter>> {
    let filter = |element: &Value| match element {
        Value::String(text) => Some(equals("value", text)),
        Value::Object(map) => {
            let terms: Option<Vec<Filter>> = map
                .iter()
                .filter(|(key, value)| !value.is_null() && (!membership || key.eq_ignore_ascii_case("value")))
                .map(|(key, value)| {
                    let literal = match value {
                        Value::Bool(bool) => Literal::Bool(*bool),
                        Value::Number(number) => Literal::Number(number.clone()),
                        Value::String(text) => Literal::String(text.clone()),
                        Value::Null | Value::Array(_) | Value::Object(_) => return None,
                    };
                    let path = name::attribute_path(None, key, None);
                    name::is_attribute_name(key).then_some(Filter::Compare(path, CompareOp::Equal, literal))
                })
                .collect();
            let mut terms = terms?;
            match terms.len() {
                0 => None,
                1 => terms.pop(),
                _ => Some(Filter::And(terms)),
            }
        }
        _ => None,
    };
    elements.iter().map(filter).collect()
}

/// The value in the form that its attribute has.
fn value(path: &Path, value: Value) -> Value {
    let attribute = &path.attribute;
    let own = attribute.schema.is_none();
    match path.sub_attribute() {
        Some(sub) if sub.eq_ignore_ascii_case("primary") => return boolean(value),
        Some(_) => return value,
        None => {}
    }
    if own && attribute.name.eq_ignore_ascii_case("active") {
        return boolean(value);
    }
    if !own && attribute.name.eq_ignore_ascii_case("manager") {
        return match value {
            Value::String(id) => Value::Object(Map::from_iter([("value".to_owned(), Value::String(id))])),
            Value::Array(mut elements) if elements.len() == 1 => elements.pop().unwrap_or_default(),
            other => other,
        };
    }
    if !own || !name::is_multi_valued(&attribute.name) || attribute.name.eq_ignore_ascii_case("schemas") {
        return value;
    }
    match value {
        Value::Null => Value::Null,
        Value::Array(elements) => Value::Array(elements.into_iter().map(element).collect()),
        one if path.element.is_some() => element(one),
        one => Value::Array(vec![element(one)]),
    }
}

fn element(value: Value) -> Value {
    match value {
        Value::String(text) => Value::Object(Map::from_iter([("value".to_owned(), Value::String(text))])),
        Value::Object(mut map) => {
            if let Some(key) = name::key_of(&map, "primary")
                && let Some(primary) = map.get_mut(&key)
            {
                *primary = boolean(primary.take());
            }
            Value::Object(map)
        }
        other => other,
    }
}

fn boolean(value: Value) -> Value {
    match value.as_str() {
        Some(text) if text.eq_ignore_ascii_case("true") => Value::Bool(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Value::Bool(false),
        _ => value,
    }
}

/// `primary eq "True"`
fn filter_booleans(filter: &mut Filter) {
    let mut open = vec![filter];
    while let Some(filter) = open.pop() {
        match filter {
            Filter::And(parts) | Filter::Or(parts) => open.extend(parts),
            Filter::Not(part) | Filter::Element(_, part) => open.push(part),
            Filter::Compare(path, _, literal) if path.name.eq_ignore_ascii_case("primary") => {
                let read = match literal {
                    Literal::String(text) if text.eq_ignore_ascii_case("true") => true,
                    Literal::String(text) if text.eq_ignore_ascii_case("false") => false,
                    _ => continue,
                };
                *literal = Literal::Bool(read);
            }
            Filter::Present(_) | Filter::Compare(..) => {}
        }
    }
}
