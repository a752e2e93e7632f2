//! What to search for.

use chrono::{DateTime, Utc};
use memchr::memmem;
use serde_json::Value;

use crate::{leaf::Leaf, recorded::Recorded};

/// A search: all conditions that are set must hold. Ids and text match exactly, upper and lower case apart.
#[derive(Clone, Debug, Default)]
#[must_use = "a query does nothing until it is given to `search`"]
pub struct Query {
    text: Option<String>,
    actor: Option<String>,
    target: Option<String>,
    session: Option<String>,
    subject: Option<String>,
    event_type: Option<String>,
    outcome: Option<String>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

impl Query {
    /// Finds every entry.
    pub fn all() -> Self {
        Self::default()
    }

    /// Finds entries one of whose values (strings, and numbers as they are written in JSON) contains `text`; names of fields do not count.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// Only entries one of whose values contains `text`.
    pub fn containing(self, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..self }
    }

    /// Only what this actor did.
    pub fn actor(self, id: impl Into<String>) -> Self {
        Self { actor: Some(id.into()), ..self }
    }

    /// Only what was done to this target.
    pub fn target(self, id: impl Into<String>) -> Self {
        Self { target: Some(id.into()), ..self }
    }

    /// Only what happened in this session.
    pub fn session(self, id: impl Into<String>) -> Self {
        Self { session: Some(id.into()), ..self }
    }

    /// Only entries that declare this subject or have it as actor.
    pub fn subject(self, id: impl Into<String>) -> Self {
        Self { subject: Some(id.into()), ..self }
    }

    /// Only entries of this type.
    pub fn event_type(self, event_type: impl Into<String>) -> Self {
        Self { event_type: Some(event_type.into()), ..self }
    }

    /// Only entries with this outcome.
    pub fn outcome(self, outcome: impl Into<String>) -> Self {
        Self { outcome: Some(outcome.into()), ..self }
    }

    /// Only entries whose timestamp is this or later.
    pub fn since(self, time: DateTime<Utc>) -> Self {
        Self { since: Some(time), ..self }
    }

    /// Only entries whose timestamp is earlier than this.
    pub fn until(self, time: DateTime<Utc>) -> Self {
        Self { until: Some(time), ..self }
    }

    pub(crate) fn matches(&self, entry: &Recorded) -> bool {
        let id = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let is_about = |subject: &String| {
            entry.actor_id == subject.as_str() || entry.subjects.iter().any(|declared| declared == subject)
        };
        id(&self.event_type, Some(&entry.event_type))
            && id(&self.actor, entry.actor_id.as_deref())
            && id(&self.target, entry.target_id.as_deref())
            && id(&self.session, entry.session_id.as_deref())
            && id(&self.outcome, entry.outcome.as_deref())
            && self.subject.as_ref().is_none_or(is_about)
            && self.since.is_none_or(|since| entry.timestamp >= since)
            && self.until.is_none_or(|until| entry.timestamp < until)
            && self.text.as_deref().is_none_or(|text| contains(entry, text))
    }

    /// The query with what is needed to pass over most entries without parsing them.
    pub(crate) fn prepare(self) -> Prepared {
        // JSON text is escaped character by character, so an escaped needle stands in the text of every value that contains it.
        let needles = [&self.text, &self.actor, &self.target, &self.session, &self.subject]
            .into_iter()
            .flatten()
            .filter_map(|needle| {
                let quoted = serde_json::to_string(needle).ok()?;
                let bare = quoted.strip_prefix('"')?.strip_suffix('"')?;
                (!bare.is_empty()).then(|| memmem::Finder::new(bare.as_bytes()).into_owned())
            })
            .collect();
        Prepared { query: self, needles }
    }
}

fn contains(entry: &Recorded, text: &str) -> bool {
    let words = [&entry.actor_id, &entry.target_id, &entry.session_id, &entry.outcome];
    entry.event_type.contains(text)
        || words.iter().any(|word| word.as_deref().is_some_and(|word| word.contains(text)))
        || entry.subjects.iter().any(|subject| subject.contains(text))
        || entry.fields.values().any(|value| value_contains(value, text))
}

fn value_contains(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Number(number) => number.to_string().contains(text),
        Value::Array(values) => values.iter().any(|value| value_contains(value, text)),
        Value::Object(members) => members.values().any(|value| value_contains(value, text)),
        Value::Null | Value::Bool(_) => false,
    }
}

/// A query that is ready to run.
pub(crate) struct Prepared {
    query: Query,
    needles: Vec<memmem::Finder<'static>>,
}

impl Prepared {
    /// Whether the entry may match, by its leaf and its encoded record.
    pub(crate) fn may_match(&self, leaf: &Leaf<'_>, record: &[u8]) -> bool {
        self.query.event_type.as_deref().is_none_or(|wanted| wanted == leaf.event_type)
            && self.needles.iter().all(|needle| {
                needle.find(record).is_some() || needle.find(leaf.event_type.as_bytes()).is_some()
            })
    }

    /// Of an entry that cannot be read, ids are not known: that what is searched for stands in it will do.
    pub(crate) fn matches(&self, entry: &Recorded) -> bool {
        entry.is_malformed() || self.query.matches(entry)
    }
}
