//! Messages of the stream, as anybody may have put them there.

use mfa_events::event::Timestamp;
use mfa_events::store::Entry;
use mfa_events::store::jetstream::MESSAGE_BYTES_MAX;
use mfa_events::store::jetstream::message::{
    Message, MessageError, event_payload, event_subject, tenant_key,
};
use mfa_events::{LoginFailure, TenantId};
use proptest::prelude::*;

use crate::event::at;

fn entry(tenant: &str, actor: &str) -> Entry {
    Entry {
        tenant: TenantId::new(tenant).unwrap(),
        event: LoginFailure::new(actor).at(at()).try_into().unwrap(),
        ingested_at: Timestamp::new(at()).unwrap(),
    }
}

fn subject(entry: &Entry) -> String {
    event_subject("mfa_events", &entry.tenant, entry.event.id())
}

#[test]
fn the_published_form_stays_as_it_is() {
    let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    let event = LoginFailure::new("alice").id(id).at(at()).try_into().unwrap();
    let entry = Entry { event, ..entry("acme", "alice") };
    assert_eq!(
        subject(&entry),
        "mfa_events.822b33ad87c148a0a20a5ba7cd5ebcaa.01900000000070008000000000000001"
    );
    assert_eq!(
        String::from_utf8(event_payload(&entry).unwrap()).unwrap(),
        concat!(
            r#"{"tenant_id":"acme","ingested_at":"2026-01-31T09:15:27.042Z","event":{"schema_version":1,"#,
            r#""event_id":"01900000-0000-7000-8000-000000000001","event_type":"login.failure","#,
            r#""timestamp":"2026-01-31T09:15:27.042Z","actor_id":"alice","outcome":"failure"}}"#
        )
    );
    let forget = format!("mfa_events.{:032x}.forget", tenant_key(&entry.tenant));
    let read = Message::read("mfa_events", &forget, br#"{"tenant_id":"acme","to":7}"#);
    assert_eq!(read, Ok(Message::Forget { tenant: entry.tenant, to: 7 }));
}

#[test]
fn a_message_that_is_not_what_its_subject_says_is_damaged() {
    let (own, other) = (entry("acme", "alice"), entry("other", "alice"));
    let key = tenant_key(&own.tenant);
    let damaged = Err(MessageError::Damaged { key });
    let payload = event_payload(&own).unwrap();
    let text = String::from_utf8(payload.clone()).unwrap();
    for wrong in [
        event_payload(&other).unwrap(),
        event_payload(&entry("acme", "alice")).unwrap(),
        Vec::new(),
        b"null".to_vec(),
        b"\xff".to_vec(),
        payload.split_last().unwrap().1.to_vec(),
        [&payload[..], b"{}"].concat(),
        text.replacen("{\"tenant_id\"", "{\"more\":1,\"tenant_id\"", 1).into_bytes(),
        text.replacen("\"actor_id\":\"alice\"", "\"actor_id\":\"\"", 1).into_bytes(),
        [&payload[..], " ".repeat(MESSAGE_BYTES_MAX).as_bytes()].concat(),
    ] {
        assert_eq!(Message::read("mfa_events", &subject(&own), &wrong), damaged);
    }
    let forget = format!("mfa_events.{key:032x}.forget");
    for wrong in [
        &br#"{"tenant_id":"other","to":7}"#[..],
        br#"{"tenant_id":"acme"}"#,
        br#"{"tenant_id":"acme","to":-1}"#,
        b"",
    ] {
        assert_eq!(Message::read("mfa_events", &forget, wrong), damaged);
    }
    let (subject, id) = (subject(&own), own.event.id().simple());
    for strange in [
        String::new(),
        "mfa_events".to_owned(),
        subject.replace("mfa_events", "mfa_event"),
        subject.replace("mfa_events", "mfa_events_too"),
        subject.to_uppercase(),
        format!("{subject}.more"),
        format!("mfa_events.{key:032x}.{}", id.to_string().replacen('0', "+", 1)),
        format!("mfa_events.{key:x}0.{id}"),
        format!("mfa_events.{key:032x}.forgets"),
    ] {
        assert_eq!(Message::read("mfa_events", &strange, &payload), Err(MessageError::Subject), "{strange}");
    }
}

proptest! {
    #[test]
    fn an_event_is_read_as_it_was_written(tenant in "[^\\pC]{1,40}", actor in "[^\\pC]{1,40}") {
        let entry = entry(&tenant, &actor);
        let payload = event_payload(&entry).unwrap();
        prop_assert!(payload.len() <= MESSAGE_BYTES_MAX);
        prop_assert_eq!(Message::read("mfa_events", &subject(&entry), &payload), Ok(Message::Event(entry)));
    }

    #[test]
    fn whatever_comes_is_a_message_or_an_error(subject in "(mfa_events)?[.0-9a-f]{0,70}(forget)?", payload: Vec<u8>) {
        let _ = Message::read("mfa_events", &subject, &payload);
    }
}
