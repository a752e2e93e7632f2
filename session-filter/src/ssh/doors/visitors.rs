//! Channels that a target opens: only what was granted on that connection makes it open any.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use russh::client::{self, ChannelOpenHandle};
use russh::{Channel, ChannelOpenFailure, server};
use tokio::sync::mpsc;

use super::pipe::{Carries, ClientEnd, pipe};
use super::{DoorEnd, OpenDoor, Place, Places};
use crate::door::Door;
use crate::event::{DoorOpened, cut_at_char};
use crate::ssh::channel::{ClientReader, X11Request};
use crate::ssh::lanes::Lane;
use crate::ssh::relay::{Reply, answer};
use crate::ssh::session::Session;
use crate::ssh::text::printable;

/// Channels of one connection that may wait to be looked at; further ones are refused.
const WAITING_MAX: usize = 16;

/// A channel that the target wants to open.
pub(crate) struct Visitor {
    pub(crate) visit: Visit,
    pub(crate) channel: Channel<client::Msg>,
    /// Dropped, it refuses.
    pub(crate) reply: ChannelOpenHandle,
}

/// What for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Visit {
    /// A connection to a remote forward's port, from there.
    Port {
        port: u32,
        originator: String,
        originator_port: u32,
    },
    /// A connection to a remote forward's socket.
    Socket {
        path: String,
    },
    Agent,
    Display {
        originator: String,
        originator_port: u32,
    },
}

type Desk = Mutex<Option<mpsc::Sender<Visitor>>>;

/// Who receives them: nobody, until something is granted. Lives as long as the connection.
#[derive(Default)]
pub(crate) struct Reception(Arc<Desk>);

/// Where to ask for them.
pub(crate) struct Doorbell(Weak<Desk>);

impl Doorbell {
    /// From now on, whatever the target opens is for the caller to accept, until the receiver is dropped. It ends with the connection.
    pub(crate) fn attend(&self) -> mpsc::Receiver<Visitor> {
        let (visitors, receiver) = mpsc::channel(WAITING_MAX);
        if let Some(desk) = self.0.upgrade() {
            *desk.lock().unwrap_or_else(PoisonError::into_inner) = Some(visitors);
        }
        receiver
    }
}

impl Reception {
    pub(crate) fn doorbell(&self) -> Doorbell {
        Doorbell(Arc::downgrade(&self.0))
    }

    /// Hands a channel over, or refuses it.
    pub(crate) async fn announce(
        &self,
        visit: Visit,
        channel: Channel<client::Msg>,
        reply: ChannelOpenHandle,
    ) {
        let visitors = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let visitor = Visitor { visit, channel, reply };
        let refused = match visitors {
            None => visitor,
            Some(visitors) => match visitors.try_send(visitor) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(visitor)) => {
                    return visitor.reply.reject(ChannelOpenFailure::ResourceShortage).await;
                }
                Err(mpsc::error::TrySendError::Closed(visitor)) => visitor,
            },
        };
        refused.reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    }
}

/// Where visitors are led: to the client of a session.
#[derive(Clone)]
pub(crate) struct Usher {
    pub(crate) session: Arc<Session>,
    pub(crate) client: server::Handle,
    pub(crate) places: Places,
    /// The connection on which they come stays as long as one of them does.
    #[allow(dead_code, reason = "being held is what it is for")]
    pub(crate) lane: Arc<Lane>,
    /// What was granted.
    pub(crate) grant: Arc<OpenDoor>,
}

/// What the client is told about a visitor, and what the record says.
pub(crate) struct Introduction {
    pub(crate) shown: DoorOpened,
    pub(crate) to_client: Visit,
}

impl Usher {
    /// Leads a visitor to the client on a task of its own.
    pub(crate) async fn lead(&self, visitor: Visitor, introduction: Introduction) {
        let Some(place) = self.places.take(self.session.shared.limits.channels_max) else {
            return visitor.reply.reject(ChannelOpenFailure::ResourceShortage).await;
        };
        let usher = self.clone();
        tokio::spawn(async move { usher.serve(visitor, introduction, place).await });
    }

    async fn serve(self, visitor: Visitor, introduction: Introduction, _place: Place) {
        let Visitor { channel, reply, .. } = visitor;
        let Some(_working) = self.session.work() else {
            return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        };
        let Introduction { shown, to_client } = introduction;
        let Ok(opened) = OpenDoor::open_within(&self.grant, shown).await else {
            return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        };
        // Not given up before the client has answered: the library takes an answer that nobody waits for as the end of the connection.
        let client = tokio::select! {
            client = self.open(to_client) => client,
            end = self.session.ended() => {
                reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
                return opened.close(DoorEnd::Session(end)).await;
            }
        };
        let Ok(client) = client else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            let message = "the client refused the connection".to_owned();
            return opened.close(DoorEnd::Failed { code: "client_refused", message }).await;
        };
        reply.accept().await;
        let (read, write) = client.split();
        let mut read = ClientReader::new(read, &self.session.shared.limits);
        let client = ClientEnd { read: &mut read, write: &write, handle: &self.client };
        let end = pipe(&opened, client, channel, Carries::Bytes).await;
        opened.close(end).await;
    }

    async fn open(&self, visit: Visit) -> Result<Channel<server::Msg>, russh::Error> {
        match visit {
            // The address is the client's own word for it, which is how it recognises what it asked for.
            Visit::Port { port, originator, originator_port } => {
                let address = match &self.grant.door {
                    Door::RemoteForward { host, .. } => host.as_str(),
                    _ => "",
                };
                self.client.channel_open_forwarded_tcpip(address, port, originator, originator_port).await
            }
            Visit::Socket { path } => self.client.channel_open_forwarded_streamlocal(path).await,
            Visit::Agent => self.client.channel_open_agent().await,
            Visit::Display { originator, originator_port } => {
                self.client.channel_open_x11(originator, originator_port).await
            }
        }
    }
}

/// An address that a target tells, in a form in which it can go anywhere.
pub(crate) fn told(address: &str) -> String {
    cut_at_char(&printable(address), 64).to_owned()
}

/// What was granted on a channel for the program that will run there: the client's agent, the client's display.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inward {
    pub(crate) agent: bool,
    pub(crate) x11: Option<X11Request>,
    pub(crate) places: Places,
}

/// Asks the target to offer agent and display to the program that `target` is going to run, and leads those who come to the client.
/// Ends when dropped. A target that refuses runs the program without.
pub(crate) async fn offer(
    session: &Arc<Session>,
    client: &server::Handle,
    inward: Inward,
    lane: &Arc<Lane>,
    target: &mut Channel<client::Msg>,
) -> Option<Offer> {
    let Inward { agent, x11, places } = inward;
    if !agent && x11.is_none() {
        return None;
    }
    let link = lane.link()?;
    // Both last as long as the connection, and OpenSSH gives an agent once per connection: nobody else may get this one.
    lane.retire();
    let timeout = session.shared.limits.target_timeout;
    let mut visitors = link.doorbell.attend();
    let mut grants: Vec<(Door, Arc<OpenDoor>)> = Vec::new();
    let asked = [agent.then_some((Door::Agent, None)), x11.map(|x11| (Door::X11, Some(x11)))];
    for (door, x11) in asked.into_iter().flatten() {
        let Ok(opened) = OpenDoor::open(session, door.clone()).await else { continue };
        let requested = async {
            match x11 {
                None => target.agent_forward(true).await.map_err(drop)?,
                Some(X11Request { single_connection, protocol, cookie, screen }) => {
                    target
                        .request_x11(true, single_connection, protocol, cookie, screen)
                        .await
                        .map_err(drop)?;
                }
            }
            match answer(target).await {
                Reply::Accepted => Ok(()),
                Reply::Refused | Reply::Gone => Err(()),
            }
        };
        match tokio::time::timeout(timeout, requested).await {
            Ok(Ok(())) => grants.push((door, Arc::new(opened))),
            Ok(Err(())) | Err(_) => {
                let message = format!("the target refused `{}`", door.request());
                opened.close(DoorEnd::Failed { code: "target_refused", message }).await;
            }
        }
    }
    if grants.is_empty() {
        return None;
    }
    let working = session.work()?;
    let (over, mut is_over) = mpsc::channel::<()>(1);
    let (session, client, lane) = (Arc::clone(session), client.clone(), Arc::clone(lane));
    tokio::spawn(async move {
        let _working = working;
        while !grants.is_empty() {
            let cut = futures::future::select_all(grants.iter().map(|(_, grant)| Box::pin(grant.cut())));
            let (end, which) = tokio::select! {
                _ = is_over.recv() => break,
                (end, which, _) = cut => (end, which),
                visitor = visitors.recv() => {
                    let Some(visitor) = visitor else { break };
                    let wanted = match visitor.visit {
                        Visit::Agent => Door::Agent,
                        Visit::Display { .. } => Door::X11,
                        Visit::Port { .. } | Visit::Socket { .. } => continue,
                    };
                    let Some((_, grant)) = grants.iter().find(|(door, _)| *door == wanted) else { continue };
                    let usher = Usher {
                        session: Arc::clone(&session),
                        client: client.clone(),
                        places: places.clone(),
                        lane: Arc::clone(&lane),
                        grant: Arc::clone(grant),
                    };
                    let introduction = introduce(visitor.visit.clone());
                    usher.lead(visitor, introduction).await;
                    continue;
                }
            };
            let (_, grant) = grants.swap_remove(which);
            grant.end_passages();
            grant.close(end).await;
        }
        for (_, grant) in grants {
            grant.end_passages();
            grant.close(DoorEnd::Done).await;
        }
    });
    Some(Offer(over))
}

fn introduce(visit: Visit) -> Introduction {
    let (request, from) = match &visit {
        Visit::Display { originator, originator_port } => {
            ("x11", Some(format!("{}:{originator_port}", told(originator))))
        }
        _ => ("auth-agent@openssh.com", None),
    };
    let to_client = match visit {
        Visit::Display { originator, originator_port } => {
            Visit::Display { originator: told(&originator), originator_port }
        }
        other => other,
    };
    Introduction { shown: DoorOpened::passage(request, None, from), to_client }
}

/// Agent and display are lent until this is dropped; connections to them end with it.
pub(crate) struct Offer(#[allow(dead_code, reason = "its drop is the signal")] mpsc::Sender<()>);
