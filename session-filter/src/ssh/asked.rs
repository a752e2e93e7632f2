//! One channel of a session, by what the client asks for on it.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;

use super::channel::{Asked, ClientChannel};
use super::command::{CommandEnd, Surroundings, TypedAhead, execute};
use super::doors::local;
use super::session::{End, Session};
use super::terminal::Terminal;
use super::text::printable;
use super::{managed, scp, sftp, unrestricted};
use crate::directory::Directory;
use crate::event::{Detail, Outcome, RequestRefused};
use crate::policy::Mode;
use crate::scp::Call;

/// What the client sees as exit status of a line that was blocked: "found, but may not be run" in shells' terms.
pub const EXIT_BLOCKED: u32 = 126;
/// What the client sees when the command could not be brought to the target, or its end is not known; `ssh` uses the same
/// for its own failures.
pub const EXIT_UNAVAILABLE: u32 = 255;
/// What the client sees after asking for a shell where only single commands run.
pub const EXIT_NO_SHELL: u32 = 1;

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
    if let Some(asked) = asked {
        serve_asked(session, channel, asked).await;
    }
}

/// Serves one channel of a live session, once it is known what for.
pub(crate) async fn serve_asked(session: Arc<Session>, mut channel: ClientChannel, asked: Asked) {
    let Some(_working) = session.work() else { return };
    let patience = session.shared.limits.farewell * 2;
    let served = async {
        match (asked, session.mode()) {
            (Asked::Exec(line), _) => exec(&session, &mut channel, &line).await,
            (Asked::Shell, Mode::ExecOnly) => shell(&session, &mut channel).await,
            (Asked::Shell, Mode::Managed) => managed::serve(&session, &mut channel).await,
            (Asked::Shell, Mode::Unrestricted) => unrestricted::serve(&session, &mut channel).await,
            (Asked::Subsystem(name), _) if name == "sftp" => sftp::serve(&session, &mut channel).await,
            (Asked::Subsystem(name), _) => local::subsystem(&session, &mut channel, &name).await,
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
async fn shell(session: &Session, channel: &mut ClientChannel) {
    let event =
        session.journal.event(Outcome::Blocked, Detail::RequestRefused(RequestRefused::new("shell", None)));
    session.journal.submit(event.because("no_shell", "shells are not available in this mode")).await;
    session.request_refused();
    let permitted = session.shared.gatekeeper.permitted(&session.request, Utc::now()).await;
    let mut text = "This session runs single commands: ssh … 'command'.\r\n".to_owned();
    if permitted.is_empty() {
        text.push_str(&format!("Nothing may be run on {} now.\r\n", printable(session.target_id())));
    } else {
        text.push_str(&format!("Permitted on {}:\r\n", printable(session.target_id())));
        for pattern in permitted {
            text.push_str(&format!("  {}\r\n", printable(&pattern)));
        }
    }
    channel.accept().await;
    channel.show(Bytes::from(text)).await;
    channel.finish(EXIT_NO_SHELL).await;
}

/// One command, asked for by itself.
pub(crate) async fn exec(session: &Arc<Session>, channel: &mut ClientChannel, line: &[u8]) {
    // One that was granted before it was known that this session has none: at the menu, or while another mode was in force.
    let pty = channel.pty().filter(|_| session.mode() != Mode::ExecOnly);
    let call = Call::read(line).filter(|_| pty.is_none() && session.mode() != Mode::Unrestricted);
    if let Some(call) = &call
        && scp::may(session).await.is_ok()
    {
        return scp::serve(session, channel, line, call).await;
    }
    let terminal = match &pty {
        None => None,
        Some(pty) => match Terminal::start(session, pty).await {
            Ok(terminal) => Some(terminal),
            Err(_) => {
                session.end(End::RecorderFailed);
                return unavailable(session, channel, None, &End::RecorderFailed.message()).await;
            }
        },
    };
    let directory = Directory::Home;
    let around = Surroundings {
        directory: &directory,
        pty: pty.as_ref(),
        terminal: terminal.as_deref(),
        modes: None,
        typed_ahead: TypedAhead::IsInput,
    };
    let end = execute(session, channel, line, &around).await;
    match end {
        CommandEnd::Exited(status) => channel.finish(status).await,
        CommandEnd::Signalled(signal) => channel.finish_by_signal(signal).await,
        CommandEnd::Blocked(denial) => {
            channel.accept().await;
            channel.say_beside(terminal.as_deref(), &format!("blocked: {denial}")).await;
            if call.is_some() {
                channel
                    .say("the old scp protocol is not open in this session; scp without -O uses SFTP")
                    .await;
            }
            channel.finish(EXIT_BLOCKED).await;
        }
        CommandEnd::Unavailable(message) => {
            unavailable(session, channel, terminal.as_deref(), &message).await;
        }
        CommandEnd::ClientClosed => {}
        CommandEnd::SessionEnded { said: true } => {
            let patience = session.shared.limits.farewell;
            let _ = tokio::time::timeout(patience, channel.finish(EXIT_UNAVAILABLE)).await;
        }
        CommandEnd::SessionEnded { said: false } => {
            let end = session.ended().await;
            let text = format!("session ended: {}", end.message());
            unavailable(session, channel, terminal.as_deref(), &text).await;
        }
    }
    if let Some(terminal) = terminal {
        terminal.finish().await;
    }
}

pub(crate) async fn unavailable(
    session: &Session,
    channel: &mut ClientChannel,
    terminal: Option<&Terminal>,
    message: &str,
) {
    channel.accept().await;
    let said = async {
        channel.say_beside(terminal, message).await;
        channel.finish(EXIT_UNAVAILABLE).await;
    };
    // A client that does not read its last words does not keep the session from ending.
    let _ = tokio::time::timeout(session.shared.limits.farewell, said).await;
}
