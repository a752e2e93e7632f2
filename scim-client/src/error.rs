//! What went wrong, and what to do about it.
//!
//! One [`Error`] for all operations; its [`ErrorKind`] is the class, its [`Advice`] what follows from it. The classes are those
//! that lead to different actions, not those that servers happen to tell apart: a 500 after a DELETE and a 500 after a POST
//! are one kind and two advices.

use std::fmt;

use http::{HeaderValue, Method};

use crate::drift::Drift;
use crate::message::passwords;
use crate::trace::{Attempt, Exchange};
use crate::transport::{Connectivity, Stage, TransportError};

mod advice;
mod kind;
mod report;

pub use advice::Advice;
pub use kind::{Authentication, ErrorKind, ScimType};

/// Most characters of a server's explanation that an error keeps.
pub const DETAIL_CHARS_MAX: usize = 500;

/// What is shorter in a header that holds a credential is the name of a scheme.
const CREDENTIAL_BYTES_MIN: usize = 8;

/// An operation that did not end as asked.
///
/// Holds what is needed to act and to explain: class, method, path without query, status, the server's explanation cut to
/// [`DETAIL_CHARS_MAX`], and the attempts that were made. No header, no body, no credential. `Display` is a line for
/// people; `Serialize` gives an object for programs (`reason` is the class, `message` that line).
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    method: Option<Method>,
    path: Option<String>,
    status: Option<u16>,
    detail: Option<String>,
    sent: Option<bool>,
    drifts: Vec<Drift>,
    exchange: Exchange,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of that class.
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            method: None,
            path: None,
            status: None,
            detail: None,
            sent: None,
            drifts: Vec::new(),
            exchange: Exchange::default(),
            source: None,
        }))
    }

    /// With what people may want to know. Cut to [`DETAIL_CHARS_MAX`]; what could act on a terminal becomes U+FFFD.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        let detail = printable(&detail.into(), DETAIL_CHARS_MAX);
        self.0.detail = Some(detail).filter(|detail| !detail.trim().is_empty());
        self
    }

    /// With the request it was about. A query is cut off: it may hold what was asked for.
    #[must_use]
    pub fn about(mut self, method: Method, path: impl Into<String>) -> Self {
        let mut path = path.into();
        if let Some(query) = path.find('?') {
            path.truncate(query);
        }
        self.0.method = Some(method);
        self.0.path = Some(path);
        self
    }

    /// With the status of the answer.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// With what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// With what [`drift::check`](crate::drift::check) found after a write had been refused.
    #[must_use]
    pub fn drifted(mut self, drifts: Vec<Drift>) -> Self {
        self.0.drifts = drifts;
        self
    }

    /// Of a request that the service never got, whatever the class says: a token endpoint answered instead.
    #[must_use]
    pub fn not_sent(mut self) -> Self {
        self.0.sent = Some(false);
        self
    }

    /// Without the passwords of the request that it is about, which there are servers that repeat.
    #[must_use]
    pub(crate) fn concealing(self, sent: &[u8]) -> Self {
        match serde_json::from_slice(sent) {
            Ok(sent) if self.0.detail.is_some() => self.concealing_passwords(&sent),
            _ => self,
        }
    }

    /// The same for what was sent as JSON.
    #[must_use]
    pub(crate) fn concealing_passwords(mut self, sent: &serde_json::Value) -> Self {
        if let Some(detail) = &mut self.0.detail {
            for password in passwords(sent) {
                *detail = concealed(detail, &printable(password, DETAIL_CHARS_MAX));
            }
        }
        self
    }

    /// Without the credentials that the service was shown.
    #[must_use]
    pub(crate) fn concealing_headers(mut self, shown: &[HeaderValue]) -> Self {
        if let Some(detail) = &mut self.0.detail {
            let words = shown.iter().filter_map(|value| value.to_str().ok()).flat_map(str::split_whitespace);
            for word in words.filter(|word| word.len() >= CREDENTIAL_BYTES_MIN) {
                *detail = concealed(detail, word);
            }
        }
        self
    }

    /// With the attempts behind it, in front of those that it already has.
    #[must_use]
    pub fn after(mut self, mut exchange: Exchange) -> Self {
        exchange.append(std::mem::take(&mut self.0.exchange));
        self.0.exchange = exchange;
        self
    }

    /// With the attempts of the whole operation that it ended.
    #[must_use]
    pub(crate) fn within(mut self, operation: Exchange) -> Self {
        self.0.exchange = operation;
        self
    }

    /// Whether the service may have done what it was asked, although it did not say so.
    pub(crate) fn may_have_happened(&self) -> bool {
        self.was_sent() && self.advice() == Advice::ResolveByReading
    }

    /// The same for one more operation that it ended. What caused it is told with the first.
    #[must_use]
    pub(crate) fn again(&self) -> Self {
        let inner = &*self.0;
        Self(Box::new(Inner {
            kind: inner.kind.clone(),
            method: inner.method.clone(),
            path: inner.path.clone(),
            status: inner.status,
            detail: inner.detail.clone(),
            sent: inner.sent,
            drifts: inner.drifts.clone(),
            exchange: inner.exchange.clone(),
            source: None,
        }))
    }

    /// Of this class instead; what it was is kept for people.
    #[must_use]
    pub(crate) fn turned_into(mut self, kind: ErrorKind) -> Self {
        let was = self.0.kind.to_string();
        let detail = match self.0.detail.take() {
            Some(detail) => format!("then {was}: {detail}"),
            None => format!("then {was}"),
        };
        self.0.kind = kind;
        self.0.sent = None;
        self.detail(detail)
    }

    /// Its class.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The method of the request it is about.
    pub fn method(&self) -> Option<&Method> {
        self.0.method.as_ref()
    }

    /// The path of the request it is about, without query; with scheme and host where that was not the service.
    pub fn path(&self) -> Option<&str> {
        self.0.path.as_deref()
    }

    /// The status of the answer, where there was one.
    pub fn http_status(&self) -> Option<u16> {
        self.0.status
    }

    /// What the server, or this crate, says about this one case.
    pub fn explanation(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Where the server's schemas and the mapping do not agree, as far as they were compared.
    pub fn drifts(&self) -> &[Drift] {
        &self.0.drifts
    }

    /// What was tried, oldest first.
    pub fn attempts(&self) -> &[Attempt] {
        self.0.exchange.attempts()
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.0.exchange
    }

    /// Whether the service may have got the request, and may have acted on it.
    pub fn was_sent(&self) -> bool {
        self.0.exchange.was_sent() || self.0.sent.unwrap_or_else(|| self.0.kind.was_sent(self.0.status))
    }

    /// What to do now.
    pub fn advice(&self) -> Advice {
        advice::of(self)
    }

    /// Whether the same request may be sent again as it is, which is when [`advice`](Self::advice) says so.
    pub fn is_retryable(&self) -> bool {
        matches!(self.advice(), Advice::Retry { .. })
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        let kind = match error.stage {
            Stage::NotSent => ErrorKind::NotSent(error.kind),
            Stage::MaybeSent => ErrorKind::UnknownOutcome(error.kind),
        };
        Self::new(kind).because(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(method) = &inner.method {
            write!(f, "{method} ")?;
        }
        if let Some(path) = &inner.path {
            write!(f, "{}: ", printable(path, DETAIL_CHARS_MAX))?;
        }
        write!(f, "{}", inner.kind)?;
        if let Some(status) = inner.status {
            write!(f, " (status {status})")?;
        }
        if let Some(detail) = &inner.detail {
            write!(f, ": {detail}")?;
        }
        write!(f, "; {}", self.advice())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The text without a secret, or its beginning where the text was cut within it.
fn concealed(text: &str, secret: &str) -> String {
    let mut text = text.replace(secret, "…");
    let beginning: String = secret.chars().take(CREDENTIAL_BYTES_MIN).collect();
    if let Some(cut) = text.strip_suffix('…')
        && let Some(at) = cut.rfind(&beginning)
        && cut.get(at..).is_some_and(|rest| secret.starts_with(rest))
    {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// The text, cut, with whatever could move a cursor or turn the direction of writing made visible.
fn printable(text: &str, chars_max: usize) -> String {
    let mut out: String = text.chars().take(chars_max).map(visible).collect();
    if text.chars().nth(chars_max).is_some() {
        out.push('…');
    }
    out
}

fn visible(c: char) -> char {
    let acts = c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    match c {
        '\n' | '\r' | '\t' => ' ',
        _ if acts => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// What failed on the way, for people.
pub(crate) fn connectivity_text(kind: Connectivity) -> &'static str {
    match kind {
        Connectivity::Dns => "the name has no address",
        Connectivity::Connect => "no connection",
        Connectivity::Tls => "no TLS with this server",
        Connectivity::Timeout => "nothing came in time",
        Connectivity::Reset => "the connection ended early",
        Connectivity::Protocol => "what came is not HTTP",
    }
}

/// What failed on the way, for programs.
pub(crate) fn connectivity_code(kind: Connectivity) -> &'static str {
    match kind {
        Connectivity::Dns => "dns",
        Connectivity::Connect => "connect",
        Connectivity::Tls => "tls",
        Connectivity::Timeout => "timeout",
        Connectivity::Reset => "reset",
        Connectivity::Protocol => "protocol",
    }
}
