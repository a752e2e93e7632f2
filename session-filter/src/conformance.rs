//! What implementors of this crate's traits run over their own: a trait without a test suite is a rumour.
//!
//! Each function panics with a sentence when a promise of the trait is not kept. They need no runtime of a certain kind; run them
//! wherever your implementation runs.
#![allow(clippy::panic, reason = "a failed promise is a failed test")]

use std::future::Future;
use std::task::Poll;

use chrono::Utc;
use futures::FutureExt as _;
use futures::future::join_all;
use uuid::Uuid;

use crate::event::{Detail, Event, Outcome, RequestRefused, Subject};
use crate::policy::Policy;
use crate::record::Recorder;
use crate::source::PolicySource;

/// Promises of [`Recorder`]: order by call, durability of all that came before, dropping cancels nothing.
///
/// `recorded` reads back, from where they are durable, the `event_id`s of all events so far in their order.
pub async fn recorder<R, F>(recorder: &R, mut recorded: impl FnMut() -> F)
where
    R: Recorder + ?Sized,
    F: Future<Output = Vec<Uuid>>,
{
    let before = recorded().await.len();
    let mut expected = Vec::new();
    let mut submit = || {
        let detail = Detail::RequestRefused(RequestRefused::new("env", Some("conformance")));
        let event = Event::new(Subject::default(), Outcome::Blocked, detail, Utc::now());
        expected.push(event.event_id);
        recorder.record(event)
    };

    // The later future is awaited first: order is that of the calls, and what is durable includes all before it.
    let (first, second) = (submit(), submit());
    if let Err(error) = second.await {
        panic!("an event was refused: {error}");
    }
    let read = recorded().await;
    assert_eq!(
        read.get(before..),
        Some(expected.as_slice()),
        "an event is durable before one that was taken earlier"
    );
    if let Err(error) = first.await {
        panic!("an event was refused although a later one is durable: {error}");
    }

    let mut submit = || {
        let detail = Detail::RequestRefused(RequestRefused::new("env", Some("conformance")));
        let event = Event::new(Subject::default(), Outcome::Blocked, detail, Utc::now());
        expected.push(event.event_id);
        recorder.record(event)
    };
    // Dropped unpolled, and dropped after one poll.
    drop(submit());
    let mut polled = submit();
    let _: Poll<()> = futures::future::poll_fn(|context| {
        let _ = polled.poll_unpin(context);
        Poll::Ready(Poll::Pending)
    })
    .await;
    drop(polled);
    let many: Vec<_> = (0..200).map(|_| submit()).collect();
    for result in join_all(many).await {
        if let Err(error) = result {
            panic!("an event was refused: {error}");
        }
    }
    let read = recorded().await;
    assert_eq!(read.get(before..), Some(expected.as_slice()), "events are missing, doubled or out of order");
}

/// Promises of [`PolicySource`]: a change is seen at once, counted, and heard by whoever waits.
///
/// `replace` puts a policy in force and returns when it is.
pub async fn policy_source<S, F>(source: &S, mut replace: impl FnMut(Policy) -> F)
where
    S: PolicySource + ?Sized,
    F: Future<Output = ()>,
{
    let policy = |name: &str| {
        let text = format!("[[permit]]\nusers=[\"{name}\"]\ntargets=[\"*\"]\ncommands=[\"id\"]\n");
        match Policy::from_toml(&text) {
            Ok(policy) => policy,
            Err(error) => panic!("the suite's own policy does not load: {error}"),
        }
    };
    for name in ["first", "second"] {
        let next = policy(name);
        let digest = next.digest().to_owned();
        let seen = source.version();
        assert!(source.changed(seen).now_or_never().is_none(), "a change is told before there is one");
        replace(next).await;
        assert_eq!(
            source.policy().digest(),
            digest,
            "the policy in force is not the one that was put in force"
        );
        assert_ne!(source.version(), seen, "a change was not counted");
        let told = source.changed(seen).await;
        assert_eq!(told, source.version(), "another version is told than the one in force");
    }
}
