//! Where in a recording an event that was found can be watched.

use std::collections::HashMap;

use audit_log::Query;
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::failure::Failure;
use crate::record::Record;
use crate::terminal::inert;
use crate::trail::Trail;

/// The recordings of all sessions, by their beginnings; read when the first of them is asked for.
pub(crate) struct Positions<'a> {
    trail: &'a Trail,
    sessions: Option<HashMap<String, Vec<Began>>>,
}

struct Began {
    recording_id: String,
    at: DateTime<Utc>,
    ended: Option<DateTime<Utc>>,
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
        Self { trail, sessions: None }
    }

    /// The place that an event itself names, or that of a refused or built-in line on the only terminal open at the time.
    pub(crate) fn of(&mut self, record: &Record) -> Result<Option<Position>, Failure> {
        let Some(session) = record.str("session_id") else { return Ok(None) };
        let named = record.str("recording_id");
        let by_time = matches!(record.event_type(), "command.blocked" | "builtin.executed");
        if named.is_none() && !by_time {
            return Ok(None);
        }
        let sessions = match &mut self.sessions {
            Some(sessions) => sessions,
            none => none.insert(beginnings(self.trail)?),
        };
        let recordings = sessions.get(session).map(Vec::as_slice).unwrap_or_default();
        let (recording_id, at_ms) = match named {
            Some(id) => (id, record.number("at_ms").unwrap_or(0)),
            None => {
                let time = record.timestamp;
                let mut open = recordings
                    .iter()
                    .filter(|began| began.at <= time && began.ended.is_none_or(|ended| time <= ended));
                let (Some(began), None) = (open.next(), open.next()) else { return Ok(None) };
                (
                    began.recording_id.as_str(),
                    u64::try_from((time - began.at).num_milliseconds()).unwrap_or(0),
                )
            }
        };
        let is_only = recordings.len() == 1;
        Ok(Some(Position {
            recording_id: recording_id.to_owned(),
            at_ms,
            session: session.to_owned(),
            is_only,
        }))
    }
}

fn beginnings(trail: &Trail) -> Result<HashMap<String, Vec<Began>>, Failure> {
    let mut sessions: HashMap<String, Vec<Began>> = HashMap::new();
    let fields = |record: &Record| {
        Some((record.str("session_id")?.to_owned(), record.str("recording_id")?.to_owned()))
    };
    for record in trail.search(Query::all().event_type("terminal.started"))? {
        let record = record?;
        if let Some((session, recording_id)) = fields(&record) {
            sessions.entry(session).or_default().push(Began {
                recording_id,
                at: record.timestamp,
                ended: None,
            });
        }
    }
    for record in trail.search(Query::all().event_type("terminal.ended"))? {
        let record = record?;
        let Some((session, recording_id)) = fields(&record) else { continue };
        let recordings = sessions.get_mut(&session).map(Vec::as_mut_slice).unwrap_or_default();
        if let Some(began) = recordings.iter_mut().find(|began| began.recording_id == recording_id) {
            began.ended = Some(record.timestamp);
        }
    }
    Ok(sessions)
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

    pub(crate) fn to_json(&self) -> serde_json::Value {
        json!({"recording_id": self.recording_id, "at_ms": self.at_ms})
    }
}
