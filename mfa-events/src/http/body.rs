//! Bodies of requests.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;

use super::Problem;
use super::limits::MessageRoom;

/// How long a body may take to come.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a body says that it is.
fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body of at most so many bytes, which take room as they come.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    room: Option<&mut MessageRoom>,
) -> Result<Bytes, Problem> {
    // What says so itself need not be sent first.
    if length(headers).is_some_and(|length| length > bytes_max) {
        return Err(too_long(bytes_max));
    }
    match tokio::time::timeout(BODY_TIME_MAX, whole(body, bytes_max, room)).await {
        Ok(read) => read,
        Err(_) => {
            let detail = format!("the message did not come within {} s", BODY_TIME_MAX.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail))
        }
    }
}

async fn whole(
    mut body: Body,
    bytes_max: usize,
    mut room: Option<&mut MessageRoom>,
) -> Result<Bytes, Problem> {
    let (mut first, mut rest) = (Bytes::new(), Vec::new());
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Problem::bad("the message broke off"))?.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length > bytes_max {
            return Err(too_long(bytes_max));
        }
        if let Some(room) = &mut room {
            room.holds(length)?;
        }
        match (first.is_empty(), rest.is_empty()) {
            // Most messages come at once, and are not copied.
            (true, true) => first = data,
            (false, true) => rest = [first.as_ref(), data.as_ref()].concat(),
            (_, false) => rest.extend_from_slice(&data),
        }
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

fn too_long(bytes_max: usize) -> Problem {
    let detail = format!("a message has at most {bytes_max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", detail)
}
