//! Bytes between a client's channel and a command on the target, and what is kept of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, client, server};
use tokio::sync::{Semaphore, broadcast};

use super::session::Session;
use super::text::printable;
use crate::digest::StreamDigest;
use crate::event::{CommandOutput, Detail, Outcome, Piece, Stream};

/// Says something on standard error.
pub(crate) async fn say_on(write: &ChannelWriteHalf<server::Msg>, text: &str) {
    let line = format!("proxy: {}\r\n", printable(text));
    let _ = write.extended_data_bytes(1, Bytes::from(line)).await;
}

pub(crate) enum Reply {
    Accepted,
    Refused,
    Gone,
}

/// Waits for the target's answer to the exec request.
pub(crate) async fn reply(from_target: &mut ChannelReadHalf) -> Reply {
    loop {
        match from_target.wait().await {
            Some(ChannelMsg::Success) => return Reply::Accepted,
            Some(ChannelMsg::Failure) => return Reply::Refused,
            None | Some(ChannelMsg::Close) => return Reply::Gone,
            // Output before the answer breaks the protocol; it cannot be told whose it is, so it goes nowhere.
            Some(_) => {}
        }
    }
}

pub(crate) struct ClientWriter<'a> {
    pub(crate) write: &'a ChannelWriteHalf<server::Msg>,
    pub(crate) handle: &'a server::Handle,
}

/// Target to client, until the target closes its channel.
pub(crate) async fn downstream(
    from_target: &mut ChannelReadHalf,
    client: &ClientWriter<'_>,
    output: &mut Output<'_>,
) {
    while let Some(message) = from_target.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                output.took(Stream::Stdout, &data).await;
                if client.write.data_bytes(data).await.is_err() {
                    return std::future::pending().await;
                }
            }
            ChannelMsg::ExtendedData { data, ext: 1 } => {
                output.took(Stream::Stderr, &data).await;
                if client.write.extended_data_bytes(1, data).await.is_err() {
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

/// Client to target, until the client closes its channel.
pub(crate) async fn upstream(
    from_client: &mut ChannelReadHalf,
    to_target: &ChannelWriteHalf<client::Msg>,
    session: &Session,
    stdin_bytes: &AtomicU64,
) {
    while let Some(message) = from_client.wait().await {
        let sent = match message {
            ChannelMsg::Data { data } => {
                session.active();
                stdin_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                to_target.data_bytes(data).await
            }
            ChannelMsg::Eof => to_target.eof().await,
            ChannelMsg::Signal { signal } => to_target.signal(signal).await,
            ChannelMsg::Close => return,
            _ => Ok(()),
        };
        if sent.is_err() {
            // The target is gone; the downstream side notices and says how.
            return std::future::pending().await;
        }
    }
}

/// Shows warnings on standard error while a command runs.
pub(crate) async fn notify(
    notices: &mut broadcast::Receiver<String>,
    client: &ClientWriter<'_>,
) -> std::convert::Infallible {
    loop {
        match notices.recv().await {
            Ok(text) => {
                say_on(client.write, &text).await;
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
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
    full: bool,
    pub(crate) stdout: StreamDigest,
    pub(crate) stderr: StreamDigest,
    pub(crate) exit_status: Option<u32>,
    pub(crate) exit_signal: Option<Sig>,
    /// One permit per piece that may be ahead of the disk.
    ahead: Arc<Semaphore>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(session: &'a Session, correlation_id: &'a str, full: bool) -> Self {
        Self {
            session,
            correlation_id,
            full,
            stdout: StreamDigest::new(),
            stderr: StreamDigest::new(),
            exit_status: None,
            exit_signal: None,
            ahead: Arc::new(Semaphore::new(session.shared.limits.output_ahead_max)),
        }
    }

    /// Keeps a piece of output. With full recording it waits while too much is ahead of the disk.
    async fn took(&mut self, stream: Stream, data: &[u8]) {
        self.session.active();
        let digest = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let mut offset = digest.bytes();
        digest.update(data);
        if !self.full {
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
