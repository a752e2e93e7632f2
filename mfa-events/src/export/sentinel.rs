//! Microsoft Sentinel, by the Logs Ingestion API of Azure Monitor.

use std::fmt;
use std::io::Write as _;

use async_trait::async_trait;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use std::sync::Arc;
use url::Url;
use zeroize::Zeroizing;

use super::sink::{Sink, SinkError};
use crate::id::TenantId;
use crate::limits::EVENT_BYTES_MAX;
use crate::outlet::{Outlet, OutletError, Way};
use crate::store::Record;

/// Most bytes of one call, before compression and after it. Azure takes no more.
pub const SENTINEL_BATCH_BYTES_MAX: usize = 1_000_000;

/// A value of more bytes is cut by Azure without a word. No event is as long, so none of its values is.
const FIELD_BYTES_MAX: usize = 32 * 1024;
const _: () = assert!(EVENT_BYTES_MAX < FIELD_BYTES_MAX, "or values have to be shortened and said to be");

/// The columns of the table that [`sentinel_row`] fills, and their types in KQL. A table for it, and the stream of its data collection
/// rule, have these.
pub const SENTINEL_COLUMNS: &[(&str, &str)] = &[
    ("TimeGenerated", "datetime"),
    ("tenant_id", "string"),
    ("event_id", "string"),
    ("event_type", "string"),
    ("timestamp", "datetime"),
    ("ingested_at", "datetime"),
    ("offset", "string"),
    ("schema_version", "int"),
    ("actor_id", "string"),
    ("outcome", "string"),
    ("source_ip", "string"),
    ("mfa_method", "string"),
    ("failure_reason", "string"),
    ("failed_attempt_count", "long"),
    ("lock_until", "datetime"),
    ("lock_reason", "string"),
    ("unlock_method", "string"),
    ("recovery_method", "string"),
    ("geo_location", "dynamic"),
    ("risk_context", "dynamic"),
    ("target_id", "string"),
    ("session_id", "string"),
    ("correlation_id", "string"),
    ("device_id", "string"),
    ("reason", "string"),
    ("message", "string"),
    ("ext", "dynamic"),
];

/// Gives tokens for `https://monitor.azure.com/.default`.
///
/// An implementor promises an answer within a few seconds, and a token that holds for some minutes yet.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// A token; a new one where `is_refused` says that the last was not accepted.
    async fn token(&self, is_refused: bool) -> Result<Zeroizing<String>, TokenError>;
}

/// Why there is no token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Another time perhaps.
    #[error("no token for now")]
    Unavailable,
    /// Not for this application.
    #[error("no token for this application")]
    Denied,
}

/// An event as a row of [`SENTINEL_COLUMNS`]. `TimeGenerated` is when it happened; Azure puts its own time there where that is more than
/// two days ago, so `timestamp` says it again.
pub fn sentinel_row(tenant: &TenantId, record: &Record) -> Value {
    let mut row = match super::Format::Native.value(tenant, record) {
        Value::Object(event) => event,
        _ => Map::new(),
    };
    row.insert("TimeGenerated".to_owned(), record.event.at().to_string().into());
    Value::Object(row)
}

/// Sends events to a data collection rule, many in one compressed call.
///
/// Azure answers when it has received them, and says nothing of what its transformation makes of them. A call that it finds bad (400) is
/// halved until one event is left, which is refused for itself. What comes twice is kept twice: `| summarize take_any(*) by event_id`.
pub struct SentinelSink {
    way: Way,
    url: Url,
    tokens: Arc<dyn TokenSource>,
    batch_bytes: usize,
}

/// How a [`SentinelSink`] sends.
#[must_use]
pub struct SentinelBuilder {
    endpoint: String,
    rule: String,
    stream: String,
    tokens: Arc<dyn TokenSource>,
    outlet: Outlet,
    batch_bytes: usize,
}

impl SentinelSink {
    /// Begins a sink for a data collection endpoint (`https://….ingest.monitor.azure.com`), the immutable id of a rule (`dcr-…`) and a
    /// stream (`Custom-…`).
    pub fn builder(
        endpoint: impl Into<String>,
        rule: impl Into<String>,
        stream: impl Into<String>,
        tokens: Arc<dyn TokenSource>,
    ) -> SentinelBuilder {
        SentinelBuilder {
            endpoint: endpoint.into(),
            rule: rule.into(),
            stream: stream.into(),
            tokens,
            outlet: Outlet::default(),
            batch_bytes: SENTINEL_BATCH_BYTES_MAX,
        }
    }
}

impl fmt::Debug for SentinelSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelSink").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl fmt::Debug for SentinelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelBuilder").field("outlet", &self.outlet).finish_non_exhaustive()
    }
}

impl SentinelBuilder {
    /// How it may be reached.
    pub fn outlet(mut self, outlet: Outlet) -> Self {
        self.outlet = outlet;
        self
    }

    /// Most bytes of one call, at most [`SENTINEL_BATCH_BYTES_MAX`].
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes.min(SENTINEL_BATCH_BYTES_MAX);
        self
    }

    /// The sink.
    ///
    /// # Errors
    /// Where the address, the rule or the stream are none, or the address may not be reached.
    pub fn build(self) -> Result<SentinelSink, OutletError> {
        let way = self.outlet.open(&self.endpoint)?;
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        if !is_name(&self.rule) || !is_name(&self.stream) {
            return Err(OutletError::Setting("a rule or stream is letters, digits, `-`, `_` and `.`"));
        }
        let mut url = way.url().clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/dataCollectionRules/{}/streams/{}", self.rule, self.stream));
        url.set_query(Some("api-version=2023-01-01"));
        Ok(SentinelSink { way, url, tokens: self.tokens, batch_bytes: self.batch_bytes })
    }
}

#[async_trait]
impl Sink for SentinelSink {
    async fn send(&self, tenant: &TenantId, records: &[Record]) -> Result<usize, SinkError> {
        let mut budget = self.batch_bytes;
        loop {
            let (rows, taken) = batch(tenant, records, budget);
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            let body = gzip.write_all(&rows).and_then(|()| gzip.finish());
            let body = body.map_err(|_| SinkError::unavailable("events cannot be compressed"))?;
            let answer = match self.post(&body, false).await? {
                // A token may have ended early.
                answer if answer.status == 401 => self.post(&body, true).await?,
                answer => answer,
            };
            let why = format!("it answered {}", answer.status);
            return match answer.status {
                200..=299 => Ok(taken),
                401 | 403 => Err(SinkError::Denied { why }),
                // Too long, or no rows of the rule's: perhaps one of them, perhaps every one.
                400 | 413 | 422 if taken <= 1 => Err(SinkError::Refused { index: 0, why }),
                400 | 413 | 422 => {
                    budget = rows.len() / 2;
                    continue;
                }
                404 | 405 | 415 => Err(SinkError::Misconfigured { why }),
                _ => Err(SinkError::Unavailable { why, after: answer.after }),
            };
        }
    }
}

/// As many of the first as fit, at least one, as a JSON array.
fn batch(tenant: &TenantId, records: &[Record], budget: usize) -> (Vec<u8>, usize) {
    let (mut rows, mut taken) = (vec![b'['], 0_usize);
    for record in records {
        let row = sentinel_row(tenant, record).to_string();
        // With a comma before it, and the bracket at the end.
        if taken > 0 && rows.len().saturating_add(row.len()).saturating_add(2) > budget {
            break;
        }
        if taken > 0 {
            rows.push(b',');
        }
        rows.extend(row.into_bytes());
        taken = taken.saturating_add(1);
    }
    rows.push(b']');
    (rows, taken)
}

impl SentinelSink {
    async fn post(&self, body: &[u8], is_refused: bool) -> Result<crate::outlet::Answer, SinkError> {
        let token = self.tokens.token(is_refused).await.map_err(|error| match error {
            TokenError::Unavailable => SinkError::unavailable(error.to_string()),
            TokenError::Denied => SinkError::Denied { why: error.to_string() },
        })?;
        let value = Zeroizing::new(format!("Bearer {}", token.as_str()));
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| SinkError::Denied { why: "the token is none".to_owned() })?;
        value.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let posted = self.way.post(self.url.clone(), headers, body.to_vec()).await;
        posted.map_err(|silence| SinkError::unavailable(silence.as_str()))
    }
}
