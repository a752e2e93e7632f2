//! What is found in the bodies of errors.

use proptest::prelude::*;
use scim_client::error::ScimType;
use scim_client::message::{DETAIL_CHARS_MAX, ErrorForm, ErrorMessage, ErrorResponse};

fn found(body: &str) -> (ErrorForm, Option<u16>, Option<ScimType>, Option<String>) {
    let ErrorResponse { form, status, scim_type, detail, .. } = ErrorResponse::read(body.as_bytes());
    (form, status, scim_type, detail)
}

#[test]
fn finds_what_servers_say_in_each_form() {
    let uniqueness = || Some(ScimType::Uniqueness);
    for (body, expected) in [
        ("", (ErrorForm::Empty, None, None, None)),
        (
            r#"{"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "scimType": "Uniqueness", "detail": "taken", "status": "409"}"#,
            (ErrorForm::Scim, Some(409), uniqueness(), Some("taken")),
        ),
        (
            r#"{"Schemas": "urn:ietf:params:scim:api:messages:2.0:error", "status": 400, "scimType": null, "Detail": " a\n b "}"#,
            (ErrorForm::Scim, Some(400), None, Some("a b")),
        ),
        (
            r#"{"Errors": [{"description": "Resource 2819c223 not found", "code": "404"}, {"description": "more"}]}"#,
            (ErrorForm::Json, Some(404), None, Some("Resource 2819c223 not found")),
        ),
        (
            r#"{"error": "invalid_token", "error_description": "The access token expired"}"#,
            (ErrorForm::Json, None, None, Some("The access token expired")),
        ),
        (r#"{"error": "invalid_client"}"#, (ErrorForm::Json, None, None, Some("invalid_client"))),
        (
            r#"{"error": {"code": 403, "message": "Not Authorized", "status": "PERMISSION_DENIED"}}"#,
            (ErrorForm::Json, Some(403), None, Some("Not Authorized")),
        ),
        (
            r#"{"errorCode": "E0000001", "errorSummary": "Api validation failed: login", "errorCauses": []}"#,
            (ErrorForm::Json, None, None, Some("Api validation failed: login")),
        ),
        (
            r#"{"type": "about:blank", "title": "Forbidden", "status": 403}"#,
            (ErrorForm::Json, Some(403), None, Some("Forbidden")),
        ),
        (r#"[{"status": "400", "detail": "a"}]"#, (ErrorForm::Json, Some(400), None, Some("a"))),
        (
            r#"{"status": "400", "status": "401", "detail": "twice"}"#,
            (ErrorForm::Json, Some(401), None, Some("twice")),
        ),
        (r#"{"detail": 7, "status": 70000}"#, (ErrorForm::Json, None, None, Some("7"))),
        ("<html><title>Sign in</title></html>", (ErrorForm::Html, None, None, None)),
        (
            "upstream connect error\u{1b}[2J\r\n",
            (ErrorForm::Text, None, None, Some("upstream connect error\u{fffd}[2J")),
        ),
        ("{\"detail\": \"cut of", (ErrorForm::Text, None, None, Some("{\"detail\": \"cut of"))),
        ("\u{feff} null", (ErrorForm::Text, None, None, Some("null"))),
    ] {
        let (form, status, scim_type, detail) = expected;
        assert_eq!(found(body), (form, status, scim_type, detail.map(str::to_owned)), "{body}");
    }
}

#[test]
fn cuts_what_is_long_and_shows_what_would_act() {
    let (_, _, _, detail) = found(&"\u{202e}é ".repeat(100_000));
    let detail = detail.unwrap();
    assert_eq!(detail.chars().count(), DETAIL_CHARS_MAX + 1);
    assert!(detail.starts_with("\u{fffd}é \u{fffd}é") && detail.ends_with('…'));
    let exact = "x".repeat(DETAIL_CHARS_MAX);
    assert_eq!(found(&exact).3, Some(exact));
}

#[test]
fn an_error_is_written_as_rfc_7644_has_it() {
    let mut message = ErrorMessage::new(404);
    message.detail = Some("Resource 2819c223 not found".to_owned());
    let written = serde_json::to_string(&message).unwrap();
    assert_eq!(
        written,
        r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"404","detail":"Resource 2819c223 not found"}"#
    );
    assert_eq!(found(&written).0, ErrorForm::Scim);
}

proptest! {
    #[test]
    fn never_fails(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let error = ErrorResponse::read(&body);
        prop_assert!(error.detail.is_none_or(|detail| !detail.chars().any(char::is_control)));
    }

    #[test]
    fn never_fails_for_json(body in r#"\{("(status|detail|error|errors|schemas|code)":(\{|\[|"a"|1|null|true|\}|\]|,){1,3}){0,4}\}{0,2}"#) {
        ErrorResponse::read(body.as_bytes());
    }
}
