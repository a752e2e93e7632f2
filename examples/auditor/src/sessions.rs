//! `sessions`: one line per session.

use std::collections::HashMap;
use std::io::{self, Write};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::json;
use crate::record::Record;
use crate::story::{count, time};
use crate::terminal::{Paint, Palette, inert};
use crate::when::Span;

/// What the events of a session add up to.
#[derive(Debug)]
pub(crate) struct Session {
    id: String,
    actor: Option<String>,
    target: Option<String>,
    started: DateTime<Utc>,
    ended: Option<DateTime<Utc>>,
    commands: u64,
    blocked: u64,
    refused: u64,
}

/// Sessions in the order of their first event.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: Vec<Session>,
    places: HashMap<String, usize>,
}

impl Sessions {
    /// Adds an event to its session; one that belongs to none is passed over.
    pub(crate) fn add(&mut self, record: &Record) {
        let Some(id) = record.str("session_id") else { return };
        let place = *self.places.entry(id.to_owned()).or_insert_with(|| {
            self.sessions.push(Session {
                id: id.to_owned(),
                actor: None,
                target: None,
                started: record.timestamp,
                ended: None,
                commands: 0,
                blocked: 0,
                refused: 0,
            });
            self.sessions.len() - 1
        });
        let Some(session) = self.sessions.get_mut(place) else { return };
        let own = |name| record.str(name).map(str::to_owned);
        session.actor = session.actor.take().or_else(|| own("actor_id"));
        session.target = session.target.take().or_else(|| own("target_id"));
        match record.event_type() {
            "session.ended" | "session.refused" => session.ended = Some(record.timestamp),
            "command.started" => session.commands += 1,
            // On record as started, but never sent: the session or the policy changed in between.
            "command.executed" if record.str("outcome") == Some("blocked") => {
                session.commands = session.commands.saturating_sub(1);
            }
            "command.blocked" => session.blocked += 1,
            "request.refused" => session.refused += 1,
            _ => {}
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.sessions.iter().map(|session| session.id.as_str())
    }
}

impl Session {
    /// Whether it is one that `actor` and `target`, where given, ask for, and overlaps with `span`.
    pub(crate) fn fits(&self, actor: Option<&str>, target: Option<&str>, span: &Span) -> bool {
        actor.is_none_or(|actor| self.actor.as_deref() == Some(actor))
            && target.is_none_or(|target| self.target.as_deref() == Some(target))
            && span.since.is_none_or(|since| self.ended.is_none_or(|ended| ended >= since))
            && span.until.is_none_or(|until| self.started < until)
    }

    /// One line: id, start, end, who, where, counts.
    pub(crate) fn print(&self, out: &mut dyn Write, palette: Palette) -> io::Result<()> {
        let word = |word: &Option<String>| inert(word.as_deref().unwrap_or("-")).into_owned();
        write!(
            out,
            "{:36}  {}  {:24}  {:12}  {:12}  {}",
            inert(&self.id),
            palette.paint(Paint::Dim, &time(self.started)),
            self.ended.map_or_else(|| "no end recorded".to_owned(), time),
            word(&self.actor),
            word(&self.target),
            count(self.commands, "command"),
        )?;
        let paint = if self.blocked > 0 { Paint::Red } else { Paint::Dim };
        write!(out, ", {}", palette.paint(paint, &format!("{} blocked", self.blocked)))?;
        match self.refused {
            0 => writeln!(out),
            refused => writeln!(out, ", {} refused", count(refused, "request")),
        }
    }

    pub(crate) fn print_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut line = json!({
            "session_id": self.id,
            "started_at": time(self.started),
            "commands": self.commands,
            "commands_blocked": self.blocked,
            "requests_refused": self.refused,
        });
        if let Some(members) = line.as_object_mut() {
            let ended = self.ended.map(time);
            for (name, value) in
                [("actor_id", &self.actor), ("target_id", &self.target), ("ended_at", &ended)]
            {
                if let Some(value) = value {
                    members.insert(name.to_owned(), Value::from(value.as_str()));
                }
            }
        }
        json::write_line(out, &line)
    }
}
