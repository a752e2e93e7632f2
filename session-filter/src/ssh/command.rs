//! The one way in which a line runs: checked, recorded, sent and relayed to its end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use russh::{Channel, ChannelWriteHalf, Sig, client};
use uuid::Uuid;

use super::anomalies::programs;
use super::channel::{ClientChannel, FromClient, PtyRequest};
use super::doors::granted_variables;
use super::doors::visitors::{Offer, offer};
use super::lanes::{Lane, LinkFailure, Needs};
use super::link::LinkError;
use super::notice::{notify, say_on};
use super::relay::{
    Output, Reply, Stopped, UpstreamEnd, answer, downstream, reply, signal_name, stop, upstream,
};
use super::session::{End, Session};
use super::terminal::Terminal;
use super::text::printable;
use crate::directory::Directory;
use crate::event::{CommandBlocked, CommandExecuted, Detail, Line, Outcome, RecordingPosition};
use crate::record::Recorded;
use crate::shell::TerminalModes;
use crate::verdict::{Denial, Permit, Verdict};

/// How often one line is checked again because the policy changed between the check and the moment of sending.
const RECHECKS_MAX: usize = 3;

/// In what a command runs.
pub(crate) struct Surroundings<'a> {
    /// Where on the target.
    pub(crate) directory: &'a Directory,
    /// The terminal that the command is given, as the client asked for it.
    pub(crate) pty: Option<&'a PtyRequest>,
    /// That terminal's recording.
    pub(crate) terminal: Option<&'a Terminal>,
    /// What the command does to that terminal, for whoever has to put it right afterwards.
    pub(crate) modes: Option<&'a Mutex<TerminalModes>>,
    pub(crate) typed_ahead: TypedAhead,
}

impl Surroundings<'_> {
    /// Where the terminal's recording is, with everything up to here given to the journal.
    async fn mark(&self) -> Option<RecordingPosition> {
        match self.terminal {
            Some(terminal) => Some(terminal.mark().await),
            None => None,
        }
    }
}

/// Whose are the bytes that arrive before the target has begun to run the command?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypedAhead {
    /// The command's, as its standard input.
    IsInput,
    /// Those of the prompt that accepted the line: they stay in the channel's reader and are checked like any other line.
    StaysAtPrompt,
    /// Those of whoever reads the lines, and so is all that arrives while the command runs: it has no input.
    IsForLater,
}

/// How a line ended, for whoever has to say so to the user.
#[derive(Debug)]
pub(crate) enum CommandEnd {
    Exited(u32),
    Signalled(Sig),
    Blocked(Denial),
    /// It could not be brought to the target, or how it ended is not known; the sentence says which.
    Unavailable(String),
    ClientClosed,
    /// The session is over, and whether the user was told.
    SessionEnded {
        said: bool,
    },
}

/// Checks a line, records it, sends it and relays it to its end: the one way in which a line runs.
///
/// Says nothing to the user but what the command prints and what must be said while it runs. The client's request is accepted when the
/// target accepts the command.
pub(crate) async fn execute(
    session: &Arc<Session>,
    channel: &mut ClientChannel,
    line: &[u8],
    around: &Surroundings<'_>,
) -> CommandEnd {
    let correlation_id = Uuid::now_v7().to_string();
    for _ in 0..=RECHECKS_MAX {
        if session.has_ended() {
            return CommandEnd::SessionEnded { said: false };
        }
        let version = session.shared.gatekeeper.version();
        let permit = match session.shared.check(&session.request, line, around.directory).await {
            Verdict::Allow(permit) => permit,
            Verdict::Deny(denial) => return blocked(session, line, &correlation_id, denial, around).await,
        };
        let programs = programs(session, &permit);
        let prepared = tokio::select! {
            biased;
            end = session.ended() => Err(Unprepared::Ended(end)),
            prepared = prepare(session, channel, &correlation_id, permit, around) => prepared,
        };
        match prepared {
            Err(Unprepared::Ended(end)) => {
                not_sent(session, &correlation_id, end.code(), "not sent: the session ended").await;
                return CommandEnd::SessionEnded { said: false };
            }
            Err(Unprepared::Recorder) => {
                session.end(End::RecorderFailed);
                return CommandEnd::SessionEnded { said: false };
            }
            Err(Unprepared::Target { code, message }) => {
                let event = session
                    .journal
                    .event(Outcome::Failure, Detail::CommandExecuted(CommandExecuted::default()))
                    .correlated(&correlation_id)
                    .because(code, &message);
                session.journal.submit(event).await;
                return CommandEnd::Unavailable(message);
            }
            Ok(ready) => {
                session.observe_commands(&programs).await;
                // While the record was written the policy may have changed: then what was checked no longer counts.
                if session.shared.gatekeeper.version() == version {
                    return run(session, channel, ready, &correlation_id, around).await;
                }
                // The library leaves a channel open that is merely dropped.
                let _ = ready.target.close().await;
                let why = "not sent: the policy changed after the check";
                not_sent(session, &correlation_id, "policy_changed", why).await;
            }
        }
    }
    CommandEnd::Unavailable("the policy keeps changing; try again".to_owned())
}

/// Says of a command that is on record as started that it never was.
async fn not_sent(session: &Session, correlation_id: &str, code: &str, message: &str) {
    let event = session
        .journal
        .event(Outcome::Blocked, Detail::CommandExecuted(CommandExecuted::default()))
        .correlated(correlation_id)
        .because(code, message);
    session.journal.submit(event).await;
}

async fn blocked(
    session: &Session,
    line: &[u8],
    correlation_id: &str,
    denial: Denial,
    around: &Surroundings<'_>,
) -> CommandEnd {
    session.command_blocked();
    let recorded = Line::new(line, |text| session.shared.gatekeeper.redact(text));
    let sentence = session.shared.gatekeeper.redact(&denial.to_string());
    // The sentence quotes the line, cut and escaped, so an expression may miss there what it finds in the line itself.
    let message = match recorded.redacted || sentence.changed {
        true => format!("redacted; {}", denial.code()),
        false => sentence.text,
    };
    let detail = CommandBlocked {
        line: recorded,
        position: denial.position().map(|at| at as u64),
        recorded_at: around.mark().await,
    };
    let event = session
        .journal
        .event(Outcome::Blocked, Detail::CommandBlocked(detail))
        .correlated(correlation_id)
        .because(denial.code(), message);
    // Durable before the user knows, so that nobody probes the policy off the record.
    if session.journal.record(event).await.is_err() {
        session.end(End::RecorderFailed);
        return CommandEnd::SessionEnded { said: false };
    }
    CommandEnd::Blocked(denial)
}

/// A recorded command and an open channel to send it on.
struct Ready {
    command: Recorded<Permit>,
    lane: Arc<Lane>,
    target: Channel<client::Msg>,
    /// The client's agent and display, for as long as the command runs.
    offer: Option<Offer>,
}

enum Unprepared {
    Ended(End),
    Recorder,
    Target { code: &'static str, message: String },
}

impl From<LinkFailure> for Unprepared {
    fn from(failure: LinkFailure) -> Self {
        match failure {
            LinkFailure::Recorder(_) => Self::Recorder,
            failure => Self::Target { code: failure.code(), message: failure.to_string() },
        }
    }
}

/// Writes the record and opens the channel at the same time: opening has no effect yet, and each takes a round trip of its
/// own (to the disk, to the target).
async fn prepare(
    session: &Arc<Session>,
    channel: &mut ClientChannel,
    correlation_id: &str,
    permit: Permit,
    around: &Surroundings<'_>,
) -> Result<Ready, Unprepared> {
    // A session in which everything is permitted relies on no quoting; everywhere else the bytes to send are quoted words.
    let needs = match permit.argv() {
        [] => Needs::Nothing,
        _ => Needs::Quoting,
    };
    let env = granted_variables(session, channel).await;
    let inward = channel.setup.lock().inward.clone();
    let client = &channel.handle;
    let open = async {
        let (lane, mut target) = open_channel(session, around.pty, &env, needs).await?;
        let lane = Arc::new(lane);
        let offer = offer(session, client, inward, &lane, &mut target).await;
        Ok::<_, LinkFailure>((lane, target, offer))
    };
    let redact = |text: &str| session.shared.gatekeeper.redact(text);
    let record = async { session.journal.command(correlation_id, permit, around.mark().await, redact).await };
    let (command, opened) = channel.read.meanwhile(async { tokio::join!(record, open) }).await;
    let command = command.map_err(|_| Unprepared::Recorder)?;
    let (lane, target, offer) = opened?;
    Ok(Ready { command, lane, target, offer })
}

/// A channel on a connection to the target that nobody else uses, with the terminal and variables that were asked for.
pub(crate) async fn open_channel(
    session: &Arc<Session>,
    pty: Option<&PtyRequest>,
    env: &[(String, String)],
    needs: Needs,
) -> Result<(Lane, Channel<client::Msg>), LinkFailure> {
    let lane = Lane::open(session, needs).await?;
    let Some(link) = lane.link() else { return Err(LinkFailure::Closing) };
    let timeout = session.shared.limits.target_timeout;
    // A channel that is given up halfway stays open on its connection, and targets allow few: the connection goes with it.
    lane.retire();
    let opened = async {
        let mut target = link.channel().await.map_err(LinkError::Channel)?;
        for (name, value) in env {
            // A target that does not take it runs the command without, as it would for any client.
            let _ = target.set_env(false, name.as_str(), value.as_str()).await;
        }
        if let Some(pty) = pty {
            let PtyRequest { term, cols, rows, px_width, px_height, modes } = pty;
            target
                .request_pty(true, term, *cols, *rows, *px_width, *px_height, modes)
                .await
                .map_err(LinkError::Channel)?;
            match answer(&mut target).await {
                Reply::Accepted => {}
                Reply::Refused | Reply::Gone => return Err(LinkError::NoTerminal),
            }
        }
        Ok(target)
    };
    let target = tokio::time::timeout(timeout, opened).await.unwrap_or(Err(LinkError::Timeout(timeout)));
    let target = target.map_err(LinkFailure::Link)?;
    lane.reuse();
    Ok((lane, target))
}

/// How a command ended.
enum Ended {
    /// The target closed the channel, with or without a status.
    Target,
    ClientClosed,
    Stalled,
    Session(End),
    Refused,
    NoAnswer,
}

async fn run(
    session: &Arc<Session>,
    channel: &mut ClientChannel,
    ready: Ready,
    correlation_id: &str,
    around: &Surroundings<'_>,
) -> CommandEnd {
    let shown = ready.command.shown().to_owned();
    let started = Instant::now();
    let Ready { command, lane, target, offer: _offer } = ready;
    let Some(link) = lane.link() else { return CommandEnd::SessionEnded { said: false } };
    let mut output = Output::new(session, correlation_id, command.record(), around.terminal, around.modes);
    let stdin_bytes = AtomicU64::new(0);
    // The last look before the effect.
    if session.has_ended() {
        let _ = target.close().await;
        not_sent(session, correlation_id, "session_ended", "not sent: the session ended").await;
        return CommandEnd::SessionEnded { said: false };
    }
    session.command_sent(&shown);
    if around.terminal.is_none() {
        session.stage.printed(format!("$ {}\n", printable(&shown)).as_bytes());
    }
    let mut notices = session.notices();

    let mut stopped = Stopped::Confirmed;
    // Not waiting any longer than the session lives: what has not been handed over by then never is.
    let sent = tokio::select! {
        biased;
        sent = link.send(&target, command) => Some(sent),
        _ = session.ended() => None,
    };
    let Some(sent) = sent else {
        session.command_ended(&shown);
        not_sent(session, correlation_id, "session_ended", "not sent: the session ended").await;
        return CommandEnd::SessionEnded { said: false };
    };
    let (mut from_target, to_target) = target.split();
    let mut typed_ahead = VecDeque::new();
    let ended = match sent {
        Err(_) => {
            lane.retire();
            Ended::NoAnswer
        }
        Ok(()) => {
            let limits = &session.shared.limits;
            let relayed = async {
                let replied = tokio::time::timeout(limits.target_timeout, reply(&mut from_target));
                match channel.read.meanwhile(replied).await {
                    Ok(Reply::Accepted) => {}
                    Ok(Reply::Refused) => return Ended::Refused,
                    Ok(Reply::Gone) | Err(_) => return Ended::NoAnswer,
                }
                match around.typed_ahead {
                    TypedAhead::IsInput => channel.accept().await,
                    // INVARIANT: what the user typed before the command ran was typed at the prompt. No command gets it.
                    TypedAhead::StaysAtPrompt => {
                        typed_ahead = stay_at_prompt(channel, &to_target, around).await
                    }
                    TypedAhead::IsForLater => {
                        let _ = to_target.eof().await;
                    }
                }
                let (setup, terminal) = (&channel.setup, around.terminal);
                let took = |message: &FromClient| match message {
                    FromClient::Data(data) => {
                        stdin_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                        if let Some(terminal) = terminal {
                            terminal.typed(data.len());
                        }
                    }
                    FromClient::WindowChange { cols, rows, .. } => {
                        setup.resized(*cols, *rows);
                        if let Some(terminal) = terminal {
                            terminal.resize(*cols, *rows);
                        }
                    }
                    _ => {}
                };
                let input = async {
                    if around.typed_ahead == TypedAhead::IsForLater {
                        channel.read.look_ahead().await;
                        return UpstreamEnd::ClientClosed;
                    }
                    upstream(&mut channel.read, &to_target, session, took).await
                };
                tokio::select! {
                    () = downstream(&mut from_target, &channel.write, &mut output) => Ended::Target,
                    end = input => match end {
                        UpstreamEnd::ClientClosed => Ended::ClientClosed,
                        UpstreamEnd::Stalled => Ended::Stalled,
                    },
                    never = notify(&mut notices, &channel.write, terminal) => match never {},
                }
            };
            let ended = tokio::select! {
                ended = relayed => ended,
                end = session.ended() => Ended::Session(end),
            };
            let patience = limits.farewell;
            match &ended {
                Ended::Target => {}
                // The library leaves a channel open that is merely dropped.
                Ended::Refused => drop(tokio::time::timeout(patience, to_target.close()).await),
                Ended::Session(end) => {
                    // The user hears why while the command is being stopped.
                    let text = format!("session ended: {}", end.message());
                    let said = tokio::time::timeout(patience, say_on(&channel.write, around.terminal, &text));
                    stopped = tokio::join!(stop(&mut from_target, &to_target, patience), said).0;
                }
                Ended::ClientClosed | Ended::Stalled | Ended::NoAnswer => {
                    stopped = stop(&mut from_target, &to_target, patience).await;
                }
            }
            ended
        }
    };
    channel.read.put_back(typed_ahead);
    session.command_ended(&shown);
    session.active();

    let (outcome, reason) = match &ended {
        Ended::Target if output.exit_status == Some(0) => (Outcome::Success, None),
        Ended::Target if output.exit_status.is_some() || output.exit_signal.is_some() => {
            (Outcome::Failure, None)
        }
        Ended::Target => {
            (Outcome::Unknown, Some(("target_closed", "the target closed without an exit status".into())))
        }
        Ended::ClientClosed => {
            (Outcome::Unknown, Some(("client_left", "the client left while it ran".into())))
        }
        Ended::Stalled => (Outcome::Unknown, Some(("upload_stalled", STALLED.to_owned()))),
        Ended::Session(end) => (Outcome::Unknown, Some((end.code(), end.message()))),
        Ended::Refused => (Outcome::Failure, Some(("target_refused", "the target refused to run it".into()))),
        Ended::NoAnswer => {
            (Outcome::Unknown, Some(("target_timeout", "sent, but the target did not answer".to_owned())))
        }
    };
    let (stdout, stderr) = output.finish();
    let position = around.mark().await;
    let executed = CommandExecuted {
        command: Some(shown),
        exit_status: output.exit_status,
        exit_signal: output.exit_signal.as_ref().map(signal_name),
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        stdin_bytes: stdin_bytes.load(Ordering::Relaxed),
        position,
        stdout,
        stderr,
    };
    let mut event =
        session.journal.event(outcome, Detail::CommandExecuted(executed)).correlated(correlation_id);
    if let Some((code, message)) = &reason {
        event = event.because(
            *code,
            match stopped {
                Stopped::Confirmed => message.clone(),
                Stopped::Unconfirmed => {
                    format!("{message}; the target did not confirm that it stopped: it may still be running")
                }
            },
        );
    }
    // In order with what follows, but nobody waits: the command itself has been on record since before it ran.
    session.journal.submit_result(event).await;

    match (ended, output.exit_status, output.exit_signal.take()) {
        (Ended::Target, Some(status), _) => CommandEnd::Exited(status),
        (Ended::Target, None, Some(signal)) => CommandEnd::Signalled(signal),
        (Ended::Target, None, None) => {
            CommandEnd::Unavailable("the target closed without an exit status".to_owned())
        }
        (Ended::ClientClosed, ..) => CommandEnd::ClientClosed,
        (Ended::Stalled, ..) => CommandEnd::Unavailable(STALLED.to_owned()),
        (Ended::Session(_), ..) => CommandEnd::SessionEnded { said: true },
        (Ended::Refused, ..) => CommandEnd::Unavailable("the target refused to run the command".to_owned()),
        (Ended::NoAnswer, ..) => {
            CommandEnd::Unavailable("the target did not answer; the command may have run".to_owned())
        }
    }
}

const STALLED: &str =
    "the command takes no more input, and what was sent beyond the limit has nowhere to wait";

/// What a terminal sends for Ctrl-C.
const CTRL_C: u8 = 0x03;

/// Sets aside what has arrived by now. The terminal's size is no input, and a Ctrl-C pressed by itself is meant for what was just
/// started: these go to the command at once.
async fn stay_at_prompt(
    channel: &mut ClientChannel,
    to_target: &ChannelWriteHalf<client::Msg>,
    around: &Surroundings<'_>,
) -> VecDeque<FromClient> {
    let mut kept = channel.read.take_arrived();
    let is_interrupt = |message: &FromClient| match message {
        FromClient::Data(data) => !data.is_empty() && data.iter().all(|byte| *byte == CTRL_C),
        _ => false,
    };
    // As on any terminal, it takes with it what was typed before it.
    let given_up = kept.iter().rposition(is_interrupt).map_or(0, |at| at.saturating_add(1));
    let interrupt = given_up > 0;
    let (mut size, mut place) = (None, 0_usize);
    kept.retain(|message| {
        place = place.saturating_add(1);
        match message {
            FromClient::Data(_) => place > given_up,
            FromClient::WindowChange { cols, rows, px_width, px_height } => {
                size = Some((*cols, *rows, *px_width, *px_height));
                false
            }
            _ => true,
        }
    });
    if let Some((cols, rows, px_width, px_height)) = size {
        channel.setup.resized(cols, rows);
        if let Some(terminal) = around.terminal {
            terminal.resize(cols, rows);
        }
        // A target that is gone is noticed by the reading side.
        let _ = to_target.window_change(cols, rows, px_width, px_height).await;
    }
    if interrupt {
        let _ = to_target.data_bytes(Bytes::from_static(&[CTRL_C])).await;
    }
    kept
}
