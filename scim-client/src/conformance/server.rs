//! A server that does what a check wants: HTTP/1.1 by hand, so that it can be broken anywhere.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{PATIENCE, ends};
use crate::transport::{Body, Transport, TransportError};

/// What stands in headers and bodies, and must stand in no error.
pub(super) const SECRET: &str = "c0nf0rmance-s3cret";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// What is done with a request.
pub(super) enum Reply {
    /// These bytes; the connection is kept.
    Keep(Vec<u8>),
    /// These bytes and an orderly end.
    End(Vec<u8>),
    /// These bytes and a reset.
    Reset(Vec<u8>),
    /// These bytes, and nothing more for as long as the client stays.
    Hold(Vec<u8>),
    /// These bytes and, once [`Server::go_on`] was called, those.
    Pause(Vec<u8>, Vec<u8>),
}

/// What a server saw so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: Vec<Arrived>,
    pub(super) connections: usize,
    /// Connections that the client closed.
    pub(super) left: usize,
}

pub(super) struct Server {
    addr: SocketAddr,
    seen: watch::Receiver<Seen>,
    go_on: watch::Sender<bool>,
    task: JoinHandle<()>,
}

type Replies = dyn Fn(usize, &Arrived) -> Reply + Send + Sync;

impl Server {
    /// Replies to each request; they are numbered from 0 over all connections.
    pub(super) async fn start(replies: impl Fn(usize, &Arrived) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of 127.0.0.1");
        let addr = listener.local_addr().expect("its address");
        let (saw, seen) = watch::channel(Seen::default());
        let (go_on, may_go_on) = watch::channel(false);
        let (saw, replies): (_, Arc<Replies>) = (Arc::new(saw), Arc::new(replies));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                saw.send_modify(|seen| seen.connections += 1);
                let (saw, replies, may_go_on) = (saw.clone(), replies.clone(), may_go_on.clone());
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    serve(stream, &saw, &*replies, may_go_on).await;
                });
            }
        });
        Self { addr, seen, go_on, task }
    }

    /// The same reply to every request.
    pub(super) async fn always(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Self {
        Self::start(move |_, _| reply()).await
    }

    pub(super) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.addr)
    }

    pub(super) fn requests(&self) -> Vec<Arrived> {
        self.seen.borrow().requests.clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.borrow().connections
    }

    /// Lets [`Reply::Pause`] go on.
    pub(super) fn go_on(&self) {
        self.go_on.send_replace(true);
    }

    /// Waits until it has seen that.
    pub(super) async fn until(&self, what: &str, seen: impl Fn(&Seen) -> bool) {
        let mut watched = self.seen.clone();
        ends(what, watched.wait_for(|now| seen(now))).await.expect("the server lives");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address on which nobody listens.
pub(super) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of 127.0.0.1");
    format!("http://{}/Users", listener.local_addr().expect("its address"))
}

async fn serve(
    mut stream: TcpStream,
    saw: &watch::Sender<Seen>,
    replies: &Replies,
    mut may_go_on: watch::Receiver<bool>,
) {
    let mut buffer = Vec::new();
    while let Some(arrived) = read(&mut stream, &mut buffer).await {
        let mut number = 0;
        saw.send_modify(|seen| {
            number = seen.requests.len();
            seen.requests.push(arrived.clone());
        });
        match replies(number, &arrived) {
            Reply::Keep(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            Reply::End(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Reply::Reset(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.set_zero_linger();
                return;
            }
            Reply::Hold(bytes) => {
                let _ = stream.write_all(&bytes).await;
                break;
            }
            Reply::Pause(first, rest) => {
                let _ = stream.write_all(&first).await;
                let _ = may_go_on.wait_for(|may| *may).await;
                let _ = stream.write_all(&rest).await;
            }
        }
    }
    // Until the client goes.
    while stream.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {}
    saw.send_modify(|seen| seen.left += 1);
}

/// The next request; `None` where the client goes first.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Arrived> {
    let head_bytes = loop {
        if let Some(at) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head: Vec<u8> = buffer.drain(..head_bytes).collect();
    let head = String::from_utf8(head).expect("a head of ASCII");
    let mut lines = head.trim_end().split("\r\n");
    let mut line = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let arrived = Arrived { method, target, headers, body: Vec::new() };
    assert!(
        arrived.header("transfer-encoding").is_none(),
        "a body is sent with its length: there are servers that read no chunks"
    );
    let body_bytes: usize =
        arrived.header("content-length").map_or(0, |text| text.parse().expect("a length"));
    while buffer.len() < body_bytes {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(Arrived { body: buffer.drain(..body_bytes).collect(), ..arrived })
}

impl Arrived {
    /// The values of a header, joined.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// A request with a secret in its header and in its body.
pub(super) fn request(method: &str, url: &str) -> http::Request<Bytes> {
    let body = if matches!(method, "GET" | "DELETE") {
        Bytes::new()
    } else {
        Bytes::from(format!(r#"{{"password":"{SECRET}"}}"#))
    };
    let mut token = http::HeaderValue::from_str(&format!("Bearer {SECRET}")).expect("a header");
    token.set_sensitive(true);
    http::Request::builder()
        .method(method)
        .uri(url)
        .header("authorization", token)
        .header("content-type", "application/scim+json")
        .body(body)
        .expect("a request")
}

/// Sends, with more time than anybody has here; no error says what is secret.
pub(super) async fn send(
    transport: &dyn Transport,
    what: &str,
    request: http::Request<Bytes>,
) -> Result<http::Response<Body>, TransportError> {
    let result = ends(what, transport.send(request, PATIENCE * 6)).await;
    result.map_err(|error| discreet(what, error))
}

pub(super) fn discreet(what: &str, error: TransportError) -> TransportError {
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET), "neither headers nor bodies appear in errors: {what}: {text}");
    error
}

/// The whole of a body, and the error that ended it.
pub(super) async fn collect(what: &str, mut body: Body) -> (Vec<u8>, Option<TransportError>) {
    let mut all = Vec::new();
    loop {
        match ends(what, body.next()).await {
            None => return (all, None),
            Some(Ok(piece)) => all.extend_from_slice(&piece),
            Some(Err(error)) => {
                let next = ends(what, body.next()).await;
                assert!(next.is_none(), "an error is the last item of a body: {what}");
                return (all, Some(discreet(what, error)));
            }
        }
    }
}

/// An answer with a body of known length.
pub(super) fn ok(body: &[u8]) -> Vec<u8> {
    with_head("HTTP/1.1 200 OK\r\nContent-Type: application/scim+json\r\n", body)
}

/// An answer with this head, to which the length is added.
pub(super) fn with_head(head: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}
