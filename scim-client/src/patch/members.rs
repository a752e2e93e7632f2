//! Members of a group: who comes, who goes.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::apply::{ApplyError, ApplyErrorKind};
use super::build::equals;
use super::dialect::Numbered;
use super::equivalence::{is_nothing, pruned};
use super::{build, dialect};
use crate::dialect::{Dialect, MemberRemoval};
use crate::filter::{CompareOp, Filter, Literal};
use crate::message::{PatchOperation, PatchVerb};
use crate::path::{AttributePath, Path};
use crate::resource::{Attributes, attribute};

/// Whether all of them are members with an identifier.
pub(super) fn are_members(elements: &[Value]) -> bool {
    elements.iter().all(|element| is_nothing(element) || id_of(element).is_some())
}

/// The identifier of a member, which is what tells it apart.
pub(super) fn id_of(member: &Value) -> Option<&str> {
    attribute(member.as_object()?, "value")?.as_str()
}

/// The identifiers of the members.
pub(super) fn ids(elements: &[Value]) -> Vec<&str> {
    elements.iter().filter_map(id_of).collect()
}

/// Removes who is not in `new`, one by one, and adds who is not in `old`.
pub(super) fn difference(path: &AttributePath, old: &[Value], new: &[Value]) -> Vec<PatchOperation> {
    let was: BTreeSet<&str> = ids(old).into_iter().collect();
    let wanted: BTreeSet<&str> = ids(new).into_iter().collect();
    let plain = || Some(Path::from(path.clone()));
    if wanted.is_empty() {
        return match was.is_empty() {
            true => Vec::new(),
            false => vec![PatchOperation { verb: PatchVerb::Remove, path: plain(), value: None }],
        };
    }
    // Servers compare without case (RFC 7643 §8.7.1), so that a filter may be about a neighbour, too.
    let mut alike: HashMap<String, usize> = HashMap::with_capacity(was.len());
    for id in &was {
        let count = alike.entry(id.to_lowercase()).or_default();
        *count = count.saturating_add(1);
    }
    let mut operations = Vec::new();
    for gone in was.difference(&wanted) {
        if alike.get(&gone.to_lowercase()).is_some_and(|count| *count > 1) {
            let value = pruned(&Value::Array(new.to_vec()));
            return vec![PatchOperation { verb: PatchVerb::Replace, path: plain(), value }];
        }
        let path = Path::from(path.clone()).elements(equals("value", gone));
        operations.push(PatchOperation { verb: PatchVerb::Remove, path: Some(path), value: None });
    }
    let mut come: BTreeSet<&str> = wanted.difference(&was).copied().collect();
    let added: Vec<Value> = new
        .iter()
        .filter(|member| id_of(member).is_some_and(|id| come.remove(id)))
        .filter_map(pruned)
        .collect();
    if !added.is_empty() {
        let value = Some(Value::Array(added));
        operations.push(PatchOperation { verb: PatchVerb::Add, path: plain(), value });
    }
    operations
}

/// Operations on members, told apart by what they do to whom.
pub(super) struct Membership<'a> {
    steps: Vec<Step>,
    numbered: Vec<Numbered>,
    current: &'a Attributes,
}

enum Step {
    Remove(String),
    Add(Value),
    /// All of them by these (by none: all go).
    Replace(Vec<Value>),
    /// Something about members that is neither.
    Other(PatchOperation),
}

impl<'a> Membership<'a> {
    pub(super) fn of(numbered: Vec<Numbered>, current: &'a Attributes) -> Self {
        let mut steps = Vec::new();
        for (_, operation) in &numbered {
            let PatchOperation { verb, path, value } = operation;
            let element = path.as_ref().and_then(|path| path.element.as_deref());
            let part = path.as_ref().is_some_and(|path| path.sub_attribute().is_some());
            match (verb, element, value) {
                (PatchVerb::Remove, Some(filter), None) if !part => match removed(filter) {
                    Some(ids) => steps.extend(ids.into_iter().map(|id| Step::Remove(id.to_owned()))),
                    None => steps.push(Step::Other(operation.clone())),
                },
                (PatchVerb::Remove, None, None) if !part => steps.push(Step::Replace(Vec::new())),
                (PatchVerb::Add, None, Some(Value::Array(members))) if !part => {
                    steps.extend(members.iter().cloned().map(Step::Add));
                }
                (PatchVerb::Replace, None, Some(Value::Array(members))) if !part => {
                    steps.push(Step::Replace(members.clone()));
                }
                _ => steps.push(Step::Other(operation.clone())),
            }
        }
        Self { steps, numbered, current }
    }

    /// The messages that do it, each within the dialect's limit.
    pub(super) fn batches(mut self, dialect: &Dialect) -> Result<Vec<Vec<PatchOperation>>, ApplyError> {
        let max = dialect.members_per_patch_max.map_or(usize::MAX, |max| max.max(1));
        let removes = |step: &Step| matches!(step, Step::Remove(_) | Step::Replace(_));
        if dialect.member_removal == MemberRemoval::Replace && self.steps.iter().any(removes) {
            let stay = self.after()?;
            self.steps = vec![Step::Replace(stay)];
        } else if dialect.members_per_patch_max.is_some()
            && self.steps.iter().any(|step| matches!(step, Step::Replace(_)))
        {
            self.steps = self.one_by_one()?;
        }
        let mut batches =
            Batches { max, left: max, removal: dialect.member_removal, open: Vec::new(), done: Vec::new() };
        for step in self.steps {
            batches.take(step);
        }
        batches.close();
        Ok(batches.done)
    }

    /// The members after all. Where it is not known who they are, nobody can be said to stay or to go.
    fn after(&self) -> Result<Vec<Value>, ApplyError> {
        if attribute(self.current, "members").is_none() {
            let adds = |(_, operation): &&Numbered| operation.verb == PatchVerb::Add;
            let (index, operation) = match self.numbered.iter().find(|operation| !adds(operation)) {
                Some((index, operation)) => (*index, operation.path.as_ref()),
                None => (0, None),
            };
            return Err(ApplyError::new(index, ApplyErrorKind::NoTarget, operation));
        }
        let members = dialect::after(&build::members_path(), &self.numbered, self.current)?;
        Ok(match members {
            Some(Value::Array(members)) => members,
            _ => Vec::new(),
        })
    }

    /// Who goes, then who comes.
    fn one_by_one(&self) -> Result<Vec<Step>, ApplyError> {
        let after = self.after()?;
        let before = match attribute(self.current, "members") {
            Some(Value::Array(members)) => members.as_slice(),
            _ => &[],
        };
        let (was, stay): (BTreeSet<&str>, BTreeSet<&str>) =
            (ids(before).into_iter().collect(), ids(&after).into_iter().collect());
        let gone = was.difference(&stay).map(|id| Step::Remove((*id).to_owned()));
        let come = after.iter().filter(|member| id_of(member).is_none_or(|id| !was.contains(id)));
        Ok(gone.chain(come.cloned().map(Step::Add)).collect())
    }
}

/// Whom a filter of `value eq` names.
fn removed(filter: &Filter) -> Option<Vec<&str>> {
    match filter {
        Filter::Compare(path, CompareOp::Equal, Literal::String(id))
            if path.name.eq_ignore_ascii_case("value") && path.sub.is_none() =>
        {
            Some(vec![id])
        }
        Filter::Or(parts) => {
            let parts: Option<Vec<Vec<&str>>> = parts.iter().map(removed).collect();
            parts.map(|parts| parts.into_iter().flatten().collect())
        }
        _ => None,
    }
}

struct Batches {
    max: usize,
    /// How many members the open message may still touch.
    left: usize,
    removal: MemberRemoval,
    open: Vec<PatchOperation>,
    done: Vec<Vec<PatchOperation>>,
}

impl Batches {
    fn take(&mut self, step: Step) {
        let path = Some(build::members_path());
        match step {
            Step::Remove(id) => {
                let removal = self.removal;
                let operations = self.room();
                if removal == MemberRemoval::Filter {
                    let path = Some(build::member_path(&id));
                    operations.push(PatchOperation { verb: PatchVerb::Remove, path, value: None });
                } else {
                    let member = Value::Object(Map::from_iter([("value".to_owned(), Value::String(id))]));
                    push_member(operations, PatchVerb::Remove, member);
                }
            }
            Step::Add(member) => push_member(self.room(), PatchVerb::Add, member),
            Step::Replace(members) if members.is_empty() && self.removal != MemberRemoval::Replace => {
                self.room().push(PatchOperation { verb: PatchVerb::Remove, path, value: None });
            }
            Step::Replace(members) => {
                // A replace begins a message, so that the limit is for it and what follows.
                self.close();
                let mut members = members.into_iter();
                let first: Vec<Value> = members.by_ref().take(self.max).collect();
                self.left = self.max.saturating_sub(first.len());
                let value = Some(Value::Array(first));
                self.open.push(PatchOperation { verb: PatchVerb::Replace, path, value });
                members.for_each(|member| self.take(Step::Add(member)));
            }
            Step::Other(operation) => self.room().push(operation),
        }
    }

    /// The message that touches one member more.
    fn room(&mut self) -> &mut Vec<PatchOperation> {
        if self.left == 0 {
            self.close();
        }
        self.left = self.left.saturating_sub(1);
        &mut self.open
    }

    fn close(&mut self) {
        self.left = self.max;
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open));
        }
    }
}

/// Members that come or go one after the other do so in one operation.
fn push_member(operations: &mut Vec<PatchOperation>, verb: PatchVerb, member: Value) {
    if let Some(PatchOperation { verb: last, path: Some(path), value: Some(Value::Array(members)) }) =
        operations.last_mut()
        && *last == verb
        && path.element.is_none()
    {
        members.push(member);
        return;
    }
    let value = Some(Value::Array(vec![member]));
    operations.push(PatchOperation { verb, path: Some(build::members_path()), value });
}
