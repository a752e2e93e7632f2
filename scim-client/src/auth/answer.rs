//! What a token endpoint answers (RFC 6749 §5). None of its text gets into an error.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::header::joined;
use super::oauth::TOKEN_ANSWER_BYTES_MAX;
use super::token::{Granted, TOKEN_BYTES_MAX};
use super::{Fingerprint, Secret};
use crate::clock::Clock;
use crate::resilience::retry_after;
use crate::transport::{Body, Transport, TransportError};

/// What came of asking for a token.
pub(super) enum Answer {
    Granted(Granted),
    /// No whole answer.
    No(TransportError),
    /// It does not want this credential, or this request.
    Refused {
        status: u16,
        code: &'static str,
    },
    /// It wants time.
    Wait {
        status: u16,
        after: Option<Duration>,
    },
    /// It failed, or this is no token. `page` where it is a page for people.
    Unusable {
        status: u16,
        why: &'static str,
        page: bool,
    },
}

pub(super) async fn ask(
    transport: &dyn Transport,
    request: http::Request<Bytes>,
    timeout: Duration,
    clock: &dyn Clock,
) -> Answer {
    let answer = match transport.send(request, timeout).await {
        Ok(answer) => answer,
        Err(error) => return Answer::No(error),
    };
    let (head, body) = answer.into_parts();
    let status = head.status.as_u16();
    match status {
        429 => return Answer::Wait { status, after: retry_after(&head.headers, clock.now()) },
        503 if head.headers.contains_key(http::header::RETRY_AFTER) => {
            return Answer::Wait { status, after: retry_after(&head.headers, clock.now()) };
        }
        300..=399 => return Answer::Unusable { status, why: "redirects", page: false },
        408 | 425 | 500.. => return Answer::Unusable { status, why: "failed", page: false },
        _ => {}
    }
    let body = match collect(body).await {
        Ok(Some(body)) => body,
        Ok(None) => {
            return Answer::Unusable { status, why: "answers with more than a token may take", page: false };
        }
        Err(error) => return Answer::No(error),
    };
    if status >= 400 { refused(status, &body) } else { granted(status, &head.headers, &body) }
}

/// The body, or `None` where it is too large.
async fn collect(mut body: Body) -> Result<Option<Zeroizing<Vec<u8>>>, TransportError> {
    // With room for all of it, no copy is left behind by growing.
    let mut all = Zeroizing::new(Vec::with_capacity(TOKEN_ANSWER_BYTES_MAX));
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if piece.len() > TOKEN_ANSWER_BYTES_MAX - all.len() {
            return Ok(None);
        }
        all.extend_from_slice(&piece);
    }
    Ok(Some(all))
}

fn refused(status: u16, body: &[u8]) -> Answer {
    /// RFC 6749 §5.2, RFC 8707, and what some servers add.
    const REGISTERED: [&str; 10] = [
        "access_denied",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "unauthorized_client",
        "unsupported_grant_type",
        "server_error",
        "temporarily_unavailable",
    ];
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let code = serde_json::from_slice::<Refusal>(body)
        .ok()
        .and_then(|refusal| REGISTERED.into_iter().find(|code| *code == refusal.error));
    match code {
        // These two are about the server, whatever the status is.
        Some("server_error" | "temporarily_unavailable") => {
            Answer::Unusable { status, why: "failed", page: false }
        }
        Some(code) => Answer::Refused { status, code },
        None if status == 401 => Answer::Refused { status, code: "invalid_client" },
        None => Answer::Refused { status, code: "no, without a known reason" },
    }
}

fn granted(status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
    #[derive(Deserialize)]
    struct Granting {
        access_token: Option<SecretText>,
        token_type: Option<String>,
        expires_in: Option<Value>,
    }
    let unusable = |why| Answer::Unusable { status, why, page: false };
    let Ok(granting) = serde_json::from_slice::<Granting>(body) else {
        let html = headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.to_ascii_lowercase().contains("html")));
        if html || body.trim_ascii_start().starts_with(b"<") {
            return Answer::Unusable { status, why: "answers with a page for people", page: true };
        }
        return unusable("gives no JSON object that can be read as a token");
    };
    let Some(SecretText(token)) = granting.access_token.filter(|token| !token.0.expose().is_empty()) else {
        return unusable("gives no `access_token`");
    };
    // RFC 6749 §5.1 requires it. Where it is missing nothing else than a bearer token can be meant; a kind that needs a proof
    // of possession must not be shown without.
    if granting.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return unusable("gives a token that is not a bearer token");
    }
    if token.expose().len() > TOKEN_BYTES_MAX {
        return unusable("gives a token that is too long");
    }
    let fingerprint: Fingerprint = token.fingerprint();
    match HeaderValue::from_maybe_shared(joined(&["Bearer ", token.expose()]).to_bytes()) {
        Ok(header) => {
            Answer::Granted(Granted { header, fingerprint, expires_in: seconds(granting.expires_in) })
        }
        Err(_) => unusable("gives a token that no header can carry"),
    }
}

/// A number, or one written as text.
fn seconds(value: Option<Value>) -> Option<f64> {
    match value? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Text that is overwritten when dropped.
struct SecretText(Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}
