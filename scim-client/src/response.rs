//! Answers as values, without I/O: what a status, its headers and its body say.

use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use crate::error::{Authentication, Error, ErrorKind, ScimType};
use crate::message::ErrorResponse;
use crate::resilience::retry_after;
use crate::transport::Connectivity;

/// Most bytes of an answer that is a refusal; what is beyond is not read.
pub(crate) const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// The error that an answer outside 2xx and 3xx is.
pub(crate) fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Error {
    let said = ErrorResponse::read(body);
    let kind = match status.as_u16() {
        400 | 422 => match said.scim_type {
            Some(ScimType::Uniqueness) => ErrorKind::Conflict,
            Some(scim_type) => ErrorKind::SchemaMismatch(scim_type),
            None => ErrorKind::SchemaMismatch(ScimType::Other(String::new())),
        },
        401 => ErrorKind::Authentication(Authentication::Refused),
        // Said by a captive portal (RFC 6585 §6).
        511 => ErrorKind::Authentication(Authentication::LoginPage),
        403 => ErrorKind::Authorization,
        404 | 410 => ErrorKind::NotFound,
        // Said by a proxy, which passed nothing on.
        407 => ErrorKind::NotSent(Connectivity::Connect),
        405 | 406 | 415 | 501 | 505 => ErrorKind::Unsupported,
        408 | 504 => ErrorKind::UnknownOutcome(Connectivity::Timeout),
        502 => ErrorKind::UnknownOutcome(Connectivity::Reset),
        409 => ErrorKind::Conflict,
        412 | 423 | 428 => ErrorKind::Concurrency,
        413 | 414 | 431 => ErrorKind::TooLarge,
        429 => ErrorKind::RateLimited { retry_after: retry_after(headers, now) },
        503 if headers.contains_key(RETRY_AFTER) => {
            ErrorKind::RateLimited { retry_after: retry_after(headers, now) }
        }
        500..=599 => ErrorKind::Server,
        _ => ErrorKind::Protocol,
    };
    let error = Error::new(kind).status(status.as_u16());
    match said.detail {
        Some(detail) => error.detail(detail),
        None => error,
    }
}

/// What an answer with a body that has to be JSON is instead, where it is something else.
///
/// The content type alone says nothing: there are servers that send JSON as `text/plain`, and such as send a login page
/// as `application/json`.
pub(crate) fn check_is_json(headers: &HeaderMap, body: &[u8]) -> Result<(), Error> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let body_is_page = first == Some(&b'<');
    let called_page = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/html"));
    if body_is_page || (called_page && !matches!(first, Some(b'{' | b'['))) {
        return Err(Error::new(ErrorKind::Authentication(Authentication::LoginPage)));
    }
    Ok(())
}

/// Where a redirect leads, as an error: none of them is followed with a credential to another place.
pub(crate) fn redirected(status: StatusCode, to: Option<&url::Url>, same_origin: bool) -> Error {
    let place = to.and_then(url::Url::host_str).map(str::to_owned);
    let login = matches!(status.as_u16(), 302 | 303)
        || to.is_some_and(|to| {
            let path = to.path().to_ascii_lowercase();
            ["login", "signin", "sign-in", "saml", "oauth", "/sso"].iter().any(|part| path.contains(part))
        });
    let kind = match (login, same_origin) {
        (true, _) => ErrorKind::Authentication(Authentication::LoginPage),
        (false, _) => ErrorKind::BaseUrl,
    };
    let error = Error::new(kind).status(status.as_u16());
    match place {
        Some(place) => error.detail(format!("a redirect to {place}, which is not followed")),
        None => error.detail("a redirect that leads nowhere"),
    }
}
