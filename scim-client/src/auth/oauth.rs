//! OAuth 2.0 client credentials (RFC 6749 §4.4), renewed ahead of their end.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use url::{Host, Url};

use super::answer::{self, Answer};
use super::header::{Source, basic};
use super::token::{Failure, Next, NextTry, Token, TokenState, Told};
use super::{
    Assertions, Authenticate, Authorized, Credentials, Fingerprint, Secret, insert_secret, insert_sensitive,
    unavailable,
};
use crate::clock::Clock;
use crate::error::{Authentication, Error, ErrorKind};
use crate::transport::{Connectivity, Stage, Transport, TransportError};

/// Largest answer of a token endpoint that is read.
pub const TOKEN_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a token endpoint may take for its whole answer, where nothing else is said.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(20);

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How the client shows the token endpoint who it is (`token_endpoint_auth_method` of RFC 7591 and RFC 8705).
pub struct ClientAuthentication(Shown);

enum Shown {
    SecretBasic(Source),
    SecretPost(Source),
    Assertion { client_id: String, assertions: Arc<dyn Assertions> },
    Tls { client_id: String },
}

impl ClientAuthentication {
    /// `client_secret_basic`: identifier and secret of the source in the `Authorization` header, form-encoded as
    /// RFC 6749 §2.3.1 says.
    pub fn secret_basic(source: impl Credentials + 'static) -> Self {
        Self(Shown::SecretBasic(Source(Arc::new(source))))
    }

    /// `client_secret_post`: identifier and secret of the source in the form.
    pub fn secret_post(source: impl Credentials + 'static) -> Self {
        Self(Shown::SecretPost(Source(Arc::new(source))))
    }

    /// `private_key_jwt` (RFC 7523 §2.2).
    pub fn private_key_jwt(client_id: impl Into<String>, assertions: impl Assertions + 'static) -> Self {
        Self(Shown::Assertion { client_id: client_id.into(), assertions: Arc::new(assertions) })
    }

    /// `tls_client_auth` (RFC 8705): the transport's client certificate says it.
    pub fn tls(client_id: impl Into<String>) -> Self {
        Self(Shown::Tls { client_id: client_id.into() })
    }
}

/// Tokens by client credentials.
///
/// * A token is renewed ahead of its end, by one request at a time; meanwhile others go on with the old one, and they go on
///   with it where the endpoint fails, as long as it lasts.
/// * A token that the service refused with 401 is thrown away, once for each refused token however many requests showed it.
/// * What the endpoint refuses (4xx) is not asked again until the credential changes or [`Authenticate::forgive`] is
///   called. Where it fails or wants time (5xx, 429, no answer), it is left alone for as long as it says, or for 1 s to 60 s.
/// * Dropping a request that is getting a token hands the work to the next one that waits.
///
/// Of what the endpoint says, errors hold the status and the registered error code, no text.
pub struct ClientCredentials {
    endpoint: Url,
    client: ClientAuthentication,
    scope: Option<String>,
    audience: Option<String>,
    parameters: Vec<(String, String)>,
    timeout: Duration,
    transport: Option<Arc<dyn Transport>>,
    dangerous_plain_http: bool,
    state: Mutex<TokenState>,
    /// Held by whoever is asking the endpoint.
    flight: tokio::sync::Mutex<()>,
    jitter: Mutex<fastrand::Rng>,
}

impl ClientCredentials {
    /// Tokens from the endpoint at this URL, which may be on another host than the service.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where it is no `http` or `https` URL, or holds a user name or a fragment. That it must be `https`
    /// unless it is on this machine is checked before a token is asked for.
    pub fn new(endpoint: &str, client: ClientAuthentication) -> Result<Self, Error> {
        let invalid = |why: &str| Error::new(ErrorKind::Invalid).detail(format!("the token endpoint {why}"));
        let endpoint = Url::parse(endpoint).map_err(|error| invalid("is not a URL").because(error))?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(invalid("is not an `https` URL"));
        }
        if !endpoint.username().is_empty() || endpoint.password().is_some() || endpoint.fragment().is_some() {
            return Err(invalid("must be given without user name, password and fragment"));
        }
        Ok(Self {
            endpoint,
            client,
            scope: None,
            audience: None,
            parameters: Vec::new(),
            timeout: TOKEN_TIMEOUT,
            transport: None,
            dangerous_plain_http: false,
            state: Mutex::default(),
            flight: tokio::sync::Mutex::new(()),
            jitter: Mutex::new(fastrand::Rng::new()),
        })
    }

    /// With this `scope`.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// With another parameter that the endpoint wants, such as `resource` or `audience`. Not for secrets.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// With this `aud` in assertions instead of the endpoint's URL: the issuer's identifier, where the server wants that.
    #[must_use]
    pub fn assertion_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// With so long for a whole answer of the endpoint, instead of [`TOKEN_TIMEOUT`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Over a transport of its own instead of the client's, such as one with other roots or another client certificate.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport + 'static) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Sends the secret without encryption where the endpoint is `http` on another machine: whoever listens has it.
    #[must_use]
    pub fn dangerous_plain_http(mut self) -> Self {
        self.dangerous_plain_http = true;
        self
    }

    /// With renewals spread by this seed, the same in each run.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.jitter = Mutex::new(fastrand::Rng::with_seed(seed));
        self
    }

    /// Tells the credential by which tokens are got from others.
    async fn credential(&self) -> Result<Fingerprint, Error> {
        match &self.client.0 {
            Shown::SecretBasic(source) | Shown::SecretPost(source) => {
                Ok(source.current().await?.fingerprint())
            }
            Shown::Assertion { client_id, assertions } => {
                let key = assertions.fingerprint().await.map_err(no_assertion)?;
                Ok(key.with(client_id.as_bytes()))
            }
            Shown::Tls { client_id } => Ok(Fingerprint::of(&[client_id.as_bytes()])),
        }
    }

    async fn token(
        &self,
        client: Fingerprint,
        transport: &dyn Transport,
        clock: &dyn Clock,
    ) -> Result<Token, Error> {
        let next = self.state().next(client, clock.now());
        match next {
            Next::Use(token) => return Ok(token),
            Next::Leave(error) => return Err(error),
            Next::Ask => {}
            Next::Renew(token) => {
                let Ok(_flight) = self.flight.try_lock() else { return Ok(token) };
                let error = match self.ask(client, transport, clock).await {
                    Ok(token) => return Ok(token),
                    Err(error) => error,
                };
                // The old one is good as long as it did not end meanwhile.
                return if token.is_good(clock.now()) { Ok(token) } else { Err(error) };
            }
        }
        let _flight = self.flight.lock().await;
        // Whoever held it before may have been lucky, or told that there is no point in asking.
        let next = self.state().next(client, clock.now());
        match next {
            Next::Use(token) | Next::Renew(token) => Ok(token),
            Next::Leave(error) => Err(error),
            Next::Ask => self.ask(client, transport, clock).await,
        }
    }

    /// Asks the endpoint. To be called by who holds `flight`; what comes of it is in the state before this returns.
    async fn ask(
        &self,
        client: Fingerprint,
        transport: &dyn Transport,
        clock: &dyn Clock,
    ) -> Result<Token, Error> {
        let asked = clock.now();
        let request = self.request(asked).await?;
        let answer = tokio::select! {
            answer = answer::ask(self.transport.as_deref().unwrap_or(transport), request, self.timeout, clock) => answer,
            () = clock.sleep(self.timeout.saturating_add(Duration::from_secs(1))) => Answer::No(TransportError {
                stage: Stage::MaybeSent,
                kind: Connectivity::Timeout,
                message: "the answer of the token endpoint did not end in time".to_owned(),
            }),
        };
        let jitter = self.jitter.lock().unwrap_or_else(PoisonError::into_inner).f64();
        let (kind, status, detail, next) = match answer {
            Answer::Granted(granted) => return Ok(self.state().granted(granted, client, asked, jitter)),
            Answer::No(error) => {
                let detail = "the token endpoint gave no answer".to_owned();
                (ErrorKind::NotSent(error.kind), None, detail, NextTry::After(None))
            }
            Answer::Refused { status, code } => {
                let detail = format!("the token endpoint says `{code}`");
                let kind = ErrorKind::Authentication(Authentication::Refused);
                (kind, Some(status), detail, NextTry::OtherCredential)
            }
            Answer::Wait { status, after } => {
                let detail = "the token endpoint wants fewer requests".to_owned();
                (ErrorKind::RateLimited { retry_after: after }, Some(status), detail, NextTry::After(after))
            }
            Answer::Unusable { status, why, page } => {
                let kind = if page { Authentication::LoginPage } else { Authentication::Unavailable };
                let detail = format!("the token endpoint {why}");
                (ErrorKind::Authentication(kind), Some(status), detail, NextTry::After(None))
            }
        };
        let told = Told { kind, status, detail, endpoint: self.endpoint_name() };
        let error = told.error();
        self.state().failed(Failure { error: told, next }, client, clock.now(), jitter);
        Err(error)
    }

    async fn request(
        &self,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<http::Request<bytes::Bytes>, Error> {
        if self.endpoint.scheme() != "https" && !self.dangerous_plain_http && !is_loopback(&self.endpoint) {
            return Err(Error::new(ErrorKind::Invalid)
                .about(Method::POST, self.endpoint_name())
                .detail("a secret is not sent without encryption to another machine"));
        }
        let mut form = Form::default();
        form.add("grant_type", "client_credentials");
        let mut headers = HeaderMap::new();
        match &self.client.0 {
            Shown::SecretBasic(source) => {
                let credential = source.current().await?;
                let (id, secret) = (encoded(credential.required_id()?), encoded(credential.secret.expose()));
                insert_secret(&mut headers, AUTHORIZATION, &basic(id.expose(), secret.expose()))?;
            }
            Shown::SecretPost(source) => {
                let credential = source.current().await?;
                form.add("client_id", credential.required_id()?);
                form.add("client_secret", credential.secret.expose());
            }
            Shown::Assertion { client_id, assertions } => {
                let audience = self.audience.as_deref().unwrap_or(self.endpoint.as_str());
                let assertion = assertions.assertion(client_id, audience, now).await.map_err(no_assertion)?;
                form.add("client_id", client_id);
                form.add("client_assertion_type", JWT_BEARER);
                form.add("client_assertion", assertion.expose());
            }
            Shown::Tls { client_id } => form.add("client_id", client_id),
        }
        if let Some(scope) = &self.scope {
            form.add("scope", scope);
        }
        for (name, value) in &self.parameters {
            form.add(name, value);
        }
        let mut request = http::Request::builder()
            .method(Method::POST)
            .uri(self.endpoint.as_str())
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(http::header::ACCEPT, "application/json")
            .body(form.finish().to_bytes())
            .map_err(|error| Error::new(ErrorKind::Invalid).because(error))?;
        request.headers_mut().extend(headers);
        Ok(request)
    }

    /// The endpoint's URL without query.
    fn endpoint_name(&self) -> String {
        let mut endpoint = self.endpoint.clone();
        endpoint.set_query(None);
        endpoint.into()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, TokenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Authenticate for ClientCredentials {
    async fn authorize(
        &self,
        headers: &mut HeaderMap,
        transport: &dyn Transport,
        clock: &dyn Clock,
    ) -> Result<Authorized, Error> {
        let credential = self.credential().await?;
        let token = self.token(credential, transport, clock).await?;
        insert_sensitive(headers, AUTHORIZATION, token.header);
        Ok(Authorized { credential, shown: token.fingerprint })
    }

    async fn refused(&self, authorized: &Authorized) -> bool {
        // First, since this may be dropped while the source is told.
        self.state().refused(authorized.shown);
        if let Shown::SecretBasic(source) | Shown::SecretPost(source) = &self.client.0 {
            source.0.refused().await;
        }
        true
    }

    fn forgive(&self) {
        self.state().forgive();
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials")
            .field("endpoint", &self.endpoint_name())
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

fn no_assertion(error: super::SourceError) -> Error {
    unavailable("there is no assertion for the token endpoint").because(error)
}

/// Whether the URL names this machine, by address or as `localhost` (RFC 6761 §6.3).
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// `application/x-www-form-urlencoded`, in memory that is taken once for each part, so that it can be overwritten.
#[derive(Default)]
struct Form(Vec<Secret>);

impl Form {
    fn add(&mut self, name: &str, value: &str) {
        let separator = if self.0.is_empty() { "" } else { "&" };
        let (name, value) = (encoded(name), encoded(value));
        self.0.push(super::header::joined(&[separator, name.expose(), "=", value.expose()]));
    }

    fn finish(self) -> Secret {
        let parts: Vec<&str> = self.0.iter().map(Secret::expose).collect();
        super::header::joined(&parts)
    }
}

fn encoded(text: &str) -> Secret {
    let length = url::form_urlencoded::byte_serialize(text.as_bytes()).map(str::len).sum();
    let mut out = String::with_capacity(length);
    out.extend(url::form_urlencoded::byte_serialize(text.as_bytes()));
    Secret::new(out)
}
