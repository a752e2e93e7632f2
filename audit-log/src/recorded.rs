//! Entries as they are read back.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use crate::{entry::is_rfc3339, leaf::Leaf, record::Record};

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
    is_malformed: bool,
}

impl Recorded {
    /// Puts an entry together from a leaf and a record that were checked against each other. What cannot be read as an event is shown as it
    /// is: the leaf vouches for it, so it is neither hidden nor called altered.
    pub(crate) fn assemble(leaf: &Leaf<'_>, record: Record<'_>, segment: u32, frame: u32) -> Option<Self> {
        let recorded_at = DateTime::from_timestamp_millis(i64::try_from(leaf.time_ms).ok()?)?;
        let (timestamp_ms, common) = record.timestamp()?;
        let parts: Vec<&[u8]> = record.subjects.map(|(_, part)| part).collect();
        let said = DateTime::from_timestamp_millis(timestamp_ms).filter(|at| is_rfc3339(*at));
        let parsed = said.and_then(|_| union(common, &parts));
        let is_malformed = parsed.is_none();
        let (mut fields, subjects) = parsed.unwrap_or_else(|| (malformed(common, &parts), Vec::new()));
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
            recorded_at,
            timestamp: said.unwrap_or(recorded_at),
            event_type: leaf.event_type.to_owned(),
            actor_id: word("actor_id"),
            target_id: word("target_id"),
            session_id: word("session_id"),
            outcome: word("outcome"),
            subjects,
            fields,
            segment,
            frame,
            is_malformed,
        })
    }

    /// Whether the content could not be read as an event, so that its text stands in the field `malformed` and its ids are not known.
    /// No entry that this version appends is such.
    pub fn is_malformed(&self) -> bool {
        self.is_malformed
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

/// The event as the union of its parts, and its declared subjects; `None` when a part is no JSON object, or two have a member of one name.
fn union(common: &[u8], parts: &[&[u8]]) -> Option<(Map<String, Value>, Vec<String>)> {
    let mut fields: Map<String, Value> = serde_json::from_slice(common).ok()?;
    let mut subjects = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        let part: Map<String, Value> = serde_json::from_slice(part).ok()?;
        let is_actor = place == 0 && part.contains_key("actor_id");
        let declared = subjects.len();
        for (name, value) in part {
            match value {
                Value::String(subject) if !is_actor && name == "subject_id" => subjects.push(subject),
                value => {
                    if fields.insert(name, value).is_some() {
                        return None;
                    }
                }
            }
        }
        if !is_actor && subjects.len() == declared {
            return None;
        }
    }
    let own = ["event_type", "timestamp", "subjects"];
    (!own.iter().any(|name| fields.contains_key(*name))).then_some((fields, subjects))
}

/// What stands in for an event that cannot be read: the text of its parts.
fn malformed(common: &[u8], parts: &[&[u8]]) -> Map<String, Value> {
    let texts = std::iter::once(&common)
        .chain(parts)
        .map(|part| Value::String(String::from_utf8_lossy(part).into_owned()))
        .collect();
    Map::from_iter([("malformed".to_owned(), Value::Array(texts))])
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordBuilder;

    fn read(timestamp_ms: i64, common: &str, parts: &[&str]) -> Recorded {
        let mut record = RecordBuilder::new(parts.len() + 1, timestamp_ms, common.as_bytes());
        for part in parts {
            record.subject(part.as_bytes());
        }
        let leaf = Leaf {
            log: [0; 16],
            seq: 7,
            time_ms: 1000,
            epoch: 1,
            event_type: "x.y",
            common: [0; 32],
            subjects: &[],
            chain: None,
            predecessor: None,
        };
        Recorded::assemble(&leaf, Record::parse(&record.finish()).unwrap(), 0, 0).unwrap()
    }

    #[test]
    fn what_is_no_event_is_shown_as_it_is() {
        let whole = read(5, r#"{"target_id":"t"}"#, &[r#"{"actor_id":"a"}"#, r#"{"subject_id":"s","n":1}"#]);
        assert!(!whole.is_malformed());
        assert_eq!(
            (whole.actor_id.as_deref(), whole.subjects.as_slice()),
            (Some("a"), ["s".to_owned()].as_slice())
        );
        let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(127), "]".repeat(127));
        let cases: [(i64, &str, &[&str]); 7] = [
            (5, &deep, &[]),
            (5, "no JSON", &[]),
            (5, "{}", &["[]"]),
            (5, "{}", &[r#"{"n":1}"#]),
            (5, r#"{"n":1}"#, &[r#"{"subject_id":"s","n":2}"#]),
            (5, r#"{"event_type":"z"}"#, &[]),
            (i64::MAX, "{}", &[]),
        ];
        for (timestamp, common, parts) in cases {
            let entry = read(timestamp, common, parts);
            assert!(entry.is_malformed(), "{common}");
            let texts: Vec<_> = std::iter::once(common).chain(parts.iter().copied()).collect();
            assert_eq!(entry.to_json()["malformed"], serde_json::json!(texts));
            assert_eq!((entry.seq, entry.to_json()["event_type"].as_str()), (7, Some("x.y")));
        }
    }
}
