//! The managed prompt: the proxy edits the line, and each accepted line is one command that is checked, recorded and run by itself.
//!
//! Whatever a client sends is either taken by the line editor here, and then comes back as a line to check, or arrived after a command
//! had begun to run, and goes to that command. Nothing that the target prints is looked at to tell which.

mod builtins;
mod place;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::Utc;

use self::builtins::{Answer, Asked, Typed};
use self::place::Place;
use super::asked::{EXIT_BLOCKED, EXIT_UNAVAILABLE};
use super::channel::{ClientChannel, FromClient};
use super::command::{CommandEnd, Surroundings, TypedAhead, execute};
use super::notice;
use super::relay::signal_name;
use super::session::{End, Session, lock};
use super::terminal::Terminal;
use super::text::printable;
use crate::event::Line;
use crate::shell::builtin::BUILTINS;
use crate::shell::completion::Completion;
use crate::shell::{Action, Builtin, Editor, Lines, TerminalModes};
use crate::verdict::Denial;

/// Bracketed paste is on while the prompt has the terminal.
const PASTE_ON: &str = "\x1b[?2004h";
const PASTE_OFF: &str = "\x1b[?2004l";
const CTRL_C: &[u8] = b"\x03";
/// How shells report that Ctrl-C ended a command.
const EXIT_INTERRUPTED: u32 = 130;

/// Serves a channel on which a shell was asked for.
pub(crate) async fn serve(session: &Arc<Session>, channel: &mut ClientChannel) {
    channel.accept().await;
    let Some(pty) = channel.pty() else { return script(session, channel).await };
    let terminal = match Terminal::start(session, &pty).await {
        Ok(terminal) => terminal,
        Err(_) => {
            session.end(End::RecorderFailed);
            channel.say(&format!("session ended: {}", End::RecorderFailed.message())).await;
            return channel.finish(EXIT_UNAVAILABLE).await;
        }
    };
    let mut prompt = Prompt {
        session,
        terminal: &terminal,
        editor: Editor::new(pty.cols, pty.rows),
        modes: Mutex::new(TerminalModes::new()),
        place: Place::default(),
    };
    let status = prompt.run(channel).await;
    if let Some(status) = status {
        channel.finish(status).await;
    }
    terminal.finish().await;
}

/// A prompt on a terminal.
struct Prompt<'a> {
    session: &'a Arc<Session>,
    terminal: &'a Terminal,
    editor: Editor,
    /// What the running command does to the terminal.
    modes: Mutex<TerminalModes>,
    place: Place,
}

/// What came of waiting for the user.
enum Edited {
    Line(String),
    Interrupt,
    EndOfInput,
    ClientClosed,
    SessionEnded(End),
}

/// Whether there is a next prompt.
enum Next {
    Prompt,
    /// The channel ends with this status; without one it is closed already.
    End(Option<u32>),
}

impl Prompt<'_> {
    /// Line after line. Returns the status with which the channel is to end, unless the client has closed it.
    async fn run(&mut self, channel: &mut ClientChannel) -> Option<u32> {
        let greeting = format!("{}: help says what may be run\r\n", printable(self.session.target_id()));
        self.show(channel, &format!("{greeting}{PASTE_ON}")).await;
        loop {
            let request = &self.session.request;
            let prompt = self.place.prompt(request.user.id(), request.target.id());
            self.editor.begin(&prompt);
            match self.edit(channel).await {
                Edited::Interrupt => {}
                Edited::Line(line) => match self.accepted(channel, &line).await {
                    Next::Prompt => {}
                    Next::End(status) => return status,
                },
                Edited::EndOfInput => {
                    self.show(channel, PASTE_OFF).await;
                    return Some(0);
                }
                Edited::ClientClosed => return None,
                Edited::SessionEnded(end) => {
                    self.editor.give_up();
                    let last = format!("{}{PASTE_OFF}", self.editor.drawn());
                    let text = format!("{last}session ended: {}\r\n", printable(&end.message()));
                    self.show(channel, &text).await;
                    return Some(EXIT_UNAVAILABLE);
                }
            }
        }
    }

    /// Lets the user edit until there is something to do.
    async fn edit(&mut self, channel: &mut ClientChannel) -> Edited {
        let mut notices = self.session.notices();
        loop {
            while let Some(action) = self.editor.step() {
                self.keep(channel).await;
                return match action {
                    Action::Line(line) => Edited::Line(line),
                    Action::Interrupt => Edited::Interrupt,
                    Action::EndOfInput => Edited::EndOfInput,
                    Action::Complete(before) => {
                        let permitted = permitted(self.session).await;
                        self.editor.offer(&Completion::of(&permitted, &before));
                        continue;
                    }
                    Action::Pause => {
                        if self.session.has_ended() {
                            return Edited::SessionEnded(self.session.ended().await);
                        }
                        tokio::task::yield_now().await;
                        continue;
                    }
                };
            }
            self.keep(channel).await;
            if channel.read.has_ended() {
                return Edited::EndOfInput;
            }
            tokio::select! {
                biased;
                end = self.session.ended() => return Edited::SessionEnded(end),
                text = notice::next(&mut notices) => self.editor.notice(&text),
                message = channel.read.next() => match message {
                    None => return Edited::ClientClosed,
                    Some(FromClient::Data(bytes)) => {
                        self.session.active();
                        self.editor.feed(&bytes);
                    }
                    Some(FromClient::WindowChange { cols, rows, .. }) => {
                        channel.setup.resized(cols, rows);
                        self.terminal.resize(cols, rows);
                        self.editor.resize(cols, rows);
                    }
                    Some(FromClient::Signal(russh::Sig::INT)) => {
                        self.editor.feed(CTRL_C);
                    }
                    Some(FromClient::Eof | FromClient::Signal(_)) => {}
                },
            }
        }
    }

    /// Shows what the editor drew, and keeps what was typed: before anything comes of it.
    async fn keep(&mut self, channel: &mut ClientChannel) {
        let taken = self.editor.taken();
        if !taken.is_empty() {
            self.terminal.input(&taken).await;
        }
        let drawn = self.editor.drawn();
        self.show(channel, &drawn).await;
    }

    async fn show(&self, channel: &mut ClientChannel, text: &str) {
        if text.is_empty() {
            return;
        }
        self.terminal.output(text.as_bytes()).await;
        channel.show(Bytes::copy_from_slice(text.as_bytes())).await;
    }

    async fn accepted(&mut self, channel: &mut ClientChannel, line: &str) -> Next {
        if line.trim_matches(' ').is_empty() {
            return Next::Prompt;
        }
        // The keys of the line stand in the recording before whatever comes of it.
        let position = self.terminal.mark().await;
        // A line with a secret in it is not brought back to the screen.
        if !Line::new(line.as_bytes(), |text| self.session.shared.gatekeeper.redact(text)).redacted {
            self.editor.history().push(line);
        }
        match Builtin::parse(line) {
            Some(builtin) => {
                let history = self.editor.history().clone();
                let asked = Asked {
                    typed: Typed { line, position: Some(position) },
                    builtin,
                    history: Some(&history),
                };
                match builtins::answer(self.session, channel, &mut self.place, asked).await {
                    Answer::Text(text) => self.show(channel, &text.replace('\n', "\r\n")).await,
                    Answer::Refused(text) => self.show(channel, &format!("{text}\r\n")).await,
                    Answer::Exit(status) => {
                        self.show(channel, PASTE_OFF).await;
                        return Next::End(Some(status));
                    }
                    // The next prompt says so.
                    Answer::SessionEnded => {}
                }
                Next::Prompt
            }
            None => self.command(channel, line).await,
        }
    }

    async fn command(&mut self, channel: &mut ClientChannel, line: &str) -> Next {
        self.show(channel, PASTE_OFF).await;
        let pty = channel.pty();
        let around = Surroundings {
            directory: self.place.directory(),
            pty: pty.as_ref(),
            terminal: Some(self.terminal),
            modes: Some(&self.modes),
            typed_ahead: TypedAhead::StaysAtPrompt,
        };
        let end = execute(self.session, channel, line.as_bytes(), &around).await;
        let mut after = lock(&self.modes).restore();
        if let Some(pty) = channel.pty() {
            self.editor.set_size(pty.cols, pty.rows);
        }
        let mut interrupted = false;
        match end {
            CommandEnd::Exited(status) => {
                interrupted = status == EXIT_INTERRUPTED;
                if status != 0 {
                    after.push_str(&format!("[exit {status}]\r\n"));
                }
            }
            CommandEnd::Signalled(signal) => {
                interrupted = matches!(signal, russh::Sig::INT);
                after.push_str(&format!("[signal {}]\r\n", signal_name(&signal)));
            }
            CommandEnd::Blocked(denial) => after.push_str(&format!("{}\r\n", blocked(&denial, line))),
            CommandEnd::Unavailable(message) => {
                after.push_str(&format!("proxy: {}\r\n", printable(&message)));
            }
            CommandEnd::ClientClosed => return Next::End(None),
            CommandEnd::SessionEnded { said } => {
                // What was said on a screen that is left now is gone with it.
                if !said || after.contains('\x1b') {
                    let end = self.session.ended().await;
                    after.push_str(&format!("session ended: {}\r\n", printable(&end.message())));
                }
                self.show(channel, &after).await;
                return Next::End(Some(EXIT_UNAVAILABLE));
            }
        }
        if interrupted {
            // Whoever stops one line of a paste does not mean the next one to run.
            let dropped = self.editor.drop_paste();
            if dropped > 0 {
                after.push_str(&format!("[pasted lines not run: {dropped}]\r\n"));
            }
            // Nor the one that was typed ahead: a terminal's driver forgets it, too.
            let (typed, arrived) = (self.editor.drop_typed(), channel.read.drop_put_back());
            if typed || arrived {
                after.push_str("[dropped: what was typed ahead]\r\n");
            }
        }
        after.push_str(PASTE_ON);
        self.show(channel, &after).await;
        Next::Prompt
    }
}

/// Lines from a client without a terminal: each is checked and run as at the prompt, in order, and none gets the others as its input.
async fn script(session: &Arc<Session>, channel: &mut ClientChannel) {
    let (mut lines, mut place, mut status) = (Lines::new(), Place::default(), 0);
    'client: loop {
        let message = tokio::select! {
            biased;
            end = session.ended() => {
                channel.say(&format!("session ended: {}", end.message())).await;
                return channel.finish(EXIT_UNAVAILABLE).await;
            }
            message = channel.read.next() => message,
        };
        let data = match message {
            None => return,
            Some(FromClient::Data(data)) => data,
            Some(FromClient::Eof) => break,
            Some(_) => continue,
        };
        session.active();
        let mut rest: &[u8] = &data;
        while !rest.is_empty() {
            let (line, after) = lines.take(rest);
            rest = after;
            let Some(line) = line else { break };
            match script_line(session, channel, &mut place, &line, &mut status).await {
                Next::Prompt => {}
                Next::End(None) => return,
                Next::End(Some(last)) => {
                    status = last;
                    break 'client;
                }
            }
        }
    }
    if let Some(line) = lines.finish()
        && let Next::End(ended) = script_line(session, channel, &mut place, &line, &mut status).await
    {
        match ended {
            None => return,
            Some(last) => status = last,
        }
    }
    channel.finish(status).await;
}

async fn script_line(
    session: &Arc<Session>,
    channel: &mut ClientChannel,
    place: &mut Place,
    line: &[u8],
    status: &mut u32,
) -> Next {
    if line.iter().all(|byte| *byte == b' ') {
        return Next::Prompt;
    }
    let text = std::str::from_utf8(line).unwrap_or("");
    if let Some(builtin) = Builtin::parse(text) {
        let asked = Asked { typed: Typed { line: text, position: None }, builtin, history: None };
        *status = match builtins::answer(session, channel, place, asked).await {
            Answer::Text(text) => {
                channel.show(Bytes::from(text)).await;
                0
            }
            Answer::Refused(text) => {
                channel.say(&text).await;
                1
            }
            Answer::Exit(status) => return Next::End(Some(status)),
            Answer::SessionEnded => EXIT_UNAVAILABLE,
        };
        return Next::Prompt;
    }
    let around = Surroundings {
        directory: place.directory(),
        pty: None,
        terminal: None,
        modes: None,
        typed_ahead: TypedAhead::IsForLater,
    };
    match execute(session, channel, line, &around).await {
        CommandEnd::Exited(exited) => *status = exited,
        CommandEnd::Signalled(signal) => {
            channel.say(&format!("ended by signal {}", signal_name(&signal))).await;
            *status = EXIT_UNAVAILABLE;
        }
        CommandEnd::Blocked(denial) => {
            channel.say(&format!("blocked: {denial}")).await;
            *status = EXIT_BLOCKED;
        }
        CommandEnd::Unavailable(message) => {
            channel.say(&message).await;
            *status = EXIT_UNAVAILABLE;
        }
        CommandEnd::ClientClosed => return Next::End(None),
        CommandEnd::SessionEnded { said } => {
            if !said {
                let end = session.ended().await;
                channel.say(&format!("session ended: {}", end.message())).await;
            }
            return Next::End(Some(EXIT_UNAVAILABLE));
        }
    }
    Next::Prompt
}

/// One sentence about a line that stands right above it.
fn blocked(denial: &Denial, line: &str) -> String {
    let mut text = format!("blocked: {}", printable(denial.explanation()));
    for (at, hint) in denial.permitted().iter().enumerate() {
        text.push_str(if at == 0 { "; permitted: " } else { ", " });
        text.push_str(&printable(hint));
    }
    let first = line.trim_matches(' ').split(' ').next().unwrap_or("");
    if let Some(builtin) = BUILTINS.iter().find(|name| **name == first) {
        text.push_str(&format!(" (`{builtin}` stands alone on its line)"));
    }
    text
}

/// What the policy of this moment permits; nothing where the gatekeeper does not answer.
async fn permitted(session: &Session) -> Vec<String> {
    let asked = session.shared.gatekeeper.permitted(&session.request, Utc::now());
    tokio::time::timeout(session.shared.limits.gatekeeper_timeout, asked).await.unwrap_or_default()
}
