//! Syslog over TCP and TLS.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::sink::{Sink, SinkError};
use super::syslog::{Frame, Syslog};
use crate::id::TenantId;
use crate::store::Record;

/// How long a batch may take in all.
const BATCH_LIMIT: Duration = Duration::from_secs(60);

/// Most bytes that are read of what a receiver says, which is nothing by right.
const SAID_BYTES_MAX: u64 = 4 * 1024;

/// Sends events as syslog messages over TCP (RFC 6587) or TLS (RFC 5425).
///
/// Syslog has no acknowledgements. So each batch has a connection of its own, which is ended on our side after the last message; a
/// receiver that ends it as well, without an error, has read everything before the end. That is what counts as taken: a receiver that is
/// killed afterwards, before it has written what it read, loses it. Whatever else happens, the batch is sent again.
///
/// Over TLS the receiver's end is `close_notify`, which nobody on the way can make up. syslog-ng 3.38 sends it, and rsyslog 8.2302 with its
/// stream driver `ossl`; with `gtls`, the usual one, it does not: what it read counts as not taken, and comes again. Set
/// `StreamDriver.Name="ossl"` there, or accept the risk that [`dangerous_any_end`](Self::dangerous_any_end) names.
pub struct SyslogSink {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    syslog: Syslog,
    frame: Frame,
    is_any_end: bool,
}

/// Why a sink for syslog cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyslogError {
    /// The host is no name or address.
    #[error("host is no name or address")]
    Host,
    /// A certificate cannot be read.
    #[error("certificates cannot be read")]
    Certificates,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

impl SyslogSink {
    /// Over TLS, trusting the machine's certificates, or those in this PEM text instead. The usual port is 6514.
    ///
    /// # Errors
    /// Where the host is none, or there are no certificates.
    pub fn tls(host: &str, port: u16, roots_pem: Option<&[u8]>, syslog: Syslog) -> Result<Self, SyslogError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| SyslogError::Host)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(SyslogError::Tls)?;
        let config = match roots_pem {
            None => builder.with_platform_verifier().map_err(SyslogError::Tls)?.with_no_client_auth(),
            Some(pem) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|_| SyslogError::Certificates)?;
                    roots.add(certificate).map_err(|_| SyslogError::Certificates)?;
                }
                if roots.is_empty() {
                    return Err(SyslogError::Certificates);
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        let tls = Some((TlsConnector::from(Arc::new(config)), name));
        Ok(Self { host: host.to_owned(), port, tls, syslog, frame: Frame::OctetCounted, is_any_end: false })
    }

    /// Over TCP: whoever listens on the way reads the events, and may change them. The usual port is 601, or 514.
    pub fn dangerous_plain(host: &str, port: u16, syslog: Syslog) -> Self {
        Self { host: host.to_owned(), port, tls: None, syslog, frame: Frame::OctetCounted, is_any_end: false }
    }

    /// Takes the end of a TLS connection without `close_notify` for the receiver's. Whoever can cut the connection on the way decides then
    /// which events count as taken, and are not sent again. Some receivers know no other end, such as rsyslog with its stream driver `gtls`.
    #[must_use]
    pub fn dangerous_any_end(mut self) -> Self {
        self.is_any_end = true;
        self
    }

    /// How messages are told apart.
    #[must_use]
    pub fn frame(mut self, frame: Frame) -> Self {
        self.frame = frame;
        self
    }
}

impl fmt::Debug for SyslogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyslogSink")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Sink for SyslogSink {
    async fn send(&self, tenant: &TenantId, records: &[Record]) -> Result<usize, SinkError> {
        let mut bytes = Vec::new();
        let mut too_long = None;
        for (index, record) in records.iter().enumerate() {
            match self.syslog.message(tenant, record) {
                Some(message) => bytes.extend(self.frame.around(&message)),
                None => {
                    too_long = Some(index);
                    break;
                }
            }
        }
        // Those before the one that is too long are taken before it is refused.
        if !bytes.is_empty() {
            match timeout(BATCH_LIMIT, self.deliver(&bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(SinkError::unavailable(broken(&error))),
                Err(_) => return Err(SinkError::unavailable("it took too long")),
            }
        }
        match too_long {
            None => Ok(records.len()),
            Some(index) => Err(SinkError::Refused { index, why: "it is too long for a message".to_owned() }),
        }
    }
}

impl SyslogSink {
    async fn deliver(&self, bytes: &[u8]) -> io::Result<()> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => to_the_end(stream, |stream| stream, bytes, true).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                to_the_end(stream, |stream| stream.get_ref().0, bytes, self.is_any_end).await
            }
        }
    }
}

/// What an end without `close_notify` is told as.
const CUT_OFF: &str = "it ended the connection without `close_notify`";

/// Writes everything, ends our side, and waits for the other to end its own.
async fn to_the_end<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    tcp: impl Fn(&S) -> &TcpStream,
    bytes: &[u8],
    is_any_end: bool,
) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    // A receiver that has ended already, as it takes no more connections, has not waited for the end.
    let mut said = [0];
    tokio::select! {
        biased;
        read = stream.read(&mut said) => if read? == 0 { return Err(io::ErrorKind::ConnectionAborted.into()) },
        () = std::future::ready(()) => {}
    }
    // Over TLS this says `close_notify` first.
    stream.shutdown().await?;
    let mut said = Vec::new();
    let read = (&mut stream).take(SAID_BYTES_MAX).read_to_end(&mut said).await;
    match read {
        // An end of TLS itself is signed; one of TCP alone may be made by anybody on the way, who kept the last events.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && is_any_end => {}
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    // Bytes that came to a connection that was ended are answered with a reset, which the end hides.
    match tcp(&stream).take_error()? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn broken(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "no connection",
        io::ErrorKind::InvalidData => "TLS was refused",
        io::ErrorKind::UnexpectedEof => CUT_OFF,
        _ => "the connection broke",
    }
}
