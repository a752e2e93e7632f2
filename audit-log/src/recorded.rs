//! Entries as they are read back.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use crate::{leaf::Leaf, record::Record};

/// An id that may be absent. `Display` shows `-` for an absent one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OptionalId(Option<String>);

impl OptionalId {
    /// The id, where there is one.
    pub fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Display for OptionalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_deref().unwrap_or("-"))
    }
}

impl PartialEq<str> for OptionalId {
    fn eq(&self, other: &str) -> bool {
        self.as_deref() == Some(other)
    }
}

impl PartialEq<&str> for OptionalId {
    fn eq(&self, other: &&str) -> bool {
        self.as_deref() == Some(*other)
    }
}

/// An entry of the log, decrypted and checked against its leaf.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recorded {
    /// Sequence number, from 0, without gaps.
    pub seq: u64,
    /// When the log took it, by its own clock; never goes back.
    pub recorded_at: DateTime<Utc>,
    /// When it happened, as the caller said.
    pub timestamp: DateTime<Utc>,
    /// Type, such as `command.executed`.
    pub event_type: String,
    /// Who did it.
    pub actor_id: OptionalId,
    /// To what.
    pub target_id: OptionalId,
    /// In which session.
    pub session_id: OptionalId,
    /// How it ended.
    pub outcome: OptionalId,
    /// Declared subjects, without the actor.
    pub subjects: Vec<String>,
    /// All other members of the event.
    pub fields: Map<String, Value>,
    /// Number of the segment that holds it.
    pub segment: u32,
    /// Number of the frame in that segment.
    pub frame: u32,
}

impl Recorded {
    /// Puts an entry together from a leaf and a record that were checked against each other; `None` when a part is no JSON object.
    pub(crate) fn assemble(leaf: &Leaf<'_>, record: Record<'_>, segment: u32, frame: u32) -> Option<Self> {
        let (timestamp_ms, common) = record.timestamp()?;
        let mut fields: Map<String, Value> = serde_json::from_slice(common).ok()?;
        let mut subjects = Vec::new();
        for (place, (_, part)) in record.subjects.enumerate() {
            let mut part: Map<String, Value> = serde_json::from_slice(part).ok()?;
            let is_actor = place == 0 && part.contains_key("actor_id");
            if !is_actor && let Some(Value::String(subject)) = part.remove("subject_id") {
                subjects.push(subject);
            }
            fields.append(&mut part);
        }
        let mut word = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => OptionalId(Some(text)),
            Some(other) => {
                fields.insert(name.to_owned(), other);
                OptionalId(None)
            }
            None => OptionalId(None),
        };
        Some(Self {
            seq: leaf.seq,
            recorded_at: DateTime::from_timestamp_millis(i64::try_from(leaf.time_ms).ok()?)?,
            timestamp: DateTime::from_timestamp_millis(timestamp_ms)?,
            event_type: leaf.event_type.to_owned(),
            actor_id: word("actor_id"),
            target_id: word("target_id"),
            session_id: word("session_id"),
            outcome: word("outcome"),
            subjects,
            fields,
            segment,
            frame,
        })
    }

    /// The whole event with the shared words, as it was given.
    pub fn to_json(&self) -> Value {
        let mut event = Map::new();
        event.insert("event_type".to_owned(), self.event_type.clone().into());
        event.insert("timestamp".to_owned(), rfc3339(self.timestamp).into());
        let words = [
            ("actor_id", &self.actor_id),
            ("target_id", &self.target_id),
            ("session_id", &self.session_id),
            ("outcome", &self.outcome),
        ];
        for (name, id) in words {
            if let Some(id) = id.as_deref() {
                event.insert(name.to_owned(), id.into());
            }
        }
        if !self.subjects.is_empty() {
            event.insert("subjects".to_owned(), self.subjects.clone().into());
        }
        for (name, value) in &self.fields {
            event.insert(name.clone(), value.clone());
        }
        Value::Object(event)
    }

    /// One line of a dump: `seq`, `recorded_at` and the event.
    pub fn to_dump(&self) -> Value {
        serde_json::json!({
            "seq": self.seq,
            "recorded_at": rfc3339(self.recorded_at),
            "event": self.to_json(),
        })
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
