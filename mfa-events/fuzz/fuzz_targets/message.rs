#![no_main]

use libfuzzer_sys::fuzz_target;
use mfa_events::store::jetstream::message::{Message, event_payload, event_subject, tenant_key};

// A line with the subject, then the payload. What is read is what its subject says, and is written so that it is read again.
fuzz_target!(|text: &[u8]| {
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let (subject, payload) = (String::from_utf8_lossy(&text[..end]), text.get(end + 1..).unwrap_or_default());
    match Message::read("e", &subject, payload) {
        Ok(Message::Event(entry)) => {
            let own = event_subject("e", &entry.tenant, entry.event.id());
            assert_eq!(own, subject);
            let written = event_payload(&entry).expect("what was read is written");
            assert_eq!(Message::read("e", &own, &written), Ok(Message::Event(entry)));
        }
        Ok(Message::Forget { tenant, .. }) => {
            assert_eq!(subject, format!("e.{:032x}.forget", tenant_key(&tenant)));
        }
        Ok(_) | Err(_) => {}
    }
});
