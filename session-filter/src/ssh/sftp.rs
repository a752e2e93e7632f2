//! Files by SFTP: the [`Guard`](crate::sftp::Guard) between a client's channel and the target's file server.

mod flow;
mod record;

use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use russh::{Channel, client};

pub(crate) use self::flow::{Ended, Flow, Inlet, Outlet};
use super::asked::{EXIT_UNAVAILABLE, unavailable};
use super::channel::ClientChannel;
use super::lanes::{Lane, LinkFailure, Needs};
use super::link::LinkError;
use super::notice::{notify, say_on};
use super::relay::{Reply, Stopped, answer, stop};
use super::session::{End, Session};
use crate::directory::AbsolutePath;
use crate::door::{Door, FileAccess};
use crate::event::{Detail, DoorClosed, DoorOpened, Outcome, RequestRefused};
use crate::sftp::{Guard, Hashing};
use crate::verdict::{OutputRecord, Refusal};

/// What the client sees as exit status when either side broke the protocol.
const EXIT_PROTOCOL: u32 = 1;

/// Serves the subsystem `sftp`.
pub(crate) async fn serve(session: &Arc<Session>, channel: &mut ClientChannel) {
    if !permits_files(session).await {
        return refuse(session, channel).await;
    }
    let door = Door::Subsystem { name: "sftp".to_owned() };
    let server = match Server::open(session, door, None).await {
        Ok(server) => server,
        Err(message) => return unavailable(session, channel, None, &message).await,
    };
    channel.accept().await;

    let (mut from_target, to_target) = server.target.split();
    let flow = Flow::new(session, Guard::new(hashing(session)), Outlet::Channel(&channel.write));
    let mut notices = session.notices();
    let mut inlet = Inlet::Channel(&mut channel.read);
    let ended = tokio::select! {
        ended = flow.upward(&mut inlet, &to_target) => ended,
        ended = flow.downward(&mut from_target) => ended,
        never = notify(&mut notices, &channel.write, None) => match never {},
        end = session.ended() => Ended::Session(end),
    };
    let patience = session.shared.limits.farewell;
    let stopped = match &ended {
        Ended::Target => Stopped::Confirmed,
        Ended::Session(end) => {
            let text = format!("session ended: {}", end.message());
            let said = tokio::time::timeout(patience, say_on(&channel.write, None, &text));
            tokio::join!(stop(&mut from_target, &to_target, patience), said).0
        }
        _ => stop(&mut from_target, &to_target, patience).await,
    };
    server.record.conclude(session, &flow, &ended, stopped).await;
    let exit_status = flow.exit_status();
    let _ = tokio::time::timeout(patience, farewell(session, channel, exit_status, ended)).await;
}

async fn farewell(session: &Session, channel: &mut ClientChannel, exit_status: Option<u32>, ended: Ended) {
    match ended {
        Ended::Target => channel.finish(exit_status.unwrap_or(EXIT_UNAVAILABLE)).await,
        Ended::ClientClosed => {}
        Ended::Session(_) => channel.finish(EXIT_UNAVAILABLE).await,
        Ended::Recorder => {
            session.end(End::RecorderFailed);
            channel.say(&End::RecorderFailed.message()).await;
            channel.finish(EXIT_UNAVAILABLE).await;
        }
        Ended::Stalled => {
            channel.say("the target takes no more data").await;
            channel.finish(EXIT_UNAVAILABLE).await;
        }
        Ended::ClientProtocol(violation) => {
            session.request_refused();
            channel.say(&format!("sftp: {violation}")).await;
            channel.finish(EXIT_PROTOCOL).await;
        }
        Ended::TargetProtocol(violation) => {
            channel.say(&format!("sftp: {violation}")).await;
            channel.finish(EXIT_PROTOCOL).await;
        }
    }
}

/// What is transferred is hashed unless the session's rules keep sizes only.
pub(crate) fn hashing(session: &Session) -> Hashing {
    match session.record() {
        OutputRecord::Off => Hashing::Off,
        _ => Hashing::Whole,
    }
}

/// The target's file server, on a connection that nobody else uses.
pub(crate) struct Server {
    _lane: Lane,
    pub(crate) target: Channel<client::Msg>,
    pub(crate) record: Record,
}

/// An open door, to be put on record when it is closed.
pub(crate) struct Record {
    door: Door,
    started: Instant,
}

impl Server {
    /// Records that the door is opened, and then opens it. What cannot be done is on record, too; the error is for the user.
    pub(crate) async fn open(
        session: &Arc<Session>,
        door: Door,
        line: Option<String>,
    ) -> Result<Self, String> {
        let record = Record { door, started: Instant::now() };
        let mut opened =
            session.journal.event(Outcome::Success, Detail::DoorOpened(DoorOpened::new(&record.door)));
        opened.message = line;
        if session.journal.record(opened).await.is_err() {
            session.end(End::RecorderFailed);
            return Err(End::RecorderFailed.message());
        }
        let prepared = tokio::select! {
            biased;
            _ = session.ended() => Err(LinkFailure::Closing),
            prepared = file_server(session) => prepared,
        };
        match prepared {
            Ok((lane, target)) => Ok(Self { _lane: lane, target, record }),
            Err(failure) => {
                let closed = Detail::DoorClosed(record.closed(0, 0));
                let event = session.journal.event(Outcome::Failure, closed);
                session.journal.submit(event.because(failure.code(), failure.to_string())).await;
                if let LinkFailure::Recorder(_) = failure {
                    session.end(End::RecorderFailed);
                }
                Err(failure.to_string())
            }
        }
    }
}

impl Record {
    fn closed(&self, bytes_to_target: u64, bytes_to_client: u64) -> DoorClosed {
        let duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        DoorClosed::new(&self.door, bytes_to_target, bytes_to_client, duration_ms)
    }

    /// Puts on record what was open until now, and that the door is closed.
    pub(crate) async fn conclude(&self, session: &Session, flow: &Flow<'_>, ended: &Ended, stopped: Stopped) {
        for notice in flow.finish() {
            session.journal.submit_result(record::event(session, notice)).await;
        }
        let closed = self.closed(flow.bytes_to_target(), flow.bytes_to_client());
        let (outcome, code) = match ended {
            Ended::Target | Ended::ClientClosed => (Outcome::Success, "closed"),
            Ended::Session(end) => (Outcome::Success, end.code()),
            Ended::Recorder => (Outcome::Failure, "recorder_failed"),
            Ended::Stalled => (Outcome::Failure, "upload_stalled"),
            Ended::ClientProtocol(_) => (Outcome::Blocked, "client_protocol"),
            Ended::TargetProtocol(_) => (Outcome::Failure, "target_protocol"),
        };
        let mut message = flow.summary();
        if let Ended::ClientProtocol(violation) | Ended::TargetProtocol(violation) = ended {
            message = format!("{violation}; {message}");
        }
        if stopped == Stopped::Unconfirmed {
            message.push_str("; the target did not confirm that it stopped");
        }
        let event = session.journal.event(outcome, Detail::DoorClosed(closed)).because(code, message);
        session.journal.submit_result(event).await;
        session.active();
    }
}

/// Whether any rule in force permits anything on any file: then the root is on the way to it.
async fn permits_files(session: &Session) -> bool {
    match AbsolutePath::parse("/") {
        Some(root) => may(session, FileAccess::Stat, &root).await.is_ok(),
        None => false,
    }
}

/// The gatekeeper's answer; silence is a denial.
pub(crate) async fn may(session: &Session, access: FileAccess, path: &AbsolutePath) -> Result<(), Refusal> {
    let asked = session.shared.gatekeeper.file(&session.request, access, path, Utc::now());
    tokio::time::timeout(session.shared.limits.gatekeeper_timeout, asked).await.unwrap_or_else(|_| {
        Err(Refusal::new("gatekeeper_timeout", "whether it is permitted cannot be found out now"))
    })
}

async fn refuse(session: &Session, channel: &mut ClientChannel) {
    let refused = RequestRefused::new("subsystem", Some("sftp"));
    let event = session.journal.event(Outcome::Blocked, Detail::RequestRefused(refused));
    session.journal.submit(event.because("door_closed", "no rule permits files in this session")).await;
    session.request_refused();
    channel.reject().await;
}

/// A connection of its own to the target, with its file server on a channel.
async fn file_server(session: &Arc<Session>) -> Result<(Lane, Channel<client::Msg>), LinkFailure> {
    // No shell reads what is sent.
    let lane = Lane::open(session, Needs::Nothing).await?;
    let Some(link) = lane.link() else { return Err(LinkFailure::Closing) };
    let timeout = session.shared.limits.target_timeout;
    // A channel that is given up halfway stays open on its connection, and targets allow few: the connection goes with it.
    lane.retire();
    let opened = async {
        let mut target = link.channel().await.map_err(LinkError::Channel)?;
        target.request_subsystem(true, "sftp").await.map_err(LinkError::Channel)?;
        match answer(&mut target).await {
            Reply::Accepted => Ok(target),
            Reply::Refused | Reply::Gone => Err(LinkError::NoFileServer),
        }
    };
    let target = tokio::time::timeout(timeout, opened).await.unwrap_or(Err(LinkError::Timeout(timeout)));
    let target = target.map_err(LinkFailure::Link)?;
    lane.reuse();
    Ok((lane, target))
}
