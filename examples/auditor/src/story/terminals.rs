//! The terminals of a session, as its story tells of them.

use session_filter::recording::{Moment, Reel};

use crate::record::Record;
use crate::story::{duration, size};
use crate::terminal::inert;

/// What the events of a session say about its terminals.
pub(super) struct Terminals(Reel);

impl Terminals {
    pub(super) fn of(records: &[Record]) -> Self {
        let mut reel = Reel::new();
        for record in records {
            if record.event_type().starts_with("terminal.")
                && let Some(moment) = Moment::of(record.fields())
            {
                reel.take(&moment);
            }
        }
        Self(reel)
    }

    fn number(&self, record: &Record) -> Option<usize> {
        let id = record.str("recording_id")?;
        self.0.recordings().iter().position(|recording| recording.id == id).map(|place| place + 1)
    }

    /// `, at 12.345 s of terminal 1`, of an event that names a place.
    pub(super) fn place(&self, record: &Record) -> String {
        match (self.number(record), record.number("at_ms")) {
            (Some(number), Some(ms)) => format!(", at {}.{:03} s of terminal {number}", ms / 1000, ms % 1000),
            _ => String::new(),
        }
    }

    /// One line about the terminal that begins with this event.
    pub(super) fn told(&self, record: &Record) -> String {
        let number = self.number(record).unwrap_or_default();
        let Some(recording) = number.checked_sub(1).and_then(|place| self.0.recordings().get(place)) else {
            return "terminal".to_owned();
        };
        let term = recording.term.as_deref().map(|term| format!(" {}", inert(term))).unwrap_or_default();
        let (length, shown) = (duration(recording.duration_ms), size(recording.output_bytes));
        let mut told = format!(
            "terminal {number}: {}x{}{term}, {length}, {shown} shown",
            recording.width, recording.height
        );
        for flaw in recording.flaws() {
            told.push_str("; ");
            told.push_str(&flaw.to_string());
        }
        told
    }

    /// The command that plays the terminal that begins with this event.
    pub(super) fn play(&self, session: &str, record: &Record) -> String {
        let recording = match (self.0.recordings().len(), self.number(record)) {
            (2.., Some(number)) => format!(" --recording {number}"),
            _ => String::new(),
        };
        format!("play: auditor play {}{recording}", inert(session))
    }
}
