//! Events to where others look at them: in their formats, and kept up with.
//!
//! A [`Format`] writes one event as somebody else reads it: [`ocsf`], [`ecs`], [`cef`], or [`Syslog`] around any of them. A [`Sink`]
//! takes events somewhere, and a [`Follower`] keeps one sink up with one tenant's stream: it remembers how far the sink has come, goes on
//! from there, and tells when it cannot.

mod cef;
mod ecs;
mod follow;
#[cfg(feature = "export-http")]
mod hec;
mod ocsf;
mod position;
#[cfg(feature = "export-http")]
mod sentinel;
mod sink;
#[cfg(feature = "export-syslog")]
mod stream;
mod syslog;

use serde_json::{Map, Value};

use crate::id::TenantId;
use crate::store::Record;

pub use cef::cef;
pub use ecs::{ECS_VERSION, ecs, ecs_alert};
pub use follow::{
    ALONE_AFTER, FollowError, Follower, FollowerBuilder, News, PROBED_MAX, REFUSED_RUNNING_MAX, RETRY_FIRST,
    RETRY_LONGEST, STALLED_AFTER, Told,
};
#[cfg(feature = "export-http")]
pub use hec::{HEC_BATCH_BYTES_MAX, HecBuilder, HecSink};
pub use ocsf::{OCSF_VERSION, ocsf, ocsf_alert};
pub use position::{FilePositions, MemoryPositions, PositionError, Positions, SINK_NAME_BYTES_MAX};
#[cfg(feature = "export-http")]
pub use sentinel::{
    SENTINEL_BATCH_BYTES_MAX, SENTINEL_COLUMNS, SentinelBuilder, SentinelSink, TokenError, TokenSource,
    sentinel_row,
};
pub use sink::{Sink, SinkError};
#[cfg(feature = "export-syslog")]
pub use stream::{SyslogError, SyslogSink};
pub use syslog::{Frame, SYSLOG_BYTES_DEFAULT, SYSLOG_DATAGRAM_BYTES_MAX, Syslog, SyslogNameError};

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Format {
    /// As it stands in the log: JSON after the published [schema](crate::schema).
    #[default]
    Native,
    /// JSON of the Open Cybersecurity Schema Framework: [`ocsf`].
    Ocsf,
    /// JSON of the Elastic Common Schema: [`ecs`].
    Ecs,
    /// A line of the Common Event Format: [`cef`].
    Cef,
}

impl Format {
    /// The event on one line, without its end. Nothing in it ends a line for anybody: see [`one_line`].
    pub fn line(self, tenant: &TenantId, record: &Record) -> String {
        match self {
            Self::Cef => cef(tenant, record),
            Self::Native | Self::Ocsf | Self::Ecs => one_line(&self.value(tenant, record)),
        }
    }

    /// The event as JSON; of CEF a text.
    pub(crate) fn value(self, tenant: &TenantId, record: &Record) -> Value {
        match self {
            // It was written as JSON just now.
            Self::Native => serde_json::from_slice(&record.to_json(tenant)).unwrap_or_default(),
            Self::Ocsf => ocsf(tenant, record),
            Self::Ecs => ecs(tenant, record),
            Self::Cef => cef(tenant, record).into(),
        }
    }

    /// Where `ext` stands, and texts for people.
    pub(crate) fn ballast(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Native => (&["/ext"], &["/message", "/geo_location/region", "/geo_location/city"]),
            Self::Ocsf => (
                &["/unmapped/ext"],
                &["/message", "/src_endpoint/location/region", "/src_endpoint/location/city"],
            ),
            Self::Ecs => {
                (&["/mfa_events/ext"], &["/message", "/source/geo/region_name", "/source/geo/city_name"])
            }
            Self::Cef => (&[], &[]),
        }
    }
}

/// JSON on one line. Control characters of Unicode, and its separators of lines and paragraphs, are escaped: some readers of lines take
/// these for ends, and terminals act on the others.
pub fn one_line(value: &Value) -> String {
    use std::fmt::Write as _;
    let json = value.to_string();
    let mut line = String::with_capacity(json.len());
    // Such characters stand in texts only, where an escape means the same.
    for character in json.chars() {
        if ends_a_line(character) {
            // Writing into a text does not fail.
            let _ = write!(line, "\\u{:04x}", u32::from(character));
        } else {
            line.push(character);
        }
    }
    line
}

fn ends_a_line(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Without what is not known: nulls, and objects and arrays of nothing.
fn known(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let known = object.into_iter().map(|(name, value)| (name, known(value)));
            Value::Object(known.filter(|(_, value)| !is_nothing(value)).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(known).collect()),
        other => other,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.is_empty(),
        Value::Array(values) => values.is_empty(),
        _ => false,
    }
}

/// What other schemas have no name for, as it stands in the event.
fn own_fields(record: &Record) -> Map<String, Value> {
    const FIELDS: [&str; 12] = [
        "ext",
        "failed_attempt_count",
        "failure_reason",
        "lock_reason",
        "lock_until",
        "mfa_method",
        "reason",
        "recovery_method",
        "risk_context",
        "session_id",
        "target_id",
        "unlock_method",
    ];
    let Ok(Value::Object(event)) = serde_json::to_value(&*record.event) else { return Map::new() };
    event.into_iter().filter(|(name, _)| FIELDS.contains(&name.as_str())).collect()
}

const PRODUCT: &str = "mfa-events";
const VENDOR: &str = "identity-blocks";
const VERSION: &str = env!("CARGO_PKG_VERSION");
