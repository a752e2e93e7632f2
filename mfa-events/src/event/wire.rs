//! Events as JSON: flat, each field once, and nothing that is not in the published schema.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::de::IgnoredAny;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_path_to_error::{Path, Segment, Track};
use uuid::Uuid;

use super::context::{GeoLocation, RiskContext, Signal};
use super::ext::Ext;
use super::kind::{EventType, FailureReason, Method, Outcome};
use super::strict::{object, present, present_object, text};
use super::{Code, Detail, Event, EventError, Fault, ReadError, Surroundings, Timestamp};
use crate::id::{ActorId, Reference};
use crate::limits::{EVENT_BYTES_MAX, TEXT_BYTES_MAX};
use crate::schema::VERSION;

/// All fields of all types, none of them null.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fields {
    #[serde(default, deserialize_with = "present")]
    pub(crate) schema_version: Option<u32>,
    #[serde(default, deserialize_with = "uuid")]
    pub(crate) event_id: Option<Uuid>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) event_type: Option<EventType>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) timestamp: Option<Timestamp>,
    /// Of the log that an event was read from: each log gives its own.
    #[serde(default, rename = "ingested_at")]
    pub(crate) _ingested_at: IgnoredAny,
    #[serde(default, rename = "offset")]
    pub(crate) _offset: IgnoredAny,
    #[serde(default, rename = "tenant_id")]
    pub(crate) _tenant_id: IgnoredAny,
    #[serde(default, deserialize_with = "present")]
    pub(crate) actor_id: Option<ActorId>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) outcome: Option<Outcome>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) mfa_method: Option<Method>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) failure_reason: Option<FailureReason>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) failed_attempt_count: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) lock_until: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) lock_reason: Option<Code>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) unlock_method: Option<Code>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) recovery_method: Option<Code>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) source_ip: Option<IpAddr>,
    #[serde(default, deserialize_with = "present_object")]
    pub(crate) geo_location: Option<GeoLocation>,
    #[serde(default, deserialize_with = "present_object")]
    pub(crate) risk_context: Option<RiskContext>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) target_id: Option<Reference>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) session_id: Option<Reference>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) correlation_id: Option<Reference>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) device_id: Option<Reference>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) reason: Option<Code>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) message: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) ext: Option<Ext>,
}

/// With its hyphens, and without braces or `urn:uuid:`: one event has one name.
fn uuid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    text(deserializer, |text| {
        let uuid =
            (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::try_parse(text).ok()).flatten();
        uuid.map(Some).ok_or("an event_id is a UUID as in 019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60")
    })
}

/// Reads JSON without asking what the fields mean together.
pub(crate) fn read(text: &[u8]) -> Result<Fields, ReadError> {
    if text.len() > EVENT_BYTES_MAX {
        return Err(ReadError::TooLong);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let fields = object(&mut deserializer).and_then(|fields| deserializer.end().map(|()| fields));
    fields.map_err(|error| {
        // Where it was costs time that only a text with a mistake is worth.
        let (mut again, mut track) = (serde_json::Deserializer::from_slice(text), Track::new());
        let found: Result<Fields, _> = object(serde_path_to_error::Deserializer::new(&mut again, &mut track));
        let path = found.err().map(|_| pointer(&track.path())).unwrap_or_default();
        form_error(&error, path)
    })
}

pub(crate) fn form_error(error: &serde_json::Error, pointer: String) -> ReadError {
    let shown = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = without_value(shown.strip_suffix(&place).unwrap_or(&shown));
    let visible =
        |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    ReadError::Form {
        line: error.line().max(1),
        column: error.column().max(1),
        pointer,
        message: message.chars().take(MESSAGE_CHARS_MAX).map(visible).collect(),
    }
}

/// The message without the text that was there instead: it may be a password in the wrong field.
fn without_value(message: &str) -> Cow<'_, str> {
    let before = message.split_once("string \"").map(|(before, _)| before);
    let after = message.rsplit_once("\", expected").map(|(_, after)| after);
    match (before, after) {
        (Some(before), Some(after)) => format!("{before}a text, expected{after}").into(),
        _ => match message.split_once("unknown variant `").zip(message.rsplit_once("`, expected")) {
            // The words that are expected are in backticks as well: the first `, expected` is the right one unless the value has it.
            Some(((before, rest), _)) => match rest.split_once("`, expected") {
                Some((_, after)) => format!("{before}unknown word, expected{after}").into(),
                None => message.into(),
            },
            None => message.into(),
        },
    }
}

const MESSAGE_CHARS_MAX: usize = 400;

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", escaped(key))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
        .chars()
        .take(MESSAGE_CHARS_MAX)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// RFC 6901 §3.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl Fields {
    /// What the fields are together.
    pub(crate) fn check(self) -> Result<Event, EventError> {
        let mut faults = Faults(Vec::new());
        if self.schema_version.is_some_and(|version| version != VERSION) {
            faults.add("/schema_version", format!("only version {VERSION} is known"));
        }
        self.check_surroundings(&mut faults);
        let Some(event_type) = self.event_type else {
            faults.add("/event_type", "it is missing");
            faults.required(self.timestamp.is_some(), "/timestamp");
            faults.required(self.actor_id.is_some(), "/actor_id");
            faults.required(self.outcome.is_some(), "/outcome");
            return Err(EventError::new(faults.0));
        };
        if let Some(outcome) = self.outcome
            && !event_type.outcomes().contains(&outcome)
        {
            let can = event_type.outcomes().iter().map(|outcome| format!("`{outcome}`"));
            let can = can.collect::<Vec<_>>().join(" or ");
            faults.add("/outcome", format!("an event of type `{event_type}` ends with {can}"));
        }
        self.check_places(event_type, &mut faults);
        let at = faults.needed(self.timestamp, "/timestamp");
        let actor = faults.needed(self.actor_id, "/actor_id");
        let outcome = faults.needed(self.outcome, "/outcome");
        let detail = match event_type {
            EventType::MfaFailure => {
                let method = faults.needed(self.mfa_method, "/mfa_method");
                let reason = faults.needed(self.failure_reason, "/failure_reason");
                method.zip(reason).map(|(method, reason)| Detail::MfaFailure {
                    method,
                    reason,
                    failed_attempt_count: self.failed_attempt_count,
                })
            }
            EventType::AccountLocked => Some(Detail::AccountLocked {
                failed_attempt_count: self.failed_attempt_count,
                lock_until: self.lock_until,
                lock_reason: self.lock_reason,
            }),
            EventType::AccountUnlocked => Some(Detail::AccountUnlocked { unlock_method: self.unlock_method }),
            EventType::RecoveryAttempted => {
                Some(Detail::RecoveryAttempted { recovery_method: self.recovery_method })
            }
            EventType::LoginSuccess => Some(Detail::LoginSuccess { method: self.mfa_method }),
            EventType::LoginFailure => Some(Detail::LoginFailure {
                method: self.mfa_method,
                failed_attempt_count: self.failed_attempt_count,
            }),
        };
        let (true, Some(at), Some(actor), Some(outcome), Some(detail)) =
            (faults.0.is_empty(), at, actor, outcome, detail)
        else {
            return Err(EventError::new(faults.0));
        };
        let surroundings = Surroundings {
            geo: self.geo_location,
            risk: self.risk_context,
            target: self.target_id,
            session: self.session_id,
            correlation: self.correlation_id,
            device: self.device_id,
            reason: self.reason,
            message: self.message,
            ext: self.ext,
        };
        Ok(Event {
            id: self.event_id.unwrap_or_else(Uuid::now_v7),
            at,
            actor,
            outcome,
            detail,
            source_ip: self.source_ip.map(|ip| ip.to_canonical()),
            surroundings: (surroundings != Surroundings::default()).then(|| Box::new(surroundings)),
        })
    }

    /// Fields that an event of another type has.
    fn check_places(&self, event_type: EventType, faults: &mut Faults) {
        use EventType::{
            AccountLocked, AccountUnlocked, LoginFailure, LoginSuccess, MfaFailure, RecoveryAttempted,
        };
        let places: [(&str, bool, &[EventType]); 7] = [
            ("/mfa_method", self.mfa_method.is_some(), &[MfaFailure, LoginSuccess, LoginFailure]),
            ("/failure_reason", self.failure_reason.is_some(), &[MfaFailure]),
            (
                "/failed_attempt_count",
                self.failed_attempt_count.is_some(),
                &[MfaFailure, AccountLocked, LoginFailure],
            ),
            ("/lock_until", self.lock_until.is_some(), &[AccountLocked]),
            ("/lock_reason", self.lock_reason.is_some(), &[AccountLocked]),
            ("/unlock_method", self.unlock_method.is_some(), &[AccountUnlocked]),
            ("/recovery_method", self.recovery_method.is_some(), &[RecoveryAttempted]),
        ];
        for (pointer, is_there, types) in places {
            if is_there && !types.contains(&event_type) {
                faults.add(pointer, format!("an event of type `{event_type}` has no such field"));
            }
        }
    }

    fn check_surroundings(&self, faults: &mut Faults) {
        if let Some(geo) = &self.geo_location {
            faults.text(geo.region.as_deref(), "/geo_location/region");
            faults.text(geo.city.as_deref(), "/geo_location/city");
            faults.range(geo.lat, -90.0, 90.0, "/geo_location/lat");
            faults.range(geo.lon, -180.0, 180.0, "/geo_location/lon");
        }
        if let Some(risk) = &self.risk_context {
            faults.range(risk.score, 0.0, 100.0, "/risk_context/score");
            let signals: [(&str, &Option<Signal>); 4] = [
                ("/risk_context/geo/weight", &risk.geo),
                ("/risk_context/ip_reputation/weight", &risk.ip_reputation),
                ("/risk_context/time_of_day/weight", &risk.time_of_day),
                ("/risk_context/device_familiarity/weight", &risk.device_familiarity),
            ];
            for (pointer, signal) in signals {
                faults.range(signal.as_ref().and_then(|signal| signal.weight), -100.0, 100.0, pointer);
            }
        }
        faults.text(self.message.as_deref(), "/message");
    }
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, pointer: &str, message: impl Into<String>) {
        self.0.push(Fault { pointer: pointer.to_owned(), message: message.into() });
    }

    fn required(&mut self, is_there: bool, pointer: &str) {
        if !is_there {
            self.add(pointer, "it is missing");
        }
    }

    fn needed<T>(&mut self, value: Option<T>, pointer: &str) -> Option<T> {
        self.required(value.is_some(), pointer);
        value
    }

    fn range(&mut self, value: Option<f64>, from: f64, to: f64, pointer: &str) {
        if value.is_some_and(|value| !(from..=to).contains(&value)) {
            self.add(pointer, format!("it is from {from} to {to}"));
        }
    }

    fn text(&mut self, value: Option<&str>, pointer: &str) {
        if let Some(text) = value
            && (text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control))
        {
            self.add(pointer, format!("it is 1 to {TEXT_BYTES_MAX} bytes without control characters"));
        }
    }
}

/// Writes an event, its fields in the order of [`Fields`].
pub(crate) fn write<S: Serializer>(event: &Event, serializer: S) -> Result<S::Ok, S::Error> {
    fn put<M: SerializeMap>(map: &mut M, name: &str, value: Option<&impl Serialize>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| map.serialize_entry(name, value))
    }
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("schema_version", &VERSION)?;
    map.serialize_entry("event_id", &event.id)?;
    map.serialize_entry("event_type", &event.event_type())?;
    map.serialize_entry("timestamp", &event.at)?;
    map.serialize_entry("actor_id", &event.actor)?;
    map.serialize_entry("outcome", &event.outcome)?;
    match &event.detail {
        Detail::MfaFailure { method, reason, failed_attempt_count } => {
            map.serialize_entry("mfa_method", method)?;
            map.serialize_entry("failure_reason", reason)?;
            put(&mut map, "failed_attempt_count", failed_attempt_count.as_ref())?;
        }
        Detail::AccountLocked { failed_attempt_count, lock_until, lock_reason } => {
            put(&mut map, "failed_attempt_count", failed_attempt_count.as_ref())?;
            put(&mut map, "lock_until", lock_until.as_ref())?;
            put(&mut map, "lock_reason", lock_reason.as_ref())?;
        }
        Detail::AccountUnlocked { unlock_method } => put(&mut map, "unlock_method", unlock_method.as_ref())?,
        Detail::RecoveryAttempted { recovery_method } => {
            put(&mut map, "recovery_method", recovery_method.as_ref())?;
        }
        Detail::LoginSuccess { method } => put(&mut map, "mfa_method", method.as_ref())?,
        Detail::LoginFailure { method, failed_attempt_count } => {
            put(&mut map, "mfa_method", method.as_ref())?;
            put(&mut map, "failed_attempt_count", failed_attempt_count.as_ref())?;
        }
    }
    put(&mut map, "source_ip", event.source_ip.as_ref())?;
    if let Some(surroundings) = event.surroundings.as_deref() {
        let Surroundings { geo, risk, target, session, correlation, device, reason, message, ext } =
            surroundings;
        put(&mut map, "geo_location", geo.as_ref())?;
        put(&mut map, "risk_context", risk.as_ref())?;
        put(&mut map, "target_id", target.as_ref())?;
        put(&mut map, "session_id", session.as_ref())?;
        put(&mut map, "correlation_id", correlation.as_ref())?;
        put(&mut map, "device_id", device.as_ref())?;
        put(&mut map, "reason", reason.as_ref())?;
        put(&mut map, "message", message.as_ref())?;
        put(&mut map, "ext", ext.as_ref())?;
    }
    map.end()
}
