//! The same changes as different servers read them.

use proptest::prelude::*;
use scim_client::Dialect;
use scim_client::dialect::{BooleanForm, MemberRemoval, PatchForm, VerbCase};
use scim_client::message::PatchOp;
use scim_client::message::PatchVerb::{Add, Remove, Replace};
use scim_client::patch::{ApplyErrorKind, apply, between, equivalent, normalise};
use scim_client::resource::{Attributes, ResourceId};
use serde_json::{Value, json};

use super::generators::resource;
use super::{attributes, lines, patch};

fn dialects() -> impl Strategy<Value = Dialect> {
    let forms = prop::sample::select(vec![
        PatchForm::Standard,
        PatchForm::PerAttribute,
        PatchForm::Unfiltered,
        PatchForm::Pathless,
    ]);
    let removals =
        prop::sample::select(vec![MemberRemoval::Filter, MemberRemoval::Value, MemberRemoval::Replace]);
    let booleans = prop::sample::select(vec![BooleanForm::Json, BooleanForm::Text]);
    (forms, removals, booleans, prop::option::of(0..4_usize)).prop_map(|(form, removal, booleans, max)| {
        Dialect::rfc7644().with(|dialect| {
            dialect.patch = form;
            dialect.member_removal = removal;
            dialect.booleans = booleans;
            dialect.members_per_patch_max = max;
        })
    })
}

/// How many members a message touches.
fn touched(patch: &PatchOp) -> usize {
    let members = patch.operations.iter().filter(|operation| {
        operation.path.as_ref().is_some_and(|path| path.attribute.name.eq_ignore_ascii_case("members"))
    });
    members.map(|operation| operation.value.as_ref().and_then(Value::as_array).map_or(1, Vec::len)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_form_does_the_same(old in resource(), new in resource(), dialect in dialects()) {
        let patch = between(&old, &new);
        let messages = patch.in_dialect(&dialect, &old).unwrap();
        let mut changed = old.clone();
        for message in &messages {
            prop_assert!(!message.is_empty());
            apply(&mut changed, &normalise(message).unwrap()).unwrap();
            if let Some(max) = dialect.members_per_patch_max {
                prop_assert!(touched(message) <= max.max(1), "{message:#?}");
            }
        }
        prop_assert!(equivalent(&changed, &new), "{messages:#?}\n{changed:#?}\n{new:#?}");
        let one_message = dialect.members_per_patch_max.is_none() || touched(&patch) == 0;
        prop_assert!(!one_message || messages.len() <= 1);
    }

    #[test]
    fn without_filters_no_path_has_one(old in resource(), new in resource()) {
        let dialect = Dialect::rfc7644().with(|dialect| {
            dialect.patch = PatchForm::Unfiltered;
            dialect.member_removal = MemberRemoval::Value;
        });
        for message in between(&old, &new).in_dialect(&dialect, &old).unwrap() {
            let mut paths = message.operations.iter().map(|operation| operation.path.as_ref());
            let unfiltered = paths.all(|path| path.is_some_and(|path| path.element.is_none()));
            prop_assert!(unfiltered, "{message:?}");
        }
    }

    #[test]
    fn without_a_path_there_is_one_operation(old in resource(), new in resource()) {
        let dialect = Dialect::rfc7644().with(|dialect| dialect.patch = PatchForm::Pathless);
        let (mut old, mut new) = (old, new);
        old.retain(|name, _| !name.eq_ignore_ascii_case("members"));
        new.retain(|name, _| !name.eq_ignore_ascii_case("members"));
        let messages = between(&old, &new).in_dialect(&dialect, &old).unwrap();
        let operations: Vec<_> = messages.iter().flat_map(|message| &message.operations).collect();
        prop_assert!(operations.len() <= 1);
        prop_assert!(operations.iter().all(|operation| operation.path.is_none() && operation.verb == Replace));
    }
}

fn user() -> Attributes {
    attributes(json!({
        "active": true, "title": "T", "name": {"familyName": "F", "givenName": "G"},
        "emails": [{"value": "a", "type": "work"}, {"value": "b", "type": "home"}],
    }))
}

fn change() -> PatchOp {
    patch(&[
        (Replace, "active", json!(false)),
        (Remove, "name.givenName", json!("-")),
        (Remove, r#"emails[type eq "work"]"#, json!("-")),
        (Remove, "title", json!("-")),
    ])
}

fn one(dialect: &Dialect) -> PatchOp {
    let mut messages = change().in_dialect(dialect, &user()).unwrap();
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

#[test]
fn the_standard_form_is_as_given() {
    assert_eq!(one(&Dialect::rfc7644()), change());
}

#[test]
fn one_attribute_an_operation_chooses_no_whole_element() {
    let message = one(&Dialect::rfc7644().with(|dialect| dialect.patch = PatchForm::PerAttribute));
    assert_eq!(
        lines(&message),
        ["replace active", "remove name.givenName", "replace emails", "remove title"]
    );
    assert_eq!(message.operations[2].value, Some(json!([{"value": "b", "type": "home"}])));
    let parts = patch(&[
        (Replace, r#"emails[type eq "work"].value"#, json!("c")),
        (Replace, "-", json!({"title": "U", "active": false})),
    ]);
    let dialect = Dialect::rfc7644().with(|dialect| dialect.patch = PatchForm::PerAttribute);
    let messages = parts.in_dialect(&dialect, &user()).unwrap();
    assert_eq!(
        lines(&messages[0]),
        [r#"replace emails[type eq "work"].value"#, "replace active", "replace title"]
    );
}

#[test]
fn without_a_path_the_value_names_what_changes() {
    let message = one(&Dialect::rfc7644().with(|dialect| dialect.patch = PatchForm::Pathless));
    assert_eq!(lines(&message), ["replace"]);
    assert_eq!(
        message.operations[0].value,
        Some(json!({
            "active": false, "name": {"givenName": null}, "title": null,
            "emails": [{"value": "b", "type": "home"}],
        }))
    );
}

#[test]
fn verbs_and_booleans_are_written_as_the_dialect_says() {
    let message = one(&Dialect::rfc7644().with(|dialect| {
        dialect.verbs = VerbCase::Title;
        dialect.booleans = BooleanForm::Text;
    }));
    assert_eq!(message.verbs, VerbCase::Title);
    assert_eq!(message.operations[0].value, Some(json!("False")));
}

#[test]
fn members_leave_in_three_ways() {
    let group = attributes(json!({"members": [{"value": "1"}, {"value": "2"}, {"value": "3"}]}));
    let leave = PatchOp::new().remove_members(&[ResourceId::new("1"), ResourceId::new("2")]);
    let form = |removal| {
        let dialect = Dialect::rfc7644().with(|dialect| dialect.member_removal = removal);
        leave.in_dialect(&dialect, &group).unwrap()
    };
    assert_eq!(form(MemberRemoval::Filter), std::slice::from_ref(&leave));
    assert_eq!(
        form(MemberRemoval::Value),
        [patch(&[(Remove, "members", json!([{"value": "1"}, {"value": "2"}]))])]
    );
    assert_eq!(form(MemberRemoval::Replace), [patch(&[(Replace, "members", json!([{"value": "3"}]))])]);
}

#[test]
fn members_are_split_by_the_servers_limit() {
    let ids: Vec<ResourceId> = (0..250).map(|id| ResourceId::new(id.to_string())).collect();
    let aws = Dialect::rfc7644().with(|dialect| dialect.members_per_patch_max = Some(100));
    let rename = patch(&[(Replace, "displayName", json!("G"))]);
    let messages = rename.add_members(&ids).in_dialect(&aws, &Attributes::new()).unwrap();
    assert_eq!(messages.iter().map(touched).collect::<Vec<_>>(), [100, 100, 50]);
    assert_eq!(lines(&messages[0]), ["replace displayName", "add members"]);

    // Where all are replaced, each goes or comes by itself: nobody leaves in between who stays.
    let members = |ids: std::ops::Range<usize>| {
        Value::Array(ids.map(|id| json!({ "value": id.to_string() })).collect())
    };
    let group = attributes(json!({ "members": members(0..150) }));
    for (change, expected) in [
        (patch(&[(Replace, "members", members(1..152))]), vec![3]),
        (patch(&[(Remove, "members", json!("-"))]), vec![100, 50]),
    ] {
        let messages = change.in_dialect(&aws, &group).unwrap();
        assert_eq!(messages.iter().map(touched).collect::<Vec<_>>(), expected);
        assert!(messages.iter().all(|message| !lines(message).contains(&"remove members".to_owned())));
    }
}

#[test]
fn what_is_not_known_is_not_written_over() {
    let leave = PatchOp::new().remove_members(&[ResourceId::new("1")]);
    let by_list = Dialect::rfc7644().with(|dialect| dialect.member_removal = MemberRemoval::Replace);
    let error = leave.in_dialect(&by_list, &Attributes::new()).unwrap_err();
    assert_eq!((error.operation, error.kind), (0, ApplyErrorKind::NoTarget));
    let aws = Dialect::rfc7644().with(|dialect| dialect.members_per_patch_max = Some(100));
    for all in [(Remove, "members", json!("-")), (Replace, "members", json!([{"value": "1"}]))] {
        assert!(patch(std::slice::from_ref(&all)).in_dialect(&aws, &Attributes::new()).is_err());
        let known = attributes(json!({"members": []}));
        assert!(patch(&[all]).in_dialect(&aws, &known).is_ok());
    }
    let pathless = Dialect::rfc7644().with(|dialect| dialect.patch = PatchForm::Pathless);
    let mail = patch(&[(Add, "title", json!("T")), (Remove, r#"emails[type eq "work"]"#, json!("-"))]);
    let error = mail.in_dialect(&pathless, &Attributes::new()).unwrap_err();
    assert_eq!((error.operation, error.kind), (1, ApplyErrorKind::NoTarget));
}
