//! Schemas against a mapping.

use scim_client::drift::{Drift, Severity, check};
use scim_client::error::{Advice, Error, ErrorKind, ScimType};
use scim_client::mapping::Mapping;
use scim_client::message::Schema;
use serde_json::{Value, json};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn mapping() -> Mapping {
    Mapping::from_toml(
        r#"
version = 1
[source]
a = "string"
n = "integer"
b = "boolean"
l = "strings"
[attributes]
userName = { copy = "a", required = true }
title = "a"
active = "b"
"name.familyName" = "a"
roles = "l"
'emails[type eq "work"].value' = "a"
userType = { lookup = "n", in = "types", default = "Guest" }
"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber" = { copy = "a", on = "create" }
[lookup.types]
1 = "Employee"
"#,
    )
    .unwrap()
}

/// The schemas that fit the mapping.
fn user() -> Value {
    let text = |name: &str| json!({ "name": name, "type": "string" });
    json!({
        "id": "urn:ietf:params:scim:schemas:core:2.0:User",
        "attributes": [
            {"name": "userName", "type": "string", "required": true},
            text("title"),
            {"name": "active", "type": "boolean"},
            {"name": "name", "type": "complex", "subAttributes": [text("familyName"), text("givenName")]},
            {"name": "roles", "type": "complex", "multiValued": true, "subAttributes": [text("value")]},
            {
                "name": "emails", "type": "complex", "multiValued": true,
                "subAttributes": [text("value"), {"name": "type", "type": "string", "canonicalValues": ["Work", "home"]}],
            },
            {"name": "userType", "type": "string", "canonicalValues": ["Employee", "guest"]},
            {"name": "groups", "type": "complex", "multiValued": true, "mutability": "readOnly", "required": true},
        ],
    })
}

fn enterprise() -> Value {
    json!({
        "id": ENTERPRISE.to_uppercase(),
        "attributes": [{"name": "employeeNumber", "type": "string", "mutability": "immutable"}],
    })
}

fn drifts(user: Value, enterprise: Value) -> Vec<Drift> {
    let schemas: Vec<Schema> =
        [user, enterprise].into_iter().map(|schema| serde_json::from_value(schema).unwrap()).collect();
    check(&mapping(), &schemas)
}

/// The drifts after one attribute of the user's schema was replaced (by `null`: taken away).
fn after(name: &str, attribute: Value) -> Vec<(String, &'static str, Severity)> {
    let mut user = user();
    let attributes = user["attributes"].as_array_mut().unwrap();
    attributes.retain(|attribute| attribute["name"] != name);
    if !attribute.is_null() {
        attributes.push(attribute);
    }
    drifts(user, enterprise())
        .into_iter()
        .map(|drift| (drift.attribute.clone(), drift.kind.code(), drift.severity))
        .collect()
}

fn one(attribute: &str, code: &'static str, severity: Severity) -> Vec<(String, &'static str, Severity)> {
    vec![(attribute.to_owned(), code, severity)]
}

#[test]
fn what_fits_does_not_drift() {
    assert_eq!(drifts(user(), enterprise()), []);
}

#[test]
fn each_change_of_the_schema_is_named() {
    use Severity::{Blocks, Warns};
    let title = |key: &str, value: Value| {
        let mut title = json!({"name": "TITLE", "type": "string"});
        title[key] = value;
        let mut user = user();
        let attributes = user["attributes"].as_array_mut().unwrap();
        attributes.retain(|attribute| attribute["name"] != "title");
        attributes.push(title);
        drifts(user, enterprise())
            .into_iter()
            .map(|drift| (drift.attribute.clone(), drift.kind.code(), drift.severity))
            .collect::<Vec<_>>()
    };
    assert_eq!(after("title", Value::Null), one("title", "missing", Blocks));
    assert_eq!(title("mutability", json!("readOnly")), one("title", "read_only", Blocks));
    assert_eq!(title("mutability", json!("immutable")), one("title", "immutable", Warns));
    assert_eq!(title("type", json!("integer")), one("title", "type", Blocks));
    assert_eq!(title("type", json!("dateTime")), one("title", "type", Warns));
    assert_eq!(title("type", json!("reference")), []);
    assert_eq!(title("multiValued", json!(true)), one("title", "multi_valued", Blocks));
    assert_eq!(title("required", json!(true)), one("TITLE", "required", Warns));
    assert_eq!(after("active", json!({"name": "active", "type": "string"})), one("active", "type", Blocks));
    assert_eq!(
        after("roles", json!({"name": "roles", "type": "string", "multiValued": false})),
        one("roles", "single_valued", Blocks)
    );
    assert_eq!(
        after("nickName", json!({"name": "nickName", "required": true})),
        one("nickName", "required", Blocks)
    );
    assert_eq!(
        after(
            "userType",
            json!({"name": "userType", "type": "string", "canonicalValues": ["Employee", "Visitor"]})
        ),
        one("userType", "canonical_value", Warns)
    );
    let emails = |type_values: Value| {
        json!({
            "name": "emails", "type": "complex", "multiValued": true,
            "subAttributes": [{"name": "value"}, {"name": "type", "canonicalValues": type_values}],
        })
    };
    assert_eq!(after("emails", emails(json!(["home"]))), one("emails.value", "canonical_value", Warns));
    let without_type = json!({"name": "emails", "type": "complex", "multiValued": true, "subAttributes": [{"name": "value"}]});
    assert_eq!(after("emails", without_type), one("emails.type", "missing", Blocks));
    let single =
        json!({"name": "emails", "type": "complex", "subAttributes": [{"name": "value"}, {"name": "type"}]});
    assert_eq!(after("emails", single), one("emails.value", "single_valued", Blocks));
    let required_part = json!({
        "name": "name", "type": "complex",
        "subAttributes": [{"name": "familyName"}, {"name": "givenName", "required": true}],
    });
    assert_eq!(after("name", required_part), one("name.givenName", "required", Blocks));
    let without_part = json!({"name": "name", "type": "complex", "subAttributes": [{"name": "givenName"}]});
    assert_eq!(after("name", without_part), one("name.familyName", "missing", Blocks));
    let without_parts = json!({"name": "name", "type": "complex"});
    assert_eq!(after("name", without_parts), []);
}

#[test]
fn a_schema_that_is_gone_is_named_once() {
    let drifts = drifts(user(), json!({"id": "urn:example:2.0:Other"}));
    assert_eq!(drifts.len(), 1);
    assert_eq!(drifts[0].to_string(), format!("`{ENTERPRISE}`: the server has no such schema"));
    assert_eq!(
        serde_json::to_value(&drifts[0]).unwrap(),
        json!({"attribute": ENTERPRISE, "reason": "schema_missing", "severity": "blocks"})
    );
}

#[test]
fn the_severe_come_first() {
    let mut user = user();
    user["attributes"][1]["mutability"] = json!("immutable");
    user["attributes"][2]["mutability"] = json!("readOnly");
    let severities: Vec<Severity> = drifts(user, enterprise()).iter().map(|drift| drift.severity).collect();
    assert_eq!(severities, [Severity::Blocks, Severity::Warns]);
}

#[test]
fn a_refused_write_says_where_the_mapping_has_to_be_corrected() {
    let found = drifts(user(), json!({"id": "urn:example:2.0:Other"}));
    let error = Error::new(ErrorKind::SchemaMismatch(ScimType::InvalidValue)).drifted(found.clone());
    assert_eq!(error.advice(), Advice::FixMapping { drifts: found });
    assert!(
        error
            .to_string()
            .ends_with(&format!("correct the mapping (`{ENTERPRISE}`: the server has no such schema)"))
    );
    assert_eq!(serde_json::to_value(&error).unwrap()["drifts"][0]["reason"], "schema_missing");
}
