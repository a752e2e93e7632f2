//! Where in a recording an event that was found can be watched.

use std::collections::HashMap;

use audit_log::Query;

use crate::failure::Failure;
use crate::record::Record;
use crate::terminal::inert;
use crate::trail::Trail;

/// How many recordings each session has; counted when the first of them is asked for.
pub(crate) struct Positions<'a> {
    trail: &'a Trail,
    recordings: Option<HashMap<String, usize>>,
}

/// A place in a recording.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) recording_id: String,
    pub(crate) at_ms: u64,
    session: String,
    is_only: bool,
}

impl<'a> Positions<'a> {
    pub(crate) fn new(trail: &'a Trail) -> Self {
        Self { trail, recordings: None }
    }

    /// The place that the event names.
    pub(crate) fn of(&mut self, record: &Record) -> Result<Option<Position>, Failure> {
        let (Some(session), Some(recording_id)) = (record.str("session_id"), record.str("recording_id"))
        else {
            return Ok(None);
        };
        let recordings = match &mut self.recordings {
            Some(recordings) => recordings,
            none => none.insert(counted(self.trail)?),
        };
        Ok(Some(Position {
            recording_id: recording_id.to_owned(),
            // What begins a recording says no more.
            at_ms: record.number("at_ms").unwrap_or(0),
            session: session.to_owned(),
            is_only: recordings.get(session).is_some_and(|count| *count == 1),
        }))
    }
}

fn counted(trail: &Trail) -> Result<HashMap<String, usize>, Failure> {
    let mut recordings = HashMap::new();
    for record in trail.search(Query::all().event_type("terminal.started"))? {
        if let Some(session) = record?.str("session_id") {
            *recordings.entry(session.to_owned()).or_default() += 1;
        }
    }
    Ok(recordings)
}

impl Position {
    /// The command that plays from there, inert.
    pub(crate) fn command(&self) -> String {
        let recording = match self.is_only {
            true => String::new(),
            false => format!(" --recording {}", inert(&self.recording_id)),
        };
        format!(
            "auditor play {}{recording} --at {}.{:03}",
            inert(&self.session),
            self.at_ms / 1000,
            self.at_ms % 1000
        )
    }
}
