//! Many events in one message, some of which are none.

use mfa_events::Batch;
use mfa_events::batch::{BatchError, Form};
use mfa_events::event::ReadError;
use mfa_events::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use serde_json::Value;

use crate::event::failure;

fn event() -> String {
    Value::from(failure()).to_string()
}

fn read(text: &str) -> Batch {
    Batch::read(text.as_bytes(), Form::Any).unwrap()
}

/// Lines of those that are events, and messages of those that are none.
fn told(batch: &Batch) -> Vec<(usize, Option<String>)> {
    batch.items.iter().map(|item| (item.line, item.event.as_ref().err().map(ToString::to_string))).collect()
}

#[test]
fn one_object_an_array_and_lines_are_the_same_events() {
    let one = event();
    assert_eq!(told(&read(&one)), [(1, None)]);
    assert_eq!(told(&read(&format!("\n  {one}\n"))), [(2, None)]);
    assert_eq!(told(&read(&format!("[{one},\n{one}]"))), [(1, None), (2, None)]);
    assert_eq!(told(&read(&format!("{one}\r\n\r\n{one}"))), [(1, None), (3, None)]);
    let pretty = serde_json::to_string_pretty(&failure()).unwrap();
    assert_eq!(told(&read(&pretty)), [(1, None)]);
}

#[test]
fn one_bad_line_keeps_no_other_out_and_says_where_it_stood() {
    let good = event();
    let lines = format!("{good}\n  {{\"actor_id\": 7}}\n{good}\n{{\"actor_id\"\n{good}");
    let told = told(&read(&lines));
    assert_eq!(told.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(
        told[1].1.as_deref(),
        Some("line 2, column 16: /actor_id: invalid type: integer `7`, expected a string")
    );
    assert!(told[3].1.as_deref().unwrap().starts_with("line 4, column 11"), "{told:?}");
    assert!([0, 2, 4].iter().all(|good: &usize| told[*good].1.is_none()));
}

#[test]
fn one_bad_event_of_an_array_keeps_no_other_out_and_says_where_it_stood() {
    let good = event();
    let array = format!("[{good},\n {{\n  \"actor_id\": 7}}, 5, {good}]");
    let told = told(&read(&array));
    assert_eq!(told.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 3]);
    assert!(told[1].1.as_deref().unwrap().starts_with("line 3, column 15: /actor_id"), "{told:?}");
    assert!(told[2].1.as_deref().unwrap().starts_with("line 3, column 19"), "{told:?}");
    assert!(told[0].1.is_none() && told[3].1.is_none());
}

#[test]
fn an_array_that_is_no_json_is_refused_whole() {
    for text in [format!("[{},\n{{]", event()), format!("[{}", event()), format!("[{}] x", event())] {
        let error = Batch::read(text.as_bytes(), Form::Any).unwrap_err();
        assert!(matches!(error, BatchError::Form(ReadError::Form { .. })), "{error}");
    }
}

#[test]
fn a_line_that_is_no_utf_8_is_refused_alone() {
    let mut lines = format!("{}\n{{\"actor_id\": \"", event()).into_bytes();
    lines.extend_from_slice(b"\xff\"}\n");
    lines.extend_from_slice(event().as_bytes());
    let told = told(&Batch::read(&lines, Form::Lines).unwrap());
    assert!(told[1].1.is_some() && told[0].1.is_none() && told[2].1.is_none(), "{told:?}");
}

#[test]
fn beyond_the_limit_events_are_counted_and_not_read() {
    let good = event();
    let lines = format!("{good}\n").repeat(BATCH_EVENTS_MAX + 3);
    let array = format!("[{}]", vec![good; BATCH_EVENTS_MAX + 3].join(","));
    for text in [lines, array] {
        let batch = read(&text);
        assert_eq!((batch.items.len(), batch.unread), (BATCH_EVENTS_MAX, 3));
    }
}

#[test]
fn nothing_and_too_much_are_told_apart() {
    for text in ["", " \n\r\n", "[]", " [ ] "] {
        assert!(matches!(Batch::read(text.as_bytes(), Form::Any), Err(BatchError::Empty)), "{text:?}");
    }
    let long = " ".repeat(BATCH_BYTES_MAX + 1);
    assert!(matches!(Batch::read(long.as_bytes(), Form::Any), Err(BatchError::TooLong)));
}
