//! The transport over reqwest and rustls.

use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::header::CONTENT_ENCODING;
use zeroize::Zeroizing;

use super::{Body, Connectivity, Stage, Transport, TransportError};
use crate::error::{Error, ErrorKind};
use crate::request::USER_AGENT;

/// HTTP/1.1 and HTTP/2 over TLS by rustls, with connections that are kept and used again.
///
/// It follows no redirect, sends nothing twice by itself, keeps no cookies and reads no proxy from the environment.
/// gzip is offered and undone. Clones share connections and settings.
#[derive(Clone)]
pub struct ReqwestTransport {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Mutex<ReqwestBuilder>,
    client: RwLock<reqwest::Client>,
}

/// How a [`ReqwestTransport`] connects.
#[derive(Clone)]
pub struct ReqwestBuilder {
    connect_timeout: Duration,
    idle_timeout: Duration,
    user_agent: String,
    roots_pem: Vec<Vec<u8>>,
    only_these_roots: bool,
    identity_pem: Option<Zeroizing<Vec<u8>>>,
    proxy: Option<Zeroizing<String>>,
}

impl ReqwestTransport {
    /// With the settings that [`builder`](Self::builder) begins with.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where TLS cannot be set up on this machine.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// To change the settings: 10 s to connect, connections kept for 30 s without use, the machine's roots of trust,
    /// no client certificate, no proxy.
    pub fn builder() -> ReqwestBuilder {
        ReqwestBuilder {
            connect_timeout: Duration::from_secs(10),
            // Servers close what lies idle for 60 s, many sooner; a request that meets the closing is of unknown outcome.
            idle_timeout: Duration::from_secs(30),
            user_agent: USER_AGENT.to_owned(),
            roots_pem: Vec::new(),
            only_these_roots: false,
            identity_pem: None,
            proxy: None,
        }
    }

    /// Changes the client certificate (PEM: the chain, leaf first, and its private key) for all requests from now on;
    /// connections made with the old one are not used again.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where it cannot be read; the old one then stays in use.
    pub fn renew_identity(&self, pem: impl Into<Vec<u8>>) -> Result<(), Error> {
        let mut settings = self.shared.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = settings.clone().identity_pem(pem);
        let client = renewed.client()?;
        *settings = renewed;
        *self.shared.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestTransport").finish_non_exhaustive()
    }
}

impl fmt::Debug for ReqwestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestBuilder")
            .field("connect_timeout", &self.connect_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("only_these_roots", &self.only_these_roots)
            .finish_non_exhaustive()
    }
}

impl ReqwestBuilder {
    /// How long names, connection, proxy and TLS may take together. What fails within it was
    /// [`NotSent`](Stage::NotSent), so it should be shorter than a request's whole time.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a connection is kept without use. Best below what the server keeps.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Trusts the certificates in this PEM text besides the machine's.
    #[must_use]
    pub fn trust_pem(mut self, roots: impl Into<Vec<u8>>) -> Self {
        self.roots_pem.push(roots.into());
        self
    }

    /// Trusts nothing but what [`trust_pem`](Self::trust_pem) was given.
    #[must_use]
    pub fn only_trusted_pem(mut self) -> Self {
        self.only_these_roots = true;
        self
    }

    /// Shows this client certificate to servers that ask (PEM: the chain, leaf first, and its private key).
    #[must_use]
    pub fn identity_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.identity_pem = Some(Zeroizing::new(pem.into()));
        self
    }

    /// Goes through this proxy (`http://host:port`, `https://…`), which may carry a name and a password.
    #[must_use]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(Zeroizing::new(url.into()));
        self
    }

    /// What requests that bring no `User-Agent` call themselves.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// The transport.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where a certificate, key, proxy or user agent cannot be read or used.
    pub fn build(self) -> Result<ReqwestTransport, Error> {
        let client = RwLock::new(self.client()?);
        Ok(ReqwestTransport { shared: Arc::new(Shared { settings: Mutex::new(self), client }) })
    }

    fn client(&self) -> Result<reqwest::Client, Error> {
        let refused = |what: &'static str| {
            move |error: reqwest::Error| {
                Error::new(ErrorKind::Invalid).detail(what).because(error.without_url())
            }
        };
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(self.idle_timeout)
            .user_agent(&self.user_agent);
        let mut roots = Vec::new();
        for pem in &self.roots_pem {
            let found = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(refused("the roots of trust cannot be read as PEM"))?;
            if found.is_empty() {
                return Err(Error::new(ErrorKind::Invalid).detail("no certificate among the roots of trust"));
            }
            roots.extend(found);
        }
        builder = match (self.only_these_roots, roots.is_empty()) {
            (true, _) => builder.tls_certs_only(roots),
            (false, false) => builder.tls_certs_merge(roots),
            (false, true) => builder,
        };
        if let Some(pem) = &self.identity_pem {
            builder = builder.identity(
                reqwest::Identity::from_pem(pem)
                    .map_err(refused("the client certificate and its key cannot be read as PEM"))?,
            );
        }
        if let Some(proxy) = &self.proxy {
            // The proxy's URL may hold a password, and so may what reqwest says of it.
            let proxy = reqwest::Proxy::all(proxy.as_str())
                .map_err(|_| Error::new(ErrorKind::Invalid).detail("the proxy's URL cannot be read"))?;
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(refused("no TLS with these settings"))
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, TransportError> {
        let unusable = |message: &str| TransportError {
            stage: Stage::NotSent,
            kind: Connectivity::Protocol,
            message: message.to_owned(),
        };
        let path = request.uri().path().to_owned();
        let request =
            reqwest::Request::try_from(request).map_err(|_| unusable("the URI cannot be requested"))?;
        // A URL's dot segments are resolved when it is read, which would name another resource.
        if request.url().path() != path {
            return Err(unusable("the URI's path is not in its normal form"));
        }
        let client = self.shared.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let response = match tokio::time::timeout(timeout, client.execute(request)).await {
            Ok(response) => response.map_err(|error| failure(&error))?,
            Err(_) => {
                return Err(TransportError {
                    stage: Stage::MaybeSent,
                    kind: Connectivity::Timeout,
                    message: format!("no answer within {timeout:?}"),
                });
            }
        };
        // reqwest takes the header away where it undoes the encoding.
        let encoding = response.headers().get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(TransportError {
                stage: Stage::MaybeSent,
                kind: Connectivity::Protocol,
                message: "the answer is in an encoding that was not asked for".to_owned(),
            });
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let mut response = http::Response::new(body(response, timeout));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn body(response: reqwest::Response, timeout: Duration) -> Body {
    let pieces = Some(Box::pin(response.bytes_stream()));
    Box::pin(stream::unfold(pieces, move |pieces| async move {
        let mut pieces = pieces?;
        match tokio::time::timeout(timeout, pieces.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(pieces))),
            Ok(Some(Err(error))) => Some((Err(failure(&error)), None)),
            Err(_) => {
                let error = TransportError {
                    stage: Stage::MaybeSent,
                    kind: Connectivity::Timeout,
                    message: format!("nothing more of the answer within {timeout:?}"),
                };
                Some((Err(error), None))
            }
        }
    }))
}

/// What failed, and whether anything can have been sent by then.
fn failure(error: &reqwest::Error) -> TransportError {
    let stage = if error.is_connect() || error.is_builder() { Stage::NotSent } else { Stage::MaybeSent };
    let kind = if error.is_dns() {
        Connectivity::Dns
    } else if is_tls(error) {
        Connectivity::Tls
    } else if error.is_timeout() {
        Connectivity::Timeout
    } else if error.is_connect() {
        Connectivity::Connect
    } else if is_nonsense(error) || (error.is_decode() && !is_io(error)) {
        Connectivity::Protocol
    } else {
        Connectivity::Reset
    };
    TransportError { stage, kind, message: root(error) }
}

/// What caused it, outermost first. An `io::Error` passes over its inner error in `source`; it is among these.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&cause| {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| cause.source())
    })
}

fn is_tls(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.is::<rustls::Error>())
}

/// What came is no HTTP.
fn is_nonsense(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse))
}

fn is_io(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| {
            use std::io::ErrorKind::{
                BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
            };
            matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
            )
        })
    })
}

/// The innermost cause: it names the address, the certificate or the byte that was wrong, where the outer ones repeat
/// the URL.
fn root(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| "no answer".to_owned(), ToString::to_string)
}
