//! Bytes to and from the client.

use bytes::{Buf as _, Bytes, BytesMut};

use super::Stop;
use crate::scp::CONTROL_LINE_BYTES_MAX;
use crate::ssh::channel::{ClientChannel, FromClient};
use crate::ssh::session::Session;
use crate::ssh::text::printable;

pub(super) struct Wire<'a> {
    session: &'a Session,
    channel: &'a mut ClientChannel,
    waiting: BytesMut,
    pub(super) warnings: u32,
}

/// What an end says about what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    Good,
    /// It does not want this one, or could not use it.
    Bad,
}

impl<'a> Wire<'a> {
    pub(super) fn new(session: &'a Session, channel: &'a mut ClientChannel) -> Self {
        Self { session, channel, waiting: BytesMut::new(), warnings: 0 }
    }

    /// Waits until something is there. False: nothing comes any more.
    async fn fill(&mut self) -> bool {
        while self.waiting.is_empty() {
            match self.channel.read.next().await {
                None | Some(FromClient::Eof) => return false,
                Some(FromClient::Data(data)) => {
                    self.session.active();
                    self.waiting.extend_from_slice(&data);
                }
                Some(FromClient::WindowChange { .. } | FromClient::Signal(_)) => {}
            }
        }
        true
    }

    /// At most so many bytes, as they come.
    pub(super) async fn some(&mut self, bytes_max: usize) -> Result<Bytes, Stop> {
        if !self.fill().await {
            return Err(Stop::Gone);
        }
        let length = self.waiting.len().min(bytes_max);
        Ok(self.waiting.split_to(length).freeze())
    }

    /// A line without its newline. `None`: the client is done.
    pub(super) async fn line(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        let mut line = Vec::new();
        loop {
            if !self.fill().await {
                return if line.is_empty() { Ok(None) } else { Err(Stop::Gone) };
            }
            let end = self.waiting.iter().position(|byte| *byte == b'\n');
            let piece = self.waiting.split_to(end.unwrap_or(self.waiting.len()));
            line.extend_from_slice(&piece);
            if line.len() > CONTROL_LINE_BYTES_MAX {
                return Err(Stop::Protocol);
            }
            if end.is_some() {
                self.waiting.advance(1);
                return Ok(Some(line));
            }
        }
    }

    /// The other end's word about what it was sent.
    pub(super) async fn ack(&mut self) -> Result<Ack, Stop> {
        match self.some(1).await?.first() {
            Some(0) => Ok(Ack::Good),
            Some(1) => {
                self.line().await?;
                self.warnings = self.warnings.saturating_add(1);
                Ok(Ack::Bad)
            }
            _ => Err(Stop::Protocol),
        }
    }

    pub(super) async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Stop> {
        self.session.active();
        let sent = self.channel.write.data_bytes(bytes.into());
        self.channel.read.beside(sent).await.ok_or(Stop::Gone)?.map_err(|_| Stop::Gone)
    }

    pub(super) async fn good(&mut self) -> Result<(), Stop> {
        self.send(Bytes::from_static(&[0])).await
    }

    /// Says what went wrong with one file; the others go on.
    pub(super) async fn warn(&mut self, path: &str, why: &str) -> Result<(), Stop> {
        self.warnings = self.warnings.saturating_add(1);
        self.send(format!("\u{1}scp: {}: {}\n", printable(path), printable(why))).await
    }

    /// Says that nothing more can be done.
    pub(super) async fn give_up(&mut self, why: &str) -> Stop {
        match self.send(format!("\u{2}scp: {}\n", printable(why))).await {
            Ok(()) => Stop::Protocol,
            Err(stop) => stop,
        }
    }
}
