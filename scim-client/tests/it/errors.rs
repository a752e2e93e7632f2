//! Errors say what happened and what to do.

use std::time::Duration;

use http::Method;
use scim_client::error::{Advice, Authentication, DETAIL_CHARS_MAX, Error, ErrorKind, ScimType};
use scim_client::transport::{Connectivity, Stage, TransportError};
use serde_json::{Value, json};

fn write(kind: ErrorKind, status: u16) -> Error {
    Error::new(kind).about(Method::POST, "/scim/v2/Users").status(status)
}

fn json_of(error: &Error) -> Value {
    serde_json::to_value(error).unwrap()
}

#[test]
fn every_row_of_the_taxonomy_leads_to_its_action() {
    use ErrorKind as K;
    let retry = || Advice::Retry { after: None };
    let rows: Vec<(K, u16, Method, Advice)> = vec![
        (K::Authentication(Authentication::Refused), 401, Method::GET, Advice::StopConnector),
        (K::Authentication(Authentication::LoginPage), 200, Method::POST, Advice::StopConnector),
        (K::Authorization, 403, Method::PATCH, Advice::Escalate),
        (K::RateLimited { retry_after: None }, 429, Method::POST, retry()),
        (K::Server, 500, Method::GET, retry()),
        (K::Server, 500, Method::DELETE, retry()),
        (K::Server, 500, Method::POST, Advice::ResolveByReading),
        (K::Server, 500, Method::PATCH, Advice::ResolveByReading),
        (
            K::SchemaMismatch(ScimType::InvalidValue),
            400,
            Method::POST,
            Advice::FixMapping { drifts: Vec::new() },
        ),
        (
            K::SchemaMismatch(ScimType::Mutability),
            400,
            Method::PUT,
            Advice::FixMapping { drifts: Vec::new() },
        ),
        (K::SchemaMismatch(ScimType::TooMany), 400, Method::GET, Advice::RestartListing),
        (K::SchemaMismatch(ScimType::Cursor), 400, Method::GET, Advice::RestartListing),
        (K::Conflict, 409, Method::POST, Advice::Adopt),
        (K::ConflictInvisible, 409, Method::POST, Advice::Escalate),
        (K::Ambiguous { matches: 2 }, 200, Method::GET, Advice::Escalate),
        (K::NotFound, 404, Method::PATCH, Advice::ResolveByReading),
        (K::BaseUrl, 404, Method::GET, Advice::StopConnector),
        (K::Concurrency, 412, Method::PUT, Advice::ResolveByReading),
        (K::Paging, 200, Method::GET, Advice::RestartListing),
        (K::Protocol, 200, Method::GET, Advice::Escalate),
        (K::Protocol, 201, Method::POST, Advice::ResolveByReading),
        (K::TooLarge, 413, Method::POST, Advice::Escalate),
        (K::TooLarge, 200, Method::POST, Advice::ResolveByReading),
        (K::Unsupported, 501, Method::GET, Advice::Escalate),
        (K::UnknownOutcome(Connectivity::Timeout), 504, Method::POST, Advice::ResolveByReading),
        (K::UnknownOutcome(Connectivity::Reset), 502, Method::DELETE, Advice::ResolveByReading),
        (K::UnknownOutcome(Connectivity::Reset), 502, Method::GET, retry()),
    ];
    for (kind, status, method, expected) in rows {
        let error = Error::new(kind.clone()).about(method.clone(), "/scim/v2/Users/1").status(status);
        assert_eq!(error.advice(), expected, "{kind:?} {status} {method}");
        assert_eq!(error.is_retryable(), matches!(expected, Advice::Retry { .. }), "{kind:?} {method}");
        assert!(error.was_sent(), "{kind:?} has a status, so it was sent");
    }
}

#[test]
fn a_search_by_post_reads_and_may_be_sent_again() {
    let kind = ErrorKind::UnknownOutcome(Connectivity::Reset);
    let search = Error::new(kind.clone()).about(Method::POST, "/scim/v2/Users/.search?x=/.search");
    assert!(search.is_retryable());
    let create = Error::new(kind.clone()).about(Method::POST, "/scim/v2/Users?x=/.search");
    assert_eq!(create.advice(), Advice::ResolveByReading);
    let nameless = Error::new(kind);
    assert_eq!(nameless.advice(), Advice::ResolveByReading);
}

#[test]
fn what_the_transport_says_decides_whether_it_was_sent() {
    let failed = |stage| TransportError { stage, kind: Connectivity::Reset, message: "gone".into() };
    let error = Error::from(failed(Stage::NotSent)).about(Method::POST, "/Users");
    assert_eq!(*error.kind(), ErrorKind::NotSent(Connectivity::Reset));
    assert!(!error.was_sent() && error.is_retryable());

    let error = Error::from(failed(Stage::MaybeSent)).about(Method::POST, "/Users");
    assert_eq!(*error.kind(), ErrorKind::UnknownOutcome(Connectivity::Reset));
    assert!(error.was_sent() && !error.is_retryable());
}

#[test]
fn an_answer_of_a_token_endpoint_is_no_answer_of_the_service() {
    let refused = ErrorKind::Authentication(Authentication::Refused);
    assert!(write(refused.clone(), 401).was_sent());
    assert!(!write(refused, 401).not_sent().was_sent());
    for kind in [Authentication::Held, Authentication::Unavailable] {
        assert!(!Error::new(ErrorKind::Authentication(kind)).was_sent());
    }
}

#[test]
fn reads_well() {
    let cases = [
        (
            Error::new(ErrorKind::UnknownOutcome(Connectivity::Reset)).about(Method::POST, "/Users"),
            "POST /Users: it may have happened, the connection ended early; read what is there before doing anything",
        ),
        (
            write(ErrorKind::SchemaMismatch(ScimType::InvalidValue), 400).detail("`userType` is unknown"),
            "POST /scim/v2/Users: the server does not take this (`invalidValue`) (status 400): `userType` is unknown; \
             correct the mapping",
        ),
        (
            write(ErrorKind::RateLimited { retry_after: Some(Duration::from_millis(29_500)) }, 429),
            "POST /scim/v2/Users: the server wants fewer requests (status 429); try again in 30 s",
        ),
        (
            Error::new(ErrorKind::Ambiguous { matches: 3 }),
            "3 resources are as the look-up asked, and one was expected; someone has to look at this case",
        ),
    ];
    for (error, expected) in cases {
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn serialises_for_programs() {
    let error =
        write(ErrorKind::RateLimited { retry_after: Some(Duration::from_secs(5)) }, 429).detail("slow down");
    assert_eq!(
        json_of(&error),
        json!({
            "reason": "rate_limited",
            "message": error.to_string(),
            "advice": "retry",
            "retry_after_ms": 5000,
            "was_sent": true,
            "method": "POST",
            "path": "/scim/v2/Users",
            "status": 429,
            "detail": "slow down",
        })
    );
    let cause =
        TransportError { stage: Stage::NotSent, kind: Connectivity::Dns, message: "no such host".into() };
    let json = json_of(&Error::from(cause));
    assert_eq!(json["reason"], "not_sent");
    assert_eq!(json["connectivity"], "dns");
    assert_eq!(json["causes"][0], "Dns (NotSent): no such host");
    assert_eq!(json_of(&write(ErrorKind::SchemaMismatch(ScimType::NoTarget), 400))["scim_type"], "noTarget");
    assert_eq!(
        json_of(&write(ErrorKind::Authentication(Authentication::LoginPage), 200))["authentication"],
        "login_page"
    );
}

#[test]
fn no_query_and_nothing_that_acts_on_a_terminal_is_kept() {
    let error = Error::new(ErrorKind::NotFound)
        .about(Method::GET, "/Users?filter=userName%20eq%20%22anna%22")
        .detail("\u{1b}[2Jgone\u{202e}\r\nline two\u{0}");
    let text = format!("{error} {error:?} {}", json_of(&error));
    assert!(!text.contains("anna"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\n', '\u{0}']), "{text}");
    assert_eq!(error.explanation(), Some("\u{fffd}[2Jgone\u{fffd}  line two\u{fffd}"));
}

#[test]
fn a_long_explanation_is_cut_between_characters() {
    let error = Error::new(ErrorKind::Server).detail("ä".repeat(DETAIL_CHARS_MAX + 1));
    assert_eq!(error.explanation().unwrap().chars().count(), DETAIL_CHARS_MAX + 1);
    assert!(error.explanation().unwrap().ends_with('…'));
    let error = Error::new(ErrorKind::Server).detail("ä".repeat(DETAIL_CHARS_MAX));
    assert!(error.explanation().unwrap().ends_with('ä'));
    assert_eq!(Error::new(ErrorKind::Server).detail(" \n").explanation(), None);
}

#[test]
fn scim_types_are_read_whatever_their_case() {
    for (text, expected) in [
        ("uniqueness", ScimType::Uniqueness),
        ("INVALIDVALUE", ScimType::InvalidValue),
        (" tooMany ", ScimType::TooMany),
        ("expiredCursor", ScimType::Cursor),
        ("invalidCount", ScimType::Cursor),
        ("", ScimType::Other(String::new())),
        ("no\u{7}vel", ScimType::Other("no\u{fffd}vel".into())),
    ] {
        assert_eq!(ScimType::read(text), expected, "{text}");
    }
    let long = ScimType::read(&"x".repeat(10_000));
    assert_eq!(long.as_str().chars().count(), 65);
}
