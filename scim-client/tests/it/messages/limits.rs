//! What is refused, and what is said of the place.

use scim_client::read::{ReadError, ReadErrorKind, ReadLimits, from_slice};
use scim_client::resource::{DynamicResource, Group, User};

fn refused(json: &[u8]) -> ReadError {
    from_slice::<User>(json, &ReadLimits::default()).unwrap_err()
}

#[test]
fn names_the_attribute_that_appears_twice() {
    let error = refused(b"{\"userName\": \"a\",\n \"emails\": [{\"value\": \"x\", \"VALUE\": \"y\"}]}");
    assert_eq!(error.kind(), &ReadErrorKind::Duplicate);
    assert_eq!(error.path(), "emails[0].VALUE");
    assert_eq!((error.position().line, error.position().column, error.position().offset), (2, 34, 51));
    assert_eq!(
        error.to_string(),
        "this name appears twice in `emails[0].VALUE` at line 2 column 34 (byte 51)"
    );

    for twice in [
        &br#"{"userName": "a", "username": "a"}"#[..],
        br#"{"x": 1, "X": 1}"#,
        br#"{"x": {"y": [{"z": 1, "Z": 2}]}}"#,
        br#"{"x\u0031": 1, "X1": 2}"#,
    ] {
        assert_eq!(refused(twice).kind(), &ReadErrorKind::Duplicate);
        let error = from_slice::<DynamicResource>(twice, &ReadLimits::default()).unwrap_err();
        assert_eq!(error.kind(), &ReadErrorKind::Duplicate);
    }
}

#[test]
fn finds_a_duplicate_among_many_names() {
    let mut names: Vec<String> = (0..20_000).map(|n| format!("\"name{n}\": 1")).collect();
    let unique = format!("{{{}}}", names.join(","));
    from_slice::<User>(unique.as_bytes(), &ReadLimits::default()).unwrap();
    names.push("\"NAME3\": 1".to_owned());
    let error = refused(format!("{{{}}}", names.join(",")).as_bytes());
    assert_eq!((error.kind(), error.path()), (&ReadErrorKind::Duplicate, "NAME3"));
}

#[test]
fn says_what_was_expected_and_never_what_was_there() {
    let error = refused(br#"{"active": "hunter2"}"#);
    assert_eq!(error.kind(), &ReadErrorKind::Unexpected { reason: "expected true or false".to_owned() });
    assert_eq!(error.path(), "active");
    for wrong in [
        r#"{"userName": {"value": "hunter2"}}"#,
        r#"{"emails": [["hunter2", "b"]]}"#,
        r#"{"password": ["hunter2", "hunter2"]}"#,
        r#"{"meta": "hunter2"}"#,
        r#""hunter2""#,
        r#"{"userName": "hunter2"} "hunter2""#,
        r#"{"userName": "hunter2", hunter2}"#,
        r#"{"active": hunter2}"#,
    ] {
        let error = refused(wrong.as_bytes());
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    #[derive(Debug, serde::Deserialize)]
    struct Derived {
        #[serde(rename = "userName")]
        _user_name: u32,
    }
    let error = from_slice::<Derived>(br#"{"userName": "hunter2"}"#, &ReadLimits::default()).unwrap_err();
    assert_eq!(error.kind(), &ReadErrorKind::Unexpected { reason: "expected u32".to_owned() });
    assert_eq!(error.path(), "userName");
}

#[test]
fn refuses_what_is_nested_too_deep() {
    let nested = |depth: usize| format!(r#"{{"x": {}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    let limits = ReadLimits::default();
    from_slice::<User>(nested(32).as_bytes(), &limits).unwrap();
    let error = from_slice::<User>(nested(33).as_bytes(), &limits).unwrap_err();
    assert_eq!(error.kind(), &ReadErrorKind::TooDeep { depth_max: 32 });
    assert_eq!(error.position().offset, 6 + 31);
    assert!(error.path().starts_with("x[0][0]"));

    let most = limits.with(|limits| limits.depth_max = usize::MAX);
    from_slice::<User>(nested(127).as_bytes(), &most).unwrap();
    for depth in [128, 1_000_000] {
        let error = from_slice::<User>(nested(depth).as_bytes(), &most).unwrap_err();
        assert_eq!(error.kind(), &ReadErrorKind::TooDeep { depth_max: 127 });
    }
    // Brackets in texts nest nothing.
    let text = format!(r#"{{"userName": "\\\"{}"}}"#, "[{".repeat(200));
    from_slice::<User>(text.as_bytes(), &limits).unwrap();
}

#[test]
fn refuses_too_many_bytes_and_values() {
    let limits = ReadLimits::default().with(|limits| {
        limits.bytes_max = 40;
        limits.values_max = 5;
    });
    let error = from_slice::<User>(&[b' '; 41], &limits).unwrap_err();
    assert_eq!(error.kind(), &ReadErrorKind::TooLong { bytes_max: 40 });
    from_slice::<User>(br#"{"x": [1,2,3,4]}"#, &limits).unwrap();
    let error = from_slice::<User>(br#"{"x": [1,2,3,4,5]}"#, &limits).unwrap_err();
    assert_eq!(error.kind(), &ReadErrorKind::TooMany { values_max: 5 });
    assert_eq!(error.path(), "x[4]");
}

#[test]
fn names_the_byte_that_is_not_utf8() {
    let error = refused(b"{\"userName\": \"bj\xf8rn\"}");
    assert_eq!(error.kind(), &ReadErrorKind::NotUtf8);
    assert_eq!((error.position().offset, error.path()), (16, "userName"));
    assert!(!format!("{error:?}").contains("bj"));
}

#[test]
fn tells_an_empty_and_a_truncated_document_from_a_wrong_one() {
    assert_eq!(refused(b" \n").kind(), &ReadErrorKind::Empty);
    let error = refused(br#"{"name": {"familyName": "Jen"#);
    assert_eq!((error.kind(), error.path()), (&ReadErrorKind::Truncated, "name.familyName"));
    let error = refused(b"<html><body>Sign in</body></html>");
    assert!(matches!(error.kind(), ReadErrorKind::Syntax { .. }));
    assert_eq!(error.position().offset, 0);
    let error = refused(br#"{"name": {"familyName" "Jensen"}}"#);
    assert!(matches!(error.kind(), ReadErrorKind::Syntax { .. }));
    assert_eq!((error.position().offset, error.path()), (23, "name.familyName"));
}

#[test]
fn passes_over_a_byte_order_mark() {
    let group: Group = from_slice(b"\xef\xbb\xbf{\"displayName\": \"a\"}", &ReadLimits::default()).unwrap();
    assert_eq!(group.display_name, "a".into());
    let error = refused(b"\xef\xbb\xbf{\"active\": 7}");
    assert_eq!(error.position().offset, 14);
}
