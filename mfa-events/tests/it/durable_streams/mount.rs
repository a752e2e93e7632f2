//! Streams of bytes in our log, so that a suite which writes and reads bytes can be run against what reads events.
//!
//! Each stream is a tenant, and what is appended to it is events that carry its bytes in `ext`. Reading goes through the router as every
//! reader's does, with its status and headers; only the events of a body are turned back into what they carry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;
use futures::{StreamExt as _, stream};
use mfa_events::cursor::CursorKey;
use mfa_events::http::{Keys, Right, Scope, router};
use mfa_events::log::Which;
use mfa_events::{EventLog, LoginFailure, MemoryStore, TenantId};
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

/// Bytes of one event, as hexadecimal digits.
const CARRIED_MAX: usize = 1_900;
const BODY_MAX: usize = 64 << 20;

#[derive(Clone)]
struct Mount {
    router: Router,
    log: EventLog<MemoryStore>,
    cursors: CursorKey,
    streams: Arc<Mutex<Streams>>,
}

#[derive(Default)]
struct Streams {
    by_path: HashMap<String, Stream>,
    made: usize,
}

#[derive(Clone)]
struct Stream {
    tenant: TenantId,
    kind: String,
}

impl Stream {
    fn is_json(&self) -> bool {
        essence(&self.kind) == "application/json"
    }
}

/// Whoever shows a tenant's name reads its stream: the mount asks, and nobody else.
struct Names;

impl Keys for Names {
    fn scope(&self, key: &str) -> Option<Scope> {
        Some(Scope::new(TenantId::new(key).ok()?, [Right::Ingest, Right::Read]))
    }
}

/// Serves, and says where.
pub(super) async fn serve() -> String {
    let (log, cursors) = (EventLog::open(MemoryStore::new()), CursorKey::new([7; 32]));
    let router = router(log.clone(), Names, cursors.clone());
    let mount = Mount { router, log, cursors, streams: Arc::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = Router::new().fallback(asked).with_state(mount);
    tokio::spawn(async move { axum::serve(listener, service).await });
    url
}

async fn asked(State(mount): State<Mount>, request: Request) -> Response {
    // What is read has its headers from the router; what writes is the mount's, and no browser's affair.
    let path = request.uri().path().to_owned();
    match *request.method() {
        Method::PUT => mount.create(path, request).await,
        Method::POST => mount.append(&path, request).await,
        Method::GET | Method::HEAD => mount.read(&path, request).await,
        Method::DELETE => match mount.streams.lock().unwrap().by_path.remove(&path) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn essence(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn kind(headers: &HeaderMap) -> Option<String> {
    headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned)
}

impl Mount {
    fn stream(&self, path: &str) -> Option<Stream> {
        self.streams.lock().unwrap().by_path.get(path).cloned()
    }

    async fn create(&self, path: String, request: Request) -> Response {
        let kind = kind(request.headers()).unwrap_or_else(|| "application/octet-stream".to_owned());
        let location = format!("http://{}{path}", host(request.headers()));
        let body = to_bytes(request.into_body(), BODY_MAX).await.unwrap();
        let (stream, status) = {
            let mut streams = self.streams.lock().unwrap();
            match streams.by_path.get(&path) {
                Some(known) if essence(&known.kind) != essence(&kind) => {
                    return StatusCode::CONFLICT.into_response();
                }
                Some(known) => (known.clone(), StatusCode::OK),
                None => {
                    streams.made += 1;
                    let tenant = TenantId::new(format!("stream-of-the-suite-{:08}", streams.made)).unwrap();
                    let stream = Stream { tenant, kind };
                    streams.by_path.insert(path, stream.clone());
                    (stream, StatusCode::CREATED)
                }
            }
        };
        if status == StatusCode::CREATED && !body.is_empty() {
            match messages(&stream, &body) {
                Some(messages) => self.keep(&stream, messages).await,
                None => return StatusCode::BAD_REQUEST.into_response(),
            }
        }
        let mut response =
            (status, [(header::LOCATION, location), (header::CONTENT_TYPE, stream.kind.clone())])
                .into_response();
        self.tell_end(&stream, &mut response).await;
        response
    }

    async fn append(&self, path: &str, request: Request) -> Response {
        let Some(stream) = self.stream(path) else { return StatusCode::NOT_FOUND.into_response() };
        let kind = kind(request.headers());
        let body = to_bytes(request.into_body(), BODY_MAX).await.unwrap();
        let Some(kind) = kind else { return StatusCode::BAD_REQUEST.into_response() };
        if body.is_empty() {
            return StatusCode::BAD_REQUEST.into_response();
        }
        if essence(&kind) != essence(&stream.kind) {
            return StatusCode::CONFLICT.into_response();
        }
        match messages(&stream, &body) {
            Some(messages) if !messages.is_empty() => self.keep(&stream, messages).await,
            _ => return StatusCode::BAD_REQUEST.into_response(),
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        self.tell_end(&stream, &mut response).await;
        response
    }

    /// Keeps messages, each as the events that carry it; all but the last of one say that more comes.
    async fn keep(&self, stream: &Stream, messages: Vec<Vec<u8>>) {
        let mut events = Vec::new();
        for message in &messages {
            let parts = message.chunks(CARRIED_MAX);
            let last = parts.len().saturating_sub(1);
            for (place, part) in parts.enumerate() {
                let digits: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
                let carried = json!({ "bytes": digits, "more": place < last });
                let Value::Object(carried) = carried else { unreachable!() };
                events.push(LoginFailure::new("suite").at(Utc::now()).ext(carried));
            }
        }
        self.log.append(&stream.tenant, events, Utc::now()).await.unwrap();
    }

    async fn tell_end(&self, stream: &Stream, response: &mut Response) {
        let end = self.log.bounds(&stream.tenant).await.unwrap().last;
        let end = self.cursors.cursor(&stream.tenant, &Which::All, end);
        response.headers_mut().insert("stream-next-offset", HeaderValue::from_str(&end).unwrap());
    }

    async fn read(&self, path: &str, mut request: Request) -> Response {
        let Some(stream) = self.stream(path) else {
            return (StatusCode::NOT_FOUND, [("cache-control", "no-store")]).into_response();
        };
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        *request.uri_mut() = format!("/v1/stream{query}").parse().unwrap();
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, format!("Bearer {}", stream.tenant).parse().unwrap());
        // Which form the mount reads is not what the suite asks for.
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/x-ndjson"));
        let (mut parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let is_sse = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        if is_sse {
            if !stream.is_json() && !essence(&stream.kind).starts_with("text/") {
                parts.headers.insert("stream-sse-data-encoding", HeaderValue::from_static("base64"));
            }
            return Response::from_parts(parts, Body::from_stream(translated(stream, body)));
        }
        if parts.status == StatusCode::OK {
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&stream.kind).unwrap());
        }
        if parts.status != StatusCode::OK {
            return Response::from_parts(parts, body);
        }
        parts.headers.remove(header::CONTENT_LENGTH);
        let text = to_bytes(body, usize::MAX).await.unwrap();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let (mut bytes, mut is_between) = (Vec::new(), false);
        for line in lines {
            if stream.is_json() && is_between {
                bytes.push(b',');
            }
            let (carried, is_whole) = carried(line);
            is_between = is_whole;
            bytes.extend(carried);
        }
        if stream.is_json() {
            bytes = [b"[", bytes.as_slice(), b"]"].concat();
        }
        Response::from_parts(parts, Body::from(bytes))
    }
}

fn host(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// What is appended at once: one message of bytes, or each element of a JSON array.
fn messages(stream: &Stream, body: &[u8]) -> Option<Vec<Vec<u8>>> {
    if !stream.is_json() {
        return Some(vec![body.to_vec()]);
    }
    Some(match serde_json::from_slice(body).ok()? {
        Value::Array(elements) => elements.iter().map(|element| element.to_string().into_bytes()).collect(),
        one => vec![one.to_string().into_bytes()],
    })
}

/// The bytes that an event carries, and whether a message ends with them.
fn carried(event: &[u8]) -> (Vec<u8>, bool) {
    let event: Map<String, Value> = serde_json::from_slice(event).unwrap();
    let digits = event["ext"]["bytes"].as_str().unwrap().as_bytes();
    let bytes =
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    (bytes.collect(), !event["ext"]["more"].as_bool().unwrap())
}

/// Server-sent events, those that hold data with what it carries.
fn translated(stream: Stream, body: Body) -> impl futures::Stream<Item = Result<Bytes, axum::Error>> {
    let events = (stream, body.into_data_stream(), Vec::new(), Vec::new());
    stream::unfold(events, |(stream, mut body, mut text, mut message)| async move {
        loop {
            let Some(end) = text.windows(2).position(|pair: &[u8]| pair == b"\n\n") else {
                match body.next().await? {
                    Ok(more) => text.extend_from_slice(&more),
                    Err(error) => return Some((Err(error), (stream, body, text, message))),
                }
                continue;
            };
            let event: Vec<u8> = text.drain(..end + 2).collect();
            let event = String::from_utf8(event).unwrap();
            if !event.contains("\nevent: data\n") {
                return Some((Ok(event.into()), (stream, body, text, message)));
            }
            let (head, data) = event.split_once("\ndata: ").unwrap();
            let (bytes, is_whole) = carried(data.trim_end().as_bytes());
            message.extend(bytes);
            if !is_whole {
                continue;
            }
            let whole = std::mem::take(&mut message);
            let id = head.lines().next().unwrap_or_default();
            let data = if stream.is_json() {
                format!("[{}]", String::from_utf8(whole).unwrap())
            } else if essence(&stream.kind).starts_with("text/") {
                String::from_utf8_lossy(&whole).replace("\r\n", "\n").replace(['\r', '\n'], "\ndata:")
            } else {
                base64(&whole)
            };
            return Some((
                Ok(format!("{id}\nevent: data\ndata:{data}\n\n").into()),
                (stream, body, text, message),
            ));
        }
    })
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|three| {
        let group = three.iter().fold(0_u32, |group, byte| (group << 8) | u32::from(*byte))
            << (8 * (3 - three.len()));
        (0..4).map(move |place| match place <= three.len() {
            true => char::from(DIGITS[(group >> (18 - 6 * place)) as usize & 63]),
            false => '=',
        })
    });
    digits.collect()
}
