//! What other senders write.

use scim_client::message::PatchVerb::{Add, Remove, Replace};
use scim_client::patch::{ApplyErrorKind, OPERATIONS_MAX, normalise};
use serde_json::json;

use super::patch;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

#[test]
fn entra_writes_words_for_booleans_and_paths_as_keys() {
    let entra = patch(&[
        (Replace, "active", json!("False")),
        (
            Add,
            "-",
            json!({
                "name.familyName": "F",
                r#"emails[type eq "work"].value"#: "a@x.example",
                format!("{ENTERPRISE}:department"): "D",
                ENTERPRISE: {"manager.value": "7", "costCenter": "C"},
            }),
        ),
        (Add, &format!("{ENTERPRISE}:manager"), json!("7")),
        (Replace, r#"roles[primary eq "True"].value"#, json!("r")),
        (Replace, "emails", json!([{"value": "a", "primary": "True"}])),
        (Replace, "urn:ietf:params:scim:schemas:core:2.0:User:title", json!("T")),
    ]);
    let expected = patch(&[
        (Replace, "active", json!(false)),
        (Add, r#"emails[type eq "work"].value"#, json!("a@x.example")),
        (Add, "name.familyName", json!("F")),
        (Add, &format!("{ENTERPRISE}:costCenter"), json!("C")),
        (Add, &format!("{ENTERPRISE}:manager.value"), json!("7")),
        (Add, &format!("{ENTERPRISE}:department"), json!("D")),
        (Add, &format!("{ENTERPRISE}:manager"), json!({"value": "7"})),
        (Replace, "roles[primary eq true].value", json!("r")),
        (Replace, "emails", json!([{"value": "a", "primary": true}])),
        (Replace, "title", json!("T")),
    ]);
    assert_eq!(normalise(&entra).unwrap(), expected);
    assert_eq!(normalise(&expected).unwrap(), expected);
}

#[test]
fn members_are_removed_by_a_list_of_values() {
    let lists = patch(&[
        (Remove, "members", json!([{"value": "1", "display": "One"}, {"value": "2"}, "3"])),
        (Remove, "emails", json!([{"value": "a", "type": "work"}])),
        (Remove, "title", json!("Clerk")),
        (Remove, "members", json!([])),
    ]);
    let filters = patch(&[
        (Remove, r#"members[value eq "1"]"#, json!("-")),
        (Remove, r#"members[value eq "2"]"#, json!("-")),
        (Remove, r#"members[value eq "3"]"#, json!("-")),
        (Remove, r#"emails[type eq "work" and value eq "a"]"#, json!("-")),
        (Remove, "title", json!("-")),
    ]);
    assert_eq!(normalise(&lists).unwrap(), filters);
}

#[test]
fn okta_writes_no_path() {
    let okta = patch(&[(Replace, "-", json!({"id": "1", "active": false, "displayName": "A"}))]);
    let expected = patch(&[
        (Replace, "active", json!(false)),
        (Replace, "displayName", json!("A")),
        (Replace, "id", json!("1")),
    ]);
    assert_eq!(normalise(&okta).unwrap(), expected);
}

#[test]
fn single_elements_stand_in_a_list() {
    let single = patch(&[
        (Add, "members", json!({"value": "1"})),
        (Add, "members", json!("1")),
        (Add, "members", json!(["1"])),
    ]);
    let one = || (Add, "members", json!([{"value": "1"}]));
    assert_eq!(normalise(&single).unwrap(), patch(&[one(), one(), one()]));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let kind = |operation| {
        let error = normalise(&patch(&[(Replace, "title", json!("x")), operation])).unwrap_err();
        assert_eq!(error.operation, 1);
        error.kind
    };
    assert_eq!(kind((Add, "-", json!({"a b": 1}))), ApplyErrorKind::InvalidPath);
    assert_eq!(kind((Add, "-", json!({"emails[type eq": 1}))), ApplyErrorKind::InvalidPath);
    assert_eq!(kind((Add, "-", json!([1]))), ApplyErrorKind::InvalidValue);
    assert_eq!(kind((Remove, "-", json!("-"))), ApplyErrorKind::NoTarget);
    let many: Vec<String> = (0..=OPERATIONS_MAX).map(|id| id.to_string()).collect();
    assert_eq!(kind((Remove, "members", json!(many))), ApplyErrorKind::TooLarge);
}
