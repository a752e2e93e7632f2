//! An answer read whole: its limits, its redirects, its refusals.

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::de::DeserializeOwned;
use url::Url;

use crate::client::exchange::Sensitive;
use crate::client::{Answer, Client, EntityTag};
use crate::error::{Error, ErrorKind};
use crate::message::{ErrorForm, ErrorResponse};
use crate::read::{self, ReadLimits};
use crate::resource::Resource;
use crate::response::{self, REFUSAL_BYTES_MAX};
use crate::trace::Exchange;
use crate::transport::{Body, Connectivity, TransportError};

/// Redirects of one request that are followed: reads, to the same origin.
const REDIRECTS_MAX: usize = 3;

/// An answer with its body read: one that is no refusal.
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) exchange: Exchange,
    /// When it came.
    pub(crate) at: DateTime<Utc>,
    pub(crate) limits: ReadLimits,
    /// The body that was sent. It may hold passwords.
    sent: Bytes,
    pub(crate) shown: Sensitive,
}

impl Client {
    /// Sends a request and reads its answer. A refusal is an error; a 404 is one that was seen to be about the resource
    /// and not about the whole service.
    pub(crate) async fn call(&self, request: http::Request<Bytes>) -> Result<Received, Error> {
        let sent = request.body().clone();
        match self.call_once(request).await.map_err(|error| error.concealing(&sent)) {
            Err(error) if *error.kind() == ErrorKind::NotFound => Err(self.judge_not_found(error).await),
            Ok(received) => received.check_deed().map(|()| received),
            result => result,
        }
    }

    /// The same, without a second look at a 404.
    pub(crate) async fn call_once(&self, request: http::Request<Bytes>) -> Result<Received, Error> {
        let sent = request.body().clone();
        self.call_reading(request, |client, head, body| async move {
            let body = collect(body, client.shared.limits.bytes_max).await?;
            // Here, so that a page for people counts as what it is: a refused credential.
            if !body.iter().all(u8::is_ascii_whitespace) {
                response::check_is_json(&head.headers, &body)
                    .map_err(|error| error.status(head.status.as_u16()))?;
            }
            Ok((head, body))
        })
        .await
        .map(|Reply { method, path, value: (head, body), exchange }| Received {
            method,
            path,
            status: head.status,
            headers: head.headers,
            body,
            exchange,
            at: self.shared.clock.now(),
            limits: self.shared.limits,
            sent,
            shown: head.shown,
        })
    }

    /// Sends a request and has the body of an answer in 2xx read by `read`, which belongs to the attempt: where it fails,
    /// the attempt has failed. Redirects, CSRF tokens and further attempts are seen to.
    pub(crate) async fn call_reading<T, F, R>(
        &self,
        request: http::Request<Bytes>,
        read: F,
    ) -> Result<Reply<T>, Error>
    where
        F: Fn(Client, Head, Body) -> R + Send + Sync,
        R: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        self.check_privacy()?;
        let mut request = request;
        let mut before = Exchange::default();
        let mut redirects = 0;
        let mut token_renewed = false;
        let until = self.until();
        loop {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let mut this = request.clone();
            let token = self.protect(this.method().clone(), this.headers_mut()).await?;
            let may_follow = method == Method::GET && redirects < REDIRECTS_MAX;
            let asked = Asked { uri: request.uri(), may_follow };
            let result = self.exchange(&this, until, |answer| self.judge(&asked, answer, &read)).await;
            let (judged, exchange) = match result {
                Ok(judged) => judged,
                Err(error) => return Err(error.after(before)),
            };
            before.append(exchange);
            match judged {
                Judged::Value(value) => return Ok(Reply { method, path, value, exchange: before }),
                Judged::TokenWanted(_) if !token_renewed && token.is_some() => {
                    token_renewed = true;
                    self.forget_token(token).await;
                }
                Judged::TokenWanted(error) => return Err(error.about(method, path).after(before)),
                Judged::Redirect(uri) => {
                    redirects += 1;
                    *request.uri_mut() = uri;
                }
            }
        }
    }

    /// A credential is not shown to whoever listens.
    fn check_privacy(&self) -> Result<(), Error> {
        let shared = &self.shared;
        if shared.auth.is_some() && shared.base.is_exposed() && !shared.dangerous_plain_http {
            return Err(Error::new(ErrorKind::Invalid)
                .detail("a credential is not sent without encryption to another machine"));
        }
        Ok(())
    }

    fn resolve(&self, from: &Uri, to: &str) -> Option<(Url, Uri)> {
        let to = Url::parse(&from.to_string()).ok()?.join(to).ok()?;
        let uri = to.as_str().split('#').next()?.parse().ok()?;
        Some((to, uri))
    }

    async fn judge<T, F, R>(
        &self,
        asked: &Asked<'_>,
        answer: http::Response<Body>,
        read: &F,
    ) -> Result<Judged<T>, Error>
    where
        F: Fn(Client, Head, Body) -> R + Send + Sync,
        R: Future<Output = Result<T, Error>> + Send,
    {
        let (mut parts, body) = answer.into_parts();
        let status = parts.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            let shown = parts.extensions.remove().unwrap_or_default();
            let head = Head { status, headers: parts.headers, shown };
            return read(self.clone(), head, body).await.map(Judged::Value);
        }
        if status.is_redirection() {
            return self.redirected(asked, status, &parts.headers).map(Judged::Redirect);
        }
        let said = beginning(body, REFUSAL_BYTES_MAX).await;
        let error = response::refusal(status, &parts.headers, &said, self.shared.clock.now());
        if status == StatusCode::FORBIDDEN && wants_token(&parts.headers) {
            return Ok(Judged::TokenWanted(error));
        }
        Err(error)
    }

    /// Where to ask instead: reads, at the same origin.
    fn redirected(&self, asked: &Asked<'_>, status: StatusCode, headers: &HeaderMap) -> Result<Uri, Error> {
        let to =
            headers.get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| self.resolve(asked.uri, to));
        let is_home = to.as_ref().is_some_and(|(to, _)| self.shared.base.is_origin_of(to));
        match to {
            Some((_, uri))
                if is_home
                    && asked.may_follow
                    && matches!(status.as_u16(), 301 | 302 | 307 | 308)
                    && uri != *asked.uri =>
            {
                Ok(uri)
            }
            to => Err(response::redirected(status, to.as_ref().map(|(to, _)| to), is_home)),
        }
    }
}

/// What an answer is to.
struct Asked<'a> {
    uri: &'a Uri,
    /// Whether a redirect is followed.
    may_follow: bool,
}

/// The head of an answer.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) shown: Sensitive,
}

/// What was made of an answer, and the way there.
pub(crate) struct Reply<T> {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) value: T,
    pub(crate) exchange: Exchange,
}

enum Judged<T> {
    Value(T),
    Redirect(Uri),
    TokenWanted(Error),
}

fn wants_token(headers: &HeaderMap) -> bool {
    headers.get("x-csrf-token").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"required"))
}

impl Received {
    /// An error of this answer.
    pub(crate) fn error(&self, error: Error) -> Error {
        error
            .concealing(&self.sent)
            .concealing_headers(&self.shown)
            .about(self.method.clone(), self.path.clone())
            .status(self.status.as_u16())
            .after(self.exchange.clone())
    }

    /// A server that has only taken note has not done it: whether it will is for a reading to say.
    pub(crate) fn check_done(&self) -> Result<(), Error> {
        match self.status {
            StatusCode::ACCEPTED => Err(self.error(
                Error::new(ErrorKind::UnknownOutcome(Connectivity::Timeout))
                    .detail("the server took note of it and will see to it later"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether there is nothing in the body.
    pub(crate) fn is_empty(&self) -> bool {
        self.body.iter().all(u8::is_ascii_whitespace)
    }

    /// The body as JSON.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        response::check_is_json(&self.headers, &self.body).map_err(|error| self.error(error))?;
        read::from_slice(&self.body, &self.limits).map_err(|error| self.error(error.into()))
    }

    /// The body as a resource. An error that comes with a status of success is an error nevertheless.
    pub(crate) fn read_resource<R: Resource>(&self) -> Result<R, Error> {
        let resource: R = self.read()?;
        if resource.id().is_none() {
            self.check_refusal()?;
        }
        Ok(resource)
    }

    fn check_refusal(&self) -> Result<(), Error> {
        if let ErrorResponse { form: ErrorForm::Scim, status: Some(status), .. } =
            ErrorResponse::read(&self.body)
            && let Ok(status) = StatusCode::from_u16(status)
            && !status.is_success()
        {
            let refusal = response::refusal(status, &self.headers, &self.body, self.at);
            return Err(self.error(arrived(refusal)));
        }
        Ok(())
    }

    /// Whether the answer can be one to its method at all.
    fn check_deed(&self) -> Result<(), Error> {
        if self.status == StatusCode::NOT_MODIFIED && self.method != Method::GET {
            let detail = "“not modified” is no answer to a write";
            return Err(self.error(Error::new(ErrorKind::Protocol).detail(detail)));
        }
        // There is nothing else to be read in it.
        if self.method == Method::DELETE && !self.is_empty() {
            return self.check_refusal();
        }
        Ok(())
    }

    /// The version that the head names.
    pub(crate) fn version(&self) -> Option<EntityTag> {
        self.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).and_then(|tag| EntityTag::parse(tag).ok())
    }

    /// An answer with this in it.
    pub(crate) fn answer<T>(self, resource: T, version: Option<EntityTag>) -> Answer<T> {
        Answer {
            resource,
            status: self.status.as_u16(),
            version: self.version().or(version),
            exchange: self.exchange,
        }
    }
}

/// What a service says of a request that it has answered cannot be that it never came.
pub(crate) fn arrived(refusal: Error) -> Error {
    match refusal.kind() {
        ErrorKind::NotSent(_) => refusal.turned_into(ErrorKind::Protocol),
        _ => refusal,
    }
}

/// The whole body, up to a limit that counts what was decompressed.
pub(crate) async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if first.len().saturating_add(all.len()).saturating_add(piece.len()) > bytes_max {
            return Err(
                Error::new(ErrorKind::TooLarge).detail(format!("the answer has more than {bytes_max} bytes"))
            );
        }
        // Most answers are one piece, which is then not copied.
        if first.is_empty() && all.is_empty() {
            first = piece;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
                first = Bytes::new();
            }
            all.extend_from_slice(&piece);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// What can be had of a body, up to a limit: a refusal is one whether its explanation arrives or not.
async fn beginning(mut body: Body, bytes_max: usize) -> Bytes {
    let mut all = BytesMut::new();
    while let Some(Ok::<Bytes, TransportError>(piece)) = body.next().await {
        let room = bytes_max.saturating_sub(all.len());
        all.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        if all.len() >= bytes_max {
            break;
        }
    }
    all.freeze()
}
