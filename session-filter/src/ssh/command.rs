//! One channel of a session: from what the client asks for to how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use chrono::Utc;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client, server};
use uuid::Uuid;

use super::link::Link;
use super::relay::{
    ClientWriter, Output, Reply, Stopped, downstream, notify, reply, say_on, signal_name, stop, upstream,
};
use super::session::{End, LinkFailure, Session};
use super::text::printable;
use crate::event::{CommandBlocked, CommandExecuted, Detail, Line, Outcome, RequestRefused, StreamRecord};
use crate::policy::Mode;
use crate::record::Recorded;
use crate::verdict::{Denial, OutputRecord, Permit, Verdict};

/// What the client sees as exit status of a line that was blocked: "found, but may not be run" in shells' terms.
pub const EXIT_BLOCKED: u32 = 126;
/// What the client sees when the command could not be brought to the target, or its end is not known; `ssh` uses the same
/// for its own failures.
pub const EXIT_UNAVAILABLE: u32 = 255;
/// What the client sees after asking for a shell where only single commands run.
pub const EXIT_NO_SHELL: u32 = 1;

/// How often one line is checked again because the policy changed between the check and the moment of sending.
const RECHECKS_MAX: usize = 3;

/// The client's end of a channel.
pub(crate) struct ClientChannel {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<server::Msg>,
    handle: server::Handle,
}

impl ClientChannel {
    pub(crate) fn new(channel: Channel<server::Msg>, handle: server::Handle) -> Self {
        let (read, write) = channel.split();
        Self { read, write, handle }
    }

    /// Waits for what the client asks for. `None`: the channel was closed first.
    async fn asked(&mut self) -> Option<Asked> {
        loop {
            match self.read.wait().await? {
                ChannelMsg::Exec { command, .. } => return Some(Asked::Exec(command)),
                ChannelMsg::RequestShell { .. } => return Some(Asked::Shell),
                ChannelMsg::Close => return None,
                // Other requests are answered and recorded where they arrive; data before a request has no receiver.
                _ => {}
            }
        }
    }

    async fn accept(&self) {
        // A client that is gone is noticed by the reading side.
        let _ = self.handle.channel_success(self.write.id()).await;
    }

    /// Says something on standard error. A client that does not read gets no more of it than its window.
    async fn say(&self, text: &str) {
        say_on(&self.write, text).await;
    }

    async fn finish(&self, exit_status: u32) {
        let _ = self.write.exit_status(exit_status).await;
        let _ = self.write.eof().await;
        let _ = self.write.close().await;
    }
}

enum Asked {
    Exec(Vec<u8>),
    Shell,
}

/// Serves one channel of a connection that was logged in but not admitted: whatever is asked for, the answer is why not.
pub(crate) async fn refuse(mut channel: ClientChannel, reason: &str) {
    if channel.asked().await.is_some() {
        channel.accept().await;
        channel.say(reason).await;
        channel.finish(EXIT_UNAVAILABLE).await;
    }
}

/// Serves one channel of a live session.
pub(crate) async fn serve(session: Arc<Session>, mut channel: ClientChannel) {
    let Some(_working) = session.work() else {
        return refuse(channel, "the session is ending").await;
    };
    let asked = tokio::select! {
        asked = channel.asked() => asked,
        _ = session.ended() => None,
    };
    session.active();
    let patience = session.shared.limits.farewell * 2;
    let served = async {
        match asked {
            None => {}
            Some(Asked::Exec(line)) => exec(&session, &mut channel, &line).await,
            Some(Asked::Shell) => shell(&session, &channel).await,
        }
    };
    // A peer that does not read must not keep this task once the session is over.
    let overdue = async {
        session.ended().await;
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        () = served => {}
        () = overdue => {}
    }
}

/// A shell is not given; the answer is what may be run instead.
async fn shell(session: &Session, channel: &ClientChannel) {
    let event =
        session.journal.event(Outcome::Blocked, Detail::RequestRefused(RequestRefused::new("shell", None)));
    session.journal.submit(event.because("no_shell", "shells are not available in this mode")).await;
    session.request_refused();
    let permitted = session.shared.gatekeeper.permitted(&session.request, Utc::now()).await;
    let how = match session.mode() {
        Mode::ExecOnly => "This session runs single commands: ssh … 'command'.",
        Mode::Managed => {
            "The managed shell is not available in this version; single commands are: ssh … 'command'."
        }
        _ => "A raw terminal is not available in this version.",
    };
    let mut text = format!("{how}\r\n");
    if permitted.is_empty() {
        text.push_str(&format!("Nothing may be run on {} now.\r\n", printable(session.target_id())));
    } else {
        text.push_str(&format!("Permitted on {}:\r\n", printable(session.target_id())));
        for pattern in permitted {
            text.push_str(&format!("  {}\r\n", printable(&pattern)));
        }
    }
    channel.accept().await;
    let _ = channel.write.data_bytes(Bytes::from(text)).await;
    channel.finish(EXIT_NO_SHELL).await;
}

async fn exec(session: &Arc<Session>, channel: &mut ClientChannel, line: &[u8]) {
    let correlation_id = Uuid::now_v7().to_string();
    for _ in 0..=RECHECKS_MAX {
        if session.has_ended() {
            return unavailable(session, channel, "the session is ending").await;
        }
        let version = session.shared.gatekeeper.version();
        let permit = match session.shared.check(&session.request, line).await {
            Verdict::Allow(permit) => permit,
            Verdict::Deny(denial) => return blocked(session, channel, line, &correlation_id, &denial).await,
        };
        let prepared = tokio::select! {
            biased;
            end = session.ended() => Err(Unprepared::Ended(end)),
            prepared = prepare(session, &correlation_id, permit) => prepared,
        };
        match prepared {
            Err(Unprepared::Ended(end)) => {
                not_sent(session, &correlation_id, end.code(), "not sent: the session ended").await;
                return unavailable(session, channel, &format!("session ended: {}", end.message())).await;
            }
            Err(Unprepared::Recorder) => {
                session.end(End::RecorderFailed);
                return unavailable(session, channel, &End::RecorderFailed.message()).await;
            }
            Err(Unprepared::Target { code, message }) => {
                let event = session
                    .journal
                    .event(Outcome::Failure, Detail::CommandExecuted(CommandExecuted::default()))
                    .correlated(&correlation_id)
                    .because(code, &message);
                session.journal.submit(event).await;
                return unavailable(session, channel, &message).await;
            }
            Ok(ready) => {
                // While the record was written the policy may have changed: then what was checked no longer counts.
                if session.shared.gatekeeper.version() == version {
                    return run(session, channel, ready, &correlation_id).await;
                }
                // The library leaves a channel open that is merely dropped.
                let _ = ready.target.close().await;
                let why = "not sent: the policy changed after the check";
                not_sent(session, &correlation_id, "policy_changed", why).await;
            }
        }
    }
    unavailable(session, channel, "the policy keeps changing; try again").await;
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
    channel: &ClientChannel,
    line: &[u8],
    correlation_id: &str,
    denial: &Denial,
) {
    session.command_blocked();
    let recorded = Line::new(line, |text| session.shared.gatekeeper.redact(text));
    let sentence = session.shared.gatekeeper.redact(&denial.to_string());
    // The sentence quotes the line, cut and escaped, so an expression may miss there what it finds in the line itself.
    let message = match recorded.redacted || sentence.changed {
        true => format!("redacted; {}", denial.code()),
        false => sentence.text,
    };
    let detail = CommandBlocked { line: recorded, position: denial.position().map(|at| at as u64) };
    let event = session
        .journal
        .event(Outcome::Blocked, Detail::CommandBlocked(detail))
        .correlated(correlation_id)
        .because(denial.code(), message);
    // Durable before the user knows, so that nobody probes the policy off the record.
    if session.journal.record(event).await.is_err() {
        session.end(End::RecorderFailed);
        return unavailable(session, channel, &End::RecorderFailed.message()).await;
    }
    channel.accept().await;
    channel.say(&format!("blocked: {denial}")).await;
    channel.finish(EXIT_BLOCKED).await;
}

async fn unavailable(session: &Session, channel: &ClientChannel, message: &str) {
    channel.accept().await;
    let said = async {
        channel.say(message).await;
        channel.finish(EXIT_UNAVAILABLE).await;
    };
    // A client that does not read its last words does not keep the session from ending.
    let _ = tokio::time::timeout(session.shared.limits.farewell, said).await;
}

/// A recorded command and an open channel to send it on.
struct Ready {
    command: Recorded<Permit>,
    link: Arc<Link>,
    target: Channel<client::Msg>,
}

enum Unprepared {
    Ended(End),
    Recorder,
    Target { code: &'static str, message: String },
}

/// Writes the record and opens the channel at the same time: opening has no effect yet, and each takes a round trip of its
/// own (to the disk, to the target).
async fn prepare(session: &Session, correlation_id: &str, permit: Permit) -> Result<Ready, Unprepared> {
    let open = async {
        let link = session.link().await?;
        let timeout = session.shared.limits.target_timeout;
        let opened = tokio::time::timeout(timeout, link.channel()).await;
        Ok::<_, LinkFailure>((link, opened))
    };
    let redact = |text: &str| session.shared.gatekeeper.redact(text);
    let (command, opened) = tokio::join!(session.journal.command(correlation_id, permit, redact), open);
    let command = command.map_err(|_| Unprepared::Recorder)?;
    match opened {
        Ok((link, Ok(Ok(target)))) => Ok(Ready { command, link, target }),
        Ok((_, Ok(Err(error)))) => Err(Unprepared::Target {
            code: "target_channel_refused",
            message: format!("the target opens no channel: {error}"),
        }),
        Ok((_, Err(_))) => Err(Unprepared::Target {
            code: "target_timeout",
            message: "the target does not answer".to_owned(),
        }),
        Err(LinkFailure::Recorder(_)) => Err(Unprepared::Recorder),
        Err(failure) => Err(Unprepared::Target { code: failure.code(), message: failure.to_string() }),
    }
}

/// How a command ended.
enum Ended {
    /// The target closed the channel, with or without a status.
    Target,
    ClientClosed,
    Session(End),
    Refused,
    NoAnswer,
}

async fn run(session: &Arc<Session>, channel: &mut ClientChannel, ready: Ready, correlation_id: &str) {
    let shown = ready.command.shown().to_owned();
    let started = Instant::now();
    let Ready { command, link, target } = ready;
    let full = command.record() == OutputRecord::Full;
    let mut output = Output::new(session, correlation_id, full);
    let stdin_bytes = AtomicU64::new(0);
    // The last look before the effect.
    if session.has_ended() {
        let _ = target.close().await;
        not_sent(session, correlation_id, "session_ended", "not sent: the session ended").await;
        return unavailable(session, channel, "the session is ending").await;
    }
    session.command_sent(&shown);
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
        return unavailable(session, channel, "the session is ending").await;
    };
    let ended = match sent {
        Err(_) => Ended::NoAnswer,
        Ok(()) => {
            let (mut from_target, to_target) = target.split();
            let timeout = session.shared.limits.target_timeout;
            let (from_client, client) =
                (&mut channel.read, &ClientWriter { write: &channel.write, handle: &channel.handle });
            let relayed = async {
                match tokio::time::timeout(timeout, reply(&mut from_target)).await {
                    Ok(Reply::Accepted) => {}
                    Ok(Reply::Refused) => return Ended::Refused,
                    Ok(Reply::Gone) | Err(_) => return Ended::NoAnswer,
                }
                let _ = client.handle.channel_success(client.write.id()).await;
                tokio::select! {
                    () = downstream(&mut from_target, client, &mut output) => Ended::Target,
                    () = upstream(from_client, &to_target, session, &stdin_bytes) => Ended::ClientClosed,
                    never = notify(&mut notices, client) => match never {},
                }
            };
            let ended = tokio::select! {
                ended = relayed => ended,
                end = session.ended() => Ended::Session(end),
            };
            let patience = session.shared.limits.farewell;
            match &ended {
                Ended::Target | Ended::Refused => {}
                Ended::Session(end) => {
                    // The user hears why while the command is being stopped.
                    let text = format!("session ended: {}", end.message());
                    let said = tokio::time::timeout(patience, say_on(&channel.write, &text));
                    stopped = tokio::join!(stop(&mut from_target, &to_target, patience), said).0;
                }
                Ended::ClientClosed | Ended::NoAnswer => {
                    stopped = stop(&mut from_target, &to_target, patience).await;
                }
            }
            ended
        }
    };
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
        Ended::Session(end) => (Outcome::Unknown, Some((end.code(), end.message()))),
        Ended::Refused => (Outcome::Failure, Some(("target_refused", "the target refused to run it".into()))),
        Ended::NoAnswer => {
            (Outcome::Unknown, Some(("target_timeout", "sent, but the target did not answer".to_owned())))
        }
    };
    let executed = CommandExecuted {
        command: Some(shown),
        exit_status: output.exit_status,
        exit_signal: output.exit_signal.as_ref().map(signal_name),
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        stdin_bytes: stdin_bytes.load(Ordering::Relaxed),
        position: None,
        stdout: StreamRecord::new(&std::mem::take(&mut output.stdout).finish()),
        stderr: StreamRecord::new(&std::mem::take(&mut output.stderr).finish()),
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

    match ended {
        Ended::Target => match (output.exit_status, output.exit_signal) {
            (Some(status), _) => channel.finish(status).await,
            (None, Some(signal)) => {
                let _ = channel
                    .handle
                    .exit_signal_request(channel.write.id(), signal, false, String::new(), String::new())
                    .await;
                let _ = channel.write.eof().await;
                let _ = channel.write.close().await;
            }
            (None, None) => unavailable(session, channel, "the target closed without an exit status").await,
        },
        Ended::ClientClosed => {}
        Ended::Session(_) => {
            let patience = session.shared.limits.farewell;
            let _ = tokio::time::timeout(patience, channel.finish(EXIT_UNAVAILABLE)).await;
        }
        Ended::Refused => unavailable(session, channel, "the target refused to run the command").await,
        Ended::NoAnswer => {
            unavailable(session, channel, "the target did not answer; the command may have run").await
        }
    }
}
