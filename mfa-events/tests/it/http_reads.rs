//! The read path of the Durable Streams protocol, metrics and alerts.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{StatusCode, header};
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use mfa_events::cursor::CursorKey;
use mfa_events::http::{
    Alerts, Api, HEARTBEAT, HashedKeys, Journal, LONG_POLL, Right, STREAM_TIME_MAX, Scope, router,
};
use mfa_events::log::Which;
use mfa_events::{EventLog, LoginFailure, MemoryStore, Offset, TenantId};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::event::{at, with};
use crate::hooked::Hooked;
use crate::http::{ACME, ACME_SENDER, OTHER, actors, api, header_of, request, sent, told};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let api = api();
    api.send(&["p1", "p2"]).await;
    let first = api.get(ACME, "/v1/stream?offset=-1").await;
    let tag = header_of(&first, "etag").unwrap();
    let next = header_of(&first, "stream-next-offset").unwrap();
    let ask = |uri: &str, tag: &str| {
        let request = request(ACME, uri).header(header::IF_NONE_MATCH, tag);
        api.ask(request.body(Body::empty()).unwrap())
    };
    for tags in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let same = ask("/v1/stream?offset=-1", &tags).await;
        assert_eq!(same.status(), StatusCode::NOT_MODIFIED, "{tags}");
        assert_eq!(header_of(&same, "stream-next-offset").as_ref(), Some(&next));
        assert_eq!(header_of(&same, "stream-up-to-date").as_deref(), Some("true"));
        assert_eq!(header_of(&same, "etag").as_ref(), Some(&tag));
        assert!(same.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
    // Another part, another form, or more of it is something else.
    assert_eq!(ask("/v1/stream?offset=-1&limit=1", &tag).await.status(), StatusCode::OK);
    let array = request(ACME, "/v1/stream?offset=-1")
        .header(header::IF_NONE_MATCH, &tag)
        .header(header::ACCEPT, "application/json");
    assert_eq!(api.ask(array.body(Body::empty()).unwrap()).await.status(), StatusCode::OK);
    api.send(&["p3"]).await;
    assert_eq!(actors(ask("/v1/stream?offset=-1", &tag).await).await, ["p1", "p2", "p3"]);
    // Where it ends is never answered from what somebody has.
    let now = api.get(ACME, "/v1/stream?offset=now").await;
    assert_eq!(header_of(&now, "etag"), None);
    assert_eq!(ask("/v1/stream?offset=now", "*").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_head_tells_where_the_stream_ends_and_nobody_writes_to_it() {
    let api = api();
    api.send(&["p1"]).await;
    let head = |key: &str| {
        let request = request(key, "/v1/stream").method("HEAD").body(Body::empty()).unwrap();
        api.ask(request)
    };
    let told = head(ACME).await;
    let now = api.get(ACME, "/v1/stream?offset=now").await;
    assert_eq!(told.status(), StatusCode::OK);
    assert_eq!(header_of(&told, "stream-next-offset"), header_of(&now, "stream-next-offset"));
    assert_eq!(header_of(&told, "cache-control").as_deref(), Some("no-store"));
    assert_eq!(header_of(&told, "x-content-type-options").as_deref(), Some("nosniff"));
    assert_eq!(head(ACME_SENDER).await.status(), StatusCode::FORBIDDEN);
    for method in ["PUT", "POST", "DELETE", "PATCH"] {
        let request = request(ACME, "/v1/stream").method(method).body(Body::from("{}")).unwrap();
        let refused = api.ask(request).await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(header_of(&refused, "allow").as_deref(), Some("GET,HEAD"));
    }
}

#[tokio::test]
async fn whoever_waits_says_from_where() {
    let api = api();
    for uri in ["/v1/stream?live=long-poll", "/v1/stream?live=sse"] {
        assert_eq!(api.get(ACME, uri).await.status(), StatusCode::BAD_REQUEST, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_its_time_and_says_when_to_come_again() {
    let api = api();
    let begun = tokio::time::Instant::now();
    let mut body = api.get(ACME, "/v1/stream?live=sse&offset=-1").await.into_body();
    sent(&mut body, "control", 1).await;
    let rest = body.collect().await.unwrap().to_bytes();
    assert!(std::str::from_utf8(&rest).unwrap().lines().all(|line| line.is_empty() || line == ":"));
    assert_eq!(begun.elapsed(), STREAM_TIME_MAX);
    let response = api.get(ACME, "/v1/stream?live=sse&offset=-1").await;
    let frame = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(std::str::from_utf8(&frame).unwrap().contains("retry: 1000\n"), "{frame:?}");
    assert!(LONG_POLL < STREAM_TIME_MAX);
}

/// Heartbeats come while a store is slow, whatever it is asked for by then.
#[tokio::test(start_paused = true)]
async fn a_heartbeat_takes_no_event_from_a_reader() {
    let acme = TenantId::new("acme").unwrap();
    for slow in 1..=12 {
        let store = Hooked::new(0);
        let log = EventLog::open(store.clone());
        let scope = Scope::new(acme.clone(), [Right::Read]);
        let keys = HashedKeys::new().with(ACME, scope).unwrap();
        let router = router(log.clone(), keys, CursorKey::new([7; 32]));
        log.append(&acme, [LoginFailure::new("p1").at(at())], at()).await.unwrap();
        store.until_slow.store(slow, Ordering::SeqCst);
        let asked = request(ACME, "/v1/stream?live=sse&offset=-1").body(Body::empty()).unwrap();
        let mut body = router.oneshot(asked).await.unwrap().into_body();
        let found = tokio::time::timeout(HEARTBEAT * 10, sent(&mut body, "data", 1)).await;
        let found = found.unwrap_or_else(|_| panic!("nothing came where call {slow} was slow"));
        assert!(found[0].1.contains("p1"), "{found:?}");
    }
}

#[tokio::test]
async fn a_dashboard_has_all_it_draws_from_one_call() {
    let api = api();
    let at = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let login = json!({
        "event_type": "login.success", "timestamp": at, "actor_id": "alice", "outcome": "success",
        "mfa_method": "push", "geo_location": {"country": "DE"},
    });
    let failed =
        json!({"event_type": "login.failure", "timestamp": at, "actor_id": "bob", "outcome": "failure"});
    let (status, _) = api.post(ACME, format!("[{login},{failed}]")).await;
    assert_eq!(status, StatusCode::OK);
    let (status, metrics) = told(api.get(ACME, "/v1/metrics").await).await;
    assert_eq!(
        (status, &metrics["tenant_id"], &metrics["logins"]),
        (StatusCode::OK, &json!("acme"), &json!(2))
    );
    assert_eq!((&metrics["success_rate"], &metrics["failure_rate"]), (&json!(0.5), &json!(0.5)));
    assert_eq!(metrics["total"]["by_method"]["push"]["successes"], 1);
    assert_eq!(metrics["total"]["by_country"]["DE"]["successes"], 1);
    assert_eq!(metrics["hours"].as_array().unwrap().len(), 24);
    assert!(metrics["hours"][23]["day_before"]["successes"].is_u64());
    assert_eq!(metrics["trend"]["successes"].as_array().unwrap().len(), 1_440);
    // It leads into the stream: nothing between the two is missed.
    let offset = metrics["stream_offset"].as_str().unwrap();
    assert!(actors(api.get(ACME, &format!("/v1/stream?offset={offset}")).await).await.is_empty());
    let (_, other) = told(api.get(OTHER, "/v1/metrics").await).await;
    assert_eq!((&other["logins"], &other["success_rate"]), (&json!(0), &Value::Null));
    assert_eq!(api.get(ACME_SENDER, "/v1/metrics").await.status(), StatusCode::FORBIDDEN);
}

/// Names of tenants as alerts; of one, nothing.
struct Named;

impl Alerts for Named {
    fn alerts<'a>(&'a self, tenant: &'a TenantId) -> BoxFuture<'a, Result<Vec<Value>, Failure>> {
        Box::pin(async move {
            match tenant.as_str() {
                "other" => Err("lost".into()),
                name => Ok(vec![json!({"alert_id": name})]),
            }
        })
    }
}

fn keys() -> HashedKeys {
    let both = [Right::Ingest, Right::Read];
    HashedKeys::new()
        .with(ACME, Scope::new(TenantId::new("acme").unwrap(), both))
        .and_then(|keys| keys.with(OTHER, Scope::new(TenantId::new("other").unwrap(), both)))
        .unwrap()
}

#[tokio::test]
async fn alerts_are_those_of_whoever_asks_and_nothing_is_made_up_without_detection() {
    let (status, problem) = told(api().get(ACME, "/v1/alerts").await).await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_IMPLEMENTED, &json!("no_detection")));
    let log = EventLog::open(MemoryStore::new());
    let router = Api::new(log, keys(), CursorKey::new([7; 32])).alerts(Named).router();
    let ask = |key: &str| router.clone().oneshot(request(key, "/v1/alerts").body(Body::empty()).unwrap());
    let (status, found) = told(ask(ACME).await.unwrap()).await;
    assert_eq!((status, found), (StatusCode::OK, json!({"alerts": [{"alert_id": "acme"}]})));
    assert_eq!(ask(OTHER).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// Holds everything of one tenant, and loses another's.
struct Losing(tokio::sync::mpsc::UnboundedSender<(TenantId, Offset)>);

impl Journal for Losing {
    fn holds<'a>(&'a self, tenant: &'a TenantId, to: Offset) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.0.send((tenant.clone(), to))?;
            match tenant.as_str() {
                "other" => Err("the disk is full".into()),
                _ => Ok(()),
            }
        })
    }
}

#[tokio::test]
async fn a_sender_is_answered_when_the_journal_holds_the_event_too() {
    let (asked, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let log = EventLog::open(MemoryStore::new());
    let router = Api::new(log, keys(), CursorKey::new([7; 32])).journal(Losing(asked)).router();
    let event = with("event_id", "019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60".into());
    let post = |key: &str| {
        let request = request(key, "/v1/events").method("POST").body(Body::from(event.clone())).unwrap();
        router.clone().oneshot(request)
    };
    for _ in 0..2 {
        // What is known already is looked for as well: the answer before may never have come.
        assert_eq!(post(ACME).await.unwrap().status(), StatusCode::OK);
        let (tenant, offset) = answers.recv().await.unwrap();
        assert_eq!((tenant.as_str(), offset), ("acme", Offset::new(1)));
    }
    let (status, problem) = told(post(OTHER).await.unwrap()).await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unknown")));
    assert!(!problem.to_string().contains("disk"), "{problem}");
    assert_eq!(
        problem["uncertain"],
        json!([{"index": 0, "event_id": "019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60"}])
    );
}

#[tokio::test]
async fn whoever_gave_no_ids_is_told_them_where_it_is_not_known_whether_events_are_kept() {
    let (asked, _answers) = tokio::sync::mpsc::unbounded_channel();
    let log = EventLog::open(MemoryStore::new());
    let router = Api::new(log.clone(), keys(), CursorKey::new([7; 32])).journal(Losing(asked)).router();
    let event = json!({
        "event_type": "login.failure", "timestamp": "2026-01-31T09:15:27.042Z", "actor_id": "alice", "outcome": "failure",
    });
    let body = format!("{event}\n{{\"actor_id\": 7}}\n{event}\n");
    let post = request(OTHER, "/v1/events").method("POST").body(Body::from(body)).unwrap();
    let (status, problem) = told(router.clone().oneshot(post).await.unwrap()).await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unknown")));
    let uncertain = problem["uncertain"].as_array().unwrap();
    let places: Vec<_> = uncertain.iter().map(|one| one["index"].as_u64().unwrap()).collect();
    assert_eq!(places, [0, 2], "the one that was none is not among them");
    // Under these ids they are known again, and are not there twice.
    let page = log.read(&TenantId::new("other").unwrap(), &Which::All, Offset::START, 10).await.unwrap();
    let kept: Vec<_> = page.records.iter().map(|record| record.event.id().to_string()).collect();
    let told: Vec<_> = uncertain.iter().map(|one| one["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kept, told);
}
