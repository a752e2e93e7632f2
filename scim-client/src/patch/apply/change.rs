//! What an operation does to one attribute.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Applier, ApplyErrorKind, Change, Work};
use crate::filter::{CompareOp, Filter, Literal};
use crate::message::{PatchOperation, PatchVerb};
use crate::patch::equivalence::{canonical_element, is_nothing, pruned, same, same_attribute};
use crate::patch::{members, name};
use crate::path::AttributePath;
use crate::resource::attribute;

type Done = Result<(), ApplyErrorKind>;

/// How many added elements are compared one by one with what is there; for more, an index is made.
const COMPARED_ELEMENTS_MAX: usize = 4;

impl Applier<'_> {
    pub(super) fn attribute(&mut self, urn: Option<&str>, key: &str, change: &Change<'_>) -> Done {
        if !name::is_attribute_name(key) || change.sub.is_some_and(|sub| !name::is_attribute_name(sub)) {
            return Err(ApplyErrorKind::InvalidPath);
        }
        let Some(urn) = urn else {
            if !key.eq_ignore_ascii_case("schemas") && name::is_managed(key, &[self.resource]) {
                let same = change.element.is_none()
                    && change.sub.is_none()
                    && change.verb != PatchVerb::Remove
                    && same_attribute(key, attribute(self.resource, key), change.value);
                return if same { Ok(()) } else { Err(ApplyErrorKind::Mutability) };
            }
            self.remember(key);
            return change.apply(self.resource, None, key, &mut self.work);
        };
        self.remember(urn);
        let known = name::key_of(self.resource, urn);
        let urn = known.clone().unwrap_or_else(|| urn.to_owned());
        if known.is_none() {
            let says_nothing = change.value.is_none_or(is_nothing);
            if change.verb == PatchVerb::Remove || says_nothing {
                return Ok(());
            }
            self.add_schema(&urn);
        }
        let extension = self.resource.entry(urn.clone()).or_insert(Value::Null);
        if !extension.is_object() {
            // Nothing but attributes can be in an extension.
            *extension = Value::Object(Map::new());
        }
        let Value::Object(map) = extension else { return Err(ApplyErrorKind::InvalidPath) };
        change.apply(map, Some(&urn), key, &mut self.work)?;
        if map.is_empty() {
            self.resource.remove(&urn);
        }
        Ok(())
    }

    /// Removes members by operations that each name one.
    pub(super) fn remove_members(&mut self, operations: &[PatchOperation], ids: &HashSet<&str>) -> Done {
        self.remember("members");
        let Some(key) = name::key_of(self.resource, "members") else { return Ok(()) };
        // What is no list, and members that are no objects with a text as `value`, are left to the filters.
        let is_plain = |member: &Value| id_of(member).is_some();
        match self.resource.get_mut(&key) {
            Some(Value::Array(members)) if members.iter().all(is_plain) => {
                self.work.spend(members.len().saturating_add(ids.len()))?;
                members.retain(|member| id_of(member).is_none_or(|id| !ids.contains(id)));
                if members.iter().all(is_nothing) {
                    self.resource.remove(&key);
                }
                Ok(())
            }
            _ => operations.iter().try_for_each(|operation| self.operation(operation)),
        }
    }

    pub(super) fn remove_extension(&mut self, urn: &str) {
        if let Some(key) = name::key_of(self.resource, urn) {
            self.resource.remove(&key);
        }
    }

    /// RFC 7643 §3: `schemas` names the extensions whose attributes are there.
    fn add_schema(&mut self, urn: &str) {
        if name::schemas(self.resource).any(|known| known.eq_ignore_ascii_case(urn)) {
            return;
        }
        self.remember("schemas");
        let key = name::key_of(self.resource, "schemas");
        if let Some(Value::Array(schemas)) = key.and_then(|key| self.resource.get_mut(&key)) {
            schemas.push(Value::String(urn.to_owned()));
        }
    }
}

impl Change<'_> {
    /// Changes the attribute of that name among `attributes`, which are the resource's own or those of an extension.
    fn apply(
        &self,
        attributes: &mut Map<String, Value>,
        urn: Option<&str>,
        name: &str,
        work: &mut Work,
    ) -> Done {
        let own = urn.is_none();
        let key = name::key_of(attributes, name);
        let many = own && name::is_multi_valued(name);
        let membership = own && name::is_members(name);
        let value = match self.value {
            Some(value) => {
                work.spend(weight(value))?;
                pruned(value)
            }
            None => None,
        };
        let mut current = key.as_ref().and_then(|key| attributes.remove(key)).unwrap_or_default();
        if many && !matches!(current, Value::Array(_) | Value::Null) {
            current = Value::Array(vec![current]);
        }
        match (self.element, self.sub) {
            (None, None) => self.whole(&mut current, value, many, membership, work)?,
            (None, Some(sub)) => self.part(&mut current, sub, value, many, work)?,
            (Some(filter), sub) => {
                let of = name::attribute_path(urn, name, None);
                self.elements(&mut current, &of, filter, sub, value, work)?;
            }
        }
        // What is left without a value is unassigned (RFC 7644 §3.5.2.2).
        if !is_nothing(&current) {
            attributes.insert(key.unwrap_or_else(|| name.to_owned()), current);
        }
        Ok(())
    }

    fn whole(
        &self,
        current: &mut Value,
        value: Option<Value>,
        many: bool,
        membership: bool,
        work: &mut Work,
    ) -> Done {
        if let (PatchVerb::Replace, Value::Object(map), Some(Value::Object(_))) =
            (self.verb, &mut *current, self.value)
        {
            let parts = value.and_then(|value| value.as_object().cloned()).unwrap_or_default();
            merge(map, parts, self.value);
            return Ok(());
        }
        let Some(value) = value else {
            // `add` of nothing adds nothing; a `remove` whose value is an empty list removes none of the elements.
            let stays =
                self.verb == PatchVerb::Add || (self.verb == PatchVerb::Remove && self.value.is_some());
            if !stays {
                *current = Value::Null;
            }
            return Ok(());
        };
        match (self.verb, &mut *current) {
            (PatchVerb::Remove, Value::Array(elements)) => {
                remove_described(elements, &into_elements(value), membership, work)?;
            }
            (PatchVerb::Remove, one) => {
                if same(Some(one), Some(&value)) {
                    *one = Value::Null;
                }
            }
            (PatchVerb::Add, Value::Array(elements)) => append(elements, value, membership, work)?,
            (PatchVerb::Replace, Value::Array(elements)) => {
                *elements = into_elements(value);
                at_most_one_primary(elements)?;
            }
            (PatchVerb::Add, Value::Object(map)) if value.is_object() => {
                if let Value::Object(parts) = value {
                    merge(map, parts, None);
                }
            }
            (_, current) => {
                *current = if many { Value::Array(into_elements(value)) } else { value };
                if let Value::Array(elements) = current {
                    at_most_one_primary(elements)?;
                }
            }
        }
        Ok(())
    }

    /// A sub-attribute: of a complex attribute, or of all elements.
    fn part(
        &self,
        current: &mut Value,
        sub: &str,
        value: Option<Value>,
        many: bool,
        work: &mut Work,
    ) -> Done {
        let removes = value.is_none();
        match current {
            Value::Object(map) => self.sub(map, sub, value.as_ref()),
            Value::Array(elements) => {
                let all: Vec<usize> = (0..elements.len()).collect();
                self.sub_of_elements(elements, &all, sub, value.as_ref(), work)
            }
            Value::Null if removes => Ok(()),
            Value::Null if many => Err(ApplyErrorKind::NoTarget),
            Value::Null => {
                *current = Value::Object(Map::from_iter(value.map(|value| (sub.to_owned(), value))));
                Ok(())
            }
            _ => Err(ApplyErrorKind::InvalidPath),
        }
    }

    fn elements(
        &self,
        current: &mut Value,
        of: &AttributePath,
        filter: &Filter,
        sub: Option<&str>,
        value: Option<Value>,
        work: &mut Work,
    ) -> Done {
        if current.is_null() {
            *current = Value::Array(Vec::new());
        }
        let Value::Array(elements) = current else { return Err(ApplyErrorKind::InvalidPath) };
        work.spend(elements.len().saturating_mul(terms(filter)))?;
        let matched: Vec<usize> = elements
            .iter()
            .enumerate()
            .filter(|(_, element)| filter.matches_element(of, element))
            .map(|(at, _)| at)
            .collect();
        if matched.is_empty() {
            return match self.verb {
                PatchVerb::Remove => Ok(()),
                PatchVerb::Replace => Err(ApplyErrorKind::NoTarget),
                PatchVerb::Add => {
                    let element = described(filter, sub, value).ok_or(ApplyErrorKind::NoTarget)?;
                    append(elements, element, false, work)
                }
            };
        }
        match (sub, self.verb, value) {
            (Some(sub), _, value) => {
                self.sub_of_elements(elements, &matched, sub, value.as_ref(), work)?;
                elements.retain(|element| !is_nothing(element));
            }
            (None, PatchVerb::Remove, _) | (None, PatchVerb::Replace, None) => {
                let gone: HashSet<usize> = matched.into_iter().collect();
                let mut at = 0usize;
                elements.retain(|_| {
                    let stays = !gone.contains(&at);
                    at = at.saturating_add(1);
                    stays
                });
            }
            (None, PatchVerb::Add, None) => {}
            (None, verb, Some(value)) => {
                let [value] =
                    <[Value; 1]>::try_from(into_elements(value)).map_err(|_| ApplyErrorKind::InvalidValue)?;
                work.spend(matched.len().saturating_mul(weight(&value)))?;
                self.becomes_primary(elements, &matched, is_primary(&value))?;
                for index in matched {
                    let Some(element) = elements.get_mut(index) else { continue };
                    match (verb, &mut *element, &value) {
                        (PatchVerb::Add, Value::Object(map), Value::Object(parts)) => {
                            merge(map, parts.clone(), None);
                        }
                        (PatchVerb::Add, Value::Object(_), _) => return Err(ApplyErrorKind::InvalidValue),
                        (_, element, value) => *element = value.clone(),
                    }
                }
            }
        }
        Ok(())
    }

    fn sub_of_elements(
        &self,
        elements: &mut [Value],
        matched: &[usize],
        sub: &str,
        value: Option<&Value>,
        work: &mut Work,
    ) -> Done {
        work.spend(matched.len().saturating_mul(value.map_or(1, weight)))?;
        let becomes = sub.eq_ignore_ascii_case("primary") && value == Some(&Value::Bool(true));
        self.becomes_primary(elements, matched, becomes)?;
        for index in matched {
            let Some(element) = elements.get_mut(*index) else { continue };
            let Value::Object(map) = element else { return Err(ApplyErrorKind::InvalidPath) };
            self.sub(map, sub, value)?;
        }
        Ok(())
    }

    fn sub(&self, map: &mut Map<String, Value>, sub: &str, value: Option<&Value>) -> Done {
        let key = name::key_of(map, sub).unwrap_or_else(|| sub.to_owned());
        match (self.verb, value) {
            (PatchVerb::Remove, _) | (PatchVerb::Replace, None) => {
                map.remove(&key);
            }
            (PatchVerb::Add, None) => {}
            (verb, Some(value)) => match (verb, map.get_mut(&key)) {
                (PatchVerb::Add, Some(Value::Array(elements))) => {
                    append(elements, value.clone(), false, &mut Work::default())?;
                }
                _ => {
                    map.insert(key, value.clone());
                }
            },
        }
        Ok(())
    }

    /// RFC 7644 §3.5.2: what becomes primary makes the others not.
    fn becomes_primary(&self, elements: &mut [Value], matched: &[usize], becomes: bool) -> Done {
        if !becomes || self.verb == PatchVerb::Remove {
            return Ok(());
        }
        if matched.len() > 1 {
            return Err(ApplyErrorKind::InvalidValue);
        }
        for (index, element) in elements.iter_mut().enumerate() {
            if !matched.contains(&index) {
                not_primary(element);
            }
        }
        Ok(())
    }
}

/// Appends what is not there yet.
fn append(elements: &mut Vec<Value>, value: Value, membership: bool, work: &mut Work) -> Done {
    let mut added = into_elements(value);
    let key = |element: &Value| match id_of(element) {
        Some(id) if membership => Some(id.to_owned()),
        _ => form(element),
    };
    if added.len() <= COMPARED_ELEMENTS_MAX {
        let mut fresh: Vec<Value> = Vec::with_capacity(added.len());
        for element in added {
            work.spend(elements.len())?;
            let known = elements.iter().chain(&fresh).any(|known| match (id_of(known), id_of(&element)) {
                (Some(one), Some(other)) if one != other => false,
                (Some(_), Some(_)) if membership => true,
                _ => *known == element || form(known) == form(&element),
            });
            if !known {
                fresh.push(element);
            }
        }
        added = fresh;
    } else {
        work.spend(elements.len())?;
        let mut known: HashSet<String> = elements.iter().filter_map(key).collect();
        added.retain(|element| key(element).is_some_and(|key| known.insert(key)));
    }
    at_most_one_primary(&added)?;
    if added.iter().any(is_primary) {
        elements.iter_mut().for_each(not_primary);
    }
    elements.extend(added);
    Ok(())
}

/// Removes the elements that these describe: members by `value`, others by all that the value says of them.
fn remove_described(elements: &mut Vec<Value>, gone: &[Value], membership: bool, work: &mut Work) -> Done {
    let is_id = |gone: &&Value| {
        gone.as_object().is_some_and(|map| membership || map.len() == 1) && id_of(gone).is_some()
    };
    let (by_id, others): (Vec<&Value>, Vec<&Value>) = gone.iter().partition(is_id);
    let ids: HashSet<&str> = by_id.into_iter().filter_map(id_of).collect();
    work.spend(elements.len().saturating_mul(others.len().saturating_add(1)))?;
    elements.retain(|element| {
        let described = |gone: &&Value| match (gone, element) {
            (Value::Object(gone), Value::Object(map)) => {
                gone.iter().all(|(key, value)| same(attribute(map, key), Some(value)))
            }
            (gone, Value::Object(map)) => attribute(map, "value") == Some(gone),
            (gone, element) => *gone == element,
        };
        !(id_of(element).is_some_and(|id| ids.contains(id)) || others.iter().any(described))
    });
    Ok(())
}

/// Puts the parts of a complex value in place, the others stay. Parts that the value as written says to be nothing go.
fn merge(map: &mut Map<String, Value>, parts: Map<String, Value>, written: Option<&Value>) {
    for (part, value) in written.and_then(Value::as_object).into_iter().flatten() {
        if is_nothing(value)
            && let Some(key) = name::key_of(map, part)
        {
            map.remove(&key);
        }
    }
    for (part, value) in parts {
        let key = name::key_of(map, &part).unwrap_or(part);
        map.insert(key, value);
    }
}

/// The element that a filter of `eq` and `and` describes, with that value in it.
fn described(filter: &Filter, sub: Option<&str>, value: Option<Value>) -> Option<Value> {
    let mut element = Map::new();
    let mut open = vec![filter];
    while let Some(filter) = open.pop() {
        match filter {
            Filter::And(parts) => open.extend(parts),
            Filter::Compare(path, CompareOp::Equal, literal)
                if path.sub.is_none() && name::is_attribute_name(&path.name) =>
            {
                let value = match literal {
                    Literal::Bool(bool) => Value::Bool(*bool),
                    Literal::Number(number) => Value::Number(number.clone()),
                    Literal::String(text) => Value::String(text.clone()),
                    Literal::Null => return None,
                };
                element.insert(path.name.clone(), value);
            }
            _ => return None,
        }
    }
    match (sub, value?) {
        (Some(sub), value) => {
            merge(&mut element, Map::from_iter([(sub.to_owned(), value)]), None);
        }
        (None, Value::Object(parts)) => merge(&mut element, parts, None),
        (None, _) => return None,
    }
    Some(Value::Object(element))
}

fn into_elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements,
        one => vec![one],
    }
}

fn id_of(element: &Value) -> Option<&str> {
    members::id_of(element)
}

/// The form by which duplicates are known.
fn form(element: &Value) -> Option<String> {
    canonical_element(element).map(|element| element.to_string())
}

fn is_primary(element: &Value) -> bool {
    element.as_object().and_then(|map| attribute(map, "primary")) == Some(&Value::Bool(true))
}

fn not_primary(element: &mut Value) {
    if let Value::Object(map) = element
        && let Some(key) = name::key_of(map, "primary")
        && map.get(&key) == Some(&Value::Bool(true))
    {
        map.insert(key, Value::Bool(false));
    }
}

/// RFC 7643 §2.4: `true` appears once at the most.
fn at_most_one_primary(elements: &[Value]) -> Done {
    match elements.iter().filter(|element| is_primary(element)).count() {
        0 | 1 => Ok(()),
        _ => Err(ApplyErrorKind::InvalidValue),
    }
}

/// How many terms a filter has.
fn terms(filter: &Filter) -> usize {
    let mut open = vec![filter];
    let mut terms = 0usize;
    while let Some(filter) = open.pop() {
        terms = terms.saturating_add(1);
        match filter {
            Filter::And(parts) | Filter::Or(parts) => open.extend(parts),
            Filter::Not(part) | Filter::Element(_, part) => open.push(part),
            Filter::Present(_) | Filter::Compare(..) => {}
        }
    }
    terms
}

/// How many values and bytes of text a value holds.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => text.len().saturating_add(1),
        Value::Array(elements) => elements.iter().map(weight).fold(1, usize::saturating_add),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| weight(value).saturating_add(key.len()))
            .fold(1, usize::saturating_add),
    }
}
