//! The old scp protocol towards the client; towards the target it is SFTP, each operation checked and recorded as such.

mod files;
mod sink;
mod source;
mod wire;

use std::sync::Arc;

use chrono::Utc;
use tokio::sync::mpsc;

use self::files::{Failure, Files, QUEUE};
use self::wire::Wire;
use super::asked::{EXIT_UNAVAILABLE, unavailable};
use super::channel::ClientChannel;
use super::relay::{Stopped, stop};
use super::session::{End, Session};
use super::sftp::{Ended, Flow, Inlet, Outlet, Server, hashing};
use crate::door::Door;
use crate::event::Line;
use crate::scp::{Call, Direction};
use crate::sftp::Guard;
use crate::verdict::Refusal;

/// Whether the door is open.
pub(crate) async fn may(session: &Session) -> Result<(), Refusal> {
    let asked = session.shared.gatekeeper.open(&session.request, &Door::LegacyScp, Utc::now());
    tokio::time::timeout(session.shared.limits.gatekeeper_timeout, asked).await.unwrap_or_else(|_| {
        Err(Refusal::new("gatekeeper_timeout", "whether it is permitted cannot be found out now"))
    })
}

/// Copies as `line`, which was read as `call`, asks. The door was found open.
pub(crate) async fn serve(session: &Arc<Session>, channel: &mut ClientChannel, line: &[u8], call: &Call) {
    let shown = Line::new(line, |text| session.shared.gatekeeper.redact(text)).shown().to_owned();
    let server = match Server::open(session, Door::LegacyScp, Some(shown)).await {
        Ok(server) => server,
        Err(message) => return unavailable(session, channel, None, &message).await,
    };
    channel.accept().await;
    let (mut from_target, to_target) = server.target.split();
    let (to_guard, requests) = mpsc::channel(QUEUE);
    let (answers, from_guard) = mpsc::channel(QUEUE);
    let flow = Flow::new(session, Guard::new(hashing(session)), Outlet::Queue(answers));
    let mut inlet = Inlet::Queue(requests);
    let mut exit_status = None;
    let ended = {
        let copied = copy(session, channel, call, Files::open(to_guard, from_guard));
        tokio::select! {
            biased;
            end = session.ended() => Ended::Session(end),
            status = copied => {
                exit_status = status;
                Ended::ClientClosed
            }
            ended = flow.upward(&mut inlet, &to_target) => ended,
            ended = flow.downward(&mut from_target) => ended,
        }
    };
    let patience = session.shared.limits.farewell;
    let stopped = match &ended {
        Ended::Target => Stopped::Confirmed,
        _ => stop(&mut from_target, &to_target, patience).await,
    };
    server.record.conclude(session, &flow, &ended, stopped).await;
    let farewell = async {
        let why = match &ended {
            Ended::ClientClosed => return channel.finish(exit_status.unwrap_or(EXIT_UNAVAILABLE)).await,
            Ended::Recorder => {
                session.end(End::RecorderFailed);
                End::RecorderFailed.message()
            }
            Ended::Session(end) => format!("session ended: {}", end.message()),
            Ended::Target => "the target closed its file server".to_owned(),
            Ended::Stalled => "the target takes no more data".to_owned(),
            Ended::ClientProtocol(violation) | Ended::TargetProtocol(violation) => violation.to_string(),
        };
        channel.say(&why).await;
        channel.finish(EXIT_UNAVAILABLE).await;
    };
    let _ = tokio::time::timeout(patience, farewell).await;
}

/// The exit status for the client; `None` when it or the file server is gone.
async fn copy(
    session: &Session,
    channel: &mut ClientChannel,
    call: &Call,
    files: impl Future<Output = Result<Files, Failure>>,
) -> Option<u32> {
    let mut files = files.await.ok()?;
    let mut wire = Wire::new(session, channel);
    let done = match call.direction {
        Direction::ToTarget => sink::run(&mut wire, &mut files, call).await,
        Direction::FromTarget => source::run(&mut wire, &mut files, call).await,
    };
    match done {
        Ok(()) if wire.warnings == 0 => Some(0),
        Ok(()) | Err(Stop::Protocol) => Some(1),
        Err(Stop::Gone) => None,
    }
}

/// Why a copy cannot go on.
enum Stop {
    /// The client does not speak the protocol, or gave up.
    Protocol,
    /// The client or the target is gone.
    Gone,
}
