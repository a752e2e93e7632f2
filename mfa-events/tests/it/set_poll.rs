//! Polling for tokens (RFC 8936).

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use mfa_events::cursor::CursorKey;
use mfa_events::http::{Api, HashedKeys, LONG_POLL, PAGE_BYTES_MAX, Right, Scope};
use mfa_events::set::{Issuer, Positions, PositionsError, Unsigned};
use mfa_events::{EventLog, MemoryStore, Offset};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::event::with;
use crate::http::{ACME, OTHER, request, tenant, told};

/// Positions as they would be in a file.
#[derive(Clone, Default)]
pub(crate) struct InMemory(Arc<Mutex<HashMap<String, Offset>>>);

type Kept<'a, T> = Pin<Box<dyn Future<Output = Result<T, PositionsError>> + Send + 'a>>;

impl Positions for InMemory {
    fn load<'a>(&'a self, receiver: &'a str) -> Kept<'a, Option<Offset>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().get(receiver).copied()) })
    }

    fn keep<'a>(&'a self, receiver: &'a str, position: Offset) -> Kept<'a, ()> {
        Box::pin(async move {
            self.0.lock().unwrap().insert(receiver.to_owned(), position);
            Ok(())
        })
    }
}

fn served(log: EventLog<MemoryStore>, positions: InMemory) -> Router {
    let both = [Right::Ingest, Right::Read];
    let keys = HashedKeys::new()
        .with(ACME, Scope::new(tenant("acme"), both))
        .and_then(|keys| keys.with(OTHER, Scope::new(tenant("other"), both)))
        .unwrap();
    let issuer = Issuer::new("https://events.example.com", Unsigned);
    Api::new(log, keys, CursorKey::new([7; 32])).sets(issuer, positions).router()
}

async fn poll(router: &Router, key: &str, body: Value) -> (StatusCode, Value) {
    let request = request(key, "/v1/set/poll").method("POST").body(Body::from(body.to_string())).unwrap();
    told(router.clone().oneshot(request).await.unwrap()).await
}

async fn send(router: &Router, key: &str, actor: &str) -> String {
    let event = with("actor_id", actor.into());
    let request = request(key, "/v1/events").method("POST").body(Body::from(event)).unwrap();
    let (status, report) = told(router.clone().oneshot(request).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    report["events"][0]["event_id"].as_str().unwrap().to_owned()
}

fn jtis(answer: &Value) -> Vec<&str> {
    answer["sets"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_receiver_gets_what_comes_until_it_answers_and_after_a_restart_what_it_has_not_answered_for() {
    let (log, positions) = (EventLog::open(MemoryStore::new()), InMemory::default());
    let router = served(log.clone(), positions.clone());
    send(&router, ACME, "before").await;
    let now = json!({"returnImmediately": true});
    let (status, first) = poll(&router, ACME, now.clone()).await;
    assert_eq!((status, &first), (StatusCode::OK, &json!({"sets": {}})), "from its first request on");
    let (one, two) = (send(&router, ACME, "one").await, send(&router, ACME, "two").await);
    send(&router, OTHER, "other's").await;
    let (_, cut) = poll(&router, ACME, json!({"returnImmediately": true, "maxEvents": 1})).await;
    assert_eq!((jtis(&cut), &cut["moreAvailable"]), (vec![one.as_str()], &json!(true)));
    let (_, both) = poll(&router, ACME, now.clone()).await;
    assert_eq!(jtis(&both).len(), 2, "the same again, and what came since");
    // The second is answered for, the first is not: it comes again, also from another process.
    let refused = json!({"setErrs": {two.as_str(): {"err": "invalid_key"}}, "returnImmediately": true});
    assert_eq!(jtis(&poll(&router, ACME, refused).await.1), [one.as_str()]);
    let restarted = served(log, positions);
    let (_, again) = poll(&restarted, ACME, now.clone()).await;
    assert!(jtis(&again).contains(&one.as_str()));
    let ack = json!({"ack": [one, two, uuid()], "returnImmediately": true});
    assert_eq!(poll(&restarted, ACME, ack).await.1, json!({"sets": {}}));
    assert_eq!(poll(&restarted, ACME, now).await.1, json!({"sets": {}}));
}

fn uuid() -> &'static str {
    "019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60"
}

#[tokio::test(start_paused = true)]
async fn a_receiver_waits_for_a_token_and_not_for_ever() {
    let router = served(EventLog::open(MemoryStore::new()), InMemory::default());
    let begun = tokio::time::Instant::now();
    assert_eq!(poll(&router, ACME, json!({})).await.1, json!({"sets": {}}));
    assert_eq!(begun.elapsed(), LONG_POLL);
    let ((_, answer), sent) = tokio::join!(poll(&router, ACME, json!({})), send(&router, ACME, "one"));
    assert_eq!(jtis(&answer), [sent.as_str()]);
    // Only answers.
    let ack = json!({"ack": [sent], "maxEvents": 0});
    assert_eq!(poll(&router, ACME, ack).await.1, json!({"sets": {}}));
    for bad in [json!([]), json!({"ack": ["no uuid"]}), json!({"maxEvents": -1})] {
        assert_eq!(poll(&router, ACME, bad).await.0, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_receiver_by_name_goes_on_under_another_key_and_from_where_its_key_was() {
    let log = EventLog::open(MemoryStore::new());
    let (old, new) = (ACME, "acme-new-key-456789abcdef");
    let served = |old_name: Option<&str>, positions: &InMemory| {
        let both = [Right::Ingest, Right::Read];
        let scope = |name: Option<&str>| match name {
            Some(name) => Scope::new(tenant("acme"), both).receiver(name),
            None => Scope::new(tenant("acme"), both),
        };
        let keys = HashedKeys::new()
            .with(old, scope(old_name))
            .and_then(|keys| keys.with(new, scope(Some("siem"))))
            .and_then(|keys| keys.with(OTHER, Scope::new(tenant("other"), both).receiver("siem")))
            .unwrap();
        let issuer = Issuer::new("https://events.example.com", Unsigned);
        Api::new(log.clone(), keys, CursorKey::new([7; 32])).sets(issuer, positions.clone()).router()
    };
    let now = json!({"returnImmediately": true});
    let positions = InMemory::default();
    // So far the key was the receiver.
    let router = served(None, &positions);
    poll(&router, old, now.clone()).await;
    let (one, two) = (send(&router, old, "one").await, send(&router, old, "two").await);
    poll(&router, old, now.clone()).await;
    poll(&router, old, json!({"ack": [one], "returnImmediately": true})).await;
    // Now it has a name, and goes on; so does the key that takes its place.
    let router = served(Some("siem"), &positions);
    assert_eq!(jtis(&poll(&router, old, now.clone()).await.1), [two.as_str()]);
    poll(&router, old, json!({"ack": [two], "returnImmediately": true})).await;
    let three = send(&router, old, "three").await;
    assert_eq!(jtis(&poll(&router, new, now.clone()).await.1), [three.as_str()]);
    assert_eq!(jtis(&poll(&served(Some("siem"), &positions), new, now.clone()).await.1), [three.as_str()]);
    // Another tenant's receiver of that name is another.
    assert_eq!(poll(&router, OTHER, now).await.1, json!({"sets": {}}));
}

#[tokio::test]
async fn tokens_of_an_answer_have_no_more_bytes_than_its_limit_and_the_rest_comes_next() {
    let router = served(EventLog::open(MemoryStore::new()), InMemory::default());
    let now = json!({"returnImmediately": true});
    poll(&router, ACME, now.clone()).await;
    let mut event: Value = serde_json::from_str(&with("actor_id", "large".into())).unwrap();
    event["ext"] = json!({ "text": "x".repeat(4_000) });
    event.as_object_mut().unwrap().remove("event_id");
    let batch = vec![event.to_string(); 400].join("\n");
    let request = request(ACME, "/v1/events").method("POST").body(Body::from(batch)).unwrap();
    assert_eq!(told(router.clone().oneshot(request).await.unwrap()).await.1["accepted"], 400);
    let (mut seen, mut answers, mut ack) = (std::collections::BTreeSet::new(), 0, vec![]);
    loop {
        let (_, answer) = poll(&router, ACME, json!({"returnImmediately": true, "ack": ack})).await;
        let bytes: usize =
            answer["sets"].as_object().unwrap().values().map(|jwt| jwt.as_str().unwrap().len()).sum();
        assert!(bytes <= PAGE_BYTES_MAX, "{bytes}");
        ack = jtis(&answer).into_iter().map(str::to_owned).collect();
        seen.extend(ack.clone());
        answers += 1;
        if answer["moreAvailable"] != true {
            break;
        }
    }
    assert_eq!((seen.len(), answers), (400, 3));
}
