//! Signed webhooks, sent and checked.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use mfa_events::outlet::{NameLookup, Outlet, OutletError};
use mfa_events::respond::{
    Notice, Patience, REPLAY_IDS_MAX, RespondError, Responder, Verified, Verifier, VerifyError,
    WEBHOOK_WINDOW_S, Webhook, deliver, signature,
};
use proptest::prelude::*;
use serde_json::json;
use testbed::Stub;
use testbed::http::Answer;

use crate::event::at;

const SECRET: &[u8] = b"0123456789abcdef01234567";

fn outlet() -> Outlet {
    Outlet::default().dangerous_allow_inside("127.0.0.0/8".parse().unwrap()).dangerous_plain_http()
}

fn notice() -> Notice {
    Notice::new("credential-stuffing:42", &json!({ "rule": "credential-stuffing", "actors": ["ann", "bob"] }))
        .unwrap()
}

fn seconds(seconds: i64) -> DateTime<Utc> {
    at() + TimeDelta::seconds(seconds)
}

fn signed(id: &str, when: DateTime<Utc>, body: &[u8]) -> (String, String) {
    let timestamp = when.timestamp();
    (timestamp.to_string(), signature(SECRET, id, timestamp, body))
}

#[test]
fn signs_as_standard_webhooks_do() {
    // Computed with Python: hmac.new(b"0123456789abcdef01234567", b"msg_1.1700000000.{\"a\":1}", "sha256").
    assert_eq!(
        signature(SECRET, "msg_1", 1_700_000_000, b"{\"a\":1}"),
        "v1,WUgAXU8H0NQ1/7M+TtMwKma2b74a3/TCgekiM3YUdN8="
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_checks_what_was_sent_and_acts_once() {
    let verifier = Arc::new(Mutex::new(Verifier::new([SECRET]).unwrap()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (checks, keeps) = (verifier.clone(), seen.clone());
    let answers = Mutex::new(vec![500, 204, 204]);
    let stub = Stub::start(move |request| {
        let value = |name: &str| {
            let found = request.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let verified = checks.lock().unwrap().verify(
            &value("webhook-id"),
            &value("webhook-timestamp"),
            &value("webhook-signature"),
            &request.body,
            at(),
        );
        keeps.lock().unwrap().push((verified, request.body.clone(), value("content-type")));
        let status = answers.lock().unwrap().remove(0);
        if status == 500 {
            checks.lock().unwrap().forget(&value("webhook-id"));
        }
        Answer::new(status, "text/plain", "")
    })
    .unwrap();
    let webhook = Webhook::new(&format!("http://{}/hook", stub.addr()), SECRET, &outlet()).unwrap();
    let failed = webhook.respond(&notice(), at()).await.unwrap_err();
    assert_eq!(failed, RespondError::Unavailable { why: "it answered 500".to_owned(), after: None });
    webhook.respond(&notice(), seconds(5)).await.unwrap();
    webhook.respond(&notice(), seconds(9)).await.unwrap();
    let seen = seen.lock().unwrap();
    let verified: Vec<_> = seen.iter().map(|(verified, ..)| *verified).collect();
    assert_eq!(verified, [Ok(Verified::New), Ok(Verified::New), Ok(Verified::Known)]);
    assert_eq!(seen[0].1, notice().body().to_string().into_bytes());
    assert_eq!(seen[0].2, "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_no_redirect_and_reaches_nothing_inside() {
    let stub = Stub::start(|_| Answer::new(302, "text/plain", "").header("location", "http://127.0.0.1:1/"))
        .unwrap();
    let webhook = Webhook::new(&format!("http://{}/", stub.addr()), SECRET, &outlet()).unwrap();
    let error = webhook.respond(&notice(), at()).await.unwrap_err();
    assert_eq!(error, RespondError::Unavailable { why: "it answered 302".to_owned(), after: None });

    let refused = |url: &str| Webhook::new(url, SECRET, &Outlet::default()).unwrap_err();
    assert_eq!(refused("https://127.0.0.1/"), OutletError::Inside);
    assert_eq!(refused("https://[::ffff:169.254.169.254]/"), OutletError::Inside);
    assert_eq!(refused("http://soar.example.com/"), OutletError::Plain);
    assert_eq!(refused("https://user:secret@soar.example.com/"), OutletError::Credentials);
    assert_eq!(
        Webhook::new("https://soar.example.com/", *b"short", &Outlet::default()).unwrap_err(),
        OutletError::Setting("the secret of a webhook has at least 24 bytes")
    );
    let only = Outlet::default().allow_hosts(["Soar.example.com"]);
    assert!(Webhook::new("https://SOAR.example.com/x", SECRET, &only).is_ok());
    assert_eq!(Webhook::new("https://other.example.com/", SECRET, &only).unwrap_err(), OutletError::Host);
    // A name that leads inside is refused when it is looked up.
    let webhook = Webhook::new("https://localhost/", SECRET, &Outlet::default()).unwrap();
    let error = webhook.respond(&notice(), at()).await.unwrap_err();
    assert_eq!(error, RespondError::Unavailable { why: "its name points inside".to_owned(), after: None });
    assert!(!format!("{webhook:?}").contains("0123456789"));
}

/// Answers with an address inside the first two times, as a resolver does that has not seen the outside yet.
#[derive(Default)]
struct SplitHorizon(AtomicU32);

#[async_trait]
impl NameLookup for SplitHorizon {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        let inside = [10, 0, 0, 7].into();
        let right = [127, 0, 0, 1].into();
        Ok(match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => vec![inside],
            1 => vec![right, inside],
            _ => vec![right],
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_points_inside_for_a_while_costs_no_notice() {
    let stub = Stub::start(|_| Answer::new(204, "text/plain", "")).unwrap();
    let names = Arc::new(SplitHorizon::default());
    let url = format!("http://soar.example.com:{}/", stub.addr().port());
    let webhook = Webhook::new(&url, SECRET, &outlet().names(names.clone())).unwrap();
    let mut patience = Patience::default();
    patience.first = Duration::from_millis(1);
    let responders = [("soar".to_owned(), Arc::new(webhook) as Arc<dyn Responder>)];
    let delivered = deliver(&responders, &notice(), patience, at).await;
    assert_eq!((delivered[0].tries, &delivered[0].outcome), (3, &Ok(())));
    assert_eq!(names.0.load(Ordering::SeqCst), 3);
}

#[test]
fn a_message_holds_within_its_window_and_once() {
    let mut verifier = Verifier::new([SECRET]).unwrap();
    let body = b"{}";
    let (timestamp, signature) = signed("a", at(), body);
    let mut verify = |now| verifier.verify("a", &timestamp, &signature, body, now);
    assert_eq!(verify(seconds(-WEBHOOK_WINDOW_S - 1)), Err(VerifyError::Time));
    assert_eq!(verify(seconds(-WEBHOOK_WINDOW_S)), Ok(Verified::New));
    // Whoever sends it again is known as long as it could be accepted, and is too late afterwards.
    assert_eq!(verify(seconds(WEBHOOK_WINDOW_S)), Ok(Verified::Known));
    assert_eq!(verify(seconds(WEBHOOK_WINDOW_S + 1)), Err(VerifyError::Time));

    // A retry has a later time: the first message must not become new when its own window is over.
    let mut verifier = Verifier::new([SECRET]).unwrap();
    let (first, first_signature) = signed("b", at(), body);
    let (again, again_signature) = signed("b", seconds(200), body);
    assert_eq!(verifier.verify("b", &first, &first_signature, body, at()), Ok(Verified::New));
    assert_eq!(verifier.verify("b", &again, &again_signature, body, seconds(200)), Ok(Verified::Known));
    assert_eq!(verifier.verify("b", &again, &again_signature, body, seconds(490)), Ok(Verified::Known));
    assert_eq!(verifier.verify("b", &first, &first_signature, body, seconds(490)), Err(VerifyError::Time));
}

#[test]
fn a_secret_may_change_while_messages_come() {
    let old = b"another-secret-of-24-bytes!";
    let mut verifier = Verifier::new([SECRET.to_vec(), old.to_vec()]).unwrap();
    let timestamp = at().timestamp();
    let both = format!(
        "{} {} v2,unknown",
        signature(b"unknown", "a", timestamp, b""),
        signature(old, "a", timestamp, b"")
    );
    assert_eq!(verifier.verify("a", &timestamp.to_string(), &both, b"", at()), Ok(Verified::New));
    let mut newer = Verifier::new([SECRET]).unwrap();
    assert_eq!(newer.verify("a", &timestamp.to_string(), &both, b"", at()), Err(VerifyError::Signature));
    assert_eq!(Verifier::new([b"short".to_vec()]).unwrap_err(), VerifyError::Secret);
    assert_eq!(Verifier::new(Vec::<Vec<u8>>::new()).unwrap_err(), VerifyError::Secret);
}

#[test]
fn refuses_rather_than_forgets_what_it_has_seen() {
    let mut verifier = Verifier::new([SECRET]).unwrap();
    let mut verify = |id: &str, now| {
        let (timestamp, signature) = signed(id, now, b"");
        verifier.verify(id, &timestamp, &signature, b"", now)
    };
    for number in 0..REPLAY_IDS_MAX {
        assert_eq!(verify(&number.to_string(), at()), Ok(Verified::New));
    }
    assert_eq!(verify("more", at()), Err(VerifyError::Full));
    assert_eq!(verify("7", at()), Ok(Verified::Known));
    assert_eq!(verify("more", seconds(WEBHOOK_WINDOW_S + 1)), Ok(Verified::New));
}

proptest! {
    #[test]
    fn what_was_changed_on_the_way_does_not_hold(
        body in prop::collection::vec(any::<u8>(), 0..64), place in any::<prop::sample::Index>(), bit in 0_u8..8, what in 0..4,
    ) {
        let mut verifier = Verifier::new([SECRET]).unwrap();
        let (mut timestamp, mut signature) = signed("id-1", at(), &body);
        let (mut id, mut body) = ("id-1".to_owned(), body);
        match what {
            0 if !body.is_empty() => { let at = place.index(body.len()); body[at] ^= 1 << bit }
            0 => body.push(bit),
            1 => id.push('x'),
            2 => timestamp = (at().timestamp() + 1 + i64::from(bit)).to_string(),
            _ => {
                // The 4 bits after the last byte are none of the signature.
                let at = 3 + place.index(signature.len() - 5);
                let mut bytes = signature.into_bytes();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                signature = String::from_utf8(bytes).unwrap();
            }
        }
        prop_assert!(verifier.verify(&id, &timestamp, &signature, &body, at()).is_err());
    }

    #[test]
    fn takes_any_headers(id in ".{0,140}", timestamp in ".{0,24}", signature in ".{0,200}") {
        let mut verifier = Verifier::new([SECRET]).unwrap();
        prop_assert!(verifier.verify(&id, &timestamp, &signature, b"", at()).is_err());
    }
}

#[test]
fn one_number_has_one_text() {
    let mut verifier = Verifier::new([SECRET]).unwrap();
    let (timestamp, signature) = signed("a", at(), b"");
    for other in [format!("+{timestamp}"), format!("0{timestamp}"), format!("{timestamp} ")] {
        assert_eq!(verifier.verify("a", &other, &signature, b"", at()), Err(VerifyError::Malformed));
    }
}
