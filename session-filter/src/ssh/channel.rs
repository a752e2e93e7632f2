//! The client's end of a channel: what was asked for, what arrives, what is shown.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Pty, Sig, server};

use super::doors::visitors::Inward;
use super::limits::Limits;
use super::notice::say_on;
use super::terminal::Terminal;

/// The terminal a client has asked for and was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PtyRequest {
    pub(crate) term: String,
    pub(crate) cols: u32,
    pub(crate) rows: u32,
    pub(crate) px_width: u32,
    pub(crate) px_height: u32,
    pub(crate) modes: Vec<(Pty, u32)>,
}

/// Most columns and rows of a terminal; what is beyond is cut. A screen is kept for each.
pub(crate) const TERMINAL_SIDE_MAX: u32 = 1000;
/// Longest `TERM`, in bytes.
const TERM_BYTES_MAX: usize = 64;

impl PtyRequest {
    /// Sizes are brought into bounds: a client that does not know its size sends zeros. `None` for a `TERM` that no terminal has.
    pub(crate) fn new(
        term: &str,
        (cols, rows): (u32, u32),
        (px_width, px_height): (u32, u32),
        modes: &[(Pty, u32)],
    ) -> Option<Self> {
        let is_named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
        if term.len() > TERM_BYTES_MAX || !term.chars().all(is_named) {
            return None;
        }
        let (cols, rows) = terminal_size(cols, rows);
        Some(Self { term: term.to_owned(), cols, rows, px_width, px_height, modes: modes.to_vec() })
    }
}

/// Sizes in bounds; 80 by 24 for what is not known.
pub(crate) fn terminal_size(cols: u32, rows: u32) -> (u32, u32) {
    let within = |side: u32, unknown: u32| if side == 0 { unknown } else { side.min(TERMINAL_SIDE_MAX) };
    (within(cols, 80), within(rows, 24))
}

/// What was asked for on a channel, and granted, before anything was started on it.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub(crate) pty: Option<PtyRequest>,
    /// Environment variables that the policy lets through.
    pub(crate) env: Vec<(String, String)>,
    /// The client's agent and display, where the policy lets them through.
    pub(crate) inward: Inward,
}

/// The client's display, for a program on the target.
#[derive(Clone)]
pub(crate) struct X11Request {
    pub(crate) single_connection: bool,
    pub(crate) protocol: String,
    pub(crate) cookie: String,
    pub(crate) screen: u32,
}

/// The cookie is a secret.
impl std::fmt::Debug for X11Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("X11Request").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// Shared by the channel's task and by whoever answers requests on it.
#[derive(Clone, Default)]
pub(crate) struct SharedSetup(Arc<Mutex<Setup>>);

impl SharedSetup {
    /// Whether the channel's task is still there.
    pub(crate) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Setup> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The terminal has another size.
    pub(crate) fn resized(&self, cols: u32, rows: u32) {
        if let Some(pty) = &mut self.lock().pty {
            (pty.cols, pty.rows) = (cols, rows);
        }
    }
}

/// The client's end of a channel.
pub(crate) struct ClientChannel {
    pub(crate) read: ClientReader,
    pub(crate) write: ChannelWriteHalf<server::Msg>,
    pub(crate) handle: server::Handle,
    pub(crate) setup: SharedSetup,
    /// A request gets one answer, whoever gives it first.
    is_answered: AtomicBool,
}

/// What a channel is for.
pub(crate) enum Asked {
    Exec(Vec<u8>),
    Shell,
    Subsystem(String),
}

/// What a client sends on a channel that runs something.
#[derive(Debug)]
pub(crate) enum FromClient {
    Data(Bytes),
    Eof,
    WindowChange { cols: u32, rows: u32, px_width: u32, px_height: u32 },
    Signal(Sig),
}

impl ClientChannel {
    pub(crate) fn new(
        channel: Channel<server::Msg>,
        handle: server::Handle,
        setup: SharedSetup,
        limits: &Limits,
    ) -> Self {
        let (read, write) = channel.split();
        Self {
            read: ClientReader::new(read, limits),
            write,
            handle,
            setup,
            is_answered: AtomicBool::new(false),
        }
    }

    /// Waits for what the client asks for. `None`: the channel was closed first.
    pub(crate) async fn asked(&mut self) -> Option<Asked> {
        loop {
            match self.read.half.wait().await? {
                ChannelMsg::Exec { command, .. } => return Some(Asked::Exec(command)),
                ChannelMsg::RequestShell { .. } => return Some(Asked::Shell),
                ChannelMsg::RequestSubsystem { name, .. } => return Some(Asked::Subsystem(name)),
                ChannelMsg::Close => return None,
                // Other requests are answered and recorded where they arrive; data before a request has no receiver.
                _ => {}
            }
        }
    }

    pub(crate) fn pty(&self) -> Option<PtyRequest> {
        self.setup.lock().pty.clone()
    }

    pub(crate) async fn accept(&mut self) {
        if self.is_answered.swap(true, Ordering::SeqCst) {
            return;
        }
        // A client that is gone is noticed by the reading side.
        let _ = self.read.beside(self.handle.channel_success(self.write.id())).await;
    }

    pub(crate) async fn reject(&mut self) {
        if self.is_answered.swap(true, Ordering::SeqCst) {
            return;
        }
        let _ = self.read.beside(self.handle.channel_failure(self.write.id())).await;
    }

    /// Shows something on standard output. A client that is gone is noticed by the reading side.
    pub(crate) async fn show(&mut self, bytes: Bytes) {
        let _ = self.read.beside(self.write.data_bytes(bytes)).await;
    }

    /// Says something on standard error. A client that does not read gets no more of it than its window.
    pub(crate) async fn say(&mut self, text: &str) {
        self.say_beside(None, text).await;
    }

    /// As [`say`](Self::say), where what was asked for has a terminal.
    pub(crate) async fn say_beside(&mut self, terminal: Option<&Terminal>, text: &str) {
        let _ = self.read.beside(say_on(&self.write, terminal, text)).await;
    }

    pub(crate) async fn finish(&mut self, exit_status: u32) {
        let write = &self.write;
        let last = async {
            let _ = write.exit_status(exit_status).await;
            let _ = write.eof().await;
            let _ = write.close().await;
        };
        self.read.discard();
        self.read.beside(last).await;
    }

    /// Passes on that a signal ended the command.
    pub(crate) async fn finish_by_signal(&mut self, signal: Sig) {
        let (write, handle) = (&self.write, &self.handle);
        let last = async {
            let id = write.id();
            let _ = handle.exit_signal_request(id, signal, false, String::new(), String::new()).await;
            let _ = write.eof().await;
            let _ = write.close().await;
        };
        self.read.discard();
        self.read.beside(last).await;
    }
}

/// What the client sends, in order, with a look-ahead: what arrives while nobody wants it is kept, so that it does not hold up the
/// client's other channels.
pub(crate) struct ClientReader {
    half: ChannelReadHalf,
    waiting: VecDeque<FromClient>,
    /// Bytes in `waiting`.
    bytes: usize,
    /// How many of `waiting` were put back last.
    put_back: usize,
    /// The client has said that nothing more comes, whoever took that message.
    eof: bool,
    closed: bool,
    /// Nobody wants anything any more.
    discards: bool,
    bytes_max: usize,
    stall: Duration,
}

/// How long a client that has closed its channel is still written to: what it does not take then, it does not want.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl ClientReader {
    pub(crate) fn new(half: ChannelReadHalf, limits: &Limits) -> Self {
        Self {
            half,
            waiting: VecDeque::new(),
            bytes: 0,
            put_back: 0,
            eof: false,
            closed: false,
            discards: false,
            bytes_max: limits.pending_bytes_max,
            stall: limits.upload_stall,
        }
    }

    /// Waits for `writing`, which goes to the client, and keeps what arrives meanwhile.
    ///
    /// INVARIANT: nobody writes to a client without reading from it. What goes either way passes through one task of the protocol library
    /// for the whole connection, which waits for a channel that is not read: whoever only wrote could be waiting for themselves.
    /// A client that sends more than may wait and takes nothing is given up, as if it had closed the channel.
    pub(crate) async fn beside<T>(&mut self, writing: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(writing);
        tokio::select! {
            biased;
            written = &mut writing => return Some(written),
            () = self.fill() => {}
        }
        let patience = if self.closed { LAST_WORDS.min(self.stall) } else { self.stall };
        let written = tokio::time::timeout(patience, writing).await.ok();
        if written.is_none() {
            self.closed = true;
            self.discard();
        }
        written
    }

    /// Nobody wants what is there or comes.
    fn discard(&mut self) {
        self.discards = true;
        self.waiting.clear();
        self.bytes = 0;
    }

    /// Keeps what arrives until the client closes the channel or no more may wait.
    async fn fill(&mut self) {
        while !self.closed && self.bytes < self.bytes_max {
            self.fetch().await;
        }
    }

    /// The next thing the client sent; `None` once it has closed the channel and everything before was taken. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Option<FromClient> {
        self.put_back = 0;
        loop {
            if let Some(first) = self.waiting.pop_front() {
                self.bytes = self.bytes.saturating_sub(size(&first));
                return Some(first);
            }
            if self.closed {
                return None;
            }
            self.fetch().await;
        }
    }

    /// Keeps what arrives, as much as may wait, until the client closes the channel. Cancellation safe.
    pub(crate) async fn look_ahead(&mut self) {
        while !self.closed {
            if self.bytes >= self.bytes_max {
                return std::future::pending().await;
            }
            self.fetch().await;
        }
    }

    /// Waits for `coming`, and keeps what arrives meanwhile, so that the client's other channels do not wait.
    pub(crate) async fn meanwhile<T>(&mut self, coming: impl Future<Output = T>) -> T {
        tokio::pin!(coming);
        tokio::select! {
            biased;
            came = &mut coming => came,
            () = self.look_ahead() => coming.await,
        }
    }

    /// Takes everything that has arrived by now.
    pub(crate) fn take_arrived(&mut self) -> VecDeque<FromClient> {
        // However much that is: the runtime would make a task that takes a lot wait for its turn, as if nothing had arrived.
        while !self.closed && tokio::task::unconstrained(self.fetch()).now_or_never().is_some() {}
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Puts back what nobody took, before whatever comes next.
    pub(crate) fn put_back(&mut self, mut earlier: VecDeque<FromClient>) {
        self.put_back = earlier.len();
        earlier.append(&mut self.waiting);
        self.bytes = earlier.iter().map(size).sum();
        self.waiting = earlier;
    }

    /// Drops what was typed of that which was put back last, if nothing was taken since. Says whether there was any.
    pub(crate) fn drop_put_back(&mut self) -> bool {
        let (count, before) = (std::mem::take(&mut self.put_back), self.waiting.len());
        let mut at = 0_usize;
        self.waiting.retain(|message| {
            at = at.saturating_add(1);
            at > count || !matches!(message, FromClient::Data(_))
        });
        self.bytes = self.waiting.iter().map(size).sum();
        self.waiting.len() < before
    }

    /// Whether everything the client has to say was taken.
    pub(crate) fn has_ended(&self) -> bool {
        self.eof && self.waiting.is_empty()
    }

    async fn fetch(&mut self) {
        let next = match self.half.wait().await {
            None | Some(ChannelMsg::Close) => {
                self.closed = true;
                return;
            }
            Some(ChannelMsg::Data { data }) => FromClient::Data(data),
            Some(ChannelMsg::Eof) => {
                self.eof = true;
                FromClient::Eof
            }
            Some(ChannelMsg::Signal { signal }) => FromClient::Signal(signal),
            Some(ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height }) => {
                let (cols, rows) = terminal_size(col_width, row_height);
                FromClient::WindowChange { cols, rows, px_width: pix_width, px_height: pix_height }
            }
            Some(_) => return,
        };
        if !self.discards {
            self.bytes = self.bytes.saturating_add(size(&next));
            self.waiting.push_back(next);
        }
    }
}

/// What a message costs while it waits; one without data is not free either.
pub(crate) fn size(message: &FromClient) -> usize {
    match message {
        FromClient::Data(data) => data.len().saturating_add(64),
        _ => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_a_name_and_a_size_within_bounds() {
        let pty = |term: &str, size| PtyRequest::new(term, size, (0, 0), &[]);
        let sized = |size| pty("xterm-256color", size).map(|pty| (pty.cols, pty.rows));
        assert_eq!(sized((132, 50)), Some((132, 50)));
        assert_eq!(sized((0, 0)), Some((80, 24)));
        assert_eq!(sized((u32::MAX, 1)), Some((TERMINAL_SIDE_MAX, 1)));
        for bad in ["x\u{1b}[2J", "a b", "$(id)", "../x", &"x".repeat(TERM_BYTES_MAX + 1)] {
            assert_eq!(pty(bad, (80, 24)), None, "{bad:?}");
        }
    }
}
