//! The document that describes the HTTP interface, against what is served.

use std::collections::BTreeSet;
use std::ops::Range;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use mfa_events::cursor::CursorKey;
use mfa_events::http::{
    ACTORS_BODY_BYTES_MAX, Alerts, Api, HashedKeys, Limits, POLL_BODY_BYTES_MAX, Right, Scope,
};
use mfa_events::limits::BATCH_BYTES_MAX;
use mfa_events::set::{Issuer, Unsigned};
use mfa_events::store::{Bounds, Entry, Moment, Record, StoreError, Take};
use mfa_events::{ActorId, Appended, EventLog, EventStore, MemoryStore, Offset, TenantId, schema};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::event::{failure, with};

const KEY: &str = "acme-0123456789abcdef0123";
const SENDER: &str = "acme-sender-456789abcdef";
const READER: &str = "acme-reader-456789abcdef";
const SPENT: &str = "spent-0123456789abcdef01";
const LIMITED: &str = "limited-456789abcdef0123";

const ROUTER: &str = include_str!("../../src/http.rs");

fn document() -> Value {
    serde_json::from_str(schema::OPENAPI).unwrap()
}

/// A store that answers until it is told not to.
#[derive(Default)]
struct Failing {
    store: MemoryStore,
    fails: bool,
}

impl Failing {
    fn works(&self) -> Result<(), StoreError> {
        if self.fails { Err(StoreError::Stopped) } else { Ok(()) }
    }
}

impl EventStore for Failing {
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Appended>, StoreError> {
        self.works()?;
        self.store.append(entries).await
    }

    async fn read(&self, tenant: &TenantId, after: Offset, take: Take) -> Result<Vec<Record>, StoreError> {
        self.store.read(tenant, after, take).await
    }

    async fn of_actors(
        &self,
        tenant: &TenantId,
        actors: &[ActorId],
        after: Offset,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        self.store.of_actors(tenant, actors, after, take).await
    }

    async fn of_time(
        &self,
        tenant: &TenantId,
        span: Range<DateTime<Utc>>,
        after: Option<Moment>,
        take: Take,
    ) -> Result<Vec<Record>, StoreError> {
        self.store.of_time(tenant, span, after, take).await
    }

    async fn bounds(&self, tenant: &TenantId) -> Result<Bounds, StoreError> {
        self.works()?;
        self.store.bounds(tenant).await
    }

    async fn forget(&self, tenant: &TenantId, to: Offset) -> Result<(), StoreError> {
        self.store.forget(tenant, to).await
    }
}

struct Found(bool);

impl Alerts for Found {
    fn alerts<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> BoxFuture<'a, Result<Vec<Value>, Box<dyn std::error::Error + Send + Sync>>> {
        let fails = self.0;
        Box::pin(async move {
            if fails { Err("lost".into()) } else { Ok(vec![json!({"tenant": tenant.as_str()})]) }
        })
    }
}

/// The interface with three events, of which the first is not kept any more; and a cursor before it.
async fn served(fails: bool, detects: bool) -> (Router, String) {
    let tenant = TenantId::new("acme").unwrap();
    let both = [Right::Ingest, Right::Read];
    let mut spent = Limits::default();
    (spent.requests_per_s, spent.requests_burst) = (1, 1);
    let mut limited = Limits::default();
    limited.events_per_day = 0;
    let keys = HashedKeys::new()
        .with(KEY, Scope::new(tenant.clone(), both))
        .and_then(|keys| keys.with(SENDER, Scope::new(tenant.clone(), [Right::Ingest])))
        .and_then(|keys| keys.with(READER, Scope::new(tenant.clone(), [Right::Read])))
        .and_then(|keys| keys.with(SPENT, Scope::new(tenant.clone(), both).limits(spent)))
        .and_then(|keys| keys.with(LIMITED, Scope::new(tenant.clone(), both).limits(limited)))
        .unwrap();
    let store = MemoryStore::new();
    let filled = EventLog::open(store.clone());
    let events = ["p1", "p2", "p2"].map(|actor| with("actor_id", actor.into()));
    let events = events.map(|json| mfa_events::Event::from_json(json.as_bytes()).unwrap());
    filled.append(&tenant, events, Utc::now()).await.unwrap();
    filled.forget(&tenant, Offset::new(1)).await.unwrap();
    let log = EventLog::open(Failing { store, fails });
    let cursors = CursorKey::new([7; 32]);
    let gone = cursors.cursor(&tenant, &mfa_events::log::Which::All, Offset::START);
    let api = Api::new(log, keys, cursors);
    let issuer = Issuer::new("https://events.example.com", Unsigned);
    let positions = crate::set_poll::InMemory::default();
    let api = if detects { api.alerts(Found(fails)).sets(issuer, positions) } else { api };
    (api.router(), gone)
}

/// One request of each operation for each status that it is said to answer: method, path as documented, status, request.
async fn requests(gone: &str) -> Vec<(&'static str, &'static str, u16, Request<Body>)> {
    let p1 = CursorKey::new([7; 32]).cursor(
        &TenantId::new("acme").unwrap(),
        &mfa_events::log::Which::Actors(vec![ActorId::new("p1").unwrap()]),
        Offset::START,
    );
    let asked = |method: &str, uri: &str, key: &str, body: Body| {
        crate::http::request(key, uri).method(method).body(body).unwrap()
    };
    let endless = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::convert::Infallible>>());
    let span = "from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00Z";
    let time = format!("/v1/events?{span}");
    let mut requests = Vec::new();
    // What every operation that needs a key has in common: method, documented path, URI, a key that lacks the right.
    for (method, path, uri, lacking) in [
        ("post", "/v1/events", "/v1/events", READER),
        ("get", "/v1/events", time.as_str(), SENDER),
        ("get", "/v1/stream", "/v1/stream", SENDER),
        ("head", "/v1/stream", "/v1/stream", SENDER),
        ("get", "/v1/actors/{actor}/events", "/v1/actors/p1/events", SENDER),
        ("post", "/v1/actors/events", "/v1/actors/events", SENDER),
        ("get", "/v1/metrics", "/v1/metrics", SENDER),
        ("get", "/v1/alerts", "/v1/alerts", SENDER),
        ("post", "/v1/set/poll", "/v1/set/poll", SENDER),
    ] {
        let name = method.to_uppercase();
        let body = || match path {
            "/v1/actors/events" => Body::from(r#"{"actors":["p1"]}"#),
            "/v1/set/poll" => Body::from(r#"{"returnImmediately":true}"#),
            _ if method == "post" => Body::from(Value::from(failure()).to_string()),
            _ => Body::empty(),
        };
        requests.push((method, path, 200, asked(&name, uri, KEY, body())));
        requests.push((method, path, 401, asked(&name, uri, "nobody", body())));
        requests.push((method, path, 403, asked(&name, uri, lacking, body())));
        requests.push((method, path, 429, asked(&name, uri, SPENT, body())));
        requests.push((method, path, 503, asked(&name, uri, KEY, body())));
    }
    let mut held = |path: &'static str, uri: &str| {
        let request = crate::http::request(KEY, uri).header("if-none-match", "*");
        requests.push(("get", path, 304, request.body(Body::empty()).unwrap()));
    };
    held("/v1/stream", "/v1/stream");
    held("/v1/actors/{actor}/events", "/v1/actors/p1/events");
    requests.extend([
        ("post", "/v1/events", 400, asked("POST", "/v1/events", KEY, "[".into())),
        ("post", "/v1/events", 408, asked("POST", "/v1/events", KEY, endless())),
        ("post", "/v1/events", 413, asked("POST", "/v1/events", KEY, vec![b' '; BATCH_BYTES_MAX + 1].into())),
        ("post", "/v1/events", 422, asked("POST", "/v1/events", KEY, r#"{"actor_id":7}"#.into())),
        (
            "post",
            "/v1/events",
            429,
            asked("POST", "/v1/events", LIMITED, Value::from(failure()).to_string().into()),
        ),
        ("get", "/v1/events", 400, asked("GET", "/v1/events", KEY, Body::empty())),
        ("get", "/v1/stream", 204, asked("GET", "/v1/stream?live=long-poll&offset=now", KEY, Body::empty())),
        ("get", "/v1/stream", 400, asked("GET", "/v1/stream?offset=0", KEY, Body::empty())),
        ("get", "/v1/stream", 410, asked("GET", &format!("/v1/stream?offset={gone}"), KEY, Body::empty())),
        ("head", "/v1/stream", 410, asked("HEAD", &format!("/v1/stream?offset={gone}"), KEY, Body::empty())),
        ("head", "/v1/stream", 400, asked("HEAD", "/v1/stream?limit=x", KEY, Body::empty())),
        (
            "get",
            "/v1/actors/{actor}/events",
            400,
            asked("GET", "/v1/actors/p1/events?limit=x", KEY, Body::empty()),
        ),
        (
            "get",
            "/v1/actors/{actor}/events",
            410,
            asked("GET", &format!("/v1/actors/p1/events?offset={p1}"), KEY, Body::empty()),
        ),
        ("post", "/v1/actors/events", 400, asked("POST", "/v1/actors/events", KEY, "{}".into())),
        ("post", "/v1/actors/events", 408, asked("POST", "/v1/actors/events", KEY, endless())),
        (
            "post",
            "/v1/actors/events",
            410,
            asked("POST", &format!("/v1/actors/events?offset={p1}"), KEY, r#"{"actors":["p1"]}"#.into()),
        ),
        (
            "post",
            "/v1/actors/events",
            413,
            asked("POST", "/v1/actors/events", KEY, vec![b' '; ACTORS_BODY_BYTES_MAX + 1].into()),
        ),
        ("post", "/v1/set/poll", 400, asked("POST", "/v1/set/poll", KEY, "[]".into())),
        ("post", "/v1/set/poll", 408, asked("POST", "/v1/set/poll", KEY, endless())),
        (
            "post",
            "/v1/set/poll",
            413,
            asked("POST", "/v1/set/poll", KEY, vec![b' '; POLL_BODY_BYTES_MAX + 1].into()),
        ),
        ("post", "/v1/set/poll", 501, asked("POST", "/v1/set/poll", KEY, "{}".into())),
        ("get", "/v1/alerts", 501, asked("GET", "/v1/alerts", KEY, Body::empty())),
        ("get", "/openapi.json", 200, asked("GET", "/openapi.json", "", Body::empty())),
    ]);
    requests
}

/// The documented operations: method, path, status.
fn documented(document: &Value) -> BTreeSet<(String, String, u16)> {
    let mut found = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            methods.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            for status in operation["responses"].as_object().unwrap().keys() {
                found.insert((method.clone(), path.clone(), status.parse().unwrap()));
            }
        }
    }
    found
}

/// What is behind a `$ref`, or the value itself.
fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => value,
    }
}

#[tokio::test(start_paused = true)]
async fn every_operation_answers_each_documented_status_as_it_is_documented() {
    let document = document();
    let (working, gone) = served(false, true).await;
    let mut seen = BTreeSet::new();
    for (method, path, status, request) in requests(&gone).await {
        let router = match status {
            503 => served(true, true).await.0,
            501 => served(false, false).await.0,
            _ => working.clone(),
        };
        if status == 429 && request.headers()["authorization"].to_str().unwrap().ends_with(SPENT) {
            let used = crate::http::request(SPENT, "/v1/stream?live=false").body(Body::empty()).unwrap();
            drop(router.clone().oneshot(used).await.unwrap());
        }
        let uri = request.uri().clone();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{method} {uri}");
        let described = &document["paths"][path][method]["responses"][status.to_string()];
        let described = resolved(&document, described);
        for name in described["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
            let is_optional = ["ETag", "Stream-Cursor", "Stream-Up-To-Date"].contains(&name.as_str());
            assert!(is_optional || response.headers().contains_key(name), "{method} {uri} {status}: {name}");
        }
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        if !body.is_empty() {
            let schema = &described["content"][kind.as_deref().unwrap()]["schema"];
            assert!(schema.is_object(), "{method} {uri} {status}: {kind:?} is not documented");
            let mut schema = schema.clone();
            schema["components"] = document["components"].clone();
            let value = match kind.as_deref() {
                Some("application/x-ndjson") => String::from_utf8(body.to_vec()).unwrap().into(),
                _ => serde_json::from_slice(&body).unwrap(),
            };
            let errors: Vec<_> = jsonschema::draft202012::new(&schema)
                .unwrap()
                .iter_errors(&value)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{method} {uri} {status}: {errors:?}\n{value}");
        }
        seen.insert((method.to_owned(), path.to_owned(), status));
    }
    assert_eq!(seen, documented(&document));
}

#[test]
fn every_route_is_documented_and_nothing_else_is() {
    let document = document();
    let documented: BTreeSet<_> =
        documented(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    let mut routed = BTreeSet::new();
    for route in ROUTER.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        let handlers = route.split('"').nth(2).unwrap().lines().next().unwrap();
        for method in ["get", "head", "post", "put", "delete", "patch"] {
            if handlers.contains(&format!(" {method}(")) || handlers.contains(&format!(".{method}(")) {
                routed.insert((method.to_owned(), path.to_owned()));
            }
        }
    }
    assert!(routed.len() >= 9, "the router is read: {routed:?}");
    assert_eq!(documented, routed);
}

/// The schema of events with its references as they are in the document.
fn hoisted(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !["$schema", "$id", "$defs"].contains(&name.as_str()))
            .map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("$ref", Some(to)) => {
                    (name.clone(), to.replace("#/$defs/", "#/components/schemas/event_").into())
                }
                _ => (name.clone(), hoisted(value)),
            })
            .collect(),
        Value::Array(values) => values.iter().map(hoisted).collect(),
        other => other.clone(),
    }
}

#[test]
fn events_are_those_of_the_published_schema() {
    let (document, event) = (document(), serde_json::from_str::<Value>(schema::EVENT).unwrap());
    let schemas = &document["components"]["schemas"];
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(schemas["Event"], hoisted(&event));
    for (name, part) in event["$defs"].as_object().unwrap() {
        assert_eq!(schemas[format!("event_{name}")], hoisted(part), "{name}");
    }
}

#[tokio::test]
async fn an_event_as_it_is_kept_is_a_record() {
    let document = document();
    let api = crate::http::api();
    api.send(&["p1"]).await;
    let array = crate::http::request(crate::http::ACME, "/v1/stream").header("accept", "application/json");
    let (status, events) = crate::http::told(api.ask(array.body(Body::empty()).unwrap()).await).await;
    assert_eq!(status, StatusCode::OK);
    let schema = json!({"$ref": "#/components/schemas/Record", "components": document["components"]});
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&events[0]), "{:?}", validator.iter_errors(&events[0]).collect::<Vec<_>>());
    let mut other = events[0].clone();
    other["surprise"] = true.into();
    assert!(!validator.is_valid(&other));
}
