//! Remote forwards: the target listens for the client.

use std::collections::HashMap;
use std::sync::Arc;

use russh::server;
use tokio::sync::{mpsc, oneshot};

use super::local::failed;
use super::visitors::{Introduction, Usher, Visit, Visitor, told};
use super::{DoorEnd, OpenDoor, Places};
use crate::door::Door;
use crate::event::DoorOpened;
use crate::ssh::lanes::{Lane, LinkFailure, Needs};
use crate::ssh::link::LinkError;
use crate::ssh::session::Session;
use crate::verdict::Refusal;

/// The remote forwards of one connection.
#[derive(Default)]
pub(crate) struct Listeners(HashMap<Listening, Listener>);

/// Where one listens, as the client would name it to cancel it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Listening {
    Port(String, u16),
    Socket(String),
}

struct Listener {
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl Listeners {
    /// Has the target listen. Says on which port, or 0 for a socket; `None` when it was refused, which is on record.
    ///
    /// The protocol library answers such requests in order, so the client's connection waits meanwhile, at the most for the gatekeeper
    /// and for each step of reaching the target.
    pub(crate) async fn add(
        &mut self,
        session: &Arc<Session>,
        client: server::Handle,
        places: Places,
        door: Door,
    ) -> Option<u16> {
        self.0.retain(|_, listener| !listener.stop.is_closed());
        if self.0.len() >= session.shared.limits.listeners_max {
            let refusal = Refusal::new("too_many_listeners", "too many remote forwards");
            super::refuse(session, &DoorOpened::new(&door), &refusal).await;
            return None;
        }
        let named = name_of(&door);
        if named.as_ref().is_some_and(|named| self.0.contains_key(named)) {
            let refusal = Refusal::new("already_listening", "there is such a remote forward already");
            super::refuse(session, &DoorOpened::new(&door), &refusal).await;
            return None;
        }
        let (stop, stopping) = oneshot::channel();
        let (ended, stopped) = oneshot::channel();
        let (listens, listening) = oneshot::channel();
        let forward = Forward { session: Arc::clone(session), client, places, door: door.clone() };
        tokio::spawn(async move {
            forward.serve(listens, stopping).await;
            // Nobody may be waiting for it.
            let _ = ended.send(());
        });
        let port = listening.await.ok()?;
        let listening = match (named, door) {
            (Some(named), _) => named,
            (None, Door::RemoteForward { host, .. }) => Listening::Port(host, port),
            _ => return None,
        };
        if let Some(before) = self.0.insert(listening, Listener { stop, stopped }) {
            // A target that chooses the same port twice: the one that cannot be named any more must not stay.
            let _ = before.stop.send(());
        }
        Some(port)
    }

    /// Has the target listen no more. Connections that are open stay. `false`: there is no such forward.
    pub(crate) async fn cancel(&mut self, listening: &Listening) -> bool {
        let Some(Listener { stop, stopped }) = self.0.remove(listening) else { return false };
        // One that has ended by itself is stopped, too.
        let was_there = stop.send(()).is_ok();
        let _ = stopped.await;
        was_there
    }
}

/// As the client will name it, where that is known before the target has answered.
fn name_of(door: &Door) -> Option<Listening> {
    match door {
        Door::RemoteForward { host, port: port @ 1.. } => Some(Listening::Port(host.clone(), *port)),
        Door::RemoteSocket { path } => Some(Listening::Socket(path.clone())),
        _ => None,
    }
}

struct Forward {
    session: Arc<Session>,
    client: server::Handle,
    places: Places,
    door: Door,
}

impl Forward {
    async fn serve(self, listens: oneshot::Sender<u16>, stop: oneshot::Receiver<()>) {
        let Self { session, client, places, door } = self;
        let Some(_working) = session.work() else { return };
        session.active();
        let Ok(grant) = OpenDoor::open(&session, door.clone()).await else { return };
        let grant = Arc::new(grant);
        let started = tokio::select! {
            started = listen(&session, &door) => started,
            end = grant.cut() => return grant.close(end).await,
        };
        let (lane, port, mut visitors) = match started {
            Ok(started) => started,
            Err(failure) => return grant.close(failed(&session, &failure)).await,
        };
        let lane = Arc::new(lane);
        let Some(link) = lane.link().cloned() else { return grant.close(DoorEnd::Done).await };
        if listens.send(port).is_err() {
            return grant.close(DoorEnd::Done).await;
        }
        let usher = Usher { session: Arc::clone(&session), client, places, lane, grant: Arc::clone(&grant) };
        tokio::pin!(stop);
        // One look-out for the whole time: begun anew with each visitor, it would never get to the end of its interval.
        let cut = grant.cut();
        tokio::pin!(cut);
        let end = loop {
            let visitor = tokio::select! {
                cancelled = &mut stop => match cancelled {
                    Ok(()) => break DoorEnd::Done,
                    // The client's connection is gone.
                    Err(_) => break DoorEnd::Session(session.ended().await),
                },
                end = &mut cut => break end,
                visitor = visitors.recv() => visitor,
            };
            let Some(visitor) = visitor else {
                let message = "the target closed the connection".to_owned();
                break DoorEnd::Failed { code: "target_closed", message };
            };
            if let Some(introduction) = introduce(&door, port, &visitor.visit) {
                usher.lead(visitor, introduction).await;
            }
            // Whoever comes for anything else is refused as it is dropped.
        };
        drop(visitors);
        let timeout = session.shared.limits.farewell;
        let _ = tokio::time::timeout(timeout, link.listen_no_more(&door, port)).await;
        grant.close(end).await;
    }
}

async fn listen(
    session: &Arc<Session>,
    door: &Door,
) -> Result<(Lane, u16, mpsc::Receiver<Visitor>), LinkFailure> {
    let lane = Lane::open(session, Needs::Nothing).await?;
    // Listening lasts as long as the connection.
    lane.retire();
    let Some(link) = lane.link() else { return Err(LinkFailure::Closing) };
    // Before it listens: somebody may come at once.
    let visitors = link.doorbell.attend();
    let timeout = session.shared.limits.target_timeout;
    let asked = tokio::time::timeout(timeout, link.listen(door)).await;
    let port = asked.unwrap_or(Err(LinkError::Timeout(timeout))).map_err(LinkFailure::Link)?;
    Ok((lane, port, visitors))
}

/// Who came to a forward's port or socket; `None` for whoever did not.
fn introduce(door: &Door, port: u16, visit: &Visit) -> Option<Introduction> {
    match (door, visit) {
        (Door::RemoteForward { host, .. }, Visit::Port { port: at, originator, originator_port })
            if *at == u32::from(port) =>
        {
            let asked = Door::RemoteForward { host: host.clone(), port }.to_string();
            let originator = told(originator);
            let from = format!("{originator}:{originator_port}");
            let shown = DoorOpened::passage("forwarded-tcpip", Some(asked), Some(from));
            let to_client = Visit::Port { port: *at, originator, originator_port: *originator_port };
            Some(Introduction { shown, to_client })
        }
        (Door::RemoteSocket { path }, Visit::Socket { path: at }) if path == at => {
            let shown = DoorOpened::passage("forwarded-streamlocal@openssh.com", Some(path.clone()), None);
            Some(Introduction { shown, to_client: visit.clone() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_came_to_the_forward_are_led_on() {
        let door = Door::RemoteForward { host: "localhost".into(), port: 0 };
        let visit =
            |port| Visit::Port { port, originator: "10.0.0.9\u{1b}[2J".into(), originator_port: 4711 };
        let introduction = introduce(&door, 8022, &visit(8022)).unwrap();
        assert_eq!(introduction.shown.asked.as_deref(), Some("localhost:8022"));
        assert_eq!(introduction.shown.from.as_deref(), Some(r"10.0.0.9\u{1b}[2J:4711"));
        assert!(introduce(&door, 8022, &visit(8023)).is_none());
        for other in [Visit::Agent, Visit::Socket { path: "/run/a".into() }] {
            assert!(introduce(&door, 8022, &other).is_none());
        }
        let socket = Door::RemoteSocket { path: "/run/a".into() };
        assert!(introduce(&socket, 0, &Visit::Socket { path: "/run/a".into() }).is_some());
        assert!(introduce(&socket, 0, &Visit::Socket { path: "/run/b".into() }).is_none());
    }
}
