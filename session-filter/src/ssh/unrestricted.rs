//! A raw terminal, recorded. Nothing that is done on it is checked.

mod observer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, client, server};
use tokio::sync::broadcast;
use unicode_width::UnicodeWidthStr as _;
use uuid::Uuid;

use self::observer::{Observer, Seen};
use super::asked::{EXIT_UNAVAILABLE, exec, unavailable};
use super::channel::{ClientChannel, FromClient, PtyRequest};
use super::command::open_channel;
use super::doors::granted_variables;
use super::doors::visitors::offer;
use super::lanes::{LinkFailure, Needs};
use super::link::Link;
use super::notice::{self, say_on};
use super::relay::{Reply, UpstreamEnd, reply, stop, upstream};
use super::session::{End, Session};
use super::terminal::Terminal;
use crate::event::{CommandObserved, Detail, Line, Outcome};
use crate::gate::Decision;
use crate::marks::{Marks, Part, bash_login};
use crate::policy::Mode;

/// What runs where a shell is asked for without a terminal: a login shell that reads commands from its input.
const PIPED_SHELL: &[u8] = b"exec \"$SHELL\" -l";

/// Permission for a shell that nothing checks. Made where the gatekeeper has just said that this session is unrestricted.
pub(crate) struct RawShell {
    start: Start,
}

pub(crate) enum Start {
    /// As the target starts it by itself.
    Shell,
    /// A command line that starts it.
    Line(String),
}

impl RawShell {
    pub(crate) fn into_start(self) -> Start {
        self.start
    }
}

pub(crate) async fn serve(session: &Arc<Session>, channel: &mut ClientChannel) {
    match channel.pty() {
        // One command, of which the record says how much went in and what came out.
        None => exec(session, channel, PIPED_SHELL).await,
        Some(pty) => match terminal(session, channel, &pty).await {
            Ok(Ended::Exited(status)) => channel.finish(status).await,
            Ok(Ended::Signalled(signal)) => channel.finish_by_signal(signal).await,
            Ok(Ended::ClientClosed) => {}
            Ok(Ended::Session) => {
                let patience = session.shared.limits.farewell;
                let _ = tokio::time::timeout(patience, channel.finish(EXIT_UNAVAILABLE)).await;
            }
            Err(message) => unavailable(session, channel, None, &message).await,
        },
    }
}

enum Ended {
    Exited(u32),
    Signalled(Sig),
    ClientClosed,
    /// The user was told.
    Session,
}

/// A shell on a terminal, from its start to its end. An error is a sentence for the user.
async fn terminal(
    session: &Arc<Session>,
    channel: &mut ClientChannel,
    pty: &PtyRequest,
) -> Result<Ended, String> {
    let timeout = session.shared.limits.target_timeout;
    let env = granted_variables(session, channel).await;
    let inward = channel.setup.lock().inward.clone();
    let client = &channel.handle;
    let opening = async {
        let (lane, mut target) = open_channel(session, Some(pty), &env, Needs::Nothing).await?;
        let lane = Arc::new(lane);
        let offer = offer(session, client, inward, &lane, &mut target).await;
        let shell = match lane.link() {
            Some(link) => login_shell(link, timeout).await,
            None => None,
        };
        Ok::<_, LinkFailure>((lane, target, offer, shell))
    };
    let opened = tokio::select! {
        opened = channel.read.meanwhile(opening) => opened,
        end = session.ended() => return Err(format!("session ended: {}", end.message())),
    };
    let (lane, target, _offer, shell) = match opened {
        Ok(opened) => opened,
        Err(LinkFailure::Recorder(_)) => {
            session.end(End::RecorderFailed);
            return Err(End::RecorderFailed.message());
        }
        Err(failure) => return Err(failure.to_string()),
    };
    let Some(link) = lane.link() else { return Err("the session is ending".to_owned()) };
    let Ok(terminal) = Terminal::start(session, pty).await else {
        let _ = target.close().await;
        session.end(End::RecorderFailed);
        return Err(End::RecorderFailed.message());
    };
    let number = Uuid::now_v7().simple().to_string();
    let is_bash = shell.as_deref().and_then(|shell| shell.rsplit('/').next()) == Some("bash");
    let start = if is_bash { Start::Line(bash_login(&number)) } else { Start::Shell };
    // The last look before the effect.
    let raw = match session.shared.admit(&session.request).await {
        Decision::Allow(admission) if admission.mode() == Mode::Unrestricted && !session.has_ended() => {
            RawShell { start }
        }
        _ => {
            let _ = target.close().await;
            terminal.finish().await;
            return Err("a raw terminal is not permitted any more".to_owned());
        }
    };
    if link.shell(&target, raw).await.is_err() {
        terminal.finish().await;
        return Err("the target closed the connection".to_owned());
    }
    let marks = is_bash.then(|| Marks::new(&number));
    let ended = relay(session, channel, target, &terminal, marks).await;
    terminal.finish().await;
    ended
}

/// The account's login shell, as far as the target says. Asked in a way that every shell understands.
async fn login_shell(link: &Link, timeout: Duration) -> Option<String> {
    let asked = async {
        let mut channel = link.channel().await.ok()?;
        channel.exec(true, SHELL_QUESTION).await.ok()?;
        let (mut answer, mut exited) = (Vec::new(), false);
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } if answer.len().saturating_add(data.len()) <= ANSWER_BYTES_MAX => {
                    answer.extend_from_slice(&data);
                }
                ChannelMsg::ExitStatus { exit_status: 0 } => exited = true,
                ChannelMsg::Data { .. } | ChannelMsg::Failure => break,
                _ => {}
            }
        }
        let _ = channel.close().await;
        let answer = String::from_utf8(answer).ok()?;
        // A forced command, a banner from a startup file: whatever is no path is no answer.
        let path = answer.strip_suffix('\n')?;
        let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        (exited && is_path).then(|| path.to_owned())
    };
    tokio::time::timeout(timeout, asked).await.ok().flatten()
}

const SHELL_QUESTION: &str = "printenv SHELL";
const ANSWER_BYTES_MAX: usize = 4096;

async fn relay(
    session: &Arc<Session>,
    channel: &mut ClientChannel,
    target: Channel<client::Msg>,
    terminal: &Arc<Terminal>,
    marks: Option<Marks>,
) -> Result<Ended, String> {
    let limits = &session.shared.limits;
    let (mut from_target, to_target) = target.split();
    let mut notices = session.notices();
    let observer = Mutex::new(Observer::new(marks.is_some()));
    let watched = Watched { session, terminal, observer };
    let mut shown = Downstream { watched: &watched, marks, exited: None };
    let relayed = async {
        let replied = tokio::time::timeout(limits.target_timeout, reply(&mut from_target));
        match channel.read.meanwhile(replied).await {
            Ok(Reply::Accepted) => {}
            Ok(Reply::Refused) => return Err("the target gives no shell".to_owned()),
            Ok(Reply::Gone) | Err(_) => return Err("the target did not answer".to_owned()),
        }
        channel.accept().await;
        let setup = &channel.setup;
        let took = |message: &FromClient| match message {
            FromClient::Data(data) => watched.typed(data),
            FromClient::WindowChange { cols, rows, .. } => {
                setup.resized(*cols, *rows);
                terminal.resize(*cols, *rows);
            }
            _ => {}
        };
        tokio::select! {
            ended = shown.relay(&mut from_target, &channel.write) => ended,
            end = upstream(&mut channel.read, &to_target, session, took) => match end {
                UpstreamEnd::ClientClosed => Ok(Ended::ClientClosed),
                UpstreamEnd::Stalled => Err("the terminal takes no more input".to_owned()),
            },
            never = watched.notify(&mut notices, &channel.write) => match never {},
        }
    };
    let ended = tokio::select! {
        ended = relayed => ended.map(Some),
        end = session.ended() => {
            let text = format!("session ended: {}", end.message());
            let said = tokio::time::timeout(limits.farewell, say_on(&channel.write, Some(terminal), &text));
            let _ = tokio::join!(stop(&mut from_target, &to_target, limits.farewell), said);
            Ok(None)
        }
    };
    if !matches!(ended, Ok(None | Some(Ended::Exited(_) | Ended::Signalled(_)))) {
        stop(&mut from_target, &to_target, limits.farewell).await;
    }
    watched.end().await;
    session.active();
    ended.map(|ended| ended.unwrap_or(Ended::Session))
}

/// Target to client.
struct Downstream<'a> {
    watched: &'a Watched<'a>,
    marks: Option<Marks>,
    exited: Option<Result<u32, Sig>>,
}

impl Downstream<'_> {
    async fn relay(
        &mut self,
        from_target: &mut ChannelReadHalf,
        client: &ChannelWriteHalf<server::Msg>,
    ) -> Result<Ended, String> {
        while let Some(message) = from_target.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    self.watched.session.active();
                    self.watched.session.sent_to_client(data.len());
                    let parts = match &mut self.marks {
                        Some(marks) => marks.feed(data),
                        None => vec![Part::Shown(data)],
                    };
                    for part in parts {
                        match part {
                            Part::Shown(bytes) => {
                                self.watched.show(bytes.clone()).await;
                                if client.data_bytes(bytes).await.is_err() {
                                    return std::future::pending().await;
                                }
                            }
                            Part::Prompt { exit_status } => self.watched.prompt(exit_status).await,
                            Part::Command { number, line } => self.watched.command(number, line).await,
                        }
                    }
                }
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    self.watched.show(data.clone()).await;
                    if client.extended_data_bytes(1, data).await.is_err() {
                        return std::future::pending().await;
                    }
                }
                ChannelMsg::ExitStatus { exit_status } => self.exited = Some(Ok(exit_status)),
                ChannelMsg::ExitSignal { signal_name, .. } => self.exited = Some(Err(signal_name)),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        if let Some(bytes) = self.marks.as_mut().and_then(Marks::finish) {
            self.watched.show(bytes.clone()).await;
            let _ = client.data_bytes(bytes).await;
        }
        match self.exited.take() {
            Some(Ok(status)) => Ok(Ended::Exited(status)),
            Some(Err(signal)) => Ok(Ended::Signalled(signal)),
            None => Err("the target closed without an exit status".to_owned()),
        }
    }
}

/// A terminal on which commands are told apart.
struct Watched<'a> {
    session: &'a Session,
    terminal: &'a Terminal,
    observer: Mutex<Observer>,
}

impl Watched<'_> {
    fn typed(&self, bytes: &[u8]) {
        self.terminal.typed(bytes.len());
        self.with(|observer| {
            observer.typed(bytes, || self.terminal.line_on_screen(|screen| screen.cursor_in_line()));
        });
    }

    async fn show(&self, mut bytes: Bytes) {
        if let Some(from) = self.with(|observer| observer.reads_from())
            && let Some(at) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'))
        {
            self.terminal.output(&bytes.split_to(at)).await;
            let line = self.terminal.line_on_screen(|screen| screen.cursor_line(from));
            let position = self.terminal.position();
            if let Some(seen) = self.with(|observer| observer.read(line, position)) {
                self.record(seen).await;
            }
        }
        self.terminal.output(&bytes).await;
    }

    /// Shows what the session has to say. A line that is being typed then goes on below it.
    async fn notify(
        &self,
        notices: &mut broadcast::Receiver<String>,
        client: &ChannelWriteHalf<server::Msg>,
    ) -> std::convert::Infallible {
        loop {
            let text = notice::next(notices).await;
            if let Some(from) = self.with(|observer| observer.typed_from()) {
                let begun = self.terminal.line_on_screen(|screen| {
                    let mut line = screen.cursor_line(from);
                    // Spaces that were typed at its end cannot be told from an empty screen, but the cursor stands behind them.
                    let spaces = screen.cursor_in_line().saturating_sub(from.saturating_add(line.width()));
                    line.extend(std::iter::repeat_n(' ', spaces));
                    line
                });
                self.with(|observer| observer.broken(begun.unwrap_or_default()));
            }
            say_on(client, Some(self.terminal), &text).await;
        }
    }

    async fn prompt(&self, exit_status: Option<u32>) {
        if let Some(seen) = self.with(|observer| observer.prompt(exit_status)) {
            self.record_ended(seen).await;
        }
    }

    async fn command(&self, number: Option<u64>, line: Vec<u8>) {
        let position = self.terminal.position();
        let (before, runs) = self.with(|observer| {
            let (before, runs) = observer.command(number, line, position);
            (before, runs.map(|seen| self.line(seen).shown().to_owned()))
        });
        if let Some(before) = before {
            self.record_ended(before).await;
        }
        if let Some(shown) = runs {
            self.session.running(&shown);
        }
    }

    async fn end(&self) {
        let (running, read) = self.with(Observer::end);
        if let Some(seen) = running {
            self.record_ended(seen).await;
        }
        if let Some(seen) = read {
            self.record(seen).await;
        }
    }

    async fn record_ended(&self, seen: Seen) {
        self.session.command_ended(self.line(&seen).shown());
        self.record(seen).await;
    }

    async fn record(&self, seen: Seen) {
        let line = self.line(&seen);
        let mut detail = CommandObserved::new(line, seen.observed_by, seen.position);
        detail.exit_status = seen.exit_status;
        let outcome = match seen.exit_status {
            Some(0) => Outcome::Success,
            Some(_) => Outcome::Failure,
            None => Outcome::Unknown,
        };
        let event = self.session.journal.event(outcome, Detail::CommandObserved(detail));
        self.terminal.note(event).await;
    }

    fn line(&self, seen: &Seen) -> Line {
        Line::new(&seen.line, |text| self.session.shared.gatekeeper.redact(text))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Observer) -> T) -> T {
        look(&mut self.observer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
