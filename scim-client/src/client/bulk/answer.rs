//! What an answer says of the operations that were sent. No I/O.
//!
//! A result belongs to the operation whose `bulkId` it bears, and without one (servers need to give it back for creates
//! only) to the one whose method and address it bears. What cannot be told for sure is not known.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::plan::Planned;
use super::reference;
use super::{BulkDone, BulkOutcome, NotAttempted};
use crate::client::EntityTag;
use crate::client::receive::arrived;
use crate::error::{Error, ErrorKind};
use crate::message::{BulkResult, ErrorForm, ErrorResponse};
use crate::resource::{DynamicResource, Resource as _, ResourceId};
use crate::response;
use crate::trace::Exchange;
use crate::transport::Connectivity;

/// Where an answer comes from.
pub(super) struct Source<'a> {
    pub(super) exchange: &'a Exchange,
    /// When it came.
    pub(super) at: DateTime<Utc>,
    /// The path of the base.
    pub(super) base_path: &'a str,
    /// The headers that no error repeats.
    pub(super) shown: &'a [HeaderValue],
}

/// What was found for one operation.
#[derive(Clone, Copy)]
enum Found<'a> {
    Nothing,
    /// This.
    One(&'a BulkResult),
    /// One of several that are alike in method, address and status.
    Alike(&'a BulkResult),
    /// More than one, and they may contradict each other.
    Several,
}

/// What became of the operations of one message, in the order in which they were sent.
pub(super) fn judge(
    sent: &[&Planned],
    results: &[BulkResult],
    fail_on_errors: Option<u64>,
    source: &Source<'_>,
) -> Vec<BulkOutcome> {
    let (found, is_sound) = attribute(sent, results);
    let mut outcomes: Vec<Option<BulkOutcome>> = sent
        .iter()
        .zip(&found)
        .map(|(operation, found)| match found {
            Found::Nothing => None,
            Found::One(result) => Some(read(operation, result, source)),
            Found::Alike(result) => Some(read(operation, result, source).map(|done| BulkDone {
                version: None,
                resource: None,
                ..done
            })),
            Found::Several => Some(Err(unknown("the answer says more than once what became of it"))),
        })
        .zip(sent)
        .map(|(outcome, operation)| match outcome? {
            Ok(done) => Some(BulkOutcome::Done(Box::new(done))),
            Err(error) => Some(BulkOutcome::Failed(source.of(operation, error))),
        })
        .collect();
    // What nobody can read the server may have counted as done.
    let is_refusal = |error: &Error| error.http_status().is_some_and(|status| status >= 300);
    let errors = outcomes.iter().flatten().filter(|outcome| outcome.error().is_some_and(is_refusal)).count();
    let has_stopped = is_sound
        && fail_on_errors.is_some_and(|most| u64::try_from(errors).is_ok_and(|errors| errors >= most));
    // A server that stops has done nothing of what comes after. What it left out before that, it may have done.
    let stopped_after = outcomes.iter().rposition(Option::is_some);
    let mut all = Vec::with_capacity(sent.len());
    for (position, operation) in sent.iter().enumerate() {
        let outcome = outcomes.get_mut(position).and_then(Option::take);
        all.push(outcome.unwrap_or_else(|| {
            if has_stopped && stopped_after.is_some_and(|last| last < position) {
                return BulkOutcome::NotAttempted(NotAttempted::Errors);
            }
            let error = unknown("the answer does not say what became of it");
            BulkOutcome::Failed(source.of(operation, error))
        }));
    }
    all
}

impl Source<'_> {
    /// An error of this answer about one operation.
    pub(super) fn of(&self, operation: &Planned, error: Error) -> Error {
        let path = operation.path().unwrap_or_default();
        let error = match &operation.data {
            Some(data) => error.concealing_passwords(data),
            None => error,
        };
        error
            .concealing_headers(self.shown)
            .about(operation.method.clone(), format!("{}{path}", self.base_path))
            .after(self.exchange.clone())
    }
}

/// Which result is whose, and whether each is somebody's.
fn attribute<'a>(sent: &[&Planned], results: &'a [BulkResult]) -> (Vec<Found<'a>>, bool) {
    let mut by_name = HashMap::new();
    let mut by_target: HashMap<Target, (Vec<usize>, Vec<&BulkResult>)> = HashMap::new();
    for (position, operation) in sent.iter().enumerate() {
        by_name.insert(operation.bulk_id.as_str(), position);
        if let Some(target) = target(operation) {
            by_target.entry(target).or_default().0.push(position);
        }
    }
    let mut found = vec![Found::Nothing; sent.len()];
    let mut is_sound = true;
    for result in results {
        let method = result.method.as_ref().and_then(|method| Method::try_from(method.as_str()).ok());
        if let Some(name) = result.bulk_id.as_deref().filter(|name| !name.is_empty()) {
            let position = by_name.get(name).copied().filter(|position| {
                let of = sent.get(*position).map(|operation| &operation.method);
                method.is_none() || of == method.as_ref()
            });
            match position.and_then(|position| found.get_mut(position)) {
                Some(found @ Found::Nothing) => *found = Found::One(result),
                Some(found) => (*found, is_sound) = (Found::Several, false),
                None => is_sound = false,
            }
            continue;
        }
        let target = method.zip(result.location.as_deref().and_then(located));
        let target = target.map(|(method, (endpoint, id))| (method, endpoint.to_ascii_lowercase(), id));
        match target.and_then(|target| by_target.get_mut(&target)) {
            Some((_, results)) => results.push(result),
            None => is_sound = false,
        }
    }
    for (positions, results) in by_target.into_values().filter(|(_, results)| !results.is_empty()) {
        let is_nameless = positions.iter().all(|one| matches!(found.get(*one), Some(Found::Nothing)));
        let status = results.first().and_then(|result| result.status);
        let is_alike = results.iter().all(|result| result.status == status);
        let is_clear = is_nameless && positions.len() == results.len() && is_alike;
        is_sound &= is_clear;
        for (index, position) in positions.iter().enumerate() {
            if let Some(found) = found.get_mut(*position) {
                *found = match results.get(index) {
                    Some(result) if is_clear && results.len() == 1 => Found::One(result),
                    Some(result) if is_clear => Found::Alike(result),
                    _ => Found::Several,
                };
            }
        }
    }
    (found, is_sound)
}

/// What a result without a name is recognised by: method, endpoint in lower case, identifier.
type Target = (Method, String, String);

fn target(operation: &Planned) -> Option<Target> {
    let id = operation.id()?;
    let endpoint = operation.segments.iter().nth_back(1)?.to_ascii_lowercase();
    Some((operation.method.clone(), endpoint, id.as_str().to_owned()))
}

/// What one result says.
fn read(operation: &Planned, result: &BulkResult, source: &Source<'_>) -> Result<BulkDone, Error> {
    let body = result.response.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let said = ErrorResponse::read(&body);
    let said = said.status.filter(|_| said.form == ErrorForm::Scim);
    let status = result.status.map(|status| status.0).or(said).map(StatusCode::from_u16);
    let Some(Ok(status)) = status else {
        return Err(unknown("the answer has no status for it that can be read"));
    };
    let refused = |status| arrived(response::refusal(status, &HeaderMap::new(), &body, source.at));
    if !status.is_success() {
        return Err(refused(status));
    }
    let resource = match &result.response {
        Some(Value::Object(attributes)) => Some(DynamicResource::new(attributes.clone())),
        _ => None,
    };
    if resource.as_ref().is_none_or(|resource| resource.id().is_none())
        && let Some(Ok(said)) = said.map(StatusCode::from_u16)
        && !said.is_success()
    {
        return Err(refused(said));
    }
    let version = result.version.as_deref().and_then(|version| EntityTag::parse(version).ok());
    done(operation, status, result.location.clone(), version, resource, source.exchange)
}

/// An operation that the server says it performed.
pub(super) fn done(
    operation: &Planned,
    status: StatusCode,
    location: Option<String>,
    version: Option<EntityTag>,
    resource: Option<DynamicResource>,
    exchange: &Exchange,
) -> Result<BulkDone, Error> {
    if status == StatusCode::ACCEPTED {
        return Err(Error::new(ErrorKind::UnknownOutcome(Connectivity::Timeout))
            .status(status.as_u16())
            .detail("the server took note of it and will see to it later"));
    }
    let shown = resource.as_ref().and_then(|resource| resource.id().cloned());
    let endpoint = operation.segments.last().filter(|_| operation.method == Method::POST);
    let id = match endpoint {
        None => operation.id().or(shown),
        Some(endpoint) => {
            let made_there = || {
                let (of, id) = located(location.as_deref()?)?;
                of.eq_ignore_ascii_case(endpoint).then(|| ResourceId::new(id))
            };
            let id = shown.or_else(made_there);
            let is_one =
                |id: &ResourceId| !id.as_str().is_empty() && reference::name_of(id.as_str()).is_none();
            Some(id.filter(is_one).ok_or_else(|| {
                unknown("the answer does not say what the new resource's `id` is").status(status.as_u16())
            })?)
        }
    };
    let version = version.or_else(|| EntityTag::of(resource.as_ref()?));
    let exchange = exchange.clone();
    Ok(BulkDone { status: status.as_u16(), id, location, version, resource, exchange })
}

/// The last two segments of an address: servers write hosts and prefixes that only they know.
fn located(location: &str) -> Option<(String, String)> {
    let path = location.split(['?', '#']).next()?;
    let mut segments = path.trim_end_matches('/').rsplit('/');
    let mut decoded = || Some(percent_decode_str(segments.next()?).decode_utf8().ok()?.into_owned());
    let id = decoded()?;
    Some((decoded()?, id))
}

/// What nobody can tell: it has to be looked for.
fn unknown(detail: &str) -> Error {
    Error::new(ErrorKind::Protocol).detail(detail)
}
