//! A PATCH as a server does it (RFC 7644 §3.5.2).

mod change;
mod target;

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

use self::target::Target;
use super::name;
use crate::error::ScimType;
use crate::filter::{CompareOp, Filter, Literal};
use crate::message::{PatchOp, PatchOperation, PatchVerb};
use crate::path::{AttributePath, Path};
use crate::resource::Attributes;

/// The most operations that are applied together.
pub const OPERATIONS_MAX: usize = 100_000;

/// The most work that one [`apply`] does: elements looked at (times the terms of the filter) and JSON values and bytes
/// written, together. It bounds the time (some seconds) and by how many bytes a resource can grow.
pub const WORK_MAX: usize = 200_000_000;

/// An operation that cannot be applied. Names the attribute, never a value.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ApplyError {
    /// Which operation, from 0.
    pub operation: usize,
    /// What is wrong with it.
    pub kind: ApplyErrorKind,
    /// The attribute that it is about, where it names one.
    pub attribute: Option<String>,
}

/// Why an operation cannot be applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ApplyErrorKind {
    /// Nothing is at the path: no element matches the filter of a replace, or a remove has no path.
    NoTarget,
    /// The path does not fit what is there, or is not a path.
    InvalidPath,
    /// The value is missing or cannot stand there.
    InvalidValue,
    /// The server alone writes this attribute.
    Mutability,
    /// More than [`OPERATIONS_MAX`] or [`WORK_MAX`].
    TooLarge,
}

impl ApplyErrorKind {
    /// What a server answers; `None` where it says 413.
    pub fn scim_type(self) -> Option<ScimType> {
        match self {
            Self::NoTarget => Some(ScimType::NoTarget),
            Self::InvalidPath => Some(ScimType::InvalidPath),
            Self::InvalidValue => Some(ScimType::InvalidValue),
            Self::Mutability => Some(ScimType::Mutability),
            Self::TooLarge => None,
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ApplyErrorKind::NoTarget => "nothing is there that it could change",
            ApplyErrorKind::InvalidPath => "the path does not fit the resource",
            ApplyErrorKind::InvalidValue => "the value is missing or cannot stand there",
            ApplyErrorKind::Mutability => "the server alone writes this attribute",
            ApplyErrorKind::TooLarge => "more work than the limits of a patch allow",
        };
        write!(f, "operation {}", self.operation)?;
        if let Some(attribute) = &self.attribute {
            write!(f, " on `{}`", attribute)?;
        }
        write!(f, ": {what}")
    }
}

impl std::error::Error for ApplyError {}

/// Applies the operations in their order, all of them or none.
///
/// As RFC 7644 §3.5.2 says: `add` appends to multi-valued attributes what is not there yet and merges into complex ones;
/// `replace` does as `add` where there is nothing, merges into complex attributes and puts multi-valued ones in place as
/// a whole; a `replace` whose filter matches nothing is [`NoTarget`](ApplyErrorKind::NoTarget). `null` and `[]` remove.
/// An element that becomes primary makes the others not. Names compare without case. Where the RFC leaves it open:
///
/// * `remove` of what is not there succeeds, also where a filter matches nothing;
/// * `add` with a filter of `eq` and `and` that matches nothing makes the element that it describes;
/// * `remove` with a path and a value removes these elements alone, as its senders mean it (not the whole attribute);
/// * a URN is an extension unless it is one of RFC 7643's resources or the only one in `schemas`; an extension that comes
///   is added to `schemas`;
/// * `id`, `meta` and a user's `groups` may be named with the value that they have.
///
/// What other senders write is brought into this form by [`normalise`](super::normalise).
///
/// # Errors
/// With the first operation that cannot be applied; the resource is then as it was.
pub fn apply(resource: &mut Attributes, patch: &PatchOp) -> Result<(), ApplyError> {
    let mut applier = Applier { resource, undo: Vec::new(), work: Work::default() };
    let mut index = 0usize;
    while let Some(operation) = patch.operations.get(index) {
        let end = patch.operations.len().min(OPERATIONS_MAX);
        let (done, count) = match patch.operations.get(index..end) {
            Some(rest) if !rest.is_empty() => applier.next(operation, rest),
            _ => (Err(ApplyErrorKind::TooLarge), 1),
        };
        if let Err(kind) = done {
            applier.undo();
            return Err(ApplyError::new(index, kind, operation.path.as_ref()));
        }
        index = index.saturating_add(count);
    }
    Ok(())
}

impl ApplyError {
    pub(super) fn new(operation: usize, kind: ApplyErrorKind, path: Option<&Path>) -> Self {
        let attribute = path.map(|path| {
            let attribute = AttributePath { sub: None, ..path.attribute.clone() };
            let mut text = match path.sub_attribute() {
                Some(sub) => attribute.part(sub).to_string(),
                None => attribute.to_string(),
            };
            let end = (0..=NAME_BYTES_SHOWN_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            if text.len() > end {
                text.truncate(end);
                text.push('…');
            }
            text
        });
        Self { operation, kind, attribute }
    }
}

/// The most bytes of an attribute's name that an error repeats.
const NAME_BYTES_SHOWN_MAX: usize = 200;

/// What an operation does to one attribute.
struct Change<'a> {
    verb: PatchVerb,
    element: Option<&'a Filter>,
    sub: Option<&'a str>,
    value: Option<&'a Value>,
}

struct Applier<'a> {
    resource: &'a mut Attributes,
    /// The attributes of the resource that were touched, as they were.
    undo: Vec<(String, Option<(String, Value)>)>,
    work: Work,
}

impl Applier<'_> {
    /// Does the next operation, or the removals of members that follow each other at once: one by one, each would look at
    /// all members. Says how many were done.
    fn next(
        &mut self,
        operation: &PatchOperation,
        rest: &[PatchOperation],
    ) -> (Result<(), ApplyErrorKind>, usize) {
        let count = rest.iter().map_while(removed_member).count();
        if count < 2 {
            return (self.operation(operation), 1);
        }
        let ids: HashSet<&str> = rest.iter().map_while(removed_member).collect();
        (self.remove_members(rest.get(..count).unwrap_or_default(), &ids), count)
    }

    fn operation(&mut self, operation: &PatchOperation) -> Result<(), ApplyErrorKind> {
        let PatchOperation { verb, path, value } = operation;
        if *verb != PatchVerb::Remove && value.is_none() {
            return Err(ApplyErrorKind::InvalidValue);
        }
        let target = path.as_ref().map_or(Target::Resource, |path| self.target(&path.attribute));
        let element = path.as_ref().and_then(|path| path.element.as_deref());
        let sub = path.as_ref().and_then(Path::sub_attribute);
        match target {
            Target::Resource => match (verb, value) {
                (PatchVerb::Remove, _) => Err(ApplyErrorKind::NoTarget),
                (_, Some(Value::Object(attributes))) => self.attributes(*verb, None, attributes),
                _ => Err(ApplyErrorKind::InvalidValue),
            },
            Target::Extension(urn) => {
                if element.is_some() || sub.is_some() {
                    return Err(ApplyErrorKind::InvalidPath);
                }
                match (verb, value) {
                    (PatchVerb::Remove, _) | (PatchVerb::Replace, Some(Value::Null)) => {
                        self.remember(&urn);
                        self.remove_extension(&urn);
                        Ok(())
                    }
                    (_, Some(Value::Object(attributes))) => self.attributes(*verb, Some(&urn), attributes),
                    _ => Err(ApplyErrorKind::InvalidValue),
                }
            }
            Target::Attribute(urn, name) => {
                let change = Change { verb: *verb, element, sub, value: value.as_ref() };
                self.attribute(urn.as_deref(), &name, &change)
            }
        }
    }

    /// A value without a path: each attribute in it for itself.
    fn attributes(
        &mut self,
        verb: PatchVerb,
        urn: Option<&str>,
        attributes: &Attributes,
    ) -> Result<(), ApplyErrorKind> {
        for (key, value) in attributes {
            if urn.is_none() && name::is_urn(key) {
                match value {
                    Value::Object(inside) if name::is_core(key) => self.attributes(verb, None, inside)?,
                    Value::Object(inside) => self.attributes(verb, Some(key), inside)?,
                    Value::Null if !name::is_core(key) => {
                        self.remember(key);
                        self.remove_extension(key);
                    }
                    _ => return Err(ApplyErrorKind::InvalidValue),
                }
                continue;
            }
            let change = Change { verb, element: None, sub: None, value: Some(value) };
            self.attribute(urn, key, &change)?;
        }
        Ok(())
    }

    /// Keeps what the attribute of the resource is now, unless that was done before.
    fn remember(&mut self, name: &str) {
        let lower = name.to_ascii_lowercase();
        if self.undo.iter().any(|(known, _)| *known == lower) {
            return;
        }
        let was = name::key_of(self.resource, name)
            .and_then(|key| self.resource.get(&key).cloned().map(|value| (key, value)));
        self.undo.push((lower, was));
    }

    fn undo(&mut self) {
        for (name, was) in std::mem::take(&mut self.undo) {
            while let Some(key) = name::key_of(self.resource, &name) {
                self.resource.remove(&key);
            }
            if let Some((key, value)) = was {
                self.resource.insert(key, value);
            }
        }
    }
}

/// The member that an operation removes by its identifier, which compares exactly.
fn removed_member(operation: &PatchOperation) -> Option<&str> {
    let PatchOperation { verb: PatchVerb::Remove, path: Some(path), value: None } = operation else {
        return None;
    };
    let plain =
        path.attribute.schema.is_none() && path.sub.is_none() && name::is_members(&path.attribute.name);
    match path.element.as_deref() {
        Some(Filter::Compare(of, CompareOp::Equal, Literal::String(id)))
            if plain && of.schema.is_none() && of.sub.is_none() && of.name.eq_ignore_ascii_case("value") =>
        {
            Some(id)
        }
        _ => None,
    }
}

/// How much was done.
#[derive(Default)]
struct Work(usize);

impl Work {
    fn spend(&mut self, work: usize) -> Result<(), ApplyErrorKind> {
        self.0 = self.0.saturating_add(work);
        if self.0 > WORK_MAX { Err(ApplyErrorKind::TooLarge) } else { Ok(()) }
    }
}
