//! Differences.

use proptest::prelude::*;
use scim_client::patch::{apply, between, equivalent, towards};
use serde_json::json;

use super::generators::{anything, resource};
use super::{attributes, lines};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn applied_to_the_old_it_gives_the_new(old in resource(), new in resource()) {
        let patch = between(&old, &new);
        let mut changed = old.clone();
        apply(&mut changed, &patch).unwrap();
        prop_assert!(equivalent(&changed, &new), "{patch:#?}\n{changed:#?}\n{new:#?}");
        prop_assert!(between(&changed, &new).is_empty());
        prop_assert_eq!(changed.get("id"), old.get("id"));
    }

    #[test]
    fn is_empty_exactly_between_equivalents(old in resource(), new in resource()) {
        prop_assert_eq!(between(&old, &new).is_empty(), equivalent(&old, &new));
        prop_assert!(between(&old, &old).is_empty());
    }

    #[test]
    fn also_of_what_is_no_scim_resource(old in anything(), new in anything()) {
        let patch = between(&old, &new);
        let mut changed = old.clone();
        if apply(&mut changed, &patch).is_ok() {
            prop_assert!(equivalent(&changed, &new), "{patch:#?}\n{changed:#?}\n{new:#?}");
        } else {
            // Two primary elements cannot be: nothing else is refused.
            prop_assert_eq!(changed, old);
            prop_assert!(false, "{patch:#?}");
        }
    }

    #[test]
    fn towards_is_reached(old in resource(), wanted in resource()) {
        let patch = towards(&old, &wanted);
        let mut changed = old.clone();
        apply(&mut changed, &patch).unwrap();
        prop_assert!(towards(&changed, &wanted).is_empty(), "{patch:#?}\n{changed:#?}\n{wanted:#?}");
    }
}

#[test]
fn changes_what_differs_and_nothing_else() {
    let old = attributes(json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "1", "meta": {"version": "a"},
        "userName": "alice", "title": "Clerk", "nickName": null,
        "name": {"familyName": "Old", "givenName": "Alice", "middleName": "M"},
        "emails": [{"value": "a@x.example", "type": "work", "primary": true}, {"value": "b@x.example", "type": "home"}],
        "groups": [{"value": "g"}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "1", "costCenter": "2"},
    }));
    let new = attributes(json!({
        "id": "2", "USERNAME": "alice", "displayName": "Alice", "nickName": [],
        "name": {"familyName": "New", "givenName": "Alice"},
        "emails": [{"value": "new@x.example", "type": "work", "primary": true}, {"value": "b@x.example", "type": "home"}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "3"},
    }));
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    assert_eq!(
        lines(&between(&old, &new)),
        [
            "add displayName".to_owned(),
            r#"replace emails[type eq "work"].value"#.to_owned(),
            "replace name.familyName".to_owned(),
            "remove name.middleName".to_owned(),
            format!("replace {enterprise}:department"),
            format!("remove {enterprise}:costCenter"),
            "remove title".to_owned(),
        ]
    );
}

#[test]
fn towards_leaves_alone_what_is_not_spoken_of() {
    let old = attributes(json!({
        "userName": "alice", "title": "Clerk", "active": true,
        "name": {"familyName": "F", "formatted": "Alice F"},
        "emails": [{"value": "a@x.example", "type": "work", "display": "A"}, {"value": "b@x.example"}],
        "members": [{"value": "1", "$ref": "https://x.example/1"}, {"value": "2"}],
    }));
    let wanted = attributes(json!({
        "active": false, "title": null, "name": {"familyName": "G"},
        "emails": [{"value": "a@x.example", "type": "home"}],
        "members": [{"value": "1"}, {"value": "3"}],
    }));
    let patch = towards(&old, &wanted);
    assert_eq!(
        lines(&patch),
        [
            "replace active",
            r#"remove emails[value eq "b@x.example"]"#,
            r#"replace emails[value eq "a@x.example"].type"#,
            r#"remove members[value eq "2"]"#,
            "add members",
            "replace name.familyName",
            "remove title"
        ]
    );
    let mut changed = old;
    apply(&mut changed, &patch).unwrap();
    assert_eq!(
        changed,
        attributes(json!({
            "userName": "alice", "active": false,
            "name": {"familyName": "G", "formatted": "Alice F"},
            "emails": [{"value": "a@x.example", "type": "home", "display": "A"}],
            "members": [{"value": "1", "$ref": "https://x.example/1"}, {"value": "3"}],
        }))
    );
}

#[test]
fn elements_that_cannot_be_told_apart_are_replaced_as_a_whole() {
    let old = attributes(json!({"emails": [{"display": "a"}, {"value": "x", "display": "b"}]}));
    let new = attributes(json!({"emails": [{"display": "c"}, {"value": "x", "display": "b"}]}));
    assert_eq!(lines(&between(&old, &new)), ["replace emails"]);
}

#[test]
fn members_whose_identifiers_differ_in_case_alone_are_never_removed_by_a_filter() {
    let old = attributes(json!({"members": [{"value": "ab"}, {"value": "AB"}, {"value": "c"}]}));
    let new = attributes(json!({"members": [{"value": "AB"}, {"value": "c"}]}));
    assert_eq!(lines(&between(&old, &new)), ["replace members"]);
}

#[test]
fn another_kind_of_resource_may_have_groups_of_its_own() {
    let device = |groups: &str| {
        attributes(json!({"schemas": ["urn:example:2.0:Device"], "groups": [{"value": groups}]}))
    };
    let user = |groups: &str| {
        attributes(
            json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "groups": [{"value": groups}]}),
        )
    };
    assert_eq!(between(&device("a"), &device("b")).operations.len(), 1);
    assert!(between(&user("a"), &user("b")).is_empty());
}

#[test]
fn large_groups_differ_in_few_operations() {
    let group = |ids: std::ops::Range<usize>| {
        let members: Vec<_> = ids.map(|id| json!({ "value": format!("id-{id}") })).collect();
        attributes(json!({ "members": members }))
    };
    let (old, new) = (group(0..20_000), group(3..20_005));
    let patch = between(&old, &new);
    assert_eq!(patch.operations.len(), 4);
    let mut changed = old;
    apply(&mut changed, &patch).unwrap();
    assert!(equivalent(&changed, &new));
}

#[test]
fn a_member_s_value_has_a_name_without_case() {
    let old = attributes(json!({ "members": [{ "value": "1" }, { "value": "2" }] }));
    let new = attributes(json!({ "members": [{ "valUe": "2" }, { "valum": "6" }] }));
    let mut changed = old.clone();
    apply(&mut changed, &between(&old, &new)).unwrap();
    assert!(equivalent(&changed, &new), "{changed:#?}");
    let same = attributes(json!({ "members": [{ "VALUE": "2" }, { "Value": "1", "display": "One" }] }));
    assert!(equivalent(&old, &same));
    assert!(between(&old, &same).is_empty());
}

#[test]
fn one_value_takes_the_place_of_an_empty_list_within_a_complex_attribute() {
    for empty in [json!([]), json!([null]), json!([{}])] {
        let old = attributes(json!({ "preferences": { "languages": empty } }));
        let new = attributes(json!({ "preferences": { "languages": "en" } }));
        let mut changed = old.clone();
        apply(&mut changed, &between(&old, &new)).unwrap();
        assert!(equivalent(&changed, &new), "{changed:#?}");
    }
}
