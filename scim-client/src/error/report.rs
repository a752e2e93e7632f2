//! Errors as JSON.

use std::error::Error as _;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::{Advice, Error, ErrorKind, connectivity_code};

/// Causes that are named at the most, outermost first.
const CAUSES_MAX: usize = 4;

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = &*self.0;
        let advice = self.advice();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("reason", inner.kind.code())?;
        match &inner.kind {
            ErrorKind::NotSent(why) | ErrorKind::UnknownOutcome(why) => {
                map.serialize_entry("connectivity", connectivity_code(*why))?;
            }
            ErrorKind::Authentication(how) => map.serialize_entry("authentication", how.code())?,
            ErrorKind::SchemaMismatch(scim_type) => map.serialize_entry("scim_type", scim_type.as_str())?,
            ErrorKind::Ambiguous { matches } => map.serialize_entry("matches", matches)?,
            _ => {}
        }
        map.serialize_entry("message", &self.to_string())?;
        map.serialize_entry("advice", advice.code())?;
        if let Advice::Retry { after: Some(after) } = advice {
            map.serialize_entry("retry_after_ms", &u64::try_from(after.as_millis()).unwrap_or(u64::MAX))?;
        }
        if !inner.drifts.is_empty() {
            map.serialize_entry("drifts", &inner.drifts)?;
        }
        map.serialize_entry("was_sent", &self.was_sent())?;
        if let Some(method) = &inner.method {
            map.serialize_entry("method", method.as_str())?;
        }
        if let Some(path) = &inner.path {
            map.serialize_entry("path", path)?;
        }
        if let Some(status) = inner.status {
            map.serialize_entry("status", &status)?;
        }
        if let Some(detail) = &inner.detail {
            map.serialize_entry("detail", detail)?;
        }
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next.filter(|_| causes.len() < CAUSES_MAX) {
            causes.push(super::printable(&cause.to_string(), super::DETAIL_CHARS_MAX));
            next = cause.source();
        }
        if !causes.is_empty() {
            map.serialize_entry("causes", &causes)?;
        }
        if !inner.exchange.attempts().is_empty() {
            map.serialize_entry("attempts", inner.exchange.attempts())?;
        }
        map.end()
    }
}
