//! The document that describes the API, against what is served.

use serde_json::Value;

use super::demo_stage::{Demo, ask};

const DOCUMENT: &str = include_str!("../../web/openapi.json");
const ROUTERS: [&str; 4] = [
    include_str!("../../src/api.rs"),
    include_str!("../../src/api/reviews.rs"),
    include_str!("../../src/api/duty.rs"),
    include_str!("../../src/source/webhook.rs"),
];
/// Only there where it is configured.
const WEBHOOK: &str = "/webhooks/events";

/// Method and path of each operation in the document, sorted.
fn documented(document: &Value) -> Vec<(String, String)> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap().keys().filter(|key| *key != "parameters");
        operations.extend(methods.map(|method| (method.clone(), path.clone())));
    }
    operations.sort();
    operations
}

/// Method and path of each route in the routers' sources, sorted.
fn routed() -> Vec<(String, String)> {
    let mut operations = Vec::new();
    for route in ROUTERS.iter().flat_map(|source| source.split(".route(").skip(1)) {
        let path = route.split('"').nth(1).unwrap();
        let handlers = route.split('"').nth(2).unwrap();
        for method in ["get", "post", "put", "delete", "patch"] {
            let named = |start: &str| handlers.contains(&format!("{start}{method}("));
            if named(" ") || named(".") {
                operations.push((method.to_owned(), path.to_owned()));
            }
        }
    }
    operations.sort();
    operations
}

#[test]
fn every_route_is_documented_and_nothing_else_is() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let routed = routed();
    assert!(routed.len() >= 32, "the router is read: {routed:?}");
    assert_eq!(documented(&document), routed);
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_says_what_it_answers() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = 0;
    each_value(&document, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            references += 1;
            assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
        }
    });
    assert!(references > 10);
    for (method, path) in documented(&document) {
        let operation = &document["paths"][&path][&method];
        assert!(operation["summary"].is_string() && operation["operationId"].is_string(), "{method} {path}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{method} {path}");
        let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
        assert_ne!(is_open, answers.contains_key("401"), "{method} {path} says who may");
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let stated = document["paths"][&path]["parameters"].as_array().unwrap();
            let has = |parameter: &Value| parameter["name"] == name && parameter["required"] == true;
            assert!(stated.iter().any(has), "{path}: {name}");
        }
    }
}

#[test]
fn what_is_documented_is_served_and_asks_for_a_token_where_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let served = demo.get(&format!("{}/openapi.json", demo.text("api")));
    assert_eq!(served, serde_json::from_str::<Value>(DOCUMENT).unwrap());
    for (method, path) in documented(&served).into_iter().filter(|(_, path)| path != WEBHOOK) {
        let filled = path
            .replace("{person}", "nobody")
            .replace("{connector}", "nothing")
            .replace("{source}", "nothing")
            .replace("{campaign}", "nothing")
            .replace("{grant}", "nothing");
        let url = format!("{}{filled}", demo.text("api"));
        let method_name = method.to_uppercase();
        let is_open = served["paths"][&path]["get"]["security"].as_array().is_some_and(Vec::is_empty);
        let refused = ask(&method_name, &url, "wrong", "").status;
        assert_eq!(refused == 401, !is_open, "{method} {path} without a token: {refused}");
        let status = ask(&method_name, &url, demo.text("token"), "").status;
        let answers = served["paths"][&path][&method]["responses"].as_object().unwrap();
        assert!(answers.contains_key(&status.to_string()), "{method} {path} answers {status}");
    }
}

/// Every file with routes is read above: one more would have routes that nothing documents.
#[test]
fn no_other_file_has_routes() {
    let mut with_routes = 0;
    let mut places = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(place) = places.pop() {
        // The demo's applications have addresses of their own.
        if place.ends_with("demo") {
            continue;
        }
        if place.is_dir() {
            places.extend(std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        } else if std::fs::read_to_string(&place).unwrap().contains(".route(\"") {
            with_routes += 1;
        }
    }
    assert_eq!(with_routes, ROUTERS.len());
}

#[test]
fn the_webhook_answers_as_it_is_documented() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let answers = document["paths"][WEBHOOK]["post"]["responses"].as_object().unwrap();
    let stage = crate::stage::Stage::new();
    let service = stage.serve("[source.webhook]\nsecret_file = \"hook\"\n");
    let join = r#"{"type":"joiner","person":{"id":"emp-1","user_name":"ann"}}"#;
    let move_nobody = r#"{"type":"mover","person":{"id":"emp-2","user_name":"bo"}}"#;
    for (id, body, status) in
        [("m1", join, 202), ("m1", join, 200), ("m2", "{", 400), ("m3", move_nobody, 422)]
    {
        assert_eq!(service.signed(id, body).status, status);
        assert!(answers.contains_key(&status.to_string()), "{status}");
    }
    assert_eq!(service.hook("m4", chrono::Utc::now().timestamp(), "v1,bm8=", join).status, 401);
    assert_eq!(service.end(), 0);
}

fn each_value(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Array(values) => values.iter().for_each(|value| each_value(value, look)),
        Value::Object(members) => members.values().for_each(|value| each_value(value, look)),
        _ => {}
    }
}
