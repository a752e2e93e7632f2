//! A server that is a closure.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::Value;

use super::{Body, Connectivity, Stage, Transport, TransportError};

/// A transport without a network: a handler answers, and what was asked is kept for the test to look at.
///
/// Clones share the handler and the requests. The handler is called once per request, in the order of sending, and
/// may hold state (a whole server, where a test wants one).
#[derive(Clone)]
pub struct MemoryTransport {
    shared: Arc<Shared>,
}

struct Shared {
    handler: Box<Handler>,
    requests: Option<Mutex<Vec<http::Request<Bytes>>>>,
}

type Handler = dyn Fn(&http::Request<Bytes>) -> Scripted + Send + Sync;

impl MemoryTransport {
    /// A server that answers as `handler` says.
    pub fn new(handler: impl Fn(&http::Request<Bytes>) -> Scripted + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(Shared { handler: Box::new(handler), requests: Some(Mutex::new(Vec::new())) }),
        }
    }

    /// A server that gives these answers one after the other, whatever it is asked. When they are used up, no
    /// connection can be made any more.
    pub fn scripted(answers: impl IntoIterator<Item = Scripted>) -> Self {
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
        Self::new(move |_| {
            answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front()
                .unwrap_or_else(|| Scripted::fails(Stage::NotSent, Connectivity::Connect))
        })
    }

    /// The same, keeping no requests: for runs so long that they would fill the memory.
    pub fn forgetful(handler: impl Fn(&http::Request<Bytes>) -> Scripted + Send + Sync + 'static) -> Self {
        Self { shared: Arc::new(Shared { handler: Box::new(handler), requests: None }) }
    }

    /// What was asked so far, in order: also what then failed, except at [`Stage::NotSent`].
    pub fn requests(&self) -> Vec<http::Request<Bytes>> {
        self.shared
            .requests
            .as_ref()
            .map(|requests| requests.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport").finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, TransportError> {
        let scripted = (self.shared.handler)(&request);
        if !matches!(scripted.end, End::Fails(Stage::NotSent, _))
            && let Some(requests) = &self.shared.requests
        {
            requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        }
        scripted.play(timeout).await
    }
}

/// One answer of a [`MemoryTransport`], or the lack of one.
#[derive(Clone, Debug)]
pub struct Scripted {
    status: http::StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
    piece_bytes: usize,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// The answer comes whole.
    Whole,
    /// There is no answer.
    Fails(Stage, Connectivity),
    /// Nothing comes until the time is up.
    Silent,
    /// The body ends early, after so many bytes.
    Breaks(usize, Connectivity),
}

impl Scripted {
    /// An answer without a body. A status that HTTP does not have becomes 500.
    pub fn status(status: u16) -> Self {
        Self {
            status: http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR),
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
            piece_bytes: usize::MAX,
            end: End::Whole,
        }
    }

    /// An answer of type `application/scim+json`.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/scim+json", body.to_string())
    }

    /// An answer of any type.
    pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let mut scripted = Self::status(status).header("content-type", content_type);
        scripted.body = body.into();
        scripted
    }

    /// An error as RFC 7644 §3.12 has it.
    pub fn error(status: u16, scim_type: Option<&str>, detail: &str) -> Self {
        let mut body = serde_json::json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": status.to_string(),
            "detail": detail,
        });
        if let (Some(scim_type), Some(body)) = (scim_type, body.as_object_mut()) {
            body.insert("scimType".to_owned(), scim_type.into());
        }
        Self::json(status, &body)
    }

    /// No answer.
    pub fn fails(stage: Stage, kind: Connectivity) -> Self {
        Self { end: End::Fails(stage, kind), ..Self::status(500) }
    }

    /// No answer before the time that the client gives is up: by tokio's clock, which a test can pause.
    pub fn silent() -> Self {
        Self { end: End::Silent, ..Self::status(500) }
    }

    /// With this header. One that HTTP cannot carry is left out.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            if name == CONTENT_TYPE {
                self.headers.insert(name, value);
            } else {
                self.headers.append(name, value);
            }
        }
        self
    }

    /// With the body in pieces of so many bytes.
    #[must_use]
    pub fn in_pieces(mut self, piece_bytes: usize) -> Self {
        self.piece_bytes = piece_bytes.max(1);
        self
    }

    /// With a body that breaks off after so many bytes.
    #[must_use]
    pub fn breaks_after(mut self, bytes: usize, kind: Connectivity) -> Self {
        self.end = End::Breaks(bytes, kind);
        self
    }

    async fn play(self, timeout: Duration) -> Result<http::Response<Body>, TransportError> {
        let failed = |stage, kind| TransportError { stage, kind, message: "as the script says".to_owned() };
        let (whole, broken) = match self.end {
            End::Whole => (self.body.len(), None),
            End::Breaks(bytes, kind) => {
                (bytes.min(self.body.len()), Some(Err(failed(Stage::MaybeSent, kind))))
            }
            End::Fails(stage, kind) => return Err(failed(stage, kind)),
            End::Silent => {
                tokio::time::sleep(timeout).await;
                return Err(failed(Stage::MaybeSent, Connectivity::Timeout));
            }
        };
        let mut rest = self.body.slice(..whole);
        let piece_bytes = self.piece_bytes;
        let pieces = std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| rest.split_to(piece_bytes.min(rest.len())))
        });
        let body = stream::iter(pieces.map(Ok)).chain(stream::iter(broken));
        let mut response = http::Response::new(Box::pin(body) as Body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        Ok(response)
    }
}
