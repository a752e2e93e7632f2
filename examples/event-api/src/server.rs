//! Connections, within limits.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::stall::Stalling;

/// How long whoever connects may take to agree on TLS.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long a connection may lie idle.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest head of a request; also what a connection holds of a body that is coming.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// How long nothing may be taken of what is sent.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// How long requests that are under way may take after the service was asked to end.
const GRACE: Duration = Duration::from_secs(3);
/// Before a connection is accepted again after the system refused.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How many may be connected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Connections {
    pub(crate) max: usize,
    /// From one address; from one /64 in IPv6.
    pub(crate) per_source_max: usize,
}

/// Serves until `stop` comes, and then brings to an end what is asked at that moment.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    connections: Connections,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(connections.max));
    let sources = Arc::new(Sources { max: connections.per_source_max, connected: Mutex::default() });
    let (ending, _) = watch::channel(false);
    let mut served = JoinSet::new();
    let accept = async {
        loop {
            // Whoever comes when all places are taken waits in the system's line.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            while served.try_join_next().is_some() {}
            let Some(source) = sources.connect(address.ip()) else { continue };
            let (tls, router, ending) = (tls.clone(), router.clone(), ending.subscribe());
            served.spawn(async move {
                let _held = (place, source);
                connection(stream, tls, router, ending).await;
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop(listener);
    ending.send_replace(true);
    // Streams do not end by themselves: their readers go on with another service, or with this one when it is there again.
    let _ = tokio::time::timeout(GRACE, async { while served.join_next().await.is_some() {} }).await;
    served.abort_all();
    while served.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    ending: watch::Receiver<bool>,
) {
    // Events are small, and awaited.
    let _ = stream.set_nodelay(true);
    match tls {
        None => http(stream, router, ending).await,
        Some(tls) => {
            // A failed handshake is whoever came's affair.
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                http(stream, router, ending).await;
            }
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    mut ending: watch::Receiver<bool>,
) {
    let io = TokioIo::new(Stalling::new(stream, WRITE_STALL_MAX));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(io, TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What goes wrong with a connection is over with it.
        _ = connection.as_mut() => return,
        _ = ending.wait_for(|ending| *ending) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// How many are connected from where.
struct Sources {
    max: usize,
    connected: Mutex<HashMap<IpAddr, usize>>,
}

/// One of them, until it is dropped.
struct Source {
    sources: Arc<Sources>,
    of: IpAddr,
}

impl Sources {
    fn connect(self: &Arc<Self>, from: IpAddr) -> Option<Source> {
        let of = match from.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address => address,
        };
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connected.entry(of).or_default();
        if *count >= self.max {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Source { sources: Arc::clone(self), of })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut connected = self.sources.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connected.get_mut(&self.of) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                connected.remove(&self.of);
            }
        }
    }
}

/// As many open files as the system allows: each connection is one.
pub(crate) fn open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, current } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

/// Where it listens, or why not.
pub(crate) async fn listen(address: std::net::SocketAddr) -> io::Result<(TcpListener, std::net::SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
