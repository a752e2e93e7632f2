//! A router for `axum`: events in, streams and queries out.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/events` | what became of each event, once they are durable |
//! | `GET /v1/stream` | events after a cursor, after the read path of the Durable Streams protocol |
//! | `GET /v1/actors/{actor}/events`, `POST /v1/actors/events` | events of one actor, or of up to 1,000 |
//! | `GET /v1/events?from=…&to=…` | events by the time when they happened |
//! | `GET /v1/metrics` | the last 24 hours, as a dashboard draws them |
//! | `GET /v1/alerts` | what detection has found, where there is any |
//! | `POST /v1/set/poll` | Security Event Tokens after RFC 8936, with the feature `set` |
//! | `GET /openapi.json` | all of this as OpenAPI 3.1 |
//!
//! Whoever asks shows a key as `Authorization: Bearer …`; whose events it is about follows from the key, and from nothing else.
//! How much a key may ask for is in [`Limits`].

mod body;
mod ingest;
mod keys;
mod limits;
mod metrics;
mod page;
mod query;
#[cfg(feature = "set")]
mod set;
mod stream;
mod tail;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::future::BoxFuture;
use serde::Serialize;
use uuid::Uuid;

use crate::cursor::{CursorError, CursorKey};
use crate::id::TenantId;
use crate::log::{AppendError, EventLog, ReadError};
use crate::metrics::{CurrentMetrics, MetricsError};
use crate::schema;
use crate::store::{EventStore, Offset, StoreError};

use limits::Usage;
use tail::Tails;

pub use body::BODY_TIME_MAX;
pub use keys::{HashedKeys, KEY_BYTES_MAX, KEY_BYTES_MIN, KeyError, Keys, Right, Scope};
pub use limits::{
    KEY_BYTES_IN_FLIGHT_MAX, Limits, REMEMBERED_MAX, TENANT_BYTES_IN_FLIGHT_MAX, TENANT_EVENTS_IN_FLIGHT_MAX,
};
pub use query::ACTORS_BODY_BYTES_MAX;
#[cfg(feature = "set")]
pub use set::POLL_BODY_BYTES_MAX;

/// Most bytes of events in one answer. It ends before the first that does not fit, and says where it goes on; one event always fits.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// How long a long-poll waits for an event.
pub const LONG_POLL: Duration = Duration::from_secs(20);

/// How long a stream of server-sent events may be silent before a comment shows that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a stream of server-sent events lasts. Its reader comes again and goes on, if the key still holds.
pub const STREAM_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// What detection has found, for whoever asks over HTTP.
///
/// An implementor promises that nothing of one tenant is ever answered for another.
pub trait Alerts: Send + Sync + 'static {
    /// A tenant's alerts as JSON objects, those that are open first, and then the newest first.
    fn alerts<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> BoxFuture<'a, Result<Vec<serde_json::Value>, Box<dyn Error + Send + Sync>>>;
}

/// Where events are to stand besides the log before a sender is told that they are kept, such as an audit log.
///
/// An implementor promises that what it has answered for is durable.
pub trait Journal: Send + Sync + 'static {
    /// Returns when every event of a tenant up to this offset stands there.
    ///
    /// # Errors
    /// Where they do not, and will not by waiting. Senders are told that it is not known whether their events are kept.
    fn holds<'a>(
        &'a self,
        tenant: &'a TenantId,
        to: Offset,
    ) -> BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>>;
}

/// What is served, to be told before [`router`](Self::router).
#[must_use = "it is served by its `router`"]
pub struct Api<S>(Served<S>);

impl<S> std::fmt::Debug for Api<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// One for all requests.
struct Shared<S>(Arc<Served<S>>);

struct Served<S> {
    log: EventLog<S>,
    /// What readers of the same streams have in common.
    tails: Tails,
    keys: Arc<dyn Keys>,
    cursors: CursorKey,
    usage: Arc<Usage>,
    metrics: Arc<CurrentMetrics<S>>,
    alerts: Option<Arc<dyn Alerts>>,
    journal: Option<Arc<dyn Journal>>,
    #[cfg(feature = "set")]
    sets: Option<Arc<set::Sets>>,
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> std::ops::Deref for Shared<S> {
    type Target = Served<S>;

    fn deref(&self) -> &Served<S> {
        &self.0
    }
}

/// The router. Times are those of this machine's clock. [`Api`] is the same with more to say.
pub fn router<S: EventStore>(log: EventLog<S>, keys: impl Keys, cursors: CursorKey) -> Router {
    Api::new(log, keys, cursors).router()
}

impl<S: EventStore> Api<S> {
    /// Of a log, for whoever has these keys.
    pub fn new(log: EventLog<S>, keys: impl Keys, cursors: CursorKey) -> Self {
        let metrics = Arc::new(CurrentMetrics::new(log.clone()));
        Self(Served {
            log,
            tails: Tails::default(),
            keys: Arc::new(keys),
            cursors,
            usage: Arc::default(),
            metrics,
            alerts: None,
            journal: None,
            #[cfg(feature = "set")]
            sets: None,
        })
    }

    /// With metrics that are there already.
    pub fn metrics(mut self, metrics: Arc<CurrentMetrics<S>>) -> Self {
        self.0.metrics = metrics;
        self
    }

    /// With what detection finds. Without it `GET /v1/alerts` says that nothing is looked for (501).
    pub fn alerts(mut self, alerts: impl Alerts) -> Self {
        self.0.alerts = Some(Arc::new(alerts));
        self
    }

    /// Senders are answered when their events stand there as well.
    pub fn journal(mut self, journal: impl Journal) -> Self {
        self.0.journal = Some(Arc::new(journal));
        self
    }

    /// With Security Event Tokens for receivers that poll for them (RFC 8936). A receiver is a key, or what [`Scope::receiver`] says; it gets
    /// what comes from its first request on.
    #[cfg(feature = "set")]
    pub fn sets(mut self, issuer: crate::set::Issuer, positions: impl crate::set::Positions) -> Self {
        self.0.sets = Some(Arc::new(set::Sets::new(issuer, positions)));
        self
    }

    /// The router.
    pub fn router(self) -> Router {
        let router = Router::new()
            .route("/v1/events", post(ingest::events).get(query::of_time))
            .route("/v1/stream", get(stream::stream).head(stream::tail))
            .route("/v1/actors/{actor}/events", get(query::of_actor))
            .route("/v1/actors/events", post(query::of_actors))
            .route("/v1/metrics", get(metrics::metrics))
            .route("/v1/alerts", get(metrics::alerts))
            .route("/openapi.json", get(openapi));
        #[cfg(feature = "set")]
        let router = router.route("/v1/set/poll", post(set::poll));
        router.layer(axum::middleware::map_response(harden)).with_state(Shared(Arc::new(self.0)))
    }
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], schema::OPENAPI).into_response()
}

/// What browsers are told of everything (Durable Streams §10.7).
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
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
    /// Which of [`Limits`] was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    /// Events of which it is not known whether they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    uncertain: Option<Box<[Uncertain]>>,
    /// When to come again, at the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
}

/// An event that may have been kept, or not.
#[derive(Debug, Serialize)]
struct Uncertain {
    index: usize,
    event_id: Uuid,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let (earliest_offset, limit, uncertain, retry_after_s) = (None, None, None, None);
        Self { status, code, detail: detail.into(), earliest_offset, limit, uncertain, retry_after_s }
    }

    /// For now: whoever comes again may be answered.
    fn unavailable(code: &'static str, detail: &str) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        problem.retry_after_s = Some(1);
        problem
    }

    /// These may have been kept, or not.
    fn unknown(uncertain: impl Iterator<Item = Uncertain>) -> Self {
        let detail =
            "it is not known whether these events are kept: send them again, under the same event_id";
        Self { uncertain: Some(uncertain.collect()), ..Self::unavailable("unknown", detail) }
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
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
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
        Self::unavailable("unavailable", "the log does not answer")
    }
}

impl From<MetricsError> for Problem {
    fn from(error: MetricsError) -> Self {
        match error {
            MetricsError::Counting => Self::unavailable("counting", "events are being counted"),
            MetricsError::Store(_) | MetricsError::Read(_) => {
                Self::unavailable("unavailable", "the log does not answer")
            }
        }
    }
}

impl Problem {
    fn of_append(error: &AppendError, uncertain: impl Iterator<Item = Uncertain>) -> Self {
        match error {
            AppendError::TooMany => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_events", error.to_string())
            }
            AppendError::Event { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no_event", error.to_string())
            }
            AppendError::Now(_) | AppendError::Unknown(_) => Self::unknown(uncertain),
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
