//! How requests reach a server.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

mod memory;
#[cfg(feature = "reqwest")]
mod reqwest;

#[cfg(feature = "reqwest")]
pub use self::reqwest::{ReqwestBuilder, ReqwestTransport};
pub use memory::{MemoryTransport, Scripted};

/// The body of an answer, piece by piece, decompressed.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, TransportError>> + Send>>;

/// Sends one request and hands back the answer's head as soon as it is there.
///
/// An implementor promises:
/// * **no retry, no redirect**: each call sends at most one request to the host in its URI; a redirect is an answer;
/// * [`Stage`] is true: [`Stage::NotSent`] only where no byte of the request can have reached the server. A wrong
///   `NotSent` makes the client send a create twice; a wrong `MaybeSent` costs one look-up;
/// * path and query arrive as they stand in the URI: percent signs, escaped slashes and all; what cannot arrive so is not
///   sent. The body goes with its length, since there are servers that read no chunks. No cookie, credential or referrer
///   is added;
/// * dropping the future gives the request up; what the server then did is unknown;
/// * the body is a stream; nothing of it is collected; `Content-Encoding` is undone, and the decompressed pieces are
///   what the caller counts against its limits. Where the body ends before its length, its last item is an error. An
///   encoding that cannot be undone is an error, and so is a head without an end;
/// * neither headers nor bodies appear in errors.
///
/// `conformance::transport` (feature `conformance`) checks all of this against servers on loopback.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends the request; `timeout` is for connecting, sending and the answer's head together, and again for each
    /// wait for a piece of the body.
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, TransportError>;
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, TransportError> {
        (**self).send(request, timeout).await
    }
}

/// How far a request came that got no (whole) answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Nothing of it was sent: any method may be tried again.
    NotSent,
    /// Some or all of it may have reached the server, which may have acted on it.
    MaybeSent,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Connectivity {
    /// The name has no address.
    Dns,
    /// No connection to the address.
    Connect,
    /// No TLS: certificate, name, version.
    Tls,
    /// Nothing came in time.
    Timeout,
    /// The connection ended early.
    Reset,
    /// What came is not HTTP, or not the encoding that it says it is.
    Protocol,
}

/// A request without a (whole) answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind:?} ({stage:?}): {message}")]
pub struct TransportError {
    /// How far it came.
    pub stage: Stage,
    /// What failed.
    pub kind: Connectivity,
    /// For people; without secrets.
    pub message: String,
}
