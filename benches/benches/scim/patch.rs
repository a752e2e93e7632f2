//! PATCH: the difference of two resources, its form for a server, and its application.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use scim_client::Dialect;
use scim_client::dialect::{MemberRemoval, PatchForm};
use scim_client::patch::{apply, between, equivalent, normalise};
use scim_client::resource::Attributes;
use serde_json::{Value, json};

fn attributes(value: Value) -> Attributes {
    let Value::Object(attributes) = value else { unreachable!("objects are given") };
    attributes
}

/// A user as it was and as it shall be: six attributes differ, one of them an address.
fn users() -> (Attributes, Attributes) {
    let user = |title: &str, address: &str, manager: &str| {
        attributes(json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "2819c223",
            "userName": "bjensen@example.com", "title": title, "active": title == "Guide",
            "name": { "formatted": format!("{title} Jensen"), "familyName": "Jensen", "givenName": "Barbara" },
            "displayName": "Babs Jensen", "nickName": title, "locale": "en-US", "userType": "Employee",
            "emails": [
                { "value": address, "type": "work", "primary": true }, { "value": "babs@jensen.org", "type": "home" }
            ],
            "phoneNumbers": [{ "value": "555-555-5555", "type": "work" }],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":
                { "employeeNumber": "701984", "department": "Tours", "manager": { "value": manager } },
        }))
    };
    (user("Guide", "bjensen@example.com", "26118915"), user("Chief", "b.jensen@example.com", "26118916"))
}

/// A group of that many members, and the same with a hundredth gone and as many come.
fn groups(members: usize) -> (Attributes, Attributes) {
    let group = |ids: std::ops::Range<usize>| {
        let members: Vec<Value> = ids.map(|id| json!({ "value": format!("e9e30dba-{id:08}") })).collect();
        attributes(json!({ "displayName": "Tour Guides", "members": members }))
    };
    (group(0..members), group(members / 100..members + members / 100))
}

pub(crate) fn patches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("patch");
    let (small, large) = (groups(1_000), groups(10_000));
    for (name, (old, new)) in [("user", users()), ("group_1000", small), ("group_10000", large)] {
        let patch = between(&old, &new);
        let mut changed = old.clone();
        apply(&mut changed, &patch).expect("it fits");
        assert!(equivalent(&changed, &new), "{name}");
        group.throughput(Throughput::Elements(patch.operations.len() as u64));
        group.bench_function(format!("difference/{name}"), |bencher| {
            bencher.iter(|| between(black_box(&old), black_box(&new)));
        });
        group.bench_function(format!("apply/{name}"), |bencher| {
            bencher.iter_batched_ref(
                || old.clone(),
                |resource| apply(resource, black_box(&patch)).expect("it fits"),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(format!("normalise/{name}"), |bencher| {
            bencher.iter(|| normalise(black_box(&patch)).expect("it is read"));
        });
        let forms = [
            ("standard", PatchForm::Standard, MemberRemoval::Filter),
            ("pathless", PatchForm::Pathless, MemberRemoval::Value),
        ];
        for (form, patch_form, removal) in forms {
            let dialect = Dialect::rfc7644().with(|dialect| {
                dialect.patch = patch_form;
                dialect.member_removal = removal;
            });
            group.bench_function(format!("in_dialect_{form}/{name}"), |bencher| {
                bencher.iter(|| patch.in_dialect(black_box(&dialect), &old).expect("it can be written"));
            });
        }
    }
    group.finish();
}
