use connector_health::alert::{SAMPLE_BYTES_MAX, redact};
use proptest::prelude::*;

#[test]
fn hides_what_should_not_have_been_said() {
    let said = [
        ("connection refused", "connection refused"),
        ("401 Unauthorized: invalid_token", "401 Unauthorized: invalid_token"),
        ("user ann@example.com not found", "user … not found"),
        ("Authorization: Bearer abc", "Authorization: …"),
        ("sent Bearer abc", "sent Bearer …"),
        ("token=abc failed", "token=… failed"),
        ("\"password\":\"hunter2\"", "\"password\"=…"),
        ("GET https://app.example.com/scim/v2/Users/ann?x=1 failed", "GET https://app.example.com/… failed"),
        ("https://ann:hunter2@app.example.com/", "…"),
        ("bad key eyJhbGciOiJIUzI1NiJ9.e30.abc", "bad key …"),
        ("id 2819c223-7f76-453a-919d-413861904646", "id …"),
        (
            "attribute emails.type_of_the_address is read-only",
            "attribute emails.type_of_the_address is read-only",
        ),
        ("a\r\nb\u{1b}[2J", "a b [2J"),
    ];
    for (text, expected) in said {
        assert_eq!(redact(text), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn is_short_and_plain_whatever_it_is_given(text in any::<String>(), long in "[a-z ]{0,2000}") {
        for text in [text, long] {
            let redacted = redact(&text);
            prop_assert!(redacted.len() <= SAMPLE_BYTES_MAX);
            prop_assert!(!redacted.chars().any(char::is_control));
        }
    }
}
