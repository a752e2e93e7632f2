//! How HTTP requests reach an application.

use std::fmt;
use std::time::Duration;

use ::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ::http::{Request, Response, StatusCode};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::connector::{Failure, FailureKind};

/// Most bytes of an answer's body.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Longest wait that is believed when an application asks for one.
pub const RETRY_AFTER_SECS_MAX: u64 = 86_400;

/// Sends one request and hands back the whole answer.
///
/// An implementor promises: no retry and no redirect; nothing of headers and bodies in failures; a body longer than
/// [`BODY_BYTES_MAX`] is a failure, not memory; [`Failure::unknown`] wherever a byte of the request may have reached the
/// server and no whole answer came. Dropping the future gives the request up.
#[async_trait]
pub trait HttpTransport: Send + Sync {
    /// Sends it.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure>;
}

/// HTTP/1.1 and HTTP/2 over TLS by rustls. No redirects, no retries, no cookies, no proxy out of the environment.
#[derive(Clone)]
pub struct ReqwestTransport {
    client: reqwest::Client,
    timeout: Duration,
}

impl ReqwestTransport {
    /// `timeout` is for each request with its whole answer. `roots_pem` are certificates to trust instead of the machine's.
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`] where the certificates cannot be read or TLS cannot be set up.
    pub fn new(timeout: Duration, roots_pem: Option<&[u8]>) -> Result<Self, Failure> {
        let unusable =
            |error: reqwest::Error| Failure::new(FailureKind::Unsupported, format!("no TLS: {error}"));
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(timeout.min(CONNECT_TIMEOUT))
            // Servers close what lies idle for a minute; a request that meets the closing is of unknown outcome.
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("connector-health/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = roots_pem {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem).map_err(unusable)?);
        }
        Ok(Self { client: builder.build().map_err(unusable)?, timeout })
    }
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestTransport").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpTransport for ReqwestTransport {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let path = request.uri().path().to_owned();
        let unusable = |what: &str| Failure::new(FailureKind::SchemaMismatch, what);
        let request =
            reqwest::Request::try_from(request).map_err(|_| unusable("the URL cannot be requested"))?;
        // Dot segments are resolved when a URL is read: it would be another resource.
        if request.url().path() != path {
            return Err(unusable("the URL's path is not in its normal form"));
        }
        let exchange = async {
            let mut answer = self.client.execute(request).await.map_err(|error| failure(&error))?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = std::mem::take(answer.headers_mut());
            let mut body = BytesMut::new();
            while let Some(piece) = answer.chunk().await.map_err(|error| failure(&error))? {
                if body.len().saturating_add(piece.len()) > BODY_BYTES_MAX {
                    return Err(
                        Failure::new(FailureKind::Server, "the answer is too long").perhaps_effective()
                    );
                }
                body.extend_from_slice(&piece);
            }
            *response.body_mut() = body.freeze();
            Ok(response)
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(Failure::unknown("no answer in time")))
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    // The innermost cause names the address or the certificate; the outer ones repeat the URL.
    let causes = std::iter::successors(std::error::Error::source(error), |&cause| cause.source());
    let root = causes.last().map_or_else(|| "no answer".to_owned(), ToString::to_string);
    match error.is_connect() || error.is_builder() {
        true => Failure::new(FailureKind::Connectivity, root),
        false => Failure::unknown(root),
    }
}

/// What a status says that is no success. A redirect is none: where sessions end, it leads to a login page.
pub(crate) fn refusal(response: &Response<Bytes>) -> Failure {
    let status = response.status();
    let kind = match status.as_u16() {
        401 => FailureKind::Authentication,
        300..400 => {
            return Failure::new(
                FailureKind::Authentication,
                format!("status {status}: redirects are not followed"),
            );
        }
        403 => FailureKind::Authorization,
        404 | 410 => FailureKind::Missing,
        409 => FailureKind::Conflict,
        412 | 423 => FailureKind::Server,
        408 => return Failure::unknown(format!("status {status}")),
        429 => FailureKind::RateLimited,
        503 if response.headers().contains_key(RETRY_AFTER) => FailureKind::RateLimited,
        400..500 => FailureKind::SchemaMismatch,
        _ => FailureKind::Server,
    };
    let failure = Failure::new(kind, format!("status {status}"));
    match (kind, retry_after(response)) {
        (FailureKind::RateLimited, Some(wait)) => failure.retry_after(wait),
        // Something broke on the way there or back: nobody knows how far it came.
        (FailureKind::Server, _) if status != StatusCode::PRECONDITION_FAILED => failure.perhaps_effective(),
        _ => failure,
    }
}

fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value)
            .ok()?
            .duration_since(std::time::SystemTime::now())
            .unwrap_or_default(),
    };
    Some(wait.min(Duration::from_secs(RETRY_AFTER_SECS_MAX)))
}

/// Whether it is a page for people, which with a success status is a login page.
pub(crate) fn is_page(response: &Response<Bytes>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
