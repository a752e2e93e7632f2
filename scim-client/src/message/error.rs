//! What a server says of an error, in SCIM's words (RFC 7644 §3.12) or in others.

use serde_json::Value;

use crate::attributes;
use crate::error::ScimType;
use crate::read::{ReadLimits, from_slice};
use crate::resource::{Attributes, DynamicResource, attribute};
use crate::urn;

/// Characters of [`ErrorResponse::detail`]; what is beyond is cut off.
pub const DETAIL_CHARS_MAX: usize = 1_000;

/// Bytes of a body that are looked at.
const BODY_BYTES_MAX: usize = 64 << 10;

const STATUS_NAMES: [&str; 3] = ["status", "code", "statusCode"];
const DETAIL_NAMES: [&str; 6] =
    ["detail", "error_description", "errorSummary", "message", "description", "title"];

/// What a server says of an error. Reading never fails: it gives what is found.
///
/// Besides SCIM's own form these are known: `Errors` of SCIM 1.1, OAuth 2.0 (RFC 6749 §5.2), problem details (RFC 9457),
/// an `error` object, and plain text. Of a page for people nothing is taken.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ErrorResponse {
    /// What the body is.
    pub form: ErrorForm,
    /// The status in the body, which the head of the answer need not agree with.
    pub status: Option<u16>,
    /// What kind of error.
    pub scim_type: Option<ScimType>,
    /// For people: printable, at most [`DETAIL_CHARS_MAX`] characters. The server wrote it, and may have put into it what it
    /// was sent.
    pub detail: Option<String>,
}

/// What the body of an answer is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorForm {
    /// Nothing.
    #[default]
    Empty,
    /// An error of SCIM: the server is one.
    Scim,
    /// Other JSON.
    Json,
    /// A page for people: a login page, a proxy's.
    Html,
    /// Anything else.
    Text,
}

attributes! {
    /// An error as RFC 7644 §3.12 has it written, for who answers requests.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[non_exhaustive]
    pub struct ErrorMessage {
        /// [`urn::ERROR`].
        "schemas" => schemas: Vec<String>,
        /// The status, as text.
        "status" => status: Option<String>,
        /// What kind of error.
        "scimType" => scim_type: Option<String>,
        /// For people.
        "detail" => detail: Option<String>,
    }
}

impl ErrorMessage {
    /// An error of that status.
    pub fn new(status: u16) -> Self {
        Self { schemas: vec![urn::ERROR.to_owned()], status: Some(status.to_string()), ..Self::default() }
    }
}

impl ErrorResponse {
    /// Reads the body of an answer, whatever its content type is said to be.
    pub fn read(body: &[u8]) -> Self {
        let body = body.get(..BODY_BYTES_MAX).unwrap_or(body);
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
        match body.first() {
            None => Self::default(),
            Some(b'<') => Self { form: ErrorForm::Html, ..Self::default() },
            Some(b'{' | b'[') => Self::json(body).unwrap_or_else(|| Self::text(body)),
            Some(_) => Self::text(body),
        }
    }

    fn text(body: &[u8]) -> Self {
        Self { form: ErrorForm::Text, detail: printable(&String::from_utf8_lossy(body)), ..Self::default() }
    }

    /// The strict reader first; where it refuses (a name twice), whatever `serde_json` makes of it.
    fn json(body: &[u8]) -> Option<Self> {
        let document = from_slice::<DynamicResource>(body, &ReadLimits::default())
            .map(|resource| Value::Object(resource.attributes))
            .or_else(|_| serde_json::from_slice::<Value>(body))
            .ok()?;
        let mut found = Self { form: ErrorForm::Json, ..Self::default() };
        match &document {
            Value::Object(attributes) => found.take(attributes),
            Value::Array(elements) => {
                elements.iter().filter_map(Value::as_object).for_each(|one| found.take(one))
            }
            _ => {}
        }
        Some(found)
    }

    /// Takes what is not known yet.
    fn take(&mut self, attributes: &Attributes) {
        let text = |name: &&str| match attribute(attributes, name)? {
            Value::String(text) => printable(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        if is_scim(attributes) {
            self.form = ErrorForm::Scim;
        }
        let status = |name| text(name)?.parse().ok().filter(is_status);
        self.status = self.status.or_else(|| STATUS_NAMES.iter().find_map(status));
        if self.scim_type.is_none() {
            self.scim_type = text(&"scimType").as_deref().map(ScimType::read);
        }
        if self.detail.is_none() {
            self.detail = DETAIL_NAMES.iter().find_map(text);
        }
        for name in ["error", "errors"] {
            match attribute(attributes, name) {
                Some(Value::Object(inner)) => self.take(inner),
                Some(Value::Array(inner)) => {
                    inner.iter().filter_map(Value::as_object).for_each(|inner| self.take_once(inner));
                }
                Some(Value::String(text)) if self.detail.is_none() => self.detail = printable(text),
                _ => {}
            }
        }
    }

    fn take_once(&mut self, inner: &Attributes) {
        if self.detail.is_none() || self.status.is_none() {
            self.take(inner);
        }
    }
}

/// Any class of status that a server can answer with.
fn is_status(status: &u16) -> bool {
    (100..600).contains(status)
}

fn is_scim(attributes: &Attributes) -> bool {
    let is_error = |schema: &Value| schema.as_str().is_some_and(|urn| urn.eq_ignore_ascii_case(urn::ERROR));
    match attribute(attributes, "schemas") {
        Some(Value::Array(schemas)) => schemas.iter().any(is_error),
        Some(schema) => is_error(schema),
        None => false,
    }
}

/// One line, cut to the limit; `None` where nothing is left.
fn printable(text: &str) -> Option<String> {
    let mut line = String::new();
    let mut chars = 0;
    for word in text.split_whitespace() {
        for c in (chars > 0).then_some(' ').into_iter().chain(word.chars()) {
            if chars == DETAIL_CHARS_MAX {
                line.push('…');
                return Some(line);
            }
            line.push(if acts(c) { char::REPLACEMENT_CHARACTER } else { c });
            chars += 1;
        }
    }
    (!line.is_empty()).then_some(line)
}

/// Whether a terminal or a viewer does something at this character instead of showing it.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
