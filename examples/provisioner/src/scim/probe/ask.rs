//! Requests as they are, with the whole answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use scim_client::ErrorKind;
use scim_client::auth::Authenticate;
use scim_client::clock::SystemClock;
use scim_client::error::Error;
use scim_client::message::{ErrorResponse, ListResponse};
use scim_client::read::{ReadLimits, from_slice};
use scim_client::resource::{Attributes, DynamicResource};
use scim_client::transport::{Connectivity, Transport as _};
use serde_json::Value;
use url::Url;

use super::super::connection::Connection;
use super::super::wire::Wire;
use super::refused;

/// Redirects of one request that are followed.
const REDIRECTS_MAX: usize = 3;
/// How often a request is sent again because the server wanted time.
const WAITS_MAX: usize = 3;
/// Longest wait for a server that wants time.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Refusals of the credential before nothing more is sent: some services lock whoever goes on.
const REFUSALS_MAX: usize = 2;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Asks one service, one request at a time.
pub(super) struct Asker {
    base: Url,
    wire: Wire,
    auth: Option<Arc<dyn Authenticate>>,
    shows_certificate: bool,
    timeout: Duration,
    user_agent: HeaderValue,
    requests: usize,
    refusals: usize,
}

/// A request.
pub(super) struct Ask {
    method: Method,
    path: String,
    body: Option<Value>,
    headers: Vec<(HeaderName, String)>,
    anonymous: bool,
}

/// An answer of any status.
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Ask {
    pub(super) fn new(method: Method, segments: &[&str]) -> Self {
        let path: Vec<String> =
            segments.iter().map(|segment| utf8_percent_encode(segment, UNRESERVED).to_string()).collect();
        Self { method, path: path.join("/"), body: None, headers: Vec::new(), anonymous: false }
    }

    pub(super) fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    pub(super) fn query(mut self, parameters: &[(&str, &str)]) -> Self {
        for (name, value) in parameters {
            self.path.push(if self.path.contains('?') { '&' } else { '?' });
            self.path.push_str(name);
            self.path.push('=');
            self.path.extend(utf8_percent_encode(value, UNRESERVED));
        }
        self
    }

    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Whether doing it twice does what doing it once does: all but making something.
    fn may_be_repeated(&self) -> bool {
        self.method != Method::POST || self.path.ends_with(".search")
    }

    /// Without the credential.
    pub(super) fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }
}

impl Asker {
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            base: connection.base.clone(),
            wire: connection.wire.clone(),
            auth: connection.auth.clone(),
            shows_certificate: connection.shows_certificate,
            timeout: connection.timeout,
            user_agent: HeaderValue::from_static(super::super::connection::USER_AGENT),
            requests: 0,
            refusals: 0,
        }
    }

    /// How many were sent.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    /// Whether a request without credential would be one: with a client certificate there is none.
    pub(super) fn can_be_anonymous(&self) -> bool {
        self.auth.is_some() && !self.shows_certificate
    }

    /// Sends it. An answer of any status is one; redirects of reads are followed at the same origin, and a server that wants
    /// time gets some.
    ///
    /// # Errors
    /// Where no answer came, or the credential was refused so often that going on might lock it.
    pub(super) async fn send(&mut self, ask: Ask) -> Result<Seen, Error> {
        let mut url = self.base.as_str().trim_end_matches('/').to_owned();
        url.push('/');
        url.push_str(&ask.path);
        let (mut redirects, mut waits, mut renewed, mut reset) = (0, 0, false, false);
        loop {
            if self.refusals >= REFUSALS_MAX && !ask.anonymous {
                return Err(refused());
            }
            let mut request = self.request(&ask, &url)?;
            let path = request.uri().path().to_owned();
            let failed = |error: Error| error.about(ask.method.clone(), path.clone());
            let authorized = match &self.auth {
                Some(auth) if !ask.anonymous => {
                    Some(auth.authorize(request.headers_mut(), &self.wire, &SystemClock).await?)
                }
                _ => None,
            };
            self.requests = self.requests.saturating_add(1);
            let answer = match self.wire.send(request, self.timeout).await {
                Ok(answer) => answer,
                // A kept connection may be closed by the server just when it is used again.
                Err(error) if error.kind == Connectivity::Reset && !reset && ask.may_be_repeated() => {
                    reset = true;
                    continue;
                }
                Err(error) => return Err(failed(error.into())),
            };
            let (head, mut body) = answer.into_parts();
            let mut bytes = BytesMut::new();
            let limits = ReadLimits::default();
            while let Some(piece) = body.next().await {
                bytes.extend_from_slice(&piece.map_err(|error| failed(error.into()))?);
                if bytes.len() > limits.bytes_max {
                    return Err(failed(Error::new(ErrorKind::TooLarge)));
                }
            }
            let status = head.status.as_u16();
            let location = head.headers.get(LOCATION).and_then(|to| to.to_str().ok());
            if status == 401 && !ask.anonymous {
                let worth_another = match (&self.auth, &authorized) {
                    (Some(auth), Some(authorized)) if !renewed => auth.refused(authorized).await,
                    _ => false,
                };
                if worth_another {
                    renewed = true;
                    continue;
                }
                self.refusals = self.refusals.saturating_add(1);
            } else if matches!(status, 301 | 302 | 307 | 308)
                && ask.method == Method::GET
                && redirects < REDIRECTS_MAX
                && let Some(next) = location.and_then(|to| Url::parse(&url).ok()?.join(to).ok())
                && next.origin() == self.base.origin()
            {
                redirects += 1;
                url = next.to_string();
                continue;
            } else if matches!(status, 429 | 503)
                && waits < WAITS_MAX
                && let Some(wait) = wait(&head.headers)
            {
                waits += 1;
                tokio::time::sleep(wait).await;
                continue;
            }
            return Ok(Seen { status, headers: head.headers, body: bytes.freeze() });
        }
    }

    fn request(&self, ask: &Ask, url: &str) -> Result<http::Request<Bytes>, Error> {
        let invalid = || Error::new(ErrorKind::Invalid).detail("this makes no request");
        let mut request = http::Request::new(Bytes::new());
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = url.parse().map_err(|_| invalid())?;
        if let Some(body) = &ask.body {
            *request.body_mut() = body.to_string().into();
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
        }
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/scim+json, application/json"));
        headers.insert(http::header::USER_AGENT, self.user_agent.clone());
        for (name, value) in &ask.headers {
            headers.insert(name.clone(), HeaderValue::from_str(value).map_err(|_| invalid())?);
        }
        Ok(request)
    }
}

/// How long a server wants to be left alone, where it says and that is not too long.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|wait| *wait <= WAIT_MAX)
}

impl Seen {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type alone.
    pub(super) fn content_type(&self) -> Option<&str> {
        self.header(CONTENT_TYPE).and_then(|kind| kind.split(';').next()).map(str::trim)
    }

    pub(super) fn attributes(&self) -> Option<Attributes> {
        from_slice::<DynamicResource>(&self.body, &ReadLimits::default()).ok().map(|read| read.attributes)
    }

    pub(super) fn list(&self) -> Option<ListResponse<DynamicResource>> {
        if !self.is_success() {
            return None;
        }
        from_slice(&self.body, &ReadLimits::default()).ok()
    }

    pub(super) fn refusal(&self) -> ErrorResponse {
        ErrorResponse::read(&self.body)
    }

    /// `refused (400 invalidFilter)`
    pub(super) fn outcome(&self) -> String {
        let scim_type = self.refusal().scim_type;
        match scim_type.as_ref().map(|scim_type| scim_type.as_str()).filter(|text| !text.is_empty()) {
            _ if self.is_success() => format!("done ({})", self.status),
            Some(scim_type) => format!("refused ({} {scim_type})", self.status),
            None => format!("refused ({})", self.status),
        }
    }
}
