//! Resources to make differences of.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use scim_client::resource::Attributes;
use serde_json::{Map, Value, json};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "A", "b", "c@x.example", "C@x.example", "\"\\ é", ""]).prop_map(Value::from),
        1 => Just(Value::Null),
    ]
}

fn object(parts: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    values
        .prop_map(move |values| {
            let parts = names.iter().zip(values);
            Value::Object(
                parts.filter_map(|(name, value)| Some(((*name).to_owned(), value?))).collect::<Map<_, _>>(),
            )
        })
        .boxed()
}

fn maybe(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    option::of(value).boxed()
}

/// Elements of which one at the most is primary.
fn elements() -> BoxedStrategy<Value> {
    let element = object(vec![
        ("value", maybe(text())),
        ("type", maybe(prop::sample::select(vec!["work", "home", "Work"]).prop_map(Value::from))),
        ("display", maybe(text())),
        ("primary", maybe(Just(json!(false)))),
    ]);
    (vec(element, 0..5), option::of(0..5_usize))
        .prop_map(|(mut elements, primary)| {
            if let Some(element) = primary.and_then(|at| elements.get_mut(at)) {
                element["primary"] = json!(true);
            }
            Value::Array(elements)
        })
        .boxed()
}

fn members() -> BoxedStrategy<Value> {
    let id = prop::sample::select(vec!["1", "2", "3", "4", "5", "ab", "AB"]);
    vec((id, option::of(Just("shown"))), 0..6)
        .prop_map(|members| {
            let member = |(id, display): (&str, Option<&str>)| match display {
                Some(display) => json!({ "value": id, "display": display }),
                None => json!({ "value": id }),
            };
            Value::Array(members.into_iter().map(member).collect())
        })
        .boxed()
}

fn cased(name: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(name.to_owned()), 1 => Just(name.to_uppercase()), 1 => Just(name.to_lowercase())]
}

/// A resource as servers and clients write it: well-formed, with names in any case, `null` and `[]` here and there.
pub(super) fn resource() -> BoxedStrategy<Attributes> {
    let name = object(vec![
        ("familyName", maybe(text())),
        ("givenName", maybe(text())),
        ("formatted", maybe(text())),
    ]);
    let enterprise = object(vec![
        ("department", maybe(text())),
        ("costCenter", maybe(text())),
        ("manager", maybe(object(vec![("value", maybe(text())), ("displayName", maybe(text()))]))),
    ]);
    let attribute = |name: &'static str, value: BoxedStrategy<Value>| {
        option::of((cased(name), prop_oneof![6 => value, 1 => Just(Value::Null)])).boxed()
    };
    vec![
        attribute("userName", text().boxed()),
        attribute("active", any::<bool>().prop_map(Value::from).boxed()),
        attribute("title", text().boxed()),
        attribute("count", (0..3_i32).prop_map(Value::from).boxed()),
        attribute("name", name),
        attribute("emails", elements()),
        attribute("roles", elements()),
        attribute("members", members()),
        attribute("tags", vec(prop::sample::select(vec!["x", "y", "z"]), 0..4).prop_map(Value::from).boxed()),
        attribute(ENTERPRISE, enterprise),
    ]
    .prop_map(|attributes| {
        let mut resource: Attributes = attributes.into_iter().flatten().collect();
        resource.insert("schemas".to_owned(), json!(["urn:ietf:params:scim:schemas:core:2.0:User"]));
        resource.insert("id".to_owned(), json!("1"));
        resource
    })
    .boxed()
}

/// Any JSON, under names that an attribute can have and others.
pub(super) fn anything() -> BoxedStrategy<Attributes> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i32).prop_map(Value::from),
        prop::sample::select(vec!["a", "b", ""]).prop_map(Value::from),
    ];
    let name = || {
        prop::sample::select(vec![
            "a", "B", "value", "type", "members", "emails", "$ref", "id", "urn:x:y", "bad name", "a.b",
        ])
    };
    let value = leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            btree_map(name(), inner, 0..4).prop_map(|map| {
                Value::Object(map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    });
    btree_map(name(), value, 0..6)
        .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        .boxed()
}
