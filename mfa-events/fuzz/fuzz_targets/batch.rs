#![no_main]

use libfuzzer_sys::fuzz_target;
use mfa_events::batch::{Batch, Form};
use mfa_events::event::{Event, ReadError};

// Whatever comes: events that are written as they were read, and places that are in the message.
fuzz_target!(|text: &[u8]| {
    let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
    for form in [Form::Any, Form::Json, Form::Lines] {
        let Ok(batch) = Batch::read(text, form) else { continue };
        for item in batch.items {
            assert!((1..=lines).contains(&item.line));
            match item.event {
                Ok(event) => {
                    let written = serde_json::to_vec(&event).expect("an event is written");
                    assert_eq!(Event::from_json(&written).expect("and read"), event);
                }
                Err(ReadError::Form { line, column, .. }) => {
                    assert!((item.line..=lines).contains(&line) && column >= 1);
                }
                Err(_) => {}
            }
        }
    }
});
