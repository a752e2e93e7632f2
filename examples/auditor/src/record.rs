//! One logged event, as the commands look at it: flat JSON with the words that all events share.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

/// What stands in place of a hidden field.
const HIDDEN: &str = "[hidden]";

/// An event and where it stands in the log.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) seq: u64,
    pub(crate) timestamp: DateTime<Utc>,
    event: Map<String, Value>,
}

/// Whether fields that may hold a secret are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sensitive {
    Mark,
    Hide,
}

impl Record {
    pub(crate) fn new(
        seq: u64,
        timestamp: DateTime<Utc>,
        event: Map<String, Value>,
        sensitive: Sensitive,
    ) -> Self {
        let mut record = Self { seq, timestamp, event };
        if sensitive == Sensitive::Hide {
            let names: Vec<String> = record.sensitive().map(str::to_owned).collect();
            for name in names {
                if let Some(value) = record.event.get_mut(&name) {
                    *value = Value::from(HIDDEN);
                }
            }
        }
        record
    }

    pub(crate) fn event_type(&self) -> &str {
        self.str("event_type").unwrap_or_default()
    }

    /// All its fields.
    pub(crate) fn fields(&self) -> &Map<String, Value> {
        &self.event
    }

    /// A field's value, any type.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.event.get(name)
    }

    /// A field that is a string.
    pub(crate) fn str(&self, name: &str) -> Option<&str> {
        self.event.get(name)?.as_str()
    }

    /// A field that is a count.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.event.get(name)?.as_u64()
    }

    /// A field as a person reads it: a string as it is, anything else as JSON.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        Some(match self.event.get(name)? {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            other => Cow::Owned(other.to_string()),
        })
    }

    /// The command line: text, or bytes that are not UTF-8. Cut where the event carries it cut.
    pub(crate) fn command(&self) -> Option<Vec<u8>> {
        self.str("command").map(|text| text.as_bytes().to_vec()).or_else(|| {
            let encoded = self.str("command_base64")?;
            // Not Base64: hidden, or not from our proxy. Better shown as it is than not at all.
            Some(BASE64.decode(encoded).unwrap_or_else(|_| encoded.as_bytes().to_vec()))
        })
    }

    /// Whether the event itself says that this field may hold a secret.
    pub(crate) fn is_sensitive(&self, name: &str) -> bool {
        self.sensitive().any(|sensitive| sensitive == name)
    }

    /// Whether this field was left out because it may hold a secret.
    pub(crate) fn is_hidden(&self, name: &str) -> bool {
        self.is_sensitive(name) && self.str(name) == Some(HIDDEN)
    }

    /// Whether the command line may hold a secret.
    pub(crate) fn command_is_sensitive(&self) -> bool {
        self.is_sensitive("command") || self.is_sensitive("command_base64")
    }

    fn sensitive(&self) -> impl Iterator<Item = &str> {
        self.event.get("sensitive").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// The event with its sequence number beside its own fields.
    pub(crate) fn to_json(&self) -> Value {
        let mut line = Map::new();
        line.insert("seq".into(), self.seq.into());
        for (name, value) in &self.event {
            // The log's own number wins over a field that happens to have its name.
            if name != "seq" {
                line.insert(name.clone(), value.clone());
            }
        }
        Value::Object(line)
    }
}

/// The bytes of a recorded piece: `{"text": …}` or `{"base64": …}`.
pub(crate) fn piece(value: &Value) -> Option<Vec<u8>> {
    if let Some(text) = value.get("text").and_then(Value::as_str) {
        return Some(text.as_bytes().to_vec());
    }
    BASE64.decode(value.get("base64")?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn blocked(sensitive: Sensitive) -> Record {
        let event = json!({
            "event_type": "command.blocked", "command": "hunter2", "reason": "no_rule", "seq": "forged",
            "sensitive": ["command", "message", 7],
        });
        Record::new(4, DateTime::UNIX_EPOCH, event.as_object().unwrap().clone(), sensitive)
    }

    #[test]
    fn sensitive_fields_are_shown_and_marked_by_default() {
        let record = blocked(Sensitive::Mark);
        assert_eq!(record.command().unwrap(), b"hunter2");
        assert!(record.command_is_sensitive() && !record.is_sensitive("reason"));
    }

    #[test]
    fn sensitive_fields_can_be_hidden() {
        let record = blocked(Sensitive::Hide);
        assert_eq!(record.command().unwrap(), HIDDEN.as_bytes());
        assert!(!record.to_json().to_string().contains("hunter2"));
        assert_eq!(record.str("reason"), Some("no_rule"));
    }

    #[test]
    fn the_sequence_number_is_that_of_the_log() {
        assert_eq!(blocked(Sensitive::Mark).to_json()["seq"], 4);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_decoded() {
        let event = json!({"command_base64": "/2xz"});
        let record =
            Record::new(0, DateTime::UNIX_EPOCH, event.as_object().unwrap().clone(), Sensitive::Mark);
        assert_eq!(record.command().unwrap(), b"\xffls");
    }
}
