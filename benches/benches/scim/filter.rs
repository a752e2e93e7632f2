//! Filters: reading, writing, and the check of what a server gave.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use scim_client::filter::Filter;
use scim_client::resource::Attributes;
use serde_json::{Value, json};

/// A user as servers give them, of about two kilobytes.
fn user() -> Attributes {
    let Value::Object(user) = json!({
        "schemas": [
            "urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
        ],
        "id": "2819c223-7f76-453a-919d-413861904646",
        "externalId": "701984",
        "userName": "bjensen@example.com",
        "name": { "formatted": "Ms. Barbara J Jensen, III", "familyName": "Jensen", "givenName": "Barbara" },
        "displayName": "Babs Jensen",
        "title": "Tour Guide",
        "active": true,
        "emails": [
            { "value": "bjensen@example.com", "type": "work", "primary": true },
            { "value": "babs@jensen.org", "type": "home" }
        ],
        "groups": (0..20).map(|n| json!({ "value": format!("e9e30dba-{n:04}"), "display": format!("Group {n}") }))
            .collect::<Vec<_>>(),
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
            "employeeNumber": "701984", "department": "Tour Operations", "manager": { "value": "26118915" }
        },
        "meta": { "resourceType": "User", "lastModified": "2011-05-13T04:42:34Z", "version": "W/\"3694e05e9dff591\"" }
    }) else {
        unreachable!("an object is written above")
    };
    user
}

const FILTERS: [(&str, &str); 6] = [
    ("look_up", r#"userName eq "BJensen@example.com""#),
    ("absent_attribute", r#"nickName eq "Babs""#),
    (
        "extension",
        r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "26118915""#,
    ),
    ("value_path", r#"emails[type eq "work" and value ew "@example.com"]"#),
    ("time", r#"meta.lastModified gt "2011-05-13T04:42:33+00:00""#),
    (
        "mixed",
        r#"active eq true and (title sw "tour" or groups.display eq "group 19") and not (userType pr)"#,
    ),
];

pub(crate) fn filters(criterion: &mut Criterion) {
    let user = user();
    let mut group = criterion.benchmark_group("scim_filter_matches");
    group.throughput(Throughput::Elements(1));
    for (name, text) in FILTERS {
        let filter: Filter = text.parse().expect("a filter");
        assert_eq!(filter.matches(&user), name != "absent_attribute", "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| black_box(&filter).matches(black_box(&user))));
    }
    group.finish();

    let mut group = criterion.benchmark_group("scim_filter_text");
    group.throughput(Throughput::Elements(1));
    let (_, mixed) = FILTERS[5];
    let filter: Filter = mixed.parse().expect("a filter");
    group.bench_function("read", |bencher| bencher.iter(|| black_box(mixed).parse::<Filter>()));
    group.bench_function("write", |bencher| bencher.iter(|| black_box(&filter).to_string()));
    group.finish();
}
