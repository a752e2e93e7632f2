//! A server that speaks TLS on loopback, and as much HTTP as the tests need.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{DEFAULT_VERSIONS, ServerConfig, SupportedProtocolVersion};

use super::authority::{Authority, Leaf};

/// Who may connect.
pub(super) enum Clients<'a> {
    /// Whoever likes; no certificate is asked for.
    Anyone,
    /// Who has a certificate of this authority, by this version of TLS.
    Of(&'a Authority, &'static SupportedProtocolVersion),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) authorization: Option<String>,
    pub(super) body: String,
    /// The certificate that the client showed.
    pub(super) client: Option<CertificateDer<'static>>,
}

pub(super) struct Server {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

/// Status, header lines, body.
type Answer = (u16, String, String);
type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

impl Server {
    pub(super) async fn start(
        leaf: &Leaf,
        clients: Clients<'_>,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config(leaf, clients)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer): (_, Arc<Handler>) = (requests.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), kept.clone(), answer.clone()));
            }
        });
        Self { addr, requests, task }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.addr)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads something, answers that and ends.
pub(super) async fn without_tls(answer: Option<&'static [u8]>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.unwrap_or_default()).await;
            let _ = stream.shutdown().await;
        }
    });
    addr
}

/// An address on which nobody listens.
pub(super) async fn without_listener() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn config(leaf: &Leaf, clients: Clients<'_>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = match clients {
        Clients::Anyone => DEFAULT_VERSIONS.to_vec(),
        Clients::Of(_, version) => vec![version],
    };
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions).unwrap();
    let builder = match clients {
        Clients::Anyone => builder.with_no_client_auth(),
        Clients::Of(authority, _) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider)
                .build()
                .unwrap(),
        ),
    };
    builder.with_single_cert(vec![leaf.der()], leaf.key_der()).unwrap()
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    requests: Arc<Mutex<Vec<Request>>>,
    answer: Arc<Handler>,
) {
    let accepted = acceptor.accept(stream).into_fallible().await;
    let mut stream = match accepted {
        Ok(stream) => stream,
        Err((_, mut refused)) => {
            // Closed while something is unread, the connection would be reset, and the alert may be lost on the way.
            let _ = refused.shutdown().await;
            while refused.read(&mut [0; 4096]).await.is_ok_and(|bytes| bytes > 0) {}
            return;
        }
    };
    let client = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
    let client = client.map(CertificateDer::into_owned);
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer, client.clone()).await {
        let (status, headers, body) = answer(&request);
        requests.lock().unwrap().push(request);
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    client: Option<CertificateDer<'static>>,
) -> Option<Request> {
    let head_bytes = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..head_bytes).collect()).unwrap();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let body_bytes: usize = header("content-length").map_or(0, |text| text.parse().unwrap());
    while buffer.len() < body_bytes {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request {
        method: head.split(' ').next()?.parse().ok()?,
        authorization: header("authorization"),
        body: String::from_utf8(buffer.drain(..body_bytes).collect()).unwrap(),
        client,
    })
}
