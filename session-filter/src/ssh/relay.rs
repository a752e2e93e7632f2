//! Bytes between a client's channel and a command on the target, and what is kept of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::future::BoxFuture;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, client, server};
use tokio::sync::Semaphore;

use super::channel::{ClientReader, FromClient, size};
use super::session::{Session, lock};
use super::terminal::Terminal;
use super::text::printable;
use crate::digest::StreamDigest;
use crate::event::{CommandOutput, Detail, Outcome, Piece, Stream, StreamRecord};
use crate::shell::TerminalModes;
use crate::verdict::OutputRecord;

pub(crate) enum Reply {
    Accepted,
    Refused,
    Gone,
}

/// Waits for the target's answer to a request on a whole channel.
pub(crate) async fn answer(target: &mut Channel<client::Msg>) -> Reply {
    loop {
        if let Some(reply) = as_reply(target.wait().await) {
            return reply;
        }
    }
}

/// Waits for the target's answer to a request.
pub(crate) async fn reply(from_target: &mut ChannelReadHalf) -> Reply {
    loop {
        if let Some(reply) = as_reply(from_target.wait().await) {
            return reply;
        }
    }
}

fn as_reply(message: Option<ChannelMsg>) -> Option<Reply> {
    match message {
        Some(ChannelMsg::Success) => Some(Reply::Accepted),
        Some(ChannelMsg::Failure) => Some(Reply::Refused),
        None | Some(ChannelMsg::Close) => Some(Reply::Gone),
        // Output before the answer breaks the protocol; it cannot be told whose it is, so it goes nowhere.
        Some(_) => None,
    }
}

/// Target to client, until the target closes its channel.
pub(crate) async fn downstream(
    from_target: &mut ChannelReadHalf,
    client: &ChannelWriteHalf<server::Msg>,
    output: &mut Output<'_>,
) {
    while let Some(message) = from_target.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                output.took(Stream::Stdout, &data).await;
                if client.data_bytes(data).await.is_err() {
                    return std::future::pending().await;
                }
            }
            ChannelMsg::ExtendedData { data, ext: 1 } => {
                output.took(Stream::Stderr, &data).await;
                if client.extended_data_bytes(1, data).await.is_err() {
                    return std::future::pending().await;
                }
            }
            ChannelMsg::ExitStatus { exit_status } => output.exit_status = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => output.exit_signal = Some(signal_name),
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

/// Why the way from client to target ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamEnd {
    ClientClosed,
    /// The target takes nothing any more, and what the client goes on sending has nowhere to go.
    Stalled,
}

/// Client to target, until the client closes its channel.
///
/// What the target does not take yet waits here, up to [`Limits::pending_bytes_max`](super::Limits::pending_bytes_max), so that one
/// channel's stalled upload leaves the others alone. Beyond that the client's whole connection waits, since the protocol library
/// reads it in order; and when nothing moves for [`Limits::upload_stall`](super::Limits::upload_stall), this channel is given up.
pub(crate) async fn upstream(
    from_client: &mut ClientReader,
    to_target: &ChannelWriteHalf<client::Msg>,
    session: &Session,
    took: impl Fn(&FromClient),
) -> UpstreamEnd {
    let limits = &session.shared.limits;
    let mut sending: Option<(usize, BoxFuture<'_, Result<(), russh::Error>>)> = None;
    let mut queue: VecDeque<FromClient> = VecDeque::new();
    let mut pending = 0_usize;
    let mut moved = Instant::now();
    let mut target_gone = false;
    loop {
        if sending.is_none()
            && let Some(message) = queue.pop_front()
        {
            sending = Some((size(&message), Box::pin(pass(message, to_target))));
        }
        let full = pending >= limits.pending_bytes_max;
        tokio::select! {
            (bytes, sent) = async {
                match &mut sending {
                    Some((bytes, passing)) => (*bytes, passing.await),
                    None => std::future::pending().await,
                }
            } => {
                sending = None;
                pending = pending.saturating_sub(bytes);
                moved = Instant::now();
                if sent.is_err() {
                    // The downstream side notices, too, and says how it ended.
                    target_gone = true;
                    queue.clear();
                    pending = 0;
                }
            }
            message = from_client.next(), if !full => match message {
                None => return UpstreamEnd::ClientClosed,
                Some(message) => {
                    session.active();
                    took(&message);
                    if !target_gone {
                        if pending == 0 {
                            moved = Instant::now();
                        }
                        pending = pending.saturating_add(size(&message));
                        queue.push_back(message);
                    }
                }
            },
            () = tokio::time::sleep_until((moved + limits.upload_stall).into()), if full => {
                return UpstreamEnd::Stalled;
            }
        }
    }
}

async fn pass(message: FromClient, to_target: &ChannelWriteHalf<client::Msg>) -> Result<(), russh::Error> {
    match message {
        FromClient::Data(data) => to_target.data_bytes(data).await,
        FromClient::Eof => to_target.eof().await,
        FromClient::Signal(signal) => to_target.signal(signal).await,
        FromClient::WindowChange { cols, rows, px_width, px_height } => {
            to_target.window_change(cols, rows, px_width, px_height).await
        }
    }
}

/// Tells a command on the target to stop, and sees that it does. Without a terminal nothing else would: closing a channel
/// alone leaves the process running until it next writes.
///
/// Asked for more than once: sshd signals the process group of the command, which does not exist in the first moments after
/// the command was accepted, and a signal sent then is lost.
pub(crate) async fn stop(
    from_target: &mut ChannelReadHalf,
    to_target: &ChannelWriteHalf<client::Msg>,
    patience: std::time::Duration,
) -> Stopped {
    let asked = async {
        let _ = to_target.signal(Sig::TERM).await;
        let _ = to_target.eof().await;
        loop {
            tokio::time::sleep(STOP_EVERY).await;
            let _ = to_target.signal(Sig::KILL).await;
        }
    };
    let stopped = async {
        while let Some(message) = from_target.wait().await {
            match message {
                ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. } | ChannelMsg::Failure => {
                    return Stopped::Confirmed;
                }
                _ => {}
            }
        }
        Stopped::Unconfirmed
    };
    let patient = tokio::time::timeout(patience, async {
        tokio::select! {
            () = asked => Stopped::Unconfirmed,
            stopped = stopped => stopped,
        }
    });
    let stopped = patient.await.unwrap_or(Stopped::Unconfirmed);
    let _ = tokio::time::timeout(STOP_EVERY, to_target.close()).await;
    stopped
}

/// Whether the target said that a command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    Confirmed,
    Unconfirmed,
}

/// How long a command has to follow the polite signal, and how often it then gets the other one.
pub(crate) const STOP_EVERY: std::time::Duration = std::time::Duration::from_millis(40);

/// What a command wrote, as it is kept.
pub(crate) struct Output<'a> {
    session: &'a Session,
    correlation_id: &'a str,
    record: OutputRecord,
    terminal: Option<&'a Terminal>,
    modes: Option<&'a Mutex<TerminalModes>>,
    stdout: StreamDigest,
    stderr: StreamDigest,
    /// Sizes, where nothing else is kept.
    counted: (u64, u64),
    pub(crate) exit_status: Option<u32>,
    pub(crate) exit_signal: Option<Sig>,
    /// One permit per piece that may be ahead of the disk.
    ahead: Arc<Semaphore>,
}

impl<'a> Output<'a> {
    /// With a terminal, the terminal's recording is what is kept.
    pub(crate) fn new(
        session: &'a Session,
        correlation_id: &'a str,
        record: OutputRecord,
        terminal: Option<&'a Terminal>,
        modes: Option<&'a Mutex<TerminalModes>>,
    ) -> Self {
        Self {
            session,
            correlation_id,
            record,
            terminal,
            modes,
            stdout: StreamDigest::new(),
            stderr: StreamDigest::new(),
            counted: (0, 0),
            exit_status: None,
            exit_signal: None,
            ahead: Arc::new(Semaphore::new(session.shared.limits.output_ahead_max)),
        }
    }

    /// What is on record of standard output and standard error.
    pub(crate) fn finish(&mut self) -> (Option<StreamRecord>, Option<StreamRecord>) {
        if self.record == OutputRecord::Off || self.terminal.is_some() {
            return (StreamRecord::counted(self.counted.0), StreamRecord::counted(self.counted.1));
        }
        let record = |digest: &mut StreamDigest| StreamRecord::new(&std::mem::take(digest).finish());
        (record(&mut self.stdout), record(&mut self.stderr))
    }

    /// Keeps a piece of output. With full recording it waits while too much is ahead of the disk.
    async fn took(&mut self, stream: Stream, data: &[u8]) {
        self.session.active();
        self.session.sent_to_client(data.len());
        let count = match stream {
            Stream::Stdout => &mut self.counted.0,
            Stream::Stderr => &mut self.counted.1,
        };
        let mut offset = *count;
        *count = count.saturating_add(data.len() as u64);
        if let Some(modes) = self.modes {
            lock(modes).shown(data);
        }
        if let Some(terminal) = self.terminal {
            return terminal.output(data).await;
        }
        if self.session.stage.is_watched() {
            self.session.stage.printed(data);
        }
        if self.record == OutputRecord::Off {
            return;
        }
        match stream {
            Stream::Stdout => self.stdout.update(data),
            Stream::Stderr => self.stderr.update(data),
        }
        if self.record != OutputRecord::Full {
            return;
        }
        for piece in data.chunks(OUTPUT_PIECE_BYTES_MAX) {
            let Ok(permit) = Arc::clone(&self.ahead).acquire_owned().await else { return };
            let detail = CommandOutput { stream, offset, piece: Piece::new(piece) };
            let event = self
                .session
                .journal
                .event(Outcome::Success, Detail::CommandOutput(detail))
                .correlated(self.correlation_id);
            offset = offset.saturating_add(piece.len() as u64);
            self.session.journal.submit_holding(event, permit).await;
        }
    }
}

/// Longest piece of output in one event. Base64 of it fits any log with entries of 64 KiB.
pub(crate) const OUTPUT_PIECE_BYTES_MAX: usize = 16 * 1024;

pub(crate) fn signal_name(signal: &Sig) -> String {
    match signal {
        Sig::ABRT => "ABRT".into(),
        Sig::ALRM => "ALRM".into(),
        Sig::FPE => "FPE".into(),
        Sig::HUP => "HUP".into(),
        Sig::ILL => "ILL".into(),
        Sig::INT => "INT".into(),
        Sig::KILL => "KILL".into(),
        Sig::PIPE => "PIPE".into(),
        Sig::QUIT => "QUIT".into(),
        Sig::SEGV => "SEGV".into(),
        Sig::TERM => "TERM".into(),
        Sig::USR1 => "USR1".into(),
        Sig::Custom(name) => printable(crate::event::cut_at_char(name, 32)).into_owned(),
    }
}
