//! Entries: what a caller wants recorded.

use std::fmt;

use chrono::{DateTime, Datelike as _, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    error::EntryError,
    json::{self, Unreadable},
    leaf::is_event_type,
    limits::{ENTRY_BYTES_MAX, ENTRY_SUBJECTS_MAX, ID_BYTES_MAX},
    record::RecordBuilder,
};

/// Words that name no person and stand in the common part.
const COMMON: [&str; 7] =
    ["event_id", "tenant_id", "target_id", "session_id", "correlation_id", "outcome", "reason"];

/// One fact to record. Built without failing; what is wrong with it is said by [`append`](crate::AuditLog::append).
///
/// `actor` and `subject` name the people (or other subjects) that the entry is about; each gets a key of its own, so that what the
/// log says about one can be committed to apart from the others. Free fields belong to the actor, where there is one.
/// `Debug` shows the type only: content may be confidential.
#[derive(Clone)]
#[must_use = "an entry is recorded by `append`"]
pub struct Entry {
    event_type: String,
    timestamp: Option<DateTime<Utc>>,
    actor: Option<String>,
    common: Object,
    free: Object,
    subjects: Vec<(String, Object)>,
    fault: Option<EntryError>,
}

impl Entry {
    /// An entry of the given type, such as `command.executed`: 1–128 characters of `a-z`, `0-9`, `.`, `_`, `-`, not beginning with `log.`.
    pub fn new(event_type: impl Into<String>) -> Self {
        let event_type = event_type.into();
        let fault = if !is_event_type(&event_type) {
            Some(EntryError::EventType(event_type.chars().take(128).collect()))
        } else if event_type.starts_with("log.") {
            Some(EntryError::ReservedType(event_type.clone()))
        } else {
            None
        };
        Self { fault, ..Self::unchecked(event_type) }
    }

    /// An entry of the log's own.
    pub(crate) fn of_log(event_type: &str) -> Self {
        Self::unchecked(event_type.to_owned())
    }

    fn unchecked(event_type: String) -> Self {
        Self {
            event_type,
            timestamp: None,
            actor: None,
            common: Object::default(),
            free: Object::default(),
            subjects: Vec::new(),
            fault: None,
        }
    }

    /// Takes an event as JSON: `event_type` (required), `timestamp` (RFC 3339), `actor_id` and `subjects` (array of strings) become what
    /// the methods of those names set; every other member becomes a field. Absent and `null` are the same for shared words.
    pub fn from_event(event: Map<String, Value>) -> Result<Self, EntryError> {
        let event_type = match event.get("event_type") {
            Some(Value::String(event_type)) => event_type.clone(),
            Some(_) => return Err(form("event_type", "a string")),
            None => return Err(EntryError::NoEventType),
        };
        let mut entry = Self::new(event_type);
        for (name, value) in event {
            entry = match (name.as_str(), value) {
                ("event_type", _) => entry,
                ("timestamp" | "subjects" | "actor_id", Value::Null) => entry,
                ("timestamp", value) => {
                    let time = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
                    entry.timestamp(time.ok_or(form("timestamp", "a time as in RFC 3339"))?.to_utc())
                }
                ("subjects", value) => {
                    let wrong = || form("subjects", "an array of strings");
                    let Value::Array(subjects) = value else { return Err(wrong()) };
                    for subject in subjects {
                        entry = entry.subject(subject.as_str().ok_or_else(wrong)?);
                    }
                    entry
                }
                (_, Value::Null) if COMMON.contains(&name.as_str()) => entry,
                (_, value) => entry.field(&name, value),
            };
        }
        match entry.fault {
            Some(fault) => Err(fault),
            None => Ok(entry),
        }
    }

    /// Who did it; the field `actor_id`. The actor is a subject.
    pub fn actor(mut self, id: impl Into<String>) -> Self {
        let id = id.into();
        self.check_id("actor_id", &id);
        if self.actor.is_some() {
            self.fail(EntryError::Duplicate("actor_id".to_owned()));
        }
        self.actor = Some(id);
        self
    }

    /// To what it was done; the field `target_id`.
    pub fn target(self, id: impl Into<String>) -> Self {
        self.word("target_id", id.into())
    }

    /// In which session; the field `session_id`.
    pub fn session(self, id: impl Into<String>) -> Self {
        self.word("session_id", id.into())
    }

    /// How it ended: `success`, `failure`, `blocked` or `unknown`; the field `outcome`.
    pub fn outcome(self, outcome: impl Into<String>) -> Self {
        self.word("outcome", outcome.into())
    }

    /// When it happened by the caller's clock. Without it, the time at which the log takes the entry.
    ///
    /// Years 0 to 9999, as RFC 3339 can write them.
    pub fn timestamp(mut self, at: DateTime<Utc>) -> Self {
        if !is_rfc3339(at) {
            self.fail(form("timestamp", "a time in the years 0 to 9999"));
        }
        self.timestamp = Some(at);
        self
    }

    /// Declares another person that the entry is about.
    pub fn subject(mut self, id: impl Into<String>) -> Self {
        let id = id.into();
        self.subject_object(id);
        self
    }

    /// A field that belongs to a declared subject rather than to the actor; declares the subject.
    pub fn subject_field(mut self, subject: impl Into<String>, name: &str, value: impl Serialize) -> Self {
        if name == "subject_id" || name == "actor_id" || COMMON.contains(&name) {
            self.fail(form(name, "a field of the entry, not of a subject"));
            return self;
        }
        self.check_name(name);
        let written = match self.subject_object(subject.into()) {
            Some(object) => object.insert(name, &value),
            None => Ok(()),
        };
        self.note(written);
        self
    }

    /// A field. Shared words (`actor_id`, `target_id`, `session_id`, `outcome`, …) may be given here as well and must be non-empty strings.
    pub fn field(mut self, name: &str, value: impl Serialize) -> Self {
        if name == "actor_id" || COMMON.contains(&name) {
            return match serde_json::to_value(value) {
                Ok(Value::String(text)) => self.word(name, text),
                Ok(_) => self.fail_with(form(name, "a string")),
                Err(_) => self.fail_with(EntryError::Value(name.to_owned())),
            };
        }
        self.check_name(name);
        let written = self.free.insert(name, &value);
        self.note(written);
        self
    }

    fn word(mut self, name: &str, text: String) -> Self {
        if name == "actor_id" {
            return self.actor(text);
        }
        self.check_id(name, &text);
        let written = self.common.insert(name, &text);
        self.note(written);
        self
    }

    /// The type.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    fn subject_object(&mut self, id: String) -> Option<&mut Object> {
        self.check_id("subjects", &id);
        let place = match self.subjects.iter().position(|(subject, _)| *subject == id) {
            Some(place) => place,
            None => {
                let mut object = Object::default();
                let written = object.insert("subject_id", &id);
                self.note(written);
                self.subjects.push((id, object));
                self.subjects.len() - 1
            }
        };
        self.subjects.get_mut(place).map(|(_, object)| object)
    }

    fn check_name(&mut self, name: &str) {
        if ["event_type", "timestamp", "subjects", "subject_id"].contains(&name) {
            self.fail(form(name, "set by the method of that name, not as a field"));
            return;
        }
        let mut objects = self.subjects.iter().map(|(_, object)| object).chain([&self.free, &self.common]);
        let is_taken = objects.any(|object| object.has(name));
        drop(objects);
        if is_taken {
            self.fail(EntryError::Duplicate(name.to_owned()));
        }
    }

    fn check_id(&mut self, name: &str, id: &str) {
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            self.fail(EntryError::Id(name.to_owned()));
        }
    }

    fn note(&mut self, written: Result<(), EntryError>) {
        if let Err(error) = written {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: EntryError) {
        self.fault.get_or_insert(error);
    }

    fn fail_with(mut self, error: EntryError) -> Self {
        self.fail(error);
        self
    }

    /// Checks and encodes the entry; `now` stands in for a missing timestamp.
    pub(crate) fn encode(self, now: DateTime<Utc>) -> Result<Encoded, EntryError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let count = self.subjects.len() + usize::from(self.actor.is_some());
        if count > ENTRY_SUBJECTS_MAX {
            return Err(EntryError::TooManySubjects(count));
        }
        let timestamp = self.timestamp.unwrap_or(now).timestamp_millis();
        let mut common = self.common;
        let mut actor_part = None;
        if let Some(actor) = &self.actor {
            let mut object = Object::default();
            object.insert("actor_id", actor)?;
            object.extend(&self.free);
            actor_part = Some(object);
        } else {
            common.extend(&self.free);
        }
        let mut record = RecordBuilder::new(count + 1, timestamp, &common.finish());
        let mut subjects = Vec::with_capacity(count);
        if let (Some(object), Some(actor)) = (actor_part, self.actor) {
            subjects.push((actor, record.subject(&object.finish())));
        }
        for (subject, object) in self.subjects {
            subjects.push((subject, record.subject(&object.finish())));
        }
        let record = record.finish();
        if record.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLong(record.len()));
        }
        Ok(Encoded { event_type: self.event_type, subjects, record })
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("event_type", &self.event_type).finish_non_exhaustive()
    }
}

/// Whether RFC 3339 has a form for the time.
pub(crate) fn is_rfc3339(at: DateTime<Utc>) -> bool {
    (0..=9999).contains(&at.year())
}

fn form(field: &str, form: &'static str) -> EntryError {
    EntryError::Form { field: field.to_owned(), form }
}

/// An entry in the form in which it will be encrypted; ids of subject keys are still to be filled in.
pub(crate) struct Encoded {
    pub(crate) event_type: String,
    /// Subjects in the order of their parts, each with the place in the record where the id of its key goes.
    pub(crate) subjects: Vec<(String, usize)>,
    pub(crate) record: Vec<u8>,
}

/// A JSON object that is written as its members come, which costs no tree of values.
#[derive(Clone, Default)]
struct Object {
    /// `,"name":value` for each member.
    text: Vec<u8>,
    /// Where the names stand in `text`, quotes included.
    names: Vec<(usize, usize)>,
}

impl Object {
    fn insert(&mut self, name: &str, value: &impl Serialize) -> Result<(), EntryError> {
        let before = self.text.len();
        self.text.push(b',');
        let failed = serde_json::to_writer(&mut self.text, name).is_err();
        let name_end = self.text.len();
        self.text.push(b':');
        if failed || serde_json::to_writer(&mut self.text, value).is_err() {
            self.text.truncate(before);
            return Err(EntryError::Value(name.to_owned()));
        }
        let unreadable = json::check(self.text.get(name_end + 1..).unwrap_or_default());
        if let Err(unreadable) = unreadable {
            self.text.truncate(before);
            return Err(match unreadable {
                Unreadable::TooDeep => EntryError::TooDeep(name.to_owned()),
                Unreadable::Number => EntryError::Number(name.to_owned()),
            });
        }
        let duplicate = {
            let written = self.text.get(before + 1..name_end);
            self.names.iter().any(|(from, to)| self.text.get(*from..*to) == written)
        };
        if duplicate {
            self.text.truncate(before);
            return Err(EntryError::Duplicate(name.to_owned()));
        }
        self.names.push((before + 1, name_end));
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        // Most names stand in JSON as they are.
        let is_plain = name.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        let escaped = if is_plain { None } else { serde_json::to_string(name).ok() };
        let bare = match &escaped {
            Some(quoted) => {
                quoted.strip_prefix('"').unwrap_or_default().strip_suffix('"').unwrap_or_default().as_bytes()
            }
            None => name.as_bytes(),
        };
        self.names.iter().any(|(from, to)| self.text.get(from + 1..to - 1) == Some(bare))
    }

    fn extend(&mut self, other: &Self) {
        let offset = self.text.len();
        self.text.extend_from_slice(&other.text);
        self.names.extend(other.names.iter().map(|(from, to)| (from + offset, to + offset)));
    }

    fn finish(mut self) -> Vec<u8> {
        match self.text.first_mut() {
            Some(comma) => *comma = b'{',
            None => self.text.push(b'{'),
        }
        self.text.push(b'}');
        self.text
    }
}
