//! TLS in front of the API.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::config::Tls;

/// How long whoever connects may take to agree on TLS.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Most who do so at the same time.
const HANDSHAKES_MAX: usize = 256;

/// Whether only its owner may read a file.
pub(crate) fn private(path: &Path) -> Result<(), String> {
    let known = std::fs::metadata(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    match known.mode() & 0o777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(format!(
            "`{}`: others can get at it (mode {mode:04o}): chmod 600 keeps them out",
            path.display()
        )),
    }
}

/// What certificate and key make.
pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, String> {
    let cert = |error: &dyn std::fmt::Display| format!("`{}`: {error}", tls.cert.display());
    let key = |error: &dyn std::fmt::Display| format!("`{}`: {error}", tls.key.display());
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(&tls.cert).and_then(Iterator::collect).map_err(|error| cert(&error))?;
    let private = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| key(&error))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| cert(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Gives out connections that have agreed on TLS; whoever is slow at it keeps nobody waiting.
pub(crate) struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    pub(crate) fn new(listener: TcpListener, acceptor: TlsAcceptor) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (agreed, ready) = mpsc::channel(16);
        tokio::spawn(agree(listener, acceptor, agreed));
        Ok(Self { address, ready })
    }
}

async fn agree(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    agreed: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, address) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = agreed.closed() => return,
        };
        let (acceptor, agreed) = (acceptor.clone(), agreed.clone());
        tokio::spawn(async move {
            // A failed handshake is whoever came's affair.
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                let _ = agreed.send((stream, address)).await;
            }
            drop(place);
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
