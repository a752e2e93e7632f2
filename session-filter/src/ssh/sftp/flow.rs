//! The two directions of one SFTP channel, with the guard between them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client, server};
use tokio::sync::{Notify, mpsc};

use super::{may, record};
use crate::door::FileAccess;
use crate::event::{Detail, Outcome};
use crate::sftp::{Frames, Guard, Notice, Step, Violation};
use crate::ssh::channel::{ClientReader, FromClient};
use crate::ssh::session::{End, Session, lock};

/// Why a channel is over.
pub(crate) enum Ended {
    /// The target closed it.
    Target,
    ClientClosed,
    /// The target takes nothing any more.
    Stalled,
    Recorder,
    ClientProtocol(Violation),
    TargetProtocol(Violation),
    Session(End),
}

/// Where the requests come from.
pub(crate) enum Inlet<'a> {
    /// A client's channel.
    Channel(&'a mut ClientReader),
    /// Packets that the engine asks for itself.
    Queue(mpsc::Receiver<Bytes>),
}

impl Inlet<'_> {
    /// `None`: nothing comes any more.
    async fn next(&mut self) -> Option<FromClient> {
        match self {
            Self::Channel(read) => read.next().await,
            Self::Queue(packets) => packets.recv().await.map(FromClient::Data),
        }
    }

    /// Keeps what comes meanwhile; resolves when nothing more can come. Cancellation safe.
    async fn look_ahead(&mut self) {
        match self {
            Self::Channel(read) => read.look_ahead().await,
            Self::Queue(_) => std::future::pending().await,
        }
    }

    /// Waits for `coming`, and keeps what comes meanwhile.
    async fn meanwhile<T>(&mut self, coming: impl Future<Output = T>) -> T {
        match self {
            Self::Channel(read) => read.meanwhile(coming).await,
            Self::Queue(_) => coming.await,
        }
    }
}

/// Where the answers go.
pub(crate) enum Outlet<'a> {
    /// A client's channel.
    Channel(&'a ChannelWriteHalf<server::Msg>),
    /// Whoever asked for the packets of [`Inlet::Queue`].
    Queue(mpsc::Sender<Bytes>),
}

impl Outlet<'_> {
    /// False: nobody is there any more.
    async fn give(&self, packet: Bytes) -> bool {
        match self {
            Self::Channel(client) => client.data_bytes(packet).await.is_ok(),
            Self::Queue(packets) => packets.send(packet).await.is_ok(),
        }
    }
}

pub(crate) struct Flow<'a> {
    session: &'a Session,
    guard: Mutex<Guard>,
    /// The target answered something.
    progress: Notify,
    client: Outlet<'a>,
    /// A packet is longer than what the channel takes at once, and both directions have packets for the client.
    turn: tokio::sync::Mutex<()>,
    started: Instant,
    to_target: AtomicU64,
    to_client: AtomicU64,
    exit_status: Mutex<Option<u32>>,
}

impl<'a> Flow<'a> {
    pub(crate) fn new(session: &'a Session, guard: Guard, client: Outlet<'a>) -> Self {
        Self {
            session,
            guard: Mutex::new(guard),
            progress: Notify::new(),
            client,
            turn: tokio::sync::Mutex::new(()),
            started: Instant::now(),
            to_target: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            exit_status: Mutex::new(None),
        }
    }

    /// Client to target: does what the guard wants done, and gives it the client's packets.
    pub(crate) async fn upward(
        &self,
        read: &mut Inlet<'_>,
        to_target: &ChannelWriteHalf<client::Msg>,
    ) -> Ended {
        let limits = &self.session.shared.limits;
        let mut frames = Frames::default();
        let mut at_end = false;
        loop {
            let epoch = self.epoch();
            let step = lock(&self.guard).next(epoch);
            match step {
                Step::ToTarget(packet) => {
                    self.to_target.fetch_add(packet.len() as u64, Ordering::Relaxed);
                    match self.pass(read, packet, to_target).await {
                        Passed::Whole => {}
                        Passed::Stalled => return Ended::Stalled,
                        // The target is gone; the other direction notices, too, and knows more.
                        Passed::Gone => return std::future::pending().await,
                    }
                }
                Step::ToClient(packet) => {
                    if !read.meanwhile(self.give(packet)).await {
                        return Ended::ClientClosed;
                    }
                }
                Step::Check { access, path } => {
                    let decision = read.meanwhile(may(self.session, access, &path)).await;
                    lock(&self.guard).decided(epoch, decision);
                }
                Step::Record(notice) => {
                    if notice.outcome == Outcome::Blocked && !only_looked(&notice) {
                        self.session.request_refused();
                    }
                    let event = record::event(self.session, *notice);
                    if read.meanwhile(self.session.journal.record(event)).await.is_err() {
                        return Ended::Recorder;
                    }
                    lock(&self.guard).recorded();
                }
                Step::Wait => {
                    // For a client that has left, what is still to come is not waited for any longer than for any other answer.
                    let left = async {
                        read.look_ahead().await;
                        tokio::time::sleep(limits.target_timeout).await;
                    };
                    tokio::select! {
                        biased;
                        () = self.progress.notified() => {}
                        () = left => return Ended::ClientClosed,
                    }
                }
                Step::Request => match frames.next() {
                    Err(violation) => return Ended::ClientProtocol(violation),
                    Ok(Some(packet)) => {
                        if let Err(violation) = lock(&self.guard).request(packet, epoch) {
                            return Ended::ClientProtocol(violation);
                        }
                    }
                    Ok(None) if at_end => {
                        let _ = to_target.eof().await;
                        // The target closes the channel once it has answered everything. One that does not is not waited for once
                        // the client has left.
                        read.look_ahead().await;
                        tokio::time::sleep(limits.target_timeout).await;
                        return Ended::ClientClosed;
                    }
                    Ok(None) => match read.next().await {
                        None => return Ended::ClientClosed,
                        Some(FromClient::Data(data)) => {
                            self.session.active();
                            frames.push(&data);
                        }
                        Some(FromClient::Eof) => at_end = true,
                        Some(FromClient::WindowChange { .. } | FromClient::Signal(_)) => {}
                    },
                },
            }
        }
    }

    /// Target to client, until the target closes its channel.
    pub(crate) async fn downward(&self, from_target: &mut ChannelReadHalf) -> Ended {
        let mut frames = Frames::default();
        while let Some(message) = from_target.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    self.session.active();
                    self.session.sent_to_client(data.len());
                    frames.push(&data);
                    loop {
                        let packet = match frames.next() {
                            Ok(Some(packet)) => packet,
                            Ok(None) => break,
                            Err(violation) => return Ended::TargetProtocol(violation),
                        };
                        let replied = lock(&self.guard).reply(packet);
                        let replied = match replied {
                            Ok(replied) => replied,
                            Err(violation) => return Ended::TargetProtocol(violation),
                        };
                        self.progress.notify_one();
                        for notice in replied.notices {
                            self.session.journal.submit_result(record::event(self.session, notice)).await;
                        }
                        if let Some(packet) = replied.to_client
                            && !self.give(packet).await
                        {
                            return Ended::ClientClosed;
                        }
                    }
                }
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    if let Outlet::Channel(client) = &self.client
                        && client.extended_data_bytes(1, data).await.is_err()
                    {
                        return Ended::ClientClosed;
                    }
                }
                ChannelMsg::ExitStatus { exit_status } => *lock(&self.exit_status) = Some(exit_status),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        Ended::Target
    }

    /// Sends a whole packet to the client. False: it is gone.
    async fn give(&self, packet: Bytes) -> bool {
        let _turn = self.turn.lock().await;
        self.to_client.fetch_add(packet.len() as u64, Ordering::Relaxed);
        self.client.give(packet).await
    }

    /// Sends a packet to the target in pieces, each of which has to be taken in time: a slow target takes long for a whole one.
    async fn pass(
        &self,
        read: &mut Inlet<'_>,
        mut packet: Bytes,
        to_target: &ChannelWriteHalf<client::Msg>,
    ) -> Passed {
        while !packet.is_empty() {
            let piece = packet.split_to(packet.len().min(PIECE_BYTES));
            let sent =
                tokio::time::timeout(self.session.shared.limits.upload_stall, to_target.data_bytes(piece));
            match read.meanwhile(sent).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Passed::Gone,
                Err(_) => return Passed::Stalled,
            }
        }
        Passed::Whole
    }

    /// Changes with the policy, and at the intervals at which sessions are evaluated again: time passes and facts change, too.
    fn epoch(&self) -> u64 {
        let shared = &self.session.shared;
        let every = shared.limits.reevaluate_every.as_millis().max(1);
        let ticks = self.started.elapsed().as_millis().checked_div(every).unwrap_or(0);
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX) & 0xff_ffff;
        shared.gatekeeper.version().wrapping_shl(24) | ticks
    }

    pub(crate) fn bytes_to_target(&self) -> u64 {
        self.to_target.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }

    pub(crate) fn exit_status(&self) -> Option<u32> {
        *lock(&self.exit_status)
    }

    pub(crate) fn finish(&self) -> Vec<Notice> {
        lock(&self.guard).finish()
    }

    /// What was not recorded one by one.
    pub(crate) fn summary(&self) -> String {
        let guard = lock(&self.guard);
        let (lookups, blocked) = (guard.lookups(), guard.lookups_blocked());
        format!("{lookups} look-ups of attributes and paths, {blocked} of them refused")
    }
}

enum Passed {
    Whole,
    Stalled,
    Gone,
}

/// What one message of the protocol carries.
const PIECE_BYTES: usize = 32 * 1024;

/// Refused look-ups do not count as rattling at doors: clients look around by themselves.
fn only_looked(notice: &Notice) -> bool {
    matches!(&notice.detail, Detail::FileBlocked(about) if about.access == FileAccess::Stat)
}
