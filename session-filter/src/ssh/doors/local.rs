//! What the client opens: connections from the target's side, and subsystems.

use std::sync::Arc;

use russh::client;
use russh::server::{self, ChannelOpenHandle};
use russh::{Channel, ChannelOpenFailure};

use super::pipe::{Carries, ClientEnd, pipe};
use super::{DoorEnd, OpenDoor, Place, is_name};
use crate::door::Door;
use crate::event::DoorOpened;
use crate::ssh::channel::{ClientChannel, ClientReader};
use crate::ssh::command::open_channel;
use crate::ssh::lanes::{Lane, LinkFailure, Needs};
use crate::ssh::link::LinkError;
use crate::ssh::relay::{Reply, answer};
use crate::ssh::session::{End, Session};
use crate::verdict::Refusal;

/// A connection that the client wants from the target's side.
pub(crate) struct Connection {
    /// Where the client says that its own connection comes from; the target may log it.
    pub(crate) originator: (String, u32),
    pub(crate) channel: Channel<server::Msg>,
    pub(crate) handle: server::Handle,
    pub(crate) reply: ChannelOpenHandle,
}

/// Opens the same kind of channel to the target and carries bytes both ways.
pub(crate) async fn connect(session: Arc<Session>, door: Door, asked: Connection, _place: Place) {
    let Connection { originator, channel, handle, reply } = asked;
    let Some(_working) = session.work() else {
        return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    };
    session.active();
    let Ok(opened) = OpenDoor::open(&session, door.clone()).await else {
        return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    };
    let reached = tokio::select! {
        reached = reach(&session, &door, originator) => reached,
        end = opened.cut() => {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return opened.close(end).await;
        }
    };
    // The connection to the target goes back to the others when this is done.
    let (_lane, target) = match reached {
        Ok(reached) => reached,
        Err(failure) => {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return opened.close(failed(&session, &failure)).await;
        }
    };
    reply.accept().await;
    let (read, write) = channel.split();
    let mut read = ClientReader::new(read, &session.shared.limits);
    let client = ClientEnd { read: &mut read, write: &write, handle: &handle };
    let end = pipe(&opened, client, target, Carries::Bytes).await;
    opened.close(end).await;
}

async fn reach(
    session: &Arc<Session>,
    door: &Door,
    (address, port): (String, u32),
) -> Result<(Lane, Channel<client::Msg>), LinkFailure> {
    let lane = Lane::open(session, Needs::Nothing).await?;
    let Some(link) = lane.link() else { return Err(LinkFailure::Closing) };
    let timeout = session.shared.limits.target_timeout;
    // Should nobody wait for the answer any longer, the channel may still open, with nobody there: then the connection goes with it.
    lane.retire();
    let opening = link.connect(door, &address, port);
    let target = tokio::time::timeout(timeout, opening).await.unwrap_or(Err(LinkError::Timeout(timeout)));
    if !matches!(target, Err(LinkError::Timeout(_))) {
        lane.reuse();
    }
    Ok((lane, target.map_err(LinkFailure::Link)?))
}

/// How a door ends behind which the target was not reached.
pub(super) fn failed(session: &Session, failure: &LinkFailure) -> DoorEnd {
    if let LinkFailure::Recorder(_) = failure {
        session.end(End::RecorderFailed);
    }
    DoorEnd::Failed { code: failure.code(), message: failure.to_string() }
}

/// Runs a subsystem other than `sftp`, whose operations would be decided one by one.
pub(crate) async fn subsystem(session: &Arc<Session>, channel: &mut ClientChannel, name: &str) {
    let door = Door::Subsystem { name: name.to_owned() };
    if name == "sftp" || !is_name(name) {
        let refusal = Refusal::new("door_closed", "there is no such subsystem");
        super::refuse(session, &DoorOpened::new(&door), &refusal).await;
        return channel.reject().await;
    }
    let Ok(opened) = OpenDoor::open(session, door).await else { return channel.reject().await };
    let env = super::granted_variables(session, channel).await;
    let reached = tokio::select! {
        reached = start(session, &env, name) => reached,
        end = opened.cut() => {
            channel.reject().await;
            return opened.close(end).await;
        }
    };
    let (_lane, target) = match reached {
        Ok(reached) => reached,
        Err(end) => {
            channel.reject().await;
            return opened.close(end).await;
        }
    };
    channel.accept().await;
    let client = ClientEnd { read: &mut channel.read, write: &channel.write, handle: &channel.handle };
    let end = pipe(&opened, client, target, Carries::Program).await;
    opened.close(end).await;
}

async fn start(
    session: &Arc<Session>,
    env: &[(String, String)],
    name: &str,
) -> Result<(Lane, Channel<client::Msg>), DoorEnd> {
    let opened = open_channel(session, None, env, Needs::Nothing).await;
    let (lane, mut target) = opened.map_err(|failure| failed(session, &failure))?;
    let timeout = session.shared.limits.target_timeout;
    let started = async {
        target.request_subsystem(true, name).await.map_err(drop)?;
        match answer(&mut target).await {
            Reply::Accepted => Ok(()),
            Reply::Refused | Reply::Gone => Err(()),
        }
    };
    if let Ok(Ok(())) = tokio::time::timeout(timeout, started).await {
        return Ok((lane, target));
    }
    let _ = target.close().await;
    let message = "the target refused the subsystem".to_owned();
    Err(DoorEnd::Failed { code: "target_refused", message })
}
