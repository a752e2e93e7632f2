//! Lines that the prompt answers by itself, and what is recorded of them.

use std::sync::Arc;

use super::place::{Moved, Place};
use super::{ClientChannel, permitted};
use crate::directory::Directory;
use crate::event::{BuiltinExecuted, Detail, Event, Line, Outcome, RecordingPosition};
use crate::grammar::escape_into;
use crate::shell::help::help;
use crate::shell::{Builtin, History};
use crate::ssh::session::{End, Session};

/// A builtin and the line that asked for it.
pub(super) struct Asked<'a> {
    pub(super) typed: Typed<'a>,
    pub(super) builtin: Builtin,
    /// The lines so far, where there are any to remember.
    pub(super) history: Option<&'a History>,
}

/// A line as it is recorded.
pub(super) struct Typed<'a> {
    pub(super) line: &'a str,
    /// Where in the terminal's recording it was typed.
    pub(super) position: Option<RecordingPosition>,
}

impl Typed<'_> {
    /// What is on record of it, with the directory after it.
    pub(super) fn executed(&self, session: &Session, outcome: Outcome, directory: &Directory) -> Event {
        let line = Line::new(self.line.as_bytes(), |text| session.shared.gatekeeper.redact(text));
        let detail = BuiltinExecuted::new(line, &directory.to_string(), self.position.clone());
        session.journal.event(outcome, Detail::BuiltinExecuted(detail))
    }
}

/// What is said to the user. Nothing in it acts on a terminal.
pub(super) enum Answer {
    /// Lines, each with `\n`.
    Text(String),
    /// One sentence, without an end.
    Refused(String),
    Exit(u32),
    SessionEnded,
}

pub(super) async fn answer(
    session: &Arc<Session>,
    channel: &mut ClientChannel,
    place: &mut Place,
    asked: Asked<'_>,
) -> Answer {
    let answer = match asked.builtin {
        Builtin::ChangeDirectory(destination) => {
            return match place.go(session, channel, &asked.typed, destination).await {
                Moved::There => Answer::Text(String::new()),
                Moved::To(directory) => Answer::Text(format!("{}\n", printable(&directory))),
                Moved::Refused(why) => Answer::Refused(format!("cd: {}", printable(&why))),
                Moved::SessionEnded => Answer::SessionEnded,
            };
        }
        Builtin::PrintDirectory => match place.path(session, channel).await {
            Ok(path) => Answer::Text(format!("{}\n", printable(path.as_str()))),
            Err(why) => Answer::Refused(format!("pwd: {}", printable(&why))),
        },
        Builtin::Help => Answer::Text(help(session.target_id(), &permitted(session).await)),
        Builtin::History => {
            let mut text = String::new();
            for (number, line) in asked.history.into_iter().flat_map(History::numbered) {
                text.push_str(&format!("{number:>5}  {}\n", printable(line)));
            }
            Answer::Text(text)
        }
        Builtin::Exit(status) => Answer::Exit(status),
        Builtin::Misused(why) => Answer::Refused(why.to_owned()),
    };
    let outcome = match answer {
        Answer::Refused(_) => Outcome::Failure,
        _ => Outcome::Success,
    };
    session.journal.submit(asked.typed.executed(session, outcome, place.directory())).await;
    match session.has_ended() {
        true => Answer::SessionEnded,
        false => answer,
    }
}

/// Records a `cd` durably: before the target is asked, or because it is refused. `false`: the session is over.
pub(super) async fn record_move(session: &Session, event: Event) -> bool {
    if session.journal.record(event).await.is_err() {
        session.end(End::RecorderFailed);
        return false;
    }
    true
}

fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape_into(text, usize::MAX, &mut out);
    out
}
