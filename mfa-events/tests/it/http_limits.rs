//! What goes beyond a limit is refused, and keeps nobody else out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use futures::{StreamExt as _, stream};
use mfa_events::cursor::CursorKey;
use mfa_events::http::{
    ACTORS_BODY_BYTES_MAX, BODY_TIME_MAX, HashedKeys, KEY_BYTES_IN_FLIGHT_MAX, Limits, Right, Scope,
    TENANT_BYTES_IN_FLIGHT_MAX, router,
};
use mfa_events::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use mfa_events::{EventLog, MemoryStore};
use serde_json::json;
use tower::ServiceExt as _;

use crate::event::{failure, with};
use crate::http::{ACME, OTHER, header_of, request, tenant, told};

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn served(acme: Limits) -> Router {
    let both = [Right::Ingest, Right::Read];
    let keys = HashedKeys::new()
        .with(ACME, Scope::new(tenant("acme"), both).limits(acme))
        .and_then(|keys| keys.with(OTHER, Scope::new(tenant("other"), both)))
        .unwrap();
    router(EventLog::open(MemoryStore::new()), keys, CursorKey::new([7; 32]))
}

async fn ask(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap()
}

async fn get(router: &Router, key: &str, uri: &str) -> Response<Body> {
    ask(router, request(key, uri).body(Body::empty()).unwrap()).await
}

async fn post(router: &Router, key: &str, body: impl Into<Body>) -> Response<Body> {
    ask(router, request(key, "/v1/events").method("POST").body(body.into()).unwrap()).await
}

/// Refused with 429 for this limit; says after how many seconds to come again.
async fn refused(response: Response<Body>, limit: &str) -> u64 {
    let after = header_of(&response, "retry-after").map(|seconds| seconds.parse().unwrap());
    let (status, problem) = told(response).await;
    assert_eq!((status, &problem["limit"]), (StatusCode::TOO_MANY_REQUESTS, &json!(limit)), "{problem}");
    assert_eq!(problem["retry_after_s"].as_u64(), after);
    after.unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_rate_are_refused_until_the_time_that_is_told() {
    let router = served(limits(|limits| (limits.requests_per_s, limits.requests_burst) = (1, 3)));
    for _ in 0..3 {
        assert_eq!(get(&router, ACME, "/v1/stream").await.status(), StatusCode::OK);
    }
    let after = refused(get(&router, ACME, "/v1/metrics").await, "requests_per_s").await;
    assert_eq!(get(&router, OTHER, "/v1/stream").await.status(), StatusCode::OK);
    // Whoever has no key is told that, and nothing of limits.
    assert_eq!(get(&router, "nobody", "/v1/stream").await.status(), StatusCode::UNAUTHORIZED);
    tokio::time::advance(Duration::from_secs(after)).await;
    assert_eq!(get(&router, ACME, "/v1/stream").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn events_beyond_the_rate_are_refused_and_none_of_them_is_kept() {
    let router = served(limits(|limits| (limits.events_per_s, limits.events_burst) = (10, 10)));
    let batch = |count: usize| vec![serde_json::Value::from(failure()).to_string(); count].join("\n");
    assert_eq!(post(&router, ACME, batch(20)).await.status(), StatusCode::OK);
    let after = refused(post(&router, ACME, batch(1)).await, "events_per_s").await;
    assert_eq!(post(&router, OTHER, batch(20)).await.status(), StatusCode::OK);
    tokio::time::advance(Duration::from_secs(after)).await;
    assert_eq!(post(&router, ACME, batch(1)).await.status(), StatusCode::OK);
    let (_, metrics) = told(get(&router, ACME, "/v1/stream?offset=-1&limit=1000").await).await;
    assert!(metrics.is_null(), "several lines");
    let page = get(&router, ACME, "/v1/stream?offset=-1").await;
    assert_eq!(crate::http::actors(page).await.len(), 21);
}

#[tokio::test]
async fn a_day_has_its_quota() {
    let router = served(limits(|limits| limits.events_per_day = 2));
    let event = || serde_json::Value::from(failure()).to_string();
    assert_eq!(post(&router, ACME, event()).await.status(), StatusCode::OK);
    refused(post(&router, ACME, format!("{}\n{}", event(), event())).await, "events_per_day").await;
    assert_eq!(post(&router, ACME, event()).await.status(), StatusCode::OK);
    refused(post(&router, ACME, event()).await, "events_per_day").await;
    assert_eq!(get(&router, ACME, "/v1/stream").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_takes_a_place_and_gives_it_back() {
    let router = served(limits(|limits| limits.live_readers = 2));
    let live = || get(&router, ACME, "/v1/stream?live=sse&offset=now");
    let (first, second) = (live().await, live().await);
    assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
    refused(live().await, "live_readers").await;
    refused(get(&router, ACME, "/v1/stream?live=long-poll&offset=now").await, "live_readers").await;
    assert_eq!(get(&router, OTHER, "/v1/stream?live=sse&offset=now").await.status(), StatusCode::OK);
    assert_eq!(get(&router, ACME, "/v1/stream").await.status(), StatusCode::OK);
    drop(first);
    let poll = get(&router, ACME, "/v1/stream?live=long-poll&offset=now").await;
    assert_eq!(poll.status(), StatusCode::NO_CONTENT);
    assert_eq!(live().await.status(), StatusCode::OK);
}

/// Bodies that never come to an end.
fn endless() -> Body {
    Body::from_stream(stream::pending::<Result<Bytes, std::convert::Infallible>>())
}

/// Bodies of which so much comes.
fn stuck(bytes: usize) -> Body {
    let some = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; bytes]))]);
    Body::from_stream(some.chain(stream::pending()))
}

#[tokio::test(start_paused = true)]
async fn messages_take_room_as_they_come_each_key_its_share_and_each_tenant_its_own() {
    let (second, third) = ("acme-second-56789abcdef01", "acme-third-456789abcdef01");
    let scope = |name: &str| Scope::new(tenant(name), [Right::Ingest]);
    let keys = [(ACME, "acme"), (second, "acme"), (third, "acme"), (OTHER, "other")];
    let keys = keys.into_iter().try_fold(HashedKeys::new(), |keys, (key, name)| keys.with(key, scope(name)));
    let router = router(EventLog::open(MemoryStore::new()), keys.unwrap(), CursorKey::new([7; 32]));
    let send = |key: &'static str, body: Body, length: usize| {
        let sized = request(key, "/v1/events").method("POST").header("content-length", length);
        let (router, sized) = (router.clone(), sized.body(body).unwrap());
        tokio::spawn(async move { ask(&router, sized).await })
    };
    let event = || serde_json::Value::from(failure()).to_string();
    let begun = tokio::time::Instant::now();
    // What is only announced takes nothing.
    let mut waiting: Vec<_> = (0..50).map(|_| send(ACME, endless(), BATCH_BYTES_MAX)).collect();
    tokio::task::yield_now().await;
    assert_eq!(post(&router, ACME, event()).await.status(), StatusCode::OK);
    // One key has its share, and the others of its tenant have theirs.
    let share = KEY_BYTES_IN_FLIGHT_MAX / BATCH_BYTES_MAX;
    waiting.extend((0..share).map(|_| send(ACME, stuck(BATCH_BYTES_MAX), BATCH_BYTES_MAX)));
    tokio::task::yield_now().await;
    refused(post(&router, ACME, event()).await, "key_bytes_in_flight").await;
    assert_eq!(post(&router, second, event()).await.status(), StatusCode::OK);
    let rest = (TENANT_BYTES_IN_FLIGHT_MAX - KEY_BYTES_IN_FLIGHT_MAX) / BATCH_BYTES_MAX;
    waiting.extend((0..rest).map(|_| send(second, stuck(BATCH_BYTES_MAX), BATCH_BYTES_MAX)));
    tokio::task::yield_now().await;
    refused(post(&router, third, event()).await, "tenant_bytes_in_flight").await;
    assert_eq!(post(&router, OTHER, event()).await.status(), StatusCode::OK);
    for stuck in waiting {
        assert_eq!(stuck.await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    }
    assert_eq!(begun.elapsed(), BODY_TIME_MAX);
    for key in [ACME, second, third] {
        assert_eq!(post(&router, key, event()).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_message_in_pieces_is_one_message() {
    let router = served(Limits::default());
    let text = serde_json::Value::from(failure()).to_string();
    let pieces: Vec<_> = text.bytes().map(|byte| Ok::<_, std::convert::Infallible>(vec![byte])).collect();
    assert_eq!(post(&router, ACME, Body::from_stream(stream::iter(pieces))).await.status(), StatusCode::OK);
    let broken = stream::iter([Ok(Bytes::from("[")), Err(std::io::Error::other("gone"))]);
    let response = post(&router, ACME, Body::from_stream(broken)).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_says_that_it_is_too_long_is_refused_before_it_comes() {
    let router = served(Limits::default());
    for (uri, most) in [("/v1/events", BATCH_BYTES_MAX), ("/v1/actors/events", ACTORS_BODY_BYTES_MAX)] {
        let long = request(ACME, uri).method("POST").header("content-length", most + 1);
        let refused = ask(&router, long.body(endless()).unwrap()).await;
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE, "{uri}");
        let exact = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; most + 1]))]);
        let unsaid = request(ACME, uri).method("POST").body(Body::from_stream(exact)).unwrap();
        assert_eq!(ask(&router, unsaid).await.status(), StatusCode::PAYLOAD_TOO_LARGE, "{uri}");
    }
    // Whoever has no key does not even get that far.
    let stranger = Request::builder().uri("/v1/events").method("POST").body(endless()).unwrap();
    assert_eq!(ask(&router, stranger).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_tenant_that_floods_does_not_keep_others_from_the_log() {
    let router = served(Limits::default());
    let batch = || {
        let event = with("actor_id", "flood".into());
        vec![event; BATCH_EVENTS_MAX].join("\n")
    };
    let text = batch();
    let answered = Arc::new(Mutex::new(Vec::new()));
    let send = |key: &'static str, text: String| {
        let (router, answered) = (router.clone(), Arc::clone(&answered));
        let sized = request(key, "/v1/events").method("POST").header("content-length", text.len());
        tokio::spawn(async move {
            let status = ask(&router, sized.body(text.into()).unwrap()).await.status();
            answered.lock().unwrap().push(key);
            status
        })
    };
    let mut sent: Vec<_> = (0..12).map(|_| send(ACME, text.clone())).collect();
    sent.push(send(OTHER, serde_json::Value::from(failure()).to_string()));
    for sent in sent {
        assert_eq!(sent.await.unwrap(), StatusCode::OK);
    }
    // One batch of the flood waited in the common line, and not all: another's event stood before most of it.
    let place = answered.lock().unwrap().iter().position(|key| *key == OTHER).unwrap();
    assert!(place <= 2, "{place} of 12 batches went before it");
}
