//! One connection to a server, and a few that are kept.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::message::{self, Answer, Entry, Message, Outcome, Request};
use super::settings::{LdapSettings, Security, SettingsError};
use crate::account::Latch;
use crate::connector::{Failure, FailureKind};

/// Entries of one answer, and how it ended.
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    /// Whether the server pointed elsewhere for more.
    pub(super) is_referred: bool,
    pub(super) outcome: Outcome,
    /// Where the next page begins; empty after the last one.
    pub(super) cookie: Vec<u8>,
}

/// Connections to one server; what is used by nobody is used again.
pub(super) struct Pool {
    endpoint: Endpoint,
    idle: Mutex<Vec<Connection>>,
    idle_max: usize,
    places: Semaphore,
    opening: tokio::sync::Mutex<()>,
    latch: Latch,
}

struct Endpoint {
    host: String,
    port: u16,
    security: Security,
    name: ServerName<'static>,
    tls: TlsConnector,
    bind_dn: String,
    password: Zeroizing<Vec<u8>>,
    connect_timeout: Duration,
    timeout: Duration,
}

impl Pool {
    pub(super) fn new(settings: &LdapSettings, password: Zeroizing<Vec<u8>>) -> Result<Self, SettingsError> {
        let (security, host, port) = settings.endpoint()?;
        let name = settings.server_name.as_deref().unwrap_or(&host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| SettingsError::new("server_name", "is no host name"))?;
        let endpoint = Endpoint {
            security,
            port,
            name,
            tls: TlsConnector::from(Arc::new(tls(settings.roots_pem.as_deref())?)),
            bind_dn: settings.bind_dn.clone(),
            password,
            connect_timeout: Duration::from_secs(settings.connect_timeout_secs.into()),
            timeout: Duration::from_secs(settings.timeout_secs.into()),
            host,
        };
        let idle_max = usize::from(settings.connections_max);
        Ok(Self {
            endpoint,
            idle: Mutex::default(),
            idle_max,
            places: Semaphore::new(idle_max),
            opening: tokio::sync::Mutex::default(),
            latch: Latch::default(),
        })
    }

    /// One exchange. The connection goes back to the others only after its whole answer, so that dropping the future
    /// halfway leaves no half answer to the next.
    pub(super) async fn ask(&self, request: &Request<'_>, entries_max: usize) -> Result<Found, Failure> {
        let mut leased = self.lease().await?;
        let found = leased.ask(request, entries_max).await?;
        leased.give_back();
        Ok(found)
    }

    /// A connection for several exchanges that belong together, as the pages of a search do.
    pub(super) async fn lease(&self) -> Result<Leased<'_>, Failure> {
        let place = self.places.acquire().await.map_err(|_| Failure::new(FailureKind::Server, "closed"))?;
        self.latch.check()?;
        while let Some(mut connection) = self.kept() {
            if connection.is_quiet().await {
                return Ok(Leased { pool: self, connection, _place: Some(place) });
            }
        }
        let mut leased = self.open().await?;
        leased._place = Some(place);
        Ok(leased)
    }

    fn kept(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// A new connection that does not count.
    pub(super) async fn open(&self) -> Result<Leased<'_>, Failure> {
        let _one_at_a_time = self.opening.lock().await;
        self.latch.check()?;
        let connection = self.endpoint.connect().await;
        self.latch.note(&connection, false);
        Ok(Leased { pool: self, connection: connection?, _place: None })
    }

    /// A new connection whatever happened to those before: shows that the credential is good now.
    pub(super) async fn try_credential(&self) -> Result<Leased<'_>, Failure> {
        let _one_at_a_time = self.opening.lock().await;
        let connection = self.endpoint.connect().await;
        self.latch.note(&connection, true);
        Ok(Leased { pool: self, connection: connection?, _place: None })
    }
}

/// A connection in use. Dropped without being given back, it is closed.
pub(super) struct Leased<'a> {
    pool: &'a Pool,
    connection: Connection,
    _place: Option<SemaphorePermit<'a>>,
}

impl Leased<'_> {
    pub(super) async fn ask(&mut self, request: &Request<'_>, entries_max: usize) -> Result<Found, Failure> {
        let found = self.connection.ask(request, entries_max, self.pool.endpoint.timeout).await;
        match request {
            Request::Search(_) => found.map_err(nothing_happened),
            _ => found,
        }
    }

    pub(super) fn give_back(self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that did not count before must not add up.
        if idle.len() < self.pool.idle_max {
            idle.push(self.connection);
        }
    }
}

impl Endpoint {
    async fn connect(&self) -> Result<Connection, Failure> {
        let setup = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port))
                .await
                .map_err(|error| unreachable("no connection", &error))?;
            tcp.set_nodelay(true).map_err(|error| unreachable("no connection", &error))?;
            let mut connection = Connection { stream: Stream::Plain(tcp), buffer: Vec::new(), id: 0 };
            match self.security {
                Security::Tls => connection.encrypt(self).await,
                Security::StartTls => {
                    let found = connection.exchange(&Request::StartTls, 0).await?;
                    refused(&found, FailureKind::Connectivity, "StartTLS is refused")?;
                    // What came in the clear after the answer could be anybody's, and would be taken for encrypted.
                    if !connection.buffer.is_empty() {
                        let what = "something was sent in the clear where TLS begins";
                        return Err(Failure::new(FailureKind::Connectivity, what));
                    }
                    connection.encrypt(self).await
                }
                Security::DangerousPlainText => Ok(connection),
            }
        };
        let mut connection = timeout(self.connect_timeout, setup)
            .await
            .map_err(|_| Failure::new(FailureKind::Connectivity, "no connection in time"))??;
        let bind = Request::Bind { dn: &self.bind_dn, password: &self.password };
        let found = connection.ask(&bind, 0, self.timeout).await.map_err(nothing_happened)?;
        match found.outcome.code {
            // Busy, unavailable: nothing is said of the credential.
            51 | 52 => refused(&found, FailureKind::Server, "the directory is not available")?,
            _ => refused(&found, FailureKind::Authentication, "the bind is refused")?,
        }
        Ok(connection)
    }
}

/// A failure before anything that changes something was sent.
fn nothing_happened(failure: Failure) -> Failure {
    Failure::new(failure.kind(), failure.message())
}

fn refused(found: &Found, kind: FailureKind, what: &str) -> Result<(), Failure> {
    match found.outcome.code {
        0 => Ok(()),
        code => Err(Failure::new(kind, format!("{what} (result {code}): {}", found.outcome.diagnostic))),
    }
}

fn unreachable(what: &str, error: &io::Error) -> Failure {
    Failure::new(FailureKind::Connectivity, format!("{what}: {error}"))
}

fn tls(roots_pem: Option<&str>) -> Result<rustls::ClientConfig, SettingsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let unusable = |error: rustls::Error| SettingsError::new("roots_pem", format!("cannot be used: {error}"));
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(unusable)?;
    let Some(pem) = roots_pem else {
        return Ok(builder.with_platform_verifier().map_err(unusable)?.with_no_client_auth());
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate =
            certificate.map_err(|error| SettingsError::new("roots_pem", format!("is no PEM: {error}")))?;
        roots.add(certificate).map_err(unusable)?;
    }
    match roots.is_empty() {
        true => Err(SettingsError::new("roots_pem", "holds no certificate")),
        false => Ok(builder.with_root_certificates(roots).with_no_client_auth()),
    }
}

/// Most bytes of the whole answer to one request, a page of a listing say.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

struct Connection {
    stream: Stream,
    /// Bytes that came and belong to no answer yet.
    buffer: Vec<u8>,
    /// Of the last request.
    id: u32,
}

impl Connection {
    async fn encrypt(self, endpoint: &Endpoint) -> Result<Self, Failure> {
        let Stream::Plain(tcp) = self.stream else { return Ok(self) };
        let tls = endpoint.tls.connect(endpoint.name.clone(), tcp).await;
        let tls = tls.map_err(|error| unreachable("no TLS", &error))?;
        Ok(Self { stream: Stream::Tls(Box::new(tls)), buffer: self.buffer, id: self.id })
    }

    /// Whether nothing came since the last answer: neither the end nor a notice of it (RFC 4511 §4.4.1).
    async fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let polled = std::future::poll_fn(|context| {
            Poll::Ready(Pin::new(&mut self.stream).poll_read(context, &mut buffer).is_pending())
        });
        self.buffer.is_empty() && polled.await
    }

    async fn ask(
        &mut self,
        request: &Request<'_>,
        entries_max: usize,
        limit: Duration,
    ) -> Result<Found, Failure> {
        let exchange = self.exchange(request, entries_max);
        timeout(limit, exchange).await.unwrap_or_else(|_| Err(Failure::unknown("no answer in time")))
    }

    async fn exchange(&mut self, request: &Request<'_>, entries_max: usize) -> Result<Found, Failure> {
        self.id = self.id.checked_add(1).filter(|id| *id <= i32::MAX as u32).unwrap_or(1);
        let bytes = Zeroizing::new(request.encode(self.id));
        let lost =
            |error: io::Error| Failure::unknown(format!("the connection ended before the answer: {error}"));
        self.stream.write_all(&bytes).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let mut found = Found {
            entries: Vec::new(),
            is_referred: false,
            outcome: Outcome::default(),
            cookie: Vec::new(),
        };
        let mut bytes_left = ANSWER_BYTES_MAX;
        loop {
            let (message, length) = self.message().await?;
            bytes_left = bytes_left
                .checked_sub(length)
                .ok_or_else(|| Failure::unknown("the server's answer is too long"))?;
            // Answers to nobody are notices; the only one there is says that the connection ends.
            if message.id == 0 {
                return Err(Failure::unknown("the server ends the connection"));
            }
            if message.id != self.id {
                return Err(Failure::unknown("the server answers something that was not asked"));
            }
            match message.answer {
                Answer::Entry(_) if found.entries.len() >= entries_max => {
                    return Err(Failure::unknown("the server sends more entries than were asked for"));
                }
                Answer::Entry(entry) => found.entries.push(entry),
                Answer::Reference => found.is_referred = true,
                Answer::Done { tag, outcome, cookie } if request.ends_with() == Some(tag) => {
                    found.outcome = outcome;
                    found.cookie = cookie.unwrap_or_default();
                    return Ok(found);
                }
                Answer::Done { .. } => {
                    return Err(Failure::unknown("the server answers another kind of request"));
                }
                Answer::Other => {}
            }
        }
    }

    async fn message(&mut self) -> Result<(Message, usize), Failure> {
        let malformed =
            |error: super::ber::Malformed| Failure::unknown(format!("the server's answer is {error}"));
        loop {
            if let Some(length) = message::length(&self.buffer).map_err(malformed)?
                && let Some(whole) = self.buffer.get(..length)
            {
                let message = Message::decode(whole).map_err(malformed)?;
                self.buffer.drain(..length);
                return Ok((message, length));
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Ok(0) => return Err(Failure::unknown("the server ended the connection before its answer")),
                Err(error) => return Err(Failure::unknown(format!("the connection broke: {error}"))),
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A polite end where the connection takes it at once; the server notices the other ends anyway.
        for connection in self.idle.get_mut().unwrap_or_else(PoisonError::into_inner) {
            if let Stream::Plain(tcp) = &connection.stream {
                let _ = tcp.try_write(&Request::Unbind.encode(1));
            }
        }
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, to),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, from),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
