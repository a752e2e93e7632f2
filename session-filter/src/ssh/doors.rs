//! Doors besides commands: forwards, agent, X11, variables, subsystems. Each is asked for, on record, counted, and asked about again
//! while it is open.
//!
//! ```text
//!  client asks ──▶ Gatekeeper::open ──▶ door.opened (durable) ──▶ target ──▶ bytes both ways ──▶ door.closed
//!                        ▲                                                       │
//!                        └──────────── policy changed, or time has passed ◀──────┘
//! ```
//!
//! What the target opens towards the client (connections to a remote forward, to the agent, to the display) passes the same way, and
//! only as long as the grant from which it follows is in force.

pub(crate) mod local;
mod pipe;
pub(crate) mod remote;
pub(crate) mod visitors;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::watch;
use uuid::Uuid;

use super::channel::ClientChannel;
use super::session::{End, Session};
use super::text::printable;
use crate::directory::AbsolutePath;
use crate::door::Door;
use crate::event::{Detail, DoorClosed, DoorOpened, Outcome, RequestRefused};
use crate::verdict::Refusal;

/// How often it is asked again because the policy changed while the record was written.
const RECHECKS_MAX: usize = 3;

/// A door that the policy opened. It is on record since before anything goes through; [`close`](Self::close) says what did.
pub(crate) struct OpenDoor {
    session: Arc<Session>,
    door: Door,
    shown: DoorOpened,
    correlation_id: String,
    version: u64,
    opened: Instant,
    to_target: AtomicU64,
    to_client: AtomicU64,
    /// The grant from which it follows, which counts what goes through as its own.
    within: Option<Arc<OpenDoor>>,
    /// Whether what follows from it has to end.
    over: watch::Sender<bool>,
}

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToTarget,
    ToClient,
}

/// Why a door did not open. Whoever asked was refused and that is on record, or nothing can be recorded any more.
#[derive(Debug)]
pub(crate) struct Shut;

/// How a door came to be closed.
#[derive(Debug)]
pub(crate) enum DoorEnd {
    /// By those who used it.
    Done,
    Failed {
        code: &'static str,
        message: String,
    },
    /// The policy does not permit it any more.
    Withdrawn(Refusal),
    Session(End),
}

impl OpenDoor {
    /// Asks the gatekeeper and writes the record.
    pub(crate) async fn open(session: &Arc<Session>, door: Door) -> Result<Self, Shut> {
        let shown = DoorOpened::new(&door);
        Self::open_now(session, door, shown, None).await
    }

    /// Like [`open`](Self::open), for a passage that follows from a grant and has a name of its own.
    pub(crate) async fn open_within(grant: &Arc<Self>, shown: DoorOpened) -> Result<Self, Shut> {
        Self::open_now(&grant.session, grant.door.clone(), shown, Some(Arc::clone(grant))).await
    }

    async fn open_now(
        session: &Arc<Session>,
        door: Door,
        shown: DoorOpened,
        within: Option<Arc<Self>>,
    ) -> Result<Self, Shut> {
        let correlation_id = Uuid::now_v7().to_string();
        let journal = &session.journal;
        let mut version = session.shared.gatekeeper.version();
        if let Err(refusal) = session.shared.open(&session.request, &door).await {
            refuse(session, &shown, &refusal).await;
            return Err(Shut);
        }
        let event = journal.event(Outcome::Success, Detail::DoorOpened(shown.clone()));
        if journal.record(event.correlated(&correlation_id)).await.is_err() {
            session.end(End::RecorderFailed);
            return Err(Shut);
        }
        let opened = |version| Self {
            session: Arc::clone(session),
            door: door.clone(),
            shown: shown.clone(),
            correlation_id: correlation_id.clone(),
            version,
            opened: Instant::now(),
            to_target: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            within: within.clone(),
            over: watch::Sender::new(false),
        };
        // INVARIANT: no verdict outlives the policy it came from. What changed while the record was written is looked at again.
        for _ in 0..RECHECKS_MAX {
            let now = session.shared.gatekeeper.version();
            if now == version {
                return Ok(opened(version));
            }
            version = now;
            if let Err(refusal) = session.shared.open(&session.request, &door).await {
                opened(version).close(DoorEnd::Withdrawn(refusal)).await;
                return Err(Shut);
            }
        }
        let refusal = Refusal::new("policy_changed", "the policy keeps changing; try again");
        opened(version).close(DoorEnd::Withdrawn(refusal)).await;
        Err(Shut)
    }

    /// Resolves when the policy does not permit it any more. Asked on every change, and at intervals since time and facts change too.
    pub(crate) async fn withdrawn(&self) -> Refusal {
        let shared = &self.session.shared;
        let mut version = self.version;
        loop {
            tokio::select! {
                changed = shared.gatekeeper.changed(version) => version = changed,
                () = tokio::time::sleep(shared.limits.reevaluate_every) => {}
            }
            if let Err(refusal) = shared.open(&self.session.request, &self.door).await {
                return refusal;
            }
        }
    }

    /// Resolves when it has to be closed, whoever still uses it.
    pub(crate) async fn cut(&self) -> DoorEnd {
        tokio::select! {
            refusal = self.withdrawn() => DoorEnd::Withdrawn(refusal),
            end = self.session.ended() => DoorEnd::Session(end),
            () = self.grant_is_over() => DoorEnd::Done,
        }
    }

    async fn grant_is_over(&self) {
        match &self.within {
            // The sender lives as long as the grant, which is held here.
            Some(grant) => drop(grant.over.subscribe().wait_for(|over| *over).await),
            None => std::future::pending().await,
        }
    }

    /// Ends whatever follows from this grant.
    fn end_passages(&self) {
        self.over.send_replace(true);
    }

    fn count(&self, direction: Direction, bytes: usize) {
        let counter = match direction {
            Direction::ToTarget => &self.to_target,
            Direction::ToClient => &self.to_client,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(grant) = &self.within {
            grant.count(direction, bytes);
        }
    }

    /// Records that it is closed and what went through.
    pub(crate) async fn close(&self, end: DoorEnd) {
        let closed = DoorClosed {
            door: self.shown.clone(),
            bytes_to_target: self.to_target.load(Ordering::Relaxed),
            bytes_to_client: self.to_client.load(Ordering::Relaxed),
            duration_ms: u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let (outcome, why) = match end {
            DoorEnd::Done => (Outcome::Success, None),
            DoorEnd::Failed { code, message } => (Outcome::Failure, Some((code.to_owned(), message))),
            DoorEnd::Withdrawn(refusal) => {
                (Outcome::Blocked, Some((refusal.code().to_owned(), refusal.to_string())))
            }
            DoorEnd::Session(end) => (Outcome::Success, Some((end.code().to_owned(), end.message()))),
        };
        let journal = &self.session.journal;
        let mut event = journal.event(outcome, Detail::DoorClosed(closed)).correlated(&self.correlation_id);
        if let Some((code, message)) = why {
            event = event.because(code, message);
        }
        journal.submit_result(event).await;
    }
}

/// Records that a door stayed shut.
pub(crate) async fn refuse(session: &Session, shown: &DoorOpened, refusal: &Refusal) {
    let asked = shown.asked.as_deref().map(printable);
    let detail = Detail::RequestRefused(RequestRefused::new(shown.request, asked.as_deref()));
    let event = session.journal.event(Outcome::Blocked, detail);
    session.journal.submit(event.because(refusal.code(), refusal.to_string())).await;
    session.request_refused();
}

/// The variables that were granted on a channel and that the policy of this moment lets through.
pub(crate) async fn granted_variables(session: &Session, channel: &ClientChannel) -> Vec<(String, String)> {
    let mut variables = channel.setup.lock().env.clone();
    let mut kept = Vec::with_capacity(variables.len());
    for (name, value) in variables.drain(..) {
        let door = Door::Environment { name };
        if session.shared.open(&session.request, &door).await.is_ok()
            && let Door::Environment { name } = door
        {
            kept.push((name, value));
        }
    }
    kept
}

/// How many channels are open, and a place in that count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<AtomicUsize>);

pub(crate) struct Place(Arc<AtomicUsize>);

impl Places {
    /// A place, unless `max` are taken.
    pub(crate) fn take(&self, max: usize) -> Option<Place> {
        let taken = self.0.fetch_add(1, Ordering::SeqCst);
        let place = Place(Arc::clone(&self.0));
        (taken < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Longest host name of a forward, in bytes (RFC 1035 §2.3.4 has 255).
const HOST_BYTES_MAX: usize = 255;
/// Longest path of a socket, in bytes: what `sun_path` holds.
const SOCKET_BYTES_MAX: usize = 107;
/// Longest name of a variable or subsystem, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest value of an environment variable, in bytes.
pub(crate) const VARIABLE_BYTES_MAX: usize = 4096;
/// Most environment variables of one channel.
pub(crate) const VARIABLES_MAX: usize = 64;

/// A host and port, if they are something that a rule can have meant. `Err` is what to call them in the record.
pub(crate) fn host_and_port(host: &str, port: u32) -> Result<(String, u16), String> {
    let is_of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%' | '*');
    match u16::try_from(port) {
        Ok(port) if host.len() <= HOST_BYTES_MAX && host.chars().all(is_of_host) => {
            Ok((host.to_owned(), port))
        }
        _ => Err(format!("{host}:{port}")),
    }
}

/// A socket's path, if it is absolute and says plainly where it leads.
pub(crate) fn socket_path(path: &str) -> Option<String> {
    let plain = AbsolutePath::parse(path)?;
    (plain.as_str() == path && path.len() <= SOCKET_BYTES_MAX).then(|| path.to_owned())
}

/// The name of a variable or a subsystem.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_a_rule_can_mean() {
        for (host, port) in
            [("db-1.example.org", 5432), ("127.0.0.1", 0), ("::1", 65535), ("", 80), ("fe80::1%eth0", 1)]
        {
            assert!(host_and_port(host, port).is_ok(), "{host}");
        }
        for (host, port) in
            [("a b", 1), ("a\u{1b}[2J", 1), ("ex\u{e4}mple", 1), ("host", 65536), (&*"x".repeat(256), 1)]
        {
            assert!(host_and_port(host, port).is_err(), "{host}");
        }
        assert_eq!(socket_path("/run/app.sock").as_deref(), Some("/run/app.sock"));
        for path in [
            "",
            "app.sock",
            "/run/../etc/x",
            "/run//x",
            "/run/x/",
            "/run/./x",
            "/a\nb",
            &format!("/{}", "x".repeat(107)),
        ] {
            assert_eq!(socket_path(path), None, "{path}");
        }
        assert!(is_name("LC_ALL") && is_name("netconf") && is_name("a@example.org"));
        assert!(!is_name("") && !is_name("A=B") && !is_name("A\u{0}") && !is_name(&"A".repeat(129)));
    }

    #[test]
    fn places_are_given_back() {
        let places = Places::default();
        let (one, two) = (places.take(2), places.take(2));
        assert!(one.is_some() && two.is_some() && places.take(2).is_none());
        drop(one);
        assert!(places.take(2).is_some());
    }
}
