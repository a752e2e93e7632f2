//! Bodies of requests.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};

use super::Problem;

/// How long a body may take to come.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a body says that it is.
pub(super) fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body of at most so many bytes.
pub(super) async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_long = || {
        let detail = format!("a message has at most {bytes_max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", detail)
    };
    // What says so itself need not be sent first.
    if length(headers).is_some_and(|length| length > bytes_max) {
        return Err(too_long());
    }
    match tokio::time::timeout(BODY_TIME_MAX, to_bytes(body, bytes_max)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if is_too_long(&error) => Err(too_long()),
        Ok(Err(_)) => Err(Problem::bad("the message broke off")),
        Err(_) => {
            let detail = format!("the message did not come within {} s", BODY_TIME_MAX.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail))
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}
