//! Queries by actor and by time.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::keys::{Caller, Reader};
use super::stream::{Asked, catch_up, most, parameters};
use super::{Problem, Shared, body};
use crate::event::Timestamp;
use crate::id::ActorId;
use crate::log::{QUERY_ACTORS_MAX, Which};
use crate::store::{EventStore, Moment, Offset, Record};

/// Most bytes of a list of actors.
pub const ACTORS_BODY_BYTES_MAX: usize = 1024 * 1024;

pub(super) async fn of_actor<S: EventStore>(
    State(api): State<Shared<S>>,
    Reader(caller): Reader,
    actor: Result<Path<String>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(actor) = actor.map_err(|error| Problem::bad(error.body_text()))?;
    let actor = ActorId::new(actor).map_err(|error| Problem::bad(error.to_string()))?;
    catch_up(&api, &caller.tenant, &Which::Actors(vec![actor]), &parameters(asked)?, &headers).await
}

/// Actors whose events are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfActors {
    actors: Vec<ActorId>,
}

pub(super) async fn of_actors<S: EventStore>(
    State(api): State<Shared<S>>,
    Reader(caller): Reader,
    asked: Result<Query<Asked>, QueryRejection>,
    mut headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::read(&headers, body, ACTORS_BODY_BYTES_MAX).await?;
    let OfActors { actors } = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("an object with `actors` is asked for: {error}")))?;
    if actors.is_empty() || actors.len() > QUERY_ACTORS_MAX {
        return Err(Problem::bad(format!("1 to {QUERY_ACTORS_MAX} actors are asked for at once")));
    }
    // Only a GET is answered with 304 (RFC 9110 §13.1.2).
    headers.remove(header::IF_NONE_MATCH);
    catch_up(&api, &caller.tenant, &Which::Actors(actors), &parameters(asked)?, &headers).await
}

/// A span of time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Span {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    limit: Option<u32>,
    /// `next` of the answer before.
    after: Option<String>,
}

#[derive(Serialize)]
pub(super) struct TimeAnswer {
    events: Vec<Box<RawValue>>,
    /// `after` of the next request, where there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The end of the span has passed. What senders have not sent yet may still come.
    is_over: bool,
    /// A cursor of the stream: what comes after it was not looked at.
    stream_offset: String,
}

pub(super) async fn of_time<S: EventStore>(
    State(api): State<Shared<S>>,
    Reader(Caller { tenant, .. }): Reader,
    span: Result<Query<Span>, QueryRejection>,
) -> Result<Json<TimeAnswer>, Problem> {
    let Query(span) = span.map_err(|error| Problem::bad(error.body_text()))?;
    let after =
        span.after.as_deref().map(|after| moment(after).ok_or_else(|| Problem::bad("`after` is no `next`")));
    let limit = most(span.limit);
    let page = api.log.read_time(&tenant, span.from..span.to, after.transpose()?, limit).await?;
    let json = |record: &Record| {
        let json = String::from_utf8(record.to_json(&tenant)).ok()?;
        RawValue::from_string(json).ok()
    };
    let events: Option<Vec<_>> = page.records.iter().map(json).collect();
    let events = events.ok_or_else(|| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an event could not be written")
    })?;
    Ok(Json(TimeAnswer {
        events,
        next: page.next.map(|Moment { at, offset }| format!("{at}_{offset}")),
        is_over: span.to <= Utc::now(),
        stream_offset: api.cursors.cursor(&tenant, &Which::All, page.as_of),
    }))
}

/// It binds nothing: whoever makes one up reads their own tenant's events from another place.
fn moment(text: &str) -> Option<Moment> {
    let (at, offset) = text.split_once('_')?;
    let at = Timestamp::parse(at).ok()?;
    Some(Moment { at, offset: Offset::new(u64::from_str_radix(offset, 16).ok()?) })
}
