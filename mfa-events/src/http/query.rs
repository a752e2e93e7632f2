//! Queries by actor and by time.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::keys::{Caller, Reader};
use super::stream::{catch_up, most, parameters};
use super::{Problem, Shared, body, page};
use crate::event::Timestamp;
use crate::id::ActorId;
use crate::log::{QUERY_ACTORS_MAX, TimeCursor, Which};
use crate::store::{EventStore, Moment, Offset};

/// Most bytes of a list of actors.
pub const ACTORS_BODY_BYTES_MAX: usize = 1024 * 1024;

pub(super) async fn of_actor<S: EventStore>(
    State(api): State<Shared<S>>,
    Reader(caller): Reader,
    actor: Result<Path<String>, PathRejection>,
    asked: Result<Query<Pages>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(actor) = actor.map_err(|error| Problem::bad(error.body_text()))?;
    let actor = ActorId::new(actor).map_err(|error| Problem::bad(error.to_string()))?;
    let Pages { offset, limit } = parameters(asked)?;
    let which = Which::Actors(vec![actor]);
    catch_up(&api, &caller.tenant, &which, offset.as_deref(), most(limit), &headers).await
}

/// What may be asked for besides the actors. Whoever wants to wait, or another actor, is told that this is no place for it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pages {
    offset: Option<String>,
    limit: Option<u32>,
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
    asked: Result<Query<Pages>, QueryRejection>,
    mut headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::read(&headers, body, ACTORS_BODY_BYTES_MAX, None).await?;
    let OfActors { actors } = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("an object with `actors` is asked for: {error}")))?;
    if actors.is_empty() || actors.len() > QUERY_ACTORS_MAX {
        return Err(Problem::bad(format!("1 to {QUERY_ACTORS_MAX} actors are asked for at once")));
    }
    // Only a GET is answered with 304 (RFC 9110 §13.1.2).
    headers.remove(header::IF_NONE_MATCH);
    let Pages { offset, limit } = parameters(asked)?;
    catch_up(&api, &caller.tenant, &Which::Actors(actors), offset.as_deref(), most(limit), &headers).await
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
    /// All pages together have everything that came of this span up to `stream_offset`, and no more of it is to be expected.
    complete: bool,
    /// Why they have not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete_because: Vec<Lack>,
    /// A cursor of the stream, the same for each page: what comes after it was not looked at.
    stream_offset: String,
}

/// What a span of time lacks.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Lack {
    /// Events that may have been of it are no longer kept.
    Retention,
    /// Its end has not passed.
    NotOver,
}

pub(super) async fn of_time<S: EventStore>(
    State(api): State<Shared<S>>,
    Reader(Caller { tenant, .. }): Reader,
    span: Result<Query<Span>, QueryRejection>,
) -> Result<Json<TimeAnswer>, Problem> {
    let Query(span) = span.map_err(|error| Problem::bad(error.body_text()))?;
    let after =
        span.after.as_deref().map(|after| cursor(after).ok_or_else(|| Problem::bad("`after` is no `next`")));
    let (mut from, mut room) = (after.transpose()?, page::whole(most(span.limit)));
    let (mut events, mut is_retained, mut as_of) = (Vec::new(), true, Offset::START);
    let mut next = from;
    while let Some(most) = room.next() {
        let page = api.log.read_time(&tenant, span.from..span.to, from, most).await?;
        is_retained &= page.is_retained;
        (next, as_of) = (page.next, page.as_of);
        let mut is_full = false;
        for record in &page.records {
            let json = page::raw(record, &tenant)?;
            if !room.takes(json.get().len()) {
                next = from;
                is_full = true;
                break;
            }
            events.push(json);
            from = Some(TimeCursor { after: record.moment(), as_of });
        }
        // A page without events, all of which came later, is an answer as well: the work of one request is bounded.
        if is_full || next.is_none() || page.records.is_empty() {
            break;
        }
        from = next;
    }
    let is_over = span.to <= Utc::now();
    let lacks = [(!is_retained, Lack::Retention), (!is_over, Lack::NotOver)];
    let incomplete_because: Vec<_> =
        lacks.into_iter().filter(|(is_so, _)| *is_so).map(|(_, lack)| lack).collect();
    Ok(Json(TimeAnswer {
        events,
        next: next.map(|TimeCursor { after: Moment { at, offset }, as_of }| format!("{at}_{offset}_{as_of}")),
        is_over,
        complete: incomplete_because.is_empty(),
        incomplete_because,
        stream_offset: api.cursors.cursor(&tenant, &Which::All, as_of),
    }))
}

/// It binds nothing: whoever makes one up reads their own tenant's events from another place.
fn cursor(text: &str) -> Option<TimeCursor> {
    let (at, rest) = text.split_once('_')?;
    let (offset, as_of) = rest.split_once('_')?;
    let number = |digits: &str| Some(Offset::new(u64::from_str_radix(digits, 16).ok()?));
    let after = Moment { at: Timestamp::parse(at).ok()?, offset: number(offset)? };
    Some(TimeCursor { after, as_of: number(as_of)? })
}
