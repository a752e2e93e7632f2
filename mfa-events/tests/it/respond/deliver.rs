//! Until each responder has heard. Time is virtual.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mfa_events::respond::{Notice, NoticeError, Patience, RespondError, Responder, deliver};
use serde_json::json;
use tokio::time::Instant;

use crate::event::at;

#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Result<(), RespondError>>>,
    heard: Mutex<Vec<String>>,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Result<(), RespondError>>) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() })
    }
}

#[async_trait]
impl Responder for Scripted {
    async fn respond(&self, notice: &Notice, _: DateTime<Utc>) -> Result<(), RespondError> {
        self.heard.lock().unwrap().push(notice.id().to_owned());
        self.script.lock().unwrap().pop_front().unwrap_or(Ok(()))
    }
}

struct Hanging;

#[async_trait]
impl Responder for Hanging {
    async fn respond(&self, _: &Notice, _: DateTime<Utc>) -> Result<(), RespondError> {
        std::future::pending().await
    }
}

struct Panicking;

#[async_trait]
impl Responder for Panicking {
    async fn respond(&self, _: &Notice, _: DateTime<Utc>) -> Result<(), RespondError> {
        panic!("as a responder may")
    }
}

fn away() -> RespondError {
    RespondError::Unavailable { why: "no connection".to_owned(), after: None }
}

fn notice() -> Notice {
    Notice::new("credential-stuffing:1:2", &json!({ "rule": "credential-stuffing" })).unwrap()
}

#[tokio::test(start_paused = true)]
async fn tells_each_for_itself_and_again_with_the_same_id() {
    let well = Scripted::new([]);
    let later = Scripted::new([Err(away()), Err(away())]);
    let refuses = Scripted::new([Err(RespondError::Refused { why: "it answered 410".to_owned() })]);
    let responders: Vec<(String, Arc<dyn Responder>)> = vec![
        ("well".to_owned(), well.clone()),
        ("hanging".to_owned(), Arc::new(Hanging)),
        ("later".to_owned(), later.clone()),
        ("panicking".to_owned(), Arc::new(Panicking)),
        ("refuses".to_owned(), refuses.clone()),
    ];
    let begun = Instant::now();
    let delivered = deliver(&responders, &notice(), Patience::default(), at).await;
    let names: Vec<_> = delivered.iter().map(|one| (one.responder.as_str(), one.outcome.is_ok())).collect();
    assert_eq!(
        names,
        [("well", true), ("hanging", false), ("later", true), ("panicking", false), ("refuses", false)]
    );
    assert_eq!((delivered[0].tries, delivered[2].tries, delivered[4].tries), (1, 3, 1));
    assert_eq!(*later.heard.lock().unwrap(), vec!["credential-stuffing:1:2"; 3]);
    // One hangs for its whole hour, and the others were told in its first seconds.
    assert!(delivered[1].tries > 30 && begun.elapsed() <= Duration::from_secs(3_600 + 30));
    assert_eq!(*well.heard.lock().unwrap(), ["credential-stuffing:1:2"]);
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_a_responder_asks_unless_that_is_too_late() {
    let asks = |seconds| {
        Err(RespondError::Unavailable {
            why: "it answered 429".to_owned(),
            after: Some(Duration::from_secs(seconds)),
        })
    };
    let asked = Scripted::new([asks(120)]);
    let begun = Instant::now();
    let told =
        deliver(&[("asked".to_owned(), asked as Arc<dyn Responder>)], &notice(), Patience::default(), at)
            .await;
    assert_eq!((told[0].tries, begun.elapsed().as_secs()), (2, 120));
    let asked = Scripted::new([asks(7_200)]);
    let begun = Instant::now();
    let told =
        deliver(&[("asked".to_owned(), asked as Arc<dyn Responder>)], &notice(), Patience::default(), at)
            .await;
    assert_eq!((told[0].tries, told[0].outcome.is_err(), begun.elapsed().as_secs()), (1, true, 0));
}

#[test]
fn the_id_of_a_notice_is_one_that_can_be_signed() {
    for id in ["", "a.b", "a b", "a\nb", "é", &"x".repeat(129)] {
        assert_eq!(Notice::new(id, &json!({})).unwrap_err(), NoticeError::Id, "{id:?}");
    }
}
