//! What operations do to a resource (RFC 7644 §3.5.2).

use proptest::prelude::*;
use scim_client::error::ScimType;
use scim_client::message::PatchVerb::{Add, Remove, Replace};
use scim_client::message::{PatchOp, PatchOperation, PatchVerb};
use scim_client::patch::{ApplyErrorKind, OPERATIONS_MAX, apply};
use scim_client::resource::{Attributes, ResourceId};
use serde_json::{Value, json};

use super::generators::{anything, resource};
use super::{attributes, patch, path};

fn user() -> Attributes {
    attributes(json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "1",
        "userName": "alice", "name": {"familyName": "F", "givenName": "G"},
        "emails": [
            {"value": "a@x.example", "type": "work", "primary": true},
            {"value": "b@x.example", "type": "home"},
        ],
        "groups": [{"value": "g"}],
    }))
}

/// What the user is after one operation, by attribute.
fn after(verb: PatchVerb, path: &str, value: Value, attribute: &str) -> Value {
    let mut user = user();
    apply(&mut user, &patch(&[(verb, path, value)])).unwrap();
    user.get(attribute).cloned().unwrap_or_default()
}

fn refused(verb: PatchVerb, path: &str, value: Value) -> ApplyErrorKind {
    let mut changed = user();
    let error =
        apply(&mut changed, &patch(&[(Replace, "title", json!("x")), (verb, path, value)])).unwrap_err();
    assert_eq!(error.operation, 1);
    assert_eq!(changed, user(), "half applied");
    error.kind
}

#[test]
fn add_appends_merges_and_never_doubles() {
    let a = json!({"value": "a@x.example", "type": "work", "primary": true});
    let b = json!({"value": "b@x.example", "type": "home"});
    let c = json!({"value": "c@x.example"});
    assert_eq!(after(Add, "emails", json!([a, c]), "emails"), json!([a, b, c]));
    assert_eq!(after(Add, "EMAILS", c.clone(), "emails"), json!([a, b, c]));
    assert_eq!(after(Add, "photos", c.clone(), "photos"), json!([c]));
    assert_eq!(
        after(Add, "name", json!({"GivenName": "H"}), "name"),
        json!({"familyName": "F", "givenName": "H"})
    );
    assert_eq!(after(Add, "name.middleName", json!("M"), "name")["middleName"], "M");
    assert_eq!(after(Add, "userName", json!("bob"), "userName"), "bob");
    assert_eq!(after(Add, "-", json!({"title": "T", "emails": [c]}), "emails"), json!([a, b, c]));
}

#[test]
fn replace_puts_lists_in_place_and_merges_complex_attributes() {
    let c = json!([{"value": "c@x.example"}]);
    assert_eq!(after(Replace, "emails", c.clone(), "emails"), c);
    assert_eq!(after(Replace, "title", json!("T"), "title"), "T");
    assert_eq!(
        after(Replace, "name", json!({"givenName": "H"}), "name"),
        json!({"familyName": "F", "givenName": "H"})
    );
    assert_eq!(after(Replace, "name", json!({"givenName": null}), "name"), json!({"familyName": "F"}));
    assert_eq!(after(Replace, "name", Value::Null, "name"), Value::Null);
    assert_eq!(after(Replace, "emails", json!([]), "emails"), Value::Null);
    assert_eq!(
        after(Replace, r#"emails[type eq "HOME"]"#, json!({"value": "d"}), "emails")[1],
        json!({"value": "d"})
    );
    assert_eq!(after(Replace, r#"emails[type eq "home"].value"#, json!("d"), "emails")[1]["value"], "d");
    assert_eq!(after(Replace, "emails.type", json!("other"), "emails")[1]["type"], "other");
    assert_eq!(refused(Replace, r#"emails[type eq "none"].value"#, json!("x")), ApplyErrorKind::NoTarget);
    assert_eq!(refused(Replace, r#"photos[type eq "none"].value"#, json!("x")), ApplyErrorKind::NoTarget);
}

#[test]
fn remove_takes_what_is_there_and_leaves_no_empty_shell() {
    let a = json!({"value": "a@x.example", "type": "work", "primary": true});
    assert_eq!(after(Remove, r#"emails[type eq "home"]"#, json!("-"), "emails"), json!([a]));
    assert_eq!(after(Remove, r#"emails[value co "x.example"]"#, json!("-"), "emails"), Value::Null);
    assert_eq!(after(Remove, r#"emails[type eq "none"]"#, json!("-"), "emails"), user()["emails"]);
    assert_eq!(after(Remove, "emails.type", json!("-"), "emails")[1], json!({"value": "b@x.example"}));
    assert_eq!(after(Remove, "name.familyName", json!("-"), "name"), json!({"givenName": "G"}));
    assert_eq!(after(Remove, "nickName", json!("-"), "nickName"), Value::Null);
    // Not the whole attribute, whose senders mean these elements.
    assert_eq!(after(Remove, "emails", json!([{"value": "b@x.example"}]), "emails"), json!([a]));
    assert_eq!(after(Remove, "emails", json!([]), "emails"), user()["emails"]);
    assert_eq!(refused(Remove, "-", json!("-")), ApplyErrorKind::NoTarget);
    assert_eq!(refused(Remove, "-", json!({"title": "T"})), ApplyErrorKind::NoTarget);
}

#[test]
fn what_becomes_primary_makes_the_others_not() {
    let primaries = |emails: Value| -> Vec<bool> {
        emails.as_array().unwrap().iter().map(|email| email["primary"] == json!(true)).collect()
    };
    assert_eq!(
        primaries(after(Add, "emails", json!([{"value": "c", "primary": true}]), "emails")),
        [false, false, true]
    );
    let by_sub = after(Replace, r#"emails[type eq "home"].primary"#, json!(true), "emails");
    assert_eq!(primaries(by_sub), [false, true]);
    let whole = json!({"value": "b", "primary": true});
    assert_eq!(
        primaries(after(Replace, r#"emails[type eq "home"]"#, whole.clone(), "emails")),
        [false, true]
    );
    assert_eq!(primaries(after(Add, r#"emails[type eq "home"]"#, whole, "emails")), [false, true]);
    let two = json!([{"value": "c", "primary": true}, {"value": "d", "primary": true}]);
    assert_eq!(refused(Replace, "emails", two.clone()), ApplyErrorKind::InvalidValue);
    assert_eq!(refused(Add, "emails", two.clone()), ApplyErrorKind::InvalidValue);
    assert_eq!(refused(Add, "photos", two), ApplyErrorKind::InvalidValue);
    assert_eq!(refused(Replace, "emails.primary", json!(true)), ApplyErrorKind::InvalidValue);
}

#[test]
fn add_makes_the_element_that_its_filter_describes() {
    let made = after(Add, r#"photos[type eq "thumb" and primary eq true].value"#, json!("p"), "photos");
    assert_eq!(made, json!([{"type": "thumb", "primary": true, "value": "p"}]));
    let phone = after(Add, r#"emails[type eq "other"].value"#, json!("o"), "emails");
    assert_eq!(phone[2], json!({"type": "other", "value": "o"}));
    assert_eq!(refused(Add, r#"emails[type sw "oth"].value"#, json!("o")), ApplyErrorKind::NoTarget);
}

#[test]
fn extensions_are_found_by_their_urn() {
    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let mut user = user();
    let of = |attribute: &str| format!("{ENTERPRISE}:{attribute}");
    let do_all = [
        (Add, of("department"), json!("D")),
        (Replace, of("manager.value"), json!("7")),
        (Add, of("manager").to_uppercase(), json!({"displayName": "Boss"})),
        (Add, "urn:ietf:params:scim:schemas:core:2.0:User:title".to_owned(), json!("T")),
        (Add, "urn:example:2.0:Badge:colour".to_owned(), json!("red")),
    ];
    for (verb, path, value) in do_all {
        apply(&mut user, &patch(&[(verb, &path, value)])).unwrap();
    }
    assert_eq!(
        user[ENTERPRISE],
        json!({"department": "D", "manager": {"value": "7", "displayName": "Boss"}})
    );
    assert_eq!((&user["title"], &user["urn:example:2.0:Badge"]["colour"]), (&json!("T"), &json!("red")));
    assert_eq!(
        user["schemas"],
        json!(["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE, "urn:example:2.0:Badge"])
    );
    apply(&mut user, &patch(&[(Remove, ENTERPRISE, json!("-"))])).unwrap();
    apply(&mut user, &patch(&[(Remove, "urn:example:2.0:Badge:colour", json!("-"))])).unwrap();
    assert!(!user.contains_key(ENTERPRISE) && !user.contains_key("urn:example:2.0:Badge"));
    apply(&mut user, &patch(&[(Add, "-", json!({ENTERPRISE: {"division": "V"}}))])).unwrap();
    assert_eq!(user[ENTERPRISE], json!({"division": "V"}));
}

#[test]
fn the_schema_of_a_kind_of_ones_own_is_no_extension() {
    let mut device = attributes(json!({"schemas": ["urn:example:2.0:Device"], "serial": "1"}));
    apply(&mut device, &patch(&[(Replace, "urn:example:2.0:Device:serial", json!("2"))])).unwrap();
    assert_eq!(device, attributes(json!({"schemas": ["urn:example:2.0:Device"], "serial": "2"})));
}

#[test]
fn what_the_server_manages_stays() {
    for path in ["id", "meta", "groups", "meta.version", r#"groups[value eq "g"]"#] {
        assert_eq!(refused(Replace, path, json!("x")), ApplyErrorKind::Mutability, "{path}");
        assert_eq!(refused(Remove, path, json!("-")), ApplyErrorKind::Mutability, "{path}");
    }
    assert_eq!(after(Replace, "-", json!({"id": "1", "title": "T"}), "title"), "T");
    assert_eq!(ApplyErrorKind::Mutability.scim_type(), Some(ScimType::Mutability));
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(refused(Add, "title", json!("-")), ApplyErrorKind::InvalidValue);
    assert_eq!(refused(Add, "-", json!("x")), ApplyErrorKind::InvalidValue);
    assert_eq!(refused(Add, "userName.part", json!("x")), ApplyErrorKind::InvalidPath);
    assert_eq!(refused(Add, r#"userName[value eq "x"]"#, json!("x")), ApplyErrorKind::InvalidPath);
    assert_eq!(refused(Add, "-", json!({"a b": 1})), ApplyErrorKind::InvalidPath);
    assert_eq!(refused(Replace, r#"emails[type eq "work"]"#, json!([1, 2])), ApplyErrorKind::InvalidValue);
}

#[test]
fn an_error_names_the_operation_and_the_attribute_and_no_value() {
    let mut user = user();
    let secret = patch(&[(Replace, r#"emails[value eq "hunter2"].display"#, json!("hunter3"))]);
    let error = apply(&mut user, &secret).unwrap_err();
    assert_eq!(error.to_string(), "operation 0 on `emails.display`: nothing is there that it could change");
    assert!(!format!("{error:?}").contains("hunter"));
}

#[test]
fn members_come_and_go() {
    let ids = |ids: &[&str]| ids.iter().map(|id| ResourceId::new(*id)).collect::<Vec<_>>();
    let mut group = attributes(json!({"members": [{"value": "1", "display": "One"}, {"value": "2"}]}));
    let change = PatchOp::new().add_members(&ids(&["1", "3"])).remove_members(&ids(&["2", "9"]));
    apply(&mut group, &change).unwrap();
    assert_eq!(group["members"], json!([{"value": "1", "display": "One"}, {"value": "3"}]));
    apply(&mut group, &PatchOp::new().remove(path("members"))).unwrap();
    assert!(group.is_empty());
}

#[test]
fn there_is_a_limit_to_operations_and_to_work() {
    let operation = PatchOperation { verb: Add, path: Some(path("title")), value: Some(json!("x")) };
    let many = PatchOp { operations: vec![operation; OPERATIONS_MAX + 1], ..PatchOp::default() };
    let mut changed = user();
    let error = apply(&mut changed, &many).unwrap_err();
    assert_eq!((error.operation, error.kind), (OPERATIONS_MAX, ApplyErrorKind::TooLarge));
    assert_eq!(changed, user());

    // A megabyte of text into each of a thousand elements.
    let elements: Vec<Value> = (0..1_000).map(|id| json!({ "value": id.to_string() })).collect();
    let mut group = attributes(json!({ "emails": elements }));
    let grow = patch(&[(Replace, "emails.display", json!("x".repeat(1 << 20)))]);
    assert_eq!(apply(&mut group, &grow).unwrap_err().kind, ApplyErrorKind::TooLarge);
}

#[test]
fn no_password_is_shown() {
    for (path, value) in [
        ("password", json!("hunter2")),
        ("-", json!({"Password": "hunter2", "title": "T"})),
        ("urn:ietf:params:scim:schemas:core:2.0:User:password", json!("hunter2")),
        ("-", json!({"urn:ietf:params:scim:schemas:core:2.0:User:password": "hunter2"})),
        ("-", json!({"urn:ietf:params:scim:schemas:core:2.0:User": {"password": ["hunter2"]}})),
    ] {
        let shown = format!("{:?}", patch(&[(Replace, path, value)]));
        assert!(!shown.contains("hunter2") && shown.to_lowercase().contains("password"), "{shown}");
    }
}

#[test]
fn removals_one_after_the_other_do_as_one_by_one() {
    let group = attributes(json!({"members": [
        {"value": "1"}, {"value": "AB"}, {"value": "ab"}, {"Value": "2"}, "3", {"display": "4"}, {"value": 5},
    ]}));
    let plain =
        attributes(json!({"members": [{"value": "1"}, {"value": "AB"}, {"value": "ab"}, {"value": "2"}]}));
    let removal =
        |id: &str| PatchOp::new().remove(path(&format!("members[value eq \"{id}\"]"))).operations.remove(0);
    for (group, left) in [(group, 4), (plain, 1)] {
        let operations: Vec<_> = ["2", "9", "ab", "1", "1"].into_iter().map(removal).collect();
        let mut together = group.clone();
        apply(&mut together, &PatchOp { operations: operations.clone(), ..PatchOp::default() }).unwrap();
        let mut one_by_one = group;
        for operation in operations {
            apply(&mut one_by_one, &PatchOp { operations: vec![operation], ..PatchOp::default() }).unwrap();
        }
        assert_eq!(together, one_by_one);
        assert_eq!(together["members"].as_array().unwrap().len(), left);
    }
}

#[test]
fn a_large_group_loses_many_members_within_the_limits() {
    let ids: Vec<ResourceId> = (0..20_000).map(|id| ResourceId::new(id.to_string())).collect();
    let mut group = Attributes::new();
    apply(&mut group, &PatchOp::new().add_members(&ids)).unwrap();
    apply(&mut group, &PatchOp::new().remove_members(&ids[1..])).unwrap();
    assert_eq!(group["members"], json!([{"value": "0"}]));
}

fn any_operation() -> impl Strategy<Value = PatchOperation> {
    let texts = vec![
        "userName",
        "name.familyName",
        "emails",
        "emails.type",
        "members",
        "id",
        "schemas",
        "tags",
        "active",
        r#"emails[type eq "work"]"#,
        r#"emails[value eq "a" or primary eq true].display"#,
        r#"roles[not (value pr)]"#,
        r#"members[value eq "1"]"#,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
        "urn:x:y",
        "urn:x:y:a",
        "urn:ietf:params:scim:schemas:core:2.0:User",
        "x",
    ];
    let verb = prop::sample::select(vec![Add, Remove, Replace]);
    let value = prop_oneof![
        1 => Just(None),
        3 => resource().prop_map(|resource| Some(Value::Object(resource))),
        3 => anything().prop_map(|any| Some(any.into_values().next().unwrap_or_default())),
        1 => resource().prop_map(|resource| resource.get("emails").cloned()),
    ];
    (verb, prop::option::of(prop::sample::select(texts)), value)
        .prop_map(|(verb, text, value)| PatchOperation { verb, path: text.map(path), value })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn is_all_or_nothing(
        before in prop_oneof![resource(), anything()],
        operations in prop::collection::vec(any_operation(), 0..6),
    ) {
        let patch = PatchOp { operations, ..PatchOp::default() };
        let mut changed = before.clone();
        match apply(&mut changed, &patch) {
            Err(error) => {
                prop_assert_eq!(changed, before);
                prop_assert!(error.operation < patch.operations.len());
            }
            Ok(()) => {
                prop_assert_eq!(changed.get("id"), before.get("id"));
                let mut again = before;
                for operation in patch.operations {
                    apply(&mut again, &PatchOp { operations: vec![operation], ..PatchOp::default() }).unwrap();
                }
                prop_assert_eq!(again, changed, "together and one by one differ");
            }
        }
    }
}
