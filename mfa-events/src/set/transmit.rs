//! Tokens pushed to a receiver (RFC 8935).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE as TYPE, HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::{Answer, CONTENT_TYPE, Issuer};
use crate::export::{Sink, SinkError};
use crate::id::TenantId;
use crate::outlet::{Outlet, OutletError, Way};
use crate::store::Record;

/// Most tokens of one send. Each is a request of its own, and where the receiver has come to is stored after them.
pub const PUSHED_AT_ONCE_MAX: usize = 100;

/// Most requests at the same time.
pub const PUSHED_IN_PARALLEL_MAX: usize = 64;

/// How long one send goes on before it answers for what was pushed.
const PUSH_TIME: Duration = Duration::from_secs(30);

/// Pushes a tenant's events as Security Event Tokens, one after the other unless [said otherwise](PushBuilder::in_parallel). A [`Follower`](crate::export::Follower) keeps the receiver up:
/// it stores how far the receiver has come, tries again with growing pauses, and passes over a token that the receiver refuses for itself.
///
/// A token counts as taken when the receiver has answered that it has it (202). It may come again, and is known by its `jti`.
///
/// ```no_run
/// # use std::sync::Arc;
/// use mfa_events::export::{FilePositions, Follower};
/// use mfa_events::set::{Ed25519, Issuer, PushSink};
/// # async fn run(log: mfa_events::EventLog<mfa_events::MemoryStore>, secret: [u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = Issuer::new("https://events.example.com", Ed25519::new(&secret, "2026-01")).audience("https://siem.example.com");
/// let sink = PushSink::builder("https://siem.example.com/events", Arc::new(issuer)).bearer("…").build()?;
/// let positions = Arc::new(FilePositions::open("positions")?);
/// Follower::builder(log, mfa_events::TenantId::new("acme")?, "siem", Arc::new(sink), positions).build().run().await?;
/// # Ok(()) }
/// ```
pub struct PushSink {
    way: Way,
    headers: HeaderMap,
    issuer: Arc<Issuer>,
    in_parallel: usize,
}

/// How a [`PushSink`] pushes.
#[must_use]
pub struct PushBuilder {
    url: String,
    issuer: Arc<Issuer>,
    bearer: Option<String>,
    outlet: Outlet,
    in_parallel: usize,
}

impl PushSink {
    /// Begins a sink for a receiver's address.
    pub fn builder(url: impl Into<String>, issuer: Arc<Issuer>) -> PushBuilder {
        PushBuilder { url: url.into(), issuer, bearer: None, outlet: Outlet::default(), in_parallel: 1 }
    }
}

impl fmt::Debug for PushSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushSink").field("host", &self.way.url().host_str()).finish_non_exhaustive()
    }
}

impl fmt::Debug for PushBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushBuilder").field("outlet", &self.outlet).finish_non_exhaustive()
    }
}

impl PushBuilder {
    /// How it may be reached.
    pub fn outlet(mut self, outlet: Outlet) -> Self {
        self.outlet = outlet;
        self
    }

    /// Shows this as `Authorization: Bearer …`, where the receiver wants it.
    pub fn bearer(mut self, token: impl Into<String>) -> Self {
        self.bearer = Some(token.into());
        self
    }

    /// Requests at the same time, one unless said and at most [`PUSHED_IN_PARALLEL_MAX`], for a receiver that is far away: tokens may then
    /// arrive in another order, and where one is not taken, those that were on the way beside it come again.
    pub fn in_parallel(mut self, requests: usize) -> Self {
        self.in_parallel = requests.clamp(1, PUSHED_IN_PARALLEL_MAX);
        self
    }

    /// The sink.
    ///
    /// # Errors
    /// Where address or token are none, or the address may not be reached.
    pub fn build(self) -> Result<PushSink, OutletError> {
        let way = self.outlet.open(&self.url)?;
        let mut headers = HeaderMap::new();
        headers.insert(TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.bearer {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| OutletError::Setting("the token of a receiver is visible ASCII"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(PushSink { way, headers, issuer: self.issuer, in_parallel: self.in_parallel })
    }
}

#[async_trait]
impl Sink for PushSink {
    async fn send(&self, tenant: &TenantId, records: &[Record]) -> Result<usize, SinkError> {
        let begun = Instant::now();
        let mut taken = 0_usize;
        let pushes = records.iter().take(PUSHED_AT_ONCE_MAX).map(|record| self.push(tenant, record));
        let pushes: Vec<_> = pushes.collect();
        let mut answers = stream::iter(pushes).buffered(self.in_parallel);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(()) => taken = taken.saturating_add(1),
                Err(SinkError::Refused { why, .. }) => return Err(SinkError::Refused { index: taken, why }),
                // Those before it were taken, and that is stored first.
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
            if begun.elapsed() >= PUSH_TIME {
                break;
            }
        }
        Ok(taken)
    }
}

impl PushSink {
    async fn push(&self, tenant: &TenantId, record: &Record) -> Result<(), SinkError> {
        let token = self.issuer.token(record, tenant);
        let token = token.map_err(|error| SinkError::unavailable(error.to_string()))?;
        let posted =
            self.way.post(self.way.url().clone(), self.headers.clone(), token.jwt.into_bytes()).await;
        let answer = posted.map_err(|silence| SinkError::unavailable(silence.as_str()))?;
        let why = |err: &str| match err {
            "" => format!("it answered {}", answer.status),
            err => format!("it answered {}, `{err}`", answer.status),
        };
        match Answer::read(answer.status, &answer.body) {
            Answer::Taken => Ok(()),
            Answer::Refused { err } => Err(SinkError::Refused { index: 0, why: why(&err) }),
            Answer::Misconfigured { err } => Err(SinkError::Misconfigured { why: why(&err) }),
            Answer::Denied => Err(SinkError::Denied { why: why("") }),
            Answer::Later => Err(SinkError::Unavailable { why: why(""), after: answer.after }),
        }
    }
}
