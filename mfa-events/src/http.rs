//! A router for `axum`: events in, streams and queries out.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/events` | what became of each event, once they are durable |
//! | `GET /v1/stream` | events after a cursor, after the read path of the Durable Streams protocol |
//! | `GET /v1/actors/{actor}/events`, `POST /v1/actors/events` | events of one actor, or of up to 1,000 |
//! | `GET /v1/events?from=…&to=…` | events by the time when they happened |
//!
//! Whoever asks shows a key as `Authorization: Bearer …`; whose events it is about follows from the key, and from nothing else.

mod ingest;
mod keys;
mod query;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use crate::cursor::{CursorError, CursorKey};
use crate::limits::BATCH_BYTES_MAX;
use crate::log::{AppendError, EventLog, ReadError};
use crate::store::{EventStore, StoreError};

pub use keys::{HashedKeys, KEY_BYTES_MAX, KEY_BYTES_MIN, KeyError, Keys, Right, Scope};

/// How long a long-poll waits for an event.
pub const LONG_POLL: Duration = Duration::from_secs(20);

/// How long a stream of server-sent events may be silent before a comment shows that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

struct Api<S> {
    log: EventLog<S>,
    keys: Arc<dyn Keys>,
    cursors: CursorKey,
}

impl<S> Clone for Api<S> {
    fn clone(&self) -> Self {
        Self { log: self.log.clone(), keys: Arc::clone(&self.keys), cursors: self.cursors.clone() }
    }
}

/// The router. Times are those of this machine's clock.
pub fn router<S: EventStore>(log: EventLog<S>, keys: impl Keys, cursors: CursorKey) -> Router {
    let api = Api { log, keys: Arc::new(keys), cursors };
    Router::new()
        .route("/v1/events", post(ingest::events).get(query::of_time))
        .route("/v1/stream", get(stream::stream))
        .route("/v1/actors/{actor}/events", get(query::of_actor))
        .route("/v1/actors/events", post(query::of_actors))
        .layer(DefaultBodyLimit::max(BATCH_BYTES_MAX))
        .with_state(api)
}

/// Why a request is not answered, as `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize)]
struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// For machines.
    code: &'static str,
    /// For people.
    detail: String,
    /// Where reading can begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest_offset: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), earliest_offset: None }
    }

    fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<CursorError> for Problem {
    fn from(error: CursorError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_cursor", error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(_: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the log does not answer")
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::TooMany => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_events", error.to_string())
            }
            AppendError::Event { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no_event", error.to_string())
            }
            AppendError::Now(_) | AppendError::Unknown(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unknown",
                "it is not known whether the events are kept: send them again, under the same event_id",
            ),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Gone { .. } => {
                Self::new(StatusCode::GONE, "gone", "events after this cursor are no longer all kept")
            }
            ReadError::Ahead(_) | ReadError::TooManyActors => Self::bad(error.to_string()),
            ReadError::Store(error) => error.into(),
        }
    }
}
