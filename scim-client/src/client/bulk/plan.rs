//! What is sent next, and what becomes of each operation. No I/O.

use std::collections::{BTreeSet, HashMap, HashSet};

use http::Method;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::Value;

use super::reference;
use super::{BulkOutcome, NotAttempted};
use crate::error::{Error, ErrorKind};
use crate::message::{BulkMethod, BulkOperation};
use crate::request;
use crate::resource::ResourceId;
use crate::urn;

/// Operations of a cycle that are named.
const NAMED_MAX: usize = 8;

/// How much goes into one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) operations_max: usize,
    pub(super) bytes_max: usize,
}

/// A message, and which operations are in it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) operations: Vec<usize>,
    pub(super) body: Vec<u8>,
    /// The errors after which the server stops.
    pub(super) fail_on_errors: Option<u64>,
}

/// All operations of a run.
#[derive(Debug)]
pub(super) struct Plan {
    operations: Vec<Planned>,
    /// What waits for nothing, in the order given.
    ready: BTreeSet<usize>,
    outcomes: Vec<Option<BulkOutcome>>,
    fail_on_errors: Option<u64>,
    errors: u64,
    /// By the names that the caller gave to what is made.
    names: HashMap<String, usize>,
}

/// An operation, and what it waits for.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) method: Method,
    /// Decoded.
    pub(super) segments: Vec<String>,
    /// The name that it has in messages; that of the caller, where there is one.
    pub(super) bulk_id: String,
    pub(super) version: Option<String>,
    pub(super) data: Option<Value>,
    /// How many that it refers to are not made yet.
    waits_for: usize,
    /// Those that refer to this one.
    referred_by: Vec<usize>,
    /// The one before and the next one about the same resource.
    before: Option<usize>,
    next: Option<usize>,
    /// Whether the one before about the same resource is still to be sent.
    is_behind: bool,
    /// Whether nobody knows what the one before did.
    is_in_doubt: bool,
    /// What it made.
    made: Option<ResourceId>,
}

impl Plan {
    pub(super) fn new(operations: Vec<BulkOperation>, fail_on_errors: Option<u64>) -> Result<Self, Error> {
        let mut names = HashMap::new();
        for (index, operation) in operations.iter().enumerate() {
            if let Some(name) = &operation.bulk_id
                && names.insert(name.clone(), index).is_some()
            {
                return Err(invalid(format!("two operations are called `{name}`")));
            }
        }
        let count = operations.len();
        let operations = named(operations, &names)?;
        let mut plan = Self {
            operations,
            ready: BTreeSet::new(),
            outcomes: std::iter::repeat_with(|| None).take(count).collect(),
            fail_on_errors: fail_on_errors.map(|most| most.max(1)),
            errors: 0,
            names,
        };
        plan.connect()?;
        plan.refuse_cycles()?;
        for index in 0..count {
            plan.admit(index);
        }
        Ok(plan)
    }

    /// Who waits for whom.
    fn connect(&mut self) -> Result<(), Error> {
        let mut last_about: HashMap<Vec<String>, usize> = HashMap::new();
        for index in 0..self.operations.len() {
            let Some(operation) = self.operations.get_mut(index) else { continue };
            let mut referred = BTreeSet::new();
            let mut unknown = None;
            let names = &self.names;
            operation.resolve(&mut |name| {
                match names.get(name) {
                    Some(made) => {
                        referred.insert(*made);
                    }
                    None => unknown = Some(name.to_owned()),
                }
                None
            });
            if let Some(unknown) = unknown {
                return Err(invalid(format!(
                    "operation `{}` refers to `{unknown}`, and none is called that",
                    operation.bulk_id
                )));
            }
            operation.waits_for = referred.len();
            if operation.method != Method::POST {
                let before = last_about.insert(operation.segments.clone(), index);
                (operation.before, operation.is_behind) = (before, before.is_some());
                if let Some(before) = before.and_then(|before| self.operations.get_mut(before)) {
                    before.next = Some(index);
                }
            }
            for made in referred {
                let Some(maker) = self.operations.get_mut(made) else { continue };
                if maker.method != Method::POST {
                    let maker = maker.bulk_id.clone();
                    return Err(invalid(format!("something refers to `{maker}`, which makes nothing")));
                }
                maker.referred_by.push(index);
            }
        }
        Ok(())
    }

    /// References that lead back to where they began can be in no order.
    fn refuse_cycles(&self) -> Result<(), Error> {
        let mut waits_for: Vec<usize> = self.operations.iter().map(|operation| operation.waits_for).collect();
        let mut free: Vec<usize> =
            waits_for.iter().enumerate().filter(|(_, waits)| **waits == 0).map(|(index, _)| index).collect();
        let mut left: BTreeSet<usize> = (0..self.operations.len()).collect();
        while let Some(index) = free.pop() {
            left.remove(&index);
            for dependent in self.operations.get(index).into_iter().flat_map(|one| &one.referred_by) {
                if let Some(waits) = waits_for.get_mut(*dependent) {
                    *waits = waits.saturating_sub(1);
                    if *waits == 0 {
                        free.push(*dependent);
                    }
                }
            }
        }
        let Some(mut at) = left.first().copied() else { return Ok(()) };
        // Each that is left refers to another that is left: whoever goes on for long enough is in a cycle.
        let mut refers_to = HashMap::new();
        for maker in &left {
            for dependent in self.operations.get(*maker).into_iter().flat_map(|one| &one.referred_by) {
                refers_to.insert(*dependent, *maker);
            }
        }
        let onward = |at: usize| refers_to.get(&at).copied().unwrap_or(at);
        for _ in &left {
            at = onward(at);
        }
        let mut cycle = vec![at];
        let mut next = onward(at);
        while next != at {
            cycle.push(next);
            next = onward(next);
        }
        let first = cycle.iter().enumerate().min_by_key(|(_, index)| **index).map_or(0, |(first, _)| first);
        cycle.rotate_left(first);
        let mut named: Vec<String> = cycle
            .iter()
            .take(NAMED_MAX)
            .filter_map(|index| self.operations.get(*index))
            .map(|operation| format!("`{}`", operation.bulk_id))
            .collect();
        if cycle.len() > NAMED_MAX {
            named.push(format!("{} more", cycle.len().saturating_sub(NAMED_MAX)));
        }
        Err(invalid(format!(
            "operations refer to each other in a circle: {}; make one of them without the reference, and add that by a PATCH",
            named.join(", ")
        )))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Planned> {
        self.operations.get(index)
    }

    /// How many errors may still happen; `None` where any number may.
    fn errors_left(&self) -> Option<u64> {
        self.fail_on_errors.map(|most| most.saturating_sub(self.errors))
    }

    /// The next message. Operations that cannot be in any end here.
    pub(super) fn message(&mut self, limits: Limits) -> Option<Message> {
        loop {
            let fail_on_errors = self.errors_left();
            let mut body = head(fail_on_errors).into_bytes();
            let mut operations = Vec::new();
            let mut impossible = None;
            while operations.len() < limits.operations_max
                && let Some(index) = self.first()
            {
                match self.write(index, &mut body, operations.is_empty(), limits.bytes_max) {
                    Ok(()) => {
                        operations.push(index);
                        self.take(index);
                    }
                    Err(error) => {
                        impossible = Some((index, error));
                        break;
                    }
                }
            }
            if !operations.is_empty() {
                body.extend_from_slice(TAIL);
                return Some(Message { operations, body, fail_on_errors });
            }
            // What cannot be in a message of its own can be in none.
            let (index, error) = impossible?;
            self.end(index, BulkOutcome::Failed(error));
        }
    }

    /// Adds an operation to a message.
    fn write(&self, index: usize, body: &mut Vec<u8>, is_first: bool, bytes_max: usize) -> Result<(), Error> {
        let Some(operation) = self.operations.get(index) else { return Ok(()) };
        let written = operation.written()?;
        let comma: &[u8] = if is_first { b"" } else { b"," };
        let bytes = [body.len(), comma.len(), written.len(), TAIL.len()]
            .into_iter()
            .fold(0_usize, |sum, bytes| sum.saturating_add(bytes));
        if bytes > bytes_max {
            return Err(Error::new(ErrorKind::TooLarge).detail(format!(
                "operation `{}` makes a bulk request of {bytes} bytes, more than {bytes_max}",
                operation.bulk_id
            )));
        }
        body.extend_from_slice(comma);
        body.extend_from_slice(&written);
        Ok(())
    }

    /// The next operation by itself.
    pub(super) fn single(&mut self) -> Option<usize> {
        let index = self.first()?;
        self.take(index);
        Some(index)
    }

    /// The first that waits for nothing, with identifiers in the place of references.
    fn first(&mut self) -> Option<usize> {
        loop {
            if self.errors_left() == Some(0) {
                return None;
            }
            let index = *self.ready.first()?;
            if self.operations.get(index)?.is_in_doubt {
                self.end(index, BulkOutcome::NotAttempted(NotAttempted::InDoubt));
                continue;
            }
            let mut operation = self.operations.get_mut(index)?.borrowed();
            operation.resolve(&mut |name| self.operations.get(*self.names.get(name)?)?.made.clone());
            self.operations.get_mut(index)?.put(operation);
            return Some(index);
        }
    }

    fn take(&mut self, index: usize) {
        self.ready.remove(&index);
        self.let_next(index);
    }

    /// These were not performed, and are to be sent again.
    pub(super) fn put_back(&mut self, operations: &[usize]) {
        self.ready.extend(operations);
    }

    /// What became of one. The first word counts.
    pub(super) fn end(&mut self, index: usize, outcome: BulkOutcome) {
        let mut ended = vec![(index, outcome)];
        while let Some((index, outcome)) = ended.pop() {
            let Some(known @ None) = self.outcomes.get_mut(index) else { continue };
            let Some(operation) = self.operations.get_mut(index) else { continue };
            let next = operation.next;
            let referred_by = std::mem::take(&mut operation.referred_by);
            let mut is_in_doubt = false;
            match &outcome {
                BulkOutcome::Done(done) => operation.made.clone_from(&done.id),
                BulkOutcome::Failed(error) => {
                    self.errors = self.errors.saturating_add(1);
                    // What is not there, or in another version, was left alone.
                    let was_left = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Concurrency);
                    is_in_doubt = !was_left && error.may_have_happened();
                }
                BulkOutcome::NotAttempted(_) => is_in_doubt = operation.is_in_doubt,
            }
            let name = operation.bulk_id.clone();
            let is_done = operation.made.is_some();
            *known = Some(outcome);
            self.ready.remove(&index);
            let is_left_out = self.leave_out(index);
            if let Some(next) = next.and_then(|next| self.operations.get_mut(next)) {
                next.is_in_doubt |= is_in_doubt;
            }
            for dependent in referred_by {
                if !is_done {
                    let why = NotAttempted::Reference { bulk_id: name.clone() };
                    ended.push((dependent, BulkOutcome::NotAttempted(why)));
                } else if let Some(operation) = self.operations.get_mut(dependent) {
                    operation.waits_for = operation.waits_for.saturating_sub(1);
                    self.admit(dependent);
                }
            }
            if !is_left_out {
                self.let_next(index);
            }
        }
    }

    /// Where one ended before what it has to follow, the next follows that instead. Whether it did.
    fn leave_out(&mut self, index: usize) -> bool {
        let Some(operation) = self.operations.get_mut(index) else { return false };
        let Some(before) = operation.before.filter(|before| matches!(self.outcomes.get(*before), Some(None)))
        else {
            return false;
        };
        let (next, is_behind) = (operation.next.take(), operation.is_behind);
        if let Some(before) = self.operations.get_mut(before) {
            before.next = next;
        }
        if let Some(index) = next
            && let Some(next) = self.operations.get_mut(index)
        {
            (next.before, next.is_behind) = (Some(before), is_behind);
            self.admit(index);
        }
        true
    }

    /// What comes after it about the same resource need not wait any more.
    fn let_next(&mut self, index: usize) {
        if let Some(next) = self.operations.get(index).and_then(|operation| operation.next)
            && let Some(operation) = self.operations.get_mut(next)
            && std::mem::take(&mut operation.is_behind)
        {
            self.admit(next);
        }
    }

    fn admit(&mut self, index: usize) {
        if let (Some(operation), Some(None)) = (self.operations.get(index), self.outcomes.get(index))
            && operation.waits_for == 0
            && !operation.is_behind
        {
            self.ready.insert(index);
        }
    }

    /// What became of each, in the order given. What is left was kept back by errors: too many of them, or one of the
    /// connector.
    pub(super) fn finish(self) -> Vec<BulkOutcome> {
        let is_full = self.errors_left() == Some(0);
        let why = if is_full { NotAttempted::Errors } else { NotAttempted::Connector };
        self.outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| BulkOutcome::NotAttempted(why.clone())))
            .collect()
    }
}

impl Planned {
    /// Its place in messages, to be written to without the plan.
    fn borrowed(&mut self) -> Referring {
        Referring { segments: std::mem::take(&mut self.segments), data: self.data.take() }
    }

    fn put(&mut self, Referring { segments, data }: Referring) {
        (self.segments, self.data) = (segments, data);
    }

    fn resolve(&mut self, by: reference::Resolve<'_>) {
        let mut referring = self.borrowed();
        referring.resolve(by);
        self.put(referring);
    }

    /// The path below the base.
    pub(super) fn path(&self) -> Result<String, Error> {
        request::path(self.segments.iter().map(String::as_str))
    }

    /// The identifier that its path ends with; none where it makes one.
    pub(super) fn id(&self) -> Option<ResourceId> {
        match self.segments.as_slice() {
            [_, .., id] if self.method != Method::POST => Some(ResourceId::new(id)),
            _ => None,
        }
    }

    /// As it stands in a message.
    fn written(&self) -> Result<Vec<u8>, Error> {
        let operation = Written {
            method: self.method.as_str(),
            bulk_id: &self.bulk_id,
            version: self.version.as_deref(),
            path: &self.path()?,
            data: self.data.as_ref(),
        };
        serde_json::to_vec(&operation).map_err(|error| Error::new(ErrorKind::Invalid).because(error))
    }
}

/// [`BulkOperation`], borrowed.
#[derive(Serialize)]
struct Written<'a> {
    method: &'a str,
    #[serde(rename = "bulkId")]
    bulk_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

/// The parts of an operation that hold references.
struct Referring {
    segments: Vec<String>,
    data: Option<Value>,
}

impl Referring {
    fn resolve(&mut self, by: reference::Resolve<'_>) {
        reference::resolve_segments(&mut self.segments, by);
        if let Some(data) = &mut self.data {
            reference::resolve(data, by);
        }
    }
}

const TAIL: &[u8] = b"]}";

fn head(fail_on_errors: Option<u64>) -> String {
    let fail_on_errors = fail_on_errors.map(|most| format!("\"failOnErrors\":{most},")).unwrap_or_default();
    format!("{{\"schemas\":[\"{}\"],{fail_on_errors}\"Operations\":[", urn::BULK_REQUEST)
}

/// The operations with a name each, which answers are recognised by.
fn named(operations: Vec<BulkOperation>, names: &HashMap<String, usize>) -> Result<Vec<Planned>, Error> {
    let taken: HashSet<&str> = names.keys().map(String::as_str).collect();
    let mut prefix = "op".to_owned();
    while taken.iter().any(|name| name.starts_with(&prefix)) {
        prefix.push('-');
    }
    operations
        .into_iter()
        .enumerate()
        .map(|(index, operation)| {
            let name = operation.bulk_id.clone().unwrap_or_else(|| format!("{prefix}{index}"));
            planned(operation, name.clone()).map_err(|why| {
                invalid(format!("operation `{name}` (number {}) {why}", index.saturating_add(1)))
            })
        })
        .collect()
}

fn planned(operation: BulkOperation, bulk_id: String) -> Result<Planned, &'static str> {
    let method = match operation.method {
        Some(BulkMethod::Post) => Method::POST,
        Some(BulkMethod::Put) => Method::PUT,
        Some(BulkMethod::Patch) => Method::PATCH,
        Some(BulkMethod::Delete) => Method::DELETE,
        Some(BulkMethod::Other(_)) | None => return Err("has no method that a bulk request knows"),
    };
    if bulk_id.is_empty() {
        return Err("has an empty `bulkId`");
    }
    let path = operation.path.unwrap_or_default();
    if path.contains(['?', '#']) {
        return Err("has a path with a query");
    }
    let segments: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8().map(Into::into))
        .collect::<Result<_, _>>()
        .map_err(|_| "has a path that is no UTF-8")?;
    let is_me = matches!(segments.as_slice(), [me] if me.eq_ignore_ascii_case("me"));
    match (segments.len(), &method) {
        (0, _) => return Err("has no path"),
        (1, &Method::PUT | &Method::PATCH | &Method::DELETE) if !is_me => {
            return Err("names no resource in its path");
        }
        _ => {}
    }
    if request::path(segments.iter().map(String::as_str)).is_err() {
        return Err("has a path with `.` or `..` in it");
    }
    if operation.data.is_some() == (method == Method::DELETE) {
        return Err(if method == Method::DELETE { "deletes, and has `data`" } else { "has no `data`" });
    }
    Ok(Planned {
        method,
        segments,
        bulk_id,
        version: operation.version,
        data: operation.data,
        waits_for: 0,
        referred_by: Vec::new(),
        before: None,
        next: None,
        is_behind: false,
        is_in_doubt: false,
        made: None,
    })
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Invalid).detail(detail)
}
