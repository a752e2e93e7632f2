//! Pushing tokens to a receiver (RFC 8935).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, SigningKey, Verifier as _};
use mfa_events::export::{Follower, MemoryPositions, News, Positions as _, Sink as _, SinkError, Told};
use mfa_events::outlet::{Outlet, OutletError};
use mfa_events::set::{Ed25519, Issuer, PUSHED_AT_ONCE_MAX, PushBuilder, PushSink};
use mfa_events::store::Record;
use mfa_events::{EventLog, LoginFailure, MemoryStore, Offset, TenantId};
use serde_json::{Value, json};
use testbed::Stub;
use testbed::http::{Answer, Request};

use crate::event::at;
use crate::export::acme;

const BEARER: &str = "receivers-own-0123456789";

type Says = Box<dyn Fn(&str) -> Option<Answer> + Send + Sync>;

/// A receiver that knows the issuer's key, and answers otherwise where it is told to, by the actor.
struct Receiver {
    stub: Stub,
    taken: Arc<Mutex<Vec<String>>>,
    says: Arc<Mutex<Says>>,
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let mut headers = request.headers.iter();
    headers.find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// RFC 8935 §2.4: the token is not taken, and why.
fn error(status: u16, err: &str) -> Answer {
    Answer::new(status, "application/json", json!({ "err": err, "description": "no" }).to_string())
}

/// What is in a token that was signed with the key.
fn verified(jwt: &[u8]) -> Option<Value> {
    let jwt = std::str::from_utf8(jwt).ok()?;
    let (signed, signature) = jwt.rsplit_once('.')?;
    let signature = Signature::from_slice(&BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?).ok()?;
    SigningKey::from_bytes(&[9; 32]).verifying_key().verify(signed.as_bytes(), &signature).ok()?;
    let claims = BASE64URL_NOPAD.decode(signed.split_once('.')?.1.as_bytes()).ok()?;
    serde_json::from_slice(&claims).ok()
}

impl Receiver {
    fn new(says: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let (taken, says) =
            (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Mutex::new(Box::new(says) as Says)));
        let (kept, told) = (Arc::clone(&taken), Arc::clone(&says));
        let stub = Stub::start(move |request| {
            if header(request, "authorization") != Some(&format!("Bearer {BEARER}")) {
                return error(400, "authentication_failed");
            }
            assert_eq!((request.method.as_str(), request.path()), ("POST", "/events"));
            assert_eq!(header(request, "content-type"), Some("application/secevent+jwt"));
            assert_eq!(header(request, "accept"), Some("application/json"));
            let Some(claims) = verified(&request.body) else { return error(400, "invalid_key") };
            let actor = claims["sub_id"]["id"].as_str().unwrap().to_owned();
            if let Some(answer) = (told.lock().unwrap())(&actor) {
                return answer;
            }
            kept.lock().unwrap().push(actor);
            Answer::new(202, "application/json", "")
        });
        Self { stub: stub.unwrap(), taken, says }
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }

    fn says(&self, says: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) {
        *self.says.lock().unwrap() = Box::new(says);
    }

    fn sink(&self, bearer: &str, secret: &[u8; 32]) -> PushSink {
        self.builder(bearer, secret).build().unwrap()
    }

    fn builder(&self, bearer: &str, secret: &[u8; 32]) -> PushBuilder {
        let outlet =
            Outlet::default().dangerous_allow_inside("127.0.0.0/8".parse().unwrap()).dangerous_plain_http();
        let issuer = Issuer::new("https://events.example.com", Ed25519::new(secret, "2026-01"));
        let builder = PushSink::builder(format!("http://{}/events", self.stub.addr()), Arc::new(issuer));
        builder.outlet(outlet).bearer(bearer)
    }
}

async fn log(events: usize) -> (EventLog<MemoryStore>, Vec<Record>) {
    let log = EventLog::open(MemoryStore::new());
    let failures = (0..events).map(|number| LoginFailure::new(&format!("p{number}")).at(at()));
    log.append(&acme(), failures, at()).await.unwrap();
    let all = mfa_events::log::Which::All;
    let records = log.read(&acme(), &all, Offset::START, 1_000).await.unwrap().records;
    (log, records)
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_each_token_in_order_and_says_how_many_were_taken() {
    let (_log, records) = log(PUSHED_AT_ONCE_MAX + 5).await;
    let receiver = Receiver::new(|_| None);
    let sink = receiver.sink(BEARER, &[9; 32]);
    assert_eq!(sink.send(&acme(), &records).await, Ok(PUSHED_AT_ONCE_MAX));
    let actors: Vec<_> = (0..PUSHED_AT_ONCE_MAX).map(|number| format!("p{number}")).collect();
    assert_eq!(receiver.taken(), actors);
    // Those that were taken before one that is not are answered for first.
    receiver.says(|actor| {
        (actor == "p2").then(|| Answer::new(503, "text/plain", "").header("retry-after", "17"))
    });
    assert_eq!(sink.send(&acme(), &records).await, Ok(2));
    let error = sink.send(&acme(), &records[2..]).await.unwrap_err();
    let after = Some(Duration::from_secs(17));
    assert_eq!(error, SinkError::Unavailable { why: "it answered 503".to_owned(), after });
}

#[tokio::test(flavor = "multi_thread")]
async fn many_on_the_way_at_once_are_answered_for_in_their_order() {
    let (_log, records) = log(40).await;
    let receiver = Receiver::new(|_| None);
    let sink = receiver.builder(BEARER, &[9; 32]).in_parallel(8).build().unwrap();
    assert_eq!(sink.send(&acme(), &records).await, Ok(40));
    let all: BTreeSet<String> = (0..40).map(|number| format!("p{number}")).collect();
    assert_eq!((receiver.taken().into_iter().collect::<BTreeSet<_>>(), receiver.taken().len()), (all, 40));
    // Only what stands before the first that was not taken counts, whatever came through beside it.
    receiver.says(|actor| (actor == "p11").then(|| Answer::new(503, "text/plain", "")));
    assert_eq!(sink.send(&acme(), &records).await, Ok(11));
    receiver.says(|actor| (actor == "p11").then(|| error(400, "invalid_request")));
    let refused = SinkError::Refused { index: 11, why: "it answered 400, `invalid_request`".to_owned() };
    assert_eq!(sink.send(&acme(), &records).await, Err(refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn knows_whether_a_token_or_everything_is_refused() {
    let (_log, records) = log(3).await;
    let receiver = Receiver::new(|actor| (actor == "p1").then(|| error(400, "invalid_request")));
    let sink = receiver.sink(BEARER, &[9; 32]);
    let refused = SinkError::Refused { index: 1, why: "it answered 400, `invalid_request`".to_owned() };
    assert_eq!(sink.send(&acme(), &records).await, Err(refused));
    receiver.says(|_| Some(Answer::new(413, "text/html", "")));
    let refused = SinkError::Refused { index: 0, why: "it answered 413".to_owned() };
    assert_eq!(sink.send(&acme(), &records).await, Err(refused));
    for err in ["invalid_issuer", "invalid_audience"] {
        receiver.says(move |_| Some(error(400, err)));
        let why = format!("it answered 400, `{err}`");
        assert_eq!(sink.send(&acme(), &records).await, Err(SinkError::Misconfigured { why }));
    }
    // Whoever else signs or asks is not let in, whatever the receiver says of events.
    receiver.says(|_| None);
    let other = receiver.sink(BEARER, &[8; 32]).send(&acme(), &records).await.unwrap_err();
    assert_eq!(other.to_string(), "it is not set up for this: it answered 400, `invalid_key`");
    let stranger = receiver.sink("no-bearer", &[9; 32]).send(&acme(), &records).await.unwrap_err();
    assert!(matches!(stranger, SinkError::Denied { .. }), "{stranger}");
    assert_eq!(receiver.taken(), ["p0"]);
    let (sink, builder) = (
        receiver.sink(BEARER, &[9; 32]),
        PushSink::builder(
            "https://a.example.com/secret-path",
            Arc::new(Issuer::new("i", Ed25519::new(&[9; 32], "k"))),
        )
        .bearer(BEARER),
    );
    let text = format!("{sink:?} {builder:?}");
    assert!(!text.contains(BEARER) && !text.contains("secret-path"), "{text}");
    assert!(matches!(builder.bearer("a\nb").build(), Err(OutletError::Setting(_))));
}

#[derive(Default)]
struct Heard(Mutex<Vec<News>>, tokio::sync::Notify);

impl Told for Heard {
    fn told(&self, _: &str, _: &TenantId, news: &News) {
        self.0.lock().unwrap().push(news.clone());
        self.1.notify_one();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_kept_up_from_where_it_was_and_a_bad_token_is_passed_over() {
    let (log, _) = log(6).await;
    let (heard, positions) = (Arc::new(Heard::default()), Arc::new(MemoryPositions::default()));
    let receiver = Receiver::new(|actor| match actor {
        "p2" => Some(error(400, "invalid_request")),
        "p4" => Some(error(403, "access_denied")),
        _ => None,
    });
    let follow = || {
        let sink = Arc::new(receiver.sink(BEARER, &[9; 32]));
        let follower = Follower::builder(log.clone(), acme(), "siem", sink, positions.clone());
        let follower = follower.tell(heard.clone()).build();
        tokio::spawn(async move { follower.run().await.map(|_| ()) })
    };
    let running = follow();
    heard.1.notified().await;
    heard.1.notified().await;
    running.abort();
    let _ = running.await;
    let told = std::mem::take(&mut *heard.0.lock().unwrap());
    let denied = SinkError::Denied { why: "it answered 403".to_owned() };
    assert!(matches!(&told[0], News::Refused { offset, .. } if *offset == Offset::new(3)), "{told:?}");
    assert_eq!(told[1], News::Stalled { after: Offset::new(4), why: denied });
    assert_eq!(positions.load("siem", &acme()).await.unwrap(), Some(Offset::new(4)));

    // After a restart it goes on there, where it is let in again.
    receiver.says(|_| None);
    let running = follow();
    while positions.load("siem", &acme()).await.unwrap() != Some(Offset::new(6)) {
        tokio::task::yield_now().await;
    }
    running.abort();
    assert_eq!(receiver.taken(), ["p0", "p1", "p3", "p4", "p5"]);
}
