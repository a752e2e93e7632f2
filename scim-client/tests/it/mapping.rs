//! Resources made of a source's attributes.

use proptest::prelude::*;
use scim_client::mapping::{EXPRESSION_DEPTH_MAX, Mapping, Occasion, VALUE_BYTES_MAX};
use scim_client::patch::{apply, towards};
use scim_client::resource::Attributes;
use serde_json::{Value, json};

const MAPPING: &str = r#"
version = 1

[source]
mail = "string"
"name.first" = "string"
last = "string"
dept = "integer"
enabled = "boolean"
hired = "string"
roles = "strings"
initial = "string"

[attributes]
userName = { lower = "mail", required = true }
displayName = { join = ["name.first", { upper = "last" }], with = " " }
"name.familyName" = "last"
"name.givenName" = "name.first"
active = "enabled"
title = { constant = "Employee" }
'emails[type eq "work" and primary eq true].value' = "mail"
roles = "roles"
password = { copy = "initial", on = "create" }
"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department" = { lookup = "dept", in = "departments" }
"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter" = { lookup = "dept", in = "centres", default = "none" }
"urn:example:2.0:User:since" = { date = "hired", from = "%d.%m.%Y", to = "%Y-%m-%d" }

[lookup.departments]
17 = "Finance"

[lookup.centres]
18 = "C"
"#;

fn mapping(text: &str) -> Mapping {
    Mapping::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
}

fn source(value: Value) -> Attributes {
    value.as_object().unwrap().clone()
}

fn person() -> Value {
    json!({
        "mail": "Ann@X.example", "name": {"first": "Ann"}, "last": "Lee", "dept": 17, "enabled": "TRUE",
        "hired": "01.02.2024", "roles": ["a", "b"], "initial": "hunter2", "unknown": {"to": "the mapping"},
    })
}

#[test]
fn makes_a_resource() {
    let user = mapping(MAPPING).apply(&source(person())).unwrap();
    assert_eq!(
        Value::Object(user),
        json!({
            "schemas": [
                "urn:ietf:params:scim:schemas:core:2.0:User",
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
                "urn:example:2.0:User",
            ],
            "userName": "ann@x.example",
            "displayName": "Ann LEE",
            "name": {"familyName": "Lee", "givenName": "Ann"},
            "active": true,
            "title": "Employee",
            "emails": [{"type": "work", "primary": true, "value": "Ann@X.example"}],
            "roles": [{"value": "a"}, {"value": "b"}],
            "password": "hunter2",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Finance", "costCenter": "none"},
            "urn:example:2.0:User": {"since": "2024-02-01"},
        })
    );
}

#[test]
fn what_is_absent_stays_absent_and_what_is_null_is_unassigned() {
    let mapping = mapping(MAPPING);
    let user =
        mapping.apply_update(&source(json!({"mail": "a", "dept": 17, "last": null, "roles": []}))).unwrap();
    assert_eq!(user["name"], json!({"familyName": null}));
    assert_eq!((&user["displayName"], &user["roles"]), (&Value::Null, &json!([])));
    for absent in ["active", "password", "urn:example:2.0:User"] {
        assert!(!user.contains_key(absent), "{absent}");
    }

    // What the source says to be gone goes from the server, and nothing else.
    let mut there = source(json!({
        "userName": "a", "active": true, "displayName": "A", "nickName": "kept", "roles": [{"value": "a"}],
        "name": {"familyName": "Lee", "givenName": "kept"},
    }));
    let patch = towards(&there, &user);
    apply(&mut there, &patch).unwrap();
    assert_eq!((&there["name"], &there["nickName"]), (&json!({"givenName": "kept"}), &json!("kept")));
    assert_eq!((&there["active"], there.get("roles"), there.get("displayName")), (&json!(true), None, None));
    assert!(towards(&there, &user).is_empty());
}

#[test]
fn an_element_whose_value_is_gone_is_not_made() {
    let mapping = mapping(
        "version = 1\n[source]\nmail = 'string'\nhome = 'string'\n[attributes]\n\
         'emails[type eq \"work\"].value' = 'mail'\n'emails[type eq \"home\"].value' = 'home'\n",
    );
    let of = |mail: Value, home: Value| mapping.apply(&source(json!({"mail": mail, "home": home}))).unwrap();
    assert_eq!(of(json!("a"), json!(null))["emails"], json!([{"type": "work", "value": "a"}]));
    assert_eq!(of(json!(null), json!(""))["emails"], json!([]));
    assert!(!mapping.apply(&Attributes::new()).unwrap().contains_key("emails"));
}

#[test]
fn errors_name_the_attribute_and_never_a_value() {
    let mapping = mapping(MAPPING);
    let cases = [
        ("mail", json!(null), "`userName`: the source has no value, and one is required"),
        ("dept", json!(99), "department`: the value is not in the table `departments`, which has no default"),
        ("dept", json!("hunter2"), "department`: `dept` of the source is not of the kind `integer`"),
        ("hired", json!("hunter2"), "since`: the value is no date of the form `%d.%m.%Y`"),
        ("enabled", json!("hunter2"), "`active`: `enabled` of the source is not of the kind `boolean`"),
        ("initial", json!(["hunter2"]), "`password`: `initial` of the source is not of the kind `string`"),
        ("last", json!("x".repeat(VALUE_BYTES_MAX + 1)), "longer than"),
    ];
    for (name, value, expected) in cases {
        let mut person = person();
        person[name] = value;
        let error = mapping.apply(&source(person)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
    assert!(!format!("{mapping:?}").contains("Finance"));
}

#[test]
fn says_what_it_writes_when() {
    let mapping = mapping(MAPPING);
    let once: Vec<String> = mapping
        .targets()
        .filter(|(_, occasion)| *occasion == Occasion::Create)
        .map(|(path, _)| path.to_string())
        .collect();
    assert_eq!(once, ["password"]);
    assert_eq!(mapping.sources().count(), 8);
    assert!(!mapping.apply_update(&source(person())).unwrap().contains_key("password"));
}

#[test]
fn mistakes_are_shown_with_line_and_column() {
    let text = r#"version = 2
schema = "User"
unknown = 1
[source]
a = "strnig"
list = "strings"
[attributes]
userName = "b"
id = "a"
"emails[" = "a"
'emails[type sw "w"].value' = "a"
'emails[type eq "w"]' = "a"
title = { copy = "a", lower = "a" }
nickName = { lookup = "a", in = "nowhere" }
locale = { date = "a", from = "%Q" }
timezone = { lower = "list" }
name = "a"
"name.familyName" = { upper = "a", with = "x" }
"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User" = "a"
active = { constant = 2024-01-01 }
userType = { join = [] }
preferredLanguage = { lookup = "a", in = "t", default = 1, on = "never", required = 1 }
[lookup.t]
x = "y"
z = true
"#;
    let error = Mapping::from_toml(text).unwrap_err();
    let at: Vec<(usize, usize)> =
        error.mistakes().iter().map(|mistake| (mistake.line, mistake.column)).collect();
    let expected = [
        (1, 11),
        (2, 10),
        (3, 1),
        (5, 5),
        (8, 12),
        (9, 1),
        (10, 1),
        (11, 1),
        (12, 1),
        (13, 9),
        (14, 33),
        (15, 31),
        (16, 22),
        (18, 1),
        (18, 36),
        (19, 1),
        (20, 23),
        (21, 21),
        (22, 57),
        (22, 65),
        (22, 85),
        (25, 5),
    ];
    assert_eq!(at, expected, "{error}");
    assert!(error.to_string().contains("line 8, column 12: `b` is not an attribute of the source"));
}

#[test]
fn text_that_is_no_toml_is_shown_with_its_place() {
    let error = Mapping::from_toml("version = 1\n[source\n").unwrap_err();
    assert_eq!(error.mistakes()[0].line, 2);
    let deep = format!(
        "version = 1\n[source]\na = 'string'\n[attributes]\ntitle = {}'a'{}",
        "{ lower = ".repeat(EXPRESSION_DEPTH_MAX + 1),
        " }".repeat(EXPRESSION_DEPTH_MAX + 1)
    );
    assert!(Mapping::from_toml(&deep).unwrap_err().to_string().contains("nest deeper than"));
    for text in ["[".repeat(100_000), format!("attributes = {}", "{a=".repeat(100_000)), "a.".repeat(100_000)]
    {
        assert!(Mapping::from_toml(&text).is_err());
    }
}

#[test]
fn dates_are_read_and_written_in_their_forms() {
    let of = |options: &str, date: &str| {
        let text =
            format!("version = 1\n[source]\nd = 'string'\n[attributes]\ntitle = {{ date = 'd', {options} }}");
        let user = mapping(&text).apply(&source(json!({ "d": date }))).map_err(|error| error.to_string())?;
        Ok::<_, String>(user["title"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("from = '%Y%m%d'", "20240229").unwrap(), "2024-02-29T00:00:00Z");
    assert_eq!(of("from = '%Y-%m-%d %H:%M %z'", "2024-01-01 01:30 +0530").unwrap(), "2023-12-31T20:00:00Z");
    assert_eq!(of("from = '%Y-%m-%dT%H:%M:%S'", "2024-01-01T01:30:00").unwrap(), "2024-01-01T01:30:00Z");
    assert_eq!(of("to = '%d/%m/%Y'", "2024-01-01T01:30:00+02:00").unwrap(), "31/12/2023");
    assert!(of("from = '%Y%m%d'", "20240230").is_err());
}

proptest! {
    #[test]
    fn never_panics(text in "(version|\\[source\\]|\\[attributes\\]|a|=|'|\"|string|\\{|\\}|lower|\\[|\\]|\n|1| ){0,40}") {
        let _ = Mapping::from_toml(&text);
    }

    #[test]
    fn what_it_makes_is_what_is_there_after_a_patch(
        mail in "[a-z]{1,4}",
        first in prop::option::of("[A-Z]{0,3}"),
        last in prop::option::of("[A-Z]{0,3}"),
        roles in prop::option::of(prop::collection::vec("[a-c]", 0..3)),
        enabled in any::<bool>(),
    ) {
        let mapping = mapping(MAPPING);
        let person = json!({"mail": mail, "name": {"first": first}, "last": last, "dept": 17, "roles": roles, "enabled": enabled});
        let wanted = mapping.apply(&source(person)).unwrap();
        let mut there = Attributes::new();
        apply(&mut there, &towards(&Attributes::new(), &wanted)).unwrap();
        prop_assert!(towards(&there, &wanted).is_empty());
    }
}
