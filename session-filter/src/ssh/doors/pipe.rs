//! Bytes between a channel of the client's and one of the target's.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, client, server};
use tokio::time::Instant;

use super::{Direction, DoorEnd, OpenDoor};
use crate::ssh::channel::{ClientReader, FromClient};
use crate::ssh::session::Session;

/// What is passed on.
enum Passing {
    Data(Bytes),
    Stderr(Bytes),
    Eof,
    Signal(Sig),
    ExitStatus(u32),
    ExitSignal(Sig),
}

/// What kind of program is on the target's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// A connection: bytes and their end.
    Bytes,
    /// A program: errors, signals and an exit status, too.
    Program,
}

enum Source<'a> {
    Client(&'a mut ClientReader),
    Target(&'a mut ChannelReadHalf),
}

impl Source<'_> {
    /// `None` once the channel is closed and everything before was taken. Cancellation safe.
    async fn next(&mut self, carries: Carries) -> Option<Passing> {
        loop {
            // What a peer may not send in this direction is dropped here: the library cannot send it on.
            let passing = match self {
                Self::Client(reader) => match reader.next().await? {
                    FromClient::Data(data) => Passing::Data(data),
                    FromClient::Eof => Passing::Eof,
                    FromClient::Signal(signal) if carries == Carries::Program => Passing::Signal(signal),
                    _ => continue,
                },
                Self::Target(half) => match (half.wait().await?, carries) {
                    (ChannelMsg::Close, _) => return None,
                    (ChannelMsg::Data { data }, _) => Passing::Data(data),
                    (ChannelMsg::Eof, _) => Passing::Eof,
                    (ChannelMsg::ExtendedData { data, ext: 1 }, Carries::Program) => Passing::Stderr(data),
                    (ChannelMsg::ExitStatus { exit_status }, Carries::Program) => {
                        Passing::ExitStatus(exit_status)
                    }
                    (ChannelMsg::ExitSignal { signal_name, .. }, Carries::Program) => {
                        Passing::ExitSignal(signal_name)
                    }
                    _ => continue,
                },
            };
            return Some(passing);
        }
    }
}

enum Sink<'a> {
    Client(&'a ChannelWriteHalf<server::Msg>, &'a server::Handle),
    Target(&'a ChannelWriteHalf<client::Msg>),
}

impl Sink<'_> {
    async fn pass(&self, passing: Passing) -> Result<(), ()> {
        match (self, passing) {
            (Self::Client(to, _), Passing::Data(data)) => to.data_bytes(data).await.map_err(drop),
            (Self::Client(to, _), Passing::Stderr(data)) => {
                to.extended_data_bytes(1, data).await.map_err(drop)
            }
            (Self::Client(to, _), Passing::Eof) => to.eof().await.map_err(drop),
            (Self::Client(to, _), Passing::ExitStatus(status)) => to.exit_status(status).await.map_err(drop),
            (Self::Client(to, handle), Passing::ExitSignal(signal)) => {
                handle.exit_signal_request(to.id(), signal, false, String::new(), String::new()).await
            }
            (Self::Target(to), Passing::Data(data)) => to.data_bytes(data).await.map_err(drop),
            (Self::Target(to), Passing::Eof) => to.eof().await.map_err(drop),
            (Self::Target(to), Passing::Signal(signal)) => to.signal(signal).await.map_err(drop),
            // Not in this direction.
            _ => Ok(()),
        }
    }
}

/// One way of a passage.
struct Way<'a> {
    session: &'a Session,
    carries: Carries,
    door: &'a OpenDoor,
    direction: Direction,
    /// Bytes that may wait here; then nothing more is read.
    ahead_max: usize,
    /// How long the far end may take nothing while somebody waits for it.
    stall: Option<Duration>,
}

/// How one way ended.
enum Carried {
    /// The near end closed its channel, and everything before was handed over.
    Closed,
    Stalled,
    /// There is no far end any more.
    Gone,
}

impl Way<'_> {
    async fn carry(&self, mut from: Source<'_>, to: Sink<'_>) -> Carried {
        let mut queue: VecDeque<Passing> = VecDeque::new();
        let mut sending: Option<(usize, BoxFuture<'_, Result<(), ()>>)> = None;
        let (mut pending, mut closed) = (0_usize, false);
        let mut moved = Instant::now();
        loop {
            if sending.is_none() {
                match queue.pop_front() {
                    Some(passing) => sending = Some((bytes(&passing), Box::pin(to.pass(passing)))),
                    None if closed => return Carried::Closed,
                    None => {}
                }
            }
            let full = pending >= self.ahead_max;
            let patience = self.stall.filter(|_| full || closed);
            tokio::select! {
                (sent_bytes, sent) = async {
                    match &mut sending {
                        Some((bytes, passing)) => (*bytes, passing.await),
                        None => std::future::pending().await,
                    }
                } => {
                    sending = None;
                    if sent.is_err() {
                        return Carried::Gone;
                    }
                    self.door.count(self.direction, sent_bytes);
                    if let Direction::ToClient = self.direction {
                        self.session.sent_to_client(sent_bytes);
                    }
                    pending = pending.saturating_sub(cost(sent_bytes));
                    moved = Instant::now();
                }
                next = from.next(self.carries), if !full && !closed => match next {
                    None => {
                        closed = true;
                        moved = Instant::now();
                    }
                    Some(passing) => {
                        self.session.active();
                        if pending == 0 {
                            moved = Instant::now();
                        }
                        pending = pending.saturating_add(cost(bytes(&passing)));
                        queue.push_back(passing);
                    }
                },
                () = tokio::time::sleep_until(moved + patience.unwrap_or_default()), if patience.is_some() => {
                    return Carried::Stalled;
                }
            }
        }
    }
}

/// What a message costs while it waits; one without bytes is not free either.
fn cost(bytes: usize) -> usize {
    bytes.saturating_add(64)
}

fn bytes(passing: &Passing) -> usize {
    match passing {
        Passing::Data(data) | Passing::Stderr(data) => data.len(),
        _ => 0,
    }
}

/// The client's end.
pub(super) struct ClientEnd<'a> {
    pub(super) read: &'a mut ClientReader,
    pub(super) write: &'a ChannelWriteHalf<server::Msg>,
    pub(super) handle: &'a server::Handle,
}

/// Carries both ways until both are done, one end closes its channel, or the door has to be closed. Closes both channels.
pub(super) async fn pipe(
    door: &OpenDoor,
    client: ClientEnd<'_>,
    target: Channel<client::Msg>,
    carries: Carries,
) -> DoorEnd {
    let session = &*door.session;
    let limits = &session.shared.limits;
    let (mut from_target, to_target) = target.split();
    let up = Way {
        session,
        carries,
        door,
        direction: Direction::ToTarget,
        ahead_max: limits.pending_bytes_max,
        stall: Some(limits.upload_stall),
    };
    // A client may take its time: it is its own connection that fills up.
    let down = Way {
        session,
        carries,
        door,
        direction: Direction::ToClient,
        ahead_max: TO_CLIENT_AHEAD_MAX,
        stall: None,
    };
    let ended = {
        let up = async {
            match up.carry(Source::Client(client.read), Sink::Target(&to_target)).await {
                Carried::Closed => DoorEnd::Done,
                Carried::Stalled => DoorEnd::Failed {
                    code: "upload_stalled",
                    message:
                        "the target takes no more, and what was sent beyond the limit has nowhere to wait"
                            .to_owned(),
                },
                // The other way notices and says how.
                Carried::Gone => std::future::pending().await,
            }
        };
        let down = async {
            match down
                .carry(Source::Target(&mut from_target), Sink::Client(client.write, client.handle))
                .await
            {
                Carried::Closed | Carried::Stalled => DoorEnd::Done,
                Carried::Gone => std::future::pending().await,
            }
        };
        tokio::select! {
            end = up => end,
            end = down => end,
            end = door.cut() => end,
        }
    };
    // The library leaves a channel open that is merely dropped.
    let closing = async { tokio::join!(to_target.close(), client.write.close()) };
    let _ = tokio::time::timeout(limits.farewell, closing).await;
    ended
}

/// Bytes from the target that may wait for the client.
const TO_CLIENT_AHEAD_MAX: usize = 256 * 1024;
