//! The stream, after the read path of the Durable Streams protocol: catch-up, long-poll and server-sent events from one URL.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use futures::stream::{self, Stream};
use serde::Deserialize;
use tokio::time::Instant;

use super::keys::{Caller, Reader as MayRead};
use super::limits::LiveReader;
use super::page::{self, Room, Written};
use super::tail::{Chunk, Tail};
use super::{HEARTBEAT, LONG_POLL, Problem, STREAM_TIME_MAX, Shared};
use crate::id::{ActorId, TenantId};
use crate::log::{PAGE_EVENTS_MAX, ReadError, Which};
use crate::store::{Bounds, EventStore, Offset};

const NEXT_OFFSET: HeaderName = HeaderName::from_static("stream-next-offset");
const UP_TO_DATE: HeaderName = HeaderName::from_static("stream-up-to-date");
const CURSOR: HeaderName = HeaderName::from_static("stream-cursor");

/// Events and their bytes that one stream of server-sent events reads at once, which is what it holds in memory.
const EVENTS_AT_ONCE: usize = 100;
const BYTES_AT_ONCE: usize = 64 * 1024;

/// How long what comes close behind what was sent may gather.
const TOGETHER: Duration = Duration::from_millis(5);

/// When a reader whose stream has ended comes again.
const RETRY: Duration = Duration::from_secs(1);

/// What may be asked for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    offset: Option<String>,
    live: Option<Live>,
    limit: Option<u32>,
    /// One actor alone.
    actor: Option<String>,
    /// What keeps caches apart; of no meaning here but that it grows.
    cursor: Option<u64>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
enum Live {
    #[serde(rename = "false")]
    No,
    #[serde(rename = "long-poll")]
    LongPoll,
    #[serde(rename = "sse")]
    Sse,
}

pub(super) fn parameters<T>(asked: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    asked.map(|Query(asked)| asked).map_err(|error| Problem::bad(error.body_text()))
}

pub(super) async fn stream<S: EventStore>(
    State(api): State<Shared<S>>,
    MayRead(caller): MayRead,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = parameters(asked)?;
    let which = asked.which()?;
    match asked.live {
        Some(Live::LongPoll) => long_poll(&api, &caller, &which, &asked, &headers).await,
        Some(Live::Sse) if asked.offset.is_none() && last_event_id(&headers).is_none() => {
            Err(Problem::bad("`live=sse` needs an `offset`: `-1` for everything, `now` for what comes"))
        }
        Some(Live::Sse) => events(api, caller, which, &asked, &headers).await,
        None if accepts(&headers, "text/event-stream") => events(api, caller, which, &asked, &headers).await,
        Some(Live::No) | None => {
            catch_up(&api, &caller.tenant, &which, asked.offset.as_deref(), asked.limit(), &headers).await
        }
    }
}

/// `HEAD`: where the stream ends (Durable Streams §5.4).
pub(super) async fn tail<S: EventStore>(
    State(api): State<Shared<S>>,
    MayRead(caller): MayRead,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = parameters(asked)?;
    let which = asked.which()?;
    // A cursor that does not hold is told as it would be to a GET.
    start(&api, &caller.tenant, &which, asked.offset.as_deref()).await?;
    let next = api.log.bounds(&caller.tenant).await?.last;
    Ok(answer(&api, &caller.tenant, &which, &Written::nothing(next), &headers, StatusCode::OK))
}

impl Asked {
    fn limit(&self) -> usize {
        most(self.limit)
    }

    fn which(&self) -> Result<Which, Problem> {
        let actor = self.actor.as_ref().map(ActorId::new).transpose();
        let actor = actor.map_err(|error| Problem::bad(error.to_string()))?;
        Ok(actor.map_or(Which::All, |actor| Which::Actors(vec![actor])))
    }
}

/// Most events of an answer, as it was asked for.
pub(super) fn most(limit: Option<u32>) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE_EVENTS_MAX)
}

fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty())
}

fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    kinds.any(|one| one.split(';').next().unwrap_or_default().trim() == kind)
}

/// Where to begin.
async fn start<S: EventStore>(
    api: &Shared<S>,
    tenant: &TenantId,
    which: &Which,
    offset: Option<&str>,
) -> Result<Offset, Problem> {
    let bounds = api.log.bounds(tenant).await?;
    match offset {
        // The beginning is wherever the first event is that is still kept.
        None | Some("-1") => Ok(bounds.forgotten),
        Some("now") => Ok(bounds.last),
        Some(cursor) => {
            let offset = api.cursors.open(tenant, which, cursor)?;
            if offset < bounds.forgotten {
                let mut problem = Problem::from(ReadError::Gone { earliest: bounds.forgotten });
                problem.earliest_offset = Some(api.cursors.cursor(tenant, which, bounds.forgotten));
                return Err(problem);
            }
            Ok(offset)
        }
    }
}

pub(super) async fn catch_up<S: EventStore>(
    api: &Shared<S>,
    tenant: &TenantId,
    which: &Which,
    offset: Option<&str>,
    limit: usize,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let after = start(api, tenant, which, offset).await?;
    if offset == Some("now") {
        // Nothing is read, only where it would go on.
        return Ok(answer(api, tenant, which, &Written::nothing(after), headers, StatusCode::OK));
    }
    let page = page::read(api, tenant, which, after, &mut page::whole(limit)).await?;
    let tag = tag(after, &page, headers);
    let status = match has(headers, &tag) {
        true => StatusCode::NOT_MODIFIED,
        false => StatusCode::OK,
    };
    let mut response = answer(api, tenant, which, &page, headers, status);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// What stands between two offsets of a stream is always the same; how it is written, and whether more was there, is not.
fn tag(after: Offset, page: &Written, headers: &HeaderMap) -> String {
    let form = if accepts(headers, "application/json") { 'a' } else { 'l' };
    let end = if page.is_up_to_date { "u" } else { "" };
    format!("\"{after}-{}-{form}{end}\"", page.next)
}

/// Whether the client has it (RFC 9110 §13.1.2).
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let asked = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = asked.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

async fn long_poll<S: EventStore>(
    api: &Shared<S>,
    caller: &Caller,
    which: &Which,
    asked: &Asked,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if asked.offset.is_none() {
        return Err(Problem::bad(
            "`live=long-poll` needs an `offset`: `-1` for everything, `now` for what comes",
        ));
    }
    let tenant = &caller.tenant;
    let _place = caller.waits()?;
    let mut after = start(api, tenant, which, asked.offset.as_deref()).await?;
    let limit = asked.limit();
    let deadline = Instant::now() + LONG_POLL;
    let page = loop {
        let page = page::read(api, tenant, which, after, &mut page::whole(limit)).await?;
        if !page.events.is_empty() {
            break page;
        }
        // Events of others are passed over while waiting.
        after = page.next;
        match tokio::time::timeout_at(deadline, api.log.wait(tenant, after)).await {
            Ok(woken) => woken?,
            Err(_) => break page,
        }
    };
    let status = if page.events.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK };
    let mut response = answer(api, tenant, which, &page, headers, status);
    response.headers_mut().insert(CURSOR, HeaderValue::from(interval(asked.cursor)));
    Ok(response)
}

/// What keeps caches apart (Durable Streams §8.1): intervals of 20 seconds, and never the one that was given or one before.
fn interval(given: Option<u64>) -> u64 {
    const EPOCH: i64 = 1_728_432_000;
    let now = u64::try_from((Utc::now().timestamp() - EPOCH).div_euclid(20)).unwrap_or_default();
    given.map_or(now, |given| now.max(given.saturating_add(1)))
}

fn answer<S: EventStore>(
    api: &Shared<S>,
    tenant: &TenantId,
    which: &Which,
    page: &Written,
    headers: &HeaderMap,
    status: StatusCode,
) -> Response {
    let is_array = accepts(headers, "application/json");
    let has_body = status == StatusCode::OK;
    let mut body = Vec::new();
    for (at, (_, json)) in page.events.iter().enumerate().filter(|_| has_body) {
        if is_array {
            body.push(if at == 0 { b'[' } else { b',' });
        }
        body.extend(json);
        if !is_array {
            body.push(b'\n');
        }
    }
    if is_array && has_body {
        body.extend(if page.events.is_empty() { &b"[]"[..] } else { b"]" });
    }
    let mut response = (status, Body::from(body)).into_response();
    let kind = if is_array { "application/json" } else { "application/x-ndjson" };
    let headers = response.headers_mut();
    if has_body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    // Sensitive: no cache keeps it, though a client may (Durable Streams §10.7).
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Authorization"));
    // Cursors are hexadecimal.
    if let Ok(next) = HeaderValue::from_str(&api.cursors.cursor(tenant, which, page.next)) {
        headers.insert(NEXT_OFFSET, next);
    }
    if page.is_up_to_date {
        headers.insert(UP_TO_DATE, HeaderValue::from_static("true"));
    }
    response
}

/// Server-sent events: each event is one, with the cursor behind it as its id, so that `Last-Event-ID` goes on from there; whatever was
/// read together is followed by `control`, which says where it ends and has that as its id.
async fn events<S: EventStore>(
    api: Shared<S>,
    caller: Caller,
    which: Which,
    asked: &Asked,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    // Whoever reconnects goes on; whoever is new sees what is new.
    let offset = last_event_id(headers).or(asked.offset.as_deref()).or(Some("now"));
    let after = start(&api, &caller.tenant, &which, offset).await?;
    let place = caller.waits()?;
    let ends = Instant::now() + STREAM_TIME_MAX;
    let tenant = caller.tenant;
    let tail = (which == Which::All).then(|| api.tails.of(&tenant));
    let reader = Reader {
        api,
        tenant,
        which,
        tail,
        after,
        told: None,
        told_at: after,
        cursor: asked.cursor,
        ends,
        _place: place,
    };
    let mut response = Body::from_stream(reader.into_stream()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    Ok(response)
}

struct Reader<S> {
    api: Shared<S>,
    tenant: TenantId,
    which: Which,
    /// Where all events are asked for, as others ask for them.
    tail: Option<Arc<Tail>>,
    after: Offset,
    /// When the reader was last told where it is, and where.
    told: Option<Instant>,
    told_at: Offset,
    /// What was given to keep caches apart.
    cursor: Option<u64>,
    ends: Instant,
    _place: LiveReader,
}

impl<S: EventStore> Reader<S> {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut reader| async move {
            let silent_until = Instant::now() + HEARTBEAT;
            match tokio::time::timeout_at(reader.ends.min(silent_until), reader.read_on()).await {
                // It ends where the log does not answer, too: the client comes again.
                Ok(text) => Some((Ok(text?), reader)),
                Err(_) if reader.ends <= Instant::now() => None,
                Err(_) => Some((Ok(Bytes::from_static(b":\n\n")), reader)),
            }
        })
    }

    /// Reads what is there, or waits for it.
    async fn read_on(&mut self) -> Option<Bytes> {
        loop {
            let bounds = self.api.log.bounds(&self.tenant).await.ok()?;
            let Chunk { text, next } = self.chunk(bounds).await?;
            // Where all was others' the reader's place moves on, which is told now and then: a place that is old may be forgotten.
            let is_quiet = self.told.is_some_and(|told| told.elapsed() < HEARTBEAT || next == self.told_at);
            if text.is_empty() && is_quiet {
                self.after = next;
                self.api.log.wait(&self.tenant, self.after).await.ok()?;
                // What comes close behind what was just sent is sent together.
                if let Some(told) = self.told {
                    tokio::time::sleep_until(told + TOGETHER).await;
                }
                continue;
            }
            let is_up_to_date = self.api.log.bounds(&self.tenant).await.ok()?.last <= next;
            // Nothing is awaited from here on: where a heartbeat comes in between, what was read is read again.
            self.after = next;
            (self.told, self.told_at) = (Some(Instant::now()), next);
            return Some([text, self.control(is_up_to_date).into()].concat().into());
        }
    }

    async fn chunk(&self, bounds: Bounds) -> Option<Chunk> {
        if bounds.last == self.after {
            return Some(Chunk { text: Bytes::new(), next: self.after });
        }
        let behind = bounds.last.as_u64().saturating_sub(self.after.as_u64());
        let is_close = usize::try_from(behind).is_ok_and(|behind| behind <= 4 * EVENTS_AT_ONCE);
        // What is no longer kept is not answered from memory either.
        if let Some(tail) = self.tail.as_ref().filter(|_| is_close && self.after >= bounds.forgotten) {
            let chunk = tail.behind(self.after, self.read()).await.ok()?;
            if !chunk.text.is_empty() {
                return Some(chunk);
            }
        }
        self.read().await.ok()
    }

    async fn read(&self) -> Result<Chunk, Problem> {
        let mut room = Room::new(EVENTS_AT_ONCE, BYTES_AT_ONCE);
        let page = page::read(&self.api, &self.tenant, &self.which, self.after, &mut room).await?;
        let mut text =
            Vec::with_capacity(page.events.iter().map(|(_, json)| json.len().saturating_add(80)).sum());
        for (offset, json) in page.events {
            let id = self.api.cursors.cursor(&self.tenant, &self.which, offset);
            text.extend_from_slice(b"id: ");
            text.extend_from_slice(id.as_bytes());
            // JSON has its line ends escaped.
            text.extend_from_slice(b"\nevent: data\ndata: ");
            text.extend_from_slice(&json);
            text.extend_from_slice(b"\n\n");
        }
        Ok(Chunk { text: text.into(), next: page.next })
    }

    fn control(&self, is_up_to_date: bool) -> Vec<u8> {
        let next = self.api.cursors.cursor(&self.tenant, &self.which, self.after);
        let up_to_date = if is_up_to_date { r#","upToDate":true"# } else { "" };
        // Its id, too, is where to go on: who has seen no event yet comes back to here, not to a later now.
        format!(
            "id: {next}\nretry: {}\nevent: control\ndata:{{\"streamNextOffset\":\"{next}\",\"streamCursor\":\"{}\"{up_to_date}}}\n\n",
            RETRY.as_millis(),
            interval(self.cursor),
        )
        .into_bytes()
    }
}
