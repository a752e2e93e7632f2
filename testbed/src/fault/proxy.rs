//! The proxy itself: a thread that accepts, and a thread for each connection.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::net::sockopt::set_socket_linger;

use super::{Exchange, Fault, Reach, Reply, RetryAfter, bomb};
use crate::Error;
use crate::http::{Answer, Request};
use crate::listener::Listener;

/// A reverse proxy on a free port of 127.0.0.1 in front of one server.
///
/// Each request takes the next fault of the script; without a script, or after its end, requests pass. Requests are
/// handed on over a connection of their own, so a fault towards the client leaves the server undisturbed. Dropping it closes everything.
pub struct FaultProxy {
    shared: Arc<Shared>,
    listener: Listener,
}

struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    script: VecDeque<Fault>,
    chooser: Option<Chooser>,
    arrived: usize,
    log: Vec<Exchange>,
    /// The last answer to a listing, by path.
    listed: Vec<(String, Answer)>,
}

type Chooser = Box<dyn FnMut(&Request) -> Fault + Send>;

impl FaultProxy {
    /// Starts in front of `upstream`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(upstream: SocketAddr) -> Result<Self, Error> {
        let shared =
            Arc::new(Shared { upstream, state: Mutex::new(State::default()), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        // A connection that breaks is what this is for; there is nobody to tell.
        let listener = Listener::start(move |client| drop(serve(&serving, client)))?;
        Ok(Self { shared, listener })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// Adds to the script: one fault for each request to come, in the order of their arrival.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().script.extend(faults);
    }

    /// Decides what the script leaves open, by the request.
    pub fn choose(&self, chooser: impl FnMut(&Request) -> Fault + Send + 'static) {
        self.shared.lock().chooser = Some(Box::new(chooser));
    }

    /// After the script, does one of `faults` to about `per_mille` of a thousand requests, by chance out of `seed`: the same
    /// seed does the same to the same order of arrivals.
    pub fn random(&self, seed: u64, per_mille: u16, faults: Vec<Fault>) {
        let mut chance = fastrand::Rng::with_seed(seed);
        self.choose(move |_| {
            let hit = chance.u16(0..1000) < per_mille;
            let place = chance.usize(0..faults.len().max(1));
            faults.get(place).filter(|_| hit).cloned().unwrap_or(Fault::PASS)
        });
    }

    /// Forgets what is left of the script and lets everything pass.
    pub fn pass(&self) {
        let mut state = self.shared.lock();
        state.script.clear();
        state.chooser = None;
    }

    /// Stops listening and closes all connections: whoever connects now is refused.
    pub fn refuse_connections(&self) {
        self.listener.close();
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    /// When somebody else took the port meanwhile.
    pub fn accept_connections(&self) -> Result<(), Error> {
        self.listener.open()
    }

    /// What has happened so far, in the order of arrival. An exchange is there from the moment when its request had arrived, and
    /// its answers are added as they are known.
    pub fn log(&self) -> Vec<Exchange> {
        self.shared.lock().log.clone()
    }

    /// Forgets what has happened so far.
    pub fn clear_log(&self) {
        self.shared.lock().log.clear();
    }

    /// Waits until so many requests were answered by the server, at most for `limit`; says whether they were.
    pub fn wait_for_server_answers(&self, count: usize, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            if state.log.iter().filter(|exchange| exchange.server.is_some()).count() >= count {
                return true;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the requests of one connection, one after the other, until a fault or the client ends it.
fn serve(shared: &Shared, client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client);
    while let Some(request) = Request::read(&mut reader)? {
        let (number, fault) = shared.begin(&request);
        let answer = match fault.reach {
            Reach::Withheld => None,
            // A server that cannot be reached looks to the client like any other reset.
            Reach::Forwarded => request.send(shared.upstream).ok(),
        };
        if let Some(answer) = &answer {
            shared.note(number, |exchange| exchange.server = Some(answer.clone()));
        }
        let reply = shared.reply(&request, &fault.reply, answer)?;
        let shown = reply.shown();
        if shown.is_some() {
            // Before the bytes, so that whoever has the answer finds it in the log.
            shared.note(number, |exchange| exchange.shown = shown);
        }
        if !reply.write(client, &mut reader)? {
            return Ok(());
        }
    }
    Ok(())
}

/// What is written to the client in the end.
enum Written {
    Whole(Answer),
    /// So much of the head and the body, then the connection ends.
    Part(Answer, Part),
    Late(Answer, Duration),
    Silence,
    Reset,
}

enum Part {
    HalfHead,
    HalfBody,
}

impl Written {
    fn shown(&self) -> Option<u16> {
        match self {
            Self::Whole(answer) | Self::Late(answer, _) | Self::Part(answer, Part::HalfBody) => {
                Some(answer.status)
            }
            Self::Part(_, Part::HalfHead) | Self::Silence | Self::Reset => None,
        }
    }

    /// Says whether the connection can go on.
    fn write(self, mut client: &TcpStream, reader: &mut BufReader<&TcpStream>) -> io::Result<bool> {
        match self {
            Self::Whole(answer) => {
                client.write_all(&[answer.head(), answer.body].concat())?;
                Ok(true)
            }
            Self::Late(answer, delay) => {
                thread::sleep(delay);
                client.write_all(&[answer.head(), answer.body].concat())?;
                Ok(true)
            }
            Self::Part(answer, part) => {
                let head = answer.head();
                let (head_end, body_end) = match part {
                    Part::HalfHead => (head.len() / 2, 0),
                    Part::HalfBody => (head.len(), answer.body.len() / 2),
                };
                client.write_all(head.get(..head_end).unwrap_or_default())?;
                client.write_all(answer.body.get(..body_end).unwrap_or_default())?;
                // An orderly end: a reset would take away what the client has not read yet, and with it what is tested.
                client.shutdown(Shutdown::Write)?;
                Ok(false)
            }
            Self::Silence => {
                // Ends when the client does, or when the proxy closes the connection.
                while reader.read(&mut [0; 1024])? > 0 {}
                Ok(false)
            }
            Self::Reset => {
                set_socket_linger(client, Some(Duration::ZERO))?;
                Ok(false)
            }
        }
    }
}

impl Shared {
    fn begin(&self, request: &Request) -> (usize, Fault) {
        let mut state = self.lock();
        let scripted = state.script.pop_front();
        let chosen = match (scripted, state.chooser.as_mut()) {
            (Some(fault), _) => fault,
            (None, Some(chooser)) => chooser(request),
            (None, None) => Fault::PASS,
        };
        let number = state.arrived;
        state.arrived += 1;
        let mut kept = request.clone();
        for (name, value) in &mut kept.headers {
            if name.eq_ignore_ascii_case("authorization") {
                *value = "…".to_owned();
            }
        }
        state.log.push(Exchange {
            number,
            at: SystemTime::now(),
            request: kept,
            fault: chosen.clone(),
            server: None,
            shown: None,
        });
        (number, chosen)
    }

    fn note(&self, number: usize, change: impl FnOnce(&mut Exchange)) {
        if let Some(exchange) = self.lock().log.iter_mut().rfind(|exchange| exchange.number == number) {
            change(exchange);
        }
        self.changed.notify_all();
    }

    fn reply(&self, request: &Request, reply: &Reply, answer: Option<Answer>) -> io::Result<Written> {
        let before = self.remember(request, answer.as_ref());
        let genuine = || answer.clone().map_or(Written::Reset, Written::Whole);
        // Where the server was not asked, there is still an answer to break off.
        let any = || answer.clone().unwrap_or_else(|| Answer::new(200, SCIM, "{}"));
        Ok(match reply {
            Reply::Genuine => genuine(),
            Reply::Late(delay) => Written::Late(any(), *delay),
            Reply::Silence => Written::Silence,
            Reply::Reset => Written::Reset,
            Reply::EndInHead => Written::Part(any(), Part::HalfHead),
            Reply::EndInBody if any().body.is_empty() => Written::Part(any(), Part::HalfHead),
            Reply::EndInBody => Written::Part(any(), Part::HalfBody),
            Reply::Status(status, retry_after) => Written::Whole(refusal(*status, *retry_after)),
            Reply::LoginPage => Written::Whole(Answer::new(200, "text/html; charset=utf-8", LOGIN_PAGE)),
            Reply::TruncatedBody => {
                let mut answer = any();
                answer.body.truncate(answer.body.len() / 2);
                Written::Whole(answer)
            }
            Reply::ContentType(kind) => {
                let mut answer = any();
                answer.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
                Written::Whole(answer.header("content-type", *kind))
            }
            Reply::PageBefore => before.map_or_else(genuine, Written::Whole),
            Reply::Bomb(bytes) => {
                let answer = Answer::new(200, SCIM, bomb::gzip(*bytes)?);
                Written::Whole(answer.header("content-encoding", "gzip"))
            }
            Reply::Canned(answer) => Written::Whole(answer.clone()),
        })
    }

    /// Remembers the answer to a listing and returns the one before it.
    fn remember(&self, request: &Request, answer: Option<&Answer>) -> Option<Answer> {
        let answer = answer.filter(|answer| request.method == "GET" && answer.status == 200)?;
        let mut state = self.lock();
        let place = state.listed.iter().position(|(path, _)| path == request.path());
        let before = place.map(|place| state.listed.swap_remove(place).1);
        state.listed.push((request.path().to_owned(), answer.clone()));
        before
    }
}

fn refusal(status: u16, retry_after: Option<RetryAfter>) -> Answer {
    let body = format!(
        r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"{status}","detail":"as the script wants"}}"#
    );
    let answer = Answer::new(status, SCIM, body);
    match retry_after {
        None => answer,
        Some(RetryAfter::Seconds(seconds)) => answer.header("retry-after", seconds.to_string()),
        Some(RetryAfter::DateIn(seconds)) => {
            let date = SystemTime::now() + Duration::from_secs(seconds);
            answer.header("retry-after", httpdate::fmt_http_date(date))
        }
    }
}

const SCIM: &str = "application/scim+json";
const LOGIN_PAGE: &str = "<!doctype html><html><head><title>Sign in</title></head><body><form method=post action=/login>\
    <input name=user><input name=password type=password></form></body></html>";
