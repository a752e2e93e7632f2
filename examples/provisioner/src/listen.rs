//! Connections: how many there may be at a time, and how long whoever opened one may take over it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::api::said;

/// Most bytes of the head of a request, and of what is read ahead of it.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long nothing is accepted after that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What connections are given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most at a time, those that agree on TLS included. One more takes the place of whoever has waited longest without asking anything;
    /// where all are being answered, it waits.
    pub(crate) connections_max: u32,
    /// For TLS, for the head of a request, and between two requests.
    pub(crate) head: Duration,
    /// For the body of a request.
    pub(crate) body: Duration,
    /// For a request as a whole, until its answer begins. No answer is a stream.
    pub(crate) request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            head: Duration::from_secs(30),
            body: Duration::from_secs(60),
            request: Duration::from_secs(300),
        }
    }
}

/// File descriptors that connections leave to the audit log, the outbox, and other files.
const OTHER_FILES: u64 = 64;

impl Limits {
    /// Connections that the file descriptors of this process suffice for, of which connections to applications have half. A log that finds
    /// none stops, and the service with it.
    pub(crate) fn within_descriptors(mut self) -> Self {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut allowed = getrlimit(Resource::Nofile);
        if allowed.current != allowed.maximum {
            allowed.current = allowed.maximum;
            // The soft limit is made for programs that use `select`; this is none.
            let _ = setrlimit(Resource::Nofile, allowed);
        }
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let fit = u32::try_from(descriptors.saturating_sub(OTHER_FILES) / 2).unwrap_or(u32::MAX).max(1);
        if fit < self.connections_max {
            crate::say(&format!(
                "{descriptors} open files (ulimit -n) suffice for {fit} connections at a time"
            ));
            self.connections_max = fit;
        }
        self
    }
}

/// The next connection. That none can be accepted (no file descriptor is left, mostly) passes.
pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    let mut is_told = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Whoever came has gone again.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    crate::say(&format!("no connection can be accepted, which is tried again: {error}"));
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers until `ended`, and then what is being asked.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    ended: impl Future<Output = ()>,
) {
    let all = Arc::new(All {
        router,
        limits,
        places: Arc::new(Semaphore::new(limits.connections_max as usize)),
        idle: Mutex::default(),
        ends: watch::Sender::new(false),
    });
    let mut ended = std::pin::pin!(ended);
    let mut number = 0_u64;
    loop {
        let next = async {
            let stream = accept(&listener).await;
            if all.places.available_permits() == 0 {
                all.make_room();
            }
            // INVARIANT: nobody closes it.
            (stream, Arc::clone(&all.places).acquire_owned().await.ok())
        };
        let (stream, place) = tokio::select! {
            next = next => next,
            () = &mut ended => break,
        };
        number = number.wrapping_add(1);
        let (all, tls) = (Arc::clone(&all), tls.clone());
        let connection = Connection { number, is_over: Arc::default(), all };
        connection.is_idle();
        tokio::spawn(async move {
            connection.converse(stream, tls).await;
            drop(place);
        });
    }
    drop(listener);
    all.ends.send_replace(true);
    let _ = all.places.acquire_many(limits.connections_max).await;
}

/// What all connections share.
struct All {
    router: Router,
    limits: Limits,
    places: Arc<Semaphore>,
    /// Those that ask nothing at this moment, the longest first: by when that began.
    idle: Mutex<BTreeMap<(Instant, u64), Arc<Notify>>>,
    ends: watch::Sender<bool>,
}

impl All {
    fn idle(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Arc<Notify>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever has waited longest without asking anything gives way.
    fn make_room(&self) {
        if let Some((_, longest)) = self.idle().pop_first() {
            longest.notify_one();
        }
    }
}

struct Connection {
    number: u64,
    /// It is to end: another one needs its place.
    is_over: Arc<Notify>,
    all: Arc<All>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.is_busy();
    }
}

impl Connection {
    fn is_idle(&self) {
        self.all.idle().insert((Instant::now(), self.number), Arc::clone(&self.is_over));
    }

    fn is_busy(&self) {
        self.all.idle().retain(|(_, number), _| *number != self.number);
    }

    async fn converse(&self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Answers are small, and nobody waits for more of them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return self.speak(stream).await };
        let agreed = tokio::select! {
            agreed = timeout(self.all.limits.head, tls.accept(stream)) => agreed,
            () = self.is_over.notified() => return,
        };
        // A failed handshake is whoever came's affair.
        if let Ok(Ok(stream)) = agreed {
            self.speak(stream).await;
        }
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| async {
            self.is_busy();
            let answer = self.answer(request).await;
            self.is_idle();
            answer
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.all.limits.head)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut ends = self.all.ends.subscribe();
        // What breaks off is whoever came's affair.
        tokio::select! {
            _ = &mut connection => return,
            () = self.is_over.notified() => return,
            _ = ends.wait_for(|ends| *ends) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response, std::convert::Infallible> {
        let limits = self.all.limits;
        let is_late = Arc::new(AtomicBool::new(false));
        let request = request.map(|body| within(Body::new(body), limits.body, Arc::clone(&is_late)));
        let answered = timeout(limits.request, self.all.router.clone().oneshot(request)).await;
        let mut answer = match answered {
            Ok(answer) => answer?,
            Err(_) => said(StatusCode::SERVICE_UNAVAILABLE, "this took too long and was broken off"),
        };
        if is_late.load(Ordering::Relaxed) {
            answer = said(StatusCode::REQUEST_TIMEOUT, "the body of the request did not come in time");
        }
        if is_late.load(Ordering::Relaxed) || self.all.places.available_permits() == 0 {
            // Others wait for the place.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer)
    }
}

/// A body that breaks off where it takes longer than this.
fn within(body: Body, longest: Duration, is_late: Arc<AtomicBool>) -> Body {
    let until = Instant::now() + longest;
    let pieces = stream::unfold(Some((body.into_data_stream(), is_late)), move |left| async move {
        let (mut pieces, is_late) = left?;
        match timeout_at(until, pieces.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some((pieces, is_late)))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => {
                is_late.store(true, Ordering::Relaxed);
                Some((Err(io::ErrorKind::TimedOut.into()), None))
            }
        }
    });
    Body::from_stream(pieces)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io::{Read as _, Write as _};
    use std::net::SocketAddr;

    use axum::routing::{get, post};

    use super::*;

    fn begin(limits: Limits) -> (SocketAddr, tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let body = post(|body: axum::body::Bytes| async move { body.len().to_string() });
        let routes = [("/", get(|| async { "here" })), ("/never", get(pending::<String>)), ("/body", body)];
        let router = routes.into_iter().fold(Router::new(), |router, (path, of)| router.route(path, of));
        let (end, ended) = tokio::sync::oneshot::channel();
        let served = serve(listener, None, router, limits, async {
            let _ = ended.await;
        });
        (address, end, tokio::spawn(served))
    }

    /// Sends this and reads until the connection ends.
    fn ask(address: SocketAddr, sent: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut read = String::new();
        let _ = stream.read_to_string(&mut read);
        read
    }

    const GOOD: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_sends_no_whole_head_in_time_is_shown_the_door() {
        let (address, end, served) = begin(Limits { head: Duration::from_millis(50), ..Limits::default() });
        let slow = tokio::task::spawn_blocking(move || ask(address, "GET / HTTP/1.1\r\nx-a"));
        assert!(!slow.await.unwrap().contains("here"));
        let silent = tokio::task::spawn_blocking(move || ask(address, ""));
        assert_eq!(silent.await.unwrap(), "");
        let good = tokio::task::spawn_blocking(move || ask(address, GOOD)).await.unwrap();
        assert!(good.ends_with("here"), "{good}");
        drop(end);
        served.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_body_that_does_not_come_and_an_answer_that_does_not_are_broken_off() {
        let limits = Limits {
            body: Duration::from_millis(50),
            request: Duration::from_millis(200),
            ..Limits::default()
        };
        let (address, end, served) = begin(limits);
        let half = "POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf";
        let half = tokio::task::spawn_blocking(move || ask(address, half)).await.unwrap();
        assert!(half.starts_with("HTTP/1.1 408"), "{half}");
        let never = "GET /never HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let never = tokio::task::spawn_blocking(move || ask(address, never)).await.unwrap();
        assert!(never.starts_with("HTTP/1.1 503"), "{never}");
        let whole = "POST /body HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfour";
        let whole = tokio::task::spawn_blocking(move || ask(address, whole)).await.unwrap();
        assert!(whole.ends_with('4'), "{whole}");
        drop(end);
        served.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_more_than_allowed_takes_the_place_of_who_has_waited_longest() {
        let (address, end, served) = begin(Limits { connections_max: 3, ..Limits::default() });
        let connect = move || std::net::TcpStream::connect(address).unwrap();
        let mut silent: Vec<_> = (0..5).map(|_| connect()).collect();
        let good = tokio::task::spawn_blocking(move || ask(address, GOOD)).await.unwrap();
        assert!(good.ends_with("here"), "{good}");
        let first = silent.remove(0);
        let gone = tokio::task::spawn_blocking(move || (&first).read(&mut [0]).unwrap_or(0)).await.unwrap();
        assert_eq!(gone, 0);
        // Those that are being answered keep their places; who comes then is answered when they have it.
        let never = "GET /never HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut busy: Vec<_> = (0..3).map(|_| connect()).collect();
        for stream in &mut busy {
            stream.write_all(never.as_bytes()).unwrap();
        }
        let good = tokio::task::spawn_blocking(move || ask(address, GOOD));
        drop((busy, silent));
        let good = good.await.unwrap();
        assert!(good.ends_with("here"), "{good}");
        drop(end);
        served.await.unwrap();
    }
}
