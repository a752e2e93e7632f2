//! Security Event Tokens: what is in them, and who gets them.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, SigningKey, Verifier as _};
use mfa_events::event::Timestamp;
use mfa_events::set::{
    Answer, EVENT_URN, Ed25519, Issuer, RISC_RECOVERY_ACTIVATED, Receiver, Unsigned, WINDOW_EVENTS_MAX,
};
use mfa_events::store::Record;
use mfa_events::{Event, LoginFailure, Offset, RecoveryAttempted, TenantId};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::event::at;

fn record(offset: u64, event: Event) -> Record {
    Record { offset: Offset::new(offset), ingested_at: Timestamp::new(at()).unwrap(), event: Arc::new(event) }
}

fn parts(jwt: &str) -> Vec<Vec<u8>> {
    jwt.split('.').map(|part| BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).collect()
}

#[test]
fn a_token_says_what_happened_and_whoever_has_the_public_key_can_tell() {
    let event: Event = RecoveryAttempted::new("alice").correlation("c-1").at(at()).try_into().unwrap();
    let (id, record) = (event.id(), record(7, event));
    let tenant = TenantId::new("acme").unwrap();
    let signer = Ed25519::new(&[9; 32], "2026-01");
    let jwk = signer.public_jwk();
    let issuer = Issuer::new("https://events.example.com", signer).audience("https://siem.example.com");
    let token = issuer.token(&record, &tenant).unwrap();
    assert_eq!(token.jti, id);
    assert_eq!(token, issuer.token(&record, &tenant).unwrap(), "the same each time");
    let decoded = parts(&token.jwt);
    let header: Value = serde_json::from_slice(&decoded[0]).unwrap();
    assert_eq!(header, json!({"typ": "secevent+jwt", "alg": "EdDSA", "kid": "2026-01"}));
    let claims: Value = serde_json::from_slice(&decoded[1]).unwrap();
    let time = at().timestamp();
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["jti"], &claims["iat"], &claims["toe"], &claims["txn"]),
        (
            &json!("https://events.example.com"),
            &json!("https://siem.example.com"),
            &json!(id),
            &json!(time),
            &json!(time),
            &json!("c-1")
        )
    );
    assert_eq!(claims["sub_id"], json!({"format": "opaque", "id": "alice"}));
    let whole: Value = serde_json::from_slice(&record.to_json(&tenant)).unwrap();
    assert_eq!(claims["events"][format!("{EVENT_URN}recovery.attempted")], whole);
    assert_eq!(claims["events"][RISC_RECOVERY_ACTIVATED]["subject"]["id"], "alice");
    // RFC 8417 §2.2: no `exp`, no `sub` beside `sub_id`.
    assert!(claims.get("exp").is_none() && claims.get("sub").is_none());

    let key = SigningKey::from_bytes(&[9; 32]).verifying_key();
    assert_eq!(jwk["x"], BASE64URL_NOPAD.encode(key.as_bytes()));
    let signature = Signature::from_slice(&decoded[2]).unwrap();
    let signed = token.jwt.rsplit_once('.').unwrap().0;
    assert!(key.verify(signed.as_bytes(), &signature).is_ok());
    assert!(key.verify(signed.to_lowercase().as_bytes(), &signature).is_err());
}

#[test]
fn without_a_key_a_token_says_so() {
    let event: Event = LoginFailure::new("alice").at(at()).try_into().unwrap();
    let issuer = Issuer::new("https://events.example.com", Unsigned);
    let token = issuer.token(&record(1, event), &TenantId::new("acme").unwrap()).unwrap();
    assert!(token.jwt.ends_with('.'));
    let header: Value = serde_json::from_slice(&parts(&token.jwt)[0]).unwrap();
    assert_eq!(header, json!({"typ": "secevent+jwt", "alg": "none"}));
}

#[test]
fn answers_to_a_push_are_told_apart() {
    let refused = |err: &str| Answer::Refused { err: err.to_owned() };
    let misconfigured = |err: &str| Answer::Misconfigured { err: err.to_owned() };
    for (status, body, expected) in [
        (202, "", Answer::Taken),
        (200, "", Answer::Taken),
        (400, r#"{"err":"invalid_request","description":"x"}"#, refused("invalid_request")),
        (400, r#"{"err":"invalid_key"}"#, misconfigured("invalid_key")),
        (400, r#"{"err":"invalid_issuer"}"#, misconfigured("invalid_issuer")),
        (400, r#"{"err":"invalid_audience"}"#, misconfigured("invalid_audience")),
        (413, "", refused("")),
        (400, r#"{"err":"authentication_failed"}"#, Answer::Denied),
        (400, "<html>", Answer::Later),
        (400, "{\"err\":\"a b\\u001b[31m\"}", refused("ab31m")),
        (401, "", Answer::Denied),
        (403, "", Answer::Denied),
        (404, "", Answer::Later),
        (429, "", Answer::Later),
        (503, "", Answer::Later),
    ] {
        assert_eq!(Answer::read(status, body.as_bytes()), expected, "{status} {body}");
    }
}

fn records(count: u64) -> Vec<Record> {
    let event = |actor: u64| LoginFailure::new(&actor.to_string()).at(at()).try_into().unwrap();
    (1..=count).map(|offset| record(offset * 2, event(offset))).collect()
}

#[test]
fn who_answers_for_nothing_gets_the_same_again_and_no_more_than_the_window() {
    let records = records(WINDOW_EVENTS_MAX as u64 + 50);
    let mut receiver = Receiver::at(Offset::START);
    let (first, more) = receiver.send(&records, usize::MAX);
    assert_eq!((first.len(), more), (WINDOW_EVENTS_MAX, false));
    assert_eq!(receiver.send(&records, usize::MAX).0, first);
    assert_eq!(receiver.position(), Offset::START);
}

proptest! {
    /// Against a set of what was answered for.
    #[test]
    fn each_is_sent_until_it_is_answered_for_and_not_again(
        steps in proptest::collection::vec((0_usize..8, proptest::collection::vec(0_usize..40, 0..6)), 1..40),
    ) {
        let records = records(40);
        let mut receiver = Receiver::at(Offset::START);
        let (mut answered, mut seen) = (vec![false; 40], vec![false; 40]);
        for (max, answers) in steps {
            let jtis: Vec<_> = answers.iter().map(|at| records[*at].event.id()).collect();
            receiver.answered(jtis);
            answers.iter().filter(|at| seen[**at]).for_each(|at| answered[*at] = true);
            let done = answered.iter().take_while(|answered| **answered).count();
            let position = done.checked_sub(1).map_or(Offset::START, |last| records[last].offset);
            prop_assert_eq!(receiver.position(), position);
            let (sent, more) = receiver.send(&records, max);
            let open: Vec<_> = (0..40).filter(|at| !answered[*at]).collect();
            let expected: Vec<_> = open.iter().take(max).map(|at| &records[*at]).collect();
            prop_assert_eq!(sent, expected);
            prop_assert_eq!(more, open.len() > max);
            open.iter().take(max).for_each(|at| seen[*at] = true);
        }
    }
}
