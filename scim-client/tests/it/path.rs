//! Attribute names and PATCH paths.

use scim_client::filter::{FILTER_BYTES_MAX, SyntaxFault, user};
use scim_client::path::{AttributePath, Path};
use serde_json::json;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn path(text: &str) -> Path {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn reads_and_writes_every_form() {
    for text in [
        "members",
        "name.familyName",
        r#"addresses[type eq "work"]"#,
        r#"members[value eq "2819c223-7f76-453a-919d-413861904646"]"#,
        r#"members[value eq "2819c223-7f76-453a-919d-413861904646"].displayName"#,
        r#"roles[primary eq "True"].value"#,
        r#"emails[type eq "work" and (value ew "]" or not (primary pr))].$ref"#,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User.manager",
        "urn:scim:schemas:extension:enterprise:1.0",
        "urn:okta:app_1:1.0:user:custom:badge",
        r#"urn:example:2.0:User:badges[colour eq "red"].number"#,
    ] {
        assert_eq!(path(text).to_string(), text);
    }
    assert_eq!(path("EMAILS[TYPE eq 1].VALUE"), path("emails[type eq 1].value"));
    assert_eq!(
        path(&format!("{}:DEPARTMENT", ENTERPRISE.to_ascii_uppercase())),
        path(&format!("{ENTERPRISE}:department"))
    );
}

#[test]
fn an_extension_as_a_whole_is_an_attribute() {
    let whole = path(ENTERPRISE);
    assert_eq!((whole.attribute.schema.as_deref(), whole.attribute.name.as_str()), (None, ENTERPRISE));
    let part = path(&format!("{ENTERPRISE}:department"));
    assert_eq!(
        (part.attribute.schema.as_deref(), part.attribute.name.as_str()),
        (Some(ENTERPRISE), "department")
    );

    let split = AttributePath::named("User").of_schema(ENTERPRISE.strip_suffix(":User").unwrap());
    assert_eq!(split, whole.attribute, "both ways to split the URN are the same attribute");
    let resource = json!({ "schemas": [ENTERPRISE], ENTERPRISE: { "department": "Sales" } });
    let resource = resource.as_object().unwrap();
    assert_eq!(split.find(resource), Some(&json!({ "department": "Sales" })));
    assert_eq!(whole.attribute.find(resource), Some(&json!({ "department": "Sales" })));
    assert_eq!(part.attribute.find(resource), Some(&json!("Sales")));
}

#[test]
fn attributes_are_found_where_their_schema_says() {
    let resource = json!({
        "schemas": ["urn:example:2.0:Device", "urn:example:extension:empty:2.0:User", ENTERPRISE],
        "userName": "a",
        "department": "not the extension's",
        "urn:example:flat:2.0:User:badge": 7,
    });
    let resource = resource.as_object().unwrap();
    let find = |name: &str| name.parse::<AttributePath>().unwrap().find(resource).cloned();
    assert_eq!(find("USERNAME"), Some(json!("a")));
    assert_eq!(find("urn:ietf:params:scim:schemas:core:2.0:User:userName"), Some(json!("a")));
    assert_eq!(find("urn:example:2.0:Device:userName"), Some(json!("a")), "a core schema of its own");
    assert_eq!(find("urn:example:2.0:Other:userName"), None);
    assert_eq!(find("urn:example:extension:empty:2.0:User:userName"), None);
    assert_eq!(find(&format!("{ENTERPRISE}:department")), None, "an extension without attributes");
    assert_eq!(find("urn:example:flat:2.0:User:badge"), Some(json!(7)));
}

#[test]
fn a_name_from_outside_never_becomes_another_path() {
    for hostile in
        ["members[value pr]", "a\" or id pr", "a.b", "a b", "", "é", "]", "a\u{0}", "userName eq 1"]
    {
        let attribute = AttributePath::named(hostile);
        assert!(!attribute.is_valid(), "{hostile}");
        let written = attribute.to_string();
        assert!(written.parse::<AttributePath>().is_err(), "{hostile} became {written}");
        assert!(!written.is_empty());
        let sub = AttributePath::named("name").part(hostile);
        assert!(!sub.is_valid());
        assert!(sub.to_string().parse::<AttributePath>().is_err());
    }
    assert!(!AttributePath::named("a").of_schema("x\" pr or b").is_valid());
    assert!(AttributePath::named("department").of_schema(ENTERPRISE).is_valid());
    assert!(AttributePath::named(ENTERPRISE).is_valid());
}

#[test]
fn sub_attributes_in_either_place_are_the_same() {
    let read = path("name.familyName");
    let built =
        Path { attribute: AttributePath::named("NAME"), element: None, sub: Some("familyname".into()) };
    assert_eq!(read, built);
    assert_eq!(built.sub_attribute(), Some("familyname"));
    assert_eq!(read.sub_attribute(), Some("familyName"));
    assert_eq!(user::name().path().part("familyName"), read);
    assert_ne!(read, path("name"));
    assert_ne!(path("emails[type pr].value"), path("emails[type pr]"));
    assert_ne!(path("emails[type pr]"), path("emails"));
    assert_eq!(path("emails[type pr].value").sub_attribute(), Some("value"));
}

#[test]
fn says_what_is_wrong_and_where() {
    use SyntaxFault::*;
    let cases = [
        ("", (Empty, 1)),
        ("[type pr]", (ExpectedAttribute, 1)),
        ("emails[type pr", (ExpectedBracket, 15)),
        ("emails[]", (ExpectedAttribute, 8)),
        ("emails[type pr].", (AttributeName, 17)),
        ("emails[type pr].a.b", (AttributeName, 17)),
        ("emails[type pr]x", (ExpectedPathEnd, 16)),
        ("emails[type pr][x pr]", (ExpectedPathEnd, 16)),
        ("name.a.b", (AttributeName, 6)),
        ("userName eq \"x\"", (ExpectedPathEnd, 10)),
        ("/userName", (AttributeName, 1)),
    ];
    for (text, expected) in cases {
        let error = text.parse::<Path>().expect_err(text);
        assert_eq!((error.fault(), error.column()), expected, "{text}");
    }
    let long = "a".repeat(FILTER_BYTES_MAX + 1);
    assert_eq!(long.parse::<Path>().unwrap_err().fault(), TooLong);
    assert_eq!(long.parse::<AttributePath>().unwrap_err().fault(), TooLong);
    assert_eq!("a b".parse::<AttributePath>().unwrap_err().column(), 3);
}
