//! The router, asked without a network.
#![allow(clippy::string_slice, reason = "texts of the tests' own")]

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use mfa_events::cursor::CursorKey;
use mfa_events::http::{HashedKeys, PAGE_BYTES_MAX, Right, Scope, router};
use mfa_events::limits::BATCH_EVENTS_MAX;
use mfa_events::{EventLog, MemoryStore, TenantId};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::event::{failure, with};

pub(crate) const ACME: &str = "acme-0123456789abcdef0123";
pub(crate) const ACME_SENDER: &str = "acme-sender-456789abcdef";
pub(crate) const OTHER: &str = "other-0123456789abcdef01";

pub(crate) struct Api {
    pub(crate) router: Router,
    pub(crate) log: EventLog<MemoryStore>,
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn api() -> Api {
    let scope = |name: &str, rights: &[Right]| Scope::new(tenant(name), rights);
    let keys = HashedKeys::new()
        .with(ACME, scope("acme", &[Right::Ingest, Right::Read]))
        .and_then(|keys| keys.with(ACME_SENDER, scope("acme", &[Right::Ingest])))
        .and_then(|keys| keys.with(OTHER, scope("other", &[Right::Ingest, Right::Read])))
        .unwrap();
    let log = EventLog::open(MemoryStore::new());
    Api { router: router(log.clone(), keys, CursorKey::new([7; 32])), log }
}

impl Api {
    pub(crate) async fn ask(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn get(&self, key: &str, uri: &str) -> Response<Body> {
        self.ask(request(key, uri).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, key: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        told(self.ask(request(key, "/v1/events").method("POST").body(body.into()).unwrap()).await).await
    }

    pub(crate) async fn send(&self, actors: &[&str]) {
        let events: Vec<_> = actors.iter().map(|actor| with("actor_id", (*actor).into())).collect();
        let (status, report) = self.post(ACME, format!("[{}]", events.join(","))).await;
        assert_eq!((status, &report["accepted"]), (StatusCode::OK, &json!(actors.len())), "{report}");
    }
}

pub(crate) fn request(key: &str, uri: &str) -> axum::http::request::Builder {
    Request::builder().uri(uri).header(header::AUTHORIZATION, format!("Bearer {key}"))
}

pub(crate) async fn told(response: Response<Body>) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

pub(crate) fn header_of(response: &Response<Body>, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

pub(crate) async fn actors(response: Response<Body>) -> Vec<String> {
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let lines = std::str::from_utf8(&body).unwrap().lines();
    let actor =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["actor_id"].as_str().unwrap().to_owned();
    lines.map(actor).collect()
}

#[tokio::test]
async fn nobody_gets_in_without_a_key_or_beyond_what_it_allows() {
    let api = api();
    let bare = Request::builder().uri("/v1/stream").body(Body::empty()).unwrap();
    let refused = api.ask(bare).await;
    assert_eq!(header_of(&refused, "www-authenticate").as_deref(), Some("Bearer"));
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    for key in ["", "x", &ACME[1..], &format!("{ACME} "), &"k".repeat(10_000)] {
        let expected = if key.trim() == ACME { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(api.get(key, "/v1/stream").await.status(), expected, "{key}");
    }
    assert_eq!(api.get(ACME_SENDER, "/v1/stream").await.status(), StatusCode::FORBIDDEN);
    for uri in ["/v1/actors/alice/events", "/v1/events?from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00Z"] {
        assert_eq!(api.get(ACME_SENDER, uri).await.status(), StatusCode::FORBIDDEN);
        assert_eq!(api.get("no-key-at-all-0123456789ab", uri).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert!(HashedKeys::new().with("short", Scope::new(tenant("acme"), [])).is_err());
}

#[tokio::test]
async fn tells_of_each_event_what_became_of_it() {
    let api = api();
    let id = "019aa2b0-5d3c-7c1e-9f00-2b1d5c3e4f60";
    let good = with("event_id", id.into());
    let (status, report) = api.post(ACME_SENDER, good.clone()).await;
    assert_eq!(
        (status, &report["accepted"], &report["events"][0]["event_id"]),
        (StatusCode::OK, &json!(1), &json!(id))
    );
    let other = good.replace("alice", "bob");
    let lines = format!("{good}\n{other}\n{{\"actor_id\": 7}}\n{}\n", Value::from(failure()));
    let (status, report) = api.post(ACME, lines).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&report["accepted"], &report["known"], &report["unread"]), (&json!(1), &json!(1), &json!(0)));
    let rejected = &report["rejected"];
    assert_eq!((&rejected[0]["index"], &rejected[0]["errors"][0]["code"]), (&json!(1), &json!("conflict")));
    let form = &rejected[1]["errors"][0];
    assert_eq!((&rejected[1]["line"], &form["line"], &form["column"]), (&json!(3), &json!(3), &json!(14)));
    assert_eq!(form["pointer"], "/actor_id");
    let (status, report) = api.post(ACME, r#"{"event_type": "mfa.failure"}"#).await;
    assert_eq!(
        (status, report["rejected"][0]["errors"].as_array().unwrap().len()),
        (StatusCode::UNPROCESSABLE_ENTITY, 5)
    );
    for (body, expected) in
        [("", StatusCode::BAD_REQUEST), ("[]", StatusCode::BAD_REQUEST), ("[{", StatusCode::BAD_REQUEST)]
    {
        let (status, problem) = api.post(ACME, body).await;
        assert_eq!((status, problem["code"].as_str()), (expected, Some("bad_request")), "{body}");
    }
    let long = " ".repeat(mfa_events::limits::BATCH_BYTES_MAX + 1);
    assert_eq!(api.post(ACME, long).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_giant_batch_is_taken_in_part_and_says_which_part() {
    const COUNT: usize = BATCH_EVENTS_MAX + 50;
    let api = api();
    let line = |number: usize| match number % 100 {
        7 => "{\"actor_id\": 7}".to_owned(),
        8 => "no JSON at all".to_owned(),
        _ => with("actor_id", format!("p{number}").into()),
    };
    let lines: Vec<String> = (0..COUNT).map(line).collect();
    let bad: Vec<usize> = (0..BATCH_EVENTS_MAX).filter(|number| matches!(number % 100, 7 | 8)).collect();
    let (status, report) = api.post(ACME, lines.join("\n")).await;
    let indexes = |name: &str| -> Vec<usize> {
        let list = report[name].as_array().unwrap().iter();
        list.map(|one| usize::try_from(one["index"].as_u64().unwrap()).unwrap()).collect()
    };
    assert_eq!((status, &report["unread"]), (StatusCode::OK, &json!(COUNT - BATCH_EVENTS_MAX)));
    assert_eq!(
        (indexes("rejected"), &report["accepted"]),
        (bad.clone(), &json!(BATCH_EVENTS_MAX - bad.len()))
    );
    assert_eq!(report["rejected"][1]["line"], 9);
    let kept: Vec<usize> = (0..BATCH_EVENTS_MAX).filter(|number| !bad.contains(number)).collect();
    assert_eq!(indexes("events"), kept);
    // What was not read is sent again, and what was kept is known by its id.
    let (_, rest) = api.post(ACME, lines[BATCH_EVENTS_MAX..].join("\n")).await;
    assert_eq!((&rest["accepted"], &rest["unread"]), (&json!(COUNT - BATCH_EVENTS_MAX - 2), &json!(0)));
    let page = api.log.bounds(&tenant("acme")).await.unwrap();
    assert_eq!(page.last.as_u64(), (COUNT - bad.len() - 2) as u64);
}

#[tokio::test]
async fn reads_on_from_cursor_to_cursor() {
    let api = api();
    api.send(&["p1", "p2", "p3"]).await;
    let first = api.get(ACME, "/v1/stream?offset=-1&limit=2").await;
    assert_eq!(header_of(&first, "content-type").as_deref(), Some("application/x-ndjson"));
    assert_eq!(header_of(&first, "stream-up-to-date"), None);
    let next = header_of(&first, "stream-next-offset").unwrap();
    assert_eq!(actors(first).await, ["p1", "p2"]);
    let second = api.get(ACME, &format!("/v1/stream?offset={next}")).await;
    assert_eq!(header_of(&second, "stream-up-to-date").as_deref(), Some("true"));
    let end = header_of(&second, "stream-next-offset").unwrap();
    assert!(end > next, "cursors sort as texts");
    assert_eq!(actors(second).await, ["p3"]);
    assert!(actors(api.get(ACME, &format!("/v1/stream?offset={end}")).await).await.is_empty());
    let now = api.get(ACME, "/v1/stream?offset=now").await;
    assert_eq!(header_of(&now, "stream-next-offset"), Some(end));
    assert!(actors(now).await.is_empty());
    let array = request(ACME, "/v1/stream?offset=-1").header(header::ACCEPT, "application/json");
    let (_, array) = told(api.ask(array.body(Body::empty()).unwrap()).await).await;
    let first = &array[0];
    assert_eq!(
        (array.as_array().unwrap().len(), &first["actor_id"], &first["tenant_id"]),
        (3, &json!("p1"), &json!("acme"))
    );
    assert!(first["ingested_at"].is_string() && first["offset"].is_string());
}

#[tokio::test]
async fn a_cursor_is_of_one_tenant_and_one_filter() {
    let api = api();
    api.send(&["p1", "p2"]).await;
    let cursor = header_of(&api.get(ACME, "/v1/stream?limit=1").await, "stream-next-offset").unwrap();
    let forged = format!("{:016x}{}", 2, &cursor[16..]);
    for (key, uri) in [
        (OTHER, format!("/v1/stream?offset={cursor}")),
        (ACME, format!("/v1/stream?offset={cursor}&actor=p1")),
        (ACME, format!("/v1/actors/p1/events?offset={cursor}")),
        (ACME, format!("/v1/stream?offset={forged}")),
        (ACME, format!("/v1/stream?offset={}", &cursor[..16])),
        (ACME, format!("/v1/stream?offset={}", cursor.to_uppercase())),
        (ACME, "/v1/stream?offset=0".to_owned()),
        (ACME, "/v1/stream?offset=%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9".to_owned()),
    ] {
        let (status, problem) = told(api.get(key, &uri).await).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (StatusCode::BAD_REQUEST, Some("bad_cursor")),
            "{uri}"
        );
    }
    assert!(actors(api.get(OTHER, "/v1/stream?offset=-1").await).await.is_empty());
}

#[tokio::test]
async fn what_is_no_longer_kept_is_gone_and_says_where_to_begin() {
    let api = api();
    api.send(&["p1", "p2", "p3"]).await;
    let cursor = header_of(&api.get(ACME, "/v1/stream?limit=1").await, "stream-next-offset").unwrap();
    api.log.forget(&tenant("acme"), mfa_events::Offset::new(2)).await.unwrap();
    let (status, problem) = told(api.get(ACME, &format!("/v1/stream?offset={cursor}")).await).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::GONE, Some("gone")));
    let earliest = problem["earliest_offset"].as_str().unwrap();
    assert_eq!(actors(api.get(ACME, &format!("/v1/stream?offset={earliest}")).await).await, ["p3"]);
    assert_eq!(actors(api.get(ACME, "/v1/stream?offset=-1").await).await, ["p3"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_waits_for_an_event_and_ends_without_one() {
    let api = api();
    let cursor = header_of(&api.get(ACME, "/v1/stream?offset=now").await, "stream-next-offset").unwrap();
    let uri = format!("/v1/stream?offset={cursor}&live=long-poll&cursor=5");
    let nothing = api.get(ACME, &uri).await;
    assert_eq!(nothing.status(), StatusCode::NO_CONTENT);
    assert_eq!(header_of(&nothing, "stream-up-to-date").as_deref(), Some("true"));
    assert_eq!(header_of(&nothing, "stream-next-offset"), Some(cursor.clone()));
    assert!(header_of(&nothing, "stream-cursor").unwrap().parse::<u64>().unwrap() > 5);
    let waiting = api.get(ACME, &uri);
    let (event, ()) = tokio::join!(waiting, api.send(&["p1"]));
    assert_eq!(actors(event).await, ["p1"]);
    let filtered = "/v1/stream?offset=now&live=long-poll&actor=p3";
    let (event, ()) = tokio::join!(api.get(ACME, filtered), async {
        api.send(&["p2"]).await;
        api.send(&["p3"]).await;
    });
    assert_eq!(actors(event).await, ["p3"]);
}

/// Reads server-sent events until there are so many of the type.
pub(crate) async fn sent(body: &mut Body, kind: &str, count: usize) -> Vec<(Option<String>, String)> {
    let (mut text, mut found) = (String::new(), Vec::new());
    while found.len() < count {
        let frame = body.frame().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| {
                event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
            };
            if field("event:").as_deref() == Some(kind) {
                found.push((field("id:"), field("data:").unwrap()));
            }
            text = rest.to_owned();
        }
    }
    found
}

#[tokio::test]
async fn server_sent_events_begin_now_and_go_on_from_the_last() {
    let api = api();
    api.send(&["p1"]).await;
    let live = || request(ACME, "/v1/stream").header(header::ACCEPT, "text/event-stream");
    let response = api.ask(live().body(Body::empty()).unwrap()).await;
    assert_eq!(header_of(&response, "content-type").as_deref(), Some("text/event-stream"));
    let mut body = response.into_body();
    let (id, control) = sent(&mut body, "control", 1).await.remove(0);
    let control: Value = serde_json::from_str(&control).unwrap();
    assert_eq!(control["upToDate"], true);
    // Whose connection ends before the first event has it as `Last-Event-ID`, and misses nothing meanwhile.
    assert_eq!(control["streamNextOffset"], id.unwrap());
    let events = async {
        let first = sent(&mut body, "data", 1).await.remove(0);
        drop(body);
        first
    };
    let (first, ()) = tokio::join!(events, api.send(&["p2", "p3"]));
    assert!(first.1.contains("\"p2\""), "{first:?}");
    let again = live().header("last-event-id", first.0.unwrap()).body(Body::empty()).unwrap();
    let mut body = api.ask(again).await.into_body();
    let rest = sent(&mut body, "data", 1).await;
    assert!(rest[0].1.contains("\"p3\""), "{rest:?}");
    let mut body = api.get(ACME, "/v1/stream?live=sse&offset=-1").await.into_body();
    assert_eq!(sent(&mut body, "data", 3).await.len(), 3);
}

#[tokio::test]
async fn finds_one_actor_and_many_page_after_page() {
    let api = api();
    api.send(&["alice", "bob", "carol", "alice", "a/b %"]).await;
    let first = api.get(ACME, "/v1/actors/alice/events?limit=1").await;
    let next = header_of(&first, "stream-next-offset").unwrap();
    assert_eq!(actors(first).await, ["alice"]);
    assert_eq!(
        actors(api.get(ACME, &format!("/v1/actors/alice/events?offset={next}")).await).await,
        ["alice"]
    );
    assert_eq!(actors(api.get(ACME, "/v1/actors/a%2Fb%20%25/events").await).await, ["a/b %"]);
    let many = |actors: &[&str]| {
        let body = json!({ "actors": actors }).to_string();
        let request = request(ACME, "/v1/actors/events")
            .method("POST")
            .header(header::CONTENT_TYPE, "application/json");
        api.ask(request.body(Body::from(body)).unwrap())
    };
    assert_eq!(actors(many(&["carol", "bob", "nobody"]).await).await, ["bob", "carol"]);
    assert_eq!(many(&[]).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(many(&["p"; 1_001]).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(many(&[""]).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn finds_a_span_of_time_and_says_whether_it_is_over() {
    let api = api();
    let events = ["27.044", "27.042", "27.043"]
        .map(|second| with("timestamp", format!("2026-01-31T09:15:{second}Z").into()));
    api.post(ACME, format!("[{}]", events.join(","))).await;
    let span = "/v1/events?from=2026-01-31T00:00:00Z&to=2026-02-01T00:00:00Z&limit=2";
    let (status, first) = told(api.get(ACME, span).await).await;
    let times = |page: &Value| -> Vec<String> {
        page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["timestamp"].as_str().unwrap()[17..23].to_owned())
            .collect()
    };
    assert_eq!((status, times(&first)), (StatusCode::OK, vec!["27.042".to_owned(), "27.043".to_owned()]));
    let next = first["next"].as_str().unwrap();
    let (_, second) = told(api.get(ACME, &format!("{span}&after={next}")).await).await;
    assert_eq!((times(&second), &second["next"]), (vec!["27.044".to_owned()], &Value::Null));
    assert_eq!((&second["complete"], &second["incomplete_because"]), (&json!(true), &Value::Null));
    let stream = second["stream_offset"].as_str().unwrap();
    assert!(actors(api.get(ACME, &format!("/v1/stream?offset={stream}")).await).await.is_empty());
    let (_, open) =
        told(api.get(ACME, "/v1/events?from=2026-01-31T00:00:00Z&to=9000-01-01T00:00:00Z").await).await;
    assert_eq!((&second["is_over"], &open["is_over"]), (&json!(true), &json!(false)));
    assert_eq!((&open["complete"], &open["incomplete_because"]), (&json!(false), &json!(["not_over"])));
    for bad in ["from=2026-01-31T00:00:00Z", "from=yesterday&to=now", &format!("{}&after=x", &span[11..])] {
        assert_eq!(
            api.get(ACME, &format!("/v1/events?{bad}")).await.status(),
            StatusCode::BAD_REQUEST,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn pages_of_a_span_are_of_one_moment_and_say_what_retention_took() {
    let api = api();
    let happened = |times: &[&str]| {
        let events: Vec<_> =
            times.iter().map(|time| with("timestamp", format!("2026-01-31T09:15:{time}Z").into())).collect();
        format!("[{}]", events.join(","))
    };
    api.post(ACME, happened(&["27.001", "27.003", "27.005"])).await;
    let span = "/v1/events?from=2026-01-31T00:00:00Z&to=2026-02-01T00:00:00Z&limit=2";
    let (_, first) = told(api.get(ACME, span).await).await;
    // Late ones, of which two belong on pages that are to come: they are in the stream behind all of these.
    api.post(ACME, happened(&["27.000", "27.004", "27.006"])).await;
    let mut seen = vec![];
    let mut page = first.clone();
    loop {
        let events = page["events"].as_array().unwrap();
        seen.extend(events.iter().map(|event| event["timestamp"].as_str().unwrap()[20..23].to_owned()));
        assert_eq!(page["stream_offset"], first["stream_offset"]);
        let Some(next) = page["next"].as_str() else { break };
        page = told(api.get(ACME, &format!("{span}&after={next}")).await).await.1;
    }
    assert_eq!(seen, ["001", "003", "005"]);
    let rest = first["stream_offset"].as_str().unwrap();
    assert_eq!(actors(api.get(ACME, &format!("/v1/stream?offset={rest}")).await).await.len(), 3);
    assert_eq!(page["complete"], true);

    // Nobody knows what was forgotten but that it had come: a span that begins later misses none of it.
    api.log.forget(&tenant("acme"), mfa_events::Offset::new(1)).await.unwrap();
    let (_, less) = told(api.get(ACME, span).await).await;
    assert_eq!((&less["complete"], &less["incomplete_because"]), (&json!(false), &json!(["retention"])));
    let later = "/v1/events?from=2999-01-01T00:00:00Z&to=2999-02-01T00:00:00Z";
    let (_, later) = told(api.get(ACME, later).await).await;
    assert_eq!(later["incomplete_because"], json!(["not_over"]));
    let next = first["next"].as_str().unwrap();
    let (_, second) = told(api.get(ACME, &format!("{span}&after={next}")).await).await;
    assert_eq!(
        second["incomplete_because"],
        json!(["retention"]),
        "also on a page of a query that began before"
    );
    // An answer about a later state than there is cannot be made up.
    let forged = format!("{}_{:016x}", &next[..next.len() - 17], u64::MAX);
    let (status, forged) = told(api.get(ACME, &format!("{span}&after={forged}")).await).await;
    let now = api.get(ACME, "/v1/stream?offset=now").await;
    assert_eq!(
        (status, forged["stream_offset"].as_str()),
        (StatusCode::OK, header_of(&now, "stream-next-offset").as_deref())
    );
}

/// So many events, each of some kilobytes.
async fn send_large(api: &Api, count: usize) {
    for from in (0..count).step_by(100) {
        let events: Vec<_> = (from..count.min(from + 100))
            .map(|number| {
                let mut event: Value = serde_json::from_str(&with("actor_id", "large".into())).unwrap();
                event["timestamp"] =
                    format!("2026-01-31T09:{:02}:{:02}.000Z", number / 60, number % 60).into();
                event["ext"] = json!({ "number": number, "text": "x".repeat(4_000) });
                event.to_string()
            })
            .collect();
        assert_eq!(api.post(ACME, format!("[{}]", events.join(","))).await.0, StatusCode::OK);
    }
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["ext"]["number"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn an_answer_has_no_more_bytes_than_its_limit_and_goes_on_from_there() {
    const COUNT: usize = 600;
    let api = api();
    send_large(&api, COUNT).await;
    let all: Vec<u64> = (0..COUNT as u64).collect();
    for uri in ["/v1/stream", "/v1/actors/large/events"] {
        let (mut seen, mut pages, mut offset) = (vec![], 0, "-1".to_owned());
        loop {
            let response = api.get(ACME, &format!("{uri}?limit=1000&offset={offset}")).await;
            offset = header_of(&response, "stream-next-offset").unwrap();
            let is_end = header_of(&response, "stream-up-to-date").is_some();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(body.len() <= PAGE_BYTES_MAX + 1_000, "{}", body.len());
            let lines = std::str::from_utf8(&body).unwrap().lines();
            let events: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
            (seen, pages) = ([seen, numbers(&events)].concat(), pages + 1);
            if is_end {
                break;
            }
        }
        assert_eq!(seen, all, "{uri}");
        assert!((3..=4).contains(&pages), "{pages}");
    }
    let span = "/v1/events?from=2026-01-31T00:00:00Z&to=2026-02-01T00:00:00Z";
    let (mut seen, mut after) = (vec![], String::new());
    loop {
        let (_, page) = told(api.get(ACME, &format!("{span}{after}")).await).await;
        let events = page["events"].as_array().unwrap();
        assert!(page["events"].to_string().len() <= PAGE_BYTES_MAX + 1_000);
        seen = [seen, numbers(events)].concat();
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, all);
    let mut body = api.get(ACME, "/v1/stream?live=sse&offset=-1").await.into_body();
    let events: Vec<Value> = sent(&mut body, "data", COUNT)
        .await
        .iter()
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(numbers(&events), all);
}

#[tokio::test]
async fn a_query_for_actors_has_no_place_for_other_actors_and_does_not_wait() {
    let api = api();
    api.send(&["alice", "bob"]).await;
    for bad in ["actor=bob", "live=sse", "live=long-poll", "live=false", "cursor=1", "offste=-1"] {
        let name = bad.split('=').next().unwrap();
        let get = api.get(ACME, &format!("/v1/actors/alice/events?{bad}")).await;
        let body = json!({ "actors": ["alice"] }).to_string();
        let post = request(ACME, &format!("/v1/actors/events?{bad}")).method("POST").body(body.into());
        for response in [get, api.ask(post.unwrap()).await] {
            let (status, problem) = told(response).await;
            let detail = problem["detail"].as_str().unwrap();
            assert!(status == StatusCode::BAD_REQUEST && detail.contains(&format!("`{name}`")), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_parameter_that_is_none_is_told() {
    let api = api();
    for bad in ["offste=-1", "live=maybe", "limit=-1", "limit=x", "cursor=-1", "actor="] {
        let (status, problem) = told(api.get(ACME, &format!("/v1/stream?{bad}")).await).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (StatusCode::BAD_REQUEST, Some("bad_request")),
            "{bad}"
        );
    }
}
