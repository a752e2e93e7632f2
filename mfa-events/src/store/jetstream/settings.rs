//! The stream: how it must be set, and which one it is.

use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::{Context, ErrorCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::JetStreamError;
use super::message::MESSAGE_BYTES_MAX;

/// What a stream that is made takes at most, headers with it.
const STREAM_MESSAGE_BYTES: usize = 2 * MESSAGE_BYTES_MAX;

/// What a stream may take at most: whoever follows it holds some thousands of messages at a time.
const STREAM_MESSAGE_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// The least that a stream must take: a message of ours with its headers.
const STREAM_MESSAGE_BYTES_MIN: usize = MESSAGE_BYTES_MAX + 1024;

/// Bits of an offset that are a sequence: at 30,000 events a second, enough for 18 years.
pub(super) const SEQUENCE_BITS: u32 = 44;

/// Where the stream is, and what is asked of it.
#[derive(Clone, Debug)]
#[must_use]
pub struct JetStreamOptions {
    pub(super) stream: String,
    pub(super) prefix: String,
    pub(super) domain: Option<String>,
    pub(super) replicas: u64,
    pub(super) limit: Duration,
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl JetStreamOptions {
    /// The stream `MFA_EVENTS` of the subjects `mfa_events.*.*`, three times replicated, and ten seconds for the server to answer.
    pub fn new() -> Self {
        Self {
            stream: "MFA_EVENTS".to_owned(),
            prefix: "mfa_events".to_owned(),
            domain: None,
            replicas: 3,
            limit: Duration::from_secs(10),
        }
    }

    /// The stream of this name: 1 to 64 letters, digits, `-` and `_`.
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = name.into();
        self
    }

    /// The token that all subjects begin with: 1 to 64 letters, digits, `-` and `_`. No other stream may have it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// In this JetStream domain.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// How long an append, or a question to the server, may take before it is given up as unavailable.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// So many replicas at least, 2 to 5; a stream that is made gets as many.
    pub fn replicas(mut self, replicas: u8) -> Self {
        self.replicas = replicas.clamp(2, 5).into();
        self
    }

    /// Takes a stream that lies on one server. A server acknowledges what it has handed to its operating system and syncs it within two
    /// minutes: what was acknowledged is lost when that machine loses power, unless the server is configured with
    /// `sync_interval: always` (from 2.10 on), which no client can see.
    pub fn dangerously_unreplicated(mut self) -> Self {
        self.replicas = 1;
        self
    }

    pub(super) fn check(&self) -> Result<(), JetStreamError> {
        let is_token = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        for (what, text) in
            [("stream", Some(&self.stream)), ("prefix", Some(&self.prefix)), ("domain", self.domain.as_ref())]
        {
            if text.is_some_and(|text| !is_token(text)) {
                return Err(JetStreamError::Name { what });
            }
        }
        Ok(())
    }

    fn subjects(&self) -> String {
        format!("{}.*.*", self.prefix)
    }
}

/// What makes the server unfit for now, or the stream for good.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may be over soon.
    Passing(Box<dyn Error + Send + Sync>),
    /// It is final once it was seen several times.
    Doubtful(JetStreamError),
    Final(JetStreamError),
}

impl Trouble {
    pub(super) fn passing(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Passing(error.into())
    }
}

impl From<Trouble> for JetStreamError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Passing(error) => Self::Unavailable(error),
            Trouble::Doubtful(error) | Trouble::Final(error) => error,
        }
    }
}

/// What the server says of the stream.
#[derive(Debug, Deserialize)]
pub(super) struct Look {
    /// When it was made, to the nanosecond.
    created: String,
    config: Value,
    pub(super) state: State,
}

#[derive(Debug, Deserialize)]
pub(super) struct State {
    #[serde(rename = "last_seq")]
    pub(super) last: u64,
}

impl Look {
    pub(super) async fn at(context: &Context, options: &JetStreamOptions) -> Result<Self, Trouble> {
        ask(context, format!("STREAM.INFO.{}", options.stream), &json!({})).await
    }

    /// Makes the stream, or finds it where somebody else has just made it.
    pub(super) async fn make(context: &Context, options: &JetStreamOptions) -> Result<Self, Trouble> {
        let config = json!({
            "name": options.stream,
            "subjects": [options.subjects()],
            "description": "events of mfa-events",
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": options.replicas,
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msgs_per_subject": -1,
            "max_msg_size": STREAM_MESSAGE_BYTES,
            "max_age": 0,
        });
        match ask(context, format!("STREAM.CREATE.{}", options.stream), &config).await {
            Ok(look) => Ok(look),
            Err(refused) => Self::at(context, options).await.map_err(|_| refused),
        }
    }

    /// Which stream it is: one that is made again is another.
    pub(super) fn identity(&self, options: &JetStreamOptions) -> String {
        format!("{} {} {}", options.stream, options.prefix, self.created)
    }

    /// Whether every event that was acknowledged stays in it.
    pub(super) fn check(&self, options: &JetStreamOptions) -> Result<(), JetStreamError> {
        let wrong = |setting| {
            let found = self.config.get(setting).map_or_else(|| "absent".to_owned(), Value::to_string);
            JetStreamError::Setting { setting, found }
        };
        let number = |setting| self.config.get(setting).and_then(Value::as_i64).unwrap_or(0);
        let text = |setting| self.config.get(setting).and_then(Value::as_str).unwrap_or_default();
        let is_set = |setting| match self.config.get(setting) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Array(items)) => !items.is_empty(),
            Some(_) => true,
        };
        if self.config.get("subjects") != Some(&json!([options.subjects()])) {
            return Err(wrong("subjects"));
        }
        for (setting, wanted) in [("retention", "limits"), ("storage", "file")] {
            if text(setting) != wanted {
                return Err(wrong(setting));
            }
        }
        for setting in ["max_age", "max_msgs_per_subject"] {
            if number(setting) > 0 {
                return Err(wrong(setting));
            }
        }
        // A stream that is full may refuse, and not make room.
        if text("discard") != "new" && (number("max_msgs") > 0 || number("max_bytes") > 0) {
            return Err(wrong("discard"));
        }
        let bytes = usize::try_from(number("max_msg_size")).unwrap_or(0);
        if !(STREAM_MESSAGE_BYTES_MIN..=STREAM_MESSAGE_BYTES_MAX).contains(&bytes) {
            return Err(wrong("max_msg_size"));
        }
        for setting in ["no_ack", "sealed", "mirror", "sources", "subject_transform", "allow_rollup_hdrs"] {
            if is_set(setting) {
                return Err(wrong(setting));
            }
        }
        if text("persist_mode") == "async" {
            return Err(wrong("persist_mode"));
        }
        if self.config.get("num_replicas").and_then(Value::as_u64).unwrap_or(1) < options.replicas {
            return Err(wrong("num_replicas"));
        }
        Ok(())
    }
}

/// The number that stands before sequences of this stream in offsets: those of a stream that was made again are others.
pub(super) fn base(identity: &str) -> u64 {
    let digest = Sha256::digest(identity.as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    // Neither 0, which is before all events, nor that of the greatest offset.
    let epochs = (1_u64 << (63 - SEQUENCE_BITS)).saturating_sub(1);
    (number.checked_rem(epochs).unwrap_or(0).saturating_add(1)) << SEQUENCE_BITS
}

async fn ask<T: for<'de> Deserialize<'de>>(
    context: &Context,
    subject: String,
    question: &Value,
) -> Result<T, Trouble> {
    let answer: Value = context.request(subject, question).await.map_err(Trouble::passing)?;
    if let Some(error) = answer.get("error") {
        let error: async_nats::jetstream::Error =
            serde_json::from_value(error.clone()).map_err(Trouble::passing)?;
        return Err(match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND => Trouble::Doubtful(JetStreamError::Missing),
            _ => Trouble::passing(error),
        });
    }
    serde_json::from_value(answer).map_err(Trouble::passing)
}
