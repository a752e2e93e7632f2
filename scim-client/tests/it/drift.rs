//! Schemas against a mapping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use scim_client::Client;
use scim_client::client::{SCHEMA_BYTES_MAX, SCHEMAS_BELIEVED, SCHEMAS_MAX};
use scim_client::drift::{Drift, Severity, check};
use scim_client::ensure::Identity;
use scim_client::error::{Advice, Error, ErrorKind, ScimType};
use scim_client::filter::user::user_name;
use scim_client::mapping::Mapping;
use scim_client::message::{PatchOp, Schema};
use scim_client::resource::{DynamicResource, ResourceId, User};
use scim_client::transport::{Connectivity, MemoryTransport, Scripted, Stage};
use serde_json::{Value, json};

use crate::stub::Virtual;

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

/// A service with these schemas that refuses every write, and the clock that it is asked by.
struct Refusing {
    transport: MemoryTransport,
    client: Client,
}

impl Refusing {
    fn new(refusal: Scripted, schemas: impl Fn() -> Scripted + Send + Sync + 'static) -> Self {
        let transport = MemoryTransport::new(move |request| match request.uri().path() {
            "/scim/v2/Schemas" => schemas(),
            _ if request.method() == http::Method::GET => {
                Scripted::json(200, &json!({"schemas": [scim_client::urn::LIST_RESPONSE], "totalResults": 0}))
            }
            _ => refusal.clone(),
        });
        let client = Client::over("https://app.example/scim/v2", transport.clone()).unwrap();
        Self { transport, client: client.clock(Virtual::new()).mapping(mapping()) }
    }

    fn invalid_value(schemas: impl Fn() -> Scripted + Send + Sync + 'static) -> Self {
        Self::new(Scripted::error(400, Some("invalidValue"), "no such title"), schemas)
    }

    fn discoveries(&self) -> usize {
        let requests = self.transport.requests();
        requests.iter().filter(|request| request.uri().path().ends_with("/Schemas")).count()
    }

    async fn refused(&self) -> Error {
        self.client.users().create(&User::new("ann")).await.unwrap_err()
    }
}

fn list(schemas: &[Value]) -> Scripted {
    Scripted::json(
        200,
        &json!({"schemas": [scim_client::urn::LIST_RESPONSE], "totalResults": schemas.len(), "Resources": schemas}),
    )
}

/// In which the title is the server's alone.
fn drifted() -> Scripted {
    let mut user = user();
    user["attributes"][1]["mutability"] = json!("readOnly");
    list(&[user, enterprise()])
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_comes_back_with_what_drifted() {
    let service = Refusing::invalid_value(drifted);
    let id = ResourceId::new("1");
    let patch = PatchOp::new().add_members([&ResourceId::new("2")]);
    let users = service.client.users();
    let made = serde_json::from_value::<User>(json!({"userName": "ann", "externalId": "1"})).unwrap();
    for error in [
        service.refused().await,
        users.replace(&id, &User::new("ann")).await.unwrap_err(),
        users.patch(&id, &patch).await.unwrap_err(),
        service.client.me::<User>().patch(&patch).await.unwrap_err(),
        service.client.ensure_user(&Identity::external("1"), &made).await.unwrap_err(),
    ] {
        assert_eq!(*error.kind(), ErrorKind::SchemaMismatch(ScimType::InvalidValue));
        assert_eq!(error.explanation(), Some("no such title"));
        let Advice::FixMapping { drifts } = error.advice() else { panic!("{error}") };
        let named: Vec<_> =
            drifts.iter().map(|drift| (drift.attribute.as_str(), drift.kind.code())).collect();
        assert_eq!(named, [("title", "read_only")], "{error}");
        assert!(error.was_sent());
    }
    assert_eq!(service.discoveries(), 1, "asked for once");
    tokio::time::advance(SCHEMAS_BELIEVED).await;
    assert_eq!(service.refused().await.drifts().len(), 1);
    assert_eq!(service.discoveries(), 2, "and again after a while");
}

#[tokio::test(start_paused = true)]
async fn what_no_mapping_answers_for_asks_for_no_schemas() {
    let id = ResourceId::new("1");
    for refusal in [
        Scripted::error(409, Some("uniqueness"), "taken"),
        Scripted::error(400, Some("uniqueness"), "taken"),
        Scripted::error(400, Some("invalidVers"), "1.0"),
        Scripted::error(400, Some("tooMany"), "more than 10"),
        Scripted::status(500),
        Scripted::status(403),
    ] {
        let service = Refusing::new(refusal, drifted);
        let error = service.refused().await;
        assert!(error.drifts().is_empty() && service.discoveries() == 0, "{error}");
    }
    let service = Refusing::invalid_value(drifted);
    // The mapping is one for users.
    let groups = service.client.groups();
    groups.patch(&id, &PatchOp::new().add_members([&id])).await.unwrap_err();
    service.client.users().filter(user_name().eq("a")).by_post().all().await.unwrap_err();
    assert_eq!(service.discoveries(), 0);
    let none = Client::over("https://app.example/scim/v2", service.transport.clone()).unwrap();
    none.users().create(&User::new("ann")).await.unwrap_err();
    assert_eq!(service.discoveries(), 0);
}

#[tokio::test(start_paused = true)]
async fn schemas_that_cannot_be_had_hide_no_error() {
    let ways: [fn() -> Scripted; 7] = [
        || Scripted::status(404),
        || Scripted::status(401),
        || Scripted::error(400, Some("invalidValue"), "not you"),
        || Scripted::bytes(200, "text/html", "<html>"),
        || Scripted::fails(Stage::NotSent, Connectivity::Connect),
        Scripted::silent,
        || Scripted::bytes(200, "application/json", vec![b'['; 1 << 20]),
    ];
    for way in ways {
        let service = Refusing::invalid_value(way);
        for _ in 0..2 {
            let error = service.refused().await;
            assert_eq!(*error.kind(), ErrorKind::SchemaMismatch(ScimType::InvalidValue), "{error}");
            assert_eq!((error.http_status(), error.explanation()), (Some(400), Some("no such title")));
            assert_eq!(error.advice(), Advice::FixMapping { drifts: Vec::new() });
        }
        assert!(service.discoveries() <= 1, "what failed is left alone for a while");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_refused_at_once_asks_once_and_a_dropped_one_hands_it_on() {
    let service = Refusing::invalid_value(drifted);
    let errors = futures::future::join_all((0..10).map(|_| service.refused())).await;
    assert!(errors.iter().all(|error| error.drifts().len() == 1));
    assert_eq!(service.discoveries(), 1);

    let asked = Arc::new(AtomicUsize::new(0));
    let service = Refusing::invalid_value(move || match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Scripted::silent(),
        _ => drifted(),
    });
    let mut first = Box::pin(service.refused());
    assert!(futures::poll!(&mut first).is_pending());
    drop(first);
    assert_eq!(service.refused().await.drifts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mapping_can_be_held_against_a_server_before_it_refuses() {
    let service = Refusing::invalid_value(drifted);
    let found = service.client.drifts(&mapping()).await.unwrap();
    assert_eq!(found.len(), 1);
    // And the next refusal need not ask.
    assert_eq!(service.refused().await.drifts(), found);
    assert_eq!(service.discoveries(), 1);
    let gone = Refusing::invalid_value(|| Scripted::status(404));
    gone.client.drifts(&mapping()).await.unwrap_err();
}

#[tokio::test]
#[ignore = "needs scim2-server: cargo xtask test"]
async fn a_real_server_that_refuses_a_write_says_where_it_drifted() {
    let server = testbed::ScimServer::scim2_server().unwrap();
    let transport = scim_client::transport::ReqwestTransport::new().unwrap();
    let mapping = Mapping::from_toml(
        "version = 1\n[source]\na = \"string\"\n[attributes]\nuserName = { copy = \"a\", required = true }\nactive = \"a\"\nshoeSize = \"a\"",
    )
    .unwrap();
    let client = Client::over(&server.base_url(), transport).unwrap().mapping(mapping);
    let users =
        client.auth(scim_client::auth::Bearer::new(server.token())).resources::<DynamicResource>("Users");
    let user = json!({"schemas": [User::SCHEMA], "userName": "ann", "active": "often"});
    let error = users.create(&serde_json::from_value(user).unwrap()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::SchemaMismatch(_)), "{error}");
    let named: Vec<_> = error.drifts().iter().map(|drift| (&*drift.attribute, drift.kind.code())).collect();
    assert_eq!(named, [("active", "type"), ("shoeSize", "missing")], "{error}");
}

#[tokio::test(start_paused = true)]
async fn schemas_without_end_are_not_kept() {
    let many = |count: usize, bytes: usize| {
        move || {
            let schema = |n: usize| json!({"id": format!("urn:x:{n}"), "description": "x".repeat(bytes)});
            list(&(0..count).map(schema).collect::<Vec<_>>())
        }
    };
    let most = usize::try_from(SCHEMAS_MAX).unwrap();
    for schemas in [many(most + 1, 1), many(1, SCHEMA_BYTES_MAX)] {
        let service = Refusing::invalid_value(schemas);
        for error in [
            service.client.schemas().await.unwrap_err(),
            service.client.drifts(&mapping()).await.unwrap_err(),
        ] {
            assert_eq!(*error.kind(), ErrorKind::TooLarge, "{error}");
        }
        assert!(service.refused().await.drifts().is_empty());
    }
    let service = Refusing::invalid_value(many(most, 1));
    assert_eq!(service.client.schemas().await.unwrap().len(), most);
}
