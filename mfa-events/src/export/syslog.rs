//! Syslog messages (RFC 5424).

use std::fmt::Write as _;

use serde_json::Value;

use super::{Format, ends_a_line, ocsf, one_line};
use crate::event::Event;
use crate::id::TenantId;
use crate::store::Record;

/// Most bytes of a message unless another number is said: what rsyslog takes by default. Whatever is longer, it cuts.
pub const SYSLOG_BYTES_DEFAULT: usize = 8 * 1024;

/// Most bytes of a datagram: every receiver should take as many (RFC 5426 §3.2). Datagrams get lost, and nobody hears of it, so
/// [`Syslog::datagram`] is for where there is nothing better.
pub const SYSLOG_DATAGRAM_BYTES_MAX: usize = 2_048;

/// Syslog messages with an event each: one element of structured data with what one filters by, and the event itself as the message.
///
/// ```
/// # use mfa_events::export::{Format, Syslog};
/// let syslog = Syslog::default().host_name("gateway-1.example.com")?.format(Format::Ocsf);
/// # Ok::<(), mfa_events::export::SyslogNameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Syslog {
    facility: u8,
    host_name: String,
    app_name: String,
    element: String,
    format: Format,
    bytes_max: usize,
}

/// A name that the header of a message has no room for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a {what} of syslog is 1 to {bytes_max} visible ASCII characters")]
#[non_exhaustive]
pub struct SyslogNameError {
    what: &'static str,
    bytes_max: usize,
}

/// How messages are told apart on a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Frame {
    /// Its length goes before each message (RFC 6587 §3.4.1, and RFC 5425 §4.3 for TLS): nothing in it can end it.
    #[default]
    OctetCounted,
    /// Each ends with a line feed, for receivers that count nothing.
    LineFeed,
}

impl Default for Syslog {
    /// Facility 10 (security), no host name, application `mfa-events`, and the element `mfa@32473`, whose number is the one that is
    /// reserved for examples (RFC 5612).
    fn default() -> Self {
        Self {
            facility: 10,
            host_name: "-".to_owned(),
            app_name: "mfa-events".to_owned(),
            element: "mfa@32473".to_owned(),
            format: Format::Native,
            bytes_max: SYSLOG_BYTES_DEFAULT,
        }
    }
}

impl Syslog {
    /// The facility, from 0 to 23; what is beyond is 23.
    #[must_use]
    pub fn facility(mut self, facility: u8) -> Self {
        self.facility = facility.min(23);
        self
    }

    /// The machine that sends.
    ///
    /// # Errors
    /// Where it is no such name.
    pub fn host_name(mut self, name: &str) -> Result<Self, SyslogNameError> {
        self.host_name = visible("host name", name, 255)?;
        Ok(self)
    }

    /// The application that sends.
    ///
    /// # Errors
    /// Where it is no such name.
    pub fn app_name(mut self, name: &str) -> Result<Self, SyslogNameError> {
        self.app_name = visible("name of an application", name, 48)?;
        Ok(self)
    }

    /// The identity of the structured data, `name@number` with your own enterprise number.
    ///
    /// # Errors
    /// Where it is no such name.
    pub fn element(mut self, name: &str) -> Result<Self, SyslogNameError> {
        let name = visible("name of structured data", name, 32)?;
        if name.contains(['=', ']', '"']) {
            return Err(SyslogNameError { what: "name of structured data", bytes_max: 32 });
        }
        self.element = name;
        Ok(self)
    }

    /// How the event is written in the message.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Most bytes of a message, as the receiver takes them.
    #[must_use]
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// The message, without what frames it. No line ends in it, and no control characters.
    ///
    /// Where it is too long, `ext` is left out, then what is for people; `is_shortened` in the structured data says so. None where it is
    /// too long all the same.
    pub fn message(&self, tenant: &TenantId, record: &Record) -> Option<String> {
        self.at_most(self.bytes_max, tenant, record)
    }

    /// The message for a datagram of at most [`SYSLOG_DATAGRAM_BYTES_MAX`], shortened as that asks. None where it is too long all the
    /// same.
    pub fn datagram(&self, tenant: &TenantId, record: &Record) -> Option<String> {
        self.at_most(self.bytes_max.min(SYSLOG_DATAGRAM_BYTES_MAX), tenant, record)
    }

    fn at_most(&self, bytes_max: usize, tenant: &TenantId, record: &Record) -> Option<String> {
        let mut value = self.format.value(tenant, record);
        let (first, then) = self.format.ballast();
        let whole = self.around(tenant, record, &value, false);
        if whole.len() <= bytes_max {
            return Some(whole);
        }
        for pointers in [first, then] {
            pointers.iter().for_each(|pointer| remove(&mut value, pointer));
            let shorter = self.around(tenant, record, &value, true);
            if shorter.len() <= bytes_max {
                return Some(shorter);
            }
        }
        None
    }

    fn around(&self, tenant: &TenantId, record: &Record, value: &Value, is_shortened: bool) -> String {
        let event = &*record.event;
        let priority = u16::from(self.facility) * 8 + u16::from(severity(event));
        // RFC 5424 §6: version, time, host, application, no process, and the type as the kind of message.
        let mut message = format!(
            "<{priority}>1 {} {} {} - {} [{}",
            event.at(),
            self.host_name,
            self.app_name,
            event.event_type(),
            self.element
        );
        let id = event.id().to_string();
        let ip = event.source_ip().map(|ip| ip.to_string());
        let parameters = [
            ("event_id", Some(id.as_str())),
            ("tenant_id", Some(tenant.as_str())),
            ("actor_id", Some(event.actor().as_str())),
            ("outcome", Some(event.outcome().as_str())),
            ("source_ip", ip.as_deref()),
            ("is_shortened", is_shortened.then_some("true")),
        ];
        for (name, value) in parameters {
            let Some(value) = value else { continue };
            // Writing into a text does not fail.
            let _ = write!(message, " {name}=\"");
            for character in value.chars() {
                match character {
                    // RFC 5424 §6.3.3.
                    '"' | '\\' | ']' => message.extend(['\\', character]),
                    other if ends_a_line(other) => message.push(' '),
                    other => message.push(other),
                }
            }
            message.push('"');
        }
        message.push_str("] ");
        match value {
            Value::String(line) => message.push_str(line),
            value => message.push_str(&one_line(value)),
        }
        message
    }
}

impl Frame {
    /// The message as it stands on a connection.
    pub fn around(self, message: &str) -> Vec<u8> {
        match self {
            Self::OctetCounted => format!("{} {message}", message.len()).into_bytes(),
            Self::LineFeed => format!("{message}\n").into_bytes(),
        }
    }
}

/// Of syslog: 6 informational, 5 notice, 4 warning, 3 error, 2 critical.
fn severity(event: &Event) -> u8 {
    match ocsf::severity(event).0 {
        1 => 6,
        2 => 5,
        3 => 4,
        4 => 3,
        _ => 2,
    }
}

fn visible(what: &'static str, name: &str, bytes_max: usize) -> Result<String, SyslogNameError> {
    if name.is_empty() || name.len() > bytes_max || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SyslogNameError { what, bytes_max });
    }
    Ok(name.to_owned())
}

fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(object)) = value.pointer_mut(parent) {
        object.remove(name);
    }
}
