//! The demo's applications: small SCIM servers on loopback, each with a switch for what is wrong with it.

mod answer;
mod directory;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::listen;
use answer::{Asked, answer, empty, refused, shown, with_type};
use directory::{Directory, Refusal};

/// Where the service lies below an application's address.
const BASE_PATH: &str = "/scim/v2";
/// Largest request that an application reads.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What is wrong with an application.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    Ok,
    /// Nobody listens at its address.
    Down,
    /// It refuses every token.
    Unauthorized,
    /// It answers 429, and asks for a second.
    RateLimited,
    /// It does what it is asked and ends the connection without an answer.
    LostResponse,
    /// It shows a login page with status 200.
    HtmlLogin,
}

/// An application that runs.
pub(crate) struct Application {
    pub(crate) name: &'static str,
    pub(crate) token: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    token: String,
    base: String,
    directory: Mutex<Directory>,
    fault: watch::Sender<Fault>,
}

impl Application {
    /// Starts one on a free port of loopback; what it knows is kept in `dir`.
    pub(crate) async fn start(name: &'static str, token: String, dir: &Path) -> Result<Self, std::io::Error> {
        let directory = Directory::open(&dir.join(format!("{name}.jsonl")))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            token: token.clone(),
            base: format!("http://{address}{BASE_PATH}"),
            directory: Mutex::new(directory),
            fault: watch::Sender::new(Fault::Ok),
        });
        tokio::spawn(listen(listener, address, shared.clone()));
        Ok(Self { name, token, address, shared })
    }

    /// Where its SCIM service is.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}{BASE_PATH}", self.address)
    }

    /// The switch.
    pub(crate) fn switch(&self) -> FaultSwitch {
        FaultSwitch { name: self.name, fault: self.shared.fault.clone() }
    }
}

/// Turns an application's fault on and off.
#[derive(Clone)]
pub(crate) struct FaultSwitch {
    pub(crate) name: &'static str,
    fault: watch::Sender<Fault>,
}

impl FaultSwitch {
    /// From now on this is wrong.
    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// What is wrong now.
    pub(crate) fn get(&self) -> Fault {
        *self.fault.borrow()
    }
}

/// Accepts connections while the application is up; while it is down, nobody listens and open connections end.
async fn listen(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut fault = shared.fault.subscribe();
    let mut listening = Some(listener);
    loop {
        let is_down = *fault.borrow_and_update() == Fault::Down;
        if is_down {
            listening = None;
        } else if listening.is_none() {
            // The port was ours a moment ago; whoever took it meanwhile may give it back.
            listening = bind_again(address).ok();
            if listening.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        }
        let Some(listener) = &listening else {
            if fault.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(converse(stream, shared.clone()));
                }
                // Out of file descriptors, most likely.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            changed = fault.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

fn bind_again(address: SocketAddr) -> Result<TcpListener, std::io::Error> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let mut fault = shared.fault.subscribe();
    let service = service_fn(|request| serve(&shared, request));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A client that breaks off is its own affair.
    tokio::select! {
        _ = &mut connection => {}
        _ = fault.wait_for(|fault| *fault == Fault::Down) => {}
    }
}

/// The answer is lost on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Lost;

async fn serve(shared: &Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Lost> {
    let fault = *shared.fault.borrow();
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await.map(|body| body.to_bytes()) else {
        return Ok(refused(&Refusal::new(413, "the request is too large")));
    };
    match fault {
        Fault::HtmlLogin => {
            return Ok(with_type(200, "text/html; charset=utf-8", LOGIN_PAGE));
        }
        Fault::RateLimited => {
            let mut answer = refused(&Refusal::new(429, "too many requests"));
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return Ok(answer);
        }
        Fault::Unauthorized => return Ok(unauthorized("the token has expired")),
        Fault::Ok | Fault::Down | Fault::LostResponse => {}
    }
    let shown = head.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    if shown != format!("Bearer {}", shared.token).as_bytes() {
        return Ok(unauthorized("this is not the application's token"));
    }
    let Some(path) = head.uri.path().strip_prefix(BASE_PATH) else {
        return Ok(refused(&Refusal::new(404, format!("the service is at `{BASE_PATH}`"))));
    };
    let asked = Asked {
        method: head.method.clone(),
        path: path.to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        body,
    };
    let answer = {
        let mut directory = shared.directory.lock().unwrap_or_else(PoisonError::into_inner);
        answer(&mut directory, &shared.base, &asked)
    };
    // What only reads is answered: what is lost is the news that something was done.
    if fault == Fault::LostResponse && head.method != Method::GET {
        return Err(Lost);
    }
    Ok(answer)
}

fn unauthorized(why: &str) -> Response<Full<Bytes>> {
    let mut answer = refused(&Refusal::new(401, why));
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

const LOGIN_PAGE: &str = "<!doctype html><title>Sign in</title><h1>Sign in</h1><form method=post action=/login>\
<label>Name <input name=user></label> <label>Password <input type=password name=password></label> <button>Sign in</button></form>";

/// Serves the switches: `PUT /KEY/NAME` with `{"mode": …}` turns one, `GET` shows it. Whoever knows the key may do it.
pub(crate) async fn serve_switches(
    listener: TcpListener,
    key: Arc<str>,
    switches: Arc<[FaultSwitch]>,
) -> Infallible {
    loop {
        let stream = listen::accept(&listener).await;
        let (key, switches) = (key.clone(), switches.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| turn(&key, &switches, request));
            // A client that breaks off is its own affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    mode: Fault,
}

async fn turn(
    key: &str,
    switches: &[FaultSwitch],
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut segments = head.uri.path().trim_start_matches('/').split('/');
    let switch = match (segments.next(), segments.next(), segments.next()) {
        (Some(shown), Some(name), None) if shown == key => switches.iter().find(|switch| switch.name == name),
        _ => None,
    };
    let Some(switch) = switch else { return Ok(empty(StatusCode::NOT_FOUND)) };
    match head.method {
        Method::GET => {}
        Method::PUT => {
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map(|body| body.to_bytes());
            let turn = match &body {
                Ok(body) => serde_json::from_slice::<Turn>(body).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match turn {
                Ok(turn) => switch.set(turn.mode),
                Err(error) => return Ok(shown(400, &json!({"message": error}))),
            }
        }
        _ => return Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
    }
    let now = json!({"name": switch.name, "mode": switch.get()});
    Ok(with_type(200, "application/json", now.to_string()))
}
